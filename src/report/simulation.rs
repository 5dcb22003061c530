//! A simulation as one page: what each policy would have cost, for what, and over time. Like the storage report, it needs
//! no script, no font, no image and no network.

use chrono::{DateTime, TimeDelta};

use super::html::{CSS, esc};
use super::human::{count, usd, usd_short};
use super::svg::{Columns, Figure, Series, bar};
use crate::tiering::cost::Prices;
use crate::tiering::evidence::Day;
use crate::tiering::simulate::account::{Costs, PERIOD_DAYS};
use crate::tiering::simulate::comparison::Comparison;
use crate::tiering::simulate::policies::Replayed;
use crate::tiering::simulate::replay::Cadence;

const DOLLARS: Figure = Figure { axis: usd_short, full: usd, base: 1000.0 };

/// Columns of a chart at most; a longer trace has several periods in one.
const MOST_COLUMNS: usize = 60;

/// One part of a bill: its CSS class, its name, and its figure.
type Part = (&'static str, &'static str, fn(&Costs) -> f64);

/// What a bill is made of, by colour.
const PARTS: [Part; 5] = [
    ("c-glacier", "Storage", |costs| costs.storage_usd),
    ("c-standard", "Retrieval", |costs| costs.retrieval_usd),
    ("c-ia", "Requests", |costs| costs.requests_usd),
    ("c-failed", "Early deletion", |costs| costs.early_deletion_usd),
    ("c-intelligent", "Monitoring", |costs| costs.monitoring_usd),
];

/// Everything that the page shows.
#[derive(Debug)]
pub struct Page<'a> {
    pub trace: &'a str,
    pub objects: usize,
    pub first_day: Day,
    pub days: u16,
    pub prices: &'a Prices,
    pub comparison: &'a Comparison,
    pub policies: &'a [Replayed],
}

