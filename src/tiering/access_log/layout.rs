//! Where log files lie in a bucket: which keys are log files, of which day, and how to find them with few listings.
//!
//! Log files lie in *log directories* in whose keys nothing but the date comes next, so a directory is listed from a
//! day on by a `StartAfter`, whatever is older. The directories are found from [`Layout::root`]: list it, show each common
//! prefix to [`Layout::look_at`], list what it says. That costs a listing an account and region, not one a file.
//!
//! Server access logs in the flat layout lie beside each other by the million, directly under their prefix. Listing them
//! with the delimiter `-` shows one common prefix a year (`logs/2024-`), and one for each account and part of the world
//! (`logs/123456789012/us-`) of the date-partitioned layout, which may lie at the same place.
//!
//! The day of a log file is the day of its publishing: it holds events of days before.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

/// Whose logs they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    CloudTrail,
    S3AccessLog,
    Alb,
}

/// The layout of a log source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    kind: Kind,
    base: String,
    account_ids: Vec<String>,
    regions: Vec<String>,
}

/// A log file, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogFile<'k> {
    /// None in the flat layout of server access logs, as is the region.
    pub account: Option<&'k str>,
    pub region: Option<&'k str>,
    /// In UTC; by which it is listed.
    pub day: NaiveDate,
    /// As exactly as the key has it; None if the name is of a kind that we do not know.
    pub published: Option<DateTime<Utc>>,
}

/// A listing to be made: with this prefix and this delimiter, of its common prefixes only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub prefix: String,
    pub delimiter: char,
}

/// Where log files lie in the order of their days.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogDirectory {
    prefix: String,
    /// What stands before the date.
    before_date: String,
    /// What stands between year, month and day.
    separator: char,
}

impl LogDirectory {
    /// With which prefix it is listed, without delimiter.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The `StartAfter` with which a listing shows the files of `day` and later, and none of before.
    pub fn start_after(&self, day: NaiveDate) -> String {
        let s = self.separator;
        format!("{}{}", self.before_date, day.format(&format!("%Y{s}%m{s}%d")))
    }
}

/// What a common prefix is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Log directories may be below: list it.
    List(Listing),
    LogDirectory(LogDirectory),
    /// Nothing of ours.
    Leave,
}

impl Layout {
    /// The layout of the logs below `prefix`. Where `AWSLogs/` comes next, a slash at its end may be left out. Empty
    /// filters let everything through.
    pub fn new(kind: Kind, prefix: &str, account_ids: Vec<String>, regions: Vec<String>) -> Self {
        let base = match kind {
            Kind::S3AccessLog => prefix.to_owned(),
            _ if prefix.is_empty() || prefix.ends_with('/') => format!("{prefix}AWSLogs/"),
            _ => format!("{prefix}/AWSLogs/"),
        };
        Self { kind, base, account_ids, regions }
    }

    /// The first listing.
    pub fn root(&self) -> Listing {
        let delimiter = if self.kind == Kind::S3AccessLog { '-' } else { '/' };
        Listing { prefix: self.base.clone(), delimiter }
    }

    /// What to do with a common prefix that a listing has shown.
    pub fn look_at(&self, common_prefix: &str) -> Found {
        let Some(path) = common_prefix.strip_prefix(&self.base) else { return Found::Leave };
        match self.kind {
            Kind::S3AccessLog => self.look_at_access_logs(common_prefix, path),
            Kind::CloudTrail => self.look_at_service(common_prefix, path, "CloudTrail"),
            Kind::Alb => self.look_at_service(common_prefix, path, "elasticloadbalancing"),
        }
    }

    fn look_at_service(&self, common_prefix: &str, path: &str, service: &str) -> Found {
        let parts: Vec<&str> = path.split_terminator('/').collect();
        let list = |prefix: String| Found::List(Listing { prefix, delimiter: '/' });
        match without_organization(&parts) {
            [] => list(common_prefix.to_owned()),
            [account] if self.wants_account(account) => list(format!("{common_prefix}{service}/")),
            [account, name] if *name == service && self.wants_account(account) => list(common_prefix.to_owned()),
            [account, name, region] if *name == service && self.wants_account(account) && self.wants_region(region) => {
                Found::LogDirectory(LogDirectory {
                    prefix: common_prefix.to_owned(),
                    before_date: common_prefix.to_owned(),
                    separator: '/',
                })
            }
            _ => Found::Leave,
        }
    }

