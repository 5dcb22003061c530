use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;

fn gets() -> [CountRule; 1] {
    [CountRule { event: "GetObject".to_owned(), with_parameter: None }]
}

fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

#[test]
fn an_event_counts_once_in_a_fold_and_one_without_identity_every_time() {
    let mut file = FileAccesses::default();
    for (identity, seconds) in [(Some("a"), 5), (Some("a"), 9), (Some("b"), 3), (None, 1), (None, 1)] {
        file.push("bucket", "k", time(seconds), identity.map(EventIdentity::of_event_id), 10, 0).unwrap();
    }
    let mut fold = Fold::new(&gets());
    assert_eq!(fold.absorb(&file), Absorbed { accesses: 4, duplicates: 1 });
    assert_eq!(fold.absorb(&file), Absorbed { accesses: 2, duplicates: 3 });
    let updates: Vec<_> = fold.into_updates().collect();
    let object = "s3://bucket/k".parse().unwrap();
    let delta = AccessDelta { days: vec![DayAccess { day: 0, reads: 6, bytes_read: 60, written: false }] };
    assert_eq!(updates, [AccessUpdate { object, count: 6, latest: time(5), delta }]);
}

#[test]
fn the_days_of_an_object_come_in_order_each_once_whatever_the_order_of_its_records() {
    let rule = |event: &str| CountRule { event: event.to_owned(), with_parameter: None };
    let rules = ["GetObject", "PutObject", "HeadObject"].map(rule);
    let mut file = FileAccesses::default();
    let (get, put, head) = (0, 1, 2);
    for (day, bytes, rule) in [(5, 1, get), (3, 0, put), (9, 2, get), (3, 4, get), (7, 8, head), (5, 16, get)] {
        file.push("bucket", "k", time(day * 86_400 + 7), None, bytes, rule).unwrap();
    }
    let mut fold = Fold::new(&rules);
    fold.absorb(&file);
    let update = fold.into_updates().next().unwrap();
    assert_eq!((update.count, update.latest), (6, time(9 * 86_400 + 7)));
    let day = |day, reads, bytes_read, written| DayAccess { day, reads, bytes_read, written };
    let days = vec![day(3, 1, 4, true), day(5, 2, 17, false), day(9, 1, 2, false)];
    assert_eq!(update.delta, AccessDelta { days });
}

#[test]
fn objects_of_one_hash_are_told_apart() {
    let mut file = FileAccesses::default();
    for key in ["x", "y", "x", "z"] {
        file.push("bucket", key, time(1), None, 0, 0).unwrap();
    }
    let mut fold = Fold::new(&gets());
    let number = fold.number_of(&file.buckets[0]);
    // A chain as it would grow if the three keys had one hash.
    for access in file.iter() {
        fold.count(number, hash_of("bucket", access.key), &access);
    }
    let real: Vec<_> = fold.entries.iter().map(|e| e.hash).collect();
    assert_eq!(fold.len(), 3);
    fold.index.clear();
    let target = hash_of("bucket", "w");
    for (i, next) in [0, 1, 2].into_iter().enumerate() {
        fold.entries[i].hash = target;
        fold.entries[i].next_same_hash = next;
    }
    fold.index.insert(target, 2);
    assert_eq!(real.iter().collect::<HashSet<_>>().len(), 3);
    let mut w = FileAccesses::default();
    w.push("bucket", "w", time(1), None, 0, 0).unwrap();
    fold.absorb(&w);
    fold.absorb(&w);
    let counts: BTreeMap<_, _> =
        fold.into_updates().map(|update| (update.object.key.to_string(), update.count)).collect();
    assert_eq!(counts, BTreeMap::from([("w".into(), 2), ("x".into(), 2), ("y".into(), 1), ("z".into(), 1)]));
}

#[test]
fn updates_come_in_an_order_that_is_not_the_keys() {
    let mut file = FileAccesses::default();
    for i in 0..1000 {
        file.push("bucket", &format!("{i:04}"), time(1), None, 0, 0).unwrap();
    }
    let run = || {
        let mut fold = Fold::new(&gets());
        fold.absorb(&file);
        fold.into_updates().map(|update| update.object.key).collect::<Vec<_>>()
    };
    let keys = run();
    assert_eq!(keys, run());
    let rising = keys.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!((400..600).contains(&rising), "{rising}");
}

proptest! {
    #[test]
    fn a_fold_counts_as_a_map_would(
        files in prop::collection::vec(
            prop::collection::vec(
                ("(bucket|other)", "[a-c]{1,2}", 0_i64..9, prop::option::of("[a-z]"), 0_u64..9), 0..20),
            0..5),
    ) {
        let mut model: BTreeMap<String, (u64, i64, u64)> = BTreeMap::new();
        let mut seen = HashSet::new();
        let mut fold = Fold::new(&gets());
        for records in &files {
            let mut file = FileAccesses::default();
            let mut duplicates = 0;
            for (bucket, key, seconds, id, bytes) in records {
                let identity = id.as_deref().map(EventIdentity::of_event_id);
                file.push(bucket, key, time(*seconds), identity, *bytes, 0).unwrap();
                if id.as_ref().is_some_and(|id| !seen.insert(id.clone())) {
                    duplicates += 1;
                    continue;
                }
                let entry = model.entry(format!("s3://{bucket}/{key}")).or_default();
                *entry = (entry.0 + 1, entry.1.max(*seconds), entry.2 + bytes);
            }
            prop_assert_eq!(fold.absorb(&file).duplicates, duplicates);
        }
        let got: BTreeMap<_, _> = fold
            .into_updates()
            .map(|u| {
                let bytes_read = u.delta.days.iter().map(|day| day.bytes_read).sum();
                (u.object.to_string(), (u.count, u.latest.timestamp(), bytes_read))
            })
            .collect();
        prop_assert_eq!(got, model);
    }
}
