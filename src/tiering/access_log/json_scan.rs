//! Where an object ends in JSON text, and where its strings and braces are, without reading what is in it.
//!
//! The text goes by in blocks of 64 bytes. Of each, vector comparisons make four masks of 64 bits (quotes, backslashes,
//! both braces), arithmetic on the masks leaves only what stands outside of strings, and only where the depth may come
//! down to nothing are the bits looked at one by one. This is several times faster than any parser. The masks are kept:
//! whoever then walks over the object jumps from quote to quote and over whole objects.
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
}

/// Scans object after object, with the memory of one.
#[derive(Debug)]
pub(super) struct Scanner {
    level: Level,
    blocks: Vec<Block>,
}

/// What stands where among 64 bytes.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// Those that begin or end a string.
    quotes: u64,
    /// Those that stand outside of strings, of either kind.
    braces: u64,
    backslashes: u64,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self { level: Level::new(), blocks: Vec::new() }
    }

    /// Finds the end of the object that begins at the start of `text`, whose first byte is `{`. Looks at quotes, escapes
    /// and braces only: of well-formed text it finds the end, of other text an end or none.
    pub(super) fn scan_object(&mut self, text: &[u8]) -> Scan {
        let blocks = &mut self.blocks;
        dispatch!(self.level, simd => scan_object(simd, text, blocks))
    }

    /// The index of the object that was scanned last, whose text this must be.
    pub(super) fn index<'a>(&'a self, object: &'a [u8]) -> Index<'a> {
        Index { text: object, blocks: &self.blocks }
    }
}

#[inline(always)]
fn scan_object<S: Simd>(simd: S, text: &[u8], blocks: &mut Vec<Block>) -> Scan {
    let mut state = State { in_string: 0, escape_carry: 0, depth: 0 };
    let mut has_backslash = false;
    blocks.clear();
    let (whole, tail) = text.as_chunks::<64>();
    for (i, bytes) in whole.iter().enumerate() {
        if let Some(n) = state.step(simd, bytes, blocks, &mut has_backslash) {
            return Scan { end: Some(i * 64 + n), has_backslash };
        }
    }
    let mut last = [b' '; 64];
    last[..tail.len()].copy_from_slice(tail);
    let end = state.step(simd, &last, blocks, &mut has_backslash).map(|n| whole.len() * 64 + n);
    Scan { end, has_backslash }
}

struct State {
    /// All ones while a string goes on into the next block, else zero.
    in_string: u64,
    /// 1 if the first byte of the next block is escaped.
    escape_carry: u64,
    depth: u32,
}

impl State {
    /// Takes one block; where the depth comes down to zero, says after how many bytes.
    #[inline(always)]
    fn step<S: Simd>(
        &mut self,
        simd: S,
        bytes: &[u8; 64],
        blocks: &mut Vec<Block>,
        has_backslash: &mut bool,
    ) -> Option<usize> {
        let bytes = u8x64::from_slice(simd, bytes);
        let mask = |byte: u8| bytes.simd_eq(u8x64::splat(simd, byte)).to_bitmask();
        let mut quotes = mask(b'"');
        let backslashes = mask(b'\\');
        if backslashes | self.escape_carry != 0 {
            *has_backslash = true;
            quotes &= !self.escaped(backslashes);
        }
        let strings = prefix_xor(quotes) ^ self.in_string;
        self.in_string = 0_u64.wrapping_sub(strings >> 63);
        let opens = mask(b'{') & !strings;
        let closes = mask(b'}') & !strings;
        let mut braces = opens | closes;
        blocks.push(Block { quotes, braces, backslashes });
        if closes.count_ones() < self.depth {
            self.depth = self.depth + opens.count_ones() - closes.count_ones();
            return None;
        }
        while braces != 0 {
            let bit = braces.trailing_zeros();
            if opens >> bit & 1 == 1 {
                self.depth += 1;
            } else {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    return Some(bit as usize + 1);
                }
            }
            braces &= braces - 1;
        }
        None
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

/// Each bit the exclusive or of itself and all below: ones from each quote up to the next.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

/// Where the strings and braces of an object are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index<'a> {
    text: &'a [u8],
    blocks: &'a [Block],
}

impl<'a> Index<'a> {
    pub(super) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Of the string that the quote at `open` begins: where the quote stands that ends it.
    #[inline(always)]
    pub(super) fn string_close(&self, open: usize) -> Option<usize> {
        next(self.blocks, open + 1, |block| block.quotes).filter(|close| *close < self.text.len())
    }

    /// Whether there is a backslash from `start` to just before `end`, which must be within the object.
    #[inline(always)]
    pub(super) fn has_backslash(&self, start: usize, end: usize) -> bool {
        if start >= end {
            return false;
        }
        let (first, last) = (start / 64, (end - 1) / 64);
        (first..=last).any(|i| {
            let from = if i == first { start % 64 } else { 0 };
            let left = if i == last { 63 - (end - 1) % 64 } else { 0 };
            self.blocks[i].backslashes >> from << from << left != 0
        })
    }

    /// Of the object that the brace at `open` begins: just after the brace that ends it.
    pub(super) fn object_end(&self, open: usize) -> Option<usize> {
        let mut at = open + 1;
        let mut depth = 1;
        loop {
            let brace = next(self.blocks, at, |block| block.braces)?;
            at = brace + 1;
            match self.text.get(brace)? {
                b'{' => depth += 1,
                _ if depth == 1 => return Some(at),
                _ => depth -= 1,
            }
        }
    }
}

/// The first place at or after `from` that is set in its mask.
#[inline(always)]
fn next(blocks: &[Block], from: usize, mask: impl Fn(&Block) -> u64) -> Option<usize> {
    let mut i = from / 64;
    let mut bits = mask(blocks.get(i)?) >> (from % 64) << (from % 64);
    while bits == 0 {
        i += 1;
        bits = mask(blocks.get(i)?);
    }
    Some(i * 64 + bits.trailing_zeros() as usize)
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
    fn scan(text: &[u8]) -> Scan {
        let mut scanner = Scanner::new();
        let scan = scanner.scan_object(text);
        let mut blocks = Vec::new();
        let baseline = Level::baseline();
        assert_eq!(dispatch!(baseline, simd => scan_object(simd, text, &mut blocks)), scan);
        scan
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
        fn strings_and_objects_end_where_going_byte_by_byte_ends_them(text in r#"\{([{}]|"([a{}\[\]]|\\.){0,40}"){0,40}"#) {
            let text = text.as_bytes();
            let mut scanner = Scanner::new();
            let Some(end) = scanner.scan_object(text).end else { return Ok(()) };
            let object = &text[..end];
            let index = scanner.index(object);
            let mut at = 0;
            while at < end {
                at = match object[at] {
                    b'"' => {
                        let mut close = at + 1;
                        while object[close] != b'"' {
                            close += if object[close] == b'\\' { 2 } else { 1 };
                        }
                        prop_assert_eq!(index.string_close(at), Some(close));
                        prop_assert_eq!(index.has_backslash(at, close), object[at..close].contains(&b'\\'));
                        close + 1
                    }
                    byte => {
                        if byte == b'{' {
                            prop_assert_eq!(index.object_end(at), plain(&object[at..]).map(|n| at + n));
                        }
                        at + 1
                    }
                };
            }
        }
    }
}
