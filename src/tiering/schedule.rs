//! When a job is due: EventBridge's schedule expressions, as pure functions of the time.
//!
//! `cron(minutes hours day-of-month month day-of-week year)` gives instants on a calendar (see [`cron`]); `rate(N unit)`
//! gives every multiple of a period, counted from 1970-01-01T00:00:00Z, so that all daemons agree on the slots without
//! having to agree on a start. AWS counts a rate from when the schedule was made, which nobody here could know.
//!
//! A *slot* is such an instant. Nothing is remembered here: whoever runs jobs stores the last slot that was claimed and
//! asks [`Schedule::due`] whether there is a newer one. So a missed slot is made up for once, however many were missed,
//! and a clock that jumps back only means that nothing is due until it has caught up.
//!
//! Time zones and daylight saving are EventBridge Scheduler's (user guide, "Schedule types"): the expression is
//! evaluated on the zone's wall clock; a time that the clock jumps over in spring is skipped, a time that comes twice
//! in autumn counts once, the first time. A rate is elapsed time and knows no zone.

mod cron;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Days, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use cron::Cron;

/// Why an expression is no schedule: which part is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{wrong}; {right}")]
pub struct ScheduleError {
    pub wrong: String,
    pub right: String,
}

impl ScheduleError {
    fn new(wrong: impl Into<String>, right: impl Into<String>) -> Self {
        Self { wrong: wrong.into(), right: right.into() }
    }
}

/// A schedule expression that has been checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    expression: String,
    slots: Slots,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Slots {
    Every { period_secs: i64 },
    Calendar(Box<Cron>),
}

impl Schedule {
    /// Reads `cron(…)` or `rate(…)`. An expression of days that never come, like the 30th of February, is an error;
    /// one whose years are all past is not, it merely has no next slot.
    pub fn parse(expression: &str) -> Result<Self, ScheduleError> {
        let expression = expression.trim();
        let inner =
            |name| expression.strip_prefix(name).and_then(|rest: &str| rest.strip_prefix('(')?.strip_suffix(')'));
        let slots = if let Some(fields) = inner("cron") {
            Slots::Calendar(Box::new(Cron::parse(fields)?))
        } else if let Some(rate) = inner("rate") {
            Slots::Every { period_secs: parse_rate(rate)? }
        } else {
            return Err(ScheduleError::new(
                format!("{expression:?} is no schedule"),
                "write cron(minutes hours day-of-month month day-of-week year) or rate(N unit)",
            ));
        };
        Ok(Self { expression: expression.to_owned(), slots })
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.expression
    }

    /// The first slot strictly after `now`. None if there is none until the end of 2199.
    pub fn next_after(&self, now: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        match &self.slots {
            Slots::Every { period_secs } => {
                let slot = now.timestamp().div_euclid(*period_secs).checked_add(1)?.checked_mul(*period_secs)?;
                DateTime::from_timestamp(slot, 0)
            }
            Slots::Calendar(cron) => {
                // Slots come in the order of their wall clock times, since of a time that comes twice the first counts.
                let mut from = wall_clock(now, zone)?;
                loop {
                    let local = cron.next_after(from)?;
                    if let Some(slot) = first_instant_of(local, zone).filter(|slot| *slot > now) {
                        return Some(slot);
                    }
                    from = local;
                }
            }
        }
    }

    /// The last slot that is not after `now`. None if there was none since the beginning of 1970.
    pub fn latest_at_or_before(&self, now: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        match &self.slots {
            Slots::Every { period_secs } => {
                let slot = now.timestamp().div_euclid(*period_secs).checked_mul(*period_secs)?;
                DateTime::from_timestamp(slot, 0).filter(|slot| slot.timestamp() >= 0)
            }
            Slots::Calendar(cron) => {
                let clock = wall_clock(now, zone)?;
                // While the clock shows times for the second time, later ones than it shows have been already.
                let mut until = match zone.from_local_datetime(&clock) {
                    LocalResult::Ambiguous(..) => clock.checked_add_days(Days::new(1))?,
                    _ => clock,
                };
                loop {
                    let local = cron.latest_at_or_before(until)?;
                    if let Some(slot) = first_instant_of(local, zone).filter(|slot| *slot <= now) {
                        return Some(slot);
                    }
                    until = local.checked_sub_signed(TimeDelta::minutes(1))?;
                }
            }
        }
    }

    /// The slot to run now: the latest in (`last_claimed`, `now`], however many were missed before it.
    ///
    /// None without a `last_claimed`: a first start owes nothing for the past, the caller stores `now` as its baseline.
    /// None as well if `last_claimed` lies in the future, as it seems to after the clock was set back.
    pub fn due(&self, last_claimed: Option<DateTime<Utc>>, now: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let last_claimed = last_claimed?;
        self.latest_at_or_before(now, zone).filter(|slot| *slot > last_claimed)
    }

    /// The slots after `now`, in order.
    pub fn upcoming(&self, now: DateTime<Utc>, zone: Tz) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        std::iter::successors(self.next_after(now, zone), move |slot| self.next_after(*slot, zone))
    }
}

/// What a clock on the wall shows; none at the ends of chrono's time.
fn wall_clock(now: DateTime<Utc>, zone: Tz) -> Option<NaiveDateTime> {
    // Zones are at most a day away from UTC: near chrono's limits their local times do not exist.
    now.checked_add_days(Days::new(2)).and(now.checked_sub_days(Days::new(2)))?;
    Some(now.with_timezone(&zone).naive_local())
}

/// When the wall clock shows `local`: none if it jumps over it, the first time if it shows it twice.
fn first_instant_of(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    zone.from_local_datetime(&local).earliest().map(|instant| instant.with_timezone(&Utc))
}

/// The period in seconds. EventBridge wants the unit's singular with 1 and its plural with everything else.
fn parse_rate(rate: &str) -> Result<i64, ScheduleError> {
    const FORM: &str = "write rate(N unit) with minute, minutes, hour, hours, day or days, like rate(1 hour)";
    let [count, unit] = rate.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(ScheduleError::new(format!("rate({rate}) is not a number and a unit"), FORM));
    };
    let digits = count.bytes().all(|b| b.is_ascii_digit());
    let number: i64 = count
        .parse()
        .ok()
        .filter(|number| digits && (1..=9_999_999).contains(number))
        .ok_or_else(|| ScheduleError::new(format!("rate: {count:?} is no count"), "write a whole number from 1"))?;
    let (singular, unit_secs) = match unit {
        "minute" | "minutes" => ("minute", 60),
        "hour" | "hours" => ("hour", 60 * 60),
        "day" | "days" => ("day", 24 * 60 * 60),
        _ => return Err(ScheduleError::new(format!("rate: {unit:?} is no unit"), FORM)),
    };
    if (number == 1) != (unit == singular) {
        let ending = if number == 1 { "" } else { "s" };
        let right = format!("write rate({number} {singular}{ending})");
        return Err(ScheduleError::new(format!("rate: the unit of {number} is not {unit:?}"), right));
    }
    Ok(number * unit_secs)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.expression)
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(expression: &str) -> Result<Self, ScheduleError> {
        Self::parse(expression)
    }
}

impl TryFrom<String> for Schedule {
    type Error = ScheduleError;

    fn try_from(expression: String) -> Result<Self, ScheduleError> {
        Self::parse(&expression)
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> String {
        schedule.expression
    }
}

#[cfg(test)]
mod tests;