    fn look_at_access_logs(&self, common_prefix: &str, path: &str) -> Found {
        let list = || Found::List(Listing { prefix: common_prefix.to_owned(), delimiter: '/' });
        if let Some(year) = path.strip_suffix('-')
            && year.len() == 4
            && is_digits(year)
        {
            return Found::LogDirectory(LogDirectory {
                prefix: common_prefix.to_owned(),
                before_date: self.base.clone(),
                separator: '-',
            });
        }
        let parts: Vec<&str> = path.split_terminator('/').collect();
        match (&parts[..], path.ends_with('/')) {
            // `ACCOUNT/us-`: a part of the world.
            ([account, world], false) if self.wants_account(account) && world.ends_with('-') => list(),
            ([account], true) if self.wants_account(account) => list(),
            ([account, region], true) if self.wants_account(account) && self.wants_region(region) => list(),
            ([account, region, _bucket], true) if self.wants_account(account) && self.wants_region(region) => {
                Found::LogDirectory(LogDirectory {
                    prefix: common_prefix.to_owned(),
                    before_date: common_prefix.to_owned(),
                    separator: '/',
                })
            }
            _ => Found::Leave,
        }
    }

    /// The log file that `key` is, if it is one that is wanted.
    pub fn log_file<'k>(&self, key: &'k str) -> Option<LogFile<'k>> {
        let path: Vec<&str> = key.strip_prefix(self.base.as_str())?.split('/').collect();
        let file = match (self.kind, &path[..]) {
            (Kind::S3AccessLog, [name]) => {
                let published = access_log_time(name)?;
                LogFile { account: None, region: None, day: published.date_naive(), published: Some(published) }
            }
            (Kind::S3AccessLog, [account, region, _bucket, y, m, d, name]) => LogFile {
                account: Some(account),
                region: Some(region),
                day: day(y, m, d)?,
                published: Some(access_log_time(name)?),
            },
            (Kind::S3AccessLog, _) => return None,
            (kind, parts) => {
                let [account, service, region, y, m, d, name] = without_organization(parts) else { return None };
                let stamp = match kind {
                    Kind::CloudTrail if *service == "CloudTrail" => name.strip_suffix(".json.gz")?.split('_').nth(3),
                    Kind::Alb if *service == "elasticloadbalancing" => {
                        let start = format!("{account}_elasticloadbalancing_{region}_app.");
                        let rest = name.strip_suffix(".log.gz")?.strip_prefix(&start)?;
                        rest.split('_').nth(1)
                    }
                    _ => return None,
                };
                let published = stamp.and_then(|stamp| NaiveDateTime::parse_from_str(stamp, "%Y%m%dT%H%MZ").ok());
                LogFile {
                    account: Some(account),
                    region: Some(region),
                    day: day(y, m, d)?,
                    published: published.map(|time| time.and_utc()),
                }
            }
        };
        (file.account.is_none_or(|account| self.wants_account(account))
            && file.region.is_none_or(|region| self.wants_region(region)))
        .then_some(file)
    }

    fn wants_account(&self, account: &str) -> bool {
        account.len() == 12
            && is_digits(account)
            && (self.account_ids.is_empty() || self.account_ids.iter().any(|wanted| wanted == account))
    }

    fn wants_region(&self, region: &str) -> bool {
        !region.is_empty() && (self.regions.is_empty() || self.regions.iter().any(|wanted| wanted == region))
    }
}

