//! A trace as a file: CSV with a header, a line an access.

use chrono::DateTime;
use memchr::memchr;
use thiserror::Error;

use super::{Op, SizeUnknown, TooLong, Trace, TraceBuilder, Traced};

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
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

/// Takes the lines of a trace, one at a time.
#[derive(Debug)]
pub struct TraceReader {
    /// The place of every column of [`COLUMNS`] in a line.
    places: [usize; COLUMNS.len()],
    fields_wanted: usize,
    trace: TraceBuilder,
    /// Where the fields of the present line are.
    fields: Vec<String>,
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
        Ok(Self { places, fields_wanted: fields.len(), trace: TraceBuilder::default(), fields })
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
        let time_secs = seconds(time)?;
        let op = match op.trim() {
            op if op.eq_ignore_ascii_case("GET") => Op::Get,
            op if op.eq_ignore_ascii_case("PUT") => Op::Put,
            op if op.eq_ignore_ascii_case("DELETE") => Op::Delete,
            other => return Err(TraceError::Op(other.to_owned())),
        };
        let (bytes, mut size) = (number("bytes", bytes)?, number("size", size)?);
        if op == Op::Put {
            size = Some(size.or(bytes.filter(|bytes| *bytes > 0)).ok_or(TraceError::NoSize)?);
        }
        let traced = Traced { bucket, key, time_secs, op, bytes: bytes.unwrap_or(0), size };
        self.trace.add(&traced).map_err(|error| TraceError::Name(error.to_string()))
    }

    /// How many lines were taken.
    pub fn lines(&self) -> usize {
        self.trace.accesses()
    }

    /// Ends the reading. An object of whose size nothing is told is taken as empty.
    pub fn finish(self) -> Result<Trace, TraceError> {
        Ok(self.trace.finish(SizeUnknown::Empty)?.trace)
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
    use super::super::{Event, EventKind};
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
    fn a_bucket_of_a_trace_may_be_called_anything() {
        let trace = read("time,bucket,key,op,bytes,size\n1,b,k,GET,1,9\n2,,k,GET,1,9\n3,b,k,GET,1,9\n");
        let objects: Vec<_> = trace.buckets.iter().map(|b| b.end - b.first).collect();
        assert_eq!((trace.objects(), objects), (2, vec![1, 1]));
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
