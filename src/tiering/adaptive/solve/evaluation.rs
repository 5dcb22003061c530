//! What the future costs after a read, exactly, where every state has its decision.
//!
//! Decisions given, an object goes from read to read: each stay in a place after a read, in a heat class, costs so much until the next one
//! and leads with such chances to other places and classes. That is a system of as many linear equations, and solving it sees
//! to the end of all days, where a round of value iteration sees no further than to the next read.

use std::array::from_fn;

use super::{Entry, Grid, Solver};
use crate::tiering::adaptive::place::{PLACES, Place};
use crate::tiering::evidence::{HEAT_CLASSES, IDLE_BINS};

/// What of an object's way may be neglected: a chance.
const NEGLECTED: f64 = 1e-8;

/// At how many places an object is looked at within a bin before the rest is neglected: decisions might lead it in a circle.
const MOST_CHANGES: usize = 60;

/// Heat classes after a read: all but the first, which is that of what was not read.
const AFTER_READ: usize = HEAT_CLASSES - 1;

/// Places after a read: those up to this one. The others are left by it.
const READ_PLACES: usize = Place::Intelligent as usize + 1;

/// What an object costs from after a read until the next one, and the chances, discounted, of what that leads to. As an equation:
/// what the future costs, less `leads_to` of what it then costs, is `usd`.
#[derive(Clone)]
struct Equation {
    leads_to: [[f64; AFTER_READ]; READ_PLACES],
    /// Whether there is anything in a place's part of it.
    used: [bool; READ_PLACES],
    usd: f64,
}

/// The equations, one for each place and heat class after a read.
pub(super) struct Evaluation {
    /// By which they are made.
    decisions: Box<Grid<Place>>,
    /// The places and classes; the latter as in [`Equation::leads_to`].
    unknowns: Vec<(Place, usize)>,
    equations: Vec<Equation>,
}

impl Evaluation {
    /// Of some decisions.
    pub(super) fn new(solver: &Solver<'_>, decisions: &Grid<Place>) -> Self {
        // Nothing leads to what has no price.
        let priced = |place: &Place| solver.fixed[*place as usize].iter().flatten().all(|usd| usd.is_finite());
        let places = PLACES[..READ_PLACES].iter().copied().filter(priced);
        let unknowns: Vec<_> = places.flat_map(|place| (0..AFTER_READ).map(move |class| (place, class))).collect();
        let equation = |(place, class): &(Place, usize)| Equation::new(solver, decisions, *place, class + 1);
        let equations = unknowns.iter().map(equation).collect();
        Self { decisions: Box::new(*decisions), unknowns, equations }
    }

    /// Of other decisions. An object keeps its heat class until it is read: only classes of which something is decided
    /// otherwise have other equations.
    pub(super) fn decide(&mut self, solver: &Solver<'_>, decisions: &Grid<Place>) {
        let bins = || decisions.iter().flatten().zip(self.decisions.iter().flatten());
        let changed: [bool; HEAT_CLASSES] = from_fn(|class| bins().any(|(new, old)| new[class] != old[class]));
        for ((place, class), equation) in self.unknowns.iter().zip(&mut self.equations) {
            if changed[class + 1] {
                *equation = Equation::new(solver, decisions, *place, class + 1);
            }
        }
        *self.decisions = *decisions;
    }

    pub(super) fn decisions(&self) -> &Grid<Place> {
        &self.decisions
    }

    /// Solves the equations, into the figures after a read. By Gauss's elimination: as the chances of an equation are less than 1
    /// together, no pivot is ever small.
    pub(super) fn solve_into(&self, least: &mut Grid<f64>) {
        let unknowns = &self.unknowns;
        let mut equations = self.equations.clone();
        for (equation, (place, class)) in equations.iter_mut().zip(unknowns) {
            equation.leads_to.iter_mut().flatten().for_each(|chance| *chance = -*chance);
            equation.leads_to[*place as usize][*class] += 1.0;
            equation.used[*place as usize] = true;
        }
        for (i, (place, class)) in unknowns.iter().enumerate() {
            let (above, below) = equations.split_at_mut(i + 1);
            let (pivot, place) = (&above[i], *place as usize);
            for equation in below.iter_mut().filter(|equation| equation.used[place]) {
                let factor = equation.leads_to[place][*class] / pivot.leads_to[place][*class];
                if factor != 0.0 {
                    equation.subtract(factor, pivot);
                }
            }
        }
        // What was eliminated is left in the equations: only later unknowns count.
        for (i, (place, class)) in unknowns.iter().enumerate().rev() {
            let (equation, place) = (&equations[i], *place as usize);
            let later = unknowns[i + 1..].iter().map(|(place, class)| {
                equation.leads_to[*place as usize][*class] * least[*place as usize][0][class + 1]
            });
            least[place][0][class + 1] = (equation.usd - later.sum::<f64>()) / equation.leads_to[place][*class];
        }
    }
}

