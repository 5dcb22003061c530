//! `tierd plan`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chrono::{DateTime, SubsecRound, Utc};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::progress_bar::ProgressBar;
use super::whole_file::WholeFile;
use super::{Exit, foreground};
use crate::clock::{self, rfc3339};
use crate::config::Settings;
use crate::jobs::Outcome;
use crate::jobs::transition::{Planned, Planner, discard, write_plan};
use crate::policies;
use crate::prices::PriceList;
use crate::progress::Progress;
use crate::report::human::{bytes, count, counted, months, usd};
use crate::report::tables::{add, printable, table};
use crate::report::text::skipped;
use crate::tiering::plan::{BucketSummary, CapLimits, Summary, Totals};

/// Buckets that are listed on a terminal.
const BUCKETS: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The plan goes by the configured policy, guards, caps and prices, and by what the ledger knows at this moment. Nothing is
changed, and no lease is taken: it may be made beside a running daemon.

  costs once     the copy's requests, retrieval, restore, and what is left of a minimum duration
  saves a month  what storage costs less; moves that are wanted for reading raise it
  paid back in   one by the other; never, where nothing is saved
  expected       what the adaptive policy expects to save in the long run: storage, requests and reads of all the time to
                 come, the move paid. A move into INTELLIGENT_TIERING saves nothing in its first month, since its bill goes
                 down only after 30 idle days: this is what it is made for

Where transition.adaptive.max_delayed_reads lets the adaptive policy archive, a line below says what share of the bucket's
reads is expected to wait for a restore in the next 30 days, how many have waited so far, and how many objects more may be
archived.

With --out, FILE has one JSON object a line, a move each, with its object, ETag, size, classes, uses, cost, saving and the
reason. People can read it, `jq` and `grep` can sift it, and `tierd apply FILE` executes it.

Examples:
  tierd plan
  tierd plan --out plan.jsonl && less plan.jsonl && tierd apply plan.jsonl
  tierd plan --json | jq '.moves, .skipped'

Exit code 0: done; 1: some buckets could not be read, and the plan lacks their moves; 69: a table is missing.")]
pub struct Args {
    /// Write the moves to this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print what the plan comes to as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

pub async fn run(settings: Settings, args: Args) -> Result<Exit> {
    let app = foreground(settings).await?;
    let list = policies::prices(&app.settings)?;
    let planner = app.planner().await?;
    let stop = CancellationToken::new();
    let _on_signal = super::run::stop_on_signal(stop.clone())?;
    let progress = Progress::default();
    let bar = ProgressBar::show(progress.clone());
    let planned = make(&planner, args.out.as_deref(), &progress, &stop).await;
    bar.finish();
    let plan =
        Plan { planner: &planner, planned: planned?, list: &list, out: args.out.as_deref(), ended: clock::now() };
    if args.json {
        println!("{}", plan.to_json());
    } else {
        print!("{}", plan.to_text());
    }
    Ok(if plan.planned.buckets_failed > 0 { Exit::Failures } else { Exit::Done })
}

/// Makes the plan, and the file if one is wanted: whole, or not at all.
async fn make(planner: &Planner, out: Option<&Path>, progress: &Progress, stop: &CancellationToken) -> Result<Planned> {
    let file = out.map(WholeFile::create).transpose().with_context(|| writing(out))?;
    let (moves, planning) = planner.begin(progress, stop);
    let (planned, file) = match file {
        None => (tokio::join!(planning, discard(moves, progress)).0, None),
        Some(mut file) => {
            let (planned_at, progress) = (planner.now.trunc_subsecs(0), progress.clone());
            let taking = AbortOnDropHandle::new(tokio::task::spawn_blocking(move || {
                write_plan(&mut file, planned_at, moves, &progress).map(|()| file)
            }));
            let (planned, written) = tokio::join!(planning, taking);
            (planned, Some(written?.with_context(|| writing(out))?))
        }
    };
    let planned = planned?;
    if stop.is_cancelled() {
        bail!("stopped before the plan was whole; nothing was written");
    }
    if let Some(file) = file {
        file.finish().with_context(|| writing(out))?;
    }
    Ok(planned)
}

fn writing(out: Option<&Path>) -> String {
    format!("writing {}", out.unwrap_or(Path::new("")).display())
}

/// A plan that was made, as it is shown.
struct Plan<'a> {
    planner: &'a Planner,
    planned: Planned,
    list: &'a PriceList,
    out: Option<&'a Path>,
    ended: DateTime<Utc>,
}

