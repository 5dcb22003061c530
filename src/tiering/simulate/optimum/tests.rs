use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::tiering::cost::tests::us_east_1;
use crate::tiering::cost::{Prices, RestoreSpeed};
use crate::tiering::policy::guard::Copies;

fn tariff(prices: &Prices) -> Tariff<'_> {
    let copies = Copies { multipart_threshold_bytes: 5 << 30, part_bytes: 512 << 20 };
    Tariff { prices, copies, restore: RestoreSpeed::Standard, restore_days: 1, restored_class: StorageClass::Standard }
}

/// Tries every move on every day, by recursion over (day, class, days in class, days since activity), and knows nothing of
/// when a move can pay. Bills by the account, a day at a time.
struct BruteForce<'a> {
    tariff: Tariff<'a>,
    reads: HashMap<u16, (u32, u64)>,
    last: u16,
    deleted: bool,
    known: HashMap<(u16, StorageClass, u16, u16), f64>,
    classes: &'static [StorageClass],
}

impl BruteForce<'_> {
    fn least(&mut self, day: u16, held: Held) -> f64 {
        if day == self.last {
            let mut bill = Bill::default();
            if self.deleted {
                self.tariff.end(&mut held.clone(), day, &mut bill);
            }
            return bill.total().total_usd();
        }
        let age = (day - held.since).min(held.class.minimum_days() as u16);
        let idle = (day - held.active).min(90);
        let key = (day, held.class, age, idle);
        if let Some(usd) = self.known.get(&key) {
            return *usd;
        }
        let mut least = f64::INFINITY;
        for to in self.classes.iter().copied() {
            if held.since == day && to != held.class {
                continue; // One move a day, and none on the first.
            }
            let (mut bill, mut then) = (Bill::default(), held);
            self.tariff.change_class(&mut then, day, to, &mut bill);
            if let Some((reads, bytes)) = self.reads.get(&day) {
                self.tariff.read(&mut then, day, *reads, *bytes, &mut bill);
            }
            self.tariff.store(&mut then, day + 1, &mut bill);
            least = least.min(bill.total().total_usd() + self.least(day + 1, then));
        }
        self.known.insert(key, least);
        least
    }
}

fn compare(
    prices: &Prices,
    bytes: u64,
    reads: &[(u16, u32, u64)],
    last: u16,
    deleted: bool,
    archives: bool,
) -> (f64, f64) {
    let mut merged: Vec<Event> = Vec::new();
    for (day, count, bytes) in reads {
        merged.push(Event { day: *day, kind: EventKind::Read, reads: *count, bytes: *bytes });
    }
    let mut events = vec![Event { day: 0, kind: EventKind::Found, reads: 0, bytes }];
    events.extend(merged);
    if deleted {
        events.push(Event { day: last, kind: EventKind::Delete, reads: 0, bytes: 0 });
    }
    let mut bill = Bill::default();
    let optimum = Optimum::new(tariff(prices));
    let mut optimum = if archives { optimum.with_archives() } else { optimum };
    optimum.add(&events, last, &mut bill);
    assert_eq!(bill.delayed_reads, 0, "who knows the future restores in time");
    let mut brute = BruteForce {
        tariff: tariff(prices),
        reads: reads.iter().map(|(day, count, bytes)| (*day, (*count, *bytes))).collect(),
        last,
        deleted,
        known: HashMap::new(),
        classes: if archives { &CLASSES } else { &CLASSES[..READ_AT_ONCE] },
    };
    (bill.total().total_usd(), brute.least(0, Held::written(0, bytes)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nobody_who_tries_every_move_on_every_day_does_better(
        log_bytes in 10.0..33.0_f64,
        days in prop::collection::btree_map(0..250_u16, (1..5_u32, prop::sample::select(vec![0.1, 0.5, 1.0, 1.0, 3.0])), 0..8),
        burst in prop::option::of((0..300_u16, 1..12_u16)),
        last in 1..250_u16,
        deleted in any::<bool>(),
        archives in any::<bool>(),
    ) {
        let bytes = log_bytes.exp2() as u64;
        let mut all = days;
        if let Some((from, length)) = burst {
            all.extend((from..from + length).map(|day| (day, (2, 1.0))));
        }
        let reads: Vec<_> = all
            .into_iter()
            .filter(|(day, _)| *day < last)
            .map(|(day, (count, share))| (day, count, (share * bytes as f64) as u64))
            .collect();
        let (optimum, brute) = compare(&us_east_1(), bytes, &reads, last, deleted, archives);
        prop_assert!((optimum - brute).abs() <= brute * 1e-9, "{optimum} and {brute}");
    }
}

#[test]
fn what_is_never_read_goes_to_the_coldest_class_at_once_and_what_is_read_daily_stays() {
    let prices = us_east_1();
    let way = |reads: &[(u16, u32, u64)]| {
        let events: Vec<_> = reads
            .iter()
            .map(|(day, n, bytes)| Event { day: *day, kind: EventKind::Read, reads: *n, bytes: *bytes })
            .collect();
        let life = Life { from: 0, to: 365, bytes: 1 << 30, end: End::TraceEnds };
        Optimum::new(tariff(&prices)).best(&life, &events)
    };
    let life = Life { from: 0, to: 365, bytes: 1 << 30, end: End::TraceEnds };
    let archived = Optimum::new(tariff(&prices)).with_archives().best(&life, &[]);
    assert_eq!(archived, [(1, StorageClass::DeepArchive)], "where the archives are allowed");
    assert_eq!(way(&[]), [(1, StorageClass::GlacierIr)]);
    let daily: Vec<_> = (0..365).map(|day| (day, 1, 1 << 30)).collect();
    assert_eq!(way(&daily), []);
    assert_eq!(way(&daily[..100]), [(100, StorageClass::GlacierIr)]);
}

#[test]
fn a_class_that_is_dearer_in_everything_is_never_chosen() {
    let once_a_week: Vec<_> =
        (0..52).map(|week| Event { day: week * 7, kind: EventKind::Read, reads: 1, bytes: 1 << 20 }).collect();
    for dear in [StorageClass::StandardIa, StorageClass::GlacierIr, StorageClass::IntelligentTiering] {
        let mut prices = us_east_1();
        let highest = prices.classes.standard.storage_gb_month * 1.1;
        let table = match dear {
            StorageClass::StandardIa => &mut prices.classes.standard_ia,
            StorageClass::GlacierIr => &mut prices.classes.glacier_ir,
            _ => {
                prices.intelligent_tiering.infrequent_gb_month = highest;
                prices.intelligent_tiering.archive_instant_gb_month = highest;
                &mut prices.classes.intelligent_tiering
            }
        };
        table.storage_gb_month = highest;
        let mut moves = 0;
        for bytes in [20_000, 1 << 20, 1 << 30] {
            for reads in [&once_a_week[..0], &once_a_week[..8], &once_a_week[..]] {
                let life = Life { from: 0, to: 365, bytes, end: End::TraceEnds };
                let way = Optimum::new(tariff(&prices)).best(&life, reads);
                assert!(way.iter().all(|(_, class)| *class != dear), "{bytes} bytes: {way:?}");
                moves += way.len();
            }
        }
        assert!(moves > 0, "it is not that nothing is ever moved");
    }
}
