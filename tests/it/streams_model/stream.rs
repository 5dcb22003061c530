//! A stream of DynamoDB: shards with ranges of keys, in which records come, and from which they go.

use serde_json::{Value, json};

use super::model::Dice;

#[derive(Clone)]
pub struct Record {
    pub sequence: u64,
    pub user: String,
    pub event: &'static str,
    pub image: Value,
}

pub struct Shard {
    pub parent: Option<usize>,
    /// The part of the keys' hashes whose records come here.
    range: (u16, u16),
    pub records: Vec<Record>,
    pub open: bool,
    /// Gone from the listing.
    pub gone: bool,
    /// So many of its records are gone.
    pub trimmed: usize,
    /// Listings that still show it as open although it is closed.
    open_lag: u8,
    /// Listings that do not show it yet.
    hidden_lag: u8,
    /// The call from which on listings show it.
    shown_since: Option<u64>,
}

/// No listing of several pages takes this many calls, all readers' together.
const LONGEST_LISTING: u64 = 100;

pub struct Stream {
    pub label: u32,
    pub shards: Vec<Shard>,
    /// Iterators of former epochs have expired.
    pub epoch: u32,
    pub filter: Filter,
    /// Pages of listings so far.
    calls: u64,
}

/// Whether the server knows `CHILD_SHARDS`.
#[derive(PartialEq)]
pub enum Filter {
    Known,
    Ignored,
}