impl Page<'_> {
    pub fn render(&self) -> String {
        let charts: String = self.policies.iter().filter_map(|policy| self.over_time(*policy)).collect();
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <title>Simulation</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n\
             <header><h1>Simulation</h1><p class=\"soft\">{} · {} objects over {} days · prices of {}, {}</p>\
             <p class=\"lead\">{}</p></header>\n<main>{}{}<section><h2>Over time</h2>\
             <p class=\"soft\">What each policy would have cost, by periods of days, when run daily.</p>{}{charts}</section></main>\n\
             <footer><p class=\"soft\">Users write into STANDARD. A month has 30 days. Prices: {}.</p></footer>\n\
             </body>\n</html>\n",
            esc(self.trace),
            count(self.objects as u64),
            self.days,
            esc(&self.prices.region),
            self.prices.as_of,
            self.lead(),
            self.costs(),
            self.cadences(),
            legend(),
            esc(&self.prices.source),
        )
    }

    /// The page in a sentence.
    fn lead(&self) -> String {
        let usd_of = |policy| self.comparison.bill(policy, Cadence::Daily).map(|bill| bill.total().total_usd());
        match (usd_of(Replayed::Standard), usd_of(Replayed::Optimum), usd_of(Replayed::Adaptive)) {
            (Some(standard), Some(optimum), Some(adaptive)) => format!(
                "All in STANDARD would have cost <strong>{}</strong>, the adaptive policy <strong>{}</strong>, and \
                 nothing could have cost less than <strong>{}</strong>.",
                usd(standard),
                usd(adaptive),
                usd(optimum)
            ),
            (Some(standard), Some(optimum), None) => format!(
                "All in STANDARD would have cost <strong>{}</strong>, and nothing could have cost less than \
                 <strong>{}</strong>.",
                usd(standard),
                usd(optimum)
            ),
            _ => String::new(),
        }
    }

    fn costs(&self) -> String {
        let lines: Vec<_> =
            self.policies.iter().filter_map(|policy| self.comparison.line(*policy, Cadence::Daily)).collect();
        let highest = lines.iter().map(|line| line.cost_usd).fold(0.0, f64::max);
        let rows: String = lines
            .iter()
            .map(|line| {
                let figures = [
                    usd(line.cost_usd),
                    usd(line.storage_usd),
                    usd(line.retrieval_usd),
                    usd(line.requests_usd),
                    usd(line.early_deletion_usd),
                    usd(line.monitoring_usd),
                    count(line.moves),
                    count(line.delayed_reads),
                    ratio(line.ratio_to_standard),
                    ratio(line.ratio_to_optimum),
                ];
                let bar = bar("c-accent", line.cost_usd, highest);
                row(&format!("{}{bar}", line.policy), &figures)
            })
            .collect();
        let head = [
            "Policy",
            "Cost",
            "Storage",
            "Retrieval",
            "Requests",
            "Early deletion",
            "Monitoring",
            "Moves",
            "Delayed reads",
            "To STANDARD",
            "To the optimum",
        ];
        format!(
            "<section><h2>What it would have cost</h2>{}</section>",
            table("Costs by policy, daily runs", &head, &rows)
        )
    }

    fn cadences(&self) -> String {
        let rows: String = self
            .policies
            .iter()
            .filter(|policy| policy.has_cadence())
            .map(|policy| {
                let figures = Cadence::ALL.map(|cadence| {
                    self.comparison.line(*policy, cadence).map_or("–".to_owned(), |line| {
                        format!("{} ({})", usd(line.cost_usd), ratio(line.ratio_to_optimum))
                    })
                });
                row(policy.as_str(), &figures)
            })
            .collect();
        if rows.is_empty() {
            return String::new();
        }
        let head = ["Policy", "Daily", "Weekly", "Monthly"];
        format!(
            "<section><h2>How often it runs</h2>{}</section>",
            table("Cost, and its ratio to the optimum, by how often the policy runs", &head, &rows)
        )
    }

    fn over_time(&self, policy: Replayed) -> Option<String> {
        let bill = self.comparison.bill(policy, Cadence::Daily)?;
        let periods = usize::from(self.days.div_ceil(PERIOD_DAYS));
        let step = periods.div_ceil(MOST_COLUMNS).max(1);
        let sums = |periods: &[Costs]| -> Vec<Costs> {
            let sum = |some: &[Costs]| some.iter().fold(Costs::default(), |sum, costs| sum + *costs);
            periods.chunks(step).map(sum).collect()
        };
        let columns = sums(&bill.periods);
        let start = DateTime::UNIX_EPOCH + TimeDelta::days(i64::from(self.first_day));
        let label = |i: usize| {
            let day = start + TimeDelta::days((i * step) as i64 * i64::from(PERIOD_DAYS));
            (day.format("%b %y").to_string(), format!("from {}", day.format("%-d %B %Y")))
        };
        let id = format!("t-{}", policy.as_str());
        let title = format!("{}, by periods of {} days", policy.as_str(), step * usize::from(PERIOD_DAYS));
        let chart = Columns {
            id: &id,
            title: &title,
            desc: format!("Costs of {} over time, {} in all.", policy.as_str(), usd(bill.total().total_usd())),
            labels: (0..columns.len()).map(label).collect(),
            series: PARTS
                .iter()
                .map(|(css, name, of)| Series {
                    css,
                    name: (*name).to_owned(),
                    values: columns.iter().map(of).collect(),
                })
                .collect(),
            figure: DOLLARS,
            marks: vec![None; columns.len()],
            label_every: (columns.len() / 8).max(1),
        };
        Some(format!("<h3>{}</h3>{}", esc(policy.as_str()), chart.render()))
    }
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.3}"))
}

/// `name` is markup.
fn row(name: &str, figures: &[String]) -> String {
    let cells: String = figures.iter().map(|figure| format!("<td>{}</td>", esc(figure))).collect();
    format!("<tr><th scope=\"row\">{name}</th>{cells}</tr>")
}

fn table(caption: &str, head: &[&str], rows: &str) -> String {
    let head: String = head.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table><caption>{caption}</caption>\
         <thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

fn legend() -> String {
    let items: String =
        PARTS.iter().map(|(css, name, _)| format!("<li><span class=\"sw {css}\"></span>{name}</li>")).collect();
    format!("<ul class=\"legend\">{items}</ul>")
}
