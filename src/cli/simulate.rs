//! `tierd simulate`.

mod read;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, Result};
use chrono::NaiveDate;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use self::read::{Logs, ReadTrace};
use super::Exit;
use super::progress_bar::ProgressBar;
use super::whole_file::write_whole;
use crate::clock;
use crate::config::{Restore, Settings, Transition};
use crate::policies;
use crate::prices::PriceList;
use crate::progress::Progress;
use crate::report::human::share_of_reads;
use crate::report::simulation;
use crate::tiering::cost::Prices;
use crate::tiering::policy::frequency::Frequency;
use crate::tiering::policy::recency::{Recency, RecencyStep};
use crate::tiering::simulate::comparison::{Comparison, Figure, Line};
use crate::tiering::simulate::policies::{Replayed, Setup};
use crate::tiering::simulate::replay::Cadence;
use crate::tiering::simulate::trace::Trace;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --trace, nothing else is needed: no configuration, no AWS. A trace is a CSV file (gzip if its name ends in .gz) with a
header and, in any order, the columns
  time    RFC 3339, or seconds since 1970
  bucket, key
  op      PUT, GET or DELETE
  bytes   sent by this access
  size    of the object: on a PUT, else it may be empty
Its lines may come in any order. An object that is read before any PUT was there when the trace begins.

Without --trace, the logs of the configured [[ingest.source]]s are read from S3, and then the buckets that they tell of are
listed, for sizes and for the objects that nobody used. Only LIST and GET: nothing is counted, written or moved, and a daemon
may run meanwhile; `tierd iam --part simulate` prints the permissions. All reads are replayed, also those that do not count by
[[ingest.count]], because all are paid for. What could not be known is said below the table: objects whose size nothing
tells are left out.

Each policy runs daily, weekly and monthly; the table shows the costs of the daily runs, and how far each cadence is from
the optimum, which knows the future. Recency and frequency run with the steps and guards of the configuration; without
a configuration file, with the defaults.

Under policy adaptive, and for the optimum, objects stay in classes that are read at once, unless
transition.adaptive.max_delayed_reads or --max-delayed-reads lets a share of the reads wait for a restore out of GLACIER or
DEEP_ARCHIVE: the table shows how many would have waited, and what share of the reads that is.

How to read it: `/ standard` below 1 saves money against doing nothing; `/ optimum` says how much more than the least
possible a policy costs. Moves pay for themselves over months, so a trace of a few weeks says little.

Exit code 0 if all was read, 1 if some was left out (each line, file or bucket is named on stderr).

Examples:
  tierd simulate                                     the last 365 days of your own logs
  tierd simulate --since 2026-01-01 --until 2026-06-30 --out simulation.html
  tierd simulate --trace accesses.csv.gz
  tierd simulate --trace accesses.csv --policy adaptive,recency --region ap-northeast-2
  tierd simulate --trace accesses.csv --policy adaptive --max-delayed-reads 0.01
  tierd simulate --trace accesses.csv --json | jq '.policies[] | {policy, cost_usd, ratio_to_optimum}'")]
pub struct Args {
    /// The trace: a CSV file, gzip if it ends in .gz [default: the configured logs]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Of the logs, this day (UTC) and those after it
    #[arg(long, value_name = "DATE", conflicts_with_all = ["trace", "days"])]
    since: Option<NaiveDate>,
    /// Of the logs, this day (UTC) and those before it [default: yesterday]
    #[arg(long, value_name = "DATE", conflicts_with = "trace")]
    until: Option<NaiveDate>,
    /// Of the logs, so many days up to the last
    #[arg(long, value_name = "N", default_value_t = 365, conflicts_with = "trace", value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
    /// Only these of standard, intelligent-tiering, recency, frequency, adaptive and optimum
    #[arg(long, value_name = "P,…", value_delimiter = ',')]
    policy: Vec<Replayed>,
    /// Whose prices [default: those of aws.region]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// What share of a bucket's reads may wait for a restore under policy adaptive, from 0 (it archives nothing) to below 1
    /// [default: transition.adaptive.max_delayed_reads]
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    max_delayed_reads: Option<f64>,
    /// One JSON object on stdout instead of a table
    #[arg(long)]
    json: bool,
    /// Write a page with the costs over time and by what they are for
    #[arg(long, value_name = "FILE.html", value_parser = parse_out)]
    out: Option<PathBuf>,
}

fn parse_out(file: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(file);
    let is_page = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("html") || e.eq_ignore_ascii_case("htm"));
    if is_page { Ok(path) } else { Err("the name of the file ends in .html".to_owned()) }
}

fn parse_share(share: &str) -> Result<f64, String> {
    let share: f64 = share.parse().map_err(|_| "write a share like 0.01, for one read in a hundred".to_owned())?;
    if (0.0..1.0).contains(&share) { Ok(share) } else { Err("write a share from 0 to below 1, like 0.01".to_owned()) }
}

