//! S3's server access logs: one line a request, space-separated, from 18 fields (before 2019) to 26 and counting.
//!
//! AWS only ever added fields at the end, and nothing here depends on how many follow after the version id. What clients
//! send (request line, referrer, user agent) stands in quotes, and quotes inside are not escaped: the request line is the
//! text up to the first quote that is followed by what must come next.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html>
//!
//! `REST.COPY.OBJECT` is what a copy writes and `REST.COPY.OBJECT_GET` what it reads; neither is an upload or a download.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

use super::Reason;
use super::line::{Fields, form_decoded, is_success, method_and_target, path_and_query, query_has};
use crate::tiering::access::{CountingRules, EventIdentity, FileAccesses};

/// Reads one line.
pub(super) fn read(line: &str, rules: &CountingRules, accesses: &mut FileAccesses) -> Result<(), Reason> {
    let mut fields = Fields::new(line);
    fields.token("bucket owner")?;
    let bucket = fields.token("bucket")?;
    let time = fields.between('[', ']', "time")?;
    fields.token("remote ip")?;
    let requester = fields.token("requester")?;
    let request_id = fields.token("request id")?;
    let operation = fields.token("operation")?;
    let key = fields.token("key")?;
    let request = fields.quoted("request-uri", is_after_request)?;
    let status = fields.number("http status")?;
    fields.token("error code")?;
    let bytes_sent = fields.number("bytes sent")?;
    let object_bytes = fields.number("object size")?;
    for field in ["total time", "turn-around time"] {
        fields.number(field)?;
    }
    let time = parse_time(time).ok_or_else(|| Reason::field("time", time))?;
    // Referrer, user agent and version id: where they part cannot be known for sure, and need not be.
    if fields.rest().split(' ').filter(|token| !token.is_empty()).count() < 3 {
        return Err(Reason::Missing("version id"));
    }

    let event = match operation {
        "REST.GET.OBJECT" | "WEBSITE.GET.OBJECT" => "GetObject",
        "REST.PUT.OBJECT" => "PutObject",
        "REST.DELETE.OBJECT" | "BATCH.DELETE.OBJECT" => "DeleteObject",
        _ => return Ok(()),
    };
    if key == "-" || !is_success(status) || !bucket.starts_with(&rules.bucket_prefix) || rules.excludes(requester) {
        return Ok(());
    }
    let query = method_and_target(request).map_or("", |(_, target)| path_and_query(target).1);
    let Some(rule) = rules.rule_for(event, |name| query_has(query, name)) else { return Ok(()) };
    let decoded = form_decoded(key).and_then(|once| form_decoded(&once)).ok_or_else(|| Reason::field("key", key))?;
    let identity = EventIdentity::of_parts([request_id, operation, key]);
    accesses.push(bucket, &decoded, time, Some(identity), bytes_sent.unwrap_or(0), rule)?;
    accesses.note_object_bytes(object_bytes);
    Ok(())
}

/// Whether `rest` begins as what follows a request line: status, error code, two numbers.
fn is_after_request(rest: &str) -> bool {
    let mut fields = Fields::new(rest);
    fields.token("status").is_ok_and(|status| status == "-" || (status.len() == 3 && is_number(status)))
        && fields.token("error code").is_ok()
        && ["bytes sent", "object size"]
            .iter()
            .all(|field| fields.token(field).is_ok_and(|token| token == "-" || is_number(token)))
}

fn is_number(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_digit())
}

