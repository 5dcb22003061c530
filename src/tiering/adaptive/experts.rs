//! All experts with what they have learned, and what each would do with an object: the one place where the simulator and
//! the daemon ask.

use std::sync::Arc;

use super::hazard::Hazards;
use super::learned::{Choice, Explanation, Learned, View};
use super::safeguard::Expert;
use super::solve::Rules;
use super::stays::Stays;
use crate::tiering::cost::{Prices, RestoreSpeed};
use crate::tiering::evidence::Day;
use crate::tiering::storage_class::StorageClass;

/// How archived objects are restored, for the price of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restores {
    pub speed: RestoreSpeed,
    /// For how many days the temporary copy is kept.
    pub days: u32,
    /// The class that they are copied back to.
    pub class: StorageClass,
}

/// What every expert goes by, in their order; nothing for one without plans.
#[derive(Debug, Default)]
pub struct Experts([Option<Learned>; Expert::ALL.len()]);

/// Why an expert answers what it answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// The minimum duration of its class runs for so many days more.
    Serving { days: u32 },
    /// It does not move what is in such a class: archives, and classes that S3 hardly sells any more.
    NotReckoned,
    /// It puts all objects into one class.
    All,
    /// By its plan.
    Plan(Explanation),
}

impl Experts {
    /// Learns anew. What was learned before is where new plans begin.
    pub fn learn(&mut self, prices: &Prices, hazards: &Hazards, restores: Restores) {
        let stays = Arc::new(Stays::new(hazards.clone()));
        for (expert, learned) in Expert::ALL.into_iter().zip(&mut self.0) {
            if expert.classes().is_empty() {
                continue;
            }
            let rules = Rules {
                classes: expert.classes().to_vec(),
                patience_days: expert.patience_days(),
                restore: restores.speed,
                restore_days: restores.days,
                restored: restores.class,
            };
            *learned = Some(Learned::new(prices, stays.clone(), rules, learned.take()));
        }
    }

    /// Where `expert` wants the object on `today`. None where it has nothing to go by.
    pub fn choose(&self, expert: Expert, object: &View<'_>, today: Day) -> Option<Choice> {
        if let Some(until) = serving_until(object, today) {
            return Some(Choice { target: object.class, until });
        }
        match ask(expert, object) {
            Ask::Nobody => Some(Choice { target: object.class, until: Day::MAX }),
            Ask::All(target) => Some(Choice { target, until: Day::MAX }),
            Ask::PlanOf(expert) => Some(self.0[expert as usize].as_ref()?.choose(object, today)),
        }
    }

    /// Why it wants it there. None where it has nothing to go by.
    pub fn why(&self, expert: Expert, object: &View<'_>, today: Day) -> Option<Why> {
        if let Some(until) = serving_until(object, today) {
            return Some(Why::Serving { days: u32::try_from(until - today).unwrap_or(0) });
        }
        match ask(expert, object) {
            Ask::Nobody => Some(Why::NotReckoned),
            Ask::All(_) => Some(Why::All),
            Ask::PlanOf(expert) => Some(Why::Plan(self.0[expert as usize].as_ref()?.explain(object, today)?)),
        }
    }

    /// What all the time to come costs for the object where `expert` has it, as [`Expert::judge`] sees it; 0 where that cannot
    /// tell. Were all judged by the same plans, whoever has saved least would look best: what was paid for would be its own, and
    /// what is saved from now on everybody's.
    pub fn future_usd(&self, expert: Expert, object: &View<'_>, today: Day) -> f64 {
        let judge = self.0[expert.judge() as usize].as_ref();
        judge.and_then(|judge| judge.future_usd(object, today)).unwrap_or(0.0)
    }
}

/// Who answers for an expert.
enum Ask {
    Nobody,
    All(StorageClass),
    PlanOf(Expert),
}

fn ask(expert: Expert, object: &View<'_>) -> Ask {
    let reckoned = Expert::Thrifty.classes().contains(&object.class);
    // What an earlier expert moved to where reads are paid comes out when that pays, not all at once: each copy is a read.
    let paid_by_the_gigabyte = matches!(object.class, StorageClass::StandardIa | StorageClass::GlacierIr);
    match expert {
        _ if !reckoned => Ask::Nobody,
        Expert::Standard if !paid_by_the_gigabyte => Ask::All(StorageClass::Standard),
        Expert::Intelligent if !paid_by_the_gigabyte => Ask::All(StorageClass::IntelligentTiering),
        Expert::Standard | Expert::Intelligent => Ask::PlanOf(Expert::Careful),
        Expert::Careful | Expert::Thrifty | Expert::Patient => Ask::PlanOf(expert),
    }
}

/// The end of its class's minimum duration, if that is yet to come: before, nothing is asked.
fn serving_until(object: &View<'_>, today: Day) -> Option<Day> {
    let until = object.class_since.saturating_add_unsigned(object.class.minimum_days());
    (today < until).then_some(until)
}
