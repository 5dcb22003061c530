//! What is stored, for how much, and what moving would save: the sums of a report.
//!
//! A [`Tally`] takes the ledger's rows one at a time and keeps only sums: by class and age since the last use, by size, by
//! bucket, and a plan's [`Summary`]. A sum of all buckets costs no more memory than that of one, since only the dearest few
//! buckets are kept by name; the others are added up in one [`Rest`]. Which moves are wanted and allowed is not decided
//! here: every row is put before the same [`Bench`] as in a transition run.
//!
//! The rows of a bucket come together, as the ledger gives them: where the next bucket begins, the one before is closed.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use chrono::{DateTime, Utc};

use super::cost::{Prices, Stored};
use super::ledger_row::LedgerRow;
use super::object::BucketName;
use super::plan::{BucketSummary, PlannedMove, Summary, Totals, sum_of};
use super::policy::Decision;
use super::policy::guard::{Bench, Judgement};
use super::policy::objection::SkipReason;
use super::storage_class::StorageClass;

/// Objects with what they take and what storing them costs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    pub objects: u64,
    /// As they are, without the floors and overheads that are billed on top.
    pub bytes: u64,
    /// US dollars a month, with floors and overheads.
    pub monthly_usd: f64,
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.monthly_usd += other.monthly_usd;
    }
}

/// Whole days since an object was last used, in bands. Bounds belong to the lower band, as in the recency policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgeBand {
    To1Day,
    To7Days,
    To30Days,
    To60Days,
    To90Days,
    To180Days,
    To365Days,
    Older,
    /// No use is known, nor when the object was written.
    Unknown,
}

impl AgeBand {
    pub const ALL: [AgeBand; 9] = [
        Self::To1Day,
        Self::To7Days,
        Self::To30Days,
        Self::To60Days,
        Self::To90Days,
        Self::To180Days,
        Self::To365Days,
        Self::Older,
        Self::Unknown,
    ];

    /// The band of an object that was last used at `last_use`. A use in the future, by clocks that disagree, is of today.
    pub fn of(last_use: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Self {
        match last_use.map(|time| whole_days(time, now)) {
            None => Self::Unknown,
            Some(0..=1) => Self::To1Day,
            Some(2..=7) => Self::To7Days,
            Some(8..=30) => Self::To30Days,
            Some(31..=60) => Self::To60Days,
            Some(61..=90) => Self::To90Days,
            Some(91..=180) => Self::To180Days,
            Some(181..=365) => Self::To365Days,
            Some(_) => Self::Older,
        }
    }

    /// The band by its days.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::To1Day => "0 to 1 days",
            Self::To7Days => "2 to 7 days",
            Self::To30Days => "8 to 30 days",
            Self::To60Days => "31 to 60 days",
            Self::To90Days => "61 to 90 days",
            Self::To180Days => "91 to 180 days",
            Self::To365Days => "181 to 365 days",
            Self::Older => "over 365 days",
            Self::Unknown => "not known",
        }
    }
}

/// Sizes of objects, in bands; a bound belongs to the band above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SizeBand {
    Under1Kib,
    Under128Kib,
    Under1Mib,
    Under16Mib,
    Under128Mib,
    Under1Gib,
    Under5Gib,
    From5Gib,
}

impl SizeBand {
    pub const ALL: [SizeBand; 8] = [
        Self::Under1Kib,
        Self::Under128Kib,
        Self::Under1Mib,
        Self::Under16Mib,
        Self::Under128Mib,
        Self::Under1Gib,
        Self::Under5Gib,
        Self::From5Gib,
    ];

    pub fn of(bytes: u64) -> Self {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        let bounds = [KIB, 128 * KIB, MIB, 16 * MIB, 128 * MIB, GIB, 5 * GIB];
        Self::ALL[bounds.partition_point(|bound| *bound <= bytes)]
    }

