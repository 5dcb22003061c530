//! One record, as AWS's examples of S3 data events show them: the S3 user guide ("CloudTrail log file entries", "Monitoring
//! default encryption": `SSEApplied` is of writes only), the CloudTrail user guide ("record contents", "userIdentity element":
//! roles with `ec2RoleDelivery`, users, callers of another account, of whom only the account is told), and records that
//! people have published, from which the order of the members and the two lengths of `x-amz-id-2` are.

use std::fmt::Write as _;

use chrono::DateTime;

use super::{BASE64, HEX, Random, UPPER};

const ACCOUNT: &str = "123456789012";
const FOLDERS: &[&str] =
    &["photos", "documents", "videos/raw", "backup/phone", "사진/여름", "work/contracts", "music", "shared"];
const NAMES: &[&str] = &["IMG_", "DSC", "report-", "scan_", "Screenshot ", "계약서 ", "clip-", "notes"];
const ENDINGS: &[&str] = &["jpg", "png", "pdf", "mp4", "docx", "heic", "zip", "txt"];
const BROWSERS: &[&str] = &[
    "[Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/122.0.0.0 Safari/537.36]",
    "[Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.3 Safari/605.1.15]",
    "[Mozilla/5.0 (iPhone; CPU iPhone OS 17_3_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148]",
    "[Mozilla/5.0 (Linux; Android 14; SM-S918N) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/121.0.6167.178 Mobile Safari/537.36]",
];
const SDKS: &[&str] = &[
    "[aws-sdk-java/2.24.9 Linux/5.10.209-198.858.amzn2.x86_64 OpenJDK_64-Bit_Server_VM/17.0.10+8-LTS Java/17.0.10 kotlin/1.9.22 vendor/Amazon.com_Inc. exec-env/AWS_ECS_FARGATE io/sync http/Apache cfg/retry-mode/standard]",
    "[aws-cli/2.15.22 Python/3.11.6 Linux/6.1.75-99.163.amzn2023.x86_64 exe/x86_64.amzn.2023 prompt/off command/s3.sync]",
    "[Boto3/1.34.44 md/Botocore#1.34.44 ua/2.0 os/linux#5.10.205 md/arch#x86_64 lang/python#3.12.1 md/pyimpl#CPython cfg/retry-mode#legacy Botocore/1.34.44]",
];
const ROLES: &[&str] = &["web-frontend", "thumbnailer", "media-worker", "etl", "backup-agent"];
const ENDPOINTS: &[&str] = &["vpce-0a1b2c3d4e5f60718", "vpce-09f8e7d6c5b4a3921", "vpce-0123456789abcdef0"];
const CIPHERS: &[(&str, &str)] = &[("TLSv1.3", "TLS_AES_128_GCM_SHA256"), ("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256")];
const ERRORS: &[(&str, &str)] =
    &[("AccessDenied", "Access Denied"), ("NoSuchKey", "The specified key does not exist.")];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Get,
    /// Through a presigned address that names a file for the browser.
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

/// Whose credential a request is signed with.
pub struct Caller {
    /// `userIdentity`.
    identity: String,
    /// Of another account: its record and the one that this account gets share an id.
    is_foreign: bool,
}

impl Caller {
    /// The `n`th of those who are at work within a file's few minutes.
    pub fn new(random: &mut Random, n: usize, now: i64) -> Self {
        let role = ROLES[n % ROLES.len()];
        let mut drawn = |before: &str, alphabet: &str, len: usize| {
            let mut text = before.to_owned();
            random.text(alphabet, len, &mut text);
            text
        };
        let is_foreign = n == 10;
        let identity = match n {
            11 => {
                let (id, access_key) = (drawn("AIDA4", UPPER, 16), drawn("AKIA", UPPER, 16));
                format!(
                    "{{\"type\":\"IAMUser\",\"principalId\":\"{id}\",\"arn\":\"arn:aws:iam::{ACCOUNT}:user/ops/legacy-uploader\",\
                     \"accountId\":\"{ACCOUNT}\",\"accessKeyId\":\"{access_key}\",\"userName\":\"legacy-uploader\"}}"
                )
            }
            10 => {
                let (id, name) = (drawn("AROA7", UPPER, 16), drawn("partner-", HEX, 12));
                format!("{{\"type\":\"AWSAccount\",\"principalId\":\"{id}:{name}\",\"accountId\":\"210987654321\"}}")
            }
            _ => {
                // An instance's session is named after it, a task's after the task.
                let on_instance = n.is_multiple_of(2);
                let name = if on_instance { drawn("i-0", HEX, 16) } else { drawn("", HEX, 32) };
                let access_key = drawn("ASIA", UPPER, 16);
                // A role keeps its id.
                let mut id = "AROA4".to_owned();
                Random(n as u64 % ROLES.len() as u64).text(UPPER, 16, &mut id);
                let delivery = if on_instance { ",\"ec2RoleDelivery\":\"2.0\"" } else { "" };
                format!(
                    "{{\"type\":\"AssumedRole\",\"principalId\":\"{id}:{name}\",\
                     \"arn\":\"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}\",\"accountId\":\"{ACCOUNT}\",\
                     \"accessKeyId\":\"{access_key}\",\"sessionContext\":{{\"sessionIssuer\":{{\"type\":\"Role\",\
                     \"principalId\":\"{id}\",\"arn\":\"arn:aws:iam::{ACCOUNT}:role/{role}\",\
                     \"accountId\":\"{ACCOUNT}\",\"userName\":\"{role}\"}},\"attributes\":{{\"creationDate\":\"{}\",\
                     \"mfaAuthenticated\":\"false\"}}{delivery}}}}}",
                    stamp(now - random.below(3600) as i64)
                )
            }
        };
        Self { identity, is_foreign }
    }
}

