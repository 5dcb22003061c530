//! A report as one page that needs nothing else: no script, no font, no image, no network. The page says so itself in its
//! content security policy, so that even a name that slipped through unescaped could load and run nothing.
//!
//! Each chart has a title, a description and a table with the same figures.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::history::Run;
use super::human::{bytes, count, count_short, months, percent, span, usd, usd_short};
use super::svg::{self, Columns, Figure, Series};
use super::{Report, text};
use crate::tiering::plan::Totals;
use crate::tiering::storage_class::StorageClass;
use crate::tiering::usage::{AgeBand, SizeBand, Sum, Usage, add_up};

pub(super) const CSS: &str = include_str!("page.css");

/// Runs that are drawn, and runs that are listed.
const RUNS_DRAWN: usize = 30;
const RUNS_LISTED: usize = 10;

const BYTES: Figure = Figure { axis: |v| axis_bytes(v), full: |v| bytes(v as u64), base: 1024.0 };
const DOLLARS: Figure = Figure { axis: usd_short, full: usd, base: 1000.0 };
const COUNT: Figure = Figure { axis: count_short, full: |v| count(v as u64), base: 1000.0 };

/// Text made fit for any place in a page, between tags or in a quoted attribute.
pub(super) fn esc(text: &str) -> Escaped<'_> {
    Escaped(text)
}

pub(super) struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Not allowed in HTML, and invisible to who reads it; a direction mark could turn a name around.
                c if (c.is_control() && !matches!(c, '\n' | '\t')) || is_direction_mark(c) => {
                    f.write_str("\u{fffd}")?
                }
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The page.
pub fn render(report: &Report) -> String {
    let usage = &report.usage;
    let mut page = head(report);
    page += "<main>";
    if usage.total.objects == 0 {
        page += "<section><h2>The ledger is empty</h2><p>Nothing has been counted or adopted yet: an ingest counts the \
                 accesses in the logs, and a reconcile finds what is in the buckets.</p></section>";
    } else {
        page += &by_class(usage);
        page += &by_age(usage);
        page += &moves(report);
        page += &buckets(usage);
        page += &sizes(usage);
    }
    page += &runs(report);
    page += "</main>";
    page += &foot(report);
    page
}

fn head(report: &Report) -> String {
    let usage = &report.usage;
    let pays = paying(usage);
    let date = report.made_at.format("%-d %B %Y, %H:%M UTC");
    let warning = match &report.prices_warning {
        Some(warning) => {
            format!("<p class=\"warning\" role=\"note\"><strong>Mind the prices:</strong> {}.</p>", esc(warning))
        }
        None => String::new(),
    };
    let saving_note = if pays.objects == 0 {
        "no move pays now".to_owned()
    } else {
        format!(
            "{} of the bill, for {} once",
            percent(pays.monthly_saving_usd, usage.total.monthly_usd),
            usd(pays.cost_usd)
        )
    };
    let tile = |css: &str, name: &str, figure: String, note: String| {
        format!(
            "<div class=\"tile {css}\"><dt>{name}</dt><dd>{}</dd><dd class=\"note\">{}</dd></div>",
            esc(&figure),
            esc(&note)
        )
    };
    let per_gib = if usage.total.bytes == 0 {
        String::new()
    } else {
        format!("${:.4} a GiB", usage.total.monthly_usd / (usage.total.bytes as f64 / (1_u64 << 30) as f64))
    };
    let tiles = [
        tile("", "Objects", count(usage.total.objects), format!("in {}", text::buckets(usage.buckets))),
        tile(
            "",
            "Stored",
            bytes(usage.total.bytes),
            format!("{} on average", bytes(usage.total.bytes / usage.total.objects.max(1))),
        ),
        tile("", "Storage, a month", usd(usage.total.monthly_usd), per_gib),
        tile("good", "Could be saved, a month", usd(pays.monthly_saving_usd), saving_note),
    ]
    .concat();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>Storage report, {}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n\
         <header><h1>Storage report</h1><p class=\"soft\">{date} · ledger {} · policy {} · prices of {}, {}</p>\
         {warning}<p class=\"lead\">{}</p><dl class=\"tiles\">{tiles}</dl></header>\n",
        report.made_at.date_naive(),
        esc(&report.ledger_table),
        esc(&report.policy),
        esc(&report.prices.region),
        report.prices.as_of,
        lead(usage, &pays),
    )
}

