//! As much of HTTP/1.1 as the AWS SDK speaks: a thread a connection, requests one after another.

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A request.
pub struct Request<'a> {
    pub method: &'a str,
    pub uri: &'a str,
    /// All lines up to the empty one, it included, as they came.
    #[allow(dead_code, reason = "the comparison with other programs needs it")]
    pub head: &'a str,
    /// `DynamoDB_20120810.Query` and the like; None for S3.
    pub target: Option<&'a str>,
    pub copy_source: Option<&'a str>,
    pub body: &'a [u8],
}

impl Request<'_> {
    pub fn path(&self) -> &str {
        self.uri.split('?').next().unwrap_or_default()
    }

    pub fn query(&self) -> &str {
        self.uri.split_once('?').map_or("", |(_, query)| query)
    }
}

/// An answer.
pub struct Answer {
    status: Cow<'static, str>,
    /// Whole lines.
    headers: String,
    /// None: there is none, and `headers` say how long it would be (HEAD).
    body: Option<Vec<u8>>,
}

impl Answer {
    pub fn xml(body: Vec<u8>) -> Self {
        Self { status: "200 OK".into(), headers: "Content-Type: application/xml\r\n".to_owned(), body: Some(body) }
    }

    pub fn json(body: Vec<u8>) -> Self {
        Self {
            status: "200 OK".into(),
            headers: "Content-Type: application/x-amz-json-1.0\r\n".to_owned(),
            body: Some(body),
        }
    }

    pub fn text(body: String) -> Self {
        Self { status: "200 OK".into(), headers: String::new(), body: Some(body.into_bytes()) }
    }

    pub fn head(headers: String) -> Self {
        Self { status: "200 OK".into(), headers, body: None }
    }

    /// Content of an object.
    #[allow(dead_code, reason = "the comparison with other programs needs it")]
    pub fn object(headers: String, body: Vec<u8>) -> Self {
        Self { status: "200 OK".into(), headers, body: Some(body) }
    }

    /// How DynamoDB refuses a request.
    #[allow(dead_code, reason = "the ledger of the ingest bench needs it")]
    pub fn refused(body: Vec<u8>) -> Self {
        Self { status: "400 Bad Request".into(), ..Self::json(body) }
    }

    /// What no bench should ask for.
    pub fn refusal(what: String) -> Self {
        Self { status: "501 Not Implemented".into(), ..Self::text(what) }
    }

    /// What another server answers to the same request. It is asked over a connection of its own.
    #[allow(dead_code, reason = "the comparison with other programs needs it")]
    pub fn of_other(server: &str, request: &Request<'_>) -> std::io::Result<Self> {
        let mut server = TcpStream::connect(server)?;
        server.write_all(request.head.as_bytes())?;
        server.write_all(request.body)?;
        let mut reader = BufReader::new(server);
        let mut head = String::new();
        if !read_head(&mut reader, &mut head) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let (status, lines) = head.split_once("\r\n").unwrap_or_default();
        let is = |line: &&str, name: &str| line.to_ascii_lowercase().starts_with(name);
        let length = lines.lines().find(|line| is(line, "content-length:")).and_then(|line| line.split(':').nth(1));
        let mut body = vec![0; length.and_then(|n| n.trim().parse().ok()).unwrap_or(0)];
        if request.method != "HEAD" {
            reader.read_exact(&mut body)?;
        }
        let kept = lines.lines().filter(|line| !is(line, "content-length:") && !is(line, "connection:"));
        let headers = kept.filter(|line| !line.is_empty()).map(|line| format!("{line}\r\n")).collect();
        let status = status.split_once(' ').map_or("502 Bad Gateway", |(_, status)| status).to_owned();
        Ok(Self { status: status.into(), headers, body: Some(body) })
    }
}

/// Answers what comes over a connection until the client goes away.
pub fn serve(client: TcpStream, answer: impl Fn(&Request<'_>) -> Answer) {
    client.set_nodelay(true).expect("a socket");
    let mut writer = client.try_clone().expect("a socket");
    let mut reader = BufReader::with_capacity(64 << 10, client);
    let (mut head, mut body, mut out) = (String::new(), Vec::new(), Vec::new());
    while read_head(&mut reader, &mut head) {
        let header = |name: &str| {
            head.lines()
                .skip(1)
                .filter_map(|line| line.split_once(':'))
                .find(|(n, _)| n.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim())
        };
        body.resize(header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0), 0);
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let mut words = head.split_whitespace();
        let answer = answer(&Request {
            method: words.next().unwrap_or_default(),
            uri: words.next().unwrap_or_default(),
            head: &head,
            target: header("x-amz-target"),
            copy_source: header("x-amz-copy-source"),
            body: &body,
        });
        out.clear();
        write!(out, "HTTP/1.1 {}\r\n{}", answer.status, answer.headers).expect("memory");
        match &answer.body {
            Some(body) => {
                write!(out, "Content-Length: {}\r\n\r\n", body.len()).expect("memory");
                out.extend_from_slice(body);
            }
            None => out.extend_from_slice(b"\r\n"),
        }
        if writer.write_all(&out).is_err() {
            return;
        }
    }
}

/// The lines up to the empty one. False: there is no further request.
fn read_head(reader: &mut impl BufRead, head: &mut String) -> bool {
    head.clear();
    loop {
        let before = head.len();
        match reader.read_line(head) {
            Ok(0) | Err(_) => return false,
            Ok(_) if head[before..].trim().is_empty() => return true,
            Ok(_) => {}
        }
    }
}

/// The body of a small answer.
pub fn get(endpoint: &str, path: &str) -> String {
    let mut server = TcpStream::connect(endpoint.trim_start_matches("http://")).expect("the server answers");
    write!(server, "GET {path} HTTP/1.1\r\n\r\n").expect("the server listens");
    let mut reader = BufReader::new(server);
    let mut head = String::new();
    assert!(read_head(&mut reader, &mut head), "the server answers");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    reader.read_exact(&mut body).expect("a body");
    String::from_utf8(body).expect("text")
}
