//! Costs against published examples, by hand, and by properties.

use chrono::{DateTime, TimeDelta, Utc};
use figment::Figment;
use figment::providers::{Format, Toml};
use proptest::prelude::*;

use super::*;
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::object::{BucketName, ETag, ObjectId, ObjectKey};
use crate::tiering::policy::guard::{Archived, Bench, Evidence, Guards, Judgement, Rule};
use crate::tiering::policy::objection::SkipReason;
use crate::tiering::policy::recency::{Recency, RecencyStep};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

fn read(text: &str) -> Prices {
    Figment::from(Toml::string(text)).extract().unwrap()
}

pub(crate) fn us_east_1() -> Prices {
    read(include_str!("../../../config/prices/us-east-1.toml"))
}

fn all() -> [Prices; 3] {
    [
        us_east_1(),
        read(include_str!("../../../config/prices/ap-northeast-1.toml")),
        read(include_str!("../../../config/prices/ap-northeast-2.toml")),
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
    let text = include_str!("../../../config/prices/us-east-1.toml");
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

/// S3 FAQ, S3 Glacier Flexible Retrieval, "How is my storage charge calculated": 100,000 objects of 1 GB each are billed as
/// 100,003.2 GB of GLACIER and 0.8 GB of STANDARD. (It takes a KB for a millionth of a GB.)
#[test]
fn a_hundred_thousand_archived_gigabytes_cost_what_the_faq_says() {
    let prices = us_east_1();
    let cost = 100_000.0 * prices.monthly_storage_usd(stored(StorageClass::Glacier, GIB)).unwrap();
    let faq = 100_003.2 * 0.0036 + 0.8 * 0.023;
    assert!((cost - faq).abs() < faq * 1e-5, "{cost} instead of {faq}");
}

/// AWS Pricing Calculator, S3 Glacier Deep Archive, us-east-1, 100 GB a month of 10 KB on average: 10,485,760 objects; 320 GB
/// of overhead at 0.00099 are $0.3168, 80 GB at STANDARD's price $1.84, the objects themselves $0.099; together $2.2558. (As
/// quoted, step by step, in "Explain AWS S3 Glacier Storage Class charges", Stack Overflow.)
#[test]
fn ten_million_small_archived_objects_cost_what_the_calculator_says() {
    let prices = us_east_1();
    let cost = prices.monthly_storage_usd(stored(StorageClass::DeepArchive, 10 * KIB)).unwrap();
    close(cost * 10_485_760.0, 0.3168 + 1.84 + 0.099, "DEEP_ARCHIVE");
    let standard = prices.monthly_storage_usd(stored(StorageClass::Standard, 10 * KIB)).unwrap() * 10_485_760.0;
    close(standard, 2.30, "the same in STANDARD, which is hardly more");
}

/// S3 FAQ, S3 Standard-IA and S3 Glacier Instant Retrieval, "Is there a minimum object storage charge": an object of 6 KB is
/// charged for its 6 KB and for 122 KB more.
#[test]
fn a_small_object_pays_for_what_it_lacks_to_the_floor_as_the_faq_says() {
    let prices = us_east_1();
    for class in [StorageClass::StandardIa, StorageClass::GlacierIr] {
        let cost = |bytes| prices.monthly_storage_usd(stored(class, bytes)).unwrap();
        let rate = prices.class(class).unwrap().storage_gb_month;
        close(cost(6 * KIB), rate * (6 + 122) as f64 * KIB as f64 / BYTES_PER_GB, class.as_str());
    }
}

/// S3 FAQ, S3 Glacier Instant Retrieval, "minimum storage duration": in us-east-1 $0.012 a GB are due that is deleted within
/// three months; deleted on day 30, $0.008 of them.
#[test]
fn leaving_glacier_instant_retrieval_early_costs_what_the_faq_says() {
    let prices = us_east_1();
    for (day, expected) in [(0, 0.012), (30, 0.008), (90, 0.0)] {
        let question = MoveQuestion {
            days_in_class: Some(day),
            ..question(StorageClass::GlacierIr, StorageClass::DeepArchive, GIB)
        };
        close(prices.move_cost(&question).unwrap().early_deletion_usd, expected, &format!("day {day}"));
    }
}

/// A bill of November 2012 (alestic.com, "Cost of Transitioning S3 Objects to Glacier"): 5,306,220 objects of 350 GB together
/// at $0.05 a thousand came to $265.31, the price of those days.
#[test]
fn archiving_many_small_objects_costs_what_was_once_billed() {
    let mut prices = us_east_1();
    prices.classes.glacier.put_per_1000 = 0.05;
    let bytes = 350 * GIB / 5_306_220;
    let cost = prices.move_cost(&question(StorageClass::Standard, StorageClass::Glacier, bytes)).unwrap();
    assert_eq!((cost.one_off_usd() * 5_306_220.0 * 100.0).round() / 100.0, 265.31);
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

/// The prices with one class dearer in everything than every other.
fn with_a_dear_class(prices: &Prices, dear: StorageClass) -> Prices {
    let mut prices = prices.clone();
    let all = StorageClass::MANAGED.map(|class| *prices.class(class).unwrap());
    let highest = |what: fn(&ClassPrices) -> f64| 2.0 * all.iter().map(what).fold(0.01, f64::max);
    let table = &mut prices.classes;
    let place = match dear {
        StorageClass::Standard => &mut table.standard,
        StorageClass::IntelligentTiering => &mut table.intelligent_tiering,
        StorageClass::StandardIa => &mut table.standard_ia,
        StorageClass::OnezoneIa => &mut table.onezone_ia,
        StorageClass::GlacierIr => &mut table.glacier_ir,
        StorageClass::Glacier => &mut table.glacier,
        StorageClass::DeepArchive => &mut table.deep_archive,
        other => panic!("nothing is moved to {other}"),
    };
    *place = ClassPrices {
        storage_gb_month: highest(|p| p.storage_gb_month),
        put_per_1000: highest(|p| p.put_per_1000),
        get_per_1000: highest(|p| p.get_per_1000),
        retrieval_gb: highest(|p| p.retrieval_gb),
    };
    prices
}

/// A row that recency has something to say of, under guards that ask for a saving within a year.
fn any_row() -> impl Strategy<Value = LedgerRow> {
    let class = prop::sample::select(StorageClass::MANAGED.to_vec());
    (class, 0..(1_u64 << 34), 0..400_i64, 0..400_i64).prop_map(|(class, size, idle, since)| {
        let id = ObjectId::new(BucketName::new("bucket").unwrap(), ObjectKey::new("key").unwrap());
        LedgerRow {
            etag: Some(ETag::new("e").unwrap()),
            count: 1,
            event_time: Some(now() - TimeDelta::days(idle)),
            class: Some(class),
            size: Some(size),
            class_since: Some(now() - TimeDelta::days(since)),
            ..LedgerRow::new(id)
        }
    })
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// What becomes of a row at these prices, if a policy wants it in `to`.
fn judge(prices: &Prices, row: &LedgerRow, to: StorageClass) -> Judgement {
    let guards = Guards {
        min_object_bytes: 0,
        minimum_duration: Rule::Waived,
        max_payback_months: Some(12.0),
        archived: Archived::Restore,
        ..Guards::usual()
    };
    let always = Recency::new(vec![RecencyStep { up_to_days: None, class: to }]).unwrap();
    let bench = Bench { now: now(), guards: &guards, evidence: Evidence::default(), prices };
    bench.judge(row, always.decide(row, now()))
}

/// The same judgement, whatever it costs.
fn outcome(judgement: &Judgement) -> (Option<StorageClass>, Option<SkipReason>) {
    match judgement {
        Judgement::Stay(_) => (None, None),
        Judgement::Move(proposal) => (Some(proposal.decision.target), None),
        Judgement::Skip { objection, .. } => (None, Some(objection.reason())),
    }
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

#[test]
fn a_class_that_is_dearer_in_everything_is_never_the_cheapest() {
    for prices in all() {
        for dear in StorageClass::MANAGED {
            let prices = with_a_dear_class(&prices, dear);
            for bytes in [0, 1, KIB, 12 * KIB, 128 * KIB, MIB, GIB, 5000 * GIB] {
                // What costs nothing anywhere is where it is looked for first.
                let cheapest = prices.cheapest_at_rest(bytes);
                assert!(cheapest != dear || bytes == 0, "{dear} for {bytes} bytes in {}", prices.region);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_class_that_is_dearer_in_everything_is_never_demoted_to(
        row in any_row(),
        dear in prop::sample::select(StorageClass::MANAGED.to_vec()),
    ) {
        let from = row.class.unwrap();
        for prices in all() {
            let judgement = judge(&with_a_dear_class(&prices, dear), &row, dear);
            if from.is_demotion_to(dear) && row.size > Some(0) {
                prop_assert!(!matches!(judgement, Judgement::Move(_)), "{judgement:?}");
            }
        }
    }

    #[test]
    fn doubled_prices_change_no_decision(
        row in any_row(),
        to in prop::sample::select(StorageClass::MANAGED.to_vec()),
    ) {
        for prices in all() {
            // Twice is exact in binary: not even a rounding differs.
            prop_assert_eq!(outcome(&judge(&prices, &row, to)), outcome(&judge(&times(&prices, 2.0), &row, to)));
        }
    }

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
