//! What the logs tell of how an object is used, and of how objects of a bucket come back to be used.
//!
//! [`ObjectEvidence`] is kept with each object. [`IdleTable`] is kept with each bucket: for how many days objects lay idle at
//! each idle age, and how often one was read at that age. From the two, the adaptive policy tells how likely a read is.
//!
//! # Exactly once
//!
//! A batch of log files becomes one [`AccessDelta`] an object: its days in order, each once. [`ObjectEvidence::fold`] gives
//! the object's new evidence as a function of the old one and the delta and of nothing else, so that an update which is
//! written on the condition that the row still carries its old batch number counts once. It tells of the gaps that closed.
//! A row keeps the evidence from before its last batch too. So a batch that is applied again finds out which gaps each row
//! closed, also of the rows that have it already, and adds all of them to the bucket's table ([`IdleTable`]) at its end,
//! once: the table carries the number of the last batch, as a row does.
//!
//! # Late days
//!
//! A delta may hold days before the last that is known: a log that came late, or a day that two batches share. The last 64
//! days are kept as bits, so that within them a day counts once whatever the batches. An older day counts as one that was
//! not seen before. A late day adds to the days, the heat and the means, and closes no gap: the gap that it lay in was
//! closed when it was not yet known.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A day as its number since 1970-01-01, in UTC.
pub type Day = i32;

/// The day of a time.
pub fn day_of(time: DateTime<Utc>) -> Day {
    Day::try_from(time.timestamp().div_euclid(24 * 60 * 60)).unwrap_or(Day::MAX)
}

/// In how many days an object's heat falls to 1/e.
pub const HEAT_DAYS: f64 = 60.0;

/// What the newest access-day weighs in the moving averages.
const NEWEST_WEIGHT: f64 = 0.3;

/// The first idle age of every bin, in days since the last use; the last bin has no end. A week, a month and a year after
/// are bins of their own, because people come back then.
pub const IDLE_FROM: [u16; 23] =
    [1, 2, 3, 4, 5, 7, 8, 11, 15, 22, 28, 33, 46, 61, 76, 91, 121, 181, 241, 331, 355, 376, 551];

/// How many idle bins there are.
pub const IDLE_BINS: usize = IDLE_FROM.len();

/// The heats from which on an object that was read belongs to the next class; below the first one it is read once in a long
/// time.
const HEAT_FROM: [f64; 6] = [1.15, 1.6, 2.5, 5.0, 10.0, 25.0];

/// Up to this age at its last read an object is young, and has a class of its own. Its heat is that of a short life: one read in
/// a week promises far more of them than one in a year, and were the two of one class, the many that are read once in a long
/// time would hide the few that are read every day from their first one on.
pub const YOUNG_DAYS: u32 = 45;

/// As [`HEAT_FROM`], of the young.
const YOUNG_HEAT_FROM: [f64; 3] = [1.05, 2.5, 5.0];

/// The first class of the young.
pub const YOUNG_FROM: usize = HEAT_FROM.len() + 2;

/// How many heat classes there are: never read since it was written, one more than the bounds between the others, and as many
/// of the young.
pub const HEAT_CLASSES: usize = YOUNG_FROM + YOUNG_HEAT_FROM.len() + 1;

/// The bin of an idle age. A day that is not over yet belongs to the first bin.
pub fn idle_bin(idle_days: u32) -> usize {
    IDLE_FROM.partition_point(|from| u32::from(*from) <= idle_days).saturating_sub(1)
}

/// How many days `bin` lasts; None for the last one, which does not end.
pub fn days_of_bin(bin: usize) -> Option<u32> {
    Some(u32::from(*IDLE_FROM.get(bin + 1)? - IDLE_FROM[bin]))
}

/// What a batch tells of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessDelta {
    /// In order, each day once.
    pub days: Vec<DayAccess>,
}

/// One object's day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DayAccess {
    pub day: Day,
    pub reads: u64,
    /// Bytes that the reads carried.
    pub bytes_read: u64,
    /// Whether the object was written on this day. Reads of the day are taken as later than that.
    pub written: bool,
}

