//! Whom to follow: the expert that has been the cheapest on the bucket's own history, as far as savings cover its risk.
//!
//! Plans follow from what was learned, and what was learned may mislead: a bucket may change its ways. So no plan is trusted
//! because it looks good. Every expert is run on the bucket's own history, as if its decisions had been carried out, and its
//! costs are kept. Until one has proved cheaper, the one that can hardly be wrong is followed: the choice between STANDARD
//! and Intelligent-Tiering alone, where a read costs nothing whatever was learned.
//!
//! History tells little of what comes seldom and then to many objects at once: somebody reads a whole archive. So an expert that
//! uses classes where reads are paid ([`Expert::is_bold`]) is followed for a share of the objects alone. Of what one read of
//! everything that it has there would cost, a part must be covered: by what was saved so far against the cheaper of all in
//! STANDARD and all in Intelligent-Tiering, and by a fiftieth of that one's cost, with which it begins. That part is twice the
//! highest wave of reads that the bucket has seen above its usual ones.
//!
//! The highest wave of a bucket may be yet to come. Where objects come in clumps ([`super::arrivals`]), so do their reads, and
//! the next clump may be the first that is read all the time; so twice that is covered too. Where they come one by one, there is
//! no such risk.

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
/// expert has placed is read at once.
const ALLOWED: f64 = 0.02;

/// How many times the highest wave must be covered, and how much of what is at stake in any case.
const WAVES_COVERED: f64 = 2.0;
const LEAST_COVERED: f64 = 0.05;

/// The wave that is reckoned with before any is seen, and what of the highest one counts 30 days later.
const FIRST_WAVE: f64 = 0.1;
const WAVE_MEMORY: f64 = 0.97;

/// How often what came together may be read in a month, before anything is known of it: what is new every day, as it is bound to
/// the class that it was put in; what has been idle for four weeks less often.
const READS_OF_A_NEW_CLUMP: f64 = 30.0;
const READS_OF_AN_IDLE_CLUMP: f64 = 10.0;

/// In so many months a height of waves becomes the usual one.
const USUAL_AFTER_MONTHS: f64 = 4.0;

/// A wave counts as a share of what is at stake, or of so many months of all in STANDARD if that is more: what little a bold expert
/// tries first says nothing.
const LEAST_STAKE_MONTHS: f64 = 0.33;

/// For so long a patient expert leaves what is new or was just used where it is: where something is read again and again, it is
/// so within the first weeks of its life, and what was moved by then is bound to its class for a month or three.
const PATIENCE_DAYS: u32 = 28;

/// At most so many objects of a bucket are shadowed: enough to tell which expert is cheaper.
pub const SHADOWED: usize = 1000;

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
    /// The same, and nothing goes where reads are paid before it has been idle for four weeks. (State of old has another in its
    /// place, who took all reads for three times as likely; its costs are soon outweighed.)
    #[serde(alias = "wary")]
    Patient,
}

impl Expert {
    pub const ALL: [Expert; 5] = [Self::Standard, Self::Intelligent, Self::Careful, Self::Thrifty, Self::Patient];
    /// Whom to follow until another has proved cheaper.
    pub const FIRST: Expert = Self::Careful;

    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Intelligent => "intelligent-tiering",
            Self::Careful => "careful",
            Self::Thrifty => "thrifty",
            Self::Patient => "patient",
        }
    }

    /// The classes that its plans may use; none for an expert without plans.
    pub fn classes(self) -> &'static [StorageClass] {
        use StorageClass::{GlacierIr, IntelligentTiering, Standard, StandardIa};
        match self {
            Self::Standard | Self::Intelligent => &[],
            Self::Careful => &[Standard, IntelligentTiering],
            Self::Thrifty | Self::Patient => &[Standard, IntelligentTiering, StandardIa, GlacierIr],
        }
    }

    /// Whether it uses classes where reads are paid by the gigabyte.
    pub fn is_bold(self) -> bool {
        matches!(self, Self::Thrifty | Self::Patient)
    }

    /// The idle days before which its plans move nothing to where reads are paid.
    pub fn patience_days(self) -> u32 {
        if self == Self::Patient { PATIENCE_DAYS } else { 0 }
    }

    /// By whose plans it is judged what lies ahead of it: its own, or those that come closest.
    pub fn judge(self) -> Self {
        match self {
            Self::Standard | Self::Intelligent | Self::Careful => Self::Careful,
            Self::Thrifty | Self::Patient => self,
        }
    }

    /// How often in a month a clump may be read that this expert has put where reads are paid: see [`Period::clump`].
    fn reads_of_a_clump(self) -> f64 {
        if self == Self::Patient { READS_OF_AN_IDLE_CLUMP } else { READS_OF_A_NEW_CLUMP }
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
    /// What of [`Period::costs_usd`] is retrieval.
    pub retrieval_usd: PerExpert,
    /// How large a share of the bucket comes at a time: see [`super::arrivals`].
    pub clump: f64,
    /// What the period has cost with each object under the expert that was followed for it.
    pub followed_usd: f64,
}

