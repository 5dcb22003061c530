//! One user's bucket, from the row to the URI: a chain of effects that may be cut off anywhere and run again.
//!
//! | effect | what its place protects |
//! |---|---|
//! | 1. read the row | a user who is gone, or has a bucket, costs nothing more |
//! | 2. reserve the name | all who provision this user, now or after a crash, choose the same name |
//! | 3. read the row again | a reservation may have been given back between 1 and 2, and with it the URI written |
//! | 4. make the bucket | |
//! | 5. tag it with its owner | from here on it is this user's beyond doubt |
//! | 6. its other settings | a user who sees the URI finds a bucket that is ready |
//! | 7. write the URI, if the row is there and has none | a deleted row is not brought back, a URI never replaced |
//! | 8. give the reservation back | only when nobody needs it to find the bucket |
//!
//! A crash between 4 and 5 leaves a bucket without a tag. It is ours if the name was free when it was reserved; that is why
//! the reservation says so. A bucket of that name that stood there before is ours only if its tag says so, and otherwise
//! the next name is tried.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use thiserror::Error;

use super::owner::{Owner, owner};
use super::settings::{BucketSettings, Mending, Starting};
use crate::aws::{AwsError, Kind};
use crate::clock;
use crate::metrics::{About, Metrics, Unit};
use crate::s3::S3;
use crate::s3::bucket::{Creation, Sight};
use crate::state::reservations::{NameBefore, Orphan, Reservation};
use crate::state::{State, Written};
use crate::tiering::bucket_name::BucketNameTemplate;
use crate::tiering::object::{BucketName, UserId};
use crate::users::{UriWrite, Users};

/// So many names in a row that are somebody else's are no coincidence.
const MAX_NAMES: u32 = 20;

/// What makes users' buckets; cheap to clone.
#[derive(Debug, Clone)]
pub struct Saga(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    users: Users,
    s3: S3,
    state: State,
    metrics: Metrics,
    region: String,
    naming: BucketNameTemplate,
    settings: BucketSettings,
}

/// Who asks for a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A record of the stream: the time since it was made is what the user waited.
    Record,
    Sweep,
}

/// How a user was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    Provisioned,
    HadBucket,
    RowGone,
}

/// Why a user could not be served this time.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProvisionError {
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// An item of the state table that tierd did not write so.
    #[error("{0:#}")]
    Damaged(anyhow::Error),
    #[error("{MAX_NAMES} names in a row are somebody else's, the last of them {0}")]
    NoFreeName(BucketName),
}

/// What a failure calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Wait and try again; the user is not at fault.
    Wait,
    /// It would fail for every user alike: the part stops until somebody has mended it.
    StopThePart,
    /// Try a few times more, then set the user aside.
    Count,
}

impl ProvisionError {
    /// What is to be done about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Aws(error) => remedy(error),
            Self::Damaged(error) => error.downcast_ref::<AwsError>().map_or(Remedy::Count, remedy),
            Self::NoFreeName(_) => Remedy::Count,
        }
    }
}

impl ProvisionError {
    /// For those who look for an [`AwsError`] in the chain.
    pub(super) fn into_anyhow(self) -> anyhow::Error {
        match self {
            Self::Aws(error) => error.into(),
            Self::Damaged(error) => error,
            error @ Self::NoFreeName(_) => error.into(),
        }
    }
}

impl From<anyhow::Error> for ProvisionError {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<AwsError>() {
            Ok(error) => Self::Aws(error),
            Err(error) => Self::Damaged(error),
        }
    }
}

fn remedy(error: &AwsError) -> Remedy {
    let for_everybody = error.kind == Kind::Denied
        || [
            "TooManyBuckets",
            "MalformedPolicy",
            "IllegalLocationConstraintException",
            "InvalidLocationConstraint",
            "InvalidLocation",
            // One of DynamoDB's: a table is missing. (A missing bucket has another code.)
            "ResourceNotFoundException",
        ]
        .iter()
        .any(|code| error.is(code))
        // The queue is gone, or does not let S3 send. A configuration that overlaps another's is that bucket's own trouble.
        || error.operation == "PutBucketNotificationConfiguration"
            && error.is("InvalidArgument")
            && error.to_string().contains("destination");
    match error.kind {
        _ if for_everybody => Remedy::StopThePart,
        Kind::Throttled | Kind::Transient | Kind::Unreachable | Kind::Conflict => Remedy::Wait,
        Kind::Denied | Kind::NotFound | Kind::Precondition | Kind::Refused => Remedy::Count,
    }
}

impl Saga {
    pub fn new(
        users: Users,
        s3: S3,
        state: State,
        metrics: Metrics,
        region: impl Into<String>,
        naming: BucketNameTemplate,
        settings: BucketSettings,
    ) -> Self {
        Self(Arc::new(Inner { users, s3, state, metrics, region: region.into(), naming, settings }))
    }

    pub fn users(&self) -> &Users {
        &self.0.users
    }

    pub fn s3(&self) -> &S3 {
        &self.0.s3
    }

    pub fn state(&self) -> &State {
        &self.0.state
    }

    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub fn settings(&self) -> &BucketSettings {
        &self.0.settings
    }

