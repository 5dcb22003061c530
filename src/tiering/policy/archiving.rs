//! Who of a bucket may be archived by the adaptive policy, as the ledger's rows tell: see [`crate::tiering::adaptive::archives`].
//!
//! A pass over the rows gathers how its readers have fared and how many objects there are of each kind ([`Gathering`]); when
//! it is over, and all is learned that is to be learned of it, the places are given ([`Gathering::finish`]).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::adaptive::Known;
use crate::tiering::adaptive::archives::{Archives, Places, Survey, Waits, Wish};
use crate::tiering::adaptive::learned::Explanation;
use crate::tiering::evidence::{Day, days_between, idle_bin};
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::storage_class::StorageClass;

/// In which objects are alike as far as plans go: class, size and reads by powers of two, idle bin, heat class, days in the class.
type Alike = (StorageClass, u32, u32, usize, usize, u8);

/// After so many days in a class nothing changes any more but with use.
const MILESTONES: [u32; 3] = [30, 90, 180];

/// What a pass over a bucket's rows finds.
#[derive(Debug, Default)]
pub struct Gathering {
    waits: Waits,
    /// How many objects of each kind, and one of them.
    kinds: BTreeMap<Alike, (u64, Known)>,
}

impl Gathering {
    pub fn add(&mut self, row: &LedgerRow, known: &Known, today: Day) {
        let waited = row.waits.days;
        // A read that waited and was never logged is a read.
        self.waits.reads += u64::from(known.evidence.read_days.max(waited));
        self.waits.waited += u64::from(waited);
        self.waits.archived += u64::from(known.class.is_archive());
        let Some(idle_days) = known.evidence.idle_days(today) else { return };
        let in_class = days_between(known.class_since, today);
        let served = MILESTONES.partition_point(|days| *days <= in_class) as u8;
        let log_reads = (known.evidence.bytes_per_day() as u64).max(1).ilog2();
        let log_size = known.bytes.max(1).ilog2();
        let alike = (known.class, log_size, log_reads, idle_bin(idle_days), known.evidence.heat_class(), served);
        self.kinds.entry(alike).or_insert((0, *known)).0 += 1;
    }

    /// Gives the places, where `limit` of the reads may wait. Objects below `min_object_bytes` get none.
    pub fn finish(self, limit: f64, archives: Arc<Archives>, min_object_bytes: u64, today: Day) -> Archiving {
        let wish = |known: &Known| {
            let large = known.bytes >= min_object_bytes;
            large.then(|| archives.wish(&known.view(), today).0).flatten()
        };
        let wishes: Vec<_> = self.kinds.values().map(|(objects, known)| (*objects, known, wish(known))).collect();
        let mut survey = Survey::default();
        for (objects, _, wish) in &wishes {
            if let Some(wish) = wish {
                survey.add(*wish, *objects);
            }
        }
        let places = survey.places(self.waits.room(limit));
        let (mut reads, mut waiting) = (0.0, 0.0);
        for (objects, known, wish) in &wishes {
            let expected = *objects as f64 * archives.chance_of_read(&known.view(), today);
            reads += expected;
            waiting += match wish {
                _ if known.class.is_archive() => expected,
                Some(wish) => expected * places.share_granted(*wish),
                None => 0.0,
            };
        }
        let expected_share = if reads > 0.0 { waiting / reads } else { 0.0 };
        let outlook = Outlook { limit, waits: self.waits, room: places.left(), expected_share };
        Archiving { archives, places, outlook, min_object_bytes }
    }
}

/// How a bucket's readers have fared, and what is to be expected. As it is written into `plan --json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Outlook {
    /// What share of the reads may wait.
    #[serde(rename = "max_delayed_reads")]
    pub limit: f64,
    #[serde(flatten)]
    pub waits: Waits,
    /// How many objects more may be archived.
    pub room: u64,
    /// What share of the reads of the next 30 days is expected to wait, with those that are archived now.
    pub expected_share: f64,
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| 100.0 * share;
        let Waits { reads, waited, .. } = self.waits;
        write!(
            f,
            "expected share of reads that wait for a restore {:.2} %, so far {waited} of {reads} ({:.2} %), at most {} %",
            percent(self.expected_share),
            percent(self.waits.share()),
            // As it was written: 0.07 times 100 is not quite 7.
            (percent(self.limit) * 1e9).round() / 1e9
        )
    }
}

/// A bucket whose objects may be archived.
#[derive(Debug)]
pub struct Archiving {
    archives: Arc<Archives>,
    places: Places,
    outlook: Outlook,
    min_object_bytes: u64,
}

impl Archiving {
    pub fn outlook(&self) -> &Outlook {
        &self.outlook
    }

