//! Health is progress: each part says when it last got anywhere, and a part that has been silent for longer than it may
//! be, or that says what ails it, makes the daemon unhealthy. Being alive is not enough.
//!
//! The daemon writes its health to the heartbeat file; `tierd healthcheck` (and through it ECS and Docker) reads it from
//! there, so that a check needs no port and no credentials. systemd's watchdog is fed while no part hangs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::clock;

/// How often the heartbeat file is written.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// A heartbeat file older than this belongs to a daemon that is dead or stuck.
const STALE_AFTER: Duration = Duration::from_secs(30);

/// The health of all parts; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, PartHealth>>>);

/// The health of one part.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct PartHealth {
    pub last_progress: DateTime<Utc>,
    /// Silence longer than this is illness.
    pub max_silence_secs: u64,
    /// What ails the part, if it knows.
    pub ill: Option<String>,
}

/// What the heartbeat file holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heartbeat {
    pub pid: u32,
    pub at: DateTime<Utc>,
    pub parts: BTreeMap<String, PartHealth>,
    /// Tasks that are alive in the runtime: a number that only ever goes up is a leak.
    #[serde(default)]
    pub tasks: usize,
}

/// One part's way to say how it is; cheap to clone.
#[derive(Debug, Clone)]
pub struct Pulse {
    health: Health,
    part: String,
}

impl Health {
    /// Registers a part, healthy as of now.
    pub fn part(&self, name: impl Into<String>, max_silence: Duration) -> Pulse {
        let part = name.into();
        let fresh =
            PartHealth { last_progress: clock::now(), max_silence_secs: max_silence.as_secs().max(1), ill: None };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part.clone(), fresh);
        Pulse { health: self.clone(), part }
    }

    /// What is wrong, a line a part; empty when all is well.
    pub fn problems(&self, now: DateTime<Utc>) -> Vec<String> {
        problems(&self.0.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    /// The parts that hang: silent for longer than they may be. A part that says what ails it does not hang; to start the
    /// process anew would not mend it.
    pub fn hanging(&self, now: DateTime<Utc>) -> Vec<String> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter(|(_, part)| part.is_silent(now)).map(|(name, _)| name.clone()).collect()
    }

    /// Writes the heartbeat file, in one step, so that a reader never sees half of it.
    pub fn write(&self, file: &Path, now: DateTime<Utc>) -> Result<()> {
        let beat = Heartbeat {
            pid: std::process::id(),
            at: now,
            parts: self.0.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            tasks: tokio::runtime::Handle::try_current().map_or(0, |handle| handle.metrics().num_alive_tasks()),
        };
        if let Some(dir) = file.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        let draft = file.with_extension("new");
        std::fs::write(&draft, serde_json::to_vec(&beat)?).with_context(|| format!("writing {}", draft.display()))?;
        std::fs::rename(&draft, file).with_context(|| format!("writing {}", file.display()))
    }
}

/// Takes the heartbeat file of this process away, so that a daemon that has ended is not taken for one that runs. The file of
/// another daemon, which went on where this one stopped, stays.
pub fn retire(file: &Path) -> Result<()> {
    match Heartbeat::read(file) {
        Ok(beat) if beat.pid == std::process::id() => {
            std::fs::remove_file(file).with_context(|| format!("removing {}", file.display()))
        }
        _ => Ok(()),
    }
}

impl Heartbeat {
    /// Reads the file that a daemon writes.
    pub fn read(file: &Path) -> Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{} is no heartbeat", file.display()))
    }

    /// What is wrong with the daemon that wrote this; empty when all is well.
    pub fn problems(&self, now: DateTime<Utc>) -> Vec<String> {
        let age = (now - self.at).num_seconds();
        if age > STALE_AFTER.as_secs() as i64 {
            return vec![format!("the daemon (process {}) has not written its heartbeat for {age} s", self.pid)];
        }
        problems(&self.parts, now)
    }
}

fn problems(parts: &BTreeMap<String, PartHealth>, now: DateTime<Utc>) -> Vec<String> {
    parts
        .iter()
        .filter_map(|(name, part)| {
            let silence = (now - part.last_progress).num_seconds();
            match &part.ill {
                Some(reason) => Some(format!("{name}: {reason}")),
                None if part.is_silent(now) => Some(format!(
                    "{name}: no progress for {silence} s (at most {} s are normal)",
                    part.max_silence_secs
                )),
                None => None,
            }
        })
        .collect()
}

impl PartHealth {
    fn is_silent(&self, now: DateTime<Utc>) -> bool {
        (now - self.last_progress).num_seconds() > self.max_silence_secs as i64
    }
}

impl Pulse {
    /// The part got somewhere, and whatever ailed it is over.
    pub fn beat(&self) {
        self.set(|part| {
            part.last_progress = clock::now();
            part.ill = None;
        });
    }

    /// The part cannot work, and why. It will try again: this is a sign of life.
    pub fn ill(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.set(|part| {
            part.last_progress = clock::now();
            part.ill = Some(reason);
        });
    }

    fn set(&self, change: impl FnOnce(&mut PartHealth)) {
        if let Some(part) = self.health.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&self.part) {
            change(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn a_part_is_ill_when_it_says_so_or_is_silent_for_too_long() {
        let health = Health::default();
        let now = clock::now();
        let busy = health.part("busy", Duration::from_secs(60));
        health.part("quiet", Duration::from_secs(10));
        assert_eq!(health.problems(now), Vec::<String>::new());
        let problems = health.problems(now + TimeDelta::seconds(30));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("quiet: no progress"), "{problems:?}");
        busy.ill("access denied");
        assert_eq!(health.problems(now), ["busy: access denied"]);
        busy.beat();
        assert_eq!(health.problems(now), Vec::<String>::new());
    }

    #[test]
    fn a_heartbeat_file_reads_back_and_goes_stale() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run/heartbeat");
        let health = Health::default();
        health.part("provision", Duration::from_secs(60));
        let now = clock::now();
        health.write(&file, now).unwrap();
        let beat = Heartbeat::read(&file).unwrap();
        assert_eq!(beat.problems(now), Vec::<String>::new());
        assert_eq!(beat.problems(now + TimeDelta::seconds(31)).len(), 1);
    }

    #[test]
    fn only_the_daemon_that_wrote_the_heartbeat_takes_it_away() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("heartbeat");
        retire(&file).unwrap();
        Health::default().write(&file, clock::now()).unwrap();
        let own = std::fs::read(&file).unwrap();
        let mut beat: Heartbeat = serde_json::from_slice(&own).unwrap();
        beat.pid += 1;
        std::fs::write(&file, serde_json::to_vec(&beat).unwrap()).unwrap();
        retire(&file).unwrap();
        assert!(file.exists(), "another daemon's");
        std::fs::write(&file, own).unwrap();
        retire(&file).unwrap();
        assert!(!file.exists());
    }
}
