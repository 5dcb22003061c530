use proptest::prelude::*;

use super::*;

fn read(day: Day, bytes_read: u64) -> DayAccess {
    DayAccess { day, reads: 1, bytes_read, written: false }
}

fn written(day: Day) -> DayAccess {
    DayAccess { day, written: true, ..DayAccess::default() }
}

fn after(days: &[DayAccess]) -> (ObjectEvidence, IdleTable) {
    let mut closed = IdleTable::default();
    let evidence = ObjectEvidence::default().fold(&AccessDelta { days: days.to_vec() }, &mut closed);
    (evidence, closed)
}

#[test]
fn every_idle_age_has_its_bin() {
    for (days, bin) in
        [(0, 0), (1, 0), (2, 1), (5, 4), (6, 4), (7, 5), (27, 9), (28, 10), (32, 10), (33, 11), (365, 20)]
    {
        assert_eq!(idle_bin(days), bin, "{days}");
    }
    assert_eq!(idle_bin(550), IDLE_BINS - 2);
    assert_eq!(idle_bin(551), IDLE_BINS - 1);
    assert_eq!(idle_bin(u32::MAX), IDLE_BINS - 1);
}

#[test]
fn heat_decays_by_the_day_and_rises_by_one_an_access_day() {
    let (evidence, _) = after(&[read(100, 5), read(130, 5)]);
    assert!((evidence.heat - (1.0 + (-0.5_f64).exp())).abs() < 1e-12);
    assert_eq!((evidence.read_days, evidence.last_read_day), (2, Some(130)));
    let (again, _) = after(&[read(100, 5), read(130, 3), read(130, 2)]);
    assert_eq!(again.heat, evidence.heat, "a day counts once");
    assert_eq!(again.bytes_per_day(), evidence.bytes_per_day());
}

#[test]
fn a_gap_is_told_by_the_class_in_which_it_began() {
    let (evidence, closed) = after(&[written(10), read(13, 1), read(20, 1)]);
    let cell = |class, bin| closed.cell(class, bin);
    assert_eq!(cell(0, 2), Cell { exposed_days: 1.0, reads: 1.0, ends: 0.0 }, "3 days after it was written");
    assert_eq!(cell(0, 0), Cell { exposed_days: 1.0, reads: 0.0, ends: 0.0 });
    let once = YOUNG_FROM;
    assert_eq!(cell(once, 5), Cell { exposed_days: 1.0, reads: 1.0, ends: 0.0 }, "a week after the first read");
    assert_eq!(cell(once, 4).exposed_days, 2.0);
    assert_eq!(closed.exposed_days(), 10.0);
    assert!(evidence.read_since_written);
}

#[test]
fn a_write_makes_it_never_read_again_and_ends_the_gap_unread() {
    let (evidence, closed) = after(&[written(10), read(11, 1), written(15)]);
    assert!(!evidence.read_since_written);
    assert_eq!((evidence.heat_class(), evidence.idle_days(20)), (0, Some(5)));
    assert_eq!(closed.cell(YOUNG_FROM, 3), Cell { exposed_days: 1.0, reads: 0.0, ends: 1.0 });
}

#[test]
fn a_read_on_the_day_of_the_write_closes_no_gap() {
    let (evidence, closed) = after(&[DayAccess { day: 7, reads: 2, bytes_read: 9, written: true }]);
    assert!(evidence.read_since_written);
    assert_eq!(closed, IdleTable::default());
    assert_eq!((evidence.reads_per_day(), evidence.bytes_per_day()), (2.0, 9.0));
}

#[test]
fn the_young_have_classes_of_their_own_until_their_heat_tells_of_a_long_life() {
    let class = |days: &[DayAccess]| after(days).0.heat_class();
    assert_eq!(class(&[written(10), read(12, 1)]), YOUNG_FROM);
    assert_eq!(class(&[written(10), read(12, 1), read(13, 1)]), YOUNG_FROM + 1);
    let month: Vec<_> = std::iter::once(written(10)).chain((11..41).map(|day| read(day, 1))).collect();
    assert_eq!(class(&month), HEAT_CLASSES - 1);
    assert_eq!(class(&[written(10), read(12, 1), read(100, 1)]), 2, "it is no longer young");
    assert_eq!(class(&[read(12, 1), read(13, 1)]), 3, "nobody knows when it was written");
    let anew: Vec<_> = month.iter().copied().chain([written(41), read(42, 1)]).collect();
    assert_eq!(class(&anew), 6, "it was read before it was written anew");
}

