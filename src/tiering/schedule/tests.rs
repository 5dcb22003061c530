use chrono::{Datelike, NaiveDate, Timelike};
use chrono_tz::{America, Asia, Europe, Pacific, UTC};
use proptest::prelude::*;

use super::*;

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn schedule(expression: &str) -> Schedule {
    Schedule::parse(expression).unwrap_or_else(|e| panic!("{expression}: {e}"))
}

/// The slots of `expression` after `now` are `expected`, and looking back from each finds it again.
fn check(expression: &str, zone: Tz, now: &str, expected: &[&str]) {
    let schedule = schedule(expression);
    let slots: Vec<_> = schedule.upcoming(utc(now), zone).take(expected.len()).collect();
    let expected: Vec<_> = expected.iter().map(|text| utc(text)).collect();
    assert_eq!(slots, expected, "{expression} in {zone} after {now}");
    for slot in slots {
        let at = |secs| schedule.latest_at_or_before(slot + TimeDelta::seconds(secs), zone);
        assert_eq!(at(0), Some(slot), "{expression} at {slot}");
        assert_eq!(at(59), Some(slot), "{expression} after {slot}");
        assert!(at(-1) < Some(slot), "{expression} before {slot}");
    }
}

/// The examples of the EventBridge user guide, "Cron expressions reference".
#[test]
fn the_guides_examples_mean_what_the_guide_says() {
    let now = "2026-11-20T13:47:00Z"; // a Friday
    check("cron(0 10 * * ? *)", UTC, now, &["2026-11-21T10:00:00Z", "2026-11-22T10:00:00Z"]);
    check("cron(15 12 * * ? *)", UTC, now, &["2026-11-21T12:15:00Z", "2026-11-22T12:15:00Z"]);
    check("cron(0 18 ? * MON-FRI *)", UTC, now, &["2026-11-20T18:00:00Z", "2026-11-23T18:00:00Z"]);
    check("cron(0 8 1 * ? *)", UTC, now, &["2026-12-01T08:00:00Z", "2027-01-01T08:00:00Z"]);
    check("cron(0/15 * * * ? *)", UTC, now, &["2026-11-20T14:00:00Z", "2026-11-20T14:15:00Z"]);
    check("cron(0/10 * ? * MON-FRI *)", UTC, "2026-11-20T23:49:59Z", &["2026-11-20T23:50:00Z", "2026-11-23T00:00:00Z"]);
    check(
        "cron(0/5 8-17 ? * MON-FRI *)",
        UTC,
        "2026-11-20T17:50:00Z",
        &["2026-11-20T17:55:00Z", "2026-11-23T08:00:00Z"],
    );
    check(
        "cron(0/30 20-2 ? * MON-FRI *)",
        UTC,
        "2026-11-20T02:00:00Z",
        &["2026-11-20T02:30:00Z", "2026-11-20T20:00:00Z"],
    );
    check("cron(15 10 ? * 6L 2026-2027)", UTC, now, &["2026-11-27T10:15:00Z", "2026-12-25T10:15:00Z"]);
}

