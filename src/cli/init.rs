//! `tierd init`.

use std::time::Duration;

use anyhow::Result;

use super::{Exit, foreground};
use crate::config::Settings;
use crate::resources::{Finding, MadeBy, Resource, Resources, Standing, needed};

/// How often what was just made, or is being made by another `init`, is looked at again, and how long between.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(700);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
What exists is never changed: where it differs from what is needed, a line says how, and what to do. Running it again
makes what is still missing. The users table and all buckets are not tierd's to make; they are only reported.

Exit code 0 if everything that init makes is in order in the end, 1 if something differs, 69 if something could not be
made or looked at.

Examples:
  tierd init --dry-run    what would be made
  tierd init && tierd check")]
pub struct Args {
    /// Say what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(settings: Settings, args: Args) -> Result<Exit> {
    let app = foreground(settings).await?;
    let resources = Resources::new(app.clients.clone());
    let all = needed(&app.settings);
    // Where nothing answers, each look takes its time: side by side they say so once, and soon.
    let looked = resources.inspect_all(&all).await;
    if looked.iter().all(|finding| matches!(finding.standing, Standing::Unknown(_))) {
        looked.iter().for_each(|finding| println!("{finding}"));
        return Ok(Exit::Unavailable);
    }
    let mut worst = Exit::Done;
    // One after the other: a queue is made after its dead-letter queue, and a person can follow it.
    for resource in all {
        let exit = match (args.dry_run, resource.made_by()) {
            (_, MadeBy::Others) => report_others(&resources, &resource).await,
            (true, MadeBy::Init) => would_make(&resources, &resource).await,
            (false, MadeBy::Init) => make(&resources, &resource).await,
        };
        worst = if exit as u8 > worst as u8 { exit } else { worst };
    }
    Ok(worst)
}

/// What init does not make cannot make it fail.
async fn report_others(resources: &Resources, resource: &Resource) -> Exit {
    println!("{}", resources.inspect(resource).await);
    Exit::Done
}

async fn would_make(resources: &Resources, resource: &Resource) -> Exit {
    let finding = resources.inspect(resource).await;
    match finding.standing {
        Standing::Missing => {
            println!("would make {resource}");
            Exit::Done
        }
        _ => report(&finding),
    }
}

async fn make(resources: &Resources, resource: &Resource) -> Exit {
    // What differs may be what another `init` is just about to set.
    let before = look_until(resources, resource, |standing| !matches!(standing, Standing::Differs(_))).await;
    match before.standing {
        // One that another program is making is waited for in the same way.
        Standing::Missing | Standing::Pending => {}
        _ => return report(&before),
    }
    let note = match resources.make(resource).await {
        Ok(note) => note,
        Err(error) => {
            println!("failed  {resource}: {error}");
            return Exit::Unavailable;
        }
    };
    failpoint!("init.resource-made");
    // What was made a moment ago may not be seen everywhere.
    let after = look_until(resources, resource, |standing| matches!(standing, Standing::Ok(_))).await;
    match &after.standing {
        Standing::Ok(seen) => println!("made    {resource}: {seen}"),
        _ => return report(&after),
    }
    if let Some(note) = note {
        println!("note    {resource}: {note}");
    }
    Exit::Done
}

/// Looks a few times, until it stands as is hoped.
async fn look_until(resources: &Resources, resource: &Resource, hoped: impl Fn(&Standing) -> bool) -> Finding {
    let mut finding = resources.inspect(resource).await;
    for _ in 1..LOOKS {
        if hoped(&finding.standing) {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        finding = resources.inspect(resource).await;
    }
    finding
}

fn report(finding: &Finding) -> Exit {
    println!("{finding}");
    match finding.standing {
        Standing::Ok(_) => Exit::Done,
        Standing::Differs(_) => Exit::Failures,
        Standing::Missing | Standing::Pending | Standing::Unknown(_) => Exit::Unavailable,
    }
}
