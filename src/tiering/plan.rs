//! A plan: the moves of a run, as a file that people can read and `apply` can execute, with a summary and caps.
//!
//! The file is JSON lines, a move a line and nothing else: each line is a [`PlanLine`], which says by itself what it is. So a
//! file may be sifted, sorted, cut and put together with the tools that one has, and what comes of it is a plan again. A
//! move names what it was decided for (ETag, class, size, uses): whoever executes it first checks that it still holds. Fields
//! that a reader does not know are ignored, so that later versions may add some; a change of meaning takes a new version
//! number, which older readers refuse.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Lines};
use std::ops::AddAssign;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::cost::months_to_break_even;
use super::object::{BucketName, ETag, ObjectId, ObjectKey};
use super::policy::PolicyName;
use super::policy::guard::Proposal;
use super::policy::objection::SkipReason;
use super::storage_class::{Move, StorageClass};

/// The version of the format that is written, and the only one that is read.
pub const PLAN_VERSION: u32 = 1;

/// One line of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlanLine<'a> {
    /// The format's version; by its name the line is known for what it is.
    pub tierd_plan: u32,
    /// When the move was decided.
    pub planned_at: DateTime<Utc>,
    #[serde(flatten)]
    pub planned: &'a PlannedMove,
}

impl<'a> PlanLine<'a> {
    /// The line of a move that was decided at `planned_at`.
    pub fn new(planned: &'a PlannedMove, planned_at: DateTime<Utc>) -> Self {
        Self { tierd_plan: PLAN_VERSION, planned_at, planned }
    }
}

/// One object's move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedMove {
    pub bucket: BucketName,
    pub key: ObjectKey,
    /// The object's ETag when the move was decided, without quotes.
    pub etag: ETag,
    /// Bytes.
    pub size: u64,
    pub from: StorageClass,
    pub to: StorageClass,
    pub policy: PolicyName,
    /// The policy's reason, as a sentence.
    pub reason: String,
    /// What the move costs once, in US dollars.
    pub cost_usd: f64,
    /// What storage costs less each month; negative where it costs more.
    pub monthly_saving_usd: f64,
    /// null: never, by storage alone.
    pub months_to_break_even: Option<f64>,
    /// Uses that were counted when the move was decided.
    pub uses: u64,
    /// The last of them; where there is none, when the object was written. null: not known.
    #[serde(default)]
    pub last_use: Option<DateTime<Utc>>,
    /// The days back from then whose logs the decision rests on.
    pub rests_on_days: u32,
    /// What the policy expects the move to save in the long run, all costs and reads counted: what a move into
    /// Intelligent-Tiering is made for, which saves nothing in its first month. null of a policy that does not say.
    #[serde(default)]
    pub expected_saving_usd: Option<f64>,
}

impl PlannedMove {
    pub fn id(&self) -> ObjectId {
        ObjectId::new(self.bucket.clone(), self.key.clone())
    }

    /// How the object gets there: by a copy, or by a restore first.
    pub fn how(&self) -> Move {
        self.from.move_to(self.to)
    }
}

impl From<Proposal> for PlannedMove {
    fn from(proposal: Proposal) -> Self {
        Self {
            bucket: proposal.id.bucket,
            key: proposal.id.key,
            etag: proposal.etag,
            size: proposal.bytes,
            from: proposal.from,
            to: proposal.decision.target,
            policy: proposal.decision.policy,
            reason: proposal.decision.reason.to_string(),
            expected_saving_usd: proposal.decision.reason.expected_saving_usd(),
            cost_usd: proposal.cost.one_off_usd(),
            monthly_saving_usd: proposal.cost.monthly_saving_usd,
            months_to_break_even: proposal.cost.months_to_break_even(),
            uses: proposal.uses,
            last_use: proposal.last_use,
            rests_on_days: proposal.decision.rests_on_days,
        }
    }
}

/// Why a plan cannot be read. Lines count from 1.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    #[error("line {line} cannot be read")]
    Read {
        line: u64,
        #[source]
        source: io::Error,
    },
    #[error(
        "line {line} has format version {version}, and this tierd reads version {PLAN_VERSION}; make the plan anew"
    )]
    Version { line: u64, version: u64 },
    #[error("line {line} is no move: {problem}")]
    NoMove { line: u64, problem: String },
    #[error("line {line}: there is no move from {from} to {to}")]
    ImpossibleMove { line: u64, from: StorageClass, to: StorageClass },
    #[error("line {line}: a move costs 0 dollars or more, not {cost_usd}")]
    NegativeCost { line: u64, cost_usd: f64 },
}

