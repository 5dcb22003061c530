//! Restore and replication, made of what they may touch.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::jobs::RunOptions;
use crate::jobs::report::SweepReport;
use crate::queue::{self, Queue};
use crate::restore::{EVENTS, REQUESTS, Restorer};
use crate::supervisor::Supervisor;

/// A quiet queue is heard of after every long poll of 20 s.
const QUEUE_SILENCE: Duration = Duration::from_secs(120);

impl App {
    /// What brings objects back.
    pub fn restorer(&self) -> Restorer {
        Restorer::new(self.s3.clone(), self.state.clone(), self.ledger.clone(), self.metrics.clone(), &self.settings)
    }

    pub(super) fn spawn_restore(self: &Arc<Self>, parts: &mut Supervisor) {
        if !self.settings.restore.enabled {
            return;
        }
        let restorer = self.restorer();
        let handler = restorer.clone();
        self.spawn_consumer(parts, REQUESTS, self.settings.restore.request_queue.clone(), move |message, stop| {
            let restorer = handler.clone();
            async move { restorer.on_request_message(&message, &stop).await }
        });
        self.spawn_consumer(parts, EVENTS, self.settings.restore.event_queue.clone(), move |message, stop| {
            let restorer = restorer.clone();
            async move { restorer.on_event_message(&message, &stop).await }
        });
    }

    /// Starts a part that works on a queue's messages.
    fn spawn_consumer<H, F>(&self, parts: &mut Supervisor, name: &'static str, queue: String, handle: H)
    where
        H: Fn(queue::Message, CancellationToken) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = queue::Handled> + Send + 'static,
    {
        let pulse = self.health.part(name, QUEUE_SILENCE);
        let client = self.clients.sqs.clone();
        let options = queue::Options {
            concurrency: self.settings.restore.concurrency,
            pulse: pulse.clone(),
            metrics: self.metrics.clone(),
        };
        parts.spawn(name, pulse, move |stop| {
            let (client, queue, options, handle) = (client.clone(), queue.clone(), options.clone(), handle.clone());
            async move {
                let opened = tokio::select! {
                    opened = Queue::open(&client, &queue) => opened,
                    () = stop.cancelled() => return Ok(()),
                };
                let queue = opened.with_context(|| format!("queue {queue} cannot be used"))?;
                let token = stop.clone();
                queue::consume(&queue, &options, &stop, move |message| handle(message, token.clone())).await;
                Ok(())
            }
        });
    }

    pub(super) async fn sweep_restores(
        &self,
        options: &RunOptions,
        stop: &CancellationToken,
        report: &mut SweepReport,
    ) -> Result<()> {
        self.restorer().sweep(options.mode, &options.progress, stop, report).await
    }
}
