//! A trace of accesses, as it is read and as it is held for replaying.
//!
//! A trace is a CSV file with a header. It comes in any order and may be large, so a line becomes 16 bytes at once
//! ([`TraceReader`]), and a trace ([`Trace`]) holds, object after object, only what a day's bill needs: one [`Event`] for the
//! reads of a day between two writes.
//!
//! An object that is read before any PUT of it was there when the trace began: it is stored from the first day. A PUT replaces
//! what was there. What is said of an object that is not there (a GET or a DELETE after a DELETE) is passed over.

use std::fmt;

use chrono::DateTime;
use memchr::memchr;
use rustc_hash::FxHashMap;
use thiserror::Error;

use crate::tiering::evidence::Day;
use crate::tiering::object::{BucketName, ObjectKey};

const SECS_PER_DAY: u32 = 86_400;

/// The columns, by their names in the header.
const COLUMNS: [&str; 6] = ["time", "bucket", "key", "op", "bytes", "size"];

/// Why a line is none, or the whole file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TraceError {
    #[error("the header lacks the column {0:?}; a trace has time,bucket,key,op,bytes,size")]
    NoColumn(&'static str),
    #[error("{found} fields where the header has {wanted}")]
    Fields { found: usize, wanted: usize },
    #[error("a quoted field does not end on its line")]
    Quote,
    #[error("the line is not UTF-8")]
    Text,
    #[error("time is RFC 3339 or seconds since 1970, not {0:?}")]
    Time(String),
    #[error("{0}")]
    Name(String),
    #[error("op is PUT, GET or DELETE, not {0:?}")]
    Op(String),
    #[error("{0} is a number of bytes, not {1:?}")]
    Number(&'static str, String),
    #[error("a PUT needs the object's size")]
    NoSize,
    #[error("the trace spans more than {MOST_DAYS} days")]
    TooLong,
}

/// The longest trace, in days.
pub const MOST_DAYS: u32 = u16::MAX as u32 - 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Op {
    Put = 0,
    Get = 1,
    Delete = 2,
}

/// A line: whose, when (seconds since 1970), and bytes with the operation in the lowest two bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    object: u32,
    time: u32,
    op: u8,
    bytes: u64,
}

/// Takes the lines of a trace, one at a time.
#[derive(Debug)]
pub struct TraceReader {
    /// The place of every column of [`COLUMNS`] in a line.
    places: [usize; COLUMNS.len()],
    fields_wanted: usize,
    buckets: Vec<BucketName>,
    bucket_numbers: FxHashMap<String, u32>,
    numbers: FxHashMap<Box<[u8]>, u32>,
    objects: Vec<(u32, Box<str>)>,
    /// The largest size that is told of an object other than by its PUTs.
    sizes: Vec<u64>,
    rows: Vec<Row>,
    /// Where the fields of the present line are.
    fields: Vec<String>,
    /// `bucket\0key` of the present line.
    name: Vec<u8>,
}

impl TraceReader {
    /// Reads the header.
    pub fn new(header: &[u8]) -> Result<Self, TraceError> {
        let mut fields = Vec::new();
        split(header, &mut fields)?;
        let mut places = [0; COLUMNS.len()];
        for (place, column) in places.iter_mut().zip(COLUMNS) {
            *place = fields
                .iter()
                .position(|field| field.trim_start_matches('\u{feff}').trim().eq_ignore_ascii_case(column))
                .ok_or(TraceError::NoColumn(column))?;
        }
        Ok(Self {
            places,
            fields_wanted: fields.len(),
            buckets: Vec::new(),
            bucket_numbers: FxHashMap::default(),
            numbers: FxHashMap::default(),
            objects: Vec::new(),
            sizes: Vec::new(),
            rows: Vec::new(),
            fields,
            name: Vec::new(),
        })
    }

