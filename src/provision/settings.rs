//! What is set on a user's bucket: read, compared with the configuration, written where it differs.
//!
//! One function makes a new bucket right and finds what has drifted on an old one. The order is: owner's tag, public access
//! block, CORS, lifecycle, policy, notification. The tag comes first because it makes the bucket the user's: a bucket without
//! it is one that nobody can be sure of. The block comes before the policy, so that a policy that is too open is refused. The
//! notification comes last, when there is a bucket worth telling of.
//!
//! Lifecycle rules and notifications are shared with others: tierd has one rule of its own name in each and leaves the rest.

use anyhow::{Context, Result};
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, CorsRule, Event, ExpirationStatus, LifecycleRule, LifecycleRuleFilter,
    NotificationConfiguration, PublicAccessBlockConfiguration, QueueConfiguration,
};
use serde_json::Value;

use super::owner::{Owner, owner, with_owner};
use crate::aws::AwsResult;
use crate::config::Settings;
use crate::s3::S3;
use crate::tiering::object::{BucketName, UserId};

/// The names of tierd's own rules in a bucket.
const NOTIFICATION_ID: &str = "tierd-restore";
const LIFECYCLE_ID: &str = "tierd-abort-incomplete-multipart";

/// What is to be set on every user's bucket.
#[derive(Debug, Clone)]
pub struct BucketSettings {
    block_public_access: bool,
    cors: Option<CorsRule>,
    abort_rule: LifecycleRule,
    /// With `{bucket}`.
    policy: Option<String>,
    /// Who is told of finished restores; None: nobody asked.
    notification: Option<QueueConfiguration>,
}

/// What is known of a bucket before its settings are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starting {
    /// It was just made, and nothing is set on it: nothing need be read.
    Bare,
    /// Anything may be set on it.
    Unknown,
}

/// Whether differences are mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mending {
    Mend,
    OnlyLook,
}

/// A setting that was not as the configuration has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drift {
    OwnerTag,
    PublicAccessBlock,
    Cors,
    Lifecycle,
    Policy,
    Notification,
}

impl Drift {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OwnerTag => "owner tag",
            Self::PublicAccessBlock => "public access block",
            Self::Cors => "CORS",
            Self::Lifecycle => "lifecycle",
            Self::Policy => "policy",
            Self::Notification => "notification",
        }
    }
}

impl BucketSettings {
    /// `queue_arn` is the restore events' queue, None while restore is disabled. Fails if the policy file cannot be read or
    /// the settings are none that S3 has.
    pub fn new(settings: &Settings, queue_arn: Option<&str>) -> Result<Self> {
        let provision = &settings.provision;
        let policy = provision.bucket_policy_file.as_ref().map(|file| {
            std::fs::read_to_string(file)
                .with_context(|| format!("reading provision.bucket_policy_file {}", file.display()))
        });
        let cors = provision.cors.as_ref().map(|cors| {
            CorsRule::builder()
                .set_allowed_origins(Some(cors.allowed_origins.clone()))
                .set_allowed_methods(Some(cors.allowed_methods.clone()))
                .set_allowed_headers(some(&cors.allowed_headers))
                .set_expose_headers(some(&cors.expose_headers))
                .max_age_seconds(i32::try_from(cors.max_age_seconds).unwrap_or(i32::MAX))
                .build()
        });
        let days = i32::try_from(provision.abort_multipart_days).unwrap_or(i32::MAX);
        let abort = AbortIncompleteMultipartUpload::builder().days_after_initiation(days).build();
        let notification = queue_arn.map(|arn| {
            QueueConfiguration::builder()
                .id(NOTIFICATION_ID)
                .queue_arn(arn)
                .events(Event::S3ObjectRestoreCompleted)
                .events(Event::S3ObjectRestoreDelete)
                .build()
        });
        Ok(Self {
            block_public_access: provision.block_public_access,
            cors: cors.transpose().context("building the CORS rule of provision.cors")?,
            abort_rule: LifecycleRule::builder()
                .id(LIFECYCLE_ID)
                .status(ExpirationStatus::Enabled)
                .filter(LifecycleRuleFilter::builder().prefix("").build())
                .abort_incomplete_multipart_upload(abort)
                .build()
                .context("building the lifecycle rule")?,
            policy: policy.transpose()?,
            notification: notification.transpose().context("building the notification")?,
        })
    }

