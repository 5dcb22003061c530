//! Writing a batch's counts into the ledger: many updates at a time, fewer when DynamoDB says so, and none begun after the
//! first that fails for good.
//!
//! An update that is sent twice counts once (the row carries the batch's number), so whatever fails may simply be sent again.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::aws::{AwsError, AwsResult, Kind};
use crate::ledger::{Counted, Ledger, ROWS_A_LOOK, Usage};
use crate::progress::Progress;
use crate::tiering::access::{AccessUpdate, Updates};
use crate::tiering::evidence::Gap;
use crate::tiering::object::{BucketName, ObjectId};

/// How often one update is sent again, after the SDK's own tries, before the run gives up.
const MAX_THROTTLED_TRIES: u32 = 30;
const MAX_TRANSIENT_TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How far the rows came.
#[derive(Debug, PartialEq)]
pub(super) enum Written {
    All(Told),
    /// Told to stop; what was begun is finished.
    Stopped,
}

/// What the rows of a batch told, also those that an earlier try of it wrote.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Told {
    /// The idle times that ended by it.
    pub closed: ClosedByBucket,
    /// How many are of objects that no earlier batch of this run had.
    pub new_to_run: u64,
}

/// The idle times that ended, of each bucket.
pub(super) type ClosedByBucket = BTreeMap<BucketName, Vec<Gap>>;

/// How the rows of a batch are written.
pub(super) struct Writer<'a> {
    pub ledger: &'a Ledger,
    /// Its number, which each row takes.
    pub batch: u64,
    /// The first batch of this run.
    pub first_batch: u64,
    /// Requests at once, at most.
    pub max_in_flight: usize,
    /// Told of each row that is written.
    pub progress: &'a Progress,
    pub stop: &'a CancellationToken,
}

