//! One bucket: making it, and reading and writing what is set on it. A setting that is not there reads as none; a bucket that is
//! not there is an error.

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketLocationConstraint, CorsConfiguration, CorsRule, CreateBucketConfiguration,
    LifecycleRule, NotificationConfiguration, PublicAccessBlockConfiguration, Tag, Tagging,
    TransitionDefaultMinimumObjectSize,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;

use super::S3;
use crate::aws::{AwsError, AwsResult, Kind};
use crate::tiering::object::BucketName;

/// What CreateBucket came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// Made by this very call.
    Made,
    /// This account has a bucket of that name: from an earlier call or for another purpose. In us-east-1 S3 does not tell
    /// this from [`Creation::Made`], so there it is always this.
    Ours,
    /// Another account has it.
    Taken,
}

/// Whether a bucket can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    Visible,
    /// It is there, but not ours to look at (another account's, or another region's).
    Hidden,
    Absent,
}

/// The lifecycle of a bucket, all that a write of it must carry on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lifecycle {
    pub rules: Vec<LifecycleRule>,
    pub minimum_object_size: Option<TransitionDefaultMinimumObjectSize>,
}

impl S3 {
    /// Makes a bucket in `region`, the one that this handle speaks to.
    pub async fn create_bucket(&self, bucket: &BucketName, region: &str) -> AwsResult<Creation> {
        let request = self.client().create_bucket().bucket(bucket.as_str());
        // us-east-1 is the default and must not be named; everywhere else the region must be.
        let classic = region == "us-east-1";
        let request = if classic {
            request
        } else {
            request.create_bucket_configuration(
                CreateBucketConfiguration::builder()
                    .location_constraint(BucketLocationConstraint::from(region))
                    .build(),
            )
        };
        match request.send().await {
            Ok(_) if classic => Ok(Creation::Ours),
            Ok(_) => Ok(Creation::Made),
            Err(e) => match AwsError::new("CreateBucket", uri(bucket), e) {
                e if e.is("BucketAlreadyOwnedByYou") => Ok(Creation::Ours),
                e if e.is("BucketAlreadyExists") => Ok(Creation::Taken),
                e => Err(e),
            },
        }
    }

    /// Whether a bucket of that name is there.
    pub async fn sight_of(&self, bucket: &BucketName) -> AwsResult<Sight> {
        match self.client().head_bucket().bucket(bucket.as_str()).send().await {
            Ok(_) => Ok(Sight::Visible),
            Err(e) => match AwsError::new("HeadBucket", uri(bucket), e) {
                e if e.kind == Kind::NotFound => Ok(Sight::Absent),
                // A HEAD's answer has no body, so the status is all there is. 301: it lies in another region.
                e if matches!(e.status, Some(301 | 403)) => Ok(Sight::Hidden),
                e => Err(e),
            },
        }
    }

    /// The bucket's tags.
    pub async fn bucket_tags(&self, bucket: &BucketName) -> AwsResult<Vec<(String, String)>> {
        let answer = self.client().get_bucket_tagging().bucket(bucket.as_str()).send().await;
        let answer = answer.map_err(|e| AwsError::new("GetBucketTagging", uri(bucket), e));
        let answer = none_if(answer, "NoSuchTagSet")?;
        Ok(answer.map(|a| a.tag_set).unwrap_or_default().into_iter().map(|t| (t.key, t.value)).collect())
    }

    /// Replaces the bucket's tags by these.
    pub async fn put_bucket_tags(&self, bucket: &BucketName, tags: &[(String, String)]) -> AwsResult<()> {
        const OPERATION: &str = "PutBucketTagging";
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags = tags.collect::<Result<Vec<_>, _>>().map_err(|e| unbuildable(OPERATION, bucket, &e))?;
        let tagging = Tagging::builder().set_tag_set(Some(tags)).build();
        let tagging = tagging.map_err(|e| unbuildable(OPERATION, bucket, &e))?;
        let request = self.client().put_bucket_tagging().bucket(bucket.as_str()).tagging(tagging);
        request.send().await.map_err(|e| AwsError::new(OPERATION, uri(bucket), e))?;
        Ok(())
    }

    /// What of public access is blocked.
    pub async fn public_access_block(&self, bucket: &BucketName) -> AwsResult<Option<PublicAccessBlockConfiguration>> {
        let answer = self.client().get_public_access_block().bucket(bucket.as_str()).send().await;
        let answer = answer.map_err(|e| AwsError::new("GetPublicAccessBlock", uri(bucket), e));
        let answer = none_if(answer, "NoSuchPublicAccessBlockConfiguration")?;
        Ok(answer.and_then(|a| a.public_access_block_configuration))
    }

    pub async fn put_public_access_block(
        &self,
        bucket: &BucketName,
        block: PublicAccessBlockConfiguration,
    ) -> AwsResult<()> {
        let request = self.client().put_public_access_block().bucket(bucket.as_str());
        let request = request.public_access_block_configuration(block);
        request.send().await.map_err(|e| AwsError::new("PutPublicAccessBlock", uri(bucket), e))?;
        Ok(())
    }

    /// The bucket's CORS rules.
    pub async fn cors(&self, bucket: &BucketName) -> AwsResult<Vec<CorsRule>> {
        let answer = self.client().get_bucket_cors().bucket(bucket.as_str()).send().await;
        let answer = answer.map_err(|e| AwsError::new("GetBucketCors", uri(bucket), e));
        Ok(none_if(answer, "NoSuchCORSConfiguration")?.and_then(|a| a.cors_rules).unwrap_or_default())
    }

