//! Counts the answers by which AWS says "slower", the ones that the SDK's retries hide among them: they are the first
//! sign that a limit is too high, long before anything fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// A counter shared by all clients; [`Throttles::take`] reads and resets it.
#[derive(Debug, Clone, Default)]
pub struct Throttles(Arc<AtomicU64>);

impl Throttles {
    /// How many throttled answers there were since the last call.
    pub fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Intercept for Throttles {
    fn name(&self) -> &'static str {
        "tierd-throttles"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if says_slow_down(context.response()) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// By what DynamoDB and SQS, which answer 400, name their reason.
const REASONS: [&str; 3] = ["Throttl", "ThroughputExceeded", "RequestLimitExceeded"];
/// S3's reason, in the body of a copy that had begun when S3 thought better of it: its status is 200.
const S3_REASON: &str = "<Code>SlowDown</Code>";
/// How far into a body the reason is looked for.
const REASON_WITHIN_BYTES: usize = 512;

/// Whether AWS asks, by this answer, to send less.
pub fn says_slow_down(response: &HttpResponse) -> bool {
    match response.status().as_u16() {
        429 | 503 => true,
        400 => names(response, &REASONS),
        200 | 500 => names(response, &[S3_REASON]),
        _ => false,
    }
}

fn names(response: &HttpResponse, reasons: &[&str]) -> bool {
    response.body().bytes().is_some_and(|body| {
        // S3 keeps a connection alive by white space while it copies.
        let body = body.trim_ascii_start();
        let start = &body[..body.len().min(REASON_WITHIN_BYTES)];
        reasons.iter().any(|reason| memchr::memmem::find(start, reason.as_bytes()).is_some())
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::primitives::SdkBody;

    use super::*;

    #[test]
    fn an_answer_says_slow_down_by_its_status_or_its_code() {
        let dynamodb = |code: &str| format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"m"}}"#);
        let s3 = |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
        for (status, body, expected) in [
            (503, String::new(), true),
            (429, String::new(), true),
            (400, dynamodb("ProvisionedThroughputExceededException"), true),
            (400, dynamodb("ThrottlingException"), true),
            (400, dynamodb("ConditionalCheckFailedException"), false),
            (500, s3("SlowDown"), true),
            (500, s3("InternalError"), false),
            (200, format!("{}{}", " \n".repeat(1000), s3("SlowDown")), true),
            (200, s3("InternalError"), false),
            (200, dynamodb("ThrottlingException"), false),
            (404, String::new(), false),
        ] {
            let response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body.clone()));
            assert_eq!(says_slow_down(&response), expected, "{status} {body}");
        }
    }
}
