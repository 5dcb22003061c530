use proptest::prelude::*;

use super::*;
use crate::tiering::cost::RestoreSpeed;
use crate::tiering::cost::tests::{times, us_east_1};
use crate::tiering::evidence::{HEAT_CLASSES, IdleTable, ObjectEvidence};

const TODAY: Day = 1000;

fn restores(speed: RestoreSpeed) -> Restores {
    Restores { speed, days: 1, class: StorageClass::Standard }
}

fn learned(prices: &Prices, seen: &IdleTable, speed: RestoreSpeed) -> Archives {
    let mut archives = Archives::default();
    archives.learn(prices, &Hazards::prior().learned(seen), restores(speed));
    archives
}

/// A bucket in which reads come soon or never.
fn cold() -> IdleTable {
    let mut seen = IdleTable::default();
    for class in 0..HEAT_CLASSES {
        for _ in 0..200 {
            seen.end_read(class, 2);
            seen.end_unread(class, 800);
        }
    }
    seen
}

fn any_table() -> impl Strategy<Value = IdleTable> {
    prop::collection::vec((0..HEAT_CLASSES, 1..900_u32, any::<bool>(), 1..200_u32), 0..20).prop_map(|gaps| {
        let mut table = IdleTable::default();
        for (class, days, read, times) in gaps {
            for _ in 0..times {
                if read { table.end_read(class, days) } else { table.end_unread(class, days) }
            }
        }
        table
    })
}

fn read_once(idle_days: i32) -> ObjectEvidence {
    ObjectEvidence {
        written_day: Some(0),
        last_read_day: Some(TODAY - idle_days),
        read_days: 1,
        read_since_written: true,
        heat: 1.0,
        last_day_bytes: 1 << 20,
        last_day_reads: 1,
        ..ObjectEvidence::default()
    }
}

/// The wishes of objects of many kinds.
fn wishes(archives: &Archives) -> Vec<(StorageClass, u64, i32, Option<Wish>)> {
    let mut all = Vec::new();
    for class in read_at_once().iter().copied() {
        for log_size in [17, 20, 24, 32] {
            for idle_days in [1, 15, 40, 100, 400, 800] {
                let evidence = read_once(idle_days);
                let view = View { class, bytes: 1 << log_size, class_since: 500, evidence: &evidence };
                all.push((class, 1 << log_size, idle_days, archives.wish(&view, TODAY).0));
            }
        }
    }
    all
}

#[derive(Debug, Clone, Copy)]
enum Happens {
    Read,
    ArchivedRead,
    ArchivedDeleted,
    /// As many are archived as may be, of so many.
    Run(u64),
}

