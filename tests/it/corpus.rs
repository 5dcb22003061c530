//! The fuzz targets without the fuzzer: every input of the kept corpus (`fuzz/seeds`), and then for a moment what a seeded
//! mutator makes of them. It finds less than a fuzzer that watches the coverage, but runs with the tests, on any toolchain.
//!
//! `TIERD_FUZZ_MS=60000` gives each target a minute; `TIERD_FUZZ_SEED=N` has another sequence of mutations.

#![allow(unused_attributes, reason = "the targets say that they have no main function")]
#![allow(clippy::duplicate_mod, reason = "each target brings its rules along")]

use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

/// The targets, as the fuzzer builds them.
#[path = "../../fuzz/fuzz_targets"]
mod targets {
    #![allow(clippy::let_underscore_must_use, reason = "a target looks only for panics")]
    pub mod alb;
    pub mod cloudtrail;
    pub mod config;
    pub mod gzip;
    pub mod messages;
    pub mod names;
    pub mod plan;
    pub mod restore_header;
    pub mod s3_access_log;
    pub mod schedule;
}

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 10] = [
    ("alb", targets::alb::run),
    ("cloudtrail", targets::cloudtrail::run),
    ("config", targets::config::run),
    ("gzip", targets::gzip::run),
    ("messages", targets::messages::run),
    ("names", targets::names::run),
    ("plan", targets::plan::run),
    ("restore_header", targets::restore_header::run),
    ("s3_access_log", targets::s3_access_log::run),
    ("schedule", targets::schedule::run),
];

/// For each target.
const TIME_MS: u64 = 800;
const LONGEST: usize = 20_000;

#[test]
fn every_fuzz_target_is_played() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("the targets")
        .map(|file| file.expect("a file").path())
        .filter(|path| path.is_file())
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, TARGETS.map(|(name, _)| name));
}

#[test]
fn no_input_of_the_corpus_and_nothing_like_it_breaks_a_parser() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let time = Duration::from_millis(number("TIERD_FUZZ_MS").unwrap_or(TIME_MS));
    let seed = number("TIERD_FUZZ_SEED").unwrap_or(1);
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        for input in &corpus {
            play(name, target, input);
        }
        let mut mutator = Mutator(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (until, mut played) = (Instant::now() + time, 0_u64);
        while Instant::now() < until {
            play(name, target, &mutator.like(&corpus));
            played += 1;
        }
        println!("{name}: {} kept inputs and {played} like them", corpus.len());
        assert!(played > 0);
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let files = std::fs::read_dir(folder).expect("a kept corpus");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    // Folders have no order, and the same seed is to make the same inputs.
    files.sort();
    assert!(!files.is_empty(), "{name} has no corpus");
    files.iter().map(|file| std::fs::read(file).expect("an input")).collect()
}

/// Plays one input; one that panics is kept, to go into the corpus with the mend.
fn play(name: &str, target: Target, input: &[u8]) {
    if catch_unwind(|| target(input)).is_err() {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
        std::fs::write(&kept, input).expect("a file");
        panic!("{name} fails on {:?}, kept as {}", String::from_utf8_lossy(input), kept.display());
    }
}

/// Makes inputs that are nearly like those of a corpus (xorshift64).
struct Mutator(u64);

impl Mutator {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % end.max(1) as u64) as usize
    }

    fn like(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            self.mutate(&mut input, corpus);
        }
        input.truncate(LONGEST);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        const TOKENS: [&str; 24] = [
            "",
            "0",
            "-1",
            "18446744073709551616",
            "1e999",
            "\"",
            "\\",
            "\\u0000",
            "\\ud800",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\n",
            "%",
            "%zz",
            "+",
            "null",
            "\u{feff}",
            "\u{10000}",
            "é",
            "*/",
        ];
        let (from, to) = self.range(input.len());
        match self.below(8) {
            0 if !input.is_empty() => {
                let at = self.below(input.len());
                input[at] ^= 1 << self.below(8);
            }
            1 if !input.is_empty() => {
                let at = self.below(input.len());
                input[at] = self.below(256) as u8;
            }
            2 => drop(input.drain(from..to)),
            3 => {
                let part = input[from..to].to_vec();
                let at = self.below(input.len() + 1);
                input.splice(at..at, part);
            }
            4 => {
                let other = &corpus[self.below(corpus.len())];
                let (first, last) = self.range(other.len());
                input.splice(from..to, other[first..last].iter().copied());
            }
            5 => input.truncate(from),
            _ => {
                let token = TOKENS[self.below(TOKENS.len())];
                let end = if self.below(2) == 0 { from } else { to };
                input.splice(from..end, token.bytes());
            }
        }
    }

    /// Some part of so many bytes, mostly a short one.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let from = self.below(length + 1);
        let longest = if self.below(4) == 0 { length } else { 12 };
        (from, (from + self.below(longest + 1)).min(length))
    }
}
