//! What ingest remembers: the batches with their manifests, the one sequence that numbers them, how far each log directory
//! is known, and from which day on the logs are counted.
//!
//! | `sk` | what |
//! |---|---|
//! | `sequence` | the last number given, and the latest day of any file so far |
//! | `batch#NUMBER` | a manifest: its files, whether it is `pending` or `done`, which files were set aside |
//! | `cursor#BUCKET/DIRECTORY` | the first and the last day that a log directory has shown, and its floor |
//! | `coverage` | from which day on every source is counted |
//! | `sweep` | when the directories were last listed as far back as they ever are |
//!
//! A number and its manifest are written in one transaction, and only by who knows the number before. So two writers never
//! have two batches of the same files: the one that comes second is refused, whatever it had listed. A manifest is the only
//! record of the files in it; there is no item for each file. It may expire once every file in it lies below the *floor* of
//! its directory: a day before which that directory is never listed again, whatever the configuration becomes.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

use super::item::{Item, n, s, t};
use super::{State, Written, key};
use crate::aws::{AwsError, AwsResult};
use crate::tiering::object::{BucketName, ETag, ObjectKey};

const PK: &str = "ingest";
const SEQUENCE: &str = "sequence";
const COVERAGE: &str = "coverage";
const SWEEP: &str = "sweep";

/// Where log files lie in the order of their days.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPlace {
    pub bucket: BucketName,
    /// What the keys of its files begin with.
    pub prefix: String,
}

/// A log file. Its identity is bucket, key and ETag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchFile {
    pub place: Arc<LogPlace>,
    pub key: ObjectKey,
    pub etag: ETag,
    /// Compressed bytes.
    pub size: u64,
    /// By which it is listed: the day of its publishing.
    pub day: NaiveDate,
}

impl BatchFile {
    /// As the quarantine and the log lines name it.
    pub fn id(&self) -> String {
        format!("s3://{}/{}#{}", self.place.bucket, self.key, self.etag)
    }

    fn rest_of_key(&self) -> &str {
        self.key.as_str().strip_prefix(self.place.prefix.as_str()).unwrap_or(self.key.as_str())
    }

    /// At most how many bytes of its item a file takes up, also if it is set aside.
    pub fn manifest_bytes(&self) -> usize {
        let rest = self.rest_of_key();
        // `\u0001` is the longest that a byte can become. Then quotes, commas, size, day and the number of the place.
        let escaped = rest.bytes().filter(|b| matches!(b, b'"' | b'\\' | 0..=0x1f)).count();
        rest.len() + 5 * escaped + self.etag.as_str().len() + 60 + MAX_REASON_BYTES
    }
}

/// Of a reason for setting aside so much is kept in the manifest; the quarantine has all of it.
const MAX_REASON_BYTES: usize = 60;

/// Which files of a batch were set aside, by their place in it, and why.
pub type SetAside = BTreeMap<usize, String>;

/// The last number of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sequence {
    /// 0 before the first batch.
    pub last: u64,
    /// The latest day of a file in any batch so far.
    pub through_day: Option<NaiveDate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchStatus {
    /// Written down; some of it may be counted.
    Pending,
    /// All of it is counted or set aside.
    Done,
}

/// A manifest as it is in the table.
#[derive(Debug, Clone)]
pub struct Batch {
    pub number: u64,
    pub status: BatchStatus,
    pub files: Vec<BatchFile>,
    /// The places among `files` of those that were set aside, and why; None before that is settled.
    pub set_aside: Option<SetAside>,
    /// The latest day of a file in this batch and all before it.
    pub through_day: NaiveDate,
    /// Whether DynamoDB was told that it may delete the item.
    pub expires: bool,
}

/// How far a log directory is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The earliest day that was ever listed.
    pub first_day: NaiveDate,
    /// The latest day that was ever listed.
    pub last_day: NaiveDate,
    /// Never listed before this day again. Only ever goes forward.
    pub floor: NaiveDate,
}

