//! The plan step: rows in, moves out, and why everything else stays where it is.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{MOVES_AHEAD, add_problem};
use crate::jobs::ahead;
use crate::jobs::learning::Learning;
use crate::ledger::{Columns, Ledger, UnreadableRow};
use crate::policies::{BucketPolicies, BucketPolicy};
use crate::progress::Progress;
use crate::tiering::cost::Prices;
use crate::tiering::evidence::IdleTable;
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::object::BucketName;
use crate::tiering::plan::{CapLimits, Caps, PlannedMove, Summary};
use crate::tiering::policy::archiving::Outlook;
use crate::tiering::policy::frequency::Census;
use crate::tiering::policy::guard::{Bench, Evidence, Guards, Judgement};
use crate::tiering::policy::objection::SkipReason;
use crate::tiering::policy::{Decision, Reason};

/// Everything that a plan goes by.
#[derive(Debug)]
pub struct Planner {
    pub ledger: Ledger,
    pub policies: BucketPolicies,
    /// What the adaptive policy goes by.
    pub learning: Learning,
    pub memory: Memory,
    pub guards: Guards,
    pub evidence: Evidence,
    pub prices: Prices,
    pub caps: CapLimits,
    pub now: DateTime<Utc>,
}

/// Whether what was learned for a plan is kept for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    Keep,
    Leave,
}

/// What a plan came to.
#[derive(Debug, Default)]
pub struct Planned {
    pub summary: Summary,
    /// Buckets whose rows could not be read to their end.
    pub buckets_failed: u64,
    /// How the readers of those buckets fare in which the adaptive policy may archive.
    pub outlooks: BTreeMap<BucketName, Outlook>,
    pub problems: Vec<String>,
}

/// A plan under way.
struct Planning<'a> {
    bench: Bench<'a>,
    caps: Caps,
    moves: mpsc::Sender<PlannedMove>,
    progress: &'a Progress,
    planned: Planned,
    /// The idle times of all objects under the adaptive policy that have not ended; None without any such bucket.
    open: Option<IdleTable>,
    /// How many objects of the bucket under way the adaptive policy may still archive.
    places: u64,
}

/// A policy at work on one bucket: what it wants of each row as it comes.
type Decide<'a> = Box<dyn FnMut(&LedgerRow) -> Option<Decision> + Send + 'a>;

/// Whether there is anybody left to plan for.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    Home,
}

