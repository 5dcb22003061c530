//! `ledger import`: the history in an old table, keyed by ETag alone, carried over into the ledger.
//!
//! Three steps, and nothing is written before the last one:
//!
//! 1. The old table is read whole into a [`Matcher`].
//! 2. Every bucket is listed to its end, and each object that is the first with a row's ETag goes to a file without a name
//!    ([`super::spool`]). A bucket that cannot be listed ends the run here: an ETag is known to be unique only when all
//!    objects were seen.
//! 3. Each row that turned out to be of one object is added to that object's row, under the mark that this table was
//!    imported into it. So a run may be broken off and repeated, and repeated imports count once.
//!
//! The counts of an old table are added to what ingest has counted. They are the same accesses twice where the log files
//! that made the old counts are still there and are ingested too; nothing in an old table says which those were.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::report::Outcome;
use super::spool::Spool;
use super::{Mode, ahead};
use crate::aws::{AwsResult, Kind};
use crate::clock::rfc3339;
use crate::ledger::{Change, Ledger, OldTable};
use crate::progress::Progress;
use crate::s3::S3;
use crate::tiering::import::{Fate, History, Matcher, Met};
use crate::tiering::ledger_row::Listed;
use crate::tiering::object::{BucketName, ObjectId};
use crate::tiering::reconcile::Facts;
use crate::users::Users;

/// How often a write is sent again, after the SDK's own tries.
const MAX_TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What importing needs.
#[derive(Debug)]
pub struct Import {
    pub old: OldTable,
    pub ledger: Ledger,
    /// For listings.
    pub s3: S3,
    /// Where the buckets are named, besides the ledger.
    pub users: Users,
    /// Only in these buckets; empty: in those of the users and those that have rows.
    pub buckets: BTreeSet<BucketName>,
    /// Buckets listed at once.
    pub concurrency: usize,
    /// Writes to the ledger in flight at once.
    pub write_concurrency: usize,
}

/// What an import came to. `rows` is the sum of those imported, imported before, not found, ambiguous, unreadable and, in a
/// run that was told to stop, not written.
#[derive(Debug, Clone, Serialize)]
pub struct ImportReport {
    pub table: String,
    pub outcome: Outcome,
    pub dry_run: bool,
    /// Buckets that were listed.
    pub buckets: u64,
    /// Buckets that are named and do not exist.
    pub buckets_gone: u64,
    /// Objects in them.
    pub objects: u64,
    /// Rows of the old table.
    pub rows: u64,
    /// Rows whose history was added to an object's row; on a dry run, would be.
    pub imported: u64,
    /// Rows that an earlier import had added.
    pub already_imported: u64,
    /// Rows whose ETag no object has.
    pub not_found: u64,
    /// Rows whose ETag several objects have.
    pub ambiguous: u64,
    pub unreadable: u64,
    /// Rows that wait for the next run, because this one was told to stop.
    pub not_written: u64,
    /// Each row that was not carried over, and why.
    pub left_out: Vec<LeftOut>,
}

/// A row that was not carried over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LeftOut {
    pub reason: Reason,
    pub entity_tag_value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<String>,
    /// What there is to say besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    NotFound,
    Ambiguous,
    Unreadable,
}

/// An object with the ETag of a row.
#[derive(Debug, Serialize, Deserialize)]
struct Candidate {
    bucket: BucketName,
    object: Listed,
}

/// What the listings add to, a page of any bucket at a time.
struct Matching {
    matcher: Matcher,
    firsts: Spool<Candidate>,
    candidates: u64,
    objects: u64,
}

/// A candidate, judged.
enum Judged {
    Unique(Candidate, History),
    LeftOut(LeftOut),
}

impl Import {
    /// One run. `stop` ends it at its next safe point. Fails, with nothing written, where the old table cannot be read or a
    /// bucket cannot be listed; and where the ledger refuses to be written, with some rows imported that the next run passes
    /// over.
    pub async fn run_once(&self, mode: Mode, progress: &Progress, stop: &CancellationToken) -> Result<ImportReport> {
        let mut report = ImportReport::new(self.old.name(), mode);
        self.old.verify().await?;
        let matcher = self.read_old_table(&mut report, progress, stop).await?;
        let buckets = self.buckets().await?;
        let matching = self.list(buckets, matcher, &mut report, progress, stop).await?;
        report.objects = matching.objects;
        for row in matching.matcher.not_found() {
            report.leave_out(LeftOut::new(Reason::NotFound, row.etag.as_str(), Some(&row.history), None));
        }
        self.write(matching, mode, &mut report, progress, stop).await?;
        report.left_out.sort_unstable();
        let troubled = report.ambiguous + report.unreadable + report.not_written > 0;
        report.outcome = if troubled { Outcome::Partial } else { Outcome::Ok };
        Ok(report)
    }