#[test]
fn every_wildcard_names_its_days() {
    let now = "2026-01-15T12:00:00Z";
    let cases: &[(&str, &[&str])] = &[
        ("cron(0 0 28 * ? *)", &["2026-01-28", "2026-02-28", "2026-03-28"]),
        ("cron(0 0 L * ? *)", &["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]),
        ("cron(0 0 L FEB ? *)", &["2026-02-28", "2027-02-28", "2028-02-29"]),
        ("cron(0 0 L-3 * ? *)", &["2026-01-28", "2026-02-25"]),
        ("cron(0 0 LW * ? *)", &["2026-01-30", "2026-02-27", "2026-03-31"]),
        ("cron(0 0 3W * ? *)", &["2026-02-03", "2026-03-03", "2026-04-03", "2026-05-04"]),
        // The 1st is a Saturday in August: not back into July. The 31st is a Sunday in May: not on into June.
        ("cron(0 0 1W 8 ? *)", &["2026-08-03"]),
        ("cron(0 0 31W 4,5 ? *)", &["2026-05-29"]),
        ("cron(0 0 15W,L 2 ? *)", &["2026-02-16", "2026-02-28"]),
        ("cron(0 0 ? * L *)", &["2026-01-17", "2026-01-24"]),
        ("cron(0 0 ? * 6L *)", &["2026-01-30", "2026-02-27"]),
        ("cron(0 0 ? * friL *)", &["2026-01-30", "2026-02-27"]),
        ("cron(0 0 ? * 3#2 *)", &["2026-02-10", "2026-03-10"]),
        ("cron(0 0 ? * SAT#5 *)", &["2026-01-31", "2026-05-30"]),
        ("cron(0 0 ? * 1 *)", &["2026-01-18", "2026-01-25"]),
        ("cron(0 0 ? * FRI-MON *)", &["2026-01-16", "2026-01-17", "2026-01-18", "2026-01-19", "2026-01-23"]),
        ("cron(0 0 ? * 2/2 *)", &["2026-01-16", "2026-01-19", "2026-01-21"]),
        ("cron(0 0 1 jan-jun/2 ? *)", &["2026-03-01", "2026-05-01", "2027-01-01"]),
        ("cron(0 0 1 11-2 ? *)", &["2026-02-01", "2026-11-01", "2026-12-01", "2027-01-01"]),
        ("cron(0 0 1 1 ? 2030/50)", &["2030-01-01", "2080-01-01", "2130-01-01"]),
        ("cron(0 0 29 2 ? *)", &["2028-02-29", "2032-02-29"]),
        ("cron(0 0 29 2 ? 2100-2104)", &["2104-02-29"]),
        ("cron(0 0 29 2 ? 2196)", &["2196-02-29"]),
        ("  cron(  0 0   1 1 ? *)  ", &["2027-01-01"]),
    ];
    for (expression, days) in cases {
        let slots: Vec<String> = days.iter().map(|day| format!("{day}T00:00:00Z")).collect();
        check(expression, UTC, now, &slots.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn lists_ranges_and_steps_are_united() {
    check(
        "cron(5,10-12,50/5,*/30 6 * * ? *)",
        UTC,
        "2026-01-01T06:00:00Z",
        &[
            "2026-01-01T06:05:00Z",
            "2026-01-01T06:10:00Z",
            "2026-01-01T06:11:00Z",
            "2026-01-01T06:12:00Z",
            "2026-01-01T06:30:00Z",
            "2026-01-01T06:50:00Z",
            "2026-01-01T06:55:00Z",
            "2026-01-02T06:00:00Z",
        ],
    );
}

#[test]
fn an_expression_that_is_none_says_which_part_and_what_would_be_right() {
    let cases = [
        ("", "is no schedule", "write cron("),
        ("0 10 * * ? *", "is no schedule", "write cron("),
        ("every day", "is no schedule", "rate(N unit)"),
        ("cron(0 10 * * ? *", "is no schedule", "write cron("),
        ("CRON(0 10 * * ? *)", "is no schedule", "write cron("),
        ("cron(0 10 * * *)", "has 5 fields", "day-of-week year"),
        ("cron(0 0 10 * * ? *)", "has 7 fields", "day-of-week year"),
        ("cron(60 10 * * ? *)", "minutes: 60 is out of range", "write 0 to 59"),
        ("cron(0 24 * * ? *)", "hours: 24 is out of range", "write 0 to 23"),
        ("cron(0 10 0 * ? *)", "day-of-month: 0 is out of range", "write 1 to 31"),
        ("cron(0 10 32W * ? *)", "day-of-month: 32 is out of range", "write 1 to 31"),
        ("cron(0 10 * 13 ? *)", "month: 13 is out of range", "JAN to DEC"),
        ("cron(0 10 ? * 0 *)", "day-of-week: 0 is out of range", "SUN to SAT"),
        ("cron(0 10 ? * MONDAY *)", "day-of-week: \"MONDAY\" is no value", "SUN to SAT"),
        ("cron(0 10 ? * 2W *)", "day-of-week: \"2W\" is no value", "3#2"),
        ("cron(0 10 3#1 * ? *)", "day-of-month: \"3#1\" is no value", "15W"),
        ("cron(0 10 ? * 3#6 *)", "day-of-week: \"6\" after # is not 1 to 5", "write"),
        ("cron(0 10 ? * 3#1,6#3 *)", "day-of-week: \"3#1,6#3\" lists more than one day", "write one day alone"),
        ("cron(0 10 * * ? 1969)", "year: 1969 is out of range", "1970 to 2199"),
        ("cron(0 10 * * ? 2200)", "year: 2200 is out of range", "1970 to 2199"),
        ("cron(0 10 * * ? 2030-2020)", "year: the range 2030-2020 ends before it begins", "write"),
        ("cron(0/0 10 * * ? *)", "minutes: \"0\" is no step", "write"),
        ("cron(0/61 10 * * ? *)", "minutes: \"61\" is no step", "write"),
        ("cron(0/+5 10 * * ? *)", "minutes: \"+5\" is no step", "write"),
        ("cron(+5 10 * * ? *)", "minutes: \"+5\" is no value", "write"),
        ("cron(, 10 * * ? *)", "minutes: \"\" is no value", "write"),
        ("cron(1-2-3 10 * * ? *)", "minutes: \"2-3\" is no value", "write"),
        ("cron(? 10 * * ? *)", "minutes: \"?\" is no value", "write"),
        ("cron(L 10 * * ? *)", "minutes: \"L\" is no value", "write"),
        ("cron(0 10 * * * *)", "neither day-of-month nor day-of-week is ?", "write ?"),
        ("cron(0 10 ? * ? *)", "both day-of-month and day-of-week are ?", "write *"),
        ("cron(0 10 ?,1 * ? *)", "day-of-month: \"?\" is no value", "write"),
        ("cron(0 0 30 2 ? *)", "never come together", "write a day"),
        ("cron(0 0 29 2 ? 2023,2100)", "never come together", "write a day"),
        ("cron(0 0 L-31 * ? *)", "never come together", "write a day"),
        ("rate(1 hours)", "the unit of 1 is not \"hours\"", "write rate(1 hour)"),
        ("rate(2 hour)", "the unit of 2 is not \"hour\"", "write rate(2 hours)"),
        ("rate(0 minutes)", "\"0\" is no count", "from 1"),
        ("rate(-1 minutes)", "\"-1\" is no count", "from 1"),
        ("rate(+5 minutes)", "\"+5\" is no count", "from 1"),
        ("rate(1.5 hours)", "\"1.5\" is no count", "from 1"),
        ("rate(99999999999999999999 days)", "is no count", "from 1"),
        ("rate(5 seconds)", "\"seconds\" is no unit", "minute"),
        ("rate(5)", "is not a number and a unit", "write rate(N unit)"),
        ("rate(5 days or so)", "is not a number and a unit", "write rate(N unit)"),
    ];
    for (expression, wrong, right) in cases {
        let error = Schedule::parse(expression).err().unwrap_or_else(|| panic!("{expression} passed"));
        assert!(error.wrong.contains(wrong), "{expression}: {error}");
        assert!(error.right.contains(right), "{expression}: {error}");
    }
}

#[test]
fn rates_are_multiples_of_their_period_since_1970_whatever_the_zone() {
    check("rate(1 hour)", Asia::Kolkata, "2026-11-20T13:00:00Z", &["2026-11-20T14:00:00Z", "2026-11-20T15:00:00Z"]);
    check("rate(5 minutes)", UTC, "2026-11-20T13:04:59Z", &["2026-11-20T13:05:00Z"]);
    check("rate(1 day)", America::New_York, "2026-03-07T12:00:00Z", &["2026-03-08T00:00:00Z", "2026-03-09T00:00:00Z"]);
    check("rate(7 days)", UTC, "1970-01-01T00:00:00Z", &["1970-01-08T00:00:00Z", "1970-01-15T00:00:00Z"]);
    check("rate(1 minute)", UTC, "2026-11-20T13:04:59.999Z", &["2026-11-20T13:05:00Z"]);
}

#[test]
fn a_time_that_the_clock_jumps_over_is_skipped() {
    // 2026-03-08, 02:00 EST becomes 03:00 EDT.
    let daily = "cron(30 2 * * ? *)";
    check(daily, America::New_York, "2026-03-07T12:00:00Z", &["2026-03-09T06:30:00Z", "2026-03-10T06:30:00Z"]);
    let half_hourly = "cron(0/30 * * * ? *)";
    check(half_hourly, America::New_York, "2026-03-08T06:30:00Z", &["2026-03-08T07:00:00Z", "2026-03-08T07:30:00Z"]);
    // Samoa left out the 30th of December 2011.
    check(
        "cron(0 12 30,31 12 ? 2011-2012)",
        Pacific::Apia,
        "2011-12-01T00:00:00Z",
        &["2011-12-30T22:00:00Z", "2012-12-29T22:00:00Z"],
    );
    assert_eq!(schedule("cron(30 2 8 3 ? 2026)").next_after(utc("2026-01-01T00:00:00Z"), America::New_York), None);
}

#[test]
fn a_time_that_the_clock_shows_twice_counts_once() {
    // 2026-11-01, 02:00 EDT becomes 01:00 EST: 01:30 is at 05:30 and at 06:30 UTC.
    let daily = "cron(30 1 * * ? *)";
    check(daily, America::New_York, "2026-10-31T12:00:00Z", &["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]);
    let schedule = schedule("cron(0/20 * * * ? *)");
    let zone = America::New_York;
    assert_eq!(schedule.next_after(utc("2026-11-01T05:40:00Z"), zone), Some(utc("2026-11-01T07:00:00Z")));
    for second_pass in ["2026-11-01T06:00:00Z", "2026-11-01T06:10:00Z", "2026-11-01T06:59:00Z"] {
        assert_eq!(
            schedule.latest_at_or_before(utc(second_pass), zone),
            Some(utc("2026-11-01T05:40:00Z")),
            "{second_pass}"
        );
        assert_eq!(schedule.next_after(utc(second_pass), zone), Some(utc("2026-11-01T07:00:00Z")), "{second_pass}");
    }
}

#[test]
fn a_wall_clock_schedule_follows_its_zone_through_the_year() {
    let noon = "cron(0 12 1 1,7 ? *)";
    check(noon, Europe::Berlin, "2026-01-01T12:00:00Z", &["2026-07-01T10:00:00Z", "2027-01-01T11:00:00Z"]);
    check("cron(0 0 1 * ? *)", Asia::Seoul, "2026-11-20T00:00:00Z", &["2026-11-30T15:00:00Z", "2026-12-31T15:00:00Z"]);
}

#[test]
fn only_the_latest_missed_slot_is_due_and_only_once() {
    let daily = schedule("cron(0 3 * * ? *)");
    let due = |last: Option<&str>, now: &str| daily.due(last.map(utc), utc(now), UTC);
    let today = Some(utc("2026-11-20T03:00:00Z"));
    assert_eq!(due(Some("2026-11-19T03:00:00Z"), "2026-11-20T02:59:59Z"), None, "not yet");
    assert_eq!(due(Some("2026-11-19T03:00:00Z"), "2026-11-20T03:00:00Z"), today, "on the dot");
    assert_eq!(due(Some("2026-11-01T03:00:00Z"), "2026-11-20T13:00:00Z"), today, "many were missed");
    assert_eq!(due(Some("2026-11-20T03:00:00Z"), "2026-11-20T13:00:00Z"), None, "claimed");
    assert_eq!(due(Some("2026-11-20T02:59:59Z"), "2026-11-20T13:00:00Z"), today, "a baseline is no slot");
    assert_eq!(due(None, "2026-11-20T13:00:00Z"), None, "a first start owes nothing");
    assert_eq!(due(Some("2026-11-21T03:00:00Z"), "2026-11-20T13:00:00Z"), None, "the clock was set back");
}

#[test]
fn there_is_nothing_outside_the_years_of_the_expression() {
    let once = schedule("cron(0 0 1 1 ? 2000)");
    assert_eq!(once.next_after(utc("2000-01-01T00:00:00Z"), UTC), None);
    assert_eq!(once.latest_at_or_before(utc("1999-12-31T23:59:59Z"), UTC), None);
    assert_eq!(once.latest_at_or_before(utc("2026-01-01T00:00:00Z"), UTC), Some(utc("2000-01-01T00:00:00Z")));
    let always = schedule("cron(* * * * ? *)");
    assert_eq!(always.next_after(utc("2199-12-31T23:59:00Z"), UTC), None);
    for expression in ["cron(* * * * ? *)", "rate(7 days)"] {
        let schedule = schedule(expression);
        for now in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            for zone in [UTC, Pacific::Apia, America::New_York] {
                assert!(schedule.next_after(now, zone).is_none_or(|slot| slot > now));
                assert!(schedule.latest_at_or_before(now, zone).is_none_or(|slot| slot <= now));
            }
        }
    }
}

#[test]
fn an_expression_is_read_and_written_as_text() {
    let read: Schedule = serde_json::from_str("\" rate(6 hours)\"").unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), "\"rate(6 hours)\"");
    let error = serde_json::from_str::<Schedule>("\"rate(1 hours)\"").unwrap_err().to_string();
    assert!(error.contains("write rate(1 hour)"), "{error}");
}

/// Expressions made of parts, beside what each part says of a date, written down without regard to the parser.
#[derive(Debug, Clone)]
struct Part(String, Vec<u32>);

fn part(least: u32, most: u32) -> impl Strategy<Value = Part> {
    let value = least..=most;
    prop_oneof![
        Just(Part("*".to_owned(), (least..=most).collect())),
        value.clone().prop_map(|v| Part(v.to_string(), vec![v])),
        (value.clone(), 1..=12_u32)
            .prop_filter("a step of a small field", move |(_, step)| *step <= most - least + 1)
            .prop_map(move |(from, step)| Part(
                format!("{from}/{step}"),
                (from..=most).filter(|v| (v - from) % step == 0).collect()
            )),
        (value.clone(), value.clone()).prop_map(move |(from, to)| {
            let within = |v: &u32| if from <= to { (from..=to).contains(v) } else { *v >= from || *v <= to };
            Part(format!("{from}-{to}"), (least..=most).filter(within).collect())
        }),
        (value.clone(), value).prop_map(|(a, b)| Part(format!("{a},{b}"), vec![a, b])),
    ]
}

#[derive(Debug, Clone)]
enum Day {
    OfMonth(Part),
    OfWeek(Part),
    Last,
    Near(u32),
    LastOf(u32),
    Nth(u32, u32),
}

fn day() -> impl Strategy<Value = Day> {
    prop_oneof![
        part(1, 28).prop_map(Day::OfMonth),
        part(1, 7).prop_map(Day::OfWeek),
        Just(Day::Last),
        (1..=31_u32).prop_map(Day::Near),
        (1..=7_u32).prop_map(Day::LastOf),
        (1..=7_u32, 1..=5_u32).prop_map(|(weekday, nth)| Day::Nth(weekday, nth)),
    ]
}

impl Day {
    fn fields(&self) -> (String, String) {
        let any = || "?".to_owned();
        match self {
            // The model's `*` and steps end at 28, the parser's at 31: a range says what is meant.
            Self::OfMonth(Part(_, days)) => (days.iter().map(u32::to_string).collect::<Vec<_>>().join(","), any()),
            Self::OfWeek(Part(text, _)) => (any(), text.clone()),
            Self::Last => ("L".to_owned(), any()),
            Self::Near(day) => (format!("{day}W"), any()),
            Self::LastOf(weekday) => (any(), format!("{weekday}L")),
            Self::Nth(weekday, nth) => (any(), format!("{weekday}#{nth}")),
        }
    }

    fn holds(&self, date: NaiveDate) -> bool {
        let weekday = date.weekday().number_from_sunday();
        let is_last = |date: NaiveDate| date.succ_opt().is_none_or(|next| next.month() != date.month());
        match self {
            Self::OfMonth(Part(_, days)) => days.contains(&date.day()),
            Self::OfWeek(Part(_, days)) => days.contains(&weekday),
            Self::Last => is_last(date),
            Self::Near(day) => {
                let Some(wanted) = date.with_day(*day) else { return false };
                let weekdays = (1..=31).filter_map(|day| date.with_day(day));
                let mut weekdays: Vec<NaiveDate> =
                    weekdays.filter(|date| !matches!(date.weekday().number_from_sunday(), 1 | 7)).collect();
                weekdays.sort_by_key(|date| (*date - wanted).num_days().abs());
                weekdays[0] == date
            }
            Self::LastOf(wanted) => weekday == *wanted && (date + Days::new(7)).month() != date.month(),
            Self::Nth(wanted, nth) => {
                let before = (1..=date.day()).filter_map(|day| date.with_day(day));
                weekday == *wanted && before.filter(|other| other.weekday() == date.weekday()).count() == *nth as usize
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Against a walk over every minute of some weeks, in zones with and without daylight saving.
    #[test]
    fn slots_are_those_that_a_walk_over_the_minutes_finds(
        minutes in part(0, 59),
        hours in part(0, 23),
        day in day(),
        months in part(1, 12),
        zone in prop::sample::select(vec![UTC, America::New_York, Europe::Berlin, Asia::Kolkata, Pacific::Apia]),
        // Some weeks that end after the clocks of New York and of Berlin change, and others.
        start in prop::sample::select(vec![
            "2026-02-20T05:17:31Z", "2026-03-05T00:00:00Z", "2026-10-20T23:59:59Z", "2027-12-25T12:00:00Z",
            "2028-02-25T12:30:00Z", "2011-12-25T00:00:30Z",
        ]),
    ) {
        let (day_of_month, day_of_week) = day.fields();
        let expression = format!("cron({} {} {day_of_month} {} {day_of_week} *)", minutes.0, hours.0, months.0);
        let schedule = schedule_or_impossible(&expression)?;
        let start = utc(start);
        let mut shown = std::collections::BTreeSet::new();
        let mut slots = Vec::new();
        for minute in 0..18 * 24 * 60 {
            let instant = start.with_second(0).expect("second 0 exists") + TimeDelta::minutes(minute);
            let local = instant.with_timezone(&zone).naive_local();
            let fits = minutes.1.contains(&local.minute())
                && hours.1.contains(&local.hour())
                && months.1.contains(&local.month())
                && day.holds(local.date());
            // A wall clock time is a slot the first time that it is shown.
            if fits && shown.insert(local) && instant > start {
                slots.push(instant);
            }
        }
        let end = start.with_second(0).expect("second 0 exists") + TimeDelta::minutes(18 * 24 * 60 - 1);
        let found: Vec<_> = schedule.upcoming(start, zone).take_while(|slot| *slot <= end).collect();
        prop_assert_eq!(&found, &slots, "{} in {}", expression, zone);
        for (index, slot) in slots.iter().enumerate().step_by(slots.len() / 50 + 1) {
            prop_assert_eq!(schedule.latest_at_or_before(*slot, zone), Some(*slot));
            let before = schedule.latest_at_or_before(*slot - TimeDelta::seconds(1), zone);
            if index > 0 {
                prop_assert_eq!(before, Some(slots[index - 1]));
            }
        }
    }

    /// For any instant: the slot before is not after it, the slot after is, and there is none between the two.
    #[test]
    fn now_lies_between_two_neighbouring_slots(
        secs in 0_i64..7_200_000_000,
        expression in prop::sample::select(vec![
            "cron(0 0 29 2 ? *)", "cron(0/7 3 ? * 2#1 *)", "cron(30 1 * * ? *)", "cron(30 2 * * ? *)",
            "cron(0 0 LW * ? *)", "rate(7 days)", "rate(11 minutes)",
        ]),
        zone in prop::sample::select(vec![UTC, America::New_York, Asia::Tehran, Pacific::Apia]),
    ) {
        let now = DateTime::from_timestamp(secs, 0).expect("in range");
        let schedule = schedule(expression);
        let (before, after) = (schedule.latest_at_or_before(now, zone), schedule.next_after(now, zone));
        prop_assert!(before.is_none_or(|slot| slot <= now));
        prop_assert!(after.is_none_or(|slot| slot > now));
        if let (Some(before), Some(after)) = (before, after) {
            prop_assert_eq!(schedule.next_after(before, zone), Some(after));
            prop_assert_eq!(schedule.latest_at_or_before(after - TimeDelta::seconds(1), zone), Some(before));
        }
    }

    #[test]
    fn any_text_is_a_schedule_or_an_error(text in "(cron|rate)?\\(?[-0-9A-Z*?#/, LW]{0,24}\\)?") {
        if let Ok(schedule) = Schedule::parse(&text) {
            let now = utc("2026-11-20T13:00:00Z");
            prop_assert!(schedule.next_after(now, UTC).is_none_or(|slot| slot > now));
        }
    }
}

/// A day that never comes is an error of the parser; such a case says nothing here.
fn schedule_or_impossible(expression: &str) -> Result<Schedule, TestCaseError> {
    Schedule::parse(expression).map_err(|error| {
        if error.wrong.contains("never come") {
            TestCaseError::reject("never comes")
        } else {
            TestCaseError::fail(format!("{expression}: {error}"))
        }
    })
}
