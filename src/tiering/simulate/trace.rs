//! A trace of accesses, as it is taken in and as it is held for replaying.
//!
//! A trace comes in any order and may be large, so an access becomes 16 bytes at once ([`TraceBuilder`]), and a trace
//! ([`Trace`]) holds, object after object, only what a day's bill needs: one [`Event`] for the reads of a day between two
//! writes. [`csv`] reads it from a file, [`super::logs`] from access logs.
//!
//! An object that is read before any PUT of it was there when the trace began: it is stored from the first day. A PUT replaces
//! what was there. What is said of an object that is not there (a GET or a DELETE after a DELETE) is passed over.

pub mod csv;

use std::fmt;

use rustc_hash::{FxHashMap, FxHashSet};
use thiserror::Error;

use crate::tiering::evidence::{Day, DayAccess};
use crate::tiering::object::{BucketName, NameError, ObjectKey};

const SECS_PER_DAY: u32 = 86_400;

/// The longest trace, in days.
pub const MOST_DAYS: u32 = u16::MAX as u32 - 1;

/// A trace has more days than can be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the trace spans more than {MOST_DAYS} days")]
pub struct TooLong;

/// What an access does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Put,
    Get,
    Delete,
}

/// One access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traced<'a> {
    pub bucket: &'a str,
    pub key: &'a str,
    /// Seconds since 1970.
    pub time_secs: u32,
    pub op: Op,
    /// Sent by a GET.
    pub bytes: u64,
    /// Of the object, where it is told.
    pub size: Option<u64>,
}

/// An access as it is held until all are there. In the order of the fields: of what happens at one time to one object, it is
/// written first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    object: u32,
    time_secs: u32,
    /// The operation in the highest two bits, and the bytes.
    what: u64,
}

const PUT: u64 = 0;
/// A PUT that tells no size.
const PUT_UNSIZED: u64 = 1;
const GET: u64 = 2;
const DELETE: u64 = 3;
const OP_SHIFT: u32 = 62;
const MOST_BYTES: u64 = (1 << OP_SHIFT) - 1;

impl Row {
    fn op(self) -> u64 {
        self.what >> OP_SHIFT
    }

    fn is_put(self) -> bool {
        self.op() <= PUT_UNSIZED
    }

    fn bytes(self) -> u64 {
        self.what & MOST_BYTES
    }
}

/// What becomes of an object of whose size nothing is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeUnknown {
    /// It is taken as empty.
    Empty,
    LeaveOut,
}

/// Of an object that no listing has shown.
const UNLISTED: u64 = u64::MAX;

/// Takes accesses in any order, and makes a trace of them.
#[derive(Debug, Default)]
pub struct TraceBuilder {
    buckets: Vec<BucketName>,
    bucket_numbers: FxHashMap<String, u32>,
    /// By `bucket\0key`.
    numbers: FxHashMap<Box<[u8]>, u32>,
    objects: Vec<ObjectNames>,
    rows: Vec<Row>,
    /// Those of which every object that is there now was listed.
    listed_buckets: FxHashSet<u32>,
    /// `bucket\0key` of the present access.
    name: Vec<u8>,
}

/// An object's name, and its size as far as it is told other than by its PUTs.
#[derive(Debug)]
struct ObjectNames {
    key: Box<str>,
    bucket: u32,
    /// The largest that an access which is no PUT has told; 0 for none.
    told: u64,
    listed: u64,
}

/// A trace that is made, and what could not be taken into it.
#[derive(Debug, PartialEq, Eq)]
pub struct Built {
    pub trace: Trace,
    /// Objects that were left out because nothing tells their size.
    pub left_out: usize,
    /// Objects that no access is of: a listing has shown them.
    pub untouched: usize,
    /// Objects that no listing of their bucket has shown although no access has deleted them. In the trace they are there to
    /// its end.
    pub vanished: usize,
}

impl TraceBuilder {
    /// Takes an access. Fails, and takes nothing, where the key can be no object's.
    pub fn add(&mut self, access: &Traced<'_>) -> Result<(), NameError> {
        let object = self.number_of(access.bucket, access.key)?;
        let (op, bytes) = match (access.op, access.size) {
            (Op::Put, Some(size)) => (PUT, size),
            (Op::Put, None) => (PUT_UNSIZED, 0),
            (Op::Get, _) => (GET, access.bytes),
            (Op::Delete, _) => (DELETE, 0),
        };
        if access.op != Op::Put {
            let told = &mut self.objects[object as usize].told;
            *told = (*told).max(access.size.unwrap_or(0));
        }
        let what = op << OP_SHIFT | bytes.min(MOST_BYTES);
        self.rows.push(Row { object, time_secs: access.time_secs, what });
        Ok(())
    }

