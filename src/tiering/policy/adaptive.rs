//! The adaptive policy, asked about one row. What it has learned, and whom it follows, is known by then: see
//! [`crate::tiering::adaptive`].

use chrono::{DateTime, Utc};

use super::archiving::Archiving;
use super::{Decision, PolicyName, Reason};
use crate::tiering::adaptive::experts::Experts;
use crate::tiering::adaptive::learned::View;
use crate::tiering::adaptive::safeguard::Expert;
use crate::tiering::evidence::{Day, DayAccess, IdleTable, ObjectEvidence, day_of};
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::storage_class::StorageClass;

/// An object as the ledger has it on a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    pub class: StorageClass,
    pub bytes: u64,
    pub class_since: Day,
    pub evidence: ObjectEvidence,
}

impl Known {
    /// None of a row that was not reconciled yet, or that has no use, nor a time at which it was written.
    ///
    /// A row from before there was evidence tells of its last use alone, and an adopted one of when it was written. It is taken as
    /// read on one day, the first, or as never read since, the second; once a log tells more, that holds.
    pub fn of(row: &LedgerRow) -> Option<Self> {
        let mut evidence = row.evidence;
        if evidence.idle_since().is_none() {
            let day = day_of(row.event_time?);
            if row.is_only_adopted() {
                evidence.written_day = Some(day);
            } else {
                let read = ObjectEvidence { last_read_day: Some(day), read_days: 1, recent_days: 1, ..evidence };
                evidence = ObjectEvidence { heat: 1.0, read_since_written: true, ..read };
            }
        }
        if let (Some(day), Some(bytes)) = (row.waits.last.map(day_of), row.size)
            && evidence.last_read_day.is_none_or(|last| last < day)
        {
            // Whoever asked for a restore wants to read it. If the read itself is logged later, that is the day which counts; its
            // log closes the gap.
            let read = DayAccess { day, reads: 1, bytes_read: bytes, written: false };
            evidence.add(&read, &mut IdleTable::default());
        }
        // It may have been elsewhere before; the guards know that they do not know.
        let class_since = row.class_since.map(day_of).or(evidence.idle_since())?;
        Some(Self { class: row.class?, bytes: row.size?, class_since, evidence })
    }

    pub fn view(&self) -> View<'_> {
        View { class: self.class, bytes: self.bytes, class_since: self.class_since, evidence: &self.evidence }
    }
}

