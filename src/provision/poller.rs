//! The poller: reads the users table's stream for as long as it holds the lease `provision`.
//!
//! It keeps the rules of [`crate::tiering::shards`] and does what that module leaves to its caller: it saves what a listing
//! discovers before anything is read, keeps losses on record and sweeps the users table for them, and forgets shards that
//! are over. A sweep that is owed is written down before it begins, so a crash does not forget it.
//!
//! Two daemons during a rolling deployment: one reads, the other stands by and asks for the lease. A clean stop gives the lease
//! back once the users in hand are served, and the other begins at once. A daemon that has lost its lease without knowing
//! does no harm: what it writes is refused by the fence, and what it makes is the same bucket.
//!
//! An idle stream costs one GetRecords for each open shard every `idle_interval`, a DescribeTable and a DescribeStream
//! every few minutes, and the renewals of the lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::reader::{ReaderEnd, Reading};
use super::server::{Pause, Server, Waited, wait};
use super::turn::{Turn, TurnEnd};
use crate::clock;
use crate::health::Pulse;
use crate::metrics::{About, Unit};
use crate::state::Written;
use crate::state::checkpoints::{GapRecord, StreamMemory};
use crate::state::lease::{Lease, Taken};
use crate::tiering::shards::{Continuity, IdleBackoff, Lineage, ShardId, StreamChange, compare_stream, continuity};
use crate::tiering::user_event::EventName;
use crate::users::TableStream;

/// The name of the lease.
pub const LEASE: &str = "provision";
/// A daemon that stands by asks for the lease this often; it bounds how long a hand-over takes.
const STANDBY_PAUSE: Duration = Duration::from_millis(250);

/// How often things are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub poll_interval: Duration,
    pub idle_interval: Duration,
    /// Between listings of all shards (and looks at the table), when nothing calls for one.
    pub listing_interval: Duration,
    /// Between the pages of a listing.
    pub page_pause: Duration,
    /// Between notes of how far the stream is read.
    pub note_interval: Duration,
}

impl Pace {
    /// `poll_interval` and `idle_interval` as configured; the rest as is right for AWS.
    pub fn new(poll_interval: Duration, idle_interval: Duration) -> Self {
        Self {
            poll_interval,
            idle_interval,
            listing_interval: Duration::from_secs(180),
            // DescribeStream may be called 10 times a second by the whole account, and this is not the only one to call.
            page_pause: Duration::from_millis(200),
            note_interval: Duration::from_secs(60),
        }
    }
}

/// Reads the stream; cheap to clone.
#[derive(Debug, Clone)]
pub struct Poller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: aws_sdk_dynamodbstreams::Client,
    server: Server,
    events: Vec<EventName>,
    pace: Pace,
    beat: Beat,
}

/// The part's pulse. While what it does for users fails, that the stream can be read is no sign of health.
#[derive(Debug, Clone)]
pub(super) struct Beat {
    pulse: Pulse,
    troubled: Arc<AtomicBool>,
}

impl Beat {
    pub(super) fn polled(&self) {
        if !self.troubled.load(Ordering::Relaxed) {
            self.pulse.beat();
        }
    }

    pub(super) fn served(&self) {
        self.troubled.store(false, Ordering::Relaxed);
        self.pulse.beat();
    }

    pub(super) fn troubled(&self) {
        self.troubled.store(true, Ordering::Relaxed);
    }
}

impl Poller {
    pub fn new(
        client: aws_sdk_dynamodbstreams::Client,
        server: Server,
        events: Vec<EventName>,
        pace: Pace,
        pulse: Pulse,
    ) -> Self {
        let beat = Beat { pulse, troubled: Arc::default() };
        Self(Arc::new(Inner { client, server, events, pace, beat }))
    }

    /// Reads the stream whenever the lease is to be had, until `stop`. Fails with what needs a person or a later try.
    pub async fn run(&self, stop: CancellationToken) -> Result<()> {
        while let Some(lease) = self.take_turn(&stop).await? {
            let turn = stop.child_token();
            let watch = {
                let (lost, turn) = (lease.lost().clone(), turn.clone());
                AbortOnDropHandle::new(tokio::spawn(async move {
                    lost.cancelled().await;
                    turn.cancel();
                }))
            };
            let ended = self.turn(lease.fence(), &turn).await;
            drop(watch);
            if let Err(error) = lease.release().await {
                tracing::warn!(
                    event = "lease.release_failed",
                    lease = LEASE,
                    %error,
                    "the lease could not be given back; it runs out by itself"
                );
            }
            ended?;
        }
        Ok(())
    }

