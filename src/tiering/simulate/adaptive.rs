//! The adaptive policy over a trace: all buckets together, one period of 30 days after the other, because at the end of each
//! the policy learns from all of them.

use super::account::{Bill, Held, PERIOD_DAYS, Tariff};
use super::replay::{Answer, Cadence, Course, ObjectState};
use super::trace::{Trace, TraceBucket};
use crate::tiering::adaptive::archives::{Archives, Places, Survey, Waits};
use crate::tiering::adaptive::arrivals::Arrivals;
use crate::tiering::adaptive::experts::Experts;
use crate::tiering::adaptive::hazard::Hazards;
use crate::tiering::adaptive::learned::View;
use crate::tiering::adaptive::safeguard::{Expert, OWN_PLANS_FROM, Period, SHADOWED, Safeguard};
use crate::tiering::evidence::{Day, IdleTable};

/// The policy learns every 30 days; every 10 in the first 90, when it knows little.
const OFTEN_DAYS: u16 = 10;
const OFTEN_UNTIL: u16 = 90;

/// Whose decisions are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// The expert's that the safeguard names.
    Safeguard,
    /// Always this one's, to see what it would have come to.
    Only(Expert),
}

/// The policy over all buckets.
#[derive(Debug)]
pub struct AdaptiveRun<'a> {
    trace: &'a Trace,
    tariff: Tariff<'a>,
    cadence: Cadence,
    min_object_bytes: u64,
    follow: Follow,
    /// What share of the reads may wait; 0: nothing is archived.
    max_delayed_reads: f64,
    states: Vec<ObjectState>,
    buckets: Vec<Bucket>,
    /// What all buckets together have taught.
    general: Experts,
    general_archives: Archives,
    from: u16,
    bill: Bill,
}

#[derive(Debug)]
struct Bucket {
    place: TraceBucket,
    closed: IdleTable,
    own: Option<(Experts, Archives)>,
    waits: Waits,
    safeguard: Safeguard,
    /// By expert, the states of the shadowed objects: every so many-th of the bucket.
    shadows: Vec<Vec<ObjectState>>,
    step: usize,
    /// What the shadowed objects themselves have cost in the period.
    followed_usd: f64,
}

impl<'a> AdaptiveRun<'a> {
    /// Objects below `min_object_bytes` are left where they are.
    pub fn new(trace: &'a Trace, tariff: Tariff<'a>, cadence: Cadence, min_object_bytes: u64, follow: Follow) -> Self {
        Self {
            trace,
            tariff,
            cadence,
            min_object_bytes,
            follow,
            max_delayed_reads: 0.0,
            states: vec![ObjectState::default(); trace.objects()],
            buckets: trace.buckets.iter().map(|place| Bucket::new(place.clone(), follow)).collect(),
            general: Experts::default(),
            general_archives: Archives::default(),
            from: 0,
            bill: Bill::default(),
        }
    }

    /// Objects may be archived, as long as no more than this share of each bucket's reads waits.
    #[must_use]
    pub fn allowing(self, max_delayed_reads: f64) -> Self {
        Self { max_delayed_reads, ..self }
    }

    /// Goes to the end.
    pub fn finish(mut self) -> Bill {
        while self.period() {}
        self.bill
    }

    /// Goes one period further. False at the end.
    pub fn period(&mut self) -> bool {
        let days = if self.from < OFTEN_UNTIL { OFTEN_DAYS } else { PERIOD_DAYS };
        let to = self.trace.days.min(self.from.saturating_add(days));
        if self.from >= to {
            return false;
        }
        self.learn();
        for i in 0..self.buckets.len() {
            self.carry_out(i, to);
            if self.follow == Follow::Safeguard {
                self.shadow(i, to);
            }
        }
        self.from = to;
        true
    }

    /// Whom the buckets follow, in their order.
    pub fn safeguards(&self) -> impl Iterator<Item = &Safeguard> {
        self.buckets.iter().map(|bucket| &bucket.safeguard)
    }

    /// What the buckets' readers have gone through, in their order.
    pub fn waits(&self) -> impl Iterator<Item = &Waits> {
        self.buckets.iter().map(|bucket| &bucket.waits)
    }

    /// New hazards for every bucket, by all that has been seen up to now.
    fn learn(&mut self) {
        let mut pooled = IdleTable::default();
        let mut tables = Vec::with_capacity(self.buckets.len());
        for bucket in &self.buckets {
            let mut table = bucket.closed.clone();
            for state in &self.states[bucket.place.first..bucket.place.end] {
                if state.held.is_some() {
                    table.add_open(&state.evidence, Day::from(self.from));
                }
            }
            pooled.merge(&table);
            tables.push(table);
        }
        let hazards = Hazards::prior().learned(&pooled);
        let (prices, restores) = (self.tariff.prices, self.tariff.restores());
        let archives = self.max_delayed_reads > 0.0;
        self.general.learn(prices, &hazards, restores);
        if archives {
            self.general_archives.learn(prices, &hazards, restores);
        }
        for (bucket, table) in self.buckets.iter_mut().zip(&tables) {
            if let Some((own, own_archives)) = &mut bucket.own {
                let hazards = hazards.learned(table);
                own.learn(prices, &hazards, restores);
                if archives {
                    own_archives.learn(prices, &hazards, restores);
                }
            }
        }
    }

