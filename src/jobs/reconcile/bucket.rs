//! One bucket: join, judge, apply.

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::Reconcile;
use crate::clock;
use crate::jobs::Mode;
use crate::jobs::ahead::{self, Ahead};
use crate::jobs::spool::Spool;
use crate::ledger::{Change, Columns, UnreadableRow};
use crate::progress::Progress;
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::object::BucketName;
use crate::tiering::reconcile::{Advance, Effect, MergeJoin, Tally, Verdict, drop_of_gone_bucket};

/// Unreadable rows of one bucket that are reported one by one.
const MAX_UNREADABLE_LINES: usize = 20;

/// What became of a bucket. Changes are those that were made; on a dry run, those that would be asked for.
#[derive(Debug, Default)]
pub(super) struct BucketOutcome {
    pub ended: Ended,
    pub rows: u64,
    pub objects: u64,
    pub refreshed: u64,
    pub replaced: u64,
    pub dropped: u64,
    pub adopted: u64,
    /// Drops that the breaker forbade.
    pub held_back: u64,
    pub problems: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) enum Ended {
    #[default]
    Done,
    /// The bucket does not exist.
    Gone,
    Failed(anyhow::Error),
}

/// A bucket joined to its end: nothing is applied yet.
struct Joined {
    tally: Tally,
    spool: Spool<Effect>,
    unreadable: Unreadable,
}

/// Rows that cannot be read: how many, and the first of them.
#[derive(Debug, Default)]
struct Unreadable {
    rows: usize,
    lines: Vec<String>,
}

impl Unreadable {
    fn note(&mut self, row: UnreadableRow) {
        self.rows += 1;
        if self.lines.len() < MAX_UNREADABLE_LINES {
            self.lines.push(row.problem);
        }
    }

    fn into_problems(mut self, bucket: &BucketName) -> Vec<String> {
        if self.rows > self.lines.len() {
            self.lines.push(format!("{} more rows of s3://{bucket} cannot be read", self.rows - self.lines.len()));
        }
        self.lines
    }
}

