//! One object's way through a trace: what happens to it, and when a policy is asked about it.

use super::account::{Bill, Held, Tariff};
use super::trace::{Event, EventKind};
use crate::tiering::evidence::ObjectEvidence;
use crate::tiering::storage_class::StorageClass;

/// On which days policies run. Days are those of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cadence {
    Daily,
    Weekly,
    Monthly,
}

impl Cadence {
    pub const ALL: [Cadence; 3] = [Self::Daily, Self::Weekly, Self::Monthly];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }

    /// Days from one run to the next.
    pub fn days(self) -> u16 {
        match self {
            Self::Daily => 1,
            Self::Weekly => 7,
            Self::Monthly => 30,
        }
    }

    /// The first run on `day` or after it.
    pub fn run_from(self, day: u16) -> u16 {
        day.div_ceil(self.days()).saturating_mul(self.days())
    }
}

/// An object at some time of the trace.
#[derive(Debug, Clone, Copy)]
pub struct ObjectState {
    /// None before it is written and after it is deleted.
    pub held: Option<Held>,
    pub evidence: ObjectEvidence,
    /// Uses, as the ledger counts them.
    pub count: u64,
    /// The day of the last one.
    pub last_use: u16,
    next_event: u32,
    /// The day on which the policy is asked next.
    ask: u16,
}

impl Default for ObjectState {
    fn default() -> Self {
        Self { held: None, evidence: ObjectEvidence::default(), count: 0, last_use: 0, next_event: 0, ask: u16::MAX }
    }
}

/// What a policy answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Where to move the object; None to leave it.
    pub to: Option<StorageClass>,
    /// Before this day it need not be asked again if nothing happens to the object.
    pub again: u16,
}

impl Answer {
    /// Leave it, and do not ask again before something happens.
    pub const LEAVE: Self = Self { to: None, again: u16::MAX };
}

/// Everything around an object that its way needs.
#[derive(Debug)]
pub struct Course<'a> {
    pub tariff: Tariff<'a>,
    pub cadence: Cadence,
    pub bill: Bill,
}

impl<'a> Course<'a> {
    pub fn new(tariff: Tariff<'a>, cadence: Cadence) -> Self {
        Self { tariff, cadence, bill: Bill::default() }
    }

    /// One that is billed from `day` on.
    pub fn since(day: u16, tariff: Tariff<'a>, cadence: Cadence) -> Self {
        Self { bill: Bill::since(day), ..Self::new(tariff, cadence) }
    }

    /// Goes on with the object up to the beginning of `until`. Its storage may not be billed so far: see [`Course::settle`].
    pub fn advance(
        &mut self,
        state: &mut ObjectState,
        events: &[Event],
        until: u16,
        mut policy: impl FnMut(u16, &ObjectState, &Held) -> Answer,
    ) {
        loop {
            let event = state.next_event(events).filter(|event| event.day < until);
            let event_day = event.map_or(until, |event| event.day);
            if let Some(mut held) = state.held.filter(|_| state.ask <= event_day && state.ask < until) {
                let today = state.ask;
                let answer = policy(today, state, &held);
                if let Some(to) = answer.to {
                    self.tariff.change_class(&mut held, today, to, &mut self.bill);
                    state.held = Some(held);
                }
                state.ask = self.cadence.run_from(answer.again.max(today.saturating_add(1)));
                continue;
            }
            let Some(event) = event else { break };
            self.happen(state, event);
            state.next_event += 1;
        }
    }

    /// Bills the object's storage up to the beginning of `until`.
    pub fn settle(&mut self, state: &mut ObjectState, until: u16) {
        if let Some(held) = &mut state.held {
            self.tariff.store(held, until, &mut self.bill);
        }
    }

    fn happen(&mut self, state: &mut ObjectState, event: &Event) {
        let day = event.day;
        match event.kind {
            EventKind::Found | EventKind::Put => {
                if let Some(held) = &mut state.held {
                    self.tariff.end(held, day, &mut self.bill);
                }
                state.evidence.add(&event.access(), &mut ());
                state.held = Some(if event.kind == EventKind::Put {
                    state.count += 1;
                    self.tariff.put(day, event.bytes, &mut self.bill)
                } else {
                    Held::written(day, event.bytes)
                });
                state.last_use = day;
            }
            EventKind::Read => {
                state.evidence.add(&event.access(), &mut ());
                if let Some(held) = &mut state.held {
                    self.tariff.read(held, day, event.reads, event.bytes, &mut self.bill);
                }
                state.count += u64::from(event.reads);
                state.last_use = day;
            }
            EventKind::Delete => {
                if let Some(held) = &mut state.held {
                    self.tariff.end(held, day, &mut self.bill);
                }
                *state = ObjectState { next_event: state.next_event, ..ObjectState::default() };
            }
        }
        state.ask = self.cadence.run_from(day + 1);
    }
}

impl ObjectState {
    /// What happens to the object next, of its `events`.
    pub(super) fn next_event<'e>(&self, events: &'e [Event]) -> Option<&'e Event> {
        events.get(self.next_event as usize)
    }

    /// Has the policy asked on `day`, if that is sooner than it would be.
    pub fn ask_from(&mut self, day: u16) {
        if self.held.is_some() {
            self.ask = self.ask.min(day);
        }
    }
}
