//! One shard, read from its checkpoint to its end.
//!
//! A page's records are served side by side, but those of one user one after another. The checkpoint moves over the records
//! at the front of the page that are all done, and is written after their effects, under the lease's fence. The page that
//! comes with a null iterator is handled before the null is believed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use aws_sdk_dynamodbstreams::types::{AttributeValue, Record, ShardIteratorType};
use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::poller::Beat;
use super::saga::{Origin, ProvisionError};
use super::server::{Ending, Pause, Server, Waited, wait};
use crate::aws::{AwsError, AwsResult, Kind};
use crate::clock;
use crate::metrics::{About, Unit};
use crate::state::Written;
use crate::tiering::object::UserId;
use crate::tiering::shards::{
    Checkpoint, IdleBackoff, Lineage, Position, SequenceNumber, ShardEnd, ShardId, ShardStart, StartAt,
};
use crate::tiering::user_event::{EventName, KeyValue, UriInImage, UserRecord, Verdict, classify};

/// What all readers of a stream share.
pub(super) struct Reading {
    pub(super) client: aws_sdk_dynamodbstreams::Client,
    pub(super) server: Server,
    pub(super) arn: String,
    pub(super) fence: u64,
    pub(super) events: Vec<EventName>,
    pub(super) backoff: IdleBackoff,
    /// Pages in hand at once, over all shards.
    pub(super) pages: Semaphore,
    pub(super) beat: Beat,
    pub(super) halt: CancellationToken,
    lineage: Mutex<Lineage>,
    tips: Mutex<BTreeMap<ShardId, Tip>>,
}

/// How near to the newest record a shard is read.
#[derive(Debug, Clone, Copy, Default)]
struct Tip {
    /// Everything up to then was read; None while that is not known.
    read_to: Option<DateTime<Utc>>,
    /// How old the last record was when it was done; 0 when nothing waits.
    lag_secs: f64,
}

/// How a reader ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReaderEnd {
    /// The shard is read to its end, and its last checkpoint saved.
    Finished,
    /// It was told to stop.
    Halted,
    /// The service knows the shard no more.
    Gone,
    /// Records after the checkpoint are lost.
    Trimmed,
    /// A later holder of the lease has written.
    Fenced,
}

/// How the work on one page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PageEnd {
    Done,
    Halted,
    Fenced,
}

/// A record, as far as it is to be handled.
enum Work {
    Serve { user: UserId, created: DateTime<Utc> },
    SetAside { sequence: String, reason: String },
    Pass,
}

impl Reading {
    #[allow(clippy::too_many_arguments, reason = "it is made in one place, from the poller's own parts")]
    pub(super) fn new(
        client: aws_sdk_dynamodbstreams::Client,
        server: Server,
        arn: String,
        fence: u64,
        events: Vec<EventName>,
        backoff: IdleBackoff,
        beat: Beat,
        halt: CancellationToken,
        lineage: Lineage,
    ) -> Self {
        Self {
            pages: Semaphore::new(server.concurrency()),
            client,
            server,
            arn,
            fence,
            events,
            backoff,
            beat,
            halt,
            lineage: Mutex::new(lineage),
            tips: Mutex::default(),
        }
    }

    pub(super) fn lineage(&self) -> MutexGuard<'_, Lineage> {
        self.lineage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tips(&self) -> MutexGuard<'_, BTreeMap<ShardId, Tip>> {
        self.tips.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to when all shards that are being read were read. None: of some it is not known.
    pub(super) fn read_to(&self) -> Option<DateTime<Utc>> {
        let tips = self.tips();
        let all: Option<Vec<_>> = tips.values().map(|tip| tip.read_to).collect();
        all?.into_iter().min()
    }

    pub(super) fn lag_secs(&self) -> f64 {
        self.tips().values().map(|tip| tip.lag_secs).fold(0.0, f64::max)
    }

    /// Saves a checkpoint, however long that takes while nobody says stop.
    pub(super) async fn save(&self, checkpoint: &Checkpoint) -> AwsResult<Written> {
        let mut pause = Pause::new(self.server.patience());
        loop {
            let error = match self.server.saga().state().save_checkpoint(&self.arn, checkpoint, self.fence).await {
                Ok(written) => return Ok(written),
                Err(error) => error,
            };
            if error.is_permanent() || error.kind == Kind::Denied {
                return Err(error);
            }
            tracing::warn!(
                event = "checkpoint.delayed",
                shard = checkpoint.shard.as_str(),
                %error,
                "a checkpoint could not be saved; it is tried again"
            );
            if pause.wait(&self.halt).await == Waited::Stopped {
                return Err(error);
            }
        }
    }

