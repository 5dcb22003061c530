//! Where an object ends in JSON text, and where its strings and braces are, without reading what is in it.
//!
//! The text goes by in blocks of 64 bytes. Of each, vector comparisons make four masks of 64 bits (quotes, backslashes,
//! both braces), arithmetic on the masks leaves only what stands outside of strings, and only where the depth may come
//! down to nothing are the bits looked at one by one. This is several times faster than any parser. Of each
//! block one mask is kept, an [`Index`]: whoever then walks over the object goes from quote to quote.
//!
//! The widest vectors that the processor has are found out at run time.

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x64};

/// What [`Scanner::scan_object`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scan {
    /// Just after the brace that closes the object; None if the text ends before.
    pub(super) end: Option<usize>,
    /// Whether there was a backslash up to the end of the object. (Sometimes also for one within 64 bytes after it.)
    pub(super) has_backslash: bool,
    /// Whether at the place that was asked about a string begins that stands in the object itself and not in one within
    /// it: the name of a member, if a colon follows. False for a place behind the end.
    pub(super) is_string_at_top: bool,
}

/// Scans object after object, with the memory of one.
#[derive(Debug)]
pub(super) struct Scanner {
    level: Level,
    /// Of each block of the object scanned last, what [`Block::marks`] gives.
    blocks: Vec<u64>,
}

/// What stands where among 64 bytes.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// Those that begin or end a string.
    quotes: u64,
    /// Those that begin a string or are in one.
    strings: u64,
    /// Those that stand outside of strings.
    opens: u64,
    closes: u64,
    backslashes: u64,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self { level: Level::new(), blocks: Vec::new() }
    }

    /// Finds the end of the object that begins at the start of `text`, whose first byte is `{`, and what is at `place`,
    /// which may be anywhere. Looks at quotes, escapes and braces only: of well-formed text it finds the end, of other
    /// text an end or none.
    pub(super) fn scan_object(&mut self, text: &[u8], place: usize) -> Scan {
        let blocks = &mut self.blocks;
        dispatch!(self.level, simd => scan_object(simd, text, place, blocks))
    }

    /// Where the strings and braces are of the object that was scanned last, whose text this must be.
    pub(super) fn index<'a>(&'a mut self, object: &'a [u8]) -> Index<'a> {
        self.blocks.truncate(object.len().div_ceil(64));
        if let (Some(last), 1..) = (self.blocks.last_mut(), object.len() % 64) {
            *last &= (1 << (object.len() % 64)) - 1;
        }
        Index { text: object, blocks: &self.blocks }
    }
}

#[inline(always)]
fn scan_object<S: Simd>(simd: S, text: &[u8], place: usize, blocks: &mut Vec<u64>) -> Scan {
    let mut masks = Masks::default();
    let mut scan = Scan { end: None, has_backslash: false, is_string_at_top: false };
    let mut depth = 0;
    blocks.clear();
    let (whole, tail) = text.as_chunks::<64>();
    for (i, bytes) in whole.iter().enumerate() {
        let block = masks.next(simd, bytes);
        blocks.push(block.marks());
        if scan.step(i * 64, &block, &mut depth, place) {
            return scan;
        }
    }
    let block = masks.next(simd, &padded(tail));
    blocks.push(block.marks());
    scan.step(whole.len() * 64, &block, &mut depth, place);
    scan
}

fn padded(tail: &[u8]) -> [u8; 64] {
    let mut bytes = [b' '; 64];
    bytes[..tail.len()].copy_from_slice(tail);
    bytes
}

impl Scan {
    /// Takes the block at `start`, before which the object is `depth` deep; says whether it ends in it.
    #[inline(always)]
    fn step(&mut self, start: usize, block: &Block, depth: &mut u32, place: usize) -> bool {
        self.has_backslash |= block.backslashes != 0;
        let Block { quotes, strings, opens, closes, .. } = *block;
        if place.wrapping_sub(start) < 64 {
            let bit = 1 << (place - start);
            // What wraps around is behind the end, which is seen below.
            let depth_there =
                depth.wrapping_add((opens & (bit - 1)).count_ones()).wrapping_sub((closes & (bit - 1)).count_ones());
            self.is_string_at_top = quotes & strings & bit != 0 && depth_there == 1;
        }
        if closes.count_ones() < *depth {
            *depth = *depth + opens.count_ones() - closes.count_ones();
            return false;
        }
        let mut braces = opens | closes;
        while braces != 0 {
            let bit = braces.trailing_zeros();
            if opens >> bit & 1 == 1 {
                *depth += 1;
            } else {
                *depth = depth.saturating_sub(1);
                if *depth == 0 {
                    let end = start + bit as usize + 1;
                    self.end = Some(end);
                    self.is_string_at_top &= place < end;
                    return true;
                }
            }
            braces &= braces - 1;
        }
        false
    }
}

impl Block {
    /// Where strings begin and end, and the braces between them.
    fn marks(&self) -> u64 {
        self.quotes | self.opens | self.closes
    }
}

/// Makes the blocks of a text, one after another.
#[derive(Default)]
struct Masks {
    /// All ones while a string goes on into the next block, else zero.
    in_string: u64,
    /// 1 if the first byte of the next block is escaped.
    escape_carry: u64,
}

impl Masks {
    #[inline(always)]
    fn next<S: Simd>(&mut self, simd: S, bytes: &[u8; 64]) -> Block {
        let bytes = u8x64::from_slice(simd, bytes);
        let mask = |byte: u8| bytes.simd_eq(u8x64::splat(simd, byte)).to_bitmask();
        let mut quotes = mask(b'"');
        let backslashes = mask(b'\\');
        if backslashes | self.escape_carry != 0 {
            quotes &= !self.escaped(backslashes);
        }
        let strings = prefix_xor(simd, quotes) ^ self.in_string;
        self.in_string = 0_u64.wrapping_sub(strings >> 63);
        Block { quotes, strings, opens: mask(b'{') & !strings, closes: mask(b'}') & !strings, backslashes }
    }

