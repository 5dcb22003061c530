//! Access logs of an application load balancer: one line a request, in front of whatever serves the objects.
//!
//! A line names no object, so a [`PathPattern`] makes one of the request's path. All versions of the line begin alike; AWS
//! only ever added fields at its end, and those are not looked at.
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html>

use chrono::DateTime;
use regex::Regex;
use thiserror::Error;

use super::Reason;
use super::line::{Fields, is_success, method_and_target, path_and_query, percent_decoded, query_has};
use crate::tiering::access::{CountingRules, FileAccesses};

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathPatternError {
    #[error("the pattern cannot be read: {0}")]
    Syntax(String),
    #[error("the pattern has no group `(?<{0}>…)`")]
    NoGroup(&'static str),
}

/// How a request's path becomes an object: a regular expression with the groups `bucket` and `key`.
#[derive(Debug, Clone)]
pub struct PathPattern(Regex);

impl PathPattern {
    pub fn new(pattern: &str) -> Result<Self, PathPatternError> {
        let regex = Regex::new(pattern).map_err(|error| PathPatternError::Syntax(error.to_string()))?;
        for group in ["bucket", "key"] {
            if !regex.capture_names().flatten().any(|name| name == group) {
                return Err(PathPatternError::NoGroup(group));
            }
        }
        Ok(Self(regex))
    }

    /// What the groups caught, as sent; None if the path is no object's.
    fn object<'p>(&self, path: &'p str) -> Option<(&'p str, &'p str)> {
        let caught = self.0.captures(path)?;
        let of = |name| caught.name(name).map(|part| part.as_str()).filter(|part| !part.is_empty());
        Some((of("bucket")?, of("key")?))
    }
}

/// Reads one line.
pub(super) fn read(
    line: &str,
    rules: &CountingRules,
    paths: &PathPattern,
    accesses: &mut FileAccesses,
) -> Result<(), Reason> {
    let mut fields = Fields::new(line);
    fields.token("type")?;
    let time = fields.token("time")?;
    let time = DateTime::parse_from_rfc3339(time)
        .ok()
        .and_then(|time| DateTime::from_timestamp(time.timestamp(), 0))
        .ok_or_else(|| Reason::field("time", time))?;
    for field in ["elb", "client:port", "target:port"] {
        fields.token(field)?;
    }
    for field in ["request_processing_time", "target_processing_time", "response_processing_time"] {
        let token = fields.token(field)?;
        if token != "-" && token.parse::<f64>().is_err() {
            return Err(Reason::field(field, token));
        }
    }
    let status = fields.number("elb_status_code")?;
    fields.token("target_status_code")?;
    let bytes_received = fields.number("received_bytes")?;
    let bytes_sent = fields.number("sent_bytes")?;
    // A quote in the target is sent as %22 by every client that keeps to HTTP; for the others the version helps.
    let mut ends = Fields::new(fields.rest());
    let request = match ends.quoted("request", |rest| rest.starts_with('"') && request_ends_before(&fields, rest)) {
        Ok(request) => request,
        Err(_) => {
            ends = Fields::new(fields.rest());
            ends.quoted("request", |rest| rest.starts_with('"'))?
        }
    };
    ends.quoted("user_agent", |_| true)?;
    if ends.rest().is_empty() {
        return Err(Reason::Missing("ssl_cipher"));
    }

    let Some((method, url)) = method_and_target(request) else { return Err(Reason::field("request", request)) };
    let event = match method {
        "GET" => "GetObject",
        "PUT" => "PutObject",
        "DELETE" => "DeleteObject",
        _ => return Ok(()),
    };
    if !is_success(status) {
        return Ok(());
    }
    let (path, query) = path_and_query(target_of(url));
    let Some(rule) = rules.rule_for(event, |name| query_has(query, name)) else { return Ok(()) };
    let Some((bucket, key)) = paths.object(path) else { return Ok(()) };
    let bucket = percent_decoded(bucket).ok_or_else(|| Reason::field("bucket in the path", path))?;
    if !bucket.starts_with(&rules.bucket_prefix) {
        return Ok(());
    }
    let key = percent_decoded(key).ok_or_else(|| Reason::field("key in the path", path))?;
    accesses.push(&bucket, &key, time, None, bytes_sent.unwrap_or(0), rule)?;
    // A few hundred bytes of headers are in it.
    accesses.note_object_bytes(bytes_received.filter(|_| event == "PutObject"));
    Ok(())
}

/// Whether the request that `rest` follows ends as a request line does.
fn request_ends_before(fields: &Fields<'_>, rest: &str) -> bool {
    let all = fields.rest();
    let request = all[..all.len() - rest.len()].trim_end_matches(' ').trim_end_matches('"');
    request.rsplit(' ').next().is_some_and(|version| version == "-" || version.starts_with("HTTP/"))
}

