//! Reading log files: fetched, inflated and parsed ahead, each in a task of its own with the CPU work off the async threads,
//! and given in the order in which they were asked for: the same files give the same counts, whichever was there first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::LogSource;
use crate::aws::{AwsResult, Kind};
use crate::state::batches::BatchFile;
use crate::tiering::access::FileAccesses;
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

/// Files that are read ahead, each with its place in whatever list it is of.
pub(super) struct ReadAhead {
    reader: Reader,
    left: VecDeque<(usize, BatchFile)>,
    ahead: VecDeque<(usize, BatchFile, AbortOnDropHandle<AwsResult<Content>>)>,
    ahead_bytes: u64,
    /// Files that are fetched at once.
    concurrency: usize,
}

impl ReadAhead {
    pub(super) fn new(reader: Reader, left: VecDeque<(usize, BatchFile)>, concurrency: usize) -> Self {
        Self { reader, left, ahead: VecDeque::new(), ahead_bytes: 0, concurrency: concurrency.max(1) }
    }

    pub(super) fn is_done(&self) -> bool {
        self.left.is_empty() && self.ahead.is_empty()
    }

    /// The next file in order; None after the last. Fails where it could not be fetched and may be later.
    pub(super) async fn next(&mut self) -> Result<Option<(usize, BatchFile, Content)>> {
        while let Some((_, file)) = self.left.front()
            && self.ahead.len() < self.concurrency
            && (self.ahead.is_empty() || self.ahead_bytes + file.size <= AHEAD_BYTES)
            && let Some((at, file)) = self.left.pop_front()
        {
            self.ahead_bytes += file.size;
            let task = tokio::spawn(self.reader.clone().read(file.clone()));
            self.ahead.push_back((at, file, AbortOnDropHandle::new(task)));
        }
        let Some((at, file, task)) = self.ahead.pop_front() else { return Ok(None) };
        let content = match task.await {
            Ok(content) => content?,
            // The same bytes would do it again, and the other files must not wait for that.
            Err(error) if error.is_panic() => Content::SetAside("the reader failed on it: a fault in tierd".into()),
            Err(error) => return Err(error).context("a file's task was cut off"),
        };
        self.ahead_bytes -= file.size;
        Ok(Some((at, file, content)))
    }
}

/// What a file came to.
pub(super) enum Content {
    Read(ReadFile),
    /// It cannot be read to its end, now or later; why.
    SetAside(String),
}

pub(super) struct ReadFile {
    /// One for each source that reads the file.
    pub(super) accesses: Vec<FileAccesses>,
    /// Inflated.
    pub(super) bytes: u64,
    pub(super) records: u64,
    pub(super) records_bad: u64,
    pub(super) errors: Vec<RecordError>,
}

/// Reads files, a bounded number of them inflated at a time.
#[derive(Clone)]
pub(super) struct Reader {
    sources: Arc<[LogSource]>,
    max_file_bytes: u64,
    /// A permit for each core; a large file takes all.
    gate: Arc<Semaphore>,
    cores: u32,
    inflaters: Arc<Mutex<Vec<Inflater>>>,
}

impl Reader {
    pub(super) fn new(sources: Arc<[LogSource]>, max_file_bytes: u64) -> Self {
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

/// Says which records were bad, with file and position.
pub(super) fn report_bad_records(file: &BatchFile, content: &ReadFile) {
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
