//! The recency policy: the longer an object has not been used, the colder its class.
//!
//! Steps with an upper bound in days, the last one without. An object that was used `d` days ago belongs to the first step
//! whose bound is `d` or more. `d` counts whole elapsed days of 24 hours: 30 days and 23 hours are 30 days. A use in the
//! future, by clocks that disagree, is a use today.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Decision, LastUse, PolicyError, PolicyName, Reason, destination};
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::storage_class::StorageClass;

/// One step: objects used within `up_to_days` belong into `class`; without a bound, all the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecencyStep {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_days: Option<u32>,
    pub class: StorageClass,
}

/// The policy, with checked steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recency {
    steps: Vec<RecencyStep>,
}

impl Recency {
    /// Checks `steps`: bounds go up, only the last step has none, and every class is one that objects are moved to.
    pub fn new(steps: Vec<RecencyStep>) -> Result<Self, PolicyError> {
        let Some((last, bounded)) = steps.split_last() else {
            return Err(PolicyError::NoLastStep);
        };
        if last.up_to_days.is_some() {
            return Err(PolicyError::NoLastStep);
        }
        let mut previous = None;
        for step in bounded {
            let bound = step.up_to_days.ok_or(PolicyError::NoLastStep)?;
            if let Some(previous) = previous
                && bound <= previous
            {
                return Err(PolicyError::StepsNotAscending(previous, bound));
            }
            previous = Some(bound);
        }
        for step in &steps {
            destination(step.class)?;
        }
        Ok(Self { steps })
    }

    /// The bounds of the steps, in days: a day beyond one the decision changes.
    pub fn bounds(&self) -> impl Iterator<Item = u32> {
        self.steps.iter().filter_map(|step| step.up_to_days)
    }

    /// What the row's last use asks for. None if no use is known: there is nothing to go by.
    pub fn decide(&self, row: &LedgerRow, now: DateTime<Utc>) -> Option<Decision> {
        let days = elapsed_days(row.event_time?, now);
        let mut from_day = 0;
        for step in &self.steps {
            if step.up_to_days.is_some_and(|bound| days > u64::from(bound)) {
                from_day = step.up_to_days.map_or(0, |bound| bound.saturating_add(1));
                continue;
            }
            let last = if row.is_only_adopted() { LastUse::Written } else { LastUse::Used };
            let reason = Reason::Idle { days, last, class: step.class, from_day, to_day: step.up_to_days };
            return Some(Decision { policy: PolicyName::Recency, target: step.class, reason, rests_on_days: from_day });
        }
        None // Unreachable: the last step has no bound.
    }
}

impl Default for Recency {
    /// Up to 30 days STANDARD, up to 90 STANDARD_IA, else GLACIER.
    fn default() -> Self {
        let step = |up_to_days, class| RecencyStep { up_to_days, class };
        Self {
            steps: vec![
                step(Some(30), StorageClass::Standard),
                step(Some(90), StorageClass::StandardIa),
                step(None, StorageClass::Glacier),
            ],
        }
    }
}