/// How an object has been used. An object that no log has told of has the default, which is what a row from before there was
/// evidence reads as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectEvidence {
    /// The day on which it was last written, as far as a log tells.
    pub written_day: Option<Day>,
    /// Days on which it was read.
    pub read_days: u32,
    /// The last of these.
    pub last_read_day: Option<Day>,
    /// The last 64 days up to `last_read_day`, which is the lowest bit: whether it was read on each.
    pub recent_days: u64,
    /// As of `last_read_day`: each earlier access-day counts `e^(−days since/60)`, the last one 1.
    pub heat: f64,
    /// Whether it was read since it was last written.
    pub read_since_written: bool,
    /// Bytes read on `last_read_day`, as far as is known.
    pub last_day_bytes: u64,
    /// Reads on `last_read_day`, as far as is known.
    pub last_day_reads: u64,
    /// Bytes read on an access-day: the moving average over those before the last; 0 if there is none.
    pub earlier_bytes: f64,
    /// Reads on an access-day, likewise.
    pub earlier_reads: f64,
}

impl ObjectEvidence {
    /// The evidence after `delta`, and into `closed` the gaps that it closes.
    #[must_use]
    pub fn fold(mut self, delta: &AccessDelta, closed: &mut impl ClosedGaps) -> Self {
        for access in &delta.days {
            self.add(access, closed);
        }
        self
    }

    /// As [`ObjectEvidence::fold`], of one day.
    pub fn add(&mut self, access: &DayAccess, closed: &mut impl ClosedGaps) {
        if access.written && self.idle_since().is_none_or(|since| since <= access.day) {
            // Nobody read it in the time that ends here.
            if let Some(since) = self.idle_since() {
                closed.close(Gap::of(self, since, access.day, GapEnd::Write));
            }
            self.read_since_written = false;
        }
        if access.written {
            self.written_day = Some(self.written_day.map_or(access.day, |day| day.max(access.day)));
        }
        if access.reads > 0 {
            self.add_reads(access, closed);
        }
    }

    fn add_reads(&mut self, access: &DayAccess, closed: &mut impl ClosedGaps) {
        let since_written = self.written_day.is_none_or(|written| written <= access.day);
        match self.last_read_day {
            Some(last) if access.day < last => self.add_late(access, days_between(access.day, last)),
            Some(last) if access.day == last => self.add_to_last_day(access),
            last => {
                if let Some(since) = self.idle_since().filter(|since| *since < access.day) {
                    closed.close(Gap::of(self, since, access.day, GapEnd::Read));
                }
                let gap = last.map_or(u32::MAX, |last| days_between(last, access.day));
                self.begin_day(access, gap);
            }
        }
        self.read_since_written |= since_written;
    }

    fn begin_day(&mut self, access: &DayAccess, gap: u32) {
        if self.read_days > 0 {
            let (bytes, reads) = (self.bytes_per_day(), self.reads_per_day());
            (self.earlier_bytes, self.earlier_reads) = (bytes, reads);
        }
        self.heat = 1.0 + self.heat * cooling(gap);
        self.recent_days = 1 | self.recent_days.checked_shl(gap).unwrap_or(0);
        self.read_days += 1;
        self.last_read_day = Some(access.day);
        (self.last_day_bytes, self.last_day_reads) = (access.bytes_read, access.reads);
    }

    fn add_to_last_day(&mut self, access: &DayAccess) {
        self.last_day_bytes = self.last_day_bytes.saturating_add(access.bytes_read);
        self.last_day_reads = self.last_day_reads.saturating_add(access.reads);
    }

    fn add_late(&mut self, access: &DayAccess, days_before_last: u32) {
        let (bytes, reads) = (access.bytes_read as f64, access.reads as f64);
        let bit = 1_u64.checked_shl(days_before_last).unwrap_or(0);
        if self.recent_days & bit != 0 {
            // More of a day that is in the mean already.
            self.earlier_bytes += NEWEST_WEIGHT * bytes;
            self.earlier_reads += NEWEST_WEIGHT * reads;
            return;
        }
        self.earlier_bytes = if self.read_days > 1 { newest(bytes, self.earlier_bytes) } else { bytes };
        self.earlier_reads = if self.read_days > 1 { newest(reads, self.earlier_reads) } else { reads };
        self.recent_days |= bit;
        self.read_days += 1;
        self.heat += cooling(days_before_last);
    }

