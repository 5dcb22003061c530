//! Whether settings that can be read make sense, by themselves and together.
//!
//! What a single value's type can check (names of classes, schedules, time zones, sizes) is checked while reading; here
//! stands what needs the value's meaning or its neighbours. Nothing outside is asked but the bucket policy file and the price file.

mod names;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use regex::Regex;

use super::read::Finding;
use super::settings::*;
use super::units::{format_duration, format_size};
use crate::prices::{PriceFileError, PriceList, PriceProblem};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// What CopyObject takes in one call, and an upload's part at most (S3 user guide, "Amazon S3 multipart upload limits").
const MAX_COPY_BYTES: u64 = 5 * GIB;
const MIN_PART_BYTES: u64 = 5 * MIB;

/// All that makes no sense, in the order of the file's tables.
pub(super) fn validate(settings: &Settings) -> Vec<Finding> {
    let mut checks = Checks::default();
    checks.aws(&settings.aws);
    checks.tables(settings);
    checks.provision(&settings.provision);
    checks.ingest(&settings.ingest);
    checks.reconcile(&settings.reconcile);
    checks.transition(&settings.transition, &settings.aws.region);
    checks.restore(&settings.restore);
    checks.queues(settings);
    checks.replicate(&settings.replicate);
    checks.telemetry(&settings.telemetry);
    checks.positive("shutdown.grace", settings.shutdown.grace, "25s");
    checks.0
}

#[derive(Default)]
struct Checks(Vec<Finding>);

impl Checks {
    fn add(&mut self, key: &str, wrong: impl Into<String>, right: impl Into<String>) {
        let path = key.split('.').map(str::to_owned).collect();
        self.0.push(Finding { path, wrong: wrong.into(), right: right.into() });
    }

    fn not_empty(&mut self, key: &str, text: &str, example: &str) -> bool {
        if text.trim().is_empty() {
            self.add(key, "is empty", format!("write something like {example:?}, or leave the key out"));
        }
        !text.trim().is_empty()
    }

    fn positive(&mut self, key: &str, duration: Duration, example: &str) {
        if duration.is_zero() {
            self.add(key, "is no time at all", format!("write more than zero, like {example:?}"));
        }
    }

    fn at_least<N: PartialOrd + Display>(&mut self, key: &str, number: N, least: N) {
        if number < least {
            self.add(key, format!("is {number}"), format!("write {least} or more"));
        }
    }

    fn fraction(&mut self, key: &str, fraction: f64) {
        if !(0.0..=1.0).contains(&fraction) {
            self.add(key, format!("is {fraction}"), "write a share from 0.0 to 1.0");
        }
    }

    fn amount(&mut self, key: &str, amount: Option<f64>) {
        if amount.is_some_and(|amount| !(amount.is_finite() && amount > 0.0)) {
            self.add(key, "is not above zero", "write a number above zero, or leave the key out for no limit");
        }
    }

    fn size(&mut self, key: &str, bytes: u64, least: u64, most: u64) {
        if !(least..=most).contains(&bytes) {
            let right = format!("write {} to {}", format_size(least), format_size(most));
            self.add(key, format!("is {}", format_size(bytes)), right);
        }
    }

    fn region(&mut self, key: &str, region: &str) {
        if !names::is_region(region) {
            self.add(key, format!("{region:?} is no region"), "write one like \"ap-northeast-1\"");
        }
    }

    fn aws(&mut self, aws: &Aws) {
        self.region("aws.region", &aws.region);
        if let Some(url) = &aws.endpoint_url {
            self.url("aws.endpoint_url", url);
        }
        if let Some(profile) = &aws.profile {
            self.not_empty("aws.profile", profile, "tierd");
        }
        if aws.assume_role_arn.as_deref().is_some_and(|arn| !names::is_role_arn(arn)) {
            self.add(
                "aws.assume_role_arn",
                "is no ARN of a role",
                "write it as \"arn:aws:iam::123456789012:role/tierd\"",
            );
        }
    }

    /// A URL is printed and logged, so it must not hold a password; and for the same reason it is not quoted here.
    fn url(&mut self, key: &str, url: &str) {
        match names::check_url(url) {
            Ok(()) => {}
            Err(names::BadUrl::HoldsCredentials) => {
                let right = "leave them out; credentials come from the SDK's own chain";
                self.add(key, "holds a user or a password before the @", right);
            }
            Err(names::BadUrl::NoHttpUrl) => {
                self.add(key, "is no http or https URL", "write it as \"http://127.0.0.1:5000\"");
            }
        }
    }