    /// Takes what a listing tells: that there is an object of `bytes` now. It was there from the first day, if no access
    /// tells otherwise.
    pub fn list(&mut self, bucket: &str, key: &str, bytes: u64) -> Result<(), NameError> {
        let object = self.number_of(bucket, key)?;
        self.objects[object as usize].listed = bytes;
        Ok(())
    }

    /// Takes note that all that is in a bucket now was listed.
    pub fn is_listed(&mut self, bucket: &str) {
        if let Some(number) = self.bucket_numbers.get(bucket) {
            self.listed_buckets.insert(*number);
        }
    }

    /// How many accesses were taken.
    pub fn accesses(&self) -> usize {
        self.rows.len()
    }

    /// The buckets that accesses are of.
    pub fn buckets(&self) -> &[BucketName] {
        &self.buckets
    }

    fn number_of(&mut self, bucket: &str, key: &str) -> Result<u32, NameError> {
        self.name.clear();
        self.name.extend_from_slice(bucket.as_bytes());
        self.name.push(0);
        self.name.extend_from_slice(key.as_bytes());
        if let Some(number) = self.numbers.get(self.name.as_slice()) {
            return Ok(*number);
        }
        let key = ObjectKey::new(key)?;
        let bucket_number = match self.bucket_numbers.get(bucket) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(self.buckets.len()).expect("fewer buckets than fit in memory");
                // A trace may be of anything: what it calls a bucket need only tell objects apart.
                let name = BucketName::new(bucket).or_else(|_| BucketName::new(format!("bucket-{number}")))?;
                self.buckets.push(name);
                self.bucket_numbers.insert(bucket.to_owned(), number);
                number
            }
        };
        let number = u32::try_from(self.objects.len()).expect("fewer objects than fit in memory");
        self.objects.push(ObjectNames { key: key.as_str().into(), bucket: bucket_number, told: 0, listed: UNLISTED });
        self.numbers.insert(self.name.as_slice().into(), number);
        Ok(number)
    }

    /// Ends the taking.
    pub fn finish(self, unknown: SizeUnknown) -> Result<Built, TooLong> {
        let Self { buckets, numbers, mut objects, mut rows, listed_buckets, .. } = self;
        drop(numbers);
        // Buckets by name and objects by key: the order in which the ledger gives them.
        let mut order: Vec<u32> = (0..objects.len()).map(|i| i as u32).collect();
        order.sort_unstable_by(|a, b| {
            let name = |i: u32| (&buckets[objects[i as usize].bucket as usize], &objects[i as usize].key);
            name(*a).cmp(&name(*b))
        });
        objects.iter_mut().for_each(|object| object.key = Box::default());
        let mut rank = vec![0; order.len()];
        for (place, object) in order.iter().enumerate() {
            rank[*object as usize] = place as u32;
        }
        for row in &mut rows {
            row.object = rank[row.object as usize];
        }
        drop(rank);
        rows.sort_unstable();
        let first = rows.iter().map(|row| row.time_secs / SECS_PER_DAY).min().unwrap_or(0);
        let last = rows.iter().map(|row| row.time_secs / SECS_PER_DAY).max().unwrap_or(0);
        if last - first >= MOST_DAYS {
            return Err(TooLong);
        }
        let days = if rows.is_empty() { 0 } else { (last - first + 1) as u16 };
        let mut trace =
            Trace { first_day: first as Day, days, buckets: Vec::new(), starts: vec![0], events: Vec::new() };
        let (mut at, mut left_out, mut untouched, mut vanished) = (0, 0, 0, 0);
        for (place, number) in order.iter().enumerate() {
            let object = &objects[*number as usize];
            let end = at + rows[at..].partition_point(|row| row.object as usize == place);
            let own = &rows[at..end];
            at = end;
            if !trace.push_object(own, first, object, unknown) {
                left_out += 1;
                continue;
            }
            trace.end_object(&buckets[object.bucket as usize]);
            untouched += usize::from(own.is_empty());
            let is_gone = object.listed == UNLISTED && listed_buckets.contains(&object.bucket);
            let was_deleted = trace.events.last().is_some_and(|event| event.kind == EventKind::Delete);
            vanished += usize::from(is_gone && !was_deleted);
        }
        trace.events.shrink_to_fit();
        Ok(Built { trace, left_out, untouched, vanished })
    }
}

/// What happened to an object: the bytes are of the object for a PUT and of the reads for a GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Days since the trace's first.
    pub day: u16,
    pub kind: EventKind,
    /// How many reads; 0 for what is no read.
    pub reads: u32,
    pub bytes: u64,
}