    async fn read_old_table(
        &self,
        report: &mut ImportReport,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Matcher> {
        progress.phase("reading rows", None);
        let mut matcher = Matcher::default();
        let mut pages = self.old.rows();
        while let Some(page) = pages.next_page().await.context("reading the old table")? {
            progress.add_done(page.len() as u64);
            for row in page {
                match row {
                    Ok(row) => matcher.add(&row),
                    Err(row) => report.leave_out(LeftOut::new(Reason::Unreadable, &row.etag, None, Some(row.problem))),
                }
            }
            refuse_if_stopped(stop)?;
        }
        report.rows = matcher.len() as u64 + report.unreadable;
        Ok(matcher)
    }

    async fn buckets(&self) -> Result<BTreeSet<BucketName>> {
        if !self.buckets.is_empty() {
            return Ok(self.buckets.clone());
        }
        let mut buckets = self.ledger.buckets().await.context("asking the ledger for its buckets")?;
        let users = self.users.buckets().await;
        buckets.extend(users.context("asking the users table for buckets (--bucket names them without asking)")?);
        Ok(buckets)
    }

    /// Lists every bucket to its end.
    async fn list(
        &self,
        buckets: BTreeSet<BucketName>,
        matcher: Matcher,
        report: &mut ImportReport,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Matching> {
        progress.phase("listing buckets", Some(buckets.len() as u64));
        let matching = Mutex::new(Matching { matcher, firsts: Spool::default(), candidates: 0, objects: 0 });
        {
            let listed = &matching;
            let mut listings = stream::iter(buckets)
                .map(|bucket| async move {
                    let listed = self.list_bucket(&bucket, listed, progress, stop).await;
                    progress.add_done(1);
                    (bucket, listed)
                })
                .buffer_unordered(self.concurrency.max(1));
            while let Some((bucket, listed)) = listings.next().await {
                match listed {
                    Ok(()) => report.buckets += 1,
                    // A user's bucket may be gone; one that somebody has named is a slip.
                    Err(error) if ahead::bucket_is_gone(&error) && self.buckets.is_empty() => report.buckets_gone += 1,
                    Err(error) if stop.is_cancelled() => return Err(error),
                    Err(error) => {
                        return Err(error.context(format!(
                            "s3://{bucket} cannot be listed to its end; nothing was imported, since which ETag is whose is \
                             known only when every bucket is"
                        )));
                    }
                }
            }
        }
        Ok(matching.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    async fn list_bucket(
        &self,
        bucket: &BucketName,
        matching: &Mutex<Matching>,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<()> {
        let mut listing = ahead::listing(&self.s3, bucket);
        let mut unreported = 0;
        while let Some(object) = listing.next().await? {
            matching.lock().unwrap_or_else(PoisonError::into_inner).take(bucket, object)?;
            unreported += 1;
            if unreported == 1000 {
                progress.add_records(std::mem::take(&mut unreported));
                refuse_if_stopped(stop)?;
            }
        }
        progress.add_records(unreported);
        Ok(())
    }

    /// Adds the history of each row that is of one object to that object's row.
    async fn write(
        &self,
        matching: Matching,
        mode: Mode,
        report: &mut ImportReport,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<()> {
        progress.phase("importing rows", Some(matching.candidates));
        let matcher = &matching.matcher;
        let mut writes = stream::iter(matching.firsts.replay()?)
            .map(|candidate| async move {
                let (candidate, history) = match judge(matcher, candidate?) {
                    Judged::Unique(candidate, history) => (candidate, history),
                    Judged::LeftOut(row) => return anyhow::Ok(Done::LeftOut(row)),
                };
                if stop.is_cancelled() {
                    return Ok(Done::NotWritten);
                }
                let change = self
                    .carry_over(candidate, &history, mode)
                    .await
                    .context("writing to the ledger; run it again, and what is imported by now will be passed over")?;
                failpoint!("import.row-imported");
                Ok(Done::Changed(change))
            })
            .buffer_unordered(self.write_concurrency.max(1));
        while let Some(done) = writes.try_next().await? {
            progress.add_done(1);
            match done {
                Done::Changed(Change::Made) => report.imported += 1,
                Done::Changed(Change::Refused) => report.already_imported += 1,
                Done::NotWritten => report.not_written += 1,
                Done::LeftOut(row) => report.leave_out(row),
            }
        }
        Ok(())
    }

    async fn carry_over(&self, candidate: Candidate, history: &History, mode: Mode) -> AwsResult<Change> {
        let Candidate { bucket, object } = candidate;
        let id = ObjectId::new(bucket, object.key);
        let facts =
            Facts { etag: object.etag, class: object.class, size: object.size, class_since: object.last_modified };
        let table = self.old.name();
        if mode == Mode::DryRun {
            let there = self.ledger.has_import(&id, table).await?;
            return Ok(if there { Change::Refused } else { Change::Made });
        }
        let mut tries = 0;
        loop {
            match self.ledger.import(&id, history, &facts, table).await {
                Err(error)
                    if tries < MAX_TRIES
                        && matches!(
                            error.kind,
                            Kind::Throttled | Kind::Transient | Kind::Unreachable | Kind::Conflict
                        ) =>
                {
                    tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(tries)).await;
                    tries += 1;
                }
                result => return result,
            }
        }
    }
}

enum Done {
    Changed(Change),
    NotWritten,
    LeftOut(LeftOut),
}

/// What becomes of the first object with a row's ETag, now that all objects were seen.
fn judge(matcher: &Matcher, candidate: Candidate) -> Judged {
    match matcher.fate(&candidate.object.etag) {
        Some((history, Fate::Ambiguous { objects })) => {
            let first = ObjectId::new(candidate.bucket, candidate.object.key);
            let detail = format!("{objects} objects have this ETag, {first} among them");
            let etag = candidate.object.etag.as_str();
            Judged::LeftOut(LeftOut::new(Reason::Ambiguous, etag, Some(&history), Some(detail)))
        }
        Some((history, _)) => Judged::Unique(candidate, history),
        None => unreachable!("only what has a row is a candidate"),
    }
}

impl Matching {
    fn take(&mut self, bucket: &BucketName, object: Listed) -> Result<()> {
        self.objects += 1;
        if self.matcher.meet(&object.etag) == Met::First {
            self.candidates += 1;
            self.firsts.push(&Candidate { bucket: bucket.clone(), object })?;
        }
        Ok(())
    }
}

impl ImportReport {
    fn new(table: &str, mode: Mode) -> Self {
        Self {
            table: table.to_owned(),
            outcome: Outcome::Ok,
            dry_run: mode == Mode::DryRun,
            buckets: 0,
            buckets_gone: 0,
            objects: 0,
            rows: 0,
            imported: 0,
            already_imported: 0,
            not_found: 0,
            ambiguous: 0,
            unreadable: 0,
            not_written: 0,
            left_out: Vec::new(),
        }
    }

    fn leave_out(&mut self, row: LeftOut) {
        *match row.reason {
            Reason::NotFound => &mut self.not_found,
            Reason::Ambiguous => &mut self.ambiguous,
            Reason::Unreadable => &mut self.unreadable,
        } += 1;
        self.left_out.push(row);
    }
}

impl LeftOut {
    fn new(reason: Reason, etag: &str, history: Option<&History>, detail: Option<String>) -> Self {
        Self {
            reason,
            entity_tag_value: etag.to_owned(),
            count: history.map(|history| history.count),
            event_time: history.and_then(|history| history.latest).map(rfc3339),
            detail,
        }
    }
}

impl Reason {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "no object has this ETag",
            Self::Ambiguous => "more than one object has this ETag",
            Self::Unreadable => "the row cannot be read",
        }
    }
}

fn refuse_if_stopped(stop: &CancellationToken) -> Result<()> {
    if stop.is_cancelled() {
        bail!("told to stop before anything was imported");
    }
    Ok(())
}