impl Reconcile {
    pub(super) async fn bucket(
        &self,
        bucket: &BucketName,
        mode: Mode,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> BucketOutcome {
        let mut outcome = BucketOutcome::default();
        // Before the first page and the first row: what is used or moved from now on is left alone.
        let started = clock::now();
        let done = match self.join(bucket, started, progress, stop).await {
            Ok(joined) => self.settle(bucket, joined, mode, started, stop, &mut outcome).await,
            Err(error) if ahead::bucket_is_gone(&error) => {
                outcome.ended = Ended::Gone;
                self.drop_all(bucket, mode, started, stop, &mut outcome).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            outcome.ended = Ended::Failed(error);
        }
        outcome
    }

    /// Reads both streams to their ends. An error means that nothing is known of the bucket.
    async fn join(
        &self,
        bucket: &BucketName,
        started: DateTime<Utc>,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Joined> {
        let mut listing = ahead::listing(&self.s3, bucket);
        let mut rows = ahead::rows(&self.ledger, bucket, Columns::Whereabouts);
        let mut join = MergeJoin::new(bucket.clone(), started, self.unknown);
        let mut spool = Spool::default();
        let mut unreadable = Unreadable::default();
        let (mut row, mut listed) = (next_row(&mut rows, &mut unreadable, started).await?, listing.next().await?);
        let mut unreported = 0;
        while let Some(step) = join.step(row.as_ref(), listed.as_ref())? {
            if let Some(effect) = &step.effect {
                spool.push(effect)?;
            }
            if step.advance != Advance::Listed {
                row = next_row(&mut rows, &mut unreadable, started).await?;
            }
            if step.advance != Advance::Row {
                listed = listing.next().await?;
                unreported += 1;
            }
            if unreported == 1000 {
                progress.add_records(std::mem::take(&mut unreported));
                if stop.is_cancelled() {
                    bail!("the run was stopped before the bucket was read; it is left as it was");
                }
            }
        }
        progress.add_records(unreported);
        Ok(Joined { tally: join.finish()?, spool, unreadable })
    }

    /// Judges what was joined and applies it.
    async fn settle(
        &self,
        bucket: &BucketName,
        joined: Joined,
        mode: Mode,
        started: DateTime<Utc>,
        stop: &CancellationToken,
        outcome: &mut BucketOutcome,
    ) -> Result<()> {
        let Joined { tally, spool, unreadable } = joined;
        outcome.rows = tally.rows;
        outcome.objects = tally.objects;
        outcome.problems = unreadable.into_problems(bucket);
        let drops = match self.breaker.allows(tally.rows, tally.dropped) {
            Verdict::Allowed => Drops::Allowed,
            Verdict::Tripped { rows, drops } => {
                outcome.held_back = drops;
                outcome.problems.push(format!(
                    "s3://{bucket}: {drops} of {rows} rows have no object any more, more than \
                     reconcile.max_drop_fraction allows; they are kept"
                ));
                Drops::HeldBack
            }
        };
        if mode == Mode::DryRun {
            outcome.refreshed = tally.refreshed;
            outcome.replaced = tally.replaced;
            outcome.adopted = tally.adopted;
            outcome.dropped = if drops == Drops::Allowed { tally.dropped } else { 0 };
            return Ok(());
        }
        let wanted = spool.replay()?.filter(|effect| match effect {
            Ok(effect) => drops == Drops::Allowed || !effect.is_drop(),
            Err(_) => true,
        });
        self.apply(bucket, wanted, started, stop, outcome).await
    }

    /// Drops the rows of a bucket that does not exist: no breaker is asked.
    async fn drop_all(
        &self,
        bucket: &BucketName,
        mode: Mode,
        asked_at: DateTime<Utc>,
        stop: &CancellationToken,
        outcome: &mut BucketOutcome,
    ) -> Result<()> {
        let mut rows = ahead::rows(&self.ledger, bucket, Columns::Whereabouts);
        let mut spool = Spool::default();
        let mut unreadable = Unreadable::default();
        while let Some(row) = rows.next().await? {
            outcome.rows += 1;
            match row {
                Ok(row) => {
                    if let Some(effect) = drop_of_gone_bucket(&row, asked_at) {
                        spool.push(&effect)?;
                        outcome.dropped += 1;
                    }
                }
                Err(row) => unreadable.note(row),
            }
        }
        outcome.problems = unreadable.into_problems(bucket);
        if mode == Mode::DryRun {
            return Ok(());
        }
        outcome.dropped = 0;
        self.apply(bucket, spool.replay()?, asked_at, stop, outcome).await
    }

    /// Applies effects, some at a time, and counts those that were made. Those that are refused met a row that has changed
    /// since: the next run sees it as it is then.
    async fn apply(
        &self,
        bucket: &BucketName,
        effects: impl Iterator<Item = Result<Effect>>,
        started: DateTime<Utc>,
        stop: &CancellationToken,
        outcome: &mut BucketOutcome,
    ) -> Result<()> {
        let mut stopped = false;
        let until_stopped = effects.take_while(|_| {
            stopped = stop.is_cancelled();
            !stopped
        });
        let mut changes = stream::iter(until_stopped)
            .map(|effect| async move {
                let effect = effect?;
                let change = self.ledger.apply(bucket, &effect, started).await;
                failpoint!("reconcile.effect-applied");
                anyhow::Ok((effect, change.context("writing to the ledger")?))
            })
            .buffer_unordered(self.write_concurrency);
        while let Some((effect, change)) = changes.try_next().await? {
            if change == Change::Refused {
                continue;
            }
            *match effect {
                Effect::Drop { .. } => &mut outcome.dropped,
                Effect::Refresh { .. } => &mut outcome.refreshed,
                Effect::Replace { .. } => &mut outcome.replaced,
                Effect::Adopt { .. } => &mut outcome.adopted,
            } += 1;
        }
        drop(changes);
        if stopped {
            bail!("the run was stopped while rows were written; the next run writes the others");
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drops {
    Allowed,
    HeldBack,
}

/// The next row for the join. One that cannot be read stands there as a row that was moved this very moment, which the join
/// leaves alone whatever the listing says: it is neither dropped nor taken for an object without a row.
async fn next_row(
    rows: &mut Ahead<Result<LedgerRow, UnreadableRow>>,
    unreadable: &mut Unreadable,
    started: DateTime<Utc>,
) -> Result<Option<LedgerRow>> {
    Ok(match rows.next().await? {
        None => None,
        Some(Ok(row)) => Some(row),
        Some(Err(row)) => {
            let stand_in = LedgerRow { class_since: Some(started), ..LedgerRow::new(row.id.clone()) };
            unreadable.note(row);
            Some(stand_in)
        }
    })
}
