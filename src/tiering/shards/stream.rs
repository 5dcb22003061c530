//! The stream as a whole: is it still the one that was read, was it read lately enough, and how soon to ask it again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// What the table's present stream is to the one that the checkpoints belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamChange {
    /// Nothing was ever read: begin, and sweep the users table for rows older than the stream.
    First,
    /// The same stream: the checkpoints hold.
    Same,
    /// The table's stream was switched off and on, or the table made anew. Whatever the old stream still held is lost to
    /// us: a gap over the whole stream. Record it, sweep, drop the old checkpoints, begin with none.
    Replaced,
    /// The checkpoints are of another table (or region, or account): the configuration changed. To be treated as
    /// [`StreamChange::Replaced`] but worth another message.
    OtherTable,
}

/// Compares the ARN that the checkpoints carry with that of the table's latest stream
/// (`arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/LABEL`).
pub fn compare_stream(old_arn: Option<&str>, new_arn: &str) -> StreamChange {
    let table = |arn: &str| arn.split_once("/stream/").map_or(arn, |(table, _)| table).to_owned();
    match old_arn {
        None => StreamChange::First,
        Some(old) if old == new_arn => StreamChange::Same,
        Some(old) if table(old) == table(new_arn) => StreamChange::Replaced,
        Some(_) => StreamChange::OtherTable,
    }
}

/// How long a record can be read for sure ("DynamoDB Streams: data retention limit").
pub const RETENTION: TimeDelta = TimeDelta::hours(24);

/// Whether a stream was read without a pause in which records may have come and gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// Everything that came since is still there.
    Kept,
    /// The pause was longer than records live. A shard that is read from TRIM_HORIZON does not say that its first records
    /// are gone, so the listing alone cannot show this loss: sweep the users table.
    Doubtful,
}

/// Decides whether a pause from `last_read` (the last time that the stream was known to be read up to its tip) to `now` may
/// have cost records.
pub fn continuity(last_read: DateTime<Utc>, now: DateTime<Utc>) -> Continuity {
    if now - last_read < RETENTION { Continuity::Kept } else { Continuity::Doubtful }
}

/// Whether more can come into a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardEnd {
    /// Records may still come.
    Open,
    /// The shard has its ending sequence number, or children: its reader only catches up.
    Closed,
}

/// How soon a reader asks its shard again.
///
/// A request costs the same whether it brings records or not, so a stream in which nothing happens is asked more and more
/// rarely: first every `poll_interval`, and after [`IdleBackoff::PATIENCE`] empty pages in a row twice as long each
/// time, up to `idle_interval`. The first record takes it back to the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleBackoff {
    pub poll_interval: Duration,
    pub idle_interval: Duration,
}

impl IdleBackoff {
    /// Empty pages in a row before the pauses grow. Empty pages come up before records too (a page is a stretch of the
    /// shard, not a number of records), so a few of them do not mean that nothing happens.
    pub const PATIENCE: u32 = 10;

    /// The longest pause in a closed shard, where every empty page brings the end nearer; the pause only keeps a server
    /// that never says "end" from being asked in a tight loop.
    pub const CATCH_UP: Duration = Duration::from_millis(200);

    /// The pause after a page, when so many pages in a row, this one included, were empty; 0 after a page with records, which
    /// is followed by the next one at once, because more may be waiting.
    pub fn delay(&self, empty_pages: u32, end: ShardEnd) -> Duration {
        if empty_pages == 0 {
            return Duration::ZERO;
        }
        if end == ShardEnd::Closed {
            return self.poll_interval.min(Self::CATCH_UP);
        }
        let doublings = empty_pages.saturating_sub(Self::PATIENCE).min(31);
        // An idle interval below the poll interval would be a speed-up: then there is no back-off.
        self.poll_interval.saturating_mul(1 << doublings).min(self.idle_interval.max(self.poll_interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_label_is_a_replaced_stream_and_another_table_is_another_table() {
        let arn = |table: &str, label: &str| format!("arn:aws:dynamodb:us-east-1:1:table/{table}/stream/{label}");
        let new = arn("user", "2026");
        for (old, expected) in [
            (None, StreamChange::First),
            (Some(arn("user", "2026")), StreamChange::Same),
            (Some(arn("user", "2025")), StreamChange::Replaced),
            (Some(arn("users", "2026")), StreamChange::OtherTable),
        ] {
            assert_eq!(compare_stream(old.as_deref(), &new), expected, "{old:?}");
        }
    }

    #[test]
    fn a_pause_of_a_day_is_doubtful() {
        let last = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        assert_eq!(continuity(last, last + RETENTION - TimeDelta::seconds(1)), Continuity::Kept);
        assert_eq!(continuity(last, last + RETENTION), Continuity::Doubtful);
        assert_eq!(continuity(last, last - RETENTION), Continuity::Kept);
    }

    #[test]
    fn pauses_grow_only_while_nothing_comes_into_an_open_shard() {
        let secs = Duration::from_secs;
        let backoff = IdleBackoff { poll_interval: secs(1), idle_interval: secs(5) };
        for (empty_pages, end, expected) in [
            (0, ShardEnd::Open, secs(0)),
            (1, ShardEnd::Open, secs(1)),
            (10, ShardEnd::Open, secs(1)),
            (11, ShardEnd::Open, secs(2)),
            (12, ShardEnd::Open, secs(4)),
            (13, ShardEnd::Open, secs(5)),
            (u32::MAX, ShardEnd::Open, secs(5)),
            (0, ShardEnd::Closed, secs(0)),
            (u32::MAX, ShardEnd::Closed, IdleBackoff::CATCH_UP),
        ] {
            assert_eq!(backoff.delay(empty_pages, end), expected, "{empty_pages} {end:?}");
        }
        let odd = IdleBackoff { poll_interval: secs(9), idle_interval: secs(5) };
        assert_eq!(odd.delay(50, ShardEnd::Open), secs(9));
    }
}
