//! How near inflating, parsing and counting come to the speed of inflating alone.
//!
//! A corpus of CloudTrail files ([`corpus`]) is gone through in turns: inflating alone by libdeflate, then the whole of
//! inflating, parsing and counting, on one core and on all. Taking turns within one run is what makes the ratio mean
//! something on a machine that others use too. What is printed are medians of the rounds.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::corpus;
use crate::number;
use tierd::tiering::access::{CountRule, CountingRules, Fold, PrincipalPattern};
use tierd::tiering::access_log::gzip::Inflater;
use tierd::tiering::access_log::{Format, Parser};

const MAX_FILE_BYTES: usize = 1 << 30;

/// Prints the speeds and their ratio.
pub fn run() {
    let bytes = number("BENCH_MIB", 640) << 20;
    let rounds = number("BENCH_ROUNDS", 9);
    let files = corpus::make(bytes);
    let total = Total::of(&files);
    println!(
        "corpus: {} files, {:.0} MB inflated, {:.0} MB compressed ({:.1} to 1), {} records of {} bytes, {:.1} % count",
        files.len(),
        total.bytes as f64 / 1e6,
        total.compressed as f64 / 1e6,
        total.bytes as f64 / total.compressed as f64,
        total.records,
        total.bytes / total.records,
        100.0 * total.counted as f64 / total.records as f64,
    );
    let parser = Parser::new(Format::CloudTrail, rules());
    verify(&files, &parser, &total);

    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut threads = vec![1];
    if cores > 1 {
        threads.push(cores);
    }
    for threads in threads {
        let mut inflate_alone = Vec::new();
        let mut inflate = Vec::new();
        let mut parse = Vec::new();
        let mut whole = Vec::new();
        for round in 0..=rounds {
            let alone = on(threads, &files, inflate_alone_worker);
            let ours = on(threads, &files, inflate_worker);
            let parsed = on(threads, &files, |next| parse_worker(next, &parser));
            let fold = Mutex::new(Fold::new(&rules().rules));
            let all = on(threads, &files, |next| whole_worker(next, &parser, &fold));
            // The first round is for caches and page tables.
            if round > 0 {
                inflate_alone.push(alone);
                inflate.push(ours);
                parse.push(parsed);
                whole.push(all);
            }
        }
        let speed = |costs: &[Cost]| total.bytes as f64 / 1e6 / median(costs).as_secs_f64();
        let per_core = threads as f64;
        let (alone, whole_speed) = (speed(&inflate_alone), speed(&whole));
        println!("on {threads} core(s), MB of content a second (a core):");
        println!("  libdeflate alone            {:>7.0} ({:.0})", alone, alone / per_core);
        let ours = speed(&inflate);
        println!("  inflate                     {ours:>7.0} ({:.0})", ours / per_core);
        let parsed = speed(&parse);
        println!("  inflate + parse             {parsed:>7.0} ({:.0})", parsed / per_core);
        println!("  inflate + parse + count     {:>7.0} ({:.0})", whole_speed, whole_speed / per_core);
        let records = total.records as f64 / median(&whole).as_secs_f64();
        println!("  records a second            {:>7.0} thousand", records / 1e3);
        println!("  whole to alone, by the clock{}", ratio(&whole, &inflate_alone, |cost| cost.wall));
        println!("  whole to alone, processor   {}", ratio(&whole, &inflate_alone, |cost| cost.cpu));
    }
}

/// The rules of the default configuration.
fn rules() -> CountingRules {
    CountingRules {
        rules: vec![
            CountRule { event: "PutObject".into(), with_parameter: None },
            CountRule { event: "GetObject".into(), with_parameter: Some("response-content-disposition".into()) },
        ],
        exclude: vec![PrincipalPattern::own_identity(
            "arn:aws:sts::123456789012:assumed-role/tierd/i-0abcdef0123456789",
        )],
        bucket_prefix: "siuu".into(),
    }
}

#[derive(Default)]
struct Total {
    bytes: usize,
    compressed: usize,
    records: usize,
    counted: usize,
}

