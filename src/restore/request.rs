//! A request: the row in the index first, then S3, then the tag.

use anyhow::Result;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::{LOOKS, Look, Restorer, Seen, code};
use crate::aws::{AwsError, Kind};
use crate::clock;
use crate::metrics::{About, Unit};
use crate::s3::object::SdkTier;
use crate::state::restores::RestoreRow;
use crate::tiering::object::ObjectId;
use crate::tiering::restore::{
    ErrorAction, RefuseReason, RequestAction, RequestRecord, RestorePlan, RestoreRequest, Tier, expected_duration,
    on_error, on_request,
};
use crate::tiering::storage_class::StorageClass;

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// S3 was asked.
    Begun {
        tier: Tier,
        /// The tier that was wanted, where S3 had no capacity at it.
        instead_of: Option<Tier>,
        expected_by: Option<DateTime<Utc>>,
    },
    /// Somebody had asked S3 already; the object is copied back when it is ready.
    Joined {
        expected_by: Option<DateTime<Utc>>,
    },
    /// A restored copy was there, and is copied back now.
    Finished,
    /// The object can be read as it is.
    NothingToDo(StorageClass),
    /// There is no such object.
    Missing,
    Refused(RefuseReason),
    /// The restored copy cannot be copied back; the request is set aside, with this reason.
    Failed(String),
}

/// What S3 said when it was asked.
pub(super) enum Answer {
    Begun(Tier),
    Joined,
    LookAgain,
    Gone,
    Refused(RefuseReason),
}

impl Restorer {
    /// Asks for one object. Fails where it may do later; the request can then be repeated, as it can be at any time.
    pub async fn request(&self, request: &RestoreRequest, stop: &CancellationToken) -> Result<Asked> {
        let _alone = self.locks.lock(&request.id).await;
        for _ in 0..LOOKS {
            let seen = match self.look(&request.id).await {
                Ok(seen) => seen,
                Err(error) => return self.not_seen(&request.id, error),
            };
            if let Some(asked) = self.request_once(request, &seen, stop).await? {
                return Ok(asked);
            }
        }
        anyhow::bail!("{} changes all the time", request.id)
    }

    /// As [`Restorer::request`], for somebody who wants to read the object: if they have to wait, the ledger is told. After
    /// S3 was asked, so that a crash between leaves a message that comes again and then joins.
    pub async fn request_for_reader(&self, request: &RestoreRequest, stop: &CancellationToken) -> Result<Asked> {
        let asked = self.request(request, stop).await?;
        if matches!(asked, Asked::Begun { .. } | Asked::Joined { .. }) {
            let noted = self.ledger.note_wait(&request.id, clock::now_secs()).await?;
            failpoint!("restore.wait-noted");
            tracing::debug!(event = "restore.wait_noted", object = %request.id, ?noted, "somebody waits for the object");
        }
        Ok(asked)
    }

    /// None: the object is not as it was seen.
    async fn request_once(
        &self,
        request: &RestoreRequest,
        seen: &Seen,
        stop: &CancellationToken,
    ) -> Result<Option<Asked>> {
        let id = &request.id;
        let row = seen.row.as_ref();
        let Some(object) = &seen.object else { return self.missing(id, row).await.map(Some) };
        let record = RequestRecord {
            id: id.clone(),
            requested_at: clock::now_secs(),
            days: request.days.unwrap_or(self.rules.defaults.days),
            tier: request.tier.unwrap_or(self.rules.defaults.tier),
            etag: Some(object.state.etag.clone()),
        };
        match on_request(request, &object.state, self.rules.defaults) {
            RequestAction::Restore(plan) => self.begin(object, row, record, plan).await,
            RequestAction::JoinOngoing => self.join(object, row, record).await.map(Some),
            RequestAction::FinishNow => {
                // The row first: should this end between the copy and the ledger, the sweep finds what is missing.
                let noted = match row {
                    Some(row) => row.clone(),
                    None => self.state.note_restore(None, record).await?,
                };
                self.finish_now(id, object, &noted, stop).await
            }
            RequestAction::Settle => {
                self.settle(id, row, &object.head.etag, &object.placement()).await?;
                Ok(Some(Asked::NothingToDo(object.head.class)))
            }
            RequestAction::NothingToDo(class) => {
                if let Some(row) = row {
                    self.forget(row, "the object was written over").await?;
                }
                tracing::info!(
                    event = "restore.not_needed",
                    bucket = id.bucket.as_str(),
                    key = id.key.as_str(),
                    class = class.as_str(),
                    "the object can be read as it is"
                );
                Ok(Some(Asked::NothingToDo(class)))
            }
            RequestAction::Refuse(reason) => Ok(Some(refused(id, reason))),
        }
    }

