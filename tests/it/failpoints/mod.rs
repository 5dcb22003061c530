//! The program dies between any two effects, is started again, and brings all in order by itself.
//!
//! A row of the table is a failpoint of the source and the scene in which the program comes by it. A scene is played with the
//! real program: it dies at the point (an abort, as sudden as SIGKILL), and the next start of the same command has to leave
//! the world as if nothing had happened.

mod jobs;
mod provision;
mod restore;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{self, StreamExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::world::World;

/// How long a start may take to come by its point, and the next one to bring all in order.
const PATIENCE: Duration = Duration::from_secs(150);
/// Scenes at once; they wait most of the time, for leases and messages of the dead.
const AT_ONCE: usize = 8;

/// What is played around a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// A user signs up.
    SignUp,
    /// A user is deleted while the bucket is made.
    Leave,
    /// A user who was set aside is tried again.
    RetryUser,
    /// A shard of the stream ends and has a child.
    ShardEnds,
    /// Records of the stream are lost.
    Gap,
    Init,
    Ingest,
    /// One of the log files is none.
    UnreadableLog,
    /// A log file that was set aside can be read now.
    RetryLog,
    Reconcile,
    Move,
    /// A move of an object that is copied in parts.
    MoveInParts,
    /// A move that was planned before.
    Apply,
    /// A move by what was learned of the bucket.
    Learn,
    /// The history of an older ledger is taken over.
    Import,
    /// An object is asked back by a message.
    Restore,
    /// A restore that cannot be finished.
    GiveUp,
    RetryRestore,
    Replicate,
    Schedule,
}

const TABLE: [(&str, Scene); 56] = [
    ("adaptive.open-kept", Scene::Learn),
    ("adaptive.shadows-kept", Scene::Learn),
    ("copy.parts-copied", Scene::MoveInParts),
    ("copy.upload-begun", Scene::MoveInParts),
    ("import.row-imported", Scene::Import),
    ("ingest.batch-done", Scene::Ingest),
    ("ingest.coverage-noted", Scene::Ingest),
    ("ingest.cursor-moved", Scene::Ingest),
    ("ingest.file-quarantined", Scene::UnreadableLog),
    ("ingest.file-released", Scene::RetryLog),
    ("ingest.manifest-written", Scene::Ingest),
    ("ingest.row-counted", Scene::Ingest),
    ("ingest.rows-written", Scene::Ingest),
    ("ingest.gaps-noted", Scene::Ingest),
    ("ingest.set-aside-noted", Scene::UnreadableLog),
    ("init.resource-made", Scene::Init),
    ("job.history-written", Scene::Schedule),
    ("job.recorded", Scene::Schedule),
    ("job.worked", Scene::Schedule),
    ("provision.bucket-made", Scene::SignUp),
    ("provision.bucket-tagged", Scene::SignUp),
    ("provision.checkpoint-saved", Scene::SignUp),
    ("provision.gap-noted", Scene::Gap),
    ("provision.name-reserved", Scene::SignUp),
    ("provision.orphan-recorded", Scene::Leave),
    ("provision.page-served", Scene::SignUp),
    ("provision.reservation-released", Scene::SignUp),
    ("provision.settings-put", Scene::SignUp),
    ("provision.shard-begun", Scene::SignUp),
    ("provision.shard-finished", Scene::ShardEnds),
    ("provision.shards-discovered", Scene::SignUp),
    ("provision.stream-remembered", Scene::SignUp),
    ("provision.uri-written", Scene::SignUp),
    ("provision.user-retried", Scene::RetryUser),
    ("provision.users-swept", Scene::SignUp),
    ("queue.message-done", Scene::Restore),
    ("reconcile.effect-applied", Scene::Reconcile),
    ("replicate.copied", Scene::Replicate),
    ("restore.copied-back", Scene::Restore),
    ("restore.given-up-untagged", Scene::GiveUp),
    ("restore.ledger-updated", Scene::Restore),
    ("restore.noted", Scene::Restore),
    ("restore.requested", Scene::Restore),
    ("restore.retried", Scene::RetryRestore),
    ("restore.row-dropped", Scene::Restore),
    ("restore.set-aside", Scene::GiveUp),
    ("restore.tagged", Scene::Restore),
    ("restore.untagged", Scene::Restore),
    ("restore.wait-noted", Scene::Restore),
    ("schedule.run-ended", Scene::Schedule),
    ("schedule.slot-claimed", Scene::Schedule),
    ("schedule.slot-finished", Scene::Schedule),
    ("transition.ledger-updated", Scene::Apply),
    ("transition.ledger-updated", Scene::Move),
    ("transition.object-copied", Scene::Apply),
    ("transition.object-copied", Scene::Move),
];

