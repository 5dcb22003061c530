//! What one object costs, day by day, as it is stored, read, moved and deleted.
//!
//! The bill goes by whole days. On each day, in this order: the object is moved, if at all; its users read and write it; it
//! is stored for the day in the class that it is then in, unless it was deleted. A month has 30 days. A user's PUT goes into
//! STANDARD and costs one request. All reads are paid: the request, and the retrieval by the gigabyte where the class has it.
//!
//! A read of an object in an archive (GLACIER, DEEP_ARCHIVE) is a delayed read: the restore is paid, the object is read from
//! its temporary copy in STANDARD, and it is copied back to the class that the configuration says, as the daemon does. What is
//! left of a minimum duration is paid when the object leaves early; at the end of the trace nothing is paid ahead.

use std::ops::{Add, AddAssign};

use serde::Serialize;

use crate::tiering::adaptive::experts::Restores;
use crate::tiering::cost::{MoveQuestion, Prices, RestoreSpeed, Stored};
use crate::tiering::policy::guard::{Copies, Guards};
use crate::tiering::storage_class::StorageClass;

/// Days in a period of [`Bill::periods`], and in a billing month.
pub const PERIOD_DAYS: u16 = 30;

/// A sum of US dollars by what it is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Costs {
    pub storage_usd: f64,
    pub retrieval_usd: f64,
    pub requests_usd: f64,
    pub early_deletion_usd: f64,
    pub monitoring_usd: f64,
}

/// One part of a sum: its name, and how much it is.
pub type CostPart = (&'static str, fn(&Costs) -> f64);

impl Costs {
    /// What a sum is made of, in the order in which it is shown.
    pub const PARTS: [CostPart; 5] = [
        ("storage", |costs| costs.storage_usd),
        ("retrieval", |costs| costs.retrieval_usd),
        ("requests", |costs| costs.requests_usd),
        ("early deletion", |costs| costs.early_deletion_usd),
        ("monitoring", |costs| costs.monitoring_usd),
    ];

    pub fn total_usd(&self) -> f64 {
        self.storage_usd + self.retrieval_usd + self.requests_usd + self.early_deletion_usd + self.monitoring_usd
    }
}

impl AddAssign for Costs {
    fn add_assign(&mut self, other: Self) {
        self.storage_usd += other.storage_usd;
        self.retrieval_usd += other.retrieval_usd;
        self.requests_usd += other.requests_usd;
        self.early_deletion_usd += other.early_deletion_usd;
        self.monitoring_usd += other.monitoring_usd;
    }
}

impl Add for Costs {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

/// What some objects cost over the time of a trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bill {
    /// By periods of 30 days since the trace's first, or since the one in which the bill begins.
    pub periods: Vec<Costs>,
    first_period: usize,
    pub moves: u64,
    /// Reads that had to wait for a restore.
    pub delayed_reads: u64,
    /// Days on which an object was read, of every object.
    pub read_days: u64,
    /// Of these, those on which it lay in an archive: all of that day's readers wait for one restore.
    pub delayed_read_days: u64,
}

impl Bill {
    /// One that begins on `day`. What was before would take as much room as the rest, and as much time to add up.
    pub fn since(day: u16) -> Self {
        Self { first_period: usize::from(day / PERIOD_DAYS), ..Self::default() }
    }

    /// What share of the reads had to wait, a day's reads of an object being one; 0 where nothing was read.
    pub fn delayed_share(&self) -> f64 {
        if self.read_days == 0 { 0.0 } else { self.delayed_read_days as f64 / self.read_days as f64 }
    }

    /// All periods together.
    pub fn total(&self) -> Costs {
        self.periods.iter().fold(Costs::default(), |sum, costs| sum + *costs)
    }

    fn at(&mut self, day: u16) -> &mut Costs {
        let period = usize::from(day / PERIOD_DAYS).saturating_sub(self.first_period);
        if self.periods.len() <= period {
            self.periods.resize(period + 1, Costs::default());
        }
        &mut self.periods[period]
    }
}

impl AddAssign<&Bill> for Bill {
    fn add_assign(&mut self, other: &Bill) {
        for (period, costs) in (other.first_period..).zip(&other.periods) {
            *self.at(period as u16 * PERIOD_DAYS) += *costs;
        }
        self.moves += other.moves;
        self.delayed_reads += other.delayed_reads;
        self.read_days += other.read_days;
        self.delayed_read_days += other.delayed_read_days;
    }
}

/// How an object is held. Days are those of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub class: StorageClass,
    pub bytes: u64,
    /// Since when it is in its class.
    pub since: u16,
    /// The day of the last read, or of coming into the class if that is later: what Intelligent-Tiering goes by.
    pub active: u16,
    /// Its storage is billed up to this day, which is not included.
    pub billed_to: u16,
}

impl Held {
    /// An object that users wrote on `day`.
    pub fn written(day: u16, bytes: u64) -> Self {
        Self { class: StorageClass::Standard, bytes, since: day, active: day, billed_to: day }
    }