proptest! {
    #[test]
    fn whatever_is_read_and_when_the_share_of_waits_stays_within_its_limit(
        limit in 0.0..0.999_f64,
        reads in 0..2000_u64,
        happens in prop::collection::vec(
            prop_oneof![
                Just(Happens::Read),
                Just(Happens::ArchivedRead),
                Just(Happens::ArchivedRead),
                Just(Happens::ArchivedDeleted),
                (0..500_u64).prop_map(Happens::Run),
            ],
            0..400,
        ),
    ) {
        let mut waits = Waits { reads, ..Waits::default() };
        for happens in happens {
            match happens {
                Happens::Read => waits.reads += 1,
                Happens::ArchivedRead if waits.archived > 0 => {
                    waits = Waits { reads: waits.reads + 1, waited: waits.waited + 1, archived: waits.archived - 1 };
                }
                Happens::ArchivedDeleted => waits.archived = waits.archived.saturating_sub(1),
                Happens::Run(wish) => waits.archived += wish.min(waits.room(limit)),
                Happens::ArchivedRead => {}
            }
            prop_assert!(waits.waited as f64 <= limit * waits.reads as f64, "{waits:?}");
        }
    }

    #[test]
    fn places_go_to_those_that_save_most_and_there_are_no_more_than_there_is_room_for(
        wishes in prop::collection::vec((-20..20_i32, 1..50_u64), 0..12),
        room in 0..200_u64,
    ) {
        let mut survey = Survey::default();
        let wish = |bin| Wish { class: StorageClass::Glacier, bin };
        wishes.iter().for_each(|(bin, objects)| survey.add(wish(*bin), *objects));
        let mut places = survey.places(room);
        let shares: Vec<f64> = (-20..20).map(|bin| places.share_granted(wish(bin))).collect();
        prop_assert!(shares.is_sorted(), "{shares:?}");
        let granted: f64 = wishes.iter().map(|(bin, objects)| *objects as f64 * places.share_granted(wish(*bin))).sum();
        let wished: u64 = wishes.iter().map(|(_, objects)| objects).sum();
        prop_assert!((granted - room.min(wished) as f64).abs() < 1e-6, "{granted} of {wished}, room {room}");
        let mut hash = 0_u64;
        let taken = (0..1000).filter(|_| {
            hash += 1;
            places.grant(wish(19), hash) && places.take()
        });
        prop_assert!(taken.count() as u64 <= room);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn doubled_prices_change_no_wish(seen in any_table()) {
        let of = |prices: &Prices| wishes(&learned(prices, &seen, RestoreSpeed::Standard));
        prop_assert_eq!(of(&us_east_1()), of(&times(&us_east_1(), 2.0)));
    }

    #[test]
    fn an_archive_that_is_dearer_in_everything_is_never_wished_for(
        seen in any_table(),
        dear in prop::sample::select(vec![StorageClass::Glacier, StorageClass::DeepArchive]),
    ) {
        let mut prices = us_east_1();
        let standard = prices.classes.standard;
        let table = match dear {
            StorageClass::Glacier => &mut prices.classes.glacier,
            _ => &mut prices.classes.deep_archive,
        };
        table.storage_gb_month = standard.storage_gb_month * 1.1;
        table.put_per_1000 = table.put_per_1000.max(standard.put_per_1000 * 1.1);
        for wish in wishes(&learned(&prices, &seen, RestoreSpeed::Standard)) {
            prop_assert!(wish.3.is_none_or(|wish| wish.class != dear), "{wish:?}");
        }
    }
}

#[test]
fn what_is_large_and_cold_wishes_for_an_archive_and_what_is_small_hot_or_serving_its_time_does_not() {
    let archives = learned(&us_east_1(), &cold(), RestoreSpeed::Standard);
    let wish = |class, bytes, class_since, idle_days| {
        let evidence = read_once(idle_days);
        archives.wish(&View { class, bytes, class_since, evidence: &evidence }, TODAY).0
    };
    let standard = StorageClass::Standard;
    let large = wish(standard, 1 << 30, 0, 200).expect("a gigabyte that nobody comes back to");
    assert_eq!(large.class, StorageClass::DeepArchive);
    let smaller = wish(standard, 1 << 22, 0, 200).expect("four megabytes");
    assert!(large.bin > smaller.bin, "{large:?} saves more than {smaller:?}");
    // The request alone costs more than it saves in years.
    assert_eq!(wish(standard, 16 << 10, 0, 200), None);
    assert_eq!(wish(standard, 1 << 30, 0, 1), None, "it was read yesterday, and such are read again");
    assert_eq!(wish(StorageClass::GlacierIr, 1 << 30, TODAY - 80, 200), None, "ten of its 90 days are left");
    assert_eq!(wish(StorageClass::DeepArchive, 1 << 30, 0, 200), None, "it is there");
}

#[test]
fn deep_archive_which_has_no_expedited_restores_is_left_out_where_these_are_wanted() {
    let archives = learned(&us_east_1(), &cold(), RestoreSpeed::Expedited);
    let wished: Vec<_> = wishes(&archives).into_iter().filter_map(|(.., wish)| wish).collect();
    assert!(!wished.is_empty() && wished.iter().all(|wish| wish.class == StorageClass::Glacier), "{wished:?}");
}

#[test]
fn where_nothing_was_read_nothing_may_wait_and_where_nothing_may_wait_there_is_no_room() {
    assert_eq!(Waits::default().room(0.99), 0);
    let waits = Waits { reads: 99, waited: 0, archived: 0 };
    assert_eq!((waits.room(0.0), waits.room(0.01), waits.room(0.5)), (0, 1, 99));
    let exceeded = Waits { reads: 100, waited: 10, archived: 3 };
    assert_eq!(exceeded.room(0.05), 0, "more has waited than may: nothing more is archived");
}
