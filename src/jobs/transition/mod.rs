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

/// A line of the log about a move.
macro_rules! log_move {
    ($level:ident, $event:literal, $planned:expr, $($rest:tt)+) => {
        tracing::$level!(
            event = $event,
            bucket = $planned.bucket.as_str(),
            key = $planned.key.as_str(),
            from = $planned.from.as_str(),
            to = $planned.to.as_str(),
            $($rest)+
        )
    };
}

mod bookkeeper;
mod executor;
pub mod explain;
mod limiter;
mod obstacle;
mod plan_file;
mod planner;
mod recheck;

use std::collections::BTreeMap;

use anyhow::Result;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Mode;
use super::report::TransitionReport;
use crate::progress::Progress;
use crate::tiering::plan::{PlannedMove, Totals};
use crate::tiering::policy::objection::SkipReason;

pub use executor::{AskForRestore, Execution, Executor};
pub use limiter::Limiter;
pub use obstacle::Versions;
pub use plan_file::{CheckedPlan, write_plan};
pub use planner::{Memory, Planned, Planner};

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
        match mode {
            Mode::DryRun => {
                let (moves, planning) = self.planner.begin(progress, stop);
                let (planned, ()) = tokio::join!(planning, discard(moves, progress));
                let planned = planned?;
                // What a dry run says of money is what a real one would have done at most.
                let money = planned.summary.total.planned;
                Ok(report(policy, planned, Execution::default(), money, stop))
            }
            Mode::Real => {
                let (sender, moves) = mpsc::channel(MOVES_AHEAD);
                progress.phase("moving", None);
                let planner = Planner { memory: Memory::Keep, ..self.planner };
                let execution = self.executor.run(mode, moves, progress, stop);
                let (planned, execution) = tokio::join!(planner.run(sender, progress, stop), execution);
                let money = execution.moved;
                Ok(report(policy, planned?, execution, money, stop))
            }
        }
    }
}

/// Makes the moves of a plan that was made before, as far as nothing has changed since: neither the object nor its uses, nor
/// what the guards and caps of `planner` allow. What they leave out is skipped, as in any run. A dry run looks at every
/// object and changes nothing.
pub async fn apply(
    plan: CheckedPlan,
    planner: &Planner,
    executor: &Executor,
    mode: Mode,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<TransitionReport> {
    let policy = plan.policies();
    progress.phase(if mode == Mode::Real { "moving" } else { "looking" }, None);
    let (sender, moves) = mpsc::channel(MOVES_AHEAD);
    let sending = recheck::send(plan, planner, sender, progress);
    let (planned, execution) = tokio::join!(sending, executor.run(mode, moves, progress, stop));
    let planned = planned?;
    let money = if mode == Mode::Real { execution.moved } else { execution.would_move };
    Ok(report(policy, planned, execution, money, stop))
}

/// Takes moves that nobody makes.
pub async fn discard(mut moves: mpsc::Receiver<PlannedMove>, progress: &Progress) {
    while moves.recv().await.is_some() {
        progress.add_done(1);
    }
}

fn report(
    policy: String,
    planned: Planned,
    execution: Execution,
    money: Totals,
    stop: &CancellationToken,
) -> TransitionReport {
    let total = planned.summary.total;
    let mut skipped: BTreeMap<String, u64> = BTreeMap::new();
    for (reason, count) in total.skipped.iter().chain(&execution.skipped) {
        *skipped.entry(reason.to_string()).or_default() += count;
    }
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
