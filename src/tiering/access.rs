//! What an access is, which accesses count, and how many of them become one update an object.
//!
//! A parser (see [`super::access_log`]) turns one log file into a [`FileAccesses`]. A [`Fold`] takes the files of a
//! batch, one after another, drops the events that it has seen already, and keeps for each object how often and when
//! last. Its [`Updates`] are what is written to the ledger. A file is parsed whole before it is absorbed, so a file that
//! turns out unreadable has counted nothing.
//!
//! Representation: a batch may touch millions of objects, so neither a file nor the fold holds a `String` an object. Keys
//! lie one after another in a few large pieces of text, buckets are numbered, and an object costs 48 bytes and its key,
//! besides its place in the index, and 24 bytes for each day on which it was used.

use std::hash::Hasher;

use chrono::{DateTime, Utc};
use memchr::memchr;
use rustc_hash::{FxHashMap, FxHashSet};
use sha2::{Digest, Sha256};

use super::evidence::{AccessDelta, Day, DayAccess, day_of};
use super::object::{BucketName, NameError, ObjectId, ObjectKey};

/// One rule of what counts: a record that fits any rule is an access.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CountRule {
    /// The event's name, such as `GetObject`; compared as it is.
    pub event: String,
    /// Where set, the request must carry this parameter too, whatever its value.
    pub with_parameter: Option<String>,
}

impl CountRule {
    /// What an access by this rule does to its object.
    fn kind(&self) -> AccessKind {
        match self.event.as_str() {
            "GetObject" | "SelectObjectContent" => AccessKind::Read,
            "PutObject" | "CopyObject" | "CompleteMultipartUpload" => AccessKind::Write,
            _ => AccessKind::Other,
        }
    }
}

/// What an access does to its object, as far as its cost goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AccessKind {
    /// Takes the object's bytes out of its storage class.
    Read,
    /// Gives the object new bytes.
    Write,
    /// Counts, but neither reads nor writes: a HEAD.
    Other,
}

/// A caller: an ARN in which `*` stands for any run of characters, also an empty one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalPattern {
    globs: Vec<String>,
}

impl PrincipalPattern {
    /// A pattern as the configuration has it.
    pub fn new(arn: impl Into<String>) -> Self {
        Self { globs: vec![arn.into()] }
    }

    /// The pattern of the identity that `sts:GetCallerIdentity` answered with.
    ///
    /// For an assumed role that is every session of the role and the role itself: a daemon gets a new session name with
    /// each start, and what an earlier one did is still in the logs. A session's ARN leaves the path of its role out, a
    /// role's ARN has it, so any path will do.
    pub fn own_identity(arn: &str) -> Self {
        let session = || {
            let (partition, rest) = arn.strip_prefix("arn:")?.split_once(":sts::")?;
            let (account, rest) = rest.split_once(":assumed-role/")?;
            let (role, _) = rest.split_once('/')?;
            Some((partition, account, role))
        };
        match session() {
            Some((partition, account, role)) => Self {
                globs: vec![
                    format!("arn:{partition}:sts::{account}:assumed-role/{role}/*"),
                    format!("arn:{partition}:iam::{account}:role/{role}"),
                    format!("arn:{partition}:iam::{account}:role/*/{role}"),
                ],
            },
            None => Self::new(arn),
        }
    }

    /// Whether `arn` is one that is meant.
    pub fn matches(&self, arn: &str) -> bool {
        self.globs.iter().any(|glob| {
            let beginning = memchr(b'*', glob.as_bytes()).unwrap_or(glob.len());
            // Nearly all fail in what stands before the first star.
            arn.as_bytes().starts_with(&glob.as_bytes()[..beginning]) && glob_matches(glob.as_bytes(), arn.as_bytes())
        })
    }
}

