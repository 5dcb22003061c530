//! Provisioning, made of what it may touch.

use std::sync::Arc;

use anyhow::{Result, bail};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::jobs::RunOptions;
use crate::jobs::report::SweepReport;
use crate::supervisor::Supervisor;

impl App {
    pub(super) fn spawn_provision(self: &Arc<Self>, _parts: &mut Supervisor) {}

    pub(super) async fn sweep_users(
        &self,
        _options: &RunOptions,
        _stop: &CancellationToken,
        _report: &mut SweepReport,
    ) -> Result<()> {
        bail!("not merged yet")
    }
}
