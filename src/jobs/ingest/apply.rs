//! Applying a batch: its files fetched, inflated, parsed and folded, and then, in the order that the parent module
//! explains, what was set aside, the rows, the quarantine, done.
//!
//! Files are fetched and parsed ahead, each in a task of its own with the CPU work off the async threads, and absorbed in
//! the order of the manifest: the same manifest gives the same counts, whichever file was there first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::write::{self, Writer, Written as Rows};
use super::{AnotherWriter, LogSource, Run, find, gaps};
use crate::aws::{AwsResult, Kind};
use crate::jobs::report::IngestReport;
use crate::state::Written;
use crate::state::batches::{Batch, BatchFile, SetAside};
use crate::state::quarantine::{QuarantineKind, Quarantined};
use crate::tiering::access::{FileAccesses, Fold};
use crate::tiering::access_log::RecordError;
use crate::tiering::access_log::gzip::Inflater;

/// Compressed bytes that are fetched ahead, at most, besides one file of any size.
const AHEAD_BYTES: u64 = 64 << 20;
/// A file that inflates to more than this is inflated alone.
const LARGE_FILE_BYTES: usize = 64 << 20;
/// An inflater keeps a buffer of at most this size for the next file.
const KEPT_BUFFER_BYTES: usize = 16 << 20;
/// How often a GET is tried whose body broke off; what fails before the body is repeated by the SDK.
const FETCH_TRIES: u32 = 4;

#[derive(Debug, PartialEq)]
pub(super) enum Applied {
    Done(Figures),
    /// Told to stop; the batch waits for the next run.
    Stopped,
}

/// What a batch came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Figures {
    files: u64,
    files_failed: u64,
    bytes_compressed: u64,
    bytes: u64,
    records: u64,
    records_bad: u64,
    accesses: u64,
    duplicates: u64,
    objects: u64,
    /// Of these, those that no earlier batch of the run had.
    #[serde(skip)]
    new_to_run: u64,
}

impl Figures {
    pub(super) fn add_to(&self, report: &mut IngestReport) {
        report.files += self.files;
        report.files_failed += self.files_failed;
        report.bytes_compressed += self.bytes_compressed;
        report.bytes += self.bytes;
        report.records += self.records;
        report.records_bad += self.records_bad;
        report.accesses += self.accesses;
        report.duplicates += self.duplicates;
        report.objects += self.new_to_run;
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("numbers are plain data")
    }
}

/// A batch, read and folded.
struct Folded {
    fold: Fold,
    figures: Figures,
    /// Found unreadable now; with what the manifest says, all that is set aside.
    newly_set_aside: SetAside,
}

