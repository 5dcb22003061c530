//! The accesses of a batch, folded into one count an object.
//!
//! Representation: a batch may touch millions of objects, so neither a file nor the fold holds a `String` an object. Keys
//! lie one after another in a few large pieces of text, buckets are numbered, and an object costs 48 bytes and its key,
//! besides its place in the index, and 24 bytes for each day on which it was used.

use std::hash::Hasher;

use chrono::{DateTime, Utc};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Access, AccessKind, CountRule, EventIdentity, FileAccesses};
use crate::tiering::evidence::{AccessDelta, Day, DayAccess, day_of};
use crate::tiering::object::{BucketName, ObjectId, ObjectKey};

/// What became of a file's accesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Absorbed {
    /// Counted.
    pub accesses: u64,
    /// Left out, because an access of the same event was counted before.
    pub duplicates: u64,
}

/// Keys lie in pieces of this size: growing never copies what is there, as one text that doubles would.
const CHUNK_BYTES: usize = 1 << 20;

#[derive(Debug)]
struct FoldEntry {
    hash: u64,
    count: u64,
    latest: i64,
    /// The latest of its days, as its number plus one; 0 for none.
    days: u32,
    chunk: u32,
    start: u32,
    /// The next object with the same hash, as its number plus one; 0 for none.
    next_same_hash: u32,
    bucket: u32,
    key_len: u16,
}

/// A day on which an object was used.
#[derive(Debug)]
struct FoldDay {
    bytes_read: u64,
    day: Day,
    reads: u32,
    /// An earlier day of the object, as its number plus one; 0 for none.
    earlier: u32,
    written: bool,
}

/// The accesses of a batch as one count, one latest time and the days of its use an object.
#[derive(Debug, Default)]
pub struct Fold {
    /// Of each rule.
    kinds: Vec<AccessKind>,
    days: Vec<FoldDay>,
    buckets: Vec<BucketName>,
    bucket_numbers: FxHashMap<BucketName, u32>,
    chunks: Vec<String>,
    entries: Vec<FoldEntry>,
    /// The hash of an object to the first entry that has it.
    index: FxHashMap<u64, u32>,
    seen: FxHashSet<EventIdentity>,
}

impl Fold {
    /// A fold of files that were read by `rules`.
    pub fn new(rules: &[CountRule]) -> Self {
        Self { kinds: rules.iter().map(CountRule::kind).collect(), ..Self::default() }
    }

    /// Counts what `file` holds, but for the events that were counted before.
    pub fn absorb(&mut self, file: &FileAccesses) -> Absorbed {
        let numbers: Vec<u32> = file.buckets.iter().map(|bucket| self.number_of(bucket)).collect();
        // A step for all before the next step: each waits for memory that has nothing to do with its neighbours', and so
        // they wait together.
        let is_new: Vec<bool> =
            file.iter().map(|access| access.identity.is_none_or(|identity| self.seen.insert(identity))).collect();
        let hashes: Vec<u64> = file.iter().map(|access| hash_of(access.bucket.as_str(), access.key)).collect();
        let known = hashes.iter().filter(|hash| self.index.contains_key(hash)).count();
        self.entries.reserve(hashes.len() - known);
        let mut absorbed = Absorbed::default();
        for (i, (entry, access)) in file.entries.iter().zip(file.iter()).enumerate() {
            if is_new[i] {
                absorbed.accesses += 1;
                self.count(numbers[entry.bucket as usize], hashes[i], &access);
            } else {
                absorbed.duplicates += 1;
            }
        }
        absorbed
    }

    /// How many distinct objects there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One update an object, in the order of a hash over bucket and key, which has nothing to do with the order of keys:
    /// writes spread over the partitions of the table. The same files in the same order give the same updates.
    pub fn into_updates(self) -> Updates {
        let Self { buckets, chunks, entries, days, .. } = self;
        let mut updates = Updates { buckets, chunks, entries, days, next: 0 };
        let mut entries = std::mem::take(&mut updates.entries);
        entries.sort_unstable_by(|a, b| a.hash.cmp(&b.hash).then_with(|| updates.name_of(a).cmp(&updates.name_of(b))));
        updates.entries = entries;
        updates
    }

    fn number_of(&mut self, bucket: &BucketName) -> u32 {
        if let Some(number) = self.bucket_numbers.get(bucket) {
            return *number;
        }
        let number = u32::try_from(self.buckets.len()).expect("fewer buckets than fit in memory");
        self.buckets.push(bucket.clone());
        self.bucket_numbers.insert(bucket.clone(), number);
        number
    }

    fn count(&mut self, bucket: u32, hash: u64, access: &Access<'_>) {
        let number = self.entry_of(bucket, hash, access);
        let entry = &mut self.entries[number];
        entry.count += 1;
        entry.latest = entry.latest.max(access.time.timestamp());
        self.note_day(number, access);
    }

