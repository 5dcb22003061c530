//! Schedules: from wake-ups to claimed slots to runs.
//!
//! tokio-cron-scheduler only wakes this module up. What is due is decided from the last slot in the state table: a slot is
//! claimed by one daemon with a conditional write; a slot that passed while nobody was up is made up for once (the latest
//! one only); a slot whose daemon died, or whose run failed, is claimed again, a few times. So neither a lost wake-up, nor
//! a clock that jumps, nor a second daemon can lose a run or double it.
//!
//! Whoever claims a slot holds the schedule's lease from before the claim until the slot's run is noted as ended. An
//! unfinished slot whose schedule nobody holds is therefore nobody's: its daemon died or was stopped, or its run failed.
//! The job's own lease does not say as much: between a claim and the start of its run others may hold it, or nobody.
//!
//! Rejected: letting the cron library run the jobs. It computes the next run from *now*, so a missed run vanishes; it lets
//! runs overlap; and it freezes a time zone to one offset.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_cron_scheduler::{Job as CronJob, JobScheduler};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::health::Pulse;
use crate::jobs::{AskedBy, Job, Mode, Outcome, Ran, ReconcileAfter, RunOptions, SweepScope};
use crate::progress::Progress;
use crate::state::lease::{Lease, Taken};
use crate::state::runs::SlotRecord;
use crate::state::{State, Written};
use crate::tiering::schedule::Schedule;

/// How long one wake-up may be missing before the loop looks by itself.
const WAKE_UP_FALLBACK: Duration = Duration::from_secs(15);
/// How often the last slot is read again although nothing is due: to find a slot whose daemon died.
const REVIEW: TimeDelta = TimeDelta::minutes(5);
/// How long to wait before looking again whether another run of the job has ended.
const HELD_PAUSE: Duration = Duration::from_secs(10);
/// How long a schedule that another daemon holds is left alone.
const HELD_ELSEWHERE_PAUSE: Duration = Duration::from_secs(30);
/// How often a slot is tried before it is left to the next one.
pub const MAX_ATTEMPTS: u64 = 6;

/// A schedule of the configuration.
#[derive(Debug, Clone)]
pub struct Scheduled {
    /// Its key in the configuration, such as `ingest.schedule`; also its name in the state table.
    pub key: &'static str,
    pub job: Job,
    pub schedule: Schedule,
    pub timezone: Tz,
}

/// Runs a job once: what the scheduler knows of the rest of the program.
pub type Runner = Arc<dyn Fn(Job, RunOptions, CancellationToken) -> BoxFuture<'static, Result<Ran>> + Send + Sync>;

#[derive(Debug)]
struct Watched {
    scheduled: Scheduled,
    last: Option<SlotRecord>,
    read_at: Option<DateTime<Utc>>,
    /// Not looked at before: another daemon is at it.
    leave_until: Option<Instant>,
}

/// A slot that this daemon is to run.
#[derive(Debug)]
struct Claimed {
    slot: DateTime<Utc>,
    /// How often a run was begun for it, this one included.
    attempt: u64,
    /// The schedule's.
    lease: Lease,
}

/// Runs the schedules until `stop`, then lets the runs that have begun come to their next safe point.
pub async fn run(
    state: State,
    runner: Runner,
    schedules: Vec<Scheduled>,
    pulse: Pulse,
    stop: CancellationToken,
) -> Result<()> {
    let (wake, mut woken) = mpsc::channel(1);
    let mut cron = start_wake_ups(wake).await?;
    let mut watched: Vec<Watched> = schedules
        .into_iter()
        .map(|scheduled| Watched { scheduled, last: None, read_at: None, leave_until: None })
        .collect();
    let mut runs: JoinSet<&'static str> = JoinSet::new();
    let mut running: HashSet<&'static str> = HashSet::new();
    while !stop.is_cancelled() {
        let mut trouble = None;
        for entry in &mut watched {
            if running.contains(entry.scheduled.key) {
                continue;
            }
            match look(&state, entry, clock::now(), &stop).await {
                Ok(Some(claimed)) => {
                    running.insert(entry.scheduled.key);
                    runs.spawn(run_claimed(
                        state.clone(),
                        runner.clone(),
                        entry.scheduled.clone(),
                        claimed,
                        stop.clone(),
                    ));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(
                        event = "schedule.failed",
                        schedule = entry.scheduled.key,
                        error = format!("{error:#}"),
                        "a schedule could not be looked at"
                    );
                    trouble = Some(error);
                }
            }
        }
        // A round is progress, also while every schedule has a run under way.
        match trouble {
            None => pulse.beat(),
            Some(error) => pulse.ill(format!("{error:#}")),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            _ = tokio::time::timeout(WAKE_UP_FALLBACK, woken.recv()) => {}
            Some(ended) = runs.join_next() => {
                let key = ended.context("a scheduled run was lost")?;
                running.remove(key);
                for entry in watched.iter_mut().filter(|entry| entry.scheduled.key == key) {
                    entry.read_at = None;
                }
            }
        }
    }
    if let Err(error) = cron.shutdown().await {
        tracing::debug!(event = "schedule.wake_ups_linger", %error, "the wake-ups did not stop");
    }
    while let Some(ended) = runs.join_next().await {
        ended.context("a scheduled run was lost")?;
    }
    Ok(())
}

