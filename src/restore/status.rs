//! Where an object's restore stands, for people.

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::Restorer;
use crate::tiering::object::ObjectId;
use crate::tiering::restore::{Expected, RestoreStatus, Tier, expected_duration, overdue_after};
use crate::tiering::storage_class::StorageClass;

/// What is known of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// None: there is no such object.
    pub class: Option<StorageClass>,
    pub state: Phase,
    pub tier: Option<Tier>,
    pub requested_at: Option<DateTime<Utc>>,
    /// When it is ready, typically: from and to.
    pub expected: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Until when the restored copy lives.
    pub expires_at: Option<DateTime<Utc>>,
}

/// How far a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Missing,
    /// It can be read as it is.
    Readable,
    /// Archived, and nobody asked for it.
    Archived,
    /// Asked of tierd, and not under way at S3: the sweep asks for it again.
    Asked,
    Restoring,
    /// Restoring for longer than the tier may take.
    Overdue,
    /// A restored copy is there, and will be copied back.
    Restored,
    /// A restored copy is there that somebody else asked for.
    RestoredByOthers,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Readable => "readable",
            Self::Archived => "archived",
            Self::Asked => "asked",
            Self::Restoring => "restoring",
            Self::Overdue => "overdue",
            Self::Restored => "restored",
            Self::RestoredByOthers => "restored by others",
        }
    }
}

impl Restorer {
    /// Looks at one object; changes nothing.
    pub async fn standing(&self, id: &ObjectId, now: DateTime<Utc>) -> Result<Standing> {
        let seen = self.look(id).await?;
        let Some(object) = seen.object else {
            return Ok(Standing {
                class: None,
                state: Phase::Missing,
                tier: None,
                requested_at: None,
                expected: None,
                expires_at: None,
            });
        };
        let ours = object.state.is_asked_for();
        let record = seen.row.map(|row| row.record).filter(|_| ours);
        let archive = object.state.archive();
        let mut standing = Standing {
            class: Some(object.state.class),
            state: Phase::Readable,
            tier: record.as_ref().map(|r| r.tier),
            requested_at: record.as_ref().map(|r| r.requested_at),
            expected: None,
            expires_at: None,
        };
        let Some(archive) = archive else { return Ok(standing) };
        standing.state = match object.state.restore {
            RestoreStatus::NotRestored if ours => Phase::Asked,
            RestoreStatus::NotRestored => Phase::Archived,
            RestoreStatus::Restored { expires } => {
                standing.expires_at = expires;
                if ours { Phase::Restored } else { Phase::RestoredByOthers }
            }
            RestoreStatus::Ongoing => {
                let overdue = record.as_ref().is_some_and(|r| now > r.requested_at + overdue_after(archive, r.tier));
                if overdue { Phase::Overdue } else { Phase::Restoring }
            }
        };
        if matches!(standing.state, Phase::Restoring | Phase::Overdue) {
            standing.expected = record.and_then(|r| {
                let Expected { min, max } = expected_duration(archive, r.tier)?;
                Some((r.requested_at + min, r.requested_at + max))
            });
        }
        Ok(standing)
    }
}
