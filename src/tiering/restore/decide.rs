//! The next step of a restore.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Archive, ObjectState, RestoreRequest, RestoreStatus, Tier, expected_duration};
use crate::tiering::object::{ETag, ObjectId};
use crate::tiering::storage_class::StorageClass;

/// What a request that names no days or tier gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub days: u32,
    pub tier: Tier,
}

/// The parameters of a RestoreObject call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestorePlan {
    /// None where S3 accepts none: in the archive tiers of INTELLIGENT_TIERING.
    pub days: Option<u32>,
    pub tier: Tier,
}

/// What a request comes to. Every action is harmless when it is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestAction {
    /// Record the intent, then ask S3: in this order, so that a crash in between leaves something for the sweep to find.
    Restore(RestorePlan),
    /// Somebody asked S3 already: record the intent, and the object is copied back when it is ready.
    JoinOngoing,
    /// A restored copy is there: copy it back at once.
    FinishNow,
    /// The object can be read as it is, yet still bears the mark of an earlier request: take that off.
    Settle,
    /// The object can be read as it is.
    NothingToDo(StorageClass),
    Refuse(RefuseReason),
}

/// Why a request cannot be granted. Shown to whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefuseReason {
    #[error("{0} has no Expedited retrieval; ask for Standard or Bulk")]
    NoExpedited(StorageClass),
    #[error("the object is in a storage class that is not managed here")]
    UnmanagedClass,
    #[error("the bucket does not exist")]
    NoSuchBucket,
    #[error("the object may not be restored with these permissions")]
    AccessDenied,
}

/// What to do about a request for an object whose head is `state`.
///
/// Expedited that was asked for and cannot be had is refused; Expedited that is only the configured default becomes Standard.
pub fn on_request(request: &RestoreRequest, state: &ObjectState, settings: Settings) -> RequestAction {
    if state.class == StorageClass::Unmanaged {
        return RequestAction::Refuse(RefuseReason::UnmanagedClass);
    }
    let Some(archive) = state.archive() else {
        return if state.is_asked_for() { RequestAction::Settle } else { RequestAction::NothingToDo(state.class) };
    };
    match state.restore {
        RestoreStatus::Ongoing => RequestAction::JoinOngoing,
        // An object of Intelligent-Tiering that is back stays in its class.
        RestoreStatus::Restored { .. } if !archive.takes_days() => RequestAction::Settle,
        RestoreStatus::Restored { .. } => RequestAction::FinishNow,
        RestoreStatus::NotRestored => match request.tier {
            Some(tier) if !archive.offers(tier) => RequestAction::Refuse(RefuseReason::NoExpedited(state.class)),
            _ => RequestAction::Restore(plan(
                archive,
                request.days.unwrap_or(settings.days),
                request.tier.unwrap_or(settings.tier),
            )),
        },
    }
}

/// What an event about a restore comes to, whichever event it was: the head decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventAction {
    /// Copy the object back, then take off the tag, then write the ledger, then drop the request from the index.
    CopyBack,
    /// The event came early, or is of the beginning: acknowledge and wait for the next.
    StillOngoing,
    /// Nobody asked tierd for it: acknowledge without effect.
    NotOurs,
    /// The copy expired before it was copied back: ask S3 once more, as the request said.
    RequestAgain,
    /// The object can be read as it is (a copy-back that crashed before its end, or a user's overwrite): take off the
    /// tag, refresh the ledger, drop the request.
    Settle,
    /// The object is gone: drop the request.
    Gone,
}

/// What to do about an event for an object whose head is `state`, none if there is no such object.
pub fn on_event(state: Option<&ObjectState>) -> EventAction {
    let Some(state) = state else { return EventAction::Gone };
    if !state.is_asked_for() {
        return EventAction::NotOurs;
    }
    match (state.archive(), state.restore) {
        (None, _) => EventAction::Settle,
        (Some(_), RestoreStatus::Ongoing) => EventAction::StillOngoing,
        (Some(archive), RestoreStatus::Restored { .. }) if !archive.takes_days() => EventAction::Settle,
        (Some(_), RestoreStatus::Restored { .. }) => EventAction::CopyBack,
        (Some(_), RestoreStatus::NotRestored) => EventAction::RequestAgain,
    }
}

/// A row of the index of requests: what is in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    pub id: ObjectId,
    /// When S3 was last asked for it.
    pub requested_at: DateTime<Utc>,
    pub days: u32,
    pub tier: Tier,
    /// The object's ETag when it was asked for, if known.
    pub etag: Option<ETag>,
}

/// What a row of the index comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepAction {
    /// The event was lost: copy the object back.
    Finish,
    /// Never begun, or expired before it was copied back: ask S3 once more.
    Repeat(RestorePlan),
    /// On its way; ready by then, typically.
    Wait { expected_by: DateTime<Utc> },
    /// On its way for too long: report it, and look again at the next sweep. S3 has no way to ask anew meanwhile.
    Overdue { since: DateTime<Utc> },
    /// Back already: take off the tag, refresh the ledger, drop the row.
    Settle,
    /// Nothing is left to bring back: drop the row.
    Drop(DropReason),
}

