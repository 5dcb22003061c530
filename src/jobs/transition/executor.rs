//! The executor: planned moves made true, some at a time.
//!
//! For each move, in this order, and each step may end it:
//!
//! 1. HEAD: is the object still what the move was decided for, and can all of it be carried?
//! 2. The copy, under conditions, so that a write that comes between HEAD and copy wins.
//! 3. The ledger's row, if it still speaks of the object that was moved, together with those of other moves
//!    ([`super::bookkeeper`]): so a move takes two calls and a fraction.
//! 4. Where the configuration wants it, the version that was copied is deleted, and no other. Last, since it cannot be
//!    undone.
//!
//! A crash after 2 is repaired by the next reconcile, or by the next run, which finds the object where it is wanted. A crash
//! before 4 leaves an old version, which is billed and harms nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use tokio::sync::{OnceCell, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::bookkeeper::Bookkeeper;
use super::limiter::{Limiter, Watch};
use super::obstacle::{Expected, Versions, obstacle};
use super::{Skips, add_problem};
use crate::aws::{AwsError, AwsResult, Kind};
use crate::clock;
use crate::jobs::Mode;
use crate::ledger::{Change, Ledger, Placement, Placing, ROWS_AT_ONCE};
use crate::progress::Progress;
use crate::s3::S3;
use crate::s3::bucket_facts::{AclUse, BucketFacts, Versioning};
use crate::s3::copy::{Copied, CopyError, CopyRequest, Uncarriable};
use crate::s3::object::ObjectHead;
use crate::tiering::object::{BucketName, ObjectId};
use crate::tiering::plan::{PlannedMove, Totals};
use crate::tiering::policy::guard::Copies;
use crate::tiering::policy::objection::SkipReason;
use crate::tiering::restore::RestoreStatus;
use crate::tiering::storage_class::Move;

/// How often an object is looked at again because somebody wrote to it at the moment of the copy.
const LOOKS: u32 = 3;
/// Moves that may wait for their rows to be written, besides those that are being made.
const MOVES_IN_WRITING: usize = 4 * ROWS_AT_ONCE;
/// Moves before the share of failures means anything.
const MIN_MOVES_TO_JUDGE: u64 = 20;

/// Asks for an archived object to be restored and brought back, as a person would. The restore part does the rest: the
/// object comes back into the class of restored objects, and where the policy wants another, a later run moves it on.
pub type AskForRestore = Arc<dyn Fn(ObjectId) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Makes moves.
pub struct Executor(Arc<Inner>);

struct Inner {
    s3: S3,
    ledger: Ledger,
    limiter: Limiter,
    copies: Copies,
    versions: Versions,
    restore: Option<AskForRestore>,
    concurrency: usize,
    /// As many as moves may be at S3 at once.
    slots: Semaphore,
    max_error_fraction: f64,
    facts: Mutex<HashMap<BucketName, Arc<OnceCell<BucketFacts>>>>,
}

/// What became of the moves.
#[derive(Debug, Default)]
pub struct Execution {
    /// What was moved, and what that cost and saves by the plan's figures.
    pub moved: Totals,
    /// What would have been moved by a run that only looks.
    pub would_move: Totals,
    pub failed: u64,
    pub skipped: Skips,
    pub problems: Vec<String>,
    /// Why the run stopped itself.
    pub stopped: Option<String>,
}

/// What became of one move.
#[derive(Debug)]
enum Done {
    Moved,
    /// Nothing stands in its way, and the run only looks.
    WouldMove,
    Skipped(SkipReason),
    Failed(String),
    /// Not begun, or given up, because the run ends.
    Left,
}

impl Executor {
    /// `s3` should be the handle for bulk work. `restore` is None where archived objects are left alone.
    #[expect(clippy::too_many_arguments, reason = "each is a setting of its own")]
    pub fn new(
        s3: &S3,
        ledger: Ledger,
        limiter: Limiter,
        copies: Copies,
        versions: Versions,
        restore: Option<AskForRestore>,
        concurrency: usize,
        max_error_fraction: f64,
    ) -> Self {
        Self(Arc::new(Inner {
            s3: s3.watched_by(Watch),
            ledger,
            limiter,
            copies,
            versions,
            restore,
            concurrency,
            slots: Semaphore::new(concurrency),
            max_error_fraction,
            facts: Mutex::default(),
        }))
    }

