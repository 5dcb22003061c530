use proptest::prelude::*;

use super::*;
use crate::tiering::cost::tests::us_east_1;
use crate::tiering::evidence::{DayAccess, IdleTable, ObjectEvidence};
use crate::tiering::object::{BucketName, ObjectKey};
use crate::tiering::policy::frequency::{Census, Frequency};
use crate::tiering::policy::objection::SkipReason;
use crate::tiering::policy::recency::Recency;

const MIB: u64 = 1024 * 1024;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn ago(days: i64) -> Option<DateTime<Utc>> {
    Some(now() - TimeDelta::days(days))
}

fn guards() -> Guards {
    Guards { require_recent_ingest: Some(TimeDelta::days(35)), ..Guards::usual() }
}

fn evidence() -> Evidence {
    Evidence { last_ok_ingest: ago(1), covered_since: ago(400) }
}

/// 1 MiB in STANDARD, used once, 45 days ago.
fn row() -> LedgerRow {
    let id = ObjectId::new(BucketName::new("bucket").unwrap(), ObjectKey::new("key").unwrap());
    LedgerRow {
        id,
        etag: Some(ETag::new("e").unwrap()),
        count: 1,
        event_time: ago(45),
        class: Some(StorageClass::Standard),
        size: Some(MIB),
        class_since: ago(200),
        last_batch: None,
        evidence: ObjectEvidence::default(),
        waits: crate::tiering::ledger_row::Waits::default(),
    }
}

fn judge(row: &LedgerRow, guards: &Guards, evidence: Evidence) -> Judgement {
    let prices = us_east_1();
    let bench = Bench { now: now(), guards, evidence, prices: &prices };
    bench.judge(row, Recency::default().decide(row, now()))
}

fn reason(row: &LedgerRow, guards: &Guards, evidence: Evidence) -> Option<SkipReason> {
    match judge(row, guards, evidence) {
        Judgement::Skip { objection, .. } => Some(objection.reason()),
        Judgement::Stay(_) | Judgement::Move(_) => None,
    }
}

#[test]
fn what_passes_all_guards_is_proposed_with_its_price() {
    let Judgement::Move(proposal) = judge(&row(), &guards(), evidence()) else { panic!("no move") };
    assert_eq!((proposal.from, proposal.decision.target), (StorageClass::Standard, StorageClass::StandardIa));
    assert_eq!((proposal.how, proposal.bytes), (Move::Copy, MIB));
    assert!((proposal.cost.one_off_usd() - 0.00001).abs() < 1e-12);
    assert!((proposal.cost.monthly_saving_usd - 0.0105 / 1024.0).abs() < 1e-12);
}

#[test]
fn what_is_where_it_belongs_stays_without_a_skip() {
    let there = LedgerRow { class: Some(StorageClass::StandardIa), size: Some(1), class_since: ago(1), ..row() };
    assert!(matches!(judge(&there, &guards(), Evidence::default()), Judgement::Stay(_)));
}

#[test]
fn each_guard_objects_by_its_name() {
    use SkipReason::*;
    use StorageClass::*;
    let hot = LedgerRow { event_time: ago(2), class: Some(StandardIa), ..row() };
    let adopted = LedgerRow { count: 0, ..row() };
    let none = Evidence::default();
    let ingested = |days| Evidence { last_ok_ingest: ago(days), ..evidence() };
    let covered = |days| Evidence { covered_since: ago(days), ..evidence() };
    let cases = [
        ("no etag", LedgerRow { etag: None, ..row() }, evidence(), Some(NotReconciled)),
        ("no class", LedgerRow { class: None, ..row() }, evidence(), Some(NotReconciled)),
        ("no size", LedgerRow { size: None, ..row() }, evidence(), Some(NotReconciled)),
        ("no last use", LedgerRow { event_time: None, ..row() }, evidence(), Some(NoLastUse)),
        ("unmanaged", LedgerRow { class: Some(Unmanaged), ..row() }, evidence(), Some(UnmanagedClass)),
        ("small", LedgerRow { size: Some(131_071), ..row() }, evidence(), Some(UnderMinimumSize)),
        ("just not small", LedgerRow { size: Some(131_072), ..row() }, evidence(), None),
        ("small and hot", LedgerRow { size: Some(1), ..hot.clone() }, evidence(), Some(UnderMinimumSize)),
        ("never ingested", row(), none, Some(NoRecentIngest)),
        ("ingested long ago", row(), ingested(36), Some(NoRecentIngest)),
        ("ingested lately", row(), ingested(35), None),
        ("a promotion needs no ingest", hot.clone(), none, None),
        ("adopted, logs too short", adopted.clone(), covered(30), Some(LogsTooShort)),
        ("adopted, logs unknown", adopted.clone(), Evidence { covered_since: None, ..evidence() }, Some(LogsTooShort)),
        ("adopted, logs cover the step", adopted.clone(), covered(31), None),
        ("seen in a log, however short they are", row(), covered(1), None),
        ("left early", LedgerRow { class_since: ago(29), ..hot.clone() }, evidence(), Some(MinimumDuration)),
        ("left in time", LedgerRow { class_since: ago(30), ..hot.clone() }, evidence(), None),
        ("since when unknown", LedgerRow { class_since: None, ..hot.clone() }, evidence(), Some(MinimumDuration)),
        ("no minimum, since when unknown", LedgerRow { class_since: None, ..row() }, evidence(), None),
        ("archived", LedgerRow { class: Some(Glacier), ..hot }, evidence(), Some(Archived)),
    ];
    for (name, row, evidence, expected) in cases {
        assert_eq!(reason(&row, &guards(), evidence), expected, "{name}");
    }
}

