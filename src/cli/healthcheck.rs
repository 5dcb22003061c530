//! `tierd healthcheck`.

use super::Exit;
use crate::clock;
use crate::config::Settings;
use crate::health::Heartbeat;

pub fn run(settings: &Settings) -> Exit {
    let problems = match Heartbeat::read(&settings.telemetry.heartbeat_file) {
        Ok(beat) => beat.problems(clock::now()),
        Err(error) => vec![format!("no daemon is running here: {error:#}")],
    };
    for problem in &problems {
        println!("{problem}");
    }
    if problems.is_empty() {
        println!("ok");
        Exit::Done
    } else {
        Exit::Failures
    }
}