    /// Makes the moves that come in, until they end, `stop` is cancelled, or too many fail. Moves that have begun are
    /// finished; only copies in parts are given up when the run stops.
    ///
    /// In a dry run each object is looked at, and nothing is changed, neither object nor row.
    pub async fn run(
        &self,
        mode: Mode,
        moves: mpsc::Receiver<PlannedMove>,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Execution {
        let enough = stop.child_token();
        let incoming = stream::unfold((moves, enough.clone()), |(mut moves, enough)| async move {
            let next = tokio::select! {
                biased;
                () = enough.cancelled() => None,
                next = moves.recv() => next,
            };
            next.map(|planned| (planned, (moves, enough)))
        });
        let bookkeeper = Bookkeeper::start(self.0.ledger.clone());
        // A task each, so that signing and reading answers use all cores.
        let moving = incoming
            .map(|planned| {
                let (inner, bookkeeper, enough) = (self.0.clone(), bookkeeper.clone(), enough.clone());
                let id = planned.id();
                let task = tokio::spawn(async move {
                    let work = inner.execute(&planned, mode, &bookkeeper, &enough);
                    let done = inner.limiter.listen(&planned.id(), work).await;
                    (planned, done)
                });
                let task = AbortOnDropHandle::new(task);
                async move { task.await.map_err(|error| format!("{id}: the move broke off: {error}")) }
            })
            .buffer_unordered(self.0.concurrency + MOVES_IN_WRITING);
        let mut moving = std::pin::pin!(moving);
        let mut execution = Execution::default();
        let mut finished = 0;
        while let Some(outcome) = moving.next().await {
            finished += 1;
            execution.note(outcome, progress);
            let share = execution.failed as f64 / finished as f64;
            if execution.stopped.is_none() && finished >= MIN_MOVES_TO_JUDGE && share > self.0.max_error_fraction {
                execution.stopped = Some(format!(
                    "{} of {finished} moves failed, more than transition.max_error_fraction allows",
                    execution.failed
                ));
                tracing::error!(
                    event = "transition.stopped",
                    failed = execution.failed,
                    finished,
                    "too many moves fail"
                );
                enough.cancel();
            }
        }
        execution
    }
}

impl Execution {
    fn note(&mut self, outcome: Result<(PlannedMove, Done), String>, progress: &Progress) {
        let (planned, done) = match outcome {
            Ok(outcome) => outcome,
            Err(panic) => return self.fail(panic),
        };
        progress.add_done(1);
        match done {
            Done::Moved => {
                self.moved += &planned;
                progress.add_bytes(planned.size);
                let (reason, bytes) = (&planned.reason, planned.size);
                log_move!(info, "object.moved", planned, reason, bytes, "object moved");
            }
            Done::WouldMove => self.would_move += &planned,
            Done::Skipped(reason) => {
                *self.skipped.entry(reason).or_default() += 1;
                log_move!(info, "object.skipped", planned, reason = reason.as_str(), "object left where it is");
            }
            Done::Failed(problem) => {
                log_move!(warn, "object.move_failed", planned, error = problem, "object not moved");
                self.fail(problem);
            }
            Done::Left => {}
        }
    }

    fn fail(&mut self, problem: String) {
        self.failed += 1;
        add_problem(&mut self.problems, problem);
    }
}

impl Inner {
    async fn execute(
        &self,
        planned: &PlannedMove,
        mode: Mode,
        bookkeeper: &Bookkeeper,
        enough: &CancellationToken,
    ) -> Done {
        let id = planned.id();
        let facts = match self.facts(&id.bucket).await {
            Ok(facts) => facts,
            // The bucket is gone, and all in it.
            Err(error) if error.kind == Kind::NotFound => return Done::Skipped(SkipReason::Gone),
            Err(error) => return failed(error),
        };
        if let Some(reason) = self.versions.obstacle(facts.versioning) {
            return Done::Skipped(reason);
        }
        let made = {
            let Ok(_slot) = self.slots.acquire().await else { return Done::Left };
            self.make(planned, &id, mode, facts, enough).await
        };
        match made {
            Ok((head, copied)) => self.follow(planned, &id, &head, facts, copied, bookkeeper).await,
            Err(done) => done,
        }
    }

    /// Looks at the object and copies it: what was copied, and what came of it.
    async fn make(
        &self,
        planned: &PlannedMove,
        id: &ObjectId,
        mode: Mode,
        facts: BucketFacts,
        enough: &CancellationToken,
    ) -> Result<(ObjectHead, Copied), Done> {
        for _ in 0..LOOKS {
            // The head, the copy and, where ACLs count, one more: only GetObjectAcl tells an object's grants, and a copy that is
            // not sent them is private.
            let requests = 1 + self.copies.requests(planned.size) + u64::from(facts.acls == AclUse::Honoured);
            tokio::select! {
                biased;
                () = enough.cancelled() => return Err(Done::Left),
                () = self.limiter.acquire(id, requests) => {}
            }
            let head = match self.look(planned, id, mode).await {
                Ok(_) if mode == Mode::DryRun => return Err(Done::WouldMove),
                Ok(head) => head,
                Err(done) => return Err(done),
            };
            let request = CopyRequest::in_place(id, &head, planned.to, facts.acl(), self.copies);
            return Err(match self.s3.copy(&request, enough).await {
                Ok(copied) => return Ok((head, copied)),
                // Whoever writes will be done in a moment; then there is another object to look at, or the same.
                Err(CopyError::Conflict) => continue,
                Err(CopyError::Changed) => Done::Skipped(SkipReason::Changed),
                Err(CopyError::Gone) => Done::Skipped(SkipReason::Gone),
                Err(CopyError::Archived) => Done::Skipped(SkipReason::Archived),
                Err(CopyError::Uncarriable(Uncarriable::CustomerKey)) => Done::Skipped(SkipReason::CustomerKey),
                Err(CopyError::Uncarriable(what)) => {
                    tracing::info!(event = "object.uncarriable", %id, %what, "a copy would lose something");
                    Done::Skipped(SkipReason::CannotBeCarried)
                }
                Err(CopyError::Stopped) => Done::Left,
                Err(CopyError::Aws(error)) => failed(error),
            });
        }
        Err(Done::Skipped(SkipReason::Changed))
    }