    /// The band by its bounds.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Under1Kib => "under 1 KiB",
            Self::Under128Kib => "1 to 128 KiB",
            Self::Under1Mib => "128 KiB to 1 MiB",
            Self::Under16Mib => "1 to 16 MiB",
            Self::Under128Mib => "16 to 128 MiB",
            Self::Under1Gib => "128 MiB to 1 GiB",
            Self::Under5Gib => "1 to 5 GiB",
            Self::From5Gib => "5 GiB and more",
        }
    }
}

/// A bucket that is kept by name.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketUsage {
    pub bucket: BucketName,
    pub stored: Sum,
    pub moves: BucketSummary,
}

/// The buckets that are not kept by name.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rest {
    pub buckets: u64,
    pub stored: Sum,
    pub planned: Totals,
}

/// All sums.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    pub total: Sum,
    /// None: the class is not known before the next reconcile.
    pub by_class_and_age: BTreeMap<(Option<StorageClass>, AgeBand), Sum>,
    /// Without the objects whose size is not known.
    pub by_size: BTreeMap<SizeBand, Sum>,
    /// Objects that no log ever told of: their age is that of their last writing.
    pub never_seen_used: Sum,
    /// Objects without a price, since their class or size is not known or their class is not managed.
    pub unpriced_objects: u64,
    pub buckets: u64,
    /// The dearest buckets, the dearest first.
    pub top_buckets: Vec<BucketUsage>,
    pub other_buckets: Rest,
    /// The moves that the policy wants and the guards allow. By bucket they stand in `top_buckets`, not here.
    pub moves: Summary,
}

impl Usage {
    /// Sums by class, in the order of the classes; what is not known comes last.
    pub fn by_class(&self) -> Vec<(Option<StorageClass>, Sum)> {
        let mut sums: BTreeMap<(bool, Option<StorageClass>), Sum> = BTreeMap::new();
        for ((class, _), sum) in &self.by_class_and_age {
            *sums.entry((class.is_none(), *class)).or_default() += *sum;
        }
        sums.into_iter().map(|((_, class), sum)| (class, sum)).collect()
    }

    /// Rows that could not be read, and so are in no sum.
    pub fn unreadable_rows(&self) -> u64 {
        self.moves.total.skipped.get(&SkipReason::Unreadable).copied().unwrap_or(0)
    }

    /// The sum of one age, over all classes.
    pub fn of_age(&self, age: AgeBand) -> Sum {
        let mut all = Sum::default();
        for ((_, band), sum) in &self.by_class_and_age {
            if *band == age {
                all += *sum;
            }
        }
        all
    }

    /// Moves between classes that lower the monthly bill, those that save most first.
    pub fn paying_moves(&self) -> Vec<((StorageClass, StorageClass), Totals)> {
        self.moves_where(|totals| totals.monthly_saving_usd > 0.0)
    }

    /// Moves between classes that raise the bill at first, and are expected to save more than that with time.
    pub fn later_paying_moves(&self) -> Vec<((StorageClass, StorageClass), Totals)> {
        self.moves_where(|totals| totals.monthly_saving_usd <= 0.0 && pays_later(totals))
    }

    /// Moves between classes that are wanted for reading, and raise the monthly bill.
    pub fn costing_moves(&self) -> Vec<((StorageClass, StorageClass), Totals)> {
        self.moves_where(|totals| totals.monthly_saving_usd <= 0.0 && !pays_later(totals))
    }

    fn moves_where(&self, wanted: impl Fn(&Totals) -> bool) -> Vec<((StorageClass, StorageClass), Totals)> {
        let mut pairs: Vec<_> = self
            .moves
            .by_pair
            .iter()
            .filter(|(_, totals)| wanted(totals))
            .map(|(pair, totals)| (*pair, *totals))
            .collect();
        pairs.sort_by(|(_, a), (_, b)| b.monthly_saving_usd.total_cmp(&a.monthly_saving_usd));
        pairs
    }
}

fn pays_later(totals: &Totals) -> bool {
    totals.expected_saving_usd.is_some_and(|usd| usd > 0.0)
}

