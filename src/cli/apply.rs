//! `tierd apply`.

use std::fs::File;
use std::io::{self, Seek};

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;

use super::job::Asked;
use super::progress_bar::ProgressBar;
use super::{Exit, foreground};
use crate::clock;
use crate::config::Settings;
use crate::jobs::transition::CheckedPlan;
use crate::jobs::{AskedBy, Job, Mode, ReconcileAfter, RunOptions, SweepScope};
use crate::progress::Progress;
use crate::tiering::plan::PlanError;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
FILE is what `tierd plan --out FILE` wrote, as it is or with lines taken out. It is read to its end before anything is
moved: a line that is no move ends the command, with the file and the line, and nothing has been done.

Each move is then held against what is known today. It is not made, and counted under its reason,
  used-since-planned  if uses of the object were counted since, and the move goes into a colder class
  changed, gone       if the object is not what its line was made for: another ETag, size or class, or deleted
  minimum-duration, no-saving, no-recent-ingest, ...
                      if a guard of [transition] has something against it, by today's ledger, settings and prices
  versioned, customer-key, ...
                      if the object cannot be carried whole
  cap-reached         if it does not fit the caps of [transition], which hold for this run as for any
The policy is not asked again: moves are made as they were planned, or not at all. Applying a plan twice moves nothing
twice.

Examples:
  tierd apply --dry-run plan.jsonl
  tierd apply plan.jsonl
  jq -c 'select(.bucket == \"siuu42-1762000000\")' plan.jsonl | tierd apply -

Exit code 0: done, whatever was left where it is; 1: some moves failed; 64: FILE is no plan; 75: a daemon runs the
transition job now.")]
pub struct Args {
    /// A plan; `-` reads it from stdin
    file: String,
    /// Look at every object and report, but change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the report as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

pub async fn run(settings: Settings, args: Args) -> Result<Exit> {
    let file = args.file.clone();
    let plan = tokio::task::spawn_blocking(move || open(&file)).await.context("reading the plan")?;
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("tierd: {}: {:#}; nothing was moved", shown(&args.file), anyhow::Error::from(error));
            return Ok(Exit::Usage);
        }
    };
    let app = foreground(settings).await?;
    let progress = Progress::default();
    let options = RunOptions {
        mode: if args.dry_run { Mode::DryRun } else { Mode::Real },
        reconcile_after: ReconcileAfter::No,
        asked_by: AskedBy::Person,
        sweep: SweepScope::Index,
        progress: progress.clone(),
    };
    let stop = CancellationToken::new();
    let _on_signal = super::run::stop_on_signal(stop.clone())?;
    let bar = ProgressBar::show(progress);
    let asked = Asked { job: Job::Transition, mode: options.mode, json: args.json, at: clock::now() };
    let ran = app.apply(plan, &options, &stop).await;
    bar.finish();
    asked.show(ran)
}

fn open(name: &str) -> Result<CheckedPlan, PlanError> {
    let unreadable = |source| PlanError::Read { line: 1, source };
    let file = if name == "-" { spooled() } else { File::open(name) };
    CheckedPlan::check(file.map_err(unreadable)?)
}

/// What comes by a pipe can be read once only, and a plan is read twice.
fn spooled() -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    file.rewind()?;
    Ok(file)
}

fn shown(name: &str) -> &str {
    if name == "-" { "stdin" } else { name }
}
