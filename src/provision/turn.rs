//! One stream read under one lease: the listing of its shards, the readers, the gaps and the sweep that they call for.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_sdk_dynamodbstreams::types::{Shard as SdkShard, ShardFilter, ShardFilterType};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::poller::{LEASE, Pace, note_gap};
use super::reader::{ReaderEnd, Reading};
use super::sweep::{Scope, Swept};
use crate::aws::{AwsError, AwsResult, Kind};
use crate::clock;
use crate::jobs::Mode;
use crate::jobs::report::SweepReport;
use crate::metrics::{About, Unit};
use crate::state::Written;
use crate::state::checkpoints::{GapRecord, StreamMemory};
use crate::tiering::shards::{
    Checkpoint, FullListing, Gap, GapCause, ListingPages, Paging, SequenceNumber, Shard, ShardId,
};
use crate::users::TableStream;

const SHARDS_A_PAGE: i32 = 100;

/// Why reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TurnEnd {
    /// Told to stop, or the lease is lost.
    Stopped,
    /// The table has another stream by now, or the stream is gone: look again.
    StreamChanged,
}

type ReaderTask = (ShardId, Result<ReaderEnd>);

/// One stream under one lease.
pub(super) struct Turn {
    reading: Arc<Reading>,
    pace: Pace,
    memory: StreamMemory,
    pub(super) readers: JoinSet<ReaderTask>,
    /// At most one; gives the shards whose gaps it answers.
    pub(super) sweeps: JoinSet<Result<(Swept, Vec<ShardId>)>>,
    /// Gaps that are on record.
    noted: Vec<Gap>,
    children: Children,
    next_listing: Instant,
    next_note: Instant,
    next_children: Instant,
    children_pause: Duration,
    next_look_at_table: Instant,
}

/// Whether the service knows the `CHILD_SHARDS` filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Children {
    Filtered,
    /// It does not: a listing tells.
    ByListing,
}

impl Turn {
    pub(super) fn new(reading: Arc<Reading>, pace: Pace, memory: StreamMemory) -> Self {
        let now = Instant::now();
        Self {
            reading,
            pace,
            memory,
            readers: JoinSet::new(),
            sweeps: JoinSet::new(),
            noted: Vec::new(),
            children: Children::Filtered,
            next_listing: now,
            next_note: now + pace.note_interval,
            next_children: now,
            children_pause: pace.poll_interval,
            next_look_at_table: now + pace.listing_interval,
        }
    }

    pub(super) async fn drive(&mut self) -> Result<TurnEnd> {
        loop {
            if self.reading.halt.is_cancelled() {
                return Ok(TurnEnd::Stopped);
            }
            if let Some(end) = self.housekeeping().await? {
                return Ok(end);
            }
            if self.begin_readers().await? == Written::Refused {
                return Ok(self.superseded());
            }
            self.begin_sweep();
            let mut wake = self.next_listing.min(self.next_note).min(self.next_look_at_table);
            if !self.reading.lineage().childless().is_empty() {
                wake = wake.min(self.next_children);
            }
            let halt = self.reading.halt.clone();
            let written = tokio::select! {
                Some(reader) = self.readers.join_next() => {
                    let (shard, end) = reader.context("a reader of the stream died")?;
                    self.reader_ended(&shard, end?).await?
                }
                Some(sweep) = self.sweeps.join_next() => {
                    let (swept, covered) = sweep.context("the sweep of the users table died")??;
                    self.swept(swept, covered).await?
                }
                () = tokio::time::sleep_until(wake) => Written::Yes,
                () = halt.cancelled() => Written::Yes,
            };
            if written == Written::Refused {
                return Ok(self.superseded());
            }
        }
    }

    fn superseded(&self) -> TurnEnd {
        tracing::warn!(
            event = "lease.lost",
            lease = LEASE,
            fence = self.reading.fence,
            "another daemon has read on in the stream; this one stands by"
        );
        TurnEnd::Stopped
    }

