//! When a job is due: EventBridge's schedule expressions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why an expression is no schedule: what is wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{wrong}; {right}")]
pub struct ScheduleError {
    pub wrong: String,
    pub right: String,
}

/// A schedule expression that has been checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    expression: String,
}

impl Schedule {
    /// Reads `cron(…)` or `rate(…)`.
    pub fn parse(expression: &str) -> Result<Self, ScheduleError> {
        let text = expression.trim();
        if (text.starts_with("cron(") || text.starts_with("rate(")) && text.ends_with(')') {
            return Ok(Self { expression: text.to_owned() });
        }
        Err(ScheduleError {
            wrong: format!("{expression:?} is no schedule"),
            right: "write cron(min hour day-of-month month day-of-week year) or rate(N unit)".to_owned(),
        })
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.expression
    }
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

impl Schedule {
    /// The latest slot after `last`, up to and with `now`.
    pub fn due(
        &self,
        _last: Option<chrono::DateTime<chrono::Utc>>,
        _now: chrono::DateTime<chrono::Utc>,
        _timezone: chrono_tz::Tz,
    ) -> Option<chrono::DateTime<chrono::Utc>> {
        None
    }
}
