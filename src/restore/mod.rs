//! Restores: archived objects brought back into the class that users read from.
//!
//! What is decided stands in [`crate::tiering::restore`]; here are the effects, and their order. Three things speak of a
//! restore, and each can be lost but the last: messages (hints), the tag on the object and the row in the index of requests
//! (the intent), and the object's head (the truth). Every step begins by looking at the last two.
//!
//! | step | effects in their order | what the order protects |
//! |---|---|---|
//! | a request ([`request`]) | row, RestoreObject, tag, message | a crash anywhere leaves a row for the sweep, or a message that comes again |
//! | the end ([`completion`]) | copy back, tag, ledger, row, message | until the row and the message are gone, what is missing is done again |
//! | giving up | quarantine, tag, row, message | a restore ends as copied back or as a failure that somebody can see |
//!
//! The row comes before the tag because a tag set must be read before it can be written, which S3 may refuse, and because
//! an object may have ten tags already. A tag set that could not be read is never written.
//!
//! Two handlers of one process never work on one object at once ([`Locks`]). Two daemons can; then S3's conditions decide
//! (see [`crate::s3::copy`]), and a request that was overtaken by the end of the restore finds that out by looking once more.

mod completion;
mod full_sweep;
mod message;
mod pace;
mod request;
mod status;
mod sweep;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::{Mutex, MutexGuard};

use crate::aws::{AwsError, AwsResult, Kind};
use crate::clock;
use crate::config::Settings;
use crate::ledger::{Change, Ledger, Placement};
use crate::metrics::{About, Metrics, Unit};
use crate::policies;
use crate::s3::S3;
use crate::s3::object::ObjectHead;
use crate::state::State;
use crate::state::quarantine::{QuarantineKind, Quarantined};
use crate::state::restores::{Dropped, RestoreRow};
use crate::tiering::object::{ETag, ObjectId};
use crate::tiering::policy::guard::Copies;
use crate::tiering::restore::{
    IntelligentArchive, Intent, ObjectState, RestoreStatus, Tag, TagEdit, Tier, with_tag, without_tag,
};
use crate::tiering::storage_class::StorageClass;

pub use completion::Completion;
pub use message::{EVENTS, REQUESTS};
use pace::Pace;
pub use request::Asked;
pub use status::Standing;

/// The value of the tag.
const TAG_VALUE: &str = "true";
/// How often an object that changes under our eyes is looked at before the message is left to come again.
const LOOKS: usize = 3;
/// How often the ledger's row is read again when somebody else writes it.
const LEDGER_TRIES: usize = 4;

/// Brings objects back; cheap to clone. Clones share the pace and the locks.
#[derive(Debug, Clone)]
pub struct Restorer {
    s3: S3,
    state: State,
    ledger: Ledger,
    metrics: Metrics,
    rules: Arc<Rules>,
    pace: Pace,
    locks: Locks,
}

/// The configuration, as far as it matters here.
#[derive(Debug)]
struct Rules {
    /// For requests that name none.
    defaults: crate::tiering::restore::Settings,
    restored_class: StorageClass,
    tag_key: String,
    copies: Copies,
    concurrency: usize,
}

/// An object and what is known of its restore.
#[derive(Debug)]
struct Seen {
    row: Option<RestoreRow>,
    /// None: there is no such object.
    object: Option<Look>,
}

#[derive(Debug)]
struct Look {
    head: ObjectHead,
    state: ObjectState,
}

impl Restorer {
    pub fn new(s3: S3, state: State, ledger: Ledger, metrics: Metrics, settings: &Settings) -> Self {
        let restore = &settings.restore;
        let tier = match restore.tier {
            crate::config::RestoreTier::Standard => Tier::Standard,
            crate::config::RestoreTier::Bulk => Tier::Bulk,
            crate::config::RestoreTier::Expedited => Tier::Expedited,
        };
        let rules = Rules {
            defaults: crate::tiering::restore::Settings { days: restore.days, tier },
            restored_class: restore.restored_class,
            tag_key: restore.tag_key.clone(),
            copies: policies::copies(&settings.transition),
            concurrency: restore.concurrency.max(1),
        };
        Self { s3, state, ledger, metrics, rules: Arc::new(rules), pace: Pace::default(), locks: Locks::default() }
    }

    /// How many objects to work on at once.
    pub fn concurrency(&self) -> usize {
        self.rules.concurrency
    }

    async fn look(&self, id: &ObjectId) -> anyhow::Result<Seen> {
        let row = self.state.restore_row(id).await?;
        self.look_with(id, row).await
    }