    async fn begin(
        &self,
        object: &Look,
        row: Option<&RestoreRow>,
        record: RequestRecord,
        plan: RestorePlan,
    ) -> Result<Option<Asked>> {
        let id = record.id.clone();
        let (answer, noted) = self.ask(row, record, plan).await?;
        let id = &id;
        match answer {
            Answer::Begun(tier) => {
                failpoint!("restore.requested");
                self.tag(id).await?;
                failpoint!("restore.tagged");
                let expected_by = expected_by(object, tier, noted.record.requested_at);
                tracing::info!(
                    event = "restore.requested",
                    bucket = id.bucket.as_str(),
                    key = id.key.as_str(),
                    class = object.head.class.as_str(),
                    tier = tier.as_str(),
                    days = plan.days,
                    expected_by = expected_by.map(clock::rfc3339),
                    "S3 was asked to restore an object"
                );
                self.metrics.emit(About::Service, &[("RestoresRequested", Unit::Count, 1.0)]);
                self.tag_was_not_too_late(id, &noted).await?;
                let instead_of = (tier != plan.tier).then_some(plan.tier);
                Ok(Some(Asked::Begun { tier, instead_of, expected_by }))
            }
            Answer::Joined => self.join(object, Some(&noted), noted.record.clone()).await.map(Some),
            Answer::LookAgain => Ok(None),
            Answer::Gone => self.missing(id, Some(&noted)).await.map(Some),
            Answer::Refused(reason) => {
                self.forget(&noted, "S3 refuses to restore it").await?;
                Ok(Some(refused(id, reason)))
            }
        }
    }

    /// Notes the request and asks S3, once more at another tier where S3 says so.
    pub(super) async fn ask(
        &self,
        row: Option<&RestoreRow>,
        record: RequestRecord,
        plan: RestorePlan,
    ) -> Result<(Answer, RestoreRow)> {
        let id = record.id.clone();
        let mut tier = plan.tier;
        loop {
            let noted = self.state.note_restore(row, RequestRecord { tier, ..record.clone() }).await?;
            failpoint!("restore.noted");
            self.pace.turn().await;
            let error = match self.s3.restore(&id, plan.days, sdk_tier(tier)).await {
                Ok(()) => return Ok((Answer::Begun(tier), noted)),
                Err(error) => error,
            };
            let answer = match on_error(code(&error), tier) {
                ErrorAction::RetryAt(next) if next != tier => {
                    tracing::warn!(
                        event = "restore.tier_unavailable",
                        bucket = id.bucket.as_str(),
                        key = id.key.as_str(),
                        tier = tier.as_str(),
                        instead = next.as_str(),
                        "S3 has no capacity at this tier now; another one is asked for"
                    );
                    tier = next;
                    continue;
                }
                ErrorAction::JoinOngoing => Answer::Joined,
                ErrorAction::LookAgain => Answer::LookAgain,
                ErrorAction::Gone => Answer::Gone,
                ErrorAction::Refuse(reason) => Answer::Refused(reason),
                ErrorAction::RetryAt(_) | ErrorAction::Later | ErrorAction::Unknown => {
                    self.not_taken(&noted).await;
                    return Err(error.into());
                }
            };
            return Ok((answer, noted));
        }
    }

