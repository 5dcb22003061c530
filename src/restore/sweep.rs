//! The sweep: what the queues may have lost. It goes through the index of requests, which holds what is in flight, and not
//! through the objects, of which there are too many; [`super::full_sweep`] does that.

use anyhow::{Context, Result};
use futures::StreamExt;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::completion::{Back, was};
use super::{Asked, Completion, Restorer, is_hopeless};
use crate::aws::AwsError;
use crate::clock;
use crate::jobs::Mode;
use crate::jobs::report::SweepReport;
use crate::progress::Progress;
use crate::state::quarantine::{QuarantineKind, Quarantined};
use crate::state::restores::RestoreRow;
use crate::tiering::object::ObjectId;
use crate::tiering::restore::{DropReason, SweepAction, on_sweep, parse_requests};

/// How many problems the report names; their number is whole.
const PROBLEMS_NAMED: usize = 50;

/// What a row of the index came to.
#[derive(Debug)]
pub(super) enum Swept {
    Finished,
    Repeated,
    /// On its way, or nothing left to do.
    Well,
    Failed(String),
}

impl Restorer {
    /// Finishes restores whose event was lost, repeats those that never began or that expired, and reports what takes too
    /// long. What cannot be mended now stays in the index for the next sweep.
    pub async fn sweep(
        &self,
        mode: Mode,
        progress: &Progress,
        stop: &CancellationToken,
        report: &mut SweepReport,
    ) -> Result<()> {
        progress.phase("restores", None);
        let mut pages = self.state.restores();
        while let Some(page) = pages.next_page().await? {
            progress.add_total(page.len() as u64);
            let mut rows = futures::stream::iter(page)
                .map(|row| self.sweep_row(row, mode, stop))
                .buffer_unordered(self.rules.concurrency);
            while let Some(swept) = rows.next().await {
                progress.add_done(1);
                count(swept?, report);
            }
            if stop.is_cancelled() {
                return Ok(());
            }
        }
        if mode == Mode::Real {
            self.retry_set_aside(stop, report).await?;
        }
        Ok(())
    }

    /// Fails only where AWS cannot be used at all: then the other rows would fail the same way.
    async fn sweep_row(&self, row: Result<RestoreRow>, mode: Mode, stop: &CancellationToken) -> Result<Swept> {
        // Rows that were not begun when the sweep is told to stop are the next one's.
        if stop.is_cancelled() {
            return Ok(Swept::Well);
        }
        let row = match row {
            Ok(row) => row,
            Err(error) => return Ok(Swept::Failed(format!("{error:#}"))),
        };
        match self.mend(&row.record.id, mode, stop).await {
            Ok(swept) => Ok(swept),
            Err(error) if error.downcast_ref::<AwsError>().is_some_and(is_hopeless) => Err(error),
            Err(error) => {
                tracing::warn!(
                    event = "restore.not_swept",
                    bucket = row.record.id.bucket.as_str(),
                    key = row.record.id.key.as_str(),
                    error = format!("{error:#}"),
                    "a restore could not be looked after; the next sweep tries again"
                );
                Ok(Swept::Failed(format!("{}: {error:#}", row.record.id)))
            }
        }
    }

