//! All policies over one trace, side by side.
//!
//! The work is cut into [`Part`]s that know nothing of each other, so that threads may take them as they come. The bills are
//! added up in the order of the parts, so that the same trace gives the same figures to the last digit.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::account::{Bill, Costs};
use super::policies::{Replayed, Setup};
use super::replay::Cadence;
use super::trace::Trace;

/// Into how many parts the optimum is cut: the longest work of all, and each object is its own.
const OPTIMUM_PARTS: usize = 8;

/// A policy at a cadence, over some of the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub policy: Replayed,
    pub cadence: Cadence,
    objects: Range<usize>,
}

impl Part {
    /// What it costs.
    fn replay(&self, setup: &Setup<'_>, trace: &Trace) -> Bill {
        if self.policy == Replayed::Optimum {
            return setup.optimum(trace, self.objects.clone());
        }
        setup.replay(trace, self.policy, self.cadence)
    }
}

/// The bills of all policies.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    bills: BTreeMap<(Replayed, Cadence), Bill>,
}

/// One policy's line, as `simulate --json` has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    pub policy: &'static str,
    pub cadence: &'static str,
    pub cost_usd: f64,
    /// What it is made of.
    #[serde(flatten)]
    pub costs: Costs,
    pub moves: u64,
    pub delayed_reads: u64,
    /// What share of the reads that is, a day's reads of an object being one.
    pub delayed_share: f64,
    /// None where there is nothing to compare with.
    pub ratio_to_standard: Option<f64>,
    pub ratio_to_optimum: Option<f64>,
}

/// A figure of a line, for whoever shows it to write as it writes such figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    Usd(f64),
    Count(u64),
    /// Of 1.
    Share(f64),
    Ratio(Option<f64>),
}

impl Line {
    /// The columns of a table of lines, in their order: each with its name and what this line has in it.
    pub fn columns(&self) -> impl Iterator<Item = (&'static str, Figure)> {
        let costs = Costs::PARTS.into_iter().map(|(name, of)| (name, Figure::Usd(of(&self.costs))));
        let others = [
            ("moves", Figure::Count(self.moves)),
            ("delayed reads", Figure::Count(self.delayed_reads)),
            ("delayed share", Figure::Share(self.delayed_share)),
            ("/ standard", Figure::Ratio(self.ratio_to_standard)),
            ("/ optimum", Figure::Ratio(self.ratio_to_optimum)),
        ];
        [("cost", Figure::Usd(self.cost_usd))].into_iter().chain(costs).chain(others)
    }
}

impl Comparison {
    /// The work that there is for these policies, the longest first. What all are compared with is always among it.
    pub fn parts(trace: &Trace, policies: &[Replayed]) -> Vec<Part> {
        let whole = 0..trace.objects();
        let mut parts = Vec::new();
        for policy in [Replayed::Frequency, Replayed::Recency, Replayed::Adaptive] {
            if policies.contains(&policy) {
                parts.extend(Cadence::ALL.map(|cadence| Part { policy, cadence, objects: whole.clone() }));
            }
        }
        let step = trace.objects().div_ceil(OPTIMUM_PARTS).max(1);
        for first in whole.clone().step_by(step) {
            let objects = first..(first + step).min(whole.end);
            parts.push(Part { policy: Replayed::Optimum, cadence: Cadence::Daily, objects });
        }
        for policy in [Replayed::Standard, Replayed::IntelligentTiering] {
            if policy == Replayed::Standard || policies.contains(&policy) {
                parts.push(Part { policy, cadence: Cadence::Daily, objects: whole.clone() });
            }
        }
        parts
    }

    /// Does the work on `threads`. `tell` is told whenever a part is done, by whichever thread has done it.
    pub fn replay(
        setup: &Setup<'_>,
        trace: &Trace,
        parts: &[Part],
        threads: NonZeroUsize,
        tell: impl Fn() + Sync,
    ) -> Self {
        let next = AtomicUsize::new(0);
        let bills = Mutex::new(vec![Bill::default(); parts.len()]);
        std::thread::scope(|scope| {
            for _ in 0..threads.get() {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(part) = parts.get(at) else { break };
                        let bill = part.replay(setup, trace);
                        bills.lock().unwrap_or_else(PoisonError::into_inner)[at] = bill;
                        tell();
                    }
                });
            }
        });
        let mut comparison = Self::default();
        for (part, bill) in parts.iter().zip(&bills.into_inner().unwrap_or_else(PoisonError::into_inner)) {
            *comparison.bills.entry((part.policy, part.cadence)).or_default() += bill;
        }
        comparison
    }

    /// What a policy costs at a cadence; at any cadence where that makes no difference. None if it was not replayed.
    pub fn bill(&self, policy: Replayed, cadence: Cadence) -> Option<&Bill> {
        let cadence = if policy.has_cadence() { cadence } else { Cadence::Daily };
        self.bills.get(&(policy, cadence))
    }

    /// A policy's line at a cadence; None if it was not replayed.
    pub fn line(&self, policy: Replayed, cadence: Cadence) -> Option<Line> {
        let bill = self.bill(policy, cadence)?;
        let costs = bill.total();
        let ratio_to = |other| {
            let base = self.bill(other, cadence)?.total().total_usd();
            (base > 0.0).then(|| costs.total_usd() / base)
        };
        Some(Line {
            policy: policy.as_str(),
            cadence: cadence.as_str(),
            cost_usd: costs.total_usd(),
            costs,
            moves: bill.moves,
            delayed_reads: bill.delayed_reads,
            delayed_share: bill.delayed_share(),
            ratio_to_standard: ratio_to(Replayed::Standard),
            ratio_to_optimum: ratio_to(Replayed::Optimum),
        })
    }
}
