//! IAM as AWS has it, in front of the emulator: a proxy that lets a request through only if a policy allows every action
//! that AWS asks for it, and remembers which actions were used.
//!
//! The emulator's own enforcement cannot do this: it knows the resource of a request for S3 alone, takes a condition for a
//! denial, and names some actions by their operations (`sqs:DeleteMessageBatch`), which IAM does not have. The tables here
//! follow the service authorization reference and know nothing of how the policies are made.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const REGION: &str = "ap-northeast-1";
const ACCOUNT: &str = "123456789012";

/// The proxy; it ends with the runtime of the test.
#[derive(Clone)]
pub struct Gate {
    pub endpoint: String,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    policy: Value,
    used: BTreeSet<String>,
    refused: Vec<String>,
    /// Iterators are opaque; whose stream they go through was said when they were made.
    stream: String,
}

/// What IAM is asked about a request: `(action, resource)`.
type Asked = (String, String);

struct Request {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// As it came, but for the connection being closed after it.
    raw_head: String,
}

impl Gate {
    /// A gate to `upstream` (`http://HOST:PORT`) that lets nothing through yet.
    pub async fn before(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let gate = Self { endpoint: format!("http://{address}"), inner: Arc::default() };
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let serving = gate.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (gate, upstream) = (serving.clone(), upstream.clone());
                tokio::spawn(async move {
                    // A client that hangs up is no failure of the gate's.
                    let _gone = gate.serve(client, &upstream).await;
                });
            }
        });
        gate
    }

    /// From now on this is allowed.
    pub fn allow(&self, policy: Value) {
        self.lock().policy = policy;
    }

    /// Every action that was let through.
    pub fn used(&self) -> BTreeSet<String> {
        self.lock().used.clone()
    }

    /// `action on resource` for everything that was not, and forgets it.
    pub fn take_refused(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().refused)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics with it")
    }

    async fn serve(&self, mut client: TcpStream, upstream: &str) -> std::io::Result<()> {
        let Some(request) = read_request(&mut client).await? else { return Ok(()) };
        let asked = asked(&request, &mut self.lock());
        if let Err(refusal) = self.judge(&asked) {
            client.write_all(refusal_for(&request, &refusal).as_bytes()).await?;
            return client.shutdown().await;
        }
        let mut server = TcpStream::connect(upstream).await?;
        server.write_all(request.raw_head.as_bytes()).await?;
        server.write_all(&request.body).await?;
        tokio::io::copy(&mut server, &mut client).await?;
        client.shutdown().await
    }

    fn judge(&self, asked: &[Asked]) -> Result<(), String> {
        let mut inner = self.lock();
        for (action, resource) in asked {
            if !allows(&inner.policy, action, resource) {
                let refusal = format!("{action} on {resource}");
                inner.refused.push(refusal.clone());
                return Err(refusal);
            }
        }
        inner.used.extend(asked.iter().map(|(action, _)| action.clone()));
        Ok(())
    }
}

/// Whether a statement of the policy allows the action on the resource. All are `Allow`, so the order does not matter.
fn allows(policy: &Value, action: &str, resource: &str) -> bool {
    policy["Statement"].as_array().into_iter().flatten().any(|statement| {
        statement["Effect"] == "Allow"
            && many(&statement["Action"]).any(|pattern| fits(pattern, action))
            && many(&statement["Resource"]).any(|pattern| fits(pattern, resource))
            && holds(&statement["Condition"])
    })
}

/// All that is here is of the one account; other conditions are not known, and what is not known does not hold.
fn holds(condition: &Value) -> bool {
    let Some(operators) = condition.as_object() else { return true };
    operators.iter().all(|(operator, keys)| {
        operator == "StringEquals"
            && keys.as_object().is_some_and(|keys| {
                keys.iter().all(|(key, value)| key == "aws:ResourceAccount" && value.as_str() == Some(ACCOUNT))
            })
    })
}

fn many(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or(std::slice::from_ref(value));
    list.iter().filter_map(Value::as_str)
}

