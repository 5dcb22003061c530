//! Job runs: which slot of a schedule was claimed last, when a job last ended well, and the reports of past runs.

use anyhow::Context;
use chrono::{DateTime, Duration, Utc};

use super::item::{Item, n, s, t};
use super::{State, Written};
use crate::aws::{AwsError, AwsResult};
use crate::clock::rfc3339;

/// How long the report of a run is kept.
const HISTORY_DAYS: i64 = 90;
/// What the sort key of a report begins with; its time follows.
const HISTORY: &str = "history#";

/// A past run.
#[derive(Debug, Clone)]
pub struct PastRun {
    pub started_at: DateTime<Utc>,
    /// The report as the job gave it.
    pub report: serde_json::Value,
}

/// The last slot of a schedule that was claimed, or the baseline of one that never was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRecord {
    pub slot: DateTime<Utc>,
    /// How often a run was begun for this slot; 0 for a baseline.
    pub attempts: u64,
    /// Whether a run for this slot came to its end. A slot that was claimed by a daemon that died is not.
    pub finished: bool,
    /// When its last run failed; None while one is under way, or after its daemon died.
    pub failed_at: Option<DateTime<Utc>>,
}

impl State {
    /// The last slot of `schedule`.
    pub async fn last_slot(&self, schedule: &str) -> anyhow::Result<Option<SlotRecord>> {
        let Some(item) = self.get(&pk(schedule), "slot").await? else { return Ok(None) };
        let read = || -> anyhow::Result<SlotRecord> {
            Ok(SlotRecord {
                slot: item.time("slot")?,
                attempts: item.num("attempts")?,
                finished: item.opt_time("finished_at")?.is_some(),
                failed_at: item.opt_time("failed_at")?,
            })
        };
        read().map(Some).with_context(|| format!("reading the last slot of {schedule}"))
    }

    /// Notes when a schedule was first seen: what was due before has nobody to make up for it.
    pub async fn set_baseline(&self, schedule: &str, now: DateTime<Utc>) -> AwsResult<Written> {
        let item = Item::new()
            .with_time("slot", now)
            .with_num("at", epoch(now))
            .with_num("attempts", 0)
            .with_time("finished_at", now);
        self.put_new(&pk(schedule), "slot", item).await
    }

    /// Claims a slot: of all daemons that see it due, one gets [`Written::Yes`].
    pub async fn claim_slot(&self, schedule: &str, slot: DateTime<Utc>) -> AwsResult<Written> {
        let update = self
            .update(&pk(schedule), "slot")
            .update_expression(
                "SET #slot = :slot, #at = :at, holder = :holder, attempts = :one REMOVE finished_at, failed_at",
            )
            // Compared as numbers: the text is for people.
            .condition_expression("attribute_not_exists(#at) OR #at < :at")
            .expression_attribute_names("#slot", "slot")
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":slot", t(slot))
            .expression_attribute_values(":at", n(epoch(slot)))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":holder", s(self.holder()));
        self.send_update(&format!("run#{schedule}/slot"), update).await
    }

    /// Claims a slot again whose run did not come to its end, unless another daemon has just done so.
    pub async fn claim_again(&self, schedule: &str, seen: &SlotRecord) -> AwsResult<Written> {
        let update = self
            .update(&pk(schedule), "slot")
            .update_expression("SET attempts = :next, holder = :holder REMOVE failed_at")
            .condition_expression("#at = :at AND attempts = :seen AND attribute_not_exists(finished_at)")
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":at", n(epoch(seen.slot)))
            .expression_attribute_values(":seen", n(seen.attempts))
            .expression_attribute_values(":next", n(seen.attempts + 1))
            .expression_attribute_values(":holder", s(self.holder()));
        self.send_update(&format!("run#{schedule}/slot"), update).await
    }

    /// Notes that the run for `slot` came to its end.
    pub async fn finish_slot(&self, schedule: &str, slot: DateTime<Utc>, now: DateTime<Utc>) -> AwsResult<Written> {
        let update = self
            .update(&pk(schedule), "slot")
            .update_expression("SET finished_at = :now")
            .condition_expression("#at = :at")
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":at", n(epoch(slot)))
            .expression_attribute_values(":now", t(now));
        self.send_update(&format!("run#{schedule}/slot"), update).await
    }

    /// Notes that the run for `slot` failed, so that the next attempt is not made at once.
    pub async fn fail_slot(&self, schedule: &str, slot: DateTime<Utc>, now: DateTime<Utc>) -> AwsResult<Written> {
        let update = self
            .update(&pk(schedule), "slot")
            .update_expression("SET failed_at = :now")
            .condition_expression("#at = :at AND attribute_not_exists(finished_at)")
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":at", n(epoch(slot)))
            .expression_attribute_values(":now", t(now));
        self.send_update(&format!("run#{schedule}/slot"), update).await
    }

    /// Keeps a run's report, and the time of the last good one.
    pub async fn record_run(
        &self,
        job: &str,
        started_at: DateTime<Utc>,
        ended_at: DateTime<Utc>,
        ok: RunOutcome,
        report: &serde_json::Value,
    ) -> AwsResult<()> {
        let item = Item::new()
            .with_time("started_at", started_at)
            .with_time("ended_at", ended_at)
            .with_str("holder", self.holder())
            .with_str("report", report.to_string())
            .with_ttl(ended_at + Duration::days(HISTORY_DAYS));
        self.put(&pk(job), &format!("{HISTORY}{}", rfc3339(started_at)), item).await?;
        failpoint!("job.history-written");
        if ok == RunOutcome::Ok {
            self.put(&pk(job), "ok", Item::new().with_time("ended_at", ended_at)).await?;
        }
        Ok(())
    }

    /// When a run of `job` last ended with outcome `ok`.
    pub async fn last_ok(&self, job: &str) -> anyhow::Result<Option<DateTime<Utc>>> {
        let Some(item) = self.get(&pk(job), "ok").await? else { return Ok(None) };
        item.time("ended_at").map(Some).with_context(|| format!("reading the last good run of {job}"))
    }

    /// The latest run that is remembered.
    pub async fn last_run(&self, job: &str) -> anyhow::Result<Option<PastRun>> {
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", s(pk(job)))
            .expression_attribute_values(":prefix", s(HISTORY))
            .scan_index_forward(false)
            .limit(1)
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| AwsError::new("Query", format_args!("{}/{}", self.table, pk(job)), e))?;
        let item = answer.items.unwrap_or_default().into_iter().next().map(Item::from);
        item.map(|item| past_run(&item)).transpose().with_context(|| format!("reading the last run of {job}"))
    }

    /// The runs that are still remembered, oldest first.
    pub async fn history(&self, job: &str) -> anyhow::Result<Vec<PastRun>> {
        let items = self.query(&pk(job), HISTORY).await?;
        items
            .iter()
            .map(past_run)
            .collect::<anyhow::Result<_>>()
            .with_context(|| format!("reading the history of {job}"))
    }
}

fn past_run(item: &Item) -> anyhow::Result<PastRun> {
    Ok(PastRun {
        started_at: item.time("started_at")?,
        report: serde_json::from_str(item.str("report")?).context("a report is not JSON")?,
    })
}

/// Whether a run counts as evidence that the job works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOutcome {
    Ok,
    NotOk,
}

fn pk(job: &str) -> String {
    format!("run#{job}")
}

fn epoch(time: DateTime<Utc>) -> u64 {
    time.timestamp().max(0).unsigned_abs()
}
