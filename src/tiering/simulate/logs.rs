//! A trace out of access logs, as ingest reads them.
//!
//! Every read costs money, whether it counts as a use or not, so a trace takes all reads, writes and deletions that the logs
//! tell ([`rules`]), and only says how many of the reads count. Callers that are left out of the counting are left out here
//! too: the daemon's own moves are not its users' work.

use std::ops::Range;

use rustc_hash::FxHashSet;
use serde::Serialize;

use super::trace::{Built, Op, SizeUnknown, TooLong, TraceBuilder, Traced};
use crate::tiering::access::{CountRule, EventIdentity, FileAccesses};
use crate::tiering::object::{BucketName, NameError};

/// What an event does, by the names that counting rules speak of.
const EVENTS: [(&str, Op); 6] = [
    ("GetObject", Op::Get),
    ("SelectObjectContent", Op::Get),
    ("PutObject", Op::Put),
    ("CopyObject", Op::Put),
    ("CompleteMultipartUpload", Op::Put),
    ("DeleteObject", Op::Delete),
];

/// The rules by which logs are to be read for a trace: those by which accesses count come first, so that each access tells
/// whether it does.
pub fn rules(counting: &[CountRule]) -> Vec<CountRule> {
    let all = EVENTS.map(|(event, _)| CountRule { event: event.to_owned(), with_parameter: None });
    counting.iter().cloned().chain(all).collect()
}

/// What was in the logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LogFigures {
    /// Taken into the trace.
    pub accesses: u64,
    /// The same event once more.
    pub duplicates: u64,
    /// Outside the time that was asked for.
    pub outside: u64,
    /// GETs, and how many of them count as uses.
    pub reads: u64,
    pub reads_counted: u64,
}

/// A trace that is made of log files.
#[derive(Debug)]
pub struct LogTrace {
    trace: TraceBuilder,
    /// By the place of the rule; None for an event that neither reads nor writes.
    ops: Vec<Option<Op>>,
    /// How many of the rules are those by which accesses count.
    counting: usize,
    /// Seconds since 1970.
    window: Range<u32>,
    seen: FxHashSet<EventIdentity>,
    figures: LogFigures,
}

impl LogTrace {
    /// `counting` are the rules by which accesses count; the files must be read by the [`rules`] that are made of them. Only
    /// what happened within `window` (seconds since 1970) is taken.
    pub fn new(counting: &[CountRule], window: Range<u32>) -> Self {
        let op_of = |rule: &CountRule| EVENTS.iter().find(|(event, _)| *event == rule.event).map(|(_, op)| *op);
        Self {
            trace: TraceBuilder::default(),
            ops: rules(counting).iter().map(op_of).collect(),
            counting: counting.len(),
            window,
            seen: FxHashSet::default(),
            figures: LogFigures::default(),
        }
    }

    /// Takes what a file holds, but for the events that were taken since [`LogTrace::end_batch`].
    pub fn absorb(&mut self, file: &FileAccesses) -> Result<(), NameError> {
        for access in file.iter() {
            let Some(op) = self.ops.get(access.rule).copied().flatten() else { continue };
            let Some(time_secs) = u32::try_from(access.time.timestamp()).ok().filter(|at| self.window.contains(at))
            else {
                self.figures.outside += 1;
                continue;
            };
            if access.identity.is_some_and(|identity| !self.seen.insert(identity)) {
                self.figures.duplicates += 1;
                continue;
            }
            let (bucket, key) = (access.bucket.as_str(), access.key);
            self.trace.add(&Traced {
                bucket,
                key,
                time_secs,
                op,
                bytes: access.bytes_sent,
                size: access.object_bytes,
            })?;
            self.figures.accesses += 1;
            if op == Op::Get {
                self.figures.reads += 1;
                self.figures.reads_counted += u64::from(access.rule < self.counting);
            }
        }
        Ok(())
    }

    /// Ends a batch of files: twins of an event are looked for within a batch, as ingest does.
    pub fn end_batch(&mut self) {
        self.seen.clear();
    }

    /// The buckets that the logs tell of.
    pub fn buckets(&self) -> &[BucketName] {
        self.trace.buckets()
    }