#[test]
fn an_object_written_since_the_logs_begin_is_covered_for_all_its_life() {
    let young = LedgerRow { count: 0, event_time: ago(100), ..row() };
    let covered = |days| Evidence { covered_since: ago(days), ..evidence() };
    assert_eq!(reason(&young, &guards(), covered(100)), None, "GLACIER from day 91, written when the logs began");
    assert_eq!(reason(&young, &guards(), covered(91)), None);
    assert_eq!(reason(&young, &guards(), covered(90)), Some(SkipReason::LogsTooShort));
}

#[test]
fn guards_can_be_waived() {
    use StorageClass::*;
    let waived = Guards {
        min_object_bytes: 0,
        minimum_duration: Rule::Waived,
        saving: Rule::Waived,
        archived: Archived::Restore,
        require_recent_ingest: None,
        ..guards()
    };
    for row in [
        LedgerRow { size: Some(1), ..row() },
        LedgerRow { count: 0, ..row() },
        LedgerRow { event_time: ago(1), class: Some(StandardIa), class_since: ago(1), ..row() },
    ] {
        assert!(matches!(judge(&row, &waived, Evidence::default()), Judgement::Move(_)), "{row:?}");
    }
    let archived = LedgerRow { event_time: ago(1), class: Some(Glacier), ..row() };
    let Judgement::Move(proposal) = judge(&archived, &waived, Evidence::default()) else { panic!("no move") };
    assert_eq!(proposal.how, Move::RestoreThenCopy);
    assert!(proposal.cost.restore_usd > 0.0);
}

#[test]
fn a_demotion_must_save_and_a_promotion_need_not() {
    use StorageClass::*;
    let any_size = Guards { min_object_bytes: 0, ..guards() };
    let sized = |bytes, row| LedgerRow { size: Some(bytes), ..row };
    assert_eq!(reason(&sized(69 * 1024, row()), &any_size, evidence()), Some(SkipReason::NoSaving));
    assert_eq!(reason(&sized(71 * 1024, row()), &any_size, evidence()), None);
    let promoted = LedgerRow { event_time: ago(1), class: Some(StandardIa), ..row() };
    assert_eq!(reason(&promoted, &any_size, evidence()), None);

    let patient = |months| Guards { max_payback_months: Some(months), ..guards() };
    let small = sized(128 * 1024, row());
    assert_eq!(reason(&small, &patient(7.0), evidence()), Some(SkipReason::PaybackTooLong));
    assert_eq!(reason(&small, &patient(8.0), evidence()), None);
    assert_eq!(reason(&promoted, &patient(0.0), evidence()), None);
}

