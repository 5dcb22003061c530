//! The parts, each made of what it may touch and nothing else.

use std::sync::Arc;

use anyhow::{Result, bail};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::jobs::{Body, RunOptions};
use crate::supervisor::Supervisor;

impl App {
    pub(super) fn spawn_parts(self: &Arc<Self>, _parts: &mut Supervisor) {}

    pub(super) async fn ingest(&self, _options: &RunOptions, _stop: &CancellationToken) -> Result<Body> {
        bail!("not merged yet")
    }

    pub(super) async fn reconcile(&self, _options: &RunOptions, _stop: &CancellationToken) -> Result<Body> {
        bail!("not merged yet")
    }

    pub(super) async fn transition(&self, _options: &RunOptions, _stop: &CancellationToken) -> Result<Body> {
        bail!("not merged yet")
    }

    pub(super) async fn sweep(&self, _options: &RunOptions, _stop: &CancellationToken) -> Result<Body> {
        bail!("not merged yet")
    }
}
