//! Replication: which events ask for a copy, under which key, and whether a copy may be written now.
//!
//! # How an older event never overwrites a newer object
//!
//! Events come more than once and out of order, and two daemons may work on one key at once. Four things together hold:
//!
//! 1. What is copied is the source object *as it is now*, not as the event saw it, under the condition that it still has
//!    the ETag that was looked at ([`Decision::Copy`]). So a late event copies the newest state, or nothing.
//! 2. Each copy carries a [`Marker`] in its user metadata: which source it is of, with which ETag, and the sequencer of the event.
//!    It is written in the same call as the bytes, so the two never disagree; a tag could not promise that.
//! 3. An event whose sequencer is below the marker's is superseded.
//! 4. The copy is written under the condition that the destination is still what was looked at ([`DestinationIs`]). Who
//!    loses that race (412) looks again.
//!
//! A copy is up to date when its marker names the source's ETag and tags and the metadata agree. (Tags are in no head; by
//! the marker the destination's need not be read, which another account may not let us.) That makes replays and the walk
//! over existing objects free, and it is what stops the daemon's own in-place copies, which change neither contents nor
//! metadata. [`wanted`] drops them earlier where the event says who made them; one that changes the ETag (a multipart
//! object that became a single part) and comes through EventBridge, which names only the account, is copied once more: it
//! costs a copy and harms nothing.
//!
//! Deletes are not replicated: no event but a creation is [`wanted`], and a source that is gone leaves its copy.
//!
//! Rejected: the state table as the place for the marker. It could be lost or restored to another time than the bucket.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::object::{BucketName, ETag, NameError, ObjectId, ObjectKey};
use super::restore::Tag;
use super::s3_event::{Creation, EventKind, S3Event};

/// A `[[replicate]]` table, as far as it decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub source_bucket: BucketName,
    pub source_prefix: String,
    pub destination_bucket: BucketName,
    pub destination_prefix: String,
    pub path: PathRule,
}

/// What of a source key stands under the destination prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathRule {
    /// `keep_path = false`: what follows the last slash. Two sources with one name share a destination; the later wins.
    BaseName,
    /// `keep_path = true`: what follows `source_prefix`, so that the two prefixes stand for each other as with a sync. For
    /// the whole key, name it in `destination_prefix`.
    AfterPrefix,
}

/// Why a source key has no destination.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DestinationError {
    #[error("nothing is left of the key to name its copy by: it ends in a slash or is the prefix itself")]
    NoName,
    #[error("the copy's key cannot be: {0}")]
    Key(NameError),
}

impl Rule {
    /// Whether the rule speaks of this object.
    pub fn covers(&self, source: &ObjectId) -> bool {
        source.bucket == self.source_bucket && source.key.as_str().starts_with(&self.source_prefix)
    }

    /// Where the copy of `source` goes; none if the rule does not cover it.
    ///
    /// Keys that end in a slash (the folders that consoles make) have no base name. With [`PathRule::AfterPrefix`] they
    /// are copied like any other.
    pub fn destination(&self, source: &ObjectId) -> Option<Result<ObjectId, DestinationError>> {
        if !self.covers(source) {
            return None;
        }
        let key = source.key.as_str();
        let name = match self.path {
            PathRule::BaseName => key.rsplit('/').next().unwrap_or(key),
            PathRule::AfterPrefix => &key[self.source_prefix.len()..],
        };
        if name.is_empty() {
            return Some(Err(DestinationError::NoName));
        }
        let key = ObjectKey::new(format!("{}{name}", self.destination_prefix)).map_err(DestinationError::Key);
        Some(key.map(|key| ObjectId::new(self.destination_bucket.clone(), key)))
    }

    /// Whether a copy would land on a source of this very rule, and so be replicated again without end. The
    /// configuration refuses such a rule.
    pub fn feeds_itself(&self) -> bool {
        self.source_bucket == self.destination_bucket && self.destination_prefix.starts_with(&self.source_prefix)
    }
}

/// Whether an event asks for a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Yes,
    /// Deletes, restores and the like.
    NotACreation,
    /// The daemon's own change of an object's class.
    OwnInPlaceCopy,
}

