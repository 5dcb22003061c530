//! The daemon as a process: how it starts, how it stops.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::Instant;

use crate::world::{World, eventually};

const START: Duration = Duration::from_secs(30);

/// A daemon that is ready.
struct Daemon {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Daemon {
    async fn start(world: &World) -> Self {
        let mut child = world.tierd(&["run"]).spawn().expect("tierd starts");
        let stdout = child.stdout.take().expect("a pipe");
        let mut daemon = Self { child, lines: BufReader::new(stdout).lines() };
        daemon.until("daemon.ready").await;
        daemon
    }

    /// Reads on to the line of an event. Every line must be one JSON object.
    async fn until(&mut self, event: &str) -> serde_json::Value {
        let search = async {
            while let Some(line) = self.lines.next_line().await.expect("lines of text") {
                let json: serde_json::Value =
                    serde_json::from_str(&line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}"));
                if json["event"] == event {
                    return json;
                }
            }
            panic!("the daemon ended without {event}");
        };
        tokio::time::timeout(START, search).await.unwrap_or_else(|_| panic!("no {event} within {START:?}"))
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it runs");
        kill(Pid::from_raw(pid.try_into().expect("a process id")), signal).expect("a signal");
    }

    async fn code(&mut self, limit: Duration) -> Option<i32> {
        tokio::time::timeout(limit, self.child.wait()).await.expect("it ends in time").expect("it ends").code()
    }
}

#[tokio::test]
async fn healthcheck_fails_where_no_daemon_runs() {
    let world = World::new("nodaemon", "").await;
    let output = world.run(&["healthcheck"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("no daemon is running here"));
}

#[tokio::test]
async fn the_daemon_is_healthy_once_it_is_ready_and_drains_at_sigterm() {
    let world = World::new("daemon", "shutdown.grace = \"10s\"\n").await;
    let mut daemon = Daemon::start(&world).await;
    eventually(START, "a good heartbeat", async || world.run(&["healthcheck"]).await.status.success().then_some(()))
        .await;
    let (_, status) = world.run_json(&["status"]).await;
    assert_eq!((&status["daemon"]["healthy"], &status["daemon"]["pid"]), (&true.into(), &daemon.child.id().into()));
    let asked = Instant::now();
    daemon.signal(Signal::SIGTERM);
    daemon.until("daemon.stopped").await;
    assert_eq!(daemon.code(Duration::from_secs(10)).await, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn sigint_drains_too() {
    let world = World::new("sigint", "").await;
    let mut daemon = Daemon::start(&world).await;
    daemon.signal(Signal::SIGINT);
    assert_eq!(daemon.code(Duration::from_secs(20)).await, Some(0));
}

#[tokio::test]
async fn a_signal_ends_a_start_that_waits_for_an_aws_that_does_not_answer() {
    let world = World::new("deafaws", "").await;
    // Takes connections and says nothing.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", deaf.local_addr().unwrap());
    let mut command = world.tierd(&["run"]);
    let mut child = command.env("TIERD__AWS__ENDPOINT_URL", endpoint).spawn().unwrap();
    let mut connection = tokio::time::timeout(START, deaf.accept()).await.expect("a call to AWS").unwrap();
    kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), child.wait()).await.expect("it ends in time").unwrap();
    assert_eq!(ended.code(), Some(0));
    tokio::io::AsyncWriteExt::shutdown(&mut connection.0).await.ok();
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let world = World::new("twosignals", "").await;
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut command = world.tierd(&["job", "sweep"]);
    let endpoint = format!("http://{}", deaf.local_addr().unwrap());
    let mut child = command.env("TIERD__AWS__ENDPOINT_URL", endpoint).spawn().unwrap();
    let _connection = tokio::time::timeout(START, deaf.accept()).await.expect("a call to AWS").unwrap();
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    // What has begun goes on: it waits for an answer that does not come.
    assert!(tokio::time::timeout(Duration::from_secs(1), child.wait()).await.is_err(), "one signal is not enough");
    kill(pid, Signal::SIGTERM).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), child.wait()).await.expect("it ends in time").unwrap();
    assert_eq!(ended.code(), Some(1));
}

#[tokio::test]
async fn a_daemon_whose_part_is_ill_says_so_to_the_probe() {
    // A schedule that is looked up every minute, if nothing else asks for the state before.
    let world = World::new("illdaemon", "provision.sweep_schedule = \"rate(1 minute)\"\n").await;
    let mut daemon = Daemon::start(&world).await;
    world.dynamodb().delete_table().table_name(&world.settings().state.table).send().await.unwrap();
    eventually(START + Duration::from_secs(60), "the probe fails", async || {
        let output = world.run(&["healthcheck"]).await;
        (output.status.code() == Some(1)).then_some(())
    })
    .await;
    daemon.signal(Signal::SIGTERM);
    daemon.code(Duration::from_secs(30)).await;
}