    /// Makes sure that `user` has a bucket, named from `created`. May be cut off anywhere and run again, and run by several
    /// at once.
    pub async fn provision(
        &self,
        user: &UserId,
        created: DateTime<Utc>,
        origin: Origin,
    ) -> Result<Served, ProvisionError> {
        let Inner { users, state, .. } = &*self.0;
        match users.row(user).await? {
            None => {
                tracing::info!(
                    event = "user.gone",
                    user_id = user.as_str(),
                    "the user's row is gone; no bucket is made"
                );
                // An earlier run may have been cut off after it made one.
                if let Some(reservation) = state.reservation(user).await? {
                    self.tidy(&reservation).await?;
                }
                return Ok(Served::RowGone);
            }
            Some(row) if row.uri.is_some() => return Ok(Served::HadBucket),
            Some(_) => {}
        }
        let mut reservation = self.reserve(user, created).await?;
        failpoint!("provision.name-reserved");
        // The one who had a reservation before ours gave it back after writing the URI: whoever reserves sees it now.
        if let Some(settled) = self.tidy(&reservation).await? {
            return Ok(settled);
        }
        let starting = loop {
            match self.make(&reservation).await? {
                Some(starting) => break starting,
                None => reservation = self.next_name(reservation).await?,
            }
        };
        failpoint!("provision.bucket-made");
        let bucket = &reservation.bucket;
        self.0.settings.settle(&self.0.s3, bucket, user, starting, Mending::Mend).await?;
        failpoint!("provision.settings-put");
        let served = self.write_uri(user, bucket, starting).await?;
        failpoint!("provision.uri-written");
        state.release_reservation(user).await?;
        failpoint!("provision.reservation-released");
        if served == Served::Provisioned {
            self.report(user, bucket, created, origin);
        }
        Ok(served)
    }

    /// Gives back a reservation that nobody needs any more: the user has a bucket, or is gone. Reports the reserved bucket,
    /// if it was made and is not the one that the user has. None: the reservation is needed.
    pub async fn tidy(&self, reservation: &Reservation) -> Result<Option<Served>, ProvisionError> {
        let Inner { users, state, .. } = &*self.0;
        let Reservation { user, bucket, .. } = reservation;
        let served = match users.row(user).await? {
            None => {
                if self.was_made(reservation).await? {
                    self.orphan(user, bucket, "the user's row was deleted while the bucket was made").await?;
                }
                Served::RowGone
            }
            Some(row) => match row.uri {
                None => return Ok(None),
                Some(uri) => {
                    if uri != bucket.to_uri() && self.was_made(reservation).await? {
                        self.orphan(user, bucket, &format!("the user has {uri} by now")).await?;
                    }
                    Served::HadBucket
                }
            },
        };
        state.release_reservation(user).await?;
        Ok(Some(served))
    }

    /// Whether the reserved bucket exists and is ours.
    async fn was_made(&self, reservation: &Reservation) -> Result<bool, ProvisionError> {
        let Reservation { bucket, user, before, .. } = reservation;
        if self.0.s3.sight_of(bucket).await? != Sight::Visible {
            return Ok(false);
        }
        let tags = self.0.s3.bucket_tags(bucket).await?;
        Ok(belongs(&tags, user, *before))
    }

    /// The name that this user's bucket is to have.
    async fn reserve(&self, user: &UserId, created: DateTime<Utc>) -> Result<Reservation, ProvisionError> {
        let state = &self.0.state;
        loop {
            let reservation = self.candidate(user, created, 0).await?;
            if state.reserve(&reservation).await? == Written::Yes {
                return Ok(reservation);
            }
            if let Some(standing) = state.reservation(user).await? {
                return Ok(standing);
            }
        }
    }

    async fn candidate(
        &self,
        user: &UserId,
        created: DateTime<Utc>,
        attempt: u32,
    ) -> Result<Reservation, ProvisionError> {
        let bucket = self.0.naming.name_for(user, created, attempt);
        let before = match self.0.s3.sight_of(&bucket).await? {
            Sight::Absent => NameBefore::Free,
            Sight::Visible | Sight::Hidden => NameBefore::Used,
        };
        Ok(Reservation { user: user.clone(), bucket, attempt, created, before })
    }

