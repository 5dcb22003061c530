//! What storing an object costs, what moving it costs, and when a move has paid for itself.
//!
//! Prices are data ([`Prices`], a file a region under `config/prices/`, with date and source); the rules by which S3 bills are
//! here: floors, overheads, durations. The rules are those of the S3 pricing page and its footnotes, and for copies of
//! CopyObject's reference ("Charges": the destination class's request, and the source class's retrieval).
//!
//! Only what a move changes is counted. Reads by users are not: how often an object will be read is for a policy to say.
//! Every figure is US dollars; a GB is 2^30 bytes, as S3 bills; a month is a billing month, and 30 days where S3 prorates a
//! minimum duration.
//!
//! A move from class A to class B costs once: the copy's requests at B's price, the retrieval out of A by the gigabyte, for
//! an archive the restore and its temporary copy, and the rest of A's minimum duration. It saves each month what A costs
//! above B. It pays back after cost / saving months, and never if it saves nothing.

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Deserializer, Serialize};

use super::storage_class::{Move, StorageClass};

/// Bytes in what S3 bills as a GB.
pub const BYTES_PER_GB: f64 = (1_u64 << 30) as f64;

/// Days in a month, where S3 prorates a minimum duration.
const DAYS_PER_MONTH: f64 = 30.0;

/// Objects below this are not monitored by Intelligent-Tiering: they pay no fee and stay in its frequent access tier.
const MONITORED_FROM_BYTES: u64 = 128 * 1024;

/// The price table of one region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub region: String,
    pub currency: String,
    /// The day on which the prices were right.
    pub as_of: NaiveDate,
    pub source: String,
    pub classes: ClassTable,
    pub intelligent_tiering: IntelligentTieringPrices,
    pub restore: RestoreTable,
}

/// The prices of every class; a table that lacks one cannot be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "SCREAMING_SNAKE_CASE")]
pub struct ClassTable {
    pub standard: ClassPrices,
    pub intelligent_tiering: ClassPrices,
    pub standard_ia: ClassPrices,
    pub onezone_ia: ClassPrices,
    pub glacier_ir: ClassPrices,
    pub glacier: ClassPrices,
    pub deep_archive: ClassPrices,
    pub reduced_redundancy: ClassPrices,
}

/// What one class costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassPrices {
    /// The first price band, by GB and month.
    #[serde(deserialize_with = "price")]
    pub storage_gb_month: f64,
    /// 1,000 PUT, COPY or POST requests into the class.
    #[serde(deserialize_with = "price")]
    pub put_per_1000: f64,
    /// 1,000 GET requests.
    #[serde(deserialize_with = "price")]
    pub get_per_1000: f64,
    /// A GB read, where reading is priced and no restore comes first.
    #[serde(default, deserialize_with = "price")]
    pub retrieval_gb: f64,
}

/// What Intelligent-Tiering costs beyond its frequent access tier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntelligentTieringPrices {
    #[serde(deserialize_with = "price")]
    pub infrequent_gb_month: f64,
    #[serde(deserialize_with = "price")]
    pub archive_instant_gb_month: f64,
    #[serde(deserialize_with = "price")]
    pub monitoring_per_1000_month: f64,
}

/// What restores cost, by class and tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "SCREAMING_SNAKE_CASE")]
pub struct RestoreTable {
    pub glacier: RestorePrices,
    pub deep_archive: RestorePrices,
}

/// What restores out of one class cost. DEEP_ARCHIVE has no expedited tier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestorePrices {
    pub standard: TierPrices,
    pub bulk: TierPrices,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expedited: Option<TierPrices>,
}

/// What a restore of one tier costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierPrices {
    #[serde(deserialize_with = "price")]
    pub per_1000: f64,
    #[serde(deserialize_with = "price")]
    pub per_gb: f64,
}

/// How urgently an archived object is restored, for its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RestoreSpeed {
    Expedited,
    Standard,
    Bulk,
}

fn price<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(serde::de::Error::custom(format!("a price is 0 or more, not {value}")))
    }
}