/// The report in two sentences.
fn lead(usage: &Usage, pays: &Totals) -> String {
    let stored = format!(
        "Storing <strong>{}</strong> costs <strong>{}</strong> a month.",
        bytes(usage.total.bytes),
        usd(usage.total.monthly_usd)
    );
    if pays.objects == 0 {
        return format!("{stored} No move would lower that now.");
    }
    format!(
        "{stored} Moving {} would save <strong>{}</strong> of it and pay back in {}.",
        text::objects(pays.objects),
        usd(pays.monthly_saving_usd),
        months(pays.months_to_break_even())
    )
}

fn by_class(usage: &Usage) -> String {
    let classes = usage.by_class();
    let part = |what: fn(&Sum) -> f64, full: fn(&Sum) -> String| -> Vec<(&'static str, String, f64)> {
        classes
            .iter()
            .map(|(class, sum)| (css_of(*class), format!("{}: {}", name_of(*class), full(sum)), what(sum)))
            .collect()
    };
    let bytes_of = part(|sum| sum.bytes as f64, |sum| bytes(sum.bytes));
    let cost_of = part(|sum| sum.monthly_usd, |sum| usd(sum.monthly_usd));
    let sentence =
        |parts: &[(&str, String, f64)]| parts.iter().map(|(_, name, _)| name.as_str()).collect::<Vec<_>>().join("; ");
    let rows: String = classes
        .iter()
        .map(|(class, sum)| {
            row(
                &format!("<span class=\"sw {}\"></span>{}", css_of(*class), name_of(*class)),
                &[
                    usd(sum.monthly_usd),
                    percent(sum.monthly_usd, usage.total.monthly_usd),
                    bytes(sum.bytes),
                    percent(sum.bytes as f64, usage.total.bytes as f64),
                    count(sum.objects),
                ],
            )
        })
        .collect();
    let total = row(
        "All",
        &[
            usd(usage.total.monthly_usd),
            "100%".to_owned(),
            bytes(usage.total.bytes),
            "100%".to_owned(),
            count(usage.total.objects),
        ],
    );
    format!(
        "<section><h2>By storage class</h2><p class=\"soft\">Where the bytes are, and where the money goes.</p>\
         <h3>Bytes</h3>{}<h3>Monthly cost</h3>{}{}</section>",
        svg::shares("class-bytes", "Bytes by storage class", &sentence(&bytes_of), &bytes_of),
        svg::shares("class-cost", "Monthly cost by storage class", &sentence(&cost_of), &cost_of),
        table(
            "Objects, bytes and monthly cost by storage class",
            &["Class", "A month", "of all", "Bytes", "of all", "Objects"],
            &rows,
            &total
        )
    )
}

fn by_age(usage: &Usage) -> String {
    let classes = usage.by_class();
    let ages: Vec<AgeBand> =
        AgeBand::ALL.into_iter().filter(|age| *age != AgeBand::Unknown || usage.of_age(*age).objects > 0).collect();
    let chart = |id, title, figure: Figure, what: fn(&Sum) -> f64| {
        let series = classes
            .iter()
            .map(|(class, _)| Series {
                css: css_of(*class),
                name: name_of(*class).to_owned(),
                values: ages.iter().map(|age| usage.by_class_and_age.get(&(*class, *age)).map_or(0.0, what)).collect(),
            })
            .collect();
        let desc = ages
            .iter()
            .map(|age| format!("{}: {}", age.as_str(), (figure.full)(what(&usage.of_age(*age)))))
            .collect::<Vec<_>>()
            .join("; ");
        Columns {
            id,
            title,
            desc,
            labels: ages.iter().map(|age| (short_age(*age).to_owned(), age.as_str().to_owned())).collect(),
            series,
            figure,
            marks: Vec::new(),
            label_every: 1,
        }
        .render()
    };
    let legend: String = classes
        .iter()
        .map(|(class, _)| format!("<li><span class=\"sw {}\"></span>{}</li>", css_of(*class), name_of(*class)))
        .collect();
    let rows: String = ages
        .iter()
        .map(|age| {
            let sum = usage.of_age(*age);
            row(
                age.as_str(),
                &[
                    usd(sum.monthly_usd),
                    percent(sum.monthly_usd, usage.total.monthly_usd),
                    bytes(sum.bytes),
                    percent(sum.bytes as f64, usage.total.bytes as f64),
                    count(sum.objects),
                ],
            )
        })
        .collect();
    let old: Vec<Sum> = ages
        .iter()
        .filter(|age| (AgeBand::To180Days..=AgeBand::Older).contains(*age))
        .map(|age| usage.of_age(*age))
        .collect();
    let idle_usd: f64 = old.iter().map(|sum| sum.monthly_usd).sum();
    let idle_bytes: u64 = old.iter().map(|sum| sum.bytes).sum();
    format!(
        "<section><h2>By time since the last use</h2><p class=\"soft\">{} of the bytes and {} of the cost are for objects that nobody \
         has used for over 90 days.</p><ul class=\"legend\" aria-hidden=\"true\">{legend}</ul><div class=\"pair\">\
         <div><h3>Bytes</h3>{}</div><div><h3>Monthly cost</h3>{}</div></div>\
         <details><summary>The same as a table</summary>{}</details></section>",
        percent(idle_bytes as f64, usage.total.bytes as f64),
        percent(idle_usd, usage.total.monthly_usd),
        chart("age-bytes", "Bytes by time since the last use", BYTES, |sum| sum.bytes as f64),
        chart("age-cost", "Monthly cost by time since the last use", DOLLARS, |sum| sum.monthly_usd),
        table(
            "Objects, bytes and monthly cost by time since the last use",
            &["Last used", "A month", "of all", "Bytes", "of all", "Objects"],
            &rows,
            ""
        )
    )
}