    fn stored(&self, day: u16) -> Stored {
        Stored { class: self.class, bytes: self.bytes, idle_days: u64::from(day.saturating_sub(self.active)) }
    }
}

/// The prices, and how objects are copied and restored.
#[derive(Debug, Clone, Copy)]
pub struct Tariff<'a> {
    pub prices: &'a Prices,
    pub copies: Copies,
    pub restore: RestoreSpeed,
    pub restore_days: u32,
    /// The class that a restored object is copied back to.
    pub restored_class: StorageClass,
}

impl<'a> Tariff<'a> {
    /// What moves cost that are made under `guards`.
    pub fn new(prices: &'a Prices, guards: &Guards) -> Self {
        let Guards { copies, restore, restore_days, restored_class, .. } = *guards;
        Self { prices, copies, restore, restore_days, restored_class }
    }

    /// How archived objects are restored.
    pub fn restores(&self) -> Restores {
        Restores { speed: self.restore, days: self.restore_days, class: self.restored_class }
    }

    /// Bills the storage from where it was billed to, up to `day`, which is not included.
    pub fn store(&self, held: &mut Held, day: u16, bill: &mut Bill) {
        while held.billed_to < day {
            let from = held.billed_to;
            let mut to = day.min((from / PERIOD_DAYS + 1) * PERIOD_DAYS);
            if held.class == StorageClass::IntelligentTiering {
                for tier in [30, 90] {
                    let colder = held.active.saturating_add(tier);
                    if from < colder {
                        to = to.min(colder);
                    }
                }
            }
            let months = f64::from(to - from) / f64::from(PERIOD_DAYS);
            let stored = held.stored(from);
            let monitoring = self.prices.monthly_monitoring_usd(stored);
            let all = self.prices.monthly_storage_usd(stored).unwrap_or(0.0);
            let costs = bill.at(from);
            costs.storage_usd += months * (all - monitoring);
            costs.monitoring_usd += months * monitoring;
            held.billed_to = to;
        }
    }

    /// Moves the object at the beginning of `day`. A move that S3 lacks, or to where the object is, is none.
    pub fn change_class(&self, held: &mut Held, day: u16, to: StorageClass, bill: &mut Bill) {
        if to == held.class {
            return;
        }
        self.store(held, day, bill);
        let Some(cost) = self.prices.move_cost(&self.question(held, day, to)) else { return };
        let costs = bill.at(day);
        costs.requests_usd += cost.requests_usd;
        costs.retrieval_usd += cost.retrieval_usd + cost.restore_usd;
        costs.early_deletion_usd += cost.early_deletion_usd;
        bill.moves += 1;
        *held = Held { class: to, since: day, active: day, ..*held };
    }

    /// What a move at the beginning of `day` is asked as.
    pub fn question(&self, held: &Held, day: u16, to: StorageClass) -> MoveQuestion {
        MoveQuestion {
            from: held.stored(day),
            to,
            days_in_class: Some(u64::from(day.saturating_sub(held.since))),
            copy_requests: self.copies.requests(held.bytes),
            restore: self.restore,
            restore_days: self.restore_days,
        }
    }

    /// `reads` that carry `bytes` on `day`.
    pub fn read(&self, held: &mut Held, day: u16, reads: u32, bytes: u64, bill: &mut Bill) {
        self.store(held, day, bill);
        bill.read_days += 1;
        let mut read_from = held.class;
        if held.class.is_archive() {
            bill.delayed_reads += u64::from(reads);
            bill.delayed_read_days += 1;
            read_from = StorageClass::Standard;
            self.change_class(held, day, self.restored_class, bill);
        }
        held.active = day;
        let (requests_usd, retrieval_usd) = self.prices.read_usd(read_from, u64::from(reads), bytes);
        let costs = bill.at(day);
        costs.requests_usd += requests_usd;
        costs.retrieval_usd += retrieval_usd;
    }

    /// What one read of the whole object costs more than it does in STANDARD.
    pub fn one_read_usd(&self, held: &Held) -> f64 {
        let of = |class| {
            let (requests_usd, retrieval_usd) = self.prices.read_usd(class, 1, held.bytes);
            requests_usd + retrieval_usd
        };
        (of(held.class) - of(StorageClass::Standard)).max(0.0)
    }

    /// A user's PUT on `day`.
    pub fn put(&self, day: u16, bytes: u64, bill: &mut Bill) -> Held {
        bill.at(day).requests_usd += self.prices.classes.standard.put_per_1000 / 1000.0;
        Held::written(day, bytes)
    }

    /// The object is deleted, or replaced, on `day`.
    pub fn end(&self, held: &mut Held, day: u16, bill: &mut Bill) {
        self.store(held, day, bill);
        let days = u64::from(day.saturating_sub(held.since));
        bill.at(day).early_deletion_usd += self.prices.early_deletion_usd(held.stored(day), Some(days)).unwrap_or(0.0);
    }
}

#[cfg(test)]
mod tests;
