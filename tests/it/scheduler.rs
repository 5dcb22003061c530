//! The scheduler over the real state table, with a job that only counts its runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tierd::clock::{self, rfc3339};
use tierd::health::Health;
use tierd::jobs::report::SweepReport;
use tierd::jobs::{AskedBy, Body, Job, JobReport, Mode, Ran};
use tierd::scheduler::{self, Runner, Scheduled};
use tierd::state::{State, Written};
use tierd::tiering::schedule::Schedule;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::world::{World, eventually};

const KEY: &str = "test.schedule";
const SOON: Duration = Duration::from_secs(20);
/// Long enough for a scheduler to have looked several times.
const A_WHILE: Duration = Duration::from_secs(4);

/// What a run of the job does.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Well,
    Badly,
    Panics,
}

#[derive(Clone, Default)]
struct Runs(Arc<Mutex<Vec<String>>>);

impl Runs {
    fn slots(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// A runner that notes the slot of each run.
    fn runner(&self, does: Does) -> Runner {
        let runs = self.clone();
        Arc::new(move |job, options, _stop| {
            let AskedBy::Slot(slot) = options.asked_by else { panic!("a schedule asks") };
            runs.0.lock().unwrap().push(slot);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                assert!(does != Does::Panics, "this run panics");
                let body = match does {
                    Does::Well => Ok(Body::Sweep(SweepReport::default())),
                    _ => Err(anyhow::anyhow!("this run fails")),
                };
                let report = JobReport::new(job, Mode::Real, clock::now(), clock::now(), body);
                Ok(Ran::Done(Box::new(report)))
            })
        })
    }
}

/// A scheduler as a daemon has it; told to stop, or dropped, it is gone.
struct Daemon {
    stop: CancellationToken,
    health: Health,
    task: AbortOnDropHandle<anyhow::Result<()>>,
}

impl Daemon {
    fn start(world: &World, name: &str, runner: Runner) -> Self {
        let schedule = Schedule::parse("cron(0 0 1 1 ? *)").expect("a schedule");
        let schedules = vec![Scheduled { key: KEY, job: Job::Sweep, schedule, timezone: chrono_tz::Tz::UTC }];
        let (stop, health) = (CancellationToken::new(), Health::default());
        let pulse = health.part("scheduler", Duration::from_secs(60));
        let run = scheduler::run(state(world, name), runner, schedules, pulse, stop.clone());
        Self { stop, health, task: AbortOnDropHandle::new(tokio::spawn(run)) }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("a clean end");
    }
}

fn state(world: &World, name: &str) -> State {
    State::new(world.dynamodb().clone(), &world.settings().state.table, Duration::from_millis(1500), name)
}

/// The slot that a schedule of every new year's day was due at last.
fn last_new_year() -> DateTime<Utc> {
    let schedule = Schedule::parse("cron(0 0 1 1 ? *)").expect("a schedule");
    schedule.latest_at_or_before(clock::now(), chrono_tz::Tz::UTC).expect("a slot")
}

/// As if a daemon had run until two years ago.
async fn was_up_long_ago(world: &World) -> State {
    let state = state(world, "test");
    let _new: Written = state.set_baseline(KEY, clock::now() - TimeDelta::days(800)).await.expect("the state table");
    state
}

