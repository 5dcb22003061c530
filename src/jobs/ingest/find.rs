//! Finding the log files that no batch has, with few listings and bounded memory.
//!
//! Each log directory is listed once, from a day on: its last known day less the look-back, or, once a day and whenever a
//! person asks, less 31 days, for so long CloudTrail delivers what it could not deliver in time. A directory that was never
//! listed to its end is listed from its beginning. What the manifests name is known already; of each file in them sixteen
//! bytes are kept, and they are read from the newest back to the first that can hold nothing of the days listed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context, Result};
use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use futures::{FutureExt, StreamExt, stream};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{Ingest, Limits, LogSource};
use crate::aws::AwsResult;
use crate::jobs::{AskedBy, RunOptions};
use crate::progress::Progress;
use crate::s3::list::{ListRequest, ListedObject};
use crate::state::batches::{Batch, BatchFile, BatchStatus, Cursor, LogPlace};
use crate::state::quarantine::Quarantined;
use crate::state::{State, Written};
use crate::tiering::access_log::layout;
use crate::tiering::object::{BucketName, ETag, ObjectId, ObjectKey};

/// How long CloudTrail goes on to deliver, and a day for its clock.
const SWEEP_DAYS: u64 = 31;
/// Between the last day that is ever listed again and the first whose manifests may go.
const FLOOR_MARGIN_DAYS: u64 = 3;
/// For so long an expired manifest stays for people to read.
const EXPIRED_STAYS: Days = Days::new(2);
pub(super) const LISTINGS_AT_ONCE: usize = 16;

/// How far back a run looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Lookback,
    /// As far as there may be new files at all.
    Sweep,
}

/// What a run found.
pub(super) struct Found {
    /// Those that no batch has, in the order in which they are counted.
    pub files: Vec<BatchFile>,
    /// How many were counted already.
    pub skipped: u64,
    /// By their place in the configuration.
    pub failed_sources: BTreeMap<usize, anyhow::Error>,
    /// What else is to be told.
    pub problems: Vec<String>,
    /// Log files in the quarantine that are counted for all that.
    pub counted_meanwhile: Vec<String>,
    whole_sources: BTreeSet<usize>,
    directories: Vec<Directory>,
    cursors: BTreeMap<LogPlace, Cursor>,
    reach: Reach,
    expirable: Vec<Expirable>,
}

/// A log directory, found and listed.
pub(super) struct Directory {
    pub(super) place: Arc<LogPlace>,
    layout: layout::LogDirectory,
    /// The sources that read it: one, mostly.
    sources: Vec<usize>,
    /// The first and the last day that this listing has shown.
    days: Option<(NaiveDate, NaiveDate)>,
}

/// A batch that is done, by the latest day of each of its directories.
struct Expirable {
    number: u64,
    latest: BTreeMap<LogPlace, NaiveDate>,
}

/// What the manifests name: whether each file was counted, by a hash of its identity.
#[derive(Default)]
pub(super) struct Known {
    files: FxHashMap<u128, bool>,
    expirable: Vec<Expirable>,
}