    /// The archive that the object gets a place in, and why. `hash` is the object's own.
    pub fn decide(&self, object: &Known, hash: u64, today: Day) -> Option<(StorageClass, Explanation)> {
        if object.bytes < self.min_object_bytes {
            return None;
        }
        let (wish, _) = self.archives.wish(&object.view(), today);
        let Wish { class, .. } = wish.filter(|wish| self.places.grant(*wish, hash))?;
        Some((class, self.archives.explain(&object.view(), today)?))
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::tiering::adaptive::experts::Restores;
    use crate::tiering::adaptive::hazard::Hazards;
    use crate::tiering::cost::RestoreSpeed;
    use crate::tiering::cost::tests::us_east_1;
    use crate::tiering::evidence::{DayAccess, HEAT_CLASSES, IdleTable, ObjectEvidence};
    use crate::tiering::ledger_row;
    use crate::tiering::object::ObjectId;

    const TODAY: Day = 20_000;

    fn time(day: Day) -> DateTime<Utc> {
        DateTime::from_timestamp(i64::from(day) * 86_400, 0).unwrap()
    }

    /// A row of an object that was written 400 days ago and read on the last `read_days` of the days up to `last`.
    fn row(key: usize, class: StorageClass, bytes: u64, read_days: i32, last: Day, waited: u32) -> LedgerRow {
        let id: ObjectId = format!("s3://bucket/{key}").parse().unwrap();
        let mut evidence = ObjectEvidence::default();
        let mut add = |day, written| {
            let access = DayAccess { day, written, reads: u64::from(!written), bytes_read: bytes };
            evidence.add(&access, &mut IdleTable::default());
        };
        add(TODAY - 400, true);
        (0..read_days).rev().for_each(|back| add(last - back, false));
        LedgerRow {
            count: 1,
            event_time: Some(time(last)),
            class: Some(class),
            size: Some(bytes),
            class_since: Some(time(TODAY - 400)),
            evidence,
            waits: ledger_row::Waits { days: waited, last: None },
            ..LedgerRow::new(id)
        }
    }

    fn archives() -> Arc<Archives> {
        let mut seen = IdleTable::default();
        for class in 0..HEAT_CLASSES {
            for _ in 0..200 {
                seen.end_read(class, 1);
                seen.end_unread(class, 800);
            }
        }
        let mut archives = Archives::default();
        let restores = Restores { speed: RestoreSpeed::Standard, days: 1, class: StorageClass::Standard };
        archives.learn(&us_east_1(), &Hazards::prior().learned(&seen), restores);
        Arc::new(archives)
    }

    /// What is gathered of these rows, and which of them are archived then.
    fn finish(rows: &[LedgerRow], limit: f64) -> (Outlook, Vec<usize>) {
        let known: Vec<Known> = rows.iter().map(|row| Known::of(row).unwrap()).collect();
        let mut gathering = Gathering::default();
        rows.iter().zip(&known).for_each(|(row, known)| gathering.add(row, known, TODAY));
        let archiving = gathering.finish(limit, archives(), 128 * 1024, TODAY);
        let archived = (0..rows.len()).filter(|i| archiving.decide(&known[*i], *i as u64, TODAY).is_some());
        (*archiving.outlook(), archived.collect())
    }

    /// 90 reads of one hot object; cold ones of many sizes; one in an archive, that was waited for before.
    fn bucket() -> Vec<LedgerRow> {
        let standard = StorageClass::Standard;
        let mut rows = vec![row(0, standard, 1 << 30, 90, TODAY - 1, 0)];
        rows.extend((1..20).map(|i| row(i, standard, (1 << 20) << (i % 10), 0, TODAY - 400, 0)));
        rows.push(row(20, StorageClass::Glacier, 1 << 30, 9, TODAY - 300, 1));
        rows.push(row(21, standard, 1000, 1, TODAY - 300, 0));
        rows
    }

    #[test]
    fn the_few_places_of_a_bucket_go_to_what_saves_most_and_none_to_what_is_hot_or_small() {
        // 100 reads, of which one waited: with one in an archive, three more make five in 103.
        let (outlook, archived) = finish(&bucket(), 0.05);
        assert_eq!(outlook.waits, Waits { reads: 100, waited: 1, archived: 1 });
        assert_eq!(outlook.room, 3);
        let sizes: Vec<u64> = archived.iter().map(|i| bucket()[*i].size.unwrap()).collect();
        assert!(sizes.contains(&(512 << 20)) && sizes.iter().all(|bytes| *bytes >= 256 << 20), "{sizes:?}");
        let (outlook, archived) = finish(&bucket(), 0.3);
        assert!(archived.len() >= 15 && archived.iter().all(|i| (1..20).contains(i)), "{archived:?} of {outlook:?}");
        assert!(outlook.expected_share > 0.0 && outlook.expected_share < 0.1, "{outlook:?}");
    }

    #[test]
    fn where_more_has_waited_than_may_nothing_is_archived() {
        let mut rows = bucket();
        rows[20].waits.days = 9;
        let (outlook, archived) = finish(&rows, 0.05);
        assert_eq!((outlook.room, archived), (0, vec![]));
        let said = outlook.to_string();
        assert!(said.ends_with("so far 9 of 100 (9.00 %), at most 5 %"), "{said}");
    }
}
