//! The quiet after a history: nothing goes wrong any more, a fresh daemon has to bring all in order, and then the model is
//! compared with the world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tierd::tiering::object::ObjectId;

use super::checks;
use super::play::{EFFECTS, LEASE, Outcome, Play, depth};

/// How long the world may take to come to rest once nothing goes wrong any more.
const QUIET: Duration = Duration::from_secs(150);

impl Play {
    /// Brings all to rest and judges it.
    pub async fn end(mut self, steps: u64) -> Outcome {
        let mut wrong = self.settle().await;
        let words = self.words();
        wrong.extend(self.judge(&words).await);
        if !wrong.is_empty() {
            let kept = self.keep_logs();
            wrong.push(format!("what the processes said is kept in {kept}"));
        }
        Outcome {
            wrong,
            faults: self.network.tally(),
            kills: self.kills.load(Ordering::Relaxed),
            requests: self.network.requests(),
            steps_done: steps,
            done: self.done,
            said: words.effects,
            tag_races: self.network.witness().tag_races(),
        }
    }

    /// Everything that goes wrong stops; what was begun is killed once more; then a fresh daemon has to bring all in order,
    /// and to end well. Gives what it leaves undone.
    pub(super) async fn settle(&mut self) -> Vec<String> {
        while let Some(ended) = self.beside.join_next().await {
            if let Some((daemon, child)) = ended.expect("a task of the driver") {
                self.daemons[daemon] = Some(child);
            }
        }
        for mut daemon in self.daemons.iter_mut().filter_map(Option::take) {
            self.kills.fetch_add(1, Ordering::Relaxed);
            daemon.kill().await.expect("a signal");
        }
        self.network.set_faults_per_mille(0);
        self.deliver(0, 0).await;
        self.start(0);
        let wrong = self.come_to_rest().await;
        if wrong.is_empty() { self.stop_well().await } else { wrong }
    }

    /// What is not as the design promises, now that nothing moves any more.
    pub(super) async fn judge(&self, words: &Words) -> Vec<String> {
        let (app, witness) = (&self.world.app, self.network.witness());
        let mut wrong = words.panics.clone();
        wrong.extend(checks::users_have_one_bucket_each(app, &self.model).await);
        wrong.extend(checks::accesses_are_counted_once(app, &self.model).await);
        wrong.extend(checks::restores_ended(app, &self.model, witness, &words.restores).await);
        wrong.extend(checks::nothing_is_left_to_people(app, witness).await);
        // Last: it has S3 restore what lies in archives, to read it.
        wrong.extend(checks::objects_are_whole(app, &self.model, witness).await);
        wrong
    }

    /// Waits until nothing is left to do, running jobs as an operator would; gives what does not come to rest.
    async fn come_to_rest(&mut self) -> Vec<String> {
        let deadline = Instant::now() + QUIET;
        let mut busy = Vec::new();
        while Instant::now() < deadline {
            busy = self.unfinished().await;
            if busy.is_empty() {
                break;
            }
            if busy.iter().all(|what| what.starts_with("a restore")) {
                // Of some restores only the sweep knows.
                busy.extend(self.job_done("sweep").await);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        for job in ["sweep", "ingest"] {
            busy.extend(self.job_done(job).await);
        }
        busy
    }

    async fn unfinished(&self) -> Vec<String> {
        let mut busy = Vec::new();
        for user in self.model.users.values().filter(|user| !user.left) {
            if self.world.bucket_uri(&user.id).await.is_none() {
                busy.push(format!("user {:?} has no bucket", user.id));
            }
        }
        for queue in [&self.world.settings().restore.request_queue, &self.world.settings().restore.event_queue] {
            let depth = depth(&self.world, queue).await;
            if depth > 0 {
                busy.push(format!("{queue} holds {depth} messages"));
            }
        }
        let mut restores = self.world.app.state.restores();
        while let Some(page) = restores.next_page().await.expect("the index") {
            busy.extend(page.into_iter().map(|row| format!("a restore is in flight: {row:?}")));
        }
        busy
    }

    /// Runs a job until it has ended well, and gives what it says if it does not.
    async fn job_done(&self, job: &str) -> Option<String> {
        let deadline = Instant::now() + QUIET;
        loop {
            let mut command = self.world.tierd(&["job", job, "--json"]);
            let output = command.env("TIERD__STATE__LEASE", LEASE).output().await.expect("tierd runs");
            match output.status.code() {
                Some(0) => return None,
                // The daemon runs it by its schedule.
                Some(75) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(500)).await,
                // On a machine that is busy enough, three seconds without a renewal lose a lease.
                Some(1) if said_of(&output.stdout).contains("lease was lost") && Instant::now() < deadline => {}
                code => {
                    let (report, error) = (said_of(&output.stdout), said_of(&output.stderr));
                    return Some(format!("job {job} ends with {code:?} though nothing goes wrong: {report} {error}"));
                }
            }
        }
    }

    async fn stop_well(&mut self) -> Vec<String> {
        let Some(mut daemon) = self.daemons[0].take() else { return vec!["the last daemon is gone".to_owned()] };
        let pid = daemon.id().and_then(|id| id.try_into().ok()).map(Pid::from_raw);
        let Some(pid) = pid else { return vec![format!("the last daemon ended by itself: {:?}", daemon.wait().await)] };
        kill(pid, Signal::SIGTERM).expect("a signal");
        match tokio::time::timeout(Duration::from_secs(40), daemon.wait()).await {
            Ok(Ok(status)) if status.success() => Vec::new(),
            other => vec![format!("the last daemon did not drain and end well: {other:?}")],
        }
    }

    /// What all processes said of restores' ends, and of faults of their own.
    pub(super) fn words(&self) -> Words {
        const ENDS: [&str; 5] =
            ["restore.completed", "restore.not_needed", "restore.failed", "restore.refused", "restore.dropped"];
        let mut words = Words::default();
        for file in std::fs::read_dir(self.world.dir.path()).expect("the world's files").flatten() {
            let text = std::fs::read(file.path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            for line in text.unwrap_or_default().lines() {
                if line.contains("panicked") {
                    words.panics.push(format!("{}: {line}", file.file_name().display()));
                }
                let Ok(json) = serde_json::from_str::<Value>(line) else { continue };
                let text = |name: &str| json[name].as_str().unwrap_or_default();
                if let Some(effect) = EFFECTS.iter().find(|effect| **effect == text("event")) {
                    *words.effects.entry(effect).or_default() += 1;
                }
                if ENDS.contains(&text("event")) {
                    words.restores.extend(format!("s3://{}/{}", text("bucket"), text("key")).parse::<ObjectId>());
                }
            }
        }
        words
    }

    fn keep_logs(&self) -> String {
        let kept = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{}", self.world.name));
        std::fs::create_dir_all(&kept).expect("a directory");
        for file in std::fs::read_dir(self.world.dir.path()).expect("the world's files").flatten() {
            std::fs::copy(file.path(), kept.join(file.file_name())).expect("a copy");
        }
        kept.display().to_string()
    }
}

fn said_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[derive(Debug, Default)]
pub(super) struct Words {
    restores: BTreeSet<ObjectId>,
    effects: BTreeMap<&'static str, u64>,
    panics: Vec<String>,
}
