//! What was set aside, and why: users that cannot be provisioned, log files that cannot be read. Nothing is forgotten
//! before a person says so.

use anyhow::Context;
use chrono::{DateTime, Utc};

use super::item::{Item, t};
use super::{State, Written};
use crate::aws::AwsResult;

const PK: &str = "quarantine";

/// What kind of thing was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum QuarantineKind {
    /// A user whose bucket cannot be made.
    User,
    /// A log file that cannot be read to its end.
    LogFile,
    /// A restore that ended in failure.
    Restore,
}

impl QuarantineKind {
    pub const ALL: [Self; 3] = [Self::User, Self::LogFile, Self::Restore];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::LogFile => "log-file",
            Self::Restore => "restore",
        }
    }
}

/// Something that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Quarantined {
    pub kind: QuarantineKind,
    /// Unique within its kind: a user id, `s3://BUCKET/KEY#ETAG`.
    pub id: String,
    /// One line for people.
    pub reason: String,
    pub at: DateTime<Utc>,
    /// Asked by a person to be tried again; the next run takes it up.
    pub retry: bool,
    /// What the part needs to try again, as JSON of its own.
    pub payload: String,
}

impl State {
    /// Sets something aside, or renews its reason.
    pub async fn quarantine(&self, entry: &Quarantined) -> AwsResult<()> {
        let mut item = Item::new()
            .with_str("kind", entry.kind.as_str())
            .with_str("id", &entry.id)
            .with_str("reason", &entry.reason)
            .with_time("at", entry.at)
            .with_str("payload", &entry.payload);
        if entry.retry {
            item = item.with_time("retry_asked_at", entry.at);
        }
        self.put(PK, &sk(entry.kind, &entry.id), item).await
    }

    /// All that is set aside; of one kind, or of every kind.
    pub async fn quarantined(&self, kind: Option<QuarantineKind>) -> anyhow::Result<Vec<Quarantined>> {
        let prefix = kind.map_or(String::new(), |k| format!("{}#", k.as_str()));
        let items = self.query(PK, &prefix).await?;
        items.iter().map(parse).collect::<anyhow::Result<_>>().context("reading the quarantine")
    }

    /// Marks an entry to be tried again by the next run. [`Written::Refused`]: there is no such entry.
    pub async fn ask_retry(&self, kind: QuarantineKind, id: &str, now: DateTime<Utc>) -> AwsResult<Written> {
        let update = self
            .update(PK, &sk(kind, id))
            .update_expression("SET retry_asked_at = :now")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":now", t(now));
        self.send_update("quarantine", update).await
    }

    /// Forgets an entry.
    pub async fn release_quarantine(&self, kind: QuarantineKind, id: &str) -> AwsResult<()> {
        self.delete(PK, &sk(kind, id)).await
    }
}

fn parse(item: &Item) -> anyhow::Result<Quarantined> {
    let name = item.str("kind")?;
    let kind = QuarantineKind::ALL
        .into_iter()
        .find(|k| k.as_str() == name)
        .with_context(|| format!("{name:?} is no kind of quarantined thing"))?;
    Ok(Quarantined {
        kind,
        id: item.str("id")?.to_owned(),
        reason: item.str("reason")?.to_owned(),
        at: item.time("at")?,
        retry: item.opt_time("retry_asked_at")?.is_some(),
        payload: item.opt_str("payload").unwrap_or_default().to_owned(),
    })
}

fn sk(kind: QuarantineKind, id: &str) -> String {
    format!("{}#{}", kind.as_str(), super::fit_sort_key(id))
}