impl Event {
    /// What it tells of the object's use; nothing for a deletion.
    pub fn access(&self) -> DayAccess {
        DayAccess {
            day: Day::from(self.day),
            reads: u64::from(self.reads),
            bytes_read: if self.kind == EventKind::Read { self.bytes } else { 0 },
            written: matches!(self.kind, EventKind::Found | EventKind::Put),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was there when the trace began: nobody paid a request for it in the time of the trace.
    Found,
    Put,
    Read,
    Delete,
}

/// A bucket of a trace: its objects' places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceBucket {
    pub name: BucketName,
    pub first: usize,
    pub end: usize,
}

/// A trace, by object; objects in the order of bucket and key.
#[derive(Clone, PartialEq, Eq)]
pub struct Trace {
    /// The first day.
    pub first_day: Day,
    /// From the first day to the last, both counted.
    pub days: u16,
    pub buckets: Vec<TraceBucket>,
    starts: Vec<usize>,
    events: Vec<Event>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a trace of {} objects, {} events and {} days", self.objects(), self.events.len(), self.days)
    }
}

impl Trace {
    /// How many objects there are.
    pub fn objects(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many events there are, a day's reads counted as one.
    pub fn event_count(&self) -> usize {
        self.events.len()
    }

    /// One object's events in their order. The first is a PUT or [`EventKind::Found`].
    pub fn events_of(&self, object: usize) -> &[Event] {
        &self.events[self.starts[object]..self.starts[object + 1]]
    }

    /// Ends the object whose events were pushed last.
    fn end_object(&mut self, bucket: &BucketName) {
        let place = self.objects();
        self.starts.push(self.events.len());
        if self.buckets.last().is_none_or(|last| last.name != *bucket) {
            self.buckets.push(TraceBucket { name: bucket.clone(), first: place, end: place });
        }
        self.buckets.last_mut().expect("pushed above").end = place + 1;
    }

    /// Pushes an object's events. False, and nothing is pushed, where it is left out.
    fn push_object(&mut self, rows: &[Row], first: u32, object: &ObjectNames, unknown: SizeUnknown) -> bool {
        let begin = self.events.len();
        let known = |size: Option<u64>| match unknown {
            SizeUnknown::Empty => Some(size.unwrap_or(0)),
            SizeUnknown::LeaveOut => size,
        };
        let mut there = false;
        if rows.first().is_none_or(|row| !row.is_put()) {
            let Some(bytes) = known(size_of_life(rows, object)) else { return false };
            self.events.push(Event { day: 0, kind: EventKind::Found, reads: 0, bytes });
            there = true;
        }
        for (at, row) in rows.iter().enumerate() {
            let day = (row.time_secs / SECS_PER_DAY - first) as u16;
            let event = |kind| Event { day, kind, reads: 0, bytes: row.bytes() };
            match row.op() {
                PUT => {
                    self.events.push(event(EventKind::Put));
                    there = true;
                }
                PUT_UNSIZED => {
                    let Some(bytes) = known(size_of_life(&rows[at + 1..], object)) else {
                        self.events.truncate(begin);
                        return false;
                    };
                    self.events.push(Event { bytes, ..event(EventKind::Put) });
                    there = true;
                }
                _ if !there => {}
                DELETE => {
                    self.events.push(event(EventKind::Delete));
                    there = false;
                }
                _ => self.push_read(begin, event(EventKind::Read)),
            }
        }
        true
    }

    /// Adds a read to those of its day, of the object whose events begin at `begin`.
    fn push_read(&mut self, begin: usize, read: Event) {
        match self.events[begin..].last_mut() {
            Some(last) if last.kind == EventKind::Read && last.day == read.day => {
                last.reads = last.reads.saturating_add(1);
                last.bytes = last.bytes.saturating_add(read.bytes);
            }
            _ => self.events.push(Event { reads: 1, ..read }),
        }
    }
}

/// How large an object is that no PUT tells the size of, by what follows until the next PUT: what was told beside it, else, if
/// it is not the one that was listed, the largest read, else the listing, else the largest read again.
fn size_of_life(rows: &[Row], object: &ObjectNames) -> Option<u64> {
    let life = || rows.iter().take_while(|row| !row.is_put());
    let told = Some(object.told).filter(|bytes| *bytes > 0);
    let listed = Some(object.listed).filter(|bytes| *bytes != UNLISTED);
    let read = life().map(|row| row.bytes()).max().filter(|bytes| *bytes > 0);
    let is_replaced = life().count() < rows.len();
    told.or(if is_replaced { read.or(listed) } else { listed.or(read) })
}
