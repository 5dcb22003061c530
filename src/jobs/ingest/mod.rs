//! Ingest: what the access logs tell, counted into the ledger exactly once.
//!
//! A run first finishes what an earlier one left, then [finds](find) the log files that no batch has, puts them into
//! batches and [applies](apply) one batch after another. The order of effects, and what it protects:
//!
//! 1. *The manifest.* A batch's files are written down under the next number before any of them is counted. A file that is in
//!    a manifest is never put into another, so it is counted by this batch or not at all.
//! 2. *What is set aside.* All files are read and folded before anything is written; those that cannot be read to their end
//!    are noted in the manifest, then in the quarantine. From here on the batch always has the same counts, whoever
//!    applies it.
//! 3. *The rows.* One conditional update for each object, which a row that carries this number, or a later one, refuses. So
//!    the batch may be applied any number of times, by any number of writers.
//! 4. *The idle tables* of the buckets learn after how long objects were read again, guarded by the number as the rows are.
//!    A row that has this batch already still tells what it was before, so whoever repeats the batch finds the same.
//! 5. *The quarantine* forgets the files that were tried again and are now counted.
//! 6. *Done.* The next batch starts only now: a row that carries its number has got all that this one had for it.
//! 7. After the last batch the directories' *cursors* move on, and manifests expire that nobody will ask for.
//!
//! A run that ends anywhere before 6 leaves a pending batch, and the next run begins with it.
//!
//! Days are counted from the last one that a directory has shown, never from today: a trail that pauses for a year does not
//! make files look new that were counted.

mod apply;
mod batch;
mod find;
mod gaps;
pub mod history;
mod read;
mod source;
mod write;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use rustc_hash::FxHashSet;
use tokio_util::sync::CancellationToken;

use self::apply::Applied;
use self::find::Found;
pub use self::source::{LogSource, counting_rules};
use super::report::{IngestReport, Outcome};
use super::{Mode, RunOptions};
use crate::aws::{AwsError, Kind};
use crate::ledger::Ledger;
use crate::state::batches::{Batch, BatchFile, BatchStatus, Sequence};
use crate::state::quarantine::{QuarantineKind, Quarantined};
use crate::state::{State, Written};
use crate::tiering::access::Updates;

/// How much at once, and how far back.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How far before a directory's last known day it is listed by every run.
    pub lookback: Duration,
    /// Files in a batch.
    pub batch_files: usize,
    /// Compressed bytes in a batch.
    pub batch_bytes: u64,
    /// Inflated bytes of a file; a larger one is set aside.
    pub max_file_bytes: u64,
    /// Log files fetched ahead.
    pub concurrency: usize,
    /// Updates of rows in flight.
    pub write_concurrency: usize,
}

/// Ingest with all that it may touch.
#[derive(Debug)]
pub struct Ingest {
    pub state: State,
    pub ledger: Ledger,
    pub sources: Arc<[LogSource]>,
    pub limits: Limits,
}

/// Another daemon writes batches too. Its lease makes that rare, and the numbers make it harmless.
#[derive(Debug, thiserror::Error)]
#[error("another writer has taken batch {0}; this run stops, and the next one looks anew")]
struct AnotherWriter(u64);

/// A run under way.
struct Run<'a> {
    ingest: &'a Ingest,
    options: &'a RunOptions,
    now: DateTime<Utc>,
    stop: &'a CancellationToken,
    report: IngestReport,
    /// The number of the first batch that this run writes the rows of.
    first_batch: Option<u64>,
    /// Distinct objects of a dry run, by their hash: it writes no rows that would tell which objects it has had.
    dry_objects: FxHashSet<u64>,
    /// Log files that were set aside and not counted since, by their id.
    quarantined: HashMap<String, Quarantined>,
}

impl Ingest {
    /// One run. `stop` ends it after the calls that are under way; a batch that is not done then waits for the next run.
    ///
    /// Fails only where nothing could be read at all; any other trouble is in the report, as is its outcome.
    pub async fn run_once(
        &self,
        options: &RunOptions,
        now: DateTime<Utc>,
        stop: &CancellationToken,
    ) -> Result<IngestReport> {
        let mut run = Run {
            ingest: self,
            options,
            now,
            stop,
            report: IngestReport::default(),
            first_batch: None,
            dry_objects: FxHashSet::default(),
            quarantined: HashMap::new(),
        };
        options.progress.phase("listing", None);
        run.read_quarantine().await?;
        // Read before anything is listed: whoever gives a number after this makes ours be refused.
        let sequence = self.state.batch_sequence().await?;
        let pending = self.state.batch(sequence.last).await?.filter(|batch| batch.status == BatchStatus::Pending);
        if let Err(error) = run.work(sequence, pending).await {
            run.fail(&error);
        }
        Ok(run.report)
    }
}