/// An object as its storage is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub class: StorageClass,
    pub bytes: u64,
    /// Whole days since the object was last read or came into its class, whichever is later: Intelligent-Tiering bills less
    /// after 30 and after 90. Of no matter in the other classes.
    pub idle_days: u64,
}

/// A move whose price is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MoveQuestion {
    pub from: Stored,
    pub to: StorageClass,
    /// Whole days in the present class, for its minimum duration; None is taken as long enough.
    pub days_in_class: Option<u64>,
    /// Requests that the copy takes: 1, or parts and 2 more for a copy in parts.
    pub copy_requests: u64,
    /// How an archived object is restored first.
    pub restore: RestoreSpeed,
    /// For how many days its temporary copy is kept.
    pub restore_days: u32,
}

/// What a move costs and saves, in US dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MoveCost {
    /// The copy's requests.
    pub requests_usd: f64,
    /// Reading the object out of its class.
    pub retrieval_usd: f64,
    /// The restore of an archived object, and its temporary copy.
    pub restore_usd: f64,
    /// The rest of the present class's minimum duration, which is billed whether the object stays or not.
    pub early_deletion_usd: f64,
    /// What storage costs less each month; negative where it costs more.
    pub monthly_saving_usd: f64,
}

impl MoveCost {
    /// Everything that is paid once.
    pub fn one_off_usd(&self) -> f64 {
        self.requests_usd + self.retrieval_usd + self.restore_usd + self.early_deletion_usd
    }

    /// Months until the move has paid for itself; None when it never does.
    pub fn months_to_break_even(&self) -> Option<f64> {
        months_to_break_even(self.one_off_usd(), self.monthly_saving_usd)
    }

    /// What the move has brought in after `months`, less what it cost.
    pub fn net_saving_usd(&self, months: f64) -> f64 {
        self.monthly_saving_usd * months - self.one_off_usd()
    }
}

/// Months until `one_off_usd` is earned back by `monthly_saving_usd`; None when there is no saving.
pub fn months_to_break_even(one_off_usd: f64, monthly_saving_usd: f64) -> Option<f64> {
    (monthly_saving_usd > 0.0).then(|| one_off_usd / monthly_saving_usd)
}

impl Prices {
    /// The prices of a class; None for one that tierd does not manage.
    pub fn class(&self, class: StorageClass) -> Option<&ClassPrices> {
        let table = &self.classes;
        Some(match class {
            StorageClass::Standard => &table.standard,
            StorageClass::IntelligentTiering => &table.intelligent_tiering,
            StorageClass::StandardIa => &table.standard_ia,
            StorageClass::OnezoneIa => &table.onezone_ia,
            StorageClass::GlacierIr => &table.glacier_ir,
            StorageClass::Glacier => &table.glacier,
            StorageClass::DeepArchive => &table.deep_archive,
            StorageClass::ReducedRedundancy => &table.reduced_redundancy,
            StorageClass::Unmanaged => return None,
        })
    }

    /// Whether the table is more than a year old on `today`.
    pub fn is_stale(&self, today: NaiveDate) -> bool {
        self.as_of + Days::new(365) < today
    }

    /// What storing the object costs a month, with the floor, the overheads and the monitoring fee of its class. None for a
    /// class without a price.
    pub fn monthly_storage_usd(&self, object: Stored) -> Option<f64> {
        let standard_overhead = gb(object.class.overhead_bytes().1) * self.classes.standard.storage_gb_month;
        Some(self.at_own_price_usd(object)? + standard_overhead + self.monthly_monitoring_usd(object))
    }

    /// What of [`Prices::monthly_storage_usd`] is Intelligent-Tiering's monitoring fee.
    pub fn monthly_monitoring_usd(&self, object: Stored) -> f64 {
        if is_monitored(object) { self.intelligent_tiering.monitoring_per_1000_month / 1000.0 } else { 0.0 }
    }

    /// What reading costs: (the requests, the retrieval by the gigabyte). `bytes` are those that the reads carry together. 0
    /// for a class without a price. A restore that must come first is not in it.
    pub fn read_usd(&self, class: StorageClass, reads: u64, bytes: u64) -> (f64, f64) {
        self.class(class)
            .map_or((0.0, 0.0), |prices| (reads as f64 * prices.get_per_1000 / 1000.0, gb(bytes) * prices.retrieval_gb))
    }

