//! From the settings to what judges a row: the policy of each bucket, and the guards. The core knows no settings, and the
//! settings know no rule; this is where the two meet, for every command alike.

use anyhow::{Context, Result};
use chrono::TimeDelta;

use crate::config::{self, Restore, RestoreTier, Settings, Transition};
use crate::prices::PriceList;
use crate::tiering::cost::RestoreSpeed;
use crate::tiering::object::BucketName;
use crate::tiering::policy::PolicyName;
use crate::tiering::policy::frequency::Frequency;
use crate::tiering::policy::guard::{Archived, Copies, Guards, Rule};
use crate::tiering::policy::recency::{Recency, RecencyStep};

/// A policy with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum BucketPolicy {
    Recency(Recency),
    Frequency(Frequency),
    /// What it goes by is learned: see [`crate::jobs::learning`].
    Adaptive {
        /// What share of the bucket's reads may meet an archived object; 0: nothing is archived.
        max_delayed_reads: f64,
    },
}

impl BucketPolicy {
    /// What it is called in the configuration and in reports.
    pub fn name(&self) -> PolicyName {
        match self {
            Self::Recency(_) => PolicyName::Recency,
            Self::Frequency(_) => PolicyName::Frequency,
            Self::Adaptive { .. } => PolicyName::Adaptive,
        }
    }
}

/// The policy of every bucket: the default one, and those of prefixes.
#[derive(Debug, Clone)]
pub struct BucketPolicies {
    default: BucketPolicy,
    overrides: Vec<(String, BucketPolicy)>,
}

impl BucketPolicies {
    /// What an override leaves out is as in `[transition]`.
    pub fn from_settings(settings: &Transition) -> Result<Self> {
        let overrides = settings
            .bucket
            .iter()
            .map(|one| {
                let policy = policy(
                    one.policy.unwrap_or(settings.policy),
                    one.recency.as_deref().unwrap_or(&settings.recency),
                    one.frequency.as_ref().unwrap_or(&settings.frequency),
                    one.adaptive.unwrap_or(settings.adaptive),
                );
                Ok((one.prefix.clone(), policy.with_context(|| format!("transition.bucket {:?}", one.prefix))?))
            })
            .collect::<Result<Vec<_>>>()?;
        let default =
            policy(settings.policy, &settings.recency, &settings.frequency, settings.adaptive).context("transition")?;
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
        self.default.name()
    }
}

/// Every policy as it would be for a bucket if it held there, with the bucket's own settings: what `explain` compares.
pub fn candidates(settings: &Transition, bucket: &BucketName) -> Result<Vec<BucketPolicy>> {
    let own = settings
        .bucket
        .iter()
        .filter(|one| bucket.as_str().starts_with(one.prefix.as_str()))
        .max_by_key(|one| one.prefix.len());
    let recency = own.and_then(|one| one.recency.as_deref()).unwrap_or(&settings.recency);
    let frequency = own.and_then(|one| one.frequency.as_ref()).unwrap_or(&settings.frequency);
    let adaptive = own.and_then(|one| one.adaptive).unwrap_or(settings.adaptive);
    [config::PolicyName::Recency, config::PolicyName::Frequency, config::PolicyName::Adaptive]
        .into_iter()
        .map(|name| policy(name, recency, frequency, adaptive).with_context(|| format!("policy {:?}", name.as_str())))
        .collect()
}

fn policy(
    name: config::PolicyName,
    recency: &[config::RecencyStep],
    frequency: &config::Frequency,
    adaptive: config::Adaptive,
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
        config::PolicyName::Adaptive => BucketPolicy::Adaptive { max_delayed_reads: adaptive.max_delayed_reads },
    })
}

/// The guards as the settings put them up.
pub fn guards(transition: &Transition, restore: &Restore) -> Guards {
    let rule = |enforced| if enforced { Rule::Enforced } else { Rule::Waived };
    // A time too long for a TimeDelta asks for as good as nothing.
    let recent = TimeDelta::from_std(transition.require_recent_ingest).unwrap_or(TimeDelta::MAX);
    Guards {
        min_object_bytes: transition.min_object_size,
        minimum_duration: rule(transition.respect_minimum_duration),
        saving: rule(transition.require_saving),
        max_payback_months: transition.max_payback_months,
        archived: if transition.promote_archived { Archived::Restore } else { Archived::Leave },
        require_recent_ingest: (recent > TimeDelta::zero()).then_some(recent),
        copies: copies(transition),
        restore: match restore.tier {
            RestoreTier::Standard => RestoreSpeed::Standard,
            RestoreTier::Bulk => RestoreSpeed::Bulk,
            RestoreTier::Expedited => RestoreSpeed::Expedited,
        },
        restore_days: restore.days,
        restored_class: restore.restored_class,
    }
}

