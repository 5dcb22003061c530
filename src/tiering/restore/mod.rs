//! Restores: what an archived object needs next.
//!
//! A restore takes hours, and every message about it may come twice, late or never. So no decision here remembers
//! anything: each looks at the object's head as it is now ([`ObjectState`]) and at the durable intent (the tag on the
//! object, or the row in the index of requests), and names the one next step. Asked again after a crash between any two
//! steps, it names the step that is missing.
//!
//! - [`parse_requests`]: what a message of the request queue asks for
//! - [`on_request`], [`on_event`], [`on_sweep`]: the next step for a request, for an event, for a row of the index
//! - [`on_error`]: what a refusal by S3 means
//! - [`with_tag`], [`without_tag`]: the one tag, and no other

mod decide;
mod request;
mod status;
mod tags;

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::object::ETag;
use super::storage_class::StorageClass;
pub use decide::{
    DropReason, ErrorAction, EventAction, RefuseReason, RequestAction, RequestRecord, RestorePlan, Settings,
    SweepAction, on_error, on_event, on_request, on_sweep, overdue_after,
};
pub use request::{ParsedRequests, RestoreRequest, parse_requests};
pub use status::{RestoreStatus, StatusError};
pub use tags::{MAX_TAGS, Tag, TagEdit, with_tag, without_tag};

/// How fast, and how dear, a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Tier {
    #[default]
    Standard,
    Bulk,
    Expedited,
}

/// A name that is no tier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no retrieval tier; there are Standard, Bulk and Expedited")]
pub struct UnknownTier(pub String);

impl Tier {
    pub const ALL: [Tier; 3] = [Tier::Standard, Tier::Bulk, Tier::Expedited];

    /// The name in S3's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::Bulk => "Bulk",
            Self::Expedited => "Expedited",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Tier {
    type Err = UnknownTier;

    /// Upper and lower case do not matter: the command line writes them small.
    fn from_str(name: &str) -> Result<Self, UnknownTier> {
        Self::ALL
            .into_iter()
            .find(|tier| tier.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownTier(name.to_owned()))
    }
}

impl TryFrom<String> for Tier {
    type Error = UnknownTier;

    fn try_from(name: String) -> Result<Self, UnknownTier> {
        name.parse()
    }
}

impl From<Tier> for String {
    fn from(tier: Tier) -> String {
        tier.as_str().to_owned()
    }
}

/// The archive that an object lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Archive {
    /// GLACIER.
    Flexible,
    /// DEEP_ARCHIVE.
    Deep,
    /// A tier within INTELLIGENT_TIERING: the object comes back for good and takes no days.
    Intelligent(IntelligentArchive),
}

/// The archive tiers of INTELLIGENT_TIERING, which only the head's `x-amz-archive-status` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntelligentArchive {
    ArchiveAccess,
    DeepArchiveAccess,
}

impl IntelligentArchive {
    /// The tier as `x-amz-archive-status` names it; none for any other text.
    pub fn from_s3(name: &str) -> Option<Self> {
        match name {
            "ARCHIVE_ACCESS" => Some(Self::ArchiveAccess),
            "DEEP_ARCHIVE_ACCESS" => Some(Self::DeepArchiveAccess),
            _ => None,
        }
    }
}

impl Archive {
    /// Whether a restore from here can be had at `tier`: the two deep archives have no Expedited.
    pub fn offers(self, tier: Tier) -> bool {
        expected_duration(self, tier).is_some()
    }

    /// Whether RestoreObject wants `Days` (GLACIER, DEEP_ARCHIVE) or refuses them (INTELLIGENT_TIERING).
    pub fn takes_days(self) -> bool {
        matches!(self, Self::Flexible | Self::Deep)
    }
}

/// How long a restore typically takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Zero where AWS says only "within".
    pub min: TimeDelta,
    pub max: TimeDelta,
}

