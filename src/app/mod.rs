//! The program put together: clients and tables from the settings, the parts from those, and the daemon that runs them
//! all until it is told to stop.

mod daemon;
mod importing;
mod ingesting;
mod job_runs;
mod moving;
mod provisioning;
mod reload;
mod restoring;
mod sweep;

use std::sync::Arc;

use anyhow::Result;
use aws_config::ConfigLoader;
use tokio_util::sync::CancellationToken;

use crate::aws::Clients;
use crate::config::Settings;
use crate::health::Health;
use crate::jobs::{Body, Job, RunOptions};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::s3::S3;
use crate::state::State;

pub use daemon::Ended;
pub use importing::Import;
pub use reload::{Reloads, log_format};

/// Everything that the parts are made of. Each part is given only what it may touch.
#[derive(Debug, Clone)]
pub struct App {
    pub settings: Arc<Settings>,
    pub clients: Clients,
    pub state: State,
    pub ledger: Ledger,
    pub s3: S3,
    pub metrics: Metrics,
    pub health: Health,
}

impl App {
    /// Builds the clients; makes no call to AWS yet.
    pub async fn connect(settings: Settings) -> Result<Self> {
        Self::with_loader(settings, Clients::loader()).await
    }

    /// The same with another source of credentials than the SDK's own chain.
    pub async fn with_loader(settings: Settings, loader: ConfigLoader) -> Result<Self> {
        let clients = Clients::connect(&settings, loader).await?;
        let state = State::new(clients.dynamodb.clone(), &settings.state.table, settings.state.lease, holder_name());
        Ok(Self {
            state,
            ledger: Ledger::new(clients.dynamodb.clone(), &settings.ledger.table),
            s3: S3::new(clients.s3.clone(), clients.s3_copy.clone()),
            metrics: Metrics::new(&settings.telemetry.metrics_namespace),
            health: Health::default(),
            clients,
            settings: Arc::new(settings),
        })
    }

    /// The work of one job, without what stands around it.
    async fn work(&self, job: Job, options: &RunOptions, stop: &CancellationToken) -> Result<Body> {
        match job {
            Job::Ingest => self.ingest(options, stop).await,
            Job::Reconcile => self.reconcile(options, stop).await,
            Job::Transition => self.transition(options, stop).await,
            Job::Sweep => self.sweep(options, stop).await,
        }
    }
}

/// This process's name in leases: for people to read, and unlike any other's.
fn holder_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let started = crate::clock::now().timestamp_micros();
    format!("{}/{}/{started:x}", host.trim(), std::process::id())
}
