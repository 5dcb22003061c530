//! CloudTrail log files as a busy service makes them: every field that S3's data events have, and in each field as much
//! chance as in the real one, so that they compress as real files do (ten to fourteen to one).
//!
//! The same seed gives the same files.

use std::fmt::Write as _;
use std::io::Write as _;

use chrono::DateTime;
use flate2::Compression;
use flate2::write::GzEncoder;

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
const FOLDERS: &[&str] =
    &["photos", "documents", "videos/raw", "backup/phone", "사진/여름", "work/contracts", "music", "shared"];
const NAMES: &[&str] = &["IMG_", "DSC", "report-", "scan_", "Screenshot ", "계약서 ", "clip-", "notes"];
const ENDINGS: &[&str] = &["jpg", "png", "pdf", "mp4", "docx", "heic", "zip", "txt"];
const AGENTS: &[&str] = &[
    "[Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/122.0.0.0 Safari/537.36]",
    "[Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.3 Safari/605.1.15]",
    "[Mozilla/5.0 (iPhone; CPU iPhone OS 17_3_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148]",
    "[Mozilla/5.0 (Linux; Android 14; SM-S918N) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/121.0.6167.178 Mobile Safari/537.36]",
    "[aws-sdk-java/2.24.9 Linux/5.10.209-198.858.amzn2.x86_64 OpenJDK_64-Bit_Server_VM/17.0.10+8-LTS Java/17.0.10 kotlin/1.9.22 vendor/Amazon.com_Inc. exec-env/AWS_ECS_FARGATE io/sync http/Apache cfg/retry-mode/standard]",
    "[aws-cli/2.15.22 Python/3.11.6 Linux/6.1.75-99.163.amzn2023.x86_64 exe/x86_64.amzn.2023 prompt/off command/s3.sync]",
    "[Boto3/1.34.44 md/Botocore#1.34.44 ua/2.0 os/linux#5.10.205 md/arch#x86_64 lang/python#3.12.1 md/pyimpl#CPython cfg/retry-mode#legacy Botocore/1.34.44]",
];
const ROLES: &[&str] = &["web-frontend", "thumbnailer", "media-worker", "etl", "backup-agent"];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Get,
    Download,
    Put,
    Head,
    List,
}

impl Kind {
    fn event(self) -> &'static str {
        match self {
            Self::Get | Self::Download => "GetObject",
            Self::Put => "PutObject",
            Self::Head => "HeadObject",
            Self::List => "ListObjects",
        }
    }
}

/// The session of a role: one credential, used for an hour or so.
struct Session {
    role: &'static str,
    name: String,
    access_key: String,
    began: i64,
}

/// Someone who does several things within the few minutes of a file.
struct Visitor {
    user: u64,
    address: [u8; 4],
    agent: &'static str,
}

struct Maker {
    random: Random,
    sessions: Vec<Session>,
    visitors: Vec<Visitor>,
    now: i64,
    content: String,
}

impl Maker {
    fn new(seed: u64) -> Self {
        let random = Random(seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(11));
        Self { random, sessions: Vec::new(), visitors: Vec::new(), now: 1_711_900_000, content: String::new() }
    }

    fn file(&mut self) -> File {
        self.sessions = (0..12)
            .map(|i| {
                let (mut name, mut access_key) = ("i-0".to_owned(), "ASIA".to_owned());
                self.random.text(HEX, 16, &mut name);
                self.random.text(UPPER, 16, &mut access_key);
                let began = self.now - self.random.below(3600) as i64;
                Session { role: ROLES[i % ROLES.len()], name, access_key, began }
            })
            .collect();
        let records = 150 + self.random.skewed(9000) as usize;
        let random = &mut self.random;
        self.visitors = (0..records.div_ceil(10))
            .map(|_| Visitor {
                user: random.skewed(40_000),
                address: std::array::from_fn(|_| random.below(256) as u8),
                agent: AGENTS[random.skewed(AGENTS.len() as u64) as usize],
            })
            .collect();
        self.content.clear();
        self.content.push_str("{\"Records\":[");
        let mut counted = 0;
        for i in 0..records {
            if i > 0 {
                self.content.push(',');
            }
            counted += usize::from(self.record());
        }
        self.content.push_str("]}");
        self.now += 300;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(self.content.as_bytes()).expect("a Vec takes all");
        let gzip = encoder.finish().expect("a Vec takes all");
        File { gzip, bytes: self.content.len(), records, counted }
    }