/// The experts' costs so far, and who is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Safeguard {
    costs_usd: PerExpert,
    /// The one that is followed where no bold one is. (State of old may name any.)
    following: Expert,
    /// The bold expert that is followed, and for what share of the objects.
    #[serde(default)]
    bold: Option<(Expert, f64)>,
    #[serde(default)]
    days: f64,
    #[serde(default)]
    savings: Savings,
    /// Of [`Expert::Thrifty`].
    #[serde(default)]
    waves: Waves,
    #[serde(default)]
    patient_waves: Waves,
}

/// What was done against what could have been done without thought.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Savings {
    standard_usd: f64,
    intelligent_usd: f64,
    followed_usd: f64,
}

impl Savings {
    fn add(&mut self, period: &Period, memory: f64) {
        self.standard_usd = self.standard_usd * memory + period.costs_usd[Expert::Standard as usize];
        self.intelligent_usd = self.intelligent_usd * memory + period.costs_usd[Expert::Intelligent as usize];
        self.followed_usd = self.followed_usd * memory + period.followed_usd;
    }

    /// What may be lost.
    fn budget_usd(&self) -> f64 {
        self.standard_usd.min(self.intelligent_usd) * (1.0 + ALLOWED) - self.followed_usd
    }
}

/// How much is read within about a month, as a share of what a bold expert has where reads are paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Waves {
    now: f64,
    usual: f64,
    /// By how much one was above the usual.
    highest: f64,
    at_stake_usd: f64,
}

impl Default for Waves {
    fn default() -> Self {
        Self { now: 0.0, usual: 0.0, highest: FIRST_WAVE, at_stake_usd: 0.0 }
    }
}

impl Waves {
    fn add(&mut self, expert: Expert, period: &Period, months: f64) {
        let before = self.at_stake_usd;
        self.at_stake_usd = period.at_stake_usd[expert as usize];
        let monthly = period.costs_usd[Expert::Standard as usize] / months;
        let at_stake = before.max(self.at_stake_usd).max(LEAST_STAKE_MONTHS * monthly);
        let read = if at_stake > 0.0 { period.retrieval_usd[expert as usize] / at_stake } else { 0.0 };
        self.now = self.now * (-months).exp() + read;
        self.usual += (1.0 - (-months / USUAL_AFTER_MONTHS).exp()) * (self.now - self.usual);
        self.highest = (self.now - self.usual).max(self.highest * WAVE_MEMORY.powf(months));
    }

    /// What part of what is at stake must be covered.
    fn to_cover(&self) -> f64 {
        (WAVES_COVERED * self.highest).clamp(LEAST_COVERED, 1.0)
    }
}

