//! A policy that knows a kind of trace, and of the trace at hand only the past.
//!
//! It has what the adaptive policy must learn: how likely reads are at every age and heat, as many other traces of the kind have
//! shown. By that it makes its plans once, among all classes, and follows them from the first day on, with no safeguard. It is
//! no bound in the strict sense: where few objects or clumps of them make up most of the cost, luck may do better.

use tierd::tiering::adaptive::experts::{Experts, Restores};
use tierd::tiering::adaptive::hazard::Hazards;
use tierd::tiering::adaptive::learned::View;
use tierd::tiering::adaptive::safeguard::Expert;
use tierd::tiering::evidence::{Day, IdleTable};
use tierd::tiering::simulate::lessons::seen;
use tierd::tiering::simulate::policies::Setup;
use tierd::tiering::simulate::replay::{Answer, Cadence, Course, ObjectState};
use tierd::tiering::simulate::trace::Trace;

pub struct Informed(Experts);

impl Informed {
    /// Learns from `others`.
    pub fn by(setup: &Setup<'_>, others: impl Iterator<Item = Trace>) -> Self {
        let mut all = IdleTable::default();
        for trace in others {
            seen(&trace, 0..trace.objects(), &[trace.days]).iter().for_each(|of_trace| all.merge(of_trace));
        }
        let restores = Restores {
            speed: setup.guards.restore,
            days: setup.guards.restore_days,
            class: setup.guards.restored_class,
        };
        let mut experts = Experts::default();
        experts.learn(setup.prices, &Hazards::prior().learned(&all), restores);
        Self(experts)
    }

    /// What the trace costs by its plans.
    pub fn cost_usd(&self, setup: &Setup<'_>, trace: &Trace) -> f64 {
        let mut course = Course::new(setup.tariff(), Cadence::Daily);
        for object in 0..trace.objects() {
            let mut state = ObjectState::default();
            course.advance(&mut state, trace.events_of(object), trace.days, |day, state, held| {
                if held.bytes < setup.guards.min_object_bytes {
                    return Answer::LEAVE;
                }
                let (class, bytes, class_since) = (held.class, held.bytes, Day::from(held.since));
                let view = View { class, bytes, class_since, evidence: &state.evidence };
                let choice = self.0.choose(Expert::Thrifty, &view, Day::from(day));
                choice.map_or(Answer::LEAVE, |choice| Answer {
                    to: Some(choice.target),
                    again: u16::try_from(choice.until).unwrap_or(u16::MAX),
                })
            });
            course.settle(&mut state, trace.days);
        }
        course.bill.total().total_usd()
    }
}
