//! What the two formats of lines have in common: fields, quotes, percent-encoding, queries.

use std::borrow::Cow;

use memchr::{memchr, memmem};
use percent_encoding::percent_decode_str;

use super::{Parsed, Reason};
use crate::tiering::access::FileAccesses;

/// Reads every line that is not blank.
pub(super) fn parse_lines(
    bytes: &[u8],
    error_details: usize,
    mut read: impl FnMut(&str, &mut FileAccesses) -> Result<(), Reason>,
) -> Parsed {
    let mut parsed = Parsed::default();
    let mut at = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut blank_lines = 0;
    while at < bytes.len() {
        let end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |n| at + n);
        let line = bytes[at..end].trim_ascii();
        if line.is_empty() {
            blank_lines += 1;
        } else {
            parsed.records += 1;
            let result = match std::str::from_utf8(line) {
                Ok(text) => read(text, &mut parsed.accesses),
                Err(_) => Err(Reason::NotUtf8),
            };
            if let Err(reason) = result {
                parsed.reject(error_details, at, reason);
                if let Some(error) = parsed.errors.last_mut().filter(|error| error.offset == at as u64) {
                    error.record += blank_lines;
                }
            }
        }
        at = end + 1;
    }
    parsed
}

/// Takes a line apart from its beginning, a field at a time.
pub(super) struct Fields<'a> {
    rest: &'a str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { rest: line }
    }

    /// What has not been taken yet.
    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    /// The next field, up to a space.
    pub(super) fn token(&mut self, field: &'static str) -> Result<&'a str, Reason> {
        let rest = self.rest;
        let (token, rest) = match memchr(b' ', rest.as_bytes()) {
            Some(n) => (&rest[..n], &rest[n + 1..]),
            None => (rest, ""),
        };
        if token.is_empty() {
            return Err(Reason::Missing(field));
        }
        self.rest = rest;
        Ok(token)
    }

    /// The next field if it is a number that fits, or `-` for none.
    pub(super) fn number(&mut self, field: &'static str) -> Result<Option<u64>, Reason> {
        let token = self.token(field)?;
        match token {
            "-" => Ok(None),
            _ => token.parse().map(Some).map_err(|_| Reason::field(field, token)),
        }
    }

    /// The next field if it stands between `open` and `close` and has no `close` in it.
    pub(super) fn between(&mut self, open: char, close: char, field: &'static str) -> Result<&'a str, Reason> {
        let inner = self.rest.strip_prefix(open).ok_or_else(|| Reason::field(field, self.rest))?;
        let (value, rest) = inner.split_once(close).ok_or_else(|| Reason::field(field, self.rest))?;
        self.rest = rest.strip_prefix(' ').unwrap_or(rest);
        Ok(value)
    }

    /// The next field if it stands in quotes, or is a bare `-`.
    ///
    /// The quotes inside it are not escaped, so its end is the first quote after which `is_rest` holds of what follows
    /// the space.
    pub(super) fn quoted(&mut self, field: &'static str, is_rest: impl Fn(&str) -> bool) -> Result<&'a str, Reason> {
        let Some(inner) = self.rest.strip_prefix('"') else {
            return match self.token(field)? {
                "-" => Ok("-"),
                other => Err(Reason::field(field, other)),
            };
        };
        for end in memmem::find_iter(inner.as_bytes(), b"\" ") {
            let rest = &inner[end + 2..];
            if is_rest(rest) {
                self.rest = rest;
                return Ok(&inner[..end]);
            }
        }
        Err(Reason::field(field, self.rest))
    }
}

/// Percent-decodes once, pluses stay; `%` that begins no escape stays too. None if the outcome is not UTF-8.
pub(super) fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}

/// Form-decodes once: a plus is a space, then percent-decoding.
pub(super) fn form_decoded(text: &str) -> Option<String> {
    if text.contains('+') {
        percent_decoded(&text.replace('+', " ")).map(Cow::into_owned)
    } else {
        percent_decoded(text).map(Cow::into_owned)
    }
}

/// Whether `query` (what stands after `?`) carries a parameter of this name, with a value or without.
pub(super) fn query_has(query: &str, name: &str) -> bool {
    query.split('&').any(|pair| {
        let raw = pair.split_once('=').map_or(pair, |(name, _)| name);
        raw == name || form_decoded(raw).is_some_and(|decoded| decoded == name)
    })
}

/// The parts of a request line `GET /path?query HTTP/1.1`: method, target. Both `-` where the log does not know.
pub(super) fn method_and_target(request: &str) -> Option<(&str, &str)> {
    let (method, rest) = request.split_once(' ')?;
    let (target, _version) = rest.rsplit_once(' ')?;
    Some((method, target))
}

/// Parts a target at its first `?`: path, query (empty without one).
pub(super) fn path_and_query(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

/// Whether an HTTP status says that the request succeeded.
pub(super) fn is_success(status: Option<u64>) -> bool {
    status.is_some_and(|status| (200..300).contains(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_is_once_and_leaves_what_is_no_escape() {
        assert_eq!(percent_decoded("a+b%20c%2520").as_deref(), Some("a+b c%20"));
        assert_eq!(percent_decoded("100%").as_deref(), Some("100%"));
        assert_eq!(percent_decoded("%zz%ff"), None);
        assert_eq!(form_decoded("a+b%2Bc").as_deref(), Some("a b+c"));
    }

    #[test]
    fn a_parameter_is_found_by_its_whole_decoded_name() {
        let check = |query: &str, want: bool| {
            assert_eq!(query_has(query, "response-content-disposition"), want, "{query}");
        };
        check("response-content-disposition=attachment", true);
        check("a=1&response-content-disposition", true);
        check("response%2Dcontent-disposition=x", true);
        check("x-response-content-disposition=1", false);
        check("a=response-content-disposition", false);
        check("Response-Content-Disposition=1", false);
        check("", false);
    }

    #[test]
    fn lines_are_numbered_with_the_blank_ones() {
        let parsed = parse_lines(b"\xef\xbb\xbfa\r\n\n  \nb\n\xff\nc", 20, |line, _| match line {
            "b" => Err(Reason::Missing("x")),
            _ => Ok(()),
        });
        assert_eq!((parsed.records, parsed.records_bad), (4, 2));
        let at: Vec<_> = parsed.errors.iter().map(|e| (e.record, e.offset)).collect();
        assert_eq!(at, [(4, 10), (5, 12)]);
    }
}
