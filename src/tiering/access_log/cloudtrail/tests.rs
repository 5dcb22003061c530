//! The walk against a plain parser, and the shapes that files have.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::tiering::access::{CountRule, EventIdentity, FileAccesses, PrincipalPattern};

const FIXTURE: &str = include_str!("../../../../tests/fixtures/logs/cloudtrail.json");

fn rules() -> CountingRules {
    let rule = |event: &str, parameter: Option<&str>| CountRule {
        event: event.into(),
        with_parameter: parameter.map(Into::into),
    };
    CountingRules {
        rules: vec![rule("PutObject", None), rule("GetObject", Some("response-content-disposition"))],
        exclude: vec![PrincipalPattern::own_identity("arn:aws:sts::123456789012:assumed-role/tierd/i-1")],
        bucket_prefix: "siuu".into(),
    }
}

fn parse(text: impl AsRef<[u8]>) -> Parsed {
    CloudTrailParser::new(rules()).parse(text.as_ref(), 20)
}

fn put(key: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.09","eventTime":"2024-03-31T23:59:59Z","eventSource":"s3.amazonaws.com","eventName":"PutObject","requestParameters":{{"bucketName":"siuu1","key":"{key}"}},"eventID":"{key}"}}"#
    )
}

/// (keys counted, records, bad)
fn check(text: impl AsRef<[u8]>, keys: &[&str], records: u64, bad: u64) {
    let parsed = parse(text.as_ref());
    let got: Vec<_> = parsed.accesses.iter().map(|access| access.key.to_owned()).collect();
    let shown = String::from_utf8_lossy(text.as_ref());
    assert_eq!(
        (got, parsed.records, parsed.records_bad),
        (keys.iter().map(|k| k.to_string()).collect(), records, bad),
        "{shown}"
    );
}

#[test]
fn real_records_with_their_full_set_of_fields_are_read() {
    let parsed = parse(FIXTURE);
    assert_eq!(parsed.errors, []);
    let got: Vec<_> =
        parsed.accesses.iter().map(|a| (a.bucket.as_str(), a.key, a.time.to_rfc3339(), a.bytes_sent, a.rule)).collect();
    assert_eq!(
        got,
        [
            ("siuu42-1700000000", "사진/a+b 100%.jpg", "2024-03-31T23:59:58+00:00".to_owned(), 0, 0),
            ("siuu42-1700000000", "report.pdf", "2024-03-31T23:59:59+00:00".to_owned(), 52_481, 1),
        ]
    );
    let ids: Vec<_> = parsed.accesses.iter().map(|a| a.identity).collect();
    let shared = EventIdentity::of_event_id("5b1d2a0e-3c8b-4d67-9c15-2f3e4d5c6b7a");
    assert_eq!(ids[1], Some(shared));
    assert_eq!(parsed.records, 8);
}

