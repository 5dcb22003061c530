//! Whether a move that was decided a while ago may be made today.
//!
//! A plan may wait for days before it is applied. What it was decided for is compared with today's row of the ledger, and the
//! guards are asked again: an object may have been used or moved since, a minimum duration may have begun anew, a setting
//! or a price may be another. The policy is not asked again: that its wish is made true as it was approved is what a
//! plan is for. What only the object itself can tell is left to whoever moves it.

use super::ledger_row::LedgerRow;
use super::plan::PlannedMove;
use super::policy::guard::{Bench, Wish};
use super::policy::objection::{Objection, SkipReason};

/// Whether `planned` may be made, by `row`, the object's row as it is today; Err names the skip. A row that is gone was dropped
/// because its object was. One that has the object where the move would bring it is no reason to skip: perhaps the plan was
/// applied before, which whoever looks at the object will see.
pub fn recheck(bench: &Bench<'_>, planned: &PlannedMove, row: Option<&LedgerRow>) -> Result<(), SkipReason> {
    let Some(row) = row else { return Err(SkipReason::Gone) };
    if row.class == Some(planned.to) {
        return Ok(());
    }
    let expected = (Some(&planned.etag), Some(planned.size), Some(planned.from));
    if (row.etag.as_ref(), row.size, row.class) != expected {
        return Err(SkipReason::Changed);
    }
    // More uses are one reason more for a promotion.
    let was_used = (row.count, row.event_time) != (planned.uses, planned.last_use);
    if was_used && planned.from.is_demotion_to(planned.to) {
        return Err(SkipReason::UsedSincePlanned);
    }
    let wish = Wish { target: planned.to, rests_on_days: planned.rests_on_days };
    bench.objection(row, wish).as_ref().map(Objection::reason).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::*;
    use crate::tiering::cost::tests::us_east_1;
    use crate::tiering::object::{BucketName, ETag, ObjectId, ObjectKey};
    use crate::tiering::policy::PolicyName;
    use crate::tiering::policy::guard::{Evidence, Guards};
    use crate::tiering::storage_class::StorageClass;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn days_ago(days: i64) -> Option<DateTime<Utc>> {
        Some(now() - TimeDelta::days(days))
    }

    fn row(class: StorageClass) -> LedgerRow {
        let id = ObjectId::new(BucketName::new("bucket").unwrap(), ObjectKey::new("key").unwrap());
        LedgerRow {
            etag: Some(ETag::new("e").unwrap()),
            count: 3,
            event_time: days_ago(45),
            class: Some(class),
            size: Some(1 << 30),
            class_since: days_ago(200),
            ..LedgerRow::new(id)
        }
    }

    fn planned(from: StorageClass, to: StorageClass) -> PlannedMove {
        let row = row(from);
        PlannedMove {
            bucket: row.id.bucket,
            key: row.id.key,
            etag: row.etag.unwrap(),
            size: 1 << 30,
            from,
            to,
            policy: PolicyName::Recency,
            reason: "r".to_owned(),
            cost_usd: 0.1,
            monthly_saving_usd: 0.2,
            months_to_break_even: Some(0.5),
            uses: 3,
            last_use: days_ago(45),
            rests_on_days: 31,
            expected_saving_usd: None,
        }
    }

    fn check(
        planned: &PlannedMove,
        row: Option<&LedgerRow>,
        guards: &Guards,
        evidence: Evidence,
    ) -> Option<SkipReason> {
        let prices = us_east_1();
        recheck(&Bench { now: now(), guards, evidence, prices: &prices }, planned, row).err()
    }

    fn guards() -> Guards {
        Guards { require_recent_ingest: Some(TimeDelta::days(2)), ..Guards::usual() }
    }

    fn evidence() -> Evidence {
        Evidence { last_ok_ingest: days_ago(1), covered_since: days_ago(300) }
    }

    #[test]
    fn a_move_is_skipped_for_what_its_row_has_become_since_it_was_decided() {
        use StorageClass::*;
        let demotion = planned(Standard, StandardIa);
        let same = row(Standard);
        let cases = [
            ("as it was", Some(same.clone()), None),
            ("gone", None, Some(SkipReason::Gone)),
            (
                "another object",
                Some(LedgerRow { etag: ETag::new("f").ok(), ..same.clone() }),
                Some(SkipReason::Changed),
            ),
            ("another size", Some(LedgerRow { size: Some(1), ..same.clone() }), Some(SkipReason::Changed)),
            ("another class", Some(LedgerRow { class: Some(Glacier), ..same.clone() }), Some(SkipReason::Changed)),
            ("not known any more", Some(LedgerRow { etag: None, ..same.clone() }), Some(SkipReason::Changed)),
            ("moved", Some(LedgerRow { etag: ETag::new("f").ok(), ..row(StandardIa) }), None),
            (
                "used since",
                Some(LedgerRow { count: 4, event_time: days_ago(2), ..same.clone() }),
                Some(SkipReason::UsedSincePlanned),
            ),
            (
                "used before the last use that was known, by a log that came late",
                Some(LedgerRow { count: 4, ..same.clone() }),
                Some(SkipReason::UsedSincePlanned),
            ),
        ];
        for (name, row, expected) in cases {
            assert_eq!(check(&demotion, row.as_ref(), &guards(), evidence()), expected, "{name}");
        }
        let promotion = planned(StandardIa, Standard);
        let used = LedgerRow { count: 9, event_time: days_ago(0), ..row(StandardIa) };
        assert_eq!(check(&promotion, Some(&used), &guards(), evidence()), None, "one reason more");
    }

    #[test]
    fn guards_are_asked_as_they_are_today() {
        use StorageClass::*;
        let (demotion, same) = (planned(Standard, Glacier), row(Standard));
        let reason = |guards: &Guards, evidence| check(&demotion, Some(&same), guards, evidence);
        assert_eq!(reason(&guards(), evidence()), None);
        let larger = Guards { min_object_bytes: 2 << 30, ..guards() };
        assert_eq!(reason(&larger, evidence()), Some(SkipReason::UnderMinimumSize));
        let old = Evidence { last_ok_ingest: days_ago(3), ..evidence() };
        assert_eq!(reason(&guards(), old), Some(SkipReason::NoRecentIngest));
        let sooner = Guards { max_payback_months: Some(0.0), ..guards() };
        assert_eq!(reason(&sooner, evidence()), Some(SkipReason::PaybackTooLong));

        let young = LedgerRow { class_since: days_ago(5), ..row(StandardIa) };
        let again = planned(StandardIa, Glacier);
        assert_eq!(check(&again, Some(&young), &guards(), evidence()), Some(SkipReason::MinimumDuration));

        let mut adopted = planned(Standard, Glacier);
        adopted.uses = 0;
        let row = LedgerRow { count: 0, ..row(Standard) };
        assert_eq!(check(&adopted, Some(&row), &guards(), evidence()), None);
        // A gap in the logs since.
        let gap = Evidence { covered_since: days_ago(10), ..evidence() };
        assert_eq!(check(&adopted, Some(&row), &guards(), gap), Some(SkipReason::LogsTooShort));
        // Whoever writes plans may write any number.
        adopted.rests_on_days = u32::MAX;
        assert_eq!(check(&adopted, Some(&row), &guards(), evidence()), None);
    }
}
