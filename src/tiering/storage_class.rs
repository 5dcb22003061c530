//! S3's storage classes: what each one asks for, and which moves between them there are.
//!
//! The figures are those of the S3 user guide, "Understanding and managing Amazon S3 storage classes", and of the S3
//! pricing page's footnotes; prices themselves are data and live in [`super::cost`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A storage class, by the name that S3's API gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StorageClass {
    Standard,
    IntelligentTiering,
    StandardIa,
    OnezoneIa,
    GlacierIr,
    Glacier,
    DeepArchive,
    /// Kept readable for old objects; nothing is ever moved into it.
    ReducedRedundancy,
    /// A class that tierd does not manage (directory buckets, Outposts, Snow, whatever comes next): such objects are
    /// listed and left where they are.
    Unmanaged,
}

/// A name that is no storage class tierd can move objects to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no storage class; there are STANDARD, INTELLIGENT_TIERING, STANDARD_IA, ONEZONE_IA, GLACIER_IR, GLACIER and DEEP_ARCHIVE"
)]
pub struct UnknownStorageClass(pub String);

/// How an object gets from one class to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    /// It is there already.
    None,
    /// One copy of the object onto itself.
    Copy,
    /// The object must first be restored from the archive, then copied.
    RestoreThenCopy,
    /// S3 has no such move, or tierd does not manage one of the two classes.
    Impossible,
}

impl StorageClass {
    /// The classes that objects are moved between, the most readily read first.
    pub const MANAGED: [StorageClass; 7] = [
        StorageClass::Standard,
        StorageClass::IntelligentTiering,
        StorageClass::StandardIa,
        StorageClass::OnezoneIa,
        StorageClass::GlacierIr,
        StorageClass::Glacier,
        StorageClass::DeepArchive,
    ];

    /// The name in S3's API, in the ledger and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::IntelligentTiering => "INTELLIGENT_TIERING",
            Self::StandardIa => "STANDARD_IA",
            Self::OnezoneIa => "ONEZONE_IA",
            Self::GlacierIr => "GLACIER_IR",
            Self::Glacier => "GLACIER",
            Self::DeepArchive => "DEEP_ARCHIVE",
            Self::ReducedRedundancy => "REDUCED_REDUNDANCY",
            Self::Unmanaged => "UNMANAGED",
        }
    }

    /// The class as S3 reports it in a listing or a head. None means STANDARD (a HEAD leaves it out), a name that is not
    /// known means [`StorageClass::Unmanaged`]: an object in a class that S3 adds tomorrow must not stop a listing.
    pub fn from_s3(name: Option<&str>) -> Self {
        match name {
            None | Some("") => Self::Standard,
            Some("REDUCED_REDUNDANCY") => Self::ReducedRedundancy,
            Some(name) => name.parse().unwrap_or(Self::Unmanaged),
        }
    }

    /// Whether objects must be restored before they can be read or copied (GLACIER, DEEP_ARCHIVE). Intelligent-Tiering's
    /// own archive tiers are not visible in the class; the object's head tells.
    pub fn is_archive(self) -> bool {
        matches!(self, Self::Glacier | Self::DeepArchive)
    }

    /// Days that are billed at least, counted from the object's creation in the class.
    pub fn minimum_days(self) -> u32 {
        match self {
            Self::StandardIa | Self::OnezoneIa => 30,
            Self::GlacierIr | Self::Glacier => 90,
            Self::DeepArchive => 180,
            Self::Standard | Self::IntelligentTiering | Self::ReducedRedundancy | Self::Unmanaged => 0,
        }
    }

    /// Bytes that are billed at least for an object.
    pub fn minimum_billed_bytes(self) -> u64 {
        match self {
            Self::StandardIa | Self::OnezoneIa | Self::GlacierIr => 128 * 1024,
            _ => 0,
        }
    }

    /// Bytes that an archived object is billed on top of its own: (at the archive's own price, at STANDARD's price).
    pub fn overhead_bytes(self) -> (u64, u64) {
        if self.is_archive() { (32 * 1024, 8 * 1024) } else { (0, 0) }
    }

    /// Whether tierd moves objects into this class.
    pub fn is_destination(self) -> bool {
        Self::MANAGED.contains(&self)
    }

    /// How an object gets from this class to `to`.
    ///
    /// Out of an archive only through a restore; into REDUCED_REDUNDANCY never (AWS advises against it); ONEZONE_IA
    /// cannot become GLACIER_IR (S3 user guide, "Supported transitions"). Every other pair is one copy.
    pub fn move_to(self, to: StorageClass) -> Move {
        match (self, to) {
            (Self::Unmanaged, _) | (_, Self::Unmanaged) => Move::Impossible,
            (from, to) if from == to => Move::None,
            (_, Self::ReducedRedundancy) => Move::Impossible,
            (Self::OnezoneIa, Self::GlacierIr) => Move::Impossible,
            (from, _) if from.is_archive() => Move::RestoreThenCopy,
            _ => Move::Copy,
        }
    }

    /// Whether going from `self` to `to` is a demotion: to a class that is dearer or slower to read.
    pub fn is_demotion_to(self, to: StorageClass) -> bool {
        to.coldness() > self.coldness()
    }

    /// A rank by how dear and how slow reading is. Intelligent-Tiering stands beside STANDARD: its reads are free and
    /// immediate while no archive tier is opted into.
    fn coldness(self) -> u8 {
        match self {
            Self::Standard | Self::ReducedRedundancy | Self::IntelligentTiering | Self::Unmanaged => 0,
            Self::StandardIa | Self::OnezoneIa => 1,
            Self::GlacierIr => 2,
            Self::Glacier => 3,
            Self::DeepArchive => 4,
        }
    }
}

