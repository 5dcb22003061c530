use proptest::prelude::*;
use serde_json::json;

use super::*;

const PUT: &str = include_str!("../../../tests/fixtures/messages/notification-put.json");
const COMPLETED: &str = include_str!("../../../tests/fixtures/messages/notification-restore-completed.json");
const SOME_BROKEN: &str = include_str!("../../../tests/fixtures/messages/notification-some-broken.json");
const TEST_EVENT: &str = include_str!("../../../tests/fixtures/messages/test-event.json");
const BRIDGE_CREATED: &str = include_str!("../../../tests/fixtures/messages/eventbridge-created.json");
const BRIDGE_COMPLETED: &str = include_str!("../../../tests/fixtures/messages/eventbridge-restore-completed.json");

/// `body` as an SNS topic delivers it without raw delivery.
fn in_sns(body: &str) -> String {
    json!({
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:ap-northeast-1:123456789012:topic",
        "Subject": "Amazon S3 Notification",
        "Message": body,
        "Timestamp": "2026-03-01T14:00:00.000Z",
        "SignatureVersion": "1",
        "Signature": "EXAMPLE",
    })
    .to_string()
}

fn record(name: &str, key: &str) -> String {
    json!({"Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": name,
        "s3": {"bucket": {"name": "source-bucket"}, "object": {"key": key}},
    }]})
    .to_string()
}

fn bridge(detail_type: &str, reason: &str) -> String {
    let mut event: Value = serde_json::from_str(BRIDGE_CREATED).unwrap();
    event["detail-type"] = json!(detail_type);
    event["detail"]["reason"] = json!(reason);
    event.to_string()
}

fn id(key: &str) -> ObjectId {
    ObjectId::new(BucketName::new("source-bucket").unwrap(), ObjectKey::new(key).unwrap())
}

fn only_event(body: &str) -> S3Event {
    let parsed = parse_events(body).unwrap();
    assert_eq!((parsed.broken.len(), parsed.ignored.len()), (0, 0), "{parsed:?}");
    let [event] = parsed.events.as_slice() else { panic!("{parsed:?}") };
    event.clone()
}

#[test]
fn a_notification_is_read_with_all_that_it_says() {
    let expected = S3Event {
        kind: EventKind::Created(Creation::Put),
        id: id("prefix/사진 1+1.jpg"),
        time: Some("2026-03-01T09:30:15.123Z".parse().unwrap()),
        etag: Some(ETag::new("d41d8cd98f00b204e9800998ecf8427e").unwrap()),
        size_bytes: Some(1024),
        version_id: Some("096fKKXTRTtl3on89fVO.nfljtsv6qko".to_owned()),
        sequencer: Some("0055AED6DCD90281E5".to_owned()),
        principal: Some("AWS:AROAEXAMPLEROLEID0001:uploader".to_owned()),
    };
    assert_eq!(only_event(PUT), expected);
    assert_eq!(only_event(&in_sns(PUT)), expected);
}

#[test]
fn an_eventbridge_event_is_read_with_its_key_as_it_stands() {
    let expected = S3Event {
        kind: EventKind::Created(Creation::Put),
        id: id("prefix/1+1 100%2B.jpg"),
        time: Some("2026-03-01T09:30:15Z".parse().unwrap()),
        etag: Some(ETag::new("b1946ac92492d2347c6235b4d2611184").unwrap()),
        size_bytes: Some(5),
        version_id: Some("IYV3p45BT0ac8hjHg1houSdS1a.Mro8e".to_owned()),
        sequencer: Some("617f08299329d189".to_owned()),
        principal: Some("123456789012".to_owned()),
    };
    assert_eq!(only_event(BRIDGE_CREATED), expected);
    assert_eq!(only_event(&in_sns(BRIDGE_CREATED)), expected);
}

#[test]
fn a_completed_restore_is_the_same_event_in_every_shape_but_for_the_encoding_of_its_key() {
    for (body, key) in [(COMPLETED, "a b"), (BRIDGE_COMPLETED, "a+b")] {
        for body in [body.to_owned(), in_sns(body)] {
            let event = only_event(&body);
            assert_eq!((event.kind, event.id), (EventKind::RestoreCompleted, id(key)));
            assert_eq!(event.sequencer, None);
        }
    }
    assert_eq!(only_event(COMPLETED).version_id, None);
}

