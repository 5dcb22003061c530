//! What `benches/peers/run` needs in Rust: the corpus of log files, and a server fast enough not to be what is measured.
//!
//! `corpus DIRECTORY MIB` writes CloudTrail files of at least so much content, and prints their MiB, their records, and how many
//! of those count.
//!
//! `serve DIRECTORY OBJECTS EMULATOR S3_MS COPY_MS DYNAMODB_MS` prints its address and answers until its standard input ends:
//!
//! - bucket `logs` has the files of the directory;
//! - bucket and table `bench-OBJECTS-0` have the objects and the rows that `benches/server` makes up;
//! - table `peers` takes every write and has no row;
//! - any other bucket has every object that is asked for by its key.
//!
//! It keeps nothing. What needs a memory (leases, batches, reports: a few dozen calls a run) goes to the emulator. `/_counts`
//! tells what was answered since it was last asked, by operation.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run says where")]

#[allow(dead_code, reason = "the other benches need more of it")]
#[path = "../corpus/mod.rs"]
mod corpus;
#[allow(dead_code, reason = "the other benches need more of it")]
#[path = "../server/http.rs"]
mod http;
mod listing;
#[allow(dead_code, reason = "the other benches need more of it")]
#[path = "../server/pages.rs"]
mod pages;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Answer, Request};
use listing::{Listing, decoded, parameter};
use pages::Rows;

/// The table that log records are counted into.
const COUNTED_INTO: &str = "peers";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["corpus", directory, mib] => write_corpus(Path::new(directory), mib.parse().unwrap()),
        ["serve", directory, objects, emulator, s3, copy, dynamodb] => {
            let millis = |text: &str| Duration::from_millis(text.parse().unwrap());
            let (s3, copy, dynamodb) = (millis(s3), millis(copy), millis(dynamodb));
            serve(Service {
                logs: files(Path::new(directory)),
                objects: Listing::of_made_up(objects.parse().unwrap()),
                table: format!("bench-{objects}-0"),
                emulator: emulator.trim_start_matches("http://").to_owned(),
                s3,
                copy,
                dynamodb,
                counts: Mutex::default(),
            });
        }
        // As `cargo bench` starts it.
        _ => println!("the comparison with other programs is benches/peers/run"),
    }
}

fn write_corpus(directory: &Path, mib: usize) {
    std::fs::create_dir_all(directory).unwrap();
    let (mut bytes, mut records, mut counted) = (0, 0, 0);
    for (n, file) in corpus::make(mib << 20).iter().enumerate() {
        let name = format!("111111111111_CloudTrail_ap-northeast-1_20260301T1005Z_{n:016}.json.gz");
        std::fs::write(directory.join(name), &file.gzip).unwrap();
        bytes += file.bytes;
        records += file.records;
        counted += file.counted;
    }
    println!("{} {records} {counted}", bytes >> 20);
}

/// A log bucket: content by key.
struct Logs {
    listing: Listing,
    content: BTreeMap<String, Vec<u8>>,
}

fn files(directory: &Path) -> Logs {
    let content: BTreeMap<String, Vec<u8>> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let key = format!("AWSLogs/111111111111/CloudTrail/ap-northeast-1/2026/03/01/{name}");
            (key, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    Logs { listing: Listing::of_files(content.iter().map(|(key, body)| (key.clone(), body.len()))), content }
}

struct Service {
    logs: Logs,
    objects: Listing,
    /// The ledger of the moves, named as its bucket.
    table: String,
    emulator: String,
    /// How long the answers take.
    s3: Duration,
    copy: Duration,
    dynamodb: Duration,
    counts: Mutex<BTreeMap<String, u64>>,
}

fn serve(service: Service) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let service = Arc::new(service);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let service = service.clone();
            std::thread::spawn(move || http::serve(client, |request| service.answer(request)));
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

impl Service {
    fn answer(&self, request: &Request<'_>) -> Answer {
        if request.path() == "/_counts" {
            let counts = std::mem::take(&mut *self.counts.lock().unwrap());
            return Answer::text(serde_json::to_string(&counts).unwrap());
        }
        let operation = request.target.map(|target| target.rsplit('.').next().unwrap_or_default());
        let answered = match operation {
            Some(operation) => self.dynamodb(operation, request.body).map(|answer| (operation, self.dynamodb, answer)),
            None => self.object_store(request),
        };
        let (name, wait, answer) = answered.unwrap_or_else(|| {
            let answer = Answer::of_other(&self.emulator, request)
                .unwrap_or_else(|error| Answer::refusal(format!("the emulator does not answer: {error}")));
            ("other", Duration::ZERO, answer)
        });
        *self.counts.lock().unwrap().entry(name.to_owned()).or_default() += 1;
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        answer
    }

    /// None: the emulator's business.
    fn object_store(&self, request: &Request<'_>) -> Option<(&'static str, Duration, Answer)> {
        let query = request.query();
        let path = decoded(request.path().trim_start_matches('/'));
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        Some(match request.method {
            "GET" if parameter(query, "list-type").is_some() => {
                let listing = if bucket == "logs" { &self.logs.listing } else { &self.objects };
                ("ListObjectsV2", self.s3, Answer::xml(listing.page(bucket, query)))
            }
            "GET" if query.starts_with("ownershipControls") => ("other", self.s3, Answer::xml(pages::OWNERSHIP.into())),
            "GET" if query.starts_with("versioning") => ("other", self.s3, Answer::xml(pages::VERSIONING.into())),
            "GET" if bucket == "logs" && !key.is_empty() => {
                let body = self.logs.content.get(key)?.clone();
                ("GetObject", self.s3, Answer::object(listing::headers(), body))
            }
            "HEAD" if key.is_empty() => ("other", self.s3, Answer::head("Content-Length: 0\r\n".to_owned())),
            "HEAD" if bucket == self.table => ("HeadObject", self.s3, pages::head(&path)),
            "HEAD" => {
                ("HeadObject", self.s3, Answer::head(format!("Content-Length: 1048576\r\n{}", listing::headers())))
            }
            "PUT" if request.copy_source.is_some() => ("CopyObject", self.copy, Answer::xml(pages::copied(&path))),
            _ => return None,
        })
    }

    /// None: the emulator's business.
    fn dynamodb(&self, operation: &str, body: &[u8]) -> Option<Answer> {
        let text = std::str::from_utf8(body).ok()?;
        // A table is named as a value, or as the key of what is asked of it.
        let is_about = |table: &str| text.contains(&format!("\"{table}\""));
        let answer = match operation {
            "Scan" if is_about(&self.table) => Rows::new().buckets(body),
            "Query" if is_about(&self.table) => Rows::new().page(body),
            "UpdateItem" | "DeleteItem" | "TransactWriteItems" if is_about(&self.table) => b"{}".to_vec(),
            "GetItem" | "UpdateItem" | "PutItem" | "TransactWriteItems" if is_about(COUNTED_INTO) => b"{}".to_vec(),
            "BatchGetItem" if is_about(COUNTED_INTO) => {
                format!(r#"{{"Responses":{{"{COUNTED_INTO}":[]}},"UnprocessedKeys":{{}}}}"#).into_bytes()
            }
            _ => return None,
        };
        Some(Answer::json(answer))
    }
}
