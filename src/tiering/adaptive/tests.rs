use std::sync::Arc;

use proptest::prelude::*;

use super::hazard::{Hazards, OWN_FROM};
use super::learned::{Learned, View};
use super::safeguard::Expert;
use super::solve::Rules;
use super::stays::Stays;
use crate::tiering::cost::tests::{times, us_east_1};
use crate::tiering::cost::{Prices, RestoreSpeed};
use crate::tiering::evidence::{Cell, Day, DayAccess, HEAT_CLASSES, IDLE_BINS, IdleTable, ObjectEvidence};
use crate::tiering::storage_class::StorageClass;

fn stays(seen: &IdleTable) -> Arc<Stays> {
    Arc::new(Stays::new(Hazards::prior().learned(seen)))
}

pub(super) fn rules_of(expert: Expert) -> Rules {
    Rules {
        classes: expert.classes().to_vec(),
        patience_days: expert.patience_days(),
        restore: RestoreSpeed::Standard,
        restore_days: 1,
        restored: StorageClass::Standard,
    }
}

fn learned(prices: &Prices, seen: &IdleTable) -> Learned {
    Learned::new(prices, stays(seen), rules_of(Expert::Thrifty), None)
}

pub(super) fn any_table() -> impl Strategy<Value = IdleTable> {
    prop::collection::vec((0..HEAT_CLASSES, 1..900_u32, any::<bool>(), 1..200_u32), 0..30).prop_map(|gaps| {
        let mut table = IdleTable::default();
        for (class, days, read, times) in gaps {
            for _ in 0..times {
                if read { table.end_read(class, days) } else { table.end_unread(class, days) }
            }
        }
        table
    })
}

/// Objects over the whole of what there is.
fn objects() -> Vec<(StorageClass, u64, i32, ObjectEvidence)> {
    let mut all = Vec::new();
    for class in Expert::Thrifty.classes() {
        for log_size in [17, 20, 24, 30] {
            for idle_days in [1, 3, 7, 15, 29, 40, 70, 100, 200, 400, 800] {
                for heat in [0.0, 1.0, 3.0, 30.0] {
                    let evidence = ObjectEvidence {
                        written_day: Some(0),
                        last_read_day: (heat > 0.0).then_some(1000 - idle_days),
                        read_days: u32::from(heat > 0.0),
                        read_since_written: heat > 0.0,
                        heat,
                        last_day_bytes: 1 << log_size,
                        last_day_reads: 1,
                        ..ObjectEvidence::default()
                    };
                    all.push((*class, 1_u64 << log_size, 500, evidence));
                }
            }
        }
    }
    all
}

fn choices(learned: &Learned) -> Vec<StorageClass> {
    let of = |(class, bytes, class_since, evidence): &(StorageClass, u64, i32, ObjectEvidence)| {
        let view = View { class: *class, bytes: *bytes, class_since: *class_since, evidence };
        learned.choose(&view, 1000).target
    };
    objects().iter().map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn doubled_prices_change_no_decision(seen in any_table()) {
        let prices = us_east_1();
        prop_assert_eq!(choices(&learned(&prices, &seen)), choices(&learned(&times(&prices, 2.0), &seen)));
    }

    #[test]
    fn a_class_that_is_dearer_in_everything_is_never_entered(
        seen in any_table(),
        dear in prop::sample::select(vec![StorageClass::StandardIa, StorageClass::GlacierIr, StorageClass::IntelligentTiering]),
    ) {
        let mut prices = us_east_1();
        let standard = prices.classes.standard;
        let table = match dear {
            StorageClass::StandardIa => &mut prices.classes.standard_ia,
            StorageClass::GlacierIr => &mut prices.classes.glacier_ir,
            _ => {
                prices.intelligent_tiering.infrequent_gb_month = standard.storage_gb_month * 1.1;
                prices.intelligent_tiering.archive_instant_gb_month = standard.storage_gb_month * 1.1;
                &mut prices.classes.intelligent_tiering
            }
        };
        table.storage_gb_month = standard.storage_gb_month * 1.1;
        table.put_per_1000 = standard.put_per_1000 * 1.1;
        table.get_per_1000 = standard.get_per_1000 * 1.1;
        let learned = learned(&prices, &seen);
        for (object, choice) in objects().iter().zip(choices(&learned)) {
            prop_assert!(choice != dear || object.0 == dear, "{object:?}");
        }
    }

    #[test]
    fn a_choice_holds_until_the_day_that_it_names(seen in any_table(), heat in 1.0..50.0_f64, in_glacier in any::<bool>()) {
        let learned = learned(&us_east_1(), &seen);
        let evidence = ObjectEvidence {
            last_read_day: Some(0),
            read_days: 1,
            read_since_written: true,
            heat,
            last_day_bytes: 1 << 22,
            last_day_reads: 1,
            ..ObjectEvidence::default()
        };
        let class = if in_glacier { StorageClass::GlacierIr } else { StorageClass::Standard };
        let view = View { class, bytes: 1 << 22, class_since: 0, evidence: &evidence };
        let mut day = 1;
        while day < 1000 {
            let choice = learned.choose(&view, day);
            prop_assert!(choice.until > day);
            for later in day..choice.until.min(1000) {
                prop_assert_eq!(learned.choose(&view, later).target, choice.target, "day {} after {}", later, day);
            }
            day = choice.until;
        }
    }
}

