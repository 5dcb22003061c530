//! EventBridge's cron expressions on a wall clock: which minutes of which days.
//!
//! Source: EventBridge user guide, "Cron expressions reference". What the guide leaves open is as in Quartz, whose
//! syntax this is: `L` as a day of the week is Saturday, `6L` the month's last Friday; `LW` is its last weekday and
//! `L-3` its third day from the last; `15W` stays within its month, and a month without that day has none; a range may
//! run over the end (`FRI-MON`), save that of years.
//!
//! Finding a slot goes from the coarse to the fine, years before months before days before minutes, so a slot that
//! comes once in a hundred years is as cheap as one that comes every minute.

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use super::ScheduleError;

const FIRST_YEAR: u32 = 1970;
const LAST_YEAR: u32 = 2199;
const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const SATURDAY: u32 = 7;

const MINUTES: Field = Field { name: "minutes", least: 0, most: 59, names: &[] };
const HOURS: Field = Field { name: "hours", least: 0, most: 23, names: &[] };
const DAY_OF_MONTH: Field = Field { name: "day-of-month", least: 1, most: 31, names: &[] };
const MONTH: Field = Field { name: "month", least: 1, most: 12, names: MONTHS };
const DAY_OF_WEEK: Field = Field { name: "day-of-week", least: 1, most: 7, names: WEEKDAYS };
const YEAR: Field = Field { name: "year", least: FIRST_YEAR, most: LAST_YEAR, names: &[] };

/// A cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: Vec<u32>,
    hours: Vec<u32>,
    days: DayRule,
    /// Sorted, from 1.
    months: Vec<u32>,
    /// Sorted.
    years: Vec<u32>,
}

/// The one of the two day fields that is not `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum DayRule {
    OfMonth(Vec<MonthDay>),
    OfWeek(Vec<WeekDay>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum MonthDay {
    Days(Vec<u32>),
    /// `L`, `L-3`: so many days before the last.
    FromLast(u32),
    /// `LW`.
    LastWeekday,
    /// `15W`.
    WeekdayNear(u32),
}

/// Days of the week from 1, Sunday.
#[derive(Debug, Clone, PartialEq, Eq)]
enum WeekDay {
    Days(Vec<u32>),
    /// `6L`.
    Last(u32),
    /// `3#2`.
    Nth {
        weekday: u32,
        nth: u32,
    },
}

impl Cron {
    /// Reads the six fields.
    pub fn parse(fields: &str) -> Result<Self, ScheduleError> {
        const FORM: &str = "write cron(minutes hours day-of-month month day-of-week year), like cron(0 10 * * ? *)";
        let parts: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, day_of_month, month, day_of_week, year] = parts[..] else {
            return Err(ScheduleError::new(format!("cron({fields}) has {} fields", parts.len()), FORM));
        };
        let days = match (day_of_month, day_of_week) {
            ("?", "?") => {
                let right = "write * in day-of-month for every day";
                return Err(ScheduleError::new("cron: both day-of-month and day-of-week are ?", right));
            }
            (_, "?") => DayRule::OfMonth(items(&DAY_OF_MONTH, day_of_month, month_day)?),
            ("?", _) => {
                if day_of_week.contains('#') && day_of_week.contains(',') {
                    let wrong = format!("day-of-week: {day_of_week:?} lists more than one day, and one with #");
                    return Err(ScheduleError::new(wrong, "write one day alone, like 3#2, or days without #"));
                }
                DayRule::OfWeek(items(&DAY_OF_WEEK, day_of_week, week_day)?)
            }
            _ => {
                let right = "write ? in the one that does not matter";
                return Err(ScheduleError::new("cron: neither day-of-month nor day-of-week is ?", right));
            }
        };
        let cron = Self {
            minutes: MINUTES.values(minutes)?,
            hours: HOURS.values(hours)?,
            days,
            months: MONTH.values(month)?,
            years: YEAR.values(year)?,
        };
        match cron.day_from(Some(NaiveDate::default())) {
            Some(_) => Ok(cron),
            None => Err(ScheduleError::new(
                format!(
                    "cron: day-of-month {day_of_month}, month {month}, day-of-week {day_of_week}, year {year} never come together"
                ),
                "write a day that the months and years have",
            )),
        }
    }

    /// The first minute strictly after `clock` that the expression names.
    pub fn next_after(&self, clock: NaiveDateTime) -> Option<NaiveDateTime> {
        let day = self.day_from(Some(clock.date()))?;
        if day != clock.date() {
            return at(day, self.times().next()?);
        }
        let now = (clock.hour(), clock.minute());
        match self.times().find(|time| *time > now) {
            Some(time) => at(day, time),
            None => at(self.day_from(day.succ_opt())?, self.times().next()?),
        }
    }

    /// The last minute at or before `clock` that the expression names.
    pub fn latest_at_or_before(&self, clock: NaiveDateTime) -> Option<NaiveDateTime> {
        let day = self.day_until(Some(clock.date()))?;
        if day != clock.date() {
            return at(day, self.times().last()?);
        }
        let now = (clock.hour(), clock.minute());
        match self.times().take_while(|time| *time <= now).last() {
            Some(time) => at(day, time),
            None => at(self.day_until(day.pred_opt())?, self.times().last()?),
        }
    }

    /// A day's hours and minutes, in order.
    fn times(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.hours.iter().flat_map(|hour| self.minutes.iter().map(|minute| (*hour, *minute)))
    }

    /// The first day from `start` on.
    fn day_from(&self, start: Option<NaiveDate>) -> Option<NaiveDate> {
        let start = start?;
        let first = (i64::from(start.year()), start.month());
        let months = self.years.iter().flat_map(|year| self.months.iter().map(|month| (*year, *month)));
        months.filter(|(year, month)| (i64::from(*year), *month) >= first).find_map(|(year, month)| {
            let month = Month::new(year, month)?;
            self.days_of(&month).filter_map(|day| month.day(day)).find(|date| *date >= start)
        })
    }

    /// The last day up to `end`.
    fn day_until(&self, end: Option<NaiveDate>) -> Option<NaiveDate> {
        let end = end?;
        let last = (i64::from(end.year()), end.month());
        let months = self.years.iter().rev().flat_map(|year| self.months.iter().rev().map(|month| (*year, *month)));
        months.filter(|(year, month)| (i64::from(*year), *month) <= last).find_map(|(year, month)| {
            let month = Month::new(year, month)?;
            self.days_of(&month).filter_map(|day| month.day(day)).filter(|date| *date <= end).last()
        })
    }

    /// The days of a month that the expression names, in order.
    fn days_of<'a>(&'a self, month: &'a Month) -> impl Iterator<Item = u32> + 'a {
        (1..=month.length).filter(move |day| match &self.days {
            DayRule::OfMonth(rules) => rules.iter().any(|rule| rule.names(*day, month)),
            DayRule::OfWeek(rules) => rules.iter().any(|rule| rule.names(*day, month)),
        })
    }
}