    /// The rest of a class's minimum duration after `days_in_class` (None is taken as long enough), which is billed whether the
    /// object stays or not. None for a class without a price.
    pub fn early_deletion_usd(&self, object: Stored, days_in_class: Option<u64>) -> Option<f64> {
        let left = u64::from(object.class.minimum_days()).saturating_sub(days_in_class.unwrap_or(u64::MAX));
        Some(left as f64 / DAYS_PER_MONTH * self.at_own_price_usd(object)?)
    }

    /// What a move costs and saves. None where a class has no price, or the restore tier does not exist for it.
    ///
    /// An object that comes into Intelligent-Tiering is reckoned in its frequent access tier: whether it will go cold there
    /// is what that class is to find out.
    pub fn move_cost(&self, question: &MoveQuestion) -> Option<MoveCost> {
        let MoveQuestion { from, to, .. } = *question;
        let into = Stored { class: to, bytes: from.bytes, idle_days: 0 };
        let size_gb = gb(from.bytes);
        let restore_usd = match from.class.move_to(to) {
            Move::RestoreThenCopy => {
                let tier = self.restore_tier(from.class, question.restore)?;
                let temporary_months = f64::from(question.restore_days) / DAYS_PER_MONTH;
                tier.per_1000 / 1000.0
                    + size_gb * (tier.per_gb + temporary_months * self.classes.standard.storage_gb_month)
            }
            Move::None | Move::Copy | Move::Impossible => 0.0,
        };
        Some(MoveCost {
            requests_usd: question.copy_requests as f64 * self.class(to)?.put_per_1000 / 1000.0,
            retrieval_usd: size_gb * self.class(from.class)?.retrieval_gb,
            restore_usd,
            early_deletion_usd: self.early_deletion_usd(from, question.days_in_class)?,
            monthly_saving_usd: self.monthly_storage_usd(from)? - self.monthly_storage_usd(into)?,
        })
    }

    /// The class in which an object of `bytes` that nobody reads is stored for the least.
    pub fn cheapest_at_rest(&self, bytes: u64) -> StorageClass {
        let cost = |class: StorageClass| {
            self.monthly_storage_usd(Stored { class, bytes, idle_days: 0 }).unwrap_or(f64::INFINITY)
        };
        let mut cheapest = StorageClass::Standard;
        for class in StorageClass::MANAGED {
            if cost(class) < cost(cheapest) {
                cheapest = class;
            }
        }
        cheapest
    }

    fn restore_tier(&self, class: StorageClass, speed: RestoreSpeed) -> Option<TierPrices> {
        let table = match class {
            StorageClass::Glacier => &self.restore.glacier,
            StorageClass::DeepArchive => &self.restore.deep_archive,
            _ => return None,
        };
        match speed {
            RestoreSpeed::Expedited => table.expedited,
            RestoreSpeed::Standard => Some(table.standard),
            RestoreSpeed::Bulk => Some(table.bulk),
        }
    }

    /// The monthly price of the bytes that are billed at the class's own price: what an early deletion goes by.
    fn at_own_price_usd(&self, object: Stored) -> Option<f64> {
        let class = object.class;
        let billed = object.bytes.max(class.minimum_billed_bytes()) + class.overhead_bytes().0;
        let rate = match object.idle_days {
            30..90 if is_monitored(object) => self.intelligent_tiering.infrequent_gb_month,
            90.. if is_monitored(object) => self.intelligent_tiering.archive_instant_gb_month,
            _ => self.class(class)?.storage_gb_month,
        };
        Some(gb(billed) * rate)
    }
}

fn is_monitored(object: Stored) -> bool {
    object.class == StorageClass::IntelligentTiering && object.bytes >= MONITORED_FROM_BYTES
}

fn gb(bytes: u64) -> f64 {
    bytes as f64 / BYTES_PER_GB
}

#[cfg(test)]
pub(crate) mod tests {
    use figment::Figment;
    use figment::providers::{Format, Toml};
    use proptest::prelude::*;

