//! An object's tag set with one tag more or one less. S3 writes the whole set at once, so the others are carried along.

/// A key and its value.
pub type Tag = (String, String);

/// The most tags that S3 lets an object have.
pub const MAX_TAGS: usize = 10;

/// What becomes of a tag set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagEdit {
    /// It is so already: write nothing.
    Unchanged,
    /// Write this set in place of the old one; an empty one is a delete of the set.
    Replace(Vec<Tag>),
    /// There are [`MAX_TAGS`] others. None of them is ours to drop: the index of requests alone carries the intent, and a
    /// sweep over listings will not find the object.
    Full,
}

/// `tags` with `key` set to `value`, the others as they were and in their order.
pub fn with_tag(tags: &[Tag], key: &str, value: &str) -> TagEdit {
    let mut edited = tags.to_vec();
    match edited.iter_mut().find(|(name, _)| name == key) {
        Some((_, old)) if old == value => return TagEdit::Unchanged,
        Some((_, old)) => *old = value.to_owned(),
        None if tags.len() >= MAX_TAGS => return TagEdit::Full,
        None => edited.push((key.to_owned(), value.to_owned())),
    }
    TagEdit::Replace(edited)
}

/// `tags` without `key`, the others as they were.
pub fn without_tag(tags: &[Tag], key: &str) -> TagEdit {
    let rest: Vec<Tag> = tags.iter().filter(|(name, _)| name != key).cloned().collect();
    if rest.len() == tags.len() { TagEdit::Unchanged } else { TagEdit::Replace(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "RestoreRequested";

    #[test]
    fn a_full_set_is_left_alone() {
        let tags: Vec<Tag> = (0..10).map(|n| (format!("k{n}"), String::new())).collect();
        assert_eq!(with_tag(&tags, KEY, "true"), TagEdit::Full);
        assert_eq!(with_tag(&tags, "k3", ""), TagEdit::Unchanged);
        assert!(matches!(with_tag(&tags, "k3", "new"), TagEdit::Replace(edited) if edited.len() == 10));
        assert!(matches!(with_tag(&tags[1..], KEY, "true"), TagEdit::Replace(edited) if edited.len() == 10));
    }

    #[test]
    fn the_last_tag_leaves_an_empty_set() {
        let tags = [(KEY.to_owned(), "true".to_owned())];
        assert_eq!(without_tag(&tags, KEY), TagEdit::Replace(vec![]));
        assert_eq!(without_tag(&[], KEY), TagEdit::Unchanged);
    }

    proptest! {
        #[test]
        fn taking_off_undoes_putting_on_and_no_other_tag_changes(
            tags in prop::collection::btree_map("[a-z가 ]{1,5}", "\\PC{0,5}", 0..10)
        ) {
            let tags: Vec<Tag> = tags.into_iter().collect();
            let TagEdit::Replace(tagged) = with_tag(&tags, KEY, "true") else { panic!("there is room") };
            prop_assert_eq!(with_tag(&tagged, KEY, "true"), TagEdit::Unchanged);
            prop_assert_eq!(without_tag(&tagged, KEY), TagEdit::Replace(tags.clone()));
            prop_assert_eq!(without_tag(&tags, KEY), TagEdit::Unchanged);
        }
    }
}