/// The sum of some totals.
pub fn add_up<'a>(totals: impl IntoIterator<Item = &'a Totals>) -> Totals {
    let mut all = Totals::default();
    for part in totals {
        all.objects += part.objects;
        all.bytes += part.bytes;
        all.cost_usd += part.cost_usd;
        all.monthly_saving_usd += part.monthly_saving_usd;
        all.expected_saving_usd = sum_of(all.expected_saving_usd, part.expected_saving_usd);
    }
    all
}

/// Sums up rows.
#[derive(Debug)]
pub struct Tally<'a> {
    bench: Bench<'a>,
    /// How many buckets are kept by name.
    keep_buckets: usize,
    usage: Usage,
    open: Option<(BucketName, Sum)>,
}

impl<'a> Tally<'a> {
    /// Judges moves at `bench` and keeps the `keep_buckets` dearest buckets by name.
    pub fn new(bench: Bench<'a>, keep_buckets: usize) -> Self {
        Self { bench, keep_buckets, usage: Usage::default(), open: None }
    }

    /// Adds a row, of which the bucket's policy thinks `decision`.
    pub fn add(&mut self, row: &LedgerRow, decision: Option<Decision>) {
        let bucket = &row.id.bucket;
        let cost = monthly_usd(row, self.bench.prices, self.bench.now);
        let sum = Sum { objects: 1, bytes: row.size.unwrap_or(0), monthly_usd: cost.unwrap_or(0.0) };
        self.open_bucket(bucket, sum);

        let usage = &mut self.usage;
        usage.total += sum;
        let age = AgeBand::of(row.event_time, self.bench.now);
        *usage.by_class_and_age.entry((row.class, age)).or_default() += sum;
        if let Some(bytes) = row.size {
            *usage.by_size.entry(SizeBand::of(bytes)).or_default() += sum;
        }
        if row.is_only_adopted() {
            usage.never_seen_used += sum;
        }
        if cost.is_none() {
            usage.unpriced_objects += 1;
        }
        usage.moves.consider(bucket);
        match self.bench.judge(row, decision) {
            Judgement::Stay(_) => {}
            Judgement::Move(proposal) => usage.moves.add(&PlannedMove::from(proposal)),
            Judgement::Skip { objection, .. } => usage.moves.skip(bucket, objection.reason()),
        }
    }

    /// Notes a row that cannot be read: there is an object, and nothing else is known of it.
    pub fn unreadable(&mut self, bucket: &BucketName) {
        self.open_bucket(bucket, Sum::default());
        self.usage.moves.consider(bucket);
        self.usage.moves.skip(bucket, SkipReason::Unreadable);
    }

    /// The sums of all rows.
    pub fn finish(mut self) -> Usage {
        self.close_bucket();
        self.usage
    }

    fn open_bucket(&mut self, bucket: &BucketName, sum: Sum) {
        match &mut self.open {
            Some((open, so_far)) if open == bucket => *so_far += sum,
            _ => {
                self.close_bucket();
                self.open = Some((bucket.clone(), sum));
            }
        }
    }

    fn close_bucket(&mut self) {
        let Some((bucket, stored)) = self.open.take() else { return };
        let usage = &mut self.usage;
        usage.buckets += 1;
        // Out of the summary, which else would keep every bucket there is.
        let moves = usage.moves.by_bucket.remove(&bucket).unwrap_or_default();
        let rank = usage.top_buckets.partition_point(|other| other.stored.monthly_usd >= stored.monthly_usd);
        usage.top_buckets.insert(rank, BucketUsage { bucket, stored, moves });
        if usage.top_buckets.len() > self.keep_buckets
            && let Some(last) = usage.top_buckets.pop()
        {
            usage.other_buckets.buckets += 1;
            usage.other_buckets.stored += last.stored;
            usage.other_buckets.planned = add_up([&usage.other_buckets.planned, &last.moves.planned]);
        }
    }
}