    use super::*;

    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    const GIB: u64 = 1024 * MIB;

    fn read(text: &str) -> Prices {
        Figment::from(Toml::string(text)).extract().unwrap()
    }

    pub(crate) fn us_east_1() -> Prices {
        read(include_str!("../../config/prices/us-east-1.toml"))
    }

    fn all() -> [Prices; 3] {
        [
            us_east_1(),
            read(include_str!("../../config/prices/ap-northeast-1.toml")),
            read(include_str!("../../config/prices/ap-northeast-2.toml")),
        ]
    }

    fn stored(class: StorageClass, bytes: u64) -> Stored {
        Stored { class, bytes, idle_days: 0 }
    }

    fn question(from: StorageClass, to: StorageClass, bytes: u64) -> MoveQuestion {
        MoveQuestion {
            from: stored(from, bytes),
            to,
            days_in_class: None,
            copy_requests: 1,
            restore: RestoreSpeed::Standard,
            restore_days: 1,
        }
    }

    fn close(got: f64, expected: f64, what: &str) {
        let tolerance = (expected.abs() * 1e-9).max(1e-15);
        assert!((got - expected).abs() <= tolerance, "{what}: {got} instead of {expected}");
    }

    #[test]
    fn each_price_file_names_its_region_date_and_source() {
        for (prices, region) in all().iter().zip(["us-east-1", "ap-northeast-1", "ap-northeast-2"]) {
            assert_eq!(prices.region, region);
            assert!(prices.source.contains(region) && prices.currency == "USD");
            assert!(!prices.is_stale(prices.as_of) && !prices.is_stale(prices.as_of + Days::new(365)));
            assert!(prices.is_stale(prices.as_of + Days::new(366)));
        }
    }

    #[test]
    fn a_table_with_a_class_missing_or_a_negative_price_is_refused() {
        let text = include_str!("../../config/prices/us-east-1.toml");
        for broken in [
            text.replace("[classes.GLACIER_IR]", "[classes.GLACIER_FAST]"),
            text.replace("put_per_1000 = 0.02", "put_per_1000 = -0.02"),
            text.replace("put_per_1000 = 0.02", "put_per_1000 = nan"),
            text.replace("put_per_1000 = 0.02", "putt_per_1000 = 0.02"),
        ] {
            assert_ne!(broken, text);
            assert!(Figment::from(Toml::string(&broken)).extract::<Prices>().is_err());
        }
    }

    #[test]
    fn demotions_break_even_when_aws_list_prices_say_so() {
        use StorageClass::{Glacier, Standard, StandardIa};
        let prices = us_east_1();
        for (to, bytes, months) in [
            (StandardIa, 128 * KIB, Some(7.8)),
            (StandardIa, MIB, Some(1.0)),
            (StandardIa, 71 * KIB, Some(317.8)),
            (StandardIa, 69 * KIB, None),
            (Glacier, 128 * KIB, Some(14.4)),
            (Glacier, MIB, Some(1.6)),
            (Glacier, 16 * KIB, Some(2808.7)),
            (Glacier, 15 * KIB, None),
        ] {
            let got = prices.move_cost(&question(Standard, to, bytes)).unwrap().months_to_break_even();
            let rounded = got.map(|months| (months * 10.0).round() / 10.0);
            assert_eq!(rounded, months, "STANDARD to {to} at {bytes} bytes");
        }
    }

    /// AWS Knowledge Center, "How do I manage data retrieval and storage costs for S3 Glacier": 15,000,000 objects of 100 TB
    /// together out of GLACIER cost $750 of requests and $1,024 of retrieval at the standard tier, and $150,000 of requests
    /// at the expedited one.
    #[test]
    fn restores_cost_what_the_published_example_says() {
        let mut prices = us_east_1();
        let objects = 15_000_000.0;
        let bytes = 102_400 * GIB / 15_000_000;
        let exactly_gb = bytes as f64 / BYTES_PER_GB * objects;
        // The example leaves the temporary copy out.
        prices.classes.standard.storage_gb_month = 0.0;
        for (restore, requests, per_gb) in
            [(RestoreSpeed::Standard, 750.0, 0.01), (RestoreSpeed::Expedited, 150_000.0, 0.03)]
        {
            let question = MoveQuestion { restore, ..question(StorageClass::Glacier, StorageClass::Standard, bytes) };
            let cost = prices.move_cost(&question).unwrap().restore_usd * objects;
            close(cost, requests + exactly_gb * per_gb, "restore");
        }
        assert!((exactly_gb * 0.01 - 1024.0).abs() < 0.01);
    }