/// Someone who does several things within the few minutes of a file.
pub struct Visitor {
    user: u64,
    /// Of a browser.
    address: [u8; 4],
    browser: &'static str,
    sdk: &'static str,
    endpoint: &'static str,
    tls: (&'static str, &'static str),
}

impl Visitor {
    pub fn new(random: &mut Random) -> Self {
        let mut one_of = |all: &'static [&'static str]| all[random.skewed(all.len() as u64) as usize];
        let (browser, sdk, endpoint) = (one_of(BROWSERS), one_of(SDKS), one_of(ENDPOINTS));
        Self {
            user: random.skewed(40_000),
            address: std::array::from_fn(|_| random.below(256) as u8),
            browser,
            sdk,
            endpoint,
            tls: CIPHERS[usize::from(random.one_in(4))],
        }
    }
}

/// Writes a record and says whether it counts.
pub fn write(random: &mut Random, out: &mut String, callers: &[Caller], visitors: &[Visitor], now: i64) -> bool {
    let kind = match random.below(100) {
        0..46 => Kind::Get,
        46..61 => Kind::Download,
        61..69 => Kind::Put,
        69..87 => Kind::Head,
        _ => Kind::List,
    };
    let is_ours = !random.one_in(8);
    let error = random.one_in(33).then(|| ERRORS[random.below(2) as usize]);
    let caller = &callers[random.skewed(callers.len() as u64) as usize];
    let visitor = &visitors[random.below(visitors.len() as u64) as usize];
    // What browsers do goes over the internet; half of the rest is done by services, through an endpoint of their network.
    let inside = kind != Kind::Download && random.one_in(2);
    let time = now + random.below(300) as i64;
    let user = visitor.user;
    let bucket = if is_ours {
        format!("siuu{user}-{}", 1_690_000_000 + user * 431)
    } else {
        format!("acme-{}-assets", ROLES[user as usize % ROLES.len()])
    };
    let key = key(random, user);
    let host = format!("{bucket}.s3.ap-northeast-1.amazonaws.com");

    let [a, b, c, d] = if inside { [10, 0, visitor.address[2] & 15, visitor.address[3]] } else { visitor.address };
    write_all(
        out,
        format_args!(
            "{{\"eventVersion\":\"1.11\",\"userIdentity\":{},\"eventTime\":\"{}\",\"eventSource\":\"s3.amazonaws.com\",\
             \"eventName\":\"{}\",\"awsRegion\":\"ap-northeast-1\",\"sourceIPAddress\":\"{a}.{b}.{c}.{d}\",\
             \"userAgent\":\"{}\",",
            caller.identity,
            stamp(time),
            kind.event(),
            if inside { visitor.sdk } else { visitor.browser },
        ),
    );
    if let Some((code, message)) = error {
        write_all(out, format_args!("\"errorCode\":\"{code}\",\"errorMessage\":\"{message}\","));
    }
    parameters(random, out, kind, &bucket, &key, &host, time);
    answer(random, out, kind, error.is_some(), visitor);
    out.push_str("\"eventID\":");
    uuid(random, out);
    write_all(out, format_args!(",\"readOnly\":{},", kind != Kind::Put));
    let object = match kind {
        Kind::List => format!("{{\"type\":\"AWS::S3::Object\",\"ARNPrefix\":\"arn:aws:s3:::{bucket}/\"}}"),
        _ => format!("{{\"type\":\"AWS::S3::Object\",\"ARN\":\"arn:aws:s3:::{bucket}/{key}\"}}"),
    };
    write_all(
        out,
        format_args!(
            "\"resources\":[{object},{{\"accountId\":\"{ACCOUNT}\",\"type\":\"AWS::S3::Bucket\",\
             \"ARN\":\"arn:aws:s3:::{bucket}\"}}],\"eventType\":\"AwsApiCall\",\"managementEvent\":false,\
             \"recipientAccountId\":\"{ACCOUNT}\","
        ),
    );
    if caller.is_foreign {
        out.push_str("\"sharedEventID\":");
        uuid(random, out);
        out.push(',');
    }
    if inside {
        let endpoint = visitor.endpoint;
        write_all(out, format_args!("\"vpcEndpointId\":\"{endpoint}\",\"vpcEndpointAccountId\":\"{ACCOUNT}\","));
    }
    let (tls, cipher) = visitor.tls;
    write_all(
        out,
        format_args!(
            "\"eventCategory\":\"Data\",\"tlsDetails\":{{\"tlsVersion\":\"{tls}\",\"cipherSuite\":\"{cipher}\",\
             \"clientProvidedHostHeader\":\"{host}\"}}}}"
        ),
    );
    is_ours && error.is_none() && matches!(kind, Kind::Download | Kind::Put)
}

