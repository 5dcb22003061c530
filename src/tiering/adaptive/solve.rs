//! The classes in which an object costs the least in the long run, by value iteration.
//!
//! An object is in a *place* ([`Place`]: a class, and whether its minimum duration is served, or which of
//! Intelligent-Tiering's tiers it is in), has been idle for some *bin* of days, and has a *heat class*. On a day it is read with
//! the chance that [`Hazards`] gives, which costs what its place asks and sets its idle age back, or it is deleted, or it stays
//! one day longer. A dollar of tomorrow is worth a little less than one of today. [`Plan`] holds, for objects of about
//! one size and one volume of reads, what all this costs from any state on, and where it is best to be: looking that up is one
//! access to a table.

use super::hazard::{HEAT_OF_CLASS, Hazards, middle_of};
use crate::tiering::cost::{MoveQuestion, Prices, RestoreSpeed, Stored};
use crate::tiering::evidence::{
    HEAT_CLASSES, HEAT_DAYS, IDLE_BINS, IDLE_FROM, YOUNG_DAYS, YOUNG_FROM, days_of_bin, idle_bin,
};
use crate::tiering::storage_class::StorageClass;

/// What a dollar is worth a day later. In a year a third is lost: plans of today rarely hold so long.
const DISCOUNT: f64 = 0.9985;

/// When the differences between states change by less than this share in a round, the plan is good.
const PRECISION: f64 = 1e-4;
const MOST_ROUNDS: usize = 100;

/// Where an object is, as far as costs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    Standard,
    /// Less than its minimum of 30 days in STANDARD_IA.
    StandardIaYoung,
    StandardIaOld,
    GlacierIrYoung,
    GlacierIrOld,
    /// In Intelligent-Tiering since before it was last used: its tier goes by its idle age.
    Intelligent,
    /// Came into Intelligent-Tiering while idle; in its frequent access tier.
    IntelligentFrequent,
    /// The same, later: in its infrequent access tier.
    IntelligentInfrequent,
    GlacierYoung,
    GlacierOld,
    DeepArchiveYoung,
    DeepArchiveOld,
}

const PLACES: [Place; 12] = [
    Place::Standard,
    Place::StandardIaYoung,
    Place::StandardIaOld,
    Place::GlacierIrYoung,
    Place::GlacierIrOld,
    Place::Intelligent,
    Place::IntelligentFrequent,
    Place::IntelligentInfrequent,
    Place::GlacierYoung,
    Place::GlacierOld,
    Place::DeepArchiveYoung,
    Place::DeepArchiveOld,
];

/// By how many days an object may have been idle before it came into Intelligent-Tiering and still be taken for one that has been
/// there since its last use: its first tier would be the same.
const SYNCED_DAYS: u32 = 30;

/// The inactive days after which Intelligent-Tiering bills no other tier.
const LAST_TIER_FROM: u32 = 90;

impl Place {
    /// The place of an object that has been `days_in_class` in its class, idle for `idle_days`, of which `inactive_days` in
    /// that class. None for a class that is not reckoned with.
    pub fn of(class: StorageClass, days_in_class: u32, idle_days: u32, inactive_days: u32) -> Option<Self> {
        let young = days_in_class < class.minimum_days();
        Some(match class {
            StorageClass::Standard => Self::Standard,
            StorageClass::StandardIa if young => Self::StandardIaYoung,
            StorageClass::StandardIa => Self::StandardIaOld,
            StorageClass::GlacierIr if young => Self::GlacierIrYoung,
            StorageClass::GlacierIr => Self::GlacierIrOld,
            StorageClass::Glacier if young => Self::GlacierYoung,
            StorageClass::Glacier => Self::GlacierOld,
            StorageClass::DeepArchive if young => Self::DeepArchiveYoung,
            StorageClass::DeepArchive => Self::DeepArchiveOld,
            StorageClass::IntelligentTiering => match inactive_days {
                _ if idle_days <= inactive_days + SYNCED_DAYS => Self::Intelligent,
                0..30 => Self::IntelligentFrequent,
                30..90 => Self::IntelligentInfrequent,
                _ => Self::Intelligent,
            },
            StorageClass::OnezoneIa | StorageClass::ReducedRedundancy | StorageClass::Unmanaged => return None,
        })
    }

    pub fn class(self) -> StorageClass {
        match self {
            Self::Standard => StorageClass::Standard,
            Self::StandardIaYoung | Self::StandardIaOld => StorageClass::StandardIa,
            Self::GlacierIrYoung | Self::GlacierIrOld => StorageClass::GlacierIr,
            Self::Intelligent | Self::IntelligentFrequent | Self::IntelligentInfrequent => {
                StorageClass::IntelligentTiering
            }
            Self::GlacierYoung | Self::GlacierOld => StorageClass::Glacier,
            Self::DeepArchiveYoung | Self::DeepArchiveOld => StorageClass::DeepArchive,
        }
    }

