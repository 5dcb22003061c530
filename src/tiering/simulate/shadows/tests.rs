use super::*;
use crate::tiering::adaptive::experts::Restores;
use crate::tiering::adaptive::hazard::Hazards;
use crate::tiering::cost::tests::us_east_1;
use crate::tiering::cost::{Prices, RestoreSpeed};
use crate::tiering::evidence::{DayAccess, IdleTable, ObjectEvidence};
use crate::tiering::policy::guard::Copies;

const MIB: u64 = 1 << 20;
const BEGIN: Day = 20_000;

fn tariff(prices: &Prices) -> Tariff<'_> {
    let copies = Copies { multipart_threshold_bytes: 5 << 30, part_bytes: 512 << 20 };
    Tariff { prices, copies, restore: RestoreSpeed::Standard, restore_days: 1, restored_class: StorageClass::Standard }
}

fn experts(prices: &Prices, seen: &IdleTable) -> Experts {
    let mut experts = Experts::default();
    let hazards = Hazards::prior().learned(seen);
    experts.learn(prices, &hazards, Restores { speed: RestoreSpeed::Standard, days: 1, class: StorageClass::Standard });
    experts
}

fn written(day: Day, bytes: u64) -> Known {
    let mut evidence = ObjectEvidence::default();
    evidence.add(&DayAccess { day, written: true, ..DayAccess::default() }, &mut IdleTable::default());
    Known { class: StorageClass::Standard, bytes, class_since: day, evidence }
}

fn read(object: &mut Known, day: Day) {
    let access = DayAccess { day, reads: 1, bytes_read: object.bytes, written: false };
    object.evidence.add(&access, &mut IdleTable::default());
}

/// A bucket that lives for `months`: each day, `use_of` may use the objects. Gives whom it follows after each month.
fn live(objects: &mut BTreeMap<u64, Known>, months: i32, use_of: impl Fn(u64, Day) -> bool) -> Vec<Expert> {
    let prices = us_east_1();
    let mut shadows = Shadows::default();
    let mut followed = Vec::new();
    for month in 0..months {
        let today = BEGIN + 30 * month;
        let mut seen = IdleTable::default();
        objects.values().for_each(|object| seen.add_open(&object.evidence, today));
        shadows.go_on(objects, today, &tariff(&prices), &experts(&prices, &seen), 128 << 10);
        followed.push(shadows.following(1));
        for day in today..today + 30 {
            for (hash, object) in objects.iter_mut().filter(|(hash, _)| use_of(**hash, day)) {
                assert!(*hash < 1 << 40, "small numbers stand for hashes");
                read(object, day);
            }
        }
    }
    followed
}

#[test]
fn a_bucket_begins_with_the_safest_and_follows_the_thrifty_where_nothing_is_ever_read() {
    let mut objects = (0..50).map(|hash| (hash, written(BEGIN - 300, 64 * MIB))).collect();
    let followed = live(&mut objects, 8, |_, _| false);
    assert_eq!(followed[0], Expert::FIRST);
    assert!(matches!(followed[7], Expert::Thrifty | Expert::Patient), "{followed:?}");
}

#[test]
fn a_bucket_that_is_read_all_the_time_does_not_end_where_reads_are_paid() {
    let mut objects = (0..50).map(|hash| (hash, written(BEGIN - 300, 64 * MIB))).collect();
    let followed = live(&mut objects, 8, |hash, day| (day as u64 + hash).is_multiple_of(5));
    assert!(followed.iter().all(|expert| !matches!(expert, Expert::Intelligent)), "{followed:?}");
    let prices = us_east_1();
    let all = experts(&prices, &IdleTable::default());
    let last = followed[7];
    for object in objects.values() {
        let target = all.choose(last, &object.view(), BEGIN + 240).unwrap().target;
        assert!(matches!(target, StorageClass::Standard | StorageClass::IntelligentTiering), "{last}: {target}");
    }
}

#[test]
fn every_read_since_the_last_run_is_billed_once() {
    let mut object = written(BEGIN - 10, MIB);
    let shadow = Shadow::of(&object);
    for day in [BEGIN + 1, BEGIN + 9, BEGIN + 20] {
        read(&mut object, day);
    }
    let (from, to) = (short(BEGIN), short(BEGIN + 30));
    let one = Use::Read { reads: 1, bytes: MIB };
    assert_eq!(shadow.uses(&object, from, to), [(from + 1, one), (from + 9, one), (from + 20, one)]);
    // Of what is more than 64 days back, only the number is known.
    for day in [BEGIN + 200, BEGIN + 201] {
        read(&mut object, day);
    }
    let to = short(BEGIN + 230);
    let days: Vec<u16> = shadow.uses(&object, from, to).into_iter().map(|(day, _)| day).collect();
    assert_eq!(days, [from, from, from, from + 200, from + 201]);
    let mut later = shadow.clone();
    later.know(&object);
    assert_eq!(later.uses(&object, to, to + 30), []);
    // A late log tells of a day before the last run.
    read(&mut object, BEGIN + 150);
    assert_eq!(later.uses(&object, to, to + 30), [(to, one)]);
}

