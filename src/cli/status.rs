//! `tierd status`: everything is read first ([`Status`]), then shown, so that people and programs see the same.

use std::collections::BTreeMap;

use anyhow::Result;
use chrono::{DateTime, Utc};
use comfy_table::{ContentArrangement, Table, presets};
use futures::future::{join_all, try_join_all};
use serde::Serialize;

use super::{Exit, foreground};
use crate::app::App;
use crate::clock::{self, rfc3339};
use crate::config::Settings;
use crate::health::Heartbeat;
use crate::jobs::Job;
use crate::resources::{Depth, Queue, QueueRole, Resource, Resources, needed};
use crate::state::quarantine::QuarantineKind;

const JOBS: [Job; 4] = [Job::Ingest, Job::Reconcile, Job::Transition, Job::Sweep];

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 0 if all of it could be read, 1 if a queue could not, 69 if the state table could not.

Examples:
  tierd status
  tierd status --json | jq '.jobs[] | select(.job == \"ingest\").next'
  tierd status --json | jq '.queues[] | select(.dead_letters > 0)'")]
pub struct Args {
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// All that `status` shows.
#[derive(Debug, Serialize)]
struct Status {
    at: String,
    jobs: Vec<JobStatus>,
    leases: Vec<LeaseStatus>,
    queues: Vec<QueueStatus>,
    /// Kind → how many were set aside.
    quarantine: BTreeMap<&'static str, usize>,
    restores_in_flight: u64,
    /// None before provisioning has run.
    stream: Option<StreamStatus>,
    daemon: DaemonStatus,
}

#[derive(Debug, Serialize)]
struct JobStatus {
    job: &'static str,
    last: Option<LastRun>,
    /// When a run last ended with outcome `ok`.
    last_ok: Option<String>,
    /// None where no schedule is in force, or none has a time to come.
    next: Option<String>,
    schedules: Vec<ScheduleStatus>,
}

#[derive(Debug, Serialize)]
struct LastRun {
    started_at: String,
    outcome: Option<String>,
    duration_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ScheduleStatus {
    schedule: &'static str,
    next: Option<String>,
    /// The last slot that a daemon claimed; None before the first.
    slot: Option<String>,
    /// How often a run was begun for it.
    attempts: u64,
    /// Whether one came to its end.
    finished: bool,
}

#[derive(Debug, Serialize)]
struct LeaseStatus {
    name: String,
    /// None: given back.
    holder: Option<String>,
    fence: u64,
}

#[derive(Debug, Serialize)]
struct QueueStatus {
    queue: String,
    #[serde(flatten)]
    depth: Option<Depth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct StreamStatus {
    /// When it was last read to its tip.
    read_at: String,
    lag_seconds: i64,
}

/// The daemon of this machine, by its heartbeat file.
#[derive(Debug, Serialize)]
struct DaemonStatus {
    /// None: no daemon has written a heartbeat here.
    pid: Option<u32>,
    heartbeat_at: Option<String>,
    healthy: bool,
    problems: Vec<String>,
}

pub async fn run(settings: Settings, args: Args) -> Result<Exit> {
    let app = foreground(settings).await?;
    let status = read(&app, clock::now()).await?;
    if args.json {
        println!("{}", serde_json::to_string(&status)?);
    } else {
        show(&status);
    }
    Ok(if status.queues.iter().any(|queue| queue.problem.is_some()) { Exit::Failures } else { Exit::Done })
}

async fn read(app: &App, now: DateTime<Utc>) -> Result<Status> {
    let state = &app.state;
    let jobs = try_join_all(JOBS.map(|job| job_status(app, job, now)));
    let queues = queues(app);
    let rest = async {
        let leases = state.leases().await?;
        let set_aside = state.quarantined(None).await?;
        anyhow::Ok((leases, set_aside, state.restores_in_flight().await?, state.stream_read_at().await?))
    };
    let (jobs, queues, rest) = tokio::join!(jobs, queues, rest);
    let (leases, set_aside, restores_in_flight, stream_read_at) = rest?;
    let count = |kind| set_aside.iter().filter(|entry| entry.kind == kind).count();
    Ok(Status {
        at: rfc3339(now),
        jobs: jobs?,
        leases: leases
            .into_iter()
            .map(|lease| LeaseStatus { name: lease.name, holder: lease.holder, fence: lease.fence })
            .collect(),
        queues,
        quarantine: QuarantineKind::ALL.into_iter().map(|kind| (kind.as_str(), count(kind))).collect(),
        restores_in_flight,
        stream: stream_read_at.map(|read_at| StreamStatus {
            read_at: rfc3339(read_at),
            lag_seconds: (now - read_at).num_seconds().max(0),
        }),
        daemon: daemon(&app.settings, now),
    })
}

async fn job_status(app: &App, job: Job, now: DateTime<Utc>) -> Result<JobStatus> {
    let state = &app.state;
    let mut schedules = Vec::new();
    let mut next: Option<DateTime<Utc>> = None;
    for scheduled in app.schedules().into_iter().filter(|scheduled| scheduled.job == job) {
        let own_next = scheduled.schedule.next_after(now, scheduled.timezone);
        next = [next, own_next].into_iter().flatten().min();
        let last = state.last_slot(scheduled.key).await?.filter(|slot| slot.attempts > 0);
        schedules.push(ScheduleStatus {
            schedule: scheduled.key,
            next: own_next.map(rfc3339),
            slot: last.as_ref().map(|last| rfc3339(last.slot)),
            attempts: last.as_ref().map_or(0, |last| last.attempts),
            finished: last.as_ref().is_some_and(|last| last.finished),
        });
    }
    Ok(JobStatus {
        job: job.as_str(),
        last: state.last_run(job.as_str()).await?.map(|run| LastRun {
            started_at: rfc3339(run.started_at),
            outcome: run.report["outcome"].as_str().map(str::to_owned),
            duration_ms: run.report["duration_ms"].as_u64(),
        }),
        last_ok: state.last_ok(job.as_str()).await?.map(rfc3339),
        next: next.map(rfc3339),
        schedules,
    })
}

/// A queue that cannot be looked at does not hide the others.
async fn queues(app: &App) -> Vec<QueueStatus> {
    let resources = Resources::new(app.clients.clone());
    let worked_on: Vec<Queue> = needed(&app.settings)
        .into_iter()
        .filter_map(|resource| match resource {
            Resource::Queue(queue) if !matches!(queue.role, QueueRole::DeadLetters { .. }) => Some(queue),
            _ => None,
        })
        .collect();
    join_all(worked_on.iter().map(async |queue| match resources.depth(queue).await {
        Ok(depth) => QueueStatus { queue: queue.address.clone(), depth: Some(depth), problem: None },
        Err(error) => QueueStatus { queue: queue.address.clone(), depth: None, problem: Some(error.to_string()) },
    }))
    .await
}

fn daemon(settings: &Settings, now: DateTime<Utc>) -> DaemonStatus {
    match Heartbeat::read(&settings.telemetry.heartbeat_file) {
        Ok(beat) => {
            let problems = beat.problems(now);
            DaemonStatus {
                pid: Some(beat.pid),
                heartbeat_at: Some(rfc3339(beat.at)),
                healthy: problems.is_empty(),
                problems,
            }
        }
        Err(error) => DaemonStatus {
            pid: None,
            heartbeat_at: None,
            healthy: false,
            problems: vec![format!("no daemon is running here: {error:#}")],
        },
    }
}

fn show(status: &Status) {
    let none = || "-".to_owned();
    let mut jobs = table(["JOB", "LAST RUN", "OUTCOME", "TOOK", "LAST OK", "NEXT"]);
    for job in &status.jobs {
        let last = job.last.as_ref();
        jobs.add_row([
            job.job.to_owned(),
            last.map_or_else(none, |last| last.started_at.clone()),
            last.and_then(|last| last.outcome.clone()).unwrap_or_else(none),
            last.and_then(|last| last.duration_ms).map_or_else(none, |ms| format!("{:.1} s", ms as f64 / 1000.0)),
            job.last_ok.clone().unwrap_or_else(none),
            job.next.clone().unwrap_or_else(none),
        ]);
    }
    println!("{}", jobs.trim_fmt());
    for schedule in status.jobs.iter().flat_map(|job| &job.schedules) {
        if let (Some(slot), false) = (&schedule.slot, schedule.finished) {
            println!("{}: slot {slot} is not finished (attempt {})", schedule.schedule, schedule.attempts);
        }
    }

    let mut leases = table(["LEASE", "HOLDER", "FENCE"]);
    for lease in &status.leases {
        leases.add_row([lease.name.clone(), lease.holder.clone().unwrap_or_else(none), lease.fence.to_string()]);
    }
    if !status.leases.is_empty() {
        println!("\n{}", leases.trim_fmt());
    }

    let mut queues = table(["QUEUE", "WAITING", "IN FLIGHT", "DEAD LETTERS"]);
    for queue in &status.queues {
        let figure = |of: fn(&Depth) -> Option<u64>| {
            queue.depth.as_ref().and_then(of).map_or_else(none, |figure| figure.to_string())
        };
        queues.add_row([
            queue.queue.clone(),
            figure(|depth| Some(depth.waiting)),
            figure(|depth| Some(depth.in_flight)),
            figure(|depth| depth.dead_letters),
        ]);
    }
    if !status.queues.is_empty() {
        println!("\n{}", queues.trim_fmt());
    }
    for problem in status.queues.iter().filter_map(|queue| queue.problem.as_ref()) {
        println!("{problem}");
    }

    println!();
    let set_aside: Vec<String> = status
        .quarantine
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    println!("set aside           {}", if set_aside.is_empty() { "nothing".to_owned() } else { set_aside.join(", ") });
    println!("restores in flight  {}", status.restores_in_flight);
    match &status.stream {
        Some(stream) => println!("stream read to tip  {} ({} s ago)", stream.read_at, stream.lag_seconds),
        None => println!("stream read to tip  never"),
    }
    match (status.daemon.pid, status.daemon.healthy) {
        (Some(pid), true) => println!("daemon here         well (process {pid})"),
        _ => println!("daemon here         {}", status.daemon.problems.join("; ")),
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    table
}
