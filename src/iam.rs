//! Least privilege: the IAM policies that the configuration asks for, and no more.
//!
//! [`policy`] is a pure function from the settings to a policy document. It names the user's own tables, queues, buckets and
//! prefixes; there is no `*` among the actions. Where a resource cannot be named, because users' buckets and their objects
//! come and go, it is the buckets' common prefix, and a condition keeps it in the account: bucket names are the whole
//! world's, so a prefix alone would take in other people's.
//!
//! What needs no permission is not here: `sts:GetCallerIdentity` is always allowed. What S3 asks for beyond the name of an
//! operation is in `actions.rs` with its reason; the rules are those of the service authorization reference ("Actions,
//! resources, and condition keys for Amazon S3") and of "Required permissions for Amazon S3 API operations".

mod actions;
mod needs;

use std::collections::BTreeSet;

use serde::{Serialize, Serializer};
use serde_json::Value;

use self::needs::Needs;
use crate::config::Settings;

/// The most that a managed policy may have, white space not counted (IAM user guide, "IAM and AWS STS quotas").
pub const MAX_MANAGED_POLICY_CHARS: usize = 6144;

/// What a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Provision,
    Ingest,
    Reconcile,
    Transition,
    Restore,
    Replicate,
    /// `tierd plan`, `explain` and `report`: reads, for people who look at what would be moved. What runs transitions may do
    /// all of it.
    Plan,
    /// `tierd simulate` on the configured logs: reads them, and lists the buckets that they tell of.
    Simulate,
    /// `tierd check` and `tierd status`, and what the daemon looks at when it starts.
    Check,
    /// `tierd init`: makes tables and queues. Never part of what the daemon may do.
    Init,
    /// `tierd ledger import`: reads the old table that [`Place::old_table`] names. Never part of what the daemon may do.
    Import,
}

impl Part {
    /// Every part that there is.
    pub const ALL: [Self; 11] = [
        Self::Provision,
        Self::Ingest,
        Self::Reconcile,
        Self::Transition,
        Self::Restore,
        Self::Replicate,
        Self::Plan,
        Self::Simulate,
        Self::Check,
        Self::Init,
        Self::Import,
    ];

    /// The parts that a daemon with these settings is made of: those that are enabled, and `check`.
    pub fn of_the_daemon(settings: &Settings) -> Vec<Self> {
        let wanted = |part: &Self| match part {
            Self::Provision => settings.provision.enabled,
            Self::Ingest => settings.ingest.enabled,
            Self::Reconcile => settings.ingest.enabled || settings.reconcile.schedule.is_some(),
            Self::Transition => settings.transition.enabled,
            Self::Restore => settings.restore.enabled,
            Self::Replicate => !settings.replicate.is_empty(),
            Self::Check => true,
            Self::Plan | Self::Simulate | Self::Init | Self::Import => false,
        };
        Self::ALL.into_iter().filter(wanted).collect()
    }

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Ingest => "ingest",
            Self::Reconcile => "reconcile",
            Self::Transition => "transition",
            Self::Restore => "restore",
            Self::Replicate => "replicate",
            Self::Plan => "plan",
            Self::Simulate => "simulate",
            Self::Check => "check",
            Self::Init => "init",
            Self::Import => "import",
        }
    }
}

/// Where the policy is to hold: what no setting says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
    /// Twelve digits.
    pub account: String,
    /// ARNs of the KMS keys that objects and logs are encrypted with; empty: any key of the account, through S3 only.
    pub kms_keys: Vec<String>,
    /// The table that [`Part::Import`] carries over.
    pub old_table: Option<String>,
}

/// The partition that a region belongs to.
pub fn partition_of(region: &str) -> &'static str {
    const PARTITIONS: [(&str, &str); 4] =
        [("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("us-isob-", "aws-iso-b"), ("us-iso-", "aws-iso")];
    PARTITIONS.iter().find(|(begin, _)| region.starts_with(begin)).map_or("aws", |(_, partition)| partition)
}

/// A policy document; serialized, it is what IAM takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
    /// What whoever attaches it should know: where it is wider than they may want, and what would narrow it.
    #[serde(skip)]
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: BTreeSet<&'static str>,
    #[serde(serialize_with = "one_or_many")]
    resource: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

impl Policy {
    /// Whether it allows nothing at all, which IAM does not take.
    pub fn is_empty(&self) -> bool {
        self.statement.is_empty()
    }

    /// Its length as IAM counts it, which leaves white space out.
    pub fn chars(&self) -> usize {
        serde_json::to_string(self).expect("a policy is plain data with text keys").chars().count()
    }

    /// Indented, for people and for `aws iam create-policy --policy-document`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a policy is plain data with text keys")
    }
}

/// What `parts` together need.
pub fn policy(settings: &Settings, parts: &[Part], place: &Place) -> Policy {
    let mut needs = Needs::new(settings, place);
    for part in parts {
        needs.add(*part);
    }
    let (statements, mut notes) = needs.into_statements();
    notes.dedup();
    Policy { version: "2012-10-17", statement: without_subsets(statements), notes }
}

/// Leaves out what another statement allows as well: parts that share something each name it.
fn without_subsets(statements: Vec<Statement>) -> Vec<Statement> {
    let within = |a: &Statement, b: &Statement| {
        a.condition == b.condition && a.action.is_subset(&b.action) && a.resource.is_subset(&b.resource)
    };
    // Two that are equal do not exist: `allow` would have made one of them.
    let needed = |s: &&Statement| !statements.iter().any(|other| !std::ptr::eq(other, *s) && within(s, other));
    statements.iter().filter(needed).cloned().collect()
}

fn one_or_many<S: Serializer>(resources: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
    match resources.first() {
        Some(one) if resources.len() == 1 => serializer.serialize_str(one),
        _ => resources.serialize(serializer),
    }
}

#[cfg(test)]
mod tests;
