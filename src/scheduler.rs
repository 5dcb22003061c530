//! Schedules: from wake-ups to claimed slots to runs.
//!
//! tokio-cron-scheduler only wakes this module up. What is due is decided from the last slot in the state table: a slot is
//! claimed by one daemon with a conditional write; a slot that passed while nobody was up is made up for once (the latest
//! one only); a slot whose daemon died, or whose run failed, is claimed again, a few times. So neither a lost wake-up, nor
//! a clock that jumps, nor a second daemon can lose a run or double it.
//!
//! Rejected: letting the cron library run the jobs. It computes the next run from *now*, so a missed run vanishes; it lets
//! runs overlap; and it freezes a time zone to one offset.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_cron_scheduler::{Job as CronJob, JobScheduler};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::health::Pulse;
use crate::jobs::{AskedBy, Job, Mode, Outcome, Ran, ReconcileAfter, RunOptions};
use crate::progress::Progress;
use crate::state::lease::Taken;
use crate::state::runs::SlotRecord;
use crate::state::{State, Written};
use crate::tiering::schedule::Schedule;

/// How long one wake-up may be missing before the loop looks by itself.
const WAKE_UP_FALLBACK: Duration = Duration::from_secs(15);
/// How often the last slot is read again although nothing is due: to find a slot whose daemon died.
const REVIEW: TimeDelta = TimeDelta::minutes(5);
/// How long to wait before looking again whether another run of the job has ended.
const HELD_PAUSE: Duration = Duration::from_secs(10);
/// How often a slot is tried before it is left to the next one.
const MAX_ATTEMPTS: u64 = 6;

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
    let mut watched: Vec<Watched> =
        schedules.into_iter().map(|scheduled| Watched { scheduled, last: None, read_at: None }).collect();
    let mut runs: JoinSet<&'static str> = JoinSet::new();
    let mut running: HashMap<&'static str, ()> = HashMap::new();
    loop {
        for entry in &mut watched {
            if running.contains_key(entry.scheduled.key) {
                continue;
            }
            match look(&state, entry, clock::now()).await {
                Ok(Some(slot)) => {
                    running.insert(entry.scheduled.key, ());
                    let (state, runner, stop) = (state.clone(), runner.clone(), stop.clone());
                    let scheduled = entry.scheduled.clone();
                    runs.spawn(async move {
                        run_slot(&state, &runner, &scheduled, slot, &stop).await;
                        scheduled.key
                    });
                }
                Ok(None) => pulse.beat(),
                Err(error) => {
                    pulse.ill(format!("{error:#}"));
                    tracing::warn!(
                        event = "schedule.failed",
                        schedule = entry.scheduled.key,
                        error = format!("{error:#}"),
                        "a schedule could not be looked at"
                    );
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            _ = tokio::time::timeout(WAKE_UP_FALLBACK, woken.recv()) => {}
            Some(ended) = runs.join_next() => {
                match ended {
                    Ok(key) => {
                        running.remove(key);
                        for entry in watched.iter_mut().filter(|w| w.scheduled.key == key) {
                            entry.read_at = None;
                        }
                    }
                    Err(error) => anyhow::bail!("a job panicked: {error}"),
                }
            }
        }
    }
    if let Err(error) = cron.shutdown().await {
        tracing::debug!(%error, "the wake-ups did not stop");
    }
    while let Some(ended) = runs.join_next().await {
        ended.context("a job panicked")?;
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
async fn look(state: &State, entry: &mut Watched, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
    let Scheduled { key, schedule, timezone, .. } = &entry.scheduled;
    let stale = entry.read_at.is_none_or(|at| now - at >= REVIEW || now < at);
    let due_by_memory = entry.last.as_ref().and_then(|last| schedule.due(Some(last.slot), now, *timezone)).is_some();
    if !stale && !due_by_memory {
        return Ok(None);
    }
    entry.last = state.last_slot(key).await?;
    entry.read_at = Some(now);
    let Some(last) = &entry.last else {
        // Whoever is first sets it; all others find it at their next look.
        let _either_way: Written = state.set_baseline(key, now).await?;
        entry.read_at = None;
        return Ok(None);
    };
    if let Some(slot) = schedule.due(Some(last.slot), now, *timezone) {
        return Ok(match state.claim_slot(key, slot).await? {
            Written::Yes => Some(slot),
            Written::Refused => {
                entry.read_at = None;
                None
            }
        });
    }
    if last.finished || last.attempts >= MAX_ATTEMPTS {
        return Ok(None);
    }
    // Its run has not ended. Its daemon works on it still, and then renews the job's lease, or it died.
    match state.take_lease(&format!("job#{}", entry.scheduled.job.as_str())).await? {
        Taken::HeldBy(_) => return Ok(None),
        Taken::Mine(lease) => lease.release().await?,
    }
    Ok(match state.claim_again(key, last).await? {
        Written::Yes => Some(last.slot),
        Written::Refused => None,
    })
}

/// Runs the job of a claimed slot. If another run of the job is under way (a person asked for it), it waits for that to
/// end first: runs of one job never overlap.
async fn run_slot(
    state: &State,
    runner: &Runner,
    scheduled: &Scheduled,
    slot: DateTime<Utc>,
    stop: &CancellationToken,
) {
    let options = RunOptions {
        mode: Mode::Real,
        reconcile_after: ReconcileAfter::Yes,
        asked_by: AskedBy::Slot(clock::rfc3339(slot)),
        progress: Progress::default(),
    };
    let report = loop {
        match runner(scheduled.job, options.clone(), stop.clone()).await {
            Ok(Ran::Done(report)) => break report,
            Ok(Ran::HeldBy(_)) => {}
            Err(error) => {
                tracing::error!(
                    event = "job.failed",
                    job = scheduled.job.as_str(),
                    error = format!("{error:#}"),
                    "a job could not be run"
                );
                return;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HELD_PAUSE) => {}
        }
    };
    // A run that failed, or was told to stop, has not done its slot: it is claimed again.
    if report.outcome == Outcome::Failed || stop.is_cancelled() {
        return;
    }
    match state.finish_slot(scheduled.key, slot, clock::now()).await {
        // Refused: a later slot was claimed meanwhile.
        Ok(Written::Yes | Written::Refused) => {}
        Err(error) => {
            tracing::warn!(event = "schedule.failed", schedule = scheduled.key, %error, "the end of a run could not be noted; it may be run again");
        }
    }
}
