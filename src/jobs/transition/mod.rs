//! Transition: objects into the storage class that their use deserves.
//!
//! Two steps with a narrow seam. The *plan* step ([`planner`]) streams the ledger's rows through the policy and its guards
//! and yields [`PlannedMove`]s, which say all that there is to know of a move, its price and its reason among it. The
//! *executor* takes such moves, from wherever they come, and makes them come true: it looks at each object first, since
//! the ledger may be older than the object, copies it, and writes the new place into the ledger.
//!
//! Object first, ledger second: a crash between the two leaves a row that says too little, and the next reconcile (or the
//! next run, which finds the object where it is wanted) sets it right. The other way round a row would promise a class
//! that the object never came into.

mod bookkeeper;
mod executor;
mod limiter;
mod planner;

use std::collections::BTreeMap;

use anyhow::Result;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Mode;
use super::report::TransitionReport;
use crate::progress::Progress;
use crate::tiering::plan::PlannedMove;
use crate::tiering::policy::objection::SkipReason;

pub use executor::{AskForRestore, Execution, Executor, Versions};
pub use limiter::Limiter;
pub use planner::{Planned, Planner};

/// Planned moves that wait for the executor: enough to keep it busy, few enough to be forgotten when it stops.
const MOVES_AHEAD: usize = 1000;
/// Lines of trouble that a report carries at most; the log has them all.
const MAX_PROBLEMS: usize = 100;

/// A run: what is planned, and who executes it.
pub struct Transition {
    pub planner: Planner,
    pub executor: Executor,
}

impl Transition {
    /// Plans and moves, both at once. `stop` lets the moves that have begun finish, and leaves the others to the next run.
    ///
    /// Fails only where it cannot be said which buckets there are.
    pub async fn run_once(self, mode: Mode, progress: &Progress, stop: &CancellationToken) -> Result<TransitionReport> {
        let policy = self.planner.policies.default_name().as_str().to_owned();
        let (sender, moves) = mpsc::channel(MOVES_AHEAD);
        let (planned, execution) = match mode {
            Mode::DryRun => {
                progress.phase("planning", None);
                let (planned, ()) = tokio::join!(self.planner.run(sender, progress, stop), discard(moves));
                (planned?, Execution::default())
            }
            Mode::Real => {
                progress.phase("moving", None);
                let (planned, execution) =
                    tokio::join!(self.planner.run(sender, progress, stop), self.executor.run(moves, progress, stop));
                (planned?, execution)
            }
        };
        Ok(report(policy, mode, planned, execution, stop))
    }
}

async fn discard(mut moves: mpsc::Receiver<PlannedMove>) {
    while moves.recv().await.is_some() {}
}

fn report(
    policy: String,
    mode: Mode,
    planned: Planned,
    execution: Execution,
    stop: &CancellationToken,
) -> TransitionReport {
    let total = planned.summary.total;
    let mut skipped: BTreeMap<String, u64> = BTreeMap::new();
    for (reason, count) in total.skipped.iter().chain(&execution.skipped) {
        *skipped.entry(reason.to_string()).or_default() += count;
    }
    // What a dry run says of money is what a real one would have done at most.
    let money = if mode == Mode::DryRun { total.planned } else { execution.moved };
    let mut problems = planned.problems;
    problems.extend(execution.problems);
    TransitionReport {
        policy,
        considered: total.considered,
        planned: total.planned.objects,
        moved: execution.moved.objects,
        failed: execution.failed + planned.buckets_failed,
        skipped,
        bytes_moved: execution.moved.bytes,
        cost_usd: money.cost_usd,
        monthly_saving_usd: money.monthly_saving_usd,
        problems,
        stopped: execution.stopped.or_else(|| {
            stop.is_cancelled().then(|| "the run was told to stop; the next one goes on from here".to_owned())
        }),
    }
}

fn add_problem(problems: &mut Vec<String>, problem: String) {
    match problems.len() {
        0..MAX_PROBLEMS => problems.push(problem),
        MAX_PROBLEMS => problems.push("and more, which the log tells".to_owned()),
        _ => {}
    }
}

/// Reason → objects.
type Skips = BTreeMap<SkipReason, u64>;
