//! What one expert has learned at a time: the plans for objects of every size, each made when it is first asked for.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::hazard::Hazards;
use super::place::Place;
use super::solve::{Kind, Least, Plan, Rules};
use super::stays::Stays;
use crate::tiering::cost::Prices;
use crate::tiering::evidence::{Day, IDLE_FROM, ObjectEvidence, days_between, idle_bin};
use crate::tiering::storage_class::StorageClass;

/// Sizes by powers of two: from 16 KiB, below which nothing is worth a move, to 32 MiB, above which requests cost nothing beside the
/// gigabytes.
const LOG_SIZES: std::ops::RangeInclusive<u32> = 14..=25;
/// Bytes read on an access-day as a share of the object, by powers of four.
const LOG_VOLUMES: std::ops::RangeInclusive<i32> = -2..=3;

/// An object as a decision looks at it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub class: StorageClass,
    pub bytes: u64,
    /// When it came into its class.
    pub class_since: Day,
    pub evidence: &'a ObjectEvidence,
}

/// A class, and until when asking again gives the same answer if nothing happens to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    pub target: StorageClass,
    pub until: Day,
}

/// Why an object should be where it should be; [`fmt::Display`] says it in a sentence. The costs are those of all the time to
/// come, a later dollar being worth a little less, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Explanation {
    pub from: StorageClass,
    pub target: StorageClass,
    pub idle_days: u32,
    /// The chance that it is read in the next 30 days.
    pub chance_of_read: f64,
    /// If it stays today.
    pub staying_usd: f64,
    /// If it goes where that is best today, the move included.
    pub moving_usd: f64,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, target, idle_days, chance_of_read, staying_usd, moving_usd } = self;
        write!(
            f,
            "idle for {idle_days} day{}, it is read in the next 30 with a chance of {:.0} %: ",
            if *idle_days == 1 { "" } else { "s" },
            100.0 * chance_of_read
        )?;
        if from == target {
            write!(f, "staying in {from} costs {staying_usd:.6} dollars in the long run, and no move costs less")
        } else {
            write!(
                f,
                "staying in {from} costs {staying_usd:.6} dollars in the long run, moving to {target} {moving_usd:.6}"
            )
        }
    }
}

/// Hazards and the plans that follow from them.
#[derive(Debug)]
pub struct Learned {
    prices: Prices,
    stays: Arc<Stays>,
    rules: Rules,
    plans: Vec<OnceLock<Plan>>,
    before: Vec<Option<Least>>,
}

impl Learned {
    /// `before` is what the expert knew until now; its plans are where the new ones begin.
    pub fn new(prices: &Prices, stays: Arc<Stays>, rules: Rules, before: Option<Self>) -> Self {
        let count = LOG_SIZES.count() * LOG_VOLUMES.count();
        let none = || (0..count).map(|_| None).collect();
        let before = before.map_or_else(none, |before| {
            let Self { plans, before, .. } = before;
            let least = |plan: OnceLock<Plan>| plan.into_inner().map(Plan::into_least);
            plans.into_iter().zip(before).map(|(plan, older)| least(plan).or(older)).collect()
        });
        let plans = (0..count).map(|_| OnceLock::new()).collect();
        Self { prices: prices.clone(), stays, rules, plans, before }
    }

    pub fn hazards(&self) -> &Hazards {
        self.stays.hazards()
    }

    /// The class that the object should be in on `today`.
    pub fn choose(&self, object: &View<'_>, today: Day) -> Choice {
        let evidence = object.evidence;
        let stay = |until| Choice { target: object.class, until };
        let Some(idle_days) = evidence.idle_days(today) else { return stay(Day::MAX) };
        let since_class = days_between(object.class_since, today);
        let place = Place::of(object.class, since_class, idle_days, idle_days.min(since_class));
        let Some(place) = place else { return stay(Day::MAX) };
        let bin = idle_bin(idle_days);
        let plan = self.plan(object);
        let target = plan.best(place, bin, evidence.heat_class());
        let next_bin = IDLE_FROM.get(bin + 1).map_or(Day::MAX, |from| today + i32::from(*from) - idle_days as i32);
        let milestones = [30, 90, 180].map(|days| object.class_since.saturating_add(days));
        let next_place = milestones.into_iter().filter(|day| *day > today).min().unwrap_or(Day::MAX);
        Choice { target, until: next_bin.min(next_place) }
    }

    /// The choice with its figures. None where there is nothing to go by.
    pub fn explain(&self, object: &View<'_>, today: Day) -> Option<Explanation> {
        let idle_days = object.evidence.idle_days(today)?.max(1);
        let since_class = days_between(object.class_since, today);
        let place = Place::of(object.class, since_class, idle_days, idle_days.min(since_class))?;
        let (bin, class) = (idle_bin(idle_days), object.evidence.heat_class());
        let plan = self.plan(object);
        let scale = object.bytes as f64 / plan.bytes() as f64;
        Some(Explanation {
            from: object.class,
            target: plan.best(place, bin, class),
            idle_days,
            chance_of_read: self.hazards().chance_of_read(class, idle_days, 30),
            staying_usd: scale * plan.staying_usd(place, bin, class),
            moving_usd: scale * plan.least_usd(place, bin, class),
        })
    }

    /// What all the time to come costs for the object, a later dollar being worth less. Scaled to its size from that which its
    /// plan is made for. None if no plan can tell.
    pub fn future_usd(&self, object: &View<'_>, today: Day) -> Option<f64> {
        let idle_days = object.evidence.idle_days(today)?.max(1);
        let since_class = days_between(object.class_since, today);
        let place = Place::of(object.class, since_class, idle_days, idle_days.min(since_class))?;
        let plan = self.plan(object);
        let scale = object.bytes as f64 / plan.bytes() as f64;
        Some(scale * plan.least_usd(place, idle_bin(idle_days), object.evidence.heat_class()))
    }

    /// The plan for objects like this one.
    pub fn plan(&self, object: &View<'_>) -> &Plan {
        let bytes = object.bytes.max(1);
        let log_size = bytes.ilog2().clamp(*LOG_SIZES.start(), *LOG_SIZES.end());
        let share = match object.evidence.bytes_per_day() {
            read if read > 0.0 => read / bytes as f64,
            _ => 1.0,
        };
        let log_volume = ((share.log2() / 2.0).round() as i32).clamp(*LOG_VOLUMES.start(), *LOG_VOLUMES.end());
        let size = (log_size - LOG_SIZES.start()) as usize;
        let volume = (log_volume - LOG_VOLUMES.start()) as usize;
        let place = size * LOG_VOLUMES.count() + volume;
        self.plans[place].get_or_init(|| {
            let bytes = (f64::from(log_size) + 0.5).exp2();
            let share = f64::from(2 * log_volume).exp2();
            let kind = Kind { bytes: bytes as u64, bytes_read: (bytes * share) as u64, reads: share.ceil() as u64 };
            Plan::solve(&self.prices, &self.stays, kind, &self.rules, self.before[place].as_ref())
        })
    }
}
