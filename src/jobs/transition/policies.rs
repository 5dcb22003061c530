//! Which bucket goes by which policy, with which settings.

use anyhow::{Context, Result, bail};

use crate::config;
use crate::tiering::object::BucketName;
use crate::tiering::policy::PolicyName;
use crate::tiering::policy::frequency::Frequency;
use crate::tiering::policy::recency::{Recency, RecencyStep};

/// A policy with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum BucketPolicy {
    Recency(Recency),
    Frequency(Frequency),
}

/// The policy of every bucket: the default one, and those of prefixes.
#[derive(Debug, Clone)]
pub struct BucketPolicies {
    default: BucketPolicy,
    overrides: Vec<(String, BucketPolicy)>,
}

impl BucketPolicies {
    /// What an override leaves out is as in `[transition]`.
    pub fn from_settings(settings: &config::Transition) -> Result<Self> {
        let overrides = settings
            .bucket
            .iter()
            .map(|one| {
                let policy = policy(
                    one.policy.unwrap_or(settings.policy),
                    one.recency.as_deref().unwrap_or(&settings.recency),
                    one.frequency.as_ref().unwrap_or(&settings.frequency),
                );
                Ok((one.prefix.clone(), policy.with_context(|| format!("transition.bucket {:?}", one.prefix))?))
            })
            .collect::<Result<Vec<_>>>()?;
        let default = policy(settings.policy, &settings.recency, &settings.frequency).context("transition")?;
        Ok(Self { default, overrides })
    }

    /// The policy of a bucket: the override with the longest prefix, else the default.
    pub fn of_bucket(&self, bucket: &BucketName) -> &BucketPolicy {
        self.overrides
            .iter()
            .filter(|(prefix, _)| bucket.as_str().starts_with(prefix.as_str()))
            .max_by_key(|(prefix, _)| prefix.len())
            .map_or(&self.default, |(_, policy)| policy)
    }

    /// The name of the policy that holds where no override does.
    pub fn default_name(&self) -> PolicyName {
        match self.default {
            BucketPolicy::Recency(_) => PolicyName::Recency,
            BucketPolicy::Frequency(_) => PolicyName::Frequency,
        }
    }
}

fn policy(
    name: config::PolicyName,
    recency: &[config::RecencyStep],
    frequency: &config::Frequency,
) -> Result<BucketPolicy> {
    Ok(match name {
        config::PolicyName::Recency => {
            let steps = recency.iter().map(|step| RecencyStep { up_to_days: step.up_to_days, class: step.class });
            BucketPolicy::Recency(Recency::new(steps.collect())?)
        }
        config::PolicyName::Frequency => {
            let config::Frequency { top_fraction, top_class, rest_class } = *frequency;
            BucketPolicy::Frequency(Frequency::new(top_fraction, top_class, rest_class)?)
        }
        config::PolicyName::Adaptive => bail!("policy \"adaptive\" comes later; write recency or frequency"),
    })
}