#[test]
fn what_is_read_more_than_its_storage_saves_stays_and_comes_back() {
    use StorageClass::*;
    let today = i32::try_from(now().timestamp() / 86_400).unwrap();
    let seen = |gap: i32| {
        let mut evidence = ObjectEvidence::default();
        for day in (today - 300..today).step_by(gap as usize) {
            let access = DayAccess { day, reads: 1, bytes_read: MIB, written: false };
            evidence.add(&access, &mut IdleTable::default());
        }
        evidence
    };
    let prices = us_east_1();
    let guards = guards();
    let bench = Bench { now: now(), guards: &guards, evidence: evidence(), prices: &prices };
    let frequency = Frequency::new(0.0, Standard, StandardIa).unwrap();
    let judged = |row: &LedgerRow, evidence: &ObjectEvidence| {
        let mut census = Census::default();
        census.count(row);
        let decision = census.cut(&frequency).decide(row);
        match bench.judge_seen(row, Some(decision), Some(evidence)) {
            Judgement::Skip { objection, .. } => (None, Some(objection.reason())),
            Judgement::Stay(_) => (None, None),
            Judgement::Move(proposal) => (Some(proposal.decision.target), None),
        }
    };
    let hot = LedgerRow { count: 300, event_time: ago(1), ..row() };
    let cold = LedgerRow { class: Some(StandardIa), ..hot.clone() };
    assert_eq!(judged(&hot, &seen(1)), (None, Some(SkipReason::ReadsCostMore)), "read daily: it stays");
    assert_eq!(judged(&cold, &seen(1)), (Some(Standard), None), "read daily: it comes back");
    assert_eq!(judged(&hot, &seen(100)), (Some(StandardIa), None), "read every hundred days: it goes");
    assert_eq!(judged(&cold, &seen(100)), (None, None), "and remains");
    let young = LedgerRow { class_since: ago(3), ..cold };
    assert_eq!(judged(&young, &seen(1)), (None, Some(SkipReason::MinimumDuration)));
}

#[test]
fn a_move_that_s3_lacks_is_named() {
    let steps = serde_json::from_str(r#"[{"class": "GLACIER_IR"}]"#).unwrap();
    let onezone = LedgerRow { class: Some(StorageClass::OnezoneIa), ..row() };
    let decision = Recency::new(steps).unwrap().decide(&onezone, now());
    let prices = us_east_1();
    let bench = Bench { now: now(), guards: &guards(), evidence: evidence(), prices: &prices };
    let objections = bench.objections(&onezone, decision.as_ref());
    assert_eq!(objections.len(), 1);
    assert_eq!(objections[0].to_string(), "there is no move from ONEZONE_IA to GLACIER_IR");
}

#[test]
fn every_objection_is_told_to_who_asks_for_all() {
    let poor = LedgerRow {
        size: Some(9),
        count: 0,
        class: Some(StorageClass::StandardIa),
        class_since: ago(3),
        event_time: ago(95),
        ..row()
    };
    let prices = us_east_1();
    let bench = Bench { now: now(), guards: &guards(), evidence: Evidence::default(), prices: &prices };
    let decision = Recency::default().decide(&poor, now());
    let reasons: Vec<_> = bench.objections(&poor, decision.as_ref()).iter().map(Objection::reason).collect();
    use SkipReason::*;
    assert_eq!(reasons, [UnderMinimumSize, NoRecentIngest, LogsTooShort, MinimumDuration]);
    assert_eq!(bench.objections(&poor, decision.as_ref())[3].to_string(), "3 of the 30 days of STANDARD_IA are served");
}

#[test]
fn a_copy_in_parts_takes_a_request_a_part_and_two_more() {
    let copies = guards().copies;
    for (bytes, requests) in [(0, 1), (5 << 30, 1), ((5 << 30) + 1, 13), (10 << 30, 22)] {
        assert_eq!(copies.requests(bytes), requests, "{bytes}");
    }
}

proptest! {
    #[test]
    fn the_first_objection_names_the_skip_and_without_one_there_is_none(
        count in 0..2_u64,
        idle in prop::option::of(0..200_i64),
        since in prop::option::of(0..200_i64),
        class in prop::sample::select(StorageClass::MANAGED.to_vec()),
        bytes in 0..(4 * MIB),
        ingested in prop::option::of(0..60_i64),
        covered in prop::option::of(0..200_i64),
    ) {
        let row = LedgerRow {
            count,
            event_time: idle.and_then(ago),
            class_since: since.and_then(ago),
            class: Some(class),
            size: Some(bytes),
            ..row()
        };
        let evidence = Evidence { last_ok_ingest: ingested.and_then(ago), covered_since: covered.and_then(ago) };
        let (guards, prices) = (guards(), us_east_1());
        let bench = Bench { now: now(), guards: &guards, evidence, prices: &prices };
        let decision = Recency::default().decide(&row, now());
        let all = bench.objections(&row, decision.as_ref());
        match bench.judge(&row, decision) {
            Judgement::Skip { objection, .. } => prop_assert_eq!(all.first(), Some(&objection)),
            Judgement::Stay(decision) => {
                prop_assert!(all.is_empty());
                prop_assert_eq!(decision.target, class);
            }
            Judgement::Move(proposal) => {
                prop_assert!(all.is_empty());
                prop_assert!(proposal.decision.target != class && bytes >= 128 * 1024);
                prop_assert!(!class.is_demotion_to(proposal.decision.target) || proposal.cost.monthly_saving_usd > 0.0);
            }
        }
    }
}