fn moves(report: &Report) -> String {
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
    let costing = usage.costing_moves();
    if !costing.is_empty() {
        let rows: String = costing
            .iter()
            .map(|((from, to), totals)| {
                row(
                    &format!("{from} → {to}"),
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

fn move_row((from, to): (StorageClass, StorageClass), totals: &Totals, highest: f64) -> String {
    row_with_graph(
        &format!("{from} → {to}"),
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

fn buckets(usage: &Usage) -> String {
    let highest = usage.top_buckets.first().map_or(0.0, |bucket| bucket.stored.monthly_usd);
    let line = |name: &str, graph: &str, stored: &Sum, planned: &Totals| {
        let saving = if planned.objects > 0 { usd(planned.monthly_saving_usd) } else { "–".to_owned() };
        let css = if planned.monthly_saving_usd > 0.0 { "saving" } else { "soft" };
        format!(
            "<tr><th scope=\"row\" class=\"text wide\">{name}</th><td class=\"graph\">{graph}</td><td>{}</td>\
             <td class=\"{css}\">{}</td><td>{}</td><td>{}</td></tr>",
            esc(&usd(stored.monthly_usd)),
            esc(&saving),
            esc(&bytes(stored.bytes)),
            count(stored.objects),
        )
    };
    let rows: String = usage
        .top_buckets
        .iter()
        .map(|bucket| {
            let graph = svg::bar("c-accent", bucket.stored.monthly_usd, highest);
            line(&esc(bucket.bucket.as_str()).to_string(), &graph, &bucket.stored, &bucket.moves.planned)
        })
        .collect();
    let others = &usage.other_buckets;
    let rest = if others.buckets > 0 {
        line(&format!("{} other buckets", count(others.buckets)), "", &others.stored, &others.planned)
    } else {
        String::new()
    };
    format!(
        "<section><h2>By bucket</h2><p class=\"soft\">{}</p>{}</section>",
        if others.buckets > 0 { "The dearest ones by name, the others together." } else { "The dearest first." },
        table(
            "Buckets by monthly cost",
            &["Bucket", "\u{0}Cost", "A month", "Moves save", "Bytes", "Objects"],
            &rows,
            &rest
        )
    )
}

fn sizes(usage: &Usage) -> String {
    let sum_of = |size: &SizeBand| usage.by_size.get(size).copied().unwrap_or_default();
    let chart = |id, title, figure: Figure, what: fn(&Sum) -> f64| {
        let values: Vec<f64> = SizeBand::ALL.iter().map(|size| what(&sum_of(size))).collect();
        let desc: Vec<String> = SizeBand::ALL
            .iter()
            .zip(&values)
            .map(|(size, value)| format!("{}: {}", size.as_str(), (figure.full)(*value)))
            .collect();
        Columns {
            id,
            title,
            desc: desc.join("; "),
            labels: SizeBand::ALL.iter().map(|size| (short_size(*size).to_owned(), size.as_str().to_owned())).collect(),
            series: vec![Series { css: "c-accent", name: "all classes".to_owned(), values }],
            figure,
            marks: Vec::new(),
            label_every: 1,
        }
        .render()
    };
    let rows: String = SizeBand::ALL
        .iter()
        .map(|size| {
            let sum = sum_of(size);
            row(size.as_str(), &[count(sum.objects), bytes(sum.bytes), usd(sum.monthly_usd)])
        })
        .collect();
    format!(
        "<section><h2>By size</h2><p class=\"soft\">Small objects are billed as larger ones in the colder classes; moving many of them \
         costs more than it saves.</p><div class=\"pair\"><div><h3>Objects</h3>{}</div><div><h3>Bytes</h3>{}</div></div>\
         <details><summary>The same as a table</summary>{}</details></section>",
        chart("size-objects", "Objects by size", COUNT, |sum| sum.objects as f64),
        chart("size-bytes", "Bytes by size of the object", BYTES, |sum| sum.bytes as f64),
        table("Objects, bytes and monthly cost by size", &["Size", "Objects", "Bytes", "A month"], &rows, "")
    )
}

fn runs(report: &Report) -> String {
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
            let problem = run.problem.as_deref().map_or_else(String::new, |problem| format!("; {}", cut(problem)));
            format!(
                "<tr><th scope=\"row\" class=\"text\">{}</th><td class=\"text\">{job}</td><td class=\"text\">\
                 <span class=\"sw {}\"></span>{}</td><td>{}</td><td class=\"text wide\">{}</td></tr>",
                run.started_at.format("%Y-%m-%d %H:%M"),
                css_of_outcome(&run.outcome),
                esc(&run.outcome),
                esc(&span(Duration::from_millis(run.duration_ms))),
                esc(&format!("{did}{problem}")),
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
    }
    .render()
}

fn foot(report: &Report) -> String {
    let Report { prices, usage, .. } = report;
    let mut notes = vec![
        format!("Prices: {} ({}), of {}, in {}: list prices of the first band, without tax, discount or free tier.", prices.region, prices.source, prices.as_of, prices.currency),
        "The cost is that of storage as S3 bills it, with each class's minimum size and overhead; reading, requests, traffic, older \
         versions and unfinished uploads are not in it. Bytes are those of the objects themselves; 1 GiB is 2^30 bytes."
            .to_owned(),
        "A use is what the configuration counts as one.".to_owned(),
    ];
    if usage.never_seen_used.objects > 0 {
        notes.push(format!(
            "Of {} ({}) no log has told a use yet: their age is that of their last writing.",
            text::objects(usage.never_seen_used.objects),
            bytes(usage.never_seen_used.bytes)
        ));
    }
    if usage.unpriced_objects > 0 {
        notes.push(format!(
            "{} are without a price, since their class or size is not known before the next reconcile or their class is not managed.",
            text::objects(usage.unpriced_objects)
        ));
    }
    let notes: String = notes.iter().map(|note| format!("<li>{}</li>", esc(note))).collect();
    format!("<footer><h2>How to read this</h2><ul>{notes}</ul></footer>\n</body>\n</html>\n")
}

/// A table with a caption. A heading that begins with U+0000 is that of a column of bars, with U+0001 of a column of text.
fn table(caption: &str, headings: &[&str], rows: &str, foot: &str) -> String {
    let headings: String = headings
        .iter()
        .map(|heading| match (heading.strip_prefix('\u{0}'), heading.strip_prefix('\u{1}')) {
            (Some(name), _) => format!("<th scope=\"col\" class=\"graph\" aria-label=\"{}\"></th>", esc(name)),
            (_, Some(name)) => format!("<th scope=\"col\" class=\"text\">{}</th>", esc(name)),
            _ => format!("<th scope=\"col\">{}</th>", esc(heading)),
        })
        .collect();
    let foot = if foot.is_empty() { String::new() } else { format!("<tfoot>{foot}</tfoot>") };
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table><caption>{0}</caption>\
         <thead><tr>{headings}</tr></thead><tbody>{rows}</tbody>{foot}</table></div>",
        esc(caption)
    )
}

/// A row of figures; `name` is markup.
fn row(name: &str, figures: &[String]) -> String {
    let figures: String = figures.iter().map(|figure| format!("<td>{}</td>", esc(figure))).collect();
    format!("<tr><th scope=\"row\" class=\"text\">{name}</th>{figures}</tr>")
}

fn row_with_graph(name: &str, graph: &str, figures: &[String]) -> String {
    let figures: String = figures.iter().map(|figure| format!("<td>{}</td>", esc(figure))).collect();
    format!("<tr><th scope=\"row\" class=\"text\">{name}</th><td class=\"graph\">{graph}</td>{figures}</tr>")
}

fn paying(usage: &Usage) -> Totals {
    add_up(usage.paying_moves().iter().map(|(_, totals)| totals))
}

/// A problem as a line of a table has room for it.
fn cut(text: &str) -> String {
    const MOST: usize = 160;
    if text.chars().count() <= MOST {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(MOST).collect::<String>())
    }
}

fn axis_bytes(value: f64) -> String {
    let text = bytes(value as u64);
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number} {unit}")
}

fn name_of(class: Option<StorageClass>) -> &'static str {
    class.map_or("not known yet", StorageClass::as_str)
}

fn css_of(class: Option<StorageClass>) -> &'static str {
    match class {
        Some(StorageClass::Standard) => "c-standard",
        Some(StorageClass::IntelligentTiering) => "c-intelligent",
        Some(StorageClass::StandardIa) => "c-ia",
        Some(StorageClass::OnezoneIa) => "c-onezone",
        Some(StorageClass::GlacierIr) => "c-instant",
        Some(StorageClass::Glacier) => "c-glacier",
        Some(StorageClass::DeepArchive) => "c-deep",
        Some(StorageClass::ReducedRedundancy) => "c-reduced",
        Some(StorageClass::Unmanaged) | None => "c-other",
    }
}

fn css_of_outcome(outcome: &str) -> &'static str {
    match outcome {
        "ok" => "c-ok",
        "partial" => "c-partial",
        "failed" => "c-failed",
        _ => "c-other",
    }
}

/// A band of ages where there is room for a few letters: its upper bound.
fn short_age(age: AgeBand) -> &'static str {
    match age {
        AgeBand::To1Day => "1 d",
        AgeBand::To7Days => "7 d",
        AgeBand::To30Days => "30 d",
        AgeBand::To60Days => "60 d",
        AgeBand::To90Days => "90 d",
        AgeBand::To180Days => "180 d",
        AgeBand::To365Days => "365 d",
        AgeBand::Older => "older",
        AgeBand::Unknown => "n/k",
    }
}

