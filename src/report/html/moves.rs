//! What moving would save, and why the other objects stay.

use super::markup::{css_of, esc, row, row_with_graph, table};
use crate::report::human::{bytes, count, months, usd};
use crate::report::{Report, svg, text};
use crate::tiering::plan::Totals;
use crate::tiering::storage_class::StorageClass;
use crate::tiering::usage::{Usage, add_up};

pub(super) fn moves(report: &Report) -> String {
    let usage = &report.usage;
    let paying_moves = usage.paying_moves();
    let highest = paying_moves.iter().map(|(_, totals)| totals.monthly_saving_usd).fold(0.0, f64::max);
    let mut html = format!(
        "<section><h2>What moving would save</h2><p class=\"soft\">The moves that policy {} wants and the guards allow, before any \
         cap on a single run.</p>",
        esc(&report.policy)
    );
    if paying_moves.is_empty() {
        html += "<p>No move would lower the bill now.</p>";
    } else {
        let rows: String = paying_moves.iter().map(|(pair, totals)| move_row(*pair, totals, highest)).collect();
        let all = paying(usage);
        let total = if paying_moves.len() > 1 {
            row_with_graph(
                "All",
                "",
                &[
                    usd(all.monthly_saving_usd),
                    usd(all.cost_usd),
                    months(all.months_to_break_even()),
                    bytes(all.bytes),
                    count(all.objects),
                ],
            )
        } else {
            String::new()
        };
        html += &table(
            "Moves that lower the bill",
            &["Move", "\u{0}Saving", "Saves a month", "Costs once", "Paid back in", "Bytes", "Objects"],
            &rows,
            &total,
        );
    }
    html += &later_paying(usage);
    let costing = usage.costing_moves();
    if !costing.is_empty() {
        let rows: String = costing
            .iter()
            .map(|((from, to), totals)| {
                row(
                    &format!("{from}\u{a0}→ {to}"),
                    &[
                        usd(-totals.monthly_saving_usd),
                        usd(totals.cost_usd),
                        bytes(totals.bytes),
                        count(totals.objects),
                    ],
                )
            })
            .collect();
        html += "<h3 style=\"margin-top:20px\">Wanted for reading</h3><p class=\"soft\">Objects in use that a dearer class serves \
                 better.</p>";
        html += &table(
            "Moves that raise the bill for storage",
            &["Move", "Adds a month", "Costs once", "Bytes", "Objects"],
            &rows,
            "",
        );
    }
    let mut skipped: Vec<_> = usage.moves.total.skipped.iter().collect();
    skipped.sort_by(|a, b| b.1.cmp(a.1));
    if !skipped.is_empty() {
        let rows: String = skipped
            .into_iter()
            .map(|(reason, objects)| {
                format!(
                    "<tr><th scope=\"row\" class=\"text wide\">{}</th><td class=\"text\"><code>{}</code></td><td>{}</td></tr>",
                    esc(text::of_reason(*reason)),
                    esc(reason.as_str()),
                    count(*objects)
                )
            })
            .collect();
        html += &format!(
            "<details><summary>Why other objects stay where they are</summary>{}</details>",
            table("Objects that the guards keep where they are", &["Because", "\u{1}Name", "Objects"], &rows, "")
        );
    }
    html + "</section>"
}

fn later_paying(usage: &Usage) -> String {
    let moves = usage.later_paying_moves();
    if moves.is_empty() {
        return String::new();
    }
    let rows: String = moves
        .iter()
        .map(|((from, to), totals)| {
            row(
                &format!("{from} → {to}"),
                &[
                    usd(totals.expected_saving_usd.unwrap_or(0.0)),
                    usd(-totals.monthly_saving_usd),
                    usd(totals.cost_usd),
                    bytes(totals.bytes),
                    count(totals.objects),
                ],
            )
        })
        .collect();
    format!(
        "<h3 style=\"margin-top:20px\">Pays with time</h3><p class=\"soft\">INTELLIGENT_TIERING bills its fee from the first day and \
         less for storage after 30 idle days. What is expected is over all the time to come, by what the logs have taught.</p>{}",
        table(
            "Moves that are expected to lower the bill with time",
            &["Move", "Expected to save", "Adds a month at first", "Costs once", "Bytes", "Objects"],
            &rows,
            "",
        )
    )
}

fn move_row((from, to): (StorageClass, StorageClass), totals: &Totals, highest: f64) -> String {
    row_with_graph(
        &format!("{from}\u{a0}→ {to}"),
        &svg::bar(css_of(Some(to)), totals.monthly_saving_usd, highest),
        &[
            usd(totals.monthly_saving_usd),
            usd(totals.cost_usd),
            months(totals.months_to_break_even()),
            bytes(totals.bytes),
            count(totals.objects),
        ],
    )
}

pub(super) fn paying(usage: &Usage) -> Totals {
    add_up(usage.paying_moves().iter().map(|(_, totals)| totals))
}