async fn start_wake_ups(wake: mpsc::Sender<()>) -> Result<JobScheduler> {
    let cron = JobScheduler::new().await.context("starting the wake-ups")?;
    let tick = CronJob::new_async("* * * * * *", move |_, _| {
        let wake = wake.clone();
        Box::pin(async move {
            // A full channel holds a wake-up already.
            let _already_awake = wake.try_send(());
        })
    })
    .context("starting the wake-ups")?;
    cron.add(tick).await.context("starting the wake-ups")?;
    cron.start().await.context("starting the wake-ups")?;
    Ok(cron)
}

/// The slot that this daemon is to run now, if there is one and it could be claimed.
async fn look(
    state: &State,
    entry: &mut Watched,
    now: DateTime<Utc>,
    stop: &CancellationToken,
) -> Result<Option<Claimed>> {
    let Scheduled { key, schedule, timezone, .. } = &entry.scheduled;
    if entry.leave_until.is_some_and(|until| Instant::now() < until) {
        return Ok(None);
    }
    let stale = entry.read_at.is_none_or(|at| now - at >= REVIEW || now < at);
    let due_by_memory = entry.last.as_ref().is_some_and(|last| {
        schedule.due(Some(last.slot), now, *timezone).is_some() || (last.failed_at.is_some() && may_retry(last, now))
    });
    if !stale && !due_by_memory {
        return Ok(None);
    }
    entry.last = state.last_slot(key).await?;
    entry.read_at = Some(now);
    let Some(last) = entry.last.clone() else {
        // Whoever is first sets it; all others find it at their next look.
        let _either_way: Written = state.set_baseline(key, now).await?;
        entry.read_at = None;
        return Ok(None);
    };
    let due = schedule.due(Some(last.slot), now, *timezone);
    if due.is_none() && !may_retry(&last, now) {
        return Ok(None);
    }
    let lease = match state.take_lease_unless(stop, &format!("schedule#{key}")).await? {
        Some(Taken::Mine(lease)) => lease,
        Some(Taken::HeldBy(_)) => {
            entry.leave_until = Some(Instant::now() + HELD_ELSEWHERE_PAUSE);
            // Its run may have ended otherwise by then than well.
            entry.read_at = None;
            return Ok(None);
        }
        None => return Ok(None),
    };
    // Its former holder may have done it all while this daemon waited: both claims then are refused.
    let (slot, attempt, written) = match due {
        Some(slot) => (slot, 1, state.claim_slot(key, slot).await),
        None => (last.slot, last.attempts + 1, state.claim_again(key, &last).await),
    };
    match written {
        Ok(Written::Yes) => {
            failpoint!("schedule.slot-claimed");
            Ok(Some(Claimed { slot, attempt, lease }))
        }
        refused_or_failed => {
            entry.read_at = None;
            give_back(lease, key).await;
            Ok(refused_or_failed.map(|_refused: Written| None)?)
        }
    }
}

/// Whether a slot that was claimed before is to be tried again: it was left unfinished, and if its run failed, that is
/// long enough ago.
fn may_retry(last: &SlotRecord, now: DateTime<Utc>) -> bool {
    if last.finished || last.attempts >= MAX_ATTEMPTS {
        return false;
    }
    // After a clock was set back, "long ago" is not known; then a retry does no harm.
    last.failed_at.is_none_or(|failed_at| now < failed_at || now - failed_at >= pause_before(last.attempts + 1))
}

/// How long after a failure the next attempt is made: 1, 5, 25 minutes, then an hour each. What fails at once, because AWS
/// cannot be reached, is not to use all attempts up within a minute.
fn pause_before(attempt: u64) -> TimeDelta {
    match attempt {
        0..=2 => TimeDelta::minutes(1),
        3 => TimeDelta::minutes(5),
        4 => TimeDelta::minutes(25),
        _ => TimeDelta::hours(1),
    }
}

