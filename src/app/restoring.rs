//! Restore and replication, made of what they may touch.

use std::sync::Arc;

use anyhow::{Result, bail};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::jobs::RunOptions;
use crate::jobs::report::SweepReport;
use crate::supervisor::Supervisor;

impl App {
    pub(super) fn spawn_restore(self: &Arc<Self>, _parts: &mut Supervisor) {}

    pub(super) async fn sweep_restores(
        &self,
        _options: &RunOptions,
        _stop: &CancellationToken,
        _report: &mut SweepReport,
    ) -> Result<()> {
        bail!("not merged yet")
    }
}
