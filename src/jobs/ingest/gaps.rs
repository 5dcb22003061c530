//! What a batch tells of how objects come back to be read, added to the tables of their buckets.

use std::num::NonZeroUsize;

use futures::{StreamExt, TryStreamExt, stream};

use super::write::ClosedByBucket;
use crate::aws::AwsResult;
use crate::state::State;
use crate::state::idle::IdleScope;
use crate::tiering::evidence::{ClosedGaps, Gap, IdleTable};

/// Tables written at a time.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(16).expect("more than none");

/// Adds the idle times that ended in `batch` to the tables of their buckets and to the one of all buckets. A table that has
/// this batch refuses it, so this may be repeated.
pub(super) async fn note(state: &State, closed: ClosedByBucket, batch: u64) -> AwsResult<()> {
    if closed.is_empty() {
        return Ok(());
    }
    let mut all = IdleTable::default();
    for gaps in closed.values() {
        add(&mut all, gaps);
    }
    state.learn_idle(&IdleScope::All, &all, batch).await?;
    stream::iter(closed)
        .map(|(bucket, gaps)| async move {
            let mut table = IdleTable::default();
            add(&mut table, &gaps);
            state.learn_idle(&IdleScope::Bucket(bucket), &table, batch).await
        })
        .buffer_unordered(AT_ONCE.get())
        .try_collect()
        .await
}

fn add(table: &mut IdleTable, gaps: &[Gap]) {
    for gap in gaps {
        table.close(*gap);
    }
}
