//! Access logs: bytes in, accesses and bad records out.
//!
//! A [`Parser`] is made once for a log source, from its [`Format`] and the [`CountingRules`], and then reads file after
//! file, on any thread. It takes the bytes as [`gzip::Inflater`] leaves them, never panics, and never gives a file up for one bad
//! record: that one is reported with its position and the next is read.
//!
//! What is *bad* is decided in one way for all formats. A record that does not count is not looked into any
//! further than it takes to know that, so only two kinds are bad: one whose shape cannot be read at all, and one that
//! would count if what it says of its object or time could be understood.

pub mod alb;
pub mod cloudtrail;
pub mod gzip;
mod json_scan;
pub mod layout;
mod line;
pub mod s3_access_log;

use thiserror::Error;

use self::alb::PathPattern;
use super::access::{CountingRules, FileAccesses};
use super::excerpt::excerpt;
use super::object::NameError;

/// How a log is written.
#[derive(Debug, Clone)]
pub enum Format {
    CloudTrail,
    S3AccessLog,
    Alb(PathPattern),
}

/// Of how many bad records of a file the details are kept, if nobody says otherwise.
pub const DEFAULT_ERROR_DETAILS: usize = 20;

/// A bad record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// Which record of the file, from 1; in a format of lines, which line.
    pub record: u64,
    /// Where the record begins, in bytes of the inflated file.
    pub offset: u64,
    pub reason: Reason,
}

/// Why a record is bad.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Reason {
    #[error("the file ends in the middle")]
    EndsEarly,
    #[error("the record is longer than {0} bytes")]
    TooLong(usize),
    #[error("this is no record but {0}")]
    NotARecord(&'static str),
    #[error("the JSON cannot be read: {0}")]
    Json(String),
    #[error("{0} is missing")]
    Missing(&'static str),
    /// `value` is an excerpt in quotes.
    #[error("{field} cannot be read: {value}")]
    Field { field: &'static str, value: String },
    #[error("the line is not UTF-8")]
    NotUtf8,
    #[error("the object's name is none: {0}")]
    Name(#[from] NameError),
}

impl Reason {
    /// A field that cannot be read, with the beginning of its value.
    fn field(field: &'static str, value: &str) -> Self {
        Self::Field { field, value: excerpt(value, 100) }
    }
}

/// What a file held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parsed {
    pub accesses: FileAccesses,
    /// All records, the bad ones among them.
    pub records: u64,
    pub records_bad: u64,
    /// The first of the bad ones, as many as the parser was told to keep.
    pub errors: Vec<RecordError>,
}

impl Parsed {
    fn reject(&mut self, error_details: usize, offset: usize, reason: Reason) {
        self.records_bad += 1;
        if self.errors.len() < error_details {
            self.errors.push(RecordError { record: self.records, offset: offset as u64, reason });
        }
    }
}

/// Reads the files of one log source.
#[derive(Debug)]
pub struct Parser {
    kind: Kind,
    error_details: usize,
}

#[derive(Debug)]
enum Kind {
    CloudTrail(Box<cloudtrail::CloudTrailParser>),
    S3AccessLog(CountingRules),
    Alb(CountingRules, PathPattern),
}

impl Parser {
    pub fn new(format: Format, rules: CountingRules) -> Self {
        let kind = match format {
            Format::CloudTrail => Kind::CloudTrail(Box::new(cloudtrail::CloudTrailParser::new(rules))),
            Format::S3AccessLog => Kind::S3AccessLog(rules),
            Format::Alb(paths) => Kind::Alb(rules, paths),
        };
        Self { kind, error_details: DEFAULT_ERROR_DETAILS }
    }

    /// Keeps the details of the first `n` bad records of each file.
    pub fn with_error_details(mut self, n: usize) -> Self {
        self.error_details = n;
        self
    }

    /// Reads an inflated file.
    pub fn parse(&self, bytes: &[u8]) -> Parsed {
        match &self.kind {
            Kind::CloudTrail(parser) => parser.parse(bytes, self.error_details),
            Kind::S3AccessLog(rules) => line::parse_lines(bytes, self.error_details, |text, accesses| {
                s3_access_log::read(text, rules, accesses)
            }),
            Kind::Alb(rules, paths) => {
                line::parse_lines(bytes, self.error_details, |text, accesses| alb::read(text, rules, paths, accesses))
            }
        }
    }
}
