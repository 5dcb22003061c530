//! Which storage class an object deserves, and whether it may go there.
//!
//! Two steps, both pure. A *policy* ([`recency`], [`frequency`], [`adaptive`]) looks at how an object is used and names a class: a
//! [`Decision`]. The *guards* ([`guard`]) look at what the move would do and either let it through, priced, or object with a
//! named reason. Recency and frequency know nothing of money, sizes or durations and guards know nothing of why; so a new policy is a
//! new variant of [`PolicyName`] that yields decisions, and every guard holds for it as it stands.
//!
//! Reasons are data until somebody reads them: a run looks at a million rows and shows few of them.

pub mod adaptive;
pub mod archiving;
pub mod frequency;
pub mod guard;
pub mod objection;
pub mod reads;
pub mod recency;

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::archiving::Outlook;
use self::frequency::Frequency;
use self::recency::Recency;
use super::adaptive::experts::Why;
use super::adaptive::learned::Explanation;
use super::adaptive::safeguard::Expert;
use super::object::BucketName;
use super::storage_class::StorageClass;

/// A policy by its name in the configuration and in reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PolicyName {
    Recency,
    Frequency,
    Adaptive,
}

impl PolicyName {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recency => "recency",
            Self::Frequency => "frequency",
            Self::Adaptive => "adaptive",
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a policy wants an object, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub policy: PolicyName,
    pub target: StorageClass,
    pub reason: Reason,
    /// The days back from now whose logs the decision rests on: if a use in them could have gone unseen, it may be wrong.
    pub rests_on_days: u32,
}

/// Why a policy wants what it wants; [`fmt::Display`] says it in a sentence.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// By the time since the last use.
    Idle { days: u64, last: LastUse, class: StorageClass, from_day: u32, to_day: Option<u32> },
    /// By the rank in the bucket.
    Rank { count: u64, top: u64, rows: u64, in_top: bool },
    /// By what its bucket has taught, and whom of those who learned it is followed.
    Expected { expert: Expert, target: StorageClass, why: Why },
    /// By the same; it gets one of the bucket's few places in an archive.
    Archived { figures: Explanation, outlook: Outlook },
    /// The policy has it in a class where its reads cost more than its storage saves.
    ReadsCostMore { class: StorageClass, reads_usd: f64, saving_usd: f64 },
}

/// What an object's `event_time` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastUse {
    /// A use that a log told of.
    Used,
    /// Its LastModified, since no log ever told of a use.
    Written,
}

impl Reason {
    /// What the move is expected to save in the long run by what is known of the object's use: storage, requests and reads of all
    /// the time to come, the move's own price taken off, a later dollar being worth a little less. None of a policy that
    /// expects nothing.
    pub fn expected_saving_usd(&self) -> Option<f64> {
        match self {
            Self::Expected { why: Why::Plan(figures), .. } | Self::Archived { figures, .. } => {
                Some(figures.staying_usd - figures.moving_usd)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle { days, last, class, from_day, to_day } => {
                let plural = if *days == 1 { "" } else { "s" };
                match last {
                    LastUse::Used => write!(f, "last used {days} day{plural} ago: ")?,
                    LastUse::Written => write!(f, "written {days} day{plural} ago, no use seen: ")?,
                }
                match (from_day, to_day) {
                    (0, None) => write!(f, "{class} always"),
                    (0, Some(to)) => write!(f, "{class} up to day {to}"),
                    (from, _) => write!(f, "{class} from day {from}"),
                }
            }
            Self::Rank { count, top, rows, in_top } => {
                let plural = if *count == 1 { "" } else { "s" };
                let place = if *in_top { "in" } else { "not in" };
                write!(f, "{count} use{plural} counted: {place} the top {top} of {rows} objects of the bucket")
            }
            Self::Expected { expert, target, why } => match why {
                Why::Serving { days } => {
                    write!(f, "{days} of the days that {target} bills at least are left: it stays")
                }
                Why::NotReckoned => write!(f, "in {target}, out of which this policy moves nothing"),
                Why::All => write!(f, "all of this bucket in {target}: expert {expert} has been the cheapest here"),
                Why::Plan(figures) => write!(f, "{figures} (expert {expert})"),
            },
            Self::Archived { figures, outlook } => {
                write!(f, "{figures}; whoever reads it then waits for a restore: {outlook}")
            }
            Self::ReadsCostMore { class, reads_usd, saving_usd } => write!(
                f,
                "in {class} its reads cost {reads_usd:.9} dollars a month more and its storage {saving_usd:.9} less: STANDARD"
            ),
        }
    }
}

/// A policy's settings that make no sense.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum PolicyError {
    #[error("recency needs a step without `up_to_days` at its end, and only there")]
    NoLastStep,
    #[error("recency's steps go up: {1} does not come after {0}")]
    StepsNotAscending(u32, u32),
    #[error("nothing is moved to {0}; choose a class that objects are moved to")]
    NoDestination(StorageClass),
    #[error("the top share is 0 to 1, not {0}")]
    Fraction(f64),
    #[error("two overrides are for buckets that begin with {0:?}")]
    PrefixTwice(String),
}

/// All policies with their settings, and which bucket goes by which.
#[derive(Debug, Clone, PartialEq)]
pub struct Policies {
    pub recency: Recency,
    pub frequency: Frequency,
    default: PolicyName,
    overrides: Vec<(String, PolicyName)>,
}

impl Policies {
    /// Policies where `default` holds for all buckets but those that begin with a prefix in `overrides`.
    pub fn new(
        default: PolicyName,
        overrides: Vec<(String, PolicyName)>,
        recency: Recency,
        frequency: Frequency,
    ) -> Result<Self, PolicyError> {
        for (i, (prefix, _)) in overrides.iter().enumerate() {
            if overrides[..i].iter().any(|(other, _)| other == prefix) {
                return Err(PolicyError::PrefixTwice(prefix.clone()));
            }
        }
        Ok(Self { recency, frequency, default, overrides })
    }

    /// The policy of a bucket: the override with the longest prefix, else the default.
    pub fn of_bucket(&self, bucket: &BucketName) -> PolicyName {
        self.overrides
            .iter()
            .filter(|(prefix, _)| bucket.as_str().starts_with(prefix.as_str()))
            .max_by_key(|(prefix, _)| prefix.len())
            .map_or(self.default, |(_, policy)| *policy)
    }
}

fn destination(class: StorageClass) -> Result<StorageClass, PolicyError> {
    if class.is_destination() { Ok(class) } else { Err(PolicyError::NoDestination(class)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides_a_buckets_policy() {
        use PolicyName::*;
        let policies = |overrides| Policies::new(Recency, overrides, recency::Recency::default(), Default::default());
        let overrides = vec![("siuu-a".to_owned(), Frequency), ("siuu-a-cold".to_owned(), Recency)];
        let resolved = policies(overrides).unwrap();
        for (bucket, expected) in [
            ("other", Recency),
            ("siuu-b", Recency),
            ("siuu-a", Frequency),
            ("siuu-a-warm", Frequency),
            ("siuu-a-cold-1", Recency),
        ] {
            assert_eq!(resolved.of_bucket(&BucketName::new(bucket).unwrap()), expected, "{bucket}");
        }
        let twice = vec![("a".to_owned(), Frequency), ("a".to_owned(), Recency)];
        assert_eq!(policies(twice), Err(PolicyError::PrefixTwice("a".to_owned())));
    }
}
