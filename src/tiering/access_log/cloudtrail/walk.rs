//! A record by its quotes and braces, for as long as it may still count.
//!
//! The scan that found the end of the record has left behind where its quotes and braces are, so a string costs a few
//! instructions whatever its length. Members come in the order of the file, and the first one that settles that the record
//! does not count ends the walk. Of a record that counts the walk also says where the values are that decide it, a
//! [`Lesson`], so that the next one of that shape needs no walk.
//!
//! The walk understands the records that logs are made of and nothing beyond. Whatever strikes it as odd ([`Stop::Odd`]),
//! such as a time that is no string, it leaves to the parser, which knows what is bad and what is only unusual. What it does
//! not look into (the inside of strings, objects and arrays that do not matter) may be anything.

use std::borrow::Cow;

use memchr::memchr;

use super::super::json_scan::Index;
use super::record::{Counting, Scalar, WRITE};
use super::shape::{Lesson, Role};
use crate::tiering::access::CountingRules;

/// Why a walk ended before the record did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The record does not count, whatever follows.
    CannotCount,
    /// This is for the parser to judge.
    Odd,
}

/// Reads the record that `index` is of, which counts if nothing stops the walk; `lesson` is where its values are.
/// `has_backslash` may only be false if there is none in it.
pub(super) fn record<'a>(
    index: Index<'a>,
    has_backslash: bool,
    rules: &CountingRules,
    lesson: &mut Lesson,
) -> Result<Counting<'a>, Stop> {
    let mut walk = Walk { index, at: 0, has_backslash, rules, met: Met::default(), lesson };
    let (mut has_source, mut has_error, mut has_caller, mut has_request, mut has_more) = Default::default();
    walk.members(|walk, name| {
        let is_first = |has: &mut bool| !std::mem::replace(has, true);
        match name {
            b"eventName" if walk.met.event.is_none() => {
                walk.take(Role::Event)?;
                if has_request { walk.met.rule(rules).map(drop) } else { Ok(()) }
            }
            b"eventSource" if is_first(&mut has_source) => walk.take(Role::Source),
            b"errorCode" if is_first(&mut has_error) => {
                stop_unless(walk.peek()? == b'n')?;
                walk.skip()
            }
            b"requestParameters" if is_first(&mut has_request) => {
                stop_unless(walk.peek()? == b'{')?;
                walk.request_parameters()?;
                if walk.met.event.is_some() { walk.met.rule(rules).map(drop) } else { Ok(()) }
            }
            b"userIdentity" if is_first(&mut has_caller) => walk.user_identity(),
            b"additionalEventData" if is_first(&mut has_more) => walk.additional(),
            b"eventTime" if walk.met.time.is_none() => walk.take(Role::Time),
            b"eventID" if walk.met.id.is_none() => walk.take(Role::Id),
            b"sharedEventID" if walk.met.shared_id.is_none() => walk.take(Role::SharedId),
            _ => walk.skip(),
        }
    })?;
    if walk.at != index.text.len() {
        return Err(Stop::Odd);
    }
    walk.lesson.carried = walk.met.carried;
    walk.met.counting(has_backslash, rules)
}

/// What has been met of a record; of what is there twice, the first.
#[derive(Debug, Default)]
pub(super) struct Met<'a> {
    event: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    shared_id: Option<&'a [u8]>,
    bucket: Option<&'a [u8]>,
    /// Perhaps with escapes.
    key: Option<&'a [u8]>,
    bytes_sent: f64,
    /// The number as it stands there.
    bytes_received: Option<&'a [u8]>,
    /// Of each rule, by its place, a bit: whether the request carries what it asks for.
    pub(super) carried: u64,
}

/// More rules than have a bit are for the parser.
const MAX_RULES: usize = 64;

impl<'a> Met<'a> {
    /// Takes what stands between the quotes of a value.
    #[inline(always)]
    pub(super) fn take(
        &mut self,
        role: Role,
        raw: &'a [u8],
        has_backslash: bool,
        rules: &CountingRules,
    ) -> Result<(), Stop> {
        if has_backslash && role != Role::Key && memchr(b'\\', raw).is_some() {
            return Err(Stop::Odd);
        }
        match role {
            Role::Event => {
                stop_unless(rules.rules.iter().any(|rule| rule.event.as_bytes() == raw))?;
                self.event = Some(raw);
            }
            Role::Source => stop_unless(raw == b"s3.amazonaws.com")?,
            Role::Bucket => {
                stop_unless(raw.starts_with(rules.bucket_prefix.as_bytes()))?;
                self.bucket = Some(raw);
            }
            Role::Key => {
                stop_unless(!raw.is_empty())?;
                self.key = Some(raw);
            }
            Role::Caller => stop_unless(!rules.excludes(text(raw)?))?,
            Role::Time => self.time = Some(raw),
            Role::Id => self.id = Some(raw),
            Role::SharedId => self.shared_id = Some(raw),
            Role::BytesSent | Role::BytesReceived | Role::None => {}
        }
        Ok(())
    }

