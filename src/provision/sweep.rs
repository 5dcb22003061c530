//! The sweep of the users table: what the stream may have missed, and what has drifted since.
//!
//! Every row is looked at once. A user without a URI is served as a record of the stream would be; the reservation sees to
//! it that the two do not make two buckets. The bucket behind a URI is compared with the configuration and mended. A URI that
//! points nowhere is reported and never replaced: where the user's objects are is not for a program to guess.

use std::collections::HashMap;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::owner::{OWNER_TAG, Owner, owner};
use super::saga::{Origin, ProvisionError, Remedy, Served};
use super::server::{Ending, Server};
use super::settings::{Drift, Mending, Starting};
use crate::aws::{AwsError, Kind};
use crate::clock;
use crate::jobs::Mode;
use crate::jobs::report::SweepReport;
use crate::s3::bucket::Sight;
use crate::state::quarantine::{QuarantineKind, Quarantined};
use crate::tiering::object::{BucketName, UserId};
use crate::users::UserRow;

/// Problems that a report holds in words; more are counted.
const MAX_PROBLEMS: usize = 100;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Users without a bucket: what lost records of the stream call for.
    MissingBuckets,
    /// That, and everything that drifted.
    Everything,
}

/// How far a sweep came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Swept {
    /// Every row was looked at.
    Whole,
    /// It was told to stop.
    InPart,
}

/// What became of one row.
#[derive(Debug)]
enum Finding {
    Fine,
    Provisioned,
    Repaired,
    Problem(String),
    Interrupted,
}

struct Sweeper<'a> {
    server: &'a Server,
    scope: Scope,
    mode: Mode,
    stop: &'a CancellationToken,
    quarantined: HashMap<String, Quarantined>,
}

/// What a quarantine entry of a user carries.
#[derive(Debug, Deserialize)]
struct Payload {
    created: DateTime<Utc>,
}

impl Server {
    /// Sweeps the users table. What it finds and does is added to `report`; fails if it cannot go on at all.
    pub async fn sweep(
        &self,
        scope: Scope,
        mode: Mode,
        stop: &CancellationToken,
        report: &mut SweepReport,
    ) -> Result<Swept> {
        let state = self.saga().state();
        let entries = state.quarantined(Some(QuarantineKind::User)).await?;
        let quarantined = entries.into_iter().map(|entry| (entry.id.clone(), entry)).collect();
        let sweeper = Sweeper { server: self, scope, mode, stop, quarantined };
        let mut pager = self.saga().users().rows();
        while let Some(page) = pager.next_page().await.context("reading the users table")? {
            report.users += page.rows.len() as u64 + page.rejected.len() as u64;
            for rejected in page.rejected {
                sweeper.add(Finding::Problem(rejected), report);
            }
            let findings = stream::iter(page.rows).map(|row| sweeper.row(row));
            let mut findings = findings.buffer_unordered(self.concurrency());
            while let Some(finding) = findings.next().await {
                sweeper.add(finding?, report);
            }
            if stop.is_cancelled() {
                return Ok(Swept::InPart);
            }
        }
        if mode == Mode::Real {
            sweeper.tidy(report).await?;
        }
        Ok(if stop.is_cancelled() { Swept::InPart } else { Swept::Whole })
    }

    /// Takes up the users whom a person asked to be tried again.
    pub async fn retry_quarantined(&self, stop: &CancellationToken) -> Result<()> {
        let entries = self.saga().state().quarantined(Some(QuarantineKind::User)).await?;
        for entry in entries.into_iter().filter(|entry| entry.retry) {
            if stop.is_cancelled() {
                break;
            }
            self.retry(&entry, stop).await?;
        }
        Ok(())
    }

    async fn retry(&self, entry: &Quarantined, stop: &CancellationToken) -> Result<Finding> {
        let state = self.saga().state();
        let (Ok(user), Ok(payload)) = (UserId::new(entry.id.as_str()), serde_json::from_str::<Payload>(&entry.payload))
        else {
            // A record that named no user. The sweep sees every user there is, so nothing is left to try.
            state.release_quarantine(entry.kind, &entry.id).await?;
            return Ok(Finding::Fine);
        };
        match self.serve(&user, payload.created, Origin::Sweep, stop).await.map_err(ProvisionError::into_anyhow)? {
            Ending::Served(served) => {
                failpoint!("provision.user-retried");
                state.release_quarantine(entry.kind, &entry.id).await?;
                Ok(if served == Served::Provisioned { Finding::Provisioned } else { Finding::Fine })
            }
            Ending::Quarantined(reason) => Ok(Finding::Problem(no_bucket(&user, &reason))),
            Ending::Interrupted => Ok(Finding::Interrupted),
        }
    }
}