    /// Looks at the object whose row in the index is known.
    async fn look_with(&self, id: &ObjectId, row: Option<RestoreRow>) -> anyhow::Result<Seen> {
        let Some(head) = self.s3.head(id).await? else { return Ok(Seen { row, object: None }) };
        let restore =
            RestoreStatus::from_header(head.restore.as_deref()).with_context(|| format!("looking at {id}"))?;
        let tagged = self.tags(id).await?.is_some_and(|tags| tags.iter().any(|(key, _)| *key == self.rules.tag_key));
        let intent = match &row {
            _ if tagged => Intent::Tagged,
            Some(row) => Intent::Indexed { etag: row.record.etag.clone() },
            None => Intent::None,
        };
        let state = ObjectState {
            class: head.class,
            intelligent_archive: head.archive_status.as_deref().and_then(IntelligentArchive::from_s3),
            restore,
            etag: head.etag.clone(),
            intent,
        };
        Ok(Seen { row, object: Some(Look { head, state }) })
    }

    /// The object's tags; None where they cannot be had: then the row alone carries the intent, and no tag is written.
    async fn tags(&self, id: &ObjectId) -> AwsResult<Option<Vec<Tag>>> {
        match self.s3.tags(id).await {
            Ok(tags) => Ok(Some(tags)),
            Err(e) if is_out_of_reach(&e) => {
                tracing::debug!(event = "restore.tags_unreadable", object = %id, error = %e, "the tags cannot be read");
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Marks the object as asked for. The row is written already, so a tag that cannot be is no failure.
    async fn tag(&self, id: &ObjectId) -> AwsResult<()> {
        let Some(tags) = self.tags(id).await? else { return Ok(()) };
        match with_tag(&tags, &self.rules.tag_key, TAG_VALUE) {
            TagEdit::Unchanged => Ok(()),
            TagEdit::Replace(edited) => self.write_tags(id, &edited).await,
            TagEdit::Full => {
                tracing::info!(
                    event = "restore.not_tagged",
                    bucket = id.bucket.as_str(),
                    key = id.key.as_str(),
                    "the object has ten tags of its own; the index alone says that it was asked for"
                );
                Ok(())
            }
        }
    }

    /// Takes the one tag off.
    async fn untag(&self, id: &ObjectId) -> AwsResult<()> {
        let Some(tags) = self.tags(id).await? else { return Ok(()) };
        match without_tag(&tags, &self.rules.tag_key) {
            TagEdit::Replace(rest) => self.write_tags(id, &rest).await,
            TagEdit::Unchanged | TagEdit::Full => Ok(()),
        }
    }

    /// S3 has no condition for tags, so this follows the read at once.
    async fn write_tags(&self, id: &ObjectId, tags: &[Tag]) -> AwsResult<()> {
        match self.s3.put_tags(id, tags).await {
            Err(e) if is_out_of_reach(&e) => {
                tracing::warn!(
                    event = "restore.not_tagged",
                    bucket = id.bucket.as_str(),
                    key = id.key.as_str(),
                    error = %e,
                    "the object's tags cannot be written"
                );
                Ok(())
            }
            other => other,
        }
    }

    /// Says in the ledger where the object lies now. A row that is not there is not made: what tells of objects is the logs
    /// and the listings.
    async fn place(&self, id: &ObjectId, expected: &ETag, placement: &Placement) -> anyhow::Result<()> {
        if self.ledger.place(id, Some(expected), placement).await? == Change::Made {
            return Ok(());
        }
        for _ in 0..LEDGER_TRIES {
            let Some(row) = self.ledger.row(id).await? else { return Ok(()) };
            if row.etag.as_ref() == Some(&placement.etag) && row.class == Some(placement.class) {
                return Ok(());
            }
            if self.ledger.place(id, row.etag.as_ref(), placement).await? == Change::Made {
                return Ok(());
            }
        }
        anyhow::bail!("the ledger's row of {id} is changed by others all the time")
    }

    /// The last steps of a restore, once the object can be read as it is: tag, ledger, row, in this order.
    async fn settle(
        &self,
        id: &ObjectId,
        row: Option<&RestoreRow>,
        was: &ETag,
        placement: &Placement,
    ) -> anyhow::Result<()> {
        failpoint!("restore.copied-back");
        self.untag(id).await?;
        failpoint!("restore.untagged");
        self.place(id, was, placement).await?;
        failpoint!("restore.ledger-updated");
        let first_to_finish = match row {
            Some(row) => self.state.drop_restore(row).await? == Dropped::Yes,
            None => true,
        };
        failpoint!("restore.row-dropped");
        if first_to_finish {
            self.completed(id, row, placement.class);
        }
        Ok(())
    }

    fn completed(&self, id: &ObjectId, row: Option<&RestoreRow>, class: StorageClass) {
        let latency = row.map(|row| (clock::now() - row.asked_at).num_milliseconds().max(0));
        tracing::info!(
            event = "restore.completed",
            bucket = id.bucket.as_str(),
            key = id.key.as_str(),
            class = class.as_str(),
            latency_ms = latency,
            "a restored object is back in its class"
        );
        let mut metrics = vec![("RestoresCompleted", Unit::Count, 1.0)];
        if let Some(latency) = latency {
            metrics.push(("RestoreLatency", Unit::Milliseconds, latency as f64));
        }
        self.metrics.emit(About::Service, &metrics);
    }

    /// Ends a restore as a failure that somebody can see.
    async fn give_up(&self, id: &ObjectId, row: Option<&RestoreRow>, reason: &str) -> anyhow::Result<()> {
        let record = row.map(|row| &row.record);
        let payload = serde_json::json!({
            "bucket": id.bucket,
            "key": id.key,
            "days": record.map(|r| r.days),
            "tier": record.map(|r| r.tier),
        });
        let entry = Quarantined {
            kind: QuarantineKind::Restore,
            id: id.to_string(),
            reason: reason.to_owned(),
            at: clock::now_secs(),
            retry: false,
            payload: payload.to_string(),
        };
        self.state.quarantine(&entry).await?;
        failpoint!("restore.set-aside");
        self.untag(id).await?;
        failpoint!("restore.given-up-untagged");
        if let Some(row) = row {
            // A later request is none of ours to end.
            if self.state.drop_restore(row).await? == Dropped::NotThere {
                return Ok(());
            }
        }
        tracing::error!(
            event = "restore.failed",
            bucket = id.bucket.as_str(),
            key = id.key.as_str(),
            reason,
            "a restore is given up and set aside"
        );
        self.metrics.emit(About::Service, &[("Quarantined", Unit::Count, 1.0)]);
        Ok(())
    }

    /// Takes the row of an object out that is gone or was written over: nothing is left to bring back.
    async fn forget(&self, row: &RestoreRow, why: &str) -> anyhow::Result<()> {
        if self.state.drop_restore(row).await? == Dropped::Yes {
            tracing::warn!(
                event = "restore.dropped",
                bucket = row.record.id.bucket.as_str(),
                key = row.record.id.key.as_str(),
                reason = why,
                "a restore has nothing left to bring back"
            );
        }
        Ok(())
    }
}

impl Look {
    /// Where the object lies by its head.
    fn placement(&self) -> Placement {
        Placement {
            etag: self.head.etag.clone(),
            class: self.head.class,
            size: self.head.size,
            class_since: self.head.last_modified.unwrap_or_else(clock::now_secs),
        }
    }
}

/// The code by which [`crate::tiering::restore::on_error`] knows an error. The answer to a HEAD has no body and so no code.
fn code(error: &AwsError) -> &str {
    match (&error.code, error.kind) {
        (Some(code), _) => code,
        (None, Kind::NotFound) => "NotFound",
        (None, Kind::Denied) if error.status == Some(403) => "Forbidden",
        (None, Kind::Throttled) => "SlowDown",
        (None, Kind::Transient | Kind::Unreachable) => "ServiceUnavailable",
        (None, _) => "",
    }
}

/// Whether tags cannot be had for a reason that lies in the object or its permissions and not in the moment.
fn is_out_of_reach(error: &AwsError) -> bool {
    error.kind == Kind::NotFound || error.is("InvalidObjectState") || error.is("AccessDenied")
}

/// Whether every other object would meet the same trouble: nothing answers, or the credentials are no good. That one object
/// or bucket may not be touched is not that.
pub(crate) fn is_hopeless(error: &AwsError) -> bool {
    let names_the_object = match &error.code {
        Some(code) => code.starts_with("AccessDenied") || code.starts_with("KMS."),
        // A HEAD has no body to say more in.
        None => error.status == Some(403) && error.operation.starts_with("Head"),
    };
    error.kind == Kind::Unreachable || (error.kind == Kind::Denied && !names_the_object)
}

/// One lock for each object that is worked on in this process: as many as there are stripes, so two objects may share one,
/// which costs a wait and nothing else.
#[derive(Debug, Clone)]
struct Locks(Arc<[Mutex<()>]>);

const STRIPES: usize = 1024;

impl Default for Locks {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| Mutex::new(())).collect())
    }
}

impl Locks {
    async fn lock(&self, id: &ObjectId) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        self.0[(hasher.finish() as usize) % STRIPES].lock().await
    }
}
