//! What is remembered of the users table's stream: which stream it is, how far each shard was read, and what was lost.
//!
//! Checkpoints stand under their stream's ARN, so those of a stream that was replaced never mix with the new one's. Every
//! write carries the fence of the lease that it is made under, and is refused once a later holder has written: a daemon
//! that wakes up late moves nothing.

use anyhow::Context;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use chrono::{DateTime, Utc};

use super::item::{Item, n, s, t};
use super::{State, Written};
use crate::aws::AwsResult;
use crate::tiering::shards::{Checkpoint, Position, SequenceNumber, ShardId};

const STREAM: &str = "stream";
const CURRENT: &str = "current";
const GAPS: &str = "gap";

/// The stream that the checkpoints belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamMemory {
    pub arn: String,
    /// When the stream was last known to be read up to its tip.
    pub last_read: DateTime<Utc>,
    /// Why the users table is still to be swept; None: no sweep is owed.
    pub sweep_owed: Option<String>,
}

/// A loss, as the state table keeps it for people to read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GapRecord {
    pub stream: String,
    /// None: the whole stream.
    pub shard: Option<String>,
    /// The last record that took effect before the gap.
    pub last_sequence: Option<String>,
    /// One line for people.
    pub cause: String,
    pub at: DateTime<Utc>,
}

impl State {
    /// The stream that was read last; None before the first start.
    pub async fn stream_memory(&self) -> anyhow::Result<Option<StreamMemory>> {
        let Some(item) = self.get(STREAM, CURRENT).await? else { return Ok(None) };
        let read = || -> anyhow::Result<StreamMemory> {
            Ok(StreamMemory {
                arn: item.str("arn")?.to_owned(),
                last_read: item.time("last_read")?,
                sweep_owed: item.opt_str("sweep_owed").map(str::to_owned),
            })
        };
        read().map(Some).context("reading what is remembered of the users table's stream")
    }

    /// Remembers the stream. [`Written::Refused`]: a later holder of the lease is at work.
    pub async fn remember_stream(&self, memory: &StreamMemory, fence: u64) -> AwsResult<Written> {
        let update = self
            .update(STREAM, CURRENT)
            .expression_attribute_values(":arn", s(&memory.arn))
            .expression_attribute_values(":read", t(memory.last_read));
        let update = match &memory.sweep_owed {
            Some(why) => update
                .update_expression("SET arn = :arn, last_read = :read, sweep_owed = :why, fence = :fence")
                .expression_attribute_values(":why", s(why)),
            None => update.update_expression("SET arn = :arn, last_read = :read, fence = :fence REMOVE sweep_owed"),
        };
        self.send_update("stream/current", fenced(update, fence)).await
    }

    /// The checkpoints of a stream.
    pub async fn checkpoints(&self, arn: &str) -> anyhow::Result<Vec<Checkpoint>> {
        let items = self.query(&pk(arn), "").await?;
        items.iter().map(parse).collect::<anyhow::Result<_>>().context("reading the stream's checkpoints")
    }

    /// Saves how far a shard was read. [`Written::Refused`]: a later holder of the lease is at work.
    pub async fn save_checkpoint(&self, arn: &str, checkpoint: &Checkpoint, fence: u64) -> AwsResult<Written> {
        let (position, sequence) = match &checkpoint.position {
            Position::TrimHorizon => ("horizon", None),
            Position::After(sequence) => ("after", Some(sequence)),
            Position::Ended => ("ended", None),
        };
        let mut set = "SET #position = :position, fence = :fence".to_owned();
        let mut remove = Vec::new();
        let mut update = self
            .update(&pk(arn), checkpoint.shard.as_str())
            .expression_attribute_names("#position", "position")
            .expression_attribute_names("#parent", "parent")
            .expression_attribute_names("#sequence", "sequence")
            .expression_attribute_values(":position", s(position));
        match &checkpoint.parent {
            Some(parent) => {
                set.push_str(", #parent = :parent");
                update = update.expression_attribute_values(":parent", s(parent.as_str()));
            }
            None => remove.push("#parent"),
        }
        match sequence {
            Some(sequence) => {
                set.push_str(", #sequence = :sequence");
                update = update.expression_attribute_values(":sequence", s(sequence.as_str()));
            }
            None => remove.push("#sequence"),
        }
        if !remove.is_empty() {
            set = format!("{set} REMOVE {}", remove.join(", "));
        }
        self.send_update("checkpoint", fenced(update.update_expression(set), fence)).await
    }

    /// Deletes the checkpoint of a shard that has gone.
    pub async fn delete_checkpoint(&self, arn: &str, shard: &ShardId) -> AwsResult<()> {
        self.delete(&pk(arn), shard.as_str()).await
    }

    /// Keeps a loss on record, once however often it is reported.
    pub async fn record_gap(&self, gap: &GapRecord) -> AwsResult<()> {
        let none = "-".to_owned();
        let sk = format!(
            "{}#{}#{}",
            gap.stream,
            gap.shard.as_ref().unwrap_or(&none),
            gap.last_sequence.as_ref().unwrap_or(&none)
        );
        let mut item =
            Item::new().with_str("stream", &gap.stream).with_str("cause", &gap.cause).with_time("at", gap.at);
        if let Some(shard) = &gap.shard {
            item = item.with_str("shard", shard);
        }
        if let Some(sequence) = &gap.last_sequence {
            item = item.with_str("last_sequence", sequence);
        }
        self.put(GAPS, &sk, item).await
    }

    /// All losses on record.
    pub async fn gaps(&self) -> anyhow::Result<Vec<GapRecord>> {
        let items = self.query(GAPS, "").await?;
        let gap = |item: &Item| -> anyhow::Result<GapRecord> {
            Ok(GapRecord {
                stream: item.str("stream")?.to_owned(),
                shard: item.opt_str("shard").map(str::to_owned),
                last_sequence: item.opt_str("last_sequence").map(str::to_owned),
                cause: item.str("cause")?.to_owned(),
                at: item.time("at")?,
            })
        };
        items.iter().map(gap).collect::<anyhow::Result<_>>().context("reading the gaps of the stream")
    }
}

fn fenced(update: UpdateItemFluentBuilder, fence: u64) -> UpdateItemFluentBuilder {
    update
        .condition_expression("attribute_not_exists(fence) OR fence <= :fence")
        .expression_attribute_values(":fence", n(fence))
}

fn parse(item: &Item) -> anyhow::Result<Checkpoint> {
    let position = match item.str("position")? {
        "horizon" => Position::TrimHorizon,
        "after" => Position::After(SequenceNumber::new(item.str("sequence")?)?),
        "ended" => Position::Ended,
        other => anyhow::bail!("{other:?} is no position in a shard"),
    };
    Ok(Checkpoint {
        shard: ShardId::new(item.str("sk")?)?,
        parent: item.opt_str("parent").map(ShardId::new).transpose()?,
        position,
    })
}

fn pk(arn: &str) -> String {
    format!("checkpoint#{arn}")
}
