//! The one place that asks the clock. Everything that decides takes `now` as an argument.

use chrono::{DateTime, SubsecRound, Utc};

/// The time, in UTC.
#[allow(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// The time cut to whole seconds, as tables and reports store it.
pub fn now_secs() -> DateTime<Utc> {
    now().trunc_subsecs(0)
}

/// A time as tables and reports write it: RFC 3339, UTC, `Z`, whole seconds.
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
