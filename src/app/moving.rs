//! Reconcile and transition, and the commands that plan, apply and explain its moves, made of what they may touch.

use std::sync::Arc;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::clock;
use crate::config::VersionedBuckets;
use crate::jobs::learning::Learning;
use crate::jobs::reconcile::Reconcile;
use crate::jobs::transition::explain::Explainer;
use crate::jobs::transition::{
    self, AskForRestore, CheckedPlan, Executor, Limiter, Memory, Planner, Transition, Versions,
};
use crate::jobs::{Body, Job, Ran, RunOptions};
use crate::policies::{self, BucketPolicies};
use crate::restore::Asked;
use crate::tiering::cost::Prices;
use crate::tiering::plan::CapLimits;
use crate::tiering::policy::guard::Evidence;
use crate::tiering::restore::RestoreRequest;
use crate::users::Users;

impl App {
    pub(super) async fn reconcile(&self, options: &RunOptions, stop: &CancellationToken) -> Result<Body> {
        let settings = &self.settings;
        let users = Users::new(self.clients.dynamodb.clone(), settings);
        let reconcile = Reconcile::new(
            self.s3.for_bulk(),
            self.ledger.clone(),
            users,
            &settings.reconcile,
            settings.ledger.write_concurrency,
        );
        Ok(Body::Reconcile(reconcile.run_once(options.mode, &options.progress, stop).await?))
    }

    pub(super) async fn transition(&self, options: &RunOptions, stop: &CancellationToken) -> Result<Body> {
        let transition = Transition { planner: self.planner().await?, executor: self.executor(stop) };
        Ok(Body::Transition(transition.run_once(options.mode, &options.progress, stop).await?))
    }

    /// Makes the moves of a plan, as a run of the transition job: under its lease, into its history.
    pub async fn apply(&self, plan: CheckedPlan, options: &RunOptions, stop: &CancellationToken) -> Result<Ran> {
        let work = |stop: CancellationToken| async move {
            let (planner, executor) = (self.planner().await?, self.executor(&stop));
            let report = transition::apply(plan, &planner, &executor, options.mode, &options.progress, &stop).await?;
            Ok(Body::Transition(report))
        };
        self.run_under_lease(Job::Transition, options, stop, work).await
    }

    /// The plan step of a transition as the settings have it, with what is known at this moment.
    pub async fn planner(&self) -> Result<Planner> {
        let settings = &self.settings.transition;
        let (guards, prices, now) = (policies::guards(settings, &self.settings.restore), self.prices()?, clock::now());
        let learning = Learning::new(self.ledger.clone(), self.state.clone(), prices.clone(), guards.clone(), now);
        Ok(Planner {
            ledger: self.ledger.clone(),
            policies: BucketPolicies::from_settings(settings)?,
            learning,
            memory: Memory::Leave,
            guards,
            evidence: self.evidence().await?,
            prices,
            caps: self.caps(),
            now,
        })
    }

    /// What looks at one object as a transition would.
    pub async fn explainer(&self) -> Result<Explainer> {
        Ok(Explainer {
            planner: self.planner().await?,
            s3: self.s3.clone(),
            versions: self.versions(),
            tag_key: self.settings.restore.tag_key.clone(),
        })
    }

    fn caps(&self) -> CapLimits {
        let settings = &self.settings.transition;
        CapLimits {
            max_objects: settings.max_objects,
            max_bytes: settings.max_bytes,
            max_cost_usd: settings.max_cost_usd,
        }
    }

    fn versions(&self) -> Versions {
        match self.settings.transition.versioned_buckets {
            VersionedBuckets::Skip => Versions::Skip,
            VersionedBuckets::Copy => Versions::Copy,
            VersionedBuckets::CopyAndDeletePrevious => Versions::CopyAndDeletePrevious,
        }
    }

    fn executor(&self, stop: &CancellationToken) -> Executor {
        let settings = &self.settings.transition;
        Executor::new(
            &self.s3.for_bulk(),
            self.ledger.clone(),
            Limiter::new(settings.max_requests_per_second),
            policies::copies(settings),
            self.versions(),
            settings.promote_archived.then(|| self.ask_for_restore(stop)),
            settings.concurrency,
            settings.max_error_fraction,
        )
    }

    /// The prices that hold; a line in the log where they are another region's, or old.
    fn prices(&self) -> Result<Prices> {
        let list = policies::prices(&self.settings)?;
        if let Some(warning) = list.warning(clock::now().date_naive()) {
            tracing::warn!(event = "prices.doubtful", "{warning}");
        }
        Ok(list.prices)
    }

    /// What is known of how well uses are seen. This is the one place where a plan's evidence comes from.
    async fn evidence(&self) -> Result<Evidence> {
        Ok(Evidence {
            last_ok_ingest: self.state.last_ok(Job::Ingest.as_str()).await?,
            covered_since: self.state.log_coverage_since().await?,
        })
    }

    /// The way in which a transition asks for restores: the restore part's own, with all that stands behind it.
    fn ask_for_restore(&self, stop: &CancellationToken) -> AskForRestore {
        let (restorer, stop) = (self.restorer(), stop.clone());
        Arc::new(move |id| {
            let (restorer, stop) = (restorer.clone(), stop.clone());
            Box::pin(async move {
                match restorer.request(&RestoreRequest { id, days: None, tier: None }, &stop).await {
                    Ok(Asked::Refused(reason)) => Err(reason.to_string()),
                    Ok(Asked::Failed(reason)) => Err(reason),
                    Ok(_) => Ok(()),
                    Err(error) => Err(format!("{error:#}")),
                }
            })
        })
    }
}