/// Looks for files that no batch has. Writes nothing.
pub(super) async fn find(
    ingest: &Ingest,
    options: &RunOptions,
    now: DateTime<Utc>,
    stop: &CancellationToken,
    quarantined: &HashMap<String, Quarantined>,
) -> Result<Found> {
    let mut found = Found {
        files: Vec::new(),
        skipped: 0,
        failed_sources: BTreeMap::new(),
        problems: Vec::new(),
        counted_meanwhile: Vec::new(),
        whole_sources: BTreeSet::new(),
        directories: Vec::new(),
        cursors: ingest.state.cursors().await?,
        reach: reach(&ingest.state, options, now).await?,
        expirable: Vec::new(),
    };
    (found.directories, found.failed_sources) = discover(&ingest.sources, stop).await;
    let retries: Vec<&Quarantined> = quarantined.values().filter(|entry| entry.retry).collect();
    let from_days: Vec<Option<NaiveDate>> =
        found.directories.iter().map(|d| from_day(found.cursors.get(&d.place), found.reach, &ingest.limits)).collect();
    // Batches in which nothing can be of these days need not be read; without a day, all are.
    let back_to = match (found.reach, retries.is_empty()) {
        (Reach::Lookback, true) => {
            from_days.iter().copied().collect::<Option<Vec<_>>>().and_then(|d| d.into_iter().min())
        }
        _ => None,
    };
    let known = if from_days.is_empty() && retries.is_empty() && found.reach == Reach::Lookback {
        Known::default()
    } else {
        read_manifests(&ingest.state, back_to).await?
    };
    let mut new = list_all(ingest, &mut found, from_days, &known, &options.progress, stop).await;
    take_retries(&ingest.sources, &retries, &known, &mut new, &mut found).await;
    found.files = in_order(new);
    found.expirable = known.expirable;
    for source in 0..ingest.sources.len() {
        if !found.failed_sources.contains_key(&source) && !stop.is_cancelled() {
            found.whole_sources.insert(source);
        }
    }
    Ok(found)
}

/// In the order of publishing, so that twins of one event (two accounts, two regions) fall into one batch.
pub(super) fn in_order(mut files: Vec<Dated>) -> Vec<BatchFile> {
    files.sort_unstable_by(|(a_time, a), (b_time, b)| {
        (a_time, &a.key, &a.place.bucket).cmp(&(b_time, &b.key, &b.place.bucket))
    });
    files.into_iter().map(|(_, file)| file).collect()
}

/// Notes, once every file found is counted, how far the directories are known now, and lets manifests go that no listing
/// can ask for any more.
pub(super) async fn note(
    state: &State,
    limits: &Limits,
    sources: &[LogSource],
    found: &Found,
    now: DateTime<Utc>,
) -> Result<()> {
    let mut cursors = found.cursors.clone();
    for directory in &found.directories {
        let Some((first, last)) = directory.days else { continue };
        if !directory.sources.iter().all(|source| found.whole_sources.contains(source)) {
            continue;
        }
        let old = cursors.get(&*directory.place).copied();
        let new = moved(old, first, last, limits, now);
        if old != Some(new) {
            if state.move_cursor(&directory.place, &new).await? == Written::Refused {
                anyhow::bail!(
                    "another writer has moved the cursor of s3://{}/{}",
                    directory.place.bucket,
                    directory.place.prefix
                );
            }
            failpoint!("ingest.cursor-moved");
            cursors.insert((*directory.place).clone(), new);
        }
    }
    if found.whole_sources.len() == sources.len() {
        note_coverage(state, sources, found, &cursors).await?;
        failpoint!("ingest.coverage-noted");
    }
    if found.reach == Reach::Sweep {
        for batch in found.expirable.iter().filter(|batch| may_expire(batch, &cursors)) {
            let _gone_already: Written = state.expire_batch(batch.number, now + EXPIRED_STAYS).await?;
        }
        if found.whole_sources.len() == sources.len() {
            state.note_log_sweep(now).await?;
        }
    }
    Ok(())
}

async fn note_coverage(
    state: &State,
    sources: &[LogSource],
    found: &Found,
    cursors: &BTreeMap<LogPlace, Cursor>,
) -> Result<()> {
    let before = state.source_coverage().await?;
    // Of sources that are no longer configured nothing is kept: if they come back, their directories tell it again.
    let now_covered: BTreeMap<String, NaiveDate> = sources
        .iter()
        .enumerate()
        .filter_map(|(at, source)| {
            let own = found.directories.iter().filter(|d| d.sources.contains(&at));
            let first_days = own.filter_map(|d| cursors.get(&*d.place)).map(|c| c.first_day);
            let first = first_days.chain(before.get(source.name()).copied()).min()?;
            Some((source.name().to_owned(), first))
        })
        .collect();
    if now_covered == before {
        return Ok(());
    }
    let from = if now_covered.len() == sources.len() { now_covered.values().max().copied() } else { None };
    Ok(state.put_log_coverage(&now_covered, from).await?)
}

