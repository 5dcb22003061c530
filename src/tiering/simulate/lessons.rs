//! What there is to learn from a trace, and when.
//!
//! Whatever a policy decides, users do in a trace what they did. So what is learned from it is the same for every cadence and
//! whoever is followed, and one bucket's part of it is not changed by another's: it is worked out once, and buckets then go
//! their ways alone.

use std::ops::Range;

use super::account::{PERIOD_DAYS, Tariff};
use super::trace::{EventKind, Trace};
use crate::tiering::adaptive::archives::Archives;
use crate::tiering::adaptive::experts::Experts;
use crate::tiering::adaptive::hazard::Hazards;
use crate::tiering::evidence::{Day, IdleTable, ObjectEvidence};

/// The policy learns every 30 days; every 10 in the first 90, when it knows little.
const OFTEN_DAYS: u16 = 10;
const OFTEN_UNTIL: u16 = 90;

/// The days from one learning to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub from: u16,
    /// Not included.
    pub to: u16,
}

/// What all buckets together have taught when a period begins.
#[derive(Debug)]
pub struct Lesson {
    pub period: Period,
    pub hazards: Hazards,
    pub plans: Plans,
}

/// By whose plans a bucket goes.
#[derive(Debug, Default)]
pub struct Plans {
    pub experts: Experts,
    /// These have learned nothing where nothing may be archived.
    pub archives: Archives,
}

impl Plans {
    /// Learns anew. What was learned before is where new plans begin.
    pub fn learn(&mut self, tariff: &Tariff<'_>, hazards: &Hazards, may_archive: bool) {
        self.experts.learn(tariff.prices, hazards, tariff.restores());
        if may_archive {
            self.archives.learn(tariff.prices, hazards, tariff.restores());
        }
    }
}

/// One for every period of a trace.
#[derive(Debug)]
pub struct Lessons(Vec<Lesson>);

impl Lessons {
    pub fn new(trace: &Trace, tariff: &Tariff<'_>, may_archive: bool) -> Self {
        let periods: Vec<Period> = periods(trace.days).collect();
        let starts: Vec<u16> = periods.iter().map(|period| period.from).collect();
        let seen = seen(trace, 0..trace.objects(), &starts);
        let lesson = |(period, seen): (Period, &IdleTable)| {
            let hazards = Hazards::prior().learned(seen);
            let mut plans = Plans::default();
            plans.learn(tariff, &hazards, may_archive);
            Lesson { period, hazards, plans }
        };
        Self(periods.into_iter().zip(&seen).map(lesson).collect())
    }

    pub fn get(&self, period: usize) -> Option<&Lesson> {
        self.0.get(period)
    }

    /// What was seen of some objects alone when each of the periods begins.
    pub fn seen_of(&self, trace: &Trace, objects: Range<usize>) -> Vec<IdleTable> {
        let starts: Vec<u16> = self.0.iter().map(|lesson| lesson.period.from).collect();
        seen(trace, objects, &starts)
    }
}

fn periods(days: u16) -> impl Iterator<Item = Period> {
    let next = move |from: u16| {
        let length = if from < OFTEN_UNTIL { OFTEN_DAYS } else { PERIOD_DAYS };
        let to = days.min(from.saturating_add(length));
        (from < to).then_some(Period { from, to })
    };
    std::iter::successors(next(0), move |period| next(period.to))
}

/// What was seen of the objects before each of `days`, which ascend: idle times that ended, and those that had not.
pub fn seen(trace: &Trace, objects: Range<usize>, days: &[u16]) -> Vec<IdleTable> {
    let mut closed = vec![IdleTable::default(); days.len()];
    let mut open = closed.clone();
    for object in objects {
        let mut events = trace.events_of(object).iter().peekable();
        let (mut evidence, mut is_there) = (ObjectEvidence::default(), false);
        for ((day, closed), open) in days.iter().zip(&mut closed).zip(&mut open) {
            while let Some(event) = events.next_if(|event| event.day < *day) {
                if event.kind == EventKind::Delete {
                    closed.end_object(&evidence, Day::from(event.day));
                    (evidence, is_there) = (ObjectEvidence::default(), false);
                } else {
                    evidence.add(&event.access(), closed);
                    is_there |= event.kind != EventKind::Read;
                }
            }
            if is_there {
                open.add_open(&evidence, Day::from(*day));
            }
        }
    }
    let mut ended = IdleTable::default();
    for (closed, open) in closed.iter().zip(&mut open) {
        ended.merge(closed);
        open.merge(&ended);
    }
    open
}
