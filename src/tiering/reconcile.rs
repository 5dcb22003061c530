//! Reconciliation: making the ledger's rows say what the bucket's listing says.
//!
//! S3 lists keys in the order of their UTF-8 bytes and DynamoDB keeps range keys in the same order, so rows and listing are
//! two sorted streams and [`MergeJoin`] walks them side by side, holding one key of each: constant memory, whatever the
//! bucket's size. The caller owns the streams and their pages; it shows the two heads to [`MergeJoin::step`], gets an
//! [`Effect`] or none, and advances what it is told to.
//!
//! **Nothing is applied while the join runs.** Whether the drops may happen at all is known only at the end: a listing that
//! breaks off in the middle must leave the bucket as it was, and the [`Breaker`] judges the share of rows that would go. So
//! the caller writes effects to a spool (they serialise) and replays it once [`MergeJoin::finish`] and
//! [`Breaker::allows`] have agreed. The rejected alternatives: a list of the drops in memory (unbounded when everything
//! vanished), and a second pass (reads the listing twice, and the two may disagree).
//!
//! **Between reading and applying the row may change**: ingest counts, a move writes its new ETag. Every effect therefore
//! carries what the row was seen to say, for the condition of the write; a write that is refused is left to the next run.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::ledger_row::{LedgerRow, Listed};
use super::object::{BucketName, ETag, ObjectKey};
use super::storage_class::StorageClass;

/// What is to be done to one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The object is gone: delete the row, if its last event is still `event_time` and its last batch `last_batch`.
    Drop { key: ObjectKey, event_time: Option<DateTime<Utc>>, last_batch: Option<u64> },
    /// The same object, of which the row knew too little or something old; if its ETag is still `expected_etag`.
    Refresh { key: ObjectKey, expected_etag: Option<ETag>, facts: Facts },
    /// Another object under the same key: its facts are new, count and last use stay; if the ETag is still `expected_etag`.
    Replace { key: ObjectKey, expected_etag: ETag, facts: Facts },
    /// An object without a row: write one with count 0, if there still is none.
    Adopt { key: ObjectKey, event_time: DateTime<Utc>, facts: Facts },
}

impl Effect {
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Drop { key, .. }
            | Self::Refresh { key, .. }
            | Self::Replace { key, .. }
            | Self::Adopt { key, .. } => key,
        }
    }

    pub fn is_drop(&self) -> bool {
        matches!(self, Self::Drop { .. })
    }
}

/// What a listing says of an object, as the row shall carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub etag: ETag,
    pub class: StorageClass,
    /// Bytes.
    pub size: u64,
    pub class_since: DateTime<Utc>,
}

/// What becomes of objects that have no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    Ignore,
    Adopt,
}

/// Which head to move on after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    Row,
    Listed,
    Both,
}

/// The answer to one pair of heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub advance: Advance,
    pub effect: Option<Effect>,
}

/// What a join has seen and wants. `rows` and `objects` are what was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub rows: u64,
    pub objects: u64,
    pub refreshed: u64,
    pub replaced: u64,
    /// Rows that would be dropped; the breaker has the last word.
    pub dropped: u64,
    pub adopted: u64,
    /// Rows without an object that are kept, because they were used or moved since the listing began.
    pub held_back: u64,
}

/// Which of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Rows,
    Listing,
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rows => "ledger",
            Self::Listing => "listing",
        })
    }
}

/// Why a join cannot be trusted. Any of these means: apply nothing, report the bucket as failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    #[error("the {stream} is not in the order of its keys' bytes: {next:?} came after {previous:?}")]
    Unsorted { stream: Stream, previous: String, next: String },
    #[error("the {stream} names {key:?} twice")]
    Duplicate { stream: Stream, key: String },
    #[error("a row of bucket {found} is among those of {expected}")]
    OtherBucket { expected: BucketName, found: BucketName },
    #[error("the {stream} went on after its end had been shown")]
    AfterEnd { stream: Stream },
    #[error("the rows and the listing were not read to their ends")]
    Unfinished,
}

/// The merge-join of one bucket.
#[derive(Debug)]
pub struct MergeJoin {
    bucket: BucketName,
    listing_started: DateTime<Utc>,
    unknown: Unknown,
    rows: Cursor,
    listing: Cursor,
    tally: Tally,
}

