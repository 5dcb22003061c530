//! The sweep: what the stream and the queues may have missed. Users first, then restores; trouble with one does not keep
//! the other from being swept.

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::jobs::report::SweepReport;
use crate::jobs::{Body, RunOptions};

impl App {
    pub(super) async fn sweep(&self, options: &RunOptions, stop: &CancellationToken) -> Result<Body> {
        let mut report = SweepReport::default();
        if self.settings.provision.enabled {
            self.sweep_users(options, stop, &mut report).await?;
        }
        if self.settings.restore.enabled && !stop.is_cancelled() {
            self.sweep_restores(options, stop, &mut report).await?;
        }
        Ok(Body::Sweep(report))
    }
}
