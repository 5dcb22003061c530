//! All policies over one trace, side by side.
//!
//! The work is cut into [`Part`]s that know nothing of each other, so that threads may take them as they come. The bills are
//! added up in the order of the parts, so that the same trace gives the same figures to the last digit.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::Serialize;

use super::account::{Bill, Costs};
use super::lessons::Lessons;
use super::policies::{Replayed, Setup};
use super::replay::Cadence;
use super::trace::Trace;

/// Into how many parts the optimum is cut, and the adaptive policy, where there are so many buckets.
const OPTIMUM_PARTS: usize = 8;
const ADAPTIVE_PARTS: usize = 24;

/// A bucket that has more than this part of all objects is a part of its own at every cadence: what it takes to make its plans
/// is nothing beside what its objects take.
const LARGE_BUCKET: usize = 8;

/// Some of the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part(Work);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Work {
    /// A policy at a cadence.
    All(Replayed, Cadence),
    /// The adaptive policy over some of the buckets, at several cadences.
    Adaptive { buckets: Range<usize>, cadences: Vec<Cadence> },
    /// The optimum of some of the objects.
    Optimum { objects: Range<usize> },
}

/// A policy at a cadence, and what it costs.
type Billed = ((Replayed, Cadence), Bill);

impl Part {
    /// What it costs. `lessons` are those of the trace, which the first one makes that needs them.
    fn replay(&self, setup: &Setup<'_>, trace: &Trace, lessons: &OnceLock<Lessons>) -> Vec<Billed> {
        match &self.0 {
            Work::All(policy, cadence) => vec![((*policy, *cadence), setup.replay(trace, *policy, *cadence))],
            Work::Adaptive { buckets, cadences } => {
                let policy = setup.adaptive(trace);
                let lessons = lessons.get_or_init(|| policy.lessons());
                let bills = policy.replay(lessons, &trace.buckets[buckets.clone()], cadences);
                cadences.iter().map(|cadence| (Replayed::Adaptive, *cadence)).zip(bills).collect()
            }
            Work::Optimum { objects } => {
                vec![((Replayed::Optimum, Cadence::Daily), setup.optimum(trace, objects.clone()))]
            }
        }
    }
}

/// The adaptive policy over all buckets.
fn adaptive_parts(trace: &Trace) -> Vec<Part> {
    let part = |buckets, cadences| Part(Work::Adaptive { buckets, cadences });
    let mut parts = Vec::new();
    let (mut first, mut objects) = (0, 0);
    for (i, bucket) in trace.buckets.iter().enumerate() {
        let here = bucket.end - bucket.first;
        if here * LARGE_BUCKET > trace.objects() {
            if first < i {
                parts.push(part(first..i, Cadence::ALL.to_vec()));
            }
            parts.extend(Cadence::ALL.map(|cadence| part(i..i + 1, vec![cadence])));
            (first, objects) = (i + 1, 0);
            continue;
        }
        objects += here;
        if objects * ADAPTIVE_PARTS >= trace.objects() {
            parts.push(part(first..i + 1, Cadence::ALL.to_vec()));
            (first, objects) = (i + 1, 0);
        }
    }
    if first < trace.buckets.len() {
        parts.push(part(first..trace.buckets.len(), Cadence::ALL.to_vec()));
    }
    parts
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
        let mut parts = Vec::new();
        let cadences = |policy| Cadence::ALL.map(|cadence| Part(Work::All(policy, cadence)));
        // The longest first.
        if policies.contains(&Replayed::Frequency) {
            parts.extend(cadences(Replayed::Frequency));
        }
        if policies.contains(&Replayed::Adaptive) {
            parts.extend(adaptive_parts(trace));
        }
        if policies.contains(&Replayed::Recency) {
            parts.extend(cadences(Replayed::Recency));
        }
        let step = trace.objects().div_ceil(OPTIMUM_PARTS).max(1);
        for first in (0..trace.objects()).step_by(step) {
            let objects = first..(first + step).min(trace.objects());
            parts.push(Part(Work::Optimum { objects }));
        }
        for policy in [Replayed::Standard, Replayed::IntelligentTiering] {
            if policy == Replayed::Standard || policies.contains(&policy) {
                parts.push(Part(Work::All(policy, Cadence::Daily)));
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
        let lessons = OnceLock::new();
        let bills = Mutex::new(vec![Vec::new(); parts.len()]);
        std::thread::scope(|scope| {
            for _ in 0..threads.get() {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(part) = parts.get(at) else { break };
                        let billed = part.replay(setup, trace, &lessons);
                        bills.lock().unwrap_or_else(PoisonError::into_inner)[at] = billed;
                        tell();
                    }
                });
            }
        });
        let mut comparison = Self::default();
        for (of, bill) in bills.into_inner().unwrap_or_else(PoisonError::into_inner).iter().flatten() {
            *comparison.bills.entry(*of).or_default() += bill;
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

#[cfg(test)]
mod tests {
    use super::super::trace::{Op, SizeUnknown, TraceBuilder, Traced};
    use super::*;
    use crate::tiering::cost::tests::us_east_1;
    use crate::tiering::policy::frequency::Frequency;
    use crate::tiering::policy::guard::Guards;
    use crate::tiering::policy::recency::Recency;

    /// Buckets of as many objects, which are read every so many days.
    fn trace_of(buckets: &[u32]) -> Trace {
        let mut builder = TraceBuilder::default();
        for (bucket, objects) in buckets.iter().enumerate() {
            let name = format!("bucket-{bucket:02}");
            for object in 0..*objects {
                let key = format!("k{object}");
                let mut add = |day: u32, op| {
                    let size = (op == Op::Put).then_some(8 << 20);
                    let time_secs = day * 86_400 + 60;
                    builder.add(&Traced { bucket: &name, key: &key, time_secs, op, bytes: 8 << 20, size }).unwrap();
                };
                add(object % 9, Op::Put);
                (10..150).step_by(3 + 7 * bucket).for_each(|day| add(day + object % 5, Op::Get));
            }
        }
        builder.finish(SizeUnknown::LeaveOut).unwrap().trace
    }

    /// Whatever is small, large, first or last among the buckets.
    #[test]
    fn the_parts_together_come_to_the_whole_whoever_does_them() {
        let (prices, guards) = (us_east_1(), Guards::usual());
        let (recency, frequency) = (Recency::default(), Frequency::default());
        let setup = Setup::new(&prices, &guards, &recency, &frequency);
        for buckets in [vec![7], vec![1; 30], vec![1, 2, 40, 1, 1, 30, 3], vec![20, 1, 1, 1]] {
            let trace = trace_of(&buckets);
            let parts = Comparison::parts(&trace, &Replayed::ALL);
            let [one, three] = [1, 3]
                .map(|threads| Comparison::replay(&setup, &trace, &parts, NonZeroUsize::new(threads).unwrap(), || ()));
            assert_eq!(one.bills, three.bills, "to the last digit");
            for ((policy, cadence), bill) in &one.bills {
                let whole = setup.replay(&trace, *policy, *cadence);
                assert_eq!((bill.moves, bill.read_days), (whole.moves, whole.read_days), "{policy} {buckets:?}");
                let (usd, expected) = (bill.total().total_usd(), whole.total().total_usd());
                assert!((usd / expected - 1.0).abs() < 1e-12, "{policy} {buckets:?}: {usd} instead of {expected}");
            }
            assert!(one.bill(Replayed::Adaptive, Cadence::Monthly).is_some_and(|bill| bill.read_days > 0));
        }
    }
}
