//! CloudTrail log files as a busy service makes them: every field that AWS's own examples of S3's data events have, in their
//! order, and in each field as much chance as in theirs (see [`record`]). Which operations there are, and how often, is
//! assumed: nobody has counted real files for it. How well the files compress, how large a record is and how many count
//! is printed by the benches that use them, not promised here.
//!
//! The same seed gives the same files.

mod record;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use self::record::{Caller, Visitor};

/// A log file as S3 holds it.
pub struct File {
    pub gzip: Vec<u8>,
    /// Of the content.
    pub bytes: usize,
    pub records: usize,
    /// How many of the records count by the default rules, duplicates included.
    pub counted: usize,
}

/// Makes files until their content is `bytes` long, on as many threads as there are cores.
pub fn make(bytes: usize) -> Vec<File> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut files: Vec<File> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores)
            .map(|worker| {
                scope.spawn(move || {
                    let mut maker = Maker::new(worker as u64);
                    let (mut files, mut made) = (Vec::new(), 0);
                    while made < bytes.div_ceil(cores) {
                        let file = maker.file();
                        made += file.bytes;
                        files.push(file);
                    }
                    files
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a maker does not panic")).collect()
    });
    // As they would be listed: large and small ones mixed.
    let mut random = Random(7);
    for i in (1..files.len()).rev() {
        files.swap(i, random.below(i as u64 + 1) as usize);
    }
    files
}

/// The splitmix64 generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Small numbers often, large ones seldom: how objects, users and sizes are spread.
    fn skewed(&mut self, n: u64) -> u64 {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (unit.powi(3) * n as f64) as u64
    }

    fn text(&mut self, alphabet: &str, len: usize, out: &mut String) {
        for _ in 0..len {
            out.push(char::from(alphabet.as_bytes()[self.below(alphabet.len() as u64) as usize]));
        }
    }
}

const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const HEX: &str = "0123456789abcdef";
struct Maker {
    random: Random,
    now: i64,
    content: String,
}

impl Maker {
    fn new(seed: u64) -> Self {
        let random = Random(seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(11));
        Self { random, now: 1_741_900_000, content: String::new() }
    }

    fn file(&mut self) -> File {
        let random = &mut self.random;
        let callers: Vec<Caller> = (0..12).map(|n| Caller::new(random, n, self.now)).collect();
        let records = 150 + random.skewed(9000) as usize;
        let visitors: Vec<Visitor> = (0..records.div_ceil(10)).map(|_| Visitor::new(random)).collect();
        self.content.clear();
        self.content.push_str("{\"Records\":[");
        let mut counted = 0;
        for i in 0..records {
            if i > 0 {
                self.content.push(',');
            }
            counted += usize::from(record::write(&mut self.random, &mut self.content, &callers, &visitors, self.now));
        }
        self.content.push_str("]}");
        self.now += 300;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(self.content.as_bytes()).expect("a Vec takes all");
        let gzip = encoder.finish().expect("a Vec takes all");
        File { gzip, bytes: self.content.len(), records, counted }
    }
}
