//! What a message about S3 objects says.
//!
//! The same event reaches a queue in several shapes: as an S3 notification (`{"Records":[…]}`), raw or in the envelope of
//! an SNS topic, or as an EventBridge event, raw or through SNS. [`parse_events`] reads them all into [`S3Event`]s. It
//! takes any text whatever and never panics.
//!
//! A message is a hint and the object's head is the truth, so what only describes the object (size, ETag, time) may be
//! missing or odd; what names it (bucket, key) may not. A record that cannot be understood is set apart in
//! [`Parsed::broken`]: the good ones of its body still act, and the message stays in the queue for somebody to look at.
//!
//! Shapes: S3 user guide, "Event message structure" (versions 2.x; a new minor version only adds fields, a new major one
//! breaks) and "EventBridge event message structure".

mod envelope;
mod form;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::excerpt::excerpt;
use super::object::{BucketName, ETag, ObjectId, ObjectKey};
pub use envelope::Rejected;
pub(in crate::tiering) use envelope::{is_test_event, kind_of, open};
pub use form::{FormError, form_decode, form_encode};

/// What a body holds. The message may be deleted once every event has had its effect, and only if nothing is `broken`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parsed {
    pub events: Vec<S3Event>,
    /// Names of the events that tierd has no use for (`s3:TestEvent`, `ObjectRemoved:Delete`, …): acknowledged without effect.
    pub ignored: Vec<String>,
    pub broken: Vec<BrokenRecord>,
}

/// A record of a body that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenRecord {
    /// Its place in `Records`, from 0.
    pub index: usize,
    /// One line.
    pub reason: String,
}

/// Something that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Event {
    pub kind: EventKind,
    pub id: ObjectId,
    pub time: Option<DateTime<Utc>>,
    pub etag: Option<ETag>,
    pub size_bytes: Option<u64>,
    pub version_id: Option<String>,
    /// Orders events of one key: see [`super::replication::Sequencer`]. S3 sends it with PUTs and DELETEs only.
    pub sequencer: Option<String>,
    /// Who caused it. In a notification a principal (`AWS:AROA…:session`), through EventBridge an account id or the name
    /// of a service, which does not tell one role from another.
    pub principal: Option<String>,
}

/// The kinds of event that tierd acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    Created(Creation),
    /// A restore was begun (`ObjectRestore:Post`, `Object Restore Initiated`).
    RestoreInitiated,
    /// `ObjectRestore:Completed`, `Object Restore Completed`.
    RestoreCompleted,
    /// The restored copy is gone (`ObjectRestore:Delete`, `Object Restore Expired`).
    RestoreExpired,
}

/// The call by which an object came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Creation {
    Put,
    Post,
    Copy,
    CompleteMultipartUpload,
    /// One that S3 may add some day.
    Other,
}

/// Reads a message body of any of the shapes.
///
/// Fails with [`Rejected`] where the body as a whole is no message about S3 objects; then nothing in it may act.
pub fn parse_events(body: &str) -> Result<Parsed, Rejected> {
    let opened = open(body)?;
    let (body, place) = (&opened.body, opened.place);
    if is_test_event(body) {
        return Ok(Parsed { ignored: vec!["s3:TestEvent".to_owned()], ..Parsed::default() });
    }
    if body.get("detail-type").is_some() {
        return eventbridge(body, place);
    }
    let mut parsed = Parsed::default();
    for (index, record) in records(body, place)?.iter().enumerate() {
        match notification(record) {
            Ok(Read::Event(event)) => parsed.events.push(*event),
            Ok(Read::Ignored(name)) => parsed.ignored.push(name),
            Err(reason) => parsed.broken.push(BrokenRecord { index, reason }),
        }
    }
    Ok(parsed)
}

/// The list `Records` of a body, which holds at least one: S3 never sends an empty one.
pub(in crate::tiering) fn records<'a>(body: &'a Value, place: &str) -> Result<&'a [Value], Rejected> {
    match body.get("Records") {
        Some(Value::Array(records)) if records.is_empty() => {
            Err(Rejected::new(&format!("{place}.Records"), "a list without records"))
        }
        Some(Value::Array(records)) => Ok(records),
        Some(other) => {
            Err(Rejected::new(&format!("{place}.Records"), format!("{}, where a list should be", kind_of(other))))
        }
        None => Err(Rejected::new(place, "no S3 notification: neither Records nor detail-type")),
    }
}

/// The object that a record of a notification names, its key form-encoded.
pub(in crate::tiering) fn record_object(record: &Value) -> Result<ObjectId, String> {
    let bucket = text(record, "/s3/bucket/name").ok_or("s3.bucket.name is missing or no string")?;
    let key = text(record, "/s3/object/key").ok_or("s3.object.key is missing or no string")?;
    let key = form_decode(key).map_err(|error| format!("s3.object.key {}: {error}", excerpt(key, SHOWN)))?;
    object_id(bucket, key)
}

/// The text at `pointer` (RFC 6901), if it is one and says anything.
pub(in crate::tiering) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Checks the two names of an object.
pub(in crate::tiering) fn object_id(bucket: &str, key: impl Into<String>) -> Result<ObjectId, String> {
    let bucket = BucketName::new(bucket).map_err(|error| error.to_string())?;
    let key = ObjectKey::new(key).map_err(|error| error.to_string())?;
    Ok(ObjectId::new(bucket, key))
}

/// How much of a foreign text a reason shows, in characters.
pub(in crate::tiering) const SHOWN: usize = 80;

