//! A little of somebody else's text, for a log line to show what could not be read. Never the query of a URL: a presigned
//! one is a credential, and access logs and messages are full of them.

/// The beginning of `text` in quotes and with escapes, so that it stays on its line: so many characters at most, and none
/// from where a query begins, also one that is form-encoded. An ellipsis after the quotes says that there was more.
pub fn excerpt(text: &str, characters: usize) -> String {
    let by_length = text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at);
    let end = by_length.min(query_start(text));
    if end < text.len() { format!("{:?}…", &text[..end]) } else { format!("{text:?}") }
}

/// Where the first thing stands that a query has and a path has not; a text that is cut out of a query has one too.
fn query_start(text: &str) -> usize {
    let bare = text.find(['?', '&', '=']);
    let encoded = text.as_bytes().windows(3).position(|three| {
        let of_query = [b"%3f", b"%26", b"%3d"];
        of_query.iter().any(|encoded| three.eq_ignore_ascii_case(*encoded))
    });
    bare.into_iter().chain(encoded).min().unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_shown_and_no_query() {
        let cases = [
            ("", r#""""#),
            ("2026-13-01", r#""2026-13-01""#),
            ("two\nlines \"quoted\"", r#""two\nlines \"quoted\"""#),
            ("0123456789012345678901234567890", r#""012345678901234567890123456789"…"#),
            (
                "가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허고노도로",
                r#""가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허고노"…"#,
            ),
            ("GET /b/k?X-Amz-Signature=0af", r#""GET /b/k"…"#),
            ("X-Amz-Signature=0af", r#""X-Amz-Signature"…"#),
            ("/a&X-Amz-Signature=0af", r#""/a"…"#),
            ("https%3A//b/k%3FX-Amz-Signature%3D0af", r#""https%3A//b/k"…"#),
            ("%3fx", r#"""…"#),
            ("%한", r#""%한""#),
        ];
        for (text, shown) in cases {
            assert_eq!(excerpt(text, 30), shown, "{text}");
        }
    }
}
