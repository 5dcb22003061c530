//! The AWS SDK's clients as tierd wants them: built once from the configuration, with time-outs, retry partitions and
//! a custom endpoint where one is set. Nothing here knows what the clients are used for.

mod conflicts;
mod error;
mod throttles;

use std::time::Duration;

use anyhow::{Context, Result};
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};

pub use error::{AwsError, Kind, Result as AwsResult};
pub use throttles::{Throttles, says_slow_down};

use crate::config::Settings;

/// The longest that S3 may take to answer one copy of up to 5 GiB. It keeps the connection alive with white space.
const COPY_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Longer than the 20 s of a long poll: a shorter attempt would cut every quiet poll off.
const QUEUE_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(40);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ATTEMPTS: u32 = 6;

/// One client for each way in which tierd uses a service.
#[derive(Debug, Clone)]
pub struct Clients {
    pub dynamodb: aws_sdk_dynamodb::Client,
    pub streams: aws_sdk_dynamodbstreams::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub sts: aws_sdk_sts::Client,
    /// For heads, lists, tags, restores: what somebody waits for.
    pub s3: aws_sdk_s3::Client,
    /// For copies: patient, and with a retry quota of its own, so that bulk moves cannot starve a user's restore.
    pub s3_copy: aws_sdk_s3::Client,
    pub region: String,
    pub throttles: Throttles,
    base: SdkConfig,
    custom_endpoint: bool,
}

impl Clients {
    /// The SDK's own chain of credentials and profiles.
    pub fn loader() -> ConfigLoader {
        aws_config::defaults(BehaviorVersion::v2026_01_12())
    }

    /// Builds the clients. Credentials come from `loader`'s chain and are not asked for before the first call.
    pub async fn connect(settings: &Settings, loader: ConfigLoader) -> Result<Self> {
        let aws = &settings.aws;
        let throttles = Throttles::default();
        let mut loader = loader
            .region(Region::new(aws.region.clone()))
            .retry_config(retry())
            .timeout_config(timeouts(ATTEMPT_TIMEOUT));
        if let Some(profile) = &aws.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(endpoint) = &aws.endpoint_url {
            loader = loader.endpoint_url(endpoint);
        }
        let mut base = loader.load().await;
        if let Some(role) = &aws.assume_role_arn {
            let provider =
                aws_config::sts::AssumeRoleProvider::builder(role).session_name("tierd").configure(&base).build().await;
            base = base
                .into_builder()
                .credentials_provider(aws_sdk_s3::config::SharedCredentialsProvider::new(provider))
                .build();
        }
        let custom_endpoint = aws.endpoint_url.is_some() || base.endpoint_url().is_some();
        Ok(Self {
            dynamodb: aws_sdk_dynamodb::Client::from_conf(
                aws_sdk_dynamodb::config::Builder::from(&base)
                    .interceptor(throttles.clone())
                    .retry_classifier(conflicts::TransactionConflicts)
                    .build(),
            ),
            streams: aws_sdk_dynamodbstreams::Client::from_conf(
                aws_sdk_dynamodbstreams::config::Builder::from(&base).interceptor(throttles.clone()).build(),
            ),
            sqs: aws_sdk_sqs::Client::from_conf(
                aws_sdk_sqs::config::Builder::from(&base)
                    .timeout_config(timeouts(QUEUE_ATTEMPT_TIMEOUT))
                    // It wakes ten times a second to see whether a long poll, which is silent by nature, is stalled. The
                    // attempt's own time-out bounds these small answers as well.
                    .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
                    .interceptor(throttles.clone())
                    .build(),
            ),
            sts: aws_sdk_sts::Client::new(&base),
            s3: s3_client(&base, custom_endpoint, &throttles, S3Use::Interactive, None),
            s3_copy: s3_client(&base, custom_endpoint, &throttles, S3Use::Copy, None),
            region: aws.region.clone(),
            throttles,
            base,
            custom_endpoint,
        })
    }

    /// A client for the buckets of another region (a log bucket need not lie where the daemon runs).
    pub fn s3_in(&self, region: &str) -> aws_sdk_s3::Client {
        if region == self.region {
            return self.s3.clone();
        }
        s3_client(&self.base, self.custom_endpoint, &self.throttles, S3Use::Interactive, Some(region))
    }

    /// The ARN of the identity that the daemon's calls are made under. One call to STS.
    pub async fn own_arn(&self) -> Result<String> {
        let identity = self
            .sts
            .get_caller_identity()
            .send()
            .await
            .map_err(|e| AwsError::new("GetCallerIdentity", "sts", e))
            .context("asking STS for the daemon's own identity")?;
        identity.arn.context("STS names no ARN for the daemon's own identity")
    }
}

#[derive(Clone, Copy, PartialEq)]
enum S3Use {
    Interactive,
    Copy,
}

fn s3_client(
    base: &SdkConfig,
    custom_endpoint: bool,
    throttles: &Throttles,
    used_for: S3Use,
    region: Option<&str>,
) -> aws_sdk_s3::Client {
    let mut builder = aws_sdk_s3::config::Builder::from(base).interceptor(throttles.clone());
    if let Some(region) = region {
        builder = builder.region(Region::new(region.to_owned()));
    }
    if custom_endpoint {
        // S3-compatible servers seldom have a host name a bucket, and some refuse the SDK's default checksums.
        builder = builder
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    }
    if used_for == S3Use::Copy {
        // A retry partition of its own; and no stalled-stream protection, which trips while S3 copies a large part and
        // has nothing to send (smithy-rs#4439).
        builder = builder
            .timeout_config(timeouts(COPY_ATTEMPT_TIMEOUT))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_partition(aws_sdk_s3::config::retry::RetryPartition::new("tierd-copy"));
    }
    aws_sdk_s3::Client::from_conf(builder.build())
}

/// Standard mode: the adaptive mode's rate limiter does not always recover (aws-sdk-go-v2#3550).
fn retry() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS).with_max_backoff(Duration::from_secs(10))
}

/// The SDK sets no operation time-outs of its own; without them a lost connection hangs a part for good.
fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(attempt)
        .operation_attempt_timeout(attempt)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn copies_draw_on_a_retry_quota_of_their_own() {
        let settings = Settings::from_toml("ingest.enabled = false").expect("settings");
        let loader = Clients::loader().test_credentials().empty_test_environment();
        let clients = Clients::connect(&settings, loader).await.expect("clients");
        let partition = |client: &aws_sdk_s3::Client| client.config().retry_partition().cloned();
        assert!(partition(&clients.s3_copy).is_some());
        assert_ne!(partition(&clients.s3_copy), partition(&clients.s3));
    }
}