/// Counts each update into its row.
pub(super) async fn write(writer: &Writer<'_>, updates: Updates) -> AwsResult<Written> {
    let mut writing = Writing {
        writer,
        updates,
        unread: Vec::new(),
        reading: false,
        ready: VecDeque::new(),
        in_flight: JoinSet::new(),
        pace: Pace::new(writer.max_in_flight),
        told: Told::default(),
        failed: None,
    };
    loop {
        if writing.failed.is_none() && !writer.stop.is_cancelled() {
            writing.begin_more();
        }
        let Some(joined) = writing.in_flight.join_next().await else { break };
        match joined {
            Ok(Done::Looked(look)) => writing.looked(look),
            Ok(Done::Counted(attempt)) => writing.counted(*attempt),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    match writing.failed {
        Some(error) => Err(error),
        None if writing.is_done() => Ok(Written::All(writing.told)),
        None => Ok(Written::Stopped),
    }
}

/// A batch's rows under way.
struct Writing<'a> {
    writer: &'a Writer<'a>,
    updates: Updates,
    /// Begun to be read, and left out of an answer.
    unread: Vec<AccessUpdate>,
    /// Whether rows are being read.
    reading: bool,
    /// Read, to be written.
    ready: VecDeque<(AccessUpdate, Usage)>,
    in_flight: JoinSet<Done>,
    pace: Pace,
    told: Told,
    /// The first trouble that does not pass: nothing is begun after it.
    failed: Option<AwsError>,
}

impl Writing<'_> {
    /// As much as the pace allows; rows are read a hundred ahead of the writes.
    fn begin_more(&mut self) {
        while self.in_flight.len() < self.pace.limit() {
            if !self.reading && self.ready.len() < ROWS_A_LOOK && (!self.unread.is_empty() || self.updates.len() > 0) {
                let mut rows = std::mem::take(&mut self.unread);
                let fresh = self.updates.by_ref().take(ROWS_A_LOOK - rows.len());
                rows.extend(fresh);
                self.look(rows, 0);
            } else if let Some((update, seen)) = self.ready.pop_front() {
                let attempt = count(self.writer.ledger.clone(), update, seen, self.writer.batch, 0, self.pace.round);
                self.in_flight.spawn(attempt);
            } else {
                return;
            }
        }
    }

    fn look(&mut self, rows: Vec<AccessUpdate>, tries: u32) {
        self.reading = true;
        self.in_flight.spawn(look(self.writer.ledger.clone(), rows, tries, self.pace.round));
    }

    fn looked(&mut self, look: Look) {
        self.reading = false;
        let Look { updates, result, tries, round } = look;
        let (mut rows, left_out) = match result {
            Ok(answer) => answer,
            Err(error) => {
                if self.may_try_again(error, tries, round) {
                    self.look(updates, tries);
                }
                return;
            }
        };
        let left_out: HashSet<ObjectId> = left_out.into_iter().collect();
        for update in updates {
            if left_out.contains(&update.object) {
                self.unread.push(update);
            } else {
                let seen = rows.remove(&update.object).unwrap_or_default();
                self.ready.push_back((update, seen));
            }
        }
        if !left_out.is_empty() {
            let code = Some("ProvisionedThroughputExceededException");
            let error =
                AwsError::from_entry("BatchGetItem", self.writer.ledger.table(), code, "rows are left out of answers");
            if self.may_try_again(error, tries, round) {
                let rows = std::mem::take(&mut self.unread);
                self.look(rows, tries);
            }
        }
    }

    fn counted(&mut self, attempt: Attempt) {
        let Attempt { update, seen, result, tries, round } = attempt;
        match result {
            Ok(counted) => {
                failpoint!("ingest.row-counted");
                self.pace.went_through();
                self.writer.progress.add_done(1);
                // A row tells by its number whether this run was there before; a set of all objects would grow with the run.
                let is_first = self.writer.batch == self.writer.first_batch;
                self.told.new_to_run += u64::from(is_first || !seen.counted_since(self.writer.first_batch));
                if let Counted::Now(mut closed) | Counted::Before(mut closed) = counted
                    && !closed.is_empty()
                {
                    self.told.closed.entry(update.object.bucket).or_default().append(&mut closed);
                }
            }
            Err(error) => {
                if self.may_try_again(error, tries, round) {
                    let again =
                        count(self.writer.ledger.clone(), update, seen, self.writer.batch, tries, self.pace.round);
                    self.in_flight.spawn(again);
                }
            }
        }
    }

    /// Whether what failed with `error` after `tries` is sent again; if not, the run has failed.
    fn may_try_again(&mut self, error: AwsError, tries: u32, round: u32) -> bool {
        if error.kind == Kind::Throttled {
            self.pace.throttled(round);
        }
        let max_tries = match error.kind {
            Kind::Throttled => MAX_THROTTLED_TRIES,
            Kind::Transient | Kind::Unreachable | Kind::Conflict => MAX_TRANSIENT_TRIES,
            Kind::Denied | Kind::NotFound | Kind::Precondition | Kind::Refused => 0,
        };
        let again = tries <= max_tries && self.failed.is_none() && !self.writer.stop.is_cancelled();
        if !again {
            self.failed.get_or_insert(error);
        }
        again
    }

    /// Once nothing is in flight.
    fn is_done(&self) -> bool {
        self.updates.len() == 0 && self.unread.is_empty() && self.ready.is_empty()
    }
}

/// What came back.
enum Done {
    Looked(Look),
    Counted(Box<Attempt>),
}

/// Rows that were read.
struct Look {
    updates: Vec<AccessUpdate>,
    result: AwsResult<(HashMap<ObjectId, Usage>, Vec<ObjectId>)>,
    tries: u32,
    round: u32,
}

async fn look(ledger: Ledger, updates: Vec<AccessUpdate>, tries_before: u32, round: u32) -> Done {
    pause(tries_before).await;
    let result = ledger.usages(updates.iter().map(|update| &update.object)).await;
    Done::Looked(Look { updates, result, tries: tries_before + 1, round })
}

/// An update that was sent.
struct Attempt {
    update: AccessUpdate,
    seen: Usage,
    result: AwsResult<Counted>,
    tries: u32,
    round: u32,
}

async fn count(ledger: Ledger, update: AccessUpdate, seen: Usage, batch: u64, tries_before: u32, round: u32) -> Done {
    pause(tries_before).await;
    let result = ledger.count(&update, batch, &seen).await;
    Done::Counted(Box::new(Attempt { update, seen, result, tries: tries_before + 1, round }))
}

async fn pause(tries_before: u32) {
    if tries_before > 0 {
        tokio::time::sleep((FIRST_PAUSE * 2_u32.pow(tries_before.min(10))).min(LONGEST_PAUSE)).await;
    }
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
