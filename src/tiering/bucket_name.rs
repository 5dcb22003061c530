//! What a new bucket is called.
//!
//! The configuration has a template, `siuu{user_id}-{timestamp}` by default. Every bucket name in the world is taken
//! once, a user id is any string, and S3's rules leave 63 characters of `a-z 0-9 -`. So a name is made like this:
//!
//! - An id that is legal where the template puts it stays as it is: `jane-42` becomes `siuujane-42-1700000000`.
//! - Any other id is made to fit (lower case, what is illegal becomes `-`, shortened), and `--` with a short hash of
//!   the *raw* id follows: `Jane Doe` becomes `siuujane-doe--o334exvj3w-1700000000`.
//! - `attempt` 0 is that name. If somebody else has it, attempt 1, 2, … each give another one; these always carry the
//!   hash, which then is of the id and the attempt.
//!
//! **Two ids never meet.** Names without a hash differ because their ids do. A legal id that looks as if it had
//! been hashed (it ends in `--` and ten characters of the hash's alphabet) is hashed as well, so no id can be chosen
//! to fall on another's hashed name. What remains are two hashes that agree: 10 characters of base 32 are 50 bits of
//! SHA-256, so two ids that look the same once they fit, in the same second, meet with a chance of 2^-50; among a million
//! such ids the chance that any two meet is about 1 in 2,000. Even then nobody gets another's bucket: its tag says
//! whose it is, and provisioning goes on to the next attempt.
//!
//! **The same record gives the same name**, in every process and after every crash: nothing here is random, and the time
//! is that of the stream record, not of the clock.
//!
//! The rules of S3: "General purpose bucket naming rules" in the S3 user guide. Dots are legal there but never made here,
//! because they break TLS for virtual-hosted addresses; without dots no name can look like an IPv4 address either.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::object::{BucketName, UserId};

const MIN_LENGTH: usize = 3;
const MAX_LENGTH: usize = 63;
const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

const HASH_CHARS: usize = 10;
const HASH_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const HASH_MARK: &str = "--";

/// Stands for an id of which nothing is left, and before one that would make a reserved prefix. No reserved prefix holds
/// a `u`, so what begins with it completes none of them, whatever the template has before it.
const FILLER: &str = "u";

/// The least that an id needs: the filler, the mark and the hash.
const MIN_USER_ROOM: usize = FILLER.len() + HASH_MARK.len() + HASH_CHARS;

/// The last second of the year 9999: twelve digits, for which the template must leave room.
const LAST_TIMESTAMP_SECS: i64 = 253_402_300_799;

const USER_ID: &str = "user_id";
const TIMESTAMP: &str = "timestamp";

/// Why a new general-purpose bucket cannot have a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IllegalBucketName {
    #[error("a bucket name has {MIN_LENGTH} to {MAX_LENGTH} characters, not {0}")]
    Length(usize),
    #[error("a bucket name has no dots here (they break TLS); use `-`")]
    Dot,
    #[error("a bucket name is made of a-z, 0-9 and `-`, and {0:?} is none of them")]
    Character(char),
    #[error("a bucket name begins and ends with a letter or a digit, not with `-`")]
    Edge,
    #[error("no bucket name may begin with {0:?}: S3 keeps it for itself")]
    ReservedPrefix(&'static str),
    #[error("no bucket name may end with {0:?}: S3 keeps it for itself")]
    ReservedSuffix(&'static str),
}

/// Checks that a *new* general-purpose bucket may have this name, by S3's rules and without dots. Existing buckets may be
/// called otherwise: see [`BucketName`].
pub fn is_legal_new_bucket_name(name: &str) -> Result<(), IllegalBucketName> {
    // Reserved endings first: for `.mrap` the dot is the lesser trouble.
    if let Some(suffix) = RESERVED_SUFFIXES.into_iter().find(|suffix| name.ends_with(suffix)) {
        return Err(IllegalBucketName::ReservedSuffix(suffix));
    }
    match name.chars().find(|c| !is_legal_char(*c)) {
        Some('.') => return Err(IllegalBucketName::Dot),
        Some(c) => return Err(IllegalBucketName::Character(c)),
        None => {}
    }
    if !(MIN_LENGTH..=MAX_LENGTH).contains(&name.len()) {
        return Err(IllegalBucketName::Length(name.len()));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(IllegalBucketName::Edge);
    }
    match RESERVED_PREFIXES.into_iter().find(|prefix| name.starts_with(prefix)) {
        Some(prefix) => Err(IllegalBucketName::ReservedPrefix(prefix)),
        None => Ok(()),
    }
}

/// What is wrong with a template, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TemplateError {
    #[error("{{{0}}} is no placeholder; there are {{user_id}} and {{timestamp}}")]
    UnknownPlaceholder(String),
    #[error("a `{{` or `}}` stands alone; placeholders are written {{user_id}} and {{timestamp}}")]
    UnpairedBrace,
    #[error(
        "there is no {{user_id}}, so all users would share one name; write for example siuu{{user_id}}-{{timestamp}}"
    )]
    NoUserId,
    #[error("{{{0}}} stands there twice; once is enough")]
    Repeated(&'static str),
    #[error("{0:?} cannot be in the name of a new bucket; use a-z, 0-9 and `-`")]
    Character(char),
    #[error(
        "the fixed part has {fixed} characters and leaves {left} for the user id, which needs at least {MIN_USER_ROOM}; \
         shorten it by {}",
        MIN_USER_ROOM - left
    )]
    TooLittleRoom {
        /// Characters outside the placeholders.
        fixed: usize,
        /// Characters left for the id beside a timestamp of twelve digits.
        left: usize,
    },
    #[error("no name made from it would be legal: {0}; change what stands before or after the placeholders")]
    NeverLegal(IllegalBucketName),
}

