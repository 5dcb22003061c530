//! `tierd ledger import`.

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::progress_bar::ProgressBar;
use super::{Exit, foreground};
use crate::app::Import;
use crate::config::Settings;
use crate::jobs::import::ImportReport;
use crate::jobs::{Mode, Outcome};
use crate::ledger::WrongTable;
use crate::progress::Progress;
use crate::tiering::object::BucketName;

const EXPLANATION: &str = "\
An old table knows an object by its ETag, and the ledger by its bucket and key. So every bucket is listed, and a row is
carried over where exactly one object has its ETag:

  - its `count` is added to what the ledger has counted, and `event_time` is the later of the two;
  - a row whose ETag no object has is left out: the object was deleted or replaced since;
  - a row whose ETag several objects have (copies, empty files) is left out too: nobody can say whose accesses it counted.
    Objects without a row are not moved until they are used, or adopted.

Every row that is left out is listed. Importing again does no harm: an object's row remembers which tables it has the
history of, so a run that was broken off is taken up by the next one. The old table is only read.

Import once the functions that wrote the old table are stopped. If the log files behind its counts are still there and are
ingested too, those accesses count twice; the times are right in any case.

Examples:
  tierd ledger import --table old_file_access --dry-run
  tierd ledger import --table old_file_access
  tierd ledger import --table old_file_access --bucket siuu42-1700000000 --json

Exit code 0: all rows that have an object were carried over; 1: some rows could not be, the report says which; 64: the table
is not keyed by entity_tag_value alone; 69: a table is missing, or AWS cannot be used; 75: an ingest is under way.";

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Carries over a table keyed by `entity_tag_value` alone
    #[command(after_help = EXPLANATION)]
    Import(ImportArgs),
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// The old table
    #[arg(long, value_name = "T")]
    table: String,
    /// Look for objects in this bucket only; may be repeated [default: the users' buckets, and those that have rows]
    #[arg(long = "bucket", value_name = "B", value_parser = bucket_name)]
    buckets: Vec<BucketName>,
    /// Look, decide and report, but change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the report as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

pub async fn run(settings: Settings, args: Args) -> Result<Exit> {
    let Action::Import(args) = args.action;
    import(settings, args).await
}

async fn import(settings: Settings, args: ImportArgs) -> Result<Exit> {
    let app = foreground(settings).await?;
    let stop = CancellationToken::new();
    let _on_signal = super::run::stop_on_signal(stop.clone())?;
    let progress = Progress::default();
    let bar = ProgressBar::show(progress.clone());
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Real };
    let imported = app.import(&args.table, args.buckets.into_iter().collect(), mode, &progress, &stop).await;
    bar.finish();
    match imported {
        Err(error) if error.is::<WrongTable>() => {
            eprintln!("tierd: {error:#}");
            Ok(Exit::Usage)
        }
        Err(error) => Err(error),
        Ok(Import::HeldBy(holder)) => {
            eprintln!("tierd: another daemon ({holder}) writes to the ledger now (job ingest); try again later");
            Ok(Exit::Held)
        }
        Ok(Import::Stopped) => {
            eprintln!("tierd: told to stop before the import began; nothing was done");
            Ok(Exit::Failures)
        }
        Ok(Import::Done(report)) => {
            if args.json {
                println!("{}", serde_json::to_string(&*report)?);
            } else {
                print_report(&report);
            }
            Ok(if report.outcome == Outcome::Ok { Exit::Done } else { Exit::Failures })
        }
    }
}

/// The report for people: the figures, then a line for each row that was left out.
fn print_report(report: &ImportReport) {
    println!(
        "{} rows of {}{}: {} imported, {} imported before, {} without an object, {} with more than one, {} unreadable",
        report.rows,
        report.table,
        if report.dry_run { " (dry run: nothing was changed)" } else { "" },
        report.imported,
        report.already_imported,
        report.not_found,
        report.ambiguous,
        report.unreadable
    );
    println!("{} objects in {} buckets; {} buckets are gone", report.objects, report.buckets, report.buckets_gone);
    if report.not_written > 0 {
        println!("told to stop: {} rows wait; run it again for them", report.not_written);
    }
    for row in &report.left_out {
        let mut line =
            format!("  - {}: {}", row.entity_tag_value, row.detail.as_deref().unwrap_or(row.reason.as_str()));
        if let Some(count) = row.count {
            line.push_str(&format!(" (count {count}, last {})", row.event_time.as_deref().unwrap_or("unknown")));
        }
        println!("{line}");
    }
}

fn bucket_name(name: &str) -> Result<BucketName, String> {
    BucketName::new(name.strip_prefix("s3://").unwrap_or(name)).map_err(|error| error.to_string())
}
