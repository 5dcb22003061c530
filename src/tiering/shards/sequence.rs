//! The names that a stream gives to its shards and records.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What is neither a shard id nor a sequence number.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StreamNameError {
    #[error("a sequence number has 1 to 40 decimal digits, which {0:?} has not")]
    NotASequenceNumber(String),
    #[error("a shard id is not empty")]
    EmptyShardId,
}

/// The place of a record in its shard: a decimal number of up to 40 digits, so larger than a `u128` can be. Compared as a
/// number and not as text (9 comes before 10, 007 equals 7), but kept as it came, because it is sent back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SequenceNumber(String);

impl SequenceNumber {
    /// Checks `digits`.
    pub fn new(digits: impl Into<String>) -> Result<Self, StreamNameError> {
        let digits = digits.into();
        if (1..=40).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(digits))
        } else {
            Err(StreamNameError::NotASequenceNumber(digits))
        }
    }

    /// As it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn significant(&self) -> &str {
        self.0.trim_start_matches('0')
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.significant(), other.significant());
        a.len().cmp(&b.len()).then_with(|| a.cmp(b))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SequenceNumber {
    fn eq(&self, other: &Self) -> bool {
        self.significant() == other.significant()
    }
}

impl Eq for SequenceNumber {}

impl Hash for SequenceNumber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.significant().hash(state);
    }
}

/// The id of a shard, `shardId-…`; unique within its stream and otherwise opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShardId(String);

impl ShardId {
    /// Checks `id`.
    pub fn new(id: impl Into<String>) -> Result<Self, StreamNameError> {
        let id = id.into();
        if id.is_empty() { Err(StreamNameError::EmptyShardId) } else { Ok(Self(id)) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! string_type {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = StreamNameError;
            fn try_from(value: String) -> Result<Self, StreamNameError> {
                Self::new(value)
            }
        }
    )*};
}
string_type!(SequenceNumber, ShardId);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_sequence_number_is_refused() {
        for bad in ["", "-1", "+1", "1.0", "0x1", "１", &"1".repeat(41)] {
            assert!(SequenceNumber::new(bad).is_err(), "{bad}");
        }
        let longest = "9".repeat(40);
        assert_eq!(SequenceNumber::new(longest.clone()).unwrap().as_str(), longest);
    }

    proptest! {
        #[test]
        fn sequence_numbers_compare_as_numbers(a: u128, b: u128, shift in 0u32..127, zeros in 0usize..2) {
            let (a, b) = (a >> shift, b);
            let number = |n: u128, zeros: usize| SequenceNumber::new(format!("{}{n}", "0".repeat(zeros))).unwrap();
            prop_assert_eq!(number(a, zeros).cmp(&number(b, 0)), a.cmp(&b));
            prop_assert_eq!(number(a, zeros), number(a, 0));
        }
    }
}
