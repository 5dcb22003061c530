//! A network on a bad day: a proxy with two doors to the emulator. What comes in by the rough one meets errors, throttling,
//! lost, cut and stalled answers and delays, as the dice fall; what comes in by the calm one does not.
//!
//! Behind both, the requests of one world go to the emulator one at a time. AWS checks a condition and writes in one step; the
//! emulator, whose requests are threads, does not, and would lose a user's write now and then by itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::witness::Witness;

/// How long an answer stands still before it is cut.
const STALL: Duration = Duration::from_millis(2500);
/// What the emulator's queues hide a message for at most, whatever is asked: minutes between tries would be waited for.
const LONGEST_HIDDEN_SECS: u64 = 10;

/// A sequence of numbers that a seed makes again (xorshift64*).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// What happens to a request on a bad day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// 500, and nothing was done.
    Error,
    /// 503 or the service's own word for it, and nothing was done.
    Throttle,
    /// The connection is cut before anything was done.
    ResetBefore,
    /// It was done, and the answer is lost.
    ResetAfter,
    /// It was done, and half of the answer comes.
    Truncated,
    /// The same, after a long silence.
    Stalled,
    Late,
    /// SQS hands the messages out in another order.
    Reordered,
    /// SQS hands a message out once more.
    Repeated,
}

const ANY: [Fault; 10] = [
    Fault::Error,
    Fault::Throttle,
    Fault::Throttle,
    Fault::ResetBefore,
    Fault::ResetAfter,
    Fault::ResetAfter,
    Fault::Truncated,
    Fault::Stalled,
    Fault::Late,
    Fault::Late,
];

/// How often each fault came down.
pub type Tally = BTreeMap<Fault, u64>;

struct Weather {
    dice: Dice,
    /// Of a thousand requests by the rough door.
    faults_per_mille: u64,
    tally: Tally,
}

/// Waits for a write to a table, which then never gets there.
struct Trap {
    table: String,
    /// Writes that are let through before.
    spared: u8,
    sprung: oneshot::Sender<()>,
}

struct Shared {
    upstream: String,
    gate: tokio::sync::Mutex<()>,
    weather: Mutex<Weather>,
    /// (queue's URL, body) of messages that are to be sent once more.
    repeats: Mutex<Vec<(String, String)>>,
    trap: Mutex<Option<Trap>>,
    requests: AtomicU64,
    witness: Witness,
}

/// The proxy; it ends with this value.
pub struct Network {
    /// The door without faults.
    pub calm: String,
    /// The door with faults.
    pub rough: String,
    shared: Arc<Shared>,
    doors: Vec<JoinHandle<()>>,
}

impl Drop for Network {
    fn drop(&mut self) {
        self.doors.iter().for_each(JoinHandle::abort);
    }
}

impl Network {
    pub async fn start(upstream: &str, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            upstream: upstream.strip_prefix("http://").expect("an http endpoint").to_owned(),
            gate: tokio::sync::Mutex::new(()),
            weather: Mutex::new(Weather { dice: Dice::new(seed), faults_per_mille: 0, tally: Tally::new() }),
            repeats: Mutex::default(),
            trap: Mutex::default(),
            requests: AtomicU64::new(0),
            witness: Witness::default(),
        });
        let (calm, calm_door) = open(shared.clone(), false).await;
        let (rough, rough_door) = open(shared.clone(), true).await;
        Self { calm, rough, shared, doors: vec![calm_door, rough_door] }
    }

    pub fn set_faults_per_mille(&self, share: u64) {
        self.shared.weather.lock().unwrap().faults_per_mille = share;
    }

    pub fn tally(&self) -> Tally {
        self.shared.weather.lock().unwrap().tally.clone()
    }

    /// Requests by the rough door so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Tells of the next update of a row of `table` by the rough door after `spared` of them. It gets no answer and has no
    /// effect: whoever sent it is to die.
    pub fn trap(&self, table: &str, spared: u8) -> oneshot::Receiver<()> {
        let (sprung, told) = oneshot::channel();
        *self.shared.trap.lock().unwrap() = Some(Trap { table: table.to_owned(), spared, sprung });
        told
    }

    pub fn take_repeats(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.shared.repeats.lock().unwrap())
    }

    pub fn witness(&self) -> &Witness {
        &self.shared.witness
    }
}