    async fn save_shard(&self, shard: &ShardId) -> AwsResult<Written> {
        let checkpoint = self.lineage().checkpoint(shard);
        match checkpoint {
            Some(checkpoint) => self.save(&checkpoint).await,
            None => Ok(Written::Yes),
        }
    }

    /// Reads a shard that was begun. Fails with what no retry mends.
    pub(super) async fn read(self: Arc<Self>, start: ShardStart) -> Result<ReaderEnd> {
        let shard = start.shard.clone();
        self.tips().insert(shard.clone(), Tip::default());
        let end = self.read_on(start).await;
        self.tips().remove(&shard);
        end
    }

    async fn read_on(&self, start: ShardStart) -> Result<ReaderEnd> {
        let ShardStart { shard, from, .. } = start;
        let mut iterator = None;
        let mut empty_pages: u32 = 0;
        let mut pause = Pause::new(self.server.patience());
        loop {
            if self.halt.is_cancelled() {
                return Ok(ReaderEnd::Halted);
            }
            let asked_at = clock::now();
            let got = {
                let _place = self.pages.acquire().await.context("the semaphore is never closed")?;
                self.next_page(&shard, &from, &mut iterator).await
            };
            let (records, next) = match got {
                Ok(page) => page,
                Err(error) if error.is("ExpiredIteratorException") => {
                    // Made anew after the last record that took effect. The pause is for a server on which all expire.
                    iterator = None;
                    if pause.wait(&self.halt).await == Waited::Stopped {
                        return Ok(ReaderEnd::Halted);
                    }
                    continue;
                }
                Err(error) if error.is("TrimmedDataAccessException") => return Ok(ReaderEnd::Trimmed),
                Err(error) if error.kind == Kind::NotFound => return Ok(ReaderEnd::Gone),
                Err(error) if error.is_permanent() || error.kind == Kind::Denied => {
                    return Err(error).with_context(|| format!("reading shard {shard} of the users table's stream"));
                }
                Err(error) => {
                    tracing::debug!(event = "stream.delayed", shard = shard.as_str(), %error, "a read of the stream is tried again");
                    if pause.wait(&self.halt).await == Waited::Stopped {
                        return Ok(ReaderEnd::Halted);
                    }
                    continue;
                }
            };
            pause.reset();
            self.beat.polled();
            empty_pages = if records.is_empty() { empty_pages.saturating_add(1) } else { 0 };
            match self.page(&shard, &records).await? {
                PageEnd::Done => {}
                PageEnd::Halted => return Ok(ReaderEnd::Halted),
                PageEnd::Fenced => return Ok(ReaderEnd::Fenced),
            }
            self.note_tip(&shard, &records, empty_pages, asked_at);
            let Some(next) = next else { return self.finish(&shard).await };
            iterator = Some(next);
            let end = self.lineage().end(&shard);
            if wait(self.backoff.delay(empty_pages, end), &self.halt).await == Waited::Stopped {
                return Ok(ReaderEnd::Halted);
            }
        }
    }

    /// The next page and the iterator after it, making an iterator first where there is none.
    async fn next_page(
        &self,
        shard: &ShardId,
        from: &StartAt,
        iterator: &mut Option<String>,
    ) -> AwsResult<(Vec<Record>, Option<String>)> {
        let current = match iterator {
            Some(iterator) => iterator.clone(),
            None => iterator.insert(self.make_iterator(shard, from).await?).clone(),
        };
        let answer = self.client.get_records().shard_iterator(current).send().await;
        let answer = answer.map_err(|e| AwsError::new("GetRecords", shard, e))?;
        Ok((answer.records.unwrap_or_default(), answer.next_shard_iterator))
    }

    async fn make_iterator(&self, shard: &ShardId, from: &StartAt) -> AwsResult<String> {
        // What took effect since the start counts, not where this reader began.
        let position = self.lineage().checkpoint(shard).map(|checkpoint| checkpoint.position);
        let from = match position {
            Some(Position::After(sequence)) => StartAt::After(sequence),
            _ => from.clone(),
        };
        let request = self.client.get_shard_iterator().stream_arn(&self.arn).shard_id(shard.as_str());
        let request = match from {
            StartAt::TrimHorizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            StartAt::After(sequence) => {
                request.shard_iterator_type(ShardIteratorType::AfterSequenceNumber).sequence_number(sequence.as_str())
            }
        };
        let answer = request.send().await.map_err(|e| AwsError::new("GetShardIterator", shard, e))?;
        answer.shard_iterator.ok_or_else(|| {
            AwsError::from_entry("GetShardIterator", shard, Some("InternalServerError"), "the answer has no iterator")
        })
    }