/// An error by its code.
pub struct Fault(pub &'static str);

impl Stream {
    pub fn new(label: u32, dice: &mut Dice) -> Self {
        let filter = if dice.one_in(2) { Filter::Known } else { Filter::Ignored };
        let mut stream = Self { label, shards: Vec::new(), epoch: 0, filter, calls: 0 };
        stream.add(None, (0, 128), 0);
        stream.add(None, (128, 256), 0);
        stream
    }

    pub fn arn(&self) -> String {
        format!("arn:aws:dynamodb:ap-northeast-1:1:table/user/stream/{}", self.label)
    }

    fn add(&mut self, parent: Option<usize>, range: (u16, u16), hidden_lag: u8) {
        self.shards.push(Shard {
            parent,
            range,
            records: Vec::new(),
            open: true,
            gone: false,
            trimmed: 0,
            open_lag: 0,
            hidden_lag,
            shown_since: None,
        });
    }

    pub fn push(&mut self, record: Record) {
        let hash = record.user.bytes().fold(7u16, |hash, byte| (hash * 31 + u16::from(byte)) % 256);
        let open = |shard: &&mut Shard| shard.open && (shard.range.0..shard.range.1).contains(&hash);
        self.shards.iter_mut().find(open).expect("the open shards cover all keys").records.push(record);
    }

    /// Closes an open shard; it goes on in one child or two.
    pub fn close(&mut self, dice: &mut Dice) {
        let open: Vec<usize> = (0..self.shards.len()).filter(|i| self.shards[*i].open).collect();
        let parent = open[dice.below(open.len())];
        let (from, to) = self.shards[parent].range;
        self.shards[parent].open = false;
        self.shards[parent].open_lag = dice.below(3) as u8;
        let hidden = dice.below(2) as u8;
        if dice.one_in(2) && to - from > 1 {
            let middle = from.midpoint(to);
            self.add(Some(parent), (from, middle), hidden);
            self.add(Some(parent), (middle, to), hidden);
        } else {
            self.add(Some(parent), (from, to), hidden);
        }
    }

    pub fn shard_id(&self, index: usize) -> String {
        format!("shardId-{}-{index:05}", self.label)
    }

    pub fn index(&self, id: &str) -> Option<usize> {
        (0..self.shards.len()).find(|index| self.shard_id(*index) == id && !self.shards[*index].gone)
    }

    pub fn describe(&mut self, request: &Value, dice: &mut Dice) -> Result<Value, Fault> {
        if request["StreamArn"] != self.arn().as_str() {
            return Err(Fault("ResourceNotFoundException"));
        }
        let parent = request["ShardFilter"]["ShardId"].as_str();
        if let (Some(parent), Filter::Known) = (parent, &self.filter) {
            let parent = self.index(parent);
            let of_parent = |i: &usize| parent.is_some() && self.shards[*i].parent == parent;
            let children: Vec<_> = (0..self.shards.len()).filter(of_parent).map(|i| self.show(i)).collect();
            return Ok(json!({ "StreamDescription": { "StreamArn": self.arn(), "Shards": children } }));
        }
        self.calls += 1;
        for index in 0..self.shards.len() {
            if self.is_listed(index) {
                self.shards[index].shown_since.get_or_insert(self.calls);
            }
        }
        let after = request["ExclusiveStartShardId"].as_str().unwrap_or_default().to_owned();
        let listed = |i: &usize| self.shard_id(*i) > after && self.is_listed_after(*i, &after);
        let mut rest: Vec<usize> = (0..self.shards.len()).filter(listed).collect();
        let page = if dice.one_in(3) { 1 + dice.below(3) } else { 100 };
        let last = (rest.len() > page).then(|| self.shard_id(rest[page - 1]));
        rest.truncate(page);
        let shown: Vec<_> = rest.iter().map(|i| self.show(*i)).collect();
        for shard in &mut self.shards {
            shard.open_lag = shard.open_lag.saturating_sub(1);
            shard.hidden_lag = shard.hidden_lag.saturating_sub(1);
        }
        Ok(json!({
            "StreamDescription": { "StreamArn": self.arn(), "Shards": shown, "LastEvaluatedShardId": last }
        }))
    }

    /// A listing lags, but never shows a child before its parent.
    fn is_listed(&self, index: usize) -> bool {
        let shard = &self.shards[index];
        let after_parent = shard.parent.is_none_or(|parent| self.shards[parent].gone || self.is_listed(parent));
        !shard.gone && shard.hidden_lag == 0 && after_parent
    }

    /// The same for a page that begins after `after`: it shows no child whose parent may have been left out of an earlier page
    /// of the same listing, because it was not shown yet.
    fn is_listed_after(&self, index: usize, after: &str) -> bool {
        let parent_was_shown = |parent: usize| {
            let settled = |since: u64| since + LONGEST_LISTING < self.calls;
            self.shards[parent].gone
                || self.is_listed_after(parent, after)
                    && (after.is_empty()
                        || self.shard_id(parent).as_str() > after
                        || parent < 2
                        || self.shards[parent].shown_since.is_some_and(settled))
        };
        self.is_listed(index) && self.shards[index].parent.is_none_or(parent_was_shown)
    }

    fn show(&self, index: usize) -> Value {
        let shard = &self.shards[index];
        let ending = (!shard.open && shard.open_lag == 0)
            .then(|| shard.records.last().map_or("1".to_owned(), |record| record.sequence.to_string()));
        json!({
            "ShardId": self.shard_id(index),
            "ParentShardId": shard.parent.map(|parent| self.shard_id(parent)),
            "SequenceNumberRange": { "StartingSequenceNumber": "1", "EndingSequenceNumber": ending },
        })
    }

    pub fn iterator(&self, request: &Value) -> Result<Value, Fault> {
        let gone = Fault("ResourceNotFoundException");
        if request["StreamArn"] != self.arn().as_str() {
            return Err(gone);
        }
        let id = request["ShardId"].as_str().unwrap_or_default();
        let Some(index) = self.index(id) else { return Err(gone) };
        let shard = &self.shards[index];
        let position = match request["ShardIteratorType"].as_str() {
            Some("TRIM_HORIZON") => shard.trimmed,
            Some("AFTER_SEQUENCE_NUMBER") => {
                let after: u64 = request["SequenceNumber"].as_str().and_then(|n| n.parse().ok()).unwrap_or_default();
                shard.records.partition_point(|record| record.sequence <= after)
            }
            other => panic!("{other:?} loses records"),
        };
        if position < shard.trimmed {
            return Err(Fault("TrimmedDataAccessException"));
        }
        Ok(json!({ "ShardIterator": format!("{}|{id}|{position}|{}", self.arn(), self.epoch) }))
    }

    pub fn records(&self, request: &Value, dice: &mut Dice) -> Result<Value, Fault> {
        let token = request["ShardIterator"].as_str().unwrap_or_default();
        let parts: Vec<&str> = token.split('|').collect();
        let gone = Fault("ResourceNotFoundException");
        let index = if parts[0] == self.arn() { self.index(parts[1]).ok_or(gone)? } else { return Err(gone) };
        if parts[3] != self.epoch.to_string() {
            return Err(Fault("ExpiredIteratorException"));
        }
        let shard = &self.shards[index];
        let position: usize = parts[2].parse().expect("our own token");
        if position < shard.trimmed {
            return Err(Fault("TrimmedDataAccessException"));
        }
        let end = if dice.one_in(5) { position } else { shard.records.len().min(position + 1 + dice.below(4)) };
        // The end can come with the last records, or in an empty page after them.
        let over = !shard.open && end == shard.records.len() && dice.one_in(2);
        let next = (!over).then(|| format!("{}|{}|{end}|{}", self.arn(), parts[1], self.epoch));
        let records: Vec<_> = shard.records[position..end].iter().map(show_record).collect();
        Ok(json!({ "Records": records, "NextShardIterator": next }))
    }
}

fn show_record(record: &Record) -> Value {
    json!({
        "eventName": record.event,
        "dynamodb": {
            "ApproximateCreationDateTime": 1_700_000_000 + record.sequence,
            "Keys": { "userId": { "S": record.user } },
            "NewImage": record.image,
            "SequenceNumber": record.sequence.to_string(),
        }
    })
}
