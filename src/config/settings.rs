//! The settings as plain data, named as the TOML keys are.
//!
//! What each key means stands beside it in `config/default.toml`; here stand types and units. A value that comes from
//! [`super::load`] or [`Settings::from_toml`] has passed every check of [`super::validate`].

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::units;
use crate::tiering::object::BucketName;
use crate::tiering::schedule::Schedule;
use crate::tiering::storage_class::StorageClass;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub aws: Aws,
    pub users: Users,
    pub state: State,
    pub ledger: Ledger,
    pub provision: Provision,
    pub ingest: Ingest,
    pub reconcile: Reconcile,
    pub transition: Transition,
    pub restore: Restore,
    #[serde(default)]
    pub replicate: Vec<Replicate>,
    pub telemetry: Telemetry,
    pub shutdown: Shutdown,
}

impl Settings {
    /// Every schedule that is in force, with its key and its time zone: those of disabled parts are not.
    pub fn schedules(&self) -> Vec<(&'static str, &Schedule, Tz)> {
        let Self { provision, ingest, reconcile, transition, restore, .. } = self;
        let all = [
            ("provision.sweep_schedule", provision.enabled.then_some(&provision.sweep_schedule), provision.timezone),
            ("ingest.schedule", ingest.enabled.then_some(&ingest.schedule), ingest.timezone),
            ("reconcile.schedule", reconcile.schedule.as_ref(), reconcile.timezone),
            ("transition.schedule", transition.enabled.then_some(&transition.schedule), transition.timezone),
            ("restore.sweep_schedule", restore.enabled.then_some(&restore.sweep_schedule), restore.timezone),
        ];
        all.into_iter().filter_map(|(key, schedule, zone)| Some((key, schedule?, zone))).collect()
    }
}

/// `[aws]`: which AWS, as whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    pub region: String,
    /// `http://` or `https://`, without user and password.
    pub endpoint_url: Option<String>,
    pub profile: Option<String>,
    pub assume_role_arn: Option<String>,
}

/// `[users]`: the table whose rows are users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    pub table: String,
    pub key: String,
    pub uri_attribute: String,
}

/// `[state]`: the daemon's own table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub table: String,
    #[serde(with = "units::duration")]
    pub lease: Duration,
}

/// `[ledger]`: the table of objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    pub table: String,
    pub write_concurrency: usize,
}

/// `[provision]`: a bucket for every new user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    pub enabled: bool,
    pub events: Vec<UserEvent>,
    /// A template with `{user_id}` and `{timestamp}`.
    pub bucket_name: String,
    #[serde(with = "units::duration")]
    pub poll_interval: Duration,
    #[serde(with = "units::duration")]
    pub idle_interval: Duration,
    pub max_attempts: u32,
    pub concurrency: usize,
    pub block_public_access: bool,
    /// Made absolute against the configuration file's directory by [`super::load`].
    pub bucket_policy_file: Option<PathBuf>,
    pub abort_multipart_days: u32,
    pub sweep_schedule: Schedule,
    /// Applies to `sweep_schedule`.
    #[serde(with = "units::timezone")]
    pub timezone: Tz,
    /// None where the file says `cors = false`.
    #[serde(deserialize_with = "cors_or_false", serialize_with = "cors_as_false")]
    pub cors: Option<Cors>,
}

/// `[provision.cors]`: the one CORS rule of a new bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    pub allowed_origins: Vec<String>,
    pub allowed_methods: Vec<String>,
    pub allowed_headers: Vec<String>,
    pub expose_headers: Vec<String>,
    pub max_age_seconds: u32,
}

/// `[ingest]`: access logs folded into the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingest {
    pub enabled: bool,
    pub schedule: Schedule,
    /// Applies to `schedule`.
    #[serde(with = "units::timezone")]
    pub timezone: Tz,
    #[serde(with = "units::duration")]
    pub lookback: Duration,
    pub batch_files: usize,
    /// Compressed bytes.
    #[serde(with = "units::size")]
    pub batch_bytes: u64,
    /// Inflated bytes.
    #[serde(with = "units::size")]
    pub max_file_bytes: u64,
    pub concurrency: usize,
    pub exclude_principals: Vec<String>,
    pub count: Vec<CountRule>,
    #[serde(default)]
    pub source: Vec<Source>,
}