impl Run<'_> {
    /// Applies a batch, or in a dry run does all of it that changes nothing.
    pub(super) async fn apply_batch(&mut self, batch: &Batch) -> Result<Applied> {
        let Some(folded) = self.read_files(batch).await? else { return Ok(Applied::Stopped) };
        let Folded { fold, mut figures, newly_set_aside } = folded;
        let set_aside = self.set_aside(batch, newly_set_aside).await?;
        figures.files_failed = set_aside.len() as u64;
        figures.objects = fold.len() as u64;
        let updates = tokio::task::spawn_blocking(move || fold.into_updates()).await.context("sorting the updates")?;
        if self.is_dry() {
            figures.new_to_run = self.count_dry(updates);
            return Ok(Applied::Done(figures));
        }
        // Rows take longer than files where a batch has many objects: they have a phase of their own, between the files.
        let progress = &self.options.progress;
        let counting = progress.read();
        progress.phase("writing rows", Some(updates.len() as u64));
        let writer = Writer {
            ledger: &self.ingest.ledger,
            batch: batch.number,
            first_batch: *self.first_batch.get_or_insert(batch.number),
            max_in_flight: self.ingest.limits.write_concurrency,
            progress,
            stop: self.stop,
        };
        let rows = write::write(&writer, updates).await?;
        progress.resume(&counting);
        let Rows::All(told) = rows else { return Ok(Applied::Stopped) };
        figures.new_to_run = told.new_to_run;
        failpoint!("ingest.rows-written");
        gaps::note(&self.ingest.state, told.closed, batch.number).await?;
        failpoint!("ingest.gaps-noted");
        self.release_counted(batch, &set_aside).await?;
        match self.ingest.state.finish_batch(batch.number, &figures.to_json(), self.now).await? {
            Written::Yes => Ok(Applied::Done(figures)),
            Written::Refused => Err(AnotherWriter(batch.number).into()),
        }
    }

    /// Reads all files of a batch that are not set aside yet. None: told to stop.
    async fn read_files(&self, batch: &Batch) -> Result<Option<Folded>> {
        let reader = Reader::new(self.ingest.sources.clone(), self.ingest.limits.max_file_bytes);
        let progress = &self.options.progress;
        let mut left: VecDeque<(usize, &BatchFile)> = batch.files.iter().enumerate().collect();
        if let Some(set_aside) = &batch.set_aside {
            left.retain(|(at, _)| !set_aside.contains_key(at));
        }
        let mut ahead: VecDeque<(usize, &BatchFile, AbortOnDropHandle<AwsResult<Content>>)> = VecDeque::new();
        let mut ahead_bytes = 0;
        let rules = self.ingest.sources.first().map_or(&[][..], |source| &source.rules);
        let mut folded =
            Folded { fold: Fold::new(rules), figures: Figures::default(), newly_set_aside: BTreeMap::new() };
        loop {
            while let Some((at, file)) = left.front()
                && ahead.len() < self.ingest.limits.concurrency.max(1)
                && (ahead.is_empty() || ahead_bytes + file.size <= AHEAD_BYTES)
            {
                ahead_bytes += file.size;
                let task = tokio::spawn(reader.clone().read((*file).clone()));
                ahead.push_back((*at, file, AbortOnDropHandle::new(task)));
                left.pop_front();
            }
            let Some((at, file, task)) = ahead.pop_front() else { return Ok(Some(folded)) };
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            let content = match task.await {
                Ok(content) => content?,
                // The same bytes would do it again, and the other files must not wait for that.
                Err(error) if error.is_panic() => Content::SetAside("the reader failed on it: a fault in tierd".into()),
                Err(error) => return Err(error).context("a file's task was cut off"),
            };
            ahead_bytes -= file.size;
            progress.add_done(1);
            match content {
                Content::SetAside(reason) => {
                    tracing::warn!(
                        event = "ingest.file.set_aside",
                        file = file.id(),
                        reason,
                        dry_run = self.is_dry(),
                        "a log file cannot be read to its end"
                    );
                    folded.newly_set_aside.insert(at, reason);
                }
                Content::Read(content) => {
                    report_bad_records(file, &content);
                    progress.add_bytes(content.bytes);
                    progress.add_records(content.records);
                    folded = folded.absorb(file, content).await?;
                }
            }
        }
    }

    /// Notes what is set aside: in the manifest, so that it stays so, and then in the quarantine. Gives all of it.
    async fn set_aside(&mut self, batch: &Batch, new: SetAside) -> Result<SetAside> {
        let before = batch.set_aside.clone();
        let mut all = before.clone().unwrap_or_default();
        all.extend(new.iter().map(|(at, reason)| (*at, reason.clone())));
        if self.is_dry() {
            return Ok(all);
        }
        if before.as_ref() != Some(&all) {
            let settled = self.ingest.state.settle_batch(batch.number, before.as_ref(), &all).await?;
            if settled == Written::Refused {
                return Err(AnotherWriter(batch.number).into());
            }
            failpoint!("ingest.set-aside-noted");
        }
        for (at, reason) in &all {
            let file = &batch.files[*at];
            let id = file.id();
            // What the manifest said before is in the quarantine, unless its writer died just then.
            let is_there = self.quarantined.get(&id).is_some_and(|entry| !entry.retry);
            if is_there && !new.contains_key(at) {
                continue;
            }
            let entry = Quarantined {
                kind: QuarantineKind::LogFile,
                id,
                reason: reason.clone(),
                at: self.now,
                retry: false,
                payload: find::payload(file),
            };
            self.ingest.state.quarantine(&entry).await?;
            failpoint!("ingest.file-quarantined");
            self.quarantined.insert(entry.id.clone(), entry);
        }
        Ok(all)
    }

    /// Takes the files out of the quarantine that were tried again and are counted.
    async fn release_counted(&mut self, batch: &Batch, set_aside: &SetAside) -> Result<()> {
        for (at, file) in batch.files.iter().enumerate() {
            if !set_aside.contains_key(&at) && self.quarantined.contains_key(&file.id()) {
                self.release(&file.id()).await?;
            }
        }
        Ok(())
    }

    /// Takes one file out of the quarantine.
    pub(super) async fn release(&mut self, id: &str) -> Result<()> {
        self.ingest.state.release_quarantine(QuarantineKind::LogFile, id).await?;
        failpoint!("ingest.file-released");
        self.quarantined.remove(id);
        Ok(())
    }
}

impl Folded {
    async fn absorb(mut self, file: &BatchFile, content: ReadFile) -> Result<Self> {
        self.figures.files += 1;
        self.figures.bytes_compressed += file.size;
        self.figures.bytes += content.bytes;
        self.figures.records += content.records;
        self.figures.records_bad += content.records_bad;
        if content.accesses.iter().all(FileAccesses::is_empty) {
            return Ok(self);
        }
        tokio::task::spawn_blocking(move || {
            for accesses in &content.accesses {
                let absorbed = self.fold.absorb(accesses);
                self.figures.accesses += absorbed.accesses;
                self.figures.duplicates += absorbed.duplicates;
            }
            self
        })
        .await
        .context("folding a file")
    }
}

fn report_bad_records(file: &BatchFile, content: &ReadFile) {
    let place = file.id();
    for error in &content.errors {
        tracing::warn!(event = "record.rejected", file = place, record = error.record, offset = error.offset, reason = %error.reason, "a record of a log file cannot be read");
    }
    let unsaid = content.records_bad.saturating_sub(content.errors.len() as u64);
    if unsaid > 0 {
        tracing::warn!(
            event = "record.rejected",
            file = place,
            more = unsaid,
            "more records of this log file cannot be read"
        );
    }
}

