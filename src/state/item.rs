//! A DynamoDB item with typed access, so that every module of the state and of the ledger reads and writes attributes
//! the same way and a damaged item says which attribute is wrong.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use thiserror::Error;

use crate::clock::rfc3339;

/// An attribute that is missing or of another type than tierd writes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("attribute `{attribute}` is not {expected}")]
pub struct ItemError {
    pub attribute: String,
    pub expected: &'static str,
}

/// The attributes of one item.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Item(HashMap<String, AttributeValue>);

impl Item {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with_str(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.insert(name.to_owned(), AttributeValue::S(value.into()));
        self
    }

    #[must_use]
    pub fn with_num(mut self, name: &str, value: u64) -> Self {
        self.0.insert(name.to_owned(), AttributeValue::N(value.to_string()));
        self
    }

    /// RFC 3339, UTC, whole seconds.
    #[must_use]
    pub fn with_time(self, name: &str, value: DateTime<Utc>) -> Self {
        self.with_str(name, rfc3339(value))
    }

    /// When DynamoDB may delete the item: seconds since 1970, in `ttl`.
    #[must_use]
    pub fn with_ttl(mut self, at: DateTime<Utc>) -> Self {
        self.0.insert("ttl".to_owned(), AttributeValue::N(at.timestamp().to_string()));
        self
    }

    pub fn opt_str(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|v| v.as_s().ok()).map(String::as_str)
    }

    pub fn str(&self, name: &str) -> Result<&str, ItemError> {
        self.opt_str(name).ok_or_else(|| wrong(name, "a string"))
    }

    /// The string, out of the item.
    pub fn take_str(&mut self, name: &str) -> Result<String, ItemError> {
        match self.0.remove(name) {
            Some(AttributeValue::S(text)) => Ok(text),
            _ => Err(wrong(name, "a string")),
        }
    }

    pub fn opt_num(&self, name: &str) -> Result<Option<u64>, ItemError> {
        match self.0.get(name) {
            None | Some(AttributeValue::Null(_)) => Ok(None),
            // Other writers (the table that this one replaces among them) may store whole numbers as `3.0`.
            Some(AttributeValue::N(n)) => n
                .parse::<u64>()
                .ok()
                .or_else(|| {
                    n.parse::<f64>().ok().filter(|f| f.fract() == 0.0 && (0.0..=1e15).contains(f)).map(|f| f as u64)
                })
                .map(Some)
                .ok_or_else(|| wrong(name, "a whole number, not negative")),
            Some(_) => Err(wrong(name, "a number")),
        }
    }

    pub fn num(&self, name: &str) -> Result<u64, ItemError> {
        self.opt_num(name)?.ok_or_else(|| wrong(name, "a number"))
    }

    pub fn opt_time(&self, name: &str) -> Result<Option<DateTime<Utc>>, ItemError> {
        match self.opt_str(name) {
            None if self.0.get(name).is_some_and(|value| !value.is_null()) => Err(wrong(name, "an RFC 3339 time")),
            None => Ok(None),
            Some(text) => DateTime::parse_from_rfc3339(text)
                .map(|t| Some(t.with_timezone(&Utc)))
                .map_err(|_| wrong(name, "an RFC 3339 time")),
        }
    }

    pub fn time(&self, name: &str) -> Result<DateTime<Utc>, ItemError> {
        self.opt_time(name)?.ok_or_else(|| wrong(name, "an RFC 3339 time"))
    }

    pub fn get(&self, name: &str) -> Option<&AttributeValue> {
        self.0.get(name)
    }

    pub fn into_map(self) -> HashMap<String, AttributeValue> {
        self.0
    }
}

impl From<HashMap<String, AttributeValue>> for Item {
    fn from(map: HashMap<String, AttributeValue>) -> Self {
        Self(map)
    }
}

fn wrong(attribute: &str, expected: &'static str) -> ItemError {
    ItemError { attribute: attribute.to_owned(), expected }
}

/// A string attribute.
pub fn s(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
pub fn n(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A time attribute: RFC 3339, UTC, whole seconds.
pub fn t(value: DateTime<Utc>) -> AttributeValue {
    AttributeValue::S(rfc3339(value))
}
