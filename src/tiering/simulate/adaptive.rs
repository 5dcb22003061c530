//! The adaptive policy over a trace, bucket by bucket.

use super::account::{Bill, Held, Tariff};
use super::lessons::{Lesson, Lessons, Plans};
use super::replay::{Answer, Cadence, Course, ObjectState};
use super::trace::{Trace, TraceBucket};
use crate::tiering::adaptive::archives::{Archives, Places, Survey, Waits};
use crate::tiering::adaptive::arrivals::Arrivals;
use crate::tiering::adaptive::experts::Experts;
use crate::tiering::adaptive::hazard::OWN_FROM;
use crate::tiering::adaptive::learned::View;
use crate::tiering::adaptive::safeguard::{Expert, Period, SHADOWED, Safeguard};
use crate::tiering::evidence::{Day, IdleTable};

/// Whose decisions are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// The expert's that the safeguard names.
    Safeguard,
    /// Always this one's, to see what it would have come to.
    Only(Expert),
}

/// The policy.
#[derive(Debug, Clone, Copy)]
pub struct Adaptive<'a> {
    pub trace: &'a Trace,
    pub tariff: Tariff<'a>,
    /// Objects below are left where they are.
    pub min_object_bytes: u64,
    pub follow: Follow,
    /// What share of a bucket's reads may wait; 0: nothing is archived.
    pub max_delayed_reads: f64,
}

impl<'a> Adaptive<'a> {
    /// What it learns, which is the same for all buckets and cadences.
    pub fn lessons(&self) -> Lessons {
        Lessons::new(self.trace, &self.tariff, self.may_archive())
    }

    fn may_archive(&self) -> bool {
        self.max_delayed_reads > 0.0
    }

    /// What the buckets cost if it runs as often as each of `cadences` says, in their order.
    pub fn replay(&self, lessons: &Lessons, buckets: &[TraceBucket], cadences: &[Cadence]) -> Vec<Bill> {
        let mut bills = vec![Bill::default(); cadences.len()];
        let mut rest = buckets;
        while !rest.is_empty() {
            let (together, others) = rest.split_at(how_many_together(rest));
            rest = others;
            let new = |bucket| BucketRun::new(*self, lessons, bucket, cadences);
            let mut runs: Vec<BucketRun<'_>> = together.iter().map(new).collect();
            let mut go_on = true;
            while go_on {
                go_on = false;
                for run in &mut runs {
                    go_on |= run.period();
                }
            }
            for run in runs {
                bills.iter_mut().zip(run.finish()).for_each(|(sum, bill)| *sum += &bill);
            }
        }
        bills
    }
}

/// Small buckets, of no more objects than these together, go through the periods side by side: the plans of a period are
/// looked into by all of them while they are at hand.
const TOGETHER: usize = 1000;

fn how_many_together(buckets: &[TraceBucket]) -> usize {
    let mut objects = 0;
    let fit = buckets.iter().take_while(|bucket| {
        objects += bucket.end - bucket.first;
        objects <= TOGETHER
    });
    fit.count().max(1)
}

/// One bucket's way through the trace, at several cadences side by side: plans are made once for all of them.
#[derive(Debug)]
pub struct BucketRun<'a> {
    policy: Adaptive<'a>,
    lessons: &'a Lessons,
    next_period: usize,
    place: &'a TraceBucket,
    own: Option<Own>,
    ways: Vec<Way<'a>>,
}

/// What a bucket knows that may have plans of its own.
#[derive(Debug)]
struct Own {
    /// By period, what was seen when it begins.
    seen: Vec<IdleTable>,
    plans: Plans,
}

impl<'a> BucketRun<'a> {
    pub fn new(policy: Adaptive<'a>, lessons: &'a Lessons, place: &'a TraceBucket, cadences: &[Cadence]) -> Self {
        let objects = place.first..place.end;
        let own = (objects.len() >= OWN_FROM)
            .then(|| Own { seen: lessons.seen_of(policy.trace, objects), plans: Plans::default() });
        let ways = cadences.iter().map(|cadence| Way::new(policy, place, *cadence)).collect();
        Self { policy, lessons, next_period: 0, place, own, ways }
    }