/// What a file came to.
enum Content {
    Read(ReadFile),
    /// It cannot be read to its end, now or later; why.
    SetAside(String),
}

struct ReadFile {
    /// One for each source that reads the file.
    accesses: Vec<FileAccesses>,
    /// Inflated.
    bytes: u64,
    records: u64,
    records_bad: u64,
    errors: Vec<RecordError>,
}

/// Reads files, a bounded number of them inflated at a time.
#[derive(Clone)]
struct Reader {
    sources: Arc<[LogSource]>,
    max_file_bytes: u64,
    /// A permit for each core; a large file takes all.
    gate: Arc<Semaphore>,
    cores: u32,
    inflaters: Arc<Mutex<Vec<Inflater>>>,
}

impl Reader {
    fn new(sources: Arc<[LogSource]>, max_file_bytes: u64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get().min(64));
        Self {
            sources,
            max_file_bytes,
            gate: Arc::new(Semaphore::new(cores)),
            cores: u32::try_from(cores).expect("at most 64"),
            inflaters: Arc::default(),
        }
    }

    /// Fails where the file could not be fetched and may be later.
    async fn read(self, file: BatchFile) -> AwsResult<Content> {
        let Some(source) = self.sources.iter().find(|source| source.reads(&file)) else {
            return Ok(Content::SetAside("no source of the configuration reads it".to_owned()));
        };
        if file.size > self.max_file_bytes {
            return Ok(Content::SetAside(format!("the file is larger than {} bytes", self.max_file_bytes)));
        }
        let bytes = match fetch(source, &file).await? {
            Ok(bytes) => bytes,
            Err(reason) => return Ok(Content::SetAside(reason)),
        };
        let permits = if inflated_hint(&bytes) > LARGE_FILE_BYTES { self.cores } else { 1 };
        let permit = self.gate.clone().acquire_many_owned(permits).await.expect("the gate is never closed");
        let parsed = tokio::task::spawn_blocking(move || {
            let content = self.parse(&file, &bytes);
            drop(permit);
            content
        });
        match parsed.await {
            Ok(content) => Ok(content),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn parse(&self, file: &BatchFile, bytes: &[u8]) -> Content {
        let pooled = self.inflaters.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut inflater = pooled.unwrap_or_default();
        let content = self.parse_with(&mut inflater, file, bytes);
        inflater.shrink_to(KEPT_BUFFER_BYTES);
        self.inflaters.lock().unwrap_or_else(PoisonError::into_inner).push(inflater);
        content
    }

    fn parse_with(&self, inflater: &mut Inflater, file: &BatchFile, bytes: &[u8]) -> Content {
        let max_bytes = usize::try_from(self.max_file_bytes).unwrap_or(usize::MAX);
        let mut readers = self.sources.iter().filter(|source| source.reads(file)).peekable();
        let Some(encoding) = readers.peek().map(|source| source.encoding) else {
            return Content::SetAside("no source of the configuration reads it".to_owned());
        };
        let text = match inflater.read(bytes, encoding, max_bytes) {
            Ok(text) => text,
            Err(error) => return Content::SetAside(error.to_string()),
        };
        // Every source has its own rules; records and bad ones are those of the first.
        let mut parsed = readers.map(|source| source.parser.parse(text));
        let first = parsed.next().unwrap_or_default();
        let mut accesses = vec![first.accesses];
        accesses.extend(parsed.map(|other| other.accesses));
        Content::Read(ReadFile {
            accesses,
            bytes: text.len() as u64,
            records: first.records,
            records_bad: first.records_bad,
            errors: first.errors,
        })
    }
}

/// The file's bytes, or why it is one that cannot be read, now or later.
async fn fetch(source: &LogSource, file: &BatchFile) -> AwsResult<Result<Vec<u8>, String>> {
    let mut tries = 0;
    loop {
        tries += 1;
        match source.s3.get(&file.place.bucket, &file.key, &file.etag).await {
            Ok(bytes) => return Ok(Ok(bytes)),
            Err(error) if error.is("NoSuchKey") => return Ok(Err("the file is gone".to_owned())),
            Err(error) if error.kind == Kind::Precondition => {
                return Ok(Err("the file was replaced after it was listed".to_owned()));
            }
            Err(error) if error.is("InvalidObjectState") => {
                return Ok(Err("the file is archived; restore it, then have it tried again".to_owned()));
            }
            Err(error) if tries < FETCH_TRIES && matches!(error.kind, Kind::Transient | Kind::Throttled) => {
                tokio::time::sleep(Duration::from_millis(250) * 2_u32.pow(tries)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// How large a file says that it is, inflated; what it says need not be true.
fn inflated_hint(bytes: &[u8]) -> usize {
    let says = bytes.last_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
    // Deflate makes little more than a thousandth of anything.
    if says > bytes.len().saturating_mul(1100) { bytes.len().saturating_mul(20) } else { says.max(bytes.len()) }
}
