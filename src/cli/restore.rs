//! `tierd restore`.

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use comfy_table::Table;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::progress_bar::ProgressBar;
use super::{Exit, foreground};
use crate::app::App;
use crate::aws::{AwsError, Kind};
use crate::clock::{self, rfc3339};
use crate::config::Settings;
use crate::progress::Progress;
use crate::restore::{Asked, Restorer, Standing, is_hopeless};
use crate::s3::list::ListRequest;
use crate::tiering::object::{BucketName, ObjectId};
use crate::tiering::restore::{RestoreRequest, Tier};
use crate::tiering::storage_class::StorageClass;

const EXAMPLES: &str = "\
An object in GLACIER or DEEP_ARCHIVE cannot be read before S3 has restored it, which takes from \
minutes to two days:

  from            expedited   standard      bulk
  GLACIER         1-5 min     3-5 hours     5-12 hours
  DEEP_ARCHIVE    -           12 hours      48 hours

This command asks S3 and returns. When S3 is done, the daemon (`tierd run`) copies the object back \
into its class and takes the tag off; `--status` shows how far it is. Asking twice does no harm.

Examples:
  tierd restore s3://siuu42-1762000000/photos/2019/beach.jpg
  tierd restore --tier bulk --days 3 --recursive s3://siuu42-1762000000/photos/2019/
  tierd restore --status s3://siuu42-1762000000/photos/2019/beach.jpg

Exit code 0: every object was asked for, or can be read already; 1: at least one was refused or is \
missing.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The objects, as s3://BUCKET/KEY with the key as it is (not encoded); with --recursive, prefixes
    #[arg(required = true, value_name = "s3://BUCKET/KEY")]
    uris: Vec<String>,
    /// How many days S3 keeps the restored copy, should it not be copied back before [default: restore.days]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    days: Option<u32>,
    /// How fast, and how dear: standard, bulk or expedited [default: restore.tier]
    #[arg(long, value_name = "TIER")]
    tier: Option<Tier>,
    /// Show how far each restore is, and ask for nothing
    #[arg(long, conflicts_with_all = ["days", "tier"])]
    status: bool,
    /// Take each URI for a prefix, and all archived objects under it
    #[arg(long, short)]
    recursive: bool,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

pub async fn run(settings: Settings, args: Args) -> Result<Exit> {
    let targets = match targets(&args) {
        Ok(targets) => targets,
        Err(problem) => {
            eprintln!("tierd: {problem}");
            return Ok(Exit::Usage);
        }
    };
    let app = foreground(settings).await?;
    let stop = CancellationToken::new();
    let _on_signal = super::run::stop_on_signal(stop.clone())?;
    let progress = Progress::default();
    let bar = ProgressBar::show(progress.clone());
    let ran = work(&app, &args, targets, &progress, &stop).await;
    bar.finish();
    let done = ran?;
    if args.json {
        println!("{}", done.json(args.status));
    } else {
        done.print(args.status);
    }
    Ok(done.exit())
}

/// What an argument names.
enum Target {
    Object(ObjectId),
    Prefix(BucketName, String),
}

fn targets(args: &Args) -> Result<Vec<Target>, String> {
    args.uris
        .iter()
        .map(|uri| {
            if !args.recursive {
                let id: ObjectId = uri.parse().map_err(|e| format!("{e}{}", hint(uri)))?;
                return Ok(Target::Object(id));
            }
            let rest = uri.strip_prefix("s3://").ok_or_else(|| format!("{uri:?} is no s3://BUCKET/PREFIX"))?;
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let bucket = BucketName::new(bucket).map_err(|e| e.to_string())?;
            Ok(Target::Prefix(bucket, prefix.to_owned()))
        })
        .collect()
}

fn hint(uri: &str) -> &'static str {
    let names_a_bucket = uri.strip_prefix("s3://").is_some_and(|rest| !rest.trim_end_matches('/').contains('/'));
    if names_a_bucket { "; for all objects of a bucket or under a prefix, add --recursive" } else { "" }
}