    /// Takes a line, without its end. A line that fails leaves nothing behind; an empty one is passed over.
    pub fn line(&mut self, line: &[u8]) -> Result<(), TraceError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok(());
        }
        let mut fields = std::mem::take(&mut self.fields);
        let result = split(line, &mut fields).and_then(|found| {
            if found == self.fields_wanted {
                self.take(&fields)
            } else {
                Err(TraceError::Fields { found, wanted: self.fields_wanted })
            }
        });
        self.fields = fields;
        result
    }

    fn take(&mut self, fields: &[String]) -> Result<(), TraceError> {
        let [time, bucket, key, op, bytes, size] = self.places.map(|place| fields[place].as_str());
        let time = seconds(time)?;
        let op = match op.trim() {
            op if op.eq_ignore_ascii_case("GET") => Op::Get,
            op if op.eq_ignore_ascii_case("PUT") => Op::Put,
            op if op.eq_ignore_ascii_case("DELETE") => Op::Delete,
            other => return Err(TraceError::Op(other.to_owned())),
        };
        let (bytes, size) = (number("bytes", bytes)?, number("size", size)?);
        let carried = match op {
            Op::Put => size.or(bytes.filter(|bytes| *bytes > 0)).ok_or(TraceError::NoSize)?,
            Op::Get | Op::Delete => bytes.unwrap_or(0),
        };
        let object = self.number_of(bucket, key)?;
        if op != Op::Put {
            let known = &mut self.sizes[object as usize];
            *known = (*known).max(size.unwrap_or(0));
        }
        self.rows.push(Row { object, time, op: op as u8, bytes: carried });
        Ok(())
    }

    fn number_of(&mut self, bucket: &str, key: &str) -> Result<u32, TraceError> {
        self.name.clear();
        self.name.extend_from_slice(bucket.as_bytes());
        self.name.push(0);
        self.name.extend_from_slice(key.as_bytes());
        if let Some(number) = self.numbers.get(self.name.as_slice()) {
            return Ok(*number);
        }
        let key = ObjectKey::new(key).map_err(|e| TraceError::Name(e.to_string()))?;
        let bucket_number = match self.bucket_numbers.get(bucket) {
            Some(number) => *number,
            None => {
                let name = BucketName::new(bucket).map_err(|e| TraceError::Name(e.to_string()))?;
                let number = u32::try_from(self.buckets.len()).expect("fewer buckets than fit in memory");
                self.buckets.push(name);
                self.bucket_numbers.insert(bucket.to_owned(), number);
                number
            }
        };
        let number = u32::try_from(self.objects.len()).expect("fewer objects than fit in memory");
        self.objects.push((bucket_number, key.as_str().into()));
        self.sizes.push(0);
        self.numbers.insert(self.name.as_slice().into(), number);
        Ok(number)
    }

    /// How many lines were taken.
    pub fn lines(&self) -> usize {
        self.rows.len()
    }

    /// Ends the reading.
    pub fn finish(self) -> Result<Trace, TraceError> {
        let Self { buckets, numbers, objects, sizes, mut rows, .. } = self;
        drop(numbers);
        // Buckets by name and objects by key: the order in which the ledger gives them.
        let mut order: Vec<u32> = (0..objects.len()).map(|i| i as u32).collect();
        order.sort_unstable_by(|a, b| {
            let name = |i: u32| (&buckets[objects[i as usize].0 as usize], &objects[i as usize].1);
            name(*a).cmp(&name(*b))
        });
        let mut rank = vec![0; order.len()];
        for (place, object) in order.iter().enumerate() {
            rank[*object as usize] = place as u32;
        }
        for row in &mut rows {
            row.object = rank[row.object as usize];
        }
        rows.sort_unstable();
        let first = rows.iter().map(|row| row.time / SECS_PER_DAY).min().unwrap_or(0);
        let last = rows.iter().map(|row| row.time / SECS_PER_DAY).max().unwrap_or(0);
        if last - first >= MOST_DAYS {
            return Err(TraceError::TooLong);
        }
        let days = if rows.is_empty() { 0 } else { (last - first + 1) as u16 };
        let mut trace = Trace {
            first_day: first as Day,
            days,
            buckets: Vec::new(),
            starts: Vec::with_capacity(order.len() + 1),
            events: Vec::with_capacity(rows.len()),
        };
        let mut at = 0;
        for (place, object) in order.iter().enumerate() {
            let bucket = &buckets[objects[*object as usize].0 as usize];
            if trace.buckets.last().is_none_or(|last| last.name != *bucket) {
                trace.buckets.push(TraceBucket { name: bucket.clone(), first: place, end: place });
            }
            trace.buckets.last_mut().expect("pushed above").end = place + 1;
            trace.starts.push(trace.events.len());
            let end = at + rows[at..].partition_point(|row| row.object as usize == place);
            trace.push_object(&rows[at..end], first, sizes[*object as usize]);
            at = end;
        }
        trace.starts.push(trace.events.len());
        trace.events.shrink_to_fit();
        Ok(trace)
    }
}

