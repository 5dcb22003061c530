//! ListObjectsV2 as other programs ask for it too: with a prefix, with or without a delimiter, encoded or not.

use std::fmt::Write as _;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

const MODIFIED: &str = "2024-03-31T12:00:00.000Z";

/// A bucket's objects in the order of their keys.
pub struct Listing(Vec<Listed>);

struct Listed {
    key: String,
    etag: String,
    size: usize,
}

/// A parameter of a query, decoded.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(|(given, _)| *given == name).map(|(_, value)| decoded(&value.replace('+', " "))).next()
}

pub fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// What S3 says of any object.
pub fn headers() -> String {
    "ETag: \"0123456789abcdef0123456789abcdef\"\r\nLast-Modified: Sun, 31 Mar 2024 12:00:00 GMT\r\n".to_owned()
}

impl Listing {
    /// The objects that `benches/server` makes up, as its heads and rows tell them.
    pub fn of_made_up(objects: usize) -> Self {
        let listed = |n| Listed {
            key: format!("photos/2024 03/IMG_{n:08}.jpg"),
            etag: format!("0123456789abcdef01234567{n:08}"),
            size: 1 << 20,
        };
        Self((0..objects).map(listed).collect())
    }

    /// Keys and sizes, in order.
    pub fn of_files(files: impl Iterator<Item = (String, usize)>) -> Self {
        let listed = |(key, size)| Listed { key, etag: "0123456789abcdef0123456789abcdef".to_owned(), size };
        Self(files.map(listed).collect())
    }

    /// The page that a query asks for. What it goes on after is its continuation token.
    pub fn page(&self, bucket: &str, query: &str) -> Vec<u8> {
        let prefix = parameter(query, "prefix").unwrap_or_default();
        let delimiter = parameter(query, "delimiter").filter(|delimiter| !delimiter.is_empty());
        let after = parameter(query, "continuation-token").or_else(|| parameter(query, "start-after"));
        let most: usize = parameter(query, "max-keys").and_then(|n| n.parse().ok()).unwrap_or(1000);
        let is_encoded = parameter(query, "encoding-type").is_some();
        let shown = |text: &str| match is_encoded {
            true => utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(),
            false => text.replace('&', "&amp;").replace('<', "&lt;"),
        };
        let (mut entries, mut count, mut last) = (String::new(), 0, after.unwrap_or_default());
        let first = self.0.partition_point(|object| object.key < prefix || object.key <= last);
        let mut rest = self.0[first..].iter().peekable();
        while let Some(object) = rest.next_if(|object| count < most && object.key.starts_with(&prefix)) {
            let folder = delimiter.as_ref().and_then(|delimiter| {
                let end = object.key[prefix.len()..].find(delimiter.as_str())?;
                Some(&object.key[..prefix.len() + end + delimiter.len()])
            });
            if folder.is_some_and(|folder| last.starts_with(folder)) {
                continue;
            }
            count += 1;
            match folder {
                Some(folder) => {
                    write!(entries, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", shown(folder)).unwrap();
                }
                None => write!(
                    entries,
                    "<Contents><Key>{}</Key><LastModified>{MODIFIED}</LastModified><ETag>&quot;{}&quot;</ETag>\
                     <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                    shown(&object.key),
                    object.etag,
                    object.size
                )
                .unwrap(),
            }
            last.clone_from(&object.key);
        }
        let more = rest.next_if(|object| object.key.starts_with(&prefix)).is_some();
        let encoding = if is_encoded { "<EncodingType>url</EncodingType>" } else { "" };
        let token = if more {
            format!("<NextContinuationToken>{}</NextContinuationToken>", last.replace('&', "&amp;"))
        } else {
            String::new()
        };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Name>{bucket}</Name><Prefix>{}</Prefix>{encoding}<KeyCount>{count}</KeyCount><MaxKeys>{most}</MaxKeys>\
             <IsTruncated>{more}</IsTruncated>{entries}{token}</ListBucketResult>",
            shown(&prefix)
        )
        .into_bytes()
    }
}
