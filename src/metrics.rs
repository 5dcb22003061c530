//! Metrics as lines in CloudWatch's embedded metric format (EMF): CloudWatch Logs makes metrics of them without an agent,
//! and anything else reads them as JSON. Dimensions are `Service` and `Job` or `Queue`, never a bucket or a user: each
//! distinct set of dimensions is billed as a metric of its own.
//!
//! Format: "Specification: Embedded metric format", Amazon CloudWatch user guide.

use serde_json::{Value, json};
use tracing::Level;

use crate::clock;
use crate::telemetry;

/// Where metrics go; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    namespace: String,
}

/// What a set of metrics is about.
#[derive(Debug, Clone, Copy)]
pub enum About<'a> {
    Service,
    Job(&'a str),
    Queue(&'a str),
}

/// CloudWatch's units, as far as tierd has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Count,
    Bytes,
    Milliseconds,
    Seconds,
    /// CloudWatch has no unit for money.
    None,
}

/// One metric: its name, unit and value.
pub type Metric = (&'static str, Unit, f64);

impl Metrics {
    pub fn new(namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into() }
    }

    /// Writes one EMF line. At most 100 metrics, which is EMF's limit; tierd has far fewer.
    pub fn emit(&self, about: About<'_>, metrics: &[Metric]) {
        if !metrics.is_empty() {
            telemetry::emit_json_line(&self.line(about, metrics));
        }
    }

    fn line(&self, about: About<'_>, metrics: &[Metric]) -> Value {
        let (dimension, message) = match about {
            About::Service => (None, "metrics of the service".to_owned()),
            About::Job(job) => (Some(("Job", job)), format!("metrics of job {job}")),
            About::Queue(queue) => (Some(("Queue", queue)), format!("metrics of queue {queue}")),
        };
        let mut line = telemetry::line_head(Level::INFO, "metrics", &message);
        let mut names = vec!["Service"];
        line.insert("Service".to_owned(), "tierd".into());
        if let Some((name, value)) = dimension {
            names.push(name);
            line.insert(name.to_owned(), value.into());
        }
        let definitions: Vec<Value> =
            metrics.iter().map(|(name, unit, _)| json!({"Name": name, "Unit": unit.as_str()})).collect();
        line.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": clock::now().timestamp_millis(),
                "CloudWatchMetrics": [{
                    "Namespace": self.namespace,
                    "Dimensions": [names],
                    "Metrics": definitions,
                }],
            }),
        );
        for (name, _, value) in metrics {
            line.insert((*name).to_owned(), number(*value));
        }
        Value::Object(line)
    }
}

impl Unit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Bytes => "Bytes",
            Self::Milliseconds => "Milliseconds",
            Self::Seconds => "Seconds",
            Self::None => "None",
        }
    }
}

/// Whole numbers without a fraction, so that people can read them.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_a_line_is_defined_and_has_its_value_and_dimensions_at_the_top() {
        let line = Metrics::new("tierd").line(
            About::Job("ingest"),
            &[("FilesIngested", Unit::Count, 3.0), ("JobDuration", Unit::Milliseconds, 12.5)],
        );
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "tierd");
        assert_eq!(directive["Dimensions"], json!([["Service", "Job"]]));
        for definition in directive["Metrics"].as_array().unwrap() {
            assert!(line[definition["Name"].as_str().unwrap()].is_number(), "{definition}");
        }
        assert_eq!(line["Job"], "ingest");
        assert_eq!(line["FilesIngested"], json!(3));
        assert_eq!(line["JobDuration"], json!(12.5));
        assert!(line["_aws"]["Timestamp"].as_i64().unwrap() > 1_600_000_000_000);
    }
}