    /// What it becomes in time while it stays idle, and after how many days.
    fn aged(self) -> Option<(Self, f64)> {
        Some(match self {
            Self::StandardIaYoung => (Self::StandardIaOld, 30.0),
            Self::GlacierIrYoung => (Self::GlacierIrOld, 90.0),
            Self::IntelligentFrequent => (Self::IntelligentInfrequent, 30.0),
            Self::IntelligentInfrequent => (Self::Intelligent, 60.0),
            Self::GlacierYoung => (Self::GlacierOld, 90.0),
            Self::DeepArchiveYoung => (Self::DeepArchiveOld, 180.0),
            _ => return None,
        })
    }

    /// Where it is after it was read; out of an archive, it was `restored`.
    fn read(self, restored: Self) -> Self {
        match self {
            Self::IntelligentFrequent | Self::IntelligentInfrequent => Self::Intelligent,
            place if place.class().is_archive() => restored,
            place => place,
        }
    }

    /// Whether it makes sense to leave this place for the other. What came into Intelligent-Tiering while it was idle does not go
    /// back to STANDARD before it was read: its way to the colder tiers is reckoned by chance, and where that looks worse than
    /// it is, objects would go in and out.
    fn may_become(self, other: Self) -> bool {
        other != Self::Standard || !matches!(self, Self::IntelligentFrequent | Self::IntelligentInfrequent)
    }

    /// Whether reads are paid by the gigabyte.
    fn has_paid_reads(self) -> bool {
        !matches!(self.class(), StorageClass::Standard | StorageClass::IntelligentTiering)
    }

    /// Whether the minimum duration is still running: the object stays.
    fn is_young(self) -> bool {
        matches!(self, Self::StandardIaYoung | Self::GlacierIrYoung | Self::GlacierYoung | Self::DeepArchiveYoung)
    }
}

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
    /// What the future costs from where nothing is moved today.
    stay: Box<Grid<f64>>,
    best: Box<Grid<Place>>,
    least: Box<Grid<f64>>,
}

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
        self.stay[place as usize][bin][class]
    }

    /// What all the time to come costs if it is moved when that is best.
    pub fn least_usd(&self, place: Place, bin: usize, class: usize) -> f64 {
        self.least[place as usize][bin][class]
    }

    /// Works it out. `before`, a plan for the same kind by older hazards, saves most of the work.
    pub fn solve(prices: &Prices, hazards: &Hazards, kind: Kind, rules: &Rules, before: Option<&Plan>) -> Self {
        let mut solver = Solver::new(prices, hazards, kind, rules);
        if let Some(before) = before {
            solver.least = before.least.clone();
        }
        solver.solve(kind.bytes)
    }
}

/// A stay through a bin: what it costs is `fixed`, and a share of what each of the states costs that it may lead to.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    fixed: f64,
    read: f64,
    aged: f64,
    next: f64,
}

/// A class, and what it costs to enter it from every place.
type Entry = (StorageClass, [f64; PLACES.len()]);

struct Solver<'a> {
    hazards: &'a Hazards,
    restored: Place,
    patience_days: u32,
    /// Storage by the day.
    daily: [[f64; IDLE_BINS]; PLACES.len()],
    read: [f64; PLACES.len()],
    end: [f64; PLACES.len()],
    steps: Box<Grid<Step>>,
    /// The classes that may be entered, each with what it costs from every place; infinite where there is no such move.
    entries: Vec<Entry>,
    /// What an object pays more that comes into Intelligent-Tiering at an idle age, than one that is there since its last use:
    /// it reaches the colder tiers later by as many days. To the day, because a plan that had it reach them by chance would
    /// move objects in late, or out and in again, to try its luck.
    late: [[f64; HEAT_CLASSES]; IDLE_BINS],
    /// The classes of heat that a read leads to: the lower one, and the share of the next higher one.
    hotter: [[(usize, f64); HEAT_CLASSES]; IDLE_BINS],
    places: Vec<Place>,
    stay: Box<Grid<f64>>,
    least: Box<Grid<f64>>,
    best: Box<Grid<Place>>,
}