impl MonthDay {
    fn names(&self, day: u32, month: &Month) -> bool {
        match self {
            Self::Days(days) => days.binary_search(&day).is_ok(),
            Self::FromLast(before) => day + before == month.length,
            Self::LastWeekday => month.weekday_near(month.length) == Some(day),
            Self::WeekdayNear(near) => month.weekday_near(*near) == Some(day),
        }
    }
}

impl WeekDay {
    fn names(&self, day: u32, month: &Month) -> bool {
        let weekday = month.weekday(day);
        match self {
            Self::Days(days) => days.binary_search(&weekday).is_ok(),
            Self::Last(wanted) => weekday == *wanted && day + 7 > month.length,
            Self::Nth { weekday: wanted, nth } => weekday == *wanted && day.div_ceil(7) == *nth,
        }
    }
}

/// A month of the calendar.
struct Month {
    first: NaiveDate,
    length: u32,
}

impl Month {
    fn new(year: u32, month: u32) -> Option<Self> {
        let year = i32::try_from(year).ok()?;
        let first = NaiveDate::from_ymd_opt(year, month, 1)?;
        Some(Self { first, length: u32::from(first.num_days_in_month()) })
    }

    fn day(&self, day: u32) -> Option<NaiveDate> {
        self.first.with_day(day)
    }

    /// From 1, Sunday.
    fn weekday(&self, day: u32) -> u32 {
        (self.first.weekday().num_days_from_sunday() + day - 1) % 7 + 1
    }

    /// The weekday, Monday to Friday, that is nearest to `day` within the month; none if the month has no such day.
    fn weekday_near(&self, day: u32) -> Option<u32> {
        if !(1..=self.length).contains(&day) {
            return None;
        }
        Some(match self.weekday(day) {
            SATURDAY if day == 1 => 3,
            SATURDAY => day - 1,
            1 if day == self.length => day - 2,
            1 => day + 1,
            _ => day,
        })
    }
}