    /// Writes a record and says whether it counts.
    fn record(&mut self) -> bool {
        let random = &mut self.random;
        let out = &mut self.content;
        let kind = match random.below(100) {
            0..46 => Kind::Get,
            46..61 => Kind::Download,
            61..69 => Kind::Put,
            69..87 => Kind::Head,
            _ => Kind::List,
        };
        let is_ours = !random.one_in(8);
        let error = random.one_in(33);
        let session = &self.sessions[random.skewed(self.sessions.len() as u64) as usize];
        let time = self.now + random.below(300) as i64;
        let visitor = &self.visitors[random.below(self.visitors.len() as u64) as usize];
        let (user, agent, [a, b, c, d]) = (visitor.user, visitor.agent, visitor.address);
        let bucket = if is_ours {
            format!("siuu{user}-{}", 1_690_000_000 + user * 431)
        } else {
            format!("acme-{}-assets", ROLES[user as usize % ROLES.len()])
        };
        let key = key(random, user);
        let stamp = |time: i64| DateTime::from_timestamp(time, 0).expect("in range").format("%Y-%m-%dT%H:%M:%SZ");

        write_all(
            out,
            format_args!(
                "{{\"eventVersion\":\"1.09\",\"userIdentity\":{{\"type\":\"AssumedRole\",\"principalId\":\"AROA4EXAMPLE7QFJ2KLMN:{name}\",\
                 \"arn\":\"arn:aws:sts::123456789012:assumed-role/{role}/{name}\",\"accountId\":\"123456789012\",\
                 \"accessKeyId\":\"{access_key}\",\"sessionContext\":{{\"sessionIssuer\":{{\"type\":\"Role\",\
                 \"principalId\":\"AROA4EXAMPLE7QFJ2KLMN\",\"arn\":\"arn:aws:iam::123456789012:role/{role}\",\
                 \"accountId\":\"123456789012\",\"userName\":\"{role}\"}},\"attributes\":{{\"creationDate\":\"{began}\",\
                 \"mfaAuthenticated\":\"false\"}}}}}},\"eventTime\":\"{time}\",\"eventSource\":\"s3.amazonaws.com\",\
                 \"eventName\":\"{event}\",\"awsRegion\":\"ap-northeast-1\",\"sourceIPAddress\":\"{a}.{b}.{c}.{d}\",\
                 \"userAgent\":\"{agent}\",",
                name = session.name,
                role = session.role,
                access_key = session.access_key,
                began = stamp(session.began),
                time = stamp(time),
                event = kind.event(),
            ),
        );
        if error {
            out.push_str("\"errorCode\":\"AccessDenied\",\"errorMessage\":\"Access Denied\",");
        }
        let host = format!("{bucket}.s3.ap-northeast-1.amazonaws.com");
        write_all(out, format_args!("\"requestParameters\":{{\"bucketName\":\"{bucket}\",\"Host\":\"{host}\""));
        match kind {
            Kind::List => {
                let (prefix, _) = key.rsplit_once('/').expect("every key has a folder");
                write_all(
                    out,
                    format_args!(
                        ",\"list-type\":\"2\",\"prefix\":\"{prefix}/\",\"max-keys\":\"1000\",\"delimiter\":\"/\""
                    ),
                );
            }
            Kind::Download => {
                let name = key.rsplit('/').next().expect("always one");
                let date = DateTime::from_timestamp(time - random.below(60) as i64, 0).expect("in range");
                write_all(
                    out,
                    format_args!(
                        ",\"key\":\"{key}\",\"response-content-disposition\":\"attachment; filename=\\\"{name}\\\"\",\
                         \"X-Amz-Date\":\"{}\",\"X-Amz-Algorithm\":\"AWS4-HMAC-SHA256\",\"X-Amz-SignedHeaders\":\"host\",\
                         \"X-Amz-Expires\":\"900\"",
                        date.format("%Y%m%dT%H%M%SZ")
                    ),
                );
            }
            Kind::Put => write_all(
                out,
                format_args!(
                    ",\"key\":\"{key}\",\"x-amz-server-side-encryption\":\"AES256\",\"x-amz-acl\":\"private\""
                ),
            ),
            Kind::Get | Kind::Head => write_all(out, format_args!(",\"key\":\"{key}\"")),
        }
        out.push_str("},");
        match (kind, error) {
            (Kind::Put, false) => {
                out.push_str(
                    "\"responseElements\":{\"x-amz-server-side-encryption\":\"AES256\",\"x-amz-version-id\":\"",
                );
                random.text(BASE64, 32, out);
                out.push_str("\"},");
            }
            _ => out.push_str("\"responseElements\":null,"),
        }
        let size = 1000 + random.skewed(40_000_000);
        let (bytes_in, bytes_out) = match (kind, error) {
            (_, true) => (0, 243),
            (Kind::Put, _) => (size, 0),
            (Kind::Get | Kind::Download, _) => (0, size),
            (Kind::Head, _) => (0, 0),
            (Kind::List, _) => (0, 300 + random.below(90_000)),
        };
        let auth = if kind == Kind::Download { "QueryString" } else { "AuthHeader" };
        write_all(
            out,
            format_args!(
                "\"additionalEventData\":{{\"SignatureVersion\":\"SigV4\",\"CipherSuite\":\"TLS_AES_128_GCM_SHA256\",\
                 \"bytesTransferredIn\":{bytes_in},\"SSEApplied\":\"Default_SSE_S3\",\"AuthenticationMethod\":\"{auth}\",\
                 \"x-amz-id-2\":\""
            ),
        );
        random.text(BASE64, 75, out);
        write_all(out, format_args!("=\",\"bytesTransferredOut\":{bytes_out}}},\"requestID\":\""));
        random.text(UPPER, 16, out);
        let id = random.next();
        let low = random.next();
        write_all(
            out,
            format_args!(
                "\",\"eventID\":\"{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}\",\"readOnly\":{},",
                id >> 32,
                (id >> 16) & 0xffff,
                id & 0xfff,
                0x8000 | (low >> 50),
                low & 0xffff_ffff_ffff,
                kind != Kind::Put,
            ),
        );
        let object = match kind {
            Kind::List => format!("{{\"type\":\"AWS::S3::Object\",\"ARNPrefix\":\"arn:aws:s3:::{bucket}/\"}}"),
            _ => format!("{{\"type\":\"AWS::S3::Object\",\"ARN\":\"arn:aws:s3:::{bucket}/{key}\"}}"),
        };
        write_all(
            out,
            format_args!(
                "\"resources\":[{object},{{\"accountId\":\"123456789012\",\"type\":\"AWS::S3::Bucket\",\
                 \"ARN\":\"arn:aws:s3:::{bucket}\"}}],\"eventType\":\"AwsApiCall\",\"managementEvent\":false,\
                 \"recipientAccountId\":\"123456789012\",\"eventCategory\":\"Data\",\"tlsDetails\":{{\"tlsVersion\":\"TLSv1.3\",\
                 \"cipherSuite\":\"TLS_AES_128_GCM_SHA256\",\"clientProvidedHostHeader\":\"{host}\"}}}}"
            ),
        );
        is_ours && !error && matches!(kind, Kind::Download | Kind::Put)
    }
}

/// One of a user's objects.
fn key(random: &mut Random, user: u64) -> String {
    let number = random.skewed(2000);
    // What an object is called follows from its number.
    let mut of_object = Random(user << 20 | number);
    let folder = FOLDERS[of_object.below(FOLDERS.len() as u64) as usize];
    let name = NAMES[of_object.below(NAMES.len() as u64) as usize];
    let ending = ENDINGS[of_object.below(ENDINGS.len() as u64) as usize];
    let mut key = format!("{folder}/20{}/{name}{:06}-", 18 + of_object.below(7), of_object.below(1_000_000));
    of_object.text(HEX, 12, &mut key);
    key.push('.');
    key.push_str(ending);
    key
}

fn write_all(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes all");
}