/// Why a row of the index has no object any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    ObjectGone,
    /// A user wrote another object over it: theirs wins.
    Overwritten,
}

/// What to do about a row of the index, for an object whose head is `state`, none if there is no such object.
pub fn on_sweep(record: &RequestRecord, state: Option<&ObjectState>, now: DateTime<Utc>) -> SweepAction {
    let Some(state) = state else { return SweepAction::Drop(DropReason::ObjectGone) };
    // A tag vouches for the object: it does not survive an overwrite.
    let replaced = record.etag.as_ref().is_some_and(|etag| *etag != state.etag);
    let asked_for = state.intent == super::Intent::Tagged || !replaced;
    let Some(archive) = state.archive() else {
        return if asked_for { SweepAction::Settle } else { SweepAction::Drop(DropReason::Overwritten) };
    };
    if !asked_for {
        return SweepAction::Drop(DropReason::Overwritten);
    }
    match state.restore {
        RestoreStatus::Restored { .. } if !archive.takes_days() => SweepAction::Settle,
        RestoreStatus::Restored { .. } => SweepAction::Finish,
        RestoreStatus::NotRestored => SweepAction::Repeat(plan(archive, record.days, record.tier)),
        RestoreStatus::Ongoing => {
            let overdue_at = record.requested_at + overdue_after(archive, record.tier);
            if now > overdue_at {
                SweepAction::Overdue { since: overdue_at }
            } else {
                SweepAction::Wait { expected_by: record.requested_at + longest(archive, record.tier) }
            }
        }
    }
}

/// How long a restore may take before it is reported: twice what is typical, an hour more at least. The times that AWS
/// gives are typical ones, and Expedited takes longer for objects over 250 MB.
pub fn overdue_after(archive: Archive, tier: Tier) -> TimeDelta {
    let typical = longest(archive, tier);
    typical + typical.max(TimeDelta::hours(1))
}

/// What S3's refusal of a RestoreObject or a HEAD means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorAction {
    /// It was asked for already.
    JoinOngoing,
    /// Ask once more at this tier, and say so.
    RetryAt(Tier),
    /// The object is not as it was: read its head and decide anew.
    LookAgain,
    /// There is no such object.
    Gone,
    Refuse(RefuseReason),
    /// It may do later: leave the message to come again.
    Later,
    /// Not known: leave the message to come again and in the end to the redrive policy, with the error in the log.
    Unknown,
}

/// What the error `code` of a call that asked for `tier` means.
///
/// Codes: S3 API reference, "Error responses" and RestoreObject. A HEAD has no body, so its codes are `NotFound` and `Forbidden`.
pub fn on_error(code: &str, tier: Tier) -> ErrorAction {
    match code {
        "RestoreAlreadyInProgress" => ErrorAction::JoinOngoing,
        "GlacierExpeditedRetrievalNotAvailable" if tier == Tier::Expedited => ErrorAction::RetryAt(Tier::Standard),
        // Of a restore: the class needs none any more. Of a copy: it needs one again. The head tells.
        "InvalidObjectState" | "PreconditionFailed" | "ConditionalRequestConflict" | "OperationAborted" => {
            ErrorAction::LookAgain
        }
        // MethodNotAllowed: the current version is a delete marker.
        "NoSuchKey" | "NoSuchVersion" | "NotFound" | "MethodNotAllowed" => ErrorAction::Gone,
        "NoSuchBucket" => ErrorAction::Refuse(RefuseReason::NoSuchBucket),
        "AccessDenied" | "Forbidden" | "AllAccessDisabled" | "AccountProblem" => {
            ErrorAction::Refuse(RefuseReason::AccessDenied)
        }
        "SlowDown"
        | "ServiceUnavailable"
        | "InternalError"
        | "RequestTimeout"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "GlacierExpeditedRetrievalNotAvailable" => ErrorAction::Later,
        _ => ErrorAction::Unknown,
    }
}

/// The call for an archive, at the nearest tier that it has.
fn plan(archive: Archive, days: u32, tier: Tier) -> RestorePlan {
    RestorePlan {
        days: archive.takes_days().then_some(days),
        tier: if archive.offers(tier) { tier } else { Tier::Standard },
    }
}

/// The longest typical time; of Standard where the tier does not exist and [`plan`] falls back to it.
fn longest(archive: Archive, tier: Tier) -> TimeDelta {
    expected_duration(archive, tier)
        .or_else(|| expected_duration(archive, Tier::Standard))
        .expect("every archive has a Standard retrieval")
        .max
}

#[cfg(test)]
mod tests;
