//! One record, as far as it matters whether it counts.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Reason;
use crate::tiering::access::{CountingRules, EventIdentity, FileAccesses};

/// A value that should be a string or a number.
#[derive(Debug, Default)]
pub(super) enum Scalar<'a> {
    /// Not there, or null.
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Number(f64),
    /// There, and nothing that one could read.
    Other,
}

impl Scalar<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Whatever is there, read as what it should be if it is that.
macro_rules! lenient {
    ($($name:ident { $($field:ident: $type:ty = $key:literal),* $(,)? })*) => {$(
        #[derive(Debug, Default)]
        pub(super) struct $name<'a> { $($field: $type,)* lifetime: PhantomData<&'a ()> }

        impl<'de> Members<'de> for $name<'de> {
            fn member<A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
                match &*key {
                    $($key => self.$field = map.next_value()?,)*
                    _ => { map.next_value::<IgnoredAny>()?; }
                }
                Ok(())
            }
        }

        impl<'de> Deserialize<'de> for $name<'de> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Lenient(PhantomData))
            }
        }
    )*};
}

lenient! {
    Record {
        event_time: Scalar<'a> = "eventTime",
        event_source: Scalar<'a> = "eventSource",
        event_name: Scalar<'a> = "eventName",
        error_code: Scalar<'a> = "errorCode",
        event_id: Scalar<'a> = "eventID",
        shared_event_id: Scalar<'a> = "sharedEventID",
        user_identity: UserIdentity<'a> = "userIdentity",
        request: RequestParameters<'a> = "requestParameters",
        additional: AdditionalEventData<'a> = "additionalEventData",
    }
    UserIdentity { arn: Scalar<'a> = "arn", session_context: SessionContext<'a> = "sessionContext" }
    SessionContext { session_issuer: SessionIssuer<'a> = "sessionIssuer" }
    SessionIssuer { arn: Scalar<'a> = "arn" }
    AdditionalEventData { bytes_out: Scalar<'a> = "bytesTransferredOut" }
}

#[derive(Debug, Default)]
pub(super) struct RequestParameters<'a> {
    bucket: Scalar<'a>,
    key: Scalar<'a>,
    /// All that are there and not null.
    names: Vec<Cow<'a, str>>,
}

impl<'de> Members<'de> for RequestParameters<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
        let value: Scalar<'de> = map.next_value()?;
        match (&value, self.names.iter().position(|name| *name == key)) {
            (Scalar::Absent, Some(place)) => {
                self.names.swap_remove(place);
            }
            (Scalar::Absent, None) | (_, Some(_)) => {}
            (_, None) => self.names.push(key.clone()),
        }
        match &*key {
            "bucketName" => self.bucket = value,
            "key" => self.key = value,
            _ => {}
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for RequestParameters<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lenient(PhantomData))
    }
}

impl Record<'_> {
    /// Adds the record to `accesses` if it counts. Fails if it would, but cannot be understood.
    pub(super) fn count(&self, rules: &CountingRules, accesses: &mut FileAccesses) -> Result<(), Reason> {
        let Some(event) = self.event_name.text() else { return Ok(()) };
        let Some(rule) = rules.rule_for(event, |name| self.request.carries(name)) else { return Ok(()) };
        if !matches!(self.error_code, Scalar::Absent) || self.is_of_another_service() {
            return Ok(());
        }
        let Some(bucket) = self.request.bucket.text() else { return Ok(()) };
        if !bucket.starts_with(&rules.bucket_prefix) || self.is_excluded(rules) {
            return Ok(());
        }
        let key = match &self.request.key {
            Scalar::Absent => return Ok(()),
            key => key.text().ok_or_else(|| unreadable("requestParameters.key"))?,
        };
        if key.is_empty() {
            return Ok(());
        }
        let time = self.time()?;
        accesses.push(bucket, key, time, self.identity(), self.bytes_sent(), rule)?;
        Ok(())
    }

    /// MediaStore, Outposts and object lambdas have events of the same names for things that are no objects of buckets.
    fn is_of_another_service(&self) -> bool {
        self.event_source.text().is_some_and(|source| source != "s3.amazonaws.com")
    }

    fn is_excluded(&self, rules: &CountingRules) -> bool {
        let caller = &self.user_identity;
        [&caller.arn, &caller.session_context.session_issuer.arn]
            .into_iter()
            .filter_map(Scalar::text)
            .any(|arn| rules.excludes(arn))
    }

    fn time(&self) -> Result<DateTime<Utc>, Reason> {
        match &self.event_time {
            Scalar::Absent => Err(Reason::Missing("eventTime")),
            Scalar::Text(text) => DateTime::parse_from_rfc3339(text)
                .ok()
                .and_then(|time| DateTime::from_timestamp(time.timestamp(), 0))
                .ok_or_else(|| Reason::field("eventTime", text)),
            _ => Err(unreadable("eventTime")),
        }
    }

    fn identity(&self) -> Option<EventIdentity> {
        let id = |scalar: &Scalar<'_>| scalar.text().filter(|id| !id.is_empty()).map(EventIdentity::of_event_id);
        id(&self.shared_event_id).or_else(|| id(&self.event_id))
    }

    fn bytes_sent(&self) -> u64 {
        match self.additional.bytes_out {
            // CloudTrail writes whole numbers as floats; what is negative or too large becomes the nearest that fits.
            Scalar::Number(bytes) => bytes as u64,
            _ => 0,
        }
    }
}

impl RequestParameters<'_> {
    fn carries(&self, name: &str) -> bool {
        self.names.iter().any(|carried| carried == name)
    }
}

fn unreadable(field: &'static str) -> Reason {
    Reason::field(field, "neither a string nor null")
}

/// What takes the members of an object one by one; a later member of the same name takes the place of the earlier.
trait Members<'de>: Default {
    fn member<A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error>;
}

/// Reads an object by its members, and makes the default of everything else.
struct Lenient<T>(PhantomData<T>);

impl<'de, T: Members<'de>> Visitor<'de> for Lenient<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut members = T::default();
        while let Some(Name(key)) = map.next_key()? {
            members.member(key, &mut map)?;
        }
        Ok(members)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(T::default())
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<T, E> {
        Ok(T::default())
    }
}

/// The name of a member, borrowed from the text where it can be.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar::Text(name) => Ok(Self(name)),
            _ => Ok(Self(Cow::Borrowed(""))),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}
