//! What becomes of an object that stays where it is through an idle bin, by its heat class.
//!
//! It follows from the chances of a read alone, whatever the object's size and whatever anything costs, so it is worked out once and
//! serves the plans for all kinds of objects. Days to come count less by [`DISCOUNT`], and so does what they lead to.

use std::array::from_fn;

use super::hazard::{HEAT_OF_CLASS, Hazards, middle_of};
use super::place::{PLACES, Place, TIER_FROM, tier_after};
use crate::tiering::evidence::{
    HEAT_CLASSES, HEAT_DAYS, IDLE_BINS, IDLE_FROM, YOUNG_DAYS, YOUNG_FROM, days_of_bin, idle_bin,
};

/// What a dollar is worth a day later. In a year a third is lost: plans of today rarely hold so long.
pub(super) const DISCOUNT: f64 = 0.9985;

/// One figure a heat class.
pub(super) type PerHeat = [f64; HEAT_CLASSES];

/// An object's stay in one bin.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Stay {
    /// Days that are spent there.
    pub days: PerHeat,
    /// Reads on these.
    pub reads: PerHeat,
    /// How often it is replaced or deleted there.
    pub ends: PerHeat,
    /// Whether a read, ageing (see [`Place::aged`]), or the next bin is what the stay leads to: chances, discounted.
    pub read: PerHeat,
    pub aged: PerHeat,
    pub next: PerHeat,
}

/// Days that an object spends in another of Intelligent-Tiering's tiers if it comes there while it is idle, than if it is there
/// since its last use.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Late {
    /// The tier that it is in, and the one that it would be in, as [`TIER_FROM`] counts them.
    pub tier: usize,
    pub due: usize,
    /// On which it is still idle, discounted.
    pub days: PerHeat,
}

/// The heat classes that a read leads to, from each: the lower one, and the share of the next higher one.
type Hotter = [(usize, f64); HEAT_CLASSES];

/// Chances of a read, and what follows from them for every place and idle bin.
#[derive(Debug, Clone, PartialEq)]
pub struct Stays {
    hazards: Hazards,
    /// Those of places that age after the same days are the same.
    stays: Vec<[Stay; IDLE_BINS]>,
    /// By place, where they are in `stays`.
    of_place: [usize; PLACES.len()],
    late: [Vec<Late>; IDLE_BINS],
    hotter: [Hotter; IDLE_BINS],
}

impl Stays {
    pub fn new(hazards: Hazards) -> Self {
        let mut ages: Vec<Option<u32>> = Vec::new();
        let of_place = PLACES.map(|place| {
            let aged_after = place.aged().map(|(_, days)| days);
            ages.iter().position(|days| *days == aged_after).unwrap_or_else(|| {
                ages.push(aged_after);
                ages.len() - 1
            })
        });
        let stays = ages.iter().map(|aged_after| from_fn(|bin| stay(&hazards, *aged_after, bin))).collect();
        let late = late(&hazards);
        Self { hazards, stays, of_place, late, hotter: from_fn(hotter) }
    }

    pub fn hazards(&self) -> &Hazards {
        &self.hazards
    }

    /// Of an object in `place`, by bin.
    pub(super) fn of(&self, place: Place) -> &[Stay; IDLE_BINS] {
        &self.stays[self.of_place[place as usize]]
    }

    /// Of an object that comes into Intelligent-Tiering in `bin`.
    pub(super) fn late(&self, bin: usize) -> &[Late] {
        &self.late[bin]
    }

    /// What a read in `bin` makes of an object.
    pub(super) fn hotter(&self, bin: usize) -> &Hotter {
        &self.hotter[bin]
    }
}

fn stay(hazards: &Hazards, aged_after: Option<u32>, bin: usize) -> Stay {
    let mut stay = Stay::default();
    let aging = aged_after.map_or(0.0, |days| 1.0 / f64::from(days));
    for class in 0..HEAT_CLASSES {
        let read = hazards.read(class, bin);
        let end = hazards.end(class, bin).min(1.0 - read);
        let idle = (1.0 - read - end) * DISCOUNT;
        let goes_on = idle * (1.0 - aging);
        let next = days_of_bin(bin).map_or(0.0, |days| goes_on.powi(days as i32));
        // The later ones worth less.
        let days = (1.0 - next) / (1.0 - goes_on);
        stay.days[class] = days;
        stay.reads[class] = days * read;
        stay.ends[class] = days * end;
        stay.read[class] = days * read * DISCOUNT;
        stay.aged[class] = days * idle * aging;
        stay.next[class] = next;
    }
    stay
}

/// To the day, and not by chance as an object's ageing: a plan that had objects reach the colder tiers by chance would move
/// them in late, or out and in again, to try its luck.
fn late(hazards: &Hazards) -> [Vec<Late>; IDLE_BINS] {
    let goes_on: [PerHeat; IDLE_BINS] =
        from_fn(|bin| from_fn(|class| (1.0 - hazards.read(class, bin) - hazards.end(class, bin)).max(0.0) * DISCOUNT));
    from_fn(|bin| {
        let mut all: Vec<Late> = Vec::new();
        let mut still_idle = [1.0; HEAT_CLASSES];
        let came = u32::from(IDLE_FROM[bin]);
        for day in 0..TIER_FROM[TIER_FROM.len() - 1] {
            let (tier, due) = (tier_after(day), tier_after(came + day));
            if all.last().is_none_or(|last| (last.tier, last.due) != (tier, due)) {
                all.push(Late { tier, due, days: [0.0; HEAT_CLASSES] });
            }
            let days = all.last_mut().map(|last| &mut last.days);
            days.into_iter().flatten().zip(&still_idle).for_each(|(days, still_idle)| *days += still_idle);
            still_idle.iter_mut().zip(&goes_on[idle_bin(came + day)]).for_each(|(idle, goes_on)| *idle *= goes_on);
        }
        all.retain(|late| late.tier != late.due);
        all
    })
}

fn hotter(bin: usize) -> Hotter {
    from_fn(|class| {
        let heat = 1.0 + HEAT_OF_CLASS[class] * (-middle_of(bin) / HEAT_DAYS).exp();
        let (first, end) = if is_young_after(class, bin) { (YOUNG_FROM, HEAT_CLASSES) } else { (1, YOUNG_FROM) };
        let heats = &HEAT_OF_CLASS[first..end];
        let lower = heats.partition_point(|of_class| *of_class <= heat).saturating_sub(1);
        let share = match heats.get(lower + 1) {
            Some(upper) => (heat - heats[lower]) / (upper - heats[lower]),
            None => 0.0,
        };
        (first + lower, share.clamp(0.0, 1.0))
    })
}

/// Whether an object is young after a read at this idle age. What was never read has been idle since it was written; of what
/// was young, half of the time as a young one is taken to be over.
fn is_young_after(class: usize, bin: usize) -> bool {
    let days = middle_of(bin);
    class == 0 && days <= f64::from(YOUNG_DAYS) || class >= YOUNG_FROM && days <= f64::from(YOUNG_DAYS) / 2.0
}
