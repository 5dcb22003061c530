//! A plan on its way to a file, and back. Both ways a move at a time: a plan of a hundred million moves takes no more memory
//! than one of ten.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Seek, Write};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use crate::progress::Progress;
use crate::tiering::plan::{PlanError, PlanLine, PlanReader, PlannedMove};
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
    moves: u64,
    policies: BTreeSet<PolicyName>,
}

impl CheckedPlan {
    /// Reads the file to its end, which must be one that can be read twice. Blocks. Fails at the first line that is no move.
    pub fn check(file: File) -> Result<Self, PlanError> {
        let reader = PlanReader::new(BufReader::new(&file));
        let (mut moves, mut policies) = (0, BTreeSet::new());
        for planned in reader {
            policies.insert(planned?.policy);
            moves += 1;
        }
        Ok(Self { file, moves, policies })
    }

    /// How many moves there are.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// The policies that wanted the moves, by name.
    pub fn policies(&self) -> String {
        self.policies.iter().map(|policy| policy.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Sends its moves, so many at once. Blocks. Ends early where nobody takes them any more; fails where the file is no longer
    /// the one that was checked.
    pub(super) fn send(mut self, at_once: usize, moves: &mpsc::Sender<Vec<PlannedMove>>) -> Result<()> {
        self.file.rewind().context("reading the plan a second time")?;
        let mut reader = PlanReader::new(BufReader::new(&self.file));
        loop {
            let some = reader.by_ref().take(at_once).collect::<Result<Vec<_>, _>>()?;
            if some.is_empty() || moves.blocking_send(some).is_err() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

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
            r#"{{"tierd_plan":1,"planned_at":"2026-11-21T00:00:00Z","bucket":"bucket","key":"{key}","etag":"e","size":100,"from":"STANDARD","to":"STANDARD_IA","policy":"recency","reason":"r","cost_usd":0.5,"monthly_saving_usd":0.25,"months_to_break_even":2.0,"uses":3,"last_use":null,"rests_on_days":31}}"#
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

    #[test]
    fn moves_come_back_from_the_file_as_long_as_somebody_takes_them() {
        let lines: Vec<String> = ["a", "b", "c"].into_iter().map(line).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let checked = CheckedPlan::check(plan(&lines)).unwrap();
        assert_eq!((checked.moves(), checked.policies()), (3, "recency".to_owned()));
        let (sender, mut moves) = mpsc::channel(3);
        checked.send(2, &sender).unwrap();
        drop(sender);
        let keys = |some: Vec<PlannedMove>| some.iter().map(|planned| planned.key.as_str().to_owned()).collect();
        let keys: Vec<Vec<String>> = std::iter::from_fn(|| moves.blocking_recv()).map(keys).collect();
        assert_eq!(keys, [vec!["a", "b"], vec!["c"]]);

        let (sender, moves) = mpsc::channel(1);
        drop(moves);
        CheckedPlan::check(plan(&lines)).unwrap().send(2, &sender).unwrap();
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
        assert_eq!(again.moves(), 2);
    }
}