impl Run<'_> {
    async fn work(&mut self, sequence: Sequence, pending: Option<Batch>) -> Result<()> {
        let repaired = pending.is_some();
        if let Some(batch) = pending {
            tracing::warn!(
                event = "ingest.batch.repaired",
                batch = batch.number,
                files = batch.files.len(),
                dry_run = self.is_dry(),
                "a batch that an earlier run left is applied again"
            );
            self.options.progress.phase("counting", Some(batch.files.len() as u64));
            if self.apply(batch).await? == Applied::Stopped {
                return Ok(());
            }
        }
        if repaired && !self.is_dry() {
            self.read_quarantine().await?;
        }
        self.options.progress.phase("listing", None);
        let mut found = find::find(self.ingest, self.options, self.now, self.stop, &self.quarantined).await?;
        self.report.files_skipped += found.skipped;
        self.note_listing_problems(&mut found);
        if self.stopped() {
            return Ok(());
        }
        if !self.count(sequence, std::mem::take(&mut found.files)).await? {
            return Ok(());
        }
        if !self.is_dry() {
            for id in std::mem::take(&mut found.counted_meanwhile) {
                self.release(&id).await?;
            }
            find::note(&self.ingest.state, &self.ingest.limits, &self.ingest.sources, &found, self.now).await?;
        }
        Ok(())
    }

    /// Puts files into batches and applies them, in this order. False: told to stop before all were counted.
    async fn count(&mut self, mut sequence: Sequence, files: Vec<BatchFile>) -> Result<bool> {
        self.options.progress.phase("counting", Some(files.len() as u64));
        let mut left: VecDeque<BatchFile> = files.into();
        while let Some(files) = batch::take(&mut left, &self.ingest.limits) {
            if self.stopped() {
                return Ok(false);
            }
            self.options.progress.piece(files.len() as u64, left.len() as u64);
            let next = if self.is_dry() {
                Sequence { last: sequence.last + 1, ..sequence }
            } else {
                match self.ingest.state.put_batch(sequence, &files, self.now).await? {
                    (Written::Yes, next) => next,
                    (Written::Refused, next) => return Err(AnotherWriter(next.last).into()),
                }
            };
            failpoint!("ingest.manifest-written");
            sequence = next;
            let through_day = sequence.through_day.unwrap_or_default();
            let number = sequence.last;
            let batch =
                Batch { number, status: BatchStatus::Pending, files, set_aside: None, through_day, expires: false };
            if self.apply(batch).await? == Applied::Stopped {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn note_listing_problems(&mut self, found: &mut Found) {
        let failed = found.failed_sources.len();
        let all_failed = failed > 0 && failed == self.ingest.sources.len();
        for (source, error) in std::mem::take(&mut found.failed_sources) {
            let source = &self.ingest.sources[source];
            tracing::warn!(
                event = "ingest.source.failed",
                source = source.name(),
                error = format!("{error:#}"),
                "a log source cannot be listed; its files wait for the next run"
            );
            if all_failed {
                self.report.outage |= is_outage(&error);
            }
            self.report.problems.push(format!("{} cannot be listed: {error:#}", source.name()));
        }
        self.report.problems.append(&mut found.problems);
        if failed > 0 {
            self.at_least(if all_failed { Outcome::Failed } else { Outcome::Partial });
        }
    }

    async fn read_quarantine(&mut self) -> Result<()> {
        let entries = self.ingest.state.quarantined(Some(QuarantineKind::LogFile)).await?;
        self.quarantined = entries.into_iter().map(|entry| (entry.id.clone(), entry)).collect();
        Ok(())
    }

    /// Whether the run is to end, which is then said in the report.
    fn stopped(&mut self) -> bool {
        let stopped = self.stop.is_cancelled();
        if stopped && self.report.outcome.is_none_or(|outcome| outcome < Outcome::Partial) {
            self.at_least(Outcome::Partial);
            self.report.problems.push("told to stop; what is not counted waits for the next run".to_owned());
        }
        stopped
    }

    fn fail(&mut self, error: &anyhow::Error) {
        self.report.outage |= is_outage(error);
        self.at_least(Outcome::Failed);
        self.report.problems.push(format!("{error:#}"));
    }

    fn at_least(&mut self, outcome: Outcome) {
        self.report.outcome = Some(self.report.outcome.map_or(outcome, |before| before.max(outcome)));
    }

    /// How many objects of a batch no earlier one of this dry run had. 64 bits tell them apart well enough to be counted.
    fn count_dry(&mut self, updates: Updates) -> u64 {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        updates.filter(|update| self.dry_objects.insert(hasher.hash_one(&update.object))).count() as u64
    }

    fn is_dry(&self) -> bool {
        self.options.mode == Mode::DryRun
    }

    /// Applies a batch and takes its figures into the report.
    async fn apply(&mut self, batch: Batch) -> Result<Applied> {
        let number = batch.number;
        let applied =
            self.apply_batch(&batch).await.with_context(|| format!("batch {number} waits for the next run"))?;
        if let Applied::Done(figures) = &applied {
            figures.add_to(&mut self.report);
            failpoint!("ingest.batch-done");
            self.report.batches += 1;
            if !self.is_dry() {
                tracing::info!(event = "ingest.batch.done", batch = number, figures = %figures.to_json(), "batch counted");
            }
        } else {
            self.stopped();
        }
        Ok(applied)
    }
}

/// Whether an error says that AWS cannot be used, or that something is missing that ingest needs.
fn is_outage(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<AwsError>().is_some_and(|e| e.is_outage() || e.kind == Kind::NotFound))
}
