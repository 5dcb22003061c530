//! Applying a batch: its files [read](super::read) and folded, and then, in the order that the parent module explains, what
//! was set aside, the rows, the quarantine, done.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;

use super::read::{Content, ReadAhead, ReadFile, Reader, report_bad_records};
use super::write::{self, Writer, Written as Rows};
use super::{AnotherWriter, Run, find, gaps};
use crate::jobs::report::IngestReport;
use crate::state::Written;
use crate::state::batches::{Batch, BatchFile, SetAside};
use crate::state::quarantine::{QuarantineKind, Quarantined};
use crate::tiering::access::{FileAccesses, Fold};

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
        let set_aside = |at: &usize| batch.set_aside.as_ref().is_some_and(|set_aside| set_aside.contains_key(at));
        let left = batch.files.iter().cloned().enumerate().filter(|(at, _)| !set_aside(at)).collect();
        let mut ahead = ReadAhead::new(reader, left, self.ingest.limits.concurrency);
        let rules = self.ingest.sources.first().map_or(&[][..], |source| &source.rules);
        let mut folded =
            Folded { fold: Fold::new(rules), figures: Figures::default(), newly_set_aside: BTreeMap::new() };
        while !ahead.is_done() {
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            let Some((at, file, content)) = ahead.next().await? else { break };
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
                    report_bad_records(&file, &content);
                    progress.add_bytes(content.bytes);
                    progress.add_records(content.records);
                    folded = folded.absorb(&file, content).await?;
                }
            }
        }
        Ok(Some(folded))
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
