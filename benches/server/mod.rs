//! A server that answers as S3 and DynamoDB do, fast, for a bucket of any size and a table with a row for each of its
//! objects. It is a process of its own, the bench's own binary run once more, so that what the bench measures of itself
//! (memory, processor time) is tierd's and not the server's.
//!
//! Object number `n` of `bench-SIZE-CHANGED` has the key `photos/2024 03/IMG_n.jpg`, so that keys come in byte order and
//! need decoding. The row of every `CHANGED`th object (0: of none) names another class than the listing.

mod http;
mod pages;
pub mod process;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use self::http::{Answer, Request};
use self::pages::{Pages, Rows};
use self::process::cpu_of;

/// The argument by which the bench's binary becomes the server.
const SERVE: &str = "serve";

/// How long the server sits on a request, as AWS does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Latency {
    pub s3: Duration,
    pub copy: Duration,
    pub dynamodb: Duration,
}

/// Requests that were answered, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub all: u64,
    pub lists: u64,
    pub queries: u64,
    pub heads: u64,
    pub copies: u64,
    /// Requests that write rows, however many rows each of them writes.
    pub writes: u64,
    /// What heads and copies took to answer, all in all, in microseconds: over the time that has gone by, it is how many of
    /// them the server had at once.
    pub moving_micros: u64,
}

/// A server that runs; it ends with this value.
pub struct Server {
    pub endpoint: String,
    child: Child,
}

/// Becomes the server, until the bench is gone, if this process was started as one. To be called first of all.
#[expect(clippy::disallowed_methods, reason = "the server has nothing to drain, and its main is the bench's")]
pub fn serve_if_asked() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, s3, copy, dynamodb] = args.as_slice()
        && serve == SERVE
    {
        let millis = |text: &String| Duration::from_millis(text.parse().expect("milliseconds"));
        run(Latency { s3: millis(s3), copy: millis(copy), dynamodb: millis(dynamodb) });
        std::process::exit(0);
    }
}

impl Server {
    pub fn start(latency: Latency) -> Self {
        let millis = |time: Duration| time.as_millis().to_string();
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args([SERVE, &millis(latency.s3), &millis(latency.copy), &millis(latency.dynamodb)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("the server's address");
        Self { endpoint: line.trim().to_owned(), child }
    }

    /// Processor time of the server so far.
    pub fn cpu(&self) -> Duration {
        cpu_of(&self.child.id().to_string())
    }

    /// What was answered since the last call.
    pub fn take_counts(&self) -> Counts {
        let body = http::get(&self.endpoint, "/_counts");
        let numbers: Vec<u64> = body.split(' ').map(|n| n.parse().expect("a number")).collect();
        let [all, lists, queries, heads, copies, writes, moving_micros] = numbers[..] else {
            panic!("no counts: {body}")
        };
        Counts { all, lists, queries, heads, copies, writes, moving_micros }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("the server ends");
    }
}

#[derive(Default)]
struct Counters([AtomicU64; 7]);

impl Counters {
    fn count(&self, kind: usize) {
        self.0[0].fetch_add(1, Ordering::Relaxed);
        if kind > 0 {
            self.0[kind].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn add_moving(&self, time: Duration) {
        self.0[6].fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    fn take(&self) -> String {
        self.0.each_ref().map(|counter| counter.swap(0, Ordering::Relaxed).to_string()).join(" ")
    }
}

struct Service {
    latency: Latency,
    pages: Pages,
    rows: Rows,
    counters: Counters,
}

fn run(latency: Latency) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    println!("http://{}", listener.local_addr().expect("an address"));
    let service = Arc::new(Service { latency, pages: Pages::new(), rows: Rows::new(), counters: Counters::default() });
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let service = service.clone();
            std::thread::spawn(move || http::serve(client, |request| service.answer(request)));
        }
    });
    // The bench holds the other end.
    std::io::stdin().read_to_end(&mut Vec::new()).expect("a pipe");
}

impl Service {
    fn answer(&self, request: &Request<'_>) -> Answer {
        if request.path() == "/_counts" {
            return Answer::text(self.counters.take());
        }
        let start = Instant::now();
        let (kind, wait, answer) = match request.target {
            Some(target) => self.dynamodb(target.rsplit('.').next().unwrap_or_default(), request.body),
            None => self.s3(request),
        };
        self.counters.count(kind);
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        if [3, 4].contains(&kind) {
            self.counters.add_moving(start.elapsed());
        }
        answer
    }

    fn s3(&self, request: &Request<'_>) -> (usize, Duration, Answer) {
        let query = request.query();
        let bucket = request.path().trim_matches('/').split('/').next().unwrap_or_default();
        match request.method {
            "GET" if query.contains("list-type=2") => {
                (1, self.latency.s3, Answer::xml(self.pages.listing(bucket, query)))
            }
            "GET" if query.starts_with("ownershipControls") => {
                (0, self.latency.s3, Answer::xml(pages::OWNERSHIP.into()))
            }
            "GET" if query.starts_with("versioning") => (0, self.latency.s3, Answer::xml(pages::VERSIONING.into())),
            "HEAD" => (3, self.latency.s3, pages::head(request.path())),
            "PUT" if request.copy_source.is_some() => {
                (4, self.latency.copy, Answer::xml(pages::copied(request.path())))
            }
            _ => (0, Duration::ZERO, Answer::refusal(format!("{} {}", request.method, request.uri))),
        }
    }

    fn dynamodb(&self, operation: &str, body: &[u8]) -> (usize, Duration, Answer) {
        let wait = self.latency.dynamodb;
        match operation {
            "Scan" => (0, wait, Answer::json(self.rows.buckets(body))),
            "Query" => (2, wait, Answer::json(self.rows.page(body))),
            "UpdateItem" | "DeleteItem" | "TransactWriteItems" => (5, wait, Answer::json(b"{}".to_vec())),
            _ => (0, wait, Answer::refusal(operation.to_owned())),
        }
    }
}