/// Whether `event` asks for a copy, where the daemon's user id (STS GetCallerIdentity, `AROA…:session`) is `own_user_id`.
///
/// The daemon creates objects in source buckets only by copying them onto themselves. Sessions differ from one daemon to
/// the next, so only the part before the colon is compared.
pub fn wanted(event: &S3Event, own_user_id: &str) -> Wanted {
    let EventKind::Created(creation) = event.kind else { return Wanted::NotACreation };
    let copies = matches!(creation, Creation::Copy | Creation::CompleteMultipartUpload);
    let own = unique_id(own_user_id);
    match &event.principal {
        Some(principal) if copies && !own.is_empty() && unique_id(principal) == own => Wanted::OwnInPlaceCopy,
        _ => Wanted::Yes,
    }
}

/// `AROA…` out of `AWS:AROA…:session`, `AROA…:session` or `AROA…`.
fn unique_id(principal: &str) -> &str {
    let id = principal.strip_prefix("AWS:").unwrap_or(principal);
    id.split(':').next().unwrap_or(id)
}

/// What orders the events of one key, and of one key only.
///
/// Hexadecimal digits of any length. The S3 user guide has the shorter one padded with zeros on the *right* and the two
/// compared as text ("Event message structure"; older editions said left).
#[derive(Debug, Clone)]
pub struct Sequencer(String);

impl Sequencer {
    /// Takes `text` if it is hexadecimal; a sequencer that is not says nothing about order.
    pub fn new(text: &str) -> Option<Self> {
        let valid = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        valid.then(|| Self(text.to_ascii_uppercase()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn significant(&self) -> &str {
        self.0.trim_end_matches('0')
    }
}

impl Ord for Sequencer {
    fn cmp(&self, other: &Self) -> Ordering {
        // Zeros at the end are what the padding adds, so without them the plain order of texts is the padded one.
        self.significant().cmp(other.significant())
    }
}

impl PartialOrd for Sequencer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Sequencer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Sequencer {}

/// The name of the marker among a copy's user metadata (without `x-amz-meta-`).
pub const MARKER_NAME: &str = "tierd-replica";

/// What a copy says of its source.
///
/// Written as `2;<source>;<etag>;<unix time>;<sequencer or ->;<tags or ->`: ASCII, and short, as all user metadata of an
/// object share 2 KB. `<source>` and `<tags>` are hashes for that reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    source: String,
    pub etag: ETag,
    /// The source's LastModified, in whole seconds: decides between two sources that share a destination.
    pub modified: DateTime<Utc>,
    pub sequencer: Option<Sequencer>,
    /// None: it had no tags.
    tags: Option<String>,
}

impl Marker {
    fn of(source: &ObjectId, head: &SourceHead, sequencer: Option<Sequencer>) -> Self {
        let modified = DateTime::from_timestamp(head.modified.timestamp(), 0).unwrap_or(head.modified);
        let (source, tags) = (source_hash(source), tags_hash(&head.tags));
        Self { source, etag: head.etag.clone(), modified, sequencer, tags }
    }

    /// Reads a marker. None if it is of another version or broken: such a copy counts as having none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let mut part = || parts.next();
        if part()? != "2" {
            return None;
        }
        let source = part()?.to_owned();
        let etag = ETag::new(part()?).ok()?;
        let modified = DateTime::from_timestamp(part()?.parse().ok()?, 0)?;
        let sequencer = match part()? {
            "-" => None,
            text => Some(Sequencer::new(text)?),
        };
        let tags = Some(part()?).filter(|tags| *tags != "-").map(str::to_owned);
        parts.next().is_none().then_some(Self { source, etag, modified, sequencer, tags })
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sequencer = self.sequencer.as_ref().map_or("-", Sequencer::as_str);
        let tags = self.tags.as_deref().unwrap_or("-");
        write!(f, "2;{};{};{};{sequencer};{tags}", self.source, self.etag, self.modified.timestamp())
    }
}

fn source_hash(source: &ObjectId) -> String {
    hash(source.to_string().as_bytes())
}

/// The same for the same tags in any order. Neither keys nor values can hold a zero.
fn tags_hash(tags: &[Tag]) -> Option<String> {
    let mut tags: Vec<String> = tags.iter().map(|(key, value)| format!("{key}\0{value}\0")).collect();
    tags.sort_unstable();
    (!tags.is_empty()).then(|| hash(tags.concat().as_bytes()))
}

/// Half of a SHA-256, in hexadecimal digits.
fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What is carried over with the bytes: user metadata by its names, and the headers that S3 keeps (`content-type`, …) by
/// theirs. Without the class, the encryption and the ACL, which are the destination's own.
pub type Metadata = BTreeMap<String, String>;

/// The head of a source object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceHead {
    pub etag: ETag,
    pub size_bytes: u64,
    pub modified: DateTime<Utc>,
    pub metadata: Metadata,
    /// In any order.
    pub tags: Vec<Tag>,
}