    /// Goes to the end.
    pub fn finish(mut self) -> impl Iterator<Item = Bill> {
        while self.period() {}
        self.ways.into_iter().map(|way| way.bill)
    }

    /// Goes one period further. False at the end.
    pub fn period(&mut self) -> bool {
        let Some(lesson) = self.lessons.get(self.next_period) else { return false };
        let own = self.own.as_mut().and_then(|own| {
            let objects = self.place.end - self.place.first;
            let hazards = lesson.hazards.of_bucket(&own.seen[self.next_period], objects)?;
            own.plans.learn(&self.policy.tariff, &hazards, self.policy.may_archive());
            Some(&own.plans)
        });
        let plans = own.unwrap_or(&lesson.plans);
        for way in &mut self.ways {
            way.carry_out(self.place, lesson, plans);
            if self.policy.follow == Follow::Safeguard {
                way.shadow(self.place, lesson, &plans.experts);
            }
        }
        self.next_period += 1;
        true
    }

    /// What the bucket's readers have gone through, by cadence.
    pub fn waits(&self) -> impl Iterator<Item = &Waits> {
        self.ways.iter().map(|way| &way.waits)
    }
}

/// A bucket at one cadence.
#[derive(Debug)]
struct Way<'a> {
    policy: Adaptive<'a>,
    cadence: Cadence,
    states: Vec<ObjectState>,
    waits: Waits,
    safeguard: Safeguard,
    /// By expert, the states of the shadowed objects: every so many-th of the bucket.
    shadows: Vec<Vec<ObjectState>>,
    step: usize,
    /// What the shadowed objects themselves have cost in the period.
    followed_usd: f64,
    bill: Bill,
}

impl<'a> Way<'a> {
    fn new(policy: Adaptive<'a>, place: &TraceBucket, cadence: Cadence) -> Self {
        let objects = place.end - place.first;
        let step = objects.div_ceil(SHADOWED).max(1);
        let shadowed = if policy.follow == Follow::Safeguard { objects.div_ceil(step) } else { 0 };
        Self {
            policy,
            cadence,
            states: vec![ObjectState::default(); objects],
            waits: Waits::default(),
            safeguard: Safeguard::default(),
            shadows: vec![vec![ObjectState::default(); shadowed]; Expert::ALL.len()],
            step,
            followed_usd: 0.0,
            bill: Bill::default(),
        }
    }

    /// Who of the bucket may be archived in the period that begins.
    fn places(&mut self, archives: &Archives, from: u16) -> Places {
        if !self.policy.may_archive() {
            return Places::NONE;
        }
        let mut survey = Survey::default();
        self.waits.archived = 0;
        for state in &self.states {
            let Some(held) = state.held else { continue };
            self.waits.archived += u64::from(held.class.is_archive());
            if held.bytes >= self.policy.min_object_bytes
                && let (Some(wish), _) = archives.wish(&view(state, &held), Day::from(from))
            {
                survey.add(wish, 1);
            }
        }
        survey.places(self.waits.room(self.policy.max_delayed_reads))
    }

