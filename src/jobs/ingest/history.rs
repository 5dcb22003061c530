//! The logs of the configured sources read once more, for a trace of what happened: nothing is counted, and nothing written.
//!
//! Every log directory is listed from the first day that is asked for to the last, and a look-back longer, since logs come
//! late; the files are read in the order of their publishing. Then the buckets that the logs tell of are listed, for the
//! sizes that no log told and for the objects that nobody has used, which are stored all the same.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context, Result};
use chrono::{Days, NaiveDate, NaiveTime};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::find::{self, Directory, Known, LISTINGS_AT_ONCE};
use super::read::{Content, ReadAhead, ReadFile, Reader, report_bad_records};
use super::{Limits, LogSource, batch};
use crate::aws::{AwsError, Kind};
use crate::progress::Progress;
use crate::s3::S3;
use crate::s3::list::ListRequest;
use crate::state::batches::BatchFile;
use crate::tiering::access::CountRule;
use crate::tiering::object::BucketName;
use crate::tiering::simulate::logs::LogTrace;

/// Logs that can be read for a trace.
#[derive(Debug)]
pub struct History {
    /// Made with the rules of [`crate::tiering::simulate::logs::rules`].
    pub sources: Arc<[LogSource]>,
    pub limits: Limits,
    /// Lists the buckets that the logs tell of.
    pub buckets: S3,
    /// By which accesses count.
    pub counting: Vec<CountRule>,
}

/// Days, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub first: NaiveDate,
    /// The day after the last.
    pub end: NaiveDate,
}

/// What was read.
#[derive(Debug)]
pub struct ReadHistory {
    pub trace: LogTrace,
    pub files: u64,
    pub records: u64,
    pub records_bad: u64,
    /// Files that cannot be read to their end, and why: nothing of them is in the trace.
    pub unreadable: Vec<String>,
    /// Buckets that cannot be listed, and why.
    pub unlisted: Vec<String>,
}

impl History {
    /// Reads what the logs tell of `window`, and lists the buckets that they tell of.
    ///
    /// Fails where a source cannot be listed or a file not be fetched: the trace would lack what nobody knows of.
    pub async fn read(&self, window: Window, progress: &Progress) -> Result<ReadHistory> {
        progress.phase("listing logs", None);
        let mut files: VecDeque<BatchFile> = self.list_logs(window, progress).await?.into();
        progress.phase("reading logs", Some(files.len() as u64));
        let secs = |day: NaiveDate| u32::try_from(day.and_time(NaiveTime::MIN).and_utc().timestamp().max(0));
        let times = secs(window.first).unwrap_or(u32::MAX)..secs(window.end).unwrap_or(u32::MAX);
        let mut read = ReadHistory {
            trace: LogTrace::new(&self.counting, times),
            files: 0,
            records: 0,
            records_bad: 0,
            unreadable: Vec::new(),
            unlisted: Vec::new(),
        };
        let reader = Reader::new(self.sources.clone(), self.limits.max_file_bytes);
        while let Some(batch) = batch::take(&mut files, &self.limits) {
            let batch = batch.into_iter().enumerate().collect();
            let mut ahead = ReadAhead::new(reader.clone(), batch, self.limits.concurrency);
            while let Some((_, file, content)) = ahead.next().await? {
                progress.add_done(1);
                match content {
                    Content::SetAside(reason) => read.unreadable.push(format!("{}: {reason}", file.id())),
                    Content::Read(content) => {
                        report_bad_records(&file, &content);
                        read = read.absorb(content, progress).await?;
                    }
                }
            }
            read.trace.end_batch();
        }
        self.list_buckets(&mut read, progress).await?;
        Ok(read)
    }

    /// The files that may tell of `window`, in the order of their publishing.
    async fn list_logs(&self, window: Window, progress: &Progress) -> Result<Vec<BatchFile>> {
        let never = CancellationToken::new();
        let (directories, failed) = find::discover(&self.sources, &never).await;
        if let Some((source, error)) = failed.into_iter().next() {
            return Err(error.context(format!("listing the logs of {}", self.sources[source].name())));
        }
        let known = Known::default();
        let (known, never) = (&known, &never);
        let listings = directories.into_iter().map(|directory| {
            async move {
                let prefix = directory.place.prefix.clone();
                self.list_directory(&directory, window, known, progress, never)
                    .await
                    .with_context(|| format!("listing {prefix}"))
            }
            .boxed()
        });
        let files: Vec<Vec<find::Dated>> =
            stream::iter(listings).buffer_unordered(LISTINGS_AT_ONCE).try_collect().await?;
        Ok(find::in_order(files.into_iter().flatten().collect()))
    }

    async fn list_directory(
        &self,
        directory: &Directory,
        window: Window,
        known: &Known,
        progress: &Progress,
        never: &CancellationToken,
    ) -> Result<Vec<find::Dated>> {
        // What happens on a day is published on that day or later.
        let late = Days::new(self.limits.lookback.as_secs().div_ceil(86_400));
        let until = window.end.checked_add_days(late).unwrap_or(NaiveDate::MAX);
        let listed = find::list_directory(&self.sources, directory, Some(window.first), known, progress, never).await?;
        let mut files = listed.new;
        files.retain(|(_, file)| (window.first..=until).contains(&file.day));
        Ok(files)
    }

    /// Lists the buckets of the trace. One that cannot be listed is noted, and the trace goes without.
    async fn list_buckets(&self, read: &mut ReadHistory, progress: &Progress) -> Result<()> {
        let buckets = read.trace.buckets().to_vec();
        progress.phase("listing buckets", None);
        for bucket in buckets {
            match self.list_bucket(&bucket, read, progress).await {
                Ok(()) => read.trace.is_listed(&bucket),
                Err(error) if error.downcast_ref::<AwsError>().is_some_and(is_lasting) => {
                    read.unlisted.push(format!("s3://{bucket}: {error:#}"));
                }
                Err(error) => return Err(error.context(format!("listing s3://{bucket}"))),
            }
        }
        Ok(())
    }

    async fn list_bucket(&self, bucket: &BucketName, read: &mut ReadHistory, progress: &Progress) -> Result<()> {
        let mut pager = self.buckets.list(bucket, ListRequest::default());
        while let Some(page) = pager.next_page().await? {
            progress.add_done(page.len() as u64);
            for object in page {
                read.trace.list(bucket, object.key.as_str(), object.size)?;
            }
        }
        Ok(())
    }
}

/// Whether asking again would bring the same answer: the bucket is gone, another's, or of another region.
fn is_lasting(error: &AwsError) -> bool {
    matches!(error.kind, Kind::NotFound | Kind::Denied | Kind::Refused)
}

impl ReadHistory {
    async fn absorb(mut self, content: ReadFile, progress: &Progress) -> Result<Self> {
        progress.add_bytes(content.bytes);
        progress.add_records(content.records);
        self.files += 1;
        self.records += content.records;
        self.records_bad += content.records_bad;
        tokio::task::spawn_blocking(move || {
            for accesses in &content.accesses {
                self.trace.absorb(accesses)?;
            }
            Ok(self)
        })
        .await
        .context("taking a file into the trace")?
    }
}