#[test]
fn every_kind_is_known_by_its_names() {
    let cases = [
        ("ObjectCreated:Put", "Object Created", "PutObject", EventKind::Created(Creation::Put)),
        ("ObjectCreated:Post", "Object Created", "POST Object", EventKind::Created(Creation::Post)),
        ("ObjectCreated:Copy", "Object Created", "CopyObject", EventKind::Created(Creation::Copy)),
        (
            "ObjectCreated:CompleteMultipartUpload",
            "Object Created",
            "CompleteMultipartUpload",
            EventKind::Created(Creation::CompleteMultipartUpload),
        ),
        ("ObjectCreated:Dream", "Object Created", "Dream", EventKind::Created(Creation::Other)),
        ("ObjectRestore:Post", "Object Restore Initiated", "", EventKind::RestoreInitiated),
        ("ObjectRestore:Completed", "Object Restore Completed", "", EventKind::RestoreCompleted),
        ("ObjectRestore:Delete", "Object Restore Expired", "", EventKind::RestoreExpired),
    ];
    for (name, detail_type, reason, kind) in cases {
        assert_eq!(only_event(&record(name, "k")).kind, kind, "{name}");
        assert_eq!(only_event(&record(&format!("s3:{name}"), "k")).kind, kind, "s3:{name}");
        assert_eq!(only_event(&bridge(detail_type, reason)).kind, kind, "{detail_type}");
    }
}

#[test]
fn every_minor_version_is_read() {
    for version in ["2.0", "2.1", "2.2", "2.3", "2.17", "2"] {
        assert!(parse_events(&PUT.replace("\"2.1\"", &format!("{version:?}"))).unwrap().broken.is_empty(), "{version}");
    }
    for version in ["1.0", "3.0", "20.1", ""] {
        let parsed = parse_events(&PUT.replace("\"2.1\"", &format!("{version:?}"))).unwrap();
        assert_eq!((parsed.events.len(), parsed.broken.len()), (0, 1), "{version}");
    }
}

#[test]
fn what_tierd_has_no_use_for_is_acknowledged_whatever_else_it_says() {
    let cases = [
        (TEST_EVENT.to_owned(), "s3:TestEvent"),
        (in_sns(TEST_EVENT), "s3:TestEvent"),
        (record("ObjectRemoved:Delete", "k"), "ObjectRemoved:Delete"),
        (record("s3:ObjectRemoved:DeleteMarkerCreated", "100%"), "s3:ObjectRemoved:DeleteMarkerCreated"),
        (record("ReducedRedundancyLostObject", "k"), "ReducedRedundancyLostObject"),
        (record("ObjectRestore:Imagined", "k"), "ObjectRestore:Imagined"),
        (bridge("Object Deleted", "DeleteObject"), "Object Deleted"),
        (bridge("Object Storage Class Changed", ""), "Object Storage Class Changed"),
    ];
    for (body, name) in cases {
        let expected = Parsed { ignored: vec![name.to_owned()], ..Parsed::default() };
        assert_eq!(parse_events(&body), Ok(expected), "{body}");
    }
}

#[test]
fn the_good_records_of_a_body_are_read_beside_the_broken_ones() {
    let parsed = parse_events(SOME_BROKEN).unwrap();
    assert_eq!(parsed.events.iter().map(|event| event.id.clone()).collect::<Vec<_>>(), [id("good-1"), id("good-2")]);
    assert_eq!(parsed.ignored, ["LifecycleExpiration:Delete"]);
    let expected = [
        (1, "eventVersion"),
        (2, "a string"),
        (3, "\"100%\""),
        (4, "s3.object.key"),
        (5, "bucket name"),
        (6, "aws:ses"),
        (7, "eventName"),
    ];
    assert_eq!(parsed.broken.len(), expected.len());
    for (broken, (index, part)) in parsed.broken.iter().zip(expected) {
        assert_eq!(broken.index, index);
        assert!(broken.reason.contains(part), "{broken:?}");
    }
}

#[test]
fn odd_descriptions_do_not_break_a_record() {
    let body = PUT
        .replace("1024", "\"many\"")
        .replace("\"0055AED6DCD90281E5\"", "null")
        .replace("d41d8cd98f00b204e9800998ecf8427e", "")
        .replace("2026-03-01T09:30:15.123Z", "yesterday");
    let event = only_event(&body);
    assert_eq!((event.size_bytes, event.sequencer, event.etag, event.time), (None, None, None, None));
}

