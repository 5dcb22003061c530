//! The moves of a plan on their way from the file to the executor: each is held against its row as it is today
//! ([`crate::tiering::recheck`]), and the caps of the run. Rows are read a hundred in one call.

use anyhow::{Context, Result};
use tokio::sync::mpsc;

use super::plan_file::CheckedPlan;
use super::planner::{Planned, Planner};
use super::{MOVES_AHEAD, add_problem};
use crate::ledger::{ROWS_A_LOOK, Rows};
use crate::progress::Progress;
use crate::tiering::plan::{Caps, PlannedMove};
use crate::tiering::policy::guard::Bench;
use crate::tiering::policy::objection::SkipReason;
use crate::tiering::recheck::recheck;

/// Sends the moves that may still be made, and for which the caps have room; the others are counted as the plan step does.
/// Ends early where nobody takes them any more.
pub(super) async fn send(
    plan: CheckedPlan,
    planner: &Planner,
    moves: mpsc::Sender<PlannedMove>,
    progress: &Progress,
) -> Result<Planned> {
    let (sender, mut incoming) = mpsc::channel(MOVES_AHEAD / ROWS_A_LOOK);
    progress.add_total(plan.moves());
    let reading = tokio::task::spawn_blocking(move || plan.send(ROWS_A_LOOK, &sender));
    let mut sifting = Sifting { planner, caps: Caps::new(planner.caps), planned: Planned::default() };
    'plan: while let Some(some) = incoming.recv().await {
        let rows = match planner.ledger.rows_of(some.iter().map(PlannedMove::id)).await {
            Ok(rows) => rows,
            // What was sent stands; of the others it is not known whether they may be made.
            Err(error) => {
                sifting.fail(format!("{:#}", anyhow::Error::from(error).context("reading rows of the plan's objects")));
                break;
            }
        };
        for next in some {
            match sifting.admit(&next, &rows) {
                Err(_) => progress.add_done(1),
                Ok(()) if moves.send(next).await.is_err() => break 'plan,
                Ok(()) => {}
            }
        }
    }
    drop(incoming);
    if let Err(error) = reading.await.context("reading the plan")? {
        // Somebody writes into the file: what was sent stands, what follows is not to be believed.
        sifting.fail(format!("the plan was changed while it was read: {error:#}"));
    }
    Ok(sifting.planned)
}

struct Sifting<'a> {
    planner: &'a Planner,
    caps: Caps,
    planned: Planned,
}

impl Sifting<'_> {
    fn admit(&mut self, planned: &PlannedMove, rows: &Rows) -> Result<(), SkipReason> {
        let Planner { guards, evidence, prices, now, .. } = self.planner;
        let bench = Bench { now: *now, guards, evidence: *evidence, prices };
        let holds = match rows.get(&planned.id()).map(Result::as_ref).transpose() {
            Ok(row) => recheck(&bench, planned, row),
            Err(row) => {
                add_problem(&mut self.planned.problems, row.problem.clone());
                Err(SkipReason::Unreadable)
            }
        };
        let summary = &mut self.planned.summary;
        summary.consider(&planned.bucket);
        if let Err(reason) = holds {
            log_move!(info, "object.skipped", planned, reason = reason.as_str(), "object left where it is");
        }
        let admitted = holds.and_then(|()| self.caps.admit(planned));
        match admitted {
            Ok(()) => summary.add(planned),
            Err(reason) => summary.skip(&planned.bucket, reason),
        }
        admitted
    }

    /// Counts as a failure of the run.
    fn fail(&mut self, problem: String) {
        add_problem(&mut self.planned.problems, problem);
        self.planned.buckets_failed += 1;
    }
}
