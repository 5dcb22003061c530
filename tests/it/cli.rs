//! The command line: help, usage, the configuration, and the commands that only look.

use std::process::{Output, Stdio};

use tierd::clock;
use tierd::jobs::report::SweepReport;
use tierd::jobs::{Body, Job, JobReport, Mode};
use tierd::state::Written;
use tierd::state::quarantine::{QuarantineKind, Quarantined};
use tierd::state::runs::RunOutcome;
use tokio::process::Command;

use crate::world::World;

/// `tierd` without a world: what needs no AWS.
async fn tierd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tierd")).env_clear().args(args).stdin(Stdio::null()).output().await.unwrap()
}

/// Runs `check --offline` with this as the configuration file.
async fn check_offline(config: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tierd.toml");
    std::fs::write(&file, config).unwrap();
    tierd(&["--config", file.to_str().unwrap(), "check", "--offline"]).await
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn set_aside(kind: QuarantineKind, id: &str) -> Quarantined {
    Quarantined {
        kind,
        id: id.to_owned(),
        reason: "not gzip".to_owned(),
        at: clock::now_secs(),
        retry: false,
        payload: "{}".to_owned(),
    }
}

#[tokio::test]
async fn every_command_has_help_that_teaches() {
    let help = stdout(&tierd(&["--help"]).await);
    assert!(help.contains("Exit codes:"), "{help}");
    for command in ["check", "init", "plan", "apply", "explain", "status", "quarantine"] {
        assert!(help.contains(&format!("\n  {command}")), "{command}: {help}");
        let output = tierd(&[command, "--help"]).await;
        assert_eq!(output.status.code(), Some(0));
        let text = stdout(&output);
        assert!(text.contains("Examples:") && text.contains(&format!("tierd {command}")), "{text}");
    }
}

#[tokio::test]
async fn wrong_usage_exits_64() {
    let wrong: [&[&str]; 6] = [
        &["frobnicate"],
        &["check", "--sideways"],
        &["job"],
        &["quarantine"],
        &["quarantine", "drop"],
        &["quarantine", "drop", "x", "--all"],
    ];
    for args in wrong {
        let output = tierd(args).await;
        assert_eq!(output.status.code(), Some(64), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("Usage:"), "{args:?}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn a_bad_configuration_exits_78_with_all_its_problems() {
    let output = check_offline(
        "ingest.enabled = false\ntransition.policy = \"wishful\"\nrestore.sweep_schedule = \"rate(6 hour)\"\nnonsense = 1\n",
    )
    .await;
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    for what in ["transition.policy", "restore.sweep_schedule", "nonsense"] {
        assert!(said.contains(what), "{what}: {said}");
    }
    assert_eq!(tierd(&["--config", "/nowhere/tierd.toml", "check"]).await.status.code(), Some(78));
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_ends_a_command_without_a_word() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tierd.toml");
    std::fs::write(&file, "[ingest]\nenabled = false\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tierd"));
    command.args(["check", "--offline", "--config"]).arg(&file).env("RUST_BACKTRACE", "0");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(1), ""));
}

#[tokio::test]
async fn check_offline_prints_the_effective_configuration_and_the_next_times() {
    let output = check_offline("ingest.enabled = false\nprovision.sweep_schedule = \"rate(1 hour)\"\n").await;
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{said}{}", stderr(&output));
    let (toml, times): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| !line.starts_with("next "));
    let settings = tierd::config::Settings::from_toml(&toml.join("\n")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(settings.provision.sweep_schedule.as_str(), "rate(1 hour)");
    for schedule in ["provision.sweep_schedule", "transition.schedule", "restore.sweep_schedule"] {
        let own: Vec<&&str> = times.iter().filter(|line| line.contains(&format!(" {schedule} "))).collect();
        assert_eq!(own.len(), 5, "{schedule}: {times:?}");
        assert!(own.iter().all(|line| line.ends_with("00:00Z")), "{own:?}");
        assert!(own.is_sorted(), "{own:?}");
    }
    assert_eq!(times.len(), 15, "no times of what is disabled: {times:?}");
}

#[tokio::test]
async fn what_was_set_aside_is_listed_retried_and_dropped() {
    let world = World::new("quarantine", "").await;
    let state = &world.app.state;
    assert_eq!(stdout(&world.run(&["quarantine", "list"]).await), "nothing is set aside\n");
    // Long enough for a table to wrap it, if it did.
    let file = format!("s3://logs/{}.json.gz#abc", "a/".repeat(120));
    state.quarantine(&set_aside(QuarantineKind::LogFile, &file)).await.unwrap();
    state.quarantine(&set_aside(QuarantineKind::User, "jane")).await.unwrap();

    let list = stdout(&world.run(&["quarantine", "list"]).await);
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.contains(&file) && list.contains("not gzip"), "{list}");
    let (code, json) = world.run_json(&["quarantine", "list", "--kind", "user"]).await;
    assert_eq!(code, 0);
    assert_eq!(json["quarantined"].as_array().unwrap().len(), 1, "{json}");
    assert_eq!((&json["quarantined"][0]["id"], &json["quarantined"][0]["kind"]), (&"jane".into(), &"user".into()));

    let output = world.run(&["quarantine", "retry", &file]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let asked: Vec<bool> = state.quarantined(None).await.unwrap().iter().map(|entry| entry.retry).collect();
    assert_eq!(asked, [true, false], "log-file, then user");
    for action in ["retry", "drop"] {
        let output = world.run(&["quarantine", action, "nobody"]).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("nothing called \"nobody\" is set aside"), "{}", stderr(&output));
    }
    assert_eq!(world.run(&["quarantine", "retry"]).await.status.code(), Some(0));
    assert!(state.quarantined(None).await.unwrap().iter().all(|entry| entry.retry));

    assert_eq!(world.run(&["quarantine", "drop", "jane"]).await.status.code(), Some(0));
    assert_eq!(state.quarantined(None).await.unwrap().len(), 1);
    assert_eq!(world.run(&["quarantine", "drop", "--all"]).await.status.code(), Some(0));
    assert_eq!(state.quarantined(None).await.unwrap(), []);
}

