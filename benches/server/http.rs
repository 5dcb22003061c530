//! As much of HTTP/1.1 as the AWS SDK speaks: a thread a connection, requests one after another.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A request.
pub struct Request<'a> {
    pub method: &'a str,
    pub uri: &'a str,
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
    status: &'static str,
    /// Whole lines.
    headers: String,
    /// None: there is none, and `headers` say how long it would be (HEAD).
    body: Option<Vec<u8>>,
}

impl Answer {
    pub fn xml(body: Vec<u8>) -> Self {
        Self { status: "200 OK", headers: "Content-Type: application/xml\r\n".to_owned(), body: Some(body) }
    }

    pub fn json(body: Vec<u8>) -> Self {
        Self { status: "200 OK", headers: "Content-Type: application/x-amz-json-1.0\r\n".to_owned(), body: Some(body) }
    }

    pub fn text(body: String) -> Self {
        Self { status: "200 OK", headers: String::new(), body: Some(body.into_bytes()) }
    }

    pub fn head(headers: String) -> Self {
        Self { status: "200 OK", headers, body: None }
    }

    /// What no bench should ask for.
    pub fn refusal(what: String) -> Self {
        Self { status: "501 Not Implemented", ..Self::text(what) }
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