impl Plan<'_> {
    fn summary(&self) -> &Summary {
        &self.planned.summary
    }

    fn warning(&self) -> Option<String> {
        self.list.warning(self.ended.date_naive())
    }

    /// The names are those of the transition's report, where it has the same figure.
    fn to_json(&self) -> Value {
        let Planner { policies, evidence, prices, caps: CapLimits { max_objects, max_bytes, max_cost_usd }, .. } =
            self.planner;
        let total = &self.summary().total;
        let outcome = if self.planned.buckets_failed > 0 { Outcome::Partial } else { Outcome::Ok };
        let took = (self.ended - self.planner.now).num_milliseconds().max(0);
        let moves: Vec<Value> = self
            .summary()
            .by_pair
            .iter()
            .map(|((from, to), totals)| with(json!({ "from": from, "to": to }), figures_json(totals)))
            .collect();
        let buckets: Vec<Value> = self
            .summary()
            .by_bucket
            .iter()
            .map(|(bucket, summary)| {
                let head = json!({
                    "bucket": bucket, "policy": policies.of_bucket(bucket).name(), "considered": summary.considered,
                    "in_place": in_place(summary), "skipped": summary.skipped,
                    "delayed_reads": self.planned.outlooks.get(bucket),
                });
                with(head, figures_json(&summary.planned))
            })
            .collect();
        json!({
            "job": "plan",
            "outcome": outcome,
            "dry_run": true,
            "started_at": rfc3339(self.planner.now),
            "duration_ms": took,
            "policy": policies.default_name(),
            "considered": total.considered,
            "planned": total.planned.objects,
            "bytes_planned": total.planned.bytes,
            "in_place": in_place(total),
            "skipped": total.skipped,
            "cost_usd": total.planned.cost_usd,
            "monthly_saving_usd": total.planned.monthly_saving_usd,
            "expected_saving_usd": total.planned.expected_saving_usd,
            "months_to_break_even": total.planned.months_to_break_even(),
            "moves": moves,
            "buckets": buckets,
            "buckets_failed": self.planned.buckets_failed,
            "caps": { "max_objects": max_objects, "max_bytes": max_bytes, "max_cost_usd": max_cost_usd },
            "evidence": {
                "last_ok_ingest": evidence.last_ok_ingest.map(rfc3339), "logs_since": evidence.covered_since.map(rfc3339),
            },
            "prices": {
                "region": prices.region, "as_of": prices.as_of, "source": prices.source, "warning": self.warning(),
            },
            "out": self.out.map(|out| out.display().to_string()),
            "problems": self.planned.problems,
        })
    }

    fn to_text(&self) -> String {
        let total = &self.summary().total;
        let mut out = format!(
            "{} looked at under policy {}: {} to be moved, {} in place, {} left for a reason\n",
            counted(total.considered, "object"),
            self.planner.policies.default_name(),
            count(total.planned.objects),
            count(in_place(total)),
            count(total.skipped.values().sum()),
        );
        if total.planned.objects > 0 {
            out += &format!("\n{}\n", self.moves());
            out += &format!("\n{}", self.buckets());
        }
        if !total.skipped.is_empty() {
            out += &format!("\n{}\n", skipped(&total.skipped));
        }
        out.push('\n');
        self.foot(&mut out);
        out
    }

    fn moves(&self) -> impl std::fmt::Display {
        let mut shown = table(&self.head("move"));
        for ((from, to), totals) in &self.summary().by_pair {
            add(&mut shown, &format!("{from} to {to}"), &self.figures(totals));
        }
        add(&mut shown, "all", &self.figures(&self.summary().total.planned));
        shown
    }

    /// The buckets in which most can be saved.
    fn buckets(&self) -> String {
        let mut buckets: Vec<_> =
            self.summary().by_bucket.iter().filter(|(_, summary)| summary.planned.objects > 0).collect();
        buckets.sort_by(|(_, a), (_, b)| b.planned.monthly_saving_usd.total_cmp(&a.planned.monthly_saving_usd));
        let mut shown = table(&self.head("bucket"));
        for (bucket, summary) in buckets.iter().take(BUCKETS) {
            add(&mut shown, &printable(bucket.as_str()), &self.figures(&summary.planned));
        }
        let more = buckets.len().saturating_sub(BUCKETS) as u64;
        let more = if more > 0 { format!("and {} more\n", counted(more, "bucket")) } else { String::new() };
        format!("{shown}\n{more}")
    }

    /// The last column is there if the policy expects anything.
    fn head(&self, of: &'static str) -> Vec<&'static str> {
        let expected = self.summary().total.planned.expected_saving_usd.map(|_| "expected");
        [of, "objects", "bytes", "costs once", "saves a month", "paid back in"].into_iter().chain(expected).collect()
    }

    fn figures(&self, totals: &Totals) -> Vec<String> {
        let expected = self.summary().total.planned.expected_saving_usd;
        let expected = expected.map(|_| totals.expected_saving_usd.map_or("–".to_owned(), usd));
        let figures = [
            count(totals.objects),
            bytes(totals.bytes),
            usd(totals.cost_usd),
            usd(totals.monthly_saving_usd),
            months(totals.months_to_break_even()),
        ];
        figures.into_iter().chain(expected).collect()
    }

    fn foot(&self, out: &mut String) {
        let mut line = |text: String| writeln!(out, "{text}").expect("writing to a string cannot fail");
        let Planner { prices, caps: CapLimits { max_objects, max_bytes, max_cost_usd }, .. } = self.planner;
        let caps = [max_objects.map(|cap| counted(cap, "object")), max_bytes.map(bytes), max_cost_usd.map(usd)];
        let caps: Vec<String> = caps.into_iter().flatten().collect();
        if !caps.is_empty() {
            line(format!("caps of a run: {}", caps.join(", ")));
        }
        line(format!("prices: {} of {}, {}", prices.region, prices.as_of, printable(&prices.source)));
        if let Some(warning) = self.warning() {
            line(format!("mind the prices: {warning}"));
        }
        let outlooks = &self.planned.outlooks;
        for (bucket, outlook) in outlooks.iter().take(BUCKETS) {
            let of = if outlooks.len() == 1 { String::new() } else { format!("{}: ", printable(bucket.as_str())) };
            line(format!("{of}{outlook}; room in the archives for {}", counted(outlook.room, "more object")));
        }
        for problem in &self.planned.problems {
            line(format!("! {}", printable(problem)));
        }
        match self.out {
            Some(file) => line(format!(
                "{} written to {}; nothing else was changed",
                counted(self.summary().total.planned.objects, "move"),
                file.display()
            )),
            None => line("nothing was changed; --out FILE writes the moves for `tierd apply`".to_owned()),
        }
    }
}

/// Objects that are where their policy wants them.
fn in_place(summary: &BucketSummary) -> u64 {
    summary.considered.saturating_sub(summary.planned.objects + summary.skipped.values().sum::<u64>())
}

fn figures_json(totals: &Totals) -> Value {
    json!({
        "objects": totals.objects, "bytes": totals.bytes, "cost_usd": totals.cost_usd,
        "monthly_saving_usd": totals.monthly_saving_usd, "months_to_break_even": totals.months_to_break_even(),
        "expected_saving_usd": totals.expected_saving_usd,
    })
}

/// One object of the fields of both.
fn with(mut head: Value, rest: Value) -> Value {
    if let (Value::Object(head), Value::Object(rest)) = (&mut head, rest) {
        head.extend(rest);
    }
    head
}