/// A bucket whose objects are all read again after so many days.
fn seen_after(idle_days: u32) -> IdleTable {
    let mut seen = IdleTable::default();
    for class in 0..HEAT_CLASSES {
        for _ in 0..500 {
            seen.end_read(class, idle_days);
        }
    }
    seen
}

#[test]
fn what_goes_to_intelligent_tiering_goes_at_once_and_never_comes_out_to_go_in_again() {
    for idle_days in [45, 120, 300] {
        let mut seen = seen_after(idle_days);
        for _ in 0..500 {
            seen.end_unread(1, 300);
        }
        let learned = Learned::new(&us_east_1(), stays(&seen), rules_of(Expert::Careful), None);
        for (class, bytes, class_since, evidence) in objects() {
            let at = |class, class_since| {
                let view = View { class, bytes, class_since, evidence: &evidence };
                learned.choose(&view, 1000).target
            };
            let entered = at(StorageClass::Standard, class_since) == StorageClass::IntelligentTiering;
            if entered && class == StorageClass::IntelligentTiering {
                let then = at(class, 999);
                assert_eq!(then, class, "{bytes} bytes, {evidence:?}, read after {idle_days} days");
            }
        }
        let fresh = ObjectEvidence { written_day: Some(999), ..ObjectEvidence::default() };
        let view = View { class: StorageClass::Standard, bytes: 8 << 20, class_since: 999, evidence: &fresh };
        let target = learned.choose(&view, 1000).target;
        assert_eq!(
            target,
            StorageClass::IntelligentTiering,
            "read after {idle_days} days: every day of waiting costs one"
        );
    }
}

#[test]
fn the_patient_moves_nothing_to_where_reads_are_paid_before_it_was_idle_for_four_weeks() {
    let mut seen = IdleTable::default();
    (0..HEAT_CLASSES).for_each(|class| (0..1000).for_each(|_| seen.end_unread(class, 400)));
    let of = |expert: Expert| Learned::new(&us_east_1(), stays(&seen), rules_of(expert), None);
    let (thrifty, patient) = (of(Expert::Thrifty), of(Expert::Patient));
    let never = ObjectEvidence { written_day: Some(0), ..ObjectEvidence::default() };
    let view = View { class: StorageClass::Standard, bytes: 10 << 20, class_since: 0, evidence: &never };
    for day in 1..100 {
        let paid = |learned: &Learned| learned.choose(&view, day).target == StorageClass::GlacierIr;
        assert_eq!((paid(&thrifty), paid(&patient)), (true, day >= 28), "day {day}");
    }
}

/// A few objects are read every day, most once in a long time: who is read soon after it was written is likely one of the few.
#[test]
fn the_many_that_are_seldom_read_do_not_hide_the_few_that_are_read_daily() {
    let mut seen = IdleTable::default();
    let mut life = |days: &mut dyn Iterator<Item = Day>| {
        let mut object = ObjectEvidence::default();
        object.add(&DayAccess { day: 0, written: true, ..DayAccess::default() }, &mut seen);
        days.for_each(|day| object.add(&DayAccess { day, reads: 1, bytes_read: 1, written: false }, &mut seen));
        object
    };
    for _ in 0..10 {
        life(&mut (1..1000));
    }
    for first in (0..1000).map(|object| 100 + object % 150) {
        life(&mut (first..1000).step_by(200));
    }
    let (new, old) = (life(&mut (1..2)), life(&mut (500..501)));
    let hazards = Hazards::prior().learned(&seen);
    let again = |object: &ObjectEvidence| hazards.chance_of_read(object.heat_class(), 1, 2);
    assert!(again(&new) > 0.7 && again(&old) < 0.05, "{} {}", again(&new), again(&old));
}

