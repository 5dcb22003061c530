//! The adaptive policy over a trace: all buckets together, one period of 30 days after the other, because at the end of each
//! the policy learns from all of them.

use super::account::{Bill, Held, PERIOD_DAYS, Tariff};
use super::replay::{Answer, Cadence, Course, ObjectState};
use super::trace::{Trace, TraceBucket};
use crate::tiering::adaptive::hazard::Hazards;
use crate::tiering::adaptive::learned::{Learned, View};
use crate::tiering::adaptive::safeguard::{Expert, PerExpert, Safeguard};
use crate::tiering::adaptive::solve::Rules;
use crate::tiering::evidence::{Day, IdleTable};
use crate::tiering::storage_class::StorageClass;

/// At most so many objects of a bucket are shadowed: enough to tell which expert is cheaper.
const SHADOWED: usize = 1000;

/// Buckets of fewer objects have no plans of their own: they go by what all buckets together have taught.
const OWN_PLANS_FROM: usize = 500;

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
    states: Vec<ObjectState>,
    buckets: Vec<Bucket>,
    /// What all buckets together have taught.
    general: Experts,
    from: u16,
    bill: Bill,
}

/// What every expert goes by, in their order.
type Experts = [Option<Learned>; Expert::ALL.len()];

#[derive(Debug)]
struct Bucket {
    place: TraceBucket,
    closed: IdleTable,
    own: Option<Experts>,
    safeguard: Safeguard,
    /// By expert, the states of the shadowed objects: every so many-th of the bucket.
    shadows: Vec<Vec<ObjectState>>,
    step: usize,
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
            states: vec![ObjectState::default(); trace.objects()],
            buckets: trace.buckets.iter().map(|place| Bucket::new(place.clone(), follow)).collect(),
            general: Experts::default(),
            from: 0,
            bill: Bill::default(),
        }
    }

    /// Goes to the end.
    pub fn finish(mut self) -> Bill {
        while self.period() {}
        self.bill
    }

    /// Goes one period further. False at the end.
    pub fn period(&mut self) -> bool {
        let to = self.trace.days.min(self.from.saturating_add(PERIOD_DAYS));
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
    pub fn following(&self) -> impl Iterator<Item = Expert> {
        self.buckets.iter().map(|bucket| bucket.safeguard.following())
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
        learn_all(&self.tariff, &hazards, &mut self.general);
        for (bucket, table) in self.buckets.iter_mut().zip(&tables) {
            if let Some(own) = &mut bucket.own {
                learn_all(&self.tariff, &hazards.learned(table), own);
            }
        }
    }

    /// Goes on with a bucket's objects by the decisions of the expert that is followed.
    fn carry_out(&mut self, bucket: usize, to: u16) {
        let bucket = &mut self.buckets[bucket];
        let expert = match self.follow {
            Follow::Safeguard => bucket.safeguard.following(),
            Follow::Only(expert) => expert,
        };
        let learned = bucket.own.as_ref().unwrap_or(&self.general);
        let mut course = Course::new(self.tariff, self.cadence);
        std::mem::swap(&mut course.bill, &mut self.bill);
        for object in bucket.place.first..bucket.place.end {
            let state = &mut self.states[object];
            // What is newly learned asks anew.
            state.ask_from(self.cadence.run_from(self.from));
            course.advance(state, self.trace.events_of(object), to, |day, state, held| {
                answer(expert, learned, day, state, held, self.min_object_bytes)
            });
            course.settle(state, to);
        }
        std::mem::swap(&mut course.bill, &mut self.bill);
        bucket.closed.merge(&course.closed);
    }

    /// Goes on with a bucket's shadows, and has the safeguard compare them.
    fn shadow(&mut self, bucket: usize, to: u16) {
        let bucket = &mut self.buckets[bucket];
        let learned = bucket.own.as_ref().unwrap_or(&self.general);
        let judge = learned[Expert::JUDGE as usize].as_ref();
        let (mut costs, mut ahead) = (PerExpert::default(), PerExpert::default());
        for (expert, shadows) in Expert::ALL.into_iter().zip(&mut bucket.shadows) {
            let mut course = Course::new(self.tariff, self.cadence);
            for (i, state) in shadows.iter_mut().enumerate() {
                let object = bucket.place.first + i * bucket.step;
                state.ask_from(self.cadence.run_from(self.from));
                course.advance(state, self.trace.events_of(object), to, |day, state, held| {
                    answer(expert, learned, day, state, held, self.min_object_bytes)
                });
                course.settle(state, to);
                if let (Some(judge), Some(held)) = (judge, state.held.filter(|h| h.bytes >= self.min_object_bytes)) {
                    ahead[expert as usize] += judge.future_usd(&view(state, &held), Day::from(to)).unwrap_or(0.0);
                }
            }
            costs[expert as usize] = course.bill.total().total_usd();
        }
        bucket.safeguard.learn(&costs, &ahead);
    }
}

impl Bucket {
    fn new(place: TraceBucket, follow: Follow) -> Self {
        let objects = place.end - place.first;
        let step = objects.div_ceil(SHADOWED).max(1);
        let shadowed = if follow == Follow::Safeguard { objects.div_ceil(step) } else { 0 };
        Self {
            closed: IdleTable::default(),
            own: (objects >= OWN_PLANS_FROM).then(Experts::default),
            safeguard: Safeguard::default(),
            shadows: vec![vec![ObjectState::default(); shadowed]; Expert::ALL.len()],
            step,
            place,
        }
    }
}

fn learn_all(tariff: &Tariff<'_>, hazards: &Hazards, experts: &mut Experts) {
    for (expert, learned) in Expert::ALL.into_iter().zip(experts) {
        if expert.classes().is_empty() {
            continue;
        }
        let rules = Rules {
            classes: expert.classes().to_vec(),
            delayed_read_usd: 0.0,
            restore: tariff.restore,
            restore_days: tariff.restore_days,
        };
        *learned = Some(Learned::new(tariff.prices, hazards.scaled(expert.caution()), rules, learned.take()));
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
    let served = held.since.saturating_add(held.class.minimum_days() as u16);
    if day < served {
        return Answer { to: None, again: served };
    }
    let all_into = |class| Answer { to: Some(class), again: u16::MAX };
    // What an earlier expert moved to where reads are paid comes out when that pays, not all at once: each copy is a read.
    let paid_by_the_gigabyte = matches!(held.class, StorageClass::StandardIa | StorageClass::GlacierIr);
    let planner = match expert {
        Expert::Standard if !paid_by_the_gigabyte => return all_into(StorageClass::Standard),
        Expert::Intelligent if !paid_by_the_gigabyte => return all_into(StorageClass::IntelligentTiering),
        Expert::Standard | Expert::Intelligent => Expert::Careful,
        Expert::Careful | Expert::Thrifty | Expert::Wary => expert,
    };
    let Some(learned) = &learned[planner as usize] else { return Answer::LEAVE };
    let choice = learned.choose(&view(state, held), Day::from(day));
    Answer { to: Some(choice.target), again: u16::try_from(choice.until).unwrap_or(u16::MAX) }
}
