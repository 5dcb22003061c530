//! The small pieces that every section of the page is made of: escaped text, tables, the colours and names of classes.

use std::fmt;

use crate::report::human::{bytes, count, count_short, usd, usd_short};
use crate::report::svg::Figure;
use crate::tiering::storage_class::StorageClass;

pub(super) const BYTES: Figure = Figure { axis: |v| axis_bytes(v), full: |v| bytes(v as u64), base: 1024.0 };
pub(super) const DOLLARS: Figure = Figure { axis: usd_short, full: usd, base: 1000.0 };
pub(super) const COUNT: Figure = Figure { axis: count_short, full: |v| count(v as u64), base: 1000.0 };

/// Text made fit for any place in a page, between tags or in a quoted attribute.
pub(crate) fn esc(text: &str) -> Escaped<'_> {
    Escaped(text)
}

pub(crate) struct Escaped<'a>(&'a str);

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

/// A table with a caption. A heading that begins with U+0000 is that of a column of bars, with U+0001 of a column of text.
pub(super) fn table(caption: &str, headings: &[&str], rows: &str, foot: &str) -> String {
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
pub(super) fn row(name: &str, figures: &[String]) -> String {
    let figures: String = figures.iter().map(|figure| format!("<td>{}</td>", esc(figure))).collect();
    format!("<tr><th scope=\"row\" class=\"text\">{name}</th>{figures}</tr>")
}

pub(super) fn row_with_graph(name: &str, graph: &str, figures: &[String]) -> String {
    let figures: String = figures.iter().map(|figure| format!("<td>{}</td>", esc(figure))).collect();
    format!("<tr><th scope=\"row\" class=\"text\">{name}</th><td class=\"graph\">{graph}</td>{figures}</tr>")
}

/// A problem as a line of a table has room for it.
pub(super) fn cut(text: &str) -> String {
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

pub(super) fn name_of(class: Option<StorageClass>) -> &'static str {
    class.map_or("not known yet", StorageClass::as_str)
}

pub(super) fn css_of(class: Option<StorageClass>) -> &'static str {
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

pub(super) fn css_of_outcome(outcome: &str) -> &'static str {
    match outcome {
        "ok" => "c-ok",
        "partial" => "c-partial",
        "failed" => "c-failed",
        _ => "c-other",
    }
}