/// What `expert` wants of the row, or an archive where it gets a place in one. `hash` is the object's own. None where there is
/// nothing to go by.
pub fn decide(
    row: &LedgerRow,
    experts: &Experts,
    expert: Expert,
    archiving: Option<&Archiving>,
    hash: u64,
    now: DateTime<Utc>,
) -> Option<Decision> {
    let (known, today) = (Known::of(row)?, day_of(now));
    let view = known.view();
    if let Some((archiving, (target, figures))) =
        archiving.and_then(|archiving| Some((archiving, archiving.decide(&known, hash, today)?)))
    {
        let reason = Reason::Archived { figures, outlook: *archiving.outlook() };
        let rests_on_days = figures.idle_days;
        return Some(Decision { policy: PolicyName::Adaptive, target, reason, rests_on_days });
    }
    let target = experts.choose(expert, &view, today)?.target;
    let why = experts.why(expert, &view, today)?;
    let reason = Reason::Expected { expert, target, why };
    let rests_on_days = known.evidence.idle_days(today).unwrap_or(0);
    Some(Decision { policy: PolicyName::Adaptive, target, reason, rests_on_days })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiering::adaptive::experts::Restores;
    use crate::tiering::adaptive::hazard::Hazards;
    use crate::tiering::cost::RestoreSpeed;
    use crate::tiering::cost::tests::us_east_1;
    use crate::tiering::ledger_row::Waits;
    use crate::tiering::object::ObjectId;

    const SECS_PER_DAY: i64 = 86_400;
    const TODAY: Day = 20_000;

    fn time(day: Day) -> DateTime<Utc> {
        DateTime::from_timestamp(i64::from(day) * SECS_PER_DAY, 0).unwrap()
    }

    fn row(class: StorageClass, written: Day, read: &[Day]) -> LedgerRow {
        let id: ObjectId = "s3://bucket/k".parse().unwrap();
        let mut evidence = ObjectEvidence::default();
        let of = |day, written| DayAccess { day, written, reads: u64::from(!written), bytes_read: 100 << 20 };
        evidence.add(&of(written, true), &mut IdleTable::default());
        read.iter().for_each(|day| evidence.add(&of(*day, false), &mut IdleTable::default()));
        LedgerRow {
            count: 1 + read.len() as u64,
            event_time: evidence.idle_since().map(time),
            class: Some(class),
            size: Some(100 << 20),
            class_since: Some(time(written)),
            evidence,
            ..LedgerRow::new(id)
        }
    }

    /// Of buckets in which what was never read hardly ever is.
    fn experts() -> Experts {
        let mut seen = IdleTable::default();
        (0..100).for_each(|_| seen.end_unread(0, 700));
        let mut experts = Experts::default();
        experts.learn(
            &us_east_1(),
            &Hazards::prior().learned(&seen),
            Restores { speed: RestoreSpeed::Standard, days: 1, class: StorageClass::Standard },
        );
        experts
    }

    #[test]
    fn what_is_cold_is_moved_and_what_is_hot_stays_and_each_says_why() {
        let experts = experts();
        let daily: Vec<Day> = (TODAY - 60..TODAY).collect();
        let decided = |row: &LedgerRow, expert| decide(row, &experts, expert, None, 0, time(TODAY)).unwrap();
        let hot = decided(&row(StorageClass::Standard, TODAY - 100, &daily), Expert::Thrifty);
        assert_eq!(hot.target, StorageClass::Standard, "{}", hot.reason);
        assert!(hot.reason.to_string().contains("and no move costs less"), "{}", hot.reason);
        let cold = decided(&row(StorageClass::Standard, TODAY - 400, &[]), Expert::Thrifty);
        assert_eq!((cold.target, cold.rests_on_days), (StorageClass::GlacierIr, 400), "{}", cold.reason);
        assert!(cold.reason.to_string().contains("moving to GLACIER_IR"), "{}", cold.reason);
        let careful = decided(&row(StorageClass::Standard, TODAY - 400, &[]), Expert::Careful);
        assert_eq!(careful.target, StorageClass::IntelligentTiering, "{}", careful.reason);
    }

    #[test]
    fn archives_and_what_serves_its_time_stay_under_every_expert() {
        use StorageClass::*;
        let experts = experts();
        for expert in Expert::ALL {
            for (class, written) in
                [(Glacier, TODAY - 400), (DeepArchive, TODAY - 400), (OnezoneIa, TODAY - 400), (GlacierIr, TODAY - 80)]
            {
                let decision = decide(&row(class, written, &[]), &experts, expert, None, 0, time(TODAY)).unwrap();
                assert_eq!(decision.target, class, "{expert:?}: {}", decision.reason);
            }
        }
    }

    #[test]
    fn what_somebody_waited_for_was_read_then_unless_a_log_tells_of_a_later_read() {
        let archived = row(StorageClass::Standard, TODAY - 400, &[TODAY - 300]);
        let waited = |day| LedgerRow { waits: Waits { days: 1, last: Some(time(day)) }, ..archived.clone() };
        let known = |row: &LedgerRow| Known::of(row).unwrap().evidence;
        let fresh = known(&waited(TODAY - 2));
        assert_eq!((fresh.last_read_day, fresh.read_days, fresh.idle_days(TODAY)), (Some(TODAY - 2), 2, Some(2)));
        assert_eq!(known(&waited(TODAY - 300)), known(&archived), "the log tells of the read that was waited for");
        // The row itself is as the logs have it.
        assert_eq!(waited(TODAY - 2).evidence, archived.evidence);
    }

    #[test]
    fn a_row_from_before_there_was_evidence_goes_by_its_last_use() {
        let old = LedgerRow { evidence: ObjectEvidence::default(), ..row(StorageClass::Standard, TODAY - 400, &[]) };
        let adopted = LedgerRow { count: 0, ..old.clone() };
        let used = Known::of(&old).unwrap().evidence;
        assert_eq!((used.last_read_day, used.written_day, used.heat_class()), (Some(TODAY - 400), None, 1));
        let written = Known::of(&adopted).unwrap().evidence;
        assert_eq!((written.last_read_day, written.written_day, written.heat_class()), (None, Some(TODAY - 400), 0));
        let unknown = LedgerRow { event_time: None, ..adopted };
        assert_eq!(Known::of(&unknown), None);
        assert_eq!(decide(&unknown, &experts(), Expert::Careful, None, 0, time(TODAY)), None);
    }
}