    /// S3 was asked and did not take it, so this was none of the times that a restore may expire unused. If that cannot be
    /// written, one of them is lost.
    async fn not_taken(&self, noted: &RestoreRow) {
        let uncounted = RestoreRow { attempts: noted.attempts.saturating_sub(1), ..noted.clone() };
        if let Err(error) = self.state.keep_restore(&uncounted).await {
            tracing::debug!(event = "restore.attempt_counted", object = %noted.record.id, %error, "an attempt counts that was none");
        }
    }

    async fn join(&self, object: &Look, row: Option<&RestoreRow>, record: RequestRecord) -> Result<Asked> {
        let id = record.id.clone();
        let row = match row {
            // A row of this very object says when it was asked for, and stays.
            Some(row) if row.record.etag == record.etag => row.clone(),
            other => self.state.note_restore(other, record).await?,
        };
        self.tag(&id).await?;
        let expected_by = expected_by(object, row.record.tier, row.record.requested_at);
        tracing::info!(
            event = "restore.joined",
            bucket = id.bucket.as_str(),
            key = id.key.as_str(),
            "the object is being restored already, and will be copied back"
        );
        self.tag_was_not_too_late(&id, &row).await?;
        Ok(Asked::Joined { expected_by })
    }

    /// Another daemon may have copied the object back between our look and our tag, which would then stay for good.
    async fn tag_was_not_too_late(&self, id: &ObjectId, row: &RestoreRow) -> Result<()> {
        let seen = self.look_with(id, Some(row.clone())).await?;
        match &seen.object {
            Some(object) if object.state.archive().is_none() => {
                self.settle(
                    id,
                    Some(row),
                    &row.record.etag.clone().unwrap_or(object.head.etag.clone()),
                    &object.placement(),
                )
                .await
            }
            _ => Ok(()),
        }
    }

    async fn missing(&self, id: &ObjectId, row: Option<&RestoreRow>) -> Result<Asked> {
        if let Some(row) = row {
            self.forget(row, "the object is gone").await?;
        }
        if !self.s3.bucket_exists(&id.bucket).await? {
            return Ok(refused(id, RefuseReason::NoSuchBucket));
        }
        tracing::warn!(
            event = "restore.refused",
            bucket = id.bucket.as_str(),
            key = id.key.as_str(),
            reason = "there is no such object",
            "a restore cannot be granted"
        );
        Ok(Asked::Missing)
    }

    /// The object could not even be looked at.
    fn not_seen(&self, id: &ObjectId, error: anyhow::Error) -> Result<Asked> {
        let about_the_object = error.downcast_ref::<AwsError>().filter(|e| e.operation == "HeadObject");
        let Some(aws) = about_the_object else { return Err(error) };
        match on_error(code(aws), Tier::Standard) {
            ErrorAction::Refuse(reason) if aws.kind == Kind::Denied || aws.kind == Kind::NotFound => {
                Ok(refused(id, reason))
            }
            _ => Err(error),
        }
    }
}

/// Reports what cannot be granted.
fn refused(id: &ObjectId, reason: RefuseReason) -> Asked {
    tracing::warn!(
        event = "restore.refused",
        bucket = id.bucket.as_str(),
        key = id.key.as_str(),
        reason = %reason,
        "a restore cannot be granted"
    );
    Asked::Refused(reason)
}

fn expected_by(object: &Look, tier: Tier, requested_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let expected = expected_duration(object.state.archive()?, tier)?;
    Some(requested_at + expected.max)
}

fn sdk_tier(tier: Tier) -> SdkTier {
    match tier {
        Tier::Standard => SdkTier::Standard,
        Tier::Bulk => SdkTier::Bulk,
        Tier::Expedited => SdkTier::Expedited,
    }
}