/// The prices that costs are reckoned by: the user's own, else those of the region. Fails where the user's file cannot be used
/// (any more: it was in order when the configuration was read).
pub fn prices(settings: &Settings) -> Result<PriceList> {
    let region = &settings.aws.region;
    match &settings.transition.prices_file {
        None => Ok(PriceList::of_region(region)),
        Some(file) => PriceList::of_file(file, region).context("reading transition.prices_file"),
    }
}

/// When a copy goes in parts, and how large they are.
pub fn copies(transition: &Transition) -> Copies {
    Copies { multipart_threshold_bytes: transition.multipart_threshold, part_bytes: transition.multipart_part_size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiering::storage_class::StorageClass;

    fn transition(extra: &str) -> Settings {
        Settings::from_toml(&format!("ingest.enabled = false\n{extra}")).unwrap()
    }

    fn of(settings: &Settings, bucket: &str) -> BucketPolicy {
        BucketPolicies::from_settings(&settings.transition)
            .unwrap()
            .of_bucket(&BucketName::new(bucket).unwrap())
            .clone()
    }

    #[test]
    fn without_settings_recency_holds_with_its_own_steps() {
        assert_eq!(of(&transition(""), "any"), BucketPolicy::Recency(Recency::default()));
    }

    #[test]
    fn the_override_with_the_longest_prefix_holds() {
        let settings = transition(
            r#"
            [[transition.bucket]]
            prefix = "a"
            policy = "frequency"
            [[transition.bucket]]
            prefix = "abc"
            recency = [{ class = "DEEP_ARCHIVE" }]
            "#,
        );
        let deep = RecencyStep { up_to_days: None, class: StorageClass::DeepArchive };
        assert_eq!(of(&settings, "xyz"), BucketPolicy::Recency(Recency::default()));
        assert_eq!(of(&settings, "abx"), BucketPolicy::Frequency(Frequency::default()));
        assert_eq!(of(&settings, "abcd"), BucketPolicy::Recency(Recency::new(vec![deep]).unwrap()));
    }

    #[test]
    fn nothing_is_archived_by_the_adaptive_policy_unless_the_settings_let_reads_wait() {
        let adaptive = |max_delayed_reads| BucketPolicy::Adaptive { max_delayed_reads };
        assert_eq!(of(&transition("transition.policy = \"adaptive\""), "any"), adaptive(0.0));
        let settings = transition(
            r#"
            transition.policy = "adaptive"
            transition.adaptive.max_delayed_reads = 0.01
            [[transition.bucket]]
            prefix = "cold"
            adaptive.max_delayed_reads = 0.5
            "#,
        );
        assert_eq!((of(&settings, "any"), of(&settings, "cold-1")), (adaptive(0.01), adaptive(0.5)));
        let candidates = candidates(&settings.transition, &BucketName::new("cold-1").unwrap()).unwrap();
        assert_eq!(candidates[2], adaptive(0.5));
    }

    #[test]
    fn guards_are_up_unless_the_settings_take_them_down() {
        let by_default = transition("");
        let default = guards(&by_default.transition, &by_default.restore);
        assert_eq!(default.min_object_bytes, 128 * 1024);
        assert_eq!((default.minimum_duration, default.saving), (Rule::Enforced, Rule::Enforced));
        assert_eq!(default.archived, Archived::Leave);
        assert_eq!(default.require_recent_ingest, Some(TimeDelta::days(35)));

        let settings = transition(
            r#"
            restore.tier = "Bulk"
            [transition]
            require_saving = false
            promote_archived = true
            require_recent_ingest = "0d"
            "#,
        );
        let down = guards(&settings.transition, &settings.restore);
        assert_eq!((down.saving, down.archived), (Rule::Waived, Archived::Restore));
        assert_eq!((down.require_recent_ingest, down.restore), (None, RestoreSpeed::Bulk));
    }
}