impl State {
    /// The last number given.
    pub async fn batch_sequence(&self) -> anyhow::Result<Sequence> {
        let Some(item) = self.get(PK, SEQUENCE).await? else { return Ok(Sequence::default()) };
        let read = || -> anyhow::Result<Sequence> {
            Ok(Sequence { last: item.num("last")?, through_day: item.opt_str("through_day").map(day).transpose()? })
        };
        read().context("reading the sequence of the batches")
    }

    /// Gives the next number after `known` to these files and writes their manifest, both or neither.
    /// [`Written::Refused`]: another writer has taken the number; nothing that was read before still holds.
    pub async fn put_batch(
        &self,
        known: Sequence,
        files: &[BatchFile],
        now: DateTime<Utc>,
    ) -> AwsResult<(Written, Sequence)> {
        let days = || files.iter().map(|f| f.day);
        let through_day = days().chain(known.through_day).max();
        let next = Sequence { last: known.last + 1, through_day };
        let sk = batch_sk(next.last);
        let writer = format!("{}/{:x}", self.holder(), now.timestamp_micros());
        let (places, list) = files_to_json(files);
        let mut item = Item::new()
            .with_num("number", next.last)
            .with_str("status", "pending")
            .with_str("writer", &writer)
            .with_str("places", places)
            .with_str("files", list)
            .with_time("created_at", now);
        for (name, day) in [("min_day", days().min()), ("max_day", days().max()), ("through_day", through_day)] {
            if let Some(day) = day {
                item = item.with_str(name, day.to_string());
            }
        }
        let mut map = key(PK, &sk);
        map.extend(item.into_map());
        let put = Put::builder()
            .table_name(self.table())
            .set_item(Some(map))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(|e| AwsError::from_entry("TransactWriteItems", &sk, None, e.to_string()))?;
        let mut update = Update::builder()
            .table_name(self.table())
            .set_key(Some(key(PK, SEQUENCE)))
            .update_expression("SET #last = :next, through_day = :day")
            .expression_attribute_names("#last", "last")
            .expression_attribute_values(":next", n(next.last))
            .expression_attribute_values(":day", s(through_day.map(|d| d.to_string()).unwrap_or_default()));
        update = if known.last == 0 {
            update.condition_expression("attribute_not_exists(pk)")
        } else {
            update.condition_expression("#last = :known").expression_attribute_values(":known", n(known.last))
        };
        let update =
            update.build().map_err(|e| AwsError::from_entry("TransactWriteItems", &sk, None, e.to_string()))?;
        let sent = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().update(update).build())
            .transact_items(TransactWriteItem::builder().put(put).build())
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok((Written::Yes, next)),
            Err(error) => error,
        };
        let failed_condition = matches!(
            error.as_service_error(),
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled))
                if cancelled.cancellation_reasons().iter().any(|r| r.code() == Some("ConditionalCheckFailed"))
        );
        if !failed_condition {
            return Err(AwsError::new("TransactWriteItems", format_args!("{}/{PK}/{sk}", self.table()), error));
        }
        // The SDK repeats a write whose answer was lost, and then meets its own effect.
        let there = self.get(PK, &sk).await?;
        let mine = there.is_some_and(|item| item.opt_str("writer") == Some(writer.as_str()));
        Ok((if mine { Written::Yes } else { Written::Refused }, next))
    }

    /// One batch; None if it has expired.
    pub async fn batch(&self, number: u64) -> anyhow::Result<Option<Batch>> {
        self.get(PK, &batch_sk(number)).await?.as_ref().map(parse).transpose()
    }

    /// The batches from the newest to the oldest, a page (at most 1 MB) at a time.
    pub fn batches_newest_first(&self) -> BatchPager<'_> {
        BatchPager { state: self, start: None, done: false }
    }

    /// Notes in a pending batch which of its files are set aside, before any of it is counted: whoever repairs the batch
    /// leaves out the same files. `known` is what the manifest said before. [`Written::Refused`]: the batch is done, or was
    /// settled otherwise meanwhile.
    pub async fn settle_batch(
        &self,
        number: u64,
        known: Option<&SetAside>,
        set_aside: &SetAside,
    ) -> AwsResult<Written> {
        let update = self
            .update(PK, &batch_sk(number))
            .update_expression("SET set_aside = :set_aside")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":pending", s("pending"))
            .expression_attribute_values(":set_aside", s(set_aside_to_json(set_aside)));
        let update = match known {
            // It may be there already: the SDK repeats a write whose answer was lost.
            None => update.condition_expression(
                "#status = :pending AND (attribute_not_exists(set_aside) OR set_aside = :set_aside)",
            ),
            Some(known) => update
                .condition_expression("#status = :pending AND (set_aside = :known OR set_aside = :set_aside)")
                .expression_attribute_values(":known", s(set_aside_to_json(known))),
        };
        self.send_update(&batch_sk(number), update).await
    }

    /// Marks a batch done, with its figures. Doing so twice is one.
    pub async fn finish_batch(
        &self,
        number: u64,
        figures: &serde_json::Value,
        now: DateTime<Utc>,
    ) -> AwsResult<Written> {
        let update = self
            .update(PK, &batch_sk(number))
            .update_expression("SET #status = :done, figures = :figures, done_at = :now")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":done", s("done"))
            .expression_attribute_values(":figures", s(figures.to_string()))
            .expression_attribute_values(":now", t(now));
        self.send_update(&batch_sk(number), update).await
    }

    /// Lets DynamoDB delete a batch that is done, from `at` on.
    pub async fn expire_batch(&self, number: u64, at: DateTime<Utc>) -> AwsResult<Written> {
        let update = self
            .update(PK, &batch_sk(number))
            .update_expression("SET #ttl = :at")
            .condition_expression("#status = :done")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":done", s("done"))
            .expression_attribute_values(":at", n(at.timestamp().max(0).unsigned_abs()));
        self.send_update(&batch_sk(number), update).await
    }

    /// How far every log directory is known that ever was listed to its end.
    pub async fn cursors(&self) -> anyhow::Result<BTreeMap<LogPlace, Cursor>> {
        let items = self.query(PK, "cursor#").await?;
        items
            .iter()
            .map(|item| {
                let place =
                    LogPlace { bucket: BucketName::new(item.str("bucket")?)?, prefix: item.str("prefix")?.to_owned() };
                let cursor = Cursor {
                    first_day: day(item.str("first_day")?)?,
                    last_day: day(item.str("last_day")?)?,
                    floor: day(item.str("floor")?)?,
                };
                Ok((place, cursor))
            })
            .collect::<anyhow::Result<_>>()
            .context("reading how far the log directories are known")
    }

    /// Moves a directory's cursor. [`Written::Refused`]: another writer has moved it further.
    pub async fn move_cursor(&self, place: &LogPlace, cursor: &Cursor) -> AwsResult<Written> {
        let sk = cursor_sk(place);
        let update = self
            .update(PK, &sk)
            .update_expression(
                "SET #bucket = :bucket, #prefix = :prefix, first_day = :first, last_day = :last, #floor = :floor",
            )
            // Days as text sort as they come. A floor that went back would have files listed whose manifest is gone.
            .condition_expression(
                "attribute_not_exists(pk) OR (last_day <= :last AND #floor <= :floor AND first_day >= :first)",
            )
            .expression_attribute_names("#bucket", "bucket")
            .expression_attribute_names("#prefix", "prefix")
            .expression_attribute_names("#floor", "floor")
            .expression_attribute_values(":bucket", s(place.bucket.as_str()))
            .expression_attribute_values(":prefix", s(&place.prefix))
            .expression_attribute_values(":first", s(cursor.first_day.to_string()))
            .expression_attribute_values(":last", s(cursor.last_day.to_string()))
            .expression_attribute_values(":floor", s(cursor.floor.to_string()));
        self.send_update(&sk, update).await
    }

    /// When the directories were last listed as far back as they ever are.
    pub async fn last_log_sweep(&self) -> anyhow::Result<Option<DateTime<Utc>>> {
        let Some(item) = self.get(PK, SWEEP).await? else { return Ok(None) };
        item.time("at").map(Some).context("reading when the logs were last swept")
    }

    pub async fn note_log_sweep(&self, now: DateTime<Utc>) -> AwsResult<()> {
        self.put(PK, SWEEP, Item::new().with_time("at", now)).await
    }

    /// Since when the logs of all sources are counted: evidence of who was *not* used is no older. None before the first
    /// whole ingest.
    pub async fn log_coverage_since(&self) -> anyhow::Result<Option<DateTime<Utc>>> {
        let Some(item) = self.get(PK, COVERAGE).await? else { return Ok(None) };
        let from =
            item.opt_str("from").map(day).transpose().context("reading from which day on the logs are counted")?;
        Ok(from.map(|day| day.and_time(NaiveTime::MIN).and_utc()))
    }

    /// The earliest day of each source, by its name, as the last whole ingest noted it.
    pub async fn source_coverage(&self) -> anyhow::Result<BTreeMap<String, NaiveDate>> {
        let Some(item) = self.get(PK, COVERAGE).await? else { return Ok(BTreeMap::new()) };
        serde_json::from_str(item.str("sources")?).context("reading from which day on each source is counted")
    }

    /// Notes from which day on each source is counted, and from which day on all are: None if one has no logs at all.
    pub async fn put_log_coverage(
        &self,
        sources: &BTreeMap<String, NaiveDate>,
        from: Option<NaiveDate>,
    ) -> AwsResult<()> {
        let json = serde_json::to_string(sources).expect("names and days are plain data");
        let mut item = Item::new().with_str("sources", json);
        if let Some(from) = from {
            item = item.with_str("from", from.to_string());
        }
        self.put(PK, COVERAGE, item).await
    }
}

