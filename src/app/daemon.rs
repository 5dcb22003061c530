//! The daemon: every enabled part under the supervisor, the heartbeat, the change of the configuration, and the drain at
//! the end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use chrono_tz::Tz;
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::App;
use super::reload::Reloads;
use crate::clock;
use crate::health::{self, HEARTBEAT_INTERVAL};
use crate::jobs::Job;
use crate::metrics::{About, Unit};
use crate::resources::Resources;
use crate::scheduler::{self, Runner, Scheduled};
use crate::supervisor::Supervisor;
use crate::telemetry;
use crate::tiering::schedule::Schedule;

/// The scheduler looks at its schedules every few seconds; a look may take a lease's life.
const SCHEDULER_SILENCE: Duration = Duration::from_secs(180);
/// How often the daemon's own figures are written out.
const OWN_METRICS_INTERVAL: Duration = Duration::from_secs(60);

/// How the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything that had begun was finished.
    Drained,
    /// The grace was over first; the next start repairs what was cut off.
    GraceOver,
}

impl App {
    /// Runs every enabled part until `stop` is cancelled, then drains; meanwhile `reloads` may bring another configuration,
    /// under which it goes on. Fails with [`NotReady`](crate::resources::NotReady) if a table or a queue that the first one
    /// needs is missing.
    pub async fn run_daemon(self, stop: CancellationToken, mut reloads: Reloads) -> Result<Ended> {
        // It only looks, so a stop need not wait for it: where nothing answers, it takes its time.
        let resources = Resources::new(self.clients.clone());
        tokio::select! {
            ready = resources.require(&self.settings) => ready?,
            () = stop.cancelled() => return Ok(Ended::Drained),
        }
        let mut app = Arc::new(self);
        tracing::info!(event = "daemon.ready", version = env!("CARGO_PKG_VERSION"), "ready");
        loop {
            let turn = stop.child_token();
            let parts = app.start(&turn);
            let heartbeat = AbortOnDropHandle::new(tokio::spawn(heartbeat(app.clone())));
            notify_ready();
            let next = tokio::select! {
                next = reloads.next(&app.settings) => Some(next),
                () = stop.cancelled() => None,
            };
            if next.is_none() {
                notify(&[NotifyState::Stopping]);
            }
            turn.cancel();
            let late = parts.drain(app.settings.shutdown.grace).await;
            heartbeat.abort();
            let _cancelled: Result<(), _> = heartbeat.await;
            app.emit_throttles();
            if !late.is_empty() {
                tracing::warn!(
                    event = "daemon.cut_off",
                    parts = late.join(", "),
                    "the grace is over; the next start repairs what was cut off"
                );
            }
            match next {
                Some(next) if !stop.is_cancelled() => {
                    app = Arc::new(next);
                    tracing::info!(event = "config.reloaded", "the daemon goes on with the new configuration");
                }
                _ if late.is_empty() => {
                    app.retire_heartbeat();
                    tracing::info!(event = "daemon.stopped", "everything that had begun is finished");
                    return Ok(Ended::Drained);
                }
                _ => {
                    app.retire_heartbeat();
                    return Ok(Ended::GraceOver);
                }
            }
        }
    }

    /// Starts every enabled part.
    fn start(self: &Arc<Self>, stop: &CancellationToken) -> Supervisor {
        let mut parts = Supervisor::new(stop.clone());
        self.spawn_provision(&mut parts);
        self.spawn_restore(&mut parts);

        let runner: Runner = {
            let app = self.clone();
            Arc::new(move |job, options, stop| {
                let app = app.clone();
                Box::pin(async move { app.run_job(job, &options, &stop).await })
            })
        };
        let pulse = self.health.part("scheduler", SCHEDULER_SILENCE);
        let (state, schedules, beat) = (self.state.clone(), self.schedules(), pulse.clone());
        parts.spawn("scheduler", pulse, move |stop| {
            scheduler::run(state.clone(), runner.clone(), schedules.clone(), beat.clone(), stop)
        });
        parts
    }

    /// Whoever asks from now on is told that no daemon runs.
    fn retire_heartbeat(&self) {
        if let Err(error) = health::retire(&self.settings.telemetry.heartbeat_file) {
            tracing::warn!(
                event = "heartbeat.failed",
                error = format!("{error:#}"),
                "the heartbeat stays, and `tierd healthcheck` goes by it until it is too old"
            );
        }
    }

    fn emit_throttles(&self) {
        let throttles = self.clients.throttles.take();
        if throttles > 0 {
            self.metrics.emit(About::Service, &[("AwsThrottles", Unit::Count, throttles as f64)]);
        }
    }

    /// The schedules of the enabled parts, and the job that each of them runs.
    pub fn schedules(&self) -> Vec<Scheduled> {
        let scheduled = |(key, schedule, timezone): (&'static str, &Schedule, Tz)| {
            let job = match key {
                "ingest.schedule" => Job::Ingest,
                "reconcile.schedule" => Job::Reconcile,
                "transition.schedule" => Job::Transition,
                "provision.sweep_schedule" | "restore.sweep_schedule" => Job::Sweep,
                other => unreachable!("the configuration has no schedule {other}"),
            };
            Scheduled { key, job, schedule: schedule.clone(), timezone }
        };
        self.settings.schedules().into_iter().map(scheduled).collect()
    }
}

async fn heartbeat(app: Arc<App>) {
    let file = &app.settings.telemetry.heartbeat_file;
    let mut complained = false;
    let mut since_metrics = Duration::ZERO;
    loop {
        let now = clock::now();
        match app.health.write(file, now) {
            Ok(()) => complained = false,
            Err(error) if !complained => {
                complained = true;
                tracing::error!(
                    event = "heartbeat.failed",
                    error = format!("{error:#}"),
                    "the heartbeat cannot be written; `tierd healthcheck` will call the daemon dead"
                );
            }
            Err(_) => {}
        }
        if app.health.hanging(now).is_empty() {
            notify(&[NotifyState::Watchdog]);
        }
        telemetry::tell_held_back();
        if since_metrics >= OWN_METRICS_INTERVAL {
            since_metrics = Duration::ZERO;
            let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
            app.metrics.emit(About::Service, &[("AliveTasks", Unit::Count, tasks as f64)]);
            app.emit_throttles();
        }
        tokio::time::sleep(HEARTBEAT_INTERVAL).await;
        since_metrics += HEARTBEAT_INTERVAL;
    }
}

/// Ready, or ready again.
pub(super) fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// To be followed by [`notify_ready`], whatever comes of it.
pub(super) fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(event = "systemd.unreachable", %error, "systemd was not told"),
    }
}

/// Tells systemd, where it listens.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(event = "systemd.unreachable", %error, "systemd was not told");
    }
}