    /// The day from which on nobody has read it: that of its last use or, where it was written later, of that. None where
    /// neither is known.
    pub fn idle_since(&self) -> Option<Day> {
        self.last_read_day.max(self.written_day)
    }

    /// Whole days that it has been idle on `today`.
    pub fn idle_days(&self, today: Day) -> Option<u32> {
        self.idle_since().map(|since| days_between(since, today))
    }

    /// Its class in an [`IdleTable`]: 0 where it was never read since it was written, else by its age and its heat at the last
    /// read. It stays the same until the object is used again.
    pub fn heat_class(&self) -> usize {
        if !self.read_since_written {
            return 0;
        }
        let class = |first: usize, bounds: &[f64]| first + bounds.partition_point(|from| *from <= self.heat);
        if self.is_young() { class(YOUNG_FROM, &YOUNG_HEAT_FROM) } else { class(1, &HEAT_FROM) }
    }

    /// Whether it was young when it was last read. Not if it was only written anew: its heat is then of before.
    fn is_young(&self) -> bool {
        let (Some(written), Some(read)) = (self.written_day, self.last_read_day) else { return false };
        let age = days_between(written, read);
        age <= YOUNG_DAYS && self.heat <= f64::from(age + 1)
    }

    /// Bytes that are read on a day on which it is read; 0 if it never was.
    pub fn bytes_per_day(&self) -> f64 {
        self.per_day(self.last_day_bytes, self.earlier_bytes)
    }

    /// Reads on a day on which it is read; 0 if it never was.
    pub fn reads_per_day(&self) -> f64 {
        self.per_day(self.last_day_reads, self.earlier_reads)
    }

    fn per_day(&self, last: u64, earlier: f64) -> f64 {
        if self.read_days > 1 { newest(last as f64, earlier) } else { last as f64 }
    }
}

fn newest(newest: f64, before: f64) -> f64 {
    before + NEWEST_WEIGHT * (newest - before)
}

fn cooling(days: u32) -> f64 {
    (-f64::from(days) / HEAT_DAYS).exp()
}

/// An idle time that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Of the object when it began.
    pub heat_class: u8,
    pub end: GapEnd,
    pub days: u32,
}

/// How an idle time ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapEnd {
    Read,
    Write,
}

impl Gap {
    fn of(object: &ObjectEvidence, since: Day, until: Day, end: GapEnd) -> Self {
        let heat_class = u8::try_from(object.heat_class()).expect("there are few classes");
        Self { heat_class, end, days: days_between(since, until) }
    }
}

/// Who is told of the idle times that end: a table that sums them up, or a list of a few.
pub trait ClosedGaps {
    fn close(&mut self, gap: Gap);
}

impl ClosedGaps for IdleTable {
    fn close(&mut self, gap: Gap) {
        match gap.end {
            GapEnd::Read => self.end_read(usize::from(gap.heat_class), gap.days),
            GapEnd::Write => self.end_unread(usize::from(gap.heat_class), gap.days),
        }
    }
}

/// Nobody.
impl ClosedGaps for () {
    fn close(&mut self, _: Gap) {}
}

impl ClosedGaps for Vec<Gap> {
    fn close(&mut self, gap: Gap) {
        self.push(gap);
    }
}

/// Whole days from `from` to `to`; 0 if `to` is earlier.
pub fn days_between(from: Day, to: Day) -> u32 {
    u32::try_from(i64::from(to) - i64::from(from)).unwrap_or(0)
}

/// One class of objects at one idle age.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f64, f64, f64)", into = "(f64, f64, f64)")]
pub struct Cell {
    /// Object-days that were spent in it.
    pub exposed_days: f64,
    /// How many of these ended by a read.
    pub reads: f64,
    /// How many ended because the object was replaced or deleted.
    pub ends: f64,
}

impl From<(f64, f64, f64)> for Cell {
    fn from((exposed_days, reads, ends): (f64, f64, f64)) -> Self {
        Self { exposed_days, reads, ends }
    }
}

