//! A simulation as one page: what each policy would have cost, for what, and over time. Like the storage report, it needs
//! no script, no font, no image and no network.

use chrono::{DateTime, TimeDelta};

use super::html::{CSS, esc};
use super::human::{count, share_of_reads, usd, usd_short};
use super::svg::{self, Columns, Series, bar};
use crate::tiering::cost::Prices;
use crate::tiering::evidence::Day;
use crate::tiering::simulate::account::{Bill, Costs, PERIOD_DAYS};
use crate::tiering::simulate::comparison::{Comparison, Figure};
use crate::tiering::simulate::policies::Replayed;
use crate::tiering::simulate::replay::Cadence;

const DOLLARS: svg::Figure = svg::Figure { axis: usd_short, full: usd, base: 1000.0 };

/// Columns of a chart at most; a longer trace has several periods in one.
const MOST_COLUMNS: usize = 60;
/// Dates under a chart at most: they must not touch on a phone.
const LABELS: usize = 5;

/// The CSS classes of the parts of a bill, in the order of [`Costs::PARTS`].
const COLOURS: [&str; Costs::PARTS.len()] = ["c-glacier", "c-standard", "c-ia", "c-failed", "c-intelligent"];

/// Everything that the page shows.
#[derive(Debug)]
pub struct Page<'a> {
    /// What is replayed, for people.
    pub trace: &'a str,
    /// What to know of it, a line each.
    pub notes: &'a [String],
    pub objects: usize,
    pub first_day: Day,
    pub days: u16,
    pub prices: &'a Prices,
    pub comparison: &'a Comparison,
    pub policies: &'a [Replayed],
}

impl Page<'_> {
    pub fn render(&self) -> String {
        let highest_usd = self.highest_usd();
        let charts: String = self.policies.iter().filter_map(|policy| self.over_time(*policy, highest_usd)).collect();
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <title>Simulation</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n\
             <header><h1>Simulation</h1><p class=\"soft\">{} · {} objects over {} days · prices of {}, {}</p>\
             <p class=\"lead\">{}</p>{}</header>\n<main>{}{}<section><h2>Over time</h2>\
             <p class=\"soft\">What each policy would have cost, by periods of days, when run daily.</p>{}{charts}</section></main>\n\
             <footer><p class=\"soft\">Users write into STANDARD. A month has 30 days. Prices: {}.</p></footer>\n\
             </body>\n</html>\n",
            esc(self.trace),
            count(self.objects as u64),
            self.days,
            esc(&self.prices.region),
            self.prices.as_of,
            self.lead(),
            self.notes.iter().map(|note| format!("<p class=\"soft\">{}</p>", esc(note))).collect::<String>(),
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
                let figures: Vec<_> = line.columns().map(|(_, figure)| shown(figure)).collect();
                let bar = bar("c-accent", line.cost_usd, highest);
                row(&format!("{}{bar}", line.policy), &figures)
            })
            .collect();
        let names = lines.iter().take(1).flat_map(|line| line.columns().map(|(name, _)| capitalised(name)));
        let head: Vec<_> = ["Policy".to_owned()].into_iter().chain(names).collect();
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
        let head = ["Policy", "Daily", "Weekly", "Monthly"].map(str::to_owned);
        format!(
            "<section><h2>How often it runs</h2>{}</section>",
            table("Cost, and its ratio to the optimum, by how often the policy runs", &head, &rows)
        )
    }

    fn periods_a_column(&self) -> usize {
        usize::from(self.days.div_ceil(PERIOD_DAYS)).div_ceil(MOST_COLUMNS).max(1)
    }

    /// The dearest column of all charts.
    fn highest_usd(&self) -> f64 {
        let bills = self.policies.iter().filter_map(|policy| self.comparison.bill(*policy, Cadence::Daily));
        let sums = bills.flat_map(|bill| columns(bill, self.periods_a_column()));
        sums.map(|costs| costs.total_usd()).fold(0.0, f64::max)
    }

    fn over_time(&self, policy: Replayed, highest_usd: f64) -> Option<String> {
        let bill = self.comparison.bill(policy, Cadence::Daily)?;
        let step = self.periods_a_column();
        let columns = columns(bill, step);
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
            series: parts()
                .map(|(css, name, of)| Series { css, name, values: columns.iter().map(of).collect() })
                .collect(),
            figure: DOLLARS,
            marks: vec![None; columns.len()],
            label_every: columns.len().div_ceil(LABELS).max(1),
            at_least: highest_usd,
        };
        Some(format!("<h3>{}</h3>{}", esc(policy.as_str()), chart.render()))
    }
}

/// What each column stands for, of so many periods.
fn columns(bill: &Bill, periods: usize) -> Vec<Costs> {
    let sum = |some: &[Costs]| some.iter().fold(Costs::default(), |sum, costs| sum + *costs);
    bill.periods.chunks(periods).map(sum).collect()
}

fn shown(figure: Figure) -> String {
    match figure {
        Figure::Usd(sum) => usd(sum),
        Figure::Count(number) => count(number),
        Figure::Share(share) => share_of_reads(share),
        Figure::Ratio(of) => ratio(of),
    }
}

/// The parts of a bill: CSS class, name, and how much it is.
fn parts() -> impl Iterator<Item = (&'static str, String, fn(&Costs) -> f64)> {
    COLOURS.into_iter().zip(Costs::PARTS).map(|(css, (name, of))| (css, capitalised(name), of))
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.3}"))
}

/// `name` is markup.
fn row(name: &str, figures: &[String]) -> String {
    let cells: String = figures.iter().map(|figure| format!("<td>{}</td>", esc(figure))).collect();
    format!("<tr><th scope=\"row\">{name}</th>{cells}</tr>")
}

fn table(caption: &str, head: &[String], rows: &str) -> String {
    let head: String = head.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table><caption>{caption}</caption>\
         <thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

fn legend() -> String {
    let items: String =
        parts().map(|(css, name, _)| format!("<li><span class=\"sw {css}\"></span>{name}</li>")).collect();
    format!("<ul class=\"legend\">{items}</ul>")
}