/// Runs a claimed slot to its end, whatever that is, and gives the schedule's key.
async fn run_claimed(
    state: State,
    runner: Runner,
    scheduled: Scheduled,
    claimed: Claimed,
    stop: CancellationToken,
) -> &'static str {
    let Claimed { slot, attempt, lease } = claimed;
    // A job that panics must not take the others with it.
    let ended = AssertUnwindSafe(run_slot(&runner, &scheduled, slot, &stop)).catch_unwind().await;
    let ended = ended.unwrap_or_else(|_panic| {
        tracing::error!(event = "job.panicked", job = scheduled.job.as_str(), "a job panicked");
        Ended::Failed
    });
    failpoint!("schedule.run-ended");
    let noted = match ended {
        Ended::Done => state.finish_slot(scheduled.key, slot, clock::now()).await,
        Ended::Failed => {
            if attempt >= MAX_ATTEMPTS {
                tracing::error!(
                    event = "schedule.given_up",
                    schedule = scheduled.key,
                    slot = clock::rfc3339(slot),
                    attempts = attempt,
                    "a slot failed too often; it is left to the next one"
                );
            }
            state.fail_slot(scheduled.key, slot, clock::now()).await
        }
        Ended::Stopped => Ok(Written::Yes),
    };
    match noted {
        // Refused: a later slot was claimed meanwhile, by a daemon that took this one for dead.
        Ok(Written::Yes | Written::Refused) => {}
        Err(error) => {
            tracing::warn!(event = "schedule.failed", schedule = scheduled.key, %error, "the end of a run could not be noted; it may be run again");
        }
    }
    failpoint!("schedule.slot-finished");
    give_back(lease, scheduled.key).await;
    scheduled.key
}

/// How the run of a slot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Done,
    Failed,
    /// The daemon stops; what the run has not done is for the next one, at once.
    Stopped,
}

/// Runs the job of a claimed slot. If another run of the job is under way (a person asked for it, or another schedule), it
/// waits for that to end first: runs of one job never overlap.
async fn run_slot(runner: &Runner, scheduled: &Scheduled, slot: DateTime<Utc>, stop: &CancellationToken) -> Ended {
    let options = RunOptions {
        mode: Mode::Real,
        reconcile_after: ReconcileAfter::Yes,
        asked_by: AskedBy::Slot(clock::rfc3339(slot)),
        sweep: SweepScope::Index,
        progress: Progress::default(),
    };
    loop {
        match runner(scheduled.job, options.clone(), stop.clone()).await {
            // A run that was told to stop may have left anything undone, whatever it reports.
            Ok(Ran::Done(_)) if stop.is_cancelled() => return Ended::Stopped,
            Ok(Ran::Done(report)) if report.outcome == Outcome::Failed => return Ended::Failed,
            Ok(Ran::Done(_)) => return Ended::Done,
            Ok(Ran::HeldBy(_)) => {}
            Ok(Ran::Stopped) => return Ended::Stopped,
            Err(error) => {
                tracing::error!(
                    event = "job.failed",
                    job = scheduled.job.as_str(),
                    error = format!("{error:#}"),
                    "a job could not be run"
                );
                return if stop.is_cancelled() { Ended::Stopped } else { Ended::Failed };
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ended::Stopped,
            () = tokio::time::sleep(HELD_PAUSE) => {}
        }
    }
}

async fn give_back(lease: Lease, schedule: &str) {
    if let Err(error) = lease.release().await {
        tracing::warn!(event = "lease.release_failed", schedule, %error, "the lease could not be given back; it runs out by itself");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_tried_again_later_each_time_and_not_for_ever() {
        let at = |minutes: i64| DateTime::from_timestamp(1_700_000_000 + minutes * 60, 0).unwrap();
        let record = |attempts, finished, failed_at| SlotRecord { slot: at(0), attempts, finished, failed_at };
        // Its daemon died: at once.
        assert!(may_retry(&record(1, false, None), at(0)));
        assert!(!may_retry(&record(1, true, None), at(999)));
        assert!(!may_retry(&record(MAX_ATTEMPTS, false, None), at(999)));
        for (attempts, minutes) in [(1, 1), (2, 5), (3, 25), (4, 60), (5, 60)] {
            assert!(!may_retry(&record(attempts, false, Some(at(0))), at(minutes - 1)), "{attempts}");
            assert!(may_retry(&record(attempts, false, Some(at(0))), at(minutes)), "{attempts}");
        }
        // The clock was set back.
        assert!(may_retry(&record(1, false, Some(at(5))), at(0)));
    }
}
