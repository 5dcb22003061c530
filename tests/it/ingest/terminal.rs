//! What a person at a terminal sees of a run.

use std::time::Duration;

use super::{INGEST, put_log, world_at};
use crate::logs::{self, Event, simple_key};
use crate::proxy::{Fault, Proxy};

#[tokio::test]
async fn log_lines_stand_whole_above_the_bar_and_the_bar_is_gone_at_the_end() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let (world, logs) = world_at(&proxy.endpoint, "terminal", "ingest.batch_files = 1").await;
    for n in 0..3_u64 {
        let good = Event::put(n, "2026-03-01T10:00:00Z", "siuu1", &format!("k{n}")).record();
        // The second record makes a line of the log.
        let content = format!("{{\"Records\":[{good},null]}}");
        put_log(&world, &logs, &simple_key("2026-03-01T10:05:00Z", &format!("f{n}")), logs::gzip(content.as_bytes()))
            .await;
    }
    // Long enough for the bar to be drawn before each of them.
    proxy.fault(|request| (request.operation() == "GET").then_some(Fault::Delay(Duration::from_millis(700))));
    let run = world.tierd(&INGEST);
    let run = run.as_std();
    let words: Vec<String> = std::iter::once(run.get_program())
        .chain(run.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    // A terminal that is wide enough for the bar to stay one line.
    let output = tokio::process::Command::new("script")
        .args(["--quiet", "--return", "--command", &format!("stty rows 50 cols 200; {}", words.join(" ")), "/dev/null"])
        .env_clear()
        .envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("TERM", "xterm")
        .output()
        .await
        .expect("script, of util-linux, runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let shown = screen(&text);
    assert!(text.contains("counting ["), "no bar was drawn: {text:?}");
    let is_whole = |line: &&String| {
        line.get(2..3) == Some(":") && line.contains(" WARN  record.rejected: ") && line.ends_with("no record but null")
    };
    assert_eq!(shown.iter().filter(is_whole).count(), 3, "{shown:#?}");
    assert!(!shown.iter().any(|line| line.contains("counting [")), "{shown:#?}");
}

/// The lines that a terminal shows in the end, of what is written with carriage returns, line feeds, and CSI sequences that
/// erase a line or move up; others do not come up.
fn screen(text: &str) -> Vec<String> {
    let (mut lines, mut row, mut column) = (vec![Vec::new()], 0, 0);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\r' => column = 0,
            '\n' => {
                row += 1;
                if row == lines.len() {
                    lines.push(Vec::new());
                }
            }
            '\u{1b}' => {
                rest.next_if_eq(&'[');
                let mut number = String::new();
                while let Some(digit) = rest.next_if(|c| !c.is_ascii_alphabetic()) {
                    number.push(digit);
                }
                match rest.next() {
                    Some('K') if number == "2" => lines[row].clear(),
                    Some('K') => lines[row].truncate(column),
                    Some('A') => row = row.saturating_sub(number.parse().unwrap_or(1)),
                    Some('m' | 'h' | 'l') => {}
                    other => panic!("an unknown sequence {number}{other:?} in {text:?}"),
                }
            }
            c => {
                let line: &mut Vec<char> = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
    }
    lines.into_iter().map(|line| line.into_iter().collect()).collect()
}
