use super::*;
use crate::tiering::restore::{IntelligentArchive, Intent};

const RESTORED: RestoreStatus = RestoreStatus::Restored { expires: None };
const SETTINGS: Settings = Settings { days: 1, tier: Tier::Standard };

fn state(class: StorageClass, restore: RestoreStatus) -> ObjectState {
    ObjectState { class, intelligent_archive: None, restore, etag: ETag::new("e1").unwrap(), intent: Intent::None }
}

fn intelligent(tier: IntelligentArchive, restore: RestoreStatus) -> ObjectState {
    ObjectState { intelligent_archive: Some(tier), ..state(StorageClass::IntelligentTiering, restore) }
}

fn tagged(state: ObjectState) -> ObjectState {
    ObjectState { intent: Intent::Tagged, ..state }
}

fn indexed(state: ObjectState, etag: Option<&str>) -> ObjectState {
    ObjectState { intent: Intent::Indexed { etag: etag.map(|etag| ETag::new(etag).unwrap()) }, ..state }
}

fn request(days: Option<u32>, tier: Option<Tier>) -> RestoreRequest {
    RestoreRequest { id: "s3://some-bucket/k".parse().unwrap(), days, tier }
}

fn restore(days: Option<u32>, tier: Tier) -> RequestAction {
    RequestAction::Restore(RestorePlan { days, tier })
}

#[test]
fn an_archived_object_is_asked_for_as_its_archive_takes_it() {
    use IntelligentArchive::*;
    use RestoreStatus::NotRestored;
    use StorageClass::*;
    let cases = [
        (state(Glacier, NotRestored), None, None, restore(Some(1), Tier::Standard)),
        (state(Glacier, NotRestored), Some(5), Some(Tier::Bulk), restore(Some(5), Tier::Bulk)),
        (state(Glacier, NotRestored), None, Some(Tier::Expedited), restore(Some(1), Tier::Expedited)),
        (state(DeepArchive, NotRestored), None, Some(Tier::Bulk), restore(Some(1), Tier::Bulk)),
        (
            state(DeepArchive, NotRestored),
            None,
            Some(Tier::Expedited),
            RequestAction::Refuse(RefuseReason::NoExpedited(DeepArchive)),
        ),
        (intelligent(ArchiveAccess, NotRestored), Some(5), None, restore(None, Tier::Standard)),
        (intelligent(ArchiveAccess, NotRestored), None, Some(Tier::Expedited), restore(None, Tier::Expedited)),
        (
            intelligent(DeepArchiveAccess, NotRestored),
            None,
            Some(Tier::Expedited),
            RequestAction::Refuse(RefuseReason::NoExpedited(IntelligentTiering)),
        ),
        // A restored copy that expired is asked for again, tag or not.
        (tagged(state(Glacier, NotRestored)), None, None, restore(Some(1), Tier::Standard)),
    ];
    for (state, days, tier, expected) in cases {
        assert_eq!(on_request(&request(days, tier), &state, SETTINGS), expected, "{state:?} {tier:?}");
    }
}

#[test]
fn a_default_of_expedited_becomes_standard_where_there_is_none() {
    let settings = Settings { days: 2, tier: Tier::Expedited };
    let on = |class| on_request(&request(None, None), &state(class, RestoreStatus::NotRestored), settings);
    assert_eq!(on(StorageClass::DeepArchive), restore(Some(2), Tier::Standard));
    assert_eq!(on(StorageClass::Glacier), restore(Some(2), Tier::Expedited));
}

#[test]
fn a_request_for_what_is_under_way_or_back_is_joined_finished_or_answered() {
    use RestoreStatus::{NotRestored, Ongoing};
    use StorageClass::*;
    let cases = [
        (state(Glacier, Ongoing), RequestAction::JoinOngoing),
        (tagged(state(DeepArchive, Ongoing)), RequestAction::JoinOngoing),
        (intelligent(IntelligentArchive::ArchiveAccess, Ongoing), RequestAction::JoinOngoing),
        (state(Glacier, RESTORED), RequestAction::FinishNow),
        (tagged(state(DeepArchive, RESTORED)), RequestAction::FinishNow),
        (intelligent(IntelligentArchive::ArchiveAccess, RESTORED), RequestAction::Settle),
        (state(Standard, NotRestored), RequestAction::NothingToDo(Standard)),
        (state(StandardIa, NotRestored), RequestAction::NothingToDo(StandardIa)),
        (state(GlacierIr, NotRestored), RequestAction::NothingToDo(GlacierIr)),
        (state(IntelligentTiering, NotRestored), RequestAction::NothingToDo(IntelligentTiering)),
        (tagged(state(Standard, NotRestored)), RequestAction::Settle),
        (state(Unmanaged, NotRestored), RequestAction::Refuse(RefuseReason::UnmanagedClass)),
    ];
    for (state, expected) in cases {
        assert_eq!(on_request(&request(None, Some(Tier::Standard)), &state, SETTINGS), expected, "{state:?}");
    }
}

