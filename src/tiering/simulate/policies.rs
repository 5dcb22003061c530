//! Every policy over a trace, by its name.
//!
//! Recency and frequency are the daemon's own code, guards and all: what is replayed is what would be done. The ledger's rows
//! are made of the trace, a day being the smallest step: a use is at the day's beginning.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};

use super::account::{Bill, Held, Tariff};
use super::adaptive::{Adaptive, Follow};
use super::optimum::Optimum;
use super::replay::{Answer, Cadence, Course, ObjectState};
use super::trace::{Event, Trace, TraceBucket};
use crate::tiering::cost::Prices;
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::object::{ETag, ObjectId, ObjectKey};
use crate::tiering::policy::Decision;
use crate::tiering::policy::frequency::{Census, Frequency, Rank};
use crate::tiering::policy::guard::{Bench, Evidence, Guards, Judgement, Rule};
use crate::tiering::policy::objection::Objection;
use crate::tiering::policy::recency::Recency;
use crate::tiering::storage_class::StorageClass;

/// What can be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Replayed {
    /// Everything stays where users put it.
    Standard,
    /// Every object of 128 KiB and more is moved into Intelligent-Tiering on the day after it was written, which costs one
    /// request. Smaller ones gain nothing there, and stay.
    IntelligentTiering,
    Recency,
    Frequency,
    Adaptive,
    /// The least that it can cost: see [`super::optimum`].
    Optimum,
}

/// A name that is no policy's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no policy; there are standard, intelligent-tiering, recency, frequency, adaptive and optimum")]
pub struct UnknownPolicy(pub String);

impl Replayed {
    pub const ALL: [Replayed; 6] =
        [Self::Standard, Self::IntelligentTiering, Self::Recency, Self::Frequency, Self::Adaptive, Self::Optimum];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::IntelligentTiering => "intelligent-tiering",
            Self::Recency => "recency",
            Self::Frequency => "frequency",
            Self::Adaptive => "adaptive",
            Self::Optimum => "optimum",
        }
    }

    /// Whether it makes a difference how often it runs.
    pub fn has_cadence(self) -> bool {
        matches!(self, Self::Recency | Self::Frequency | Self::Adaptive)
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Replayed {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == name).ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

/// The policies' settings, and the prices.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    pub prices: &'a Prices,
    pub guards: &'a Guards,
    pub recency: &'a Recency,
    pub frequency: &'a Frequency,
    /// What share of the reads may wait under the adaptive policy; 0: it archives nothing, and nor does the optimum.
    pub max_delayed_reads: f64,
}

impl<'a> Setup<'a> {
    /// Under which no read may wait.
    pub fn new(prices: &'a Prices, guards: &'a Guards, recency: &'a Recency, frequency: &'a Frequency) -> Self {
        Self { prices, guards, recency, frequency, max_delayed_reads: 0.0 }
    }