async fn reach(state: &State, options: &RunOptions, now: DateTime<Utc>) -> Result<Reach> {
    if options.asked_by == AskedBy::Person {
        return Ok(Reach::Sweep);
    }
    let swept_today = state.last_log_sweep().await?.is_some_and(|at| at.date_naive() >= now.date_naive());
    Ok(if swept_today { Reach::Lookback } else { Reach::Sweep })
}

fn lookback_days(limits: &Limits) -> u64 {
    limits.lookback.as_secs().div_ceil(86_400)
}

/// From which day on a directory is listed; None: from its beginning.
fn from_day(cursor: Option<&Cursor>, reach: Reach, limits: &Limits) -> Option<NaiveDate> {
    let cursor = cursor?;
    let days = match reach {
        Reach::Lookback => lookback_days(limits),
        Reach::Sweep => lookback_days(limits).max(SWEEP_DAYS),
    };
    Some(before(cursor.last_day, days).max(cursor.floor))
}

/// Where a directory's cursor stands after a listing that showed files from `first` to `last`.
fn moved(old: Option<Cursor>, first: NaiveDate, last: NaiveDate, limits: &Limits, now: DateTime<Utc>) -> Cursor {
    // A file that claims to be of the far future must not hide all that comes until then.
    let tomorrow = now.date_naive() + Days::new(1);
    let last = last.min(tomorrow);
    let last_day = old.map_or(last, |old| old.last_day.max(last));
    let floor = before(last_day, lookback_days(limits).max(SWEEP_DAYS) + FLOOR_MARGIN_DAYS);
    Cursor {
        first_day: old.map_or(first, |old| old.first_day.min(first)).min(last_day),
        last_day,
        floor: old.map_or(floor, |old| old.floor.max(floor)),
    }
}

fn before(day: NaiveDate, days: u64) -> NaiveDate {
    day.checked_sub_days(Days::new(days)).unwrap_or(NaiveDate::MIN)
}

/// Whether no directory can show a file of this batch again.
fn may_expire(batch: &Expirable, cursors: &BTreeMap<LogPlace, Cursor>) -> bool {
    batch.latest.iter().all(|(place, latest)| cursors.get(place).is_some_and(|cursor| *latest < cursor.floor))
}

/// Finds the log directories of all sources, and the sources of which it could not.
pub(super) async fn discover(
    sources: &[LogSource],
    stop: &CancellationToken,
) -> (Vec<Directory>, BTreeMap<usize, anyhow::Error>) {
    let mut failed = BTreeMap::new();
    let mut directories: BTreeMap<LogPlace, Directory> = BTreeMap::new();
    for (at, source) in sources.iter().enumerate() {
        match log_directories(source, stop).await {
            Ok(layouts) => {
                for layout in layouts {
                    let place = LogPlace { bucket: source.bucket.clone(), prefix: layout.prefix().to_owned() };
                    let directory = directories.entry(place.clone()).or_insert_with(|| Directory {
                        place: Arc::new(place),
                        layout,
                        sources: Vec::new(),
                        days: None,
                    });
                    directory.sources.push(at);
                }
            }
            Err(error) => {
                failed.insert(at, error.into());
            }
        }
    }
    (directories.into_values().collect(), failed)
}

async fn log_directories(source: &LogSource, stop: &CancellationToken) -> AwsResult<Vec<layout::LogDirectory>> {
    let mut directories = Vec::new();
    let mut listings = vec![source.layout.root()];
    while !listings.is_empty() && !stop.is_cancelled() {
        let level = std::mem::take(&mut listings);
        let mut answers = stream::iter(level)
            .map(|listing| {
                async move { source.s3.list_common_prefixes(&source.bucket, &listing.prefix, listing.delimiter).await }
                    .boxed()
            })
            .buffered(LISTINGS_AT_ONCE);
        while let Some(prefixes) = answers.next().await {
            for prefix in prefixes? {
                match source.layout.look_at(&prefix) {
                    layout::Found::List(listing) => listings.push(listing),
                    layout::Found::LogDirectory(directory) => directories.push(directory),
                    layout::Found::Leave => {}
                }
            }
        }
    }
    Ok(directories)
}

