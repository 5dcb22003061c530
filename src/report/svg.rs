//! Charts as inline SVG.
//!
//! A chart has no viewBox: widths are per cent and heights and letters are pixels, so that it fills whatever room there is and
//! its letters are as large on a phone as on a desk. Colours are CSS classes, so that one chart serves light and dark.

use super::html::esc;

/// What a kind of figure looks like on an axis and in full, and what its even steps are.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    pub axis: fn(f64) -> String,
    pub full: fn(f64) -> String,
    /// By what the next larger unit is larger: 1024 for bytes, 1000 for all else.
    pub base: f64,
}

/// One colour of stacked columns.
#[derive(Debug)]
pub struct Series {
    /// A CSS class that sets `--c`; never made of data.
    pub css: &'static str,
    pub name: String,
    /// One a column.
    pub values: Vec<f64>,
}

/// A chart of stacked columns.
#[derive(Debug)]
pub struct Columns<'a> {
    /// Unlike that of any other chart of the page.
    pub id: &'a str,
    pub title: &'a str,
    /// What is to be seen, in a sentence.
    pub desc: String,
    /// Under the columns, and in full.
    pub labels: Vec<(String, String)>,
    pub series: Vec<Series>,
    pub figure: Figure,
    /// Above single columns.
    pub marks: Vec<Option<&'static str>>,
    /// A label is shown under every so many columns.
    pub label_every: usize,
    /// The scale goes up to this at least: charts that are compared have one scale.
    pub at_least: f64,
}

const HEIGHT: f64 = 230.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 26.0;
/// Per cent of the width that the axis takes.
const AXIS: f64 = 16.0;
/// Fewer columns than these do not grow any wider.
const LEAST_SLOTS: usize = 8;

impl Columns<'_> {
    pub fn render(&self) -> String {
        let columns = self.labels.len();
        let highest = (0..columns).map(|i| self.height_of(i)).fold(self.at_least, f64::max);
        let (top_tick, step) = ticks(highest, self.figure.base);
        let base_line = HEIGHT - BOTTOM;
        let y = |value: f64| base_line - value / top_tick * (base_line - TOP);
        let mut svg = open(self.id, "chart", HEIGHT, self.title, &self.desc);
        let mut tick = 0.0;
        while tick <= top_tick * 1.001 {
            let (y, label) = (y(tick), esc(&(self.figure.axis)(tick)).to_string());
            svg += &format!(
                "<line class=\"grid\" x1=\"{AXIS}%\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}%\" dx=\"-5\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                AXIS,
                y + 4.0
            );
            tick += step;
        }
        let slot = (100.0 - AXIS) / columns.max(LEAST_SLOTS) as f64;
        for (i, (label, long)) in self.labels.iter().enumerate() {
            let left = AXIS + slot * (i as f64 + 0.14);
            let centre = AXIS + slot * (i as f64 + 0.5);
            let mut below = 0.0;
            for series in &self.series {
                let value = series.values[i];
                if value <= 0.0 {
                    continue;
                }
                let (from, to) = (y(below), y(below + value));
                svg += &format!(
                    "<rect class=\"{}\" x=\"{left:.2}%\" width=\"{:.2}%\" y=\"{to:.1}\" height=\"{:.1}\">\
                     <title>{}</title></rect>",
                    series.css,
                    slot * 0.72,
                    (from - to).max(0.5),
                    esc(&format!("{long}, {}: {}", series.name, (self.figure.full)(value)))
                );
                below += value;
            }
            if let Some(mark) = self.marks.get(i).copied().flatten() {
                svg += &format!(
                    "<text class=\"mark\" x=\"{centre:.2}%\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    y(below) - 4.0,
                    esc(mark)
                );
            }
            if i % self.label_every.max(1) == 0 {
                svg += &format!(
                    "<text class=\"tick\" x=\"{centre:.2}%\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    HEIGHT - 8.0,
                    esc(label)
                );
            }
        }
        svg + "</svg>"
    }

    fn height_of(&self, column: usize) -> f64 {
        self.series.iter().map(|series| series.values[column].max(0.0)).sum()
    }
}

