use super::*;
use crate::tiering::adaptive::hazard::Hazards;
use crate::tiering::adaptive::safeguard::Expert;
use crate::tiering::adaptive::tests::rules_of;
use crate::tiering::cost::tests::us_east_1;
use crate::tiering::evidence::{Cell, IdleTable};

/// In every cell the chances by the day that `of` gives for its class and bin: of a read, and of the end.
fn seen(of: impl Fn(usize, usize) -> (f64, f64)) -> Stays {
    let exposed_days = 1e9;
    let cell = |(read, end)| Cell { exposed_days, reads: read * exposed_days, ends: end * exposed_days };
    let row = |class| (0..IDLE_BINS).map(|bin| cell(of(class, bin))).collect();
    let table = IdleTable::try_from((0..HEAT_CLASSES).map(row).collect::<Vec<_>>()).unwrap();
    Stays::new(Hazards::prior().learned(&table))
}

fn kind(log_size: u32) -> Kind {
    Kind { bytes: 1 << log_size, bytes_read: 1 << log_size, reads: 1 }
}

/// A day costs storage, and a read by chance. A later dollar is worth less, and on each day the object may end: a geometric
/// series.
#[test]
fn what_staying_costs_is_the_sum_over_all_days_to_come() {
    let prices = us_east_1();
    for (read, end) in [(0.0, 0.001), (0.01, 0.0), (0.2, 0.001), (0.9, 0.0002)] {
        let stays = seen(|_, _| (read, end));
        for log_size in [17, 21, 30] {
            let rules = Rules { classes: vec![StorageClass::Standard], ..rules_of(Expert::Careful) };
            let plan = Plan::solve(&prices, &stays, kind(log_size), &rules, None);
            let standard = prices.classes.standard;
            let daily = f64::from(1_u32 << log_size) / f64::from(1_u32 << 30) * standard.storage_gb_month / 30.0;
            let expected = (daily + read * standard.get_per_1000 / 1000.0) / (1.0 - 0.9985 * (1.0 - end));
            for (bin, class) in (0..IDLE_BINS).flat_map(|bin| (0..HEAT_CLASSES).map(move |class| (bin, class))) {
                for usd in [plan.least_usd(Place::Standard, bin, class), plan.staying_usd(Place::Standard, bin, class)]
                {
                    let error = (usd / expected - 1.0).abs();
                    assert!(error < 0.002, "{usd} for {expected}: {read} {end} {log_size} {bin} {class}");
                }
            }
        }
    }
}

/// Rounds alone come to the same, given time.
#[test]
fn what_is_worked_out_at_once_is_what_rounds_without_end_come_to() {
    let prices = us_east_1();
    let odd = |class: usize, bin: usize| (class * 7 + bin * 5).is_multiple_of(4);
    let tables = [
        seen(|class, bin| (0.05 / (1.0 + bin as f64) * (1.0 + class as f64), 0.02)),
        seen(|class, bin| (if odd(class, bin) { 0.2 } else { 0.001 }, 0.01)),
        seen(|_, bin| (if bin == 13 { 0.5 } else { 0.0 }, 0.005)),
    ];
    for (stays, expert) in
        tables.iter().flat_map(|stays| [Expert::Careful, Expert::Patient].map(|expert| (stays, expert)))
    {
        let rules = rules_of(expert);
        let mut slow = Solver::new(&prices, stays, kind(22), &rules);
        let best = loop {
            let before = slow.least.clone();
            let best = slow.round();
            let figures = slow.least.iter().flatten().flatten().zip(before.iter().flatten().flatten());
            if figures.into_iter().all(|(now, before)| (now - before).abs() <= 1e-9 * now) {
                break best;
            }
        };
        let plan = Plan::solve(&prices, stays, kind(22), &rules, None);
        assert!(plan.best == best, "{expert}: other decisions");
        for (place, bin) in slow.places.iter().flat_map(|place| (0..IDLE_BINS).map(move |bin| (*place, bin))) {
            for class in 0..HEAT_CLASSES {
                let (usd, expected) = (plan.least_usd(place, bin, class), slow.least[place as usize][bin][class]);
                assert!((usd / expected - 1.0).abs() < 1e-5, "{expert} {place:?} {bin} {class}: {usd} for {expected}");
            }
        }
    }
}

#[test]
fn to_begin_with_another_plan_leads_to_the_same() {
    let prices = us_east_1();
    let stays = [0.3, 0.01].map(|read| seen(|class, bin| (read * (1.0 + class as f64) / (12.0 + bin as f64), 0.001)));
    let rules = rules_of(Expert::Thrifty);
    let before = Plan::solve(&prices, &stays[0], kind(20), &rules, None).into_least();
    let cold = Plan::solve(&prices, &stays[1], kind(20), &rules, None);
    let warm = Plan::solve(&prices, &stays[1], kind(20), &rules, Some(&before));
    assert!(cold.best == warm.best);
    assert_ne!(cold.least, before);
}