    /// Who of a bucket may be archived in the period that begins.
    fn places(&mut self, bucket: usize) -> Places {
        if self.max_delayed_reads <= 0.0 {
            return Places::NONE;
        }
        let bucket = &mut self.buckets[bucket];
        let archives = bucket.own.as_ref().map_or(&self.general_archives, |(_, archives)| archives);
        let mut survey = Survey::default();
        bucket.waits.archived = 0;
        for state in &self.states[bucket.place.first..bucket.place.end] {
            let Some(held) = state.held else { continue };
            bucket.waits.archived += u64::from(held.class.is_archive());
            if held.bytes >= self.min_object_bytes
                && let (Some(wish), _) = archives.wish(&view(state, &held), Day::from(self.from))
            {
                survey.add(wish, 1);
            }
        }
        survey.places(bucket.waits.room(self.max_delayed_reads))
    }

    /// Goes on with a bucket's objects by the decisions of the expert that is followed.
    fn carry_out(&mut self, bucket: usize, to: u16) {
        let mut places = self.places(bucket);
        let bucket = &mut self.buckets[bucket];
        let general = (&self.general, &self.general_archives);
        let (learned, archives) = bucket.own.as_ref().map_or(general, |(experts, archives)| (experts, archives));
        let archives = (self.max_delayed_reads > 0.0).then_some(archives);
        let mut all = Course::new(self.tariff, self.cadence);
        let mut shadowed = Course::new(self.tariff, self.cadence);
        std::mem::swap(&mut all.bill, &mut self.bill);
        let before = (all.bill.read_days, all.bill.delayed_read_days);
        for (i, object) in (bucket.place.first..bucket.place.end).enumerate() {
            let expert = match self.follow {
                Follow::Safeguard => bucket.safeguard.following(i as u64),
                Follow::Only(expert) => expert,
            };
            let course = if i.is_multiple_of(bucket.step) { &mut shadowed } else { &mut all };
            let state = &mut self.states[object];
            // What is newly learned asks anew.
            state.ask_from(self.cadence.run_from(self.from));
            course.advance(state, self.trace.events_of(object), to, |day, state, held| {
                let answer = answer(expert, learned, day, state, held, self.min_object_bytes);
                let archives = archives.filter(|_| held.bytes >= self.min_object_bytes);
                archives.map_or(answer, |archives| {
                    or_archive(answer, archives, &mut places, i as u64, &view(state, held), Day::from(day))
                })
            });
            course.settle(state, to);
        }
        bucket.followed_usd = shadowed.bill.total().total_usd();
        all.bill += &shadowed.bill;
        bucket.waits.reads += all.bill.read_days - before.0;
        bucket.waits.waited += all.bill.delayed_read_days - before.1;
        std::mem::swap(&mut all.bill, &mut self.bill);
        bucket.closed.merge(&all.closed);
        bucket.closed.merge(&shadowed.closed);
    }

    /// Goes on with a bucket's shadows, and has the safeguard compare them.
    fn shadow(&mut self, bucket: usize, to: u16) {
        let bucket = &mut self.buckets[bucket];
        let learned = bucket.own.as_ref().map_or(&self.general, |(experts, _)| experts);
        let days = to - self.from;
        let mut period = Period { days, followed_usd: bucket.followed_usd, ..Period::default() };
        for (expert, shadows) in Expert::ALL.into_iter().zip(&mut bucket.shadows) {
            let mut course = Course::new(self.tariff, self.cadence);
            for (i, state) in shadows.iter_mut().enumerate() {
                let object = bucket.place.first + i * bucket.step;
                state.ask_from(self.cadence.run_from(self.from));
                course.advance(state, self.trace.events_of(object), to, |day, state, held| {
                    answer(expert, learned, day, state, held, self.min_object_bytes)
                });
                course.settle(state, to);
                if let Some(held) = state.held.filter(|held| held.bytes >= self.min_object_bytes) {
                    period.ahead_usd[expert as usize] += learned.future_usd(expert, &view(state, &held), Day::from(to));
                    period.at_stake_usd[expert as usize] += self.tariff.one_read_usd(&held);
                }
            }
            let costs = course.bill.total();
            period.costs_usd[expert as usize] = costs.total_usd();
            period.retrieval_usd[expert as usize] = costs.retrieval_usd;
        }
        let mut arrivals = Arrivals::new(Day::from(to));
        for state in bucket.shadows[Expert::FIRST as usize].iter().filter(|state| state.held.is_some()) {
            arrivals.add(state.evidence.written_day);
        }
        period.clump = arrivals.clump();
        bucket.safeguard.learn(&period);
    }
}

impl Bucket {
    fn new(place: TraceBucket, follow: Follow) -> Self {
        let objects = place.end - place.first;
        let step = objects.div_ceil(SHADOWED).max(1);
        let shadowed = if follow == Follow::Safeguard { objects.div_ceil(step) } else { 0 };
        Self {
            closed: IdleTable::default(),
            own: (objects >= OWN_PLANS_FROM).then(Default::default),
            waits: Waits::default(),
            safeguard: Safeguard::default(),
            shadows: vec![vec![ObjectState::default(); shadowed]; Expert::ALL.len()],
            step,
            followed_usd: 0.0,
            place,
        }
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