    fn tables(&mut self, settings: &Settings) {
        let tables = [
            ("users.table", &settings.users.table),
            ("state.table", &settings.state.table),
            ("ledger.table", &settings.ledger.table),
        ];
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (key, table) in tables {
            if !names::is_table_name(table) {
                let right = "a DynamoDB table has 3 to 255 of letters, digits, `_`, `.` and `-`";
                self.add(key, format!("{table:?} is no table name"), right);
            } else if let Some(other) = seen.insert(table, key) {
                self.add(key, format!("is {table:?}, as {other} is"), "name a table of its own");
            }
        }
        self.not_empty("users.key", &settings.users.key, "userId");
        self.not_empty("users.uri_attribute", &settings.users.uri_attribute, "s3_bucket_uri");
        if settings.users.key == settings.users.uri_attribute {
            self.add("users.uri_attribute", "is the table's key as well", "name another attribute");
        }
        if settings.state.lease < Duration::from_secs(1) {
            let wrong = format!("is {}", format_duration(settings.state.lease));
            self.add("state.lease", wrong, "write \"1s\" or more; a lease is renewed at a third of its life");
        }
        self.at_least("ledger.write_concurrency", settings.ledger.write_concurrency, 1);
    }

    fn provision(&mut self, provision: &Provision) {
        if !provision.events.contains(&UserEvent::Insert) {
            self.add("provision.events", "lacks \"INSERT\"", "write [\"INSERT\"] or [\"INSERT\", \"MODIFY\"]");
        }
        if let Err((wrong, right)) = names::check_bucket_name_template(&provision.bucket_name) {
            self.add("provision.bucket_name", wrong, right);
        }
        self.positive("provision.poll_interval", provision.poll_interval, "1s");
        if provision.idle_interval < provision.poll_interval {
            let wrong = format!("is {}, less than poll_interval", format_duration(provision.idle_interval));
            let right = format!("write {:?} or more", format_duration(provision.poll_interval));
            self.add("provision.idle_interval", wrong, right);
        }
        self.at_least("provision.max_attempts", provision.max_attempts, 1);
        self.at_least("provision.concurrency", provision.concurrency, 1);
        self.at_least("provision.abort_multipart_days", provision.abort_multipart_days, 1);
        if let Some(path) = &provision.bucket_policy_file {
            match std::fs::read_to_string(path) {
                Err(error) => {
                    let right = "name a file that is there and may be read, or leave the key out";
                    self.add("provision.bucket_policy_file", format!("{}: {error}", path.display()), right);
                }
                Ok(text) => {
                    if let Err(error) = serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(&text) {
                        let wrong = format!("{} is no JSON object: {error}", path.display());
                        self.add("provision.bucket_policy_file", wrong, "write a bucket policy, with {bucket} in it");
                    }
                }
            }
        }
        if let Some(cors) = &provision.cors {
            self.cors(cors);
        }
    }

