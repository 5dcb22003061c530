//! What is stored: by class, by time since the last use, by bucket, by size.

use super::markup::{BYTES, COUNT, DOLLARS, css_of, esc, name_of, row, table};
use crate::report::human::{bytes, count, percent, usd};
use crate::report::svg::{self, Columns, Figure, Series};
use crate::tiering::plan::Totals;
use crate::tiering::usage::{AgeBand, SizeBand, Sum, Usage};

pub(super) fn by_class(usage: &Usage) -> String {
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

pub(super) fn by_age(usage: &Usage) -> String {
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
            at_least: 0.0,
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

pub(super) fn buckets(usage: &Usage) -> String {
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

pub(super) fn sizes(usage: &Usage) -> String {
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
            at_least: 0.0,
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