/// The batches, newest first.
#[derive(Debug)]
pub struct BatchPager<'a> {
    state: &'a State,
    start: Option<std::collections::HashMap<String, AttributeValue>>,
    done: bool,
}

impl BatchPager<'_> {
    /// The next page; None after the last one.
    pub async fn next_page(&mut self) -> anyhow::Result<Option<Vec<Batch>>> {
        if self.done {
            return Ok(None);
        }
        let page = self
            .state
            .client
            .query()
            .table_name(self.state.table())
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", s(PK))
            .expression_attribute_values(":prefix", s("batch#"))
            .scan_index_forward(false)
            .consistent_read(true)
            .set_exclusive_start_key(self.start.take())
            .send()
            .await
            .map_err(|e| AwsError::new("Query", format_args!("{}/{PK}/batch#", self.state.table()), e))?;
        self.start = page.last_evaluated_key.filter(|k| !k.is_empty());
        self.done = self.start.is_none();
        page.items
            .unwrap_or_default()
            .into_iter()
            .map(|item| parse(&Item::from(item)))
            .collect::<anyhow::Result<_>>()
            .map(Some)
    }
}

fn batch_sk(number: u64) -> String {
    format!("batch#{number:012}")
}

fn cursor_sk(place: &LogPlace) -> String {
    super::fit_sort_key(&format!("cursor#{}/{}", place.bucket, place.prefix))
}