    pub fn tariff(&self) -> Tariff<'a> {
        Tariff::new(self.prices, self.guards)
    }

    /// What `policy` would have cost. `cadence` is of no matter where [`Replayed::has_cadence`] says so.
    pub fn replay(&self, trace: &Trace, policy: Replayed, cadence: Cadence) -> Bill {
        match policy {
            Replayed::Standard => self.all_into(trace, StorageClass::Standard),
            Replayed::IntelligentTiering => self.all_into(trace, StorageClass::IntelligentTiering),
            Replayed::Recency => self.recency(trace, cadence),
            Replayed::Frequency => self.frequency(trace, cadence),
            Replayed::Adaptive => {
                let policy = self.adaptive(trace);
                let bills = policy.replay(&policy.lessons(), &trace.buckets, &[cadence]);
                bills.into_iter().next().unwrap_or_default()
            }
            Replayed::Optimum => self.optimum(trace, 0..trace.objects()),
        }
    }

    pub(super) fn adaptive<'t>(&self, trace: &'t Trace) -> Adaptive<'t>
    where
        'a: 't,
    {
        Adaptive {
            trace,
            tariff: self.tariff(),
            min_object_bytes: self.guards.min_object_bytes,
            follow: Follow::Safeguard,
            max_delayed_reads: self.max_delayed_reads,
        }
    }

    /// The optimum of some of the objects.
    pub(super) fn optimum(&self, trace: &Trace, objects: Range<usize>) -> Bill {
        let mut bill = Bill::default();
        let optimum = Optimum::new(self.tariff());
        let mut optimum = if self.max_delayed_reads > 0.0 { optimum.with_archives() } else { optimum };
        for object in objects {
            optimum.add(trace.events_of(object), trace.days, &mut bill);
        }
        bill
    }

    fn all_into(&self, trace: &Trace, class: StorageClass) -> Bill {
        self.each_object(trace, Cadence::Daily, |_, _, held| {
            let small = class == StorageClass::IntelligentTiering && held.bytes < 128 * 1024;
            Answer { to: Some(class).filter(|_| !small), again: u16::MAX }
        })
    }

    fn recency(&self, trace: &Trace, cadence: Cadence) -> Bill {
        let mut ledger = Ledger::new(trace);
        self.each_object(trace, cadence, |day, state, held| {
            let now = midnight(day);
            let row = ledger.row(state, held);
            let decision = self.recency.decide(row, now);
            let judgement = self.judge(row, decision, state, now);
            let bounds = self.recency.bounds().map(|bound| after(state.last_use, bound.saturating_add(1)));
            let next_bound = bounds.filter(|next| *next > day).min().unwrap_or(u16::MAX);
            Answer { to: target_of(&judgement), again: self.guards_may_change(day, held, &judgement).min(next_bound) }
        })
    }

    /// The next day on which a guard may say another thing of the same wish, although nothing happens to the object: the longer
    /// it is idle, the fewer reads are expected of it, so that what stays, stays, and what is refused may be granted any day.
    fn guards_may_change(&self, day: u16, held: &Held, judgement: &Judgement) -> u16 {
        let served = after(held.since, held.class.minimum_days());
        let tomorrow = day.saturating_add(1);
        let once_served = match self.guards.minimum_duration {
            _ if served <= day => u16::MAX,
            Rule::Enforced => served,
            // The rest of it gets cheaper by the day.
            Rule::Waived => tomorrow,
        };
        match judgement {
            Judgement::Stay(_) => once_served,
            Judgement::Skip { objection: Objection::UnderMinimumSize { .. }, .. } => u16::MAX,
            Judgement::Skip { objection: Objection::MinimumDuration { .. }, .. } => once_served,
            Judgement::Move(_) | Judgement::Skip { .. } => tomorrow,
        }
    }

    fn each_object(
        &self,
        trace: &Trace,
        cadence: Cadence,
        mut policy: impl FnMut(u16, &ObjectState, &Held) -> Answer,
    ) -> Bill {
        let mut course = Course::new(self.tariff(), cadence);
        for object in 0..trace.objects() {
            let mut state = ObjectState::default();
            course.advance(&mut state, trace.events_of(object), trace.days, &mut policy);
            course.settle(&mut state, trace.days);
        }
        course.bill
    }

    fn frequency(&self, trace: &Trace, cadence: Cadence) -> Bill {
        let mut bill = Bill::default();
        for bucket in &trace.buckets {
            bill += &self.frequency_of(trace, bucket, cadence);
        }
        bill
    }

    /// A bucket's ranks change together, so its objects go from one run to the next together.
    fn frequency_of(&self, trace: &Trace, bucket: &TraceBucket, cadence: Cadence) -> Bill {
        let mut course = Course::new(self.tariff(), cadence);
        let mut ledger = Ledger::new(trace);
        let mut states = vec![ObjectState::default(); bucket.end - bucket.first];
        let mut watched: Vec<Watched> =
            (bucket.first..bucket.end).map(|object| Watched::until(trace.events_of(object).first())).collect();
        let mut day = 0;
        loop {
            day = cadence.run_from(day + 1).min(trace.days);
            for (i, (state, watched)) in states.iter_mut().zip(&mut watched).enumerate() {
                if watched.next_event < day {
                    let events = trace.events_of(bucket.first + i);
                    course.advance(state, events, day, |_, _, _| Answer::LEAVE);
                    let rank = state.held.map(|held| Rank::of(ledger.row(state, &held)));
                    *watched = Watched { rank, ..Watched::until(state.next_event(events)) };
                }
            }
            if day >= trace.days {
                break;
            }
            let mut census = Census::default();
            watched.iter().filter_map(|watched| watched.rank).for_each(|rank| census.count_rank(rank));
            let mut cut = census.cut(self.frequency);
            let now = midnight(day);
            for (state, watched) in states.iter_mut().zip(&mut watched) {
                let Some(rank) = watched.rank else { continue };
                // All are ranked; the guards are asked only of those of which they may say another thing.
                let decision = cut.decide_rank(rank);
                if watched.wanted == Some(decision.target) && day < watched.ask {
                    continue;
                }
                watched.wanted = Some(decision.target);
                let Some(mut held) = state.held else { continue };
                let judgement = self.judge(ledger.row(state, &held), Some(decision), state, now);
                watched.ask = cadence.run_from(self.guards_may_change(day, &held, &judgement));
                if let Some(to) = target_of(&judgement) {
                    course.tariff.change_class(&mut held, day, to, &mut course.bill);
                    state.held = Some(held);
                }
            }
        }
        for state in &mut states {
            course.settle(state, trace.days);
        }
        course.bill
    }

    /// What becomes of the row, by the policy's decision and the guards. The logs of a trace are whole.
    fn judge(&self, row: &LedgerRow, decision: Option<Decision>, state: &ObjectState, now: DateTime<Utc>) -> Judgement {
        let evidence = Evidence { last_ok_ingest: Some(now), covered_since: Some(DateTime::UNIX_EPOCH) };
        let bench = Bench { now, guards: self.guards, evidence, prices: self.prices };
        bench.judge_seen(row, decision, Some(&state.evidence))
    }
}

