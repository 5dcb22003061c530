//! `tierd run`: the daemon.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Exit;
use crate::app::{self, App, Ended, Reloads};
use crate::config::Settings;
use crate::telemetry;

pub async fn run(settings: Settings, file: Option<PathBuf>) -> Result<Exit> {
    let lines = &settings.telemetry;
    telemetry::init(telemetry::Output::Stdout, app::log_format(lines.log_format), &lines.level)?;
    let stop = CancellationToken::new();
    let _on_signal = stop_on_signal(stop.clone())?;
    let reloads = Reloads::listen(file)?;
    match App::connect(settings).await?.run_daemon(stop, reloads).await? {
        Ended::Drained => Ok(Exit::Done),
        Ended::GraceOver => Ok(Exit::Failures),
    }
}

/// Cancels `stop` at the first SIGTERM or SIGINT, and ends the process at the second one.
pub fn stop_on_signal(stop: CancellationToken) -> Result<AbortOnDropHandle<()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        tracing::info!(
            event = "daemon.stopping",
            "stopping: what has begun is finished; a second signal ends it at once"
        );
        stop.cancel();
        next().await;
        leave_at_once();
    })))
}

#[allow(clippy::disallowed_methods, reason = "the second signal asks for exactly this")]
fn leave_at_once() -> ! {
    std::process::exit(1)
}