/// One bar that is cut into the shares of a whole.
pub fn shares(id: &str, title: &str, desc: &str, parts: &[(&'static str, String, f64)]) -> String {
    let whole: f64 = parts.iter().map(|(_, _, value)| value).sum();
    let mut svg = open(id, "shares", 26.0, title, desc);
    let mut left = 0.0;
    for (css, name, value) in parts {
        let share = if whole > 0.0 { 100.0 * value / whole } else { 0.0 };
        if share > 0.0 {
            svg += &format!(
                "<rect class=\"{css}\" x=\"{left:.3}%\" width=\"{share:.3}%\" y=\"0\" height=\"26\"><title>{}</title></rect>",
                esc(name)
            );
        }
        left += share;
    }
    svg + "</svg>"
}

/// A bar in a table's row, beside the figure that it shows: an ornament to who cannot see it.
pub fn bar(css: &'static str, value: f64, highest: f64) -> String {
    let share = if highest > 0.0 { (100.0 * value / highest).clamp(0.0, 100.0) } else { 0.0 };
    format!(
        "<svg class=\"bar\" width=\"100%\" height=\"12\" aria-hidden=\"true\" focusable=\"false\">\
         <rect class=\"track\" width=\"100%\" height=\"12\" rx=\"2\"/>\
         <rect class=\"{css}\" width=\"{share:.2}%\" height=\"12\" rx=\"2\"/></svg>"
    )
}

fn open(id: &str, css: &str, height: f64, title: &str, desc: &str) -> String {
    format!(
        "<svg class=\"{css}\" width=\"100%\" height=\"{height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
         <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
        esc(title),
        esc(desc)
    )
}

/// The uppermost tick and the step: 2 to 5 even steps that reach over `highest`.
fn ticks(highest: f64, base: f64) -> (f64, f64) {
    if highest <= 0.0 {
        return (1.0, 1.0);
    }
    let mut unit = 1.0;
    while highest / unit >= base {
        unit *= base;
    }
    let raw = highest / unit / 4.0;
    let power = 10_f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= raw * 0.999).unwrap_or(raw);
    let step = step * unit;
    ((highest / step - 0.001).ceil().max(1.0) * step, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_even_and_reach_over_the_highest_column() {
        for (highest, base, expected) in [
            (0.0, 1000.0, (1.0, 1.0)),
            (100.0, 1000.0, (100.0, 25.0)),
            (7.0, 1000.0, (8.0, 2.0)),
            (0.03, 1000.0, (0.03, 0.01)),
            (3.0 * 1024.0, 1024.0, (3.0 * 1024.0, 1024.0)),
        ] {
            let (top, step) = ticks(highest, base);
            assert!((top - expected.0).abs() < 1e-9 && (step - expected.1).abs() < 1e-9, "{highest}: {top} {step}");
        }
        for highest in [0.001, 1.0, 3.3, 999.0, 1000.0, 12_345.0, 9e12] {
            for base in [1000.0, 1024.0] {
                let (top, step) = ticks(highest, base);
                assert!(top >= highest * 0.998 && (1.0..=5.01).contains(&(top / step)), "{highest}: {top} {step}");
            }
        }
    }

    #[test]
    fn a_chart_of_nothing_is_a_chart() {
        let none = Columns {
            id: "none",
            title: "Nothing",
            desc: String::new(),
            labels: Vec::new(),
            series: Vec::new(),
            figure: Figure { axis: |v| v.to_string(), full: |v| v.to_string(), base: 1000.0 },
            marks: Vec::new(),
            label_every: 1,
            at_least: 0.0,
        };
        assert!(none.render().ends_with("</svg>") && !none.render().contains("NaN"));
        assert!(!shares("s", "", "", &[("c", String::new(), 0.0)]).contains("NaN"));
        assert!(!bar("c", 1.0, 0.0).contains("NaN"));
    }
}
