//! Costs against published examples, by hand, and by properties.

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

fn times(prices: &Prices, factor: f64) -> Prices {
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