    /// Waits for the lease. None: told to stop.
    async fn take_turn(&self, stop: &CancellationToken) -> Result<Option<Lease>> {
        let state = self.0.server.saga().state().clone();
        let mut standby = false;
        while !stop.is_cancelled() {
            let taking = state.take_lease(LEASE);
            tokio::pin!(taking);
            let taken = tokio::select! {
                taken = &mut taking => taken,
                // It may have the lease in hand just now: then it is given back rather than left to run out.
                () = stop.cancelled() => match tokio::time::timeout(Duration::from_millis(500), taking).await {
                    Ok(taken) => taken,
                    Err(_elapsed) => return Ok(None),
                },
            };
            match taken.context("taking the lease for provisioning")? {
                Taken::Mine(lease) => return Ok(Some(lease)),
                Taken::HeldBy(holder) => {
                    self.0.beat.polled();
                    if !standby {
                        standby = true;
                        tracing::info!(
                            event = "provision.standby",
                            holder,
                            "another daemon reads the users table's stream; this one stands by"
                        );
                    }
                    if wait(STANDBY_PAUSE, stop).await == Waited::Stopped {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    async fn turn(&self, fence: u64, stop: &CancellationToken) -> Result<()> {
        tracing::info!(event = "provision.reading", fence, "this daemon reads the users table's stream");
        let mut pause = Pause::new(self.0.server.patience());
        while !stop.is_cancelled() {
            match self.read_stream(fence, stop).await? {
                TurnEnd::Stopped => return Ok(()),
                // The pause is for a table that names a stream which nobody knows.
                TurnEnd::StreamChanged => match pause.wait(stop).await {
                    Waited::Over => {}
                    Waited::Stopped => return Ok(()),
                },
            }
        }
        Ok(())
    }

    async fn read_stream(&self, fence: u64, stop: &CancellationToken) -> Result<TurnEnd> {
        let Inner { client, server, events, pace, beat } = &*self.0;
        let arn = self.stream_arn().await?;
        let Some(memory) = self.open(&arn, fence).await? else { return Ok(TurnEnd::Stopped) };
        let lineage = Lineage::new(server.saga().state().checkpoints(&arn).await?);
        let halt = stop.child_token();
        let backoff = IdleBackoff { poll_interval: pace.poll_interval, idle_interval: pace.idle_interval };
        let reading = Reading::new(
            client.clone(),
            server.clone(),
            arn,
            fence,
            events.clone(),
            backoff,
            beat.clone(),
            halt.clone(),
            lineage,
        );
        let mut turn = Turn::new(Arc::new(reading), *pace, memory);
        let ended = turn.drive().await;
        halt.cancel();
        // What has begun is finished: users in hand are served, and their checkpoints saved.
        while let Some(reader) = turn.readers.join_next().await {
            if let (Err(error), Ok(_)) = (Self::reader_failure(reader), &ended) {
                tracing::warn!(
                    event = "stream.reader_failed",
                    error = format!("{error:#}"),
                    "a reader failed while it stopped"
                );
            }
        }
        while turn.sweeps.join_next().await.is_some() {}
        ended
    }

    fn reader_failure(reader: Result<(ShardId, Result<ReaderEnd>), tokio::task::JoinError>) -> Result<()> {
        reader?.1.map(|_: ReaderEnd| ())
    }

    async fn stream_arn(&self) -> Result<String> {
        let users = self.0.server.saga().users();
        match users.stream().await.context("looking for the users table's stream")? {
            TableStream::On { arn } => Ok(arn),
            TableStream::Off => bail!(
                "the users table {} has no stream, so nobody hears of new users: switch it on, with new images",
                users.table()
            ),
        }
    }

    /// Compares the stream with the one that was read last, and notes what that means. None: a later holder is at work.
    async fn open(&self, arn: &str, fence: u64) -> Result<Option<StreamMemory>> {
        let state = self.0.server.saga().state();
        let now = clock::now();
        let old = state.stream_memory().await?;
        let change = compare_stream(old.as_ref().map(|memory| memory.arn.as_str()), arn);
        let lost = match (change, &old) {
            (StreamChange::First, _) | (_, None) => None,
            (StreamChange::Same, Some(old)) => match continuity(old.last_read, now) {
                Continuity::Kept => return Ok(Some(old.clone())),
                Continuity::Doubtful => Some(format!(
                    "the stream was not read since {}, and its records live a day",
                    clock::rfc3339(old.last_read)
                )),
            },
            (StreamChange::Replaced, Some(old)) => {
                Some(format!("the table's stream was replaced; {} was read before", old.arn))
            }
            (StreamChange::OtherTable, Some(old)) => {
                Some(format!("the configuration names another table; {} was read before", old.arn))
            }
        };
        if let Some(cause) = &lost {
            let gap = GapRecord {
                stream: arn.to_owned(),
                shard: None,
                last_sequence: old.as_ref().map(|old| clock::rfc3339(old.last_read)),
                cause: cause.clone(),
                at: clock::now_secs(),
            };
            note_gap(&self.0.server, &gap).await?;
        }
        let memory = StreamMemory {
            arn: arn.to_owned(),
            last_read: now,
            sweep_owed: Some(
                lost.unwrap_or_else(|| "first start: there may be users older than the stream".to_owned()),
            ),
        };
        if state.remember_stream(&memory, fence).await? == Written::Refused {
            return Ok(None);
        }
        failpoint!("provision.stream-remembered");
        // Only now: they are what a crash before this line would have been told by.
        if let Some(old) = old.filter(|old| old.arn != arn) {
            for checkpoint in state.checkpoints(&old.arn).await? {
                state.delete_checkpoint(&old.arn, &checkpoint.shard).await?;
            }
        }
        Ok(Some(memory))
    }
}

/// Keeps a loss on record and says so.
pub(super) async fn note_gap(server: &Server, gap: &GapRecord) -> Result<()> {
    server.saga().state().record_gap(gap).await?;
    tracing::error!(
        event = "stream.gap",
        stream = gap.stream,
        shard = gap.shard.as_deref().unwrap_or("-"),
        last_sequence = gap.last_sequence.as_deref().unwrap_or("-"),
        cause = gap.cause,
        "records of the users table's stream are lost; the table is swept for the users in them"
    );
    server.saga().metrics().emit(About::Service, &[("StreamGaps", Unit::Count, 1.0)]);
    Ok(())
}
