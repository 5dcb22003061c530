//! The fields of an event as JSON values.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

/// Fields that hold JSON. In a line they stand as what they are, not as a text, so that queries see into them.
const STRUCTURED: [&str; 2] = ["figures", "report"];

#[derive(Default)]
pub(super) struct Fields {
    event: Option<String>,
    pub(super) message: String,
    /// Besides `event` and `message`.
    pub(super) rest: Vec<(String, Value)>,
}

impl Fields {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }

    /// The event's stable dotted name. A library's line has none; its target says where it comes from.
    pub(super) fn name(&mut self, metadata: &Metadata<'_>) -> String {
        self.event.take().unwrap_or_else(|| metadata.target().replace("::", "."))
    }

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
        let text = format!("{value:?}");
        let structure = STRUCTURED.contains(&field.name()).then(|| serde_json::from_str(&text).ok()).flatten();
        self.add(field, structure.unwrap_or_else(|| text.into()));
    }
}
