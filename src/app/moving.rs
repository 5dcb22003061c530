//! Reconcile and transition, made of what they may touch.

use anyhow::Result;
use chrono::{NaiveTime, TimeDelta};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::config::{self, RestoreTier, Settings, VersionedBuckets};
use crate::jobs::reconcile::{Reconcile, UserBuckets};
use crate::jobs::transition::{BucketPolicies, Executor, Limiter, Planner, RestoreWish, Transition, Versions};
use crate::jobs::{Body, Job, RunOptions};
use crate::s3::object::SdkTier;
use crate::tiering::cost::RestoreSpeed;
use crate::tiering::plan::CapLimits;
use crate::tiering::policy::guard::{Archived, Copies, Evidence, Guards, Rule};
use crate::{clock, prices};

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

    pub(super) async fn transition(&self, options: &RunOptions, stop: &CancellationToken) -> Result<Body> {
        let settings = &self.settings.transition;
        let planner = Planner {
            ledger: self.ledger.clone(),
            policies: BucketPolicies::from_settings(settings)?,
            guards: guards(&self.settings),
            evidence: self.evidence().await?,
            prices: prices::of_region(&self.settings.aws.region)?,
            caps: CapLimits {
                max_objects: settings.max_objects,
                max_bytes: settings.max_bytes,
                max_cost_usd: settings.max_cost_usd,
            },
            now: clock::now(),
        };
        let executor = Executor::new(
            &self.s3.for_bulk(),
            self.ledger.clone(),
            Limiter::new(settings.max_requests_per_second),
            copies(settings),
            match settings.versioned_buckets {
                VersionedBuckets::Skip => Versions::Skip,
                VersionedBuckets::Copy => Versions::Copy,
                VersionedBuckets::CopyAndDeletePrevious => Versions::CopyAndDeletePrevious,
            },
            settings.promote_archived.then(|| restore_wish(&self.settings.restore)),
            settings.concurrency,
            settings.max_error_fraction,
        );
        let transition = Transition { planner, executor };
        Ok(Body::Transition(transition.run_once(options.mode, &options.progress, stop).await?))
    }

    /// What is known of how well uses are seen. This is the one place where a plan's evidence comes from.
    async fn evidence(&self) -> Result<Evidence> {
        Ok(Evidence {
            last_ok_ingest: self.state.last_ok(Job::Ingest.as_str()).await?,
            covered_since: self.state.log_coverage().await?.map(|day| day.and_time(NaiveTime::MIN).and_utc()),
        })
    }
}

fn guards(settings: &Settings) -> Guards {
    let transition = &settings.transition;
    let rule = |enforced| if enforced { Rule::Enforced } else { Rule::Waived };
    Guards {
        min_object_bytes: transition.min_object_size,
        minimum_duration: rule(transition.respect_minimum_duration),
        saving: rule(transition.require_saving),
        max_payback_months: transition.max_payback_months,
        archived: if transition.promote_archived { Archived::Restore } else { Archived::Leave },
        require_recent_ingest: Some(transition.require_recent_ingest)
            .filter(|within| !within.is_zero())
            .map(|within| TimeDelta::from_std(within).unwrap_or(TimeDelta::MAX)),
        copies: copies(transition),
        restore: match settings.restore.tier {
            RestoreTier::Standard => RestoreSpeed::Standard,
            RestoreTier::Bulk => RestoreSpeed::Bulk,
            RestoreTier::Expedited => RestoreSpeed::Expedited,
        },
        restore_days: settings.restore.days,
    }
}

fn copies(settings: &config::Transition) -> Copies {
    Copies { multipart_threshold_bytes: settings.multipart_threshold, part_bytes: settings.multipart_part_size }
}

fn restore_wish(settings: &config::Restore) -> RestoreWish {
    RestoreWish {
        days: settings.days,
        tier: match settings.tier {
            RestoreTier::Standard => SdkTier::Standard,
            RestoreTier::Bulk => SdkTier::Bulk,
            RestoreTier::Expedited => SdkTier::Expedited,
        },
        tag_key: settings.tag_key.clone(),
    }
}
