//! Inflating log files, whole, under a cap.
//!
//! [`inflate_stream`] says what a gzip file means: any number of members one after another (a decoder that stops after
//! the first loses the rest in silence), zero bytes as padding after the last one, nothing else. [`Inflater`] gives the
//! same answers nearly three times as fast where it can: libdeflate inflates a whole member in one go, and where a file is one
//! well-formed member, as nearly all are, that is all. Whatever it cannot vouch for, it hands to the stream.
//!
//! libdeflate does not say where in the input a member ended. But a member ends with the length of its content, and
//! libdeflate has verified that: if these four bytes stand at the end of the file and nowhere before, the member ended
//! there. If they stand elsewhere too, by chance or because equal members follow one another, the checksum before the
//! length decides in the same way.

use std::io::{self, BufRead};

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::Decompressor;
use memchr::memmem;
use thiserror::Error;

/// Why a file cannot be inflated. All of these are for good: the same bytes will fail again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GzipError {
    #[error("the file is not gzip")]
    NotGzip,
    #[error("the file is truncated")]
    Truncated,
    #[error("the compressed data is corrupt")]
    Corrupt,
    #[error("the checksum or the length is not that of the content")]
    BadChecksum,
    #[error("something that is not gzip follows after {0} bytes")]
    TrailingGarbage(u64),
    #[error("the file inflates to more than {0} bytes")]
    TooLarge(usize),
    /// The reader's own; a whole-buffer inflater never has it.
    #[error("the compressed data cannot be read")]
    Read(#[source] io::Error),
}

impl PartialEq for GzipError {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::TrailingGarbage(a), Self::TrailingGarbage(b)) => a == b,
            (Self::TooLarge(a), Self::TooLarge(b)) => a == b,
            (Self::Read(a), Self::Read(b)) => a.kind() == b.kind(),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// What a file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Gzip and nothing else.
    Gzip,
    /// Gzip if it begins so, else plain text: S3 writes its access logs plain, and people compress them later.
    GzipOrPlain,
}

const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Checksum and length at the end of a member (RFC 1952, 2.3.1).
const FOOTER_BYTES: usize = 8;
/// Deflate makes at most 258 bytes of 2 bits.
const MAX_RATIO: usize = 1032;

/// Inflates file after file into one buffer, which it keeps.
pub struct Inflater {
    decompressor: Decompressor,
    buffer: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    pub fn new() -> Self {
        Self { decompressor: Decompressor::new(), buffer: Vec::new() }
    }

    /// The content of a file, which lives until the next one is read. Fails where it is, or would be, larger than
    /// `max_bytes`. A file of no bytes has no content, whatever its encoding.
    pub fn read<'a>(&'a mut self, file: &'a [u8], encoding: Encoding, max_bytes: usize) -> Result<&'a [u8], GzipError> {
        if encoding == Encoding::GzipOrPlain && !file.starts_with(&MAGIC) {
            return if file.len() > max_bytes { Err(GzipError::TooLarge(max_bytes)) } else { Ok(file) };
        }
        self.inflate(file, max_bytes)
    }

    /// The content of a gzip file; see [`Inflater::read`].
    pub fn inflate(&mut self, file: &[u8], max_bytes: usize) -> Result<&[u8], GzipError> {
        match self.inflate_single(file, max_bytes) {
            Some(len) => Ok(&self.buffer[..len]),
            None => {
                self.buffer.clear();
                inflate_stream(file, max_bytes, &mut self.buffer)?;
                Ok(&self.buffer)
            }
        }
    }

    /// Gives up memory that a large file has left behind.
    pub fn shrink_to(&mut self, bytes: usize) {
        if self.buffer.capacity() > bytes {
            self.buffer = Vec::new();
        }
    }