    /// S3 FAQ, "How will I be charged and billed": 100 GB are 107,374,182,400 bytes; and the pricing page's footnotes on
    /// floors and overheads, by hand.
    #[test]
    fn storage_costs_what_the_footnotes_say() {
        use StorageClass::*;
        let prices = us_east_1();
        let kib = 1.0 / (1024.0 * 1024.0);
        for (class, bytes, idle_days, expected) in [
            (Standard, 107_374_182_400, 0, 2.30),
            (StandardIa, KIB, 0, 128.0 * kib * 0.0125),
            (OnezoneIa, 129 * KIB, 0, 129.0 * kib * 0.01),
            (GlacierIr, KIB, 0, 128.0 * kib * 0.004),
            (Glacier, 100 * KIB, 0, kib * (132.0 * 0.0036 + 8.0 * 0.023)),
            (DeepArchive, 100 * KIB, 0, kib * (132.0 * 0.00099 + 8.0 * 0.023)),
            (IntelligentTiering, 127 * KIB, 365, 127.0 * kib * 0.023),
            (IntelligentTiering, GIB, 29, 0.023 + 0.0000025),
            (IntelligentTiering, GIB, 30, 0.0125 + 0.0000025),
            (IntelligentTiering, GIB, 90, 0.004 + 0.0000025),
        ] {
            let cost = prices.monthly_storage_usd(Stored { class, bytes, idle_days }).unwrap();
            close(cost, expected, &format!("{bytes} bytes in {class}"));
        }
        assert_eq!(prices.monthly_storage_usd(stored(Unmanaged, 1)), None);
    }

    #[test]
    fn leaving_early_costs_the_rest_of_the_minimum_duration() {
        use StorageClass::*;
        let prices = us_east_1();
        for (class, days, expected) in [
            (StandardIa, Some(0), 0.0125),
            (StandardIa, Some(20), 0.0125 / 3.0),
            (StandardIa, Some(30), 0.0),
            (StandardIa, Some(1000), 0.0),
            (StandardIa, None, 0.0),
            (GlacierIr, Some(30), 0.008),
            (Standard, Some(0), 0.0),
        ] {
            let question = MoveQuestion { days_in_class: days, ..question(class, DeepArchive, GIB) };
            let cost = prices.move_cost(&question).unwrap();
            close(cost.early_deletion_usd, expected, &format!("{class} after {days:?} days"));
        }
    }

    #[test]
    fn each_part_of_a_move_is_priced() {
        use StorageClass::*;
        let prices = us_east_1();
        let up = prices.move_cost(&question(StandardIa, Standard, 2 * GIB)).unwrap();
        close(up.requests_usd, 0.000_005, "copy into STANDARD");
        close(up.retrieval_usd, 0.02, "2 GB out of STANDARD_IA");
        close(up.monthly_saving_usd, -0.021, "a promotion saves nothing");
        assert_eq!(up.months_to_break_even(), None);

        let parts = MoveQuestion { copy_requests: 22, ..question(Standard, Glacier, 10 * GIB) };
        close(prices.move_cost(&parts).unwrap().requests_usd, 22.0 * 0.00003, "a copy in 20 parts");

        let restore = MoveQuestion { restore: RestoreSpeed::Bulk, ..question(DeepArchive, Standard, GIB) };
        close(
            prices.move_cost(&restore).unwrap().restore_usd,
            0.000_025 + 0.0025 + 0.023 / 30.0,
            "a bulk restore and a day of its copy",
        );
        let none = MoveQuestion { restore: RestoreSpeed::Expedited, ..question(DeepArchive, Standard, GIB) };
        assert_eq!(prices.move_cost(&none), None, "DEEP_ARCHIVE has no expedited tier");
    }

