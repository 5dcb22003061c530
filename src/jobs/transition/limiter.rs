//! How fast requests go out: a token bucket over all of them, and one for each bucket and first part of the key that gives
//! way when S3 says "slow down".
//!
//! S3 scales by prefix, and answers `SlowDown` for the one that is too hot while all others could go on. So a throttled
//! answer halves the rate of its own prefix, and each second without one gives back a twentieth of the full rate. The
//! SDK's own retries hide most throttled answers; an interceptor sees them all ([`Watch`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use tokio::time::Instant;

use crate::aws::says_slow_down;
use crate::tiering::object::ObjectId;

/// No prefix is slowed down below this.
const MIN_PER_SECOND: f64 = 1.0;
/// What a second without a throttled answer gives back, as a share of the full rate.
const RECOVERY_PER_SECOND: f64 = 0.05;
/// A burst of throttled answers is one message: halve at most so often.
const HALVE_EVERY: Duration = Duration::from_millis(500);
/// Prefixes that are remembered; beyond, those that run at full rate are forgotten.
const MAX_PREFIXES: usize = 10_000;

tokio::task_local! {
    /// Whose requests the current task sends.
    static SENDER: (Limiter, String);
}

/// Shared by all that send.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Mutex<Rates>>);

#[derive(Debug)]
struct Rates {
    max_per_second: f64,
    all: TokenBucket,
    prefixes: HashMap<String, TokenBucket>,
}

impl Limiter {
    pub fn new(max_requests_per_second: u32) -> Self {
        let max_per_second = f64::from(max_requests_per_second.max(1));
        let all = TokenBucket::new(max_per_second, Instant::now());
        Self(Arc::new(Mutex::new(Rates { max_per_second, all, prefixes: HashMap::new() })))
    }

    /// Waits until `requests` more may be sent for `id`.
    pub async fn acquire(&self, id: &ObjectId, requests: u64) {
        let wait = self.with(|rates| rates.take(&prefix_of(id), requests, Instant::now()));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Runs `work`, whose requests are for `id`: what S3 says to them is heard by [`Watch`].
    pub async fn listen<F: Future>(&self, id: &ObjectId, work: F) -> F::Output {
        SENDER.scope((self.clone(), prefix_of(id)), work).await
    }

    fn slow_down(&self, prefix: &str) {
        let halved = self.with(|rates| rates.prefix(prefix).halve(Instant::now()));
        if let Some(per_second) = halved {
            tracing::info!(event = "transition.slowed_down", prefix, per_second, "S3 asks to slow down");
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Rates) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Rates {
    fn take(&mut self, prefix: &str, requests: u64, now: Instant) -> Duration {
        let tokens = requests as f64;
        let wait = self.prefix(prefix).take(tokens, now);
        wait.max(self.all.take(tokens, now))
    }

    fn prefix(&mut self, prefix: &str) -> &mut TokenBucket {
        let now = Instant::now();
        if self.prefixes.len() >= MAX_PREFIXES && !self.prefixes.contains_key(prefix) {
            self.prefixes.retain(|_, bucket| !bucket.is_idle(now));
        }
        let max = self.max_per_second;
        self.prefixes.entry(prefix.to_owned()).or_insert_with(|| TokenBucket::new(max, now))
    }
}

/// Tokens come in at `per_second` and are taken before they are there if need be: then the taker waits.
#[derive(Debug)]
struct TokenBucket {
    max_per_second: f64,
    per_second: f64,
    /// At most what a tenth of a second brings (and one at least). Below zero: spoken for.
    tokens: f64,
    at: Instant,
    halved_at: Option<Instant>,
}

impl TokenBucket {
    fn new(max_per_second: f64, now: Instant) -> Self {
        Self { max_per_second, per_second: max_per_second, tokens: 0.0, at: now, halved_at: None }
    }

    fn take(&mut self, tokens: f64, now: Instant) -> Duration {
        self.advance(now);
        self.tokens -= tokens;
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.tokens / self.per_second) }
    }

    fn advance(&mut self, now: Instant) {
        let secs = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + secs * self.per_second).min((self.per_second / 10.0).max(1.0));
        self.per_second = (self.per_second + secs * RECOVERY_PER_SECOND * self.max_per_second).min(self.max_per_second);
    }

    /// The new rate, if this is not one more answer of the same burst.
    fn halve(&mut self, now: Instant) -> Option<f64> {
        self.advance(now);
        if self.halved_at.is_some_and(|at| now.saturating_duration_since(at) < HALVE_EVERY) {
            return None;
        }
        self.halved_at = Some(now);
        self.per_second = (self.per_second / 2.0).max(MIN_PER_SECOND);
        Some(self.per_second)
    }

    fn is_idle(&mut self, now: Instant) -> bool {
        self.advance(now);
        self.tokens >= 0.0 && self.per_second >= self.max_per_second
    }
}

/// The bucket and the key up to its first slash: as fine as S3 is known to split.
fn prefix_of(id: &ObjectId) -> String {
    let dir = id.key.as_str().split_once('/').map_or("", |(dir, _)| dir);
    format!("{}/{dir}", id.bucket)
}

/// Hears every answer of S3, those that the SDK retries among them.
#[derive(Debug, Clone, Copy)]
pub struct Watch;

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "tierd-slow-down"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if says_slow_down(context.response()) {
            // Outside of a move nobody listens, and that is fine.
            SENDER.try_with(|(limiter, prefix)| limiter.slow_down(prefix)).unwrap_or_default();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, secs: f64) -> Instant {
        start + Duration::from_secs_f64(secs)
    }

    /// Requests that get through in `secs`, asked for one after another.
    fn sent(bucket: &mut TokenBucket, start: Instant, secs: f64) -> u32 {
        let (mut clock, mut count) = (0.0, 0);
        loop {
            clock += bucket.take(1.0, after(start, clock)).as_secs_f64();
            if clock >= secs {
                return count;
            }
            count += 1;
        }
    }

    #[test]
    fn the_rate_is_kept() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(100.0, start);
        let count = sent(&mut bucket, start, 3.0);
        assert!((290..=310).contains(&count), "{count}");
        // A pause saves up a tenth of a second and no more.
        let count = sent(&mut bucket, after(start, 60.0), 1.0);
        assert!((105..=115).contains(&count), "{count}");
    }

    #[test]
    fn slow_down_halves_the_rate_once_a_burst_and_it_climbs_back() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(100.0, start);
        assert_eq!(bucket.halve(start), Some(50.0));
        assert_eq!(bucket.halve(after(start, 0.1)), None);
        for burst in 1..20 {
            bucket.halve(after(start, f64::from(burst)));
        }
        assert!(bucket.per_second >= MIN_PER_SECOND && bucket.per_second < 20.0, "{}", bucket.per_second);
        assert!(!bucket.is_idle(after(start, 20.0)));
        assert!(bucket.is_idle(after(start, 60.0)));
    }

    #[test]
    fn a_slow_prefix_does_not_slow_another() {
        let limiter = Limiter::new(1000);
        let id = |uri: &str| prefix_of(&uri.parse().unwrap());
        for _ in 0..3 {
            limiter.with(|rates| rates.prefix(&id("s3://bucket/hot/a")).per_second /= 2.0);
        }
        limiter.with(|rates| {
            assert!(rates.prefix(&id("s3://bucket/hot/b")).per_second < 200.0);
            assert_eq!(rates.prefix(&id("s3://bucket/cool/a")).per_second, 1000.0);
            assert_eq!(rates.prefix(&id("s3://other/hot/a")).per_second, 1000.0);
        });
    }
}