/// The head of what is at the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationHead {
    pub etag: ETag,
    pub size_bytes: u64,
    pub metadata: Metadata,
    /// Whether it is known to have tags.
    pub is_tagged: bool,
}

/// What must still be true of the destination when the copy is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationIs {
    /// `If-None-Match: *`
    Absent,
    /// `If-Match`
    Unchanged(ETag),
}

/// What is to be done for one source object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Copy {
        /// The condition on the source (`x-amz-copy-source-if-match`, on every part).
        source_is: ETag,
        destination_is: DestinationIs,
        /// To be sent in full: the source's metadata, with the marker in place of any that it has itself.
        metadata: Metadata,
    },
    UpToDate,
    /// A newer event of this key, or a newer object of the same base name, has been copied already.
    Superseded,
    /// The source was deleted meanwhile; its copy, if any, stays.
    SourceGone,
}

/// Decides for `source`, by the two heads (none: no such object) and the sequencer of the event that asks (none for a walk
/// over existing objects, which goes by the heads alone).
///
/// An object at the destination without a marker was put there by other means. It is taken for a copy if ETag, size and
/// metadata agree and neither has tags, and is replaced otherwise: the destination prefix is the rule's.
pub fn decide(
    source: &ObjectId,
    head: Option<&SourceHead>,
    destination: Option<&DestinationHead>,
    sequencer: Option<&Sequencer>,
) -> Decision {
    let Some(head) = head else { return Decision::SourceGone };
    let Some(there) = destination else {
        return copy(head, DestinationIs::Absent, Marker::of(source, head, sequencer.cloned()));
    };
    let marker = there.metadata.get(MARKER_NAME).and_then(|text| Marker::parse(text));
    let mut next = Marker::of(source, head, sequencer.cloned());
    let same_metadata = without_marker(&head.metadata).eq(without_marker(&there.metadata));
    let same_size = head.size_bytes == there.size_bytes;
    match marker {
        None if head.etag == there.etag && same_size && same_metadata && head.tags.is_empty() && !there.is_tagged => {
            return Decision::UpToDate;
        }
        None => {}
        Some(marker) if marker.source == next.source => {
            if marker.etag == head.etag && marker.tags == next.tags && same_size && same_metadata {
                return Decision::UpToDate;
            }
            match (&marker.sequencer, sequencer) {
                (Some(copied), Some(asking)) if asking < copied => return Decision::Superseded,
                // The walk has no sequencer to put there; the one that is there still bars older events.
                (Some(copied), None) => next.sequencer = Some(copied.clone()),
                _ => {}
            }
        }
        // Sequencers of two keys have no order. The hash breaks ties the same way each time, so that a walk over both
        // sources ends.
        Some(marker) if (marker.modified, &marker.source) > (next.modified, &next.source) => {
            return Decision::Superseded;
        }
        Some(_) => {}
    }
    copy(head, DestinationIs::Unchanged(there.etag.clone()), next)
}

fn copy(head: &SourceHead, destination_is: DestinationIs, marker: Marker) -> Decision {
    let mut metadata = head.metadata.clone();
    metadata.insert(MARKER_NAME.to_owned(), marker.to_string());
    Decision::Copy { source_is: head.etag.clone(), destination_is, metadata }
}

/// A source that is itself a copy (of another rule) has a marker of its own, which is not part of what it is.
fn without_marker(metadata: &Metadata) -> impl Iterator<Item = (&String, &String)> {
    metadata.iter().filter(|(name, _)| name.as_str() != MARKER_NAME)
}

#[cfg(test)]
mod tests;
