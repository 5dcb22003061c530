//! CloudTrail's log files: `{"Records":[…]}`; also a bare array of records, and records (or whole documents) one after
//! another.
//!
//! A file is not parsed but walked: [`scan_object`] finds where a record ends, and a record is parsed only if it holds what
//! a counting rule asks for. To know that, the file is searched for the rarest thing of each rule, spelt as JSON spells it
//! (the parameter's name if there is one, else the event's). JSON has other spellings (`\u0047etObject`), so a record with
//! such escapes is parsed to be sure. That this leaves nothing out is what the tests compare with a plain parser.
//!
//! What the JSON does not settle is settled thus. Of a field that is there twice the last holds. Null is as good as
//! absent. A field that has another type than it should is as good as absent too, but for those without which a record
//! that counts cannot be understood. `\u0052ecords` is not `Records`.
//!
//! After a record that cannot be read, reading goes on at the next thing that looks like the beginning of a record.

mod record;

use std::sync::LazyLock;

use memchr::{memchr, memchr2, memmem};
use regex::bytes::Regex;

use self::record::Record;
use super::json_scan::scan_object;
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
    /// Of these a record that counts must hold one; None if there is nothing that it must.
    needles: Option<Vec<memmem::Finder<'static>>>,
    /// What a record that counts must hold besides.
    bucket: Option<memmem::Finder<'static>>,
}

impl CloudTrailParser {
    pub(super) fn new(rules: CountingRules) -> Self {
        // One searcher a rule: one expression for all would look for the quote that they begin with, which is everywhere.
        let needles = rules
            .rules
            .iter()
            .map(|rule| {
                let text = rule.with_parameter.as_ref().unwrap_or(&rule.event);
                has_one_spelling(text).then(|| memmem::Finder::new(&format!("\"{text}\"")).into_owned())
            })
            .collect();
        let bucket = (!rules.bucket_prefix.is_empty() && has_one_spelling(&rules.bucket_prefix))
            .then(|| memmem::Finder::new(&format!("\"{}", rules.bucket_prefix)).into_owned());
        Self { rules, needles, bucket }
    }

    pub(super) fn parse(&self, bytes: &[u8], error_details: usize) -> Parsed {
        let mut walk = Walk {
            parser: self,
            bytes,
            at: if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 },
            next_needles: self.needles.iter().flatten().map(|_| Next::default()).collect(),
            next_wrapper: Next::default(),
            reread_left: REREAD_BYTES.saturating_add(bytes.len().saturating_mul(4)),
            error_details,
            cut: false,
            parsed: Parsed::default(),
        };
        walk.top();
        walk.parsed
    }
}

/// Whether JSON can write `text` only as it stands, or with `\u`.
fn has_one_spelling(text: &str) -> bool {
    !text.chars().any(|c| matches!(c, '"' | '\\' | '/') || c.is_control())
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
    parser: &'a CloudTrailParser,
    bytes: &'a [u8],
    at: usize,
    next_needles: Vec<Next>,
    next_wrapper: Next,
    reread_left: usize,
    error_details: usize,
    /// Whether the end of the file has cut a record, which has been said then.
    cut: bool,
    parsed: Parsed,
}

impl Walk<'_> {
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
            match value_end(self.bytes, value_start) {
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
                    self.at = value_end(self.bytes, start)
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
        let scan = scan_object(window);
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
        if !self.may_count(start, text, scan.has_backslash) {
            return;
        }
        match serde_json::from_slice::<Record<'_>>(text) {
            Ok(record) => {
                if let Err(reason) = record.count(&self.parser.rules, &mut self.parsed.accesses) {
                    self.parsed.reject(self.error_details, start, reason);
                }
            }
            Err(error) => {
                self.parsed.reject(self.error_details, start, Reason::Json(error.to_string()));
                self.resume_within(start, start + len);
            }
        }
    }

    /// Whether a record holds what it must to count. What is false here is certain.
    fn may_count(&mut self, start: usize, text: &[u8], has_backslash: bool) -> bool {
        let parser = self.parser;
        let end = start + text.len();
        let needle = match &parser.needles {
            Some(needles) => needles
                .iter()
                .zip(&mut self.next_needles)
                .any(|(needle, next)| next.after(start, || needle.find(&self.bytes[start..]).map(|n| start + n)) < end),
            None => true,
        };
        let bucket = || parser.bucket.as_ref().is_none_or(|bucket| bucket.find(text).is_some());
        (needle && bucket()) || (has_backslash && memmem::find(text, b"\\u").is_some())
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
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    match bytes.get(start)? {
        b'"' => string_end(bytes, start),
        b'{' => scan_object(&bytes[start..]).end.map(|len| start + len),
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
            let ends =
                |byte: &u8| matches!(byte, b',' | b']' | b'}' | b'{' | b'[' | b'"') || byte.is_ascii_whitespace();
            Some(bytes[start..].iter().position(ends).map_or(bytes.len(), |n| start + n))
        }
    }
}

#[cfg(test)]
mod tests;
