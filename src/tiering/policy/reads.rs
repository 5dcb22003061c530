//! How much an object will be read, as far as a guard can tell, and what that costs in another class.
//!
//! In the infrequent-access classes reads are paid by the gigabyte, so that a demotion which saves on storage may lose many
//! times as much on reads. The estimate goes by the decayed heat, within bounds: no more than one access-day, and no less than
//! half a one, in the time that the object has been idle by now.

use chrono::{DateTime, Utc};

use crate::tiering::cost::{BYTES_PER_GB, Prices};
use crate::tiering::evidence::{Day, HEAT_DAYS, ObjectEvidence, day_of};
use crate::tiering::storage_class::StorageClass;

const DAYS_PER_MONTH: f64 = 30.0;

/// An object that was used `d` days ago is expected to be used again at least so often in `d + 1` days.
const RECENTLY_USED: f64 = 0.5;

/// What is to be expected of a month.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpectedReads {
    pub reads: f64,
    pub bytes: f64,
}

impl ExpectedReads {
    /// By the evidence; nothing is expected where there is none, as in rows from before it was kept: a count does not say
    /// when, nor whether it was of reads.
    pub fn of(seen: Option<&ObjectEvidence>, bytes: u64, now: DateTime<Utc>) -> Self {
        match seen.filter(|evidence| evidence.idle_since().is_some()) {
            Some(evidence) => Self::by_evidence(evidence, bytes, day_of(now)),
            None => Self { reads: 0.0, bytes: 0.0 },
        }
    }

    fn by_evidence(evidence: &ObjectEvidence, bytes: u64, today: Day) -> Self {
        let idle_days = f64::from(evidence.idle_days(today).unwrap_or(0));
        let heat_days = evidence.last_read_day.map_or(0.0, |last| f64::from((today - last).max(0)));
        // Read once a day for ever, an object has a heat of about 60.
        let by_heat = evidence.heat * (-heat_days / HEAT_DAYS).exp() / HEAT_DAYS;
        let by_idle = 1.0 / (idle_days + 1.0);
        // What was used lately may be used again soon, however seldom that was.
        let days = DAYS_PER_MONTH * by_heat.clamp(RECENTLY_USED * by_idle, by_idle);
        let of_day = |seen: f64, unread: f64| if seen > 0.0 { seen } else { unread };
        Self {
            reads: days * of_day(evidence.reads_per_day(), 1.0),
            bytes: days * of_day(evidence.bytes_per_day(), bytes as f64),
        }
    }

    /// What a month's requests and retrieval by the gigabyte cost in `class`; 0 for a class without a price. The restore that
    /// an archive needs first is not in it: that is asked for, and known to cost.
    pub fn monthly_usd(&self, prices: &Prices, class: StorageClass) -> f64 {
        // Linear in both, and neither is a whole number.
        let (request, _) = prices.read_usd(class, 1, 0);
        let (_, gigabyte) = prices.read_usd(class, 0, 1 << 30);
        self.reads * request + self.bytes / BYTES_PER_GB * gigabyte
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiering::cost::tests::us_east_1;
    use crate::tiering::evidence::{DayAccess, IdleTable};

    fn read_on(days: &[Day]) -> ObjectEvidence {
        let mut evidence = ObjectEvidence::default();
        for day in days {
            let access = DayAccess { day: *day, reads: 2, bytes_read: 1 << 30, written: false };
            evidence.add(&access, &mut IdleTable::default());
        }
        evidence
    }

    #[test]
    fn a_daily_read_object_is_expected_to_be_read_daily_and_less_the_longer_it_is_idle() {
        let daily: Vec<Day> = (0..600).collect();
        let evidence = read_on(&daily);
        let busy = ExpectedReads::by_evidence(&evidence, 1 << 30, 599);
        assert!((55.0..=60.5).contains(&busy.reads), "{busy:?}");
        let mut before = busy.reads;
        for today in 600..900 {
            let now = ExpectedReads::by_evidence(&evidence, 1 << 30, today).reads;
            assert!(now < before);
            before = now;
        }
        assert!(before < 0.2, "{before}");
    }

    #[test]
    fn reads_are_priced_by_the_class_that_they_would_be_served_from() {
        let month = ExpectedReads { reads: 10.0, bytes: 2.0 * (1_u64 << 30) as f64 };
        let usd = |class| month.monthly_usd(&us_east_1(), class);
        for (class, expected) in [
            (StorageClass::Standard, 0.000_004),
            (StorageClass::StandardIa, 0.000_01 + 0.02),
            (StorageClass::GlacierIr, 0.000_1 + 0.06),
            // Its retrieval is paid with the restore.
            (StorageClass::Glacier, 0.000_004),
        ] {
            assert!((usd(class) - expected).abs() < 1e-9, "{class}: {}", usd(class));
        }
    }
}