    /// Adds an access to its day. Files come in the order of their publishing, so it is nearly always the latest one.
    fn note_day(&mut self, entry: usize, access: &Access<'_>) {
        let kind = self.kinds.get(access.rule).copied().unwrap_or(AccessKind::Other);
        if kind == AccessKind::Other {
            return;
        }
        let today = day_of(access.time);
        let mut later: Option<usize> = None;
        let mut at = self.entries[entry].days;
        while let Some(i) = at.checked_sub(1).map(|i| i as usize).filter(|i| self.days[*i].day > today) {
            later = Some(i);
            at = self.days[i].earlier;
        }
        let known = at.checked_sub(1).map(|i| i as usize).filter(|i| self.days[*i].day == today);
        let day = known.unwrap_or_else(|| {
            self.days.push(FoldDay { day: today, reads: 0, bytes_read: 0, written: false, earlier: at });
            let number = u32::try_from(self.days.len()).expect("fewer days than fit in memory");
            match later {
                Some(later) => self.days[later].earlier = number,
                None => self.entries[entry].days = number,
            }
            self.days.len() - 1
        });
        let day = &mut self.days[day];
        match kind {
            AccessKind::Read => {
                day.reads = day.reads.saturating_add(1);
                day.bytes_read = day.bytes_read.saturating_add(access.bytes_sent);
            }
            AccessKind::Write => day.written = true,
            AccessKind::Other => {}
        }
    }

    /// The object's place among the entries, which it is given if it has none.
    fn entry_of(&mut self, bucket: u32, hash: u64, access: &Access<'_>) -> usize {
        let mut at = self.index.get(&hash).copied();
        while let Some(i) = at {
            let entry = &self.entries[i as usize];
            let start = entry.start as usize;
            let key = &self.chunks[entry.chunk as usize][start..start + usize::from(entry.key_len)];
            if entry.bucket == bucket && key == access.key {
                return i as usize;
            }
            at = entry.next_same_hash.checked_sub(1);
        }
        let number = u32::try_from(self.entries.len()).expect("fewer objects than fit in memory");
        if self.chunks.last().is_none_or(|chunk| chunk.len() + access.key.len() > CHUNK_BYTES) {
            self.chunks.push(String::with_capacity(CHUNK_BYTES));
        }
        let chunk = self.chunks.len() - 1;
        let text = &mut self.chunks[chunk];
        let start = text.len();
        text.push_str(access.key);
        let next_same_hash = self.index.insert(hash, number).map_or(0, |first| first + 1);
        self.entries.push(FoldEntry {
            hash,
            count: 0,
            latest: i64::MIN,
            days: 0,
            chunk: u32::try_from(chunk).expect("fewer pieces than fit in memory"),
            start: u32::try_from(start).expect("a piece is small"),
            next_same_hash,
            bucket,
            key_len: u16::try_from(access.key.len()).expect("a key has at most 1024 bytes"),
        });
        number as usize
    }
}

/// A hash of an object whose collisions nobody can make at will (users choose their keys), and which is the same in every
/// process.
fn hash_of(bucket: &str, key: &str) -> u64 {
    // SipHash with fixed keys.
    #[expect(deprecated, reason = "the one hasher of std whose values are the same in every process, by its name")]
    let mut hasher = std::hash::SipHasher::new();
    hasher.write(bucket.as_bytes());
    // No bucket's name holds a slash, so this ends it.
    hasher.write_u8(b'/');
    hasher.write(key.as_bytes());
    hasher.finish()
}

/// What an object gained in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUpdate {
    pub object: ObjectId,
    /// At least 1.
    pub count: u64,
    /// The latest of its accesses, in whole seconds.
    pub latest: DateTime<Utc>,
    /// The days of its reads and writes.
    pub delta: AccessDelta,
}

/// The updates of a batch, made one at a time: see [`Fold::into_updates`].
#[derive(Debug)]
pub struct Updates {
    buckets: Vec<BucketName>,
    chunks: Vec<String>,
    entries: Vec<FoldEntry>,
    days: Vec<FoldDay>,
    next: usize,
}

impl Updates {
    fn name_of(&self, entry: &FoldEntry) -> (&str, &str) {
        let start = entry.start as usize;
        let key = &self.chunks[entry.chunk as usize][start..start + usize::from(entry.key_len)];
        (self.buckets[entry.bucket as usize].as_str(), key)
    }

    fn delta_of(&self, entry: &FoldEntry) -> AccessDelta {
        let mut days = Vec::new();
        let mut at = entry.days;
        while let Some(i) = at.checked_sub(1) {
            let FoldDay { day, reads, bytes_read, written, earlier } = self.days[i as usize];
            days.push(DayAccess { day, reads: u64::from(reads), bytes_read, written });
            at = earlier;
        }
        days.reverse();
        AccessDelta { days }
    }
}

impl Iterator for Updates {
    type Item = AccessUpdate;

    fn next(&mut self) -> Option<AccessUpdate> {
        let entry = self.entries.get(self.next)?;
        self.next += 1;
        let (_, key) = self.name_of(entry);
        Some(AccessUpdate {
            object: ObjectId::new(
                self.buckets[entry.bucket as usize].clone(),
                ObjectKey::new(key).expect("checked when the access was read"),
            ),
            count: entry.count,
            latest: DateTime::from_timestamp(entry.latest, 0).expect("it was a time before"),
            delta: self.delta_of(entry),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.entries.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Updates {}

#[cfg(test)]
mod tests;
