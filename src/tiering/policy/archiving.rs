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