async fn open(shared: Arc<Shared>, rough: bool) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let door = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let shared = shared.clone();
            tokio::spawn(async move {
                // A client that goes away is its own affair.
                let _gone = serve(client, &shared, rough).await;
            });
        }
    });
    (endpoint, door)
}

/// A request, read to its end.
pub struct Request {
    /// The lines before the body, without the empty one.
    head: String,
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `DynamoDB_20120810.UpdateItem` and the like; empty for S3.
    pub target: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn operation(&self) -> &str {
        self.target.rsplit_once('.').map_or("", |(_, name)| name)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// An answer, in its two parts.
pub struct Answer {
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut all = self.head.clone().into_bytes();
        all.extend_from_slice(b"\r\n\r\n");
        all.extend_from_slice(&self.body);
        all
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

async fn serve(mut client: TcpStream, shared: &Shared, rough: bool) -> std::io::Result<()> {
    let Some(mut request) = read_request(&mut client).await? else { return Ok(()) };
    let fault = if rough {
        shared.requests.fetch_add(1, Ordering::Relaxed);
        shorten_visibility(&mut request);
        if shared.springs(&request) {
            return std::future::pending().await;
        }
        shared.fall()
    } else {
        None
    };
    match fault {
        Some(Fault::Error | Fault::Throttle) => {
            return client.write_all(&refusal(&request, fault == Some(Fault::Throttle))).await;
        }
        Some(Fault::ResetBefore) => return client.set_zero_linger(),
        Some(Fault::Late) => {
            let ms = shared.weather.lock().unwrap().dice.below(700);
            tokio::time::sleep(Duration::from_millis(50 + ms)).await;
        }
        _ => {}
    }
    if rough {
        shared.witness.before(&request).await;
    }
    let mut answer = shared.forward(&request).await?;
    shared.witness.after(&request, &answer);
    if rough && request.operation() == "ReceiveMessage" {
        shared.shuffle(&request, &mut answer);
    }
    let half = answer.bytes().len() - answer.body.len() / 2;
    match fault {
        Some(Fault::ResetAfter) => client.set_zero_linger(),
        Some(Fault::Truncated) => {
            client.write_all(&answer.bytes()[..half - 1]).await?;
            client.shutdown().await
        }
        Some(Fault::Stalled) => {
            client.write_all(&answer.bytes()[..half - 1]).await?;
            tokio::time::sleep(STALL).await;
            client.set_zero_linger()
        }
        _ => {
            client.write_all(&answer.bytes()).await?;
            client.shutdown().await
        }
    }
}

async fn read_request(client: &mut TcpStream) -> std::io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let mut body = bytes.split_off(end + 4);
    bytes.truncate(end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    if header(&head, "expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let length: usize = header(&head, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let target = header(&head, "x-amz-target").unwrap_or_default().to_owned();
    Ok(Some(Request { head, method, path, target, body }))
}

/// An hour's rest between two tries of a message passes in seconds here.
fn shorten_visibility(request: &mut Request) {
    if request.operation() != "ChangeMessageVisibility" {
        return;
    }
    let mut json = request.json();
    if json["VisibilityTimeout"].as_u64().is_some_and(|secs| secs > LONGEST_HIDDEN_SECS) {
        json["VisibilityTimeout"] = LONGEST_HIDDEN_SECS.into();
        request.body = json.to_string().into_bytes();
    }
}

/// What a service says when it cannot, or will not yet.
fn refusal(request: &Request, throttled: bool) -> Vec<u8> {
    let (status, kind, body) = if request.target.starts_with("DynamoDB") {
        let name = if throttled { "ProvisionedThroughputExceededException" } else { "InternalServerError" };
        let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{name}","message":"not now"}}"#);
        (if throttled { 400 } else { 500 }, "application/x-amz-json-1.0", body)
    } else if request.target.starts_with("AmazonSQS") {
        let name = if throttled { "RequestThrottled" } else { "InternalError" };
        let body = format!(r#"{{"__type":"com.amazonaws.sqs#{name}","message":"not now"}}"#);
        (if throttled { 400 } else { 500 }, "application/x-amz-json-1.0", body)
    } else {
        let name = if throttled { "SlowDown" } else { "InternalError" };
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{name}</Code><Message>not now</Message></Error>");
        // The answer to a HEAD has no body.
        let body = if request.method == "HEAD" { String::new() } else { body };
        (if throttled { 503 } else { 500 }, "application/xml", body)
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status} No\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

impl Shared {
    /// Whether a request has bad luck, and which.
    fn fall(&self) -> Option<Fault> {
        let mut weather = self.weather.lock().unwrap();
        let share = weather.faults_per_mille;
        if share == 0 || weather.dice.below(1000) >= share {
            return None;
        }
        let fault = weather.dice.pick(&ANY);
        *weather.tally.entry(fault).or_default() += 1;
        Some(fault)
    }

    /// Whether the request is what the trap waits for.
    fn springs(&self, request: &Request) -> bool {
        let mut trap = self.trap.lock().unwrap();
        // A trap that nobody waits for any more catches nothing.
        let Some(Trap { table, spared, .. }) = trap.as_mut().filter(|trap| !trap.sprung.is_closed()) else {
            return false;
        };
        if request.operation() != "UpdateItem" || request.json()["TableName"] != **table {
            return false;
        }
        if *spared > 0 {
            *spared -= 1;
            return false;
        }
        trap.take().is_some_and(|trap| trap.sprung.send(()).is_ok())
    }

    /// Sends a request on and gives the whole answer.
    async fn forward(&self, request: &Request) -> std::io::Result<Answer> {
        // A long poll would hold up all others.
        let alone = if request.operation() == "ReceiveMessage" { None } else { Some(self.gate.lock().await) };
        let mut server = TcpStream::connect(&self.upstream).await?;
        let kept = request.head.lines().filter(|line| {
            let name = line.split(':').next().unwrap_or_default();
            !["connection", "expect", "content-length"].iter().any(|dropped| name.eq_ignore_ascii_case(dropped))
        });
        let mut sent: String = kept.flat_map(|line| [line, "\r\n"]).collect();
        sent.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", request.body.len()));
        server.write_all(sent.as_bytes()).await?;
        server.write_all(&request.body).await?;
        let mut bytes = Vec::new();
        server.read_to_end(&mut bytes).await?;
        drop(alone);
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let body = bytes.split_off(end + 4);
        bytes.truncate(end);
        Ok(Answer { head: String::from_utf8_lossy(&bytes).into_owned(), body })
    }

    /// What SQS does besides handing messages out in order, once.
    fn shuffle(&self, request: &Request, answer: &mut Answer) {
        let Ok(mut json) = serde_json::from_slice::<Value>(&answer.body) else { return };
        let Some(messages) = json["Messages"].as_array_mut().filter(|all| !all.is_empty()) else { return };
        let mut weather = self.weather.lock().unwrap();
        if weather.faults_per_mille == 0 {
            return;
        }
        if messages.len() > 1 {
            let by = weather.dice.below(messages.len() as u64) as usize;
            messages.rotate_left(by);
            *weather.tally.entry(Fault::Reordered).or_default() += u64::from(by > 0);
        }
        if weather.dice.one_in(3) {
            let again = messages[0]["Body"].as_str().unwrap_or_default().to_owned();
            let queue = request.json()["QueueUrl"].as_str().unwrap_or_default().to_owned();
            self.repeats.lock().unwrap().push((queue, again));
            *weather.tally.entry(Fault::Repeated).or_default() += 1;
        }
        drop(weather);
        answer.body = json.to_string().into_bytes();
        let length = answer.body.len();
        let lines = answer.head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("content-length:"));
        answer.head = lines.chain([format!("Content-Length: {length}").as_str()]).collect::<Vec<_>>().join("\r\n");
    }
}

/// The query of a path, by name.
pub fn query(path: &str) -> HashMap<&str, &str> {
    let text = path.split_once('?').map_or("", |(_, query)| query);
    text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect()
}
