//! A record by its quotes and braces, for as long as it may still count.
//!
//! The scan that found the end of the record has left behind where its quotes and braces are, so a string costs a few
//! instructions whatever its length, and a whole object not much more. Members come in the order of the file, and the
//! first one that settles that the record does not count ends the walk: of most records that is their `eventName`, or
//! their `requestParameters`, a third of the way in.
//!
//! The walk understands the records that logs are made of and nothing beyond. Whatever strikes it as odd ([`Stop::Odd`]),
//! such as a time that is no string, it leaves to the parser, which knows what is bad and what is only unusual. What it does
//! not look into (the inside of strings, objects and arrays that do not matter) may be anything.
//!
//! What it reads stays where it is, as bytes: of one record in five something is kept, and of that only what is handed on
//! is looked at twice.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memrchr};

use super::super::json_scan::Index;
use super::record::{Counting, Scalar};
use crate::tiering::access::{CountRule, CountingRules};

/// Why a walk ended before the record did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The record does not count, whatever follows.
    CannotCount,
    /// This is for the parser to judge.
    Odd,
}

/// Reads the record that `index` is of, which counts if nothing stops the walk. `has_backslash` may only be false if there
/// is none in it.
pub(super) fn record<'a>(index: Index<'a>, has_backslash: bool, rules: &CountingRules) -> Result<Counting<'a>, Stop> {
    let escapes = match has_backslash {
        true => memchr(b'\\', index.text).unwrap_or(usize::MAX)..memrchr(b'\\', index.text).map_or(0, |last| last + 1),
        false => 0..0,
    };
    if rules.rules.len() > Request::MAX_RULES {
        return Err(Stop::Odd);
    }
    let mut cursor = Cursor { text: index.text, marks: index.marks, at: 0, escapes };
    let mut fields = Fields::default();
    cursor.members(|cursor, name| fields.member(cursor, name, rules))?;
    if cursor.at != cursor.text.len() {
        return Err(Stop::Odd);
    }
    let event = fields.event.ok_or(Stop::CannotCount)?;
    let request = fields.request.ok_or(Stop::CannotCount)?;
    Ok(Counting {
        rule: request.rule(event, rules)?,
        bucket: text(request.bucket.ok_or(Stop::CannotCount)?)?,
        key: cursor.unescaped(request.key.ok_or(Stop::CannotCount)?)?,
        time: text(fields.time.ok_or(Stop::Odd)?)?,
        id: [fields.shared_id, fields.id].into_iter().flatten().find(|id| !id.is_empty()).map(text).transpose()?,
        bytes_sent: fields.bytes_sent.unwrap_or(0.0),
    })
}

/// What has been met of a record; of what is there twice, the first.
#[derive(Default)]
struct Fields<'a> {
    event: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    shared_id: Option<&'a [u8]>,
    request: Option<Request<'a>>,
    bytes_sent: Option<f64>,
    has_source: bool,
    has_error: bool,
    has_caller: bool,
}

impl<'a> Fields<'a> {
    /// Goes over a member of the record.
    #[inline(always)]
    fn member(&mut self, cursor: &mut Cursor<'a>, name: &[u8], rules: &CountingRules) -> Result<(), Stop> {
        match name {
            b"eventName" if self.event.is_none() => {
                let event = cursor.plain_string()?;
                stop_unless(rules.rules.iter().any(|rule| rule.event.as_bytes() == event))?;
                self.event = Some(event);
                self.stop_unless_asked_for(rules)
            }
            b"eventSource" if !self.has_source => {
                self.has_source = true;
                stop_unless(cursor.plain_string()? == b"s3.amazonaws.com")
            }
            b"errorCode" if !self.has_error => {
                self.has_error = true;
                stop_unless(cursor.peek()? == b'n')?;
                cursor.skip()
            }
            b"requestParameters" if self.request.is_none() => {
                stop_unless(cursor.peek()? == b'{')?;
                self.request = Some(cursor.request_parameters(rules)?);
                self.stop_unless_asked_for(rules)
            }
            b"userIdentity" if !self.has_caller => {
                self.has_caller = true;
                cursor.user_identity(rules)
            }
            b"additionalEventData" if self.bytes_sent.is_none() => {
                self.bytes_sent = Some(cursor.bytes_sent()?);
                Ok(())
            }
            b"eventTime" => cursor.first_string(&mut self.time),
            b"eventID" => cursor.first_string(&mut self.id),
            b"sharedEventID" => cursor.first_string(&mut self.shared_id),
            _ => cursor.skip(),
        }
    }

