//! Schedules: whatever can be read has a next time after now, and one at or before it that is not later.
#![no_main]

use chrono::DateTime;
use libfuzzer_sys::fuzz_target;
use tierd::tiering::schedule::Schedule;

fuzz_target!(|input: (u32, &str)| {
    let (seconds, expression) = input;
    let Ok(schedule) = Schedule::parse(expression) else { return };
    let now = DateTime::from_timestamp(i64::from(seconds), 0).expect("in range");
    for zone in [chrono_tz::UTC, chrono_tz::America::New_York] {
        if let Some(next) = schedule.next_after(now, zone) {
            assert!(next > now);
        }
        if let Some(latest) = schedule.latest_at_or_before(now, zone) {
            assert!(latest <= now);
        }
    }
    assert_eq!(Schedule::parse(schedule.as_str()).as_ref().map(Schedule::as_str), Ok(schedule.as_str()));
});