    fn cors(&mut self, cors: &Cors) {
        const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];
        let off = "write one at least, or `cors = false` under [provision] for no CORS rule";
        if cors.allowed_origins.is_empty() {
            self.add("provision.cors.allowed_origins", "is empty", off);
        }
        if cors.allowed_methods.is_empty() {
            self.add("provision.cors.allowed_methods", "is empty", off);
        }
        for (index, method) in cors.allowed_methods.iter().enumerate() {
            if !METHODS.contains(&method.as_str()) {
                let key = format!("provision.cors.allowed_methods.{index}");
                self.add(&key, format!("S3 allows no method {method:?}"), format!("write {}", METHODS.join(" or ")));
            }
        }
        let starred = [("allowed_origins", &cors.allowed_origins), ("allowed_headers", &cors.allowed_headers)];
        for (name, list) in starred {
            for (index, text) in list.iter().enumerate() {
                let key = format!("provision.cors.{name}.{index}");
                if self.not_empty(&key, text, "*") && text.matches('*').count() > 1 {
                    self.add(&key, format!("{text:?} holds more than one *"), "S3 takes one * at most");
                }
            }
        }
    }

    fn ingest(&mut self, ingest: &Ingest) {
        self.positive("ingest.lookback", ingest.lookback, "48h");
        self.at_least("ingest.batch_files", ingest.batch_files, 1);
        self.at_least("ingest.batch_bytes", ingest.batch_bytes, 1);
        self.at_least("ingest.max_file_bytes", ingest.max_file_bytes, 1);
        self.at_least("ingest.concurrency", ingest.concurrency, 1);
        for (index, principal) in ingest.exclude_principals.iter().enumerate() {
            self.not_empty(
                &format!("ingest.exclude_principals.{index}"),
                principal,
                "arn:aws:iam::123456789012:role/x",
            );
        }
        if ingest.enabled && ingest.count.is_empty() {
            self.add("ingest.count", "is empty, so nothing would ever count", "write one [[ingest.count]] at least");
        }
        for (index, rule) in ingest.count.iter().enumerate() {
            self.not_empty(&format!("ingest.count.{index}.event"), &rule.event, "GetObject");
            if let Some(parameter) = &rule.with_parameter {
                let key = format!("ingest.count.{index}.with_parameter");
                self.not_empty(&key, parameter, "response-content-disposition");
            }
        }
        if ingest.enabled && ingest.source.is_empty() {
            let right = "write an [[ingest.source]] with kind and bucket, or enabled = false under [ingest]";
            self.add("ingest.source", "is missing: ingest is enabled and has no logs to read", right);
        }
        for (index, source) in ingest.source.iter().enumerate() {
            self.source(index, source);
            let same = |other: &Source| {
                (other.kind, &other.bucket, &other.prefix) == (source.kind, &source.bucket, &source.prefix)
            };
            if let Some(first) = ingest.source[..index].iter().position(same) {
                let wrong = format!("has the kind, bucket and prefix of ingest.source[{first}]");
                self.add(&format!("ingest.source.{index}"), wrong, "name each place where logs are once");
            }
        }
    }

    fn source(&mut self, index: usize, source: &Source) {
        let key = |name: &str| format!("ingest.source.{index}.{name}");
        if let Some(region) = &source.region {
            self.region(&key("region"), region);
        }
        for (at, region) in source.regions.iter().enumerate() {
            self.region(&key(&format!("regions.{at}")), region);
        }
        for (at, account) in source.account_ids.iter().enumerate() {
            if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
                let wrong = format!("{account:?} is no account id");
                self.add(&key(&format!("account_ids.{at}")), wrong, "write its 12 digits in quotes");
            }
        }
        match (source.kind, &source.path_pattern) {
            (LogKind::Alb, None) => {
                let right = "write one like \"^/files/(?<bucket>[^/]+)/(?<key>.+)$\"";
                self.add(&key("path_pattern"), "is missing, and kind = \"alb\" needs it", right);
            }
            (LogKind::Alb, Some(pattern)) => self.path_pattern(&key("path_pattern"), pattern),
            (kind, Some(_)) => {
                let wrong = format!("has no meaning for kind = \"{kind}\"");
                self.add(&key("path_pattern"), wrong, "leave it out, or write kind = \"alb\"");
            }
            (_, None) => {}
        }
    }

    fn path_pattern(&mut self, key: &str, pattern: &str) {
        let form = "write one like \"^/files/(?<bucket>[^/]+)/(?<key>.+)$\"";
        match Regex::new(pattern) {
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or("it cannot be read").trim().to_owned();
                self.add(key, format!("is no regular expression: {}", reason.trim_start_matches("error: ")), form);
            }
            Ok(regex) => {
                for capture in ["bucket", "key"] {
                    if !regex.capture_names().flatten().any(|name| name == capture) {
                        self.add(key, format!("has no capture named `{capture}`"), form);
                    }
                }
            }
        }
    }

    fn reconcile(&mut self, reconcile: &Reconcile) {
        self.fraction("reconcile.max_drop_fraction", reconcile.max_drop_fraction);
        self.at_least("reconcile.concurrency", reconcile.concurrency, 1);
    }

    fn prices(&mut self, transition: &Transition, region: &str) {
        const KEY: &str = "transition.prices_file";
        let Some(file) = &transition.prices_file else { return };
        match PriceList::of_file(file, region) {
            Ok(_) => {}
            Err(PriceFileError::Wrong { path, problems }) => {
                for PriceProblem { key, wrong, right } in problems {
                    self.add(KEY, format!("{}: key `{key}`: {wrong}", path.display()), right);
                }
            }
            Err(error @ PriceFileError::Unreadable { .. }) => {
                self.add(KEY, error.to_string(), "name a file that is there and may be read, or leave the key out");
            }
            Err(error) => self.add(KEY, error.to_string(), "write it in the form of config/prices/us-east-1.toml"),
        }
    }

    fn transition(&mut self, transition: &Transition, region: &str) {
        self.prices(transition, region);
        self.size("transition.multipart_threshold", transition.multipart_threshold, MIN_PART_BYTES, MAX_COPY_BYTES);
        self.size("transition.multipart_part_size", transition.multipart_part_size, MIN_PART_BYTES, MAX_COPY_BYTES);
        self.at_least("transition.concurrency", transition.concurrency, 1);
        self.at_least("transition.max_requests_per_second", transition.max_requests_per_second, 1);
        self.fraction("transition.max_error_fraction", transition.max_error_fraction);
        self.amount("transition.max_payback_months", transition.max_payback_months);
        self.amount("transition.max_cost_usd", transition.max_cost_usd);
        for (key, cap) in [("max_objects", transition.max_objects), ("max_bytes", transition.max_bytes)] {
            if cap == Some(0) {
                let right = "write a number above zero, or leave the key out for no limit";
                self.add(&format!("transition.{key}"), "is 0, so that no run would move anything", right);
            }
        }
        self.recency("transition.recency", &transition.recency);
        self.fraction("transition.frequency.top_fraction", transition.frequency.top_fraction);
        self.delayed_reads("transition.adaptive", transition.adaptive);
        for (index, bucket) in transition.bucket.iter().enumerate() {
            let key = format!("transition.bucket.{index}");
            if self.not_empty(&format!("{key}.prefix"), &bucket.prefix, "siuu-archive-")
                && let Some(first) = transition.bucket[..index].iter().position(|other| other.prefix == bucket.prefix)
            {
                let wrong = format!("is {:?}, as that of transition.bucket[{first}] is", bucket.prefix);
                self.add(&format!("{key}.prefix"), wrong, "name each prefix once");
            }
            let BucketOverride { policy, recency, frequency, adaptive, .. } = bucket;
            if policy.is_none() && recency.is_none() && frequency.is_none() && adaptive.is_none() {
                self.add(&key, "changes nothing", "set policy, recency, frequency or adaptive");
            }
            if let Some(steps) = &bucket.recency {
                self.recency(&format!("{key}.recency"), steps);
            }
            if let Some(frequency) = &bucket.frequency {
                self.fraction(&format!("{key}.frequency.top_fraction"), frequency.top_fraction);
            }
            if let Some(adaptive) = bucket.adaptive {
                self.delayed_reads(&format!("{key}.adaptive"), adaptive);
            }
        }
    }

    fn delayed_reads(&mut self, key: &str, adaptive: Adaptive) {
        let share = adaptive.max_delayed_reads;
        if !(0.0..1.0).contains(&share) {
            let right =
                "write a share from 0.0 (nothing is archived) to below 1.0, like 0.01 for one read in a hundred";
            self.add(&format!("{key}.max_delayed_reads"), format!("is {share}"), right);
        }
    }

    /// Ascending steps, and one open step at the end for the rest.
    fn recency(&mut self, key: &str, steps: &[RecencyStep]) {
        let Some((last, before)) = steps.split_last() else {
            self.add(key, "is empty", "write its steps, the last without up_to_days");
            return;
        };
        if let Some(days) = last.up_to_days {
            let wrong = format!("ends at {days} days, so that older objects have no class");
            self.add(key, wrong, "add a last step without up_to_days");
        }
        for (index, step) in before.iter().enumerate() {
            if step.up_to_days.is_none() {
                let wrong = "has no up_to_days and is not the last step";
                self.add(&format!("{key}.{index}"), wrong, "give it up_to_days; the last step alone is for the rest");
            }
        }
        let mut widest: Option<u32> = None;
        for (index, days) in steps.iter().enumerate().filter_map(|(index, step)| Some((index, step.up_to_days?))) {
            let step = format!("{key}.{index}.up_to_days");
            self.at_least(&step, days, 1);
            if let Some(widest) = widest.filter(|widest| days <= *widest) {
                let right = format!("write more than {widest}: the steps ascend");
                self.add(&step, format!("is {days}, and the step before goes to {widest}"), right);
            }
            widest = widest.max(Some(days));
        }
    }

    fn restore(&mut self, restore: &Restore) {
        self.at_least("restore.days", restore.days, 1);
        if restore.restored_class.is_archive() {
            let wrong = format!("{} is an archive itself", restore.restored_class);
            self.add("restore.restored_class", wrong, "write a class that is read at once, like \"STANDARD\"");
        }
        let tag = &restore.tag_key;
        if tag.is_empty() || tag.chars().count() > 128 || tag.starts_with("aws:") {
            let right = "write 1 to 128 characters that do not begin with `aws:`";
            self.add("restore.tag_key", format!("{tag:?} is no tag key"), right);
        }
        if !(1..=1000).contains(&restore.max_receives) {
            self.add("restore.max_receives", format!("is {}", restore.max_receives), "write 1 to 1000");
        }
        self.at_least("restore.concurrency", restore.concurrency, 1);
    }

    /// Each queue has one reader that understands its messages: two would take them from each other.
    fn queues(&mut self, settings: &Settings) {
        let restore = &settings.restore;
        let mut queues = vec![
            ("restore.event_queue".to_owned(), &restore.event_queue),
            ("restore.request_queue".to_owned(), &restore.request_queue),
        ];
        let rules = settings.replicate.iter().enumerate();
        queues.extend(rules.map(|(index, rule)| (format!("replicate.{index}.queue"), &rule.queue)));
        let mut seen: BTreeMap<&str, String> = BTreeMap::new();
        for (key, queue) in queues {
            let is_url = queue.contains("://");
            if is_url && names::check_url(queue).is_err() {
                self.url(&key, queue);
                continue;
            }
            let name = if is_url { queue.rsplit('/').next().unwrap_or_default() } else { queue.as_str() };
            if let Err((wrong, right)) = names::check_queue_name(name) {
                self.add(&key, wrong, right);
            } else if let Some(other) = seen.get(queue.as_str()) {
                let other = super::problem::display_key(&other.split('.').map(str::to_owned).collect::<Vec<_>>());
                self.add(&key, format!("is {queue:?}, as {other} is"), "name a queue of its own");
            } else {
                seen.insert(queue, key);
            }
        }
    }

    fn replicate(&mut self, rules: &[Replicate]) {
        const CANNED_ACLS: [&str; 7] = [
            "private",
            "public-read",
            "public-read-write",
            "authenticated-read",
            "aws-exec-read",
            "bucket-owner-read",
            "bucket-owner-full-control",
        ];
        for (index, rule) in rules.iter().enumerate() {
            if rule.source_bucket == rule.destination_bucket && rule.destination_prefix.starts_with(&rule.source_prefix)
            {
                let wrong = "lies under source_prefix in the same bucket, so that each copy would be copied again";
                let key = format!("replicate.{index}.destination_prefix");
                self.add(&key, wrong, "name another bucket or a prefix outside");
            }
            if !rule.acl.is_empty() && !CANNED_ACLS.contains(&rule.acl.as_str()) {
                let right = format!("write \"\" for none, or {}", CANNED_ACLS.join(", "));
                self.add(&format!("replicate.{index}.acl"), format!("{:?} is no canned ACL", rule.acl), right);
            }
        }
    }

    fn telemetry(&mut self, telemetry: &Telemetry) {
        if !names::is_level_filter(&telemetry.level) {
            let right = "write error, warn, info, debug, trace or off, or directives like \"info,tierd::ingest=debug\"";
            self.add("telemetry.level", format!("{:?} is no level", telemetry.level), right);
        }
        let namespace = &telemetry.metrics_namespace;
        if !names::is_metrics_namespace(namespace) {
            let right = "write 1 to 255 of letters, digits and .-_/#: that begin neither with `AWS/` nor with a colon";
            self.add("telemetry.metrics_namespace", format!("{namespace:?} is no namespace for metrics"), right);
        }
        if telemetry.heartbeat_file.as_os_str().is_empty() {
            self.add("telemetry.heartbeat_file", "is empty", "write a path like \"/run/tierd/heartbeat\"");
        }
    }
}
