//! What the adaptive policy knows of a bucket when it is asked: what was learned, and whom to follow.
//!
//! A pass over the bucket's rows comes first: the idle times that are still open belong to what is learned, and some of the
//! objects are shadowed. A bucket of few objects, or whose objects are used as those of all buckets are, has no plans of its own
//! and goes by what all together have taught; those plans are made once a run. The open idle times of all buckets are those of
//! the last run that came to its end: until there is one, all buckets together know closed ones only, and take reads to be
//! likelier than they are.
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
use crate::tiering::adaptive::archives::Archives;
use crate::tiering::adaptive::experts::Experts;
use crate::tiering::adaptive::hazard::{Hazards, OWN_FROM};
use crate::tiering::cost::Prices;
use crate::tiering::evidence::{Day, IdleTable, day_of};
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::object::{BucketName, ObjectKey};
use crate::tiering::policy::Decision;
use crate::tiering::policy::adaptive::{Known, decide};
use crate::tiering::policy::archiving::{Archiving, Gathering, Outlook};
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
    archives: Arc<Archives>,
}

/// One bucket under the policy.
#[derive(Debug)]
pub struct Learned {
    experts: Arc<Experts>,
    /// None where nothing may be archived.
    archiving: Option<Archiving>,
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
    /// `max_delayed_reads` of the bucket's reads may meet an archived object.
    pub async fn of_bucket(
        &self,
        bucket: &BucketName,
        max_delayed_reads: f64,
        stop: &CancellationToken,
    ) -> Result<Option<Learned>> {
        let general = self.general.get_or_try_init(|| self.learn_of_all()).await?;
        let mut shadows = self.state.shadows(bucket).await?;
        let mut open = IdleTable::default();
        let mut gathering = (max_delayed_reads > 0.0).then(Gathering::default);
        let mut objects = 0;
        let mut sample = Sample::new(&shadows);
        let mut rows = ahead::rows(&self.ledger, bucket, Columns::All);
        while let Some(row) = rows.next().await? {
            if stop.is_cancelled() {
                return Ok(None);
            }
            let Some((known, row)) = row.ok().and_then(|row| Some((Known::of(&row)?, row))) else { continue };
            if let Some(gathering) = &mut gathering {
                gathering.add(&row, &known, self.today());
            }
            let key = hash_of(&row.id.key);
            open.add_open(&known.evidence, self.today());
            sample.add(key, known);
            objects += 1;
        }
        let sample = sample.finish();
        let own = if objects < OWN_FROM {
            None
        } else {
            let mut seen = self.state.idle_table(&IdleScope::Bucket(bucket.clone())).await?;
            seen.merge(&open);
            general.hazards.of_bucket(&seen, objects)
        };
        let (experts, archives) = match own {
            Some(hazards) => self.learned(&hazards),
            None => (general.experts.clone(), general.archives.clone()),
        };
        let has_news = !shadows.are_as_of(self.today());
        shadows.go_on(&sample, self.today(), &self.tariff(), &experts, self.guards.min_object_bytes);
        let minimum = self.guards.min_object_bytes;
        let archiving = gathering.map(|gathering| gathering.finish(max_delayed_reads, archives, minimum, self.today()));
        Ok(Some(Learned { experts, archiving, now: self.now, shadows, has_news, open }))
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
        let (experts, archives) = self.learned(&hazards);
        Ok(General { hazards, experts, archives })
    }

    /// Plans are made when they are first asked for, so that those with archives cost nothing where none are allowed.
    fn learned(&self, hazards: &Hazards) -> (Arc<Experts>, Arc<Archives>) {
        let (mut experts, mut archives) = (Experts::default(), Archives::default());
        experts.learn(&self.prices, hazards, self.tariff().restores());
        archives.learn(&self.prices, hazards, self.tariff().restores());
        (Arc::new(experts), Arc::new(archives))
    }

    fn tariff(&self) -> Tariff<'_> {
        Tariff::new(&self.prices, &self.guards)
    }

    fn today(&self) -> Day {
        day_of(self.now)
    }
}

impl Learned {
    /// What the policy wants of a row of the bucket.
    pub fn decide(&self, row: &LedgerRow) -> Option<Decision> {
        let hash = hash_of(&row.id.key);
        decide(row, &self.experts, self.shadows.following(hash), self.archiving.as_ref(), hash, self.now)
    }

    /// How the bucket's readers fare; None where nothing may be archived.
    pub fn outlook(&self) -> Option<&Outlook> {
        self.archiving.as_ref().map(Archiving::outlook)
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
