//! The least that an object can cost: what somebody would do who knows the future.
//!
//! Per object, over STANDARD, STANDARD_IA, GLACIER_IR and INTELLIGENT_TIERING (and over GLACIER and DEEP_ARCHIVE where these are
//! allowed: who knows the future restores before the read, so that nobody waits), by dynamic programming over the days on
//! which something can change. A stay in a class costs its storage, at least that of the minimum duration; between two reads
//! the cost of a move on day x is piecewise linear in x, and has its least value where it bends upwards or at the ends. So moves
//! are looked for on the day of a read, on the day after it, on the day on which a minimum duration ends, and so early before
//! a read that the minimum duration of the class moved to ends on it.
//!
//! After each such day only those states are kept that may still win ([`prune`]): a state that costs as much more as
//! all that its greater age in the class can ever be worth, is none. That keeps a handful, however often the object is read.

use super::account::{Bill, Held, Tariff};
use super::trace::{Event, EventKind};
use crate::tiering::cost::Stored;
use crate::tiering::storage_class::StorageClass;

/// The classes among which the optimum chooses, the archives last.
pub const CLASSES: [StorageClass; 6] = [
    StorageClass::Standard,
    StorageClass::StandardIa,
    StorageClass::GlacierIr,
    StorageClass::IntelligentTiering,
    StorageClass::Glacier,
    StorageClass::DeepArchive,
];
/// How many of them are read at once.
pub const READ_AT_ONCE: usize = 4;
const STANDARD: usize = 0;
const INTELLIGENT: usize = 3;

/// One object's way: the moves, each on the beginning of a day.
type Moves = Vec<(u16, StorageClass)>;

/// Works out the optimum of one object after another.
#[derive(Debug)]
pub struct Optimum<'a> {
    tariff: Tariff<'a>,
    /// How many of [`CLASSES`] it may use.
    classes: usize,
    /// Every state that was ever kept of the present life, so that the way to the best one can be told.
    steps: Vec<Step>,
    states: Vec<State>,
    next: Vec<State>,
    reads: Vec<Reads>,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    before: u32,
    day: u16,
    class: u8,
}

const FIRST: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct State {
    usd: f64,
    class: u8,
    since: u16,
    active: u16,
    /// Its last move in [`Optimum::steps`].
    step: u32,
}

#[derive(Debug, Clone, Copy)]
struct Reads {
    day: u16,
    reads: u32,
    bytes: u64,
}

/// An object from its PUT to where it is deleted, replaced, or the trace ends.
#[derive(Debug, Clone, Copy)]
struct Life {
    from: u16,
    to: u16,
    bytes: u64,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The rest of a minimum duration is paid.
    Deleted,
    TraceEnds,
}

/// The prices of a life, by class.
struct Rates {
    /// Storage by the day; of Intelligent-Tiering, the frequent access tier's.
    daily: [f64; CLASSES.len()],
    /// What of it the rest of a minimum duration is billed by: not what S3 adds at STANDARD's price.
    early: [f64; CLASSES.len()],
    /// Intelligent-Tiering's after 30 and after 90 days.
    colder: [f64; 2],
    put: [f64; CLASSES.len()],
    /// Retrieval of the whole object, or its restore, as a move out pays it.
    leave: [f64; CLASSES.len()],
    minimum: [u16; CLASSES.len()],
}

impl<'a> Optimum<'a> {
    pub fn new(tariff: Tariff<'a>) -> Self {
        let classes = READ_AT_ONCE;
        Self { tariff, classes, steps: Vec::new(), states: Vec::new(), next: Vec::new(), reads: Vec::new() }
    }

    /// May use the archives too. No read waits: each restore comes before its read.
    #[must_use]
    pub fn with_archives(self) -> Self {
        Self { classes: CLASSES.len(), ..self }
    }

    /// Adds to `bill` what an object with `events` costs at the least, in a trace of `days`.
    pub fn add(&mut self, events: &[Event], days: u16, bill: &mut Bill) {
        let mut at = 0;
        while at < events.len() {
            let begin = events[at];
            let length = events[at + 1..].iter().position(|event| event.kind != EventKind::Read);
            let end = length.map_or(events.len(), |length| at + 1 + length);
            let life = Life {
                from: begin.day,
                to: events.get(end).map_or(days, |event| event.day),
                bytes: begin.bytes,
                end: if end < events.len() { End::Deleted } else { End::TraceEnds },
            };
            if matches!(begin.kind, EventKind::Put | EventKind::Found) {
                let moves = self.best(&life, &events[at + 1..end]);
                let mut held = match begin.kind {
                    EventKind::Put => self.tariff.put(life.from, life.bytes, bill),
                    _ => Held::written(life.from, life.bytes),
                };
                self.replay(&mut held, &life, &moves, &events[at + 1..end], bill);
            }
            at = end;
        }
    }

