//! `tierd simulate`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use flate2::read::MultiGzDecoder;
use serde::Serialize;

use super::Exit;
use super::progress_bar::ProgressBar;
use super::whole_file::write_whole;
use crate::clock;
use crate::config::Settings;
use crate::policies;
use crate::prices::PriceList;
use crate::progress::Progress;
use crate::report::simulation;
use crate::tiering::cost::Prices;
use crate::tiering::policy::frequency::Frequency;
use crate::tiering::policy::recency::{Recency, RecencyStep};
use crate::tiering::simulate::comparison::{Comparison, Figure, Line};
use crate::tiering::simulate::policies::{Replayed, Setup};
use crate::tiering::simulate::replay::Cadence;
use crate::tiering::simulate::trace::{Trace, TraceReader};

/// Bad lines that are shown one by one.
const BAD_LINES_SHOWN: u64 = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A trace is a CSV file (gzip if its name ends in .gz) with a header and, in any order, the columns
  time    RFC 3339, or seconds since 1970
  bucket, key
  op      PUT, GET or DELETE
  bytes   sent by this access
  size    of the object: on a PUT, else it may be empty
Its lines may come in any order. An object that is read before any PUT was there when the trace begins.

Each policy runs daily, weekly and monthly; the table shows the costs of the daily runs, and how far each cadence is from
the optimum, which knows the future. Recency and frequency run with the steps and guards of the configuration; without
a configuration file, with the defaults.

Exit code 0 if all lines were read, 1 if some were left out (each is named on stderr).

Examples:
  tierd simulate --trace accesses.csv.gz
  tierd simulate --trace accesses.csv --policy adaptive,recency --region ap-northeast-2
  tierd simulate --trace accesses.csv --json | jq '.policies[] | {policy, cost_usd, ratio_to_optimum}'
  tierd simulate --trace accesses.csv --out simulation.html")]
pub struct Args {
    /// The trace: a CSV file, gzip if it ends in .gz
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// Only these of standard, intelligent-tiering, recency, frequency, adaptive and optimum
    #[arg(long, value_name = "P,…", value_delimiter = ',')]
    policy: Vec<Replayed>,
    /// Whose prices [default: those of aws.region]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
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
    prices: PricesOf,
    /// Daily runs: one line a policy.
    policies: Vec<Line>,
    /// The other cadences, for the policies where they matter.
    other_cadences: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct PricesOf {
    region: String,
    as_of: String,
    source: String,
}

/// A trace, and how many lines of its file were left out.
struct ReadTrace {
    trace: Trace,
    lines: usize,
    bad_lines: u64,
}

pub async fn run(settings: Settings, args: Args) -> Result<Exit> {
    let region = args.region.clone().unwrap_or_else(|| settings.aws.region.clone());
    let list = PriceList::of_region(&region);
    if let Some(warning) = list.warning(clock::now_secs().date_naive()) {
        eprintln!("mind the prices: {warning}");
    }
    let wanted = if args.policy.is_empty() { Replayed::ALL.to_vec() } else { args.policy.clone() };
    let progress = Progress::default();
    let bar = ProgressBar::show(progress.clone());
    let (file, prices, policies) = (args.trace.clone(), list.prices.clone(), wanted.clone());
    let work = tokio::task::spawn_blocking(move || -> Result<(ReadTrace, Comparison)> {
        let read = read_trace(&file, &progress)?;
        let comparison = compare(&settings, &prices, &read.trace, &policies, &progress)?;
        Ok((read, comparison))
    });
    let result = work.await.context("the simulation ended early");
    bar.finish();
    let (read, comparison) = result??;
    if args.json {
        println!("{}", serde_json::to_string(&output(&args, &read, &comparison, &list.prices, &wanted))?);
    } else {
        print!("{}", text(&read, &comparison, &list.prices, &wanted));
    }
    if let Some(file) = &args.out {
        let page = simulation::Page {
            trace: &args.trace.display().to_string(),
            objects: read.trace.objects(),
            first_day: read.trace.first_day,
            days: read.trace.days,
            prices: &list.prices,
            comparison: &comparison,
            policies: &wanted,
        };
        write_whole(file, &page.render()).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(if read.bad_lines > 0 { Exit::Failures } else { Exit::Done })
}

/// Reads the file to its end. A line that cannot be read is reported with its number and left out.
fn read_trace(file: &Path, progress: &Progress) -> Result<ReadTrace> {
    let opened = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let packed = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    let content: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(opened)) } else { Box::new(opened) };
    let mut content = BufReader::with_capacity(1 << 20, content);
    progress.phase("reading", None);
    let mut line = Vec::new();
    let mut reader: Option<TraceReader> = None;
    let (mut number, mut bad_lines) = (0_u64, 0_u64);
    loop {
        line.clear();
        let bytes = content
            .read_until(b'\n', &mut line)
            .with_context(|| format!("reading {} after line {number}", file.display()))?;
        if bytes == 0 {
            break;
        }
        number += 1;
        progress.add_bytes(bytes as u64);
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let Some(reader) = &mut reader else {
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            reader = Some(TraceReader::new(text).with_context(|| format!("{} line 1", file.display()))?);
            continue;
        };
        match reader.line(text) {
            Ok(()) => progress.add_records(1),
            Err(error) => {
                bad_lines += 1;
                if bad_lines <= BAD_LINES_SHOWN {
                    eprintln!("{}:{number}: left out: {error}", file.display());
                }
            }
        }
    }
    let Some(reader) = reader else { bail!("{} is empty: its first line names the columns", file.display()) };
    if bad_lines > BAD_LINES_SHOWN {
        eprintln!("{}: {} more lines were left out", file.display(), bad_lines - BAD_LINES_SHOWN);
    }
    progress.phase("sorting", None);
    let lines = reader.lines();
    let trace = reader.finish().with_context(|| file.display().to_string())?;
    Ok(ReadTrace { trace, lines, bad_lines })
}