/// Reads the manifests, newest first, back to the first that can hold no file of `back_to` or later.
async fn read_manifests(state: &State, back_to: Option<NaiveDate>) -> Result<Known> {
    let mut known = Known::default();
    let mut pager = state.batches_newest_first();
    while let Some(page) = pager.next_page().await? {
        for batch in page {
            if back_to.is_some_and(|day| batch.through_day < day) {
                return Ok(known);
            }
            known.take(&batch);
        }
    }
    Ok(known)
}

impl Known {
    fn take(&mut self, batch: &Batch) {
        let mut latest: BTreeMap<LogPlace, NaiveDate> = BTreeMap::new();
        for (at, file) in batch.files.iter().enumerate() {
            let counted = !batch.set_aside.as_ref().is_some_and(|set_aside| set_aside.contains_key(&at));
            // A file that was set aside may have been counted by a later batch.
            *self.files.entry(hash_of(file)).or_default() |= counted;
            match latest.get_mut(&*file.place) {
                Some(day) => *day = file.day.max(*day),
                None => {
                    latest.insert((*file.place).clone(), file.day);
                }
            }
        }
        if batch.status == BatchStatus::Done && !batch.expires {
            self.expirable.push(Expirable { number: batch.number, latest });
        }
    }
}

fn hash_of(file: &BatchFile) -> u128 {
    let mut hash = Sha256::new();
    // Neither a bucket's name nor an ETag holds a space.
    for part in [file.place.bucket.as_str(), " ", file.etag.as_str(), " ", file.key.as_str()] {
        hash.update(part.as_bytes());
    }
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize()[..16]);
    u128::from_le_bytes(first)
}

/// A file and when it was published.
pub(super) type Dated = (DateTime<Utc>, BatchFile);

/// What the listing of one directory has shown.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) new: Vec<Dated>,
    skipped: u64,
    days: Option<(NaiveDate, NaiveDate)>,
}

async fn list_all(
    ingest: &Ingest,
    found: &mut Found,
    from_days: Vec<Option<NaiveDate>>,
    known: &Known,
    progress: &Progress,
    stop: &CancellationToken,
) -> Vec<Dated> {
    let mut new = Vec::new();
    let mut results = Vec::with_capacity(found.directories.len());
    {
        let directories = &found.directories;
        // By place rather than by reference, and boxed: else the compiler cannot see that these futures are Send.
        let mut answers = stream::iter(from_days.into_iter().enumerate())
            .map(|(at, from)| {
                async move { (at, list_directory(&ingest.sources, &directories[at], from, known, progress, stop).await) }
                    .boxed()
            })
            .buffer_unordered(LISTINGS_AT_ONCE);
        while let Some(answer) = answers.next().await {
            results.push(answer);
        }
    }
    for (at, result) in results {
        let directory = &mut found.directories[at];
        match result {
            Ok(listed) => {
                directory.days = listed.days;
                found.skipped += listed.skipped;
                new.extend(listed.new);
            }
            Err(error) => {
                let error = anyhow::Error::from(error).context(format!("listing {}", directory.place.prefix));
                found.failed_sources.entry(directory.sources[0]).or_insert(error);
            }
        }
    }
    new
}

pub(super) async fn list_directory(
    sources: &[LogSource],
    directory: &Directory,
    from: Option<NaiveDate>,
    known: &Known,
    progress: &Progress,
    stop: &CancellationToken,
) -> AwsResult<Listed> {
    let mut listed = Listed::default();
    let request = ListRequest {
        prefix: directory.place.prefix.clone(),
        start_after: from.map(|day| directory.layout.start_after(day)),
    };
    let mut pager = sources[directory.sources[0]].s3.list(&directory.place.bucket, request);
    while !stop.is_cancelled()
        && let Some(page) = pager.next_page().await?
    {
        progress.add_done(page.len() as u64);
        for object in page {
            listed.take(sources, directory, object, known);
        }
    }
    Ok(listed)
}