impl Planner {
    /// A plan for whoever takes the moves as they come: those, and the work, which is done once they have ended.
    pub fn begin<'a>(
        &'a self,
        progress: &'a Progress,
        stop: &'a CancellationToken,
    ) -> (mpsc::Receiver<PlannedMove>, impl Future<Output = Result<Planned>> + Send + 'a) {
        let (sender, moves) = mpsc::channel(MOVES_AHEAD);
        progress.phase("planning", None);
        (moves, self.run(sender, progress, stop))
    }

    /// Looks at every row and sends each move that policy, guards and caps let through. Ends early when `stop` is cancelled
    /// or nobody takes the moves any more.
    pub async fn run(
        &self,
        moves: mpsc::Sender<PlannedMove>,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Planned> {
        let buckets = self.ledger.buckets().await.context("asking the ledger for its buckets")?;
        let bench = Bench { now: self.now, guards: &self.guards, evidence: self.evidence, prices: &self.prices };
        let mut planning = Planning {
            bench,
            caps: Caps::new(self.caps),
            moves,
            progress,
            planned: Planned::default(),
            open: None,
            places: 0,
        };
        for bucket in &buckets {
            match self.bucket(bucket, &mut planning, stop).await {
                Ok(Go::On) => {}
                Ok(Go::Home) => return Ok(planning.planned),
                Err(error) => {
                    let problem = format!("s3://{bucket}: {error:#}");
                    tracing::error!(
                        event = "transition.bucket.failed",
                        bucket = bucket.as_str(),
                        error = problem,
                        "the bucket's rows cannot be read"
                    );
                    planning.planned.buckets_failed += 1;
                    add_problem(&mut planning.planned.problems, problem);
                }
            }
        }
        if let (Some(open), Memory::Keep, 0) = (&planning.open, self.memory, planning.planned.buckets_failed) {
            self.learning.keep_open(open).await.context("keeping what was learned of all buckets")?;
        }
        Ok(planning.planned)
    }

    async fn bucket(&self, bucket: &BucketName, planning: &mut Planning<'_>, stop: &CancellationToken) -> Result<Go> {
        // A rank needs the whole bucket before the first row can be decided, and so does what is learned.
        let learned;
        let mut decide: Decide<'_> = match self.policies.of_bucket(bucket) {
            BucketPolicy::Recency(recency) => Box::new(move |row| recency.decide(row, self.now)),
            BucketPolicy::Frequency(frequency) => {
                let mut census = Census::default();
                let mut rows = ahead::rows(&self.ledger, bucket, Columns::All);
                while let Some(row) = rows.next().await? {
                    if let Ok(row) = row {
                        census.count(&row);
                    }
                    if stop.is_cancelled() {
                        return Ok(Go::Home);
                    }
                }
                let mut cut = census.cut(frequency);
                Box::new(move |row| Some(cut.decide(row)))
            }
            BucketPolicy::Adaptive { max_delayed_reads } => {
                let Some(known) = self.learning.of_bucket(bucket, *max_delayed_reads, stop).await? else {
                    return Ok(Go::Home);
                };
                if let Some(outlook) = known.outlook() {
                    planning.places = outlook.room;
                    planning.planned.outlooks.insert(bucket.clone(), *outlook);
                }
                planning.open.get_or_insert_default().merge(known.open());
                if self.memory == Memory::Keep {
                    self.learning.keep(bucket, &known).await?;
                }
                learned = known;
                Box::new(|row| learned.decide(row))
            }
        };
        let mut rows = ahead::rows(&self.ledger, bucket, Columns::All);
        while let Some(row) = rows.next().await? {
            if stop.is_cancelled() {
                return Ok(Go::Home);
            }
            planning.planned.summary.consider(bucket);
            planning.progress.add_records(1);
            match row {
                Ok(row) => {
                    if planning.row(&row, decide(&row)).await == Go::Home {
                        return Ok(Go::Home);
                    }
                }
                Err(row) => planning.unreadable(row),
            }
        }
        Ok(Go::On)
    }
}

impl Planning<'_> {
    async fn row(&mut self, row: &LedgerRow, decision: Option<Decision>) -> Go {
        let summary = &mut self.planned.summary;
        let proposal = match self.bench.judge(row, decision) {
            Judgement::Stay(_) => return Go::On,
            Judgement::Skip { objection, .. } => {
                summary.skip(&row.id.bucket, objection.reason());
                return Go::On;
            }
            Judgement::Move(proposal) => proposal,
        };
        if matches!(proposal.decision.reason, Reason::Archived { .. }) {
            // Shares are of what was gathered; this is what was promised.
            let Some(left) = self.places.checked_sub(1) else {
                summary.skip(&row.id.bucket, SkipReason::CapReached);
                return Go::On;
            };
            self.places = left;
        }
        let planned = PlannedMove::from(proposal);
        if let Err(reason) = self.caps.admit(&planned) {
            summary.skip(&row.id.bucket, reason);
            return Go::On;
        }
        summary.add(&planned);
        self.progress.add_total(1);
        match self.moves.send(planned).await {
            Ok(()) => Go::On,
            Err(_) => Go::Home,
        }
    }

    fn unreadable(&mut self, row: UnreadableRow) {
        tracing::warn!(
            event = "ledger.row_rejected",
            bucket = row.id.bucket.as_str(),
            key = row.id.key.as_str(),
            problem = row.problem,
            "a row cannot be read"
        );
        self.planned.summary.skip(&row.id.bucket, SkipReason::Unreadable);
        add_problem(&mut self.planned.problems, row.problem);
    }
}
