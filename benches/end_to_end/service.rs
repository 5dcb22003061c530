//! What a run of ingest speaks to, fast enough not to be what is measured: a bucket of log files and the ledger's table, both in
//! memory. What a run asks only now and then (leases, batches, cursors, its own identity) is the emulator's.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ledger::{Ledger, Totals};
use crate::http::{self, Answer, Request};
use crate::listing::{self, Listing, decoded, parameter};

/// The bucket of the log files.
pub const LOGS: &str = "logs";

/// Answers until the bench ends.
pub struct Service {
    pub endpoint: String,
    parts: Arc<Parts>,
}

struct Parts {
    listing: Listing,
    files: BTreeMap<String, Vec<u8>>,
    ledger: Ledger,
    emulator: String,
    /// How long the ledger takes for an answer.
    row: Duration,
    calls: Mutex<BTreeMap<String, u64>>,
}

impl Service {
    /// With these log files, by their keys.
    pub fn start(files: BTreeMap<String, Vec<u8>>, emulator: &str, row: Duration) -> Self {
        let parts = Arc::new(Parts {
            listing: Listing::of_files(files.iter().map(|(key, content)| (key.clone(), content.len()))),
            files,
            ledger: Ledger::default(),
            emulator: emulator.trim_start_matches("http://").to_owned(),
            row,
            calls: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let answering = parts.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let parts = answering.clone();
                std::thread::spawn(move || http::serve(client, |request| parts.answer(request)));
            }
        });
        Self { endpoint, parts }
    }

    /// What was answered since the last call, by operation.
    pub fn take_calls(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.parts.calls.lock().expect("no thread panics"))
    }

    pub fn ledger(&self) -> Totals {
        self.parts.ledger.totals()
    }
}

impl Parts {
    fn answer(&self, request: &Request<'_>) -> Answer {
        let answered = match request.target {
            Some(target) => self.table(target, request.body),
            None => self.bucket(request),
        };
        let (name, answer) = answered.unwrap_or_else(|| {
            let operation = request.target.and_then(|target| target.rsplit('.').next()).unwrap_or(request.method);
            let answer = Answer::of_other(&self.emulator, request)
                .unwrap_or_else(|error| Answer::refusal(format!("the emulator does not answer: {error}")));
            (format!("{operation} (state and identity)"), answer)
        });
        *self.calls.lock().expect("no thread panics").entry(name).or_default() += 1;
        answer
    }

    /// None: the emulator's business.
    fn table(&self, target: &str, body: &[u8]) -> Option<(String, Answer)> {
        let is_ledger = || body.windows(8).any(|bytes| bytes == b"\"ledger-");
        let operation = target.rsplit('.').next().unwrap_or_default();
        let answer = match operation {
            "BatchGetItem" if is_ledger() => Answer::json(self.ledger.read(body)),
            "UpdateItem" if is_ledger() => match self.ledger.update(body) {
                Ok(done) => Answer::json(done),
                Err(refusal) => Answer::refused(refusal),
            },
            _ => return None,
        };
        if !self.row.is_zero() {
            std::thread::sleep(self.row);
        }
        Some((format!("{operation} (ledger)"), answer))
    }

    /// None: the emulator's business.
    fn bucket(&self, request: &Request<'_>) -> Option<(String, Answer)> {
        let path = decoded(request.path().trim_start_matches('/'));
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        if request.method != "GET" || bucket != LOGS {
            return None;
        }
        if parameter(request.query(), "list-type").is_some() {
            return Some(("ListObjectsV2".to_owned(), Answer::xml(self.listing.page(bucket, request.query()))));
        }
        let content = self.files.get(key)?.clone();
        Some(("GetObject".to_owned(), Answer::object(listing::headers(), content)))
    }
}
