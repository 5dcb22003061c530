//! `tierd job ingest|reconcile|transition|sweep`.

use anyhow::Result;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::progress_bar::ProgressBar;
use super::{Exit, foreground};
use crate::clock;
use crate::config::Settings;
use crate::jobs::{AskedBy, Body, Job, JobReport, Mode, Outcome, Ran, ReconcileAfter, RunOptions, SweepScope};
use crate::progress::Progress;

const EXPLANATION: &str = "\
Runs one job now, under the same lease and with the same report as the daemon's own runs.

`job sweep` makes up for what events could not tell: users without a bucket, buckets whose settings \
have drifted, restores whose end nobody announced, restored copies that expired. It finds restores in \
the state table. Should that have lost some (it was brought back from a backup, or made anew), \
`job sweep --full` walks the listings of all users' buckets and of those in the ledger, and reads the \
tags of every archived object: one GetObjectTagging each, so a million archived objects cost about \
0.40 USD and some time.

Examples:
  tierd job ingest
  tierd job transition --dry-run --json
  tierd job sweep --full

Exit code 0: all went well; 1: some of it did not, and the report says what; 75: another daemon runs \
this job now.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXPLANATION)]
pub struct Args {
    /// Which job
    #[arg(value_enum)]
    job: Job,
    /// Look, decide and report, but change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the report as one JSON object on stdout
    #[arg(long)]
    json: bool,
    /// Do not reconcile after an ingest
    #[arg(long)]
    no_reconcile: bool,
    /// With sweep: also walk the listings of all buckets for restores that the state table has lost
    #[arg(long)]
    full: bool,
}

pub async fn run(settings: Settings, args: Args) -> Result<Exit> {
    if args.full && args.job != Job::Sweep {
        eprintln!("tierd: --full goes with `job sweep` only");
        return Ok(Exit::Usage);
    }
    let app = foreground(settings).await?;
    let progress = Progress::default();
    let options = RunOptions {
        mode: if args.dry_run { Mode::DryRun } else { Mode::Real },
        reconcile_after: if args.no_reconcile { ReconcileAfter::No } else { ReconcileAfter::Yes },
        asked_by: AskedBy::Person,
        sweep: if args.full { SweepScope::Listings } else { SweepScope::Index },
        progress: progress.clone(),
    };
    let stop = CancellationToken::new();
    let _on_signal = super::run::stop_on_signal(stop.clone())?;
    let bar = ProgressBar::show(progress);
    let asked = Asked { job: args.job, mode: options.mode, json: args.json, at: clock::now() };
    let ran = app.run_job(args.job, &options, &stop).await;
    bar.finish();
    asked.show(ran)
}

/// A run as it was asked for.
pub(super) struct Asked {
    pub job: Job,
    pub mode: Mode,
    /// Whether a program reads the report.
    pub json: bool,
    pub at: DateTime<Utc>,
}

impl Asked {
    /// Prints what a run came to, and says how the command ends.
    pub(super) fn show(self, ran: Result<Ran>) -> Result<Exit> {
        let job = self.job.as_str();
        match ran {
            Ok(Ran::Done(report)) => {
                self.print(&report)?;
                Ok(exit_of(&report))
            }
            Ok(Ran::HeldBy(holder)) => {
                let why = format!("another daemon ({holder}) runs job {job} now; try again later");
                eprintln!("tierd: {why}");
                self.not_begun(why)?;
                Ok(Exit::Held)
            }
            Ok(Ran::Stopped) => {
                let why = format!("told to stop before job {job} began; nothing was done");
                eprintln!("tierd: {why}");
                self.not_begun(why)?;
                Ok(Exit::Failures)
            }
            Err(error) => {
                self.not_begun(format!("{error:#}"))?;
                Err(error)
            }
        }
    }

    fn print(&self, report: &JobReport) -> Result<()> {
        if self.json {
            println!("{}", serde_json::to_string(report)?);
        } else {
            print_report(report);
        }
        Ok(())
    }

    /// Whoever asked for an object gets one, even where there was no run.
    fn not_begun(&self, why: String) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        let body = Body::None { problems: vec![why] };
        self.print(&JobReport::new(self.job, self.mode, self.at, clock::now(), Ok(body)))
    }
}

fn exit_of(report: &JobReport) -> Exit {
    match report.outcome {
        Outcome::Ok => Exit::Done,
        Outcome::Failed if report.outage => Exit::Unavailable,
        Outcome::Partial | Outcome::Failed => Exit::Failures,
    }
}

/// The report for people: a line a figure, then what went wrong.
fn print_report(report: &JobReport) {
    println!(
        "{}: {}{} in {:.1} s",
        report.job,
        report.outcome.as_str(),
        if report.dry_run { " (dry run: nothing was changed)" } else { "" },
        report.duration_ms as f64 / 1000.0
    );
    if let Ok(serde_json::Value::Object(figures)) = serde_json::to_value(&report.body) {
        for (name, value) in figures {
            match value {
                serde_json::Value::Array(_) | serde_json::Value::Null => {}
                serde_json::Value::Object(parts) if name == "skipped" => {
                    for (reason, count) in parts {
                        println!("  {:<24} {count}", format!("skipped, {reason}"));
                    }
                }
                serde_json::Value::Object(_) => {}
                serde_json::Value::String(text) => println!("  {name:<24} {text}"),
                number => println!("  {name:<24} {number}"),
            }
        }
    }
    for problem in report.problems() {
        println!("  ! {problem}");
    }
    if let Body::Ingest(ingest) = &report.body
        && let Some(reconcile) = &ingest.reconcile
    {
        print_report(reconcile);
    }
}
