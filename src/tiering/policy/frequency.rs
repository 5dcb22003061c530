//! The frequency policy: within a bucket, the most used share of the objects is hot and the rest is not.
//!
//! Objects rank by count descending, ties by the later last use, then by the smaller key. The top share is rounded up: the
//! top half of 5 objects is 3. An object without a last use ranks after those of equal count that have one.
//!
//! A rank needs the whole bucket, twice. A [`Census`] of the first pass keeps 16 bytes a row (count and last use) and finds
//! where the cut falls; the [`Cut`] then decides each row of the second pass as it comes. Rows come in the order of their
//! keys, as the ledger has them, so that where the cut goes through a tie the smaller keys are met first: no key need be
//! kept. If rows change between the passes, as many objects more or fewer may land on the hot side.

use std::cmp::Ordering;

use super::{Decision, PolicyError, PolicyName, Reason, destination};
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::storage_class::StorageClass;

/// The policy, checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frequency {
    top_fraction: f64,
    top_class: StorageClass,
    rest_class: StorageClass,
}

impl Frequency {
    /// The top `top_fraction` (0 to 1) of a bucket's objects belongs into `top_class`, the others into `rest_class`.
    pub fn new(top_fraction: f64, top_class: StorageClass, rest_class: StorageClass) -> Result<Self, PolicyError> {
        if !(0.0..=1.0).contains(&top_fraction) {
            return Err(PolicyError::Fraction(top_fraction));
        }
        Ok(Self { top_fraction, top_class: destination(top_class)?, rest_class: destination(rest_class)? })
    }

    fn top_of(&self, rows: usize) -> usize {
        // 0.1 * 30 is a hair above 3 in binary; a row in a million million is no reason to round up.
        let top = (self.top_fraction * rows as f64 * (1.0 - 1e-12)).ceil();
        (top as usize).min(rows)
    }
}

impl Default for Frequency {
    /// The top half STANDARD, the rest STANDARD_IA.
    fn default() -> Self {
        Self { top_fraction: 0.5, top_class: StorageClass::Standard, rest_class: StorageClass::StandardIa }
    }
}

/// The first pass over a bucket.
#[derive(Debug, Default)]
pub struct Census {
    ranks: Vec<Rank>,
}

/// What an object ranks by, its key apart: its count, and its last use in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    count: u64,
    last_use: i64,
}

impl Rank {
    pub fn of(row: &LedgerRow) -> Self {
        Self { count: row.count, last_use: row.event_time.map_or(i64::MIN, |time| time.timestamp()) }
    }
}

impl Census {
    pub fn count(&mut self, row: &LedgerRow) {
        self.count_rank(Rank::of(row));
    }

    /// As [`Census::count`], of the row that ranks so.
    pub fn count_rank(&mut self, rank: Rank) {
        self.ranks.push(rank);
    }

    /// Ends the first pass.
    pub fn cut(mut self, policy: &Frequency) -> Cut {
        let rows = self.ranks.len();
        let top = policy.top_of(rows);
        let (boundary, ties_in_top) = match top.checked_sub(1) {
            None => (None, 0),
            Some(last) => {
                let (above, boundary, _) = self.ranks.select_nth_unstable_by(last, |a, b| b.cmp(a));
                let boundary = *boundary;
                let ahead = above.iter().filter(|ahead| **ahead > boundary).count();
                (Some(boundary), top - ahead)
            }
        };
        Cut { policy: *policy, rows: rows as u64, top: top as u64, boundary, ties_left: ties_in_top }
    }
}

/// The second pass: decides the rows of the bucket, which must come in the order of their keys, each once.
#[derive(Debug, Clone)]
pub struct Cut {
    policy: Frequency,
    rows: u64,
    top: u64,
    /// The last rank that is in the top; None where the top is empty.
    boundary: Option<Rank>,
    /// How many of the rows that rank exactly so are yet to be taken into the top.
    ties_left: usize,
}

impl Cut {
    /// What the row's rank asks for.
    pub fn decide(&mut self, row: &LedgerRow) -> Decision {
        self.decide_rank(Rank::of(row))
    }

