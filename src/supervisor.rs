//! Keeps the daemon's parts running: a part that fails or panics is started again, a little later each time, and is ill
//! meanwhile; none is ever ignored. At the end all are told to stop, and those that do not within the grace are named.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::health::Pulse;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A part that ran this long before it failed starts again with the first pause.
const STEADY_AFTER: Duration = Duration::from_secs(120);

type PartFuture = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// The set of running parts.
#[derive(Debug)]
pub struct Supervisor {
    parts: JoinSet<&'static str>,
    names: Vec<&'static str>,
    stop: CancellationToken,
}

impl Supervisor {
    /// Parts stop when `stop` is cancelled.
    pub fn new(stop: CancellationToken) -> Self {
        Self { parts: JoinSet::new(), names: Vec::new(), stop }
    }

    /// Starts a part. `start` makes a fresh run of it each time; it returns `Ok` only when it was told to stop.
    pub fn spawn<F, Fut>(&mut self, name: &'static str, pulse: Pulse, start: F)
    where
        F: Fn(CancellationToken) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.names.push(name);
        self.parts.spawn(async move {
            keep_running(name, &pulse, &stop, |token| Box::pin(start(token)) as PartFuture).await;
            name
        });
    }

    /// Waits until every part has stopped after the token was cancelled, at most `grace`. Gives the names of the parts
    /// that had not by then; they are dropped.
    pub async fn drain(mut self, grace: Duration) -> Vec<&'static str> {
        let deadline = Instant::now() + grace;
        let mut running = self.names.clone();
        while !running.is_empty() {
            match tokio::time::timeout_at(deadline, self.parts.join_next()).await {
                Ok(Some(Ok(name))) => running.retain(|n| *n != name),
                // A part cannot panic here (it is caught inside), and nobody aborts one.
                Ok(Some(Err(error))) => tracing::error!(event = "part.lost", %error, "a part was lost"),
                Ok(None) => break,
                Err(_elapsed) => {
                    self.parts.abort_all();
                    return running;
                }
            }
        }
        Vec::new()
    }
}

async fn keep_running(
    name: &'static str,
    pulse: &Pulse,
    stop: &CancellationToken,
    start: impl Fn(CancellationToken) -> PartFuture + Sync,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        let ended = AssertUnwindSafe(start(stop.clone())).catch_unwind().await;
        if stop.is_cancelled() {
            if let Ok(Err(error)) = ended {
                tracing::warn!(
                    event = "part.failed",
                    part = name,
                    error = format!("{error:#}"),
                    "a part failed while it stopped"
                );
            }
            return;
        }
        let reason = match ended {
            Ok(Ok(())) => "it ended though nobody asked it to".to_owned(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => format!("it panicked: {}", panic_message(panic.as_ref())),
        };
        if began.elapsed() >= STEADY_AFTER {
            pause = FIRST_PAUSE;
        }
        pulse.ill(&reason);
        tracing::error!(
            event = "part.failed",
            part = name,
            reason,
            again_in_ms = pause.as_millis() as u64,
            "a part failed and is started again"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::health::Health;

    #[tokio::test(start_paused = true)]
    async fn a_part_that_fails_or_panics_is_started_again() {
        let stop = CancellationToken::new();
        let health = Health::default();
        let mut supervisor = Supervisor::new(stop.clone());
        let starts = Arc::new(AtomicU32::new(0));
        let seen = starts.clone();
        supervisor.spawn("flaky", health.part("flaky", Duration::from_secs(60)), move |token| {
            let nth = seen.fetch_add(1, Ordering::SeqCst);
            async move {
                match nth {
                    0 => anyhow::bail!("first"),
                    1 => panic!("second"),
                    _ => {
                        token.cancelled().await;
                        Ok(())
                    }
                }
            }
        });
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        assert_eq!(health.problems(crate::clock::now()), ["flaky: it panicked: second"]);
        stop.cancel();
        assert_eq!(supervisor.drain(Duration::from_secs(1)).await, Vec::<&str>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_does_not_stop_within_the_grace_is_named() {
        let stop = CancellationToken::new();
        let health = Health::default();
        let mut supervisor = Supervisor::new(stop.clone());
        supervisor.spawn("deaf", health.part("deaf", Duration::from_secs(60)), |_| std::future::pending());
        supervisor.spawn("polite", health.part("polite", Duration::from_secs(60)), |token| async move {
            token.cancelled().await;
            Ok(())
        });
        stop.cancel();
        assert_eq!(supervisor.drain(Duration::from_secs(5)).await, ["deaf"]);
    }
}
