//! Shows a [`Progress`] on a terminal's stderr; shows nothing where there is none.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar as Bar, ProgressStyle};
use tokio::task::JoinHandle;

use crate::progress::Progress;

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
        let known = ProgressStyle::with_template("{prefix:>12} [{bar:30}] {pos}/{len} {msg} {elapsed}, {eta} left")
            .expect("the template is a constant");
        let unknown = ProgressStyle::with_template("{prefix:>12} {spinner} {pos} {msg} {elapsed}")
            .expect("the template is a constant");
        bar.set_style(unknown.clone());
        let drawn = bar.clone();
        let follow = tokio::spawn(async move {
            let mut phase = String::new();
            loop {
                let now = progress.read();
                drawn.set_style(if now.total > 0 { known.clone() } else { unknown.clone() });
                drawn.set_length(now.total);
                drawn.set_position(now.done);
                if now.phase != phase {
                    phase.clone_from(&now.phase);
                    drawn.set_prefix(phase.clone());
                    // After the position, so that what an interrupted phase had done before is not taken for its pace.
                    drawn.tick();
                    drawn.reset_eta();
                }
                let mut message = String::new();
                if now.bytes > 0 {
                    message = format!("{}", HumanBytes(now.bytes));
                }
                if now.records > 0 {
                    message = format!("{message} {} records", HumanCount(now.records));
                }
                drawn.set_message(message);
                tokio::time::sleep(REDRAW).await;
            }
        });
        Self { bar, follow: Some(follow) }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        drop(self);
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        if let Some(follow) = self.follow.take() {
            follow.abort();
        }
        self.bar.finish_and_clear();
    }
}
