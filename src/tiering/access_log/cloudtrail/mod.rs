//! CloudTrail's log files: `{"Records":[…]}`; also a bare array of records, and records (or whole documents) one after
//! another.
//!
//! A file is not parsed but walked. [`Scanner`] finds where a record ends and where in it strings and objects are. Most
//! records cannot count, which [`sought`] sees without reading them, and nothing else of them is then looked at, not even
//! whether they are well-formed. Of the others most are written like one before, and [`shape`] reads what they say from where
//! it stood in that one. The rest [`walk`] goes through for as long as they may count. What the walk finds odd, such as
//! escapes in names (`\u0065ventName`), is given to a parser. That this changes nothing is what the tests compare with a
//! plain parser.
//!
//! What the JSON does not settle is settled thus. Of a field that is there twice the first holds, so that what a field says
//! is known as soon as it is met. Null is as good as absent. A field that has another type than it should is as good as
//! absent too, but for those without which a record that counts cannot be understood. `\u0052ecords` is not `Records`.
//!
//! After a record that cannot be read, reading goes on at the next thing that looks like the beginning of a record.

mod record;
mod shape;
mod sought;
mod walk;

use std::sync::{LazyLock, Mutex};

use memchr::{memchr, memchr2, memmem};
use regex::bytes::Regex;

use self::record::Record;
use self::shape::{Lesson, Shapes};
use self::sought::{EVENT_NAME, Sought};
use self::walk::Stop;
use super::json_scan::Scanner;
use super::{Parsed, Reason};
use crate::tiering::access::CountingRules;

/// A longer record is bad. CloudTrail makes them at most 1 MiB long, mostly 256 KiB.
const MAX_RECORD_BYTES: usize = 2 << 20;

/// How much may be read again behind records that cannot be read. A broken record can hide where it ends, and reading
/// again from within it must not become quadratic.
const REREAD_BYTES: usize = 128 << 20;

#[derive(Debug)]
pub(super) struct CloudTrailParser {
    rules: CountingRules,
    sought: Sought,
    /// What has been learnt from earlier files, for each thread that reads one at a time.
    shapes: Mutex<Vec<Shapes>>,
}

impl CloudTrailParser {
    pub(super) fn new(rules: CountingRules) -> Self {
        let sought = Sought::by(&rules);
        Self { rules, sought, shapes: Mutex::default() }
    }

    pub(super) fn parse(&self, bytes: &[u8], error_details: usize) -> Parsed {
        let mut walk = Walk {
            rules: &self.rules,
            sought: &self.sought,
            bytes,
            at: if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 },
            scanner: Scanner::new(),
            shapes: self.shapes.lock().map(|mut kept| kept.pop()).ok().flatten().unwrap_or_default(),
            is_in_array: false,
            next_wrapper: Next::default(),
            next_event_name: Next::default(),
            reread_left: REREAD_BYTES.saturating_add(bytes.len().saturating_mul(4)),
            error_details,
            cut: false,
            parsed: Parsed::default(),
        };
        walk.top();
        if let Ok(mut kept) = self.shapes.lock() {
            kept.push(walk.shapes);
        }
        walk.parsed
    }
}

/// Where something is found next, remembered so that each byte is searched once.
#[derive(Default)]
struct Next {
    /// None before the first search; `usize::MAX` when there are no more.
    found: Option<usize>,
}

impl Next {
    /// The first place at or after `from`.
    fn after(&mut self, from: usize, find: impl FnOnce() -> Option<usize>) -> usize {
        match self.found {
            Some(place) if place >= from => place,
            _ => *self.found.insert(find().unwrap_or(usize::MAX)),
        }
    }
}

struct Walk<'a> {
    rules: &'a CountingRules,
    sought: &'a Sought,
    bytes: &'a [u8],
    at: usize,
    scanner: Scanner,
    shapes: Shapes,
    /// Whether what is read are the elements of an array.
    is_in_array: bool,
    next_wrapper: Next,
    next_event_name: Next,
    reread_left: usize,
    error_details: usize,
    /// Whether the end of the file has cut a record, which has been said then.
    cut: bool,
    parsed: Parsed,
}

