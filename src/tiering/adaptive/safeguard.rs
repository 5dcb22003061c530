//! Whom to follow: the expert that has been the cheapest on the bucket's own history.
//!
//! Plans follow from what was learned, and what was learned may mislead: a bucket may change its ways. So no plan is trusted
//! because it looks good. Every expert is run on the bucket's own history, as if its decisions had been carried out, and its
//! costs are kept. Until one has proved cheaper, the one that can hardly be wrong is followed: the choice between STANDARD
//! and Intelligent-Tiering alone, where a read costs nothing whatever was learned.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tiering::storage_class::StorageClass;

/// How much cheaper another expert must have been before it is followed, as a share of the costs that count.
const HYSTERESIS: f64 = 0.02;

/// What of the past counts 30 days later.
const MEMORY: f64 = 0.97;

/// At most so many objects of a bucket are shadowed: enough to tell which expert is cheaper.
pub const SHADOWED: usize = 1000;

/// Buckets of fewer objects have no plans of their own: they go by what all buckets together have taught.
pub const OWN_PLANS_FROM: usize = 500;

/// A way to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expert {
    /// All in STANDARD.
    Standard,
    /// All in Intelligent-Tiering.
    Intelligent,
    /// By plans, between STANDARD and Intelligent-Tiering.
    Careful,
    /// By plans, among all classes that are read at once.
    Thrifty,
    /// The same, where every read is taken as three times as likely as it was learned.
    Wary,
}

impl Expert {
    pub const ALL: [Expert; 5] = [Self::Standard, Self::Intelligent, Self::Careful, Self::Thrifty, Self::Wary];
    /// Whom to follow until another has proved cheaper.
    pub const FIRST: Expert = Self::Careful;
    /// By whose plans it is judged what lies ahead.
    pub const JUDGE: Expert = Self::Thrifty;

    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Intelligent => "intelligent-tiering",
            Self::Careful => "careful",
            Self::Thrifty => "thrifty",
            Self::Wary => "wary",
        }
    }

    /// The classes that its plans may use; none for an expert without plans.
    pub fn classes(self) -> &'static [StorageClass] {
        use StorageClass::{GlacierIr, IntelligentTiering, Standard, StandardIa};
        match self {
            Self::Standard | Self::Intelligent => &[],
            Self::Careful => &[Standard, IntelligentTiering],
            Self::Thrifty | Self::Wary => &[Standard, IntelligentTiering, StandardIa, GlacierIr],
        }
    }

    /// How many times as likely as learned it takes reads to be.
    pub fn caution(self) -> f64 {
        if self == Self::Wary { 3.0 } else { 1.0 }
    }
}

impl fmt::Display for Expert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One figure an expert, in the order of [`Expert::ALL`].
pub type PerExpert = [f64; Expert::ALL.len()];

/// The experts' costs so far, and the one that is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Safeguard {
    costs_usd: PerExpert,
    following: Expert,
}

impl Default for Safeguard {
    fn default() -> Self {
        Self { costs_usd: PerExpert::default(), following: Expert::FIRST }
    }
}

impl Safeguard {
    pub fn following(&self) -> Expert {
        self.following
    }

    /// Takes what a period of so many days has cost under each expert, and what is ahead of each from where it has brought
    /// the objects: an expert that has paid for moves shall not look dear for it.
    pub fn learn(&mut self, period_days: u16, period_usd: &PerExpert, ahead_usd: &PerExpert) {
        let memory = MEMORY.powf(f64::from(period_days) / 30.0);
        for (cost, period) in self.costs_usd.iter_mut().zip(period_usd) {
            *cost = *cost * memory + period;
        }
        // Only differences of what is ahead mean anything.
        let base = ahead_usd.iter().copied().fold(f64::INFINITY, f64::min);
        let cost = |expert: Expert| self.costs_usd[expert as usize] + ahead_usd[expert as usize] - base;
        let best = Expert::ALL.into_iter().min_by(|a, b| cost(*a).total_cmp(&cost(*b)));
        if let Some(best) = best
            && cost(best) < cost(self.following) * (1.0 - HYSTERESIS)
        {
            self.following = best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expert_is_followed_once_it_was_clearly_cheaper() {
        let mut safeguard = Safeguard::default();
        safeguard.learn(30, &[2.0, 1.0, 1.0, 0.99, 1.5], &[0.0; 5]);
        assert_eq!(safeguard.following(), Expert::Careful, "a hundredth cheaper is nothing to move for");
        safeguard.learn(30, &[2.0, 1.0, 1.0, 0.7, 1.5], &[0.0; 5]);
        assert_eq!(safeguard.following(), Expert::Thrifty);
        for _ in 0..20 {
            safeguard.learn(30, &[0.5, 1.0, 1.0, 1.0, 1.0], &[0.0; 5]);
        }
        assert_eq!(safeguard.following(), Expert::Standard, "what was once cheap is not so for ever");
    }

    #[test]
    fn what_an_expert_has_paid_for_the_time_to_come_is_not_held_against_it() {
        let mut safeguard = Safeguard::default();
        safeguard.learn(30, &[1.0, 1.0, 1.0, 1.2, 1.2], &[100.5, 100.5, 100.5, 100.0, 100.4]);
        assert_eq!(safeguard.following(), Expert::Thrifty);
    }
}
