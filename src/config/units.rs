//! How durations, sizes and time zones are written: `"48h"`, `"256MiB"`, `"Asia/Seoul"`.
//!
//! Each module is for serde's `with`. Reading takes whatever `humantime` and `bytesize` take; writing gives the largest
//! unit that loses nothing, so that what `check` prints reads back as the same value. Up to three days are hours, as people
//! write them.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserializer, Serializer};

const MINUTE_MILLIS: u128 = 60 * 1000;
const HOUR_MILLIS: u128 = 60 * MINUTE_MILLIS;
const DAY_MILLIS: u128 = 24 * HOUR_MILLIS;

/// A duration as the configuration writes it, to the millisecond.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(DAY_MILLIS) && millis > 3 * DAY_MILLIS => format!("{}d", millis / DAY_MILLIS),
        _ if millis.is_multiple_of(HOUR_MILLIS) => format!("{}h", millis / HOUR_MILLIS),
        _ if millis.is_multiple_of(MINUTE_MILLIS) => format!("{}m", millis / MINUTE_MILLIS),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}

/// A size as the configuration writes it.
pub fn format_size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    UNITS
        .into_iter()
        .find(|(_, shift)| bytes != 0 && bytes.is_multiple_of(1 << shift))
        .map_or_else(|| format!("{bytes}B"), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

/// `"500ms"`, `"30s"`, `"48h"`, `"35d"`.
pub mod duration {
    use super::*;

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }

    struct DurationVisitor;

    impl Visitor<'_> for DurationVisitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration with its unit, in quotes, like \"30s\", \"48h\" or \"35d\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            let duration = humantime::parse_duration(text).map_err(|_| {
                E::custom(format!(
                    "{text:?} is no duration; write a number with its unit, like \"30s\", \"48h\" or \"35d\""
                ))
            })?;
            if duration.subsec_nanos() % 1_000_000 != 0 {
                return Err(E::custom(format!("{text:?} is finer than a millisecond; write whole milliseconds")));
            }
            Ok(duration)
        }
    }
}

/// `"128KiB"`, `"5GiB"`, or a number of bytes.
pub mod size {
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_size(*bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }

    pub(super) struct SizeVisitor;

    impl Visitor<'_> for SizeVisitor {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a size like \"128KiB\", \"256MiB\" or \"5GiB\", or a number of bytes")
        }

        fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<u64, E> {
            Ok(bytes)
        }

        fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<u64, E> {
            u64::try_from(bytes).map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            text.parse::<bytesize::ByteSize>().map(|size| size.as_u64()).map_err(|_| {
                E::custom(format!("{text:?} is no size; write a number with its unit, like \"128KiB\" or \"5GiB\""))
            })
        }
    }
}

/// A size that may be left out.
pub mod optional_size {
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => size::serialize(bytes, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(size::SizeVisitor).map(Some)
    }
}

/// An IANA time zone, by its name.
pub mod timezone {
    use super::*;
    use chrono_tz::Tz;

    pub fn serialize<S: Serializer>(zone: &Tz, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(zone.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
        deserializer.deserialize_any(TimezoneVisitor)
    }

    struct TimezoneVisitor;

    impl Visitor<'_> for TimezoneVisitor {
        type Value = Tz;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the name of a time zone, like \"UTC\" or \"Asia/Seoul\"")
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<Tz, E> {
            name.parse().map_err(|_| {
                let near = super::super::nearest(name, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
                let hint = near.map(|zone| format!("did you mean {zone:?}?"));
                let hint = hint.unwrap_or_else(|| "write an IANA name like \"UTC\" or \"Asia/Seoul\"".to_owned());
                E::custom(format!("{name:?} is no time zone; {hint}"))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_as_the_same_value() {
        for millis in [0, 1, 999, 1000, 1500, 60_000, 90_000, 3_600_000, 172_800_000, 35 * 86_400_000] {
            let duration = Duration::from_millis(millis);
            let text = format_duration(duration);
            assert_eq!(humantime::parse_duration(&text), Ok(duration), "{text}");
        }
        for bytes in [0, 1, 1023, 1024, 1025, 128 << 10, 256 << 20, 5 << 30, 10 << 40, 5_000_000_000] {
            let text = format_size(bytes);
            assert_eq!(text.parse::<bytesize::ByteSize>().map(|size| size.as_u64()), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn the_largest_unit_that_loses_nothing_is_used() {
        assert_eq!(format_duration(Duration::from_secs(48 * 3600)), "48h");
        assert_eq!(format_duration(Duration::from_secs(35 * 86_400)), "35d");
        assert_eq!(format_duration(Duration::from_secs(90)), "90s");
        assert_eq!(format_size(256 << 20), "256MiB");
        assert_eq!(format_size(1536 << 20), "1536MiB");
    }
}