impl Sweeper<'_> {
    fn add(&self, finding: Finding, report: &mut SweepReport) {
        match finding {
            Finding::Fine | Finding::Interrupted => {}
            Finding::Provisioned => report.provisioned += 1,
            Finding::Repaired => report.repaired += 1,
            Finding::Problem(problem) => {
                report.failed += 1;
                match report.problems.len() {
                    ..MAX_PROBLEMS => report.problems.push(problem),
                    MAX_PROBLEMS => report.problems.push("and more; the log has them all".to_owned()),
                    _ => {}
                }
            }
        }
    }

    async fn row(&self, row: UserRow) -> Result<Finding> {
        if self.stop.is_cancelled() {
            return Ok(Finding::Interrupted);
        }
        let entry = self.quarantined.get(row.id.as_str());
        match (&row.uri, entry) {
            (None, Some(entry)) if !entry.retry => Ok(Finding::Fine),
            (None, _) if self.mode == Mode::DryRun => Ok(Finding::Provisioned),
            (None, Some(entry)) => self.server.retry(entry, self.stop).await,
            (None, None) => self.provision(&row.id).await,
            (Some(_), _) if self.scope == Scope::MissingBuckets => Ok(Finding::Fine),
            (Some(uri), entry) => {
                if let (Some(entry), Mode::Real) = (entry, self.mode) {
                    // The user got a bucket by another way.
                    self.server.saga().state().release_quarantine(entry.kind, &entry.id).await?;
                }
                self.bucket(&row.id, uri).await
            }
        }
    }

    async fn provision(&self, user: &UserId) -> Result<Finding> {
        let ending = self
            .server
            .serve(user, clock::now_secs(), Origin::Sweep, self.stop)
            .await
            .map_err(ProvisionError::into_anyhow)?;
        Ok(match ending {
            Ending::Served(Served::Provisioned) => Finding::Provisioned,
            Ending::Served(Served::HadBucket | Served::RowGone) => Finding::Fine,
            Ending::Quarantined(reason) => Finding::Problem(no_bucket(user, &reason)),
            Ending::Interrupted => Finding::Interrupted,
        })
    }

    /// Looks at the bucket behind a URI. Trouble with one bucket is that bucket's; trouble with AWS ends the sweep.
    async fn bucket(&self, user: &UserId, uri: &str) -> Result<Finding> {
        let Ok(bucket) = BucketName::from_uri(uri) else {
            return Ok(missing(user, uri, "it is no s3://BUCKET"));
        };
        let _place = self.server.places().acquire().await.expect("the semaphore is never closed");
        match self.compare(user, &bucket).await {
            Ok(finding) => Ok(finding),
            // Deleted between two calls.
            Err(error) if error.is("NoSuchBucket") => Ok(missing(user, uri, "there is no such bucket")),
            Err(error)
                if error.kind == Kind::Unreachable || error.kind == Kind::Denied && !error.is("AccessDenied") =>
            {
                Err(error.into())
            }
            Err(error) => {
                tracing::warn!(
                    event = "bucket.check_failed",
                    user_id = user.as_str(),
                    bucket = bucket.as_str(),
                    %error,
                    "a bucket's settings could not be checked or mended"
                );
                Ok(Finding::Problem(format!("user {:?}: {error}", user.as_str())))
            }
        }
    }

    async fn compare(&self, user: &UserId, bucket: &BucketName) -> Result<Finding, AwsError> {
        let saga = self.server.saga();
        match saga.s3().sight_of(bucket).await? {
            Sight::Visible => {}
            Sight::Absent => return Ok(missing(user, &bucket.to_uri(), "there is no such bucket")),
            Sight::Hidden => return Ok(foreign(user, bucket, "it is another account's or another region's")),
        }
        if let Owner::Another(other) = owner(&saga.s3().bucket_tags(bucket).await?, user)
            && self.is_owned_by(&other, bucket).await?
        {
            return Ok(foreign(user, bucket, &format!("by its tag {OWNER_TAG} it is user {other:?}'s")));
        }
        let mending = if self.mode == Mode::Real { Mending::Mend } else { Mending::OnlyLook };
        let drift = saga.settings().settle(saga.s3(), bucket, user, Starting::Unknown, mending).await?;
        if drift.is_empty() {
            return Ok(Finding::Fine);
        }
        if self.mode == Mode::Real {
            let repaired: Vec<_> = drift.into_iter().map(Drift::as_str).collect();
            tracing::info!(
                event = "bucket.repaired",
                user_id = user.as_str(),
                bucket = bucket.as_str(),
                repaired = repaired.join(", "),
                "settings that had drifted were mended"
            );
        }
        Ok(Finding::Repaired)
    }

    /// Whether the user that a tag names really has the bucket, or is about to get it. If not, the tag is what is wrong.
    async fn is_owned_by(&self, tag: &str, bucket: &BucketName) -> Result<bool, AwsError> {
        let Ok(user) = UserId::new(tag) else { return Ok(false) };
        let row = self.server.saga().users().row(&user).await?;
        Ok(row.is_some_and(|row| row.uri.is_none_or(|uri| uri == bucket.to_uri())))
    }

    /// Ends what was cut off: reservations of users who have their bucket, or are gone, and retries of users who are gone.
    async fn tidy(&self, report: &mut SweepReport) -> Result<()> {
        let saga = self.server.saga();
        for reservation in saga.state().reservations().await? {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            if let Err(error) = saga.tidy(&reservation).await {
                if error.remedy() == Remedy::StopThePart {
                    return Err(error.into_anyhow());
                }
                self.add(Finding::Problem(format!("user {:?}: {error}", reservation.user.as_str())), report);
            }
        }
        if self.quarantined.values().any(|entry| entry.retry) {
            // What is left of them has no row in the table.
            self.server.retry_quarantined(self.stop).await?;
        }
        Ok(())
    }
}

fn missing(user: &UserId, uri: &str, why: &str) -> Finding {
    tracing::warn!(
        event = "bucket.missing",
        user_id = user.as_str(),
        uri,
        why,
        "a user's URI points nowhere; it is left as it is"
    );
    Finding::Problem(format!("user {:?}: the URI {uri:?} points nowhere: {why}", user.as_str()))
}

fn foreign(user: &UserId, bucket: &BucketName, why: &str) -> Finding {
    tracing::warn!(
        event = "bucket.foreign",
        user_id = user.as_str(),
        bucket = bucket.as_str(),
        why,
        "a user's URI points to a bucket that is not the user's; nothing is changed"
    );
    Finding::Problem(format!("user {:?}: {bucket} is not this user's: {why}", user.as_str()))
}

fn no_bucket(user: &UserId, reason: &str) -> String {
    format!("user {:?} has no bucket: {reason}", user.as_str())
}
