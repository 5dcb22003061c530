//! Where an object ends in JSON text, without reading what is in it.
//!
//! The text goes by in blocks of 64 bytes. Of each, vector comparisons make four masks of 64 bits (quotes, backslashes,
//! both braces), arithmetic on the masks leaves only what stands outside of strings, and only where the depth may come
//! down to nothing are the bits looked at one by one. This is several times faster than any parser, and it is all that a
//! record costs which cannot count.

use wide::u8x16;

/// What [`scan_object`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scan {
    /// Just after the brace that closes the object; None if the text ends before.
    pub(super) end: Option<usize>,
    /// Whether there was a backslash up to the end of the object. (Sometimes also for one within 64 bytes after it.)
    pub(super) has_backslash: bool,
}

/// Finds the end of the object that begins at the start of `text`, whose first byte is `{`. Looks at quotes, escapes and
/// braces only: of well-formed text it finds the end, of other text an end or none.
pub(super) fn scan_object(text: &[u8]) -> Scan {
    let mut state = State { in_string: 0, escape_carry: 0, depth: 0 };
    let mut has_backslash = false;
    let (blocks, tail) = text.as_chunks::<64>();
    for (i, block) in blocks.iter().enumerate() {
        if let Some(n) = state.step(block, &mut has_backslash) {
            return Scan { end: Some(i * 64 + n), has_backslash };
        }
    }
    let mut last = [b' '; 64];
    last[..tail.len()].copy_from_slice(tail);
    let end = state.step(&last, &mut has_backslash).map(|n| blocks.len() * 64 + n);
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
    fn step(&mut self, block: &[u8; 64], has_backslash: &mut bool) -> Option<usize> {
        let masks = Masks::of(block);
        let mut quotes = masks.quotes;
        if masks.backslashes | self.escape_carry != 0 {
            *has_backslash = true;
            quotes &= !self.escaped(masks.backslashes);
        }
        let strings = prefix_xor(quotes) ^ self.in_string;
        self.in_string = 0_u64.wrapping_sub(strings >> 63);
        let opens = masks.opens & !strings;
        let closes = masks.closes & !strings;
        if closes.count_ones() < self.depth {
            self.depth = self.depth + opens.count_ones() - closes.count_ones();
            return None;
        }
        let mut braces = opens | closes;
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

struct Masks {
    quotes: u64,
    backslashes: u64,
    opens: u64,
    closes: u64,
}

impl Masks {
    #[inline(always)]
    fn of(block: &[u8; 64]) -> Self {
        let mut masks = Self { quotes: 0, backslashes: 0, opens: 0, closes: 0 };
        let (lanes, _) = block.as_chunks::<16>();
        for (i, lane) in lanes.iter().enumerate() {
            let lane = u8x16::new(*lane);
            let mask = |byte: u8| u64::from(lane.simd_eq(u8x16::splat(byte)).to_bitmask()) << (16 * i);
            masks.quotes |= mask(b'"');
            masks.backslashes |= mask(b'\\');
            masks.opens |= mask(b'{');
            masks.closes |= mask(b'}');
        }
        masks
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

    #[test]
    fn the_end_is_after_the_brace_that_closes_the_first() {
        let check = |text: &str, want: Option<usize>| assert_eq!(scan_object(text.as_bytes()).end, want, "{text}");
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
            prop_assert_eq!(scan_object(text.as_bytes()).end, plain(text.as_bytes()));
        }

        #[test]
        fn a_backslash_in_the_object_is_always_seen(text in r#"\{"[\\"a]{0,200}"\}"#) {
            let scan = scan_object(text.as_bytes());
            let object = &text[..scan.end.unwrap_or(text.len())];
            prop_assert!(scan.has_backslash || !object.contains('\\'));
        }
    }
}
