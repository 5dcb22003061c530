//! The archives whose readers wait (GLACIER, DEEP_ARCHIVE): which objects may go there, so that no more than an allowed share of
//! a bucket's reads has to wait.
//!
//! # The bound
//!
//! An object in an archive can make readers wait once: it is then restored and copied back, and must be archived anew before
//! it can do so again. So [`Waits::room`] lets only as many objects be archived as keep
//!
//! ```text
//! waited + archived  ≤  allowed share × (reads + archived)
//! ```
//!
//! true, which is that the share holds if all that is archived were read now. A read of an archived object adds one to `waited` and
//! to `reads` and takes one from `archived`, which changes neither side; any other read raises the right side alone. So the
//! share of reads that waited stays within what is allowed whatever is read and when. Nothing of this is expected or
//! estimated. All readers of an object's day wait for the same restore: such a day is one read here.
//!
//! It is strict: a bucket that is hardly ever read can archive few objects, though hardly anybody would wait there. To bound
//! the expected share alone would archive more, and break the promise as soon as somebody reads together what was cold, which is
//! how archives are read, and of which no history of single reads tells.
//!
//! # Who gets a place
//!
//! Places are few, so they go to the objects that save the most by them: each by what its future costs less with archives
//! than without, by plans that take every read as three times as likely as it was learned. The saving of the last one that gets
//! a place is the price of a place: Lagrange's multiplier of the bound, found by sorting ([`Survey::places`]).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::experts::Restores;
use super::hazard::Hazards;
use super::learned::{Explanation, Learned, View};
use super::safeguard::{Expert, fraction};
use super::solve::Rules;
use super::stays::Stays;
use crate::tiering::cost::{MoveQuestion, Prices, Stored};
use crate::tiering::evidence::Day;
use crate::tiering::storage_class::StorageClass;

/// How many times as likely as learned reads are taken to be.
const CAUTION: f64 = 3.0;

/// Savings are sorted into so many bins for each power of two.
const BINS_PER_OCTAVE: f64 = 4.0;

/// Who gets a place does not go by the same part of a hash as whom to follow.
const OTHER_HASHES: u64 = 0x517c_c1b7_2722_0a95;

/// What a bucket's readers have gone through, and may yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Waits {
    /// Days on which an object was read, of all objects.
    pub reads: u64,
    /// Of these, those on which its readers had to wait for a restore.
    pub waited: u64,
    /// Objects that lie in an archive, whoever put them there.
    pub archived: u64,
}

impl Waits {
    /// How many objects more may be archived where `limit` of the reads may wait, a share below 1.
    pub fn room(&self, limit: f64) -> u64 {
        let holds = |archived: u64| {
            let waited = self.waited.saturating_add(archived) as f64;
            waited <= limit * self.reads.saturating_add(archived) as f64
        };
        let all = ((limit * self.reads as f64 - self.waited as f64) / (1.0 - limit)).max(0.0) as u64;
        // A rounding may have added one.
        let all = if all > 0 && !holds(all) { all - 1 } else { all };
        all.saturating_sub(self.archived)
    }

    /// What share of the reads has waited; 0 where there were none.
    pub fn share(&self) -> f64 {
        if self.reads == 0 { 0.0 } else { self.waited as f64 / self.reads as f64 }
    }
}

/// Plans with the archives and without.
#[derive(Debug, Default)]
pub struct Archives {
    plans: Option<Plans>,
}

#[derive(Debug)]
struct Plans {
    with: Learned,
    without: Learned,
    /// As it was learned, without caution: what people are told.
    hazards: Hazards,
    /// A price that all others are measured by.
    unit_usd: f64,
}

/// That an object would be best in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    pub class: StorageClass,
    /// The bin of what it saves.
    bin: i32,
}

impl Archives {
    /// Learns anew. What was learned before is where new plans begin.
    pub fn learn(&mut self, prices: &Prices, hazards: &Hazards, restores: Restores) {
        let archives = archives(prices, restores);
        let (with, without) = match self.plans.take() {
            Some(before) => (Some(before.with), Some(before.without)),
            None => (None, None),
        };
        let stays = Arc::new(Stays::new(hazards.scaled(CAUTION)));
        let learned = |classes: Vec<StorageClass>, before| {
            let rules = Rules {
                classes,
                patience_days: 0,
                restore: restores.speed,
                restore_days: restores.days,
                restored: restores.class,
            };
            Learned::new(prices, stays.clone(), rules, before)
        };
        self.plans = Some(Plans {
            with: learned(read_at_once().iter().copied().chain(archives).collect(), with),
            without: learned(read_at_once().to_vec(), without),
            hazards: hazards.clone(),
            unit_usd: prices.classes.standard.storage_gb_month,
        });
    }