#[test]
fn the_head_decides_what_an_event_comes_to() {
    use RestoreStatus::{NotRestored, Ongoing};
    use StorageClass::*;
    let cases = [
        (None, EventAction::Gone),
        (Some(tagged(state(Glacier, RESTORED))), EventAction::CopyBack),
        (Some(indexed(state(Glacier, RESTORED), Some("e1"))), EventAction::CopyBack),
        (Some(indexed(state(Glacier, RESTORED), None)), EventAction::CopyBack),
        (Some(indexed(state(Glacier, RESTORED), Some("other"))), EventAction::NotOurs),
        (Some(state(Glacier, RESTORED)), EventAction::NotOurs),
        (Some(state(Glacier, NotRestored)), EventAction::NotOurs),
        (Some(tagged(state(DeepArchive, Ongoing))), EventAction::StillOngoing),
        (Some(tagged(state(DeepArchive, NotRestored))), EventAction::RequestAgain),
        (Some(tagged(state(Standard, NotRestored))), EventAction::Settle),
        (Some(tagged(state(IntelligentTiering, NotRestored))), EventAction::Settle),
        (Some(tagged(intelligent(IntelligentArchive::ArchiveAccess, RESTORED))), EventAction::Settle),
    ];
    for (state, expected) in cases {
        assert_eq!(on_event(state.as_ref()), expected, "{state:?}");
    }
}

#[test]
fn a_sweep_finishes_repeats_waits_or_lets_go() {
    use RestoreStatus::{NotRestored, Ongoing};
    use StorageClass::*;
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let (soon, late) = ("2026-03-01T01:00:00Z", "2026-03-05T00:00:00Z");
    let repeat = |days, tier| SweepAction::Repeat(RestorePlan { days, tier });
    let cases = [
        (None, Tier::Standard, soon, SweepAction::Drop(DropReason::ObjectGone)),
        (Some(tagged(state(Glacier, RESTORED))), Tier::Standard, soon, SweepAction::Finish),
        (Some(state(Glacier, RESTORED)), Tier::Standard, soon, SweepAction::Finish),
        (Some(state(Glacier, NotRestored)), Tier::Bulk, soon, repeat(Some(3), Tier::Bulk)),
        (Some(state(DeepArchive, NotRestored)), Tier::Expedited, soon, repeat(Some(3), Tier::Standard)),
        (
            Some(intelligent(IntelligentArchive::DeepArchiveAccess, NotRestored)),
            Tier::Bulk,
            soon,
            repeat(None, Tier::Bulk),
        ),
        (
            Some(state(Glacier, Ongoing)),
            Tier::Standard,
            soon,
            SweepAction::Wait { expected_by: at("2026-03-01T05:00:00Z") },
        ),
        // Ten hours after the request a Standard restore is late, and not a second before.
        (
            Some(state(Glacier, Ongoing)),
            Tier::Standard,
            "2026-03-01T10:00:00Z",
            SweepAction::Wait { expected_by: at("2026-03-01T05:00:00Z") },
        ),
        (
            Some(state(Glacier, Ongoing)),
            Tier::Standard,
            "2026-03-01T10:00:01Z",
            SweepAction::Overdue { since: at("2026-03-01T10:00:00Z") },
        ),
        // Five minutes are typical for Expedited, but an hour of grace is given.
        (
            Some(state(Glacier, Ongoing)),
            Tier::Expedited,
            soon,
            SweepAction::Wait { expected_by: at("2026-03-01T00:05:00Z") },
        ),
        (
            Some(state(DeepArchive, Ongoing)),
            Tier::Bulk,
            late,
            SweepAction::Wait { expected_by: at("2026-03-03T00:00:00Z") },
        ),
        (Some(state(Standard, NotRestored)), Tier::Standard, soon, SweepAction::Settle),
        (Some(intelligent(IntelligentArchive::ArchiveAccess, RESTORED)), Tier::Bulk, soon, SweepAction::Settle),
    ];
    for (state, tier, now, expected) in cases {
        let record = RequestRecord {
            id: "s3://some-bucket/k".parse().unwrap(),
            requested_at: at("2026-03-01T00:00:00Z"),
            days: 3,
            tier,
            etag: Some(ETag::new("e1").unwrap()),
        };
        assert_eq!(on_sweep(&record, state.as_ref(), at(now)), expected, "{state:?} {tier} {now}");
        let replaced = RequestRecord { etag: Some(ETag::new("e0").unwrap()), ..record };
        let expected = match &state {
            Some(state) if state.intent == Intent::None => SweepAction::Drop(DropReason::Overwritten),
            _ => expected,
        };
        assert_eq!(on_sweep(&replaced, state.as_ref(), at(now)), expected, "replaced: {state:?} {tier} {now}");
    }
}

#[test]
fn a_refusal_by_s3_means_what_the_documentation_says() {
    let cases = [
        ("RestoreAlreadyInProgress", ErrorAction::JoinOngoing),
        ("GlacierExpeditedRetrievalNotAvailable", ErrorAction::RetryAt(Tier::Standard)),
        ("InvalidObjectState", ErrorAction::LookAgain),
        ("NoSuchKey", ErrorAction::Gone),
        ("NotFound", ErrorAction::Gone),
        ("NoSuchBucket", ErrorAction::Refuse(RefuseReason::NoSuchBucket)),
        ("AccessDenied", ErrorAction::Refuse(RefuseReason::AccessDenied)),
        ("SlowDown", ErrorAction::Later),
        ("Astonishment", ErrorAction::Unknown),
        ("", ErrorAction::Unknown),
    ];
    for (code, expected) in cases {
        assert_eq!(on_error(code, Tier::Expedited), expected, "{code}");
    }
    // No tier below Standard may be tried in its place, or it would go round for ever.
    assert_eq!(on_error("GlacierExpeditedRetrievalNotAvailable", Tier::Standard), ErrorAction::Later);
}