/// `06/Feb/2019:00:00:38 +0000`.
fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let (local, offset) = text.split_once(' ')?;
    let local = NaiveDateTime::parse_from_str(local, "%d/%b/%Y:%H:%M:%S").ok()?;
    let (sign, digits) = match offset.as_bytes().first()? {
        b'+' => (1, &offset[1..]),
        b'-' => (-1, &offset[1..]),
        _ => return None,
    };
    if digits.len() != 4 || !is_number(digits) {
        return None;
    }
    let minutes = digits[..2].parse::<i64>().ok()? * 60 + digits[2..].parse::<i64>().ok()?;
    let time = local.and_utc().checked_sub_signed(TimeDelta::minutes(sign * minutes))?;
    DateTime::from_timestamp(time.timestamp(), 0)
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Parsed, Parser};
    use super::*;
    use crate::tiering::access::{CountRule, PrincipalPattern};

    fn parse(text: &str) -> Parsed {
        let rule = |event: &str, parameter: Option<&str>| CountRule {
            event: event.into(),
            with_parameter: parameter.map(Into::into),
        };
        let rules = CountingRules {
            rules: vec![rule("PutObject", None), rule("GetObject", Some("response-content-disposition"))],
            exclude: vec![PrincipalPattern::own_identity("arn:aws:sts::1:assumed-role/tierd/i-1")],
            bucket_prefix: "siuu".into(),
        };
        Parser::new(Format::S3AccessLog, rules).parse(text.as_bytes())
    }

    const LINE: &str = include_str!("../../../tests/fixtures/logs/s3-access-log.txt");

    fn line(operation: &str, key: &str, request: &str, status: &str) -> String {
        format!(
            "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be siuu1 [31/Mar/2024:23:59:59 +0000] 192.0.2.3 \
             arn:aws:iam::1:user/web 3E57427F3EXAMPLE {operation} {key} \"{request}\" {status} - 113 113 7 6 \"-\" \
             \"S3Console/0.4 \"odd\" x\" -"
        )
    }

    fn objects(parsed: &Parsed) -> Vec<String> {
        parsed.accesses.iter().map(|access| format!("{}/{}", access.bucket, access.key)).collect()
    }

    #[test]
    fn lines_of_all_ages_are_read() {
        let parsed = parse(LINE);
        assert_eq!(parsed.errors, []);
        assert_eq!(objects(&parsed), ["siuu1/old/18 fields.txt", "siuu1/with 24", "siuu1/a+b", "siuu1/사진.jpg"]);
        assert_eq!(parsed.records, 9);
    }

    #[test]
    fn what_counts_is_decided_by_operation_status_and_query() {
        let check = |operation: &str, request: &str, status: &str, want: usize| {
            let parsed = parse(&line(operation, "k", request, status));
            assert_eq!((parsed.accesses.len(), parsed.records_bad), (want, 0), "{operation} {request} {status}");
        };
        let download = "GET /siuu1/k?response-content-disposition=attachment%3Bfilename HTTP/1.1";
        check("REST.PUT.OBJECT", "PUT /siuu1/k HTTP/1.1", "200", 1);
        check("REST.PUT.OBJECT", "-", "200", 1);
        check("REST.PUT.OBJECT", "PUT /siuu1/a\"b\" c HTTP/1.1", "200", 1);
        check("REST.PUT.OBJECT", "PUT /siuu1/k HTTP/1.1", "403", 0);
        check("REST.PUT.OBJECT", "PUT /siuu1/k HTTP/1.1", "-", 0);
        check("REST.GET.OBJECT", download, "200", 1);
        check("REST.GET.OBJECT", download, "206", 1);
        check("REST.GET.OBJECT", download, "304", 0);
        check("WEBSITE.GET.OBJECT", download, "200", 1);
        check("REST.GET.OBJECT", "GET /siuu1/k HTTP/1.1", "200", 0);
        check("REST.COPY.OBJECT", "PUT /siuu1/k HTTP/1.1", "200", 0);
        check("REST.COPY.OBJECT_GET", download, "200", 0);
        check("REST.COPY.PART_GET", download, "200", 0);
        check("REST.PUT.PART", "PUT /siuu1/k HTTP/1.1", "200", 0);
        check("REST.HEAD.OBJECT", "HEAD /siuu1/k HTTP/1.1", "200", 0);
    }

    #[test]
    fn keys_are_form_decoded_twice() {
        let check = |key: &str, want: &str| {
            let parsed = parse(&line("REST.PUT.OBJECT", key, "-", "200"));
            assert_eq!(objects(&parsed), [format!("siuu1/{want}")], "{key}");
        };
        check("a%2520b", "a b");
        check("a+b", "a b");
        check("a%2Bb", "a b");
        check("a%252Bb", "a+b");
        check("a%252525b", "a%25b");
        check("%25EC%2582%25AC", "사");
        check("100%", "100%");
        assert_eq!(parse(&line("REST.PUT.OBJECT", "%25FF", "-", "200")).records_bad, 1);
    }

    #[test]
    fn ones_own_work_does_not_count() {
        let own = line("REST.PUT.OBJECT", "k", "-", "200")
            .replace("arn:aws:iam::1:user/web", "arn:aws:sts::1:assumed-role/tierd/i-2");
        let parsed = parse(&own);
        assert_eq!((parsed.accesses.len(), parsed.records_bad), (0, 0));
    }

    #[test]
    fn an_event_is_its_request_id_operation_and_key() {
        let put = line("REST.PUT.OBJECT", "k", "-", "200");
        let identity = |text: &str| parse(text).accesses.iter().next().unwrap().identity;
        assert_eq!(identity(&put), identity(&put.replace("192.0.2.3", "192.0.2.4")));
        assert_ne!(identity(&put), identity(&put.replace("3E57427F3", "4E57427F3")));
        assert_ne!(identity(&put), identity(&put.replace(" k ", " l ")));
    }

    #[test]
    fn a_line_that_is_cut_before_the_version_id_is_bad() {
        let whole = line("REST.PUT.OBJECT", "k", "PUT /siuu1/k HTTP/1.1", "200").replace(" \"odd\" x", "");
        for end in 1..whole.len() - 2 {
            let parsed = parse(&whole[..end]);
            assert_eq!((parsed.records, parsed.records_bad), (1, 1), "{}", &whole[..end]);
        }
        assert_eq!(parse(&whole).records_bad, 0);
        assert_eq!(parse("this is not a log line\n").records_bad, 1);
    }

    #[test]
    fn times_are_read_with_their_offset() {
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(parse_time(text).map(|time| time.to_rfc3339()), want.map(str::to_owned), "{text}");
        };
        check("06/Feb/2019:00:00:38 +0000", Some("2019-02-06T00:00:38+00:00"));
        check("06/Feb/2019:00:00:38 +0900", Some("2019-02-05T15:00:38+00:00"));
        check("06/Feb/2019:00:00:38 -0130", Some("2019-02-06T01:30:38+00:00"));
        check("30/Feb/2019:00:00:38 +0000", None);
        check("06/Feb/2019:00:00:38", None);
        check("06/Feb/2019:00:00:38 é000", None);
    }
}