async fn until_finished(state: &State) {
    eventually(SOON, "the slot is finished", async || {
        let last = state.last_slot(KEY).await.expect("the state table")?;
        (last.finished && last.attempts > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn slots_that_were_missed_are_made_up_for_once_by_one_of_two_daemons() {
    let world = World::new("schedmissed", "").await;
    let state = was_up_long_ago(&world).await;
    let runs = Runs::default();
    let one = Daemon::start(&world, "one", runs.runner(Does::Well));
    let two = Daemon::start(&world, "two", runs.runner(Does::Well));
    until_finished(&state).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(runs.slots(), [rfc3339(last_new_year())]);
    assert_eq!(one.health.problems(clock::now()), Vec::<String>::new());
    one.stop().await;
    two.stop().await;
    let held: Vec<_> = state.leases().await.unwrap().into_iter().filter(|lease| lease.holder.is_some()).collect();
    assert_eq!(held, [], "both give back what they hold");
}

#[tokio::test]
async fn what_was_due_before_the_first_start_is_nobodys() {
    let world = World::new("schedfirst", "").await;
    let runs = Runs::default();
    let one = Daemon::start(&world, "one", runs.runner(Does::Well));
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(runs.slots(), Vec::<String>::new());
    let last = state(&world, "test").last_slot(KEY).await.unwrap().expect("a baseline");
    assert_eq!((last.attempts, last.finished), (0, true));
    one.stop().await;
}

#[tokio::test]
async fn a_slot_whose_daemon_died_is_run_by_the_next_one() {
    let world = World::new("scheddied", "").await;
    let state = was_up_long_ago(&world).await;
    // Claimed, and then nothing: not even its lease was given back.
    let lease = state.take_lease(&format!("schedule#{KEY}")).await.unwrap();
    assert_eq!(state.claim_slot(KEY, last_new_year()).await.unwrap(), Written::Yes);
    drop(lease);
    let runs = Runs::default();
    let next = Daemon::start(&world, "next", runs.runner(Does::Well));
    until_finished(&state).await;
    assert_eq!(runs.slots(), [rfc3339(last_new_year())]);
    assert_eq!(state.last_slot(KEY).await.unwrap().unwrap().attempts, 2);
    next.stop().await;
}

#[tokio::test]
async fn a_slot_is_left_to_the_daemon_that_works_on_it() {
    let world = World::new("schedalive", "").await;
    let state = was_up_long_ago(&world).await;
    let _alive = state.take_lease(&format!("schedule#{KEY}")).await.unwrap();
    assert_eq!(state.claim_slot(KEY, last_new_year()).await.unwrap(), Written::Yes);
    let runs = Runs::default();
    let other = Daemon::start(&world, "other", runs.runner(Does::Well));
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(runs.slots(), Vec::<String>::new());
    other.stop().await;
}

#[tokio::test]
async fn a_run_that_failed_or_panicked_is_tried_again_but_not_at_once() {
    let world = World::new("schedfailed", "").await;
    let state = was_up_long_ago(&world).await;
    let runs = Runs::default();
    let one = Daemon::start(&world, "one", runs.runner(Does::Badly));
    for attempt in 1..=2 {
        let failed = eventually(SOON, "the failure is noted", async || {
            let last = state.last_slot(KEY).await.expect("the state table")?;
            (last.attempts == attempt && last.failed_at.is_some()).then_some(last)
        })
        .await;
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(runs.slots().len() as u64, attempt, "not at once");
        // Long enough ago.
        let hours_ago = clock::now() - TimeDelta::hours(2);
        assert_eq!(state.fail_slot(KEY, failed.slot, hours_ago).await.unwrap(), Written::Yes);
        // The daemon reads it again by itself within minutes; a daemon that starts does so at once.
        if attempt == 1 {
            let other = Daemon::start(&world, "other", runs.runner(Does::Panics));
            eventually(SOON, "the second run", async || (runs.slots().len() == 2).then_some(())).await;
            eventually(SOON, "its end", async || {
                let last = state.last_slot(KEY).await.expect("the state table")?;
                last.failed_at.map(|_| ())
            })
            .await;
            other.stop().await;
        }
    }
    one.stop().await;
    let last = Daemon::start(&world, "last", runs.runner(Does::Well));
    until_finished(&state).await;
    assert_eq!(runs.slots().len(), 3);
    last.stop().await;
}

#[tokio::test]
async fn a_daemon_that_stops_leaves_its_slot_to_the_next_at_once() {
    let world = World::new("schedstopped", "").await;
    let state = was_up_long_ago(&world).await;
    let runs = Runs::default();
    let one = Daemon::start(&world, "one", runs.runner(Does::Well));
    eventually(SOON, "the run begins", async || (runs.slots().len() == 1).then_some(())).await;
    one.stop().await;
    assert!(!state.last_slot(KEY).await.unwrap().unwrap().finished);
    let next = Daemon::start(&world, "next", runs.runner(Does::Well));
    until_finished(&state).await;
    assert_eq!(runs.slots().len(), 2);
    next.stop().await;
}
