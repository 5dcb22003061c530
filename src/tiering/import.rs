//! Which object each row of an old table means.
//!
//! The functions that tierd replaces keyed their table by ETag alone. An ETag does not identify an object: equal contents
//! share one, every empty object does. So a row is carried over only where exactly one object of all buckets has its
//! ETag, which is known when all listings have been read to their ends, and not before. Of a row that fits several objects
//! nobody can say whose accesses it counted: it is left out, and reported. An object without a row stays where it is, until
//! it is used or adopted.
//!
//! Representation: the table is held and the listings stream by, so memory grows with the old table and not with the
//! buckets. An ETag that is an MD5 takes 16 bytes instead of 32, as does the MD5 of one that is made of parts.

use chrono::{DateTime, Utc};
use rustc_hash::FxHashMap;

use super::object::ETag;

/// A row of the old table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldRow {
    pub etag: ETag,
    pub history: History,
}

/// What the old table knows of an object's use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    pub count: u64,
    /// The latest use, if the row says.
    pub latest: Option<DateTime<Utc>>,
}

/// What an object of a listing is to the old table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// No row has its ETag.
    Unknown,
    /// The first object with the ETag of a row.
    First,
    /// Not the first: the row is nobody's.
    Again,
}

/// What has become of a row once every object was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    NotFound,
    /// Exactly one object has its ETag.
    Unique,
    Ambiguous {
        objects: u32,
    },
}

/// An old table, matched with the objects of the buckets.
#[derive(Debug, Default)]
pub struct Matcher {
    rows: FxHashMap<Tag, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    history: History,
    objects: u32,
}

/// An ETag in as few bytes as it can be written back from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Tag {
    Md5([u8; 16]),
    /// An MD5 and the number of parts: `…-7`.
    Parts([u8; 16], u32),
    Other(Box<str>),
}

impl Matcher {
    /// Takes a row. Two that write one ETag differently, with quotes and without, are one.
    pub fn add(&mut self, row: &OldRow) {
        let entry = Entry { history: row.history, objects: 0 };
        self.rows
            .entry(Tag::of(&row.etag))
            .and_modify(|there| {
                there.history.count = there.history.count.saturating_add(row.history.count);
                there.history.latest = there.history.latest.max(row.history.latest);
            })
            .or_insert(entry);
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes note of an object with this ETag.
    pub fn meet(&mut self, etag: &ETag) -> Met {
        match self.rows.get_mut(&Tag::of(etag)) {
            None => Met::Unknown,
            Some(entry) => {
                entry.objects = entry.objects.saturating_add(1);
                if entry.objects == 1 { Met::First } else { Met::Again }
            }
        }
    }

    /// The row of an ETag, and what has become of it. Says something only when every object was met.
    pub fn fate(&self, etag: &ETag) -> Option<(History, Fate)> {
        self.rows.get(&Tag::of(etag)).map(|entry| (entry.history, entry.fate()))
    }

    /// The rows whose ETag no object has, in no order.
    pub fn not_found(&self) -> impl Iterator<Item = OldRow> {
        let missing = self.rows.iter().filter(|(_, entry)| entry.objects == 0);
        missing.map(|(tag, entry)| OldRow { etag: tag.to_etag(), history: entry.history })
    }
}

impl Entry {
    fn fate(&self) -> Fate {
        match self.objects {
            0 => Fate::NotFound,
            1 => Fate::Unique,
            objects => Fate::Ambiguous { objects },
        }
    }
}

impl Tag {
    fn of(etag: &ETag) -> Self {
        let text = etag.as_str();
        let other = || Self::Other(text.into());
        match text.split_once('-') {
            None => md5(text).map_or_else(other, Self::Md5),
            Some((hash, parts)) => match (md5(hash), parts.parse::<u32>()) {
                // Only what is written back as it was.
                (Some(hash), Ok(number)) if number.to_string() == parts => Self::Parts(hash, number),
                _ => other(),
            },
        }
    }

    fn to_etag(&self) -> ETag {
        let text = match self {
            Self::Md5(hash) => format!("{:032x}", u128::from_be_bytes(*hash)),
            Self::Parts(hash, parts) => format!("{:032x}-{parts}", u128::from_be_bytes(*hash)),
            Self::Other(text) => text.to_string(),
        };
        ETag::new(text).expect("it was an ETag before")
    }
}

/// 32 hexadecimal digits, in lower case as S3 writes them.
fn md5(text: &str) -> Option<[u8; 16]> {
    let is_one = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_one.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "d41d8cd98f00b204e9800998ecf8427e";

    fn etag(text: &str) -> ETag {
        ETag::new(text).unwrap()
    }

    fn row(tag: &str, count: u64, latest: Option<i64>) -> OldRow {
        let latest = latest.map(|seconds| DateTime::from_timestamp(seconds, 0).unwrap());
        OldRow { etag: etag(tag), history: History { count, latest } }
    }

    #[test]
    fn a_row_is_of_the_one_object_that_has_its_etag_or_of_nobody() {
        let mut matcher = Matcher::default();
        for (tag, count) in [("one", 1), ("none", 2), (EMPTY, 3)] {
            matcher.add(&row(tag, count, Some(9)));
        }
        assert_eq!(matcher.meet(&etag("stranger")), Met::Unknown);
        assert_eq!(matcher.meet(&etag("one")), Met::First);
        assert_eq!(matcher.meet(&etag(EMPTY)), Met::First);
        assert_eq!(matcher.meet(&etag(EMPTY)), Met::Again);
        assert_eq!(matcher.meet(&etag(EMPTY)), Met::Again);
        let fate = |tag: &str| matcher.fate(&etag(tag)).map(|(history, fate)| (history.count, fate));
        assert_eq!(fate("one"), Some((1, Fate::Unique)));
        assert_eq!(fate("none"), Some((2, Fate::NotFound)));
        assert_eq!(fate(EMPTY), Some((3, Fate::Ambiguous { objects: 3 })));
        assert_eq!(fate("stranger"), None);
        assert_eq!(matcher.not_found().collect::<Vec<_>>(), [row("none", 2, Some(9))]);
    }

    #[test]
    fn two_spellings_of_one_etag_are_one_row() {
        let mut matcher = Matcher::default();
        matcher.add(&row("\"abc\"", 2, None));
        matcher.add(&row("abc", 3, Some(5)));
        matcher.add(&row("abc", 1, Some(4)));
        assert_eq!(matcher.len(), 1);
        assert_eq!(matcher.not_found().collect::<Vec<_>>(), [row("abc", 6, Some(5))]);
    }

    #[test]
    fn a_million_rows_of_md5s_take_less_than_128_mib() {
        // What a map of this size allocates: a power of two of buckets, at most seven eighths full, and a byte a bucket.
        let buckets = (1_000_000_usize * 8 / 7).next_power_of_two();
        let bytes = buckets * (size_of::<(Tag, Entry)>() + 1);
        assert!(bytes < 128 << 20, "{bytes}");
    }

    proptest! {
        #[test]
        fn every_etag_comes_back_as_it_was(
            text in "([0-9a-f]{32}|[0-9a-f]{32}-[0-9]{1,11}|[0-9a-fA-F]{32}|[0-9a-f-]{1,40}|[!#-~]{1,40})",
        ) {
            let etag = etag(&text);
            prop_assert_eq!(Tag::of(&etag).to_etag(), etag);
        }
    }
}