/// What the load balancer was asked for, without scheme and host: `https://host:443/a?b` is `/a?b`.
fn target_of(url: &str) -> &str {
    match url.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            rest.find(['/', '?']).map_or("/", |start| &rest[start..])
        }
        _ => url,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Parsed, Parser};
    use super::*;
    use crate::tiering::access::CountRule;

    fn rules() -> CountingRules {
        let rule = |event: &str, parameter: Option<&str>| CountRule {
            event: event.into(),
            with_parameter: parameter.map(Into::into),
        };
        CountingRules {
            rules: vec![rule("PutObject", None), rule("GetObject", Some("response-content-disposition"))],
            exclude: vec![],
            bucket_prefix: "siuu".into(),
        }
    }

    fn parse(text: &str) -> Parsed {
        let paths = PathPattern::new("^/files/(?<bucket>[^/]+)/(?<key>.+)$").unwrap();
        Parser::new(Format::Alb(paths), rules()).parse(text.as_bytes())
    }

    fn line(request: &str, status: &str) -> String {
        format!(
            "https 2024-03-31T23:59:59.999999Z app/my-lb/50dc6c495c0c9188 192.168.131.39:2817 10.0.0.1:80 0.086 0.048 0.037 \
             {status} 200 0 57 \"{request}\" \"curl/7.46.0 \"odd\" x\" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 \
             arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067 \
             \"Root=1-58337281-1d84f3d73c47ec4e58577259\" \"www.example.com\" \"-\" 1 2024-03-31T23:59:59.000000Z \
             \"forward\" \"-\" \"-\" \"10.0.0.1:80\" \"200\" \"-\" \"-\" TID_123"
        )
    }

    #[test]
    fn the_path_names_the_object() {
        let check = |request: &str, want: Option<(&str, &str)>| {
            let parsed = parse(&line(request, "200"));
            assert_eq!(parsed.errors, [], "{request}");
            let got: Vec<_> = parsed.accesses.iter().map(|a| (a.bucket.as_str(), a.key)).collect();
            assert_eq!(got, Vec::from_iter(want), "{request}");
        };
        check("PUT https://www.example.com:443/files/siuu1/a/b.txt HTTP/2.0", Some(("siuu1", "a/b.txt")));
        check("PUT https://h:443/files/siuu1/a+b%2Bc%2520d HTTP/1.1", Some(("siuu1", "a+b+c%20d")));
        check("PUT https://h/files/siuu1/a\"b HTTP/1.1", Some(("siuu1", "a\"b")));
        check("PUT https://h/files/siuu1/%ec%82%ac HTTP/1.1", Some(("siuu1", "사")));
        check("GET https://h/files/siuu1/k?x=1&response-content-disposition=attachment HTTP/1.1", Some(("siuu1", "k")));
        check("GET https://h/files/siuu1/k?x=1 HTTP/1.1", None);
        check("HEAD https://h/files/siuu1/k HTTP/1.1", None);
        check("PUT https://h/files/other/k HTTP/1.1", None);
        check("PUT https://h/elsewhere HTTP/1.1", None);
        check("PUT https://h:80 HTTP/1.1", None);
        check("- http://www.example.com:80- -", None);
    }

    #[test]
    fn only_success_counts_and_time_is_cut() {
        let put = "PUT https://h/files/siuu1/k HTTP/1.1";
        for (status, want) in [("200", 1), ("206", 1), ("301", 0), ("403", 0), ("500", 0), ("-", 0)] {
            assert_eq!(parse(&line(put, status)).accesses.len(), want, "{status}");
        }
        let parsed = parse(&line(put, "200"));
        let access = parsed.accesses.iter().next().unwrap();
        assert_eq!(access.time.to_rfc3339(), "2024-03-31T23:59:59+00:00");
        assert_eq!((access.bytes_sent, access.identity), (57, None));
    }

    #[test]
    fn every_line_that_is_cut_before_the_ciphers_is_bad() {
        let whole = line("PUT https://h/files/siuu1/k HTTP/1.1", "200").replace(" \"odd\" x", "");
        let until = whole.find(" ECDHE").unwrap();
        for end in 1..until {
            let parsed = parse(&whole[..end]);
            assert_eq!((parsed.records, parsed.records_bad, parsed.accesses.len()), (1, 1, 0), "{}", &whole[..end]);
        }
        let old = &whole[..whole.find(" \"www.example.com\"").unwrap()];
        assert_eq!(parse(old).accesses.len(), 1);
    }

    #[test]
    fn a_key_that_is_not_utf8_is_a_bad_record() {
        assert_eq!(parse(&line("PUT https://h/files/siuu1/%ff HTTP/1.1", "200")).records_bad, 1);
    }

    #[test]
    fn a_pattern_needs_both_groups() {
        assert_eq!(PathPattern::new("^/(?<key>.+)$").err(), Some(PathPatternError::NoGroup("bucket")));
        assert_eq!(PathPattern::new("^/(?<bucket>.+)$").err(), Some(PathPatternError::NoGroup("key")));
        assert!(matches!(PathPattern::new("("), Err(PathPatternError::Syntax(_))));
    }
}
