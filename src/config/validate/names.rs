//! What AWS's names look like, as far as a configuration can be wrong about them.

use crate::tiering::bucket_name::{BucketNameTemplate, TemplateError};

/// What is wrong, and what would be right.
type Wrong = (String, String);

/// Why a URL is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadUrl {
    NoHttpUrl,
    HoldsCredentials,
}

/// An `http` or `https` URL with a host and without user and password.
pub fn check_url(url: &str) -> Result<(), BadUrl> {
    let lower = url.to_ascii_lowercase();
    // Credentials first: `ftp://user:password@host` is to be told about its password.
    let authority =
        url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(BadUrl::HoldsCredentials);
    }
    let has_scheme = lower.starts_with("http://") || lower.starts_with("https://");
    let host = authority.split(':').next().unwrap_or_default();
    let blank = url.chars().any(|c| c.is_whitespace() || c.is_control());
    if has_scheme && !blank && (!host.is_empty() || authority.starts_with('[')) {
        Ok(())
    } else {
        Err(BadUrl::NoHttpUrl)
    }
}

/// `ap-northeast-1`, `us-gov-west-1`: lower-case words with dashes between, a number last.
pub fn is_region(region: &str) -> bool {
    let words: Vec<&str> = region.split('-').collect();
    let lower = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    match words.split_last() {
        Some((number, places)) => {
            places.len() >= 2
                && places.iter().all(lower)
                && !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
        }
        None => false,
    }
}

/// `arn:PARTITION:iam::ACCOUNT:role/NAME`.
pub fn is_role_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    matches!(parts[..], ["arn", partition, "iam", "", account, role]
        if partition.starts_with("aws")
            && account.len() == 12
            && account.bytes().all(|b| b.is_ascii_digit())
            && role.strip_prefix("role/").is_some_and(|name| !name.is_empty()))
}

/// DynamoDB developer guide, "Naming rules".
pub fn is_table_name(name: &str) -> bool {
    (3..=255).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// SQS developer guide, "Queue and message identifiers". S3 sends to standard queues alone.
pub fn check_queue_name(name: &str) -> Result<(), Wrong> {
    if name.ends_with(".fifo") {
        return Err((format!("{name:?} is a FIFO queue, which S3 cannot send to"), "name a standard queue".to_owned()));
    }
    let allowed = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    match name.len() {
        1..=80 if allowed => Ok(()),
        0 => Err(("names no queue".to_owned(), "write a queue's name or URL".to_owned())),
        _ => Err((
            format!("{name:?} is no queue name"),
            "a queue has 1 to 80 of letters, digits, `-` and `_`".to_owned(),
        )),
    }
}

/// CloudWatch API reference, "PutMetricData"; `AWS/` is AWS's own.
pub fn is_metrics_namespace(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_/#: ".contains(&b);
    (1..=255).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.trim().is_empty()
        && !name.starts_with([':'])
        && !name.starts_with("AWS/")
}

/// A level, or `TARGET=LEVEL`, with commas between.
pub fn is_level_filter(filter: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    filter.split(',').all(|directive| {
        let level = match directive.split_once('=') {
            Some((target, _)) if target.trim().is_empty() => "",
            Some((_, level)) => level,
            None => directive,
        };
        LEVELS.contains(&level.trim().to_ascii_lowercase().as_str())
    })
}

/// Whether buckets named by this template are one user's each, and may exist at all.
pub fn check_bucket_name_template(template: &str) -> Result<(), Wrong> {
    match BucketNameTemplate::new(template) {
        Ok(_) => Ok(()),
        Err(TemplateError::NoUserId) => {
            Err((format!("{template:?} gives all users one bucket"), "put {user_id} into it".to_owned()))
        }
        Err(error) => {
            Err((format!("{template:?}: {error}"), "write one like \"siuu{user_id}-{timestamp}\"".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_http_and_hold_no_credentials() {
        for url in ["http://127.0.0.1:5000", "https://s3.example.com/path?x=a@b", "HTTP://h", "http://[::1]:5000"] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for url in ["", "localhost:5000", "ftp://h", "http://", "http://:80", "http://a b"] {
            assert_eq!(check_url(url), Err(BadUrl::NoHttpUrl), "{url}");
        }
        for url in ["http://user:secret@h/", "https://user@h", "ftp://u:p@h", "u:p@h"] {
            assert_eq!(check_url(url), Err(BadUrl::HoldsCredentials), "{url}");
        }
    }

    #[test]
    fn names_are_told_from_what_only_looks_like_them() {
        for region in ["us-east-1", "ap-northeast-2", "us-gov-west-1", "cn-north-1", "us-isob-east-1"] {
            assert!(is_region(region), "{region}");
        }
        for region in ["", "tokyo", "us-east", "us_east_1", "US-EAST-1", "us-east-", "east-1"] {
            assert!(!is_region(region), "{region}");
        }
        assert!(is_role_arn("arn:aws-cn:iam::123456789012:role/path/x"));
        assert!(!is_role_arn("arn:aws:iam::123456789012:user/x"));
        assert!(!is_role_arn("arn:aws:iam::1234:role/x"));
        assert!(is_level_filter("info,tierd::ingest=debug"));
        assert!(is_level_filter("WARN"));
        assert!(!is_level_filter(""));
        assert!(!is_level_filter("verbose"));
        assert!(!is_level_filter("info,=debug"));
        assert!(!is_metrics_namespace(" "));
        assert!(!is_metrics_namespace("AWS/S3"));
        assert!(check_queue_name("q.fifo").is_err());
    }

    #[test]
    fn a_bucket_name_template_names_the_user_and_is_a_name() {
        for template in ["siuu{user_id}-{timestamp}", "{user_id}", "{timestamp}x{user_id}"] {
            assert_eq!(check_bucket_name_template(template), Ok(()), "{template}");
        }
        for template in
            ["", "siuu", "x{timestamp}", "{user}", "{user_id", "user_id}", "Siuu{user_id}", "-{user_id}", "{user_id}."]
        {
            assert!(check_bucket_name_template(template).is_err(), "{template}");
        }
    }
}