    /// Compares a bucket with the configuration and gives what differed; mends it if asked to. The owner's tag is set without a
    /// look at whose it was: that is the caller's to decide.
    pub async fn settle(
        &self,
        s3: &S3,
        bucket: &BucketName,
        user: &UserId,
        starting: Starting,
        mending: Mending,
    ) -> AwsResult<Vec<Drift>> {
        let mut drift = Vec::new();
        let look = Look { s3, bucket, starting, mending };
        look.owner(user, &mut drift).await?;
        failpoint!("provision.bucket-tagged");
        if self.block_public_access {
            look.public_access(&mut drift).await?;
        }
        if let Some(rule) = &self.cors {
            look.cors(rule, &mut drift).await?;
        }
        look.lifecycle(&self.abort_rule, &mut drift).await?;
        if let Some(policy) = &self.policy {
            look.policy(&policy.replace("{bucket}", bucket.as_str()), &mut drift).await?;
        }
        if let Some(queue) = &self.notification {
            look.notification(queue, &mut drift).await?;
        }
        Ok(drift)
    }
}

struct Look<'a> {
    s3: &'a S3,
    bucket: &'a BucketName,
    starting: Starting,
    mending: Mending,
}

impl Look<'_> {
    async fn owner(&self, user: &UserId, drift: &mut Vec<Drift>) -> AwsResult<()> {
        let tags = match self.starting {
            Starting::Bare => Vec::new(),
            Starting::Unknown => self.s3.bucket_tags(self.bucket).await?,
        };
        if owner(&tags, user) != Owner::User {
            drift.push(Drift::OwnerTag);
            if self.mending == Mending::Mend {
                self.s3.put_bucket_tags(self.bucket, &with_owner(tags, user)).await?;
            }
        }
        Ok(())
    }

    async fn public_access(&self, drift: &mut Vec<Drift>) -> AwsResult<()> {
        let all = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .ignore_public_acls(true)
            .block_public_policy(true)
            .restrict_public_buckets(true)
            .build();
        // S3 blocks public access to new buckets by itself, but that is a default, and this is a promise.
        let stands = self.starting == Starting::Unknown
            && self.s3.public_access_block(self.bucket).await?.as_ref() == Some(&all);
        if !stands {
            drift.push(Drift::PublicAccessBlock);
            if self.mending == Mending::Mend {
                self.s3.put_public_access_block(self.bucket, all).await?;
            }
        }
        Ok(())
    }

    async fn cors(&self, rule: &CorsRule, drift: &mut Vec<Drift>) -> AwsResult<()> {
        let stands = self.starting == Starting::Unknown
            && matches!(&self.s3.cors(self.bucket).await?[..], [only] if same_cors(only, rule));
        if !stands {
            drift.push(Drift::Cors);
            if self.mending == Mending::Mend {
                self.s3.put_cors(self.bucket, vec![rule.clone()]).await?;
            }
        }
        Ok(())
    }

    async fn lifecycle(&self, rule: &LifecycleRule, drift: &mut Vec<Drift>) -> AwsResult<()> {
        let mut lifecycle = match self.starting {
            Starting::Bare => crate::s3::bucket::Lifecycle::default(),
            Starting::Unknown => self.s3.lifecycle(self.bucket).await?,
        };
        if lifecycle.rules.iter().any(|standing| same_abort_rule(standing, rule)) {
            return Ok(());
        }
        drift.push(Drift::Lifecycle);
        if self.mending == Mending::Mend {
            lifecycle.rules.retain(|standing| standing.id.as_deref() != Some(LIFECYCLE_ID));
            lifecycle.rules.push(rule.clone());
            self.s3.put_lifecycle(self.bucket, lifecycle).await?;
        }
        Ok(())
    }

    async fn policy(&self, policy: &str, drift: &mut Vec<Drift>) -> AwsResult<()> {
        let standing = match self.starting {
            Starting::Bare => None,
            Starting::Unknown => self.s3.bucket_policy(self.bucket).await?,
        };
        let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
        if standing.is_some_and(|standing| parsed(&standing) == parsed(policy)) {
            return Ok(());
        }
        drift.push(Drift::Policy);
        if self.mending == Mending::Mend {
            self.s3.put_bucket_policy(self.bucket, policy).await?;
        }
        Ok(())
    }

    async fn notification(&self, queue: &QueueConfiguration, drift: &mut Vec<Drift>) -> AwsResult<()> {
        let standing = match self.starting {
            Starting::Bare => NotificationConfiguration::builder().build(),
            Starting::Unknown => self.s3.notifications(self.bucket).await?,
        };
        if standing.queue_configurations().iter().any(|standing| tells(standing, queue)) {
            return Ok(());
        }
        drift.push(Drift::Notification);
        if self.mending == Mending::Mend {
            // The write replaces the whole document, so what others put there goes back with it.
            self.s3.put_notifications(self.bucket, merged(standing, queue)).await?;
        }
        Ok(())
    }
}

