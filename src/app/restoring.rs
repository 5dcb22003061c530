//! Restore and replication, made of what they may touch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::aws::{AwsError, AwsResult};
use crate::config;
use crate::jobs::report::SweepReport;
use crate::jobs::{RunOptions, SweepScope};
use crate::policies;
use crate::queue::{self, Handled, Queue};
use crate::replicate::Replicator;
use crate::restore::{EVENTS, REQUESTS, Restorer};
use crate::supervisor::Supervisor;
use crate::tiering::object::BucketName;
use crate::users::Users;

/// A quiet queue is heard of after every long poll of 20 s.
const QUEUE_SILENCE: Duration = Duration::from_secs(120);

impl App {
    /// What brings objects back.
    pub fn restorer(&self) -> Restorer {
        Restorer::new(self.s3.clone(), self.state.clone(), self.ledger.clone(), self.metrics.clone(), &self.settings)
    }

    /// What makes the copies of these rules.
    pub fn replicator(&self, rules: &[config::Replicate]) -> Replicator {
        let copies = policies::copies(&self.settings.transition);
        Replicator::new(self.s3.clone(), rules, copies)
    }

    pub(super) fn spawn_restore(self: &Arc<Self>, parts: &mut Supervisor) {
        self.spawn_replicate(parts);
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

    /// One part a queue: rules that share one must see each of its messages.
    fn spawn_replicate(self: &Arc<Self>, parts: &mut Supervisor) {
        let mut by_queue: BTreeMap<&str, Vec<config::Replicate>> = BTreeMap::new();
        for rule in &self.settings.replicate {
            by_queue.entry(&rule.queue).or_default().push(rule.clone());
        }
        for (i, (queue, rules)) in by_queue.into_iter().enumerate() {
            let replicator = self.replicator(&rules);
            let identity = Arc::new(OnceCell::new());
            let sts = self.clients.sts.clone();
            // Once a configuration: few bytes, and few of them.
            let name: &'static str = format!("replicate-{}", i + 1).leak();
            self.spawn_consumer(parts, name, queue.to_owned(), move |message, stop| {
                let (replicator, identity, sts) = (replicator.clone(), identity.clone(), sts.clone());
                async move {
                    match identity.get_or_try_init(|| own_user_id(&sts)).await {
                        Ok(own) => replicator.on_message(&message, own, &stop).await,
                        Err(error) => Handled::Outage { reason: error.to_string() },
                    }
                }
            });
        }
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
        let restorer = self.restorer();
        restorer.sweep(options.mode, &options.progress, stop, report).await?;
        if options.sweep == SweepScope::Listings && !stop.is_cancelled() {
            let buckets = self.watched_buckets().await?;
            restorer.sweep_listings(buckets, options.mode, &options.progress, stop, report).await?;
        }
        Ok(())
    }

    /// The buckets that the ledger knows of and those of all users.
    async fn watched_buckets(&self) -> Result<BTreeSet<BucketName>> {
        let mut buckets = self.ledger.buckets().await.context("asking the ledger for its buckets")?;
        if self.settings.provision.enabled {
            let users = Users::new(self.clients.dynamodb.clone(), &self.settings);
            buckets.extend(users.buckets().await.context("asking the users table for buckets")?);
        }
        Ok(buckets)
    }
}

/// By what events name the daemon's own work (`AROA…:session`).
async fn own_user_id(sts: &aws_sdk_sts::Client) -> AwsResult<String> {
    let identity = sts.get_caller_identity().send().await.map_err(|e| AwsError::new("GetCallerIdentity", "sts", e))?;
    Ok(identity.user_id.unwrap_or_default())
}
