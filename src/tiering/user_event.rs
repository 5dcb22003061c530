//! What a record of the users table's stream asks for.
//!
//! The shell takes the few attributes out of the SDK's record; here it is decided whether a bucket is to be made. A record
//! that can never be acted on is [`Verdict::Bad`] (it goes to quarantine at once, trying again changes nothing); one that
//! asks for nothing is [`Verdict::Ignore`].

use chrono::{DateTime, Utc};
use thiserror::Error;

use super::object::UserId;
use super::shards::SequenceNumber;

/// What happened to a row, by the name that the stream gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventName {
    Insert,
    Modify,
    Remove,
}

impl EventName {
    /// Reads `INSERT`, `MODIFY` or `REMOVE`; None for any other name.
    pub fn from_stream(name: &str) -> Option<Self> {
        match name {
            "INSERT" => Some(Self::Insert),
            "MODIFY" => Some(Self::Modify),
            "REMOVE" => Some(Self::Remove),
            _ => None,
        }
    }
}

/// The row's key as the record has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyValue {
    String(String),
    /// Any other type, by its DynamoDB name (`N`, `B`). The contract's users table has a string key, and the write-back must
    /// name the key with its type, so these are not guessed at.
    Other(&'static str),
    Missing,
}

/// What the record's new image says of the URI attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UriInImage {
    Present,
    Absent,
    /// The stream's view type leaves new images out.
    NotShown,
}

/// The parts of a stream record that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// `eventName`
    pub event: String,
    /// The key attribute in `dynamodb.Keys`.
    pub key: KeyValue,
    pub uri: UriInImage,
    /// `ApproximateCreationDateTime`
    pub created: Option<DateTime<Utc>>,
    /// `SequenceNumber`
    pub sequence: Option<String>,
}

/// What to do with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Make sure that this user has a bucket.
    Provision(Provision),
    Ignore(IgnoreReason),
    Bad(BadRecord),
}

/// A user to provision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provision {
    pub user: UserId,
    /// When the record was made: the bucket is named from it, so that the record gives the same name whenever it runs.
    pub created: DateTime<Utc>,
    pub sequence: SequenceNumber,
}

/// Why a record asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IgnoreReason {
    /// Not among the configured events.
    NotConfigured,
    /// A deleted row gets no bucket, whatever is configured.
    Removed,
    /// The row had a bucket when the record was made; this is what our own write-back looks like under `MODIFY`.
    HasBucket,
}

/// Why a record can never be acted on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadRecord {
    #[error("{0:?} is no event of a stream")]
    UnknownEvent(String),
    #[error("the record's keys have no attribute of the name that [users].key gives")]
    NoKey,
    #[error("the key attribute is of type {0}, but a user id is a string (S)")]
    KeyType(&'static str),
    #[error("the user id is empty")]
    EmptyKey,
    #[error("the record has no creation time, from which its bucket would be named")]
    NoCreationTime,
    #[error("the record has no sequence number that could be read")]
    NoSequenceNumber,
}

/// Decides what a record asks for; `events` are the configured ones.
pub fn classify(record: UserRecord, events: &[EventName]) -> Verdict {
    let Some(event) = EventName::from_stream(&record.event) else {
        return Verdict::Bad(BadRecord::UnknownEvent(record.event));
    };
    // What asks for nothing is not looked at more closely: a broken record of a deleted row is nobody's trouble.
    if event == EventName::Remove {
        return Verdict::Ignore(IgnoreReason::Removed);
    }
    if !events.contains(&event) {
        return Verdict::Ignore(IgnoreReason::NotConfigured);
    }
    if record.uri == UriInImage::Present {
        return Verdict::Ignore(IgnoreReason::HasBucket);
    }
    match provision(record) {
        Ok(provision) => Verdict::Provision(provision),
        Err(bad) => Verdict::Bad(bad),
    }
}

fn provision(record: UserRecord) -> Result<Provision, BadRecord> {
    let user = match record.key {
        KeyValue::String(id) => UserId::new(id).map_err(|_| BadRecord::EmptyKey)?,
        KeyValue::Other(kind) => return Err(BadRecord::KeyType(kind)),
        KeyValue::Missing => return Err(BadRecord::NoKey),
    };
    let created = record.created.ok_or(BadRecord::NoCreationTime)?;
    let sequence = record.sequence.and_then(|sequence| SequenceNumber::new(sequence).ok());
    Ok(Provision { user, created, sequence: sequence.ok_or(BadRecord::NoSequenceNumber)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_asks_for_a_bucket_for_nothing_or_for_the_impossible() {
        let created = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let good = UserRecord {
            event: "INSERT".to_owned(),
            key: KeyValue::String("Jane".to_owned()),
            uri: UriInImage::NotShown,
            created: Some(created),
            sequence: Some("007".to_owned()),
        };
        let asked = || {
            let (user, sequence) = (UserId::new("Jane").unwrap(), SequenceNumber::new("7").unwrap());
            Verdict::Provision(Provision { user, created, sequence })
        };
        let event = |event: &str| UserRecord { event: event.to_owned(), ..good.clone() };
        let key = |key: KeyValue| UserRecord { key, ..good.clone() };
        let both = [EventName::Insert, EventName::Modify];
        for (record, events, expected) in [
            (good.clone(), &both[..1], asked()),
            (UserRecord { uri: UriInImage::Absent, ..event("MODIFY") }, &both, asked()),
            (event("MODIFY"), &both[..1], Verdict::Ignore(IgnoreReason::NotConfigured)),
            (event("REMOVE"), &both, Verdict::Ignore(IgnoreReason::Removed)),
            (
                UserRecord { uri: UriInImage::Present, ..event("MODIFY") },
                &both,
                Verdict::Ignore(IgnoreReason::HasBucket),
            ),
            (event("UPSERT"), &both, Verdict::Bad(BadRecord::UnknownEvent("UPSERT".to_owned()))),
            (key(KeyValue::Missing), &both, Verdict::Bad(BadRecord::NoKey)),
            (key(KeyValue::Other("N")), &both, Verdict::Bad(BadRecord::KeyType("N"))),
            (key(KeyValue::String(String::new())), &both, Verdict::Bad(BadRecord::EmptyKey)),
            (UserRecord { created: None, ..good.clone() }, &both, Verdict::Bad(BadRecord::NoCreationTime)),
            (
                UserRecord { sequence: Some("x".to_owned()), ..good.clone() },
                &both,
                Verdict::Bad(BadRecord::NoSequenceNumber),
            ),
        ] {
            assert_eq!(classify(record.clone(), events), expected, "{record:?}");
        }
    }
}
