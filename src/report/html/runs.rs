//! The history of runs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::markup::{BYTES, COUNT, css_of_outcome, cut, esc, table};
use crate::report::Report;
use crate::report::history::Run;
use crate::report::human::{bytes, count, counted, span, usd};
use crate::report::svg::{Columns, Figure, Series};

/// Runs that are drawn, and runs that are listed.
const RUNS_DRAWN: usize = 30;
const RUNS_LISTED: usize = 10;

pub(super) fn runs(report: &Report) -> String {
    if report.ingests.is_empty() && report.transitions.is_empty() {
        return "<section><h2>Runs</h2><p>No run of ingest or transition is on record.</p></section>".to_owned();
    }
    let ingests = chart_of_runs("runs-ingest", "Accesses counted by each ingest", &report.ingests, COUNT, |run| {
        run.accesses as f64
    });
    let transitions =
        chart_of_runs("runs-transition", "Bytes moved by each transition", &report.transitions, BYTES, |run| {
            run.bytes_moved as f64
        });
    let mut latest: Vec<(&str, &Run)> = report
        .ingests
        .iter()
        .map(|run| ("ingest", run))
        .chain(report.transitions.iter().map(|run| ("transition", run)))
        .collect();
    latest.sort_by_key(|(_, run)| std::cmp::Reverse(run.started_at));
    let rows: String = latest
        .into_iter()
        .take(RUNS_LISTED)
        .map(|(job, run)| {
            let did = if job == "ingest" {
                format!("{} accesses in {} files", count(run.accesses), count(run.files))
            } else {
                format!(
                    "{} objects, {}, saving {} a month",
                    count(run.moved),
                    bytes(run.bytes_moved),
                    usd(run.monthly_saving_usd)
                )
            };
            let left = left(run);
            let problem = run.problem.as_deref().map_or_else(String::new, |problem| format!("; {}", cut(problem)));
            format!(
                "<tr><th scope=\"row\" class=\"text\">{}</th><td class=\"text\">{job}</td><td class=\"text\">\
                 <span class=\"sw {}\"></span>{}</td><td>{}</td><td class=\"text wide\">{}</td></tr>",
                run.started_at.format("%Y-%m-%d %H:%M"),
                css_of_outcome(&run.outcome),
                esc(&run.outcome),
                esc(&span(Duration::from_millis(run.duration_ms))),
                esc(&format!("{did}{left}{problem}")),
            )
        })
        .collect();
    format!(
        "<section><h2>Runs</h2><p class=\"soft\">The last ones of each job, oldest first; a run that failed or missed something is \
         marked !.</p><div class=\"pair\"><div><h3>Accesses counted by ingest</h3>{ingests}</div><div><h3>Bytes moved by \
         transition</h3>{transitions}</div></div><div style=\"margin-top:14px\">{}</div></section>",
        table("The latest runs, in UTC", &["Began", "\u{1}Job", "\u{1}Outcome", "Took", "\u{1}Did"], &rows, "")
    )
}

fn chart_of_runs(id: &str, title: &str, runs: &[Run], figure: Figure, what: fn(&Run) -> f64) -> String {
    if runs.is_empty() {
        return "<p class=\"soft\">None on record.</p>".to_owned();
    }
    let drawn = &runs[runs.len().saturating_sub(RUNS_DRAWN)..];
    let mut by_outcome: BTreeMap<&'static str, (String, Vec<f64>)> = BTreeMap::new();
    for (i, run) in drawn.iter().enumerate() {
        let (_, values) = by_outcome
            .entry(css_of_outcome(&run.outcome))
            .or_insert_with(|| (run.outcome.clone(), vec![0.0; drawn.len()]));
        values[i] = what(run);
    }
    let well = drawn.iter().filter(|run| run.outcome == "ok").count();
    Columns {
        id,
        title,
        desc: format!("{} runs, {well} of which ended well; the latest ones are in the table below.", drawn.len()),
        labels: drawn
            .iter()
            .map(|run| {
                (run.started_at.format("%-d %b").to_string(), run.started_at.format("%Y-%m-%d %H:%M").to_string())
            })
            .collect(),
        series: by_outcome.into_iter().map(|(css, (name, values))| Series { css, name, values }).collect(),
        figure,
        marks: drawn.iter().map(|run| (run.outcome != "ok").then_some("!")).collect(),
        // A day and a month take the room of two columns on a phone.
        label_every: drawn.len().max(8).div_ceil(4),
        at_least: 0.0,
    }
    .render()
}

/// What a transition left where it was, and why.
fn left(run: &Run) -> String {
    if run.skipped.is_empty() {
        return String::new();
    }
    let objects = run.skipped.iter().map(|(_, objects)| objects).sum();
    let reasons: Vec<String> =
        run.skipped.iter().map(|(reason, objects)| format!("{} {}", count(*objects), cut(reason))).collect();
    format!("; {} left: {}", counted(objects, "object"), reasons.join(", "))
}
