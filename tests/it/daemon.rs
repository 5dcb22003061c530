//! The daemon as a process: how it starts, how it stops.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::UnixDatagram;
use tokio::process::{Child, ChildStdout, Command};
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
        Self::start_as(world.tierd(&["run"])).await
    }

    async fn start_as(mut command: Command) -> Self {
        let mut child = command.spawn().expect("tierd starts");
        let stdout = child.stdout.take().expect("a pipe");
        let mut daemon = Self { child, lines: BufReader::new(stdout).lines() };
        daemon.until("daemon.ready").await;
        daemon
    }

    /// Reads on to the line of an event. Every line must be one JSON object.
    async fn until(&mut self, event: &str) -> Value {
        self.until_one(event, |json| json["event"] == event).await
    }

    /// Reads on to a line that is as it must be.
    async fn until_one(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            while let Some(line) = self.lines.next_line().await.expect("lines of text") {
                let json: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}"));
                if is_it(&json) {
                    return json;
                }
            }
            panic!("the daemon ended without {what}");
        };
        tokio::time::timeout(START, search).await.unwrap_or_else(|_| panic!("no {what} within {START:?}"))
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
    assert_eq!(world.run(&["healthcheck"]).await.status.code(), Some(1), "no daemon runs any more");
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

/// What a service manager is told, in the order in which it is.
struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Manager {
    fn of(world: &World) -> Self {
        let path = world.dir.path().join("notify");
        Self { socket: UnixDatagram::bind(&path).expect("a socket"), path }
    }

    /// Waits for the next message but for those to the watchdog.
    async fn hears(&self) -> String {
        let mut bytes = [0; 4096];
        loop {
            let received = tokio::time::timeout(START, self.socket.recv(&mut bytes)).await.expect("a message in time");
            let text = String::from_utf8_lossy(&bytes[..received.expect("a message")]).into_owned();
            if text.trim() != "WATCHDOG=1" {
                return text;
            }
        }
    }

    async fn daemon(&self, world: &World) -> Daemon {
        let mut command = world.tierd(&["run"]);
        command.env("NOTIFY_SOCKET", &self.path);
        let daemon = Daemon::start_as(command).await;
        assert_eq!(self.hears().await.trim(), "READY=1");
        daemon
    }

    async fn hears_of_a_reload(&self) {
        let begun = self.hears().await;
        let mut lines = begun.lines();
        assert_eq!(lines.next(), Some("RELOADING=1"), "{begun}");
        let since_boot = lines.next().and_then(|line| line.strip_prefix("MONOTONIC_USEC=")).expect(&begun);
        assert!(since_boot.parse::<u64>().is_ok_and(|usec| usec > 0), "{begun}");
        assert_eq!(self.hears().await.trim(), "READY=1");
    }
}

#[tokio::test]
async fn sighup_swaps_the_whole_configuration_within_the_process() {
    let mut world = World::new("sighup", "").await;
    let manager = Manager::of(&world);
    let mut daemon = manager.daemon(&world).await;
    let pid = daemon.child.id();
    world.put_user("before").await;
    daemon.until("user.provisioned").await;

    let (queue, beat) = (world.named("other-requests"), world.dir.path().join("other-heartbeat"));
    world.sqs().create_queue().queue_name(&queue).send().await.unwrap();
    world.put_user("between").await;
    daemon.until("user.provisioned").await;
    let others = "telemetry.metrics_namespace = \"other\"\ntelemetry.level = \"debug\"\n\
                  provision.bucket_name = \"new{user_id}-{timestamp}\"\nshutdown.grace = \"9s\"\n";
    world.reconfigure(others).await;
    let text = std::fs::read_to_string(world.config_file()).unwrap();
    let requests = &world.settings().restore.request_queue;
    let old_beat = world.settings().telemetry.heartbeat_file.display().to_string();
    let text = text.replace(requests.as_str(), &queue).replace(&old_beat, beat.to_str().unwrap());
    std::fs::write(world.config_file(), text).unwrap();
    daemon.signal(Signal::SIGHUP);

    let accepted = daemon.until("config.accepted").await;
    assert_eq!(
        accepted["changed"],
        "provision.bucket_name, restore.request_queue, shutdown.grace, telemetry.heartbeat_file, telemetry.level, \
         telemetry.metrics_namespace"
    );
    daemon.until("config.reloaded").await;
    manager.hears_of_a_reload().await;
    assert_eq!(daemon.child.id(), pid, "it is the same process");

    // The stream is read on under the new name for buckets, by a daemon that has the lease again.
    world.put_user("after").await;
    daemon
        .until_one("a metric in the new namespace", |json| {
            json["UsersProvisioned"] == 1 && json["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "other"
        })
        .await;
    assert!(world.bucket_uri("after").await.expect("a bucket").starts_with("s3://newafter-"));
    let url = world.sqs().get_queue_url().queue_name(&queue).send().await.unwrap().queue_url.unwrap();
    world.sqs().send_message().queue_url(url).message_body("no request").send().await.unwrap();
    let rejected = daemon.until("message.rejected").await;
    assert_eq!(rejected["queue"], queue.as_str());
    // `healthcheck` reads the same file, so it looks where the heartbeat is now.
    eventually(START, "a good heartbeat", async || world.run(&["healthcheck"]).await.status.success().then_some(()))
        .await;
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.code(Duration::from_secs(20)).await, Some(0));
}

#[tokio::test]
async fn sighup_with_a_configuration_that_cannot_be_run_changes_nothing_and_says_all_that_is_wrong() {
    let world = World::new("badsighup", "").await;
    let manager = Manager::of(&world);
    let mut daemon = manager.daemon(&world).await;
    let good = std::fs::read_to_string(world.config_file()).unwrap();
    let missing = world.named("nobody-made-this");
    let without_queue = good.replace(&world.settings().restore.event_queue, &missing);
    let broken = format!("{good}\ntransition.policy = \"wishful\"\nnonsense = 1\n");
    for (text, problems) in [
        (Some(broken.as_str()), &["transition.policy", "nonsense"][..]),
        (Some("this is no TOML"), &["syntax"]),
        (Some(&without_queue), &[missing.as_str()]),
        (None, &["there is no such configuration file"]),
    ] {
        match text {
            Some(text) => std::fs::write(world.config_file(), text).unwrap(),
            None => std::fs::remove_file(world.config_file()).unwrap(),
        }
        daemon.signal(Signal::SIGHUP);
        for what in problems {
            let line = daemon.until("config.rejected").await;
            assert_eq!(line["level"], "ERROR");
            assert!(line["problem"].as_str().unwrap().contains(what), "{what}: {line}");
        }
        manager.hears_of_a_reload().await;
    }
    std::fs::write(world.config_file(), &good).unwrap();
    world.put_user("still").await;
    daemon.until("user.provisioned").await;
    daemon.signal(Signal::SIGTERM);
    assert_eq!(manager.hears().await.trim(), "STOPPING=1");
    assert_eq!(daemon.code(Duration::from_secs(20)).await, Some(0));
}