    /// Which bytes have an odd run of backslashes before them. Adding to a run of ones carries to just after its end; whether
    /// that is an odd number of places away shows in whether it lands on another parity than the run began on.
    #[inline(always)]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        let escaping = backslashes & !self.escape_carry;
        let series = ((escaping << 1 | ODD).wrapping_sub(escaping)) ^ ODD;
        let escaped = series ^ (backslashes | self.escape_carry);
        self.escape_carry = (series & backslashes) >> 63;
        escaped
    }
}

/// Each bit the exclusive or of itself and all below: ones from each quote up to the next. Where the processor can multiply
/// without carries, that is the product with all ones.
#[inline(always)]
fn prefix_xor<S: Simd>(simd: S, mut bits: u64) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx512) = simd.level().as_avx512() {
        return carryless::times_ones(avx512, bits);
    }
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(target_arch = "x86_64")]
mod carryless {
    use std::arch::x86_64::{_mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_set1_epi8};

    fearless_simd::kernel!(
        #[inline(always)]
        pub(super) fn times_ones(_avx512: Avx512, bits: u64) -> u64 {
            let product = _mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(bits.cast_signed()), _mm_set1_epi8(-1));
            _mm_cvtsi128_si64(product).cast_unsigned()
        }
    );
}

/// Where the strings and braces of an object are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index<'a> {
    pub(super) text: &'a [u8],
    /// Of each string the two quotes, and the braces outside of strings.
    blocks: &'a [u64],
}

impl Index<'_> {
    /// The next of them, at or after `from`.
    #[inline(always)]
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        let mut from = from;
        loop {
            let (block, bit) = (from / 64, from % 64);
            // The 64 bits from there on, whichever blocks they lie in: in most strings that is a quote.
            let rest = self.blocks.get(block + 1).map_or(0, |next| next << 1 << (63 - bit));
            let ahead = self.blocks.get(block)? >> bit | rest;
            if ahead != 0 {
                return Some(from + ahead.trailing_zeros() as usize);
            }
            from += 64;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(text: &[u8]) -> Option<usize> {
        let (mut depth, mut in_string, mut escaped) = (0_u32, false, false);
        for (i, &byte) in text.iter().enumerate() {
            let is_escaped = std::mem::take(&mut escaped);
            match byte {
                b'\\' => escaped = !is_escaped,
                b'"' if is_escaped => {}
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'{' => depth += 1,
                b'}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Some(i + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// At every level of vectors that this processor has.
    fn scan_with(text: &[u8], place: usize) -> Scan {
        let mut scanner = Scanner::new();
        let scan = scanner.scan_object(text, place);
        let mut baseline = Scanner { level: Level::baseline(), ..Scanner::new() };
        assert_eq!(baseline.scan_object(text, place), scan);
        assert_eq!(scanner.blocks, baseline.blocks);
        scan
    }

    fn scan(text: &[u8]) -> Scan {
        scan_with(text, usize::MAX)
    }

    #[test]
    fn the_end_is_after_the_brace_that_closes_the_first() {
        let check = |text: &str, want: Option<usize>| assert_eq!(scan(text.as_bytes()).end, want, "{text}");
        check("{}", Some(2));
        check("{}}", Some(2));
        check(r#"{"a":{"b":"}"}},{"#, Some(15));
        check(r#"{"a":"\"}"}"#, Some(11));
        check(r#"{"a":"\\"}"#, Some(10));
        check(r#"{"a":"#, None);
        check(r#"{"a":"}"#, None);
        check("", None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn blocks_find_what_going_byte_by_byte_finds(text in r#"\{[{}\\"a]{0,300}"#) {
            prop_assert_eq!(scan(text.as_bytes()).end, plain(text.as_bytes()));
        }

        #[test]
        fn a_backslash_in_the_object_is_always_seen(text in r#"\{"[\\"a]{0,200}"\}"#) {
            let scan = scan(text.as_bytes());
            let object = &text[..scan.end.unwrap_or(text.len())];
            prop_assert!(scan.has_backslash || !object.contains('\\'));
        }

        #[test]
        fn marks_are_the_quotes_and_the_braces_between_strings(
            text in r#"\{([{}]|"([a{}\[\]]|\\.){0,40}"|[a:\[]{0,70}){0,40}"#,
            place in 0_usize..400,
        ) {
            let text = text.as_bytes();
            let Scan { end: Some(end), is_string_at_top, .. } = scan_with(text, place) else { return Ok(()) };
            let mut scanner = Scanner::new();
            scanner.scan_object(text, 0);
            let (mut marks, mut at, mut depth, mut top) = (Vec::new(), 0, 0, false);
            while at < end {
                match text[at] {
                    b'"' => {
                        top |= at == place && depth == 1;
                        marks.push(at as u32);
                        at += 1;
                        while text[at] != b'"' {
                            at += if text[at] == b'\\' { 2 } else { 1 };
                        }
                        marks.push(at as u32);
                    }
                    byte @ (b'{' | b'}') => {
                        depth += if byte == b'{' { 1 } else { -1 };
                        marks.push(at as u32);
                    }
                    _ => {}
                }
                at += 1;
            }
            let index = scanner.index(&text[..end]);
            let found = std::iter::successors(index.next(0), |mark| index.next(mark + 1));
            prop_assert_eq!(found.map(|mark| mark as u32).collect::<Vec<_>>(), marks);
            prop_assert_eq!(is_string_at_top, top);
        }
    }
}