impl MergeJoin {
    /// A join over `bucket`. `listing_started` is taken before the first page of the listing was asked for, and before the
    /// first row was read; the service's own clock (the `Date` of an answer) is better than ours, since events carry it.
    pub fn new(bucket: BucketName, listing_started: DateTime<Utc>, unknown: Unknown) -> Self {
        let cursor = |stream| Cursor { stream, last: String::new(), ended: false };
        Self {
            bucket,
            listing_started,
            unknown,
            rows: cursor(Stream::Rows),
            listing: cursor(Stream::Listing),
            tally: Tally::default(),
        }
    }

    /// Compares the two heads. None for a head means that its stream has *ended*, which the caller must know, not guess: a
    /// page that failed is no end. Returns None when both have.
    ///
    /// Fails on streams that are out of order or repeat a key; the join is then of no use.
    pub fn step(&mut self, row: Option<&LedgerRow>, listed: Option<&Listed>) -> Result<Option<Step>, JoinError> {
        if let Some(row) = row
            && row.id.bucket != self.bucket
        {
            return Err(JoinError::OtherBucket { expected: self.bucket.clone(), found: row.id.bucket.clone() });
        }
        self.rows.check(row.map(|row| &row.id.key))?;
        self.listing.check(listed.map(|listed| &listed.key))?;

        let step = match (row, listed) {
            (None, None) => return Ok(None),
            (Some(row), None) => self.only_row(row),
            (None, Some(listed)) => self.only_listed(listed),
            (Some(row), Some(listed)) => match row.id.key.cmp(&listed.key) {
                std::cmp::Ordering::Less => self.only_row(row),
                std::cmp::Ordering::Greater => self.only_listed(listed),
                std::cmp::Ordering::Equal => self.both(row, listed),
            },
        };
        if step.advance != Advance::Listed
            && let Some(row) = row
        {
            self.tally.rows += 1;
            self.rows.pass(&row.id.key);
        }
        if step.advance != Advance::Row
            && let Some(listed) = listed
        {
            self.tally.objects += 1;
            self.listing.pass(&listed.key);
        }
        Ok(Some(step))
    }

    /// What has been seen so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Ends the join. Fails unless both streams have been shown to their ends, so that the effects of half a listing cannot
    /// be applied by mistake.
    pub fn finish(self) -> Result<Tally, JoinError> {
        if self.rows.ended && self.listing.ended { Ok(self.tally) } else { Err(JoinError::Unfinished) }
    }

    fn only_row(&mut self, row: &LedgerRow) -> Step {
        let effect = drop_effect(row, self.listing_started);
        match effect {
            Some(_) => self.tally.dropped += 1,
            None => self.tally.held_back += 1,
        }
        Step { advance: Advance::Row, effect }
    }

    fn only_listed(&mut self, listed: &Listed) -> Step {
        let effect = match self.unknown {
            Unknown::Ignore => None,
            Unknown::Adopt => {
                self.tally.adopted += 1;
                let facts = facts(listed, listed.last_modified);
                Some(Effect::Adopt { key: listed.key.clone(), event_time: listed.last_modified, facts })
            }
        };
        Step { advance: Advance::Listed, effect }
    }

    fn both(&mut self, row: &LedgerRow, listed: &Listed) -> Step {
        // A move that was done since the listing began knows better than a page that may have been read before it.
        let moved_since = not_before(row.class_since, self.listing_started);
        let effect = if moved_since { None } else { compare(row, listed) };
        match &effect {
            Some(Effect::Refresh { .. }) => self.tally.refreshed += 1,
            Some(Effect::Replace { .. }) => self.tally.replaced += 1,
            _ => {}
        }
        Step { advance: Advance::Both, effect }
    }
}

/// What becomes of a row whose bucket no longer exists, as a definite `NoSuchBucket` said at `asked_at`: it is dropped, with
/// no breaker asked, unless it was used or moved since (the bucket is back). None: it is held back.
pub fn drop_of_gone_bucket(row: &LedgerRow, asked_at: DateTime<Utc>) -> Option<Effect> {
    drop_effect(row, asked_at)
}

/// Stops a run that would drop too large a share of a bucket's rows: an empty or wrong listing must not empty the ledger.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// The share of the rows, 0 to 1, that one run may drop.
    pub max_drop_fraction: f64,
    /// Buckets with fewer rows are not watched: there, half is a handful.
    pub min_rows: u64,
}

/// What the breaker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Apply all effects.
    Allowed,
    /// Drop nothing in this bucket, and report it.
    Tripped { rows: u64, drops: u64 },
}