fn short_size(size: SizeBand) -> &'static str {
    match size {
        SizeBand::Under1Kib => "<1 K",
        SizeBand::Under128Kib => "128 K",
        SizeBand::Under1Mib => "1 M",
        SizeBand::Under16Mib => "16 M",
        SizeBand::Under128Mib => "128 M",
        SizeBand::Under1Gib => "1 G",
        SizeBand::Under5Gib => "5 G",
        SizeBand::From5Gib => ">5 G",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{empty, hostile, sample};

    /// Walks the tags and fails where they do not nest, or where an attribute is not one of those that the page writes.
    fn check_tags(page: &str) {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = &page[page.find("<body>").expect("a body")..];
        while let Some(at) = rest.find('<') {
            let end = at + rest[at..].find('>').expect("a tag that ends");
            let tag = &rest[at + 1..end];
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(
                    open.pop(),
                    if name == "html" { None } else { Some(name) },
                    "before {}",
                    &rest[..rest.len().min(80)]
                );
            } else if !tag.ends_with('/') {
                open.push(tag.split(' ').next().unwrap_or(tag));
            }
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or("");
            assert!(!matches!(name, "script" | "img" | "iframe" | "link" | "object" | "a"), "<{tag}>");
            for handler in [" onload", " onerror", " onclick", " href", " src"] {
                assert!(!tag.contains(handler), "<{tag}>");
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn the_page_is_well_formed_and_asks_nothing_of_the_network() {
        for report in [sample(), hostile(), empty()] {
            let page = render(&report);
            check_tags(&page);
            for outside in ["http://", "https://", "url(", "@import", "//cdn"] {
                assert!(!page.contains(outside), "{outside}");
            }
            assert!(page.contains("default-src 'none'"));
            assert!(!page.contains("NaN") && !page.contains(">inf"));
        }
    }

    #[test]
    fn names_of_strangers_stay_text() {
        let page = render(&hostile());
        assert!(!page.contains("<script") && !page.contains("<img"), "a tag came through");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("&quot; onload=&quot;alert(2)"));
        assert!(!page.contains('\u{202e}') && !page.contains('\u{0}'));
    }

    #[test]
    fn every_chart_has_a_title_a_description_and_ids_of_its_own() {
        let page = render(&sample());
        let charts = page.matches("role=\"img\"").count();
        assert_eq!(charts, 8);
        assert_eq!(page.matches("<desc id=").count(), charts);
        let mut ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(ids.len(), 2 * charts);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 2 * charts);
    }

    #[test]
    fn the_page_says_what_matters_in_words() {
        let report = sample();
        let page = render(&report);
        assert!(page.contains("Storing <strong>"));
        assert!(page.contains("prices of us-east-1, 2026-08-01"));
        assert!(page.contains(&esc(&report.prices.source).to_string()));
        assert!(page.contains("STANDARD → GLACIER"));
        assert!(render(&empty()).contains("The ledger is empty"));
    }
}