/// A field of the expression: its values and their names.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

impl Field {
    fn error(&self, wrong: impl std::fmt::Display) -> ScheduleError {
        let Self { name, least, most, names } = self;
        let names = match (names.first(), names.last()) {
            (Some(first), Some(last)) => format!(" or {first} to {last}"),
            _ => String::new(),
        };
        let right = format!("write {least} to {most}{names}, with `,` for lists, `-` for ranges, `/` for steps, or *");
        let more = match *name {
            "day-of-month" => ", or L, LW, 15W, ?",
            "day-of-week" => ", or 6L, 3#2, ?",
            _ => "",
        };
        ScheduleError::new(format!("{name}: {wrong}"), right + more)
    }

    fn value(&self, text: &str) -> Result<u32, ScheduleError> {
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(self.least + u32::try_from(at).unwrap_or(0));
        }
        let number = text.parse::<u32>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        match number {
            Some(number) if (self.least..=self.most).contains(&number) => Ok(number),
            Some(number) => Err(self.error(format!("{number} is out of range"))),
            None => Err(self.error(format!("{text:?} is no value"))),
        }
    }

    /// A list of values, ranges and steps: sorted, each once.
    fn values(&self, text: &str) -> Result<Vec<u32>, ScheduleError> {
        let mut values = Vec::new();
        for item in text.split(',') {
            values.extend(self.item(item)?);
        }
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }

    /// `*`, `5`, `1-5`, each perhaps with `/2`.
    fn item(&self, item: &str) -> Result<Vec<u32>, ScheduleError> {
        let size = self.most - self.least + 1;
        let (range, step) = match item.split_once('/') {
            None => (item, None),
            Some((range, step)) => {
                let digits = step.bytes().all(|b| b.is_ascii_digit());
                let number = step.parse::<u32>().ok().filter(|number| digits && (1..=size).contains(number));
                let wrong = || self.error(format!("{step:?} is no step, which is 1 to {size}"));
                (range, Some(number.ok_or_else(wrong)?))
            }
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (self.least, self.most),
            (_, Some((from, to))) => (self.value(from)?, self.value(to)?),
            // A step from one value goes on to the field's end.
            (value, None) => (self.value(value)?, if step.is_some() { self.most } else { self.value(value)? }),
        };
        if from > to && self.name == YEAR.name {
            return Err(self.error(format!("the range {range} ends before it begins")));
        }
        let end = if from > to { to + size } else { to };
        let step = usize::try_from(step.unwrap_or(1)).unwrap_or(1);
        Ok((from..=end).step_by(step).map(|value| (value - self.least) % size + self.least).collect())
    }
}

/// The items of a day field, each by itself.
fn items<T>(
    field: &Field,
    text: &str,
    read: impl Fn(&Field, &str) -> Result<T, ScheduleError>,
) -> Result<Vec<T>, ScheduleError> {
    text.split(',').map(|item| read(field, item)).collect()
}

fn month_day(field: &Field, item: &str) -> Result<MonthDay, ScheduleError> {
    match item {
        "L" => Ok(MonthDay::FromLast(0)),
        "LW" => Ok(MonthDay::LastWeekday),
        _ => {
            if let Some(before) = item.strip_prefix("L-") {
                return field.value(before).map(MonthDay::FromLast);
            }
            match item.strip_suffix('W') {
                Some(near) => field.value(near).map(MonthDay::WeekdayNear),
                None => field.values(item).map(MonthDay::Days),
            }
        }
    }
}

fn week_day(field: &Field, item: &str) -> Result<WeekDay, ScheduleError> {
    if item == "L" {
        return Ok(WeekDay::Days(vec![SATURDAY]));
    }
    if let Some((weekday, nth)) = item.split_once('#') {
        let weekday = field.value(weekday)?;
        return match nth.parse() {
            Ok(nth @ 1..=5) if nth.to_string().len() == 1 => Ok(WeekDay::Nth { weekday, nth }),
            _ => Err(field.error(format!("{nth:?} after # is not 1 to 5"))),
        };
    }
    match item.strip_suffix('L') {
        Some(weekday) => field.value(weekday).map(WeekDay::Last),
        None => field.values(item).map(WeekDay::Days),
    }
}

fn at(date: NaiveDate, (hour, minute): (u32, u32)) -> Option<NaiveDateTime> {
    NaiveTime::from_hms_opt(hour, minute, 0).map(|time| date.and_time(time))
}
