//! Log lines: one JSON object a line (or a line for people), each with `timestamp`, `level`, a stable dotted `event`,
//! `message`, and the event's own fields. Metrics ([`crate::metrics`]) go the same way out.
//!
//! Two things stand between an event and its line ([`mod@layers`]). Libraries do not speak below `info`, because what they
//! say there holds credentials and content. And one place in the code writes so many lines at once and so many a second
//! ([`mod@budget`]); a `log.held_back` line tells how many more there were. Metrics are never held back.

mod budget;
mod fields;
mod layers;
mod output;

use std::fmt;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use chrono::SecondsFormat;
use serde_json::{Map, Value};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::clock;
use fields::Fields;
use layers::{HeldBack, Limit, OnlyOwnDetails};
pub use output::{Output, stand_aside};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Pretty,
}

#[derive(Debug)]
struct Logging {
    output: Output,
    for_people: AtomicBool,
    filter: reload::Handle<EnvFilter, Registry>,
    limit: Limit,
}

static LOGGING: OnceLock<Logging> = OnceLock::new();

/// Starts logging for the whole process. `level` is a level name, which is tierd's own (libraries speak from `warn`), or
/// a list of directives as tracing-subscriber has them. Fails on a level that is neither, or when called twice.
pub fn init(output: Output, format: Format, level: &str) -> Result<()> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let limit = Limit::new();
    let logging =
        Logging { output, for_people: AtomicBool::new(format == Format::Pretty), filter: handle, limit: limit.clone() };
    LOGGING.set(logging).map_err(|_| anyhow::anyhow!("logging was started twice"))?;
    let lines = tracing_subscriber::fmt::layer().event_format(Lines).with_writer(move || output);
    let layers = tracing_subscriber::registry().with(filter).with(OnlyOwnDetails).with(limit).with(lines);
    layers.try_init().context("logging cannot start")
}

/// From now on lines look like this and begin at this level. Changes nothing if it fails, which is on a bad level.
pub fn change(format: Format, level: &str) -> Result<()> {
    let filter = filter(level)?;
    let Some(logging) = LOGGING.get() else { return Ok(()) };
    logging.filter.reload(filter).context("changing the level")?;
    logging.for_people.store(format == Format::Pretty, Ordering::Relaxed);
    Ok(())
}

fn filter(level: &str) -> Result<EnvFilter> {
    let directives = match level.parse::<tracing::level_filters::LevelFilter>() {
        Ok(level) => format!("warn,tierd={level}"),
        Err(_) => level.to_owned(),
    };
    EnvFilter::try_new(&directives)
        .with_context(|| format!("telemetry.level {level:?} is neither a level nor a list of directives"))
}

/// Tells what is due of lines that were held back. To be called every few seconds: a place that has become quiet asks
/// for no line by which it could be told.
pub fn tell_held_back() {
    if let Some(logging) = LOGGING.get() {
        logging.limit.due().iter().for_each(tell);
    }
}

/// Tells all that was held back: the last thing before the process ends.
pub fn finish() {
    if let Some(logging) = LOGGING.get() {
        logging.limit.close().iter().for_each(tell);
    }
}

fn tell(held_back: &HeldBack) {
    let Some(logging) = LOGGING.get() else { return };
    let message = format!("{} more such lines were held back", held_back.count);
    let line = render(logging.format(), held_back.level, "log.held_back", &message, held_back.fields());
    logging.write(&line);
}

/// Writes one finished JSON line beside the log lines. Only where those are JSON: a person at a terminal reads reports.
pub(crate) fn emit_json_line(line: &Value) {
    if let Some(logging) = LOGGING.get().filter(|logging| logging.format() == Format::Json) {
        logging.write(&format!("{line}\n"));
    }
}

impl Logging {
    fn format(&self) -> Format {
        if self.for_people.load(Ordering::Relaxed) { Format::Pretty } else { Format::Json }
    }

    fn write(&self, text: &str) {
        // A reader of our output who has gone away is no reason to stop working.
        let _gone = { self.output }.write_all(text.as_bytes());
    }
}

/// The fields that every line begins with, in their order.
pub(crate) fn line_head(level: Level, event: &str, message: &str) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("timestamp".to_owned(), clock::now().to_rfc3339_opts(SecondsFormat::Millis, true).into());
    line.insert("level".to_owned(), level.as_str().into());
    line.insert("event".to_owned(), event.into());
    line.insert("message".to_owned(), message.into());
    line
}

/// A whole line, its end with it.
fn render(format: Format, level: Level, event: &str, message: &str, fields: Vec<(String, Value)>) -> String {
    match format {
        Format::Json => {
            let mut line = line_head(level, event, message);
            for (key, value) in fields {
                line.entry(key).or_insert(value);
            }
            format!("{}\n", Value::Object(line))
        }
        Format::Pretty => {
            let time = clock::now().format("%H:%M:%S%.3f");
            let mut line = format!("{time} {:5} {event}: {message}", level.as_str());
            for (key, value) in fields {
                match value {
                    Value::String(text) => line.push_str(&format!(" {key}={text}")),
                    other => line.push_str(&format!(" {key}={other}")),
                }
            }
            line.push('\n');
            line
        }
    }
}

struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::of(event);
        let metadata = event.metadata();
        let name = fields.name(metadata);
        let format = LOGGING.get().map_or(Format::Json, Logging::format);
        writer.write_str(&render(format, *metadata.level(), &name, &fields.message, fields.rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_about_lines_that_were_held_back_is_like_any_other() {
        let held_back = HeldBack { level: Level::WARN, event: "record.rejected".to_owned(), count: 7 };
        let line = render(Format::Json, held_back.level, "log.held_back", "7 more", held_back.fields());
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["event"], &json["level"]), (&"log.held_back".into(), &"WARN".into()));
        assert_eq!((&json["of"], &json["held_back"]), (&"record.rejected".into(), &7.into()));
        let line = render(Format::Pretty, held_back.level, "log.held_back", "7 more", held_back.fields());
        assert!(line.ends_with(" WARN  log.held_back: 7 more of=record.rejected held_back=7\n"), "{line}");
    }

    #[test]
    fn a_level_is_a_name_or_directives_and_nothing_else() {
        for good in ["info", "off", "warn,tierd::jobs=debug"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        assert!(filter("tierd=loud").is_err());
    }
}