    /// Saved before the lineage learns of it: from then on others begin its children, and a crash must not find a child that
    /// was read while its parent, by its checkpoint, was not read to the end.
    async fn finish(&self, shard: &ShardId) -> Result<ReaderEnd> {
        let checkpoint = self.lineage().checkpoint(shard);
        if let Some(checkpoint) = checkpoint {
            let ended = Checkpoint { position: Position::Ended, ..checkpoint };
            if self.save(&ended).await? == Written::Refused {
                return Ok(ReaderEnd::Fenced);
            }
        }
        failpoint!("provision.shard-finished");
        self.lineage().finish(shard)?;
        Ok(ReaderEnd::Finished)
    }

    /// Handles a page's records and moves the checkpoint.
    async fn page(&self, shard: &ShardId, records: &[Record]) -> Result<PageEnd> {
        let mut front = Front::new(records);
        // A failure ends the page for the others too, but what has begun is finished and counts.
        let ending = self.halt.child_token();
        let chains = chains(records, self.server.saga().users().key(), |record| self.work(record));
        let mut running =
            stream::iter(chains).map(|chain| self.chain(chain, &ending)).buffer_unordered(self.server.concurrency());
        let mut failure = None;
        while let Some((done, result)) = running.next().await {
            if let Err(error) = result {
                ending.cancel();
                failure.get_or_insert(error);
            }
            front.done(&done);
            if front.unsaved() >= SAVE_EVERY && self.advance(shard, &mut front).await? == Written::Refused {
                ending.cancel();
                while running.next().await.is_some() {}
                return Ok(PageEnd::Fenced);
            }
        }
        drop(running);
        let saved = self.advance(shard, &mut front).await;
        if let Some(error) = failure {
            self.beat.troubled();
            return Err(error.into_anyhow()).context("provisioning stops, because every user would meet this");
        }
        Ok(match saved? {
            Written::Refused => PageEnd::Fenced,
            Written::Yes if front.is_complete() => PageEnd::Done,
            Written::Yes => PageEnd::Halted,
        })
    }