    /// Makes the bucket, or finds that it was made before. None: it is somebody else's.
    async fn make(&self, reservation: &Reservation) -> Result<Option<Starting>, ProvisionError> {
        let Inner { s3, region, .. } = &*self.0;
        let Reservation { bucket, user, before, .. } = reservation;
        match s3.create_bucket(bucket, region).await? {
            Creation::Made => return Ok(Some(Starting::Bare)),
            Creation::Taken => return Ok(None),
            Creation::Ours => {}
        }
        let tags = match s3.bucket_tags(bucket).await {
            Ok(tags) => tags,
            // This account's, but in another region: from there nobody can use it as one of these.
            Err(error) if error.status == Some(301) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(belongs(&tags, user, *before).then_some(Starting::Unknown))
    }

    /// The reservation of the next name, or the one that somebody else has made meanwhile.
    async fn next_name(&self, taken: Reservation) -> Result<Reservation, ProvisionError> {
        let Reservation { user, bucket, attempt, created, .. } = taken;
        tracing::warn!(
            event = "bucket.name_taken",
            user_id = user.as_str(),
            bucket = bucket.as_str(),
            "the name is somebody else's; the next one is tried"
        );
        if attempt + 1 >= MAX_NAMES {
            return Err(ProvisionError::NoFreeName(bucket));
        }
        let next = self.candidate(&user, created, attempt + 1).await?;
        match self.0.state.reserve_instead(&bucket, &next).await? {
            Written::Yes => Ok(next),
            Written::Refused => self.reserve(&user, created).await,
        }
    }

    async fn write_uri(
        &self,
        user: &UserId,
        bucket: &BucketName,
        starting: Starting,
    ) -> Result<Served, ProvisionError> {
        match self.0.users.write_uri(user, bucket).await? {
            UriWrite::Written => {
                // Only a bucket that stood there can have been reported before.
                if starting == Starting::Unknown {
                    self.0.state.release_orphan(bucket).await?;
                }
                Ok(Served::Provisioned)
            }
            // Another daemon was faster, or our own write was repeated after its answer was lost.
            UriWrite::Standing(uri) if uri == bucket.to_uri() => Ok(Served::HadBucket),
            UriWrite::Standing(uri) => {
                self.orphan(user, bucket, &format!("the user has {uri} by now")).await?;
                Ok(Served::HadBucket)
            }
            UriWrite::RowGone => {
                self.orphan(user, bucket, "the user's row was deleted while the bucket was made").await?;
                Ok(Served::RowGone)
            }
        }
    }

    async fn orphan(&self, user: &UserId, bucket: &BucketName, reason: &str) -> Result<(), ProvisionError> {
        let orphan =
            Orphan { bucket: bucket.clone(), user: user.clone(), reason: reason.to_owned(), at: clock::now_secs() };
        self.0.state.record_orphan(&orphan).await?;
        failpoint!("provision.orphan-recorded");
        tracing::warn!(
            event = "bucket.orphaned",
            user_id = user.as_str(),
            bucket = bucket.as_str(),
            reason,
            "a bucket was made that nobody has; it is kept on record and not deleted"
        );
        Ok(())
    }

    fn report(&self, user: &UserId, bucket: &BucketName, created: DateTime<Utc>, origin: Origin) {
        let provisioned = ("UsersProvisioned", Unit::Count, 1.0);
        let latency = (clock::now() - created).to_std().unwrap_or(Duration::ZERO).as_millis() as u64;
        match origin {
            Origin::Record => {
                tracing::info!(
                    event = "user.provisioned",
                    user_id = user.as_str(),
                    bucket = bucket.as_str(),
                    latency_ms = latency,
                    "the user has a bucket"
                );
                let metrics = [provisioned, ("ProvisionLatency", Unit::Milliseconds, latency as f64)];
                self.0.metrics.emit(About::Service, &metrics);
            }
            Origin::Sweep => {
                tracing::info!(
                    event = "user.provisioned",
                    user_id = user.as_str(),
                    bucket = bucket.as_str(),
                    "the sweep gave a user a bucket"
                );
                self.0.metrics.emit(About::Service, &[provisioned]);
            }
        }
    }
}

/// Whether a bucket of this account, with these tags, under the reserved name, is this user's.
fn belongs(tags: &[(String, String)], user: &UserId, before: NameBefore) -> bool {
    match owner(tags, user) {
        Owner::User => true,
        // We made it, and stopped before the tag.
        Owner::Unsaid => before == NameBefore::Free,
        Owner::Another(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ails_everybody_stops_the_part_and_what_passes_is_waited_for() {
        let error =
            |operation, code: &str, message: &str| AwsError::from_entry(operation, "s3://b", Some(code), message);
        for (error, expected) in [
            (error("CreateBucket", "TooManyBuckets", ""), Remedy::StopThePart),
            (error("CreateBucket", "AccessDenied", ""), Remedy::StopThePart),
            (error("CreateBucket", "ExpiredToken", ""), Remedy::StopThePart),
            (error("UpdateItem", "ResourceNotFoundException", ""), Remedy::StopThePart),
            (
                error(
                    "PutBucketNotificationConfiguration",
                    "InvalidArgument",
                    "Unable to validate the following destination configurations",
                ),
                Remedy::StopThePart,
            ),
            (error("PutBucketNotificationConfiguration", "InvalidArgument", "Configurations overlap."), Remedy::Count),
            (error("CreateBucket", "OperationAborted", ""), Remedy::Wait),
            (error("CreateBucket", "SlowDown", ""), Remedy::Wait),
            (error("PutItem", "ProvisionedThroughputExceededException", ""), Remedy::Wait),
            (error("CreateBucket", "InvalidBucketName", ""), Remedy::Count),
            (error("PutBucketTagging", "NoSuchBucket", ""), Remedy::Count),
        ] {
            assert_eq!(ProvisionError::from(error).remedy(), expected);
        }
    }
}
