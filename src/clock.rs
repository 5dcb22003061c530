//! The one place that asks the clock. Everything that decides takes `now` as an argument.

use chrono::{DateTime, SubsecRound, Utc};

/// The time, in UTC. A debug build that is started with `TIERD_CLOCK_AHEAD_SECS=3600` is an hour ahead of it, so that a test
/// can live through months.
#[allow(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
pub fn now() -> DateTime<Utc> {
    #[cfg(debug_assertions)]
    return Utc::now() + *AHEAD;
    #[cfg(not(debug_assertions))]
    Utc::now()
}

#[cfg(debug_assertions)]
static AHEAD: std::sync::LazyLock<chrono::TimeDelta> = std::sync::LazyLock::new(|| {
    let seconds = std::env::var("TIERD_CLOCK_AHEAD_SECS").map_or(0, |text| text.parse().expect("whole seconds"));
    chrono::TimeDelta::seconds(seconds)
});

/// The time cut to whole seconds, as tables and reports store it.
pub fn now_secs() -> DateTime<Utc> {
    now().trunc_subsecs(0)
}

/// A time as tables and reports write it: RFC 3339, UTC, `Z`, whole seconds.
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
