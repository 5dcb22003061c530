//! The classes in which an object costs the least in the long run, by value iteration that sees to the end: policy iteration.
//!
//! An object is in a *place* ([`Place`]: a class, and whether its minimum duration is served, or which of
//! Intelligent-Tiering's tiers it is in), has been idle for some *bin* of days, and has a *heat class*. On a day it is read with
//! the chance that its bucket's hazards give, which costs what its place asks and sets its idle age back, or it is deleted, or it
//! stays one day longer. A dollar of tomorrow is worth a little less than one of today. [`Plan`] holds, for objects of about
//! one size and one volume of reads, what all this costs from any state on, and where it is best to be: looking that up is one
//! access to a table.

use std::array::from_fn;

use self::evaluation::Evaluation;
use super::place::{PLACES, Place, TIER_FROM, tier_after};
use super::stays::{PerHeat, Stays};
use crate::tiering::cost::{MoveQuestion, Prices, RestoreSpeed, Stored};
use crate::tiering::evidence::{HEAT_CLASSES, IDLE_BINS, IDLE_FROM, days_of_bin};
use crate::tiering::storage_class::StorageClass;

/// When no figure changes by more than this share in a round, the plan is good.
const PRECISION: f64 = 1e-4;
const MOST_ROUNDS: usize = 30;

/// Objects of one kind: how large, and what is read of them on a day on which they are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kind {
    pub bytes: u64,
    pub bytes_read: u64,
    pub reads: u64,
}

/// The rules under which a plan is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The classes that objects may be moved into.
    pub classes: Vec<StorageClass>,
    /// Before an object has been idle for so long it is not moved to where reads are paid.
    pub patience_days: u32,
    pub restore: RestoreSpeed,
    pub restore_days: u32,
    /// Where a restored object is copied back to.
    pub restored: StorageClass,
}

impl Rules {
    /// Whether an object can be there by these rules. It may have come into any class that is read at once by older ones.
    fn reach(&self, place: Place) -> bool {
        !place.class().is_archive() || self.classes.contains(&place.class())
    }

    /// Where an object is after a read that had to wait.
    fn restored(&self) -> Place {
        Place::of(self.restored, 0, 0, 0).filter(|place| !place.class().is_archive()).unwrap_or(Place::Standard)
    }
}

type Grid<T> = [[[T; HEAT_CLASSES]; IDLE_BINS]; PLACES.len()];

/// The best class from every state.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    bytes: u64,
    /// What the future costs from where nothing is moved today. There are thousands of plans, so the figures are kept short.
    stay: Box<Grid<f32>>,
    best: Box<Grid<Place>>,
    least: Least,
}

/// What the future costs from every state.
#[derive(Debug, Clone, PartialEq)]
pub struct Least(Box<Grid<f32>>);

impl Plan {
    /// The size that it is made for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The class in which an object in this state should be.
    pub fn best(&self, place: Place, bin: usize, class: usize) -> StorageClass {
        self.best[place as usize][bin][class].class()
    }

    /// What all the time to come costs, a later dollar being worth less, if it stays today.
    pub fn staying_usd(&self, place: Place, bin: usize, class: usize) -> f64 {
        self.stay[place as usize][bin][class].into()
    }

    /// What all the time to come costs if it is moved when that is best.
    pub fn least_usd(&self, place: Place, bin: usize, class: usize) -> f64 {
        self.least.0[place as usize][bin][class].into()
    }

    /// Works it out. `before`, of a plan for the same kind by older hazards, saves most of the work.
    pub fn solve(prices: &Prices, stays: &Stays, kind: Kind, rules: &Rules, before: Option<&Least>) -> Self {
        let mut solver = Solver::new(prices, stays, kind, rules);
        if let Some(Least(before)) = before {
            solver.least = wide(before);
        }
        solver.solve(kind.bytes)
    }

    /// What of it a later plan begins with.
    pub fn into_least(self) -> Least {
        self.least
    }
}

fn wide(grid: &Grid<f32>) -> Box<Grid<f64>> {
    Box::new(grid.map(|place| place.map(|bin| bin.map(f64::from))))
}