fn day(text: &str) -> anyhow::Result<NaiveDate> {
    text.parse().with_context(|| format!("{text:?} is no day"))
}

/// The places, and the files as `[place, rest of the key, ETag, bytes, day]`: many files share a directory, and an item has
/// at most 400 KB.
fn files_to_json(files: &[BatchFile]) -> (String, String) {
    let mut numbers: BTreeMap<&LogPlace, usize> = BTreeMap::new();
    let mut places: Vec<(&str, &str)> = Vec::new();
    let mut list: Vec<(usize, &str, &str, u64, NaiveDate)> = Vec::with_capacity(files.len());
    for file in files {
        let number = *numbers.entry(&file.place).or_insert_with(|| {
            places.push((file.place.bucket.as_str(), &file.place.prefix));
            places.len() - 1
        });
        list.push((number, file.rest_of_key(), file.etag.as_str(), file.size, file.day));
    }
    let json = |what: serde_json::Result<String>| what.expect("texts and numbers are plain data");
    (json(serde_json::to_string(&places)), json(serde_json::to_string(&list)))
}

fn files_from_json(places: &str, files: &str) -> anyhow::Result<Vec<BatchFile>> {
    let places: Vec<(BucketName, String)> = serde_json::from_str(places)?;
    let places: Vec<Arc<LogPlace>> =
        places.into_iter().map(|(bucket, prefix)| Arc::new(LogPlace { bucket, prefix })).collect();
    let files: Vec<(usize, String, ETag, u64, NaiveDate)> = serde_json::from_str(files)?;
    files
        .into_iter()
        .map(|(place, rest, etag, size, day)| {
            let place = places.get(place).context("a file is of no place")?.clone();
            Ok(BatchFile { key: ObjectKey::new(format!("{}{rest}", place.prefix))?, place, etag, size, day })
        })
        .collect()
}

