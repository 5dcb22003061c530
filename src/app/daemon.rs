//! The daemon: every enabled part under the supervisor, the heartbeat, and the drain at the end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use chrono_tz::Tz;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::App;
use crate::clock;
use crate::health::HEARTBEAT_INTERVAL;
use crate::jobs::Job;
use crate::metrics::{About, Unit};
use crate::resources::Resources;
use crate::scheduler::{self, Runner, Scheduled};
use crate::supervisor::Supervisor;
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
    /// Runs every enabled part until `stop` is cancelled, then drains. Fails with
    /// [`NotReady`](crate::resources::NotReady) if a table or a queue that they need is missing.
    pub async fn run_daemon(self, stop: CancellationToken) -> Result<Ended> {
        let app = Arc::new(self);
        let settings = app.settings.clone();
        // It only looks, so a stop need not wait for it: where nothing answers, it takes its time.
        let resources = Resources::new(app.clients.clone());
        tokio::select! {
            ready = resources.require(&settings) => ready?,
            () = stop.cancelled() => return Ok(Ended::Drained),
        }
        let mut parts = Supervisor::new(stop.clone());

        app.spawn_provision(&mut parts);
        app.spawn_restore(&mut parts);

        let runner: Runner = {
            let app = app.clone();
            Arc::new(move |job, options, stop| {
                let app = app.clone();
                Box::pin(async move { app.run_job(job, &options, &stop).await })
            })
        };
        let pulse = app.health.part("scheduler", SCHEDULER_SILENCE);
        let (state, schedules, beat) = (app.state.clone(), app.schedules(), pulse.clone());
        parts.spawn("scheduler", pulse, move |stop| {
            scheduler::run(state.clone(), runner.clone(), schedules.clone(), beat.clone(), stop)
        });

        let heartbeat = AbortOnDropHandle::new(tokio::spawn(heartbeat(app.clone())));
        tracing::info!(event = "daemon.ready", version = env!("CARGO_PKG_VERSION"), "ready");
        notify(&[sd_notify::NotifyState::Ready]);

        stop.cancelled().await;
        notify(&[sd_notify::NotifyState::Stopping]);
        let late = parts.drain(settings.shutdown.grace).await;
        drop(heartbeat);
        if late.is_empty() {
            tracing::info!(event = "daemon.stopped", "everything that had begun is finished");
            Ok(Ended::Drained)
        } else {
            tracing::warn!(
                event = "daemon.cut_off",
                parts = late.join(", "),
                "the grace is over; the next start repairs what was cut off"
            );
            Ok(Ended::GraceOver)
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
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
        if since_metrics >= OWN_METRICS_INTERVAL {
            since_metrics = Duration::ZERO;
            let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
            let mut metrics = vec![("AliveTasks", Unit::Count, tasks as f64)];
            let throttles = app.clients.throttles.take();
            if throttles > 0 {
                metrics.push(("AwsThrottles", Unit::Count, throttles as f64));
            }
            app.metrics.emit(About::Service, &metrics);
        }
        tokio::time::sleep(HEARTBEAT_INTERVAL).await;
        since_metrics += HEARTBEAT_INTERVAL;
    }
}

/// Tells systemd, where it listens.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(event = "systemd.unreachable", %error, "systemd was not told");
    }
}