/// `[[ingest.count]]`: a record that fits any rule counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountRule {
    pub event: String,
    /// The record counts only if its request carries this parameter.
    pub with_parameter: Option<String>,
}

/// `[[ingest.source]]`: where logs are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub kind: LogKind,
    pub bucket: BucketName,
    /// The log bucket's region, if it is not `aws.region`.
    pub region: Option<String>,
    #[serde(default)]
    pub prefix: String,
    /// Twelve digits each; empty: all that are found.
    #[serde(default)]
    pub account_ids: Vec<String>,
    /// Empty: all that are found.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Only objects of buckets that begin so count; empty: all.
    #[serde(default)]
    pub bucket_prefix: String,
    /// For `alb` alone: a regular expression with the captures `bucket` and `key`.
    pub path_pattern: Option<String>,
}

/// `[reconcile]`: the ledger against the listings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconcile {
    pub schedule: Option<Schedule>,
    /// Applies to `schedule`.
    #[serde(with = "units::timezone")]
    pub timezone: Tz,
    pub adopt: bool,
    /// 0 to 1.
    pub max_drop_fraction: f64,
    pub min_rows_for_breaker: u64,
    pub concurrency: usize,
}

/// `[transition]`: objects into their storage class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    pub enabled: bool,
    pub schedule: Schedule,
    /// Applies to `schedule`.
    #[serde(with = "units::timezone")]
    pub timezone: Tz,
    pub policy: PolicyName,
    #[serde(with = "units::size")]
    pub min_object_size: u64,
    pub respect_minimum_duration: bool,
    pub require_saving: bool,
    pub max_payback_months: Option<f64>,
    pub promote_archived: bool,
    pub versioned_buckets: VersionedBuckets,
    /// Zero: off.
    #[serde(with = "units::duration")]
    pub require_recent_ingest: Duration,
    #[serde(with = "units::size")]
    pub multipart_threshold: u64,
    #[serde(with = "units::size")]
    pub multipart_part_size: u64,
    pub concurrency: usize,
    pub max_requests_per_second: u32,
    /// 0 to 1.
    pub max_error_fraction: f64,
    pub max_objects: Option<u64>,
    #[serde(default, with = "units::optional_size")]
    pub max_bytes: Option<u64>,
    pub max_cost_usd: Option<f64>,
    /// A price table in the form of `config/prices/`, instead of the region's own.
    pub prices_file: Option<PathBuf>,
    /// Ascending; the last step alone is open.
    pub recency: Vec<RecencyStep>,
    pub frequency: Frequency,
    pub adaptive: Adaptive,
    #[serde(default)]
    pub bucket: Vec<BucketOverride>,
}

/// `[[transition.recency]]`: up to so many days since the last access, this class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecencyStep {
    /// None: the rest.
    pub up_to_days: Option<u32>,
    pub class: StorageClass,
}

/// `[transition.frequency]`: the most used share of a bucket's objects, and the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frequency {
    /// 0 to 1.
    pub top_fraction: f64,
    pub top_class: StorageClass,
    pub rest_class: StorageClass,
}

/// `[transition.adaptive]`: where objects cost the least by what the logs have taught.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adaptive {
    /// What share of a bucket's reads may meet an archived object and wait: 0 (nothing is archived) to below 1.
    pub max_delayed_reads: f64,
}

/// `[[transition.bucket]]`: another policy for buckets that begin with a prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketOverride {
    pub prefix: String,
    pub policy: Option<PolicyName>,
    pub recency: Option<Vec<RecencyStep>>,
    pub frequency: Option<Frequency>,
    pub adaptive: Option<Adaptive>,
}

