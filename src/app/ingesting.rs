//! Ingest, made of what it may touch.

use anyhow::{Result, bail};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::jobs::{Body, RunOptions};

impl App {
    pub(super) async fn ingest(&self, _options: &RunOptions, _stop: &CancellationToken) -> Result<Body> {
        bail!("not merged yet")
    }
}
