//! A report as one page that needs nothing else: no script, no font, no image, no network. The page says so itself in its
//! content security policy, so that even a name that slipped through unescaped could load and run nothing.
//!
//! Each chart has a title, a description and a table with the same figures.

mod markup;
mod moves;
mod runs;
mod stored;

use super::Report;
use super::human::{bytes, count, counted, months, percent, usd};
use crate::tiering::plan::Totals;
use crate::tiering::usage::Usage;

pub(super) use markup::esc;
use moves::{moves, paying};
use runs::runs;
use stored::{buckets, by_age, by_class, sizes};

pub(super) const CSS: &str = include_str!("page.css");

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
        tile("", "Objects", count(usage.total.objects), format!("in {}", counted(usage.buckets, "bucket"))),
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
        counted(pays.objects, "object"),
        usd(pays.monthly_saving_usd),
        months(pays.months_to_break_even())
    )
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
            counted(usage.never_seen_used.objects, "object"),
            bytes(usage.never_seen_used.bytes)
        ));
    }
    if usage.unpriced_objects > 0 {
        notes.push(format!(
            "{} are without a price, since their class or size is not known before the next reconcile or their class is not managed.",
            counted(usage.unpriced_objects, "object")
        ));
    }
    let notes: String = notes.iter().map(|note| format!("<li>{}</li>", esc(note))).collect();
    format!("<footer><h2>How to read this</h2><ul>{notes}</ul></footer>\n</body>\n</html>\n")
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
        assert!(page.contains("STANDARD\u{a0}→ GLACIER"));
        assert!(page.contains("; 1,203 objects left: 1,200 versioned, 3 changed"), "why the last runs left objects");
        for reason in report.usage.moves.total.skipped.keys() {
            assert!(page.contains(&format!("<code>{reason}</code>")), "{reason}");
        }
        assert!(render(&empty()).contains("The ledger is empty"));
    }
}