#[test]
fn what_is_written_anew_begins_anew_under_every_expert() {
    let prices = us_east_1();
    let mut seen = IdleTable::default();
    (0..100).for_each(|_| seen.end_unread(0, 700));
    let (tariff, experts) = (tariff(&prices), experts(&prices, &seen));
    let mut shadows = Shadows::default();
    let mut objects = BTreeMap::from([(1, written(BEGIN - 400, 64 * MIB))]);
    shadows.go_on(&objects, BEGIN, &tariff, &experts, 0);
    assert_eq!(shadows.objects[&1].at[Expert::Thrifty as usize].0, StorageClass::GlacierIr);
    assert!(shadows.moved_usd[Expert::Thrifty as usize] > 0.0 && shadows.moved_usd[Expert::Standard as usize] == 0.0);
    objects.insert(1, written(BEGIN + 29, 64 * MIB));
    shadows.compare(&objects.clone(), short(BEGIN), BEGIN + 30, &tariff, &experts, 0);
    let fresh = At(StorageClass::Standard, short(BEGIN + 29), short(BEGIN + 29));
    assert_eq!(shadows.objects[&1].at, [fresh; WAYS]);
}

#[test]
fn shadows_of_old_that_do_not_know_who_was_followed_go_on_as_whoever_is() {
    let prices = us_east_1();
    let (tariff, experts) = (tariff(&prices), experts(&prices, &IdleTable::default()));
    let mut shadows = Shadows::default();
    let objects = BTreeMap::from([(1, written(BEGIN - 200, 64 * MIB))]);
    shadows.go_on(&objects, BEGIN, &tariff, &experts, 0);
    let mut old = serde_json::to_value(&shadows).unwrap();
    old.as_object_mut().unwrap().retain(|name, _| !["followed_moved_usd", "moved_retrievals_usd"].contains(&&**name));
    old["objects"]["1"]["at"].as_array_mut().unwrap().pop();
    let mut old: Shadows = serde_json::from_value(old).unwrap();
    for shadows in [&mut shadows, &mut old] {
        shadows.go_on(&objects, BEGIN + 30, &tariff, &experts, 0);
    }
    assert_eq!(old.objects[&1].at, shadows.objects[&1].at);
    assert_eq!(old.objects[&1].at[FOLLOWED], old.objects[&1].at[Expert::FIRST as usize]);
}

#[test]
fn a_second_run_on_a_day_changes_nothing_and_what_is_kept_is_read_back() {
    let prices = us_east_1();
    let (tariff, experts) = (tariff(&prices), experts(&prices, &IdleTable::default()));
    let objects: BTreeMap<u64, Known> =
        (0..1500_u64).map(|i| (i << 20, written(BEGIN - i as i32, (i + 1) << 14))).collect();
    let mut shadows = Shadows::default();
    shadows.go_on(&objects, BEGIN, &tariff, &experts, 128 << 10);
    assert_eq!(shadows.objects.len(), SHADOWED);
    let before = shadows.clone();
    assert!(shadows.are_as_of(BEGIN) && !shadows.are_as_of(BEGIN + 1));
    shadows.go_on(&BTreeMap::new(), BEGIN, &tariff, &experts, 128 << 10);
    assert_eq!(shadows, before);
    let text = serde_json::to_string(&shadows).unwrap();
    // The last digits of a number may be lost.
    let kept: Shadows = serde_json::from_str(&text).unwrap();
    assert_eq!(format!("{kept:.12?}"), format!("{shadows:.12?}"));
}

#[test]
fn the_sample_holds_on_to_its_objects_and_fills_up_with_the_lowest_hashes() {
    let prices = us_east_1();
    let mut shadows = Shadows::default();
    let object = written(BEGIN, MIB);
    let known = BTreeMap::from([(u64::MAX, object)]);
    shadows.go_on(&known, BEGIN, &tariff(&prices), &experts(&prices, &IdleTable::default()), 0);
    let mut sample = Sample::new(&shadows);
    for hash in [u64::MAX, u64::MAX - 1].into_iter().chain((0..2000).rev()) {
        sample.add(hash, object);
    }
    let sample = sample.finish();
    assert_eq!(sample.len(), SHADOWED + 1);
    assert!(sample.contains_key(&u64::MAX) && sample.contains_key(&999) && !sample.contains_key(&1000));
}