    /// The object's head, if it is what the move was decided for and can be moved now.
    async fn look(&self, planned: &PlannedMove, id: &ObjectId, mode: Mode) -> Result<ObjectHead, Done> {
        let skip = |reason| Err(Done::Skipped(reason));
        let head = match self.s3.head(id).await {
            Ok(Some(head)) => head,
            Ok(None) => return skip(SkipReason::Gone),
            Err(error) if error.status == Some(400) => {
                return match self.s3.has_customer_key(id).await {
                    Ok(true) => skip(SkipReason::CustomerKey),
                    Ok(false) | Err(_) => Err(failed(error)),
                };
            }
            Err(error) => return Err(failed(error)),
        };
        match obstacle(&Expected::of(planned), &head, self.versions, clock::now()) {
            Some(SkipReason::AlreadyThere) if mode == Mode::Real => {
                return Err(self.already_there(planned, id, &head).await);
            }
            Some(reason) => return skip(reason),
            None => {}
        }
        match planned.how() {
            Move::Copy => Ok(head),
            Move::RestoreThenCopy => match RestoreStatus::from_header(head.restore.as_deref()) {
                Ok(RestoreStatus::Restored { .. }) => Ok(head),
                Ok(RestoreStatus::Ongoing) => skip(SkipReason::RestoreRequested),
                _ if mode == Mode::DryRun && self.restore.is_some() => skip(SkipReason::RestoreRequested),
                _ => Err(self.ask_for_restore(id).await),
            },
            Move::None | Move::Impossible => skip(SkipReason::ImpossibleMove),
        }
    }

    /// A run that died after its copy, or somebody else, brought the object here: the ledger learns of it.
    async fn already_there(&self, planned: &PlannedMove, id: &ObjectId, head: &ObjectHead) -> Done {
        let placement = Placement {
            etag: head.etag.clone(),
            class: head.class,
            size: head.size,
            class_since: head.last_modified.unwrap_or_else(clock::now),
        };
        match self.ledger.place(id, Some(&planned.etag), &placement).await {
            // Refused: the row has been set right since it was read.
            Ok(_) => Done::Skipped(SkipReason::AlreadyThere),
            Err(error) => failed(error),
        }
    }

    async fn ask_for_restore(&self, id: &ObjectId) -> Done {
        let Some(ask) = &self.restore else { return Done::Skipped(SkipReason::Archived) };
        match ask(id.clone()).await {
            Ok(()) => Done::Skipped(SkipReason::RestoreRequested),
            Err(problem) => Done::Failed(format!("{id} cannot be restored: {problem}")),
        }
    }

    /// What follows a copy: the ledger, and the version that was copied.
    async fn follow(
        &self,
        planned: &PlannedMove,
        id: &ObjectId,
        head: &ObjectHead,
        facts: BucketFacts,
        copied: Copied,
        bookkeeper: &Bookkeeper,
    ) -> Done {
        let now_at =
            Placement { etag: copied.etag, class: copied.class, size: head.size, class_since: clock::now_secs() };
        failpoint!("transition.object-copied");
        // A row that was changed or dropped since is left to the next reconcile, which sees the object as it is then.
        match bookkeeper.place(Placing { id: id.clone(), expected: planned.etag.clone(), now_at }).await {
            Ok(Change::Made | Change::Refused) => {}
            Err(error) => {
                let problem = format!("{id} is moved, but the ledger does not know before the next reconcile: {error}");
                return Done::Failed(problem);
            }
        }
        failpoint!("transition.ledger-updated");
        let (old, new) = (version_name(head.version_id.as_deref()), version_name(copied.version_id.as_deref()));
        if facts.versioning != Versioning::Never
            && self.versions == Versions::CopyAndDeletePrevious
            // Where versioning is suspended, the copy has written over the version itself.
            && old != new
            && let Err(error) = self.s3.delete_version(id, old).await
        {
            return Done::Failed(format!("{id} is moved, but its previous version {old} is still there: {error}"));
        }
        Done::Moved
    }

    async fn facts(&self, bucket: &BucketName) -> AwsResult<BucketFacts> {
        let cell = {
            let mut all = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(bucket.clone()).or_default().clone()
        };
        cell.get_or_try_init(|| self.s3.bucket_facts(bucket)).await.copied()
    }
}

fn failed(error: AwsError) -> Done {
    Done::Failed(error.to_string())
}

fn version_name(version_id: Option<&str>) -> &str {
    version_id.unwrap_or("null")
}