fn merged(mut standing: NotificationConfiguration, queue: &QueueConfiguration) -> NotificationConfiguration {
    let queues = standing.queue_configurations.get_or_insert_default();
    queues.retain(|standing| standing.id.as_deref() != Some(NOTIFICATION_ID));
    queues.push(queue.clone());
    standing
}

/// Whether a standing configuration already tells the queue of all these events, for every key.
fn tells(standing: &QueueConfiguration, wanted: &QueueConfiguration) -> bool {
    let every_key =
        standing.filter.as_ref().and_then(|filter| filter.key.as_ref()).is_none_or(|key| {
            key.filter_rules().iter().all(|rule| rule.value.as_deref().unwrap_or_default().is_empty())
        });
    let told = |event: &Event| standing.events.iter().any(|e| e == event || *e == Event::S3ObjectRestore);
    // Our own rule is to be exactly as it is wanted; of another's it is enough that it does the same.
    let ours = standing.id.as_deref() == Some(NOTIFICATION_ID);
    standing.queue_arn == wanted.queue_arn
        && every_key
        && wanted.events.iter().all(told)
        && (!ours || standing.events.len() == wanted.events.len())
}

fn same_abort_rule(standing: &LifecycleRule, wanted: &LifecycleRule) -> bool {
    let whole_bucket = match &standing.filter {
        Some(filter) => {
            filter.prefix.as_deref().unwrap_or_default().is_empty()
                && filter.tag.is_none()
                && filter.and.is_none()
                && filter.object_size_greater_than.is_none()
                && filter.object_size_less_than.is_none()
        }
        None => {
            #[allow(deprecated, reason = "old rules have their prefix here")]
            let prefix = standing.prefix.as_deref();
            prefix.unwrap_or_default().is_empty()
        }
    };
    whole_bucket
        && standing.id == wanted.id
        && standing.status == wanted.status
        && standing.abort_incomplete_multipart_upload == wanted.abort_incomplete_multipart_upload
}

/// S3 may add an id and keeps no order of its own.
fn same_cors(standing: &CorsRule, wanted: &CorsRule) -> bool {
    let same = |a: &[String], b: &[String]| {
        let (mut a, mut b) = (a.to_vec(), b.to_vec());
        a.sort();
        b.sort();
        a == b
    };
    same(&standing.allowed_origins, &wanted.allowed_origins)
        && same(&standing.allowed_methods, &wanted.allowed_methods)
        && same(standing.allowed_headers(), wanted.allowed_headers())
        && same(standing.expose_headers(), wanted.expose_headers())
        && standing.max_age_seconds == wanted.max_age_seconds
}

fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: &str, arn: &str, events: &[Event]) -> QueueConfiguration {
        QueueConfiguration::builder().id(id).queue_arn(arn).set_events(Some(events.to_vec())).build().unwrap()
    }

    #[test]
    fn a_merge_leaves_what_others_put_there_and_replaces_our_own() {
        let ours = queue(NOTIFICATION_ID, "arn:q", &[Event::S3ObjectRestoreCompleted]);
        let other = queue("other", "arn:x", &[Event::S3ObjectCreated]);
        let old = queue(NOTIFICATION_ID, "arn:old", &[Event::S3ObjectRestore]);
        let standing = NotificationConfiguration::builder()
            .queue_configurations(other.clone())
            .queue_configurations(old)
            .event_bridge_configuration(aws_sdk_s3::types::EventBridgeConfiguration::builder().build())
            .build();
        let merged = merged(standing, &ours);
        assert_eq!(merged.queue_configurations(), [other, ours]);
        assert!(merged.event_bridge_configuration.is_some());
    }

    #[test]
    fn a_rule_of_another_name_that_tells_the_same_is_enough() {
        let both = [Event::S3ObjectRestoreCompleted, Event::S3ObjectRestoreDelete];
        let wanted = queue(NOTIFICATION_ID, "arn:q", &both);
        for (standing, expected) in [
            (wanted.clone(), true),
            (queue("other", "arn:q", &[Event::S3ObjectRestore]), true),
            (queue("other", "arn:q", &both[..1]), false),
            (queue(NOTIFICATION_ID, "arn:q", &both[..1]), false),
            (queue(NOTIFICATION_ID, "arn:old", &both), false),
            (queue(NOTIFICATION_ID, "arn:q", &[both[0].clone(), both[1].clone(), Event::S3ObjectRestorePost]), false),
        ] {
            assert_eq!(tells(&standing, &wanted), expected, "{standing:?}");
        }
    }
}