fn set_aside_to_json(set_aside: &SetAside) -> String {
    let list: Vec<(usize, String)> = set_aside
        .iter()
        .map(|(place, reason)| {
            let plain: String =
                reason.chars().map(|c| if matches!(c, '"' | '\\') || c.is_control() { '\'' } else { c }).collect();
            (*place, plain[..plain.floor_char_boundary(MAX_REASON_BYTES - 12)].to_owned())
        })
        .collect();
    serde_json::to_string(&list).expect("texts and numbers are plain data")
}

fn parse(item: &Item) -> anyhow::Result<Batch> {
    let read = || -> anyhow::Result<Batch> {
        let set_aside: Option<Vec<(usize, String)>> =
            item.opt_str("set_aside").map(serde_json::from_str).transpose()?;
        Ok(Batch {
            number: item.num("number")?,
            status: match item.str("status")? {
                "pending" => BatchStatus::Pending,
                "done" => BatchStatus::Done,
                other => anyhow::bail!("{other:?} is no status"),
            },
            files: files_from_json(item.str("places")?, item.str("files")?)?,
            set_aside: set_aside.map(|list| list.into_iter().collect()),
            through_day: day(item.str("through_day")?)?,
            expires: item.get("ttl").is_some(),
        })
    };
    read().with_context(|| format!("reading the manifest {}", item.opt_str("sk").unwrap_or("?")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(prefix: &str, rest: &str, day: &str) -> BatchFile {
        let place = LogPlace { bucket: BucketName::new("some-logs").unwrap(), prefix: prefix.to_owned() };
        BatchFile {
            key: ObjectKey::new(format!("{prefix}{rest}")).unwrap(),
            place: Arc::new(place),
            etag: ETag::new("0123456789abcdef0123456789abcdef").unwrap(),
            size: 123_456_789,
            day: day.parse().unwrap(),
        }
    }

    #[test]
    fn a_manifest_reads_back_as_it_was_written() {
        let files = vec![
            file("AWSLogs/1/CloudTrail/us-east-1/", "2026/02/28/a \"odd\" \\ 사진\u{1}.json.gz", "2026-02-28"),
            file("AWSLogs/1/CloudTrail/us-east-2/", "2026/03/01/b.json.gz", "2026-03-01"),
            file("AWSLogs/1/CloudTrail/us-east-1/", "2026/03/01/c.json.gz", "2026-03-01"),
            file("logs/2026-", "03-01-00-00-00-ID", "2026-03-01"),
        ];
        let (places, list) = files_to_json(&files);
        assert_eq!(files_from_json(&places, &list).unwrap(), files);
    }

    #[test]
    fn a_file_takes_no_more_of_an_item_than_it_says() {
        let reason = "\"\\ 사진 \u{1} and so on, a long story that nobody would want to read to its very end";
        for rest in ["2026/02/28/plain.json.gz", "사진 사진 사진", "\"\\\"\\\"\\\"\\"] {
            let files = vec![file("AWSLogs/1/CloudTrail/us-east-1/", rest, "2026-02-28"); 2000];
            let (_, list) = files_to_json(&files);
            let set_aside = set_aside_to_json(&(0..2000).map(|i| (i, reason.to_owned())).collect());
            let claimed: usize = files.iter().map(BatchFile::manifest_bytes).sum();
            assert!(list.len() + set_aside.len() <= claimed, "{} + {} > {claimed}", list.len(), set_aside.len());
        }
    }
}
