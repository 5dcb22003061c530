//! Log lines: one JSON object a line (or a line for people), each with `timestamp`, `level`, a stable dotted `event`,
//! `message`, and the event's own fields. Metrics ([`crate::metrics`]) go the same way out.

use std::fmt;
use std::io::Write as _;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use chrono::SecondsFormat;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock;

/// Where lines go. The daemon's lines are its output; a command's output is its result, so its lines go to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Pretty,
}

static OUTPUT: OnceLock<(Output, Format)> = OnceLock::new();

/// Starts logging for the whole process. `level` is a level name, which is tierd's own (libraries speak from `warn`), or
/// a list of directives as tracing-subscriber has them. Fails on a level that is neither, or when called twice.
pub fn init(output: Output, format: Format, level: &str) -> Result<()> {
    let directives = match level.parse::<tracing::level_filters::LevelFilter>() {
        Ok(level) => format!("warn,tierd={level}"),
        Err(_) => level.to_owned(),
    };
    let filter = EnvFilter::try_new(&directives)
        .with_context(|| format!("telemetry.level {level:?} is neither a level nor a list of directives"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).event_format(Lines(format));
    match output {
        Output::Stdout => builder.with_writer(std::io::stdout).try_init(),
        Output::Stderr => builder.with_writer(std::io::stderr).try_init(),
    }
    .map_err(|e| anyhow::anyhow!("logging cannot start: {e}"))?;
    OUTPUT.set((output, format)).map_err(|_| anyhow::anyhow!("logging was started twice"))
}

/// Writes one finished JSON line beside the log lines. Only where those are JSON: a person at a terminal reads reports.
pub(crate) fn emit_json_line(line: &Value) {
    let text = format!("{line}\n");
    // A reader of our output who has gone away is no reason to stop working.
    let _gone = match OUTPUT.get() {
        Some((Output::Stdout, Format::Json)) => std::io::stdout().lock().write_all(text.as_bytes()),
        Some((Output::Stderr, Format::Json)) => std::io::stderr().lock().write_all(text.as_bytes()),
        Some((_, Format::Pretty)) | None => Ok(()),
    };
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

struct Lines(Format);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        // A library's line has no name of its own; its target says where it comes from.
        let name = fields.event.unwrap_or_else(|| meta.target().replace("::", "."));
        match self.0 {
            Format::Json => {
                let mut line = line_head(*meta.level(), &name, &fields.message);
                for (key, value) in fields.rest {
                    line.entry(key).or_insert(value);
                }
                writeln!(writer, "{}", Value::Object(line))
            }
            Format::Pretty => {
                let time = clock::now().format("%H:%M:%S%.3f");
                write!(writer, "{time} {:5} {name}: {}", meta.level().as_str(), fields.message)?;
                for (key, value) in fields.rest {
                    match value {
                        Value::String(text) => write!(writer, " {key}={text}")?,
                        other => write!(writer, " {key}={other}")?,
                    }
                }
                writeln!(writer)
            }
        }
    }
}

#[derive(Default)]
struct Fields {
    event: Option<String>,
    message: String,
    rest: Vec<(String, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("event", Value::String(name)) => self.event = Some(name),
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.rest.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}