/// Whether `text` fits `glob`. Goes back only to the latest `*`, so the time is bounded by the product of the lengths.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut latest_star = None;
    while t < text.len() {
        match (glob.get(g), latest_star) {
            (Some(b'*'), _) => {
                latest_star = Some((g, t));
                g += 1;
            }
            (Some(c), _) if *c == text[t] => {
                g += 1;
                t += 1;
            }
            (_, Some((star, from))) => {
                latest_star = Some((star, from + 1));
                g = star + 1;
                t = from + 1;
            }
            _ => return false,
        }
    }
    glob[g..].iter().all(|c| *c == b'*')
}

/// Which records of a log count as accesses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CountingRules {
    /// A record counts if it fits any of these; with none, nothing counts.
    pub rules: Vec<CountRule>,
    /// What these callers do never counts.
    pub exclude: Vec<PrincipalPattern>,
    /// Only objects of buckets whose names begin so count; empty for all.
    pub bucket_prefix: String,
}

impl CountingRules {
    /// The first rule that an event fits, as its place in `rules`. `has_parameter` tells whether the request carries a
    /// parameter.
    pub fn rule_for(&self, event: &str, mut has_parameter: impl FnMut(&str) -> bool) -> Option<usize> {
        self.rules
            .iter()
            .position(|rule| rule.event == event && rule.with_parameter.as_deref().is_none_or(&mut has_parameter))
    }

    /// Whether `arn` is a caller whose work never counts.
    pub fn excludes(&self, arn: &str) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches(arn))
    }
}

/// By what two records of one event are known as one. 128 bits, so that two events that share one are not to be expected
/// in the lifetime of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventIdentity(u128);

impl EventIdentity {
    /// The identity that `parts` make together, in this order; `["ab", "c"]` is not `["a", "bc"]`.
    pub fn of_parts<const N: usize>(parts: [&str; N]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        Self(u128::from_le_bytes(first))
    }

    /// The identity that an event id means. A UUID as CloudTrail writes it is its own 128 bits, which spares the hash.
    pub fn of_event_id(id: &str) -> Self {
        match uuid_bits(id.as_bytes()) {
            Some(bits) => Self(bits),
            None => Self::of_parts([id]),
        }
    }
}

/// The bits of a UUID in its canonical form; only lower case, for another spelling is another id.
fn uuid_bits(id: &[u8]) -> Option<u128> {
    /// What a digit is worth; more than a digit can be for what is none.
    const WORTH: [u8; 256] = {
        let mut worth = [0xff; 256];
        let mut digit = 0;
        while digit < 16 {
            worth[b"0123456789abcdef"[digit] as usize] = digit as u8;
            digit += 1;
        }
        worth
    };
    let id: &[u8; 36] = id.try_into().ok()?;
    if [id[8], id[13], id[18], id[23]] != *b"----" {
        return None;
    }
    let mut all = 0;
    let mut number = |digits: &[u8]| {
        digits.iter().fold(0_u64, |bits, digit| {
            let worth = WORTH[usize::from(*digit)];
            all |= worth;
            bits << 4 | u64::from(worth)
        })
    };
    let high = number(&id[..8]) << 32 | number(&id[9..13]) << 16 | number(&id[14..18]);
    let low = number(&id[19..23]) << 48 | number(&id[24..]);
    (all < 16).then_some(u128::from(high) << 64 | u128::from(low))
}

/// One access, as a log file tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access<'a> {
    pub bucket: &'a BucketName,
    /// As it is, decoded; 1 to 1024 bytes.
    pub key: &'a str,
    /// Cut to whole seconds.
    pub time: DateTime<Utc>,
    /// None where the log's format has nothing that identifies an event.
    pub identity: Option<EventIdentity>,
    /// What the response carried; 0 where the log does not say.
    pub bytes_sent: u64,
    /// How large the object is, where the log says it.
    pub object_bytes: Option<u64>,
    /// The place of the rule by which it counts.
    pub rule: usize,
}

/// The size of an object of which no log says it.
const UNTOLD: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileEntry {
    key_start: usize,
    bytes_sent: u64,
    /// [`UNTOLD`] where the log does not say.
    object_bytes: u64,
    time: DateTime<Utc>,
    identity: Option<EventIdentity>,
    bucket: u32,
    key_len: u16,
    rule: u16,
}

