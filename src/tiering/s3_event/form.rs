//! The form encoding of keys in S3 notifications.
//!
//! S3 writes a key into `Records[].s3.object.key` as `application/x-www-form-urlencoded`: a space is `+`, a plus is
//! `%2B`. Reading it in the other order, percent first, turns every plus of a key into a space.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use thiserror::Error;

/// Why a text is not the form encoding of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FormError {
    #[error("the % at byte {0} is not followed by two hexadecimal digits")]
    Escape(usize),
    #[error("it decodes to bytes that are not UTF-8")]
    NotUtf8,
}

/// Decodes once: plus to space, then percent escapes.
///
/// A stray `%` is an error, not a literal one as in browsers: S3 never sends it, so the text was encoded by someone who did
/// it otherwise, and a guess could name another object than the one that was meant.
pub fn form_decode(text: &str) -> Result<String, FormError> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digit = |i: usize| bytes.get(i).and_then(|&b| char::from(b).to_digit(16));
                let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
                    return Err(FormError::Escape(at));
                };
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            byte => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8(decoded).map_err(|_| FormError::NotUtf8)
}

/// What S3 leaves as it stands; everything else but the space is escaped.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*').remove(b'/').remove(b' ');

/// The inverse of [`form_decode`], as S3 writes keys.
pub fn form_encode(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string().replace(' ', "+")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plus_is_a_space_before_percent_is_decoded_and_only_once() {
        let cases = [
            ("red+flower.jpg", "red flower.jpg"),
            ("a%2Bb", "a+b"),
            ("a%2bb+c", "a+b c"),
            ("%252B", "%2B"),
            ("%25+%2520", "% %20"),
            ("%EC%82%AC%EC%A7%84/%F0%9F%98%80.png", "사진/😀.png"),
            ("사진", "사진"),
            ("a/b//c/", "a/b//c/"),
            ("%00%0A", "\0\n"),
            ("", ""),
        ];
        for (encoded, decoded) in cases {
            assert_eq!(form_decode(encoded).as_deref(), Ok(decoded), "{encoded}");
        }
    }

    #[test]
    fn what_s3_would_not_have_written_is_an_error_and_no_guess() {
        let cases = [
            ("100%", FormError::Escape(3)),
            ("%4", FormError::Escape(0)),
            ("a%zz", FormError::Escape(1)),
            ("%+1", FormError::Escape(0)),
            ("%ff%fe", FormError::NotUtf8),
            ("%ED%A0%80", FormError::NotUtf8),
        ];
        for (encoded, error) in cases {
            assert_eq!(form_decode(encoded), Err(error), "{encoded}");
        }
    }

    proptest! {
        #[test]
        fn every_text_reads_back_as_it_was_written(text in any::<String>()) {
            prop_assert_eq!(form_decode(&form_encode(&text)), Ok(text));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), escapes in "[%+0-9a-zA-Z한]{0,40}") {
            prop_assert!(form_decode(&text).is_ok() || text.contains('%'));
            prop_assert!(form_decode(&escapes).is_ok() || escapes.contains('%'));
        }
    }
}