    /// The length of the content, now in the buffer, if the file is certainly one good member within the cap.
    fn inflate_single(&mut self, file: &[u8], max_bytes: usize) -> Option<usize> {
        let footer = file.get(file.len().checked_sub(FOOTER_BYTES)?..)?;
        let length = u32::from_le_bytes(footer[4..].try_into().ok()?) as usize;
        // The length is only what the file says: a lie must not make us take memory that the content cannot fill.
        if length > max_bytes || length > file.len().saturating_mul(MAX_RATIO) {
            return None;
        }
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        let got = self.decompressor.gzip_decompress(file, &mut self.buffer[..length]).ok()?;
        if got != length {
            return None;
        }
        let ends_first_at_end = |what: &[u8]| memmem::find(file, what).is_some_and(|n| n + what.len() == file.len());
        let is_single = ends_first_at_end(&footer[4..])
            || (libdeflater::crc32(&self.buffer[..got]).to_le_bytes() == footer[..4] && ends_first_at_end(footer));
        is_single.then_some(length)
    }
}

/// Inflates what `reader` gives and adds it to `content`; for what does not lie in memory, and the measure of what is
/// right. Fails where the content is larger than `max_bytes`, before it has taken much more memory than that.
pub fn inflate_stream(mut reader: impl BufRead, max_bytes: usize, content: &mut Vec<u8>) -> Result<(), GzipError> {
    let start = content.len();
    let mut consumed = 0_u64;
    let mut members = 0;
    loop {
        let next = reader.fill_buf().map_err(GzipError::Read)?;
        match next.first() {
            None => return Ok(()),
            Some(0) if members > 0 => return only_zeros(reader, consumed),
            Some(&first) if first != MAGIC[0] => {
                return Err(if members == 0 { GzipError::NotGzip } else { GzipError::TrailingGarbage(consumed) });
            }
            Some(_) => {}
        }
        let mut input = Counted { reader: &mut reader, consumed: 0 };
        let from = content.len();
        match header(&mut input) {
            Err(GzipError::NotGzip) if members > 0 => return Err(GzipError::TrailingGarbage(consumed)),
            result => result?,
        }
        body(&mut input, max_bytes, start, content)?;
        let crc = u32::from_le_bytes(input.array()?);
        let length = u32::from_le_bytes(input.array()?);
        let member = &content[from..];
        if libdeflater::crc32(member) != crc || member.len() as u64 & 0xffff_ffff != u64::from(length) {
            return Err(GzipError::BadChecksum);
        }
        consumed += input.consumed;
        members += 1;
    }
}

fn only_zeros(mut reader: impl BufRead, consumed: u64) -> Result<(), GzipError> {
    loop {
        let next = reader.fill_buf().map_err(GzipError::Read)?;
        if next.is_empty() {
            return Ok(());
        }
        if next.iter().any(|byte| *byte != 0) {
            return Err(GzipError::TrailingGarbage(consumed));
        }
        let len = next.len();
        reader.consume(len);
    }
}

struct Counted<R> {
    reader: R,
    consumed: u64,
}

impl<R: BufRead> Counted<R> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], GzipError> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => GzipError::Truncated,
            _ => GzipError::Read(error),
        })?;
        self.consumed += N as u64;
        Ok(bytes)
    }

    fn skip_text(&mut self) -> Result<(), GzipError> {
        while self.array::<1>()? != [0] {}
        Ok(())
    }
}

/// Reads a member's header over (RFC 1952, 2.3).
fn header(input: &mut Counted<impl BufRead>) -> Result<(), GzipError> {
    const HEADER_CRC: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const DEFLATE: u8 = 8;

    let magic: [u8; 2] = input.array()?;
    if magic != MAGIC {
        return Err(GzipError::NotGzip);
    }
    let [method, flags, ..] = input.array::<8>()?;
    if method != DEFLATE || flags & 0xe0 != 0 {
        return Err(GzipError::Corrupt);
    }
    if flags & EXTRA != 0 {
        for _ in 0..u16::from_le_bytes(input.array()?) {
            input.array::<1>()?;
        }
    }
    if flags & NAME != 0 {
        input.skip_text()?;
    }
    if flags & COMMENT != 0 {
        input.skip_text()?;
    }
    if flags & HEADER_CRC != 0 {
        input.array::<2>()?;
    }
    Ok(())
}