impl Default for Safeguard {
    fn default() -> Self {
        Self {
            costs_usd: PerExpert::default(),
            following: Expert::FIRST,
            bold: None,
            days: 0.0,
            savings: Savings::default(),
            waves: Waves::default(),
            patient_waves: Waves::default(),
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
        if period.days == 0 {
            return;
        }
        let days = f64::from(period.days);
        let (months, before) = (days / 30.0, self.days);
        self.days += days;
        let memory = MEMORY.powf(months);
        let young = (before / self.days).powi(YOUNG_MEMORY);
        for (cost, new) in self.costs_usd.iter_mut().zip(&period.costs_usd) {
            *cost = *cost * memory.min(young) + new;
        }
        self.savings.add(period, memory);
        self.waves.add(Expert::Thrifty, period, months);
        self.patient_waves.add(Expert::Patient, period, months);
        self.choose(period);
    }

    fn choose(&mut self, period: &Period) {
        // Only differences of what is ahead mean anything.
        let base = period.ahead_usd.iter().copied().fold(f64::INFINITY, f64::min);
        let cost = |expert: Expert| self.costs_usd[expert as usize] + period.ahead_usd[expert as usize] - base;
        let safe = [Expert::Standard, Expert::Intelligent, Expert::Careful];
        let safe = safe.into_iter().min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(Expert::FIRST);
        let mut following = if self.following.is_bold() { Expert::FIRST } else { self.following };
        if cost(safe) < cost(following) * (1.0 - HYSTERESIS) {
            following = safe;
        }
        let margin = if self.bold.is_some() { 0.0 } else { HYSTERESIS };
        // The one that saves the most with the share that it may have: the cheapest may be the one that risks the most.
        let saves = |(expert, share): &(Expert, f64)| share * (cost(following) - cost(*expert));
        let bold = [Expert::Thrifty, Expert::Patient].into_iter();
        let pays = bold.filter(|expert| cost(*expert) < cost(following) * (1.0 - margin));
        let shares = pays.map(|expert| (expert, self.share(expert, period)));
        self.bold = shares.max_by(|a, b| saves(a).total_cmp(&saves(b)));
        self.following = following;
    }

    /// The share of the objects for which a bold expert may be followed.
    fn share(&self, expert: Expert, period: &Period) -> f64 {
        let waves = if expert == Expert::Patient { &self.patient_waves } else { &self.waves };
        let to_cover = waves.to_cover().max(WAVES_COVERED * expert.reads_of_a_clump() * period.clump);
        let (budget, needed) = (self.savings.budget_usd(), period.at_stake_usd[expert as usize] * to_cover);
        if budget >= needed { 1.0 } else { (budget / needed).max(0.0) }
    }
}

/// Evenly in 0 to 1, whatever the hashes are chosen by (the last step of splitmix64).
pub(super) fn fraction(hash: u64) -> f64 {
    let mut mixed = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(days: u16, costs_usd: PerExpert, ahead_usd: PerExpert) -> Period {
        Period { days, costs_usd, ahead_usd, followed_usd: costs_usd[2], ..Period::default() }
    }

    fn of_bold(usd: f64) -> PerExpert {
        Expert::ALL.map(|expert| if expert.is_bold() { usd } else { 0.0 })
    }

    #[test]
    fn a_bold_expert_is_followed_once_it_was_clearly_cheaper_and_no_longer_when_it_is_not() {
        let mut safeguard = Safeguard::default();
        safeguard.learn(&period(30, [2.0, 1.0, 1.0, 0.99, 1.5], [0.0; 5]));
        assert_eq!(safeguard.following(1), Expert::Careful, "a hundredth cheaper is nothing to move for");
        safeguard.learn(&period(30, [2.0, 1.0, 1.0, 0.7, 1.5], [0.0; 5]));
        assert_eq!((safeguard.following(1), safeguard.bold_share()), (Expert::Thrifty, 1.0), "nothing is at stake");
        for _ in 0..20 {
            safeguard.learn(&period(30, [0.5, 1.0, 1.0, 1.0, 1.0], [0.0; 5]));
        }
        assert_eq!(safeguard.following(1), Expert::Standard, "what was once cheap is not so for ever");
    }

    #[test]
    fn what_an_expert_has_paid_for_the_time_to_come_is_not_held_against_it() {
        let mut safeguard = Safeguard::default();
        let ahead = [100.5, 100.5, 100.5, 100.0, 100.4];
        safeguard.learn(&period(30, [1.0, 1.0, 1.0, 1.2, 1.2], ahead));
        assert_eq!(safeguard.following(1), Expert::Thrifty);
    }

    #[test]
    fn the_share_grows_with_the_savings_and_falls_to_nothing_when_they_are_lost() {
        let mut safeguard = Safeguard::default();
        let mut shares = Vec::new();
        for _ in 0..12 {
            let followed_usd = 1.0 - 0.4 * safeguard.bold_share();
            let at_stake_usd = [0.0, 0.0, 0.0, 4.0, 4.0];
            let quiet = period(30, [2.0, 1.0, 1.0, 0.6, 0.9], [0.0; 5]);
            safeguard.learn(&Period { at_stake_usd, followed_usd, ..quiet });
            shares.push(safeguard.bold_share());
        }
        assert!(shares[0] > 0.0 && shares[0] < 0.1, "{shares:?}");
        assert!(shares.windows(2).all(|pair| pair[0] <= pair[1]) && shares[11] == 1.0, "{shares:?}");
        assert!((0..1000).all(|hash| safeguard.following(hash) == Expert::Thrifty));
        // Everything is read at once, which costs more than was ever saved.
        let wave = period(30, [2.0, 1.0, 1.0, 4.6, 1.0], [0.0; 5]);
        safeguard.learn(&Period { retrieval_usd: of_bold(4.0), followed_usd: 4.6, ..wave });
        assert_eq!(safeguard.bold_share(), 0.0);
    }

    #[test]
    fn a_share_is_that_of_the_objects_whatever_their_hashes_are_taken_from() {
        let safeguard = Safeguard { bold: Some((Expert::Patient, 0.3)), ..Safeguard::default() };
        for spread in [0, 40] {
            let bold = (0..10_000_u64).filter(|i| safeguard.following(i << spread) == Expert::Patient).count();
            assert!((2800..3200).contains(&bold), "{bold}");
        }
    }

    #[test]
    fn after_a_wave_more_must_be_covered_and_what_is_usual_is_no_wave() {
        let to_cover = |retrieval_usd: &dyn Fn(usize) -> f64| {
            let mut waves = Waves::default();
            for month in 0..24 {
                let at_stake_usd = [0.0, 0.0, 0.0, 4.0, 4.0];
                let quiet = period(30, [1.0; 5], [0.0; 5]);
                let retrieval_usd = of_bold(retrieval_usd(month));
                waves.add(Expert::Thrifty, &Period { at_stake_usd, retrieval_usd, ..quiet }, 1.0);
            }
            waves.to_cover()
        };
        assert!(to_cover(&|_| 0.0) < 0.1);
        let wave = to_cover(&|month| if month == 20 { 2.0 } else { 0.0 });
        let usual = to_cover(&|_| 2.0 / 24.0);
        assert!(wave > 0.5 && usual < 0.15, "{wave} {usual}");
    }

    #[test]
    fn where_objects_come_in_clumps_the_patient_is_followed_for_more_of_them_than_who_saves_more() {
        let learn = |clump: f64| {
            let mut safeguard = Safeguard::default();
            for _ in 0..2 {
                let at_stake_usd = [0.0, 0.0, 0.0, 3.0, 2.0];
                safeguard.learn(&Period { at_stake_usd, clump, ..period(30, [2.0, 1.0, 1.0, 0.6, 0.8], [0.0; 5]) });
            }
            safeguard.bold.unwrap()
        };
        let (even, clumped) = (learn(0.0), learn(0.05));
        assert_eq!(even.0, Expert::Thrifty);
        assert_eq!(clumped.0, Expert::Patient);
        assert!(even.1 > 2.0 * clumped.1 && clumped.1 > 0.0, "{even:?} {clumped:?}");
    }

    /// As long as what is lost in a period is what was at stake.
    #[test]
    fn a_read_of_everything_costs_at_most_three_hundredths_beyond_what_was_saved() {
        for quiet_months in [1, 3, 6, 12, 24] {
            let mut safeguard = Safeguard::default();
            let (mut followed, mut baseline) = (0.0, 0.0);
            for month in 0..quiet_months + 25 {
                let share = safeguard.bold_share();
                let read = if month >= quiet_months && (month - quiet_months) % 12 == 0 { 0.5 } else { 0.0 };
                let thrifty = 0.6 + read;
                let followed_usd = share * thrifty + (1.0 - share);
                (followed, baseline) = (followed + followed_usd, baseline + 1.0);
                safeguard.learn(&Period {
                    at_stake_usd: [0.0, 0.0, 0.0, 0.5, 0.5],
                    retrieval_usd: of_bold(read),
                    followed_usd,
                    ..period(30, [2.0, 1.0, 1.0, thrifty, 1.0], [0.0; 5])
                });
                assert!(followed <= baseline * 1.03, "{followed} of {baseline} in month {month} after {quiet_months}");
            }
        }
    }

    #[test]
    fn doubled_prices_change_nobody() {
        let (mut once, mut twice) = (Safeguard::default(), Safeguard::default());
        for month in 0..24_u32 {
            let thrifty = if month % 7 == 6 { 2.5 } else { 0.7 };
            let share = once.bold_share();
            let period = |factor: f64| Period {
                days: 30,
                clump: 0.01,
                costs_usd: [2.0, 1.0, 1.01, thrifty, 0.95].map(|usd| usd * factor),
                ahead_usd: [3.0, 3.0, 3.0, 2.9, 3.1].map(|usd| usd * factor),
                at_stake_usd: [0.0, 0.0, 0.0, 3.0, 0.5].map(|usd| usd * factor),
                retrieval_usd: of_bold((thrifty - 0.7) * factor),
                followed_usd: (share * thrifty + 1.0 - share) * factor,
            };
            once.learn(&period(1.0));
            twice.learn(&period(2.0));
            assert_eq!((once.following, once.bold), (twice.following, twice.bold));
        }
    }

    #[test]
    fn the_state_of_old_is_read() {
        let old = r#"{"costs_usd":[1.0,2.0,3.0,4.0,5.0],"following":"thrifty"}"#;
        let mut safeguard: Safeguard = serde_json::from_str(old).unwrap();
        assert_eq!(safeguard.following(7), Expert::Thrifty);
        assert_eq!(serde_json::from_str::<Expert>(r#""wary""#).unwrap(), Expert::Patient, "who had its place before");
        safeguard.learn(&period(30, [2.0, 1.0, 1.0, 1.0, 1.0], [0.0; 5]));
        assert!(!safeguard.following.is_bold());
        let text = serde_json::to_string(&safeguard).unwrap();
        assert_eq!(serde_json::from_str::<Safeguard>(&text).unwrap(), safeguard);
    }
}