    /// An object as a listing shows it now.
    pub fn list(&mut self, bucket: &BucketName, key: &str, bytes: u64) -> Result<(), NameError> {
        self.trace.list(bucket.as_str(), key, bytes)
    }

    /// The bucket was listed to its end.
    pub fn is_listed(&mut self, bucket: &BucketName) {
        self.trace.is_listed(bucket.as_str());
    }

    pub fn figures(&self) -> LogFigures {
        self.figures
    }

    /// Ends it. Objects of unknown size are left out: nothing could be said of what they cost.
    pub fn finish(self) -> Result<Built, TooLong> {
        self.trace.finish(SizeUnknown::LeaveOut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiering::access::CountingRules;
    use crate::tiering::access_log::{Format, Parser};
    use crate::tiering::simulate::trace::csv::TraceReader;
    use crate::tiering::simulate::trace::{Event, EventKind};

    const DAY: u32 = 86_400;

    fn counting() -> Vec<CountRule> {
        let rule = |event: &str, parameter: Option<&str>| CountRule {
            event: event.to_owned(),
            with_parameter: parameter.map(str::to_owned),
        };
        vec![rule("PutObject", None), rule("GetObject", Some("response-content-disposition"))]
    }

    fn absorb(trace: &mut LogTrace, format: Format, text: &str) {
        let rules = CountingRules { rules: rules(&counting()), ..CountingRules::default() };
        let parsed = Parser::new(format, rules).parse(text.as_bytes());
        assert_eq!(parsed.records_bad, 0, "{:?}", parsed.errors);
        trace.absorb(&parsed.accesses).unwrap();
    }

    /// A CloudTrail record; `id` is its event's, `more` are members of `additionalEventData`.
    fn record(id: u32, time: &str, event: &str, key: &str, more: &str) -> String {
        format!(
            r#"{{"eventTime":"{time}","eventSource":"s3.amazonaws.com","eventName":"{event}","requestParameters":{{"bucketName":"bucket","key":"{key}"}},"additionalEventData":{{{more}}},"eventID":"{id}"}}"#
        )
    }

    fn file(records: &[String]) -> String {
        format!(r#"{{"Records":[{}]}}"#, records.join(","))
    }

    fn whole() -> LogTrace {
        LogTrace::new(&counting(), 0..u32::MAX)
    }

    #[test]
    fn logs_make_the_trace_that_a_file_with_the_same_accesses_makes() {
        let mut from_logs = whole();
        let (sent, received) = (r#""bytesTransferredOut":7.0"#, r#""bytesTransferredIn":10.0,"bytesTransferredOut":0"#);
        absorb(
            &mut from_logs,
            Format::CloudTrail,
            &file(&[
                record(1, "2024-03-01T10:00:00Z", "PutObject", "a", received),
                record(2, "2024-03-03T10:00:00Z", "GetObject", "a", sent),
                record(3, "2024-03-03T11:00:00Z", "GetObject", "a", sent),
                record(4, "2024-03-05T00:00:00Z", "DeleteObject", "a", ""),
                record(5, "2024-03-02T00:00:00Z", "GetObject", "found", sent),
                record(6, "2024-03-02T00:00:00Z", "HeadObject", "found", ""),
            ]),
        );
        let mut reader = TraceReader::new(b"time,bucket,key,op,bytes,size").unwrap();
        for line in [
            "2024-03-01T10:00:00Z,bucket,a,PUT,10,10",
            "2024-03-03T10:00:00Z,bucket,a,GET,7,",
            "2024-03-03T11:00:00Z,bucket,a,GET,7,",
            "2024-03-05T00:00:00Z,bucket,a,DELETE,,",
            "2024-03-02T00:00:00Z,bucket,found,GET,7,",
        ] {
            reader.line(line.as_bytes()).unwrap();
        }
        let figures = LogFigures { accesses: 5, reads: 3, ..LogFigures::default() };
        assert_eq!(from_logs.figures(), figures);
        let built = from_logs.finish().unwrap();
        assert_eq!((built.trace, built.left_out), (reader.finish().unwrap(), 0));
    }

    #[test]
    fn an_event_is_taken_once_in_a_batch_and_only_within_the_time_asked_for() {
        let day = |n: i64| chrono::DateTime::from_timestamp(n * i64::from(DAY), 0).unwrap().to_rfc3339();
        let text = file(&[
            record(1, &day(9), "GetObject", "k", r#""bytesTransferredOut":5"#),
            record(2, &day(10), "GetObject", "k", r#""bytesTransferredOut":5"#),
            record(3, &day(20), "GetObject", "k", r#""bytesTransferredOut":5"#),
        ]);
        let mut trace = LogTrace::new(&counting(), 10 * DAY..20 * DAY);
        absorb(&mut trace, Format::CloudTrail, &text);
        absorb(&mut trace, Format::CloudTrail, &text);
        let figures = trace.figures();
        assert_eq!((figures.accesses, figures.duplicates, figures.outside), (1, 1, 4));
        trace.end_batch();
        absorb(&mut trace, Format::CloudTrail, &text);
        assert_eq!(trace.figures().accesses, 2);
    }

    #[test]
    fn a_size_is_told_by_the_logs_else_by_the_listing_else_the_object_is_left_out() {
        let at = |n: u32| format!("2024-03-{n:02}T00:00:00Z");
        let mut trace = whole();
        absorb(
            &mut trace,
            Format::CloudTrail,
            &file(&[
                // What ends an upload in parts tells nothing of the object's size.
                record(1, &at(1), "CompleteMultipartUpload", "parts", r#""bytesTransferredIn":900"#),
                record(2, &at(1), "CompleteMultipartUpload", "unknown", r#""bytesTransferredIn":900"#),
                // Half of it was read, then it was replaced; the listing shows what replaced it.
                record(3, &at(2), "GetObject", "replaced", r#""bytesTransferredOut":50"#),
                record(4, &at(3), "PutObject", "replaced", r#""bytesTransferredIn":7"#),
                record(5, &at(3), "GetObject", "part", r#""bytesTransferredOut":50"#),
                record(6, &at(3), "GetObject", "gone", r#""bytesTransferredOut":50"#),
                record(7, &at(4), "DeleteObject", "deleted", ""),
            ]),
        );
        let bucket = BucketName::new("bucket").unwrap();
        for (key, bytes) in [("parts", 1 << 30), ("replaced", 7), ("part", 100), ("untouched", 3)] {
            trace.list(&bucket, key, bytes).unwrap();
        }
        trace.is_listed(&bucket);
        let built = trace.finish().unwrap();
        assert_eq!((built.left_out, built.untouched, built.vanished), (2, 1, 1));
        let first = |object: usize| {
            let Event { day, kind, bytes, .. } = built.trace.events_of(object)[0];
            (day, kind, bytes)
        };
        // gone, part, parts, replaced, untouched.
        assert_eq!(built.trace.objects(), 5);
        assert_eq!(first(0), (0, EventKind::Found, 50));
        assert_eq!(first(1), (0, EventKind::Found, 100));
        assert_eq!(first(2), (0, EventKind::Put, 1 << 30));
        assert_eq!(first(3), (0, EventKind::Found, 50));
        assert_eq!(first(4), (0, EventKind::Found, 3));
    }

    #[test]
    fn server_access_logs_tell_sizes_beside_reads_and_deletions_too() {
        let line = |operation: &str, key: &str, status: &str, sent: &str, size: &str| {
            format!(
                "owner bucket [31/Mar/2024:23:59:59 +0000] 192.0.2.3 - ID{operation}{key} {operation} {key} \
                 \"X /bucket/{key} HTTP/1.1\" {status} - {sent} {size} 7 6 \"-\" \"agent\" -\n"
            )
        };
        let mut trace = whole();
        absorb(
            &mut trace,
            Format::S3AccessLog,
            &[
                line("REST.GET.OBJECT", "half", "206", "50", "100"),
                line("REST.PUT.OBJECT", "new", "200", "-", "11"),
                line("BATCH.DELETE.OBJECT", "new", "204", "-", "-"),
            ]
            .concat(),
        );
        let built = trace.finish().unwrap();
        assert_eq!(built.trace.events_of(0)[0].bytes, 100);
        let kinds: Vec<_> = built.trace.events_of(1).iter().map(|event| (event.kind, event.bytes)).collect();
        assert_eq!(kinds, [(EventKind::Put, 11), (EventKind::Delete, 0)]);
    }
}