    /// What is due by the clock.
    async fn housekeeping(&mut self) -> Result<Option<TurnEnd>> {
        if Instant::now() >= self.next_look_at_table {
            self.next_look_at_table = Instant::now() + self.pace.listing_interval;
            match self.reading.server.saga().users().stream().await.context("looking at the users table")? {
                TableStream::On { arn } if arn == self.reading.arn => {}
                // Off: the next look says so.
                TableStream::On { .. } | TableStream::Off => return Ok(Some(TurnEnd::StreamChanged)),
            }
            self.reading.server.retry_quarantined(&self.reading.halt).await?;
        }
        if Instant::now() >= self.next_note {
            self.next_note = Instant::now() + self.pace.note_interval;
            if self.note().await? == Written::Refused {
                return Ok(Some(self.superseded()));
            }
        }
        if Instant::now() >= self.next_listing {
            match self.list().await {
                Ok(listing) => {
                    self.next_listing = Instant::now() + self.pace.listing_interval;
                    self.reading.beat.polled();
                    if self.take_listing(listing).await? == Written::Refused {
                        return Ok(Some(self.superseded()));
                    }
                }
                Err(error) if error.kind == Kind::NotFound => return Ok(Some(TurnEnd::StreamChanged)),
                Err(error) if error.is_permanent() || error.kind == Kind::Denied => {
                    return Err(error).context("listing the shards of the users table's stream");
                }
                Err(error) => {
                    tracing::debug!(event = "stream.delayed", %error, "a listing of the stream is tried again");
                    self.next_listing = Instant::now() + self.pace.poll_interval;
                }
            }
        }
        if Instant::now() >= self.next_children && self.look_for_children().await? == Written::Refused {
            return Ok(Some(self.superseded()));
        }
        Ok(None)
    }

    async fn note(&mut self) -> Result<Written> {
        let metrics = self.reading.server.saga().metrics();
        metrics.emit(About::Service, &[("StreamLag", Unit::Seconds, self.reading.lag_secs())]);
        if let Some(read_to) = self.reading.read_to().filter(|read_to| *read_to > self.memory.last_read) {
            self.memory.last_read = read_to;
            return self.remember().await;
        }
        Ok(Written::Yes)
    }

    async fn remember(&self) -> Result<Written> {
        let state = self.reading.server.saga().state();
        Ok(state.remember_stream(&self.memory, self.reading.fence).await?)
    }

    async fn list(&self) -> AwsResult<FullListing> {
        let mut pages = ListingPages::default();
        let mut start_after: Option<ShardId> = None;
        loop {
            let request = self.reading.client.describe_stream().stream_arn(&self.reading.arn).limit(SHARDS_A_PAGE);
            let request = request.set_exclusive_start_shard_id(start_after.take().map(String::from));
            let answer = request.send().await.map_err(|e| AwsError::new("DescribeStream", &self.reading.arn, e))?;
            let page = answer.stream_description;
            let last = page.as_ref().and_then(|page| page.last_evaluated_shard_id.clone());
            let shards = page.and_then(|page| page.shards).unwrap_or_default();
            let last = last.and_then(|last| ShardId::new(last).ok());
            match pages.add(shards.into_iter().filter_map(shard).collect(), last) {
                Paging::Complete(listing) => return Ok(listing),
                Paging::More { pages: more, start_after: next } => (pages, start_after) = (more, Some(next)),
            }
            tokio::time::sleep(self.pace.page_pause).await;
        }
    }

    async fn take_listing(&mut self, listing: FullListing) -> Result<Written> {
        let discovery = self.reading.lineage().apply_listing(listing);
        if self.save_all(&discovery.discovered).await? == Written::Refused {
            return Ok(Written::Refused);
        }
        failpoint!("provision.shards-discovered");
        if self.note_gaps().await? == Written::Refused {
            return Ok(Written::Refused);
        }
        self.forget().await?;
        Ok(Written::Yes)
    }