    #[test]
    fn what_nobody_reads_belongs_in_the_deepest_class_above_its_size_floor() {
        for prices in all() {
            for bytes in [12 * KIB, 128 * KIB, MIB, GIB, 5000 * GIB] {
                assert_eq!(prices.cheapest_at_rest(bytes), StorageClass::DeepArchive, "{} {bytes}", prices.region);
            }
            for bytes in [0, 1, KIB, 8 * KIB] {
                assert_eq!(prices.cheapest_at_rest(bytes), StorageClass::Standard, "{} {bytes}", prices.region);
            }
        }
    }

    pub(crate) fn times(prices: &Prices, factor: f64) -> Prices {
        fn scale(value: &mut serde_json::Value, factor: f64) {
            match value {
                serde_json::Value::Number(n) => *value = (n.as_f64().unwrap() * factor).into(),
                serde_json::Value::Object(map) => map.values_mut().for_each(|value| scale(value, factor)),
                _ => {}
            }
        }
        let mut value = serde_json::to_value(prices).unwrap();
        scale(&mut value, factor);
        serde_json::from_value(value).unwrap()
    }

    fn any_question() -> impl Strategy<Value = MoveQuestion> {
        let class = || prop::sample::select(StorageClass::MANAGED.to_vec());
        (class(), class(), 0..(1_u64 << 42), prop::option::of(0..400_u64), 0..200_u64).prop_map(
            |(from, to, bytes, days_in_class, idle_days)| MoveQuestion {
                from: Stored { class: from, bytes, idle_days },
                days_in_class,
                ..question(from, to, bytes)
            },
        )
    }

    proptest! {
        #[test]
        fn doubled_prices_double_every_cost_and_change_no_break_even(question in any_question()) {
            for prices in all() {
                let once = prices.move_cost(&question).unwrap();
                let twice = times(&prices, 2.0).move_cost(&question).unwrap();
                close(twice.one_off_usd(), 2.0 * once.one_off_usd(), "one-off");
                close(twice.monthly_saving_usd, 2.0 * once.monthly_saving_usd, "saving");
                prop_assert_eq!(once.months_to_break_even().is_some(), twice.months_to_break_even().is_some());
                if let (Some(a), Some(b)) = (once.months_to_break_even(), twice.months_to_break_even()) {
                    close(b, a, "months");
                }
                prop_assert_eq!(
                    prices.cheapest_at_rest(question.from.bytes),
                    times(&prices, 2.0).cheapest_at_rest(question.from.bytes)
                );
            }
        }

        #[test]
        fn a_saving_never_turns_negative_with_time(question in any_question(), months in 0.0..240.0, later in 0.0..240.0) {
            let cost = us_east_1().move_cost(&question).unwrap();
            prop_assert!(cost.one_off_usd() >= 0.0);
            if let Some(even) = cost.months_to_break_even() {
                prop_assert!(cost.net_saving_usd(months + later) >= cost.net_saving_usd(months));
                prop_assert!(cost.net_saving_usd(even * 1.001 + later) >= 0.0);
            } else {
                prop_assert!(cost.net_saving_usd(months) <= 0.0);
            }
        }

        #[test]
        fn a_larger_object_never_costs_less(class in prop::sample::select(StorageClass::MANAGED.to_vec()), bytes in 0..MIB) {
            let prices = us_east_1();
            let cost = |bytes| prices.monthly_storage_usd(stored(class, bytes)).unwrap();
            prop_assert!(cost(bytes + 1) >= cost(bytes));
        }

        #[test]
        fn there_and_back_saves_nothing(a in any_question()) {
            let back = MoveQuestion { from: Stored { class: a.to, ..a.from }, to: a.from.class, ..a };
            let a = MoveQuestion { from: Stored { idle_days: 0, ..a.from }, ..a };
            let back = MoveQuestion { from: Stored { idle_days: 0, ..back.from }, ..back };
            let prices = us_east_1();
            let sum = prices.move_cost(&a).unwrap().monthly_saving_usd + prices.move_cost(&back).unwrap().monthly_saving_usd;
            prop_assert!(sum.abs() < 1e-12);
        }
    }
}
