//! Writing a batch's counts into the ledger: many updates at a time, fewer when DynamoDB says so, and none begun after the
//! first that fails for good.
//!
//! An update that is sent twice counts once (the row carries the batch's number), so whatever fails may simply be sent again.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use rustc_hash::FxHashSet;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::aws::{AwsError, AwsResult, Kind};
use crate::ledger::{Accesses, Change, Ledger};
use crate::tiering::access::{AccessUpdate, Updates};

/// How often one update is sent again, after the SDK's own tries, before the run gives up.
const MAX_THROTTLED_TRIES: u32 = 30;
const MAX_TRANSIENT_TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How far the rows came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    All,
    /// Told to stop; what was begun is finished.
    Stopped,
}

/// Counts each update into its row, as one of batch `batch`, and adds the hash of each object to `objects`.
pub(super) async fn write(
    ledger: &Ledger,
    mut updates: Updates,
    batch: u64,
    max_in_flight: usize,
    stop: &CancellationToken,
    objects: &mut FxHashSet<u64>,
) -> AwsResult<Written> {
    let mut pace = Pace::new(max_in_flight);
    let mut in_flight: JoinSet<Attempt> = JoinSet::new();
    let mut failed: Option<AwsError> = None;
    let mut all_begun = false;
    loop {
        while failed.is_none() && !all_begun && !stop.is_cancelled() && in_flight.len() < pace.limit() {
            match updates.next() {
                Some(update) => {
                    objects.insert(hash_of(&update));
                    in_flight.spawn(attempt(ledger.clone(), update, batch, 0, pace.round));
                }
                None => all_begun = true,
            }
        }
        let Some(joined) = in_flight.join_next().await else { break };
        let done = match joined {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        match done.result {
            // Refused: the row has this batch already.
            Ok(Change::Made | Change::Refused) => {
                failpoint!("ingest.row-counted");
                pace.went_through();
            }
            Err(error) => {
                if error.kind == Kind::Throttled {
                    pace.throttled(done.round);
                }
                let max_tries = match error.kind {
                    Kind::Throttled => MAX_THROTTLED_TRIES,
                    Kind::Transient | Kind::Unreachable | Kind::Conflict => MAX_TRANSIENT_TRIES,
                    Kind::Denied | Kind::NotFound | Kind::Precondition | Kind::Refused => 0,
                };
                if done.tries > max_tries || failed.is_some() || stop.is_cancelled() {
                    failed.get_or_insert(error);
                } else {
                    in_flight.spawn(attempt(ledger.clone(), done.update, batch, done.tries, pace.round));
                }
            }
        }
    }
    match failed {
        Some(error) => Err(error),
        None if all_begun => Ok(Written::All),
        None => Ok(Written::Stopped),
    }
}

/// An object by 64 bits, by which distinct ones are told apart well enough to be counted.
pub(super) fn hash_of(update: &AccessUpdate) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(&update.object)
}

/// An update that was sent.
struct Attempt {
    update: AccessUpdate,
    result: AwsResult<Change>,
    tries: u32,
    round: u32,
}

async fn attempt(ledger: Ledger, update: AccessUpdate, batch: u64, tries_before: u32, round: u32) -> Attempt {
    if tries_before > 0 {
        tokio::time::sleep((FIRST_PAUSE * 2_u32.pow(tries_before.min(10))).min(LONGEST_PAUSE)).await;
    }
    let accesses = Accesses { count: update.count, latest: update.latest };
    let result = ledger.count(&update.object, &accesses, batch).await;
    Attempt { update, result, tries: tries_before + 1, round }
}

/// How many updates may be in flight: one more for every full round that goes through, half as many when one is throttled.
#[derive(Debug)]
struct Pace {
    limit: f64,
    max: f64,
    /// Grows with every halving: what was sent before it says nothing of the pace after it.
    round: u32,
}

impl Pace {
    fn new(max_in_flight: usize) -> Self {
        let max = max_in_flight.max(1) as f64;
        Self { limit: max, max, round: 0 }
    }

    fn limit(&self) -> usize {
        self.limit as usize
    }

    fn went_through(&mut self) {
        self.limit = (self.limit + 1.0 / self.limit).min(self.max);
    }

    fn throttled(&mut self, round: u32) {
        if round == self.round {
            self.limit = (self.limit / 2.0).max(1.0);
            self.round += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_throttling_halves_the_pace_once_and_success_brings_it_back() {
        let mut pace = Pace::new(64);
        for _ in 0..64 {
            pace.throttled(0);
        }
        assert_eq!(pace.limit(), 32);
        pace.throttled(1);
        assert_eq!(pace.limit(), 16);
        for _ in 0..10_000 {
            pace.went_through();
        }
        assert_eq!(pace.limit(), 64);
        for round in 2..20 {
            pace.throttled(round);
        }
        assert_eq!(pace.limit(), 1);
    }
}
