//! A plan on its way to a file, and back. Both ways a move at a time: a plan of a hundred million moves takes no more memory
//! than one of ten.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Seek, Write};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use super::planner::Planned;
use super::{MOVES_AHEAD, add_problem};
use crate::progress::Progress;
use crate::tiering::plan::{CapLimits, Caps, PlanError, PlanLine, PlanReader, PlannedMove};
use crate::tiering::policy::PolicyName;

/// Writes moves that were decided at `planned_at`, until they end. Blocks; where writing fails no more moves are taken.
pub fn write_plan(
    out: &mut impl Write,
    planned_at: DateTime<Utc>,
    mut moves: mpsc::Receiver<PlannedMove>,
    progress: &Progress,
) -> io::Result<()> {
    while let Some(planned) = moves.blocking_recv() {
        serde_json::to_writer(&mut *out, &PlanLine::new(&planned, planned_at))?;
        out.write_all(b"\n")?;
        progress.add_done(1);
    }
    Ok(())
}

/// A plan that was read to its end and is in order: every line is a move that S3 has.
#[derive(Debug)]
pub struct CheckedPlan {
    file: File,
    made_at: Option<DateTime<Utc>>,
    moves: u64,
    policies: BTreeSet<PolicyName>,
}

impl CheckedPlan {
    /// Reads the file to its end, which must be one that can be read twice. Blocks. Fails at the first line that is no move.
    pub fn check(file: File) -> Result<Self, PlanError> {
        let mut reader = PlanReader::new(BufReader::new(&file));
        let (mut moves, mut policies) = (0, BTreeSet::new());
        for planned in reader.by_ref() {
            policies.insert(planned?.policy);
            moves += 1;
        }
        let made_at = reader.oldest();
        Ok(Self { file, made_at, moves, policies })
    }

    /// When the earliest of its moves was decided; None for a plan without any.
    pub fn made_at(&self) -> Option<DateTime<Utc>> {
        self.made_at
    }

    /// How many moves there are.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// The policies that wanted the moves, by name.
    pub fn policies(&self) -> String {
        self.policies.iter().map(|policy| policy.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Sends the moves that the caps have room for, and counts the others as the plan step does. Ends early where nobody takes
    /// them any more.
    pub(super) fn send(self, caps: CapLimits, progress: Progress) -> (mpsc::Receiver<PlannedMove>, Sending) {
        let (sender, moves) = mpsc::channel(MOVES_AHEAD);
        progress.add_total(self.moves);
        (moves, Sending(tokio::task::spawn_blocking(move || self.send_all(caps, &sender, &progress))))
    }

    fn send_all(mut self, caps: CapLimits, moves: &mpsc::Sender<PlannedMove>, progress: &Progress) -> Result<Planned> {
        self.file.rewind().context("reading the plan a second time")?;
        let mut caps = Caps::new(caps);
        let mut planned = Planned::default();
        for next in PlanReader::new(BufReader::new(&self.file)) {
            let next = match next {
                Ok(next) => next,
                // Somebody writes into the file: what was sent stands, what follows is not to be believed.
                Err(error) => {
                    add_problem(&mut planned.problems, format!("the plan was changed while it was read: {error}"));
                    // Counts as a failure of the run.
                    planned.buckets_failed += 1;
                    break;
                }
            };
            planned.summary.consider(&next.bucket);
            match caps.admit(&next) {
                Err(reason) => {
                    planned.summary.skip(&next.bucket, reason);
                    progress.add_done(1);
                }
                Ok(()) => {
                    planned.summary.add(&next);
                    if moves.blocking_send(next).is_err() {
                        break;
                    }
                }
            }
        }
        Ok(planned)
    }
}

/// The moves of a plan on their way.
pub(super) struct Sending(tokio::task::JoinHandle<Result<Planned>>);

impl Sending {
    /// What was sent, and what the caps left out.
    pub async fn finish(self) -> Result<Planned> {
        self.0.await.context("reading the plan")?
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::tiering::plan::Totals;
    use crate::tiering::policy::objection::SkipReason;

    fn plan(lines: &[&str]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        for line in lines {
            writeln!(file, "{line}").unwrap();
        }
        file.rewind().unwrap();
        file
    }

    fn line(key: &str) -> String {
        format!(
            r#"{{"tierd_plan":1,"planned_at":"2026-11-21T00:00:00Z","bucket":"bucket","key":"{key}","etag":"e","size":100,"from":"STANDARD","to":"STANDARD_IA","policy":"recency","reason":"r","cost_usd":0.5,"monthly_saving_usd":0.25,"months_to_break_even":2.0}}"#
        )
    }

    #[test]
    fn a_line_that_is_no_move_is_found_before_any_is_sent() {
        let error = CheckedPlan::check(plan(&[&line("a"), "{\"bucket\":"])).unwrap_err();
        assert!(error.to_string().starts_with("line 2 is no move"), "{error}");
        let negative = line("a").replace("0.5", "-0.5");
        let error = CheckedPlan::check(plan(&[&negative])).unwrap_err();
        assert!(error.to_string().starts_with("line 1: "), "{error}");
    }

    #[tokio::test]
    async fn moves_come_back_from_the_file_and_caps_leave_out_what_does_not_fit() {
        let lines: Vec<String> = ["a", "b", "c"].into_iter().map(line).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let checked = tokio::task::spawn_blocking({
            let file = plan(&lines);
            move || CheckedPlan::check(file).unwrap()
        });
        let checked = checked.await.unwrap();
        assert_eq!((checked.moves(), checked.policies()), (3, "recency".to_owned()));
        let caps = CapLimits { max_cost_usd: Some(1.0), ..CapLimits::default() };
        let (mut moves, sending) = checked.send(caps, Progress::default());
        let mut keys = Vec::new();
        while let Some(planned) = moves.recv().await {
            keys.push(planned.key.as_str().to_owned());
        }
        let total = sending.finish().await.unwrap().summary.total;
        assert_eq!(keys, ["a", "b"]);
        assert_eq!((total.considered, total.skipped[&SkipReason::CapReached]), (3, 1));
        assert_eq!(
            total.planned,
            Totals { objects: 2, bytes: 200, cost_usd: 1.0, monthly_saving_usd: 0.5, ..Totals::default() }
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let (sender, moves) = mpsc::channel(2);
        for key in ["a", "line\\nbreak"] {
            sender.try_send(serde_json::from_str(&line(key)).unwrap()).unwrap();
        }
        drop(sender);
        let mut out = tempfile::tempfile().unwrap();
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        write_plan(&mut out, at, moves, &Progress::default()).unwrap();
        out.rewind().unwrap();
        let again = CheckedPlan::check(out).unwrap();
        assert_eq!((again.made_at(), again.moves()), (Some(at), 2));
    }
}