/// `[restore]`: archived objects back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    pub enabled: bool,
    /// A name or a URL.
    pub event_queue: String,
    /// A name or a URL.
    pub request_queue: String,
    pub days: u32,
    pub tier: RestoreTier,
    pub restored_class: StorageClass,
    pub tag_key: String,
    pub sweep_schedule: Schedule,
    /// Applies to `sweep_schedule`.
    #[serde(with = "units::timezone")]
    pub timezone: Tz,
    pub max_receives: u32,
    pub concurrency: usize,
}

/// `[[replicate]]`: new objects of one bucket copied to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replicate {
    /// A name or a URL.
    pub queue: String,
    pub source_bucket: BucketName,
    #[serde(default)]
    pub source_prefix: String,
    pub destination_bucket: BucketName,
    #[serde(default)]
    pub destination_prefix: String,
    #[serde(default)]
    pub keep_path: bool,
    /// A canned ACL; empty: none is sent.
    #[serde(default = "default_acl")]
    pub acl: String,
}

/// `[telemetry]`: logs, metrics, the heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub log_format: LogFormat,
    /// A level, or directives by target with commas between.
    pub level: String,
    pub metrics_namespace: String,
    pub heartbeat_file: PathBuf,
}

/// `[shutdown]`: how the daemon ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    #[serde(with = "units::duration")]
    pub grace: Duration,
}

/// An enum whose variants the configuration names; a wrong name is answered with all the right ones.
macro_rules! named {
    ($(#[$meta:meta])* $type:ident, $what:literal, { $($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type {
            $($(#[$doc])* $variant),+
        }

        impl $type {
            const NAMES: &'static [(&'static str, $type)] = &[$(($name, $type::$variant)),+];

            /// The name in the configuration.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
                    let names: Vec<String> = Self::NAMES.iter().map(|(name, _)| format!("{name:?}")).collect();
                    de::Error::custom(format!(concat!("{:?} is no ", $what, "; write {}"), text, names.join(" or ")))
                })
            }
        }
    };
}

named!(
    /// What happened to a row of the users table.
    UserEvent, "event of a users table that makes a bucket", { Insert = "INSERT", Modify = "MODIFY" }
);
named!(
    /// Whose logs a source holds.
    LogKind, "kind of log", { CloudTrail = "cloudtrail", S3AccessLog = "s3-access-log", Alb = "alb" }
);
named!(
    /// How a class is chosen.
    PolicyName, "policy", { Recency = "recency", Frequency = "frequency", Adaptive = "adaptive" }
);
named!(
    /// What a run does with objects in buckets that keep versions.
    VersionedBuckets, "way to treat versioned buckets", {
        Skip = "skip",
        /// The old version stays and is billed.
        Copy = "copy",
        CopyAndDeletePrevious = "copy-and-delete-previous",
    }
);
named!(
    /// How fast S3 restores, and for how much.
    RestoreTier, "restore tier", { Standard = "Standard", Bulk = "Bulk", Expedited = "Expedited" }
);
named!(
    /// How log lines look.
    LogFormat, "log format", { Json = "json", Pretty = "pretty" }
);

fn default_acl() -> String {
    "bucket-owner-full-control".to_owned()
}

/// The table, or `false` for no CORS: leaving the table out means its default, as with every other key.
fn cors_or_false<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cors>, D::Error> {
    struct CorsVisitor;

    impl<'de> Visitor<'de> for CorsVisitor {
        type Value = Option<Cors>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table, or false for no CORS rule")
        }

        fn visit_bool<E: de::Error>(self, on: bool) -> Result<Option<Cors>, E> {
            if on { Err(E::invalid_value(de::Unexpected::Bool(on), &self)) } else { Ok(None) }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<Cors>, A::Error> {
            Cors::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_any(CorsVisitor)
}

fn cors_as_false<S: Serializer>(cors: &Option<Cors>, serializer: S) -> Result<S::Ok, S::Error> {
    match cors {
        Some(cors) => cors.serialize(serializer),
        None => serializer.serialize_bool(false),
    }
}
