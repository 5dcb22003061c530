//! `tierd quarantine list|retry|drop`.

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::json;

use super::{Exit, foreground};
use crate::app::App;
use crate::clock::{self, rfc3339};
use crate::config::Settings;
use crate::state::Written;
use crate::state::quarantine::{QuarantineKind, Quarantined};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tierd quarantine list
  tierd quarantine list --kind log-file --json
  tierd quarantine retry 's3://my-trail-bucket/AWSLogs/…/x.json.gz#d41d8cd9'
  tierd quarantine retry --kind user       all users, after the cause was mended
  tierd quarantine drop jane-42")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Shows what was set aside, since when, and why
    List {
        #[command(flatten)]
        which: Which,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Has the next run try it again
    ///
    /// It stays in the list until it has been done. Users are taken up by the next sweep, log files by the next ingest; `tierd
    /// job` runs them at once.
    Retry {
        /// The id as `list` shows it; without one, everything
        id: Option<String>,
        #[command(flatten)]
        which: Which,
    },
    /// Forgets it for good
    #[command(group(clap::ArgGroup::new("what").required(true).args(["id", "all"])))]
    Drop {
        /// The id as `list` shows it
        id: Option<String>,
        /// Forget everything that was set aside (of one kind, with --kind)
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, Clone, clap::Args)]
struct Which {
    /// Only things of this kind
    #[arg(long, value_enum)]
    kind: Option<QuarantineKind>,
}

pub async fn run(settings: Settings, args: Args) -> Result<Exit> {
    let app = foreground(settings).await?;
    match args.action {
        Action::List { which, json } => {
            let entries = app.state.quarantined(which.kind).await?;
            if json {
                println!("{}", json!({ "quarantined": entries }));
            } else {
                print_list(&entries);
            }
            Ok(Exit::Done)
        }
        Action::Retry { id, which } => {
            let Some(entries) = chosen(&app, &which, id.as_deref()).await? else { return Ok(Exit::Failures) };
            retry(&app, &entries).await
        }
        Action::Drop { id, which, all: _ } => {
            let Some(entries) = chosen(&app, &which, id.as_deref()).await? else { return Ok(Exit::Failures) };
            for entry in &entries {
                app.state.release_quarantine(entry.kind, &entry.id).await?;
                println!("dropped {} {}", entry.kind.as_str(), entry.id);
            }
            Ok(Exit::Done)
        }
    }
}

/// The entries that are meant. None, and said so, where an id is nobody's. Kinds may share an id, and then all are meant.
async fn chosen(app: &App, which: &Which, id: Option<&str>) -> Result<Option<Vec<Quarantined>>> {
    let mut entries = app.state.quarantined(which.kind).await?;
    let Some(id) = id else {
        if entries.is_empty() {
            println!("nothing is set aside");
        }
        return Ok(Some(entries));
    };
    entries.retain(|entry| entry.id == id);
    if entries.is_empty() {
        eprintln!("tierd: nothing called {id:?} is set aside; `tierd quarantine list` shows what is");
        return Ok(None);
    }
    Ok(Some(entries))
}

async fn retry(app: &App, entries: &[Quarantined]) -> Result<Exit> {
    let mut exit = Exit::Done;
    for entry in entries {
        let (kind, id) = (entry.kind, &entry.id);
        match app.state.ask_retry(kind, id, clock::now()).await? {
            Written::Yes => println!("the next {} tries {} {id} again", taken_up_by(kind), kind.as_str()),
            Written::Refused => {
                eprintln!("tierd: {} {id} is no longer set aside", kind.as_str());
                exit = Exit::Failures;
            }
        }
    }
    Ok(exit)
}

fn taken_up_by(kind: QuarantineKind) -> &'static str {
    match kind {
        QuarantineKind::User | QuarantineKind::Restore => "sweep",
        QuarantineKind::LogFile => "ingest",
    }
}

fn print_list(entries: &[Quarantined]) {
    if entries.is_empty() {
        println!("nothing is set aside");
        return;
    }
    let mut table = Table::new();
    // Never wrapped: an id is there to be copied.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["KIND", "ID", "SINCE", "RETRY", "REASON"]);
    for entry in entries {
        let retry = if entry.retry { "asked" } else { "-" };
        table.add_row([entry.kind.as_str(), &entry.id, &rfc3339(entry.at), retry, &entry.reason]);
    }
    println!("{}", table.trim_fmt());
}