async fn work(
    app: &App,
    args: &Args,
    targets: Vec<Target>,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Done> {
    let restorer = app.restorer();
    let mut done = Done { stopped: false, objects: Vec::new(), readable: 0 };
    progress.phase(if args.status { "looking" } else { "asking" }, None);
    for target in targets {
        match target {
            Target::Object(id) => {
                progress.add_total(1);
                one_after_another(&restorer, args, vec![id], progress, stop, &mut done).await?;
            }
            Target::Prefix(bucket, prefix) => {
                let mut pages = app.s3.list(&bucket, ListRequest { prefix, ..ListRequest::default() });
                while let Some(page) = pages.next_page().await? {
                    let all = page.len();
                    let archived: Vec<ObjectId> = page
                        .into_iter()
                        // Whether Intelligent-Tiering has archived an object, only its head tells.
                        .filter(|o| o.class.is_archive() || o.class == StorageClass::IntelligentTiering)
                        .map(|o| ObjectId::new(bucket.clone(), o.key))
                        .collect();
                    done.readable += (all - archived.len()) as u64;
                    progress.add_total(archived.len() as u64);
                    one_after_another(&restorer, args, archived, progress, stop, &mut done).await?;
                }
            }
        }
    }
    Ok(done)
}

/// A few at a time, reported in the order given.
async fn one_after_another(
    restorer: &Restorer,
    args: &Args,
    ids: Vec<ObjectId>,
    progress: &Progress,
    stop: &CancellationToken,
    done: &mut Done,
) -> Result<()> {
    let mut lines = futures::stream::iter(ids)
        .map(|id| async move {
            if stop.is_cancelled() {
                return None;
            }
            let result = if args.status {
                restorer.standing(&id, clock::now()).await.map(Said::Stands)
            } else {
                let request = RestoreRequest { id: id.clone(), days: args.days, tier: args.tier };
                restorer.request_for_reader(&request, stop).await.map(Said::Asked)
            };
            Some((id, result))
        })
        .buffered(restorer.concurrency());
    while let Some(line) = lines.next().await {
        progress.add_done(1);
        let Some((id, result)) = line else {
            done.stopped = true;
            continue;
        };
        let said = match result {
            Ok(said) => said,
            // Where nothing answers, or the state table is missing, the other objects fare no better.
            Err(error)
                if error.downcast_ref::<AwsError>().is_some_and(|e| is_hopeless(e) || e.kind == Kind::NotFound) =>
            {
                return Err(error).with_context(|| format!("asking for {id}"));
            }
            Err(error) => Said::Trouble(format!("{error:#}")),
        };
        done.objects.push((id, said));
    }
    Ok(())
}

/// What can be said of one object.
enum Said {
    Asked(Asked),
    Stands(Standing),
    Trouble(String),
}

struct Done {
    objects: Vec<(ObjectId, Said)>,
    /// Objects of a prefix that are in no archive.
    readable: u64,
    stopped: bool,
}

impl Done {
    fn exit(&self) -> Exit {
        let failed = self.objects.iter().any(|(_, said)| said.is_failure());
        if failed || self.stopped { Exit::Failures } else { Exit::Done }
    }

    fn json(&self, status: bool) -> Value {
        let objects: Vec<Value> = self.objects.iter().map(|(id, said)| said.json(id)).collect();
        let failed = self.objects.iter().filter(|(_, said)| said.is_failure()).count();
        let mut all = json!({
            "objects": objects,
            "failed": failed,
            "readable": self.readable,
            "stopped": self.stopped,
        });
        if !status {
            let begun = self.objects.iter().filter(|(_, said)| matches!(said, Said::Asked(Asked::Begun { .. })));
            all["requested"] = json!(begun.count());
        }
        all
    }

    fn print(&self, status: bool) {
        if status {
            self.print_table();
        } else {
            for (id, said) in &self.objects {
                if said.is_failure() {
                    eprintln!("tierd: {id}: {}", said.line());
                } else {
                    println!("{id}: {}", said.line());
                }
            }
        }
        if self.readable > 0 {
            println!("{} objects are in no archive and can be read as they are", self.readable);
        }
        if self.objects.is_empty() && self.readable == 0 {
            println!("there are no objects under this prefix");
        }
        if self.stopped {
            eprintln!("tierd: stopped before the end");
        }
    }

    fn print_table(&self) {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["object", "class", "state", "tier", "requested at", "expected by"]);
        for (id, said) in &self.objects {
            match said {
                Said::Stands(standing) => {
                    let expected = match (standing.expected, standing.expires_at) {
                        (Some((_, to)), _) => minutes(to),
                        (None, Some(expires)) => format!("copy lives until {}", minutes(expires)),
                        (None, None) => String::new(),
                    };
                    table.add_row([
                        id.to_string(),
                        standing.class.map(|c| c.to_string()).unwrap_or_default(),
                        standing.state.as_str().to_owned(),
                        standing.tier.map(|t| t.to_string()).unwrap_or_default(),
                        standing.requested_at.map(minutes).unwrap_or_default(),
                        expected,
                    ]);
                }
                other => {
                    table.add_row([id.to_string(), String::new(), other.line()]);
                }
            }
        }
        if !self.objects.is_empty() {
            println!("{table}");
        }
    }
}