/// `requestParameters`, whose order is S3's own.
fn parameters(random: &mut Random, out: &mut String, kind: Kind, bucket: &str, key: &str, host: &str, time: i64) {
    out.push_str("\"requestParameters\":{");
    match kind {
        Kind::List => {
            let (prefix, _) = key.rsplit_once('/').expect("every key has a folder");
            write_all(
                out,
                format_args!(
                    "\"list-type\":\"2\",\"bucketName\":\"{bucket}\",\"prefix\":\"{prefix}/\",\"max-keys\":\"1000\",\
                     \"delimiter\":\"/\",\"Host\":\"{host}\""
                ),
            );
        }
        Kind::Download => {
            let name = key.rsplit('/').next().expect("always one");
            let date = DateTime::from_timestamp(time - random.below(60) as i64, 0).expect("in range");
            write_all(
                out,
                format_args!(
                    "\"X-Amz-Date\":\"{}\",\"bucketName\":\"{bucket}\",\"X-Amz-Algorithm\":\"AWS4-HMAC-SHA256\",\
                     \"response-content-disposition\":\"attachment; filename=\\\"{name}\\\"\",\"X-Amz-SignedHeaders\":\"host\",\
                     \"Host\":\"{host}\",\"X-Amz-Expires\":\"900\",\"key\":\"{key}\"",
                    date.format("%Y%m%dT%H%M%SZ")
                ),
            );
        }
        Kind::Put => write_all(
            out,
            format_args!(
                "\"bucketName\":\"{bucket}\",\"Host\":\"{host}\",\"x-amz-acl\":\"private\",\
                 \"x-amz-server-side-encryption\":\"AES256\",\"key\":\"{key}\""
            ),
        ),
        Kind::Get | Kind::Head => {
            write_all(out, format_args!("\"bucketName\":\"{bucket}\",\"Host\":\"{host}\",\"key\":\"{key}\""));
        }
    }
    out.push_str("},");
}

/// `responseElements`, `additionalEventData` and `requestID`.
fn answer(random: &mut Random, out: &mut String, kind: Kind, failed: bool, visitor: &Visitor) {
    if kind == Kind::Put && !failed {
        out.push_str("\"responseElements\":{\"x-amz-server-side-encryption\":\"AES256\",\"x-amz-version-id\":\"");
        random.text(BASE64, 32, out);
        out.push_str("\"},");
    } else {
        out.push_str("\"responseElements\":null,");
    }
    let size = 1000 + random.skewed(40_000_000);
    let (bytes_in, bytes_out) = match kind {
        _ if failed => (0, 243),
        Kind::Put => (size, 0),
        Kind::Get | Kind::Download => (0, size),
        Kind::Head => (0, 0),
        Kind::List => (0, 300 + random.below(90_000)),
    };
    let encryption = if kind == Kind::Put { "\"SSEApplied\":\"SSE_S3\"," } else { "" };
    let signed = if kind == Kind::Download { "QueryString" } else { "AuthHeader" };
    write_all(
        out,
        format_args!(
            "\"additionalEventData\":{{\"SignatureVersion\":\"SigV4\",\"CipherSuite\":\"{}\",\
             \"bytesTransferredIn\":{bytes_in},{encryption}\"AuthenticationMethod\":\"{signed}\",\"x-amz-id-2\":\"",
            visitor.tls.1
        ),
    );
    // 56 bytes or 80.
    let length = if random.one_in(2) { 75 } else { 107 };
    random.text(BASE64, length, out);
    write_all(out, format_args!("=\",\"bytesTransferredOut\":{bytes_out}}},\"requestID\":\""));
    random.text(UPPER, 16, out);
    out.push_str("\",");
}

fn uuid(random: &mut Random, out: &mut String) {
    let (high, low) = (random.next(), random.next());
    write_all(
        out,
        format_args!(
            "\"{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}\"",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | (low >> 50),
            low & 0xffff_ffff_ffff
        ),
    );
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

fn stamp(time: i64) -> impl std::fmt::Display {
    DateTime::from_timestamp(time, 0).expect("in range").format("%Y-%m-%dT%H:%M:%SZ")
}

fn write_all(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes all");
}