/// How new buckets are named: literal text with `{user_id}` once and `{timestamp}` at most once. A value of this type
/// gives a legal name for every id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketNameTemplate {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    UserId,
    Timestamp,
}

impl BucketNameTemplate {
    /// Reads a template as the configuration has it.
    pub fn new(template: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = template;
        while !rest.is_empty() {
            let literal = &rest[..rest.find(['{', '}']).unwrap_or(rest.len())];
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
                rest = &rest[literal.len()..];
                continue;
            }
            let (name, after) =
                rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).ok_or(TemplateError::UnpairedBrace)?;
            pieces.push(match name {
                USER_ID => Piece::UserId,
                TIMESTAMP => Piece::Timestamp,
                other => return Err(TemplateError::UnknownPlaceholder(other.to_owned())),
            });
            rest = after;
        }
        let template = Self { pieces };
        template.check()?;
        Ok(template)
    }

    /// The name of a new bucket for `user`, whose row was created at `created` (of which whole seconds since 1970 are
    /// used, not before 1970 and not after the year 9999).
    ///
    /// `attempt` is 0 at first, and one more for every name that turned out to be somebody else's. Always legal
    /// ([`is_legal_new_bucket_name`]), always the same for the same arguments.
    pub fn name_for(&self, user: &UserId, created: DateTime<Utc>, attempt: u32) -> BucketName {
        let timestamp = created.timestamp().clamp(0, LAST_TIMESTAMP_SECS).to_string();
        let name = self
            .plain_name(user, &timestamp, attempt)
            .unwrap_or_else(|| self.hashed_name(user.as_str(), &timestamp, attempt));
        BucketName::new(name).expect("the template was checked, so the name has 3 to 63 legal characters")
    }

    /// What stands before the first placeholder: all names made from this template begin so. It is what IAM policies and
    /// `bucket_prefix` can name. Empty if the template begins with a placeholder.
    pub fn literal_prefix(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Literal(text)) => text,
            _ => "",
        }
    }

    fn check(&self) -> Result<(), TemplateError> {
        let count = |wanted: Piece| self.pieces.iter().filter(|piece| **piece == wanted).count();
        match count(Piece::UserId) {
            0 => return Err(TemplateError::NoUserId),
            1 => {}
            _ => return Err(TemplateError::Repeated(USER_ID)),
        }
        if count(Piece::Timestamp) > 1 {
            return Err(TemplateError::Repeated(TIMESTAMP));
        }
        let literals = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(text) => Some(text.as_str()),
            _ => None,
        });
        if let Some(c) = literals.flat_map(str::chars).find(|c| !is_legal_char(*c)) {
            return Err(TemplateError::Character(c));
        }
        let longest_timestamp = LAST_TIMESTAMP_SECS.to_string();
        let left = self.user_room(&longest_timestamp);
        if left < MIN_USER_ROOM {
            return Err(TemplateError::TooLittleRoom { fixed: self.fill("", "").len(), left });
        }
        // Of all names the least troublesome: the id begins with the filler and ends in a hash, so a rule that it breaks is
        // broken by the literals, and so by every name. One that it keeps is kept by every hashed name.
        let sample = self.hashed_name(FILLER, &longest_timestamp, 0);
        is_legal_new_bucket_name(&sample).map_err(TemplateError::NeverLegal)
    }

    fn plain_name(&self, user: &UserId, timestamp: &str, attempt: u32) -> Option<String> {
        if attempt > 0 || looks_hashed(user.as_str()) {
            return None;
        }
        let name = self.fill(user.as_str(), timestamp);
        is_legal_new_bucket_name(&name).ok().map(|()| name)
    }

    fn hashed_name(&self, raw: &str, timestamp: &str, attempt: u32) -> String {
        let readable = readable(raw);
        let room = self.user_room(timestamp) - HASH_MARK.len() - HASH_CHARS;
        let hash = hash(raw, attempt);
        let with = |readable: &str| {
            // Only ASCII is left in it, so any length is a boundary.
            let cut = readable[..readable.len().min(room)].trim_end_matches('-');
            self.fill(&format!("{cut}{HASH_MARK}{hash}"), timestamp)
        };
        let name = with(&readable);
        match is_legal_new_bucket_name(&name) {
            Ok(()) if !readable.is_empty() => name,
            _ => with(&format!("{FILLER}{readable}")),
        }
    }

    fn user_room(&self, timestamp: &str) -> usize {
        MAX_LENGTH.saturating_sub(self.fill("", timestamp).len())
    }

    fn fill(&self, user: &str, timestamp: &str) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Literal(text) => text.as_str(),
                Piece::UserId => user,
                Piece::Timestamp => timestamp,
            })
            .collect()
    }
}