/// Inflates a member's data.
fn body(
    input: &mut Counted<impl BufRead>,
    max_bytes: usize,
    start: usize,
    content: &mut Vec<u8>,
) -> Result<(), GzipError> {
    let mut inflate = Decompress::new(false);
    let mut window = vec![0; 64 << 10];
    loop {
        let next = input.reader.fill_buf().map_err(GzipError::Read)?;
        let at_end = next.is_empty();
        let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
        let status = inflate.decompress(next, &mut window, FlushDecompress::None).map_err(|_| GzipError::Corrupt)?;
        let read = inflate.total_in() - before_in;
        let wrote = usize::try_from(inflate.total_out() - before_out).expect("at most the window");
        input.reader.consume(usize::try_from(read).expect("at most what was there"));
        input.consumed += read;
        if wrote > max_bytes - (content.len() - start) {
            return Err(GzipError::TooLarge(max_bytes));
        }
        content.extend_from_slice(&window[..wrote]);
        match status {
            Status::StreamEnd => return Ok(()),
            _ if at_end && wrote == 0 => return Err(GzipError::Truncated),
            // Cannot be; a loop that never ends would be worse than a file set aside.
            _ if read == 0 && wrote == 0 => return Err(GzipError::Corrupt),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::{Compression, GzBuilder, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// Inflates in both ways and sees that they agree.
    fn inflate(file: &[u8], max_bytes: usize) -> Result<Vec<u8>, GzipError> {
        let whole = Inflater::new().inflate(file, max_bytes).map(<[u8]>::to_vec);
        for capacity in [1, 7, 8192] {
            let mut content = Vec::new();
            let stream = inflate_stream(BufReader::with_capacity(capacity, file), max_bytes, &mut content);
            assert_eq!(stream.map(|()| content), whole, "in pieces of {capacity}");
        }
        whole
    }

    fn check(file: &[u8], want: Result<&[u8], GzipError>) {
        assert_eq!(inflate(file, 1000), want.map(<[u8]>::to_vec));
    }

    #[test]
    fn several_members_are_one_content() {
        check(&gzip(b"one"), Ok(b"one"));
        check(&[gzip(b"one"), gzip(b"two")].concat(), Ok(b"onetwo"));
        check(&[gzip(b"same"), gzip(b"same")].concat(), Ok(b"samesame"));
        check(&[gzip(b""), gzip(b"two"), gzip(b"")].concat(), Ok(b"two"));
        check(&gzip(b""), Ok(b""));
        check(b"", Ok(b""));
    }

    #[test]
    fn a_header_may_have_every_field() {
        let mut encoder = GzBuilder::new()
            .filename("a.json")
            .comment("c")
            .extra(vec![1, 2, 3])
            .write(Vec::new(), Compression::fast());
        encoder.write_all(b"text").unwrap();
        check(&encoder.finish().unwrap(), Ok(b"text"));
    }

    #[test]
    fn zeros_may_follow_the_last_member_and_nothing_else() {
        let file = gzip(b"one");
        check(&[&file[..], &[0; 600]].concat(), Ok(b"one"));
        check(&[&file[..], &[0, 0, 1]].concat(), Err(GzipError::TrailingGarbage(file.len() as u64)));
        check(&[&file[..], b"garbage"].concat(), Err(GzipError::TrailingGarbage(file.len() as u64)));
        check(&[&file[..], &MAGIC].concat(), Err(GzipError::Truncated));
    }

    #[test]
    fn each_kind_of_damage_has_its_name() {
        let file = gzip(b"the quick brown fox jumps over the lazy dog");
        check(b"{\"Records\":[]}", Err(GzipError::NotGzip));
        for end in 1..file.len() {
            check(&file[..end], Err(GzipError::Truncated));
        }
        let mut bad = file.clone();
        let last = bad.len() - 1;
        bad[last] ^= 1;
        check(&bad, Err(GzipError::BadChecksum));
        let mut bad = file.clone();
        bad[last - 5] ^= 1;
        check(&bad, Err(GzipError::BadChecksum));
        let mut bad = file.clone();
        bad[10] = 0xff;
        check(&bad, Err(GzipError::Corrupt));
        let mut bad = file;
        bad[2] = 7;
        check(&bad, Err(GzipError::Corrupt));
    }

    #[test]
    fn a_bomb_stops_at_the_cap() {
        check(&gzip(&[b'a'; 1000]), Ok(&[b'a'; 1000]));
        check(&gzip(&[b'a'; 1001]), Err(GzipError::TooLarge(1000)));
        check(&[gzip(&[b'a'; 600]), gzip(&[b'a'; 600])].concat(), Err(GzipError::TooLarge(1000)));
        let mut lie = gzip(&[b'a'; 100_000]);
        let at = lie.len() - 4;
        lie[at..].copy_from_slice(&5_u32.to_le_bytes());
        check(&lie, Err(GzipError::TooLarge(1000)));
        let mut inflater = Inflater::new();
        assert_eq!(inflater.inflate(&gzip(&vec![0; 10 << 20]), 1000), Err(GzipError::TooLarge(1000)));
        assert!(inflater.buffer.len() < 1 << 20);
    }

    #[test]
    fn plain_text_is_taken_as_it_is_where_it_may_be() {
        let mut inflater = Inflater::new();
        assert_eq!(inflater.read(b"plain", Encoding::GzipOrPlain, 5).unwrap(), b"plain");
        assert_eq!(inflater.read(b"plain", Encoding::GzipOrPlain, 4), Err(GzipError::TooLarge(4)));
        assert_eq!(inflater.read(b"plain", Encoding::Gzip, 5), Err(GzipError::NotGzip));
        assert_eq!(inflater.read(&gzip(b"a"), Encoding::GzipOrPlain, 5).unwrap(), b"a");
    }

    #[test]
    fn a_shorter_file_after_a_longer_one_has_nothing_of_it() {
        let mut inflater = Inflater::new();
        assert_eq!(inflater.inflate(&gzip(b"a longer one"), 100).unwrap(), b"a longer one");
        assert_eq!(inflater.inflate(&gzip(b"short"), 100).unwrap(), b"short");
        assert_eq!(inflater.inflate(&[gzip(b"a"), gzip(b"b")].concat(), 100).unwrap(), b"ab");
    }

    proptest! {
        #[test]
        fn both_ways_agree_on_whatever_comes(
            members in prop::collection::vec(prop::collection::vec(0_u8..4, 0..300), 0..4),
            tail in prop::collection::vec(any::<u8>(), 0..4),
            damage in prop::option::of((any::<prop::sample::Index>(), 1_u8..)),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut file: Vec<u8> = members.iter().flat_map(|member| gzip(member)).collect();
            prop_assert_eq!(inflate(&file, 10_000), Ok(members.concat()));
            file.extend(tail);
            if let Some((at, bits)) = damage && !file.is_empty() {
                let at = at.index(file.len());
                file[at] ^= bits;
            }
            for file in [&file[..], &file[..cut.index(file.len() + 1)]] {
                let whole = Inflater::new().inflate(file, 500).map(<[u8]>::to_vec).ok();
                let mut content = Vec::new();
                // Where a file has two faults, which one is met first depends on the pieces it comes in.
                let stream = inflate_stream(BufReader::with_capacity(7, file), 500, &mut content);
                prop_assert_eq!(stream.ok().map(|()| content), whole);
            }
        }
    }
}