    /// Takes what stands there for a number.
    #[inline(always)]
    pub(super) fn take_number(&mut self, role: Role, literal: &'a [u8]) -> Result<(), Stop> {
        match role {
            Role::BytesSent => self.bytes_sent = number(literal)?,
            Role::BytesReceived => self.bytes_received = Some(literal),
            _ => {}
        }
        Ok(())
    }

    /// The first rule that the record fits.
    fn rule(&self, rules: &CountingRules) -> Result<usize, Stop> {
        if rules.rules.len() > MAX_RULES {
            return Err(Stop::Odd);
        }
        let event = self.event.ok_or(Stop::CannotCount)?;
        let place = rules.rules.iter().enumerate().position(|(i, rule)| {
            rule.event.as_bytes() == event && (rule.with_parameter.is_none() || self.carried >> i & 1 == 1)
        });
        place.ok_or(Stop::CannotCount)
    }

    /// What is to be added, once the record is at its end.
    pub(super) fn counting(self, has_backslash: bool, rules: &CountingRules) -> Result<Counting<'a>, Stop> {
        let rule = self.rule(rules)?;
        let (Some(bucket), Some(key)) = (self.bucket, self.key) else { return Err(Stop::CannotCount) };
        let key = match has_backslash && memchr(b'\\', key).is_some() {
            false => Cow::Borrowed(text(key)?),
            true => serde_json::from_slice(&[b"\"", key, b"\""].concat()).map(Cow::Owned).map_err(|_| Stop::Odd)?,
        };
        let id = [self.shared_id, self.id].into_iter().flatten().find(|id| !id.is_empty());
        let object_bytes =
            self.bytes_received.filter(|_| self.event == Some(WRITE.as_bytes())).map(number).transpose()?;
        Ok(Counting {
            rule,
            bucket: text(bucket)?,
            key,
            time: text(self.time.ok_or(Stop::Odd)?)?,
            id: id.map(text).transpose()?,
            bytes_sent: self.bytes_sent,
            object_bytes,
        })
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

/// What a number means.
fn number(literal: &[u8]) -> Result<f64, Stop> {
    match serde_json::from_slice(literal) {
        Ok(Scalar::Number(number)) => Ok(number),
        _ => Err(Stop::Odd),
    }
}

/// Where a number, true, false or null ends that begins at `start`, or what could be one.
pub(super) fn literal_end(text: &[u8], start: usize) -> usize {
    let goes_on = |byte: &&u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.' | b'E');
    start + text[start..].iter().take_while(goes_on).count()
}

struct Walk<'a, 'w> {
    index: Index<'a>,
    at: usize,
    has_backslash: bool,
    rules: &'w CountingRules,
    met: Met<'a>,
    lesson: &'w mut Lesson,
}

impl<'a> Walk<'a, '_> {
    /// Goes over a value that should be a string, and takes it for what it is.
    fn take(&mut self, role: Role) -> Result<(), Stop> {
        self.lesson.roles.push((self.at, role));
        let raw = self.string()?;
        self.met.take(role, raw, self.has_backslash, self.rules)
    }

    fn request_parameters(&mut self) -> Result<(), Stop> {
        let mut asked_before = 0;
        self.members(|walk, name| {
            for (i, rule) in walk.rules.rules.iter().enumerate().take(MAX_RULES) {
                let is_asked = rule.with_parameter.as_ref().is_some_and(|asked| asked.as_bytes() == name);
                if is_asked && asked_before >> i & 1 == 0 {
                    asked_before |= 1_u64 << i;
                    walk.met.carried |= u64::from(walk.peek()? != b'n') << i;
                }
            }
            match name {
                b"bucketName" if walk.met.bucket.is_none() => {
                    stop_unless(walk.peek()? == b'"')?;
                    walk.take(Role::Bucket)
                }
                b"key" if walk.met.key.is_none() => {
                    stop_unless(walk.peek()? != b'n')?;
                    walk.take(Role::Key)
                }
                _ => walk.skip(),
            }
        })?;
        stop_unless(self.met.bucket.is_some() && self.met.key.is_some())
    }

