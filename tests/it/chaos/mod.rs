//! Chaos: real daemons behind a bad network, killed at any moment, while users and operators go about their business; and
//! at the end a look at the world by a model that knows only what those did.
//!
//! A seed makes a [history](steps), which is [played](play) through [a network](faults) that has its own dice from the same
//! seed. The kills fall where the machine happens to be, so a seed brings back the history and the weather, not the moment.
//! A history that fails is played again with parts left out, as long as it goes on failing, and printed.
//!
//! `TIERD_CHAOS_SEEDS=N` plays more histories, `TIERD_CHAOS_SEED=S` one alone, `TIERD_CHAOS_STEPS=N` longer ones; `tests/chaos`
//! does so for any number.

mod checks;
mod endurance;
mod faults;
mod model;
mod planted;
mod play;
mod quiet;
mod steps;
mod witness;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Instant;

use futures::stream::{self, StreamExt};

use crate::harness::{self, Emulator};
use play::{Outcome, play};
use steps::{Step, steps};

const SEEDS: u64 = 20;
const STEPS: usize = 48;
/// Histories at once; most of their time is waiting.
const AT_ONCE: usize = 4;
/// How often a failed history is played again to make it shorter.
const SHRINKS: usize = 12;

/// Its own, so that neither waits for the other tests' requests.
static EMULATOR: LazyLock<Emulator> = LazyLock::new(harness::own_emulator);

fn number(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_the_invariants_hold() {
    let _turn = crate::harness::heavy_turn();
    let length = number("TIERD_CHAOS_STEPS").map_or(STEPS, |n| n as usize);
    let seeds: Vec<u64> = match number("TIERD_CHAOS_SEED") {
        Some(seed) => vec![seed],
        None => {
            let first = number("TIERD_CHAOS_FIRST_SEED").unwrap_or(1);
            (first..first + number("TIERD_CHAOS_SEEDS").unwrap_or(SEEDS)).collect()
        }
    };
    let began = Instant::now();
    let mut playing = stream::iter(seeds)
        .map(|seed| async move {
            let steps = steps(seed, length);
            let outcome = outcome(seed, &steps).await;
            (seed, steps, outcome)
        })
        .buffer_unordered(AT_ONCE);
    let mut all = Total::default();
    let mut failed = None;
    while let Some((seed, steps, outcome)) = playing.next().await {
        all.add(&outcome);
        if !outcome.wrong.is_empty() {
            println!("chaos seed {seed} fails:\n  {}", outcome.wrong.join("\n  "));
            failed.get_or_insert((seed, steps, outcome));
        }
    }
    drop(playing);
    println!("{all}; {:.0} s", began.elapsed().as_secs_f64());
    if all.histories >= SEEDS {
        let missing: Vec<&str> = play::EFFECTS.into_iter().filter(|effect| !all.said.contains_key(effect)).collect();
        assert!(missing.is_empty(), "in none of the histories came {missing:?}: they test nothing of that");
    }
    if let Some((seed, steps, outcome)) = failed {
        let tries = number("TIERD_CHAOS_SHRINKS").map_or(SHRINKS, |n| n as usize);
        let again = async |steps: &[Step]| self::outcome(seed, steps).await.wrong;
        let (steps, wrong) = shrink(steps, outcome.wrong, tries, again).await;
        let mut history = String::new();
        for step in &steps {
            writeln!(history, "  {step:?}").expect("text");
        }
        let wrong = wrong.join("\n  ");
        panic!(
            "chaos seed {seed}, the shortest history that was found, of {} steps:\n{history}is wrong in\n  {wrong}\n\
             TIERD_CHAOS_SEED={seed} plays it all again",
            steps.len()
        );
    }
}

/// Plays a history; a driver that panics is an outcome too.
async fn outcome(seed: u64, steps: &[Step]) -> Outcome {
    let steps = steps.to_vec();
    match tokio::spawn(async move { play(seed, &steps).await }).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let panic = error.into_panic();
            let what = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
            Outcome { wrong: vec![format!("the driver panicked: {}", what.unwrap_or("?"))], ..Outcome::default() }
        }
    }
}

/// Leaves parts out, half of it at first and less each time, as long as what is left is `wrong` too. Plays it `tries` times at
/// most.
async fn shrink(
    mut steps: Vec<Step>,
    mut wrong: Vec<String>,
    mut tries: usize,
    play: impl AsyncFn(&[Step]) -> Vec<String>,
) -> (Vec<Step>, Vec<String>) {
    let mut part = steps.len() / 2;
    while part > 0 && tries > 0 {
        let mut at = 0;
        while at < steps.len() && tries > 0 {
            tries -= 1;
            let mut rest = steps.clone();
            rest.drain(at..(at + part).min(steps.len()));
            let still = play(&rest).await;
            if still.is_empty() {
                at += part;
            } else {
                (steps, wrong) = (rest, still);
            }
        }
        part /= 2;
    }
    (steps, wrong)
}

#[tokio::test]
async fn a_failing_history_is_cut_down_to_what_makes_it_fail() {
    let culprits = [Step::Leave { user: 3 }, Step::Kill { daemon: 1, down_ms: 7 }];
    let mut long = steps(1, STEPS);
    long.retain(|step| !culprits.contains(step));
    long.insert(40, culprits[1]);
    long.insert(9, culprits[0]);
    let plays = std::cell::Cell::new(0);
    let play = async |steps: &[Step]| {
        plays.set(plays.get() + 1);
        let left = steps.iter().position(|step| *step == culprits[0]);
        let killed = steps.iter().position(|step| *step == culprits[1]);
        if left.zip(killed).is_some_and(|(left, killed)| left < killed) {
            vec![steps.len().to_string()]
        } else {
            vec![]
        }
    };

    let (short, wrong) = shrink(long.clone(), vec!["all of it".to_owned()], 1000, play).await;
    assert_eq!((&short[..], &wrong[..]), (&culprits[..], &["2".to_owned()][..]));

    plays.set(0);
    let (shorter, wrong) = shrink(long.clone(), vec![long.len().to_string()], SHRINKS, play).await;
    assert_eq!(plays.get(), SHRINKS);
    assert!(shorter.len() < long.len() / 2 && wrong == [shorter.len().to_string()], "{} steps left", shorter.len());
}

/// What all histories came to.
#[derive(Default)]
struct Total {
    histories: u64,
    failed: u64,
    steps: u64,
    requests: u64,
    kills: u64,
    faults: faults::Tally,
    done: BTreeMap<&'static str, u64>,
    said: BTreeMap<&'static str, u64>,
    tag_races: u64,
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        self.histories += 1;
        self.failed += u64::from(!outcome.wrong.is_empty());
        self.steps += outcome.steps_done;
        self.requests += outcome.requests;
        self.kills += outcome.kills;
        self.tag_races += outcome.tag_races;
        for (fault, times) in &outcome.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
        for (what, times) in &outcome.done {
            *self.done.entry(what).or_default() += times;
        }
        for (what, times) in &outcome.said {
            *self.said.entry(what).or_default() += times;
        }
    }
}

impl std::fmt::Display for Total {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let faults: u64 = self.faults.values().sum();
        write!(
            f,
            "chaos: {} histories, {} failed; {} steps {:?}; {} requests, {faults} faults {:?}, {} kills; effects {:?}, {} races for tags lost",
            self.histories,
            self.failed,
            self.steps,
            self.done,
            self.requests,
            self.faults,
            self.kills,
            self.said,
            self.tag_races
        )
    }
}