fn narrow(grid: &Grid<f64>) -> Box<Grid<f32>> {
    Box::new(grid.map(|place| place.map(|bin| bin.map(|usd| usd as f32))))
}

/// A class that may be entered, and what that costs from every place; infinite where there is no such move.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    class: StorageClass,
    /// Where an object is that has just come into it.
    entered: Place,
    usd: [f64; PLACES.len()],
}

struct Solver<'a> {
    stays: &'a Stays,
    restored: Place,
    patience_days: u32,
    /// Storage by the day.
    daily: [[f64; IDLE_BINS]; PLACES.len()],
    read: [f64; PLACES.len()],
    end: [f64; PLACES.len()],
    /// What a stay in a bin costs, beside what it leads to.
    fixed: Box<Grid<f64>>,
    entries: Vec<Entry>,
    /// What an object pays more that comes into Intelligent-Tiering at an idle age, than one that is there since its last use:
    /// it reaches the colder tiers later by as many days.
    late: [PerHeat; IDLE_BINS],
    places: Vec<Place>,
    stay: Box<Grid<f64>>,
    least: Box<Grid<f64>>,
}

impl<'a> Solver<'a> {
    fn new(prices: &Prices, stays: &'a Stays, kind: Kind, rules: &Rules) -> Self {
        let mut solver = Self {
            stays,
            restored: rules.restored(),
            patience_days: rules.patience_days,
            daily: daily(prices, kind.bytes),
            read: [0.0; PLACES.len()],
            end: [0.0; PLACES.len()],
            fixed: Box::new([[[0.0; HEAT_CLASSES]; IDLE_BINS]; PLACES.len()]),
            entries: Vec::new(),
            late: late(prices, stays, kind.bytes),
            places: PLACES.into_iter().filter(|place| rules.reach(*place)).collect(),
            stay: Box::new([[[0.0; HEAT_CLASSES]; IDLE_BINS]; PLACES.len()]),
            least: Box::new([[[0.0; HEAT_CLASSES]; IDLE_BINS]; PLACES.len()]),
        };
        let question = |from: Place, to| MoveQuestion {
            from: Stored { class: from.class(), bytes: kind.bytes, idle_days: 0 },
            to,
            days_in_class: None,
            copy_requests: 1,
            restore: rules.restore,
            restore_days: rules.restore_days,
        };
        for place in PLACES {
            let i = place as usize;
            if place.is_young() {
                // Half of it is left, at a guess.
                let stored = Stored { class: place.class(), bytes: kind.bytes, idle_days: 0 };
                solver.end[i] = prices.early_deletion_usd(stored, Some(0)).unwrap_or(0.0) / 2.0;
            }
            // What is restored is read from its temporary copy in STANDARD, and leaves its class.
            let read_from = if place.class().is_archive() { StorageClass::Standard } else { place.class() };
            let (requests, retrieval) = prices.read_usd(read_from, kind.reads, kind.bytes_read);
            solver.read[i] = requests + retrieval;
            if place.class().is_archive() {
                let back = prices.move_cost(&question(place, solver.restored.class()));
                solver.read[i] += back.map_or(f64::INFINITY, |cost| cost.one_off_usd()) + solver.end[i];
            }
        }
        for class in &rules.classes {
            let Some(entered) = Place::of(*class, 0, 0, 0) else { continue };
            let usd = PLACES.map(|from| {
                let possible = !from.is_young() && !from.class().is_archive() && from.class() != *class;
                let cost = possible.then(|| prices.move_cost(&question(from, *class))).flatten();
                cost.map_or(f64::INFINITY, |cost| cost.one_off_usd())
            });
            solver.entries.push(Entry { class: *class, entered, usd });
        }
        solver.drop_dominated();
        for place in solver.places.clone() {
            let i = place as usize;
            for (bin, stay) in stays.of(place).iter().enumerate() {
                solver.fixed[i][bin] = from_fn(|class| {
                    stay.days[class] * solver.daily[i][bin]
                        + stay.reads[class] * solver.read[i]
                        + stay.ends[class] * solver.end[i]
                });
            }
        }
        solver
    }

