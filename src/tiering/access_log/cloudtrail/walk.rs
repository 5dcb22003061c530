//! A record by its quotes and braces, for as long as it may still count.
//!
//! The scan that found the end of the record has left behind where its quotes and braces are, so a string costs a few
//! instructions whatever its length, and a whole object not much more. Members come in the order of the file, and the
//! first one that settles that the record does not count ends the walk: of most records that is their `eventName`, or
//! their `requestParameters`, a third of the way in.
//!
//! The walk understands the JSON that logs are made of and nothing beyond. Whatever strikes it as odd ([`Stop::Odd`]) it
//! leaves to the parser, which knows what is bad and what is only unusual. What it does not look into (the inside of
//! strings, objects and arrays that do not matter) may be anything.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memrchr};

use super::super::json_scan::Index;
use super::record::{
    AdditionalEventData, Record, RequestParameters, Scalar, SessionContext, SessionIssuer, UserIdentity,
};
use crate::tiering::access::CountingRules;

/// Why a walk ended before the record did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The record does not count, whatever follows.
    CannotCount,
    /// This is for the parser to judge.
    Odd,
}

/// Reads the record that `index` is of. `has_backslash` may only be false if there is none in it.
pub(super) fn record<'a>(index: Index<'a>, has_backslash: bool, rules: &CountingRules) -> Result<Record<'a>, Stop> {
    let escapes = match has_backslash {
        true => memchr(b'\\', index.text).unwrap_or(usize::MAX)..memrchr(b'\\', index.text).map_or(0, |last| last + 1),
        false => 0..0,
    };
    let mut cursor = Cursor { text: index.text, marks: index.marks, at: 0, mark: 0, escapes };
    let mut record = Record::default();
    // Where the values begin of what is only read of records that count: all but a few do not.
    let (mut caller, mut time, mut id, mut shared_id, mut additional) = (None, None, None, None, None);
    let mut event = None;
    cursor.members(|cursor, name| {
        match name {
            b"eventName" if event.is_none() => {
                event = Some(cursor.place());
                match cursor.plain_string()? {
                    Some(raw) => stop_unless(rules.rules.iter().any(|rule| rule.event.as_bytes() == raw))?,
                    None => cursor.skip()?,
                }
            }
            b"eventSource" if record.event_source.is_none() => {
                let start = cursor.place();
                record.event_source = Some(match cursor.plain_string()? {
                    Some(b"s3.amazonaws.com") => Scalar::Text(Cow::Borrowed("s3.amazonaws.com")),
                    _ => cursor.scalar_at(start)?,
                });
                stop_unless(!record.is_of_another_service())?;
            }
            b"errorCode" if record.error_code.is_none() => {
                record.error_code = Some(cursor.scalar()?);
                stop_unless(!record.has_failed())?;
            }
            b"requestParameters" if record.request.is_none() => {
                let (mut request, key) = cursor.request_parameters(rules)?;
                let resume = cursor.place();
                if let Some(event) = event {
                    let event = cursor.scalar_at(event)?;
                    let is_counted = |event| rules.rule_for(event, |name| request.carries(name)).is_some();
                    stop_unless(event.text().is_some_and(is_counted))?;
                    record.event_name = Some(event);
                }
                request.key = key.map(|key| cursor.scalar_at(key)).transpose()?;
                stop_unless(request.may_count(rules))?;
                record.request = Some(request);
                cursor.go_to(resume);
            }
            b"userIdentity" => cursor.skip_to_read_later(&mut caller)?,
            b"eventTime" => cursor.skip_to_read_later(&mut time)?,
            b"eventID" => cursor.skip_to_read_later(&mut id)?,
            b"sharedEventID" => cursor.skip_to_read_later(&mut shared_id)?,
            b"additionalEventData" => cursor.skip_to_read_later(&mut additional)?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    if cursor.at != cursor.text.len() {
        return Err(Stop::Odd);
    }
    let mut scalar = |start: Option<Place>| start.map(|start| cursor.scalar_at(start)).transpose();
    if record.event_name.is_none() {
        record.event_name = scalar(event)?;
    }
    record.event_time = scalar(time)?;
    record.event_id = scalar(id)?;
    record.shared_event_id = scalar(shared_id)?;
    if let Some(start) = caller {
        cursor.go_to(start);
        record.user_identity = Some(cursor.user_identity()?);
    }
    if let Some(start) = additional {
        cursor.go_to(start);
        record.additional = Some(cursor.additional()?);
    }
    Ok(record)
}

fn stop_unless(may_count: bool) -> Result<(), Stop> {
    if may_count { Ok(()) } else { Err(Stop::CannotCount) }
}

/// Where a cursor was.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: usize,
    mark: usize,
}

struct Cursor<'a> {
    text: &'a [u8],
    marks: &'a [u32],
    at: usize,
    /// The number of the first mark that is not before `at`.
    mark: usize,
    /// All backslashes are in there.
    escapes: Range<usize>,
}

