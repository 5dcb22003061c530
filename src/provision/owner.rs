//! Whose bucket it is: the tag `tierd:user-id`.
//!
//! The tag is what makes a bucket a user's, whatever it is called. Its value is the user's id. But S3 takes
//! at most 256 letters, digits, spaces and `_ . : / = + - @` in a tag, and an id is any string; any other id is
//! written as `sha256:` and its hash. An id that itself begins with `sha256:` is hashed too, so no id can pass for another's.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::tiering::object::UserId;

/// The key of the tag.
pub const OWNER_TAG: &str = "tierd:user-id";

const MAX_TAG_CHARS: usize = 256;
const HASHED: &str = "sha256:";

/// What a bucket's tags say of its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This user.
    User,
    /// Another one, by the tag's value.
    Another(String),
    /// The tags do not say.
    Unsaid,
}

/// The value of a user's tag.
pub fn tag_value(user: &UserId) -> String {
    let id = user.as_str();
    if is_tag_value(id) && !id.starts_with(HASHED) {
        return id.to_owned();
    }
    let mut value = HASHED.to_owned();
    for byte in Sha256::digest(id.as_bytes()) {
        write!(value, "{byte:02x}").expect("writing to a string cannot fail");
    }
    value
}

/// Whether `tags` name `user` as the owner.
pub fn owner(tags: &[(String, String)], user: &UserId) -> Owner {
    match tags.iter().find(|(key, _)| key == OWNER_TAG) {
        None => Owner::Unsaid,
        Some((_, value)) if *value == tag_value(user) => Owner::User,
        Some((_, value)) => Owner::Another(value.clone()),
    }
}

/// `tags` with the owner's tag set, the others as they were.
pub fn with_owner(tags: Vec<(String, String)>, user: &UserId) -> Vec<(String, String)> {
    let mut tags: Vec<_> = tags.into_iter().filter(|(key, _)| key != OWNER_TAG).collect();
    tags.push((OWNER_TAG.to_owned(), tag_value(user)));
    tags
}

/// "Tag naming limits and requirements", AWS general reference. Spaces at the edges are legal but do not all survive XML.
fn is_tag_value(text: &str) -> bool {
    let legal = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
    text.chars().all(legal) && text.chars().count() <= MAX_TAG_CHARS && text.trim() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(id: &str) -> String {
        tag_value(&UserId::new(id).unwrap())
    }

    #[test]
    fn an_id_that_a_tag_can_hold_stays_and_any_other_is_hashed() {
        for id in ["jane-42", "Jane Doe", "jane@example.com", "김철수", "..", &"x".repeat(256)] {
            assert_eq!(value(id), id);
        }
        for id in ["a#b", "🙂", " jane", "jane\n", &"x".repeat(257), "sha256:00"] {
            let value = value(id);
            assert!(value.starts_with("sha256:") && value.len() == 71 && value != id, "{id:?} → {value}");
        }
    }

    #[test]
    fn no_id_passes_for_another() {
        assert_ne!(value(&value("a#b")), value("a#b"));
    }

    #[test]
    fn the_owner_is_set_and_other_tags_stay() {
        let (jane, joe) = (UserId::new("jane").unwrap(), UserId::new("joe").unwrap());
        let tags = vec![("team".to_owned(), "x".to_owned())];
        assert_eq!(owner(&tags, &jane), Owner::Unsaid);
        let tags = with_owner(with_owner(tags, &joe), &jane);
        assert_eq!(tags, [("team".to_owned(), "x".to_owned()), (OWNER_TAG.to_owned(), "jane".to_owned())]);
        assert_eq!(owner(&tags, &jane), Owner::User);
        assert_eq!(owner(&tags, &joe), Owner::Another("jane".to_owned()));
    }
}