/// The accesses of one log file, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileAccesses {
    buckets: Vec<BucketName>,
    bucket_numbers: FxHashMap<String, u32>,
    keys: String,
    entries: Vec<FileEntry>,
}

impl FileAccesses {
    /// Adds an access. Fails, and adds nothing, where `bucket` or `key` can be no object's.
    pub(super) fn push(
        &mut self,
        bucket: &str,
        key: &str,
        time: DateTime<Utc>,
        identity: Option<EventIdentity>,
        bytes_sent: u64,
        rule: usize,
    ) -> Result<(), NameError> {
        if !(1..=1024).contains(&key.len()) {
            return Err(NameError::KeyLength(key.len()));
        }
        let bucket = match self.bucket_numbers.get(bucket) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(self.buckets.len()).expect("a file in memory names fewer buckets");
                self.buckets.push(BucketName::new(bucket)?);
                self.bucket_numbers.insert(bucket.to_owned(), number);
                number
            }
        };
        self.entries.push(FileEntry {
            key_start: self.keys.len(),
            bytes_sent,
            object_bytes: UNTOLD,
            time,
            identity,
            bucket,
            key_len: u16::try_from(key.len()).expect("checked above"),
            rule: u16::try_from(rule).unwrap_or(u16::MAX),
        });
        self.keys.push_str(key);
        Ok(())
    }

    /// Notes how large the object of the latest access is, where the log says it.
    pub(super) fn note_object_bytes(&mut self, bytes: Option<u64>) {
        if let (Some(entry), Some(bytes)) = (self.entries.last_mut(), bytes) {
            entry.object_bytes = bytes;
        }
    }

    /// How many there are, duplicates included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Access<'_>> {
        self.entries.iter().map(|entry| Access {
            bucket: &self.buckets[entry.bucket as usize],
            key: &self.keys[entry.key_start..entry.key_start + usize::from(entry.key_len)],
            time: entry.time,
            identity: entry.identity,
            bytes_sent: entry.bytes_sent,
            object_bytes: Some(entry.object_bytes).filter(|bytes| *bytes != UNTOLD),
            rule: usize::from(entry.rule),
        })
    }
}

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
        let mut absorbed = Absorbed::default();
        let numbers: Vec<u32> = file.buckets.iter().map(|bucket| self.number_of(bucket)).collect();
        for (entry, access) in file.entries.iter().zip(file.iter()) {
            if access.identity.is_some_and(|identity| !self.seen.insert(identity)) {
                absorbed.duplicates += 1;
                continue;
            }
            absorbed.accesses += 1;
            self.count(numbers[entry.bucket as usize], &access);
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

    fn count(&mut self, bucket: u32, access: &Access<'_>) {
        let number = self.entry_of(bucket, access);
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
    fn entry_of(&mut self, bucket: u32, access: &Access<'_>) -> usize {
        let hash = hash_of(access.bucket.as_str(), access.key);
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
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn gets() -> [CountRule; 1] {
        [CountRule { event: "GetObject".to_owned(), with_parameter: None }]
    }

    fn time(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        let check = |glob: &str, arn: &str, want: bool| {
            assert_eq!(PrincipalPattern::new(glob).matches(arn), want, "{glob} {arn}");
        };
        check("arn:aws:iam::1:user/bob", "arn:aws:iam::1:user/bob", true);
        check("arn:aws:iam::1:user/bob", "arn:aws:iam::1:user/bobby", false);
        check("arn:aws:iam::1:user/*", "arn:aws:iam::1:user/", true);
        check("*", "", true);
        check("", "a", false);
        check("*:user/*b*b", "arn:aws:iam::1:user/abcb", true);
        check("*:user/*b*b", "arn:aws:iam::1:user/abc", false);
        check("a*b", "aXbXb", true);
        check("a**", "a", true);
    }

    #[test]
    fn ones_own_identity_is_every_session_of_the_role_and_the_role() {
        let own = PrincipalPattern::own_identity("arn:aws-cn:sts::123456789012:assumed-role/tierd/i-0abc");
        let check = |arn: &str, want: bool| assert_eq!(own.matches(arn), want, "{arn}");
        check("arn:aws-cn:sts::123456789012:assumed-role/tierd/i-0abc", true);
        check("arn:aws-cn:sts::123456789012:assumed-role/tierd/another", true);
        check("arn:aws-cn:iam::123456789012:role/tierd", true);
        check("arn:aws-cn:iam::123456789012:role/service/deep/tierd", true);
        check("arn:aws-cn:sts::123456789012:assumed-role/tierd-web/i-0abc", false);
        check("arn:aws-cn:iam::123456789012:role/not-tierd", false);
        check("arn:aws-cn:sts::210987654321:assumed-role/tierd/i-0abc", false);
        check("arn:aws:sts::123456789012:assumed-role/tierd/i-0abc", false);

        let user = PrincipalPattern::own_identity("arn:aws:iam::1:user/tierd");
        assert!(user.matches("arn:aws:iam::1:user/tierd"));
        assert!(!user.matches("arn:aws:iam::1:user/tierd2"));
    }

    #[test]
    fn the_parts_of_an_identity_do_not_run_into_each_other() {
        assert_ne!(EventIdentity::of_parts(["ab", "c"]), EventIdentity::of_parts(["a", "bc"]));
        assert_ne!(EventIdentity::of_parts(["a", ""]), EventIdentity::of_parts(["a"]));
        let id = "b5b9b4c7-aa70-4a5c-8ed8-4ab3c1df7e4f";
        assert_eq!(EventIdentity::of_event_id(id), EventIdentity(0xb5b9b4c7_aa70_4a5c_8ed8_4ab3c1df7e4f));
        assert_ne!(EventIdentity::of_event_id(&id.to_uppercase()), EventIdentity::of_event_id(id));
    }

    #[test]
    fn an_event_counts_once_in_a_fold_and_one_without_identity_every_time() {
        let mut file = FileAccesses::default();
        for (identity, seconds) in [(Some("a"), 5), (Some("a"), 9), (Some("b"), 3), (None, 1), (None, 1)] {
            file.push("bucket", "k", time(seconds), identity.map(EventIdentity::of_event_id), 10, 0).unwrap();
        }
        let mut fold = Fold::new(&gets());
        assert_eq!(fold.absorb(&file), Absorbed { accesses: 4, duplicates: 1 });
        assert_eq!(fold.absorb(&file), Absorbed { accesses: 2, duplicates: 3 });
        let updates: Vec<_> = fold.into_updates().collect();
        let object = "s3://bucket/k".parse().unwrap();
        let delta = AccessDelta { days: vec![DayAccess { day: 0, reads: 6, bytes_read: 60, written: false }] };
        assert_eq!(updates, [AccessUpdate { object, count: 6, latest: time(5), delta }]);
    }

    #[test]
    fn the_days_of_an_object_come_in_order_each_once_whatever_the_order_of_its_records() {
        let rule = |event: &str| CountRule { event: event.to_owned(), with_parameter: None };
        let rules = ["GetObject", "PutObject", "HeadObject"].map(rule);
        let mut file = FileAccesses::default();
        let (get, put, head) = (0, 1, 2);
        for (day, bytes, rule) in [(5, 1, get), (3, 0, put), (9, 2, get), (3, 4, get), (7, 8, head), (5, 16, get)] {
            file.push("bucket", "k", time(day * 86_400 + 7), None, bytes, rule).unwrap();
        }
        let mut fold = Fold::new(&rules);
        fold.absorb(&file);
        let update = fold.into_updates().next().unwrap();
        assert_eq!((update.count, update.latest), (6, time(9 * 86_400 + 7)));
        let day = |day, reads, bytes_read, written| DayAccess { day, reads, bytes_read, written };
        let days = vec![day(3, 1, 4, true), day(5, 2, 17, false), day(9, 1, 2, false)];
        assert_eq!(update.delta, AccessDelta { days });
    }

    #[test]
    fn what_can_be_no_object_is_refused() {
        let mut file = FileAccesses::default();
        assert!(file.push("bucket", "", time(0), None, 0, 0).is_err());
        assert!(file.push("bucket", &"k".repeat(1025), time(0), None, 0, 0).is_err());
        assert!(file.push("b", "k", time(0), None, 0, 0).is_err());
        assert!(file.push("no bucket", "k", time(0), None, 0, 0).is_err());
        assert!(file.is_empty());
    }

    #[test]
    fn objects_of_one_hash_are_told_apart() {
        let mut file = FileAccesses::default();
        for key in ["x", "y", "x", "z"] {
            file.push("bucket", key, time(1), None, 0, 0).unwrap();
        }
        let mut fold = Fold::new(&gets());
        let number = fold.number_of(&file.buckets[0]);
        // A chain as it would grow if the three keys had one hash.
        for access in file.iter() {
            fold.count(number, &access);
        }
        let real: Vec<_> = fold.entries.iter().map(|e| e.hash).collect();
        assert_eq!(fold.len(), 3);
        fold.index.clear();
        let target = hash_of("bucket", "w");
        for (i, next) in [0, 1, 2].into_iter().enumerate() {
            fold.entries[i].hash = target;
            fold.entries[i].next_same_hash = next;
        }
        fold.index.insert(target, 2);
        assert_eq!(real.iter().collect::<HashSet<_>>().len(), 3);
        let mut w = FileAccesses::default();
        w.push("bucket", "w", time(1), None, 0, 0).unwrap();
        fold.absorb(&w);
        fold.absorb(&w);
        let counts: BTreeMap<_, _> =
            fold.into_updates().map(|update| (update.object.key.to_string(), update.count)).collect();
        assert_eq!(counts, BTreeMap::from([("w".into(), 2), ("x".into(), 2), ("y".into(), 1), ("z".into(), 1)]));
    }

    #[test]
    fn updates_come_in_an_order_that_is_not_the_keys() {
        let mut file = FileAccesses::default();
        for i in 0..1000 {
            file.push("bucket", &format!("{i:04}"), time(1), None, 0, 0).unwrap();
        }
        let run = || {
            let mut fold = Fold::new(&gets());
            fold.absorb(&file);
            fold.into_updates().map(|update| update.object.key).collect::<Vec<_>>()
        };
        let keys = run();
        assert_eq!(keys, run());
        let rising = keys.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((400..600).contains(&rising), "{rising}");
    }

    proptest! {
        #[test]
        fn a_fold_counts_as_a_map_would(
            files in prop::collection::vec(
                prop::collection::vec(
                    ("(bucket|other)", "[a-c]{1,2}", 0_i64..9, prop::option::of("[a-z]"), 0_u64..9), 0..20),
                0..5),
        ) {
            let mut model: BTreeMap<String, (u64, i64, u64)> = BTreeMap::new();
            let mut seen = HashSet::new();
            let mut fold = Fold::new(&gets());
            for records in &files {
                let mut file = FileAccesses::default();
                let mut duplicates = 0;
                for (bucket, key, seconds, id, bytes) in records {
                    let identity = id.as_deref().map(EventIdentity::of_event_id);
                    file.push(bucket, key, time(*seconds), identity, *bytes, 0).unwrap();
                    if id.as_ref().is_some_and(|id| !seen.insert(id.clone())) {
                        duplicates += 1;
                        continue;
                    }
                    let entry = model.entry(format!("s3://{bucket}/{key}")).or_default();
                    *entry = (entry.0 + 1, entry.1.max(*seconds), entry.2 + bytes);
                }
                prop_assert_eq!(fold.absorb(&file).duplicates, duplicates);
            }
            let got: BTreeMap<_, _> = fold
                .into_updates()
                .map(|u| {
                    let bytes_read = u.delta.days.iter().map(|day| day.bytes_read).sum();
                    (u.object.to_string(), (u.count, u.latest.timestamp(), bytes_read))
                })
                .collect();
            prop_assert_eq!(got, model);
        }
    }
}