impl Breaker {
    /// Judges `drops` out of `rows`. A fraction that is no number lets nothing be dropped.
    pub fn allows(&self, rows: u64, drops: u64) -> Verdict {
        let within = drops as f64 <= self.max_drop_fraction * rows as f64;
        if drops == 0 || rows < self.min_rows || within { Verdict::Allowed } else { Verdict::Tripped { rows, drops } }
    }
}

/// One stream's place: the last key that was passed, and whether its end was seen. The empty string stands before all keys.
#[derive(Debug)]
struct Cursor {
    stream: Stream,
    last: String,
    ended: bool,
}

impl Cursor {
    fn check(&mut self, head: Option<&ObjectKey>) -> Result<(), JoinError> {
        let stream = self.stream;
        let Some(key) = head else {
            self.ended = true;
            return Ok(());
        };
        if self.ended {
            return Err(JoinError::AfterEnd { stream });
        }
        match key.as_str().cmp(&self.last) {
            std::cmp::Ordering::Greater => Ok(()),
            std::cmp::Ordering::Equal => Err(JoinError::Duplicate { stream, key: self.last.clone() }),
            std::cmp::Ordering::Less => {
                Err(JoinError::Unsorted { stream, previous: self.last.clone(), next: key.to_string() })
            }
        }
    }

    fn pass(&mut self, key: &ObjectKey) {
        self.last.clear();
        self.last.push_str(key.as_str());
    }
}

fn drop_effect(row: &LedgerRow, since: DateTime<Utc>) -> Option<Effect> {
    if not_before(row.event_time, since) || not_before(row.class_since, since) {
        return None;
    }
    Some(Effect::Drop { key: row.id.key.clone(), event_time: row.event_time, last_batch: row.last_batch })
}

/// Whether `time` is not older than `start`, in whole seconds: the ledger's times are cut to seconds, so an event in the very
/// second of the start may have come after it, and counts as if it had.
fn not_before(time: Option<DateTime<Utc>>, start: DateTime<Utc>) -> bool {
    time.is_some_and(|time| time.timestamp() >= start.timestamp())
}

fn compare(row: &LedgerRow, listed: &Listed) -> Option<Effect> {
    let key = || listed.key.clone();
    if let Some(etag) = &row.etag
        && *etag != listed.etag
    {
        // Written anew or copied: either way it has been in its class since LastModified and no longer.
        let facts = facts(listed, listed.last_modified);
        return Some(Effect::Replace { key: key(), expected_etag: etag.clone(), facts });
    }
    let class_since = match row.class_since {
        // An object cannot have been in its class since before it was last written: the same bytes were put again.
        Some(since) if row.class == Some(listed.class) && since.timestamp() >= listed.last_modified.timestamp() => {
            since
        }
        // Another class by the same ETag is a copy, which resets LastModified. (A lifecycle rule does not: then this is too
        // early, and the minimum duration is taken as served sooner than it is. S3 tells nobody when a rule acted.)
        _ => listed.last_modified,
    };
    let known = row.etag.is_some()
        && row.class == Some(listed.class)
        && row.size == Some(listed.size)
        && row.class_since == Some(class_since);
    if known {
        return None;
    }
    Some(Effect::Refresh { key: key(), expected_etag: row.etag.clone(), facts: facts(listed, class_since) })
}