/// Replays the policies on all cores.
fn compare(
    settings: &Settings,
    prices: &Prices,
    trace: &Trace,
    wanted: &[Replayed],
    progress: &Progress,
) -> Result<Comparison> {
    let steps = settings.transition.recency.iter();
    let steps = steps.map(|step| RecencyStep { up_to_days: step.up_to_days, class: step.class }).collect();
    let recency = Recency::new(steps).context("transition.recency")?;
    let shares = &settings.transition.frequency;
    let frequency =
        Frequency::new(shares.top_fraction, shares.top_class, shares.rest_class).context("transition.frequency")?;
    let guards = policies::guards(&settings.transition, &settings.restore);
    let setup = Setup { prices, guards: &guards, recency: &recency, frequency: &frequency };
    let parts = Comparison::parts(trace, wanted);
    progress.phase("replaying", Some(parts.len() as u64));
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Ok(Comparison::replay(&setup, trace, &parts, threads, || progress.add_done(1)))
}

fn output(args: &Args, read: &ReadTrace, comparison: &Comparison, prices: &Prices, wanted: &[Replayed]) -> Output {
    let lines = |cadence| wanted.iter().filter_map(move |policy| comparison.line(*policy, cadence));
    Output {
        trace: args.trace.display().to_string(),
        objects: read.trace.objects(),
        days: read.trace.days,
        lines: read.lines,
        bad_lines: read.bad_lines,
        prices: PricesOf {
            region: prices.region.clone(),
            as_of: prices.as_of.to_string(),
            source: prices.source.clone(),
        },
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

fn text(read: &ReadTrace, comparison: &Comparison, prices: &Prices, wanted: &[Replayed]) -> String {
    let ratio = |ratio: Option<f64>| ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.3}"));
    let shown = |figure| match figure {
        Figure::Usd(usd) => format!("{usd:.2}"),
        Figure::Count(count) => count.to_string(),
        Figure::Ratio(of) => ratio(of),
    };
    let lines: Vec<_> =
        wanted.iter().filter_map(|policy| Some((*policy, comparison.line(*policy, Cadence::Daily)?))).collect();
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
    format!(
        "{table}\n\n{} objects over {} days; US dollars at the prices of {} of {}\n\
         the last two columns: over the optimum when run weekly and monthly; all others are of daily runs\n",
        read.trace.objects(),
        read.trace.days,
        prices.region,
        prices.as_of,
    )
}