    fn replay(&self, held: &mut Held, life: &Life, moves: &Moves, reads: &[Event], bill: &mut Bill) {
        let mut moves = moves.iter().peekable();
        for read in reads {
            while let Some((day, to)) = moves.next_if(|(day, _)| *day <= read.day) {
                self.tariff.change_class(held, *day, *to, bill);
            }
            self.tariff.read(held, read.day, read.reads, read.bytes, bill);
        }
        for (day, to) in moves {
            self.tariff.change_class(held, *day, *to, bill);
        }
        match life.end {
            End::Deleted => self.tariff.end(held, life.to, bill),
            End::TraceEnds => self.tariff.store(held, life.to, bill),
        }
    }

    /// The moves that cost the least together.
    fn best(&mut self, life: &Life, reads: &[Event]) -> Moves {
        let rates = self.rates(life.bytes);
        self.reads.clear();
        self.reads.extend(reads.iter().map(|read| Reads { day: read.day, reads: read.reads, bytes: read.bytes }));
        self.steps.clear();
        self.states.clear();
        self.states.push(State { usd: 0.0, class: STANDARD as u8, since: life.from, active: life.from, step: FIRST });
        let mut today = life.from;
        // On the day on which it was written it stays where it was written.
        if today + 1 < life.to && self.reads.first().is_none_or(|read| read.day > today) {
            today = self.go_to(today, today + 1, &rates);
        }
        for i in 0..self.reads.len() {
            let read = self.reads[i];
            if read.day > today {
                today = self.go_to(today, read.day, &rates);
            }
            if self.classes > READ_AT_ONCE {
                self.states.retain(|state| !is_archive(usize::from(state.class)));
            }
            for state in &mut self.states {
                let (requests, retrieval) =
                    self.tariff.prices.read_usd(CLASSES[state.class as usize], u64::from(read.reads), read.bytes);
                state.usd += requests + retrieval;
                state.active = today;
            }
            if today + 1 < life.to && self.reads.get(i + 1).is_none_or(|next| next.day > today) {
                today = self.go_to(today, today + 1, &rates);
            }
        }
        self.pass(today, life.to, &rates);
        let closing = |state: &State| match life.end {
            End::Deleted => state.usd + rates.early(state, life.to),
            End::TraceEnds => state.usd,
        };
        let best = self.states.iter().min_by(|a, b| closing(a).total_cmp(&closing(b)));
        let mut moves = Vec::new();
        let mut at = best.map_or(FIRST, |best| best.step);
        while at != FIRST {
            let step = self.steps[at as usize];
            moves.push((step.day, CLASSES[step.class as usize]));
            at = step.before;
        }
        moves.reverse();
        moves
    }

    fn rates(&self, bytes: u64) -> Rates {
        let prices = self.tariff.prices;
        let stored = |class, idle_days| Stored { class, bytes, idle_days };
        let daily =
            |class, idle_days| prices.monthly_storage_usd(stored(class, idle_days)).unwrap_or(f64::INFINITY) / 30.0;
        let days_but_one = |class: StorageClass| u64::from(class.minimum_days()) - 1;
        let restore = |class| {
            let held = Held { class, ..Held::written(0, bytes) };
            let question = self.tariff.question(&held, class.minimum_days() as u16, StorageClass::Standard);
            prices.move_cost(&question).map_or(f64::INFINITY, |cost| cost.restore_usd)
        };
        let requests = self.tariff.copies.requests(bytes) as f64;
        Rates {
            daily: self.of_classes(|class| daily(class, 0)),
            early: self.of_classes(|class| match class.is_archive() {
                true => prices.early_deletion_usd(stored(class, 0), Some(days_but_one(class))).unwrap_or(f64::INFINITY),
                false => daily(class, 0),
            }),
            colder: [30, 90].map(|days| daily(StorageClass::IntelligentTiering, days)),
            put: self.of_classes(|class| requests * prices.class(class).map_or(0.0, |p| p.put_per_1000) / 1000.0),
            leave: self.of_classes(|class| match class.is_archive() {
                true => prices.read_usd(class, 0, bytes).1 + restore(class),
                false => prices.read_usd(class, 0, bytes).1,
            }),
            minimum: CLASSES.map(|class| class.minimum_days() as u16),
        }
    }

    /// A figure of each class that may be used.
    fn of_classes(&self, figure: impl Fn(StorageClass) -> f64) -> [f64; CLASSES.len()] {
        std::array::from_fn(|i| if i < self.classes { figure(CLASSES[i]) } else { f64::INFINITY })
    }

    /// Stores all states from `from` to `to`, with the moves on the days between that may pay.
    fn pass(&mut self, from: u16, to: u16, rates: &Rates) {
        let mut states = std::mem::take(&mut self.states);
        self.next.clear();
        let mut i = 0;
        while i < states.len() {
            let state = states[i];
            i += 1;
            // States that moved in between come in later than `from`.
            let from = from.max(if state.step == FIRST { 0 } else { self.steps[state.step as usize].day });
            for to_class in 0..self.classes {
                for day in rates.days_between(&state, from, to, to_class) {
                    let moved = self.moved(&state, from, day, to_class, rates);
                    states.push(moved);
                }
            }
            self.next.push(State { usd: state.usd + rates.store(&state, from, to), ..state });
        }
        std::mem::swap(&mut self.states, &mut self.next);
        self.next = states;
        prune(&mut self.states, to, rates);
    }

