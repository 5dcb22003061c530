//! SIGHUP: the configuration is read again. All of it is checked before anything of it counts: the file and the
//! environment as at the start, and that its tables and queues are there. If all is well the running parts drain and new
//! ones begin, in the same process; if not, each problem is a line, and what runs goes on as it was.
//!
//! Rejected: changing single values in running parts. Each part would have to know which of its settings may change under
//! it; a drain is what a rolling deployment does, and is tested by every one of them.
//!
//! systemd is told as its protocol for reloads has it (sd_notify(3), `RELOADING=1`): that it began, and that it is over.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{App, daemon};
use crate::config::{self, ConfigError, LogFormat, Settings};
use crate::resources::Resources;
use crate::telemetry;

/// Where the next configuration comes from, and what asks for it.
#[derive(Debug)]
pub struct Reloads {
    /// As the command line names it.
    file: Option<PathBuf>,
    hangup: Signal,
}

impl Reloads {
    /// From now on SIGHUP no longer ends the process.
    pub fn listen(file: Option<PathBuf>) -> Result<Self> {
        Ok(Self { file, hangup: signal(SignalKind::hangup()).context("listening for SIGHUP")? })
    }

    /// Waits until somebody asks for another configuration and that is fit to be run. To be dropped at any time: it only
    /// looks.
    pub(super) async fn next(&mut self, running: &Settings) -> App {
        loop {
            if self.hangup.recv().await.is_none() {
                // The runtime is going down, and the daemon with it.
                std::future::pending::<()>().await;
            }
            daemon::notify_reloading();
            tracing::info!(event = "config.reloading", "the configuration is read again");
            match self.read(running).await {
                Ok(app) => return app,
                Err(problems) => {
                    for problem in problems {
                        tracing::error!(
                            event = "config.rejected",
                            problem,
                            "the new configuration cannot be run; the daemon goes on with the old one"
                        );
                    }
                    daemon::notify_ready();
                }
            }
        }
    }

    /// The program as the configuration has it now, or all that speaks against it.
    async fn read(&self, running: &Settings) -> Result<App, Vec<String>> {
        let loaded = config::load(self.file.as_deref(), std::env::vars()).map_err(|error| match error {
            ConfigError::Invalid(problems) => problems.iter().map(ToString::to_string).collect(),
            other => vec![format!("{:#}", anyhow::Error::new(other))],
        })?;
        let settings = loaded.settings;
        let changed = changed_keys(running, &settings);
        let app = App::connect(settings).await.map_err(|error| vec![format!("{error:#}")])?;
        let resources = Resources::new(app.clients.clone());
        resources
            .require(&app.settings)
            .await
            .map_err(|missing| missing.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let telemetry = &app.settings.telemetry;
        telemetry::change(log_format(telemetry.log_format), &telemetry.level)
            .map_err(|error| vec![format!("{error:#}")])?;
        tracing::info!(
            event = "config.accepted",
            changed = changed.join(", "),
            "the new configuration is in order; what has begun is finished under the old one"
        );
        Ok(app)
    }
}

/// How lines look, as the configuration says it.
pub fn log_format(format: LogFormat) -> telemetry::Format {
    match format {
        LogFormat::Json => telemetry::Format::Json,
        LogFormat::Pretty => telemetry::Format::Pretty,
    }
}

/// The keys whose values differ, with two levels at most: `ingest.schedule`.
fn changed_keys(old: &Settings, new: &Settings) -> Vec<String> {
    let plain = |settings: &Settings| serde_json::to_value(settings).expect("settings are plain data with text keys");
    let (old, new) = (plain(old), plain(new));
    let names = |old: &serde_json::Value, new: &serde_json::Value| {
        let both = [old, new].into_iter().filter_map(serde_json::Value::as_object);
        both.flat_map(|table| table.keys().cloned()).collect::<std::collections::BTreeSet<_>>()
    };
    let mut changed = Vec::new();
    for table in names(&old, &new) {
        let keys = names(&old[&table], &new[&table]);
        if keys.is_empty() && old[&table] != new[&table] {
            changed.push(table.clone());
        }
        let differs = |key: &&String| old[&table].get(key.as_str()) != new[&table].get(key.as_str());
        changed.extend(keys.iter().filter(differs).map(|key| format!("{table}.{key}")));
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_named_by_its_key() {
        let settings = |text: &str| Settings::from_toml(text).unwrap_or_else(|e| panic!("{e}"));
        let old = settings("ingest.enabled = false\n");
        assert_eq!(changed_keys(&old, &old), Vec::<String>::new());
        let rule = "[[replicate]]\nqueue = \"q\"\nsource_bucket = \"source\"\ndestination_bucket = \"destination\"\n";
        let new = settings(&format!("ingest.enabled = false\nrestore.days = 3\nusers.table = \"people\"\n{rule}"));
        assert_eq!(changed_keys(&old, &new), ["replicate", "restore.days", "users.table"]);
    }
}