impl Listed {
    fn take(&mut self, sources: &[LogSource], directory: &Directory, object: ListedObject, known: &Known) {
        let log_file = directory.sources.iter().find_map(|at| sources[*at].layout.log_file(object.key.as_str()));
        let Some((day, published)) = log_file.map(|file| (file.day, file.published)) else { return };
        self.days = Some(self.days.map_or((day, day), |(first, last)| (first.min(day), last.max(day))));
        let published = published.unwrap_or_else(|| day.and_time(NaiveTime::MIN).and_utc());
        let file =
            BatchFile { place: directory.place.clone(), key: object.key, etag: object.etag, size: object.size, day };
        match known.files.get(&hash_of(&file)) {
            Some(true) => self.skipped += 1,
            // It was set aside, and stays so until somebody asks for it.
            Some(false) => {}
            None => self.new.push((published, file)),
        }
    }
}

/// What the quarantine keeps of a log file, so that it can be tried again.
#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    bucket: BucketName,
    prefix: String,
    key: ObjectKey,
    etag: ETag,
    size: u64,
    day: NaiveDate,
}

/// A file as the quarantine keeps it.
pub(super) fn payload(file: &BatchFile) -> String {
    serde_json::to_string(&Payload {
        bucket: file.place.bucket.clone(),
        prefix: file.place.prefix.clone(),
        key: file.key.clone(),
        etag: file.etag.clone(),
        size: file.size,
        day: file.day,
    })
    .expect("texts and numbers are plain data")
}

fn from_payload(payload: &str) -> Result<BatchFile> {
    let p: Payload = serde_json::from_str(payload).context("the entry does not name a log file")?;
    let place = Arc::new(LogPlace { bucket: p.bucket, prefix: p.prefix });
    Ok(BatchFile { place, key: p.key, etag: p.etag, size: p.size, day: p.day })
}

/// Adds the files that somebody has asked to be tried again. Of one that was replaced since, what is there now is tried, if
/// nobody has counted it yet, and the old entry has nothing left to stand for.
async fn take_retries(
    sources: &[LogSource],
    retries: &[&Quarantined],
    known: &Known,
    new: &mut Vec<Dated>,
    found: &mut Found,
) {
    for entry in retries {
        let set_aside = match from_payload(&entry.payload) {
            Ok(file) => file,
            Err(error) => {
                found.problems.push(format!("{} cannot be tried again: {error:#}", entry.id));
                continue;
            }
        };
        let log_file = sources
            .iter()
            .filter(|source| source.bucket == set_aside.place.bucket)
            .find_map(|source| Some((source, source.layout.log_file(set_aside.key.as_str())?)));
        let Some((source, log_file)) = log_file else {
            found.problems.push(format!("{} cannot be tried again: it is of no source of the configuration", entry.id));
            continue;
        };
        let file = as_it_is_now(source, &set_aside).await;
        let was_replaced = file != set_aside;
        let is_known = known.files.get(&hash_of(&file));
        if was_replaced || is_known == Some(&true) {
            found.counted_meanwhile.push(entry.id.clone());
        }
        // Another file that is known was counted, or has an entry of its own.
        let is_settled = is_known == Some(&true) || (was_replaced && is_known.is_some());
        if !is_settled && !new.iter().any(|(_, listed)| *listed == file) {
            let published = log_file.published.unwrap_or_else(|| file.day.and_time(NaiveTime::MIN).and_utc());
            new.push((published, file));
        }
    }
}

