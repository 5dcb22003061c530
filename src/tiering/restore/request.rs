//! What a message of the request queue asks for.
//!
//! Either `{"bucket": "b", "key": "k", "days": 3, "tier": "Bulk"}` with the key as it is, or a body shaped like an S3
//! notification whose records name objects (keys form-encoded, `eventName` optional and not looked at: whatever the
//! event was, its object is asked for). Both may come through SNS.
//!
//! Fields that are not known are let pass: a message is written by another program, which may have its own (an id, a
//! user), and which nobody would tell that its message was refused.

use serde_json::Value;

use super::Tier;
use crate::tiering::excerpt::excerpt;
use crate::tiering::object::ObjectId;
use crate::tiering::s3_event::{
    BrokenRecord, Rejected, SHOWN, is_test_event, kind_of, object_id, open, record_object, records, text,
};

/// One object to be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreRequest {
    pub id: ObjectId,
    /// How long the restored copy is to stay; none for the configured time.
    pub days: Option<u32>,
    /// None for the configured tier.
    pub tier: Option<Tier>,
}

/// What a body asks for. The message may be deleted once every request is under way, and only if nothing is `broken`;
/// with neither (`s3:TestEvent`) at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParsedRequests {
    pub requests: Vec<RestoreRequest>,
    pub broken: Vec<BrokenRecord>,
}

/// Reads a message body of any of the shapes. Fails where nothing in it can be a request.
pub fn parse_requests(body: &str) -> Result<ParsedRequests, Rejected> {
    let opened = open(body)?;
    let (body, place) = (&opened.body, opened.place);
    let mut parsed = ParsedRequests::default();
    if is_test_event(body) {
        return Ok(parsed);
    }
    if body.get("Records").is_some() {
        for (index, record) in records(body, place)?.iter().enumerate() {
            match record_object(record) {
                Ok(id) => parsed.requests.push(RestoreRequest { id, days: None, tier: None }),
                Err(reason) => parsed.broken.push(BrokenRecord { index, reason }),
            }
        }
        return Ok(parsed);
    }
    let request = request(body).map_err(|(field, reason)| Rejected::new(&format!("{place}{field}"), reason))?;
    parsed.requests.push(request);
    Ok(parsed)
}

fn request(body: &Value) -> Result<RestoreRequest, (&'static str, String)> {
    let missing = "no restore request: missing, empty or no string";
    let bucket = text(body, "/bucket").ok_or((".bucket", missing.to_owned()))?;
    let key = text(body, "/key").ok_or((".key", missing.to_owned()))?;
    let id = object_id(bucket, key).map_err(|reason| ("", reason))?;
    let days = match body.get("days") {
        None | Some(Value::Null) => None,
        Some(days) => Some(
            days.as_u64()
                .and_then(|days| u32::try_from(days).ok())
                .filter(|days| (1..=MAX_DAYS).contains(days))
                .ok_or_else(|| {
                    (
                        ".days",
                        format!(
                            "days are a whole number from 1 to {MAX_DAYS}, not {}",
                            excerpt(&days.to_string(), SHOWN)
                        ),
                    )
                })?,
        ),
    };
    let tier =
        match body.get("tier") {
            None | Some(Value::Null) => None,
            Some(Value::String(tier)) => Some(tier.parse().map_err(|_| {
                (".tier", format!("a tier is Standard, Bulk or Expedited, not {}", excerpt(tier, SHOWN)))
            })?),
            Some(other) => return Err((".tier", format!("a tier is a string, not {}", kind_of(other)))),
        };
    Ok(RestoreRequest { id, days, tier })
}