#[test]
fn files_of_all_shapes_are_read() {
    let (a, b) = (put("a"), put("b"));
    check(format!(r#"{{"Records":[{a},{b}]}}"#), &["a", "b"], 2, 0);
    check(format!("\u{feff}  {{ \"Records\" : [ {a} ,\n {b} ] }} \n\n"), &["a", "b"], 2, 0);
    check(format!(r#"{{"version":1,"x":[1,"]"],"Records":[{a}],"more":{{"Records":[{b}]}}}}"#), &["a"], 1, 0);
    check(format!("[{a},{b}]"), &["a", "b"], 2, 0);
    check(format!("{a}\n{b}\n"), &["a", "b"], 2, 0);
    check(format!("{{\"Records\":[{a}]}}\n{{\"Records\":[{b}]}}"), &["a", "b"], 2, 0);
    for empty in ["", " \n", "\u{feff}", "[]", "{\"Records\":[]}", "{\"Records\":null}"] {
        check(empty, &[], 0, 0);
    }
    check("{}", &[], 1, 0);
}

#[test]
fn one_bad_record_does_not_cost_the_others() {
    let (a, b) = (put("a"), put("b"));
    let among = |bad: &str| format!(r#"{{"Records":[{a},{bad},{b}]}}"#);
    for bad in [
        "null",
        "42",
        "-1.5e3",
        "\"a string\"",
        "true",
        "[]",
        "[1,[2,\"]\"]]",
        "oops",
        "{\"eventName\":\"PutObject\",\"b\":\"siuu1\",}",
        "{\"eventName\" \"PutObject\",\"b\":\"siuu1\"}",
    ] {
        check(among(bad), &["a", "b"], 3, 1);
    }
    let half = &a[..a.len() / 2];
    check(among(half), &["a", "b"], 3, 1);
    check(among("{\"eventName\":\"PutObject"), &["a", "b"], 3, 1);
    check(format!("{a}\nnot a record\n{b}"), &["a", "b"], 3, 1);
    check(format!("{a}\n{half}\n{b}"), &["a", "b"], 3, 1);
    check(format!("{a}\n{{\"eventName\":\"PutObject\n{b}"), &["a", "b"], 3, 1);
    // White space, but not in JSON.
    check(among("\u{c}"), &["a", "b"], 3, 1);
    check(among("\u{c}\u{b}\u{a0}7"), &["a", "b"], 3, 1);
    check(among(&a.replace("2024-03-31T23:59:59Z", "yesterday")), &["a", "b"], 3, 1);
    check(among(&a.replace("eventTime", "x")), &["a", "b"], 3, 1);
    check(among(&put(r"\ud800")), &["a", "b"], 3, 1);
    check(among(&put(&"k".repeat(1025))), &["a", "b"], 3, 1);
    check(among(&a.replace(r#""key":"a""#, r#""key":7"#)), &["a", "b"], 3, 1);
    check([among(&a).as_bytes(), b"\xff\xfe"].concat(), &["a", "a", "b"], 4, 1);
}

#[test]
fn a_file_that_ends_early_counts_what_it_has_and_one_bad_record() {
    let whole = format!(r#"{{"Records":[{},{}]}}"#, put("a"), put("b"));
    let first_end = whole.find("},{").unwrap() + 1;
    for end in 12..whole.len() {
        let keys: &[&str] = if end >= whole.len() - 2 {
            &["a", "b"]
        } else if end >= first_end {
            &["a"]
        } else {
            &[]
        };
        let parsed = parse(&whole[..end]);
        let got: Vec<_> = parsed.accesses.iter().map(|access| access.key).collect();
        assert_eq!((&got[..], parsed.records_bad), (keys, 1), "{}", &whole[..end]);
        assert_eq!(parsed.errors[0].reason, Reason::EndsEarly);
    }
}

#[test]
fn positions_are_those_of_the_records() {
    let text = format!(r#"{{"Records":[{},null,{}"#, put("a"), &put("b")[..50]);
    let at: Vec<_> = parse(&text).errors.iter().map(|error| (error.record, error.offset as usize)).collect();
    let null = text.find("null").unwrap();
    assert_eq!(at, [(2, null), (3, null + 5)]);
    let many = parse(format!("[{}]", vec!["null"; 50].join(",")));
    assert_eq!((many.records, many.records_bad, many.errors.len()), (50, 50, 20));
}

#[test]
fn odd_shapes_are_normal() {
    let a = put("a");
    let parameters = r#"{"bucketName":"siuu1","key":"a"}"#;
    for odd in [
        "null",
        "\"text\"",
        "[1]",
        "7",
        "{}",
        r#"{"bucketName":"siuu1"}"#,
        r#"{"bucketName":"siuu1","key":null}"#,
        r#"{"bucketName":"siuu1","key":""}"#,
    ] {
        check(format!("[{}]", a.replace(parameters, odd)), &[], 1, 0);
    }
    check(format!("[{}]", a.replace("s3.amazonaws", "mediastore.amazonaws")), &[], 1, 0);
    check(format!("[{}]", a.replace("{\"eventV", "{\"errorCode\":\"AccessDenied\",\"eventV")), &[], 1, 0);
    check(format!("[{}]", a.replace("{\"eventV", "{\"errorCode\":null,\"eventV")), &["a"], 1, 0);
    check(format!("[{}]", a.replace("siuu1", "other")), &[], 1, 0);
    check(format!("[{}]", a.replace("PutObject", r"\u0050utObject")), &["a"], 1, 0);
    check(format!("[{}]", put(r"\u00e9\ud83d\ude00\n\/")), &["é😀\n/"], 1, 0);
    check(format!("[{}]", a.replace("{\"eventV", "{\"eventName\":\"X\",\"eventV")), &[], 1, 0);
    check(format!("[{}]", a.replace(",\"eventID\"", ",\"eventName\":\"X\",\"eventID\"")), &["a"], 1, 0);
    let twice =
        |name: &str, value: &str| a.replace(&format!("\"{name}\":"), &format!("\"{name}\":{value},\"{name}\":"));
    check(format!("[{}]", twice("requestParameters", "null")), &[], 1, 0);
    check(format!("[{}]", twice("key", "\"b\"")), &["b"], 1, 0);
    check(format!("[{}]", twice("key", "null")), &[], 1, 0);
    check(format!("[{}]", twice("eventTime", "\"2024-01-01T00:00:00Z\"")), &["a"], 1, 0);
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    check(format!("[{}]", a.replace("{\"eventV", &format!("{{\"deep\":{deep},\"eventV"))), &["a"], 1, 0);
    check(format!("[{deep}]"), &[], 1, 1);
    let nest = format!("{}{}", r#"{"a":"#.repeat(200_000), "}".repeat(200_000));
    check(nest, &[], 1, 0);
}

#[test]
fn the_session_and_its_role_are_excluded() {
    let with = |identity: &str| {
        format!("[{}]", put("a").replace("{\"eventV", &format!("{{\"userIdentity\":{identity},\"eventV")))
    };
    check(with(r#"{"arn":"arn:aws:sts::123456789012:assumed-role/tierd/i-2"}"#), &[], 1, 0);
    check(with(r#"{"sessionContext":{"sessionIssuer":{"arn":"arn:aws:iam::123456789012:role/x/tierd"}}}"#), &[], 1, 0);
    check(with(r#"{"arn":"arn:aws:iam::123456789012:user/web"}"#), &["a"], 1, 0);
    check(with(r#""none""#), &["a"], 1, 0);
}

#[test]
fn a_record_like_one_before_is_read_by_its_shape_and_judged_by_its_own_values() {
    let parser = CloudTrailParser::new(rules());
    let record = |event: &str, source: &str, bucket: &str, key: &str, bytes: &str| {
        format!(
            r#"{{"eventTime":"2024-03-31T23:59:59Z","eventSource":"{source}","eventName":"{event}","note":[1,{{"a\"":-2.5e3}},null],"requestParameters":{{"bucketName":"{bucket}","key":"{key}"}},"additionalEventData":{{"bytesTransferredOut":{bytes}}}}}"#
        )
    };
    let s3 = "s3.amazonaws.com";
    let first = record("PutObject", s3, "siuu1", "a", "1");
    let end = " ".repeat(64);
    let check = |record: &str, want: &[(&str, u64)]| {
        let text = format!("{record}{end}");
        let mut scanner = Scanner::new();
        let scan = scanner.scan_object(text.as_bytes(), usize::MAX);
        let index = scanner.index(&text.as_bytes()[..scan.end.unwrap()]);
        let mut shapes = Shapes::default();
        assert_eq!(shapes.read(index, text.as_bytes(), true, &rules()).err(), Some(Stop::Odd));
        let mut first_scanner = Scanner::new();
        first_scanner.scan_object(first.as_bytes(), usize::MAX);
        let first_index = first_scanner.index(first.as_bytes());
        let mut lesson = Lesson::default();
        walk::record(first_index, true, &rules(), &mut lesson).unwrap();
        shapes.learn(first_index, &lesson);
        let by_shape = shapes.read(index, text.as_bytes(), true, &rules());
        assert_ne!(by_shape.as_ref().err(), Some(&Stop::Odd), "{record}");
        let mut accesses = FileAccesses::default();
        if let Ok(counting) = by_shape {
            counting.add(&mut accesses).unwrap();
        }
        let got: Vec<_> = accesses.iter().map(|access| (access.key, access.bytes_sent)).collect();
        assert_eq!(got, want, "{record}");
        assert_eq!(parser.parse(record.as_bytes(), 20).accesses, accesses, "{record}");
    };
    check(&first, &[("a", 1)]);
    check(&record("PutObject", s3, "siuu-another", &"k".repeat(300), "123456"), &[(&"k".repeat(300), 123_456)]);
    check(&record("PutObject", s3, "siuu1", r#"b\"}{,\\"#, "2.0"), &[(r#"b"}{,\"#, 2)]);
    check(&record("HeadObject", s3, "siuu1", "a", "1"), &[]);
    check(&record("PutObject", "ec2.amazonaws.com", "siuu1", "a", "1"), &[]);
    check(&record("PutObject", s3, "other", "a", "1"), &[]);
    check(&record("PutObject", s3, "siuu1", "", "1"), &[]);
}

#[test]
fn ever_new_shapes_take_no_more_memory() {
    let parser = CloudTrailParser::new(rules());
    for n in 0..20_000 {
        let long = "x".repeat(n % 500);
        let record = put(&format!("k{n}")).replace("{\"eventV", &format!("{{\"x{n}{long}\":1,\"eventV"));
        assert_eq!(parser.parse(record.as_bytes(), 20).accesses.len(), 1);
    }
    let huge = put("a").replace("{\"eventV", &format!("{{\"x\":[{}0],\"eventV", "null,".repeat(300_000)));
    assert_eq!(parser.parse(huge.as_bytes(), 20).accesses.len(), 1);
    for shapes in parser.shapes.lock().unwrap().iter() {
        let (nodes, pieces) = shapes.sizes();
        assert!(nodes < 5_000 && pieces < 25_000, "{nodes} {pieces}");
    }
}

#[test]
fn broken_records_without_end_do_not_take_forever() {
    let text = "{\"eventVersion\":\"".repeat(200_000);
    assert!(parse(text).records_bad > 0);
}

/// What a reader would write who has never heard of speed.
fn plain(rules: &CountingRules, records: &[Value]) -> (FileAccesses, u64) {
    let mut accesses = FileAccesses::default();
    let mut bad = 0;
    for record in records {
        if !record.is_object() {
            bad += 1;
            continue;
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let request = &record["requestParameters"];
        let Some(event) = text(&record["eventName"]) else { continue };
        let rule = rules.rules.iter().position(|rule| {
            rule.event == event && rule.with_parameter.as_ref().is_none_or(|name| !request[name.as_str()].is_null())
        });
        let Some(rule) = rule else { continue };
        let caller = &record["userIdentity"];
        let arns = [&caller["arn"], &caller["sessionContext"]["sessionIssuer"]["arn"]];
        if !record["errorCode"].is_null()
            || text(&record["eventSource"]).is_some_and(|source| source != "s3.amazonaws.com")
            || request["bucketName"].is_null()
            || request["key"].is_null()
        {
            continue;
        }
        let Some(bucket) = text(&request["bucketName"]) else { continue };
        if !bucket.starts_with(&rules.bucket_prefix)
            || arns.into_iter().filter_map(text).any(|arn| rules.excludes(&arn))
            || request["key"] == ""
        {
            continue;
        }
        let time = text(&record["eventTime"]).and_then(|time| chrono::DateTime::parse_from_rfc3339(&time).ok());
        let (Some(key), Some(time)) = (text(&request["key"]), time) else {
            bad += 1;
            continue;
        };
        let id = [&record["sharedEventID"], &record["eventID"]]
            .into_iter()
            .filter_map(text)
            .find(|id| !id.is_empty())
            .map(|id| EventIdentity::of_event_id(&id));
        let bytes = record["additionalEventData"]["bytesTransferredOut"].as_f64().unwrap_or(0.0) as u64;
        let time = chrono::DateTime::from_timestamp(time.timestamp(), 0).unwrap();
        if accesses.push(&bucket, &key, time, id, bytes, rule).is_err() {
            bad += 1;
        }
    }
    (accesses, bad)
}

fn value_of(choices: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop_oneof![8 => prop::sample::select(choices).prop_map(|text| serde_json::from_str(text).unwrap()), 1 => any_value()]
}

fn any_value() -> impl Strategy<Value = Value> {
    let words = r#"(PutObject|GetObject|siuu1|Records|[{}\[\]",:\\]|[a-zé\n]){0,4}"#;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        words.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(words, inner, 0..3)
                .prop_map(|map: BTreeMap<String, Value>| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_record() -> impl Strategy<Value = Value> {
    let members = (
        value_of(&[r#""2024-01-01T00:00:00Z""#, r#""2024-01-01T09:00:00.5+09:00""#, r#""never""#]),
        value_of(&[r#""PutObject""#, r#""GetObject""#, r#""GetObject""#, r#""ListObjects""#]),
        value_of(&["null", "null", "null", r#""AccessDenied""#]),
        value_of(&[r#""s3.amazonaws.com""#, r#""ec2.amazonaws.com""#]),
        value_of(&[r#""siuu1""#, r#""siuu-2""#, r#""other""#, r#""siuu no""#]),
        value_of(&[r#""a""#, r#""b/\"}{c""#, r#""사진\\""#, r#""""#]),
        value_of(&["null", r#""attachment""#, r#"["a"]"#]),
        value_of(&[r#""e1""#, r#""b5b9b4c7-aa70-4a5c-8ed8-4ab3c1df7e4f""#, "null"]),
        value_of(&["7", "7.5", "-1", "null"]),
        value_of(&[r#""arn:aws:iam::1:user/a""#, r#""arn:aws:sts::123456789012:assumed-role/tierd/x""#]),
        any_value(),
    );
    members.prop_map(|(time, name, error, source, bucket, key, disposition, id, bytes, arn, extra)| {
        let mut record = json!({
            "eventVersion": "1.09",
            "eventTime": time, "eventName": name, "eventSource": source, "extra": extra,
            "requestParameters": {"bucketName": bucket, "key": key, "response-content-disposition": disposition},
            "userIdentity": {"arn": arn}, "eventID": id, "additionalEventData": {"bytesTransferredOut": bytes},
        });
        if !error.is_null() {
            record["errorCode"] = error;
        }
        record
    })
}

/// Writes some letters of strings as `\u` escapes, which means the same.
fn escape_some(text: &str, every: usize) -> String {
    let mut out = String::new();
    let (mut in_string, mut escaped, mut n) = (false, false, 0);
    for c in text.chars() {
        let plain = in_string && !escaped && c.is_ascii_alphabetic();
        n += usize::from(plain);
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
        if plain && n % every == 0 { out.push_str(&format!("\\u{:04x}", c as u32)) } else { out.push(c) }
    }
    out
}

/// A record as someone might write it who wants to mislead: members in any order, some more than once, and everywhere what
/// looks like the members that matter or like the beginning or end of a record.
fn misleading_record() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &[
        r#""eventName""#,
        r#""eventName""#,
        r#""\u0065ventName""#,
        r#""eventVersion""#,
        r#""requestParameters""#,
        r#""additionalEventData""#,
        r#""errorCode""#,
        r#""x""#,
        r#""x\"eventName""#,
        r#""response-content-disposition""#,
    ];
    const VALUES: &[&str] = &[
        r#""PutObject""#,
        r#""GetObject""#,
        r#""HeadObject""#,
        r#""Put\u004fbject""#,
        r#""""#,
        "null",
        "7",
        "-1.5e3",
        "true",
        "{}",
        "[]",
        r#"{"eventName":"HeadObject"}"#,
        r#"{"eventName":"PutObject","eventVersion":"1.09"}"#,
        r#"[{"eventVersion":"1.09","eventName":"HeadObject"},{"eventVersion":"1.09"}]"#,
        r#"["eventName","HeadObject",{"eventName":"HeadObject"}]"#,
        r#""eventName""#,
        r#""\"eventName\":\"HeadObject\"""#,
        r#""}]},{\"eventVersion\":\"1.09\"""#,
        r#""}],{[""#,
        r#""\\""#,
        r#"{"bucketName":"siuu1","key":"other"}"#,
        r#"{"bucketName":"siuu1","key":"k","response-content-disposition":"attachment; filename=\"a\""}"#,
        r#"{"bucketName":"siuu1","key":"k","response-content-disposition":null}"#,
        r#"{"bucketName":"siuu1","key":"k","response-content-disposition":{"a":[{}]}}"#,
        r#"{"bucketName":"siuu1","key":"k","x":"response-content-disposition"}"#,
        r#"{"bucketName":"siuu1","key":"k","x":{"response-content-disposition":1}}"#,
        r#"{"bucketName":"siuu1","key":"k","response\u002dcontent-disposition":1}"#,
    ];
    const REAL: &[&str] = &[
        r#""eventTime":"2024-01-01T00:00:00Z""#,
        r#""eventName":"PutObject""#,
        r#""eventName":"GetObject""#,
        r#""requestParameters":{"bucketName":"siuu1","key":"k","response-content-disposition":"inline"}"#,
        r#""requestParameters":{"key":"long-enough-to-lie-in-several-blocks-of-the-scan-and-to-shift-what-follows"}"#,
        r#""userIdentity":{"type":"AssumedRole","sessionContext":{"attributes":{},"sessionIssuer":{"arn":"a"}}}"#,
    ];
    let lie = (prop::sample::select(NAMES), prop::sample::select(VALUES))
        .prop_map(|(name, value)| (name.to_owned(), value.to_owned()));
    let real = prop::sample::select(REAL).prop_map(|member| {
        let (name, value) = member.split_once(':').unwrap();
        (name.to_owned(), value.to_owned())
    });
    let filler = "[a-z]{0,80}".prop_map(|text| ("\"filler\"".to_owned(), json!(text).to_string()));
    let space = prop::sample::select(vec!["", "", "", " ", "\n", "\t\r\n  "]);
    let member = (prop_oneof![2 => lie, 4 => real, 1 => filler], space.clone(), space);
    prop::collection::vec(member, 0..14).prop_map(|members| {
        let members: Vec<String> = members
            .into_iter()
            .map(|((name, value), before, after)| format!("{before}{name}{after}:{before}{value}{after}"))
            .collect();
        format!("{{{}}}", members.join(","))
    })
}

/// What the parser says of each record, without any of what comes before it.
fn by_parsing_alone(rules: &CountingRules, records: &[String]) -> (FileAccesses, u64) {
    let mut accesses = FileAccesses::default();
    let bad = records.iter().filter(|text| match serde_json::from_str::<Record<'_>>(text) {
        Ok(record) => record.count(rules, &mut accesses).is_err(),
        Err(_) => true,
    });
    let bad = bad.count() as u64;
    (accesses, bad)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn nothing_that_looks_like_a_member_is_taken_for_one(
        records in prop::collection::vec(misleading_record(), 1..6),
        between in prop::sample::select(vec![",", " , ", "\n,\n"]),
        rule_set in 0..4,
    ) {
        let mut rules = rules();
        match rule_set {
            1 => rules.rules.truncate(1),
            2 => drop(rules.rules.remove(0)),
            3 => rules.rules.push(CountRule { event: "GetObject".into(), with_parameter: Some("x".into()) }),
            _ => {}
        }
        let (accesses, bad) = by_parsing_alone(&rules, &records);
        let parser = CloudTrailParser::new(rules);
        let elements = records.join(between);
        for text in [format!("[{elements}]"), format!("{{\"Records\":[{elements}]}}"), records.join("\n")] {
            let parsed = parser.parse(text.as_bytes(), 20);
            prop_assert_eq!((parsed.records, parsed.records_bad), (records.len() as u64, bad), "{}", text);
            prop_assert_eq!(&parsed.accesses, &accesses, "{}", text);
        }
    }

    #[test]
    fn of_a_document_that_is_cut_all_that_is_whole_counts(
        records in prop::collection::vec(misleading_record(), 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        // Reading goes on behind where a cut record begins, and what looks like one there is one.
        let records: Vec<String> = records.into_iter().filter(|text| !text.contains("eventVersion")).collect();
        let rules = rules();
        let text = format!("[{}]", records.join(","));
        let end = cut.index(text.len() + 1);
        let mut ends = records.iter().scan(1, |at, text| {
            let end = *at + text.len();
            *at = end + 1;
            Some(end)
        });
        let whole = ends.by_ref().take_while(|record_end| *record_end <= end).count();
        let (accesses, bad) = by_parsing_alone(&rules, &records[..whole]);
        let parsed = CloudTrailParser::new(rules).parse(&text.as_bytes()[..end], 20);
        prop_assert_eq!(&parsed.accesses, &accesses, "{}", &text[..end]);
        let is_cut = (1..text.len()).contains(&end);
        prop_assert!(parsed.records_bad >= bad + u64::from(is_cut), "{}", &text[..end]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn skipping_never_changes_the_answer(
        records in prop::collection::vec(prop_oneof![9 => any_record(), 1 => any_value()], 0..8),
        pretty in any::<bool>(),
        escapes in prop::option::of(1_usize..40),
        rule_set in 0..4,
    ) {
        let mut rules = rules();
        match rule_set {
            1 => rules.rules.clear(),
            2 => rules.rules.push(CountRule { event: "Get\"/Object".into(), with_parameter: None }),
            3 => rules.bucket_prefix.clear(),
            _ => {}
        }
        let document = Value::from(records.clone());
        let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) }.unwrap();
        let text = escapes.map_or(text.clone(), |every| escape_some(&text, every));
        let (accesses, bad) = plain(&rules, &records);
        let parser = CloudTrailParser::new(rules);
        for whole in [text.clone(), format!("{{\"Records\":{text}}}")] {
            let parsed = parser.parse(whole.as_bytes(), 20);
            prop_assert_eq!((parsed.records, parsed.records_bad), (records.len() as u64, bad), "{}", whole);
            prop_assert_eq!(&parsed.accesses, &accesses, "{}", whole);
        }
    }

    #[test]
    fn walking_comes_to_what_parsing_comes_to(
        records in prop::collection::vec(any_record(), 1..6),
        again in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..6),
        spaces in prop::sample::select(vec!["", " ", "\n\t"]),
        escapes in prop::option::of(20_usize..200),
    ) {
        // The members of a record, some of them once more with the value that another record has for them.
        let members: Vec<Vec<String>> = records
            .iter()
            .map(|record| record.as_object().unwrap().iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect())
            .collect();
        let (mut walked, mut parsed) = (Vec::new(), Vec::new());
        for own in &members {
            let mut own = own.clone();
            for (from, to) in &again {
                let others = from.get(&members);
                own.insert(to.index(own.len() + 1), from.get(others).clone());
            }
            let text = own.join(&format!("{spaces},{spaces}"));
            walked.push(format!("{{{spaces}{text}{spaces}}}"));
            // A name with an escape is odd.
            parsed.push(format!("{{\"\\u0061\":0,{text}}}"));
        }
        let document = |records: &[String]| {
            let text = format!("[{}]", records.join(","));
            escapes.map_or(text.clone(), |every| escape_some(&text, every))
        };
        let (walked, parsed) = (parse(document(&walked)), parse(document(&parsed)));
        prop_assert_eq!((walked.records, walked.records_bad), (parsed.records, parsed.records_bad));
        prop_assert_eq!(&walked.accesses, &parsed.accesses);
    }

    #[test]
    fn a_walk_over_what_is_cut_or_damaged_ends_as_the_parser_says_or_sooner(
        record in any_record(),
        cut in any::<prop::sample::Index>(),
        byte in prop::sample::select(b"\"\\{}[]:, a0n".to_vec()),
    ) {
        let mut text = record.to_string().into_bytes();
        let at = cut.index(text.len());
        text[at] = byte;
        let mut scanner = Scanner::new();
        let scan = scanner.scan_object(&text, usize::MAX);
        let Some(end) = scan.end else { return Ok(()) };
        let text = &text[..end];
        let rules = rules();
        let counted = |count: &dyn Fn(&mut FileAccesses) -> Result<(), Reason>| {
            let mut accesses = FileAccesses::default();
            let bad = count(&mut accesses).is_err();
            (accesses, bad)
        };
        let read = serde_json::from_slice::<Record<'_>>(text).ok();
        let read = read.map(|record| counted(&|accesses| record.count(&rules, accesses)));
        match walk::record(scanner.index(text), scan.has_backslash, &rules, &mut Lesson::default()) {
            Ok(counting) => {
                if let Some(read) = read {
                    prop_assert_eq!(counted(&|accesses| counting.add(accesses)), read);
                }
            }
            Err(Stop::CannotCount) => {
                prop_assert!(read.is_none_or(|(accesses, bad)| accesses.is_empty() && !bad));
            }
            Err(Stop::Odd) => {}
        }
    }

    #[test]
    fn what_was_learnt_from_other_records_changes_nothing(
        records in prop::collection::vec(
            prop_oneof![any_record().prop_map(|record| record.to_string()), misleading_record()], 1..5),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..8),
        damage in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::sample::select(b"\"\\{}[]:,a0-.e\n\x01".to_vec())), 0..4),
        filler in "[a-z]{0,80}",
    ) {
        // Records of the same shapes, with longer values, in another order, and some damaged.
        let later: Vec<String> = order.iter().map(|of| of.get(&records).replace("siuu", "siuux").replace("user/", &filler)).collect();
        let mut text = format!("{{\"Records\":[{}]}}", later.join(",")).into_bytes();
        for (at, byte) in damage {
            let at = at.index(text.len());
            text[at] = byte;
        }
        let parser = CloudTrailParser::new(rules());
        parser.parse(format!("[{}]", records.join(",")).as_bytes(), 20);
        for record in &later {
            // Each alone by a parser that knows no other.
            prop_assert_eq!(parser.parse(record.as_bytes(), 20), parse(record), "{}", record);
        }
        prop_assert_eq!(parser.parse(&text, 20), parse(&text), "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn nothing_makes_it_panic(
        records in prop::collection::vec(any_record(), 0..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut text = serde_json::to_vec(&json!({"Records": records})).unwrap();
        for (at, byte) in damage {
            let at = at.index(text.len());
            text[at] = byte;
        }
        let parsed = parse(&text);
        prop_assert!(parsed.records_bad <= parsed.records);
        prop_assert!(parsed.accesses.len() as u64 <= parsed.records);
    }
}
