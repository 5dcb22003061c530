//! How fast S3 is asked for restores.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// S3 takes 1,000 RestoreObject requests a second from an account (S3 user guide, "Archive retrieval options"); two daemons
/// that overlap, and whatever else asks, share them.
const RESTORES_PER_SECOND: u32 = 400;

/// Lets callers through one after another, evenly spaced; clones share the pace.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace(Arc<Mutex<Option<Instant>>>);

impl Pace {
    /// Returns when it is the caller's turn.
    pub(super) async fn turn(&self) {
        let mine = {
            let mut next = self.0.lock().await;
            let mine = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
            *next = Some(mine + Duration::from_secs(1) / RESTORES_PER_SECOND);
            mine
        };
        tokio::time::sleep_until(mine).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_spread_and_a_pause_is_not_saved_up() {
        let pace = Pace::default();
        let began = Instant::now();
        for _ in 0..RESTORES_PER_SECOND * 2 {
            pace.turn().await;
        }
        assert!(began.elapsed() > Duration::from_millis(1900), "{:?}", began.elapsed());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let again = Instant::now();
        for _ in 0..RESTORES_PER_SECOND {
            pace.turn().await;
        }
        assert!(again.elapsed() > Duration::from_millis(900), "{:?}", again.elapsed());
    }
}
