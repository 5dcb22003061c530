//! What an object is called: the types that everything else speaks in.
//!
//! Each type is checked once, where a name enters the program (a log record, a message, a listing, a ledger row, the
//! command line); from then on a value of the type is a valid one and nobody checks again.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a name is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    #[error("a bucket name has 3 to 63 characters (255 for old ones), not {0}")]
    BucketLength(usize),
    #[error("a bucket name is made of letters, digits, `.`, `-` and `_`, and {0:?} is none of them")]
    BucketCharacter(char),
    #[error("an object key has 1 to 1024 bytes of UTF-8, not {0}")]
    KeyLength(usize),
    #[error("an ETag is not empty")]
    EmptyETag,
    #[error("a user id is not empty")]
    EmptyUserId,
    #[error("an object is named as s3://BUCKET/KEY, which {0:?} is not")]
    NotAnObjectUri(String),
    #[error("a bucket is named as s3://BUCKET, which {0:?} is not")]
    NotABucketUri(String),
}

/// The name of an existing bucket.
///
/// Lenient on purpose: buckets made in us-east-1 before 2018 may have 255 characters, upper case and `_`. What a *new*
/// bucket may be called is decided in [`super::bucket_name`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(String);

impl BucketName {
    /// Checks `name`. Fails on what no bucket can ever have been called.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        if !(3..=255).contains(&name.len()) {
            return Err(NameError::BucketLength(name.len()));
        }
        match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))) {
            Some(c) => Err(NameError::BucketCharacter(c)),
            None => Ok(Self(name)),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bucket as the users table names it: `s3://BUCKET`.
    pub fn to_uri(&self) -> String {
        format!("s3://{}", self.0)
    }

    /// The inverse of [`BucketName::to_uri`]; a slash at the end is forgiven, a key is not.
    pub fn from_uri(uri: &str) -> Result<Self, NameError> {
        let name = uri.strip_prefix("s3://").ok_or_else(|| NameError::NotABucketUri(uri.to_owned()))?;
        Self::new(name.strip_suffix('/').unwrap_or(name))
    }
}

/// The key of an object: 1 to 1024 bytes of UTF-8, as it is, never encoded. Ordered by its bytes, which is the order of
/// S3's listings and of DynamoDB's string range keys alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Checks `key`.
    pub fn new(key: impl Into<String>) -> Result<Self, NameError> {
        let key = key.into();
        match key.len() {
            1..=1024 => Ok(Self(key)),
            n => Err(NameError::KeyLength(n)),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An entity tag without its quotes. Opaque: it is an MD5 only sometimes, and never identifies an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ETag(String);

impl ETag {
    /// Takes a tag with or without its quotes.
    pub fn new(tag: impl AsRef<str>) -> Result<Self, NameError> {
        let tag = tag.as_ref().trim_matches('"');
        if tag.is_empty() { Err(NameError::EmptyETag) } else { Ok(Self(tag.to_owned())) }
    }

    /// Without quotes, as the ledger stores it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// With quotes, as HTTP conditions want it (RFC 9110, 8.8.3).
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

/// The key of a row of the users table: any string that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    /// Checks `id`.
    pub fn new(id: impl Into<String>) -> Result<Self, NameError> {
        let id = id.into();
        if id.is_empty() { Err(NameError::EmptyUserId) } else { Ok(Self(id)) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An object's identity: bucket and key. Never its ETag: equal contents share one, and an in-place copy may change it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectId {
    pub bucket: BucketName,
    pub key: ObjectKey,
}

impl ObjectId {
    pub fn new(bucket: BucketName, key: ObjectKey) -> Self {
        Self { bucket, key }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

impl FromStr for ObjectId {
    type Err = NameError;

    /// Reads `s3://BUCKET/KEY`; the key is taken as it stands, undecoded.
    fn from_str(uri: &str) -> Result<Self, NameError> {
        let (bucket, key) = uri
            .strip_prefix("s3://")
            .and_then(|rest| rest.split_once('/'))
            .filter(|(_, key)| !key.is_empty())
            .ok_or_else(|| NameError::NotAnObjectUri(uri.to_owned()))?;
        Ok(Self { bucket: BucketName::new(bucket)?, key: ObjectKey::new(key)? })
    }
}

macro_rules! string_type {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                Self::new(value)
            }
        }
    )*};
}
string_type!(BucketName, ObjectKey, ETag, UserId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_uri_reads_back_as_it_was_written() {
        for key in ["a", "a/b", "사진/가 나+다%20.jpg", "/leading", "trailing/", "a//b", "?x=1#y"] {
            let id = ObjectId::new(BucketName::new("some-bucket").unwrap(), ObjectKey::new(key).unwrap());
            assert_eq!(id.to_string().parse::<ObjectId>(), Ok(id));
        }
    }

    #[test]
    fn what_is_no_object_uri_is_refused() {
        for uri in [
            "",
            "s3://",
            "s3://bucket",
            "s3://bucket/",
            "http://bucket/key",
            "bucket/key",
            "s3:///key",
            "s3://a b c/key",
        ] {
            assert!(uri.parse::<ObjectId>().is_err(), "{uri}");
        }
    }

    #[test]
    fn keys_sort_by_their_bytes_and_not_by_utf16_units() {
        let private_use = ObjectKey::new("\u{ff5e}").unwrap();
        let astral = ObjectKey::new("\u{10000}").unwrap();
        assert!(private_use < astral);
    }

    #[test]
    fn an_etag_is_kept_without_quotes_and_sent_with_them() {
        let tag = ETag::new("\"d41d8cd98f00b204e9800998ecf8427e-3\"").unwrap();
        assert_eq!(tag.as_str(), "d41d8cd98f00b204e9800998ecf8427e-3");
        assert_eq!(tag.quoted(), "\"d41d8cd98f00b204e9800998ecf8427e-3\"");
        assert_eq!(ETag::new("\"\""), Err(NameError::EmptyETag));
    }

    #[test]
    fn a_bucket_uri_reads_back_as_it_was_written() {
        let bucket = BucketName::new("siuu42-1700000000").unwrap();
        assert_eq!(BucketName::from_uri(&bucket.to_uri()), Ok(bucket.clone()));
        assert_eq!(BucketName::from_uri("s3://siuu42-1700000000/"), Ok(bucket));
        assert!(BucketName::from_uri("s3://bucket/key").is_err());
    }
}