    pub(super) async fn mend(&self, id: &ObjectId, mode: Mode, stop: &CancellationToken) -> Result<Swept> {
        let _alone = self.locks.lock(id).await;
        // The row is read anew under the lock: since the page was read, a message may have done what was to be done.
        let seen = self.look(id).await?;
        let Some(row) = &seen.row else { return Ok(Swept::Well) };
        let action = on_sweep(&row.record, seen.object.as_ref().map(|object| &object.state), clock::now());
        if mode == Mode::DryRun {
            return Ok(would(id, action));
        }
        let (Some(object), action) = (&seen.object, action) else {
            self.forget(row, "the object is gone").await?;
            return Ok(Swept::Well);
        };
        Ok(match action {
            SweepAction::Finish => match self.copy_back(id, object, Some(row), stop).await? {
                Back::Copied => Swept::Finished,
                Back::LookAgain => Swept::Well,
                Back::GivenUp(reason) => Swept::Failed(format!("{id}: {reason}")),
            },
            SweepAction::Repeat(plan) => match self.repeat(id, object, Some(row), plan).await? {
                Some(Completion::Repeated) => Swept::Repeated,
                Some(Completion::Failed(reason)) => Swept::Failed(format!("{id}: {reason}")),
                _ => Swept::Well,
            },
            SweepAction::Wait { .. } => {
                // The crash may have come between S3's answer and the tag.
                self.tag(id).await?;
                Swept::Well
            }
            SweepAction::Overdue { since } => {
                let reason = format!("should have been restored by {}", clock::rfc3339(since));
                tracing::warn!(
                    event = "restore.overdue",
                    bucket = id.bucket.as_str(),
                    key = id.key.as_str(),
                    tier = row.record.tier.as_str(),
                    requested_at = clock::rfc3339(row.record.requested_at),
                    since = clock::rfc3339(since),
                    "a restore takes longer than it may"
                );
                Swept::Failed(format!("{id}: {reason}"))
            }
            SweepAction::Settle => {
                self.settle(id, Some(row), &was(Some(row), object), &object.placement()).await?;
                Swept::Finished
            }
            SweepAction::Drop(_) => {
                self.overwritten(id, row, object).await?;
                Swept::Well
            }
        })
    }

    /// Takes up what was set aside and what a person wants tried again.
    async fn retry_set_aside(&self, stop: &CancellationToken, report: &mut SweepReport) -> Result<()> {
        for entry in self.state.quarantined(Some(QuarantineKind::Restore)).await? {
            if !entry.retry || stop.is_cancelled() {
                continue;
            }
            match self.retry_one(&entry, stop).await {
                Ok(()) => count(Swept::Repeated, report),
                Err(error) => count(Swept::Failed(format!("{}: {error:#}", entry.id)), report),
            }
        }
        Ok(())
    }

    async fn retry_one(&self, entry: &Quarantined, stop: &CancellationToken) -> Result<()> {
        // The payload is a request, with nulls where the request said nothing.
        serde_json::from_str::<Value>(&entry.payload).context("reading what was set aside")?;
        let parsed = parse_requests(&entry.payload).context("reading what was set aside")?;
        for request in &parsed.requests {
            match self.request_for_reader(request, stop).await? {
                Asked::Refused(reason) => anyhow::bail!("refused again: {reason}"),
                Asked::Failed(reason) => anyhow::bail!("failed again: {reason}"),
                Asked::Begun { .. }
                | Asked::Joined { .. }
                | Asked::Finished
                | Asked::NothingToDo(_)
                | Asked::Missing => {}
            }
        }
        failpoint!("restore.retried");
        self.state.release_quarantine(QuarantineKind::Restore, &entry.id).await?;
        Ok(())
    }
}

/// What a dry run says of an action.
pub(super) fn would(id: &ObjectId, action: SweepAction) -> Swept {
    match action {
        SweepAction::Finish | SweepAction::Settle => Swept::Finished,
        SweepAction::Repeat(_) => Swept::Repeated,
        SweepAction::Wait { .. } | SweepAction::Drop(DropReason::ObjectGone | DropReason::Overwritten) => Swept::Well,
        SweepAction::Overdue { since } => {
            Swept::Failed(format!("{id}: should have been restored by {}", clock::rfc3339(since)))
        }
    }
}

pub(super) fn count(swept: Swept, report: &mut SweepReport) {
    match swept {
        Swept::Finished => report.restores_finished += 1,
        Swept::Repeated => report.restores_repeated += 1,
        Swept::Well => {}
        Swept::Failed(problem) => {
            report.failed += 1;
            add_problem(report, problem);
        }
    }
}

pub(super) fn add_problem(report: &mut SweepReport, problem: String) {
    if report.problems.len() < PROBLEMS_NAMED {
        report.problems.push(problem);
    }
}