    /// Whether the object would be best in an archive on `today`, and until when the answer is the same if nothing happens to
    /// it. What lies in an archive is best left there, and what serves a minimum duration is not asked about.
    pub fn wish(&self, object: &View<'_>, today: Day) -> (Option<Wish>, Day) {
        let served = object.class_since.saturating_add_unsigned(object.class.minimum_days());
        let Some(plans) = self.plans.as_ref().filter(|_| read_at_once().contains(&object.class)) else {
            return (None, Day::MAX);
        };
        if today < served {
            return (None, served);
        }
        let choice = plans.with.choose(object, today);
        if !choice.target.is_archive() {
            return (None, choice.until);
        }
        let future = |learned: &Learned| learned.future_usd(object, today);
        let saved = future(&plans.without).zip(future(&plans.with)).map(|(without, with)| without - with);
        let wish = saved.filter(|usd| *usd > 0.0).map(|usd| {
            let bin = (usd / plans.unit_usd).log2() * BINS_PER_OCTAVE;
            Wish { class: choice.target, bin: bin.floor() as i32 }
        });
        (wish, choice.until)
    }

    /// The figures behind a wish.
    pub fn explain(&self, object: &View<'_>, today: Day) -> Option<Explanation> {
        let plans = self.plans.as_ref()?;
        let explained = plans.with.explain(object, today)?;
        let chance_of_read = plans.hazards.chance_of_read(object.evidence.heat_class(), explained.idle_days, 30);
        Some(Explanation { chance_of_read, ..explained })
    }

    /// The chance that the object is read in the next 30 days; 0 where nothing is known of it.
    pub fn chance_of_read(&self, object: &View<'_>, today: Day) -> f64 {
        let idle_days = object.evidence.idle_days(today).map(|days| days.max(1));
        let chance = |plans: &Plans| Some(plans.hazards.chance_of_read(object.evidence.heat_class(), idle_days?, 30));
        self.plans.as_ref().and_then(chance).unwrap_or(0.0)
    }
}

/// The classes that are read at once. The archives must be worth more than these.
fn read_at_once() -> &'static [StorageClass] {
    Expert::Thrifty.classes()
}

/// The archives that objects come back from at the configured speed: DEEP_ARCHIVE has no expedited restores.
fn archives(prices: &Prices, restores: Restores) -> impl Iterator<Item = StorageClass> {
    [StorageClass::Glacier, StorageClass::DeepArchive].into_iter().filter(move |class| {
        let back = MoveQuestion {
            from: Stored { class: *class, bytes: 1, idle_days: 0 },
            to: restores.class,
            days_in_class: None,
            copy_requests: 1,
            restore: restores.speed,
            restore_days: restores.days,
        };
        prices.move_cost(&back).is_some()
    })
}

/// How many objects of a bucket wish to be archived, by what that saves.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    wishes: BTreeMap<i32, u64>,
}

impl Survey {
    /// `objects` have this wish.
    pub fn add(&mut self, wish: Wish, objects: u64) {
        *self.wishes.entry(wish.bin).or_default() += objects;
    }

    /// Gives `room` places to those that save the most: to all above some saving, and to a share of those at it.
    pub fn places(&self, room: u64) -> Places {
        let mut left = room;
        for (bin, objects) in self.wishes.iter().rev() {
            if *objects > left {
                return Places { above: *bin, share_of_bin: left as f64 / *objects as f64, left: room };
            }
            left -= objects;
        }
        Places { above: i32::MIN, share_of_bin: 1.0, left: room }
    }
}

/// Who may be archived until the next survey.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Places {
    above: i32,
    /// What share of those may that save just as much.
    share_of_bin: f64,
    left: u64,
}

impl Places {
    /// Nobody.
    pub const NONE: Self = Self { above: i32::MAX, share_of_bin: 0.0, left: 0 };

    /// Whether the wish of an object is granted. `hash` is any number that is its own and stays. Whoever moves it then takes the
    /// place ([`Places::take`]).
    pub fn grant(&self, wish: Wish, hash: u64) -> bool {
        self.left > 0 && fraction(hash ^ OTHER_HASHES) < self.share_granted(wish)
    }

    /// What share of the objects of this wish it is granted to.
    pub fn share_granted(&self, wish: Wish) -> f64 {
        match wish.bin.cmp(&self.above) {
            Ordering::Greater => 1.0,
            Ordering::Equal => self.share_of_bin,
            Ordering::Less => 0.0,
        }
    }

    /// Takes a place. False where none is left.
    pub fn take(&mut self) -> bool {
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }

    /// How many are left.
    pub fn left(&self) -> u64 {
        self.left
    }
}

#[cfg(test)]
mod tests;
