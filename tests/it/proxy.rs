//! A proxy in front of the emulator that writes down every request and does to some what a network or AWS would do on a
//! bad day. A request a connection, which is slow and simple.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// A request as it came by.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `DynamoDB_20120810.UpdateItem` and the like; empty for S3.
    pub target: String,
    /// The region that it is signed for.
    pub region: String,
    pub body: Vec<u8>,
}

impl Request {
    /// DynamoDB's and SQS's name of the operation; for S3 the method, and `LIST` for listings.
    pub fn operation(&self) -> &str {
        match self.target.rsplit_once('.') {
            Some((_, name)) => name,
            None if self.method == "GET" && self.path.contains("list-type=2") => "LIST",
            None => &self.method,
        }
    }
}

/// What happens to a request instead of going through.
#[derive(Debug, Clone)]
pub enum Fault {
    /// An answer with this status and body, and the emulator sees nothing.
    Answer(u16, &'static str, &'static str),
    /// The connection is cut before the emulator sees anything.
    ResetBefore,
    /// The emulator does what was asked, and its answer is lost.
    ResetAfter,
    /// It goes through, later.
    Delay(Duration),
    /// It goes through once it is let go: when the semaphore has a permit, which it takes.
    Hold(Arc<Semaphore>),
    /// DynamoDB answers for so many keys of a BatchGetItem, and says of the rest that it did not come to them.
    LeaveOut { but: usize },
    /// The emulator does it twice, as for a client that tries again what was done, and the second answer comes back.
    Twice,
    /// The connection is cut, and what was asked is done after this time, when nobody waits for it any more.
    Late(Duration),
    /// The emulator does what was asked, and half of its answer comes back.
    CutAnswer,
    /// No answer ever comes; whether the emulator does what was asked is said here.
    Hang { done: bool },
}

impl Fault {
    pub fn dynamodb_throttles() -> Self {
        Self::Answer(
            400,
            "application/x-amz-json-1.0",
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slower"}"#,
        )
    }

    pub fn s3_error(status: u16, code: &str) -> Self {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
        Self::Answer(status, "application/xml", body.leak())
    }
}

type Judge = Box<dyn FnMut(&Request) -> Option<Fault> + Send>;
type Change = Box<dyn Fn(&mut Request) + Send>;

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    judge: Mutex<Option<Judge>>,
    change: Mutex<Option<Change>>,
    /// Requests that the emulator may still have to do.
    under_way: AtomicUsize,
    /// Held by the one request that the emulator does, where it is to do them [one at a time](Proxy::one_at_a_time).
    gate: tokio::sync::Mutex<()>,
    one_at_a_time: AtomicBool,
}