    fn user_identity(&mut self) -> Result<(), Stop> {
        let (mut has_arn, mut has_session) = (false, false);
        self.members_if_object(|walk, name| match name {
            b"arn" if !std::mem::replace(&mut has_arn, true) => walk.caller(),
            b"sessionContext" if !std::mem::replace(&mut has_session, true) => walk.session_context(),
            _ => walk.skip(),
        })
    }

    fn session_context(&mut self) -> Result<(), Stop> {
        let (mut has_issuer, mut has_arn) = (false, false);
        self.members_if_object(|walk, name| match name {
            b"sessionIssuer" if !std::mem::replace(&mut has_issuer, true) => {
                walk.members_if_object(|walk, name| match name {
                    b"arn" if !std::mem::replace(&mut has_arn, true) => walk.caller(),
                    _ => walk.skip(),
                })
            }
            _ => walk.skip(),
        })
    }

    fn caller(&mut self) -> Result<(), Stop> {
        if self.peek()? == b'"' { self.take(Role::Caller) } else { self.skip() }
    }

    fn additional(&mut self) -> Result<(), Stop> {
        let (mut has_sent, mut has_received) = (false, false);
        self.members_if_object(|walk, name| match name {
            b"bytesTransferredOut" if !std::mem::replace(&mut has_sent, true) => walk.take_number(Role::BytesSent),
            b"bytesTransferredIn" if !std::mem::replace(&mut has_received, true) => {
                walk.take_number(Role::BytesReceived)
            }
            _ => walk.skip(),
        })
    }

    /// Goes over a value, and takes it for what it is if it is a number.
    fn take_number(&mut self, role: Role) -> Result<(), Stop> {
        let start = self.at;
        let is_number = matches!(self.peek()?, b'-' | b'0'..=b'9');
        self.skip()?;
        if is_number {
            self.lesson.roles.push((start, role));
            self.met.take_number(role, &self.index.text[start..self.at])?;
        }
        Ok(())
    }

    /// Goes over the members of what is here, if that is an object, and over it, if not.
    fn members_if_object(&mut self, member: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Stop>) -> Result<(), Stop> {
        if self.peek()? == b'{' { self.members(member) } else { self.skip() }
    }

    /// Goes over the members of the object that begins here. `member` is called at the value of each, with its name, and
    /// goes over it.
    fn members(&mut self, mut member: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Stop>) -> Result<(), Stop> {
        self.at += 1;
        if self.next_byte()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            let name = self.string()?;
            // `\u0065ventName` is a name too.
            if self.has_backslash && memchr(b'\\', name).is_some() {
                return Err(Stop::Odd);
            }
            if self.next_byte()? != b':' {
                return Err(Stop::Odd);
            }
            self.at += 1;
            self.next_byte()?;
            member(self, name)?;
            let after = self.next_byte()?;
            self.at += 1;
            match after {
                b',' => self.next_byte()?,
                b'}' => return Ok(()),
                _ => return Err(Stop::Odd),
            };
        }
    }

    fn peek(&self) -> Result<u8, Stop> {
        self.index.text.get(self.at).copied().ok_or(Stop::Odd)
    }

    /// The next byte that is no space, and goes there.
    fn next_byte(&mut self) -> Result<u8, Stop> {
        loop {
            match self.peek()? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Ok(byte),
            }
        }
    }

    /// What stands between the quotes of the string that begins here.
    fn string(&mut self) -> Result<&'a [u8], Stop> {
        if self.peek()? != b'"' {
            return Err(Stop::Odd);
        }
        let start = self.at + 1;
        // In a string nothing is marked, so this is the quote that ends it.
        let end = self.index.next(start).ok_or(Stop::Odd)?;
        self.at = end + 1;
        Ok(&self.index.text[start..end])
    }

    /// Goes over the value that begins here.
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
        let mut depth = 0_usize;
        loop {
            self.at = self.index.next(self.at).ok_or(Stop::Odd)?;
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' => depth += 1,
                _ => depth -= 1,
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
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
        let end = literal_end(self.index.text, self.at);
        let literal = &self.index.text[self.at..end];
        self.at = end;
        let is_value = match literal.first() {
            Some(b'-' | b'0'..=b'9') => true,
            _ => matches!(literal, b"null" | b"true" | b"false"),
        };
        if is_value { Ok(()) } else { Err(Stop::Odd) }
    }
}