    async fn save_all(&mut self, checkpoints: &[Checkpoint]) -> Result<Written> {
        for checkpoint in checkpoints {
            if self.reading.save(checkpoint).await? == Written::Refused {
                return Ok(Written::Refused);
            }
        }
        if !checkpoints.is_empty() {
            // Something moves: what comes next is not far.
            self.children_pause = self.pace.poll_interval;
        }
        Ok(Written::Yes)
    }

    /// Puts the gaps that are new on record, and with them that a sweep is owed.
    async fn note_gaps(&mut self) -> Result<Written> {
        let gaps = self.reading.lineage().gaps();
        self.noted.retain(|noted| gaps.contains(noted));
        for gap in gaps {
            if self.noted.contains(&gap) {
                continue;
            }
            let record = GapRecord {
                stream: self.reading.arn.clone(),
                shard: Some(gap.shard.to_string()),
                last_sequence: gap.last_sequence.as_ref().map(SequenceNumber::to_string),
                cause: match gap.cause {
                    GapCause::ShardVanished => "a shard has gone before it was read to its end",
                    GapCause::ParentMissed => "a shard came and went unseen",
                    GapCause::RecordsTrimmed => "records were older than a day before they were read",
                }
                .to_owned(),
                at: clock::now_secs(),
            };
            note_gap(&self.reading.server, &record).await?;
            failpoint!("provision.gap-noted");
            self.memory.sweep_owed = Some(record.cause);
            if self.remember().await? == Written::Refused {
                return Ok(Written::Refused);
            }
            self.noted.push(gap);
        }
        Ok(Written::Yes)
    }

    async fn forget(&self) -> Result<()> {
        loop {
            let forgettable = self.reading.lineage().forgettable();
            if forgettable.is_empty() {
                return Ok(());
            }
            for shard in forgettable {
                self.reading.server.saga().state().delete_checkpoint(&self.reading.arn, &shard).await?;
                self.reading.lineage().forget(&shard);
            }
        }
    }

    async fn begin_readers(&mut self) -> Result<Written> {
        let readable = self.reading.lineage().readable();
        for start in readable {
            let begun = {
                let mut lineage = self.reading.lineage();
                lineage.begin(&start.shard).zip(lineage.checkpoint(&start.shard))
            };
            let Some((start, checkpoint)) = begun else { continue };
            if self.reading.save(&checkpoint).await? == Written::Refused {
                return Ok(Written::Refused);
            }
            failpoint!("provision.shard-begun");
            let reading = self.reading.clone();
            self.readers.spawn(async move { (start.shard.clone(), reading.read(start).await) });
        }
        Ok(Written::Yes)
    }

    async fn reader_ended(&mut self, shard: &ShardId, end: ReaderEnd) -> Result<Written> {
        match end {
            ReaderEnd::Fenced => return Ok(Written::Refused),
            ReaderEnd::Finished => {
                self.children_pause = self.pace.poll_interval;
                self.next_children = Instant::now();
                return Ok(Written::Yes);
            }
            ReaderEnd::Halted => {
                self.reading.lineage().release(shard)?;
            }
            ReaderEnd::Gone => {
                self.reading.lineage().release(shard)?;
                self.next_listing = self.next_listing.min(Instant::now() + self.pace.poll_interval);
            }
            ReaderEnd::Trimmed => {
                self.reading.lineage().trimmed(shard)?;
            }
        }
        self.note_gaps().await
    }

