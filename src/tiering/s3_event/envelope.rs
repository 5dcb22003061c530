//! What stands around an S3 event: nothing, or the envelope of an SNS topic.

use serde_json::Value;
use thiserror::Error;

/// Why nothing in a body can be acted on. Its text is one line that says what is wrong and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason} (at {place})")]
pub struct Rejected {
    /// Where in the body, as a path (`$.Message.Records`).
    pub place: String,
    pub reason: String,
}

impl Rejected {
    pub(in crate::tiering) fn new(place: &str, reason: impl Into<String>) -> Self {
        Self { place: place.to_owned(), reason: reason.into() }
    }
}

/// A body out of its envelope.
pub(in crate::tiering) struct Opened {
    /// A JSON object, always.
    pub body: Value,
    /// The path at which `body` stands in the message.
    pub place: &'static str,
}

/// Reads `body` as JSON and takes it out of an SNS envelope if it is in one. An envelope within an envelope is not opened:
/// no topic delivers to a topic.
pub(in crate::tiering) fn open(body: &str) -> Result<Opened, Rejected> {
    let outer = read_object(body, "$")?;
    // EventBridge has no `Type`, S3's own bodies neither; a restore request could carry one, but then no `TopicArn`.
    match (outer.get("Type").and_then(Value::as_str), outer.get("Message")) {
        (Some("Notification"), Some(Value::String(message))) => {
            let place = "$.Message";
            Ok(Opened { body: read_object(message, place)?, place })
        }
        (Some("Notification"), _) => Err(Rejected::new("$.Message", "an SNS notification without a message of text")),
        (Some(kind @ ("SubscriptionConfirmation" | "UnsubscribeConfirmation")), _) => {
            Err(Rejected::new("$.Type", format!("an SNS {kind} waits for somebody to answer it")))
        }
        _ => Ok(Opened { body: outer, place: "$" }),
    }
}

/// Whether this is the message that S3 sends when a notification is configured.
pub(in crate::tiering) fn is_test_event(body: &Value) -> bool {
    body.get("Event").and_then(Value::as_str) == Some("s3:TestEvent")
}

fn read_object(text: &str, place: &str) -> Result<Value, Rejected> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(other) => Err(Rejected::new(place, format!("{}, where a JSON object should be", kind_of(&other)))),
        Err(error) => Err(Rejected::new(place, format!("not JSON: {error}"))),
    }
}

/// What a JSON value is, for a reason: never its content.
pub(in crate::tiering) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