impl fmt::Display for StorageClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for StorageClass {
    type Err = UnknownStorageClass;

    fn from_str(name: &str) -> Result<Self, UnknownStorageClass> {
        Self::MANAGED
            .into_iter()
            .find(|class| class.as_str() == name)
            .ok_or_else(|| UnknownStorageClass(name.to_owned()))
    }
}

impl TryFrom<String> for StorageClass {
    type Error = UnknownStorageClass;

    /// Reads back whatever [`StorageClass::as_str`] wrote, so that records of objects in classes that nothing is moved to
    /// survive a file. Where a person names a class to move to, ask [`StorageClass::is_destination`] as well.
    fn try_from(name: String) -> Result<Self, UnknownStorageClass> {
        match name.as_str() {
            "REDUCED_REDUNDANCY" => Ok(Self::ReducedRedundancy),
            "UNMANAGED" => Ok(Self::Unmanaged),
            name => name.parse(),
        }
    }
}

impl From<StorageClass> for String {
    fn from(class: StorageClass) -> String {
        class.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_managed_class_reads_back_from_its_name() {
        for class in StorageClass::MANAGED {
            assert_eq!(class.as_str().parse(), Ok(class));
            assert_eq!(StorageClass::from_s3(Some(class.as_str())), class);
        }
        assert_eq!(StorageClass::from_s3(None), StorageClass::Standard);
        assert_eq!(StorageClass::from_s3(Some("EXPRESS_ONEZONE")), StorageClass::Unmanaged);
        assert!("GLACIER_FLEXIBLE".parse::<StorageClass>().is_err());
    }

    #[test]
    fn every_class_survives_a_record() {
        for class in StorageClass::MANAGED.into_iter().chain([StorageClass::ReducedRedundancy, StorageClass::Unmanaged])
        {
            let json = serde_json::to_string(&class).unwrap();
            assert_eq!(serde_json::from_str::<StorageClass>(&json).unwrap(), class);
            assert_eq!(class.is_destination(), class.as_str().parse::<StorageClass>().is_ok(), "{class}");
        }
        assert!(serde_json::from_str::<StorageClass>("\"GLACIER_FLEXIBLE\"").is_err());
    }

    #[test]
    fn every_pair_of_classes_has_exactly_one_kind_of_move() {
        use StorageClass::*;
        for from in StorageClass::MANAGED {
            for to in StorageClass::MANAGED {
                let expected = match (from, to) {
                    _ if from == to => Move::None,
                    (OnezoneIa, GlacierIr) => Move::Impossible,
                    (Glacier | DeepArchive, _) => Move::RestoreThenCopy,
                    _ => Move::Copy,
                };
                assert_eq!(from.move_to(to), expected, "{from} -> {to}");
            }
            for stranger in [ReducedRedundancy, Unmanaged] {
                assert_eq!(from.move_to(stranger), Move::Impossible, "{from} -> {stranger}");
            }
        }
    }

    #[test]
    fn the_table_of_moves_is_what_s3_allows() {
        use StorageClass::*;
        let cases = [
            (Standard, Standard, Move::None),
            (Standard, StandardIa, Move::Copy),
            (StandardIa, Standard, Move::Copy),
            (Standard, Glacier, Move::Copy),
            (StandardIa, DeepArchive, Move::Copy),
            (OnezoneIa, GlacierIr, Move::Impossible),
            (OnezoneIa, Glacier, Move::Copy),
            (GlacierIr, Standard, Move::Copy),
            (Glacier, Standard, Move::RestoreThenCopy),
            (Glacier, DeepArchive, Move::RestoreThenCopy),
            (DeepArchive, Glacier, Move::RestoreThenCopy),
            (ReducedRedundancy, StandardIa, Move::Copy),
            (Standard, ReducedRedundancy, Move::Impossible),
            (Unmanaged, Standard, Move::Impossible),
        ];
        for (from, to, expected) in cases {
            assert_eq!(from.move_to(to), expected, "{from} -> {to}");
        }
    }

    #[test]
    fn only_a_colder_class_is_a_demotion() {
        use StorageClass::*;
        assert!(Standard.is_demotion_to(StandardIa));
        assert!(StandardIa.is_demotion_to(Glacier));
        assert!(!Glacier.is_demotion_to(Standard));
        assert!(!Standard.is_demotion_to(IntelligentTiering));
    }
}