/// Whole days of 24 hours from `since` to `now`; 0 if `since` is later.
pub(super) fn elapsed_days(since: DateTime<Utc>, now: DateTime<Utc>) -> u64 {
    u64::try_from((now - since).num_days()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;
    use crate::tiering::object::{BucketName, ObjectId, ObjectKey};

    fn row(count: u64, idle: TimeDelta) -> LedgerRow {
        let id = ObjectId::new(BucketName::new("bucket").unwrap(), ObjectKey::new("key").unwrap());
        LedgerRow { count, event_time: Some(now() - idle), ..LedgerRow::new(id) }
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    #[test]
    fn whole_days_since_the_last_use_choose_the_step() {
        use StorageClass::*;
        let day = TimeDelta::days;
        let second = TimeDelta::seconds(1);
        for (idle, class, reason) in [
            (day(0) - second, Standard, "last used 0 days ago: STANDARD up to day 30"),
            (day(1), Standard, "last used 1 day ago: STANDARD up to day 30"),
            (day(30), Standard, "last used 30 days ago: STANDARD up to day 30"),
            (day(31) - second, Standard, "last used 30 days ago: STANDARD up to day 30"),
            (day(31), StandardIa, "last used 31 days ago: STANDARD_IA from day 31"),
            (day(91) - second, StandardIa, "last used 90 days ago: STANDARD_IA from day 31"),
            (day(91), Glacier, "last used 91 days ago: GLACIER from day 91"),
            (day(9000), Glacier, "last used 9000 days ago: GLACIER from day 91"),
        ] {
            let decision = Recency::default().decide(&row(1, idle), now()).unwrap();
            assert_eq!(decision.target, class, "{idle}");
            assert_eq!(decision.reason.to_string(), reason);
        }
    }

    #[test]
    fn an_adopted_object_counts_from_the_day_it_was_written() {
        let decision = Recency::default().decide(&row(0, TimeDelta::days(40)), now()).unwrap();
        assert_eq!(decision.reason.to_string(), "written 40 days ago, no use seen: STANDARD_IA from day 31");
        assert_eq!(decision.rests_on_days, 31);
    }

    #[test]
    fn without_a_last_use_there_is_no_decision() {
        let unknown = LedgerRow { event_time: None, ..row(1, TimeDelta::zero()) };
        assert_eq!(Recency::default().decide(&unknown, now()), None);
    }

    proptest! {
        #[test]
        fn every_known_use_has_a_class_that_only_gets_colder_with_age(
            bounds in prop::collection::btree_set(0u32..400, 0..5),
            idle in prop::collection::vec(-90_000i64..40_000_000, 2..20),
            count in 0u64..5,
        ) {
            // As many classes as there are steps; which they are does not matter here.
            let classes = StorageClass::MANAGED.into_iter().filter(|class| class.is_destination());
            let steps: Vec<RecencyStep> = bounds
                .iter()
                .map(|bound| Some(*bound))
                .chain([None])
                .zip(classes)
                .map(|(up_to_days, class)| RecencyStep { up_to_days, class })
                .collect();
            let policy = Recency::new(steps.clone()).unwrap();
            let mut idle = idle;
            idle.sort_unstable();
            let mut before = 0;
            for seconds in idle {
                let row = row(count, TimeDelta::seconds(seconds));
                let decision = policy.decide(&row, now()).expect("a use is known");
                let step = steps.iter().position(|step| step.class == decision.target).unwrap();
                prop_assert!(step >= before, "{seconds} s: {:?}", decision);
                before = step;
                // Once it lies there, the policy wants nothing else.
                let moved = LedgerRow { class: Some(decision.target), class_since: Some(now()), ..row };
                prop_assert_eq!(policy.decide(&moved, now()), Some(decision));
            }
        }
    }

    #[test]
    fn steps_that_make_no_sense_are_refused() {
        use StorageClass::*;
        let steps = |steps: &[(Option<u32>, StorageClass)]| {
            Recency::new(steps.iter().map(|&(up_to_days, class)| RecencyStep { up_to_days, class }).collect())
        };
        assert_eq!(steps(&[(Some(30), Standard), (Some(90), StandardIa), (None, Glacier)]), Ok(Recency::default()));
        assert!(steps(&[(None, IntelligentTiering)]).is_ok());
        assert_eq!(steps(&[]), Err(PolicyError::NoLastStep));
        assert_eq!(steps(&[(Some(1), Standard)]), Err(PolicyError::NoLastStep));
        assert_eq!(steps(&[(None, Standard), (None, Glacier)]), Err(PolicyError::NoLastStep));
        assert_eq!(
            steps(&[(Some(9), Standard), (Some(9), StandardIa), (None, Glacier)]),
            Err(PolicyError::StepsNotAscending(9, 9))
        );
        assert_eq!(steps(&[(None, ReducedRedundancy)]), Err(PolicyError::NoDestination(ReducedRedundancy)));
    }
}
