//! `tierd check`.

use std::fmt::Write as _;

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::{Exit, foreground};
use crate::clock::{self, rfc3339};
use crate::config::{Adaptive, PolicyName, Settings};
use crate::policies;
use crate::resources::{Finding, Resources, Standing, needed};

/// How many times of each schedule are shown.
const NEXT_TIMES: usize = 5;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each line of what is needed begins with how it stands:
  ok       in order
  missing  not there
  pending  being made
  differs  there, but not as it is needed
  unknown  could not be looked at
and ends with what to do about it. `tierd init` makes what is tierd's own.

Exit code 0 if all is in order, 1 if something differs, 69 if something is missing or cannot be looked at, 78 if the
configuration is bad.

Examples:
  tierd check                            before the first start, and after every change
  tierd --config new.toml check --offline
  TIERD__INGEST__SCHEDULE='cron(0 3 ? * MON *)' tierd check --offline | grep ^next")]
pub struct Args {
    /// Only the configuration and its schedules; make no call to AWS
    #[arg(long)]
    offline: bool,
}

pub async fn run(settings: Settings, args: Args) -> Result<Exit> {
    println!("{}", settings.to_toml());
    print!("{}", next_times(&settings, clock::now()));
    if let Some(warning) = policies::prices(&settings)?.warning(clock::now().date_naive()) {
        eprintln!("tierd: warning: {warning}");
    }
    if let Some(warning) = unseen_reads(&settings) {
        eprintln!("tierd: warning: {warning}");
    }
    if let Some(warning) = unrestored(&settings) {
        eprintln!("tierd: warning: {warning}");
    }
    if args.offline {
        return Ok(Exit::Done);
    }
    println!();
    let app = foreground(settings).await?;
    let findings = Resources::new(app.clients.clone()).verify_all(&needed(&app.settings)).await;
    for finding in &findings {
        println!("{finding}");
    }
    Ok(exit_of(&findings))
}

/// What the adaptive policy does not see: it goes by the reads that ingest counts, and every read costs money, not only those
/// by way of a front end.
fn unseen_reads(settings: &Settings) -> Option<String> {
    let transition = &settings.transition;
    let overrides = transition.bucket.iter().filter_map(|one| one.policy);
    let adaptive = overrides.chain([transition.policy]).any(|policy| policy == PolicyName::Adaptive);
    let seen = settings.ingest.count.iter().any(|rule| rule.event == "GetObject" && rule.with_parameter.is_none());
    if !settings.ingest.enabled || !adaptive || seen {
        return None;
    }
    let rule = "[[ingest.count]] event = \"GetObject\" without with_parameter";
    Some(format!("policy adaptive does not see reads that ingest does not count, and they cost money too: add {rule}"))
}

/// Whoever reads an archived object waits until somebody has it restored.
fn unrestored(settings: &Settings) -> Option<String> {
    let transition = &settings.transition;
    let allows = |policy: Option<PolicyName>, adaptive: Option<Adaptive>| {
        policy.unwrap_or(transition.policy) == PolicyName::Adaptive
            && adaptive.unwrap_or(transition.adaptive).max_delayed_reads > 0.0
    };
    let archives = allows(None, None) || transition.bucket.iter().any(|one| allows(one.policy, one.adaptive));
    let what = "transition.adaptive.max_delayed_reads lets policy adaptive archive objects";
    (archives && !settings.restore.enabled)
        .then(|| format!("{what}, and restore.enabled is false: let another daemon bring back what readers ask for"))
}

/// The worst of all decides.
fn exit_of(findings: &[Finding]) -> Exit {
    let exits = findings.iter().map(|finding| match finding.standing {
        Standing::Ok(_) => Exit::Done,
        Standing::Differs(_) => Exit::Failures,
        Standing::Missing | Standing::Pending | Standing::Unknown(_) => Exit::Unavailable,
    });
    exits.max_by_key(|exit| *exit as u8).unwrap_or(Exit::Done)
}

/// A line for each of the next times of every schedule.
fn next_times(settings: &Settings, now: DateTime<Utc>) -> String {
    let mut out = String::new();
    for (key, schedule, zone) in settings.schedules() {
        let mut times = std::iter::successors(schedule.next_after(now, zone), |last| schedule.next_after(*last, zone))
            .take(NEXT_TIMES)
            .peekable();
        if times.peek().is_none() {
            writeln!(out, "next {key} never: {} has no time to come", schedule.as_str())
                .expect("writing to a string cannot fail");
        }
        for time in times {
            writeln!(out, "next {key} {}", rfc3339(time)).expect("writing to a string cannot fail");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_that_the_adaptive_policy_would_not_see_are_warned_of() {
        let source = "[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"logs\"\n";
        let adaptive = "transition.policy = \"adaptive\"\n";
        let one = "[[transition.bucket]]\nprefix = \"a\"\npolicy = \"adaptive\"\n";
        let every = "[[ingest.count]]\nevent = \"PutObject\"\n[[ingest.count]]\nevent = \"GetObject\"\n";
        for (toml, warned) in [
            (source.to_owned(), false),
            (format!("{adaptive}{source}"), true),
            (format!("{source}{one}"), true),
            (format!("{adaptive}{source}{every}"), false),
            (format!("{adaptive}ingest.enabled = false\n"), false),
        ] {
            let settings = Settings::from_toml(&toml).unwrap_or_else(|e| panic!("{e}\n{toml}"));
            assert_eq!(unseen_reads(&settings).is_some(), warned, "{toml}");
        }
    }

    #[test]
    fn archives_that_nothing_comes_back_from_are_warned_of() {
        let adaptive = "transition.policy = \"adaptive\"\ningest.enabled = false\n";
        let share = "transition.adaptive.max_delayed_reads = 0.1\n";
        let off = "restore.enabled = false\n";
        let one = "[[transition.bucket]]\nprefix = \"a\"\npolicy = \"adaptive\"\nadaptive.max_delayed_reads = 0.1\n";
        for (toml, warned) in [
            (format!("{adaptive}{off}"), false),
            (format!("{adaptive}{share}"), false),
            (format!("{adaptive}{share}{off}"), true),
            (format!("ingest.enabled = false\n{share}{off}"), false),
            (format!("ingest.enabled = false\n{off}{one}"), true),
        ] {
            let settings = Settings::from_toml(&toml).unwrap_or_else(|e| panic!("{e}\n{toml}"));
            assert_eq!(unrestored(&settings).is_some(), warned, "{toml}");
        }
    }

    #[test]
    fn the_next_five_times_of_every_schedule_in_force_are_shown() {
        let toml = "provision.enabled = false\nrestore.enabled = false\ningest.enabled = false\n\
                    transition.schedule = \"cron(0 9 1 * ? *)\"\ntransition.timezone = \"Asia/Seoul\"\n\
                    reconcile.schedule = \"cron(0 0 1 1 ? 2020)\"\n";
        let settings = Settings::from_toml(toml).unwrap_or_else(|e| panic!("{e}"));
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        assert_eq!(
            next_times(&settings, now),
            "next reconcile.schedule never: cron(0 0 1 1 ? 2020) has no time to come\n\
             next transition.schedule 2023-12-01T00:00:00Z\n\
             next transition.schedule 2024-01-01T00:00:00Z\n\
             next transition.schedule 2024-02-01T00:00:00Z\n\
             next transition.schedule 2024-03-01T00:00:00Z\n\
             next transition.schedule 2024-04-01T00:00:00Z\n"
        );
    }
}