    /// Asks what came after the shards that are finished.
    async fn look_for_children(&mut self) -> Result<Written> {
        let childless = self.reading.lineage().childless();
        if childless.is_empty() {
            return Ok(Written::Yes);
        }
        for parent in childless {
            if self.children == Children::ByListing {
                break;
            }
            match self.ask_for_children(&parent).await {
                Ok(answer) => {
                    // A server that does not know the filter answers with what it always answers.
                    if answer.iter().any(|child| child.parent.as_ref() != Some(&parent) || child.id == parent) {
                        self.children = Children::ByListing;
                    }
                    let new = self.reading.lineage().apply_children(&parent, answer);
                    if self.save_all(&new).await? == Written::Refused {
                        return Ok(Written::Refused);
                    }
                }
                Err(error) if error.kind == Kind::Refused => self.children = Children::ByListing,
                // Whatever it is, the next listing meets it too and judges it.
                Err(error) => {
                    tracing::debug!(event = "stream.delayed", %error, "children of a shard are asked for again");
                    break;
                }
            }
        }
        if self.reading.lineage().childless().is_empty() {
            return Ok(Written::Yes);
        }
        // Not there yet. The last shards of a stream that was switched off never have any, so the pauses grow.
        self.next_children = Instant::now() + self.children_pause;
        if self.children == Children::ByListing {
            self.next_listing = self.next_listing.min(self.next_children);
        }
        self.children_pause = (self.children_pause * 2).min(self.pace.listing_interval);
        Ok(Written::Yes)
    }

    async fn ask_for_children(&self, parent: &ShardId) -> AwsResult<Vec<Shard>> {
        let filter = ShardFilter::builder().r#type(ShardFilterType::ChildShards).shard_id(parent.as_str()).build();
        let answer = self
            .reading
            .client
            .describe_stream()
            .stream_arn(&self.reading.arn)
            .shard_filter(filter)
            .send()
            .await
            .map_err(|e| AwsError::new("DescribeStream", format_args!("{parent} (its children)"), e))?;
        let shards = answer.stream_description.and_then(|stream| stream.shards).unwrap_or_default();
        Ok(shards.into_iter().filter_map(shard).collect())
    }

    /// Begins the sweep that is owed. It runs beside the readers; only what hangs on a gap waits for it.
    fn begin_sweep(&mut self) {
        let Some(why) = self.memory.sweep_owed.clone().filter(|_| self.sweeps.is_empty()) else { return };
        let covered = self.noted.iter().map(|gap| gap.shard.clone()).collect();
        let reading = self.reading.clone();
        tracing::info!(event = "provision.sweep", why, "the users table is swept for users without a bucket");
        self.sweeps.spawn(async move {
            let mut report = SweepReport::default();
            let swept = reading.server.sweep(Scope::MissingBuckets, Mode::Real, &reading.halt, &mut report).await;
            let swept = swept.inspect_err(|_| reading.beat.troubled()).context("sweeping the users table")?;
            tracing::info!(
                event = "provision.swept",
                users = report.users,
                provisioned = report.provisioned,
                failed = report.failed,
                "the users table was swept"
            );
            Ok((swept, covered))
        });
    }

    async fn swept(&mut self, swept: Swept, covered: Vec<ShardId>) -> Result<Written> {
        if swept == Swept::InPart {
            return Ok(Written::Yes);
        }
        failpoint!("provision.users-swept");
        self.reading.beat.served();
        for shard in covered {
            let checkpoints = self.reading.lineage().acknowledge(&shard);
            if self.save_all(&checkpoints).await? == Written::Refused {
                return Ok(Written::Refused);
            }
        }
        if self.reading.lineage().gaps().is_empty() {
            self.memory.sweep_owed = None;
        }
        self.noted.clear();
        let remembered = self.remember().await?;
        if remembered == Written::Refused {
            return Ok(remembered);
        }
        self.note_gaps().await
    }
}

fn shard(shard: SdkShard) -> Option<Shard> {
    Some(Shard {
        id: ShardId::new(shard.shard_id?).ok()?,
        parent: shard.parent_shard_id.and_then(|parent| ShardId::new(parent).ok()),
        ending: shard
            .sequence_number_range
            .and_then(|range| range.ending_sequence_number)
            .and_then(|ending| SequenceNumber::new(ending).ok()),
    })
}