#[test]
fn chances_are_chances_and_what_is_seen_outweighs_what_was_expected() {
    let mut seen = IdleTable::default();
    for _ in 0..10_000 {
        seen.end_read(2, 10);
    }
    let hazards = Hazards::prior().learned(&seen);
    assert!(hazards.chance_of_read(2, 1, 30) > 0.85);
    assert!(hazards.read(2, 0) < 0.001, "nobody came back on the first day");
    for class in 0..HEAT_CLASSES {
        let mut before = 0.0;
        for days in 0..400 {
            let chance = hazards.chance_of_read(class, 1, days);
            assert!((before..=1.0).contains(&chance));
            before = chance;
        }
    }
}

#[test]
fn what_nobody_ever_reads_goes_to_the_coldest_class_and_what_everybody_reads_stays() {
    let mut seen = IdleTable::default();
    for _ in 0..1000 {
        seen.end_unread(0, 400);
        for _ in 0..20 {
            seen.end_read(7, 1);
        }
    }
    let learned = learned(&us_east_1(), &seen);
    let never = ObjectEvidence { written_day: Some(0), ..ObjectEvidence::default() };
    let view = View { class: StorageClass::Standard, bytes: 10 << 20, class_since: 0, evidence: &never };
    assert_eq!(learned.choose(&view, 2).target, StorageClass::GlacierIr);
    let explained = learned.explain(&view, 2).unwrap();
    assert!(explained.moving_usd < explained.staying_usd && explained.chance_of_read < 0.01);
    let sentence = explained.to_string();
    assert!(
        sentence
            .starts_with("idle for 2 days, it is read in the next 30 with a chance of 0 %: staying in STANDARD costs")
    );
    assert!(sentence.contains(", moving to GLACIER_IR "), "{sentence}");
    let daily = ObjectEvidence {
        last_read_day: Some(9),
        heat: 50.0,
        read_since_written: true,
        read_days: 300,
        last_day_bytes: 10 << 20,
        last_day_reads: 1,
        ..never
    };
    let view = View { evidence: &daily, ..view };
    assert_eq!(learned.choose(&view, 10).target, StorageClass::Standard);
}

/// What is seen of objects that have spent so many days at every idle age, reads being so many times as likely as `hazards` say.
fn seen_by_chance(hazards: &Hazards, days: u32, factor: impl Fn(usize) -> f64, seed: u64) -> IdleTable {
    let mut state = seed;
    let mut happens = |chance: f64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1_u32 << 31) < chance
    };
    let mut cell = |class: usize, bin: usize| {
        let (read, end) = (hazards.read(class, bin) * factor(class), hazards.end(class, bin));
        let mut of = |chance| (0..days).filter(|_| happens(chance)).count() as f64;
        Cell { exposed_days: f64::from(days), reads: of(read), ends: of(end) }
    };
    let rows: Vec<Vec<Cell>> =
        (0..HEAT_CLASSES).map(|class| (0..IDLE_BINS).map(|bin| cell(class, bin)).collect()).collect();
    IdleTable::try_from(rows).unwrap()
}

#[test]
fn a_bucket_has_hazards_of_its_own_if_it_is_large_and_used_otherwise_than_all_are() {
    let general = Hazards::prior();
    let own = |seen: &IdleTable, objects| general.of_bucket(seen, objects).is_some();
    let as_all_are = (0..40).filter(|seed| own(&seen_by_chance(&general, 100, |_| 1.0, *seed), OWN_FROM)).count();
    assert!(as_all_are <= 6, "{as_all_are} of 40 by chance");
    for factor in [0.5, 1.6] {
        let seen = seen_by_chance(&general, 100, |_| factor, 1);
        assert!(own(&seen, OWN_FROM) && !own(&seen, OWN_FROM - 1), "{factor} times");
        let hazards = general.of_bucket(&seen, OWN_FROM).unwrap();
        assert_eq!(hazards, general.learned(&seen));
    }
    let one_class = seen_by_chance(&general, 400, |class| if class == 5 { 3.0 } else { 1.0 }, 1);
    assert!(own(&one_class, OWN_FROM));
    let hardly = seen_by_chance(&general, 20_000, |_| 1.05, 1);
    assert!(!own(&hardly, OWN_FROM), "it is surely otherwise, but by too little to matter");
    assert!(!own(&IdleTable::default(), 1_000_000), "nothing was seen");
}
