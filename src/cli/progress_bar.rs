//! Shows a [`Progress`] on a terminal's stderr; shows nothing where there is none.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar as Bar, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::progress::{Progress, Reading};
use crate::telemetry;

const REDRAW: Duration = Duration::from_millis(200);

/// A bar that follows a progress until it is finished or dropped.
#[derive(Debug)]
pub struct ProgressBar {
    bar: Bar,
    follow: Option<JoinHandle<()>>,
}

impl ProgressBar {
    pub fn show(progress: Progress) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { bar: Bar::hidden(), follow: None };
        }
        let bar = Bar::new(0);
        let known = ProgressStyle::with_template("{prefix:>14} [{bar:30}] {pos}/{len} {elapsed} {msg}")
            .expect("the template is a constant");
        let unknown = ProgressStyle::with_template("{prefix:>14} {spinner} {pos} {elapsed} {msg}")
            .expect("the template is a constant");
        bar.set_style(unknown.clone());
        let drawn = bar.clone();
        let follow = tokio::spawn(async move {
            let mut phase = String::new();
            let (mut pieces, mut piece_began) = (0, Instant::now());
            loop {
                let now = progress.read();
                if now.pieces != pieces {
                    (pieces, piece_began) = (now.pieces, Instant::now());
                }
                drawn.set_style(if now.total > 0 { known.clone() } else { unknown.clone() });
                drawn.update(|state| {
                    state.set_len(now.total);
                    state.set_pos(now.done);
                });
                if now.phase != phase {
                    phase.clone_from(&now.phase);
                    drawn.set_prefix(phase.clone());
                    // After the position, so that what an interrupted phase had done before is not taken for its pace.
                    drawn.reset_eta();
                }
                // Before anything is done nobody knows how long it takes.
                let left =
                    (now.total > 0 && drawn.per_sec() > 0.0).then(|| now.time_left(drawn.eta(), piece_began.elapsed()));
                drawn.set_message(message(&now, left));
                tokio::time::sleep(REDRAW).await;
            }
        });
        // Log lines go to the same terminal: the bar makes way for each and stays below them all.
        let for_lines = bar.clone();
        telemetry::stand_aside(Some(Box::new(move |write| for_lines.suspend(write))));
        Self { bar, follow: Some(follow) }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        drop(self);
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        let Some(follow) = self.follow.take() else { return };
        follow.abort();
        self.bar.finish_and_clear();
        telemetry::stand_aside(None);
    }
}

/// What stands behind the bar: how much went through, and how long the rest takes.
fn message(now: &Reading, left: Option<Duration>) -> String {
    let bytes = (now.bytes > 0).then(|| HumanBytes(now.bytes).to_string());
    let records = (now.records > 0).then(|| format!("{} records", HumanCount(now.records)));
    let left = left.map(|left| format!("{:#} left", HumanDuration(left)));
    bytes.into_iter().chain(records).chain(left).collect::<Vec<_>>().join(", ")
}
