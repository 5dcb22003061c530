//! What of an object itself stands in the way of its move: what neither the ledger nor a plan can know. The executor asks
//! this of each object before it copies it, and `explain` asks the same.

use chrono::{DateTime, Utc};

use crate::s3::bucket_facts::Versioning;
use crate::s3::object::{Encryption, ObjectHead};
use crate::tiering::object::ETag;
use crate::tiering::plan::PlannedMove;
use crate::tiering::policy::objection::SkipReason;
use crate::tiering::storage_class::StorageClass;

/// What is done with objects in buckets that keep versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    Skip,
    /// The old version stays and is billed.
    Copy,
    CopyAndDeletePrevious,
}

impl Versions {
    /// What the bucket's versioning has against any move in it.
    pub fn obstacle(self, versioning: Versioning) -> Option<SkipReason> {
        (versioning != Versioning::Never && self == Self::Skip).then_some(SkipReason::Versioned)
    }
}

/// What a move was decided for.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    pub etag: &'a ETag,
    pub bytes: u64,
    pub from: StorageClass,
    pub to: StorageClass,
}

impl<'a> Expected<'a> {
    pub fn of(planned: &'a PlannedMove) -> Self {
        Self { etag: &planned.etag, bytes: planned.size, from: planned.from, to: planned.to }
    }
}

/// Why the object with this head cannot be moved as it was decided; None if nothing is against it, but perhaps that it must be
/// restored first.
pub fn obstacle(
    expected: &Expected<'_>,
    head: &ObjectHead,
    versions: Versions,
    now: DateTime<Utc>,
) -> Option<SkipReason> {
    let changed = head.etag != *expected.etag || head.size != expected.bytes || head.class != expected.from;
    let objections = [
        (head.class == expected.to, SkipReason::AlreadyThere),
        (changed, SkipReason::Changed),
        (head.encryption == Encryption::CustomerKey, SkipReason::CustomerKey),
        // An archive tier of Intelligent-Tiering, which the class does not tell.
        (head.archive_status.is_some(), SkipReason::Archived),
        (versions == Versions::CopyAndDeletePrevious && head.lock.holds(now), SkipReason::Locked),
    ];
    objections.into_iter().find_map(|(holds, reason)| holds.then_some(reason))
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::ObjectLockLegalHoldStatus;

    use super::*;
    use crate::s3::object::Lock;

    #[test]
    fn each_obstacle_has_its_reason_and_a_change_comes_before_the_others() {
        let etag = ETag::new("e").unwrap();
        let expected = Expected { etag: &etag, bytes: 10, from: StorageClass::Standard, to: StorageClass::StandardIa };
        let plain = ObjectHead::sample("e");
        let held = Lock { legal_hold: Some(ObjectLockLegalHoldStatus::On), ..Lock::default() };
        let archived = || Some("ARCHIVE_ACCESS".to_owned());
        let cases = [
            (plain.clone(), None),
            (ObjectHead { class: StorageClass::StandardIa, ..plain.clone() }, Some(SkipReason::AlreadyThere)),
            (ObjectHead::sample("other"), Some(SkipReason::Changed)),
            (ObjectHead { size: 11, ..plain.clone() }, Some(SkipReason::Changed)),
            (ObjectHead { class: StorageClass::Glacier, ..plain.clone() }, Some(SkipReason::Changed)),
            (ObjectHead { encryption: Encryption::CustomerKey, ..plain.clone() }, Some(SkipReason::CustomerKey)),
            (ObjectHead { archive_status: archived(), ..plain.clone() }, Some(SkipReason::Archived)),
            (ObjectHead { lock: held.clone(), ..plain.clone() }, Some(SkipReason::Locked)),
            (ObjectHead { lock: held.clone(), size: 11, ..plain.clone() }, Some(SkipReason::Changed)),
        ];
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        for (head, reason) in cases {
            assert_eq!(obstacle(&expected, &head, Versions::CopyAndDeletePrevious, now), reason, "{head:?}");
        }
        let locked = ObjectHead { lock: held, ..plain };
        assert_eq!(obstacle(&expected, &locked, Versions::Copy, now), None, "the locked version stays");
    }

    #[test]
    fn buckets_with_versions_are_left_alone_only_where_the_configuration_says_so() {
        for versioning in [Versioning::Enabled, Versioning::Suspended] {
            assert_eq!(Versions::Skip.obstacle(versioning), Some(SkipReason::Versioned));
            assert_eq!(Versions::Copy.obstacle(versioning), None);
        }
        assert_eq!(Versions::Skip.obstacle(Versioning::Never), None);
    }
}
