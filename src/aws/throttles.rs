//! Counts the answers by which AWS says "slower", the ones that the SDK's retries hide among them: they are the first
//! sign that a limit is too high, long before anything fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
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
        let response = context.response();
        let throttled_by_status = matches!(response.status().as_u16(), 429 | 503);
        // DynamoDB and SQS answer 400 and name the reason in a small body.
        let throttled_by_code = response.status().as_u16() == 400
            && response.body().bytes().is_some_and(|body| {
                let start = &body[..body.len().min(512)];
                ["Throttl", "ThroughputExceeded", "RequestLimitExceeded"]
                    .iter()
                    .any(|code| memchr::memmem::find(start, code.as_bytes()).is_some())
            });
        if throttled_by_status || throttled_by_code {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