    /// Goes on with the objects by the decisions of the expert that is followed.
    fn carry_out(&mut self, place: &TraceBucket, lesson: &Lesson, plans: &Plans) {
        let super::lessons::Period { from, to } = lesson.period;
        let mut places = self.places(&plans.archives, from);
        let Adaptive { trace, tariff, min_object_bytes, follow, .. } = self.policy;
        let archives = self.policy.may_archive().then_some(&plans.archives);
        let mut all = Course::new(tariff, self.cadence);
        let mut shadowed = Course::since(from, tariff, self.cadence);
        std::mem::swap(&mut all.bill, &mut self.bill);
        let before = (all.bill.read_days, all.bill.delayed_read_days);
        for (i, state) in self.states.iter_mut().enumerate() {
            let expert = match follow {
                Follow::Safeguard => self.safeguard.following(i as u64),
                Follow::Only(expert) => expert,
            };
            let course = if i.is_multiple_of(self.step) { &mut shadowed } else { &mut all };
            // What is newly learned asks anew.
            state.ask_from(self.cadence.run_from(from));
            course.advance(state, trace.events_of(place.first + i), to, |day, state, held| {
                let answer = answer(expert, &plans.experts, day, state, held, min_object_bytes);
                let archives = archives.filter(|_| held.bytes >= min_object_bytes);
                archives.map_or(answer, |archives| {
                    or_archive(answer, archives, &mut places, i as u64, &view(state, held), Day::from(day))
                })
            });
            course.settle(state, to);
        }
        self.followed_usd = shadowed.bill.total().total_usd();
        all.bill += &shadowed.bill;
        self.waits.reads += all.bill.read_days - before.0;
        self.waits.waited += all.bill.delayed_read_days - before.1;
        std::mem::swap(&mut all.bill, &mut self.bill);
    }

    /// Goes on with the shadows, and has the safeguard compare them.
    fn shadow(&mut self, place: &TraceBucket, lesson: &Lesson, learned: &Experts) {
        let super::lessons::Period { from, to } = lesson.period;
        let Adaptive { trace, tariff, min_object_bytes, .. } = self.policy;
        let mut period = Period { days: to - from, followed_usd: self.followed_usd, ..Period::default() };
        for (expert, shadows) in Expert::ALL.into_iter().zip(&mut self.shadows) {
            let mut course = Course::since(from, tariff, self.cadence);
            for (i, state) in shadows.iter_mut().enumerate() {
                let object = place.first + i * self.step;
                state.ask_from(self.cadence.run_from(from));
                course.advance(state, trace.events_of(object), to, |day, state, held| {
                    answer(expert, learned, day, state, held, min_object_bytes)
                });
                course.settle(state, to);
                if let Some(held) = state.held.filter(|held| held.bytes >= min_object_bytes) {
                    period.ahead_usd[expert as usize] += learned.future_usd(expert, &view(state, &held), Day::from(to));
                    period.at_stake_usd[expert as usize] += tariff.one_read_usd(&held);
                }
            }
            let costs = course.bill.total();
            period.costs_usd[expert as usize] = costs.total_usd();
            period.retrieval_usd[expert as usize] = costs.retrieval_usd;
        }
        let mut arrivals = Arrivals::new(Day::from(to));
        for state in self.shadows[Expert::FIRST as usize].iter().filter(|state| state.held.is_some()) {
            arrivals.add(state.evidence.written_day);
        }
        period.clump = arrivals.clump();
        self.safeguard.learn(&period);
    }
}

fn view<'s>(state: &'s ObjectState, held: &Held) -> View<'s> {
    View { class: held.class, bytes: held.bytes, class_since: Day::from(held.since), evidence: &state.evidence }
}

fn answer(
    expert: Expert,
    learned: &Experts,
    day: u16,
    state: &ObjectState,
    held: &Held,
    min_object_bytes: u64,
) -> Answer {
    if held.bytes < min_object_bytes {
        return Answer::LEAVE;
    }
    let choice = learned.choose(expert, &view(state, held), Day::from(day));
    choice.map_or(Answer::LEAVE, |choice| Answer {
        to: Some(choice.target),
        again: u16::try_from(choice.until).unwrap_or(u16::MAX),
    })
}

/// The answer, or an archive where the object wishes for one and gets a place.
fn or_archive(
    answer: Answer,
    archives: &Archives,
    places: &mut Places,
    hash: u64,
    object: &View<'_>,
    today: Day,
) -> Answer {
    let (wish, until) = archives.wish(object, today);
    let again = answer.again.min(u16::try_from(until).unwrap_or(u16::MAX));
    match wish.filter(|wish| places.grant(*wish, hash) && places.take()) {
        Some(wish) => Answer { to: Some(wish.class), again },
        None => Answer { again, ..answer },
    }
}

#[cfg(test)]
mod tests;