#[test]
fn a_body_that_is_no_s3_message_is_rejected_with_the_place() {
    let cases = [
        (String::new(), "$"),
        ("hello".to_owned(), "$"),
        ("[]".to_owned(), "$"),
        ("{}".to_owned(), "$"),
        ("null".to_owned(), "$"),
        (PUT[..200].to_owned(), "$"),
        (r#"{"Records":{}}"#.to_owned(), "$.Records"),
        (r#"{"Records":[]}"#.to_owned(), "$.Records"),
        (r#"{"bucket":"b","key":"k"}"#.to_owned(), "$"),
        (in_sns("hello"), "$.Message"),
        (in_sns("{}"), "$.Message"),
        (in_sns(r#"{"Records":1}"#), "$.Message.Records"),
        (in_sns(&in_sns(PUT)), "$.Message"),
        (r#"{"Type":"Notification"}"#.to_owned(), "$.Message"),
        (r#"{"Type":"SubscriptionConfirmation","Message":"…"}"#.to_owned(), "$.Type"),
        (BRIDGE_CREATED.replace("aws.s3", "aws.ec2"), "$.source"),
        (r#"{"detail-type":"Anything"}"#.to_owned(), "$.source"),
        (r#"{"detail-type":7}"#.to_owned(), "$.detail-type"),
        (BRIDGE_CREATED.replace("\"name\"", "\"nom\""), "$.detail.bucket.name"),
        (BRIDGE_CREATED.replace("\"key\"", "\"clef\""), "$.detail.object.key"),
        (in_sns(&BRIDGE_CREATED.replace("source-bucket", "b")), "$.Message.detail"),
        (format!("{}1{}", "[".repeat(5000), "]".repeat(5000)), "$"),
    ];
    for (body, place) in cases {
        let rejected = parse_events(&body).unwrap_err();
        assert_eq!(rejected.place, place, "{rejected} in {body}");
        assert!(!rejected.to_string().contains('\n'), "{rejected:?}");
    }
}

/// Any JSON value, of the size of a message.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        "%[0-9a-f]{0,2}\\+".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-zA-Z0-9-]{1,8}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// The value at the `nth` place of a tree, counted depth first.
fn nth_place<'a>(value: &'a mut Value, nth: &mut usize) -> Option<&'a mut Value> {
    if *nth == 0 {
        return Some(value);
    }
    *nth -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth_place(item, nth)),
        Value::Object(fields) => fields.values_mut().find_map(|field| nth_place(field, nth)),
        _ => None,
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(body in any::<String>()) {
        prop_assert!(parse_events(&body).is_err());
    }

    #[test]
    fn no_cut_or_splice_of_a_body_makes_it_panic(which in 0usize..6, at in any::<prop::sample::Index>(), splice in any::<String>()) {
        let body = [PUT, COMPLETED, SOME_BROKEN, TEST_EVENT, BRIDGE_CREATED, BRIDGE_COMPLETED][which];
        let at = at.index(body.len());
        let body = format!("{}{splice}{}", &body[..at], &body[at..]);
        for body in [in_sns(&body), body] {
            if let Err(rejected) = parse_events(&body) {
                prop_assert!(!rejected.to_string().contains('\n'));
            }
        }
    }

    #[test]
    fn every_record_is_accounted_for_whatever_stands_in_its_fields(nth in 1usize..80, value in json_value()) {
        let mut body: Value = serde_json::from_str(SOME_BROKEN).unwrap();
        let mut nth = nth;
        if let Some(place) = nth_place(&mut body, &mut nth) {
            *place = value;
        }
        if let Ok(parsed) = parse_events(&body.to_string()) {
            let records = body["Records"].as_array().unwrap().len();
            prop_assert_eq!(parsed.events.len() + parsed.ignored.len() + parsed.broken.len(), records);
        }
    }

    #[test]
    fn any_key_arrives_as_it_was_named(key in "\\PC{1,100}") {
        prop_assert_eq!(only_event(&record("ObjectCreated:Put", &form_encode(&key))).id, id(&key));
    }
}