    /// As soon as both are known by which a rule goes.
    fn stop_unless_asked_for(&self, rules: &CountingRules) -> Result<(), Stop> {
        match (self.event, &self.request) {
            (Some(event), Some(request)) => request.rule(event, rules).map(drop),
            _ => Ok(()),
        }
    }
}

/// What has been met of a record's `requestParameters`; of what is there twice, the first.
#[derive(Default)]
struct Request<'a> {
    bucket: Option<&'a [u8]>,
    /// Perhaps with escapes.
    key: Option<&'a [u8]>,
    /// Of each rule, by its place, a bit: whether what it asks for has been met, and whether that is more than null.
    met: u64,
    carried: u64,
}

impl Request<'_> {
    const MAX_RULES: usize = 64;

    /// The first rule that an event of this request fits.
    fn rule(&self, event: &[u8], rules: &CountingRules) -> Result<usize, Stop> {
        let fits = |(i, rule): (usize, &CountRule)| {
            rule.event.as_bytes() == event && (rule.with_parameter.is_none() || self.carried >> i & 1 == 1)
        };
        rules.rules.iter().enumerate().position(fits).ok_or(Stop::CannotCount)
    }
}

fn stop_unless(may_count: bool) -> Result<(), Stop> {
    if may_count { Ok(()) } else { Err(Stop::CannotCount) }
}

/// What stands in a string without escapes.
fn text(raw: &[u8]) -> Result<&str, Stop> {
    // Without a way out in the middle, which is what makes it fast.
    if raw.iter().fold(false, |any, byte| any | (*byte < b' ')) {
        return Err(Stop::Odd);
    }
    std::str::from_utf8(raw).map_err(|_| Stop::Odd)
}

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// Those that are not before `at`.
    marks: &'a [u32],
    /// All backslashes are in there.
    escapes: Range<usize>,
}