impl Total {
    fn of(files: &[corpus::File]) -> Self {
        files.iter().fold(Self::default(), |total, file| Self {
            bytes: total.bytes + file.bytes,
            compressed: total.compressed + file.gzip.len(),
            records: total.records + file.records,
            counted: total.counted + file.counted,
        })
    }
}

/// A bench of a parser that reads something else is worth nothing.
fn verify(files: &[corpus::File], parser: &Parser, total: &Total) {
    let mut inflater = Inflater::new();
    let (mut records, mut counted) = (0, 0);
    for file in files {
        let parsed = parser.parse(inflater.inflate(&file.gzip, MAX_FILE_BYTES).expect("it was made so"));
        assert_eq!(parsed.errors, []);
        records += parsed.records as usize;
        counted += parsed.accesses.len();
    }
    assert_eq!((records, counted), (total.records, total.counted));
}

/// Hands the files out, one after another.
struct Queue<'a> {
    files: &'a [corpus::File],
    next: &'a AtomicUsize,
}

impl<'a> Iterator for Queue<'a> {
    type Item = &'a corpus::File;

    fn next(&mut self) -> Option<&'a corpus::File> {
        self.files.get(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// How long `threads` workers take for all files, and how much of it they spent on a processor: what others take from the
/// machine is in the first, not in the second.
fn on(threads: usize, files: &[corpus::File], worker: impl Fn(Queue<'_>) + Sync) -> Cost {
    let next = AtomicUsize::new(0);
    let cpu_nanos = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                worker(Queue { files, next: &next });
                cpu_nanos.fetch_add(thread_cpu_nanos(), Ordering::Relaxed);
            });
        }
    });
    Cost { wall: start.elapsed(), cpu: Duration::from_nanos(cpu_nanos.into_inner()) }
}

#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    /// Of all threads together; zero where the system does not say.
    cpu: Duration,
}

/// What this thread has had of a processor so far.
fn thread_cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

/// The middle of what the whole costs over what inflating alone costs, and the span of it.
fn ratio(whole: &[Cost], alone: &[Cost], of: impl Fn(&Cost) -> Duration) -> String {
    let mut ratios: Vec<f64> =
        whole.iter().zip(alone).map(|(whole, alone)| of(whole).as_secs_f64() / of(alone).as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    let last = ratios.len() - 1;
    format!("{:>7.2} (median of {} rounds; {:.2} to {:.2})", ratios[last / 2], last + 1, ratios[0], ratios[last])
}

fn inflate_alone_worker(queue: Queue<'_>) {
    let mut decompressor = libdeflater::Decompressor::new();
    let mut buffer = Vec::new();
    for file in queue {
        if buffer.len() < file.bytes {
            buffer.resize(file.bytes, 0);
        }
        let len = decompressor.gzip_decompress(&file.gzip, &mut buffer[..file.bytes]).expect("it was made so");
        assert_eq!(len, file.bytes);
    }
}

fn inflate_worker(queue: Queue<'_>) {
    let mut inflater = Inflater::new();
    for file in queue {
        let content = inflater.inflate(&file.gzip, MAX_FILE_BYTES).expect("it was made so");
        assert_eq!(content.len(), file.bytes);
    }
}

fn parse_worker(queue: Queue<'_>, parser: &Parser) {
    let mut inflater = Inflater::new();
    for file in queue {
        let content = inflater.inflate(&file.gzip, MAX_FILE_BYTES).expect("it was made so");
        assert_eq!(parser.parse(content).accesses.len(), file.counted);
    }
}

fn whole_worker(queue: Queue<'_>, parser: &Parser, fold: &Mutex<Fold>) {
    let mut inflater = Inflater::new();
    for file in queue {
        let parsed = parser.parse(inflater.inflate(&file.gzip, MAX_FILE_BYTES).expect("it was made so"));
        fold.lock().expect("no worker panics").absorb(&parsed.accesses);
    }
}

fn median(costs: &[Cost]) -> Duration {
    let mut times: Vec<Duration> = costs.iter().map(|cost| cost.wall).collect();
    times.sort();
    times[times.len() / 2]
}