/// What happened to an object: the bytes are of the object for a PUT and of the reads for a GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Days since the trace's first.
    pub day: u16,
    pub kind: EventKind,
    /// How many reads; 0 for what is no read.
    pub reads: u32,
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was there when the trace began: nobody paid a request for it in the time of the trace.
    Found,
    Put,
    Read,
    Delete,
}

/// A bucket of a trace: its objects' places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceBucket {
    pub name: BucketName,
    pub first: usize,
    pub end: usize,
}

/// A trace, by object; objects in the order of bucket and key.
#[derive(Clone, PartialEq, Eq)]
pub struct Trace {
    /// The first day.
    pub first_day: Day,
    /// From the first day to the last, both counted.
    pub days: u16,
    pub buckets: Vec<TraceBucket>,
    starts: Vec<usize>,
    events: Vec<Event>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a trace of {} objects, {} events and {} days", self.objects(), self.events.len(), self.days)
    }
}

impl Trace {
    /// How many objects there are.
    pub fn objects(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many events there are, a day's reads counted as one.
    pub fn event_count(&self) -> usize {
        self.events.len()
    }

    /// One object's events in their order. The first is a PUT or [`EventKind::Found`].
    pub fn events_of(&self, object: usize) -> &[Event] {
        &self.events[self.starts[object]..self.starts[object + 1]]
    }

    fn push_object(&mut self, rows: &[Row], first: u32, told_size: u64) {
        let mut there = false;
        if let Some(row) = rows.first().filter(|row| row.op != Op::Put as u8) {
            let largest_read =
                rows.iter().take_while(|row| row.op != Op::Put as u8).map(|row| row.bytes).max().unwrap_or(0);
            let bytes = if told_size > 0 { told_size } else { largest_read };
            debug_assert_eq!(row.object, rows[0].object);
            self.events.push(Event { day: 0, kind: EventKind::Found, reads: 0, bytes });
            there = true;
        }
        let begin = *self.starts.last().expect("pushed by the caller");
        for row in rows {
            let day = (row.time / SECS_PER_DAY - first) as u16;
            let event = |kind| Event { day, kind, reads: 0, bytes: row.bytes };
            if row.op == Op::Put as u8 {
                self.events.push(event(EventKind::Put));
                there = true;
            } else if !there {
                continue;
            } else if row.op == Op::Delete as u8 {
                self.events.push(Event { bytes: 0, ..event(EventKind::Delete) });
                there = false;
            } else if let Some(last) =
                self.events[begin..].last_mut().filter(|last| last.kind == EventKind::Read && last.day == day)
            {
                last.reads = last.reads.saturating_add(1);
                last.bytes = last.bytes.saturating_add(row.bytes);
            } else {
                self.events.push(Event { reads: 1, ..event(EventKind::Read) });
            }
        }
    }
}

/// Splits a line into `fields`, whose memory is used again. Quotes stand around a field that holds a comma or a quote, which is
/// then doubled. Returns how many there are.
fn split(line: &[u8], fields: &mut Vec<String>) -> Result<usize, TraceError> {
    let text = std::str::from_utf8(line).map_err(|_| TraceError::Text)?;
    let mut found = 0;
    let mut rest = text;
    loop {
        if fields.len() == found {
            fields.push(String::new());
        }
        let field = &mut fields[found];
        field.clear();
        found += 1;
        let end = if let Some(quoted) = rest.strip_prefix('"') {
            rest.len() - quoted.len() + unquote(quoted, field)?
        } else {
            let end = memchr(b',', rest.as_bytes()).unwrap_or(rest.len());
            field.push_str(&rest[..end]);
            end
        };
        match rest.as_bytes().get(end) {
            None => break,
            Some(b',') => rest = &rest[end + 1..],
            Some(_) => return Err(TraceError::Quote),
        }
    }
    fields.truncate(found);
    Ok(found)
}

/// Takes what stands before the closing quote; returns where it ends.
fn unquote(text: &str, field: &mut String) -> Result<usize, TraceError> {
    let mut at = 0;
    loop {
        let quote = at + memchr(b'"', &text.as_bytes()[at..]).ok_or(TraceError::Quote)?;
        field.push_str(&text[at..quote]);
        if text.as_bytes().get(quote + 1) != Some(&b'"') {
            return Ok(quote + 1);
        }
        field.push('"');
        at = quote + 2;
    }
}

fn seconds(text: &str) -> Result<u32, TraceError> {
    let wrong = || TraceError::Time(text.to_owned());
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(seconds);
    }
    let seconds = match text.parse::<f64>() {
        Ok(seconds) if seconds >= 0.0 && seconds < f64::from(u32::MAX) => seconds as i64,
        Ok(_) => return Err(wrong()),
        Err(_) => DateTime::parse_from_rfc3339(text).map_err(|_| wrong())?.timestamp(),
    };
    u32::try_from(seconds).map_err(|_| wrong())
}