    /// Leaves out the classes that are at least as dear as another in everything. The plan would hardly enter them, but it takes
    /// an object that is moved for one that has just come into its idle bin, and where the table of reads is odd enough
    /// that may seem to be worth more than the class costs.
    fn drop_dominated(&mut self) {
        let mut all = std::mem::take(&mut self.entries);
        let others = all.clone();
        all.retain(|dear| {
            let better = |cheap| self.dominates(cheap, dear) && !self.dominates(dear, cheap);
            !others.iter().any(better)
        });
        self.entries = all;
    }

    /// Whether `cheap` costs no more than `dear` to enter, to be in and to be read from, and binds to nothing.
    fn dominates(&self, cheap: &Entry, dear: &Entry) -> bool {
        if cheap.class == dear.class {
            return false;
        }
        let of = |class| PLACES.into_iter().filter(move |place: &Place| place.class() == class);
        let enters = PLACES.into_iter().zip(cheap.usd).zip(dear.usd);
        enters.into_iter().all(|((from, cheaper), dearer)| cheaper <= dearer || from.class() == cheap.class)
            && of(cheap.class).all(|place| !place.is_young() && place.aged().is_none())
            && of(cheap.class).all(|cheaper| {
                of(dear.class).all(|dearer| {
                    let (c, d) = (cheaper as usize, dearer as usize);
                    let most = self.daily[c].iter().copied().fold(0.0, f64::max);
                    let least = self.daily[d].iter().copied().fold(f64::INFINITY, f64::min);
                    most <= least && self.read[c] <= self.read[d]
                })
            })
    }

    /// By policy iteration: a round finds better decisions, and what they come to is then worked out exactly, until there are no
    /// better ones.
    fn solve(mut self, bytes: u64) -> Plan {
        let mut best = self.round();
        let mut evaluation = Evaluation::new(&self, &best);
        evaluation.solve_into(&mut self.least);
        for _ in 0..MOST_ROUNDS {
            let before = self.least.clone();
            best = self.round();
            if *best != *evaluation.decisions() {
                evaluation.decide(&self, &best);
                evaluation.solve_into(&mut self.least);
            } else if self.is_near(&before) {
                // Not at once: what a young object ages into is a round old.
                break;
            }
        }
        Plan { bytes, stay: narrow(&self.stay), best, least: Least(narrow(&self.least)) }
    }

    /// Whether all figures are about those of `before`.
    fn is_near(&self, before: &Grid<f64>) -> bool {
        let figures = self.least.iter().flatten().flatten().zip(before.iter().flatten().flatten());
        figures.filter(|(now, _)| now.is_finite()).all(|(now, before)| (now - before).abs() <= PRECISION * now)
    }

    /// One round over all states, the longest idle first; returns the decisions.
    fn round(&mut self) -> Box<Grid<Place>> {
        let after: [PerHeat; PLACES.len()] = from_fn(|place| self.least[place][0]);
        let mut best = Box::new(PLACES.map(|place| [[place; HEAT_CLASSES]; IDLE_BINS]));
        for bin in (0..IDLE_BINS).rev() {
            for i in 0..self.places.len() {
                let place = self.places[i];
                self.stay[place as usize][bin] = self.stay_usd(place, bin, &after[place.read(self.restored) as usize]);
            }
            for i in 0..self.places.len() {
                best[self.places[i] as usize][bin] = self.choose(self.places[i], bin);
            }
        }
        best
    }

    /// What the future costs from a stay in `bin` on; `after` is what it costs after a read, by the heat class that it leads to.
    fn stay_usd(&self, place: Place, bin: usize, after: &PerHeat) -> PerHeat {
        let i = place as usize;
        let stay = &self.stays.of(place)[bin];
        let mut usd = self.fixed[i][bin];
        for (class, &(lower, share)) in self.stays.hotter(bin).iter().enumerate() {
            let then = after[lower] + share * (after[(lower + 1).min(HEAT_CLASSES - 1)] - after[lower]);
            usd[class] += stay.read[class] * then;
        }
        if let Some((aged, _)) = place.aged() {
            add(&mut usd, &stay.aged, &self.least[aged as usize][bin]);
        }
        if let Some(next) = self.least[i].get(bin + 1) {
            add(&mut usd, &stay.next, next);
        }
        usd
    }