/// Reads a plan, one move after another. Empty lines are passed over; a plan without any move is one too.
#[derive(Debug)]
pub struct PlanReader<R> {
    lines: Lines<R>,
    line: u64,
}

impl<R: BufRead> PlanReader<R> {
    pub fn new(reader: R) -> Self {
        Self { lines: reader.lines(), line: 0 }
    }
}

impl<R: BufRead> Iterator for PlanReader<R> {
    type Item = Result<PlannedMove, PlanError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let text = self.lines.next()?;
            self.line += 1;
            let line = self.line;
            match text {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => return Some(read_line(&text, line)),
                Err(source) => return Some(Err(PlanError::Read { line, source })),
            }
        }
    }
}

fn read_line(text: &str, line: u64) -> Result<PlannedMove, PlanError> {
    #[derive(Deserialize)]
    struct Version {
        tierd_plan: u64,
    }
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "planned_at")]
        _planned_at: DateTime<Utc>,
        #[serde(flatten)]
        planned: PlannedMove,
    }
    let no_move = |error: serde_json::Error| {
        // The parser counts lines from the one it was given.
        let problem = error.to_string().replace(" at line 1 column ", " at character ");
        PlanError::NoMove { line, problem }
    };
    // The version alone first: a line of another version may have another form.
    let Version { tierd_plan: version } = serde_json::from_str(text).map_err(no_move)?;
    if version != u64::from(PLAN_VERSION) {
        return Err(PlanError::Version { line, version });
    }
    let Line { planned, .. } = serde_json::from_str(text).map_err(no_move)?;
    // A cap on what a run may cost adds these up.
    if planned.cost_usd < 0.0 {
        return Err(PlanError::NegativeCost { line, cost_usd: planned.cost_usd });
    }
    match planned.how() {
        Move::Copy | Move::RestoreThenCopy => Ok(planned),
        Move::None | Move::Impossible => Err(PlanError::ImpossibleMove { line, from: planned.from, to: planned.to }),
    }
}

/// The sum of some moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Totals {
    pub objects: u64,
    pub bytes: u64,
    pub cost_usd: f64,
    pub monthly_saving_usd: f64,
    /// Of those moves of which the policy says it: see [`PlannedMove::expected_saving_usd`]. None if it says it of none.
    pub expected_saving_usd: Option<f64>,
}

impl Totals {
    /// Months until the moves together have paid for themselves; None when they never do.
    pub fn months_to_break_even(&self) -> Option<f64> {
        months_to_break_even(self.cost_usd, self.monthly_saving_usd)
    }
}

impl AddAssign<&PlannedMove> for Totals {
    fn add_assign(&mut self, planned: &PlannedMove) {
        self.objects += 1;
        self.bytes += planned.size;
        self.cost_usd += planned.cost_usd;
        self.monthly_saving_usd += planned.monthly_saving_usd;
        self.expected_saving_usd = sum_of(self.expected_saving_usd, planned.expected_saving_usd);
    }
}

/// The sum of those that are there; None if neither is.
pub(super) fn sum_of(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(|sum, usd| sum + usd)
}

/// One bucket's part in a plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BucketSummary {
    /// Rows looked at.
    pub considered: u64,
    pub planned: Totals,
    pub skipped: BTreeMap<SkipReason, u64>,
}

/// What a plan comes to, over all and by bucket and by pair of classes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    pub total: BucketSummary,
    pub by_bucket: BTreeMap<BucketName, BucketSummary>,
    /// By (from, to).
    pub by_pair: BTreeMap<(StorageClass, StorageClass), Totals>,
}

impl Summary {
    /// Counts a row that was looked at, whatever comes of it.
    pub fn consider(&mut self, bucket: &BucketName) {
        self.total.considered += 1;
        self.of_bucket(bucket).considered += 1;
    }

    pub fn add(&mut self, planned: &PlannedMove) {
        self.total.planned += planned;
        self.of_bucket(&planned.bucket).planned += planned;
        *self.by_pair.entry((planned.from, planned.to)).or_default() += planned;
    }

    pub fn skip(&mut self, bucket: &BucketName, reason: SkipReason) {
        *self.total.skipped.entry(reason).or_default() += 1;
        *self.of_bucket(bucket).skipped.entry(reason).or_default() += 1;
    }