/// An organization's trail puts its id before the accounts.
fn without_organization<'p, 'k>(parts: &'p [&'k str]) -> &'p [&'k str] {
    match parts {
        [first, rest @ ..] if first.starts_with("o-") || first.starts_with("O-") => rest,
        parts => parts,
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn day(year: &str, month: &str, day: &str) -> Option<NaiveDate> {
    let of = |text: &str, len| (text.len() == len && is_digits(text)).then(|| text.parse::<u32>().ok()).flatten();
    NaiveDate::from_ymd_opt(i32::try_from(of(year, 4)?).ok()?, of(month, 2)?, of(day, 2)?)
}

/// The time in a server access log's name, `YYYY-mm-DD-HH-MM-SS-ID`.
fn access_log_time(name: &str) -> Option<DateTime<Utc>> {
    let (stamp, id) = name.split_at_checked("YYYY-mm-DD-HH-MM-SS".len())?;
    let id = id.strip_prefix('-')?;
    let digits_and_dashes = stamp
        .bytes()
        .enumerate()
        .all(|(i, byte)| if matches!(i, 4 | 7 | 10 | 13 | 16) { byte == b'-' } else { byte.is_ascii_digit() });
    if !digits_and_dashes || id.is_empty() {
        return None;
    }
    Some(NaiveDateTime::parse_from_str(stamp, "%Y-%m-%d-%H-%M-%S").ok()?.and_utc())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn layout(kind: Kind, prefix: &str) -> Layout {
        Layout::new(kind, prefix, vec![], vec![])
    }

    const KEYS: &[(Kind, &str, &str, Option<&str>)] = &[
        (
            Kind::CloudTrail,
            "",
            "AWSLogs/123456789012/CloudTrail/us-east-1/2024/02/29/123456789012_CloudTrail_us-east-1_20240229T2355Z_abc.json.gz",
            Some("2024-02-29"),
        ),
        (
            Kind::CloudTrail,
            "t/",
            "t/AWSLogs/o-exampleorgid/123456789012/CloudTrail/us-east-1/2024/03/01/x.json.gz",
            Some("2024-03-01"),
        ),
        (
            Kind::CloudTrail,
            "t",
            "t/AWSLogs/123456789012/CloudTrail/ap-northeast-1/2024/03/01/x.json.gz",
            Some("2024-03-01"),
        ),
        (Kind::CloudTrail, "", "t/AWSLogs/123456789012/CloudTrail/us-east-1/2024/03/01/x.json.gz", None),
        (Kind::CloudTrail, "", "AWSLogs/123456789012/CloudTrail-Digest/us-east-1/2024/03/01/x.json.gz", None),
        (Kind::CloudTrail, "", "AWSLogs/123456789012/CloudTrail-Insight/us-east-1/2024/03/01/x.json.gz", None),
        (Kind::CloudTrail, "", "AWSLogs/123456789012/CloudTrail/us-east-1/2024/03/01/x.json", None),
        (Kind::CloudTrail, "", "AWSLogs/123456789012/CloudTrail/us-east-1/2024/02/30/x.json.gz", None),
        (Kind::CloudTrail, "", "AWSLogs/123456789012/CloudTrail/us-east-1/2024/3/1/x.json.gz", None),
        (Kind::CloudTrail, "", "AWSLogs/123456789012/CloudTrail/", None),
        (Kind::S3AccessLog, "logs/", "logs/2024-03-31-23-59-59-0123456789ABCDEF", Some("2024-03-31")),
        (Kind::S3AccessLog, "logs-", "logs-2024-03-31-23-59-59-0123456789ABCDEF", Some("2024-03-31")),
        (
            Kind::S3AccessLog,
            "logs/",
            "logs/212345678901/us-west-2/src-bucket/2024/03/31/2024-03-31-23-59-59-0123",
            Some("2024-03-31"),
        ),
        (Kind::S3AccessLog, "logs/", "logs/2024-03-31-23-59-59-", None),
        (Kind::S3AccessLog, "logs/", "logs/2024-03-31-24-59-59-AB", None),
        (Kind::S3AccessLog, "logs/", "logs/readme", None),
        (Kind::S3AccessLog, "", "사진", None),
        (
            Kind::Alb,
            "p/",
            "p/AWSLogs/123456789012/elasticloadbalancing/us-east-2/2024/05/01/123456789012_elasticloadbalancing_us-east-2_app.my-lb.1234567890abcdef_20240501T0000Z_172.160.001.192_20sg8hgm.log.gz",
            Some("2024-05-01"),
        ),
        (
            Kind::Alb,
            "p/",
            "p/AWSLogs/123456789012/elasticloadbalancing/us-east-2/2024/05/01/123456789012_elasticloadbalancing_us-east-2_net.my-lb.12_20240501T0000Z_20sg8hgm.log.gz",
            None,
        ),
        (Kind::Alb, "p/", "p/AWSLogs/123456789012/ELBAccessLogTestFile", None),
    ];

    #[test]
    fn keys_are_log_files_of_their_days() {
        for (kind, prefix, key, want) in KEYS {
            let day = layout(*kind, prefix).log_file(key).map(|file| file.day.to_string());
            assert_eq!(day.as_deref(), *want, "{key}");
        }
        for (kind, prefix, key, _) in [KEYS[0], KEYS[10], KEYS[17]] {
            let published = layout(kind, prefix).log_file(key).unwrap().published.unwrap();
            assert!(published.to_rfc3339().starts_with("2024-"), "{key}");
        }
    }

    #[test]
    fn accounts_and_regions_are_filtered() {
        let key = KEYS[0].2;
        let check = |account: &str, region: &str, want: bool| {
            let layout = Layout::new(Kind::CloudTrail, "", vec![account.into()], vec![region.into()]);
            assert_eq!(layout.log_file(key).is_some(), want);
        };
        check("123456789012", "us-east-1", true);
        check("123456789013", "us-east-1", false);
        check("123456789012", "us-east-2", false);
    }

    /// What S3 would show as common prefixes.
    fn common_prefixes(keys: &[&str], listing: &Listing) -> BTreeSet<String> {
        keys.iter()
            .filter_map(|key| {
                let rest = key.strip_prefix(listing.prefix.as_str())?;
                let end = rest.find(listing.delimiter)?;
                Some(key[..listing.prefix.len() + end + 1].to_owned())
            })
            .collect()
    }

    fn discover(layout: &Layout, keys: &[&str]) -> Vec<LogDirectory> {
        let mut directories = vec![];
        let mut listings = vec![layout.root()];
        while let Some(listing) = listings.pop() {
            for prefix in common_prefixes(keys, &listing) {
                match layout.look_at(&prefix) {
                    Found::List(next) => listings.push(next),
                    Found::LogDirectory(directory) => directories.push(directory),
                    Found::Leave => {}
                }
            }
        }
        directories
    }

    #[test]
    fn discovery_finds_exactly_the_log_files_that_there_are_and_each_once() {
        let keys: Vec<&str> = KEYS.iter().map(|(_, _, key, _)| *key).collect();
        let early = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap();
        for (kind, prefix) in [
            (Kind::CloudTrail, ""),
            (Kind::CloudTrail, "t/"),
            (Kind::S3AccessLog, "logs/"),
            (Kind::S3AccessLog, "logs-"),
            (Kind::Alb, "p/"),
        ] {
            let layout = layout(kind, prefix);
            let mut found: Vec<&&str> = vec![];
            for directory in discover(&layout, &keys) {
                let start_after = directory.start_after(early);
                let listed = keys.iter().filter(|key| key.starts_with(directory.prefix()) && **key > &*start_after);
                found.extend(listed.filter(|key| layout.log_file(key).is_some()));
            }
            let mut want: Vec<_> = keys.iter().filter(|key| layout.log_file(key).is_some()).collect();
            found.sort();
            want.sort();
            assert!(!want.is_empty());
            assert_eq!(found, want, "{kind:?} {prefix}");
        }
    }

    #[test]
    fn a_listing_starts_with_the_first_file_of_a_day() {
        let day = NaiveDate::from_ymd_opt(2024, 3, 1).unwrap();
        for (kind, prefix, key, want) in KEYS {
            let layout = layout(*kind, prefix);
            let Some(date) = want else { continue };
            for directory in discover(&layout, &[*key]) {
                assert_eq!(*key > &*directory.start_after(day), *date >= "2024-03-01", "{key}");
            }
        }
    }
}