/// `*` stands for any text, slashes too, as in IAM.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((begin, rest)) => text.strip_prefix(begin).is_some_and(|left| {
            (0..=left.len()).filter(|at| left.is_char_boundary(*at)).any(|at| fits(rest, &left[at..]))
        }),
    }
}

fn asked(request: &Request, inner: &mut Inner) -> Vec<Asked> {
    let Some(target) = request.header("x-amz-target") else {
        // The one call of STS; it needs no permission.
        let is_sts = request.header("authorization").is_some_and(|auth| auth.contains("/sts/"));
        return if is_sts { Vec::new() } else { s3(request) };
    };
    let (service, operation) = target.split_once('.').expect("a target has a service and an operation");
    let body: Value = serde_json::from_slice(&request.body).expect("these services speak JSON");
    match service.split('_').next() {
        Some("DynamoDB") => dynamodb(operation, &body),
        Some("DynamoDBStreams") => {
            if let Some(arn) = body["StreamArn"].as_str() {
                inner.stream = arn.to_owned();
            }
            vec![(format!("dynamodb:{operation}"), inner.stream.clone())]
        }
        Some("AmazonSQS") => {
            let address = body["QueueUrl"].as_str().or(body["QueueName"].as_str()).unwrap_or_default();
            let name = address.rsplit('/').next().unwrap_or_default();
            // Batches are allowed by the action for one.
            let action = format!("sqs:{}", operation.trim_end_matches("Batch"));
            vec![(action, format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"))]
        }
        other => panic!("the gate knows no {other:?}"),
    }
}

fn dynamodb(operation: &str, body: &Value) -> Vec<Asked> {
    let table = |body: &Value| {
        let name = body["TableName"].as_str().unwrap_or_default();
        format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}")
    };
    if operation == "BatchGetItem" {
        let tables = body["RequestItems"].as_object().into_iter().flatten().map(|(name, _)| name);
        let arn = |name: &String| format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}");
        return tables.map(|name| ("dynamodb:BatchGetItem".to_owned(), arn(name))).collect();
    }
    if operation != "TransactWriteItems" {
        return vec![(format!("dynamodb:{operation}"), table(body))];
    }
    // A transaction needs what its items need.
    let items = body["TransactItems"].as_array().into_iter().flatten().filter_map(Value::as_object).flatten();
    items.map(|(kind, item)| (format!("dynamodb:{}Item", kind), table(item))).collect()
}

fn s3(request: &Request) -> Vec<Asked> {
    let path = percent_decode_str(request.path.trim_start_matches('/')).decode_utf8_lossy().into_owned();
    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
    let action = |name: &str| format!("s3:{name}");
    if key.is_empty() {
        return vec![(action(bucket_action(request)), format!("arn:aws:s3:::{bucket}"))];
    }
    let object = format!("arn:aws:s3:::{path}");
    let version = if request.has("versionId") { "Version" } else { "" };
    let mut all = Vec::new();
    let name = match request.method.as_str() {
        "GET" | "HEAD" if request.has("tagging") => format!("GetObject{version}Tagging"),
        "GET" | "HEAD" if request.has("acl") => format!("GetObject{version}Acl"),
        "GET" | "HEAD" => format!("GetObject{version}"),
        "PUT" if request.has("tagging") => format!("PutObject{version}Tagging"),
        "PUT" if request.has("acl") => format!("PutObject{version}Acl"),
        "PUT" => "PutObject".to_owned(),
        "POST" if request.has("restore") => "RestoreObject".to_owned(),
        "POST" => "PutObject".to_owned(),
        "DELETE" if request.has("uploadId") => "AbortMultipartUpload".to_owned(),
        "DELETE" if request.has("tagging") => format!("DeleteObject{version}Tagging"),
        "DELETE" => format!("DeleteObject{version}"),
        other => panic!("the gate knows no {other} of an object"),
    };
    all.push((action(&name), object.clone()));
    if name == "PutObject" {
        all.extend(header_actions(request).into_iter().map(|name| (action(name), object.clone())));
        all.extend(source_actions(request));
    }
    all
}