    /// Replaces the bucket's CORS rules by these.
    pub async fn put_cors(&self, bucket: &BucketName, rules: Vec<CorsRule>) -> AwsResult<()> {
        const OPERATION: &str = "PutBucketCors";
        let cors = CorsConfiguration::builder().set_cors_rules(Some(rules)).build();
        let cors = cors.map_err(|e| unbuildable(OPERATION, bucket, &e))?;
        let request = self.client().put_bucket_cors().bucket(bucket.as_str()).cors_configuration(cors);
        request.send().await.map_err(|e| AwsError::new(OPERATION, uri(bucket), e))?;
        Ok(())
    }

    /// The bucket's lifecycle rules.
    pub async fn lifecycle(&self, bucket: &BucketName) -> AwsResult<Lifecycle> {
        let answer = self.client().get_bucket_lifecycle_configuration().bucket(bucket.as_str()).send().await;
        let answer = answer.map_err(|e| AwsError::new("GetBucketLifecycleConfiguration", uri(bucket), e));
        let answer = none_if(answer, "NoSuchLifecycleConfiguration")?;
        Ok(answer.map_or_else(Lifecycle::default, |a| Lifecycle {
            rules: a.rules.unwrap_or_default(),
            minimum_object_size: a.transition_default_minimum_object_size,
        }))
    }

    /// Replaces the bucket's lifecycle by this.
    pub async fn put_lifecycle(&self, bucket: &BucketName, lifecycle: Lifecycle) -> AwsResult<()> {
        const OPERATION: &str = "PutBucketLifecycleConfiguration";
        let rules = BucketLifecycleConfiguration::builder().set_rules(Some(lifecycle.rules)).build();
        let rules = rules.map_err(|e| unbuildable(OPERATION, bucket, &e))?;
        self.client()
            .put_bucket_lifecycle_configuration()
            .bucket(bucket.as_str())
            .lifecycle_configuration(rules)
            .set_transition_default_minimum_object_size(lifecycle.minimum_object_size)
            .send()
            .await
            .map_err(|e| AwsError::new(OPERATION, uri(bucket), e))?;
        Ok(())
    }

    /// Who is told of what happens in the bucket.
    pub async fn notifications(&self, bucket: &BucketName) -> AwsResult<NotificationConfiguration> {
        let request = self.client().get_bucket_notification_configuration().bucket(bucket.as_str());
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if is_empty_document(&error) => return Ok(NotificationConfiguration::builder().build()),
            Err(error) => return Err(AwsError::new("GetBucketNotificationConfiguration", uri(bucket), error)),
        };
        Ok(NotificationConfiguration::builder()
            .set_topic_configurations(answer.topic_configurations)
            .set_queue_configurations(answer.queue_configurations)
            .set_lambda_function_configurations(answer.lambda_function_configurations)
            .set_event_bridge_configuration(answer.event_bridge_configuration)
            .build())
    }

    /// Replaces the *whole* notification configuration by this. S3 checks that it may send to every queue in it.
    pub async fn put_notifications(
        &self,
        bucket: &BucketName,
        notifications: NotificationConfiguration,
    ) -> AwsResult<()> {
        let request = self.client().put_bucket_notification_configuration().bucket(bucket.as_str());
        let request = request.notification_configuration(notifications);
        request.send().await.map_err(|e| AwsError::new("PutBucketNotificationConfiguration", uri(bucket), e))?;
        Ok(())
    }

    /// The bucket's policy, as JSON text.
    pub async fn bucket_policy(&self, bucket: &BucketName) -> AwsResult<Option<String>> {
        let answer = self.client().get_bucket_policy().bucket(bucket.as_str()).send().await;
        let answer = answer.map_err(|e| AwsError::new("GetBucketPolicy", uri(bucket), e));
        Ok(none_if(answer, "NoSuchBucketPolicy")?.and_then(|a| a.policy))
    }

    pub async fn put_bucket_policy(&self, bucket: &BucketName, policy: &str) -> AwsResult<()> {
        let request = self.client().put_bucket_policy().bucket(bucket.as_str()).policy(policy);
        request.send().await.map_err(|e| AwsError::new("PutBucketPolicy", uri(bucket), e))?;
        Ok(())
    }
}

/// S3 answers 404 for a setting that is not there, each with a code of its own; a bucket that is not there has another.
fn none_if<T>(answer: AwsResult<T>, code: &str) -> AwsResult<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(e) if e.is(code) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether a good answer could not be read, but holds nothing either: one element without content. Some S3-compatible
/// servers give the empty document another root than S3 does.
fn is_empty_document<E>(error: &SdkError<E, HttpResponse>) -> bool {
    let Some(answer) = error.raw_response().filter(|answer| answer.status().is_success()) else { return false };
    let text = String::from_utf8_lossy(answer.body().bytes().unwrap_or_default()).into_owned();
    let root = text.split_once("?>").map_or(text.as_str(), |(_, root)| root).trim();
    root.starts_with('<') && root.ends_with("/>") && root.matches('<').count() == 1
}

fn unbuildable(operation: &'static str, bucket: &BucketName, error: &impl std::fmt::Display) -> AwsError {
    AwsError::from_entry(operation, uri(bucket), None, error.to_string())
}

fn uri(bucket: &BucketName) -> String {
    bucket.to_uri()
}