impl<'a> Solver<'a> {
    fn new(prices: &Prices, hazards: &'a Hazards, kind: Kind, rules: &Rules) -> Self {
        let mut solver = Self {
            hazards,
            restored: rules.restored(),
            patience_days: rules.patience_days,
            daily: [[0.0; IDLE_BINS]; PLACES.len()],
            read: [0.0; PLACES.len()],
            end: [0.0; PLACES.len()],
            steps: Box::new([[[Step::default(); HEAT_CLASSES]; IDLE_BINS]; PLACES.len()]),
            entries: Vec::new(),
            late: late(prices, hazards, kind.bytes),
            hotter: hotter(),
            places: PLACES.into_iter().filter(|place| rules.reach(*place)).collect(),
            stay: Box::new([[[0.0; HEAT_CLASSES]; IDLE_BINS]; PLACES.len()]),
            least: Box::new([[[0.0; HEAT_CLASSES]; IDLE_BINS]; PLACES.len()]),
            best: Box::new([[[Place::Standard; HEAT_CLASSES]; IDLE_BINS]; PLACES.len()]),
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
            for bin in 0..IDLE_BINS {
                solver.daily[i][bin] = daily_usd(prices, place, bin, kind.bytes);
            }
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
            let into = PLACES.map(|from| {
                let possible = !from.is_young() && !from.class().is_archive() && from.class() != *class;
                let cost = possible.then(|| prices.move_cost(&question(from, *class))).flatten();
                cost.map_or(f64::INFINITY, |cost| cost.one_off_usd())
            });
            solver.entries.push((*class, into));
        }
        solver.drop_dominated();
        for place in solver.places.clone() {
            for bin in 0..IDLE_BINS {
                for class in 0..HEAT_CLASSES {
                    solver.steps[place as usize][bin][class] = solver.step(place, bin, class);
                }
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
        if cheap.0 == dear.0 {
            return false;
        }
        let of = |class| PLACES.into_iter().filter(move |place: &Place| place.class() == class);
        let enters = (0..PLACES.len()).all(|i| cheap.1[i] <= dear.1[i] || PLACES[i].class() == cheap.0);
        enters
            && of(cheap.0).all(|place| !place.is_young() && place.aged().is_none())
            && of(cheap.0).all(|cheaper| {
                of(dear.0).all(|dearer| {
                    let (c, d) = (cheaper as usize, dearer as usize);
                    let most = self.daily[c].iter().copied().fold(0.0, f64::max);
                    let least = self.daily[d].iter().copied().fold(f64::INFINITY, f64::min);
                    most <= least && self.read[c] <= self.read[d]
                })
            })
    }

    fn solve(mut self, bytes: u64) -> Plan {
        for _ in 0..MOST_ROUNDS {
            if self.round() < PRECISION {
                break;
            }
        }
        Plan { bytes, stay: self.stay, best: self.best, least: self.least }
    }

    /// One round over all states, the longest idle first; returns how much the differences between states after a read changed, as
    /// a share. What all states gain alike changes no decision.
    fn round(&mut self) -> f64 {
        let before: [[f64; HEAT_CLASSES]; PLACES.len()] = std::array::from_fn(|place| self.least[place][0]);
        for bin in (0..IDLE_BINS).rev() {
            for class in 0..HEAT_CLASSES {
                for i in 0..self.places.len() {
                    let place = self.places[i];
                    self.stay[place as usize][bin][class] = self.stay_usd(place, bin, class);
                }
                self.choose(bin, class);
            }
        }
        let (mut low, mut high, mut size) = (f64::INFINITY, f64::NEG_INFINITY, 0.0_f64);
        let now = self.least.iter().flat_map(|place| place[0]);
        for (now, before) in now.zip(before.into_iter().flatten()).filter(|(now, _)| now.is_finite()) {
            let change = now - before;
            (low, high, size) = (low.min(change), high.max(change), size.max(now.abs()));
        }
        if size > 0.0 { (high - low) / size } else { 0.0 }
    }

    fn stay_usd(&self, place: Place, bin: usize, class: usize) -> f64 {
        let i = place as usize;
        let step = &self.steps[i][bin][class];
        let (lower, share) = self.hotter[bin][class];
        let after = &self.least[place.read(self.restored) as usize][0];
        let then = after[lower] + share * (after[(lower + 1).min(HEAT_CLASSES - 1)] - after[lower]);
        let aged = place.aged().map_or(0.0, |(aged, _)| step.aged * self.least[aged as usize][bin][class]);
        let next = if bin + 1 < IDLE_BINS { step.next * self.least[i][bin + 1][class] } else { 0.0 };
        step.fixed + step.read * then + aged + next
    }

    fn step(&self, place: Place, bin: usize, class: usize) -> Step {
        let i = place as usize;
        let read = self.hazards.read(class, bin);
        let end = self.hazards.end(class, bin).min(1.0 - read);
        let idle = (1.0 - read - end) * DISCOUNT;
        let aging = place.aged().map_or(0.0, |(_, days)| 1.0 / days);
        let goes_on = idle * (1.0 - aging);
        let next = days_of_bin(bin).map_or(0.0, |days| goes_on.powi(days as i32));
        // Days that are spent in the bin, the later ones worth less.
        let days = (1.0 - next) / (1.0 - goes_on);
        Step {
            fixed: days * (self.daily[i][bin] + read * self.read[i] + end * self.end[i]),
            read: days * read * DISCOUNT,
            aged: days * idle * aging,
            next,
        }
    }

    /// Takes the better of staying and moving, from every place. Staying wins a tie.
    fn choose(&mut self, bin: usize, class: usize) {
        for place in &self.places {
            let (place, i) = (*place, *place as usize);
            let (mut least, mut best) = (self.stay[i][bin][class], place);
            for (to, into) in &self.entries {
                let Some(entered) = Place::of(*to, 0, 0, 0).filter(|entered| place.may_become(*entered)) else {
                    continue;
                };
                if entered.has_paid_reads() && u32::from(IDLE_FROM[bin]) < self.patience_days {
                    continue;
                }
                let late = if entered == Place::Intelligent { self.late[bin][class] } else { 0.0 };
                let usd = into[i] + late + self.stay[entered as usize][bin][class];
                if usd < least * (1.0 - 1e-9) {
                    (least, best) = (usd, entered);
                }
            }
            self.least[i][bin][class] = least;
            self.best[i][bin][class] = best;
        }
    }
}

fn daily_usd(prices: &Prices, place: Place, bin: usize, bytes: u64) -> f64 {
    let on = |idle_days| {
        prices.monthly_storage_usd(Stored { class: place.class(), bytes, idle_days }).unwrap_or(f64::INFINITY) / 30.0
    };
    match place {
        Place::Intelligent => {
            let days = days_of_bin(bin).unwrap_or(1);
            (0..days).map(|day| on(u64::from(u32::from(IDLE_FROM[bin]) + day))).sum::<f64>() / f64::from(days)
        }
        Place::IntelligentInfrequent => on(30),
        _ => on(0),
    }
}

/// See [`Solver::late`].
fn late(prices: &Prices, hazards: &Hazards, bytes: u64) -> [[f64; HEAT_CLASSES]; IDLE_BINS] {
    let on = |idle_days| {
        let stored = Stored { class: StorageClass::IntelligentTiering, bytes, idle_days: u64::from(idle_days) };
        prices.monthly_storage_usd(stored).unwrap_or(f64::INFINITY) / 30.0
    };
    let mut all = [[0.0; HEAT_CLASSES]; IDLE_BINS];
    for (bin, row) in all.iter_mut().enumerate() {
        let idle_days = u32::from(IDLE_FROM[bin]);
        let more: Vec<f64> = (0..LAST_TIER_FROM).map(|day| on(day) - on(idle_days + day)).collect();
        for (class, usd) in row.iter_mut().enumerate() {
            let mut still_idle = 1.0;
            for (day, more) in (idle_days..).zip(&more) {
                *usd += still_idle * more;
                let bin = idle_bin(day);
                still_idle *= (1.0 - hazards.read(class, bin) - hazards.end(class, bin)).max(0.0) * DISCOUNT;
            }
        }
    }
    all
}

fn hotter() -> [[(usize, f64); HEAT_CLASSES]; IDLE_BINS] {
    let mut all = [[(1, 0.0); HEAT_CLASSES]; IDLE_BINS];
    for (bin, row) in all.iter_mut().enumerate() {
        for (class, to) in row.iter_mut().enumerate() {
            let heat = 1.0 + HEAT_OF_CLASS[class] * (-middle_of(bin) / HEAT_DAYS).exp();
            let (first, end) = if is_young_after(class, bin) { (YOUNG_FROM, HEAT_CLASSES) } else { (1, YOUNG_FROM) };
            let heats = &HEAT_OF_CLASS[first..end];
            let lower = heats.partition_point(|of_class| *of_class <= heat).saturating_sub(1);
            let share = match heats.get(lower + 1) {
                Some(upper) => (heat - heats[lower]) / (upper - heats[lower]),
                None => 0.0,
            };
            *to = (first + lower, share.clamp(0.0, 1.0));
        }
    }
    all
}

/// Whether an object is young after a read at this idle age. What was never read has been idle since it was written; of what
/// was young, half of the time as a young one is taken to be over.
fn is_young_after(class: usize, bin: usize) -> bool {
    let days = middle_of(bin);
    class == 0 && days <= f64::from(YOUNG_DAYS) || class >= YOUNG_FROM && days <= f64::from(YOUNG_DAYS) / 2.0
}