fn bucket_action(request: &Request) -> &'static str {
    const SETTINGS: [(&str, &str, &str); 8] = [
        ("cors", "GetBucketCORS", "PutBucketCORS"),
        ("lifecycle", "GetLifecycleConfiguration", "PutLifecycleConfiguration"),
        ("notification", "GetBucketNotification", "PutBucketNotification"),
        ("ownershipControls", "GetBucketOwnershipControls", "PutBucketOwnershipControls"),
        ("policy", "GetBucketPolicy", "PutBucketPolicy"),
        ("publicAccessBlock", "GetBucketPublicAccessBlock", "PutBucketPublicAccessBlock"),
        ("tagging", "GetBucketTagging", "PutBucketTagging"),
        ("versioning", "GetBucketVersioning", "PutBucketVersioning"),
    ];
    let setting = SETTINGS.iter().find(|(name, _, _)| request.has(name));
    match (request.method.as_str(), setting) {
        ("GET", Some((_, get, _))) => get,
        ("PUT", Some((_, _, put))) => put,
        ("HEAD", None) => "ListBucket",
        ("GET", None) if request.has("list-type") => "ListBucket",
        ("PUT", None) => "CreateBucket",
        (method, _) => panic!("the gate knows no {method} of a bucket with {:?}", request.query),
    }
}

/// Headers of a PUT that need a permission of their own.
fn header_actions(request: &Request) -> Vec<&'static str> {
    let sent = |begin: &str| request.headers.iter().any(|(name, _)| name.starts_with(begin));
    [
        (sent("x-amz-acl") || sent("x-amz-grant-"), "PutObjectAcl"),
        (sent("x-amz-tagging"), "PutObjectTagging"),
        (sent("x-amz-object-lock-mode") || sent("x-amz-object-lock-retain"), "PutObjectRetention"),
        (sent("x-amz-object-lock-legal-hold"), "PutObjectLegalHold"),
    ]
    .into_iter()
    .filter_map(|(is_sent, action)| is_sent.then_some(action))
    .collect()
}

fn source_actions(request: &Request) -> Vec<Asked> {
    let Some(source) = request.header("x-amz-copy-source") else { return Vec::new() };
    let (path, version) = match source.split_once("?versionId=") {
        Some((path, _)) => (path, "Version"),
        None => (source, ""),
    };
    let path = percent_decode_str(path.trim_start_matches('/')).decode_utf8_lossy();
    let object = format!("arn:aws:s3:::{path}");
    let mut all = vec![(format!("s3:GetObject{version}"), object.clone())];
    let in_parts = request.has("partNumber");
    if !in_parts && request.header("x-amz-tagging-directive") != Some("REPLACE") {
        all.push((format!("s3:GetObject{version}Tagging"), object));
    }
    all
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn has(&self, parameter: &str) -> bool {
        self.query.iter().any(|(name, _)| name == parameter)
    }
}

async fn read_request(client: &mut TcpStream) -> std::io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut body = bytes.split_off(end + 4);
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length =
        headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, n)| n.parse().ok()).unwrap_or(0);
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    let mut words = start.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let (path, query) =
        words.next().unwrap_or_default().split_once('?').unwrap_or((start.split(' ').nth(1).unwrap_or("/"), ""));
    let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let path = path.to_owned();
    // One request a connection: an answer ends where the connection does.
    let kept = head.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let raw_head = kept.collect::<Vec<_>>().join("\r\n") + "\r\nConnection: close\r\n\r\n";
    Ok(Some(Request { method, path, query, headers, body, raw_head }))
}

/// 403 as the service would say it.
fn refusal_for(request: &Request, refusal: &str) -> String {
    let (kind, body) = match request.header("x-amz-target") {
        Some(_) => {
            let body =
                serde_json::json!({ "__type": "AccessDeniedException", "message": format!("not allowed: {refusal}") });
            ("application/x-amz-json-1.0", body.to_string())
        }
        None if request.method == "HEAD" => ("application/xml", String::new()),
        None => (
            "application/xml",
            format!("<Error><Code>AccessDenied</Code><Message>not allowed: {refusal}</Message></Error>"),
        ),
    };
    format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
