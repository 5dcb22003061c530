//! What the adaptive policy knows of a bucket when it is asked: what was learned, and whom to follow.
//!
//! A pass over the bucket's rows comes first: the idle times that are still open belong to what is learned, and some of the
//! objects are shadowed. A bucket of few objects has no plans of its own and goes by what all buckets together have taught;
//! those plans are made once a run. The open idle times of all buckets are those of the last run that came to its end: until
//! there is one, all buckets together know closed ones only, and take reads to be likelier than they are.
//!
//! Whoever only looks (`plan`, `explain`, `report`, a dry run) learns and compares in the same way, and keeps nothing.

use std::sync::Arc;

use anyhow::Result;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::ahead;
use crate::ledger::{Columns, Ledger};
use crate::state::idle::IdleScope;
use crate::state::{State, Written};
use crate::tiering::adaptive::experts::Experts;
use crate::tiering::adaptive::hazard::Hazards;
use crate::tiering::adaptive::safeguard::OWN_PLANS_FROM;
use crate::tiering::cost::Prices;
use crate::tiering::evidence::{Day, IdleTable, day_of};
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::object::{BucketName, ObjectKey};
use crate::tiering::policy::Decision;
use crate::tiering::policy::adaptive::{Known, decide};
use crate::tiering::policy::guard::Guards;
use crate::tiering::simulate::account::Tariff;
use crate::tiering::simulate::shadows::{Sample, Shadows};

/// Learns of one bucket after the other.
#[derive(Debug)]
pub struct Learning {
    ledger: Ledger,
    state: State,
    prices: Prices,
    guards: Guards,
    now: DateTime<Utc>,
    general: OnceCell<General>,
}

/// What all buckets together have taught.
#[derive(Debug)]
struct General {
    hazards: Hazards,
    experts: Arc<Experts>,
}

/// One bucket under the policy.
#[derive(Debug)]
pub struct Learned {
    experts: Arc<Experts>,
    now: DateTime<Utc>,
    shadows: Shadows,
    /// Whether there is something to keep that was not there before.
    has_news: bool,
    open: IdleTable,
}

impl Learning {
    pub fn new(ledger: Ledger, state: State, prices: Prices, guards: Guards, now: DateTime<Utc>) -> Self {
        Self { ledger, state, prices, guards, now, general: OnceCell::new() }
    }

    /// Reads all rows of the bucket, and keeps a sample of them in memory. None where `stop` is cancelled before the end.
    pub async fn of_bucket(&self, bucket: &BucketName, stop: &CancellationToken) -> Result<Option<Learned>> {
        let general = self.general.get_or_try_init(|| self.learn_of_all()).await?;
        let mut shadows = self.state.shadows(bucket).await?;
        let mut open = IdleTable::default();
        let mut objects = 0;
        let mut sample = Sample::new(&shadows);
        let mut rows = ahead::rows(&self.ledger, bucket, Columns::All);
        while let Some(row) = rows.next().await? {
            if stop.is_cancelled() {
                return Ok(None);
            }
            let Some((key, known)) = row.ok().and_then(|row| Some((hash_of(&row.id.key), Known::of(&row)?))) else {
                continue;
            };
            open.add_open(&known.evidence, self.today());
            sample.add(key, known);
            objects += 1;
        }
        let sample = sample.finish();
        let experts = if objects < OWN_PLANS_FROM {
            general.experts.clone()
        } else {
            let mut seen = self.state.idle_table(&IdleScope::Bucket(bucket.clone())).await?;
            seen.merge(&open);
            self.experts(&general.hazards.learned(&seen))
        };
        let has_news = !shadows.are_as_of(self.today());
        shadows.go_on(&sample, self.today(), &self.tariff(), &experts, self.guards.min_object_bytes);
        Ok(Some(Learned { experts, now: self.now, shadows, has_news, open }))
    }

    /// Keeps what the next run goes on from. The moves of this one need not be made by then: the shadows are not the objects.
    pub async fn keep(&self, bucket: &BucketName, learned: &Learned) -> Result<()> {
        if learned.has_news
            && self.state.keep_shadows(bucket, &learned.shadows, self.today()).await? == Written::Refused
        {
            tracing::warn!(
                event = "adaptive.overtaken",
                bucket = bucket.as_str(),
                "another transition has learned of this bucket meanwhile"
            );
        }
        failpoint!("adaptive.shadows-kept");
        Ok(())
    }

    /// Keeps the open idle times of all buckets, once a run has come to its end. Those of the day's first run are as good as
    /// any.
    pub async fn keep_open(&self, open: &IdleTable) -> Result<()> {
        let written = self.state.keep_open_idle_times(open, self.today()).await?;
        failpoint!("adaptive.open-kept");
        tracing::debug!(event = "adaptive.open_kept", ?written, "the open idle times were handed over");
        Ok(())
    }

    async fn learn_of_all(&self) -> Result<General> {
        let mut seen = self.state.idle_table(&IdleScope::All).await?;
        if let Some(open) = self.state.open_idle_times().await? {
            seen.merge(&open);
        }
        let hazards = Hazards::prior().learned(&seen);
        Ok(General { experts: self.experts(&hazards), hazards })
    }

    fn experts(&self, hazards: &Hazards) -> Arc<Experts> {
        let mut experts = Experts::default();
        experts.learn(&self.prices, hazards, self.tariff().restores());
        Arc::new(experts)
    }

    fn tariff(&self) -> Tariff<'_> {
        let Guards { copies, restore, restore_days, restored_class, .. } = self.guards;
        Tariff { prices: &self.prices, copies, restore, restore_days, restored_class }
    }

    fn today(&self) -> Day {
        day_of(self.now)
    }
}

impl Learned {
    /// What the policy wants of a row of the bucket.
    pub fn decide(&self, row: &LedgerRow) -> Option<Decision> {
        decide(row, &self.experts, self.shadows.following(hash_of(&row.id.key)), self.now)
    }

    /// The idle times of the bucket's objects that have not ended.
    pub fn open(&self) -> &IdleTable {
        &self.open
    }
}

/// The same in every run, and spread evenly.
fn hash_of(key: &ObjectKey) -> u64 {
    let digest = Sha256::digest(key.as_str().as_bytes());
    u64::from_be_bytes(std::array::from_fn(|i| digest[i]))
}
