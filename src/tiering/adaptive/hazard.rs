//! How likely an object is read on a day, by how long it has been idle and by its heat class.
//!
//! A bucket's [`IdleTable`] alone would say that what was never seen never happens. So each cell is a mean of what was seen and
//! of what was expected, which weighs as much as a few reads do: of a bucket what all buckets together show, of all buckets
//! what [`Hazards::prior`] expects. What is expected is first scaled to the class: a class that is read half as often as
//! expected at the idle ages that were seen is expected to be so at those that were not.

use crate::tiering::evidence::{Cell, HEAT_CLASSES, IDLE_BINS, IDLE_FROM, IdleTable, days_of_bin};

/// The heat that stands for a class; of the first, which was never read, there is none. The last ones are those of the young.
pub(super) const HEAT_OF_CLASS: [f64; HEAT_CLASSES] = [0.0, 1.0, 1.35, 2.0, 3.5, 7.0, 16.0, 40.0, 1.0, 1.8, 3.5, 10.0];

/// By heat class, the two figures of the power law that is expected: after `t` idle days, a read on a day has the chance
/// `shape / (t + days)`.
const PRIOR: [(f64, f64); HEAT_CLASSES] = [
    (0.6, 4.0),
    (0.5, 5.0),
    (0.6, 5.0),
    (0.8, 6.0),
    (1.2, 8.0),
    (2.0, 9.0),
    (3.5, 8.0),
    (7.0, 8.0),
    (0.5, 5.0),
    (0.8, 6.0),
    (1.2, 8.0),
    (2.0, 9.0),
];

/// How many reads the expectation of a cell weighs.
const CELL_WEIGHT: f64 = 0.5;

/// How many reads the expectation of a class weighs.
const CLASS_WEIGHT: f64 = 4.0;

/// Buckets of fewer objects have no hazards of their own: they go by what all buckets together have taught.
pub const OWN_FROM: usize = 500;

/// How far a bucket's reads must be from what all buckets together have taught for it to have hazards of its own: the mean of the
/// squared differences of the logarithms, beyond that of chance. Where chances are a tenth higher or lower, hardly any object
/// belongs elsewhere.
const OWN_DIFFERENCE: f64 = 0.02;

/// By how many standard deviations this must be more than chance.
const OWN_SIGNIFICANCE: f64 = 2.0;

/// Chances by the day, by heat class and idle bin.
#[derive(Debug, Clone, PartialEq)]
pub struct Hazards {
    read: [[f64; IDLE_BINS]; HEAT_CLASSES],
    end: [[f64; IDLE_BINS]; HEAT_CLASSES],
}

impl Hazards {
    /// What is expected before anything is seen: what was just written or read is likely used again soon, the likelier the
    /// hotter it is, and the longer it is idle the less (the hazard of a power law, as access logs show it).
    pub fn prior() -> Self {
        let mut all = Self { read: [[0.0; IDLE_BINS]; HEAT_CLASSES], end: [[0.0002; IDLE_BINS]; HEAT_CLASSES] };
        for (row, (shape, days)) in all.read.iter_mut().zip(PRIOR) {
            for (bin, hazard) in row.iter_mut().enumerate() {
                *hazard = (shape / (middle_of(bin) + days)).min(0.9);
            }
        }
        all
    }

    /// What is expected after `seen`.
    pub fn learned(&self, seen: &IdleTable) -> Self {
        let mut all = self.clone();
        for class in 0..HEAT_CLASSES {
            learn(&mut all.read[class], |bin| (seen.cell(class, bin), seen.cell(class, bin).reads));
            learn(&mut all.end[class], |bin| (seen.cell(class, bin), seen.cell(class, bin).ends));
        }
        all
    }

    /// The hazards of a bucket of which so much was seen. None where it has no need of its own: it is small, or its objects are used
    /// as these say. Nothing is gained then by learning the same anew from less, and by making plans for it.
    pub fn of_bucket(&self, seen: &IdleTable, objects: usize) -> Option<Self> {
        (objects >= OWN_FROM && self.is_otherwise(seen)).then(|| self.learned(seen))
    }

    /// Whether objects are used otherwise than these say. By Anscombe's roots, whose differences vary by one where events come by
    /// chance, and by less where hardly any are expected.
    fn is_otherwise(&self, seen: &IdleTable) -> bool {
        let root = |events: f64| 2.0 * (events + 0.375).sqrt();
        let (mut difference, mut chance, mut events) = (0.0, 0.0, 0.0);
        for class in 0..HEAT_CLASSES {
            for bin in 0..IDLE_BINS {
                let cell = seen.cell(class, bin);
                for (happened, hazard) in [(cell.reads, self.read(class, bin)), (cell.ends, self.end(class, bin))] {
                    let expected = cell.exposed_days * hazard;
                    difference += (root(happened) - root(expected)).powi(2);
                    chance += expected.min(1.0);
                    events += happened.max(expected);
                }
            }
        }
        let beyond_chance = difference - chance;
        beyond_chance > OWN_DIFFERENCE * events && beyond_chance > OWN_SIGNIFICANCE * (2.0 * chance).sqrt()
    }

    /// All reads are `factor` times as likely.
    pub fn scaled(&self, factor: f64) -> Self {
        let mut all = self.clone();
        all.read.iter_mut().flatten().for_each(|hazard| *hazard = (*hazard * factor).min(0.95));
        all
    }

    /// The chance that an object is read on a day.
    pub fn read(&self, class: usize, bin: usize) -> f64 {
        self.read[class][bin]
    }

    /// The chance that it is replaced or deleted on a day.
    pub fn end(&self, class: usize, bin: usize) -> f64 {
        self.end[class][bin]
    }

    /// The chance that an object that has been idle for `idle_days` is read in the `days` to come.
    pub fn chance_of_read(&self, class: usize, idle_days: u32, days: u32) -> f64 {
        let unread: f64 = (0..days)
            .map(|day| 1.0 - self.read[class][crate::tiering::evidence::idle_bin(idle_days.saturating_add(day))])
            .product();
        1.0 - unread
    }
}

/// Moves `expected` to what was seen.
fn learn(expected: &mut [f64; IDLE_BINS], seen: impl Fn(usize) -> (Cell, f64)) {
    let (mut events, mut foreseen) = (CLASS_WEIGHT, CLASS_WEIGHT);
    for (bin, hazard) in expected.iter().enumerate() {
        let (cell, happened) = seen(bin);
        events += happened;
        foreseen += cell.exposed_days * hazard;
    }
    let scale = events / foreseen;
    for (bin, hazard) in expected.iter_mut().enumerate() {
        let (cell, happened) = seen(bin);
        let before = (*hazard * scale).clamp(1e-7, 0.9);
        *hazard = ((CELL_WEIGHT + happened) / (CELL_WEIGHT / before + cell.exposed_days)).clamp(1e-7, 0.95);
    }
}

/// The idle age in the middle of a bin, in days.
pub(super) fn middle_of(bin: usize) -> f64 {
    let days = days_of_bin(bin).unwrap_or(400);
    f64::from(IDLE_FROM[bin]) + f64::from(days - 1) / 2.0
}
