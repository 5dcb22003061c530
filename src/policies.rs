//! From the settings to what judges a row: the policy of a bucket, and the guards. The core knows no settings, and the
//! settings know no rule; this is where the two meet, for every command alike.

use anyhow::{Result, bail};
use chrono::TimeDelta;

use crate::config::{self, Restore, RestoreTier, Transition};
use crate::tiering::cost::RestoreSpeed;
use crate::tiering::object::BucketName;
use crate::tiering::policy::frequency::Frequency;
use crate::tiering::policy::guard::{Archived, Copies, Guards, Rule};
use crate::tiering::policy::recency::{Recency, RecencyStep};

/// The policy by which a bucket's objects go, with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum BucketPolicy {
    Recency(Recency),
    Frequency(Frequency),
}

impl BucketPolicy {
    /// The policy of `bucket`: the settings, with what the override with the longest prefix says otherwise.
    ///
    /// Fails on a policy that is not built in, and on settings that [`crate::config`] would have refused.
    pub fn of(transition: &Transition, bucket: &BucketName) -> Result<Self> {
        let other = transition
            .bucket
            .iter()
            .filter(|other| bucket.as_str().starts_with(other.prefix.as_str()))
            .max_by_key(|other| other.prefix.len());
        let name = other.and_then(|other| other.policy).unwrap_or(transition.policy);
        Ok(match name {
            config::PolicyName::Recency => {
                let steps = other.and_then(|other| other.recency.as_ref()).unwrap_or(&transition.recency);
                let step = |step: &config::RecencyStep| RecencyStep { up_to_days: step.up_to_days, class: step.class };
                Self::Recency(Recency::new(steps.iter().map(step).collect())?)
            }
            config::PolicyName::Frequency => {
                let share = other.and_then(|other| other.frequency.as_ref()).unwrap_or(&transition.frequency);
                Self::Frequency(Frequency::new(share.top_fraction, share.top_class, share.rest_class)?)
            }
            config::PolicyName::Adaptive => bail!("the policy \"adaptive\" of bucket {bucket} is not built in"),
        })
    }
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
        copies: Copies {
            multipart_threshold_bytes: transition.multipart_threshold,
            part_bytes: transition.multipart_part_size,
        },
        restore: match restore.tier {
            RestoreTier::Standard => RestoreSpeed::Standard,
            RestoreTier::Bulk => RestoreSpeed::Bulk,
            RestoreTier::Expedited => RestoreSpeed::Expedited,
        },
        restore_days: restore.days,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::tiering::storage_class::StorageClass;

    fn transition(extra: &str) -> Settings {
        Settings::from_toml(&format!("ingest.enabled = false\n{extra}")).unwrap()
    }

    fn of(settings: &Settings, bucket: &str) -> BucketPolicy {
        BucketPolicy::of(&settings.transition, &BucketName::new(bucket).unwrap()).unwrap()
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
