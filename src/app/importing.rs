//! `ledger import`, made of what it may touch. It runs under the lease of ingest: both add to the same rows, and one after
//! the other their reports can be believed.

use std::collections::BTreeSet;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::App;
use super::job_runs::{Hold, give_back};
use crate::jobs::import::{self, ImportReport};
use crate::jobs::{Job, Mode};
use crate::ledger::OldTable;
use crate::progress::Progress;
use crate::tiering::object::BucketName;
use crate::users::Users;

/// What an import came to.
#[derive(Debug)]
pub enum Import {
    Done(Box<ImportReport>),
    /// An ingest, or another import, is under way.
    HeldBy(String),
    /// Told to stop before it had begun.
    Stopped,
}

impl App {
    /// Carries the rows of `table` over into the ledger; only for objects in `buckets`, if there are any.
    pub async fn import(
        &self,
        table: &str,
        buckets: BTreeSet<BucketName>,
        mode: Mode,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Import> {
        let held = match self.hold_job(Job::Ingest, stop).await? {
            Hold::Mine(held) => held,
            Hold::HeldBy(holder) => return Ok(Import::HeldBy(holder)),
            Hold::Stopped => return Ok(Import::Stopped),
        };
        let import = import::Import {
            old: OldTable::new(self.clients.dynamodb.clone(), table),
            ledger: self.ledger.clone(),
            s3: self.s3.for_bulk(),
            users: Users::new(self.clients.dynamodb.clone(), &self.settings),
            buckets,
            concurrency: self.settings.reconcile.concurrency,
            write_concurrency: self.settings.ledger.write_concurrency,
        };
        let report = import.run_once(mode, progress, held.stop()).await;
        give_back(held.into_lease(), Job::Ingest).await;
        let report = report?;
        tracing::info!(
            event = "ledger.imported",
            table,
            dry_run = report.dry_run,
            outcome = report.outcome.as_str(),
            rows = report.rows,
            imported = report.imported,
            already_imported = report.already_imported,
            not_found = report.not_found,
            ambiguous = report.ambiguous,
            unreadable = report.unreadable,
            "an old table was carried over"
        );
        Ok(Import::Done(Box::new(report)))
    }
}