impl Said {
    fn is_failure(&self) -> bool {
        match self {
            Self::Asked(Asked::Missing | Asked::Refused(_) | Asked::Failed(_)) | Self::Trouble(_) => true,
            Self::Asked(_) => false,
            Self::Stands(standing) => standing.class.is_none(),
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Asked(Asked::Begun { tier, instead_of, expected_by }) => {
                let why = instead_of.map_or(String::new(), |wanted| format!(", as S3 has no {wanted} capacity now"));
                format!("asked for at tier {tier}{why}{}", ready(*expected_by))
            }
            Self::Asked(Asked::Joined { expected_by }) => format!("is being restored already{}", ready(*expected_by)),
            Self::Asked(Asked::Finished) => "was restored already; it is copied back now".to_owned(),
            Self::Asked(Asked::NothingToDo(class)) => format!("is in {class} and can be read as it is; nothing to do"),
            Self::Asked(Asked::Missing) => "there is no such object".to_owned(),
            Self::Asked(Asked::Refused(reason)) => format!("refused: {reason}"),
            Self::Asked(Asked::Failed(reason)) => format!("failed: {reason}"),
            Self::Stands(standing) => standing.state.as_str().to_owned(),
            Self::Trouble(reason) => format!("failed: {reason}"),
        }
    }

    fn json(&self, id: &ObjectId) -> Value {
        let mut line = json!({ "object": id.to_string(), "bucket": id.bucket, "key": id.key });
        let fields = match self {
            Self::Asked(asked) => match asked {
                Asked::Begun { tier, instead_of, expected_by } => json!({
                    "outcome": "requested",
                    "tier": tier,
                    "instead_of": instead_of,
                    "expected_by": expected_by.map(rfc3339),
                }),
                Asked::Joined { expected_by } => {
                    json!({ "outcome": "joined", "expected_by": expected_by.map(rfc3339) })
                }
                Asked::Finished => json!({ "outcome": "finished" }),
                Asked::NothingToDo(class) => json!({ "outcome": "nothing-to-do", "class": class }),
                Asked::Missing => json!({ "outcome": "missing", "reason": self.line() }),
                Asked::Refused(reason) => json!({ "outcome": "refused", "reason": reason.to_string() }),
                Asked::Failed(reason) => json!({ "outcome": "failed", "reason": reason }),
            },
            Self::Trouble(reason) => json!({ "outcome": "failed", "reason": reason }),
            Self::Stands(standing) => json!({
                "class": standing.class,
                "state": standing.state.as_str(),
                "tier": standing.tier,
                "requested_at": standing.requested_at.map(rfc3339),
                "expected_from": standing.expected.map(|(from, _)| rfc3339(from)),
                "expected_by": standing.expected.map(|(_, to)| rfc3339(to)),
                "expires_at": standing.expires_at.map(rfc3339),
            }),
        };
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        line
    }
}

fn ready(expected_by: Option<DateTime<Utc>>) -> String {
    expected_by.map_or(String::new(), |at| format!(", ready by {} typically", minutes(at)))
}

fn minutes(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}
