//! Pages, made up as they are asked for: a page that is made once is copied, and the numbers in it are written over.

use super::http::Answer;

const KEYS_PER_PAGE: usize = 1000;
/// What DynamoDB counts of a row: its names and values as UTF-8, numbers by half their digits. 1 MB of them make a page.
const ROW_BYTES: usize = 226;
const ROWS_PER_PAGE: usize = (1 << 20) / ROW_BYTES;
/// Of a number in keys and ETags.
const DIGITS: usize = 8;

pub const OWNERSHIP: &str = "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>\
                             </OwnershipControls>";
pub const VERSIONING: &str = "<VersioningConfiguration/>";

/// Text with places for a number.
struct Template {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Template {
    /// `#` stands for a number of [`DIGITS`] digits.
    fn new(text: &str) -> Self {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for part in text.split('#') {
            bytes.extend_from_slice(part.as_bytes());
            places.push(bytes.len());
            bytes.extend_from_slice(&[b'0'; DIGITS]);
        }
        places.pop();
        bytes.truncate(bytes.len() - DIGITS);
        Self { bytes, places }
    }

    fn write(&self, number: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let (mut digits, mut rest) = ([b'0'; DIGITS], number);
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        for place in &self.places {
            out[start + place..start + place + DIGITS].copy_from_slice(&digits);
        }
    }
}

/// How many objects `bench-SIZE-CHANGED` has, and the row of every how manyth differs (0: none).
fn shape(bucket: &str) -> (usize, usize) {
    let mut parts = bucket.trim_start_matches("bench-").split('-').map(|n| n.parse().expect("bench-SIZE-CHANGED"));
    (parts.next().expect("a size"), parts.next().expect("a share"))
}

/// The number in a key.
fn number_in(key: &str) -> usize {
    let digits = key.split_once("IMG_").map_or("", |(_, rest)| rest);
    digits.get(..DIGITS).and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no key of ours: {key}"))
}

/// Listings.
pub struct Pages(Template);

impl Pages {
    pub fn new() -> Self {
        Self(Template::new(
            "<Contents><Key>photos/2024+03/IMG_#.jpg</Key><LastModified>2024-03-31T12:00:00.000Z</LastModified>\
             <ETag>&quot;0123456789abcdef01234567#&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>\
             <ChecksumType>FULL_OBJECT</ChecksumType><Size>1048576</Size><StorageClass>STANDARD</StorageClass></Contents>",
        ))
    }

    pub fn listing(&self, bucket: &str, query: &str) -> Vec<u8> {
        let (size, _) = shape(bucket);
        assert!(query.contains("encoding-type=url"), "{query}");
        let token = query.split('&').find_map(|part| part.strip_prefix("continuation-token="));
        let first: usize = token.map_or(0, |token| token.parse().expect("a token of ours"));
        let end = (first + KEYS_PER_PAGE).min(size);
        let more = end < size;
        let mut page = Vec::with_capacity(400 * KEYS_PER_PAGE);
        page.extend_from_slice(
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult \
                 xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{bucket}</Name><Prefix></Prefix>\
                 <EncodingType>url</EncodingType><KeyCount>{}</KeyCount><MaxKeys>1000</MaxKeys>\
                 <IsTruncated>{more}</IsTruncated>",
                end - first
            )
            .as_bytes(),
        );
        (first..end).for_each(|n| self.0.write(n, &mut page));
        if more {
            page.extend_from_slice(format!("<NextContinuationToken>{end}</NextContinuationToken>").as_bytes());
        }
        page.extend_from_slice(b"</ListBucketResult>");
        page
    }
}

/// Rows of the ledger. The table is named as its one bucket.
pub struct Rows;

impl Rows {
    pub fn new() -> Self {
        Self
    }

    pub fn buckets(&self, body: &[u8]) -> Vec<u8> {
        let request: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        let table = request["TableName"].as_str().expect("a table");
        // The state's and the users' tables are empty, and behind the last key of the one bucket there is nothing.
        if !table.starts_with("bench-") || request.get("ExclusiveStartKey").is_some() {
            return br#"{"Count":0,"Items":[]}"#.to_vec();
        }
        let bucket = format!(r#""bucket_name":{{"S":"{table}"}}"#);
        format!(r#"{{"Items":[{{{bucket}}}],"LastEvaluatedKey":{{{bucket},"object_key":{{"S":"k"}}}}}}"#).into_bytes()
    }

    pub fn page(&self, body: &[u8]) -> Vec<u8> {
        let request: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        let bucket = request["ExpressionAttributeValues"][":bucket"]["S"].as_str().expect("a bucket");
        let (size, changed) = shape(bucket);
        // Whoever names the attributes that it wants gets no others.
        let wants = |name: &str| request["ProjectionExpression"].as_str().is_none_or(|names| names.contains(name));
        let optional = [
            ("bucket_name", format!(r#""bucket_name":{{"S":"{bucket}"}},"#)),
            ("count", r#""count":{"N":"17"},"#.to_owned()),
        ];
        let wanted: String = optional.into_iter().filter(|(name, _)| wants(name)).map(|(_, text)| text).collect();
        let row = |class: &str| {
            Template::new(&format!(
                r##"{{{wanted}"object_key":{{"S":"photos/2024 03/IMG_#.jpg"}},"entity_tag_value":{{"S":"0123456789abcdef01234567#"}},"event_time":{{"S":"2024-05-06T07:08:09Z"}},"storage_class":{{"S":"{class}"}},"size":{{"N":"1048576"}},"class_since":{{"S":"2024-03-31T12:00:00Z"}},"last_batch":{{"N":"4321"}}}}"##
            ))
        };
        let (same, other) = (row("STANDARD"), row("STANDARD_IA"));
        let first = request["ExclusiveStartKey"]["object_key"]["S"].as_str().map_or(0, |key| number_in(key) + 1);
        let limit = request["Limit"].as_u64().map_or(ROWS_PER_PAGE, |limit| ROWS_PER_PAGE.min(limit as usize));
        let end = (first + limit).min(size);
        let mut page = Vec::with_capacity(600 * ROWS_PER_PAGE);
        page.extend_from_slice(b"{\"Items\":[");
        for n in first..end {
            if n > first {
                page.push(b',');
            }
            let row = if changed > 0 && n.is_multiple_of(changed) { &other } else { &same };
            row.write(n, &mut page);
        }
        let count = end - first;
        page.extend_from_slice(format!("],\"Count\":{count},\"ScannedCount\":{count}").as_bytes());
        if end < size {
            let last = format!("photos/2024 03/IMG_{:08}.jpg", end - 1);
            page.extend_from_slice(
                format!(r#","LastEvaluatedKey":{{"bucket_name":{{"S":"{bucket}"}},"object_key":{{"S":"{last}"}}}}"#)
                    .as_bytes(),
            );
        }
        page.push(b'}');
        page
    }
}

/// The head of an object, which a listing and a row agree on.
pub fn head(path: &str) -> Answer {
    Answer::head(format!(
        "Content-Length: 1048576\r\nETag: \"0123456789abcdef01234567{:08}\"\r\nLast-Modified: Sun, 31 Mar 2024 12:00:00 \
         GMT\r\nContent-Type: image/jpeg\r\nx-amz-server-side-encryption: AES256\r\nx-amz-meta-owner: somebody\r\n",
        number_in(path)
    ))
}

pub fn copied(path: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CopyObjectResult><LastModified>2026-01-01T00:00:00.000Z\
         </LastModified><ETag>&quot;0123456789abcdef01234567{:08}&quot;</ETag></CopyObjectResult>",
        number_in(path)
    )
    .into_bytes()
}
