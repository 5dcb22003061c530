//! Where an object is, as far as costs go, and how it comes from there to elsewhere.

use crate::tiering::storage_class::StorageClass;

/// Where an object is, as far as costs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    Standard,
    /// Less than its minimum of 30 days in STANDARD_IA.
    StandardIaYoung,
    StandardIaOld,
    GlacierIrYoung,
    GlacierIrOld,
    /// In Intelligent-Tiering since before it was last used: its tier goes by its idle age.
    Intelligent,
    /// Came into Intelligent-Tiering while idle; in its frequent access tier.
    IntelligentFrequent,
    /// The same, later: in its infrequent access tier.
    IntelligentInfrequent,
    GlacierYoung,
    GlacierOld,
    DeepArchiveYoung,
    DeepArchiveOld,
}

pub(super) const PLACES: [Place; 12] = [
    Place::Standard,
    Place::StandardIaYoung,
    Place::StandardIaOld,
    Place::GlacierIrYoung,
    Place::GlacierIrOld,
    Place::Intelligent,
    Place::IntelligentFrequent,
    Place::IntelligentInfrequent,
    Place::GlacierYoung,
    Place::GlacierOld,
    Place::DeepArchiveYoung,
    Place::DeepArchiveOld,
];

/// By how many days an object may have been idle before it came into Intelligent-Tiering and still be taken for one that has been
/// there since its last use: its first tier would be the same.
const SYNCED_DAYS: u32 = 30;

/// The inactive days from which on each of Intelligent-Tiering's tiers is billed that are read at once.
pub(super) const TIER_FROM: [u32; 3] = [0, 30, 90];

/// The tier that is billed after so many inactive days.
pub(super) fn tier_after(inactive_days: u32) -> usize {
    TIER_FROM.partition_point(|from| *from <= inactive_days) - 1
}

impl Place {
    /// The place of an object that has been `days_in_class` in its class, idle for `idle_days`, of which `inactive_days` in
    /// that class. None for a class that is not reckoned with.
    pub fn of(class: StorageClass, days_in_class: u32, idle_days: u32, inactive_days: u32) -> Option<Self> {
        let young = days_in_class < class.minimum_days();
        Some(match class {
            StorageClass::Standard => Self::Standard,
            StorageClass::StandardIa if young => Self::StandardIaYoung,
            StorageClass::StandardIa => Self::StandardIaOld,
            StorageClass::GlacierIr if young => Self::GlacierIrYoung,
            StorageClass::GlacierIr => Self::GlacierIrOld,
            StorageClass::Glacier if young => Self::GlacierYoung,
            StorageClass::Glacier => Self::GlacierOld,
            StorageClass::DeepArchive if young => Self::DeepArchiveYoung,
            StorageClass::DeepArchive => Self::DeepArchiveOld,
            StorageClass::IntelligentTiering => match tier_after(inactive_days) {
                _ if idle_days <= inactive_days + SYNCED_DAYS => Self::Intelligent,
                0 => Self::IntelligentFrequent,
                1 => Self::IntelligentInfrequent,
                _ => Self::Intelligent,
            },
            StorageClass::OnezoneIa | StorageClass::ReducedRedundancy | StorageClass::Unmanaged => return None,
        })
    }

    pub fn class(self) -> StorageClass {
        match self {
            Self::Standard => StorageClass::Standard,
            Self::StandardIaYoung | Self::StandardIaOld => StorageClass::StandardIa,
            Self::GlacierIrYoung | Self::GlacierIrOld => StorageClass::GlacierIr,
            Self::Intelligent | Self::IntelligentFrequent | Self::IntelligentInfrequent => {
                StorageClass::IntelligentTiering
            }
            Self::GlacierYoung | Self::GlacierOld => StorageClass::Glacier,
            Self::DeepArchiveYoung | Self::DeepArchiveOld => StorageClass::DeepArchive,
        }
    }

    /// What it becomes in time while it stays idle, and after how many days.
    pub(super) fn aged(self) -> Option<(Self, u32)> {
        Some(match self {
            Self::StandardIaYoung => (Self::StandardIaOld, 30),
            Self::GlacierIrYoung => (Self::GlacierIrOld, 90),
            Self::IntelligentFrequent => (Self::IntelligentInfrequent, 30),
            Self::IntelligentInfrequent => (Self::Intelligent, 60),
            Self::GlacierYoung => (Self::GlacierOld, 90),
            Self::DeepArchiveYoung => (Self::DeepArchiveOld, 180),
            _ => return None,
        })
    }

    /// Where it is after it was read; out of an archive, it was `restored`.
    pub(super) fn read(self, restored: Self) -> Self {
        match self {
            Self::IntelligentFrequent | Self::IntelligentInfrequent => Self::Intelligent,
            place if place.class().is_archive() => restored,
            place => place,
        }
    }

    /// Whether it makes sense to leave this place for the other. What came into Intelligent-Tiering while it was idle does not go
    /// back to STANDARD before it was read: its way to the colder tiers is reckoned by chance, and where that looks worse than
    /// it is, objects would go in and out.
    pub(super) fn may_become(self, other: Self) -> bool {
        other != Self::Standard || !matches!(self, Self::IntelligentFrequent | Self::IntelligentInfrequent)
    }

    /// Whether reads are paid by the gigabyte.
    pub(super) fn has_paid_reads(self) -> bool {
        !matches!(self.class(), StorageClass::Standard | StorageClass::IntelligentTiering)
    }

    /// Whether the minimum duration is still running: the object stays.
    pub(super) fn is_young(self) -> bool {
        matches!(self, Self::StandardIaYoung | Self::GlacierIrYoung | Self::GlacierYoung | Self::DeepArchiveYoung)
    }
}