impl From<Cell> for (f64, f64, f64) {
    fn from(cell: Cell) -> Self {
        (cell.exposed_days, cell.reads, cell.ends)
    }
}

/// How objects come back to be read: by heat class, then by idle age. Written as one list a class that has any exposure; sums of
/// whole numbers, so the order of additions is of no matter.
///
/// A table from before the young had classes of their own is read as one without them: what it knows of them is among what it
/// knows of the others, where it counts less as the table grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<Cell>>", into = "Vec<Vec<Cell>>")]
pub struct IdleTable {
    cells: [[Cell; IDLE_BINS]; HEAT_CLASSES],
}

impl Default for IdleTable {
    fn default() -> Self {
        Self { cells: [[Cell::default(); IDLE_BINS]; HEAT_CLASSES] }
    }
}

impl IdleTable {
    pub fn cell(&self, class: usize, bin: usize) -> Cell {
        self.cells[class][bin]
    }

    /// An idle time of `days` that ended by a read on its last day.
    pub fn end_read(&mut self, class: usize, days: u32) {
        if days == 0 {
            return;
        }
        self.expose(class, days, 1.0);
        self.cells[class][idle_bin(days)].reads += 1.0;
    }

    /// An idle time of `days` at whose end the object was replaced or deleted.
    pub fn end_unread(&mut self, class: usize, days: u32) {
        if days == 0 {
            return;
        }
        self.expose(class, days, 1.0);
        self.cells[class][idle_bin(days)].ends += 1.0;
    }

    /// Tells that an object was deleted, or dropped from the ledger, on `today`.
    pub fn end_object(&mut self, evidence: &ObjectEvidence, today: Day) {
        if let Some(days) = evidence.idle_days(today) {
            self.end_unread(evidence.heat_class(), days);
        }
    }

    /// Adds the idle time that an object has now. For a copy of the table that a decision is made by: what is added here is
    /// not a gap that closed.
    pub fn add_open(&mut self, evidence: &ObjectEvidence, today: Day) {
        if let Some(days) = evidence.idle_days(today) {
            self.expose(evidence.heat_class(), days, 1.0);
        }
    }

    fn expose(&mut self, class: usize, days: u32, objects: f64) {
        let mut left = days;
        for bin in 0..IDLE_BINS {
            if left == 0 {
                break;
            }
            let here = days_of_bin(bin).map_or(left, |days| days.min(left));
            self.cells[class][bin].exposed_days += objects * f64::from(here);
            left -= here;
        }
    }

    /// Adds another table's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.cells.iter_mut().flatten().zip(other.cells.iter().flatten()) {
            mine.exposed_days += theirs.exposed_days;
            mine.reads += theirs.reads;
            mine.ends += theirs.ends;
        }
    }

    /// Object-days in all.
    pub fn exposed_days(&self) -> f64 {
        self.cells.iter().flatten().map(|cell| cell.exposed_days).sum()
    }
}

impl From<IdleTable> for Vec<Vec<Cell>> {
    fn from(table: IdleTable) -> Self {
        let row = |row: &[Cell; IDLE_BINS]| {
            let used = row.iter().rposition(|cell| cell.exposed_days > 0.0).map_or(0, |last| last + 1);
            row[..used].to_vec()
        };
        table.cells.iter().map(row).collect()
    }
}

impl TryFrom<Vec<Vec<Cell>>> for IdleTable {
    type Error = String;

    fn try_from(rows: Vec<Vec<Cell>>) -> Result<Self, String> {
        let mut table = Self::default();
        if rows.len() > HEAT_CLASSES || rows.iter().any(|row| row.len() > IDLE_BINS) {
            return Err(format!("an idle table has {HEAT_CLASSES} classes of {IDLE_BINS} idle ages at most"));
        }
        for (mine, row) in table.cells.iter_mut().zip(rows) {
            mine[..row.len()].copy_from_slice(&row);
        }
        Ok(table)
    }
}

pub use self::codec::EvidenceBytesError;

mod codec;
#[cfg(test)]
mod tests;