    /// Passes the time up to `day`, where every state may move.
    fn go_to(&mut self, today: u16, day: u16, rates: &Rates) -> u16 {
        self.pass(today, day, rates);
        self.offer_moves(day, rates);
        day
    }

    /// Every state may also move on this day.
    fn offer_moves(&mut self, day: u16, rates: &Rates) {
        let before = self.states.len();
        for to_class in 0..self.classes {
            let cheapest = self.states[..before]
                .iter()
                .filter(|state| usize::from(state.class) != to_class)
                .min_by(|a, b| rates.moved_usd(a, day, to_class).total_cmp(&rates.moved_usd(b, day, to_class)))
                .copied();
            if let Some(state) = cheapest {
                let moved = self.moved(&state, day, day, to_class, rates);
                self.states.push(moved);
            }
        }
        prune(&mut self.states, day, rates);
    }

    fn moved(&mut self, state: &State, from: u16, day: u16, to_class: usize, rates: &Rates) -> State {
        let stored = State { usd: state.usd + rates.store(state, from, day), ..*state };
        let step = self.steps.len() as u32;
        self.steps.push(Step { before: state.step, day, class: to_class as u8 });
        State { usd: rates.moved_usd(&stored, day, to_class), class: to_class as u8, since: day, active: day, step }
    }
}

impl Rates {
    fn store(&self, state: &State, from: u16, to: u16) -> f64 {
        let class = usize::from(state.class);
        if class != INTELLIGENT {
            return f64::from(to - from) * self.daily[class];
        }
        let [infrequent, archive] = [30, 90].map(|days| state.active.saturating_add(days).clamp(from, to));
        f64::from(infrequent - from) * self.daily[class]
            + f64::from(archive - infrequent) * self.colder[0]
            + f64::from(to - archive) * self.colder[1]
    }

    /// What is left of the minimum duration.
    fn early(&self, state: &State, day: u16) -> f64 {
        let class = usize::from(state.class);
        f64::from(self.minimum[class].saturating_sub(day - state.since)) * self.early[class]
    }

    fn moved_usd(&self, state: &State, day: u16, to_class: usize) -> f64 {
        state.usd + self.put[to_class] + self.leave[usize::from(state.class)] + self.early(state, day)
    }

    /// The days strictly between `from` and `to` on which a move into `to_class` may be best.
    fn days_between(&self, state: &State, from: u16, to: u16, to_class: usize) -> impl Iterator<Item = u16> {
        let class = usize::from(state.class);
        let served = state.since.saturating_add(self.minimum[class]);
        let cheaper = self.daily[to_class] < self.daily[class] && self.minimum[class] > 0;
        let at_last = to.saturating_sub(self.minimum[to_class]);
        let dearer = self.minimum[to_class] > 0 && at_last >= served && !cheaper;
        // What S3 adds to an archived object ends with its stay, also while the minimum duration runs.
        let any = is_archive(class) || is_archive(to_class);
        let days = [(cheaper || any).then_some(served), (dearer || any).then_some(at_last)];
        let other = to_class != class;
        days.into_iter().flatten().filter(move |day| other && *day > from && *day < to)
    }
}

fn is_archive(class: usize) -> bool {
    class >= READ_AT_ONCE
}

/// Leaves out the states that cannot win any more. A state's age in its class is worth at most the storage of its days, up to the
/// minimum duration; Intelligent-Tiering's, what its colder tiers save up to the day on which the younger one is as cold.
fn prune(states: &mut Vec<State>, day: u16, rates: &Rates) {
    let mut kept = 0;
    for i in 0..states.len() {
        let state = states[i];
        let loses = |other: &State, ties: bool| {
            let class = usize::from(state.class);
            if other.class != state.class {
                return false;
            }
            let worth = if class == INTELLIGENT {
                let later = f64::from(other.active.saturating_sub(state.active));
                let step =
                    (rates.daily[class] - rates.colder[0]).max(0.0) + (rates.colder[0] - rates.colder[1]).max(0.0);
                later * step
            } else {
                let capped = |since: u16| (day - since).min(rates.minimum[class]);
                f64::from(capped(state.since).saturating_sub(capped(other.since))) * rates.daily[class]
            };
            let usd = other.usd + worth;
            usd < state.usd || (ties && usd == state.usd)
        };
        let beaten = states[..kept].iter().any(|other| loses(other, true))
            || states[i + 1..].iter().any(|other| loses(other, false));
        if !beaten {
            states[kept] = state;
            kept += 1;
        }
    }
    states.truncate(kept);
}

#[cfg(test)]
mod tests;