fn number(what: &'static str, text: &str) -> Result<Option<u64>, TraceError> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| TraceError::Number(what, text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Trace {
        let mut lines = lines.lines();
        let mut reader = TraceReader::new(lines.next().unwrap().as_bytes()).unwrap();
        lines.for_each(|line| reader.line(line.as_bytes()).unwrap());
        reader.finish().unwrap()
    }

    #[test]
    fn lines_in_any_order_become_each_objects_days() {
        let trace = read(
            "op,time,bucket,key,size,bytes\n\
             GET,1970-01-03T23:00:00Z,bucket,\"b,\"\"x\"\"\",,5\n\
             GET,259199,bucket,\"b,\"\"x\"\"\",,7\n\
             PUT,86400,bucket,\"b,\"\"x\"\"\",10,\n\
             DELETE,1970-01-05T00:00:00+00:00,bucket,\"b,\"\"x\"\"\",,\n\
             GET,345601,bucket,\"b,\"\"x\"\"\",,7\n\
             GET,172800,bucket,a,99,3\n\
             PUT,172800,another,a,1,1\n",
        );
        assert_eq!((trace.first_day, trace.days, trace.objects()), (1, 4, 3));
        let names: Vec<_> = trace.buckets.iter().map(|b| (b.name.as_str(), b.first, b.end)).collect();
        assert_eq!(names, [("another", 0, 1), ("bucket", 1, 3)]);
        let event = |day, kind, reads, bytes| Event { day, kind, reads, bytes };
        use EventKind::*;
        assert_eq!(trace.events_of(0), [event(1, Put, 0, 1)]);
        assert_eq!(trace.events_of(1), [event(0, Found, 0, 99), event(1, Read, 1, 3)]);
        assert_eq!(trace.events_of(2), [event(0, Put, 0, 10), event(1, Read, 2, 12), event(3, Delete, 0, 0)]);
    }

    #[test]
    fn a_bad_line_says_what_is_wrong_and_leaves_nothing() {
        let mut reader = TraceReader::new(b"time,bucket,key,op,bytes,size").unwrap();
        for (line, expected) in [
            ("1,bucket,k,GET,1", "5 fields where the header has 6"),
            ("1,bucket,k,HEAD,1,1", "op is PUT, GET or DELETE, not \"HEAD\""),
            ("yesterday,bucket,k,GET,1,1", "time is RFC 3339 or seconds since 1970, not \"yesterday\""),
            ("-1,bucket,k,GET,1,1", "not \"-1\""),
            ("1,bucket,k,GET,many,1", "bytes is a number of bytes, not \"many\""),
            ("1,bucket,k,PUT,,", "a PUT needs the object's size"),
            ("1,b,k,GET,1,1", "a bucket name has 3 to 63"),
            ("1,bucket,,GET,1,1", "an object key has"),
            ("1,bucket,\"k,GET,1,1", "does not end"),
            ("1,bucket,\"k\"x,GET,1,1", "does not end"),
        ] {
            let error = reader.line(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
        assert_eq!(reader.line(b"1,bucket,\xff,GET,1,1"), Err(TraceError::Text));
        assert_eq!(reader.finish().unwrap().objects(), 0);
        assert_eq!(TraceReader::new(b"time,bucket,key,op,bytes").unwrap_err(), TraceError::NoColumn("size"));
    }
}