fn target_of(judgement: &Judgement) -> Option<StorageClass> {
    match judgement {
        Judgement::Move(proposal) => Some(proposal.decision.target),
        Judgement::Stay(_) | Judgement::Skip { .. } => None,
    }
}

fn after(from: u16, days: u32) -> u16 {
    from.saturating_add(u16::try_from(days).unwrap_or(u16::MAX))
}

/// A day of the trace as a time. Only differences of times matter to a policy, so the trace's first day is 1970-01-01.
fn midnight(day: u16) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(i64::from(day))
}

/// What of an object is looked at on every run of the frequency policy. All else is only when something happens to it: most
/// objects are idle on most days.
struct Watched {
    /// None while it does not exist.
    rank: Option<Rank>,
    /// Where its rank was last known to want it.
    wanted: Option<StorageClass>,
    /// The day of what happens to it next.
    next_event: u16,
    /// The first run on which the guards may say another thing of the same wish.
    ask: u16,
}

impl Watched {
    /// Nothing is known of it, up to the event.
    fn until(next: Option<&Event>) -> Self {
        Self { rank: None, wanted: None, next_event: next.map_or(u16::MAX, |event| event.day), ask: 0 }
    }
}

/// The rows that policies are shown, one at a time.
struct Ledger {
    row: LedgerRow,
    /// Of every day of the trace. The calendar costs more than all else that there is to do about an idle object.
    midnights: Vec<DateTime<Utc>>,
}

impl Ledger {
    fn new(trace: &Trace) -> Self {
        let bucket = trace.buckets.first().map(|bucket| bucket.name.clone());
        let bucket = bucket.unwrap_or_else(|| crate::tiering::object::BucketName::new("none").expect("it is a name"));
        // No policy goes by the key.
        let id = ObjectId::new(bucket, ObjectKey::new("k").expect("it is a key"));
        let etag = Some(ETag::new("e").expect("it is a tag"));
        Self { row: LedgerRow { etag, ..LedgerRow::new(id) }, midnights: (0..=trace.days).map(midnight).collect() }
    }

    fn row(&mut self, state: &ObjectState, held: &Held) -> &LedgerRow {
        self.row.count = state.count;
        self.row.event_time = self.midnights.get(usize::from(state.last_use)).copied();
        self.row.class = Some(held.class);
        self.row.size = Some(held.bytes);
        self.row.class_since = self.midnights.get(usize::from(held.since)).copied();
        &self.row
    }
}

#[cfg(test)]
mod tests;