impl<'a> Cursor<'a> {
    /// Reads all of it but the key, of which it says where it begins.
    fn request_parameters(&mut self, rules: &CountingRules) -> Result<(RequestParameters<'a>, Option<Place>), Stop> {
        let mut request = RequestParameters::default();
        let mut key = None;
        self.members_if_object(|cursor, name| {
            let name_text = || std::str::from_utf8(name).map_err(|_| Stop::Odd);
            let is_asked_for = rules
                .rules
                .iter()
                .any(|rule| rule.with_parameter.as_ref().is_some_and(|asked| asked.as_bytes() == name));
            let start = cursor.place();
            match name {
                b"bucketName" if request.bucket.is_none() => {
                    if let Some(raw) = cursor.plain_string()? {
                        stop_unless(raw.starts_with(rules.bucket_prefix.as_bytes()))?;
                    }
                    request.bucket = Some(cursor.scalar_at(start)?);
                }
                b"key" => cursor.skip_to_read_later(&mut key)?,
                _ => cursor.skip()?,
            }
            if is_asked_for {
                let is_null = cursor.text[start.at] == b'n';
                request.name(Cow::Borrowed(name_text()?), !is_null);
            }
            Ok(())
        })?;
        Ok((request, key))
    }

    fn user_identity(&mut self) -> Result<UserIdentity<'a>, Stop> {
        let mut identity = UserIdentity::default();
        self.members_if_object(|cursor, name| {
            match name {
                b"arn" if identity.arn.is_none() => identity.arn = Some(cursor.scalar()?),
                b"sessionContext" if identity.session_context.is_none() => {
                    let mut context = SessionContext::default();
                    cursor.members_if_object(|cursor, name| match name {
                        b"sessionIssuer" if context.session_issuer.is_none() => {
                            let mut issuer = SessionIssuer::default();
                            cursor.members_if_object(|cursor, name| match name {
                                b"arn" if issuer.arn.is_none() => {
                                    issuer.arn = Some(cursor.scalar()?);
                                    Ok(())
                                }
                                _ => cursor.skip(),
                            })?;
                            context.session_issuer = Some(issuer);
                            Ok(())
                        }
                        _ => cursor.skip(),
                    })?;
                    identity.session_context = Some(context);
                }
                _ => cursor.skip()?,
            }
            Ok(())
        })?;
        Ok(identity)
    }

    fn additional(&mut self) -> Result<AdditionalEventData<'a>, Stop> {
        let mut additional = AdditionalEventData::default();
        self.members_if_object(|cursor, name| match name {
            b"bytesTransferredIn" if additional.bytes_in.is_none() => {
                additional.bytes_in = Some(cursor.scalar()?);
                Ok(())
            }
            b"bytesTransferredOut" if additional.bytes_out.is_none() => {
                additional.bytes_out = Some(cursor.scalar()?);
                Ok(())
            }
            _ => cursor.skip(),
        })?;
        Ok(additional)
    }

    /// Goes over the members of what is here, if that is an object, and over it, if not.
    #[inline(always)]
    fn members_if_object(&mut self, member: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Stop>) -> Result<(), Stop> {
        if self.peek()? == b'{' { self.members(member) } else { self.skip() }
    }

    /// Goes over the members of the object that begins here. `member` is called at the value of each, with its name, and
    /// goes over it.
    #[inline(always)]
    fn members(&mut self, mut member: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Stop>) -> Result<(), Stop> {
        self.over_brace();
        if self.next_byte()? == b'}' {
            self.over_brace();
            return Ok(());
        }
        loop {
            let name = self.string()?;
            // `\u0065ventName` is a name too.
            if self.has_escape(name) {
                return Err(Stop::Odd);
            }
            if self.next_byte()? != b':' {
                return Err(Stop::Odd);
            }
            self.at += 1;
            self.next_byte()?;
            member(self, name)?;
            match self.next_byte()? {
                b',' => self.at += 1,
                b'}' => {
                    self.over_brace();
                    return Ok(());
                }
                _ => return Err(Stop::Odd),
            }
            self.next_byte()?;
        }
    }

    fn over_brace(&mut self) {
        self.at += 1;
        self.mark += 1;
    }

    fn place(&self) -> Place {
        Place { at: self.at, mark: self.mark }
    }

    fn go_to(&mut self, place: Place) {
        (self.at, self.mark) = (place.at, place.mark);
    }

    fn peek(&self) -> Result<u8, Stop> {
        self.text.get(self.at).copied().ok_or(Stop::Odd)
    }

    /// The next byte that is no space, and goes there.
    #[inline(always)]
    fn next_byte(&mut self) -> Result<u8, Stop> {
        loop {
            match self.peek()? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Ok(byte),
            }
        }
    }

    /// Whether there is a backslash in `raw`, the string that the cursor has just gone over.
    #[inline(always)]
    fn has_escape(&self, raw: &[u8]) -> bool {
        self.at > self.escapes.start && self.at - raw.len() <= self.escapes.end && memchr(b'\\', raw).is_some()
    }

    /// What stands between the quotes of the string that begins here.
    #[inline(always)]
    fn string(&mut self) -> Result<&'a [u8], Stop> {
        let [open, close] = *self.marks.get(self.mark..).and_then(<[u32]>::first_chunk).ok_or(Stop::Odd)?;
        let close = close as usize;
        // A brace is no quote; but where this is one, so is the next, for in a string nothing else is marked.
        if open as usize != self.at || self.peek()? != b'"' {
            return Err(Stop::Odd);
        }
        let raw = self.text.get(self.at + 1..close).ok_or(Stop::Odd)?;
        self.at = close + 1;
        self.mark += 2;
        Ok(raw)
    }

    /// Goes over the string that begins here and gives what stands in it, if that means what it looks like; stays where it
    /// is if there is another value, or one with escapes.
    #[inline(always)]
    fn plain_string(&mut self) -> Result<Option<&'a [u8]>, Stop> {
        let start = self.place();
        if self.peek()? != b'"' {
            return Ok(None);
        }
        let raw = self.string()?;
        if self.has_escape(raw) {
            self.go_to(start);
            return Ok(None);
        }
        Ok(Some(raw))
    }

    /// Goes over a value, and keeps in `start` where it begins, if it is the first of its name.
    #[inline(always)]
    fn skip_to_read_later(&mut self, start: &mut Option<Place>) -> Result<(), Stop> {
        start.get_or_insert(self.place());
        self.skip()
    }

    /// Reads the value that begins at `start`.
    fn scalar_at(&mut self, start: Place) -> Result<Scalar<'a>, Stop> {
        self.go_to(start);
        self.scalar()
    }

    /// Reads the value that begins here.
    fn scalar(&mut self) -> Result<Scalar<'a>, Stop> {
        let start = self.at;
        match self.peek()? {
            b'"' => {
                let raw = self.string()?;
                if self.has_escape(raw) {
                    return serde_json::from_slice(&self.text[start..self.at]).map_err(|_| Stop::Odd);
                }
                let text = std::str::from_utf8(raw).map_err(|_| Stop::Odd)?;
                // Without a way out in the middle, which is what makes it fast.
                if text.bytes().fold(false, |any, byte| any | (byte < b' ')) {
                    return Err(Stop::Odd);
                }
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }
            b'{' | b'[' => self.skip().map(|()| Scalar::Other),
            _ => {
                self.skip()?;
                match &self.text[start..self.at] {
                    b"null" => Ok(Scalar::Absent),
                    b"true" | b"false" => Ok(Scalar::Other),
                    number => serde_json::from_slice(number).map_err(|_| Stop::Odd),
                }
            }
        }
    }

    /// Goes over the value that begins here.
    #[inline(always)]
    fn skip(&mut self) -> Result<(), Stop> {
        match self.peek()? {
            b'"' => {
                self.string()?;
            }
            b'{' => self.skip_object()?,
            b'[' => self.skip_array()?,
            _ => self.skip_literal()?,
        }
        Ok(())
    }

    fn skip_object(&mut self) -> Result<(), Stop> {
        if self.marks.get(self.mark).is_none_or(|mark| *mark as usize != self.at) {
            return Err(Stop::Odd);
        }
        let mut depth = 0_usize;
        loop {
            let mark = *self.marks.get(self.mark).ok_or(Stop::Odd)? as usize;
            self.mark += 1;
            match self.text[mark] {
                b'{' => depth += 1,
                b'}' if depth == 1 => {
                    self.at = mark + 1;
                    return Ok(());
                }
                b'}' => depth -= 1,
                // A quote; the next is the one that ends the string.
                _ => self.mark += 1,
            }
        }
    }

    fn skip_array(&mut self) -> Result<(), Stop> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' => self.skip_object()?,
                b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b']' => {
                    depth -= 1;
                    self.at += 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                b'}' => return Err(Stop::Odd),
                _ => self.at += 1,
            }
        }
    }

    /// A number, true, false or null, or what could be.
    fn skip_literal(&mut self) -> Result<(), Stop> {
        let rest = &self.text[self.at..];
        let len = rest
            .iter()
            .take_while(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.' | b'E'))
            .count();
        let literal = &rest[..len];
        let is_value = match literal.first() {
            Some(b'-' | b'0'..=b'9') => true,
            _ => matches!(literal, b"null" | b"true" | b"false"),
        };
        self.at += len;
        if is_value { Ok(()) } else { Err(Stop::Odd) }
    }
}
