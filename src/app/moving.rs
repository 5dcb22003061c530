//! Reconcile and transition, made of what they may touch.

use anyhow::{Result, bail};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::jobs::{Body, RunOptions};

impl App {
    pub(super) async fn reconcile(&self, _options: &RunOptions, _stop: &CancellationToken) -> Result<Body> {
        bail!("not merged yet")
    }

    pub(super) async fn transition(&self, _options: &RunOptions, _stop: &CancellationToken) -> Result<Body> {
        bail!("not merged yet")
    }
}