/// What stands where `file` was set aside. Where nothing does, or it cannot be seen, reading `file` tells why.
async fn as_it_is_now(source: &LogSource, file: &BatchFile) -> BatchFile {
    let id = ObjectId::new(file.place.bucket.clone(), file.key.clone());
    match source.s3.head(&id).await {
        Ok(Some(head)) => BatchFile { etag: head.etag, size: head.size, ..file.clone() },
        _ => file.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn limits(lookback_hours: u64) -> Limits {
        Limits {
            lookback: Duration::from_secs(lookback_hours * 3600),
            batch_files: 1,
            batch_bytes: 1,
            max_file_bytes: 1,
            concurrency: 1,
            write_concurrency: 1,
        }
    }

    fn cursor(last: &str, floor: &str) -> Cursor {
        Cursor { first_day: day("2020-01-01"), last_day: day(last), floor: day(floor) }
    }

    #[test]
    fn a_directory_is_listed_from_its_last_known_day_less_the_lookback() {
        let check = |cursor: Option<Cursor>, reach: Reach, hours: u64, want: Option<&str>| {
            assert_eq!(from_day(cursor.as_ref(), reach, &limits(hours)), want.map(day));
        };
        let march = Some(cursor("2024-03-01", "2024-01-01"));
        check(None, Reach::Lookback, 48, None);
        check(None, Reach::Sweep, 48, None);
        check(march, Reach::Lookback, 48, Some("2024-02-28"));
        check(march, Reach::Lookback, 49, Some("2024-02-27"));
        check(march, Reach::Lookback, 0, Some("2024-03-01"));
        check(march, Reach::Sweep, 48, Some("2024-01-30"));
        check(march, Reach::Sweep, 40 * 24, Some("2024-01-21"));
        check(Some(cursor("2024-01-01", "2023-11-01")), Reach::Lookback, 24, Some("2023-12-31"));
        // A longer look-back than ever before does not reach behind the floor: those manifests are gone.
        check(march, Reach::Sweep, 400 * 24, Some("2024-01-01"));
    }

    #[test]
    fn a_cursor_only_goes_forward_and_never_past_tomorrow() {
        let now: DateTime<Utc> = "2024-03-10T12:00:00Z".parse().unwrap();
        let first = moved(None, day("2023-12-01"), day("2024-03-01"), &limits(48), now);
        assert_eq!(
            first,
            Cursor { first_day: day("2023-12-01"), last_day: day("2024-03-01"), floor: day("2024-01-27") }
        );
        let next = moved(Some(first), day("2024-02-28"), day("2024-03-10"), &limits(48), now);
        assert_eq!((next.first_day, next.last_day), (day("2023-12-01"), day("2024-03-10")));
        let older = moved(Some(next), day("2023-01-01"), day("2024-03-02"), &limits(400 * 24), now);
        assert_eq!(older, Cursor { first_day: day("2023-01-01"), ..next });
        let far = moved(Some(next), day("2024-03-10"), day("9999-12-31"), &limits(48), now);
        assert_eq!(far.last_day, day("2024-03-11"));
    }

    #[test]
    fn a_batch_expires_only_below_the_floor_of_every_directory_in_it() {
        let place = |name: &str| LogPlace { bucket: BucketName::new("logs").unwrap(), prefix: name.to_owned() };
        let cursors = BTreeMap::from([
            (place("a"), cursor("2024-03-01", "2024-02-01")),
            (place("paused"), cursor("2023-06-01", "2023-05-01")),
        ]);
        let check = |latest: &[(&str, &str)], want: bool| {
            let latest = latest.iter().map(|(name, at)| (place(name), day(at))).collect();
            assert_eq!(may_expire(&Expirable { number: 1, latest }, &cursors), want);
        };
        check(&[("a", "2024-01-31")], true);
        check(&[("a", "2024-02-01")], false);
        check(&[("a", "2024-01-31"), ("paused", "2023-05-10")], false);
        check(&[("a", "2024-01-31"), ("paused", "2023-04-30")], true);
        check(&[("a", "2024-01-31"), ("never listed to its end", "2020-01-01")], false);
    }
}
