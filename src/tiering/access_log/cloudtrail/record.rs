//! One record, as far as it matters whether it counts.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, NaiveDate, Utc};
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
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Whatever is there, read as what it should be if it is that. None is what is not there at all; of what is there twice,
/// the first.
macro_rules! lenient {
    ($($name:ident { $($field:ident: $type:ty = $key:literal),* $(,)? })*) => {$(
        #[derive(Debug, Default)]
        pub(super) struct $name<'a> { $($field: Option<$type>,)* lifetime: PhantomData<&'a ()> }

        impl<'de> Members<'de> for $name<'de> {
            fn member<A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
                match &*key {
                    $($key => {
                        let value = map.next_value()?;
                        self.$field.get_or_insert(value);
                    })*
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
    AdditionalEventData {
        bytes_in: Scalar<'a> = "bytesTransferredIn",
        bytes_out: Scalar<'a> = "bytesTransferredOut",
    }
}

#[derive(Debug, Default)]
pub(super) struct RequestParameters<'a> {
    bucket: Option<Scalar<'a>>,
    key: Option<Scalar<'a>>,
    /// All that are there, and whether they are more than null.
    names: Vec<(Cow<'a, str>, bool)>,
}

impl<'de> Members<'de> for RequestParameters<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
        let value: Scalar<'de> = map.next_value()?;
        self.name(key.clone(), !matches!(value, Scalar::Absent));
        match &*key {
            "bucketName" => _ = self.bucket.get_or_insert(value),
            "key" => _ = self.key.get_or_insert(value),
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
        let (Some(event), Some(request)) = (text(&self.event_name), &self.request) else { return Ok(()) };
        let Some(rule) = rules.rule_for(event, |name| request.carries(name)) else { return Ok(()) };
        if self.has_failed() || self.is_of_another_service() || !request.may_count(rules) || self.is_excluded(rules) {
            return Ok(());
        }
        let (Some(bucket), Some(key)) = (text(&request.bucket), &request.key) else { return Ok(()) };
        let key = key.text().ok_or_else(|| unreadable("requestParameters.key"))?;
        let time = match &self.event_time {
            None | Some(Scalar::Absent) => return Err(Reason::Missing("eventTime")),
            Some(time) => time.text().ok_or_else(|| unreadable("eventTime"))?,
        };
        let id = [text(&self.shared_event_id), text(&self.event_id)].into_iter().flatten().find(|id| !id.is_empty());
        let bytes_sent = self.bytes_sent().unwrap_or(0.0);
        let object_bytes = self.bytes_received().filter(|_| event == WRITE);
        Counting { rule, bucket, key: Cow::Borrowed(key), time, id, bytes_sent, object_bytes }.add(accesses)
    }

    fn has_failed(&self) -> bool {
        !matches!(self.error_code, None | Some(Scalar::Absent))
    }

    /// MediaStore, Outposts and object lambdas have events of the same names for things that are no objects of buckets.
    fn is_of_another_service(&self) -> bool {
        text(&self.event_source).is_some_and(|source| source != "s3.amazonaws.com")
    }

    fn is_excluded(&self, rules: &CountingRules) -> bool {
        let Some(caller) = &self.user_identity else { return false };
        let issuer = caller.session_context.as_ref().and_then(|context| context.session_issuer.as_ref());
        [text(&caller.arn), issuer.and_then(|issuer| text(&issuer.arn))]
            .into_iter()
            .flatten()
            .any(|arn| rules.excludes(arn))
    }

    fn bytes_sent(&self) -> Option<f64> {
        number(self.additional.as_ref()?.bytes_out.as_ref()?)
    }

    fn bytes_received(&self) -> Option<f64> {
        number(self.additional.as_ref()?.bytes_in.as_ref()?)
    }
}

/// The event whose request carries the object, whole: what a copy or the end of an upload in parts carries is not the object.
pub(super) const WRITE: &str = "PutObject";

/// What is kept of a record that counts.
#[derive(Debug)]
pub(super) struct Counting<'a> {
    pub(super) rule: usize,
    pub(super) bucket: &'a str,
    pub(super) key: Cow<'a, str>,
    pub(super) time: &'a str,
    pub(super) id: Option<&'a str>,
    pub(super) bytes_sent: f64,
    /// Of a [`WRITE`], where it is said.
    pub(super) object_bytes: Option<f64>,
}

impl Counting<'_> {
    /// Adds it to `accesses`. Fails if its time is none, or its names can be no object's.
    pub(super) fn add(&self, accesses: &mut FileAccesses) -> Result<(), Reason> {
        let time = whole_seconds(self.time)
            .or_else(|| {
                let time = DateTime::parse_from_rfc3339(self.time).ok()?;
                DateTime::from_timestamp(time.timestamp(), 0)
            })
            .ok_or_else(|| Reason::field("eventTime", self.time))?;
        // CloudTrail writes whole numbers as floats; what is negative or too large becomes the nearest that fits.
        let bytes_sent = self.bytes_sent as u64;
        let object_bytes = self.object_bytes.map(|bytes| bytes as u64);
        accesses.push(self.bucket, &self.key, time, self.id.map(EventIdentity::of_event_id), bytes_sent, self.rule)?;
        accesses.note_object_bytes(object_bytes);
        Ok(())
    }
}

impl<'a> RequestParameters<'a> {
    /// Adds a parameter by its name, unless that is there already.
    fn name(&mut self, name: Cow<'a, str>, is_there: bool) {
        if !self.names.iter().any(|(carried, _)| *carried == name) {
            self.names.push((name, is_there));
        }
    }

    fn carries(&self, name: &str) -> bool {
        self.names.iter().any(|(carried, is_there)| carried == name && *is_there)
    }

    /// Whether the request is about an object, of a bucket that is counted. The key may still be none.
    fn may_count(&self, rules: &CountingRules) -> bool {
        text(&self.bucket).is_some_and(|bucket| bucket.starts_with(&rules.bucket_prefix))
            && match &self.key {
                None | Some(Scalar::Absent) => false,
                Some(key) => key.text() != Some(""),
            }
    }
}

fn number(scalar: &Scalar<'_>) -> Option<f64> {
    match scalar {
        Scalar::Number(number) => Some(*number),
        _ => None,
    }
}

fn text<'s>(scalar: &'s Option<Scalar<'_>>) -> Option<&'s str> {
    scalar.as_ref().and_then(Scalar::text)
}

/// `2024-03-31T23:59:59Z`, which is how CloudTrail writes a time, and nothing else.
fn whole_seconds(text: &str) -> Option<DateTime<Utc>> {
    let text: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let punctuation = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')];
    if punctuation.iter().any(|(at, mark)| text[*at] != *mark) {
        return None;
    }
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_u32, |n, digit| digit.is_ascii_digit().then(|| n * 10 + u32::from(digit - b'0')))
    };
    let date =
        NaiveDate::from_ymd_opt(number(&text[..4])?.try_into().ok()?, number(&text[5..7])?, number(&text[8..10])?)?;
    Some(date.and_hms_opt(number(&text[11..13])?, number(&text[14..16])?, number(&text[17..19])?)?.and_utc())
}

fn unreadable(field: &'static str) -> Reason {
    Reason::field(field, "neither a string nor null")
}

/// What takes the members of an object one by one; of several of the same name the first holds.
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