#[test]
fn a_table_from_before_the_young_had_classes_is_read_and_one_with_more_than_there_are_is_not() {
    let old: IdleTable = serde_json::from_str("[[[5.0,1.0,0.0]],[],[],[],[],[],[],[[1.0,1.0,0.0]]]").unwrap();
    assert_eq!((old.cell(0, 0).reads, old.cell(7, 0).reads, old.exposed_days()), (1.0, 1.0, 6.0));
    assert!(
        serde_json::from_value::<IdleTable>(serde_json::json!(
            [(); HEAT_CLASSES + 1].iter().map(|()| [0; 0]).collect::<Vec<_>>()
        ))
        .is_err()
    );
}

#[test]
fn a_row_from_before_there_was_evidence_reads_as_knowing_nothing() {
    let old: ObjectEvidence = serde_json::from_str("{}").unwrap();
    assert_eq!(old, ObjectEvidence::default());
    assert_eq!((old.idle_days(5), old.heat_class()), (None, 0));
}

#[test]
fn a_table_is_written_without_its_empty_ends_and_reads_back() {
    let (_, mut closed) = after(&[written(10), read(13, 1), read(20, 1)]);
    closed.end_unread(3, 2);
    let text = serde_json::to_string(&closed).unwrap();
    assert_eq!(
        text,
        "[[[1.0,0.0,0.0],[1.0,0.0,0.0],[1.0,1.0,0.0]],[],[],[[1.0,0.0,0.0],[1.0,0.0,1.0]],[],[],[],[],\
         [[1.0,0.0,0.0],[1.0,0.0,0.0],[1.0,0.0,0.0],[1.0,0.0,0.0],[2.0,0.0,0.0],[1.0,1.0,0.0]],[],[],[]]"
    );
    assert_eq!(serde_json::from_str::<IdleTable>(&text).unwrap(), closed);
}

fn any_days() -> impl Strategy<Value = Vec<DayAccess>> {
    prop::collection::btree_map(0..60, (0..4_u64, 0..100_u64, prop::bool::weighted(0.2)), 0..20).prop_map(|days| {
        days.into_iter()
            .map(|(day, (reads, bytes_read, written))| DayAccess { day, reads, bytes_read, written })
            .collect()
    })
}

proptest! {
    /// A day that two batches share, in whatever order the batches come, counts as one day.
    #[test]
    fn days_and_heat_do_not_depend_on_how_the_days_are_cut_into_batches(days in any_days(), cut in 0..60, share in any::<bool>()) {
        let (whole, _) = after(&days);
        let (early, late): (Vec<DayAccess>, Vec<DayAccess>) = days.iter().partition(|access| access.day < cut);
        let again: Vec<_> = if share { early.iter().rev().take(1).copied().collect() } else { Vec::new() };
        let mut closed = IdleTable::default();
        let mut parts = ObjectEvidence::default();
        for part in [late, again, early] {
            parts = parts.fold(&AccessDelta { days: part }, &mut closed);
        }
        prop_assert_eq!((parts.read_days, parts.last_read_day), (whole.read_days, whole.last_read_day));
        prop_assert_eq!(parts.recent_days, whole.recent_days);
        prop_assert_eq!(parts.written_day, whole.written_day);
        prop_assert!((parts.heat - whole.heat).abs() < 1e-9);
    }

    #[test]
    fn tables_add_up_whatever_the_order(gaps in prop::collection::vec((0..HEAT_CLASSES, 0..2000_u32, any::<bool>()), 0..40), cut in 0..40_usize) {
        let table = |gaps: &[(usize, u32, bool)]| {
            let mut table = IdleTable::default();
            for (class, days, read) in gaps {
                if *read { table.end_read(*class, *days) } else { table.end_unread(*class, *days) }
            }
            table
        };
        let (first, second) = gaps.split_at(cut.min(gaps.len()));
        let mut sum = table(second);
        sum.merge(&table(first));
        prop_assert_eq!(&sum, &table(&gaps));
        prop_assert_eq!(sum.exposed_days(), gaps.iter().map(|gap| f64::from(gap.1)).sum::<f64>());
    }
}
