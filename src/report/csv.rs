//! A report as one table for spreadsheets (RFC 4180): a row a figure, told apart by `dimension`.
//!
//! | dimension | value | class |
//! |---|---|---|
//! | `total` | | |
//! | `class` | | the class |
//! | `age` | days since the last use | |
//! | `age_class` | days since the last use | the class |
//! | `size` | bounds | |
//! | `bucket` | the bucket; the dearest ones, then `(others)` | |
//! | `move` | the class that objects would move to | the one that they are in |
//! | `skipped` | the reason | |
//! | `last_run_skipped` | the reason for which the last transition run left objects | |
//! | `made_at`, `prices` | when, and whose of what day | |
//!
//! An empty field is one that the dimension does not have. A sum over `objects` is meant within one dimension only.

use super::Report;
use crate::clock::rfc3339;
use crate::tiering::plan::Totals;
use crate::tiering::storage_class::StorageClass;
use crate::tiering::usage::{AgeBand, SizeBand, Sum};

const HEADER: &str =
    "dimension,value,class,objects,bytes,monthly_usd,one_off_usd,monthly_saving_usd,months_to_break_even";

/// The table, with CRLF line ends.
pub fn render(report: &Report) -> String {
    let usage = &report.usage;
    let mut table = Table(format!("{HEADER}\r\n"));
    table.row("total", "", "", &stored(&usage.total), Some(&usage.moves.total.planned));
    for (class, sum) in usage.by_class() {
        table.row("class", "", class_name(class), &stored(&sum), None);
    }
    for age in AgeBand::ALL {
        table.row("age", age.as_str(), "", &stored(&usage.of_age(age)), None);
    }
    for ((class, age), sum) in &usage.by_class_and_age {
        table.row("age_class", age.as_str(), class_name(*class), &stored(sum), None);
    }
    for size in SizeBand::ALL {
        let sum = usage.by_size.get(&size).copied().unwrap_or_default();
        table.row("size", size.as_str(), "", &stored(&sum), None);
    }
    for bucket in &usage.top_buckets {
        table.row("bucket", bucket.bucket.as_str(), "", &stored(&bucket.stored), Some(&bucket.moves.planned));
    }
    if usage.other_buckets.buckets > 0 {
        table.row("bucket", "(others)", "", &stored(&usage.other_buckets.stored), Some(&usage.other_buckets.planned));
    }
    for ((from, to), moves) in
        usage.paying_moves().into_iter().chain(usage.later_paying_moves()).chain(usage.costing_moves())
    {
        let size = [moves.objects.to_string(), moves.bytes.to_string(), String::new()];
        table.row("move", to.as_str(), from.as_str(), &size, Some(&moves));
    }
    for (reason, objects) in &usage.moves.total.skipped {
        table.row("skipped", reason.as_str(), "", &[objects.to_string(), String::new(), String::new()], None);
    }
    for (reason, objects) in report.transitions.last().into_iter().flat_map(|run| &run.skipped) {
        table.row("last_run_skipped", reason, "", &[objects.to_string(), String::new(), String::new()], None);
    }
    let nothing = [const { String::new() }; 3];
    table.row("made_at", &rfc3339(report.made_at), "", &nothing, None);
    let prices = &report.prices;
    table.row("prices", &format!("{} of {}: {}", prices.region, prices.as_of, prices.source), "", &nothing, None);
    table.0
}

struct Table(String);

impl Table {
    fn row(&mut self, dimension: &str, value: &str, class: &str, sum: &[String; 3], moves: Option<&Totals>) {
        let [objects, bytes, monthly_usd] = sum;
        let [one_off, saving, months] = moves.map_or_else(Default::default, |totals| {
            let months = totals.months_to_break_even().map_or_else(String::new, |months| format!("{months:.2}"));
            [money(totals.cost_usd), money(totals.monthly_saving_usd), months]
        });
        let (value, class) = (text(value), text(class));
        self.0 +=
            &format!("{dimension},{value},{class},{objects},{bytes},{monthly_usd},{one_off},{saving},{months}\r\n");
    }
}

fn stored(sum: &Sum) -> [String; 3] {
    [sum.objects.to_string(), sum.bytes.to_string(), money(sum.monthly_usd)]
}

fn money(usd: f64) -> String {
    // Small objects cost millionths. A zero has no sign.
    format!("{:.6}", if usd == 0.0 { 0.0 } else { usd })
}

fn class_name(class: Option<StorageClass>) -> &'static str {
    class.map_or("not known", StorageClass::as_str)
}

/// A field of text. What a spreadsheet would take for a formula gets an apostrophe before it (OWASP, "CSV Injection"); what
/// would end the field is quoted.
fn text(value: &str) -> String {
    let guarded = match value.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n') => format!("'{value}"),
        _ => value.to_owned(),
    };
    if guarded.contains([',', '"', '\r', '\n']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{hostile, sample};

    fn rows(csv: &str) -> Vec<Vec<&str>> {
        csv.lines().map(|line| line.split(',').collect()).collect()
    }

    #[test]
    fn every_row_has_every_column_and_parts_add_up_to_the_total() {
        let csv = render(&sample());
        assert!(csv.lines().all(|line| line.starts_with("prices,") || line.split(',').count() == 9), "{csv}");
        assert!(csv.ends_with("\r\n"));
        let rows = rows(&csv);
        let objects = |dimension: &str| -> u64 {
            rows.iter().filter(|row| row[0] == dimension).map(|row| row[3].parse::<u64>().unwrap()).sum()
        };
        let total = objects("total");
        assert!(total > 0);
        for dimension in ["class", "age", "age_class", "size", "bucket"] {
            assert_eq!(objects(dimension), total, "{dimension}");
        }
        assert!(objects("move") > 0 && objects("skipped") > 0);
        assert_eq!(objects("last_run_skipped"), 1203);
    }

    #[test]
    fn no_text_is_taken_for_a_formula_and_none_breaks_out_of_its_field() {
        for (value, field) in [
            ("plain", "plain"),
            ("=1+1", "'=1+1"),
            ("-2", "'-2"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+1", "'+1"),
            ("\tx", "'\tx"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=a\r\nb", "\"'=a\r\nb\""),
        ] {
            assert_eq!(text(value), field, "{value:?}");
        }
        let csv = render(&hostile());
        assert!(csv.contains("bucket,'-2-cmd,"), "{csv}");
        assert!(csv.contains("last_run_skipped,\"<img src=x onerror=alert(6)>,=1\","), "{csv}");
        assert!(csv.contains("prices,\"us-east-1 of 2026-08-01: =cmd|' /C calc'!A0,\"\"</style>"), "{csv}");
    }
}
