//! Whom to follow: the expert that has been the cheapest on the bucket's own history, as far as savings cover its risk.
//!
//! Plans follow from what was learned, and what was learned may mislead: a bucket may change its ways. So no plan is trusted
//! because it looks good. Every expert is run on the bucket's own history, as if its decisions had been carried out, and its
//! costs are kept. Until one has proved cheaper, the one that can hardly be wrong is followed: the choice between STANDARD
//! and Intelligent-Tiering alone, where a read costs nothing whatever was learned.
//!
//! History tells little of what comes seldom and then to all objects at once: somebody reads a whole archive. So an expert that
//! uses classes where reads are paid ([`Expert::is_bold`]) is followed for a share of the objects alone, so large that
//! one read of everything that it has there costs no more than what was saved so far against the cheaper of all in STANDARD
//! and all in Intelligent-Tiering, and a small share of that cost on top ([`ALLOWED`]), with which it begins.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tiering::storage_class::StorageClass;

/// How much cheaper another expert must have been before it is followed, as a share of the costs that count.
const HYSTERESIS: f64 = 0.02;

/// What of the past counts 30 days later.
const MEMORY: f64 = 0.97;

/// In a young bucket the past counts less: with the second power of the bucket's age, because nothing was known then.
const YOUNG_MEMORY: i32 = 2;

/// How much dearer than the cheaper of STANDARD and Intelligent-Tiering the objects may become, as a share, when what a bold
/// expert has placed is read all at once.
pub const ALLOWED: f64 = 0.02;

/// What share of that worst case must be covered.
pub const COVERED: f64 = 1.0;

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

    /// Whether it uses classes where reads are paid by the gigabyte.
    pub fn is_bold(self) -> bool {
        matches!(self, Self::Thrifty | Self::Wary)
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

/// What a period has cost under every expert, and what it leaves behind; all in US dollars, for the same objects.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Period {
    pub days: u16,
    pub costs_usd: PerExpert,
    /// What lies ahead of each from where it has brought the objects: an expert that has paid for moves shall not look dear for
    /// it.
    pub ahead_usd: PerExpert,
    /// What one read of everything would cost each at the period's end, beyond what it costs in STANDARD.
    pub at_stake_usd: PerExpert,
    /// What of [`Period::costs_usd`] of [`Expert::JUDGE`] is retrieval.
    pub retrieval_usd: f64,
    /// What the period has cost with each object under the expert that was followed for it.
    pub followed_usd: f64,
}

/// The experts' costs so far, and who is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Safeguard {
    costs_usd: PerExpert,
    following: Expert,
    /// The bold expert that is followed for a share of the objects.
    #[serde(default)]
    bold: Option<(Expert, f64)>,
    #[serde(default)]
    days: f64,
    /// What all in STANDARD and all in Intelligent-Tiering would have cost.
    #[serde(default)]
    baselines_usd: [f64; 2],
    #[serde(default)]
    followed_usd: f64,
    /// What is read within about a month, as a share of what [`Expert::JUDGE`] has where reads are paid: now, and at most.
    #[serde(default)]
    wave: f64,
    #[serde(default = "first_wave")]
    highest_wave: f64,
    #[serde(default)]
    at_stake_usd: f64,
}

impl Default for Safeguard {
    fn default() -> Self {
        Self {
            costs_usd: PerExpert::default(),
            following: Expert::FIRST,
            bold: None,
            days: 0.0,
            baselines_usd: [0.0; 2],
            followed_usd: 0.0,
            wave: 0.0,
            highest_wave: FIRST_WAVE,
            at_stake_usd: 0.0,
        }
    }
}

impl Safeguard {
    /// Whom to follow for an object. `hash` is any number that is its own and stays.
    pub fn following(&self, hash: u64) -> Expert {
        match self.bold {
            Some((bold, share)) if fraction(hash) < share => bold,
            _ => self.following,
        }
    }

    /// For what share of the objects a bold expert is followed.
    pub fn bold_share(&self) -> f64 {
        self.bold.map_or(0.0, |(_, share)| share)
    }

    pub fn learn(&mut self, period: &Period) {
        let months = f64::from(period.days) / 30.0;
        let memory = MEMORY.powf(months);
        let young = (self.days / (self.days + f64::from(period.days)).max(1.0)).powi(YOUNG_MEMORY);
        self.days += f64::from(period.days);
        for (cost, new) in self.costs_usd.iter_mut().zip(&period.costs_usd) {
            *cost = *cost * memory.min(young) + new;
        }
        for (cost, expert) in self.baselines_usd.iter_mut().zip([Expert::Standard, Expert::Intelligent]) {
            *cost = *cost * memory + period.costs_usd[expert as usize];
        }
        self.followed_usd = self.followed_usd * memory + period.followed_usd;
        self.watch(period, months);
        self.choose(period);
    }

    fn watch(&mut self, period: &Period, months: f64) {
        let at_stake_usd = period.at_stake_usd[Expert::JUDGE as usize];
        let floor = envf("FLOOR", 0.33) * period.costs_usd[Expert::Standard as usize] / months.max(1e-9);
        let most = self.at_stake_usd.max(at_stake_usd).max(floor);
        self.at_stake_usd = at_stake_usd;
        let read = if most > 0.0 { period.retrieval_usd / most } else { 0.0 };
        self.wave = self.wave * (-months).exp() + read;
        self.highest_wave = self.wave.max(self.highest_wave * envf("WMEM", 0.95).powf(months));
    }

    fn choose(&mut self, period: &Period) {
        // Only differences of what is ahead mean anything.
        let base = period.ahead_usd.iter().copied().fold(f64::INFINITY, f64::min);
        let cost = |expert: Expert| self.costs_usd[expert as usize] + period.ahead_usd[expert as usize] - base;
        let cheapest = |bold: bool| {
            let of_kind = Expert::ALL.into_iter().filter(|expert| expert.is_bold() == bold);
            of_kind.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(Expert::FIRST)
        };
        let (safe, bold) = (cheapest(false), cheapest(true));
        let mut following = if self.following.is_bold() { Expert::FIRST } else { self.following };
        if cost(safe) < cost(following) * (1.0 - HYSTERESIS) {
            following = safe;
        }
        let margin = if self.bold.is_some() { 0.0 } else { HYSTERESIS };
        self.bold = (cost(bold) < cost(following) * (1.0 - margin)).then(|| (bold, self.share(period.at_stake_usd[bold as usize])));
        self.following = following;
    }

    /// The share of the objects for which so much may be at stake.
    fn share(&self, at_stake_usd: f64) -> f64 {
        let [standard, intelligent] = self.baselines_usd;
        let budget = standard.min(intelligent) * (1.0 + envf("ALLOWED", ALLOWED)) - self.followed_usd;
        let needed = at_stake_usd * (envf("LAMBDA", 2.0) * self.highest_wave).clamp(envf("COVERED", 0.05), 1.0);
        if budget >= needed { 1.0 } else { (budget / needed).max(0.0) }
    }
}

fn envf(n: &str, d: f64) -> f64 { std::env::var(n).ok().and_then(|v| v.parse().ok()).unwrap_or(d) }
const FIRST_WAVE: f64 = 0.1;
fn first_wave() -> f64 { FIRST_WAVE }
/// Evenly in 0 to 1, whatever the hashes are chosen by (the last step of splitmix64).
fn fraction(hash: u64) -> f64 {
    let mut mixed = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
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