impl<'a> Walk<'a> {
    fn top(&mut self) {
        loop {
            self.skip_space();
            match self.peek() {
                None => return,
                Some(b',') => self.at += 1,
                Some(b'{') => self.document(),
                Some(b'[') => {
                    self.at += 1;
                    self.records();
                }
                Some(_) => {
                    let start = self.at;
                    self.bad(start, Reason::NotARecord("stray text"));
                    let line = memchr(b'\n', &self.bytes[start..]);
                    let object = memmem::find(&self.bytes[start..], b"{\"");
                    let len = line.unwrap_or(usize::MAX).min(object.unwrap_or(usize::MAX));
                    self.at = start.saturating_add(len).min(self.bytes.len());
                }
            }
        }
    }

    /// An object that no array holds: `{"Records":[…]}`, or a record.
    fn document(&mut self) {
        let start = self.at;
        let next = self.next_wrapper.after(start, || find_from(self.bytes, start, b"\"Records\""));
        if next == usize::MAX {
            return self.record();
        }
        let mut is_wrapper = false;
        self.at += 1;
        loop {
            self.skip_space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    continue;
                }
                Some(b'}') => {
                    self.at += 1;
                    break;
                }
                Some(b'"') => {}
                _ => return self.broken_document(start, is_wrapper),
            }
            let name_start = self.at;
            // No member of this object from here on is called Records, so it is a record.
            if !is_wrapper
                && self.next_wrapper.after(name_start, || find_from(self.bytes, name_start, b"\"Records\""))
                    == usize::MAX
            {
                break;
            }
            let Some(name_end) = string_end(self.bytes, name_start) else {
                return self.broken_document(start, is_wrapper);
            };
            self.at = name_end;
            self.skip_space();
            if self.peek() != Some(b':') {
                return self.broken_document(start, is_wrapper);
            }
            self.at += 1;
            self.skip_space();
            let value_start = self.at;
            if &self.bytes[name_start..name_end] == b"\"Records\"" {
                is_wrapper = true;
                match self.peek() {
                    Some(b'[') => {
                        self.at += 1;
                        self.records();
                        continue;
                    }
                    Some(b'n') | None => {}
                    Some(_) => self.bad(value_start, Reason::NotARecord("an object whose Records are no array")),
                }
            }
            match value_end(&mut self.scanner, self.bytes, value_start) {
                Some(end) => self.at = end,
                None => return self.broken_document(start, is_wrapper),
            }
        }
        if !is_wrapper {
            self.at = start;
            self.record();
        }
    }

    fn broken_document(&mut self, start: usize, is_wrapper: bool) {
        if !is_wrapper {
            self.at = start;
            self.record();
        } else if self.at < self.bytes.len() {
            // What is left is looked at as if it stood alone.
            if self.peek() == Some(b'"') {
                self.bad(self.at, Reason::NotARecord("stray text"));
                self.at = memchr(b'{', &self.bytes[self.at..]).map_or(self.bytes.len(), |n| self.at + n);
            }
        } else if !self.cut {
            self.cut = true;
            self.bad(self.at, Reason::EndsEarly);
        }
    }

    /// The elements of an array, from just after its bracket to just after the other.
    fn records(&mut self) {
        self.is_in_array = true;
        self.elements();
        self.is_in_array = false;
    }

    fn elements(&mut self) {
        loop {
            self.skip_space();
            let start = self.at;
            match self.peek() {
                None => {
                    // A record that the end of the file has cut says so itself.
                    if !self.cut {
                        self.cut = true;
                        self.bad(start, Reason::EndsEarly);
                    }
                    return;
                }
                Some(b']') => {
                    self.at += 1;
                    return;
                }
                Some(b',') => self.at += 1,
                Some(b'{') => self.record(),
                Some(first) => {
                    self.bad(
                        start,
                        Reason::NotARecord(match first {
                            b'"' => "a string",
                            b'[' => "an array",
                            b'n' => "null",
                            b't' | b'f' => "true or false",
                            b'-' | b'0'..=b'9' => "a number",
                            _ => "stray text",
                        }),
                    );
                    self.at = value_end(&mut self.scanner, self.bytes, start)
                        .unwrap_or_else(|| memchr(b'{', &self.bytes[start..]).map_or(self.bytes.len(), |n| start + n));
                }
            }
        }
    }

    /// A record, at its opening brace.
    fn record(&mut self) {
        let start = self.at;
        self.parsed.records += 1;
        let window = &self.bytes[start..self.bytes.len().min(start.saturating_add(MAX_RECORD_BYTES))];
        let name =
            self.next_event_name.after(start, || self.sought.event_name(self.bytes, start)).saturating_sub(start);
        let scan = self.scanner.scan_object(window, name);
        let Some(len) = scan.end else {
            let reason = if start + window.len() == self.bytes.len() {
                self.cut = true;
                Reason::EndsEarly
            } else {
                Reason::TooLong(MAX_RECORD_BYTES)
            };
            self.parsed.reject(self.error_details, start, reason);
            return self.resume_within(start, self.bytes.len());
        };
        let text = &window[..len];
        self.at = start + len;
        let ends_well = !self.is_in_array || self.is_before_next_element();
        if ends_well
            && scan.is_string_at_top
            && !scan.has_backslash
            && self.sought.is_missing(text, name + EVENT_NAME.len())
        {
            return;
        }
        let index = self.scanner.index(text);
        let counting = match self.shapes.read(index, window, scan.has_backslash, self.rules) {
            Err(Stop::Odd) => {
                let mut lesson = Lesson::default();
                let counting = walk::record(index, scan.has_backslash, self.rules, &mut lesson);
                if counting.is_ok() {
                    self.shapes.learn(index, &lesson);
                }
                counting
            }
            known => known,
        };
        let counted = match counting {
            Ok(counting) => counting.add(&mut self.parsed.accesses),
            Err(Stop::CannotCount) if ends_well => return,
            Err(Stop::CannotCount | Stop::Odd) => match serde_json::from_slice::<Record<'_>>(text) {
                Ok(record) => record.count(self.rules, &mut self.parsed.accesses),
                Err(error) => {
                    self.parsed.reject(self.error_details, start, Reason::Json(error.to_string()));
                    return self.resume_within(start, start + len);
                }
            },
        };
        if let Err(reason) = counted {
            self.parsed.reject(self.error_details, start, reason);
        }
    }

    /// Whether the array goes on here as it should. If not, the record that ends here has lost its own end to damage and
    /// found that of the whole document.
    fn is_before_next_element(&mut self) -> bool {
        self.skip_space();
        matches!(self.peek(), Some(b',' | b']'))
    }

    /// Goes on after a record that cannot be read and that is thought to end at `end`: a quote that is missing, or one too
    /// many, makes all that follows look like a part of it.
    fn resume_within(&mut self, start: usize, end: usize) {
        static RECORD_START: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r#"\{\s*"eventVersion"|\n\{"#).expect("a constant"));
        self.at = end;
        if self.reread_left == 0 {
            return;
        }
        if let Some(found) = RECORD_START.find_at(self.bytes, start + 1).filter(|found| found.start() < end) {
            self.at = found.start();
            self.reread_left = self.reread_left.saturating_sub(MAX_RECORD_BYTES.min(end - self.at));
        }
    }

    /// A bad record that is none.
    fn bad(&mut self, offset: usize, reason: Reason) {
        self.parsed.records += 1;
        self.parsed.reject(self.error_details, offset, reason);
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}

fn find_from(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    memmem::find(&bytes[from..], what).map(|n| from + n)
}

/// Just after the string that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Just after the value that begins at `start`, if it has an end and a beginning.
fn value_end(scanner: &mut Scanner, bytes: &[u8], start: usize) -> Option<usize> {
    match bytes.get(start)? {
        b'"' => string_end(bytes, start),
        b'{' => scanner.scan_object(&bytes[start..], usize::MAX).end.map(|len| start + len),
        b'[' => {
            let (mut at, mut depth) = (start, 0_usize);
            loop {
                match bytes.get(at)? {
                    b'"' => {
                        at = string_end(bytes, at)?;
                        continue;
                    }
                    b'[' => depth += 1,
                    b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        b',' | b':' | b']' | b'}' => None,
        _ => {
            // Of white space only what is so in JSON: what `skip_space` leaves must be gone over here.
            let ends =
                |byte: &u8| matches!(byte, b',' | b']' | b'}' | b'{' | b'[' | b'"' | b' ' | b'\t' | b'\n' | b'\r');
            Some(bytes[start..].iter().position(ends).map_or(bytes.len(), |n| start + n))
        }
    }
}

#[cfg(test)]
mod tests;