impl<'a> Cursor<'a> {
    fn request_parameters(&mut self, rules: &CountingRules) -> Result<Request<'a>, Stop> {
        let mut request = Request::default();
        self.members(|cursor, name| {
            for (i, rule) in rules.rules.iter().enumerate() {
                if rule.with_parameter.as_ref().is_some_and(|asked| asked.as_bytes() == name) && request.met >> i & 1 == 0 {
                    request.met |= 1 << i;
                    request.carried |= u64::from(cursor.peek()? != b'n') << i;
                }
            }
            match name {
                b"bucketName" if request.bucket.is_none() => {
                    stop_unless(cursor.peek()? == b'"')?;
                    let bucket = cursor.plain_string()?;
                    stop_unless(bucket.starts_with(rules.bucket_prefix.as_bytes()))?;
                    request.bucket = Some(bucket);
                    Ok(())
                }
                b"key" if request.key.is_none() => {
                    stop_unless(cursor.peek()? != b'n')?;
                    let key = cursor.string()?;
                    stop_unless(!key.is_empty())?;
                    request.key = Some(key);
                    Ok(())
                }
                _ => cursor.skip(),
            }
        })?;
        Ok(request)
    }

    /// Goes over who it was, and stops if that is one whose work never counts.
    fn user_identity(&mut self, rules: &CountingRules) -> Result<(), Stop> {
        let (mut has_arn, mut has_session) = (false, false);
        self.members_if_object(|cursor, name| match name {
            b"arn" if !has_arn => {
                has_arn = true;
                cursor.caller(rules)
            }
            b"sessionContext" if !has_session => {
                has_session = true;
                cursor.session_context(rules)
            }
            _ => cursor.skip(),
        })
    }

    fn session_context(&mut self, rules: &CountingRules) -> Result<(), Stop> {
        let (mut has_issuer, mut has_arn) = (false, false);
        self.members_if_object(|cursor, name| match name {
            b"sessionIssuer" if !has_issuer => {
                has_issuer = true;
                cursor.members_if_object(|cursor, name| match name {
                    b"arn" if !has_arn => {
                        has_arn = true;
                        cursor.caller(rules)
                    }
                    _ => cursor.skip(),
                })
            }
            _ => cursor.skip(),
        })
    }

    fn caller(&mut self, rules: &CountingRules) -> Result<(), Stop> {
        match self.peek()? {
            b'"' => stop_unless(!rules.excludes(text(self.plain_string()?)?)),
            _ => self.skip(),
        }
    }

    fn bytes_sent(&mut self) -> Result<f64, Stop> {
        let mut bytes = None;
        self.members_if_object(|cursor, name| match name {
            b"bytesTransferredOut" if bytes.is_none() => {
                bytes = Some(cursor.number()?);
                Ok(())
            }
            _ => cursor.skip(),
        })?;
        Ok(bytes.unwrap_or(0.0))
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
        self.over_brace()?;
        if self.next_byte()? == b'}' {
            return self.over_brace();
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
                b'}' => return self.over_brace(),
                _ => return Err(Stop::Odd),
            }
            self.next_byte()?;
        }
    }

    fn over_brace(&mut self) -> Result<(), Stop> {
        self.at += 1;
        self.marks = self.marks.get(1..).ok_or(Stop::Odd)?;
        Ok(())
    }

    fn peek(&self) -> Result<u8, Stop> {
        self.text.get(self.at).copied().ok_or(Stop::Odd)
    }

    /// The next byte that is no space, and goes there.
    #[inline(always)]
    fn next_byte(&mut self) -> Result<u8, Stop> {
        loop {
            match self.peek()? {
                byte if byte > b' ' => return Ok(byte),
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
        let [open, close, rest @ ..] = self.marks else { return Err(Stop::Odd) };
        let close = *close as usize;
        // A brace is no quote; but where this is one, so is the next, for in a string nothing else is marked.
        if *open as usize != self.at || self.peek()? != b'"' {
            return Err(Stop::Odd);
        }
        let raw = self.text.get(self.at + 1..close).ok_or(Stop::Odd)?;
        self.at = close + 1;
        self.marks = rest;
        Ok(raw)
    }

    /// The same of one that means what it looks like.
    #[inline(always)]
    fn plain_string(&mut self) -> Result<&'a [u8], Stop> {
        let raw = self.string()?;
        if self.has_escape(raw) { Err(Stop::Odd) } else { Ok(raw) }
    }

    /// Goes over a value, and keeps it, if it is the first of its name.
    #[inline(always)]
    fn first_string(&mut self, kept: &mut Option<&'a [u8]>) -> Result<(), Stop> {
        if kept.is_some() {
            return self.skip();
        }
        *kept = Some(self.plain_string()?);
        Ok(())
    }

    /// What `raw` means, which stands in a string of this record.
    fn unescaped(&self, raw: &'a [u8]) -> Result<Cow<'a, str>, Stop> {
        if self.escapes.is_empty() || memchr(b'\\', raw).is_none() {
            return text(raw).map(Cow::Borrowed);
        }
        let quoted = [b"\"", raw, b"\""].concat();
        serde_json::from_slice(&quoted).map(Cow::Owned).map_err(|_| Stop::Odd)
    }

    /// The number that begins here, or zero for what is none.
    fn number(&mut self) -> Result<f64, Stop> {
        let start = self.at;
        let is_number = matches!(self.peek()?, b'-' | b'0'..=b'9');
        self.skip()?;
        if !is_number {
            return Ok(0.0);
        }
        match serde_json::from_slice(&self.text[start..self.at]) {
            Ok(Scalar::Number(number)) => Ok(number),
            _ => Err(Stop::Odd),
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
        if self.marks.first().is_none_or(|mark| *mark as usize != self.at) {
            return Err(Stop::Odd);
        }
        let mut depth = 0_usize;
        while let [mark, rest @ ..] = self.marks {
            let mark = *mark as usize;
            self.marks = rest;
            match self.text[mark] {
                b'{' => depth += 1,
                b'}' if depth == 1 => {
                    self.at = mark + 1;
                    return Ok(());
                }
                b'}' => depth -= 1,
                // A quote; the next is the one that ends the string.
                _ => self.marks = rest.get(1..).ok_or(Stop::Odd)?,
            }
        }
        Err(Stop::Odd)
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
