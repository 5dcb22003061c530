//! A report for a terminal.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use comfy_table::CellAlignment;

use super::Report;
use super::human::{bytes, count, counted, months, usd};
use super::tables::{add, printable, table};
use crate::tiering::policy::objection::SkipReason;
use crate::tiering::storage_class::StorageClass;
use crate::tiering::usage::{AgeBand, Sum, add_up};

/// Buckets that are listed on a terminal.
const BUCKETS: usize = 10;

/// Tables, with a line on the prices below.
pub fn render(report: &Report) -> String {
    let usage = &report.usage;
    if usage.total.objects == 0 {
        return "the ledger is empty: nothing has been counted or adopted yet\n".to_owned();
    }
    let figures = |sum: &Sum| [count(sum.objects), bytes(sum.bytes), usd(sum.monthly_usd)];
    let mut out = String::new();
    let mut by_class = table(&["class", "objects", "bytes", "a month"]);
    for (class, sum) in usage.by_class() {
        add(&mut by_class, class.map_or("not known yet", StorageClass::as_str), &figures(&sum));
    }
    add(&mut by_class, "all", &figures(&usage.total));
    let mut by_age = table(&["last used", "objects", "bytes", "a month"]);
    for age in AgeBand::ALL {
        add(&mut by_age, age.as_str(), &figures(&usage.of_age(age)));
    }
    let mut by_bucket = table(&["bucket", "objects", "bytes", "a month", "moves save"]);
    for bucket in usage.top_buckets.iter().take(BUCKETS) {
        let [objects, bytes, cost] = figures(&bucket.stored);
        let saving = usd(bucket.moves.planned.monthly_saving_usd);
        add(&mut by_bucket, &printable(bucket.bucket.as_str()), &[objects, bytes, cost, saving]);
    }
    for shown in [by_class, by_age, by_bucket] {
        out += &format!("{shown}\n\n");
    }
    let more = usage.buckets.saturating_sub(BUCKETS as u64);
    if more > 0 {
        out += &format!("and {} more\n\n", counted(more, "bucket"));
    }
    out += &moves(report);
    if !usage.moves.total.skipped.is_empty() {
        out += &format!("{}\n\n", skipped(&usage.moves.total.skipped));
    }
    let prices = &report.prices;
    out += &format!("prices: {} of {}, {}\n", prices.region, prices.as_of, printable(&prices.source));
    if let Some(warning) = &report.prices_warning {
        out += &format!("mind the prices: {warning}\n");
    }
    out
}

fn moves(report: &Report) -> String {
    let usage = &report.usage;
    let paying = usage.paying_moves();
    let later = later_paying(report);
    if paying.is_empty() {
        return format!("no move that policy {} wants would lower the bill now\n{later}", report.policy);
    }
    let mut table = table(&["move", "objects", "bytes", "saves a month", "costs once", "paid back in"]);
    let all = add_up(paying.iter().map(|(_, totals)| totals));
    let named = paying.iter().map(|((from, to), totals)| (format!("{from} to {to}"), *totals));
    for (name, totals) in named.chain([("all".to_owned(), all)]) {
        let figures = [
            count(totals.objects),
            bytes(totals.bytes),
            usd(totals.monthly_saving_usd),
            usd(totals.cost_usd),
            months(totals.months_to_break_even()),
        ];
        add(&mut table, &name, &figures);
    }
    format!("{table}\n\n{later}")
}

/// What raises the bill at first: moves into Intelligent-Tiering, whose storage costs less only when an object has been idle.
fn later_paying(report: &Report) -> String {
    let moves = report.usage.later_paying_moves();
    if moves.is_empty() {
        return String::new();
    }
    let mut table = table(&["move that pays with time", "objects", "bytes", "expected to save", "costs once"]);
    for ((from, to), totals) in &moves {
        let expected = usd(totals.expected_saving_usd.unwrap_or(0.0));
        let figures = [count(totals.objects), bytes(totals.bytes), expected, usd(totals.cost_usd)];
        add(&mut table, &format!("{from} to {to}"), &figures);
    }
    format!("{table}\n\n")
}

/// A table of what the guards keep where it is: the reason by its name, and in words.
pub(crate) fn skipped(reasons: &BTreeMap<SkipReason, u64>) -> impl fmt::Display {
    let mut most_first: Vec<_> = reasons.iter().collect();
    most_first.sort_by_key(|(_, objects)| Reverse(**objects));
    let mut shown = table(&["left where they are", "objects", "because"]);
    for (reason, objects) in most_first {
        add(&mut shown, reason.as_str(), &[count(*objects), of_reason(*reason).to_owned()]);
    }
    if let Some(because) = shown.column_mut(2) {
        because.set_cell_alignment(CellAlignment::Left);
    }
    shown
}

/// A reason as who does not know its name reads it.
pub(super) fn of_reason(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::NotReconciled => "their class or size is not known before the next reconcile",
        SkipReason::NoLastUse => "no use of them is known, nor when they were written",
        SkipReason::UnmanagedClass => "their class is not managed",
        SkipReason::ImpossibleMove => "S3 has no such move",
        SkipReason::UnderMinimumSize => "they are smaller than the least size that is moved",
        SkipReason::NoRecentIngest => "no ingest has ended well lately, so uses may be unseen",
        SkipReason::LogsTooShort => "the logs do not reach back far enough to say that nobody uses them",
        SkipReason::MinimumDuration => "the minimum duration of their class is not served yet",
        SkipReason::Archived => "they would have to be restored first, which is not enabled",
        SkipReason::NoSaving => "moving them would save nothing",
        SkipReason::PaybackTooLong => "moving them would pay back too late",
        SkipReason::ReadsCostMore => "their reads would cost more than their storage saves",
        SkipReason::CapReached => "a cap of the configuration is reached",
        SkipReason::Unreadable => "their rows in the ledger cannot be read",
        SkipReason::Gone => "they are gone",
        SkipReason::Changed => "they were changed meanwhile",
        SkipReason::UsedSincePlanned => "uses were counted since they were planned to go into a colder class",
        SkipReason::AlreadyThere => "they are in that class already",
        SkipReason::CustomerKey => "only the customer has their keys (SSE-C)",
        SkipReason::Versioned => "their buckets keep versions, and such are left alone",
        SkipReason::Locked => "the version that would be left behind is locked",
        SkipReason::CannotBeCarried => "a copy would lose something of them",
        SkipReason::RestoreRequested => "their restore was asked for",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{empty, hostile, sample};

    #[test]
    fn the_tables_hold_classes_ages_buckets_and_moves() {
        let text = render(&sample());
        for expected in
            ["STANDARD_IA", "91 to 180 days", "STANDARD to GLACIER", "saves a month", "prices: us-east-1 of 2026-08-01"]
        {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(render(&empty()).contains("the ledger is empty"));
    }

    #[test]
    fn why_objects_stay_is_told_by_name_and_in_words() {
        let report = sample();
        let text = render(&report);
        let skipped = &report.usage.moves.total.skipped;
        assert!(!skipped.is_empty());
        for reason in skipped.keys() {
            assert!(text.contains(reason.as_str()) && text.contains(of_reason(*reason)), "{reason}: {text}");
        }
    }

    #[test]
    fn a_terminal_is_told_nothing_but_letters() {
        assert!(!render(&hostile()).chars().any(|c| c.is_control() && c != '\n'));
    }

    #[test]
    fn every_reason_reads_as_a_sentence() {
        for reason in SkipReason::ALL {
            assert!(of_reason(reason).contains(' '), "{reason}");
        }
    }
}