/// Chances to be in a place; those that are not negligible are met one by one.
#[derive(Clone, Copy, Default)]
struct Whereabouts {
    chances: [f64; PLACES.len()],
    /// A bit for every place.
    places: u16,
}

impl Whereabouts {
    fn add(&mut self, place: Place, chance: f64) {
        self.chances[place as usize] += chance;
        if self.chances[place as usize] >= NEGLECTED {
            self.places |= 1 << place as usize;
        }
    }

    fn take(&mut self) -> Option<(Place, f64)> {
        let place = *PLACES.get(self.places.trailing_zeros() as usize)?;
        self.places &= self.places - 1;
        Some((place, std::mem::take(&mut self.chances[place as usize])))
    }
}

impl Equation {
    fn new(solver: &Solver<'_>, decisions: &Grid<Place>, from: Place, class: usize) -> Self {
        let mut equation = Self { leads_to: [[0.0; AFTER_READ]; READ_PLACES], used: [false; READ_PLACES], usd: 0.0 };
        let mut come = Whereabouts::default();
        come.add(from, 1.0);
        for bin in 0..IDLE_BINS {
            come = equation.stay(solver, decisions, (bin, class), come);
        }
        equation
    }

    /// What comes of a stay in a bin; returns who goes on to the next one, and from where.
    fn stay(
        &mut self,
        solver: &Solver<'_>,
        decisions: &Grid<Place>,
        (bin, class): (usize, usize),
        mut come: Whereabouts,
    ) -> Whereabouts {
        let mut go_on = Whereabouts::default();
        for _ in 0..MOST_CHANGES {
            let Some((place, chance)) = come.take() else { break };
            let at = decisions[place as usize][bin][class];
            if at != place {
                self.usd += chance * solver.entering_usd(place, at, bin, class);
            }
            let stay = &solver.stays.of(at)[bin];
            self.usd += chance * solver.fixed[at as usize][bin][class];
            let after = at.read(solver.restored);
            self.lead_to(after, solver.stays.hotter(bin)[class], chance * stay.read[class]);
            if let Some((older, _)) = at.aged() {
                come.add(older, chance * stay.aged[class]);
            }
            go_on.add(at, chance * stay.next[class]);
        }
        go_on
    }

    /// A read with such a chance.
    fn lead_to(&mut self, place: Place, (lower, share): (usize, f64), chance: f64) {
        let classes = &mut self.leads_to[place as usize];
        classes[lower - 1] += chance * (1.0 - share);
        if let Some(upper) = classes.get_mut(lower) {
            *upper += chance * share;
        }
        self.used[place as usize] = true;
    }

    fn subtract(&mut self, times: f64, other: &Self) {
        self.usd -= times * other.usd;
        for place in (0..READ_PLACES).filter(|place| other.used[*place]) {
            self.used[place] = true;
            let figures = self.leads_to[place].iter_mut().zip(&other.leads_to[place]);
            figures.for_each(|(figure, other)| *figure -= times * other);
        }
    }
}

impl Solver<'_> {
    /// What it costs to come from one place to another.
    fn entering_usd(&self, from: Place, to: Place, bin: usize, class: usize) -> f64 {
        let late = if to == Place::Intelligent { self.late[bin][class] } else { 0.0 };
        let into = |entry: &Entry| (entry.entered == to).then(|| entry.usd[from as usize]);
        self.entries.iter().find_map(into).unwrap_or(f64::INFINITY) + late
    }
}
