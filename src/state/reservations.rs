//! Reservations: which name a user's bucket is about to have.
//!
//! A bucket is made in several steps, by whoever comes first: the reader of the stream, a sweep, a second daemon. The
//! reservation is what they agree by: the first one to write it chooses the name, all others use it. It is written before
//! the bucket is made and deleted after the URI stands in the user's row.
//!
//! Orphans stand beside them: buckets that were made for a user who was gone when they were ready. They are reported and
//! remembered, never deleted.

use anyhow::Context;
use chrono::{DateTime, Utc};

use super::item::{Item, n, s};
use super::{State, Written};
use crate::aws::AwsResult;
use crate::tiering::object::{BucketName, UserId};

const PK: &str = "reservation";
const ORPHANS: &str = "orphan";

/// Whether anybody had a bucket of a name before it was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameBefore {
    /// Nobody: a bucket of that name without an owner's tag was made by us, who stopped before the tag.
    Free,
    /// Somebody, or it could not be seen: only the owner's tag makes the bucket ours.
    Used,
}

/// A name set aside for a user's bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub user: UserId,
    pub bucket: BucketName,
    /// How many names before this one turned out to be somebody else's.
    pub attempt: u32,
    /// From which the name is made; the next attempt's too.
    pub created: DateTime<Utc>,
    pub before: NameBefore,
}

/// A bucket that was made for a user and is not theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    pub bucket: BucketName,
    pub user: UserId,
    pub reason: String,
    pub at: DateTime<Utc>,
}

impl State {
    /// The name that is set aside for a user.
    pub async fn reservation(&self, user: &UserId) -> anyhow::Result<Option<Reservation>> {
        let Some(item) = self.get(PK, &sk(user)).await? else { return Ok(None) };
        parse(&item).map(Some).with_context(|| format!("reading the reservation of user {:?}", user.as_str()))
    }

    /// All reservations: users whose buckets are being made, or whose making was cut off.
    pub async fn reservations(&self) -> anyhow::Result<Vec<Reservation>> {
        let items = self.query(PK, "").await?;
        items.iter().map(parse).collect::<anyhow::Result<_>>().context("reading the reservations")
    }

    /// Sets a name aside. [`Written::Refused`]: the user has a reservation, which is the one to use.
    pub async fn reserve(&self, reservation: &Reservation) -> AwsResult<Written> {
        let item = Item::new()
            .with_str("user", reservation.user.as_str())
            .with_str("bucket", reservation.bucket.as_str())
            .with_num("attempt", u64::from(reservation.attempt))
            .with_time("created", reservation.created)
            .with_str("before", before_str(reservation.before));
        self.put_new(PK, &sk(&reservation.user), item).await
    }

    /// Replaces a name that is somebody else's by the next one. [`Written::Refused`]: another process was faster; read
    /// what it chose.
    pub async fn reserve_instead(&self, of: &BucketName, next: &Reservation) -> AwsResult<Written> {
        let update = self
            .update(PK, &sk(&next.user))
            .update_expression("SET #bucket = :next, attempt = :attempt, #before = :before")
            .condition_expression("#bucket = :of")
            .expression_attribute_names("#bucket", "bucket")
            .expression_attribute_names("#before", "before")
            .expression_attribute_values(":of", s(of.as_str()))
            .expression_attribute_values(":next", s(next.bucket.as_str()))
            .expression_attribute_values(":attempt", n(u64::from(next.attempt)))
            .expression_attribute_values(":before", s(before_str(next.before)));
        self.send_update("reservation", update).await
    }

    /// Gives a name back: the URI stands, or there is nobody to have it.
    pub async fn release_reservation(&self, user: &UserId) -> AwsResult<()> {
        self.delete(PK, &sk(user)).await
    }

    /// Remembers a bucket that nobody has.
    pub async fn record_orphan(&self, orphan: &Orphan) -> AwsResult<()> {
        let item = Item::new()
            .with_str("bucket", orphan.bucket.as_str())
            .with_str("user", orphan.user.as_str())
            .with_str("reason", &orphan.reason)
            .with_time("at", orphan.at);
        self.put(ORPHANS, orphan.bucket.as_str(), item).await
    }

    /// Forgets an orphan: its user came back to it.
    pub async fn release_orphan(&self, bucket: &BucketName) -> AwsResult<()> {
        self.delete(ORPHANS, bucket.as_str()).await
    }

    /// The buckets that nobody has.
    pub async fn orphans(&self) -> anyhow::Result<Vec<Orphan>> {
        let items = self.query(ORPHANS, "").await?;
        let orphan = |item: &Item| -> anyhow::Result<Orphan> {
            Ok(Orphan {
                bucket: BucketName::new(item.str("bucket")?)?,
                user: UserId::new(item.str("user")?)?,
                reason: item.str("reason")?.to_owned(),
                at: item.time("at")?,
            })
        };
        items.iter().map(orphan).collect::<anyhow::Result<_>>().context("reading the orphaned buckets")
    }
}

fn parse(item: &Item) -> anyhow::Result<Reservation> {
    Ok(Reservation {
        user: UserId::new(item.str("user")?)?,
        bucket: BucketName::new(item.str("bucket")?)?,
        attempt: u32::try_from(item.num("attempt")?)?,
        created: item.time("created")?,
        before: if item.str("before")? == before_str(NameBefore::Free) { NameBefore::Free } else { NameBefore::Used },
    })
}

fn before_str(before: NameBefore) -> &'static str {
    match before {
        NameBefore::Free => "free",
        NameBefore::Used => "used",
    }
}

fn sk(user: &UserId) -> String {
    super::fit_sort_key(user.as_str())
}