#[tokio::test]
async fn status_shows_jobs_leases_queues_and_what_was_set_aside() {
    let world = World::new("status", "").await;
    let state = &world.app.state;
    let (code, json) = world.run_json(&["status"]).await;
    assert_eq!(code, 0, "{json}");
    assert_eq!(json["jobs"].as_array().unwrap().len(), 4, "{json}");
    assert_eq!((&json["stream"], &json["restores_in_flight"]), (&serde_json::Value::Null, &0.into()), "{json}");
    assert_eq!(json["daemon"]["healthy"], false, "{json}");

    let now = clock::now_secs();
    let report = JobReport::new(Job::Sweep, Mode::Real, now, now, Ok(Body::Sweep(SweepReport::default())));
    let report = serde_json::to_value(report).unwrap();
    for hours_ago in [1, 30] {
        let then = now - chrono::TimeDelta::hours(hours_ago);
        state.record_run("sweep", then, then, RunOutcome::Ok, &report).await.unwrap();
    }
    let _baseline: Written = state.set_baseline("restore.sweep_schedule", now).await.unwrap();
    let _lease = state.take_lease("job#sweep").await.unwrap();
    state.quarantine(&set_aside(QuarantineKind::User, "jane")).await.unwrap();
    let url = world.sqs().get_queue_url().queue_name(&world.settings().restore.request_queue).send().await.unwrap();
    world.sqs().send_message().queue_url(url.queue_url.unwrap()).message_body("{}").send().await.unwrap();

    let (code, json) = world.run_json(&["status"]).await;
    assert_eq!(code, 0, "{json}");
    let sweep = json["jobs"].as_array().unwrap().iter().find(|job| job["job"] == "sweep").expect("the sweep");
    assert_eq!(sweep["last"]["started_at"], clock::rfc3339(now - chrono::TimeDelta::hours(1)), "{json}");
    assert_eq!(sweep["last"]["outcome"], "ok");
    assert!(sweep["next"].as_str().unwrap() > clock::rfc3339(now).as_str(), "{json}");
    assert_eq!(sweep["schedules"].as_array().unwrap().len(), 2, "{json}");
    assert_eq!(json["leases"][0]["name"], "job#sweep");
    assert_eq!((&json["leases"][0]["holder"], &json["leases"][0]["fence"]), (&state.holder().into(), &1.into()));
    assert_eq!(json["quarantine"], serde_json::json!({ "log-file": 0, "restore": 0, "user": 1 }));
    assert_eq!(json["queues"][1]["waiting"], 1, "{json}");
    assert_eq!(json["queues"][1]["dead_letters"], serde_json::Value::Null, "it has none");

    let text = stdout(&world.run(&["status"]).await);
    for what in ["sweep", "job#sweep", &world.settings().restore.request_queue, "1 user", "no daemon is running here"] {
        assert!(text.contains(what), "{what}: {text}");
    }
}

#[tokio::test]
async fn status_without_a_state_table_exits_69() {
    let world = World::new("nostatus", "").await;
    let mut command = world.tierd(&["status"]);
    let output = command.env("TIERD__STATE__TABLE", world.named("absent")).output().await.unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
}

#[tokio::test]
async fn a_job_without_a_state_table_exits_69_with_a_report_and_says_what_helps() {
    let world = World::new("jobnostate", "").await;
    world.dynamodb().delete_table().table_name(&world.settings().state.table).send().await.unwrap();
    for job in ["ingest", "reconcile", "transition", "sweep"] {
        let (code, report) = world.run_json(&["job", job]).await;
        let said = (code, report["job"].as_str(), report["outcome"].as_str());
        assert_eq!(said, (69, Some(job), Some("failed")), "{report:#}");
        assert!(report["problems"][0].as_str().unwrap().contains("ResourceNotFoundException"), "{report:#}");
    }
    let output = world.run(&["job", "ingest"]).await;
    assert!(stderr(&output).contains("`tierd init`"), "{}", stderr(&output));
    for restore in [&["restore", "s3://siuu1/k"][..], &["restore", "--status", "s3://siuu1/k"]] {
        let output = world.run(restore).await;
        assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    }
}