impl FromStr for BucketNameTemplate {
    type Err = TemplateError;

    fn from_str(template: &str) -> Result<Self, TemplateError> {
        Self::new(template)
    }
}

impl TryFrom<String> for BucketNameTemplate {
    type Error = TemplateError;

    fn try_from(template: String) -> Result<Self, TemplateError> {
        Self::new(&template)
    }
}

impl From<BucketNameTemplate> for String {
    fn from(template: BucketNameTemplate) -> String {
        template.to_string()
    }
}

impl fmt::Display for BucketNameTemplate {
    /// The template as the configuration has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fill(&format!("{{{USER_ID}}}"), &format!("{{{TIMESTAMP}}}")))
    }
}

fn is_legal_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

/// Whether an id could be mistaken for one that was changed to fit.
fn looks_hashed(id: &str) -> bool {
    let Some((_, tail)) = id.rsplit_once(HASH_MARK) else { return false };
    tail.len() == HASH_CHARS && tail.bytes().all(|b| HASH_ALPHABET.contains(&b))
}

/// What people can still read of an id: its letters and digits in lower case, one `-` for each run of anything else.
fn readable(raw: &str) -> String {
    let mut out = String::new();
    for c in raw.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.truncate(out.trim_end_matches('-').len());
    out
}

/// The first 50 bits of SHA-256 over the attempt and the raw id, as ten characters of lower-case base 32 (RFC 4648).
fn hash(raw: &str, attempt: u32) -> String {
    let digest = Sha256::new().chain_update(attempt.to_be_bytes()).chain_update(raw.as_bytes()).finalize();
    let bits = digest.iter().take(8).fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    (0..HASH_CHARS)
        .map(|i| HASH_ALPHABET[usize::try_from(bits >> (59 - 5 * i) & 31).expect("five bits fit")] as char)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEFAULT: &str = "siuu{user_id}-{timestamp}";

    /// Templates in which the id stands first, last, between, alone, and beside literals that long to become reserved.
    const TEMPLATES: [&str; 12] = [
        DEFAULT,
        "{user_id}",
        "{user_id}-{timestamp}",
        "{timestamp}-{user_id}",
        "{user_id}s3alias",
        "{user_id}-x-s3",
        "{user_id}s3",
        "xn{user_id}",
        "xn-{user_id}-{timestamp}",
        "sthre{user_id}",
        "amzn-s3-demo{user_id}",
        "a-very-long-literal-before-the-id-{user_id}a{timestamp}",
    ];

    fn template(text: &str) -> BucketNameTemplate {
        BucketNameTemplate::new(text).unwrap()
    }

    fn name(text: &str, id: &str, secs: i64, attempt: u32) -> String {
        let created = DateTime::from_timestamp(secs, 999_999_999).unwrap();
        template(text).name_for(&UserId::new(id).unwrap(), created, attempt).into()
    }

    #[test]
    fn a_legal_id_stays_as_it_is() {
        for id in ["42", "jane", "jane-doe", "a--b", "-x-", "xn--x", "c0ffee00-0000-4000-8000-000000000000"] {
            assert_eq!(name(DEFAULT, id, 1_700_000_000, 0), format!("siuu{id}-1700000000"));
        }
    }

    #[test]
    fn an_id_that_had_to_be_changed_stays_readable_and_carries_a_hash() {
        for (id, readable) in [
            ("Jane", "jane"),
            ("jane.doe@example.com", "jane-doe-example-com"),
            ("...", "u"),
            ("사진", "u"),
            ("Zoë_42!", "zo-42"),
            ("jane--abcdefghij", "jane-abcdefghij"),
        ] {
            let expected = format!("siuu{readable}--{}-1700000000", hash(id, 0));
            assert_eq!(name(DEFAULT, id, 1_700_000_000, 0), expected);
        }
        let long = "x".repeat(200);
        let expected = format!("siuu{}--{}-1700000000", "x".repeat(36), hash(&long, 0));
        assert_eq!(name(DEFAULT, &long, 1_700_000_000, 0), expected);
    }

    #[test]
    fn the_hash_is_base32_of_sha256() {
        // printf '\0\0\0\0Jane' | sha256sum, its first bytes in RFC 4648 base 32: names must not change between releases.
        assert_eq!(hash("Jane", 0), "lj7aqa5cjc");
        assert!(hash("Jane", 0) != hash("Jane", 1) && hash("Jane", 0) != hash("jane", 0));
    }

    #[test]
    fn an_id_cannot_be_chosen_to_fall_on_another_ones_hashed_name() {
        for attempt in 0..3 {
            let victim = name(DEFAULT, "Jane", 1_700_000_000, attempt);
            let chosen = victim.strip_prefix("siuu").and_then(|n| n.strip_suffix("-1700000000")).unwrap();
            assert_ne!(name(DEFAULT, chosen, 1_700_000_000, 0), victim);
        }
    }

    #[test]
    fn a_reserved_prefix_is_broken_and_an_id_at_an_edge_is_trimmed() {
        for (text, id, begins) in [
            ("{user_id}-{timestamp}", "sthree-x", "usthree-x--"),
            ("{user_id}-{timestamp}", "xn--x", "xn-x--"),
            ("{user_id}-{timestamp}", "-x", "x--"),
            ("sthre{user_id}", "e-x", "sthreue-x--"),
            ("{user_id}s3alias", "x-", "x--"),
        ] {
            let name = name(text, id, 0, 0);
            assert!(name.starts_with(begins), "{name}");
            assert_eq!(is_legal_new_bucket_name(&name), Ok(()), "{name}");
        }
    }

    #[test]
    fn the_timestamp_is_whole_seconds_and_any_time_will_do() {
        assert_eq!(name(DEFAULT, "a", 1_700_000_000, 0), "siuua-1700000000");
        assert_eq!(name(DEFAULT, "a", -5, 0), "siuua-0");
        assert_eq!(name(DEFAULT, "a", LAST_TIMESTAMP_SECS + 1, 0), "siuua-253402300799");
    }

    #[test]
    fn a_bad_template_says_what_is_wrong_and_what_would_be_right() {
        let too_long = format!("{}{{user_id}}-{{timestamp}}", "a".repeat(38));
        for (text, expected) in [
            ("siuu{userid}", "{userid} is no placeholder; there are {user_id} and {timestamp}"),
            ("siuu{user_id", "a `{` or `}` stands alone"),
            ("siuu}{user_id}", "a `{` or `}` stands alone"),
            ("", "there is no {user_id}"),
            ("siuu-{timestamp}", "there is no {user_id}"),
            ("{user_id}{user_id}", "{user_id} stands there twice"),
            ("{timestamp}{user_id}{timestamp}", "{timestamp} stands there twice"),
            ("Siuu{user_id}", "'S' cannot be"),
            ("siuu.{user_id}", "'.' cannot be"),
            ("siuu_{user_id}", "'_' cannot be"),
            (&too_long, "leaves 12 for the user id, which needs at least 13; shorten it by 1"),
            ("-{user_id}", "begins and ends with a letter or a digit"),
            ("{user_id}-", "begins and ends with a letter or a digit"),
            ("xn--{user_id}", "may begin with \"xn--\""),
            ("sthree-{user_id}", "may begin with \"sthree-\""),
            ("amzn-s3-demo-{user_id}", "may begin with \"amzn-s3-demo-\""),
            ("{user_id}-s3alias", "may end with \"-s3alias\""),
            ("{user_id}--ol-s3", "may end with \"--ol-s3\""),
            ("{user_id}--x-s3", "may end with \"--x-s3\""),
            ("{user_id}-{timestamp}--table-s3", "may end with \"--table-s3\""),
        ] {
            let error = BucketNameTemplate::new(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_template_reads_back_as_it_was_written_and_knows_its_prefix() {
        for text in TEMPLATES {
            assert_eq!(template(text).to_string(), text);
        }
        for (text, prefix) in [(DEFAULT, "siuu"), ("{user_id}x", ""), ("a-{timestamp}-{user_id}", "a-")] {
            assert_eq!(template(text).literal_prefix(), prefix);
        }
    }

    #[test]
    fn the_checker_knows_the_rules() {
        for legal in ["abc", "1-2-3-4", "007", "a--b", "mrap", "xn-a", &"a".repeat(63)] {
            assert_eq!(is_legal_new_bucket_name(legal), Ok(()), "{legal}");
        }
        for (name, why) in [
            ("ab", IllegalBucketName::Length(2)),
            (&"a".repeat(64), IllegalBucketName::Length(64)),
            ("192.168.5.4", IllegalBucketName::Dot),
            ("aBc", IllegalBucketName::Character('B')),
            ("abc-", IllegalBucketName::Edge),
            ("-abc", IllegalBucketName::Edge),
            ("xn--abc", IllegalBucketName::ReservedPrefix("xn--")),
            ("abc.mrap", IllegalBucketName::ReservedSuffix(".mrap")),
            ("abc-s3alias", IllegalBucketName::ReservedSuffix("-s3alias")),
        ] {
            assert_eq!(is_legal_new_bucket_name(name), Err(why), "{name}");
        }
    }

    /// Ids as they come, and as somebody would choose them to do harm.
    fn any_id() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[a-zA-Z0-9.-]{1,70}",
            "(xn|XN|sthree|amzn-s3-demo|e)?-{0,3}[a-z]{0,3}(-|--)(s3alias|ol-s3|x-s3|table-s3|s3|x)?",
            "[a-z]{1,3}--[a-z2-7]{9,11}",
            "[.]{1,200}",
            "\\PC{150,200}",
        ]
        .prop_filter("an id is not empty", |id| !id.is_empty())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn every_id_gives_a_legal_name_by_every_template(
            id in any_id(), text in prop::sample::select(&TEMPLATES[..]), secs in any::<i32>(), attempt in 0u32..3,
        ) {
            let name = name(text, &id, i64::from(secs), attempt);
            prop_assert_eq!(is_legal_new_bucket_name(&name), Ok(()), "{}", name);
            prop_assert!(name.starts_with(template(text).literal_prefix()));
        }

        #[test]
        fn two_ids_never_meet(a in any_id(), b in any_id(), text in prop::sample::select(&TEMPLATES[..]), n in 0u32..2) {
            let others = [b, a.to_uppercase(), a.to_lowercase(), format!("{a}-"), format!("-{a}"), a.replace('-', "."),
                          format!("{a}x"), format!("{a}--{}", hash(&a, 0)), format!("{}--{}", readable(&a), hash(&a, 0))];
            for other in others.iter().filter(|other| **other != a && !other.is_empty()) {
                prop_assert_ne!(name(text, &a, 7, 0), name(text, other, 7, n));
            }
        }

        #[test]
        fn a_name_depends_on_nothing_but_its_arguments(id in any_id(), attempt in 0u32..9) {
            prop_assert_eq!(name(DEFAULT, &id, 7, attempt), name(DEFAULT, &id, 7, attempt));
            prop_assert_ne!(name(DEFAULT, &id, 7, attempt), name(DEFAULT, &id, 7, attempt + 1));
        }
    }
}