    fn of_bucket(&mut self, bucket: &BucketName) -> &mut BucketSummary {
        self.by_bucket.entry(bucket.clone()).or_default()
    }
}

/// How much one run may move; None: as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CapLimits {
    pub max_objects: Option<u64>,
    pub max_bytes: Option<u64>,
    pub max_cost_usd: Option<f64>,
}

/// Keeps a run within its caps. A move that does not fit is left out, and a smaller one after it may still fit; no cap is ever
/// exceeded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Caps {
    limits: CapLimits,
    used: Totals,
}

impl Caps {
    pub fn new(limits: CapLimits) -> Self {
        Self { limits, used: Totals::default() }
    }

    /// Takes the move in if it fits. Err names the skip.
    pub fn admit(&mut self, planned: &PlannedMove) -> Result<(), SkipReason> {
        let mut then = self.used;
        then += planned;
        let fits = self.limits.max_objects.is_none_or(|cap| then.objects <= cap)
            && self.limits.max_bytes.is_none_or(|cap| then.bytes <= cap)
            && self.limits.max_cost_usd.is_none_or(|cap| then.cost_usd <= cap);
        if !fits {
            return Err(SkipReason::CapReached);
        }
        self.used = then;
        Ok(())
    }

    /// Whether no further move can be admitted, whatever its size: the run may stop looking.
    pub fn are_spent(&self) -> bool {
        self.limits.max_objects.is_some_and(|cap| self.used.objects >= cap)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn planned(bucket: &str, key: &str) -> PlannedMove {
        PlannedMove {
            bucket: BucketName::new(bucket).unwrap(),
            key: ObjectKey::new(key).unwrap(),
            etag: ETag::new("e").unwrap(),
            size: 100,
            from: StorageClass::Standard,
            to: StorageClass::StandardIa,
            policy: PolicyName::Recency,
            reason: "last used 45 days ago: STANDARD_IA from day 31".to_owned(),
            cost_usd: 0.25,
            monthly_saving_usd: 0.5,
            months_to_break_even: Some(0.5),
            uses: 3,
            last_use: Some(made_at(-45)),
            rests_on_days: 31,
            expected_saving_usd: None,
        }
    }

    fn made_at(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + 86_400 * day, 0).unwrap()
    }

    /// Each line a day later than the one after it.
    fn write(moves: &[PlannedMove]) -> String {
        let lines = moves.iter().zip((0..).map(|day| made_at(-day)));
        lines.map(|(planned, at)| serde_json::to_string(&PlanLine::new(planned, at)).unwrap() + "\n").collect()
    }

    fn read(text: &str) -> Result<Vec<PlannedMove>, PlanError> {
        PlanReader::new(text.as_bytes()).collect()
    }

    #[test]
    fn a_plan_reads_back_as_it_was_written() {
        let moves = [
            planned("bucket", "a"),
            PlannedMove {
                from: StorageClass::ReducedRedundancy,
                ..planned("bucket", "line\nbreak \"quoted\" \u{1} 사진")
            },
            PlannedMove {
                months_to_break_even: None,
                monthly_saving_usd: -0.5,
                expected_saving_usd: Some(3.5),
                ..planned("bucket", "dear")
            },
            PlannedMove { from: StorageClass::Glacier, policy: PolicyName::Frequency, ..planned("other", "cold") },
        ];
        let text = write(&moves);
        assert_eq!(text.lines().count(), 4, "a move a line, and nothing else");
        assert_eq!(read(&text).unwrap(), moves);
        assert_eq!(read(&format!("{text}\n\n")).unwrap(), moves, "empty lines at the end");
        assert_eq!(read("").unwrap(), [], "nothing is to be moved");
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(read(&lines[1..].join("\n")).unwrap().len(), 3, "sorted and cut");
        assert_eq!(read(&text.replace("\"etag\"", "\"later\":1,\"etag\"")).unwrap(), moves, "fields to come");
        assert_eq!(read(&text.replace(",\"expected_saving_usd\":null", "")).unwrap(), moves, "as older ones wrote it");
    }