    /// Serves the records of one user, in order. Gives those that are done.
    async fn chain(
        &self,
        chain: Vec<(usize, Work)>,
        ending: &CancellationToken,
    ) -> (Vec<usize>, Result<(), ProvisionError>) {
        let mut done = Vec::with_capacity(chain.len());
        for (index, work) in chain {
            let handled = match work {
                Work::Pass => Ok(true),
                Work::SetAside { sequence, reason } => {
                    let set = self.server.set_aside_record(&sequence, &reason, ending).await;
                    set.map(|waited| waited == Waited::Over)
                }
                Work::Serve { user, created } => {
                    let served = self.server.serve(&user, created, Origin::Record, ending).await;
                    served.map(|ending| !matches!(ending, Ending::Interrupted))
                }
            };
            match handled {
                Ok(true) => {
                    self.beat.served();
                    done.push(index);
                }
                Ok(false) => break,
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }

    async fn advance(&self, shard: &ShardId, front: &mut Front) -> Result<Written> {
        let Some(sequence) = front.take_sequence() else { return Ok(Written::Yes) };
        failpoint!("provision.page-served");
        self.lineage().progress(shard, sequence)?;
        let saved = self.save_shard(shard).await?;
        failpoint!("provision.checkpoint-saved");
        Ok(saved)
    }

    fn work(&self, record: &Record) -> Work {
        let users = self.server.saga().users();
        match classify(user_record(record, users.key(), users.uri_attribute()), &self.events) {
            Verdict::Provision(provision) => Work::Serve { user: provision.user, created: provision.created },
            Verdict::Ignore(_) => Work::Pass,
            Verdict::Bad(bad) => {
                let sequence = record.dynamodb.as_ref().and_then(|d| d.sequence_number.as_deref()).unwrap_or("?");
                Work::SetAside { sequence: sequence.to_owned(), reason: bad.to_string() }
            }
        }
    }

    fn note_tip(&self, shard: &ShardId, records: &[Record], empty_pages: u32, asked_at: DateTime<Utc>) {
        let last = records.iter().rev().find_map(created);
        let closed = self.lineage().end(shard) == ShardEnd::Closed;
        let mut tips = self.tips();
        let Some(tip) = tips.get_mut(shard) else { return };
        match last {
            Some(created) => {
                tip.read_to = Some(tip.read_to.map_or(created, |read_to| read_to.max(created)));
                tip.lag_secs = (clock::now() - created).as_seconds_f64().max(0.0);
            }
            None => {
                tip.lag_secs = 0.0;
                // A few empty pages can come before records; so many of them are the tip.
                if empty_pages >= IdleBackoff::PATIENCE && !closed {
                    tip.read_to = Some(asked_at);
                }
            }
        }
        drop(tips);
        if last.is_some() {
            let lag = self.lag_secs();
            self.server.saga().metrics().emit(About::Service, &[("StreamLag", Unit::Seconds, lag)]);
        }
    }
}

/// Records after which the checkpoint is saved in the middle of a page.
const SAVE_EVERY: usize = 50;

/// The front of a page: the records from its beginning that are all done.
struct Front {
    sequences: Vec<Option<SequenceNumber>>,
    done: Vec<bool>,
    /// So many from the beginning are done.
    reached: usize,
    saved: usize,
}

impl Front {
    fn new(records: &[Record]) -> Self {
        let sequence =
            |record: &Record| SequenceNumber::new(record.dynamodb.as_ref()?.sequence_number.as_deref()?).ok();
        Self {
            sequences: records.iter().map(sequence).collect(),
            done: vec![false; records.len()],
            reached: 0,
            saved: 0,
        }
    }

    fn done(&mut self, indices: &[usize]) {
        for index in indices {
            self.done[*index] = true;
        }
        while self.done.get(self.reached) == Some(&true) {
            self.reached += 1;
        }
    }

    fn unsaved(&self) -> usize {
        self.reached - self.saved
    }

    fn is_complete(&self) -> bool {
        self.reached == self.done.len()
    }

    /// The sequence number up to which everything is done and not saved yet.
    fn take_sequence(&mut self) -> Option<SequenceNumber> {
        let sequence = self.sequences[self.saved..self.reached].iter().rev().find_map(Clone::clone);
        self.saved = self.reached;
        sequence
    }
}

/// The records of a page with their places in it, those of one user together and in order.
fn chains(records: &[Record], key: &str, work: impl Fn(&Record) -> Work) -> Vec<Vec<(usize, Work)>> {
    let mut chains: Vec<Vec<(usize, Work)>> = Vec::new();
    let mut by_key = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        let attribute = record.dynamodb.as_ref().and_then(|d| d.keys.as_ref()).and_then(|keys| keys.get(key));
        let place = *by_key.entry(format!("{attribute:?}")).or_insert_with(|| {
            chains.push(Vec::new());
            chains.len() - 1
        });
        chains[place].push((index, work(record)));
    }
    chains
}

fn user_record(record: &Record, key: &str, uri_attribute: &str) -> UserRecord {
    let change = record.dynamodb.as_ref();
    UserRecord {
        event: record.event_name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default(),
        key: match change.and_then(|d| d.keys.as_ref()).and_then(|keys| keys.get(key)) {
            None => KeyValue::Missing,
            Some(AttributeValue::S(id)) => KeyValue::String(id.clone()),
            Some(AttributeValue::N(_)) => KeyValue::Other("N"),
            Some(_) => KeyValue::Other("B"),
        },
        uri: match change.and_then(|d| d.new_image.as_ref()) {
            None => UriInImage::NotShown,
            Some(image) if image.contains_key(uri_attribute) => UriInImage::Present,
            Some(_) => UriInImage::Absent,
        },
        created: created(record),
        sequence: change.and_then(|d| d.sequence_number.clone()),
    }
}

fn created(record: &Record) -> Option<DateTime<Utc>> {
    let time = record.dynamodb.as_ref()?.approximate_creation_date_time?;
    DateTime::from_timestamp(time.secs(), time.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodbstreams::types::StreamRecord;

    use super::*;

    fn record(user: &str, sequence: u32) -> Record {
        let change = StreamRecord::builder()
            .keys("userId", AttributeValue::S(user.to_owned()))
            .sequence_number(sequence.to_string())
            .build();
        Record::builder().dynamodb(change).build()
    }

    #[test]
    fn the_front_moves_only_over_records_that_are_all_done() {
        let records: Vec<_> = (1..=4).map(|n| record("u", n)).collect();
        let mut front = Front::new(&records);
        let number = |n: u32| Some(SequenceNumber::new(n.to_string()).unwrap());
        front.done(&[1, 3]);
        assert_eq!((front.unsaved(), front.take_sequence()), (0, None));
        front.done(&[0]);
        assert_eq!((front.unsaved(), front.take_sequence(), front.is_complete()), (2, number(2), false));
        front.done(&[2]);
        assert_eq!((front.take_sequence(), front.take_sequence(), front.is_complete()), (number(4), None, true));
    }

    #[test]
    fn records_of_one_user_stay_in_order_and_together() {
        let records = [record("a", 1), record("b", 2), record("a", 3)];
        let chains = chains(&records, "userId", |_| Work::Pass);
        let indices: Vec<Vec<usize>> = chains.iter().map(|c| c.iter().map(|(i, _)| *i).collect()).collect();
        assert_eq!(indices, [vec![0, 2], vec![1]]);
    }
}
