//! The end of a restore: the object is copied back into its class, then the tag goes, then the ledger is written, then the
//! row is dropped. Whatever a crash leaves undone is found by the message, which comes again, or by the sweep.

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::request::Answer;
use super::{Asked, LOOKS, Look, Restorer, Seen};
use crate::aws::Kind;
use crate::clock;
use crate::ledger::Placement;
use crate::s3::copy::{CopyError, CopyRequest};
use crate::state::restores::RestoreRow;
use crate::tiering::object::ObjectId;
use crate::tiering::restore::{
    EventAction, RequestAction, RequestRecord, RestorePlan, RestoreRequest, on_event, on_request,
};

/// How often S3 is asked for one object whose restored copy expires each time before it can be copied back.
pub(super) const MAX_ATTEMPTS: u64 = 5;

/// What an event about a restore came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    CopiedBack,
    /// It was back already; what was left undone is done now.
    Settled,
    /// Not ready yet.
    Waiting,
    /// Nobody asked tierd for it.
    NotOurs,
    /// The restored copy had expired; S3 was asked once more.
    Repeated,
    /// The object is gone.
    Gone,
    /// Given up and set aside, for this reason.
    Failed(String),
}

/// What a copy back came to.
pub(super) enum Back {
    Copied,
    /// The object is not as it was seen.
    LookAgain,
    /// It cannot be done at all; it is set aside.
    GivenUp(String),
}

impl Restorer {
    /// Does what an object needs that S3 sent an event about. Fails where it may do later.
    pub async fn complete(&self, id: &ObjectId, stop: &CancellationToken) -> Result<Completion> {
        let _alone = self.locks.lock(id).await;
        for _ in 0..LOOKS {
            let seen = self.look(id).await?;
            if let Some(done) = self.complete_once(id, &seen, stop).await? {
                return Ok(done);
            }
        }
        anyhow::bail!("{id} changes all the time")
    }

    async fn complete_once(&self, id: &ObjectId, seen: &Seen, stop: &CancellationToken) -> Result<Option<Completion>> {
        let row = seen.row.as_ref();
        let action = on_event(seen.object.as_ref().map(|object| &object.state));
        let Some(object) = &seen.object else {
            if let Some(row) = row {
                self.forget(row, "the object is gone").await?;
            }
            return Ok(Some(Completion::Gone));
        };
        match action {
            EventAction::CopyBack => Ok(match self.copy_back(id, object, row, stop).await? {
                Back::Copied => Some(Completion::CopiedBack),
                Back::LookAgain => None,
                Back::GivenUp(reason) => Some(Completion::Failed(reason)),
            }),
            EventAction::StillOngoing => Ok(Some(Completion::Waiting)),
            EventAction::NotOurs => {
                if let Some(row) = row {
                    self.overwritten(id, row, object).await?;
                }
                Ok(Some(Completion::NotOurs))
            }
            EventAction::RequestAgain => self.request_again(id, object, row).await,
            EventAction::Settle => {
                self.settle(id, row, &was(row, object), &object.placement()).await?;
                Ok(Some(Completion::Settled))
            }
            EventAction::Gone => Ok(Some(Completion::Gone)),
        }
    }

    /// Copies a restored object into its class and does all that comes after. [`super::request`] has written a row before, so
    /// that there is one whenever tierd itself asked.
    pub(super) async fn copy_back(
        &self,
        id: &ObjectId,
        object: &Look,
        row: Option<&RestoreRow>,
        stop: &CancellationToken,
    ) -> Result<Back> {
        let facts = self.s3.bucket_facts(&id.bucket).await?;
        let class = self.rules.restored_class;
        let request = CopyRequest::in_place(id, &object.head, class, facts.acl(), self.rules.copies);
        let copied = match self.s3.copy(&request, stop).await {
            Ok(copied) => copied,
            Err(CopyError::Changed | CopyError::Conflict | CopyError::Gone | CopyError::Archived) => {
                return Ok(Back::LookAgain);
            }
            // S3's other name for an object that is archived again.
            Err(CopyError::Aws(e)) if e.is("ObjectNotInActiveTierError") => return Ok(Back::LookAgain),
            Err(error @ CopyError::Uncarriable(_)) => return self.cannot_come_back(id, row, &error).await,
            Err(CopyError::Aws(error)) if error.kind == Kind::Refused => {
                return self.cannot_come_back(id, row, &CopyError::Aws(error)).await;
            }
            Err(CopyError::Aws(error)) => return Err(error.into()),
            Err(error) => return Err(error.into()),
        };
        let placement = Placement { etag: copied.etag, class, size: object.head.size, class_since: clock::now_secs() };
        self.settle(id, row, &object.head.etag, &placement).await?;
        Ok(Back::Copied)
    }

