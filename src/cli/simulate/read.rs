//! Where the trace of `tierd simulate` comes from: a file, or the configured logs.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use chrono::{Days, NaiveDate};
use flate2::read::MultiGzDecoder;
use serde::Serialize;

use crate::jobs::ingest::history::{History, ReadHistory, Window};
use crate::progress::Progress;
use crate::tiering::simulate::logs::LogFigures;
use crate::tiering::simulate::trace::csv::TraceReader;
use crate::tiering::simulate::trace::{Built, Trace};

/// Bad lines, files and buckets that are shown one by one.
const SHOWN: usize = 20;

/// A trace, and what of its file or its logs is not in it.
pub struct ReadTrace {
    pub trace: Trace,
    /// For people.
    pub name: String,
    /// Accesses in it.
    pub lines: usize,
    pub bad_lines: u64,
    /// Where it is made of logs.
    pub logs: Option<Logs>,
}

/// What a trace that is made of logs has in it, and lacks.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Logs {
    pub files: u64,
    pub files_unreadable: usize,
    pub records: u64,
    #[serde(flatten)]
    pub figures: LogFigures,
    pub buckets_unlisted: usize,
    /// Left out, because nothing tells their size.
    pub objects_of_unknown_size: usize,
    /// In the listings, and never used in this time.
    pub objects_untouched: usize,
    /// No longer there, and no log tells since when.
    pub objects_vanished: usize,
}

impl ReadTrace {
    /// Whether all that was there to be read could be.
    pub fn is_whole(&self) -> bool {
        let logs_are = self.logs.as_ref().is_none_or(|logs| logs.files_unreadable == 0 && logs.buckets_unlisted == 0);
        self.bad_lines == 0 && logs_are
    }
}

/// Reads a trace file to its end. A line that cannot be read is reported with its number and left out.
pub fn from_file(file: &Path, progress: &Progress) -> Result<ReadTrace> {
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
                if bad_lines <= SHOWN as u64 {
                    eprintln!("{}:{number}: left out: {error}", file.display());
                }
            }
        }
    }
    let Some(reader) = reader else { bail!("{} is empty: its first line names the columns", file.display()) };
    if bad_lines > SHOWN as u64 {
        eprintln!("{}: {} more lines were left out", file.display(), bad_lines - SHOWN as u64);
    }
    progress.phase("sorting", None);
    let lines = reader.lines();
    let trace = reader.finish().with_context(|| file.display().to_string())?;
    Ok(ReadTrace { trace, name: file.display().to_string(), lines, bad_lines, logs: None })
}

/// Reads the configured logs of the days in `window`, and says on stderr what could not be known.
pub async fn from_logs(history: &History, window: Window, progress: &Progress) -> Result<ReadTrace> {
    let read = history.read(window, progress).await?;
    progress.phase("sorting", None);
    tell("left out", &read.unreadable);
    tell("sizes and unused objects are not known of", &read.unlisted);
    let ReadHistory { trace, files, records, records_bad, unreadable, unlisted } = read;
    let figures = trace.figures();
    let last = window.end.pred_opt().unwrap_or(window.end);
    if figures.accesses == 0 {
        bail!(
            "the logs of the configured sources tell of no access from {} to {last} ({files} files with {records} \
             records were read); ask for other days with --since and --until",
            window.first
        );
    }
    let Built { trace, left_out, untouched, vanished } =
        tokio::task::spawn_blocking(move || trace.finish()).await.context("sorting the trace")??;
    Ok(ReadTrace {
        trace,
        name: format!("the configured logs from {} to {last}", window.first),
        lines: usize::try_from(figures.accesses).unwrap_or(usize::MAX),
        bad_lines: records_bad,
        logs: Some(Logs {
            files,
            files_unreadable: unreadable.len(),
            records,
            figures,
            buckets_unlisted: unlisted.len(),
            objects_of_unknown_size: left_out,
            objects_untouched: untouched,
            objects_vanished: vanished,
        }),
    })
}

fn tell(what: &str, which: &[String]) {
    for one in which.iter().take(SHOWN) {
        eprintln!("{what} {one}");
    }
    if which.len() > SHOWN {
        eprintln!("{what} {} more", which.len() - SHOWN);
    }
}

/// The days that are asked for; up to and with yesterday, and a year, if nobody says otherwise.
pub fn window(since: Option<NaiveDate>, until: Option<NaiveDate>, days: u32, today: NaiveDate) -> Result<Window> {
    let end = match until {
        Some(until) => until.succ_opt().context("--until is too late a day")?,
        None => today,
    };
    let first = match since {
        Some(since) => since,
        None => end.checked_sub_days(Days::new(u64::from(days))).context("--days are too many")?,
    };
    if first >= end {
        bail!("--since {first} is not before the day after the last, {end}");
    }
    Ok(Window { first, end })
}

impl Logs {
    /// What a reader of the costs should know of the trace, a line each.
    pub fn notes(&self) -> Vec<String> {
        let LogFigures { accesses, duplicates, reads, reads_counted, .. } = self.figures;
        let twice = match duplicates {
            0 => String::new(),
            some => format!("; {some} more were there twice"),
        };
        let mut notes = vec![format!(
            "{} log files with {} records: {accesses} reads, writes and deletions{twice}",
            self.files, self.records
        )];
        let mut note = |what: &str, count: usize, why: &str| {
            if count > 0 {
                notes.push(format!("{what}: {count} ({why})"));
            }
        };
        note("objects never used in this time", self.objects_untouched, "taken as stored from the first day");
        note("objects left out", self.objects_of_unknown_size, "neither the logs nor a listing tell their size");
        note(
            "objects that are gone",
            self.objects_vanished,
            "no log tells since when, so they are taken as there to the last day",
        );
        note("log files left out", self.files_unreadable, "they cannot be read to their end");
        note(
            "buckets not listed",
            self.buckets_unlisted,
            "sizes are those of the logs, and unused objects are missing",
        );
        if reads_counted < reads {
            notes.push(format!(
                "{reads_counted} of {reads} reads count by [[ingest.count]]; all cost money and all are replayed, but a \
                 daemon with these rules would see only those that count"
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn the_days_end_yesterday_and_are_a_year_unless_somebody_says_otherwise() {
        let today = day("2024-03-10");
        let check = |since: Option<&str>, until: Option<&str>, days, first: &str, end: &str| {
            let window = window(since.map(day), until.map(day), days, today).unwrap();
            assert_eq!(window, Window { first: day(first), end: day(end) });
        };
        check(None, None, 365, "2023-03-11", "2024-03-10");
        check(None, None, 1, "2024-03-09", "2024-03-10");
        check(Some("2024-01-01"), None, 365, "2024-01-01", "2024-03-10");
        check(Some("2024-01-01"), Some("2024-01-01"), 365, "2024-01-01", "2024-01-02");
        check(None, Some("2024-01-31"), 31, "2024-01-01", "2024-02-01");
        assert!(window(Some(today), None, 365, today).is_err());
        assert!(window(Some(day("2024-01-02")), Some(day("2024-01-01")), 365, today).is_err());
    }
}
