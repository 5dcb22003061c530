//! Past runs of a job, as far as a report shows them. They were written by other versions of the program too: a figure that
//! is missing is 0.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::state::runs::PastRun;

/// A past run of the ingest or the transition.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub started_at: DateTime<Utc>,
    /// `ok`, `partial`, `failed`, or what a later version calls it.
    pub outcome: String,
    pub duration_ms: u64,
    /// Accesses counted by an ingest.
    pub accesses: u64,
    /// Log files counted by an ingest.
    pub files: u64,
    /// Objects moved by a transition.
    pub moved: u64,
    pub bytes_moved: u64,
    pub monthly_saving_usd: f64,
    /// Objects that a transition left where they are, by reason, the most first.
    pub skipped: Vec<(String, u64)>,
    /// The first of what went wrong.
    pub problem: Option<String>,
}

impl Run {
    pub fn all(past: &[PastRun]) -> Vec<Self> {
        past.iter().map(Self::of).collect()
    }

    fn of(past: &PastRun) -> Self {
        let number = |name: &str| past.report[name].as_u64().unwrap_or(0);
        Self {
            started_at: past.started_at,
            outcome: past.report["outcome"].as_str().unwrap_or("unknown").to_owned(),
            duration_ms: number("duration_ms"),
            accesses: number("accesses"),
            files: number("files"),
            moved: number("moved"),
            bytes_moved: number("bytes_moved"),
            monthly_saving_usd: past.report["monthly_saving_usd"].as_f64().unwrap_or(0.0),
            skipped: skipped(&past.report["skipped"]),
            problem: past.report["problems"].get(0).and_then(Value::as_str).map(str::to_owned),
        }
    }
}

/// Reason → objects; an ingest has none, and neither has a report of another form.
fn skipped(reasons: &Value) -> Vec<(String, u64)> {
    let counts = reasons.as_object().into_iter().flatten();
    let mut skipped: Vec<(String, u64)> =
        counts.filter_map(|(reason, count)| Some((reason.clone(), count.as_u64()?))).collect();
    skipped.sort_by_key(|(_, objects)| Reverse(*objects));
    skipped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(report: Value) -> Run {
        let started_at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        Run::all(&[PastRun { started_at, report }]).remove(0)
    }

    #[test]
    fn a_run_is_read_from_the_report_that_it_left() {
        let read = run(json!({"outcome": "partial", "duration_ms": 5, "accesses": 7, "problems": ["a", "b"]}));
        assert_eq!((read.outcome.as_str(), read.duration_ms, read.accesses, read.moved), ("partial", 5, 7, 0));
        assert_eq!(read.problem.as_deref(), Some("a"));
    }

    #[test]
    fn why_a_transition_left_objects_is_remembered_the_most_first() {
        let read = run(json!({"outcome": "ok", "skipped": {"gone": 2, "versioned": 10, "odd": "x"}}));
        assert_eq!(read.skipped, [("versioned".to_owned(), 10), ("gone".to_owned(), 2)]);
    }

    #[test]
    fn a_report_of_another_form_is_no_error() {
        for report in [json!(null), json!([]), json!({"outcome": 3, "problems": "x", "accesses": -1})] {
            let read = run(report);
            assert_eq!((read.outcome.as_str(), read.accesses, read.problem), ("unknown", 0, None));
        }
    }
}
