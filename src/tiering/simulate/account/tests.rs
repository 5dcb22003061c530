use super::*;
use crate::tiering::cost::tests::us_east_1;

const GIB: u64 = 1 << 30;

fn tariff(prices: &Prices) -> Tariff<'_> {
    let copies = Copies { multipart_threshold_bytes: 5 << 30, part_bytes: 512 << 20 };
    Tariff { prices, copies, restore: RestoreSpeed::Standard, restore_days: 1, restored_class: StorageClass::Standard }
}

fn check(bill: &Bill, expected: Costs) {
    let (got, expected) = (bill.total(), expected);
    for (name, got, expected) in [
        ("storage", got.storage_usd, expected.storage_usd),
        ("retrieval", got.retrieval_usd, expected.retrieval_usd),
        ("requests", got.requests_usd, expected.requests_usd),
        ("early deletion", got.early_deletion_usd, expected.early_deletion_usd),
        ("monitoring", got.monitoring_usd, expected.monitoring_usd),
    ] {
        assert!((got - expected).abs() < 1e-12, "{name}: {got} instead of {expected}");
    }
}

#[test]
fn a_gigabyte_in_standard_costs_its_months_its_put_and_its_gets() {
    let prices = us_east_1();
    let (tariff, mut bill) = (tariff(&prices), Bill::default());
    let mut held = tariff.put(0, GIB, &mut bill);
    tariff.read(&mut held, 45, 10, 10 * GIB, &mut bill);
    tariff.store(&mut held, 90, &mut bill);
    check(&bill, Costs { storage_usd: 3.0 * 0.023, requests_usd: 0.000_005 + 10.0 * 0.000_000_4, ..Costs::default() });
    assert_eq!(bill.periods.len(), 3);
    assert!((bill.periods[0].storage_usd - 0.023).abs() < 1e-12);
}

#[test]
fn standard_ia_left_early_costs_the_rest_of_its_month() {
    let prices = us_east_1();
    let (tariff, mut bill) = (tariff(&prices), Bill::default());
    let mut held = Held::written(0, 2 * GIB);
    tariff.change_class(&mut held, 10, StorageClass::StandardIa, &mut bill);
    tariff.read(&mut held, 15, 3, GIB, &mut bill);
    tariff.end(&mut held, 20, &mut bill);
    let storage_usd = 2.0 * (10.0 * 0.023 + 10.0 * 0.0125) / 30.0;
    let early_deletion_usd = 2.0 * 20.0 / 30.0 * 0.0125;
    let requests_usd = 0.000_01 + 3.0 * 0.000_001;
    check(&bill, Costs { storage_usd, retrieval_usd: 0.01, requests_usd, early_deletion_usd, ..Costs::default() });
    assert_eq!((bill.moves, bill.delayed_reads), (1, 0));
}

#[test]
fn intelligent_tiering_gets_cheaper_after_30_and_90_idle_days_and_starts_again_with_a_read() {
    let prices = us_east_1();
    let (tariff, mut bill) = (tariff(&prices), Bill::default());
    let mut held = Held::written(0, GIB);
    tariff.change_class(&mut held, 1, StorageClass::IntelligentTiering, &mut bill);
    tariff.read(&mut held, 121, 1, GIB, &mut bill);
    tariff.store(&mut held, 161, &mut bill);
    let days = 1.0 * 0.023 + 30.0 * 0.023 + 60.0 * 0.0125 + 30.0 * 0.004 + 30.0 * 0.023 + 10.0 * 0.0125;
    check(
        &bill,
        Costs {
            storage_usd: days / 30.0,
            requests_usd: 0.000_005 + 0.000_000_4,
            monitoring_usd: 160.0 / 30.0 * 0.000_002_5,
            ..Costs::default()
        },
    );
}

#[test]
fn a_read_of_an_archived_object_waits_pays_the_restore_and_brings_it_back() {
    let prices = us_east_1();
    let (tariff, mut bill) = (tariff(&prices), Bill::default());
    let mut held = Held::written(0, GIB);
    tariff.change_class(&mut held, 0, StorageClass::Glacier, &mut bill);
    tariff.read(&mut held, 100, 2, 2 * GIB, &mut bill);
    assert_eq!((held.class, bill.delayed_reads, bill.moves), (StorageClass::Standard, 2, 2));
    let kib = 1.0 / (1024.0 * 1024.0);
    let storage_usd = 100.0 / 30.0 * (0.0036 * (1.0 + 32.0 * kib) + 0.023 * 8.0 * kib);
    let retrieval_usd = 0.000_05 + 0.01 + 0.023 / 30.0;
    let requests_usd = 0.000_03 + 0.000_005 + 2.0 * 0.000_000_4;
    check(&bill, Costs { storage_usd, retrieval_usd, requests_usd, ..Costs::default() });
}

#[test]
fn a_small_object_pays_the_floor_of_its_class_and_no_monitoring() {
    let prices = us_east_1();
    let (tariff, mut bill) = (tariff(&prices), Bill::default());
    let mut held = Held::written(0, 64 * 1024);
    tariff.change_class(&mut held, 0, StorageClass::IntelligentTiering, &mut bill);
    tariff.store(&mut held, 300, &mut bill);
    tariff.change_class(&mut held, 300, StorageClass::GlacierIr, &mut bill);
    tariff.store(&mut held, 330, &mut bill);
    let gib = 1.0 / 16_384.0;
    let storage_usd = 10.0 * 0.023 * gib + 2.0 * gib * 0.004;
    check(&bill, Costs { storage_usd, requests_usd: 0.000_005 + 0.000_02, ..Costs::default() });
}

#[test]
fn a_bill_that_begins_later_is_added_where_it_belongs() {
    let prices = us_east_1();
    let tariff = tariff(&prices);
    let (mut whole, mut begun, mut rest) = (Bill::default(), Bill::default(), Bill::since(45));
    let mut held = tariff.put(3, 1 << 30, &mut whole);
    tariff.store(&mut held, 100, &mut whole);
    let mut held = tariff.put(3, 1 << 30, &mut begun);
    tariff.store(&mut held, 45, &mut begun);
    tariff.store(&mut held, 100, &mut rest);
    assert_eq!((begun.periods.len(), rest.periods.len()), (2, 3));
    begun += &rest;
    assert_eq!(begun.periods.len(), whole.periods.len());
    for (sum, expected) in begun.periods.iter().zip(&whole.periods) {
        assert!((sum.total_usd() - expected.total_usd()).abs() < 1e-12, "{begun:?} instead of {whole:?}");
    }
}
