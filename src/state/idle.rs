//! After how long objects came back to be read: a table for each bucket, and one of all buckets for those that have too
//! little of their own.

use anyhow::Context;

use super::item::{Item, n, s};
use super::{State, Written};
use crate::aws::{AwsError, AwsResult};
use crate::tiering::evidence::IdleTable;
use crate::tiering::object::BucketName;

const PK: &str = "idle";
/// No bucket has this name.
const ALL: &str = "*";
/// How often a table is read again that another writer changes.
const MAX_TRIES: u32 = 8;

/// Whose objects a table is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdleScope {
    Bucket(BucketName),
    /// All buckets together.
    All,
}

impl IdleScope {
    fn sk(&self) -> &str {
        match self {
            Self::Bucket(bucket) => bucket.as_str(),
            Self::All => ALL,
        }
    }
}

impl State {
    /// The table of a scope; an empty one where nothing was learnt yet.
    pub async fn idle_table(&self, scope: &IdleScope) -> anyhow::Result<IdleTable> {
        match self.get(PK, scope.sk()).await? {
            Some(item) => read(&item).with_context(|| format!("reading the idle table of {}", scope.sk())),
            None => Ok(IdleTable::default()),
        }
    }

    /// Adds what `batch` tells to a table, once: one that has this batch or a later one is left as it is.
    pub async fn learn_idle(&self, scope: &IdleScope, learnt: &IdleTable, batch: u64) -> AwsResult<()> {
        let sk = scope.sk();
        for _ in 0..MAX_TRIES {
            let item = self.get(PK, sk).await?;
            let last = item.as_ref().and_then(|item| item.opt_num("last_batch").ok().flatten());
            if last.is_some_and(|last| last >= batch) {
                return Ok(());
            }
            // A table that cannot be read has no more to tell; a new one is begun, and the log says so.
            let mut table = item.as_ref().map(read).transpose().unwrap_or_else(|error| {
                tracing::warn!(
                    event = "state.idle_rejected",
                    scope = sk,
                    error = format!("{error:#}"),
                    "an idle table is begun anew"
                );
                None
            });
            let table = table.get_or_insert_default();
            table.merge(learnt);
            if self.put_idle(sk, table, last, batch).await? == Written::Yes {
                return Ok(());
            }
        }
        let code = Some("TransactionConflictException");
        Err(AwsError::from_entry("UpdateItem", format_args!("{PK}/{sk}"), code, "it changes whenever it is read"))
    }

    async fn put_idle(&self, sk: &str, table: &IdleTable, seen: Option<u64>, batch: u64) -> AwsResult<Written> {
        let text = serde_json::to_string(table).expect("numbers are plain data");
        let update = self
            .update(PK, sk)
            .update_expression("SET idle_table = :table, last_batch = :batch")
            .expression_attribute_values(":table", s(text))
            .expression_attribute_values(":batch", n(batch));
        let update = match seen {
            Some(seen) => {
                update.condition_expression("last_batch = :seen").expression_attribute_values(":seen", n(seen))
            }
            None => update.condition_expression("attribute_not_exists(last_batch)"),
        };
        self.send_update(sk, update).await
    }
}

fn read(item: &Item) -> anyhow::Result<IdleTable> {
    Ok(serde_json::from_str(item.str("idle_table")?)?)
}