#[test]
fn every_failpoint_of_the_source_is_in_the_table_and_none_else() {
    let mut names = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
    let table: BTreeSet<String> = TABLE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names, table);
}

/// The names in all sources below a folder, but for the module that explains them.
fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the source").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("failpoint.rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            for after in text.split("failpoint!(\"").skip(1) {
                let name = after.split('"').next().expect("a name").to_owned();
                assert!(names.insert(name.clone()), "{name} names two places");
            }
        }
    }
}

/// `TIERD_FAILPOINTS=restore.` plays those that begin so, and no others.
#[tokio::test]
async fn a_crash_at_any_failpoint_is_repaired_by_the_next_start() {
    let _turn = crate::harness::heavy_turn();
    let only = std::env::var("TIERD_FAILPOINTS").unwrap_or_default();
    let chosen = TABLE.into_iter().filter(|(point, _)| point.starts_with(&only));
    let failed: Vec<String> = stream::iter(chosen)
        .map(|(point, scene)| async move {
            match AssertUnwindSafe(play(point, scene)).catch_unwind().await {
                Ok(()) => None,
                Err(panic) => {
                    let what = panic.downcast_ref::<String>().cloned();
                    Some(format!("{point}: {}", what.unwrap_or_else(|| format!("{:?}", panic.downcast_ref::<&str>()))))
                }
            }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(failed.is_empty(), "{} failpoints are not repaired:\n{}", failed.len(), failed.join("\n"));
}

async fn play(point: &'static str, scene: Scene) {
    match scene {
        Scene::SignUp => provision::sign_up(point).await,
        Scene::Leave => provision::leave(point).await,
        Scene::RetryUser => provision::retry_user(point).await,
        Scene::ShardEnds => provision::shard_ends(point).await,
        Scene::Gap => provision::gap(point).await,
        Scene::Init => provision::init(point).await,
        Scene::Ingest => jobs::ingest(point).await,
        Scene::UnreadableLog => jobs::unreadable_log(point).await,
        Scene::RetryLog => jobs::retry_log(point).await,
        Scene::Reconcile => jobs::reconcile(point).await,
        Scene::Move => jobs::move_object(point).await,
        Scene::MoveInParts => jobs::move_in_parts(point).await,
        Scene::Apply => jobs::apply(point).await,
        Scene::Learn => jobs::learn(point).await,
        Scene::Import => jobs::import(point).await,
        Scene::Restore => restore::restore(point).await,
        Scene::GiveUp => restore::give_up(point).await,
        Scene::RetryRestore => restore::retry(point).await,
        Scene::Replicate => restore::replicate(point).await,
        Scene::Schedule => jobs::schedule(point).await,
    }
}

/// A world of a point's own.
async fn world(point: &str, extra: &str) -> World {
    World::new(&name_of(point), extra).await
}

fn name_of(point: &str) -> String {
    point.chars().filter(char::is_ascii_lowercase).take(24).collect()
}

/// Runs `tierd ARGS…` until it dies at the point.
async fn dies_at(world: &World, args: &[&str], point: &str) {
    let mut command = world.tierd(args);
    let output = command.env("TIERD_FAILPOINT", point).output();
    let output = tokio::time::timeout(PATIENCE, output).await;
    let output = output.unwrap_or_else(|_| panic!("`tierd {args:?}` does not come by the point")).expect("tierd runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.signal(),
        Some(6),
        "`tierd {args:?}` ended with {} and not at the point: {said}",
        output.status
    );
}

/// Runs a job to its end, once the dead one's lease is over.
async fn job_ends(world: &World, args: &[&str]) -> i32 {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let output = world.run(args).await;
        let code = output.status.code().expect("an exit code");
        if code != 75 || tokio::time::Instant::now() > deadline {
            return code;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A daemon with nothing armed, once it has said something: it listens for signals by then.
async fn daemon(world: &World) -> Child {
    let mut daemon = world.tierd(&["run"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a start");
    let mut lines = BufReader::new(daemon.stdout.take().expect("a pipe")).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it starts").expect("a line");
    assert!(first.is_some(), "the daemon ended without a word");
    // A full pipe would hold it up.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    daemon
}

/// Has a daemon drain and end.
async fn stop(mut daemon: Child) {
    let pid = daemon.id().expect("it runs").try_into().expect("a process id");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("a signal");
    let ended =
        tokio::time::timeout(Duration::from_secs(60), daemon.wait()).await.expect("it drains").expect("it ends");
    assert!(ended.success(), "the daemon ended with {ended}");
}
