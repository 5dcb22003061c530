//! What an access is, which accesses count, and how many of them become one update an object.
//!
//! A parser (see [`super::access_log`]) turns one log file into a [`FileAccesses`]. A [`Fold`] takes the files of a
//! batch, one after another, drops the events that it has seen already, and keeps for each object how often and when
//! last. Its [`Updates`] are what is written to the ledger. A file is parsed whole before it is absorbed, so a file that
//! turns out unreadable has counted nothing.

mod fold;

use chrono::{DateTime, Utc};
use memchr::memchr;
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};

pub use self::fold::{Absorbed, AccessUpdate, Fold, Updates};
use super::object::{BucketName, NameError};

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
    globs: Vec<Glob>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Glob {
    text: String,
    /// How much stands before the first star.
    literal_len: usize,
}

impl Glob {
    fn new(text: String) -> Self {
        Self { literal_len: memchr(b'*', text.as_bytes()).unwrap_or(text.len()), text }
    }
}

impl PrincipalPattern {
    /// A pattern as the configuration has it.
    pub fn new(arn: impl Into<String>) -> Self {
        Self { globs: vec![Glob::new(arn.into())] }
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
                globs: [
                    format!("arn:{partition}:sts::{account}:assumed-role/{role}/*"),
                    format!("arn:{partition}:iam::{account}:role/{role}"),
                    format!("arn:{partition}:iam::{account}:role/*/{role}"),
                ]
                .map(Glob::new)
                .into(),
            },
            None => Self::new(arn),
        }
    }

    /// Whether `arn` is one that is meant.
    pub fn matches(&self, arn: &str) -> bool {
        self.globs.iter().any(|Glob { text, literal_len }| {
            // Nearly all fail in what stands before the first star.
            arn.as_bytes().starts_with(&text.as_bytes()[..*literal_len])
                && glob_matches(text.as_bytes(), arn.as_bytes())
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

#[cfg(test)]
mod tests;
