//! Provisioning, made of what it may touch.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::aws::{AwsError, Kind};
use crate::config::UserEvent;
use crate::jobs::RunOptions;
use crate::jobs::report::SweepReport;
use crate::provision::poller::{Pace, Poller};
use crate::provision::saga::Saga;
use crate::provision::server::{Patience, Server};
use crate::provision::settings::BucketSettings;
use crate::provision::sweep::{Scope, Swept};
use crate::supervisor::Supervisor;
use crate::tiering::bucket_name::BucketNameTemplate;
use crate::tiering::user_event::EventName;
use crate::users::Users;

/// The part is silent for a few seconds at most, unless a call to AWS takes its whole time.
const SILENCE: Duration = Duration::from_secs(120);

impl App {
    pub(super) fn spawn_provision(self: &Arc<Self>, parts: &mut Supervisor) {
        if !self.settings.provision.enabled {
            return;
        }
        let silence = SILENCE.max(self.settings.provision.idle_interval * 4);
        let pulse = self.health.part("provision", silence);
        let app = self.clone();
        let beat = pulse.clone();
        // Kept over restarts of the part, so that attempts go on being counted. Made by the first run that can be.
        let made = Arc::new(tokio::sync::OnceCell::new());
        parts.spawn("provision", pulse, move |stop| {
            let (app, beat, made) = (app.clone(), beat.clone(), made.clone());
            async move {
                let poller: &Poller = made
                    .get_or_try_init(async || {
                        let server = app.user_server().await?;
                        Ok::<_, anyhow::Error>(app.poller(server, beat))
                    })
                    .await?;
                poller.run(stop).await
            }
        });
    }

    /// What serves users, as the poller and the sweep do.
    pub async fn user_server(&self) -> Result<Server> {
        let settings = &self.settings;
        let queue_arn = if settings.restore.enabled {
            Some(self.queue_arn("restore.event_queue", &settings.restore.event_queue).await?)
        } else {
            None
        };
        let naming =
            BucketNameTemplate::new(&settings.provision.bucket_name).context("reading provision.bucket_name")?;
        let saga = Saga::new(
            Users::new(self.clients.dynamodb.clone(), settings),
            self.s3.clone(),
            self.state.clone(),
            self.metrics.clone(),
            &settings.aws.region,
            naming,
            BucketSettings::new(settings, queue_arn.as_deref())?,
        );
        let patience = Patience {
            max_attempts: settings.provision.max_attempts,
            first_pause: settings.provision.poll_interval / 5,
            longest_pause: settings.provision.idle_interval,
        };
        Ok(Server::new(saga, patience, settings.provision.concurrency))
    }

    /// What reads the users table's stream and hands its records to `server`.
    pub fn poller(&self, server: Server, pulse: crate::health::Pulse) -> Poller {
        let provision = &self.settings.provision;
        let events = provision.events.iter().map(|event| match event {
            UserEvent::Insert => EventName::Insert,
            UserEvent::Modify => EventName::Modify,
        });
        let pace = Pace::new(provision.poll_interval, provision.idle_interval);
        Poller::new(self.clients.streams.clone(), server, events.collect(), pace, pulse)
    }

    pub(super) async fn sweep_users(
        &self,
        options: &RunOptions,
        stop: &CancellationToken,
        report: &mut SweepReport,
    ) -> Result<()> {
        let server = self.user_server().await?;
        options.progress.phase("users", None);
        match server.sweep(Scope::Everything, options.mode, stop, report).await? {
            // What a stop leaves undone is for the next sweep.
            Swept::Whole | Swept::InPart => Ok(()),
        }
    }

    /// The ARN of a queue that the configuration gives by name or URL.
    async fn queue_arn(&self, key: &str, queue: &str) -> Result<String> {
        use aws_sdk_sqs::types::QueueAttributeName::QueueArn;
        let sqs = &self.clients.sqs;
        let mend = |error: AwsError| {
            let missing = error.kind == Kind::NotFound;
            let context = format!("asking for the queue {queue:?} of {key}");
            let hint = if missing { ": there is no such queue; `tierd init` makes it" } else { "" };
            anyhow::Error::new(error).context(format!("{context}{hint}"))
        };
        let url = if queue.contains("://") {
            queue.to_owned()
        } else {
            let answer = sqs.get_queue_url().queue_name(queue).send().await;
            let answer = answer.map_err(|e| mend(AwsError::new("GetQueueUrl", queue, e)))?;
            answer.queue_url.with_context(|| format!("SQS gives no URL for the queue {queue:?}"))?
        };
        let answer = sqs.get_queue_attributes().queue_url(&url).attribute_names(QueueArn).send().await;
        let answer = answer.map_err(|e| mend(AwsError::new("GetQueueAttributes", queue, e)))?;
        let arn = answer.attributes.and_then(|mut attributes| attributes.remove(&QueueArn));
        arn.with_context(|| format!("SQS gives no ARN for the queue {queue:?}"))
    }
}
