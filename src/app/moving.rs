//! Reconcile and transition, made of what they may touch.

use anyhow::{Result, bail};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::jobs::reconcile::{Reconcile, UserBuckets};
use crate::jobs::{Body, RunOptions};

impl App {
    pub(super) async fn reconcile(&self, options: &RunOptions, stop: &CancellationToken) -> Result<Body> {
        let settings = &self.settings;
        let users = UserBuckets {
            client: self.clients.dynamodb.clone(),
            table: settings.users.table.clone(),
            uri_attribute: settings.users.uri_attribute.clone(),
        };
        let reconcile = Reconcile::new(
            self.s3.for_bulk(),
            self.ledger.clone(),
            users,
            &settings.reconcile,
            settings.ledger.write_concurrency,
        );
        Ok(Body::Reconcile(reconcile.run_once(options.mode, &options.progress, stop).await?))
    }

    pub(super) async fn transition(&self, _options: &RunOptions, _stop: &CancellationToken) -> Result<Body> {
        bail!("not merged yet")
    }
}