enum Read {
    Event(Box<S3Event>),
    Ignored(String),
}

fn notification(record: &Value) -> Result<Read, String> {
    if !record.is_object() {
        return Err(format!("{}, where a record should be", kind_of(record)));
    }
    // S3 itself says `aws:s3`; servers that speak its protocol put their own name before `:s3`.
    match record.get("eventSource") {
        None => {}
        Some(Value::String(source)) if source.ends_with(":s3") => {}
        Some(Value::String(source)) => return Err(format!("eventSource {} is not S3", excerpt(source, SHOWN))),
        Some(other) => return Err(format!("eventSource is {}", kind_of(other))),
    }
    match record.get("eventVersion") {
        None => {}
        Some(Value::String(version)) if version.split('.').next() == Some("2") => {}
        Some(Value::String(version)) => return Err(format!("eventVersion {} is not 2.x", excerpt(version, SHOWN))),
        Some(other) => return Err(format!("eventVersion is {}", kind_of(other))),
    }
    let name = text(record, "/eventName").ok_or("eventName is missing or no string")?;
    let Some(kind) = kind_of_notification(name) else {
        // Without either of the two nothing says that this is an S3 event at all.
        return if record.get("eventSource").is_some() || record.get("s3").is_some() {
            Ok(Read::Ignored(name.to_owned()))
        } else {
            Err(format!("{} comes with neither eventSource nor s3", excerpt(name, SHOWN)))
        };
    };
    let mut event = described(kind, record_object(record)?, record.pointer("/s3/object"), "eTag", "versionId");
    event.time = text(record, "/eventTime").and_then(time);
    event.principal = text(record, "/userIdentity/principalId").map(str::to_owned);
    Ok(Read::Event(Box::new(event)))
}

/// The kind behind a name, which in a message comes without the `s3:` of the configuration.
fn kind_of_notification(name: &str) -> Option<EventKind> {
    let (family, detail) = name.strip_prefix("s3:").unwrap_or(name).split_once(':')?;
    match (family, detail) {
        ("ObjectCreated", call) => Some(EventKind::Created(match call {
            "Put" => Creation::Put,
            "Post" => Creation::Post,
            "Copy" => Creation::Copy,
            "CompleteMultipartUpload" => Creation::CompleteMultipartUpload,
            _ => Creation::Other,
        })),
        ("ObjectRestore", "Post") => Some(EventKind::RestoreInitiated),
        ("ObjectRestore", "Completed") => Some(EventKind::RestoreCompleted),
        ("ObjectRestore", "Delete") => Some(EventKind::RestoreExpired),
        _ => None,
    }
}

fn eventbridge(body: &Value, place: &str) -> Result<Parsed, Rejected> {
    let name = text(body, "/detail-type")
        .ok_or_else(|| Rejected::new(&format!("{place}.detail-type"), "no string, or an empty one"))?;
    match body.get("source").map(Value::as_str) {
        None | Some(Some("aws.s3")) => {}
        Some(source) => {
            let source = source.map_or("of another type".to_owned(), |source| excerpt(source, SHOWN));
            return Err(Rejected::new(
                &format!("{place}.source"),
                format!("an event whose source {source} is not aws.s3"),
            ));
        }
    }
    let kind = match name {
        "Object Created" => EventKind::Created(match text(body, "/detail/reason") {
            Some("PutObject") => Creation::Put,
            Some("POST Object") => Creation::Post,
            Some("CopyObject") => Creation::Copy,
            Some("CompleteMultipartUpload") => Creation::CompleteMultipartUpload,
            _ => Creation::Other,
        }),
        "Object Restore Initiated" => EventKind::RestoreInitiated,
        "Object Restore Completed" => EventKind::RestoreCompleted,
        "Object Restore Expired" => EventKind::RestoreExpired,
        _ if body.get("source").is_none() => {
            return Err(Rejected::new(&format!("{place}.source"), "an event without a source"));
        }
        other => return Ok(Parsed { ignored: vec![other.to_owned()], ..Parsed::default() }),
    };
    let missing = |field: &str| Rejected::new(&format!("{place}.detail.{field}"), "missing, empty or no string");
    let bucket = text(body, "/detail/bucket/name").ok_or_else(|| missing("bucket.name"))?;
    let key = text(body, "/detail/object/key").ok_or_else(|| missing("object.key"))?;
    let id = object_id(bucket, key).map_err(|reason| Rejected::new(&format!("{place}.detail"), reason))?;
    let mut event = described(kind, id, body.pointer("/detail/object"), "etag", "version-id");
    event.time = text(body, "/time").and_then(time);
    event.principal = text(body, "/detail/requester").map(str::to_owned);
    Ok(Parsed { events: vec![event], ..Parsed::default() })
}

/// An event with what the message says of its object; the two shapes differ only in two names.
fn described(kind: EventKind, id: ObjectId, object: Option<&Value>, etag: &str, version_id: &str) -> S3Event {
    let field = |name: &str| object.and_then(|object| object.get(name));
    let string = |name: &str| field(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    S3Event {
        kind,
        id,
        time: None,
        etag: string(etag).and_then(|tag| ETag::new(tag).ok()),
        size_bytes: field("size").and_then(Value::as_u64),
        version_id: string(version_id).map(str::to_owned),
        sequencer: string("sequencer").map(str::to_owned),
        principal: None,
    }
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

#[cfg(test)]
mod tests;