/// The settings where no configuration file was named and none is there: a trace needs none.
pub fn settings_without_file() -> Result<Settings, crate::config::ConfigError> {
    Settings::from_toml("ingest.enabled = false")
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Output {
    trace: String,
    objects: usize,
    days: u16,
    lines: usize,
    bad_lines: u64,
    /// Where the trace is made of logs: what is in it, and what it lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<Logs>,
    prices: PricesOf,
    #[serde(flatten)]
    archives: Archives,
    /// Daily runs: one line a policy.
    policies: Vec<Line>,
    /// The other cadences, for the policies where they matter.
    other_cadences: Vec<Line>,
}

/// Whether adaptive and the optimum may use GLACIER and DEEP_ARCHIVE. (Recency and frequency do as their settings say.)
#[derive(Debug, Clone, Copy, Serialize)]
struct Archives {
    max_delayed_reads: f64,
    optimum_has_archives: bool,
}

impl Archives {
    fn of(settings: &Settings) -> Self {
        let max_delayed_reads = settings.transition.adaptive.max_delayed_reads;
        Self { max_delayed_reads, optimum_has_archives: max_delayed_reads > 0.0 }
    }

    fn note(self) -> String {
        if !self.optimum_has_archives {
            return "adaptive and the optimum use the classes that are read at once (STANDARD, STANDARD_IA, GLACIER_IR, \
                    INTELLIGENT_TIERING), so that no read waits; --max-delayed-reads lets some wait"
                .to_owned();
        }
        format!(
            "adaptive may use GLACIER and DEEP_ARCHIVE while no more than {} of each bucket's reads wait for a restore, a \
             day's reads of an object being one; the optimum uses them too, and restores each object before it is read",
            share_of_reads(self.max_delayed_reads)
        )
    }
}

#[derive(Debug, Serialize)]
struct PricesOf {
    region: String,
    as_of: String,
    source: String,
}

pub async fn run(mut settings: Settings, args: Args) -> Result<Exit> {
    if let Some(share) = args.max_delayed_reads {
        settings.transition.adaptive.max_delayed_reads = share;
    }
    let archives = Archives::of(&settings);
    let list = price_list(&settings, args.region.as_deref())?;
    if let Some(warning) = list.warning(clock::now_secs().date_naive()) {
        eprintln!("mind the prices: {warning}");
    }
    if args.trace.is_none() && settings.ingest.source.is_empty() {
        eprintln!(
            "tierd: there is nothing to replay: name a file with --trace, or a configuration that has an \
             [[ingest.source]] with --config"
        );
        return Ok(Exit::Usage);
    }
    let wanted = if args.policy.is_empty() { Replayed::ALL.to_vec() } else { args.policy.clone() };
    let progress = Progress::default();
    let bar = ProgressBar::show(progress.clone());
    let result = read_and_compare(settings, &args, &list.prices, &wanted, &progress).await;
    bar.finish();
    let (read, comparison) = result?;
    if args.json {
        println!("{}", serde_json::to_string(&output(&read, &comparison, archives, &list.prices, &wanted))?);
    } else {
        print!("{}", text(&read, &comparison, archives, &list.prices, &wanted));
    }
    if let Some(file) = &args.out {
        let notes = notes(&read, archives);
        let page = simulation::Page {
            trace: &read.name,
            notes: &notes,
            objects: read.trace.objects(),
            first_day: read.trace.first_day,
            days: read.trace.days,
            prices: &list.prices,
            comparison: &comparison,
            policies: &wanted,
        };
        write_whole(file, &page.render()).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(if read.is_whole() { Exit::Done } else { Exit::Failures })
}

/// The prices of the region that is asked for; else, as everywhere, the user's own or those of the configured region.
fn price_list(settings: &Settings, region: Option<&str>) -> Result<PriceList> {
    match region {
        Some(region) if region != settings.aws.region => Ok(PriceList::of_region(region)),
        _ => policies::prices(settings),
    }
}

async fn read_and_compare(
    settings: Settings,
    args: &Args,
    prices: &Prices,
    wanted: &[Replayed],
    progress: &Progress,
) -> Result<(ReadTrace, Comparison)> {
    let (transition, restore) = (settings.transition.clone(), settings.restore.clone());
    let read = match args.trace.clone() {
        Some(file) => {
            let progress = progress.clone();
            let reading = tokio::task::spawn_blocking(move || read::from_file(&file, &progress));
            reading.await.context("the reading ended early")??
        }
        None => {
            let window = read::window(args.since, args.until, args.days, clock::now_secs().date_naive())?;
            let history = super::foreground(settings).await?.history().await?;
            read::from_logs(&history, window, progress).await?
        }
    };
    let (prices, wanted, progress) = (prices.clone(), wanted.to_vec(), progress.clone());
    let work = tokio::task::spawn_blocking(move || -> Result<(ReadTrace, Comparison)> {
        let comparison = compare(&transition, &restore, &prices, &read.trace, &wanted, &progress)?;
        Ok((read, comparison))
    });
    work.await.context("the simulation ended early")?
}

/// Replays the policies on all cores.
fn compare(
    transition: &Transition,
    restore: &Restore,
    prices: &Prices,
    trace: &Trace,
    wanted: &[Replayed],
    progress: &Progress,
) -> Result<Comparison> {
    let steps = transition.recency.iter();
    let steps = steps.map(|step| RecencyStep { up_to_days: step.up_to_days, class: step.class }).collect();
    let recency = Recency::new(steps).context("transition.recency")?;
    let shares = &transition.frequency;
    let frequency =
        Frequency::new(shares.top_fraction, shares.top_class, shares.rest_class).context("transition.frequency")?;
    let guards = policies::guards(transition, restore);
    let max_delayed_reads = transition.adaptive.max_delayed_reads;
    let setup = Setup { prices, guards: &guards, recency: &recency, frequency: &frequency, max_delayed_reads };
    let parts = Comparison::parts(trace, wanted);
    progress.phase("replaying", Some(parts.len() as u64));
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Ok(Comparison::replay(&setup, trace, &parts, threads, || progress.add_done(1)))
}

fn output(
    read: &ReadTrace,
    comparison: &Comparison,
    archives: Archives,
    prices: &Prices,
    wanted: &[Replayed],
) -> Output {
    let lines = |cadence| wanted.iter().filter_map(move |policy| comparison.line(*policy, cadence));
    Output {
        trace: read.name.clone(),
        objects: read.trace.objects(),
        days: read.trace.days,
        lines: read.lines,
        bad_lines: read.bad_lines,
        logs: read.logs.clone(),
        prices: PricesOf {
            region: prices.region.clone(),
            as_of: prices.as_of.to_string(),
            source: prices.source.clone(),
        },
        archives,
        policies: lines(Cadence::Daily).collect(),
        other_cadences: [Cadence::Weekly, Cadence::Monthly]
            .into_iter()
            .flat_map(|cadence| {
                let matters = wanted.iter().filter(|policy| policy.has_cadence());
                matters.filter_map(move |policy| comparison.line(*policy, cadence))
            })
            .collect(),
    }
}

/// Cents, and more where a trace is so small that all would be nothing: three digits of the dearest that count.
fn decimals(dearest_usd: f64) -> usize {
    if dearest_usd <= 0.0 { 2 } else { (2.0 - dearest_usd.log10().floor()).clamp(2.0, 12.0) as usize }
}

/// What to know of a simulation, a line each.
fn notes(read: &ReadTrace, archives: Archives) -> Vec<String> {
    let of_logs = read.logs.as_ref().map(Logs::notes).unwrap_or_default();
    [archives.note()].into_iter().chain(of_logs).collect()
}

fn text(read: &ReadTrace, comparison: &Comparison, archives: Archives, prices: &Prices, wanted: &[Replayed]) -> String {
    let ratio = |ratio: Option<f64>| ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.3}"));
    let lines: Vec<_> =
        wanted.iter().filter_map(|policy| Some((*policy, comparison.line(*policy, Cadence::Daily)?))).collect();
    let decimals = decimals(lines.iter().map(|(_, line)| line.cost_usd).fold(0.0, f64::max));
    let shown = |figure| match figure {
        Figure::Usd(usd) => format!("{usd:.decimals$}"),
        Figure::Count(count) => count.to_string(),
        Figure::Share(share) => share_of_reads(share),
        Figure::Ratio(of) => ratio(of),
    };
    let mut table = Table::new();
    let names = lines.iter().take(1).flat_map(|(_, line)| line.columns().map(|(name, _)| name));
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_header(["policy"].into_iter().chain(names).chain(["weekly", "monthly"]));
    for (policy, line) in &lines {
        let at = |cadence| ratio(comparison.line(*policy, cadence).and_then(|line| line.ratio_to_optimum));
        let figures = line.columns().map(|(_, figure)| shown(figure));
        let cadences = [Cadence::Weekly, Cadence::Monthly].map(at);
        table.add_row([line.policy.to_owned()].into_iter().chain(figures).chain(cadences));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let notes: String = notes(read, archives).iter().map(|note| format!("{note}\n")).collect();
    format!(
        "{table}\n\n{} objects over {} days; US dollars at the prices of {} of {}\n\
         the last two columns: over the optimum when run weekly and monthly; all others are of daily runs\n{notes}",
        read.trace.objects(),
        read.trace.days,
        prices.region,
        prices.as_of,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_costs_of_a_small_trace_are_not_all_nothing() {
        let decimals_of = |dearest: f64| format!("{dearest:.*}", decimals(dearest));
        for (dearest, text) in
            [(0.0, "0.00"), (1234.567, "1234.57"), (1.0, "1.00"), (0.25, "0.250"), (0.000_146_69, "0.000147")]
        {
            assert_eq!(decimals_of(dearest), text);
        }
    }
}
