//! What the future costs after a read, exactly, where every state has its decision.
//!
//! Decisions given, an object goes from read to read: each stay in a place after a read, in a heat class, costs so much until the next one
//! and leads with such chances to other places and classes. That is a system of as many linear equations, and solving it sees
//! to the end of all days, where a round of value iteration sees no further than to the next read.

use super::{Entry, Grid, Solver};
use crate::tiering::adaptive::place::{PLACES, Place};
use crate::tiering::evidence::{HEAT_CLASSES, IDLE_BINS};

/// What of an object's way may be neglected: a chance.
const NEGLECTED: f64 = 1e-8;

/// How often an object may change its place within a bin before the rest is neglected.
const MOST_CHANGES: usize = 30;

/// Heat classes after a read: all but the first, which is that of what was not read.
const AFTER_READ: usize = HEAT_CLASSES - 1;

/// One figure each.
type PerClass = [f64; AFTER_READ];

/// What an object costs from after a read until the next one, and the chances, discounted, of what that leads to. As an equation:
/// what the future costs, less `leads_to` of what it then costs, is `usd`.
#[derive(Clone)]
struct Equation {
    leads_to: [PerClass; PLACES.len()],
    /// Whether there is anything in a place's part of it.
    used: [bool; PLACES.len()],
    usd: f64,
}

/// The equations, one for each place and heat class after a read.
pub(super) struct Evaluation {
    /// Where an object may be after a read.
    places: Vec<Place>,
    /// By place as in `places`, then by class.
    equations: Vec<Equation>,
}

impl Evaluation {
    /// Of the decisions in `best`.
    pub(super) fn new(solver: &Solver<'_>, best: &Grid<Place>) -> Self {
        let after_read = |place: &Place| place.read(solver.restored) == *place;
        // Nothing leads to what has no price.
        let priced = |place: &Place| solver.fixed[*place as usize].iter().flatten().all(|usd| usd.is_finite());
        let places: Vec<Place> =
            solver.places.iter().copied().filter(|place| after_read(place) && priced(place)).collect();
        let of_place = |place: &Place| {
            let from = *place;
            (1..HEAT_CLASSES).map(move |class| Equation::new(solver, best, from, class))
        };
        Self { equations: places.iter().flat_map(of_place).collect(), places }
    }

    /// Solves the equations, into the figures after a read. By Gauss's elimination: as the chances of an equation are less than 1
    /// together, no pivot is ever small.
    pub(super) fn solve_into(mut self, least: &mut Grid<f64>) {
        let unknowns = self.places.iter().flat_map(|place| (0..AFTER_READ).map(|class| (*place as usize, class)));
        let unknowns: Vec<(usize, usize)> = unknowns.collect();
        for (equation, (place, class)) in self.equations.iter_mut().zip(&unknowns) {
            equation.leads_to.iter_mut().flatten().for_each(|chance| *chance = -*chance);
            equation.leads_to[*place][*class] += 1.0;
            equation.used[*place] = true;
        }
        for (i, (place, class)) in unknowns.iter().enumerate() {
            let (above, below) = self.equations.split_at_mut(i + 1);
            let pivot = &above[i];
            for equation in below.iter_mut().filter(|equation| equation.used[*place]) {
                let factor = equation.leads_to[*place][*class] / pivot.leads_to[*place][*class];
                if factor != 0.0 {
                    equation.subtract(factor, pivot);
                }
            }
        }
        // What was eliminated is left in the equations: only later unknowns count.
        for (i, (place, class)) in unknowns.iter().enumerate().rev() {
            let equation = &self.equations[i];
            let later = unknowns[i + 1..]
                .iter()
                .map(|(place, class)| equation.leads_to[*place][*class] * least[*place][0][class + 1]);
            least[*place][0][class + 1] = (equation.usd - later.sum::<f64>()) / equation.leads_to[*place][*class];
        }
    }
}

impl Equation {
    fn new(solver: &Solver<'_>, best: &Grid<Place>, from: Place, class: usize) -> Self {
        let none = [[0.0; AFTER_READ]; PLACES.len()];
        let mut equation = Self { leads_to: none, used: [false; PLACES.len()], usd: 0.0 };
        let mut come = [0.0; PLACES.len()];
        come[from as usize] = 1.0;
        for bin in 0..IDLE_BINS {
            let mut go_on = [0.0; PLACES.len()];
            for _ in 0..MOST_CHANGES {
                if come.iter().all(|chance| *chance < NEGLECTED) {
                    break;
                }
                let mut aged = [0.0; PLACES.len()];
                for place in &solver.places {
                    let chance = come[*place as usize];
                    if chance < NEGLECTED {
                        continue;
                    }
                    let at = best[*place as usize][bin][class];
                    if at != *place {
                        equation.usd += chance * solver.entering_usd(*place, at, bin, class);
                    }
                    let stay = &solver.stays.of(at)[bin];
                    equation.usd += chance * solver.fixed[at as usize][bin][class];
                    equation.lead_to(
                        at.read(solver.restored),
                        solver.stays.hotter(bin)[class],
                        chance * stay.read[class],
                    );
                    if let Some((older, _)) = at.aged() {
                        aged[older as usize] += chance * stay.aged[class];
                    }
                    go_on[at as usize] += chance * stay.next[class];
                }
                come = aged;
            }
            come = go_on;
        }
        equation
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
        for place in (0..PLACES.len()).filter(|place| other.used[*place]) {
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