/// What storing the row's object costs a month; None where its class or size is not known, or has no price.
pub fn monthly_usd(row: &LedgerRow, prices: &Prices, now: DateTime<Utc>) -> Option<f64> {
    // Intelligent-Tiering bills less for what is neither new nor used; what is not known is taken for new.
    let days = |time: Option<DateTime<Utc>>| time.map_or(0, |time| whole_days(time, now));
    let idle_days = days(row.class_since).min(days(row.event_time));
    prices.monthly_storage_usd(Stored { class: row.class?, bytes: row.size?, idle_days })
}

/// Whole days of 24 hours from `since` to `now`; 0 if `since` is later.
fn whole_days(since: DateTime<Utc>, now: DateTime<Utc>) -> u64 {
    u64::try_from((now - since).num_days()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;
    use crate::tiering::cost::tests::us_east_1;
    use crate::tiering::object::{ETag, ObjectId, ObjectKey};
    use crate::tiering::policy::guard::{Evidence, Guards};
    use crate::tiering::policy::objection::SkipReason;
    use crate::tiering::policy::recency::Recency;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn guards() -> Guards {
        Guards::usual()
    }

    fn row(bucket: &str, class: StorageClass, size: u64, idle_days: i64) -> LedgerRow {
        let id = ObjectId::new(BucketName::new(bucket).unwrap(), ObjectKey::new("key").unwrap());
        LedgerRow {
            etag: Some(ETag::new("e").unwrap()),
            count: 1,
            event_time: Some(now() - TimeDelta::days(idle_days)),
            class: Some(class),
            size: Some(size),
            class_since: Some(now() - TimeDelta::days(400)),
            ..LedgerRow::new(id)
        }
    }

    fn tally(rows: &[LedgerRow], keep_buckets: usize) -> Usage {
        let (prices, guards) = (us_east_1(), guards());
        let bench = Bench { now: now(), guards: &guards, evidence: Evidence::default(), prices: &prices };
        let mut tally = Tally::new(bench, keep_buckets);
        for row in rows {
            tally.add(row, Recency::default().decide(row, now()));
        }
        tally.finish()
    }

    #[test]
    fn ages_fall_into_bands_as_recency_counts_days() {
        let second = TimeDelta::seconds(1);
        for (days, band) in [
            (-1, AgeBand::To1Day),
            (1, AgeBand::To1Day),
            (7, AgeBand::To7Days),
            (30, AgeBand::To30Days),
            (60, AgeBand::To60Days),
            (90, AgeBand::To90Days),
            (180, AgeBand::To180Days),
            (365, AgeBand::To365Days),
            (366, AgeBand::Older),
        ] {
            let last_use = now() - TimeDelta::days(days);
            assert_eq!(AgeBand::of(Some(last_use), now()), band, "{days} days");
            if days > 0 {
                let almost_a_day_more = last_use - TimeDelta::days(1) + second;
                assert_eq!(AgeBand::of(Some(almost_a_day_more), now()), band, "{days} days and a bit");
            }
        }
        assert_eq!(AgeBand::of(None, now()), AgeBand::Unknown);
    }

    #[test]
    fn sizes_fall_into_the_band_that_names_them() {
        for (bytes, band) in [
            (0, SizeBand::Under1Kib),
            (1023, SizeBand::Under1Kib),
            (1024, SizeBand::Under128Kib),
            (128 * 1024 - 1, SizeBand::Under128Kib),
            (128 * 1024, SizeBand::Under1Mib),
            (MIB, SizeBand::Under16Mib),
            (16 * MIB, SizeBand::Under128Mib),
            (128 * MIB, SizeBand::Under1Gib),
            (GIB, SizeBand::Under5Gib),
            (5 * GIB, SizeBand::From5Gib),
            (u64::MAX, SizeBand::From5Gib),
        ] {
            assert_eq!(SizeBand::of(bytes), band, "{bytes}");
        }
    }

    #[test]
    fn what_is_stored_and_what_would_pay_are_summed_in_one_pass() {
        let unknown = LedgerRow { class: None, size: None, etag: None, ..row("aaa", StorageClass::Standard, 0, 3) };
        let adopted = LedgerRow { count: 0, ..row("bbb", StorageClass::Standard, GIB, 200) };
        let usage = tally(
            &[
                row("aaa", StorageClass::Standard, 100 * GIB, 0),
                row("aaa", StorageClass::Standard, 10 * GIB, 40),
                unknown,
                adopted,
                row("bbb", StorageClass::Unmanaged, GIB, 200),
                row("bbb", StorageClass::StandardIa, 100, 1),
            ],
            10,
        );
        assert_eq!((usage.total.objects, usage.total.bytes), (6, 112 * GIB + 100));
        let standard = 111.0 * 0.023;
        let small = 128.0 / 1024.0 / 1024.0 * 0.0125;
        assert!((usage.total.monthly_usd - standard - small).abs() < 1e-9, "{}", usage.total.monthly_usd);
        assert_eq!((usage.unpriced_objects, usage.never_seen_used.objects), (2, 1));
        assert_eq!(usage.of_age(AgeBand::To180Days), Sum::default());
        assert_eq!(usage.of_age(AgeBand::To365Days).objects, 2);
        assert_eq!(usage.by_class().last().unwrap().0, None, "what is not known comes last");
        assert_eq!(usage.by_size.values().map(|sum| sum.objects).sum::<u64>(), 5);

        assert_eq!(usage.moves.total.skipped[&SkipReason::NotReconciled], 1);
        assert_eq!(usage.moves.total.skipped[&SkipReason::UnmanagedClass], 1);
        assert_eq!(usage.moves.total.skipped[&SkipReason::UnderMinimumSize], 1);
        let pairs: Vec<_> = usage.paying_moves().into_iter().map(|(pair, totals)| (pair, totals.bytes)).collect();
        assert_eq!(
            pairs,
            [
                ((StorageClass::Standard, StorageClass::StandardIa), 10 * GIB),
                ((StorageClass::Standard, StorageClass::Glacier), GIB)
            ]
        );
        assert!(usage.moves.by_bucket.is_empty(), "the summary keeps no bucket");
        assert_eq!(usage.top_buckets[0].moves.planned.bytes, 10 * GIB);
    }

    #[test]
    fn a_move_towards_readers_is_told_apart_from_one_that_pays() {
        let usage = tally(&[row("aaa", StorageClass::StandardIa, GIB, 1)], 10);
        assert_eq!(usage.paying_moves(), []);
        assert_eq!(usage.costing_moves()[0].0, (StorageClass::StandardIa, StorageClass::Standard));
    }

    proptest! {
        #[test]
        fn the_dearest_buckets_are_kept_and_none_is_lost(sizes in prop::collection::vec(0..50_u64, 0..30), keep in 0..8_usize) {
            let rows: Vec<_> = sizes
                .iter()
                .enumerate()
                .map(|(i, gib)| row(&format!("bucket-{i:02}"), StorageClass::Standard, gib * GIB, 100))
                .collect();
            let usage = tally(&rows, keep);
            let mut expected = sizes.clone();
            expected.sort_unstable_by(|a, b| b.cmp(a));
            expected.truncate(keep);
            let kept: Vec<u64> = usage.top_buckets.iter().map(|bucket| bucket.stored.bytes / GIB).collect();
            prop_assert_eq!(kept, expected);

            let mut all = usage.other_buckets.stored;
            usage.top_buckets.iter().for_each(|bucket| all += bucket.stored);
            prop_assert_eq!((all.objects, all.bytes), (usage.total.objects, usage.total.bytes));
            let planned = usage.top_buckets.iter().map(|bucket| &bucket.moves.planned);
            let planned = add_up(planned.chain([&usage.other_buckets.planned]));
            prop_assert_eq!(planned.objects, usage.moves.total.planned.objects);
            prop_assert_eq!(usage.buckets, sizes.len() as u64);
        }
    }
}
