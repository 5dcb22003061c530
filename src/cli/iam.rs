//! `tierd iam`.

use std::io::Write as _;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::Exit;
use crate::aws::Clients;
use crate::config::Settings;
use crate::iam::{self, MAX_MANAGED_POLICY_CHARS, Part, Place};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The policy names the tables, queues, buckets and prefixes of the configuration, so print it again when they change.

  all         what `tierd run` needs: every enabled part, and check
  provision   new users' buckets and the URI on their row
  ingest      log files into the ledger
  reconcile   the buckets' listings against the ledger; every ingest is followed by one
  transition  moves between storage classes; also `plan`, `apply` and `explain`
  restore     restore requests, their completion, the copy back
  replicate   new objects into other buckets, whose own policies have to allow it too
  plan        reads the ledger and the heads of objects: `plan`, `explain` and `report`; `transition` has all of it
  simulate    reads the logs and lists the buckets that they tell of: `simulate` without --trace
  check       reads how tables, queues and buckets are set: `check` and `status`
  init        makes tables and queues; for whoever runs `tierd init` once, and no part of `all`
  import      `tierd ledger import`, of the table that --table names; no part of `all`

Notes on where a policy is wider than you may want go to stderr.

Examples:
  tierd iam > policy.json
  aws iam create-policy --policy-name tierd --policy-document file://policy.json
  tierd iam --part init --account 123456789012
  tierd iam --part import --table old_file_access
  tierd iam --kms-key arn:aws:kms:ap-northeast-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab")]
pub struct Args {
    /// For what
    #[arg(long, value_name = "PART", default_value = "all")]
    part: Selection,

    /// The account [default: that of aws.assume_role_arn, else the one that STS names]
    #[arg(long, value_name = "ID", value_parser = account_id)]
    account: Option<String>,

    /// aws, aws-cn or aws-us-gov [default: that of aws.region]
    #[arg(long)]
    partition: Option<String>,

    /// A KMS key that objects or logs are encrypted with, by its ARN; may be repeated [default: any key of the account,
    /// through S3 only]
    #[arg(long = "kms-key", value_name = "ARN", value_parser = key_arn)]
    kms_keys: Vec<String>,

    /// The old table that `ledger import` carries over, for --part import
    #[arg(long, value_name = "T", required_if_eq("part", "import"))]
    table: Option<String>,
}

/// One part, or all that the daemon is made of.
#[derive(Debug, Clone, Copy)]
enum Selection {
    All,
    One(Part),
}

impl ValueEnum for Selection {
    fn value_variants<'a>() -> &'a [Self] {
        use Part::*;
        const ALL: &[Selection] = &[
            Selection::All,
            Selection::One(Provision),
            Selection::One(Ingest),
            Selection::One(Reconcile),
            Selection::One(Transition),
            Selection::One(Restore),
            Selection::One(Replicate),
            Selection::One(Plan),
            Selection::One(Simulate),
            Selection::One(Check),
            Selection::One(Init),
            Selection::One(Import),
        ];
        ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::All => "all",
            Self::One(part) => part.as_str(),
        }))
    }
}

pub async fn run(settings: Settings, args: Args) -> Result<Exit> {
    let account = match args.account.or_else(|| account_of_role(&settings)) {
        Some(account) => account,
        None => account_by_sts(&settings).await?,
    };
    let partition = args.partition.unwrap_or_else(|| iam::partition_of(&settings.aws.region).to_owned());
    let parts = match args.part {
        Selection::All => Part::of_the_daemon(&settings),
        Selection::One(part) => vec![part],
    };
    let policy =
        iam::policy(&settings, &parts, &Place { partition, account, kms_keys: args.kms_keys, old_table: args.table });
    if policy.is_empty() {
        bail!("the configuration has nothing that this part would need");
    }
    for note in &policy.notes {
        eprintln!("note: {note}");
    }
    if policy.chars() > MAX_MANAGED_POLICY_CHARS {
        eprintln!(
            "note: the policy has {} characters, and a managed policy at most {MAX_MANAGED_POLICY_CHARS}; \
             attach one policy per part instead (--part)",
            policy.chars()
        );
    }
    writeln!(std::io::stdout(), "{}", policy.to_json()).context("writing the policy")?;
    Ok(Exit::Done)
}

fn account_of_role(settings: &Settings) -> Option<String> {
    settings.aws.assume_role_arn.as_deref()?.split(':').nth(4).map(str::to_owned)
}

async fn account_by_sts(settings: &Settings) -> Result<String> {
    let clients = Clients::connect(settings, Clients::loader()).await?;
    let arn = clients.own_arn().await.context("finding the account; --account gives it without asking")?;
    arn.split(':').nth(4).map(str::to_owned).with_context(|| format!("{arn:?} names no account; give it by --account"))
}

fn account_id(text: &str) -> Result<String, String> {
    let is_one = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    is_one.then(|| text.to_owned()).ok_or_else(|| "an account has twelve digits".to_owned())
}

fn key_arn(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let is_one = matches!(parts[..], ["arn", _, "kms", _, _, resource] if resource.starts_with("key/"));
    is_one.then(|| text.to_owned()).ok_or_else(|| {
        "write the ARN of a key, arn:aws:kms:REGION:ACCOUNT:key/ID (IAM does not take aliases)".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_can_be_asked_for_by_its_name() {
        for part in Part::ALL {
            assert!(
                Selection::from_str(part.as_str(), false)
                    .is_ok_and(|it| matches!(it, Selection::One(one) if one == part)),
                "{}",
                part.as_str()
            );
        }
    }
}