fn facts(listed: &Listed, class_since: DateTime<Utc>) -> Facts {
    Facts { etag: listed.etag.clone(), class: listed.class, size: listed.size, class_since }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::super::object::ObjectId;
    use super::*;

    /// The listing began half a second into second 1,000,000.
    fn started() -> DateTime<Utc> {
        at(1_000_000) + TimeDelta::milliseconds(500)
    }

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(secs, 0).unwrap()
    }

    fn bucket() -> BucketName {
        BucketName::new("bucket").unwrap()
    }

    fn row(key: &str) -> LedgerRow {
        LedgerRow {
            etag: Some(ETag::new("e1").unwrap()),
            count: 3,
            event_time: Some(at(500)),
            class: Some(StorageClass::Standard),
            size: Some(10),
            class_since: Some(at(400)),
            last_batch: Some(7),
            ..LedgerRow::new(ObjectId::new(bucket(), ObjectKey::new(key).unwrap()))
        }
    }

    fn listed(key: &str) -> Listed {
        Listed {
            key: ObjectKey::new(key).unwrap(),
            etag: ETag::new("e1").unwrap(),
            size: 10,
            class: StorageClass::Standard,
            last_modified: at(400),
        }
    }

    fn join(rows: &[LedgerRow], listing: &[Listed], unknown: Unknown) -> Result<(Vec<Effect>, Tally), JoinError> {
        let mut join = MergeJoin::new(bucket(), started(), unknown);
        let (mut r, mut l) = (0, 0);
        let mut effects = Vec::new();
        while let Some(step) = join.step(rows.get(r), listing.get(l))? {
            effects.extend(step.effect);
            r += usize::from(step.advance != Advance::Listed);
            l += usize::from(step.advance != Advance::Row);
        }
        Ok((effects, join.finish()?))
    }

    fn one(row: LedgerRow, listed: Listed) -> Option<Effect> {
        join(&[row], &[listed], Unknown::Ignore).unwrap().0.pop()
    }

    #[test]
    fn what_agrees_is_left_alone() {
        assert_eq!(one(row("a"), listed("a")), None);
    }

    #[test]
    fn a_row_that_knows_less_than_the_listing_is_refreshed() {
        let blank = LedgerRow { etag: None, class: None, size: None, class_since: None, ..row("a") };
        let cases = [
            ("written by ingest alone", blank, listed("a"), at(400)),
            ("no etag", LedgerRow { etag: None, ..row("a") }, listed("a"), at(400)),
            ("no size", LedgerRow { size: None, ..row("a") }, listed("a"), at(400)),
            ("no class_since", LedgerRow { class_since: None, ..row("a") }, listed("a"), at(400)),
            ("other size", LedgerRow { size: Some(9), ..row("a") }, listed("a"), at(400)),
            (
                "other size, in its class since later than LastModified",
                LedgerRow { size: Some(9), class_since: Some(at(450)), ..row("a") },
                listed("a"),
                at(450),
            ),
            (
                "other class",
                row("a"),
                Listed { class: StorageClass::Glacier, last_modified: at(600), ..listed("a") },
                at(600),
            ),
            ("same bytes put again", row("a"), Listed { last_modified: at(900), ..listed("a") }, at(900)),
        ];
        for (name, row, listed, class_since) in cases {
            let expected = Effect::Refresh {
                key: listed.key.clone(),
                expected_etag: row.etag.clone(),
                facts: facts(&listed, class_since),
            };
            assert_eq!(one(row, listed), Some(expected), "{name}");
        }
    }

    #[test]
    fn another_etag_replaces_the_facts_and_asks_for_the_old_one() {
        let new = Listed { etag: ETag::new("e2").unwrap(), last_modified: at(800), size: 99, ..listed("a") };
        let expected = Effect::Replace {
            key: new.key.clone(),
            expected_etag: ETag::new("e1").unwrap(),
            facts: facts(&new, at(800)),
        };
        assert_eq!(one(row("a"), new), Some(expected));
    }

    #[test]
    fn a_move_since_the_listing_began_is_not_undone() {
        let moved = LedgerRow { etag: Some(ETag::new("e2").unwrap()), class_since: Some(at(1_000_000)), ..row("a") };
        assert_eq!(one(moved, listed("a")), None);
    }

    #[test]
    fn a_row_is_dropped_only_if_nothing_happened_since_the_listing_began() {
        let cases = [
            ("old", Some(at(999_999)), Some(at(400)), true),
            ("in the second of the start", Some(at(1_000_000)), Some(at(400)), false),
            ("after it", Some(at(1_000_001)), Some(at(400)), false),
            ("moved after it", Some(at(500)), Some(at(1_000_001)), false),
            ("never seen", None, None, true),
        ];
        for (name, event_time, class_since, dropped) in cases {
            let row = LedgerRow { event_time, class_since, ..row("a") };
            let (effects, tally) = join(std::slice::from_ref(&row), &[], Unknown::Adopt).unwrap();
            assert_eq!(effects.iter().any(Effect::is_drop), dropped, "{name}");
            assert_eq!((tally.dropped, tally.held_back), (u64::from(dropped), u64::from(!dropped)), "{name}");
            assert_eq!(drop_of_gone_bucket(&row, started()).is_some(), dropped, "{name}");
        }
    }

    #[test]
    fn an_object_without_a_row_is_adopted_only_where_configured() {
        let (effects, tally) = join(&[], &[listed("a")], Unknown::Adopt).unwrap();
        let facts = facts(&listed("a"), at(400));
        assert_eq!(effects, [Effect::Adopt { key: ObjectKey::new("a").unwrap(), event_time: at(400), facts }]);
        assert_eq!(tally.adopted, 1);
        assert_eq!(join(&[], &[listed("a")], Unknown::Ignore).unwrap().0, []);
    }

    #[test]
    fn streams_out_of_order_or_with_repeats_are_refused() {
        let rows = |keys: &[&str]| keys.iter().map(|k| row(k)).collect::<Vec<_>>();
        let objects = |keys: &[&str]| keys.iter().map(|k| listed(k)).collect::<Vec<_>>();
        type Case<'a> = (&'a [&'a str], &'a [&'a str], fn(&JoinError) -> bool);
        let cases: [Case; 5] = [
            (&["b", "a"], &[], |e| matches!(e, JoinError::Unsorted { stream: Stream::Rows, .. })),
            (&["a", "b"], &["b", "a"], |e| matches!(e, JoinError::Unsorted { stream: Stream::Listing, .. })),
            (&["a", "a"], &["a"], |e| matches!(e, JoinError::Duplicate { stream: Stream::Rows, .. })),
            (&[], &["a", "a"], |e| matches!(e, JoinError::Duplicate { stream: Stream::Listing, .. })),
            // The order of UTF-16 units is not that of bytes.
            (&[], &["\u{10000}", "\u{ff5e}"], |e| matches!(e, JoinError::Unsorted { .. })),
        ];
        for (r, l, fits) in cases {
            let error = join(&rows(r), &objects(l), Unknown::Adopt).unwrap_err();
            assert!(fits(&error), "{r:?} {l:?}: {error}");
        }
    }

    #[test]
    fn a_row_of_another_bucket_is_refused() {
        let mut stray = row("a");
        stray.id.bucket = BucketName::new("other").unwrap();
        assert!(matches!(join(&[stray], &[], Unknown::Ignore), Err(JoinError::OtherBucket { .. })));
    }

    #[test]
    fn half_a_listing_cannot_be_finished_or_taken_up_again() {
        let mut join = MergeJoin::new(bucket(), started(), Unknown::Ignore);
        let first = listed("a");
        join.step(None, Some(&first)).unwrap();
        assert_eq!(join.step(Some(&row("b")), Some(&listed("b"))), Err(JoinError::AfterEnd { stream: Stream::Rows }));
        assert_eq!(join.finish(), Err(JoinError::Unfinished));
    }

    #[test]
    fn the_breaker_trips_above_its_share_once_a_bucket_is_large_enough() {
        let breaker = Breaker { max_drop_fraction: 0.5, min_rows: 100 };
        for (rows, drops, allowed) in [
            (99, 99, true),
            (100, 50, true),
            (100, 51, false),
            (100, 100, false),
            (1_000_000, 500_000, true),
            (0, 0, true),
        ] {
            assert_eq!(breaker.allows(rows, drops) == Verdict::Allowed, allowed, "{drops} of {rows}");
        }
        let broken = Breaker { max_drop_fraction: f64::NAN, min_rows: 1 };
        assert_eq!(broken.allows(10, 1), Verdict::Tripped { rows: 10, drops: 1 });
        assert_eq!(broken.allows(10, 0), Verdict::Allowed);
    }

    #[test]
    fn effects_survive_the_spool() {
        let rows = [row("a"), row("b"), LedgerRow { etag: None, ..row("c") }];
        let objects = [
            Listed { etag: ETag::new("e2").unwrap(), class: StorageClass::Unmanaged, ..listed("b") },
            Listed { class: StorageClass::ReducedRedundancy, ..listed("c") },
            listed("d"),
        ];
        let (effects, tally) = join(&rows, &objects, Unknown::Adopt).unwrap();
        assert_eq!((tally.dropped, tally.replaced, tally.refreshed, tally.adopted), (1, 1, 1, 1));
        for effect in effects {
            let line = serde_json::to_string(&effect).unwrap();
            assert_eq!(serde_json::from_str::<Effect>(&line).unwrap(), effect);
        }
    }

    fn any_row() -> impl Strategy<Value = LedgerRow> {
        let time = || prop_oneof![Just(None), (999_998_i64..1_000_003).prop_map(|s| Some(at(s))), Just(Some(at(5)))];
        let class = prop_oneof![Just(None), Just(Some(StorageClass::Standard)), Just(Some(StorageClass::StandardIa))];
        (
            "[a-d\u{e9}\u{ff5e}\u{10000}]{1,3}",
            prop::option::of("e[12]"),
            time(),
            class,
            prop::option::of(0..3_u64),
            time(),
        )
            .prop_map(|(key, etag, event_time, class, size, class_since)| LedgerRow {
                etag: etag.map(|e| ETag::new(e).unwrap()),
                event_time,
                class,
                size,
                class_since,
                ..row(&key)
            })
    }

    fn any_listed() -> impl Strategy<Value = Listed> {
        let class = prop_oneof![Just(StorageClass::Standard), Just(StorageClass::StandardIa)];
        ("[a-d\u{e9}\u{ff5e}\u{10000}]{1,3}", "e[12]", class, 0..3_u64, prop_oneof![Just(at(5)), Just(at(1_000_001))])
            .prop_map(|(key, etag, class, size, last_modified)| Listed {
                etag: ETag::new(etag).unwrap(),
                class,
                size,
                last_modified,
                ..listed(&key)
            })
    }

    proptest! {
        /// The effects, applied, give what two hash maps and the table of the four cases give.
        #[test]
        fn the_join_does_what_a_hash_map_would(
            rows in prop::collection::vec(any_row(), 0..40),
            objects in prop::collection::vec(any_listed(), 0..40),
        ) {
            let rows: BTreeMap<ObjectKey, LedgerRow> = rows.into_iter().map(|r| (r.id.key.clone(), r)).collect();
            let objects: BTreeMap<ObjectKey, Listed> = objects.into_iter().map(|o| (o.key.clone(), o)).collect();
            let sorted_rows: Vec<_> = rows.values().cloned().collect();
            let sorted_objects: Vec<_> = objects.values().cloned().collect();
            let (effects, tally) = join(&sorted_rows, &sorted_objects, Unknown::Adopt).unwrap();

            let mut ledger: HashMap<ObjectKey, LedgerRow> = rows.clone().into_iter().collect();
            for effect in effects {
                match effect {
                    Effect::Drop { key, .. } => { prop_assert!(ledger.remove(&key).is_some()); }
                    Effect::Adopt { key, event_time, facts } => {
                        let new = LedgerRow { count: 0, event_time: Some(event_time), last_batch: None, ..row(key.as_str()) };
                        prop_assert!(ledger.insert(key, with(new, &facts)).is_none());
                    }
                    Effect::Refresh { key, facts, .. } | Effect::Replace { key, facts, .. } => {
                        let old = ledger.remove(&key).unwrap();
                        let new = with(old.clone(), &facts);
                        prop_assert_ne!(&old, &new, "an effect that changes nothing");
                        ledger.insert(key, new);
                    }
                }
            }

            for (key, row) in &rows {
                let busy = [row.event_time, row.class_since].into_iter().flatten().any(|t| t >= at(1_000_000));
                match (objects.get(key), ledger.get(key)) {
                    (None, kept) => prop_assert_eq!(kept.is_some(), busy),
                    (Some(_), None) => prop_assert!(false, "a listed object lost its row"),
                    (Some(listed), Some(new)) => {
                        prop_assert_eq!((new.count, new.event_time, new.last_batch), (row.count, row.event_time, row.last_batch));
                        if row.class_since.is_none_or(|t| t < at(1_000_000)) {
                            prop_assert_eq!(new.etag.as_ref(), Some(&listed.etag));
                            prop_assert_eq!((new.class, new.size), (Some(listed.class), Some(listed.size)));
                            prop_assert!(new.class_since.unwrap() >= listed.last_modified);
                        } else {
                            prop_assert_eq!(new, row);
                        }
                    }
                }
            }
            for key in objects.keys() {
                prop_assert!(ledger.contains_key(key));
            }
            prop_assert_eq!(tally.rows, rows.len() as u64);
            prop_assert_eq!(tally.objects, objects.len() as u64);
            prop_assert_eq!(ledger.len() as u64, tally.rows - tally.dropped + tally.adopted);
        }
    }

    fn with(row: LedgerRow, facts: &Facts) -> LedgerRow {
        LedgerRow {
            etag: Some(facts.etag.clone()),
            class: Some(facts.class),
            size: Some(facts.size),
            class_since: Some(facts.class_since),
            ..row
        }
    }
}