    /// As [`Cut::decide`], of the row that ranks so.
    pub fn decide_rank(&mut self, rank: Rank) -> Decision {
        let in_top = match self.boundary.map(|boundary| rank.cmp(&boundary)) {
            None | Some(Ordering::Less) => false,
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => {
                let taken = self.ties_left > 0;
                self.ties_left = self.ties_left.saturating_sub(1);
                taken
            }
        };
        let target = if in_top { self.policy.top_class } else { self.policy.rest_class };
        Decision {
            policy: PolicyName::Frequency,
            target,
            reason: Reason::Rank { count: rank.count, top: self.top, rows: self.rows, in_top },
            // A count has no window of its own. What can be asked is that the logs reach back as far as the object must
            // then stay: less would be judging it by a time shorter than the sentence.
            rests_on_days: target.minimum_days(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BTreeMap;

    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;
    use crate::tiering::object::{BucketName, ObjectId, ObjectKey};

    fn row(key: &str, count: u64, last_use: Option<i64>) -> LedgerRow {
        let id = ObjectId::new(BucketName::new("bucket").unwrap(), ObjectKey::new(key).unwrap());
        let event_time = last_use.map(|secs| DateTime::from_timestamp(secs, 0).unwrap());
        LedgerRow { count, event_time, ..LedgerRow::new(id) }
    }

    fn hot(rows: &[LedgerRow], top_fraction: f64) -> Vec<&str> {
        let policy = Frequency::new(top_fraction, StorageClass::Standard, StorageClass::StandardIa).unwrap();
        let mut census = Census::default();
        rows.iter().for_each(|row| census.count(row));
        let mut cut = census.cut(&policy);
        rows.iter()
            .filter(|row| cut.decide(row).target == StorageClass::Standard)
            .map(|row| row.id.key.as_str())
            .collect()
    }

    #[test]
    fn count_then_last_use_then_key_decide_the_rank() {
        let rows = [
            row("a", 5, Some(10)),
            row("b", 5, Some(11)),
            row("c", 5, Some(11)),
            row("d", 9, Some(1)),
            row("e", 5, None),
            row("f", 0, Some(99)),
        ];
        assert_eq!(hot(&rows, 1.0 / 6.0), ["d"]);
        assert_eq!(hot(&rows, 2.0 / 6.0), ["b", "d"]);
        assert_eq!(hot(&rows, 3.0 / 6.0), ["b", "c", "d"]);
        assert_eq!(hot(&rows, 4.0 / 6.0), ["a", "b", "c", "d"]);
        assert_eq!(hot(&rows, 5.0 / 6.0), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn the_top_share_is_rounded_up_and_no_further() {
        for (rows, fraction, expected) in [
            (5, 0.5, 3),
            (4, 0.5, 2),
            (1, 0.5, 1),
            (30, 0.1, 3),
            (10, 0.0, 0),
            (10, 1.0, 10),
            (10, 0.01, 1),
            (0, 0.5, 0),
        ] {
            let rows: Vec<_> = (0..rows).map(|i| row(&format!("{i:03}"), 1, Some(1))).collect();
            assert_eq!(hot(&rows, fraction).len(), expected, "{fraction} of {}", rows.len());
        }
    }

    #[test]
    fn the_reason_says_how_the_object_ranks() {
        let mut census = Census::default();
        let rows = [row("a", 1, Some(1)), row("b", 2, Some(1))];
        rows.iter().for_each(|row| census.count(row));
        let mut cut = census.cut(&Frequency::default());
        let reasons = rows.each_ref().map(|row| cut.decide(row).reason.to_string());
        assert_eq!(reasons[0], "1 use counted: not in the top 1 of 2 objects of the bucket");
        assert_eq!(reasons[1], "2 uses counted: in the top 1 of 2 objects of the bucket");
    }

    #[test]
    fn shares_outside_0_to_1_and_classes_that_take_no_objects_are_refused() {
        use StorageClass::*;
        for fraction in [-0.1, 1.1, f64::NAN] {
            assert!(Frequency::new(fraction, Standard, StandardIa).is_err(), "{fraction}");
        }
        assert_eq!(Frequency::new(0.5, Standard, Unmanaged), Err(PolicyError::NoDestination(Unmanaged)));
    }

    proptest! {
        #[test]
        fn the_cut_is_that_of_a_full_sort(
            uses in prop::collection::btree_map("[a-z]{1,3}", (0..4_u64, prop::option::of(0..3_i64)), 0..60),
            fraction in 0.0..=1.0,
        ) {
            let uses: BTreeMap<String, (u64, Option<i64>)> = uses;
            let rows: Vec<_> = uses.iter().map(|(key, (count, time))| row(key, *count, *time)).collect();
            let mut sorted: Vec<_> = rows.iter().collect();
            sorted.sort_by_key(|row| (Reverse(row.count), Reverse(row.event_time), row.id.key.clone()));
            let top = hot(&rows, fraction).len();
            prop_assert!((top as f64) < fraction * rows.len() as f64 + 1.0);
            prop_assert!(top as f64 + 1e-9 >= fraction * rows.len() as f64);
            let mut expected: Vec<_> = sorted[..top].iter().map(|row| row.id.key.as_str()).collect();
            expected.sort_unstable();
            prop_assert_eq!(hot(&rows, fraction), expected);
        }
    }
}