    /// Takes the better of staying and moving.
    fn choose(&mut self, place: Place, bin: usize) -> [Place; HEAT_CLASSES] {
        let (mut least, mut best) = (self.stay[place as usize][bin], [place; HEAT_CLASSES]);
        for entry in self.entries_from(place, bin) {
            let usd = self.moving_usd(entry, place, bin);
            for ((best, least), usd) in best.iter_mut().zip(&mut least).zip(usd) {
                if is_less(usd, *least) {
                    (*best, *least) = (entry.entered, usd);
                }
            }
        }
        self.least[place as usize][bin] = least;
        best
    }

    /// The classes that an object may enter from where it is.
    fn entries_from(&self, place: Place, bin: usize) -> impl Iterator<Item = &Entry> {
        let impatient = u32::from(IDLE_FROM[bin]) < self.patience_days;
        self.entries.iter().filter(move |entry| {
            let may = place.may_become(entry.entered) && !(impatient && entry.entered.has_paid_reads());
            may && entry.usd[place as usize].is_finite()
        })
    }

    /// What the future costs, the move included.
    fn moving_usd(&self, entry: &Entry, place: Place, bin: usize) -> PerHeat {
        let into = entry.usd[place as usize];
        let then = &self.stay[entry.entered as usize][bin];
        if entry.entered == Place::Intelligent {
            let late = &self.late[bin];
            return from_fn(|class| into + late[class] + then[class]);
        }
        from_fn(|class| into + then[class])
    }
}

/// Whether it is less by more than sums are rounded by: staying wins a tie.
fn is_less(usd: f64, than: f64) -> bool {
    usd < than * (1.0 - 1e-9)
}

/// Adds `share` of `usd`, by class.
fn add(sum: &mut PerHeat, share: &PerHeat, usd: &PerHeat) {
    for class in 0..HEAT_CLASSES {
        sum[class] += share[class] * usd[class];
    }
}

/// Storage by the day.
fn daily(prices: &Prices, bytes: u64) -> [[f64; IDLE_BINS]; PLACES.len()] {
    let tiers = tiers_daily(prices, bytes);
    PLACES.map(|place| match place {
        Place::Intelligent => from_fn(|bin| {
            let days = days_of_bin(bin).unwrap_or(1);
            let tier = |day| tier_after(u32::from(IDLE_FROM[bin]) + day);
            (0..days).map(|day| tiers[tier(day)]).sum::<f64>() / f64::from(days)
        }),
        Place::IntelligentInfrequent => [tiers[1]; IDLE_BINS],
        _ => [daily_usd(prices, place.class(), bytes, 0); IDLE_BINS],
    })
}

/// The same in each of Intelligent-Tiering's tiers.
fn tiers_daily(prices: &Prices, bytes: u64) -> [f64; TIER_FROM.len()] {
    TIER_FROM.map(|from| daily_usd(prices, StorageClass::IntelligentTiering, bytes, from))
}

fn daily_usd(prices: &Prices, class: StorageClass, bytes: u64, idle_days: u32) -> f64 {
    let stored = Stored { class, bytes, idle_days: u64::from(idle_days) };
    prices.monthly_storage_usd(stored).unwrap_or(f64::INFINITY) / 30.0
}

/// See [`Solver::late`].
fn late(prices: &Prices, stays: &Stays, bytes: u64) -> [PerHeat; IDLE_BINS] {
    let tiers = tiers_daily(prices, bytes);
    from_fn(|bin| {
        let mut usd = [0.0; HEAT_CLASSES];
        for late in stays.late(bin) {
            add(&mut usd, &late.days, &[tiers[late.tier] - tiers[late.due]; HEAT_CLASSES]);
        }
        usd
    })
}

mod evaluation;
#[cfg(test)]
mod tests;