    async fn cannot_come_back(&self, id: &ObjectId, row: Option<&RestoreRow>, error: &CopyError) -> Result<Back> {
        let reason = format!("the restored object cannot be copied back: {error}");
        self.give_up(id, row, &reason).await?;
        Ok(Back::GivenUp(reason))
    }

    /// For a request that finds a restored copy.
    pub(super) async fn finish_now(
        &self,
        id: &ObjectId,
        object: &Look,
        row: &RestoreRow,
        stop: &CancellationToken,
    ) -> Result<Option<Asked>> {
        Ok(match self.copy_back(id, object, Some(row), stop).await? {
            Back::Copied => Some(Asked::Finished),
            Back::LookAgain => None,
            Back::GivenUp(reason) => Some(Asked::Failed(reason)),
        })
    }

    /// The copy expired before it was copied back: asks as the first request did.
    async fn request_again(
        &self,
        id: &ObjectId,
        object: &Look,
        row: Option<&RestoreRow>,
    ) -> Result<Option<Completion>> {
        let request = RestoreRequest {
            id: id.clone(),
            days: row.map(|row| row.record.days),
            tier: row.map(|row| row.record.tier),
        };
        match on_request(&request, &object.state, self.rules.defaults) {
            RequestAction::Restore(plan) => self.repeat(id, object, row, plan).await,
            RequestAction::Refuse(reason) => {
                self.give_up(id, row, &reason.to_string()).await?;
                Ok(Some(Completion::Failed(reason.to_string())))
            }
            _ => Ok(None),
        }
    }

    /// Asks S3 once more. None: the object is not as it was seen.
    pub(super) async fn repeat(
        &self,
        id: &ObjectId,
        object: &Look,
        row: Option<&RestoreRow>,
        plan: RestorePlan,
    ) -> Result<Option<Completion>> {
        if row.is_some_and(|row| row.attempts >= MAX_ATTEMPTS) {
            let reason =
                format!("it was restored {MAX_ATTEMPTS} times, and expired each time before it was copied back");
            self.give_up(id, row, &reason).await?;
            return Ok(Some(Completion::Failed(reason)));
        }
        let record = RequestRecord {
            id: id.clone(),
            requested_at: clock::now_secs(),
            days: row.map_or(self.rules.defaults.days, |row| row.record.days),
            tier: plan.tier,
            etag: Some(object.state.etag.clone()),
        };
        let (answer, noted) = self.ask(row, record, plan).await?;
        match answer {
            Answer::Begun(_) | Answer::Joined => {
                self.tag(id).await?;
                tracing::info!(
                    event = "restore.repeated",
                    bucket = id.bucket.as_str(),
                    key = id.key.as_str(),
                    tier = noted.record.tier.as_str(),
                    attempts = noted.attempts,
                    "S3 was asked once more for an object that is not restored"
                );
                Ok(Some(Completion::Repeated))
            }
            Answer::LookAgain => Ok(None),
            Answer::Gone => {
                self.forget(&noted, "the object is gone").await?;
                Ok(Some(Completion::Gone))
            }
            Answer::Refused(reason) => {
                self.give_up(id, Some(&noted), &reason.to_string()).await?;
                Ok(Some(Completion::Failed(reason.to_string())))
            }
        }
    }

    /// A user wrote another object over the one that was asked for: theirs wins. The ledger learns of it at once, as it
    /// would from the next listing.
    pub(super) async fn overwritten(&self, id: &ObjectId, row: &RestoreRow, object: &Look) -> Result<()> {
        self.untag(id).await?;
        self.place(id, &was(Some(row), object), &object.placement()).await?;
        self.forget(row, "the object was written over").await
    }
}

/// The ETag that the ledger's row has if nothing was written to it since the request.
pub(super) fn was(row: Option<&RestoreRow>, object: &Look) -> crate::tiering::object::ETag {
    row.and_then(|row| row.record.etag.clone()).unwrap_or_else(|| object.head.etag.clone())
}
