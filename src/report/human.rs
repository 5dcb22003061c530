//! Figures as people read them.

use std::time::Duration;

/// Bytes in binary units, with three digits that count: `1.23 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // 999.95 and not 1000: what rounds to four digits belongs to the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A whole number with its thousands apart: `1,234,567`.
pub fn count(number: u64) -> String {
    group(&number.to_string())
}

/// So many of something: `1 bucket`, `1,200 buckets`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// US dollars with three digits that count, however small: `$0.0000125`. For what one object costs.
pub fn usd_exact(amount: f64) -> String {
    let size = amount.abs();
    if size == 0.0 || size >= 0.1 {
        return usd(amount);
    }
    let sign = if amount < 0.0 { "−" } else { "" };
    // The place of the first digit that counts, and two more; what is smaller than that is nothing to anybody.
    let digits = (2.0 - size.log10().floor()).min(12.0) as usize;
    let text = format!("{size:.digits$}");
    format!("{sign}${}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// US dollars and cents: `$1,234.50`; less than a cent but not nothing is `<$0.01`.
pub fn usd(amount: f64) -> String {
    let sign = if amount < 0.0 { "−" } else { "" };
    let amount = amount.abs();
    if amount > 0.0 && amount < 0.005 {
        return format!("{sign}<$0.01");
    }
    if amount == 0.0 {
        return "$0".to_owned();
    }
    let text = format!("{amount:.2}");
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    format!("{sign}${}.{cents}", group(whole))
}

/// US dollars for an axis, where room is scarce: `$1.2k`, `$40`, `$0.5`.
pub fn usd_short(amount: f64) -> String {
    match amount {
        a if a >= 1_000_000.0 => format!("${}M", trim(a / 1_000_000.0)),
        a if a >= 1_000.0 => format!("${}k", trim(a / 1_000.0)),
        a => format!("${}", trim(a)),
    }
}

/// A number for an axis: `1.2M`, `40`.
pub fn count_short(number: f64) -> String {
    match number {
        n if n >= 1_000_000_000.0 => format!("{}G", trim(n / 1_000_000_000.0)),
        n if n >= 1_000_000.0 => format!("{}M", trim(n / 1_000_000.0)),
        n if n >= 1_000.0 => format!("{}k", trim(n / 1_000.0)),
        n => trim(n),
    }
}

/// Months until something has paid for itself; None: never.
pub fn months(months: Option<f64>) -> String {
    match months {
        None => "never".to_owned(),
        Some(m) if m * 30.0 < 1.0 => "a day".to_owned(),
        Some(m) if m < 1.0 => format!("{:.0} days", (m * 30.0).ceil()),
        Some(m) if m < 10.0 => format!("{m:.1} months"),
        Some(m) if m < 24.0 => format!("{m:.0} months"),
        Some(m) => format!("{:.0} years", (m / 12.0).ceil()),
    }
}

/// A share of a whole in per cent; 0 of nothing.
pub fn percent(part: f64, whole: f64) -> String {
    let share = if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
    match share {
        s if s > 0.0 && s < 0.95 => "<1%".to_owned(),
        s => format!("{s:.0}%"),
    }
}

/// A share of reads, with the two digits that count: `0.32 %`, `5 %`, `0 %`. A wait in ten thousand reads is none of nothing.
pub fn share_of_reads(share: f64) -> String {
    let percent = 100.0 * share;
    let decimals = if percent > 0.0 { (1 - percent.log10().floor() as i32).clamp(0, 6) } else { 0 };
    let digits = format!("{percent:.*}", decimals as usize);
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits} %")
}

/// A time span: `850 ms`, `12.3 s`, `4 min`, `2 h`.
pub fn span(span: Duration) -> String {
    let secs = span.as_secs_f64();
    match secs {
        s if s < 1.0 => format!("{:.0} ms", s * 1000.0),
        s if s < 90.0 => format!("{s:.1} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn trim(value: f64) -> String {
    let text = if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn group(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_three_digits() {
        for (value, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "0.98 KiB"),
            (1 << 10, "1.00 KiB"),
            (10_235, "10.0 KiB"),
            (1_023 << 20, "1.00 GiB"),
            (123 << 30, "123 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(value), text, "{value}");
        }
    }

    #[test]
    fn dollars_never_hide_a_cost_as_nothing() {
        for (value, text) in [
            (0.0, "$0"),
            (0.001, "<$0.01"),
            (-0.001, "−<$0.01"),
            (0.005, "$0.01"),
            (12.0, "$12.00"),
            (999.999, "$1,000.00"),
            (1_234_567.891, "$1,234,567.89"),
            (-5.5, "−$5.50"),
        ] {
            assert_eq!(usd(value), text, "{value}");
        }
    }

    #[test]
    fn what_one_object_costs_is_never_rounded_away() {
        for (value, text) in [
            (0.0, "$0"),
            (0.000_012_5, "$0.0000125"),
            (-0.000_001, "−$0.000001"),
            (0.012_345, "$0.0123"),
            (0.1, "$0.10"),
            (1234.5, "$1,234.50"),
        ] {
            assert_eq!(usd_exact(value), text, "{value}");
        }
    }

    #[test]
    fn a_share_of_reads_is_never_rounded_to_nothing() {
        for (share, expected) in [
            (0.0, "0 %"),
            (0.01, "1 %"),
            (0.05, "5 %"),
            (0.0032, "0.32 %"),
            (0.000_04, "0.004 %"),
            (0.256, "26 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(share_of_reads(share), expected);
        }
    }

    #[test]
    fn other_figures_read_well() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([usd_short(0.05), usd_short(40.0), usd_short(1500.0)], ["$0.05", "$40", "$1.5k"]);
        assert_eq!([count_short(100.0), count_short(2e6)], ["100", "2M"]);
        assert_eq!([months(None), months(Some(0.0)), months(Some(1.64))], ["never", "a day", "1.6 months"]);
        assert_eq!([months(Some(0.1)), months(Some(15.2)), months(Some(30.0))], ["3 days", "15 months", "3 years"]);
        assert_eq!([percent(1.0, 3.0), percent(1.0, 1000.0), percent(0.0, 0.0)], ["33%", "<1%", "0%"]);
        assert_eq!(span(Duration::from_millis(12_340)), "12.3 s");
    }
}