/// The proxy; it ends with this value.
pub struct Proxy {
    pub endpoint: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of `upstream`, such as `http://127.0.0.1:40001`.
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let upstream = upstream.strip_prefix("http://").expect("an http endpoint").to_owned();
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (shared, upstream) = (shared.clone(), upstream.clone());
                    tokio::spawn(async move {
                        // A client that goes away is its own affair.
                        let _gone = serve(client, &upstream, &shared).await;
                    });
                }
            }
        });
        Self { endpoint, shared, task }
    }

    /// Has every request from now on judged: None lets it through.
    pub fn fault(&self, judge: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        *self.shared.judge.lock().unwrap() = Some(Box::new(judge));
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        *self.shared.judge.lock().unwrap() = None;
    }

    /// Has every request from now on changed before it is judged and sent on.
    pub fn change(&self, change: impl Fn(&mut Request) + Send + 'static) {
        *self.shared.change.lock().unwrap() = Some(Box::new(change));
    }

    /// Sends requests on one at a time from now on. AWS copies an object with the tags that it has in one step; the emulator,
    /// whose requests are threads, does not, and can write tags back that were taken off meanwhile.
    pub fn one_at_a_time(&self) {
        self.shared.one_at_a_time.store(true, Ordering::SeqCst);
    }

    /// Whether nothing is on its way to the emulator.
    fn is_quiet(&self) -> bool {
        self.shared.under_way.load(Ordering::SeqCst) == 0
    }

    /// Waits until what a dead client had asked for is done or lost.
    pub async fn quiet(&self) {
        for _ in 0..1200 {
            if self.is_quiet() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("requests of the dead are under way for a minute");
    }

    /// Lets everything through again but what a client that was just killed had sent, which may still lie in our sockets.
    pub async fn heal_after_death(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.quiet().await;
        self.heal();
    }

    /// Takes what came by since the last call.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.shared.requests.lock().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut client: TcpStream, upstream: &str, shared: &Shared) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut body = bytes.split_off(head_end + 4);
    let header = |name: &str| {
        head.lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim())
    };
    if header("expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let length: usize = header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(());
        }
    }
    let mut words = head.split_whitespace();
    let mut request = Request {
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        target: header("x-amz-target").unwrap_or_default().to_owned(),
        region: signed_for(header("authorization").unwrap_or_default()).to_owned(),
        body,
    };
    if let Some(change) = shared.change.lock().unwrap().as_ref() {
        change(&mut request);
    }
    let fault = shared.judge.lock().unwrap().as_mut().and_then(|judge| judge(&request));
    shared.requests.lock().unwrap().push(request.clone());
    let under_way = UnderWay::begin(shared);
    let forward = || forward(&head, &request.body, upstream, shared);
    let answer = match fault {
        Some(Fault::Answer(status, kind, text)) => format!(
            "HTTP/1.1 {status} Fault\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        )
        .into_bytes(),
        Some(Fault::ResetBefore) => return reset(client),
        Some(Fault::ResetAfter) => {
            forward().await?;
            return reset(client);
        }
        Some(Fault::Late(time)) => {
            reset(client)?;
            tokio::time::sleep(time).await;
            return forward().await.map(drop);
        }
        Some(Fault::Hang { done }) => {
            if done {
                forward().await?;
            }
            drop(under_way);
            // Until the client goes away.
            while client.read_buf(&mut Vec::new()).await? > 0 {}
            return Ok(());
        }
        Some(Fault::CutAnswer) => {
            let whole = forward().await?;
            whole[..whole.len() / 2].to_vec()
        }
        Some(Fault::LeaveOut { but }) => {
            let (asked, unprocessed) = split_keys(&request.body, but);
            with_unprocessed(&self::forward(&head, &asked, upstream, shared).await?, &unprocessed)
        }
        Some(Fault::Twice) => {
            forward().await?;
            forward().await?
        }
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            forward().await?
        }
        Some(Fault::Hold(until)) => {
            until.acquire().await.expect("it is never closed").forget();
            forward().await?
        }
        None => forward().await?,
    };
    drop(under_way);
    client.write_all(&answer).await?;
    client.shutdown().await
}

/// The region in `Credential=KEY/DATE/REGION/SERVICE/aws4_request`.
fn signed_for(authorization: &str) -> &str {
    let scope = authorization.split("Credential=").nth(1).unwrap_or_default();
    scope.split('/').nth(2).unwrap_or_default()
}

/// Counts a request for as long as it lives.
struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.under_way.fetch_add(1, Ordering::SeqCst);
        Self(&shared.under_way)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Sends a request on and gives the whole answer.
async fn forward(head: &str, body: &[u8], upstream: &str, shared: &Shared) -> std::io::Result<Vec<u8>> {
    let _gate = match shared.one_at_a_time.load(Ordering::SeqCst) {
        true => Some(shared.gate.lock().await),
        false => None,
    };
    let mut server = TcpStream::connect(upstream).await?;
    let kept = head.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !name.eq_ignore_ascii_case("connection") && !name.eq_ignore_ascii_case("expect")
    });
    let mut sent = String::new();
    for line in kept {
        // The body may have been changed.
        if line.to_ascii_lowercase().starts_with("content-length:") {
            sent.push_str(&format!("Content-Length: {}\r\n", body.len()));
        } else {
            sent.extend([line, "\r\n"]);
        }
    }
    sent.push_str("Connection: close\r\n\r\n");
    server.write_all(sent.as_bytes()).await?;
    server.write_all(body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// A BatchGetItem of one table with its first keys only, and what stands under `UnprocessedKeys` for the others.
fn split_keys(body: &[u8], first: usize) -> (Vec<u8>, Value) {
    let mut request: Value = serde_json::from_slice(body).expect("JSON");
    let mut rest = request["RequestItems"].clone();
    let tables = request["RequestItems"].as_object_mut().expect("tables");
    let (table, wanted) = tables.iter_mut().next().expect("a table");
    let keys = wanted["Keys"].as_array_mut().expect("keys");
    rest[table]["Keys"] = keys.split_off(first.min(keys.len())).into();
    (request.to_string().into_bytes(), rest)
}

/// The answer to what [`split_keys`] left, as if DynamoDB had been asked for all.
fn with_unprocessed(answer: &[u8], unprocessed: &Value) -> Vec<u8> {
    let text = std::str::from_utf8(answer).expect("text");
    let (_, body) = text.split_once("\r\n\r\n").expect("a whole answer");
    let mut body: Value = serde_json::from_str(body).expect("JSON");
    body["UnprocessedKeys"] = unprocessed.clone();
    let body = body.to_string();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Cuts a connection as a failing network does.
fn reset(client: TcpStream) -> std::io::Result<()> {
    client.set_zero_linger()
}