/// How long a restore from `archive` at `tier` typically takes; none if there is no such tier.
///
/// S3 user guide, "Understanding archive retrieval options". Expedited holds for objects up to about 250 MB.
pub fn expected_duration(archive: Archive, tier: Tier) -> Option<Expected> {
    use IntelligentArchive::{ArchiveAccess, DeepArchiveAccess};
    let (min, max) = match (archive, tier) {
        (Archive::Flexible | Archive::Intelligent(ArchiveAccess), Tier::Expedited) => {
            (TimeDelta::minutes(1), TimeDelta::minutes(5))
        }
        (Archive::Flexible | Archive::Intelligent(ArchiveAccess), Tier::Standard) => {
            (TimeDelta::hours(3), TimeDelta::hours(5))
        }
        (Archive::Flexible | Archive::Intelligent(ArchiveAccess), Tier::Bulk) => {
            (TimeDelta::hours(5), TimeDelta::hours(12))
        }
        (Archive::Deep | Archive::Intelligent(DeepArchiveAccess), Tier::Standard) => {
            (TimeDelta::zero(), TimeDelta::hours(12))
        }
        (Archive::Deep | Archive::Intelligent(DeepArchiveAccess), Tier::Bulk) => {
            (TimeDelta::zero(), TimeDelta::hours(48))
        }
        (Archive::Deep | Archive::Intelligent(DeepArchiveAccess), Tier::Expedited) => return None,
    };
    Some(Expected { min, max })
}

/// An object's head and tags, as far as a restore cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectState {
    pub class: StorageClass,
    /// From `x-amz-archive-status`.
    pub intelligent_archive: Option<IntelligentArchive>,
    /// From `x-amz-restore`.
    pub restore: RestoreStatus,
    pub etag: ETag,
    pub intent: Intent,
}

/// Where it is recorded that tierd is to bring the object back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// Nowhere: the restore, if there is one, is somebody else's.
    None,
    /// In the tag. An overwrite drops tags, so a tagged object is still the one that was asked for.
    Tagged,
    /// In the index of requests alone (the object has ten tags already, or the tag was not written yet), with the ETag that the
    /// object had when it was asked for, if known.
    Indexed { etag: Option<ETag> },
}

impl ObjectState {
    /// The archive that the object lies in, restored copy or not; none if it can be read as it is.
    pub fn archive(&self) -> Option<Archive> {
        match (self.class, self.intelligent_archive) {
            (StorageClass::Glacier, _) => Some(Archive::Flexible),
            (StorageClass::DeepArchive, _) => Some(Archive::Deep),
            (StorageClass::IntelligentTiering, Some(tier)) => Some(Archive::Intelligent(tier)),
            _ => None,
        }
    }

    /// Whether tierd was asked to bring back this very object, and not one that stood here before.
    pub fn is_asked_for(&self) -> bool {
        match &self.intent {
            Intent::None => false,
            Intent::Tagged => true,
            Intent::Indexed { etag } => etag.as_ref().is_none_or(|etag| *etag == self.etag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_read_in_any_case_and_written_as_s3_does() {
        for tier in Tier::ALL {
            for name in [tier.as_str().to_owned(), tier.as_str().to_lowercase(), tier.as_str().to_uppercase()] {
                assert_eq!(name.parse(), Ok(tier));
            }
        }
        assert!("standard ".parse::<Tier>().is_err());
        assert!("".parse::<Tier>().is_err());
    }

    #[test]
    fn only_the_deep_archives_have_no_expedited() {
        let deep = [Archive::Deep, Archive::Intelligent(IntelligentArchive::DeepArchiveAccess)];
        let other = [Archive::Flexible, Archive::Intelligent(IntelligentArchive::ArchiveAccess)];
        for archive in deep.into_iter().chain(other) {
            assert_eq!(archive.offers(Tier::Expedited), other.contains(&archive), "{archive:?}");
            assert!(archive.offers(Tier::Standard) && archive.offers(Tier::Bulk), "{archive:?}");
        }
    }
}