/// `Days` is a signed 32-bit number in S3's model.
const MAX_DAYS: u32 = i32::MAX as u32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const EVENT_SHAPED: &str = include_str!("../../../tests/fixtures/messages/restore-request-event-shaped.json");
    const TEST_EVENT: &str = include_str!("../../../tests/fixtures/messages/test-event.json");

    fn asked(key: &str, days: Option<u32>, tier: Option<Tier>) -> RestoreRequest {
        RestoreRequest { id: format!("s3://some-bucket/{key}").parse().unwrap(), days, tier }
    }

    fn in_sns(body: &str) -> String {
        json!({"Type": "Notification", "TopicArn": "arn:aws:sns:r:1:t", "Message": body}).to_string()
    }

    #[test]
    fn a_request_is_read_with_its_key_as_it_is() {
        let cases = [
            (r#"{"bucket":"some-bucket","key":"a+b%20c"}"#, asked("a+b%20c", None, None)),
            (
                r#"{"bucket":"some-bucket","key":"k","days":3,"tier":"bulk","user":7}"#,
                asked("k", Some(3), Some(Tier::Bulk)),
            ),
            (
                r#"{"bucket":"some-bucket","key":"사진","days":1,"tier":"EXPEDITED"}"#,
                asked("사진", Some(1), Some(Tier::Expedited)),
            ),
            (r#"{"bucket":"some-bucket","key":"k","days":null,"tier":null}"#, asked("k", None, None)),
        ];
        for (body, request) in cases {
            let expected = ParsedRequests { requests: vec![request], broken: vec![] };
            assert_eq!(parse_requests(body), Ok(expected.clone()), "{body}");
            assert_eq!(parse_requests(&in_sns(body)), Ok(expected), "{body} in SNS");
        }
    }

    #[test]
    fn an_event_shaped_request_asks_for_every_object_it_names_with_its_key_decoded() {
        for body in [EVENT_SHAPED.to_owned(), in_sns(EVENT_SHAPED)] {
            let parsed = parse_requests(&body).unwrap();
            assert_eq!(parsed.requests, [asked("a b+c", None, None), asked("plain", None, None)]);
            assert_eq!(parsed.broken.iter().map(|broken| broken.index).collect::<Vec<_>>(), [1, 3]);
        }
    }

    #[test]
    fn a_test_event_asks_for_nothing() {
        assert_eq!(parse_requests(TEST_EVENT), Ok(ParsedRequests::default()));
        assert_eq!(parse_requests(&in_sns(TEST_EVENT)), Ok(ParsedRequests::default()));
    }

    #[test]
    fn what_is_no_request_is_rejected_with_the_place() {
        let cases = [
            ("", "$"),
            ("[]", "$"),
            ("{}", "$.bucket"),
            (r#"{"bucket":"some-bucket"}"#, "$.key"),
            (r#"{"bucket":"some-bucket","key":""}"#, "$.key"),
            (r#"{"bucket":7,"key":"k"}"#, "$.bucket"),
            (r#"{"bucket":"b","key":"k"}"#, "$"),
            (r#"{"bucket":"some-bucket","key":"k","days":0}"#, "$.days"),
            (r#"{"bucket":"some-bucket","key":"k","days":-1}"#, "$.days"),
            (r#"{"bucket":"some-bucket","key":"k","days":1.5}"#, "$.days"),
            (r#"{"bucket":"some-bucket","key":"k","days":"3"}"#, "$.days"),
            (r#"{"bucket":"some-bucket","key":"k","days":2147483648}"#, "$.days"),
            (r#"{"bucket":"some-bucket","key":"k","tier":"Fast"}"#, "$.tier"),
            (r#"{"bucket":"some-bucket","key":"k","tier":1}"#, "$.tier"),
            (r#"{"Records":[]}"#, "$.Records"),
        ];
        for (body, place) in cases {
            assert_eq!(parse_requests(body).unwrap_err().place, place, "{body}");
        }
        let long = json!({"bucket": "some-bucket", "key": "k".repeat(1025)}).to_string();
        assert_eq!(parse_requests(&long).unwrap_err().place, "$");
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in any::<String>(), at in any::<prop::sample::Index>()) {
            prop_assert!(parse_requests(&body).is_err());
            let at = at.index(EVENT_SHAPED.len());
            let spliced = format!("{}{body}{}", &EVENT_SHAPED[..at], &EVENT_SHAPED[at..]);
            if let Err(rejected) = parse_requests(&spliced) {
                prop_assert!(!rejected.to_string().contains('\n'));
            }
        }

        #[test]
        fn any_key_arrives_as_it_was_named(key in "\\PC{1,100}", days in 1u32..1000) {
            let body = json!({"bucket": "some-bucket", "key": key, "days": days}).to_string();
            prop_assert_eq!(parse_requests(&body).unwrap().requests, [asked(&key, Some(days), None)]);
        }
    }
}