    #[test]
    fn a_broken_plan_is_refused_with_the_line_that_is_broken() {
        let good = write(&[planned("bucket", "a"), planned("bucket", "b")]);
        let cases = [
            ("nonsense".to_owned(), "line 1 is no move: expected ident at character 2"),
            ("{\"Records\": []}".to_owned(), "line 1 is no move: missing field `tierd_plan`"),
            (good.replacen("tierd_plan\":1", "tierd_plan\":2", 1), "line 1 has format version 2"),
            (good.replacen("planned_at", "made", 1), "line 1 is no move: missing field `planned_at`"),
            (format!("{good}{{\"bucket\""), "line 3 is no move: EOF"),
            (good.replacen("\"size\":100", "\"size\":-1", 1), "line 1 is no move"),
            (good.replacen("\"bucket\":\"bucket\"", "\"bucket\":\"b\"", 1), "a bucket name has 3 to 63"),
            (good.replacen("STANDARD_IA\",\"policy", "COLD\",\"policy", 1), "is no storage class"),
            (
                good.replacen("STANDARD_IA\",\"policy", "STANDARD\",\"policy", 1),
                "line 1: there is no move from STANDARD to",
            ),
            (good.replacen("STANDARD_IA\",\"policy", "UNMANAGED\",\"policy", 1), "line 1: there is no move"),
            (good.replacen("\"cost_usd\":0.25", "\"cost_usd\":-0.25", 1), "line 1: a move costs 0 dollars or more"),
        ];
        for (text, expected) in cases {
            let message = read(&text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} for {text:?}");
        }
    }

    #[test]
    fn a_summary_adds_up_by_bucket_and_by_pair() {
        let mut summary = Summary::default();
        for (bucket, to) in
            [("bucket", StorageClass::StandardIa), ("bucket", StorageClass::Glacier), ("other", StorageClass::Glacier)]
        {
            let planned = PlannedMove { to, ..planned(bucket, "key") };
            summary.consider(&planned.bucket);
            summary.add(&planned);
        }
        let other = BucketName::new("other").unwrap();
        summary.consider(&other);
        summary.skip(&other, SkipReason::NoSaving);

        assert_eq!(
            summary.total.planned,
            Totals { objects: 3, bytes: 300, cost_usd: 0.75, monthly_saving_usd: 1.5, ..Totals::default() }
        );
        assert_eq!(summary.total.planned.months_to_break_even(), Some(0.5));
        assert_eq!((summary.total.considered, summary.by_bucket[&other].considered), (4, 2));
        assert_eq!(summary.by_bucket[&other].planned.objects, 1);
        assert_eq!(summary.by_bucket[&other].skipped[&SkipReason::NoSaving], 1);
        assert_eq!(summary.by_pair[&(StorageClass::Standard, StorageClass::Glacier)].objects, 2);
        assert_eq!(serde_json::to_value(&summary.total.skipped).unwrap(), serde_json::json!({"no-saving": 1}));
        assert_eq!(Totals::default().months_to_break_even(), None);
    }

    #[test]
    fn a_move_that_does_not_fit_leaves_room_for_one_that_does() {
        let mut caps = Caps::new(CapLimits { max_bytes: Some(150), ..CapLimits::default() });
        let sized = |size| PlannedMove { size, ..planned("bucket", "key") };
        assert_eq!(caps.admit(&sized(100)), Ok(()));
        assert_eq!(caps.admit(&sized(51)), Err(SkipReason::CapReached));
        assert_eq!(caps.admit(&sized(50)), Ok(()));
        assert!(!caps.are_spent());
    }

    proptest! {
        #[test]
        fn no_cap_is_ever_exceeded(
            sizes in prop::collection::vec((0..1000_u64, 0.0..10.0), 0..50),
            max_objects in prop::option::of(0..30_u64),
            max_bytes in prop::option::of(0..10_000_u64),
            max_cost_usd in prop::option::of(0.0..100.0),
        ) {
            let mut caps = Caps::new(CapLimits { max_objects, max_bytes, max_cost_usd });
            let mut used = Totals::default();
            for (size, cost_usd) in sizes {
                let planned = PlannedMove { size, cost_usd, ..planned("bucket", "key") };
                let spent = caps.are_spent();
                if caps.admit(&planned).is_ok() {
                    prop_assert!(!spent);
                    used += &planned;
                }
            }
            prop_assert!(max_objects.is_none_or(|cap| used.objects <= cap));
            prop_assert!(max_bytes.is_none_or(|cap| used.bytes <= cap));
            prop_assert!(max_cost_usd.is_none_or(|cap: f64| used.cost_usd <= cap));
        }
    }
}
