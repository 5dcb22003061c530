//! `tierd replicate`.

use anyhow::Result;
use futures::StreamExt;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::progress_bar::ProgressBar;
use super::{Exit, foreground};
use crate::aws::AwsError;
use crate::config::Settings;
use crate::progress::Progress;
use crate::replicate::Replicated;
use crate::s3::list::ListRequest;
use crate::tiering::object::{BucketName, ObjectId};

const EXPLANATION: &str = "\
The daemon copies objects as they are created. This command does the same for objects that were there \
before: it walks the prefix and copies what is missing at its destination or differs there (in bytes, \
metadata or tags), as the [[replicate]] rules of the configuration say. Run it again after an \
interruption: what was copied is passed over.

Example:
  tierd replicate s3://source/prefix/

Exit code 0: every object has its copy; 1: some could not be copied; 64: no rule speaks of the prefix.";

/// Problems that are shown by name; their number is whole.
const PROBLEMS_NAMED: usize = 50;

#[derive(Debug, clap::Args)]
#[command(after_help = EXPLANATION)]
pub struct Args {
    /// The bucket and prefix to walk
    #[arg(value_name = "s3://BUCKET/PREFIX")]
    uri: String,
    /// Print the figures as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default)]
struct Figures {
    objects: u64,
    copied: u64,
    bytes: u64,
    up_to_date: u64,
    superseded: u64,
    skipped: u64,
    failed: u64,
    problems: Vec<String>,
}

pub async fn run(settings: Settings, args: Args) -> Result<Exit> {
    let Some((bucket, prefix)) = args.uri.strip_prefix("s3://").map(|r| r.split_once('/').unwrap_or((r, ""))) else {
        eprintln!("tierd: {:?} is no s3://BUCKET/PREFIX", args.uri);
        return Ok(Exit::Usage);
    };
    let bucket = match BucketName::new(bucket) {
        Ok(bucket) => bucket,
        Err(error) => {
            eprintln!("tierd: {error}");
            return Ok(Exit::Usage);
        }
    };
    let app = foreground(settings).await?;
    let replicator = app.replicator(&app.settings.replicate);
    if !replicator.speaks_of(bucket.as_str(), prefix) {
        eprintln!("tierd: no [[replicate]] rule of the configuration speaks of s3://{bucket}/{prefix}");
        return Ok(Exit::Usage);
    }
    let stop = CancellationToken::new();
    let _on_signal = super::run::stop_on_signal(stop.clone())?;
    let progress = Progress::default();
    let bar = ProgressBar::show(progress.clone());
    progress.phase("replicating", None);
    let mut figures = Figures::default();
    let mut pages = app.s3.list(&bucket, ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() });
    while let Some(page) = pages.next_page().await? {
        let mut copies = futures::stream::iter(page)
            .map(|object| {
                let (id, replicator, stop) = (ObjectId::new(bucket.clone(), object.key), &replicator, &stop);
                async move {
                    let copied =
                        if stop.is_cancelled() { Ok(vec![]) } else { replicator.replicate(&id, None, stop).await };
                    (id, copied)
                }
            })
            .buffer_unordered(app.settings.transition.concurrency.max(1));
        while let Some((id, copied)) = copies.next().await {
            progress.add_done(1);
            figures.objects += 1;
            match copied {
                Ok(all) => all.into_iter().for_each(|one| figures.count(one, &progress)),
                Err(error) if error.downcast_ref::<AwsError>().is_some_and(AwsError::is_outage) => return Err(error),
                Err(error) => figures.fail(format!("{id}: {error:#}")),
            }
        }
        if stop.is_cancelled() {
            break;
        }
    }
    bar.finish();
    figures.print(args.json, stop.is_cancelled());
    Ok(if figures.failed > 0 || stop.is_cancelled() { Exit::Failures } else { Exit::Done })
}

impl Figures {
    fn count(&mut self, one: Replicated, progress: &Progress) {
        match one {
            Replicated::Copied { bytes } => {
                self.copied += 1;
                self.bytes += bytes;
                progress.add_bytes(bytes);
            }
            Replicated::UpToDate => self.up_to_date += 1,
            Replicated::Superseded => self.superseded += 1,
            Replicated::SourceGone | Replicated::Unnamed | Replicated::Archived => self.skipped += 1,
        }
    }

    fn fail(&mut self, problem: String) {
        self.failed += 1;
        if self.problems.len() < PROBLEMS_NAMED {
            self.problems.push(problem);
        }
    }

    fn print(&self, as_json: bool, stopped: bool) {
        if as_json {
            let figures = json!({
                "objects": self.objects, "copied": self.copied, "bytes": self.bytes, "up_to_date": self.up_to_date,
                "superseded": self.superseded, "skipped": self.skipped, "failed": self.failed,
                "problems": self.problems, "stopped": stopped,
            });
            println!("{figures}");
            return;
        }
        println!(
            "{} objects: {} copied ({} bytes), {} up to date, {} superseded, {} skipped, {} failed",
            self.objects, self.copied, self.bytes, self.up_to_date, self.superseded, self.skipped, self.failed
        );
        for problem in &self.problems {
            eprintln!("  ! {problem}");
        }
        if stopped {
            eprintln!("tierd: stopped before the end; run it again for the rest");
        }
    }
}
