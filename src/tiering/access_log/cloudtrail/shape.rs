//! Records that are written like one that was read before.
//!
//! A log holds thousands of records that differ in their values only. Of each record that the walk has found to count,
//! [`Shapes`] keeps what stands between its values: names, colons, commas, brackets. A record with the same text between
//! its values has the same structure, so which value means what is known from the first, and a few comparisons stand for a
//! walk through all members. Values are what is between the quotes of a string that is no name, and numbers; null, true and
//! false are text.
//!
//! That the texts are the same decides nothing about the values: those are judged here as the walk would. What is not
//! like any record before ([`Stop::Odd`]) is for the walk.

use super::super::json_scan::Index;
use super::record::Counting;
use super::walk::{Met, Stop, literal_end};
use crate::tiering::access::CountingRules;

/// What a value means to a record that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    None,
    Event,
    Source,
    Time,
    Id,
    SharedId,
    Bucket,
    Key,
    Caller,
    BytesSent,
    BytesReceived,
}

/// What the walk has learnt of a record: where values that mean something begin, at their quote if they have one.
#[derive(Debug, Default)]
pub(super) struct Lesson {
    pub(super) roles: Vec<(usize, Role)>,
    /// See [`Met`].
    pub(super) carried: u64,
}

/// How much is kept. A log may be made to have ever new shapes (callers choose the names of parameters); what then no
/// longer fits begins anew.
const MAX_NODES: usize = 4096;
const MAX_PIECES: usize = 4 * MAX_NODES;
/// How many shapes may part at one place, each of which costs a comparison.
const MAX_BRANCHES: usize = 16;
/// Records with more values, or longer ones, are not worth it.
const MAX_VALUES: usize = 400;
const MAX_RECORD_BYTES: usize = 64 << 10;

/// A tree of texts: shapes that begin alike share their beginning.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    nodes: Vec<Node>,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// The text from the end of one value to the beginning of the next, in pieces.
    first_piece: u32,
    pieces: u32,
    len: u32,
    then: Then,
    /// Another text that may stand here instead, as its number; 0 for none, for the first node is nobody's other.
    or: u32,
    /// What stands after the value; 0 for nothing.
    next: u32,
}

/// Sixteen bytes of a text, or what is left of it: the bits of `mask` must be as in `bits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    bits: u128,
    mask: u128,
}

/// What comes after a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    String(Role),
    Number(Role),
    End { carried: u64 },
}

impl Shapes {
    /// How many texts and how many pieces of them are kept.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.nodes.len(), self.pieces.len())
    }

    /// Reads the record that `index` is of, which counts if nothing stops it; `window` begins with it and should go on
    /// beyond its end. `has_backslash` may only be false if there is none in it.
    pub(super) fn read<'a>(
        &self,
        index: Index<'_>,
        window: &'a [u8],
        has_backslash: bool,
        rules: &CountingRules,
    ) -> Result<Counting<'a>, Stop> {
        let mut met = Met::default();
        let (mut at, mut next) = (0, 0);
        loop {
            let node = self.node_at(next, window, at).ok_or(Stop::Odd)?;
            at += node.len as usize;
            next = node.next as usize;
            match node.then {
                Then::String(role) => {
                    let end = index.next(at).ok_or(Stop::Odd)?;
                    if role != Role::None {
                        met.take(role, &window[at..end], has_backslash, rules)?;
                    }
                    at = end;
                }
                Then::Number(role) => {
                    let end = literal_end(window, at);
                    met.take_number(role, &window[at..end])?;
                    at = end;
                }
                Then::End { carried } if at == index.text.len() => {
                    met.carried = carried;
                    return met.counting(has_backslash, rules);
                }
                Then::End { .. } => return Err(Stop::Odd),
            }
        }
    }

    /// Keeps the shape of the record that `index` is of, which counts.
    pub(super) fn learn(&mut self, index: Index<'_>, lesson: &Lesson) {
        let Some(parts) = parts(index, lesson) else { return };
        if self.nodes.len() + parts.len() > MAX_NODES || self.pieces.len() > MAX_PIECES {
            *self = Self::default();
        }
        let mut before: Option<usize> = None;
        for (text, then) in parts {
            let first = before.map_or(0, |before| self.nodes[before].next as usize);
            // Nobody's next is the first node, which only is there once something has been learnt.
            let is_there = if before.is_none() { !self.nodes.is_empty() } else { first > 0 };
            let (mut branch, mut last, mut branches) = (is_there.then_some(first), None, 0);
            while let Some(number) = branch.filter(|number| !self.is_of(*number, text, then)) {
                let or = self.nodes[number].or as usize;
                (branch, last, branches) = ((or > 0).then_some(or), Some(number), branches + 1);
            }
            if branches == MAX_BRANCHES {
                *self = Self::default();
                return;
            }
            before = Some(branch.unwrap_or_else(|| {
                let number = self.add(text, then);
                match (last, before) {
                    (Some(other), _) => self.nodes[other].or = number as u32,
                    (None, Some(before)) => self.nodes[before].next = number as u32,
                    (None, None) => {}
                }
                number
            }));
        }
    }

    fn is_of(&self, number: usize, text: &[u8], then: Then) -> bool {
        let node = self.nodes[number];
        node.then == then && node.len as usize == text.len() && pieces(text).eq(self.pieces(&node).iter().copied())
    }

    fn pieces(&self, node: &Node) -> &[Piece] {
        &self.pieces[node.first_piece as usize..][..node.pieces as usize]
    }

    fn add(&mut self, text: &[u8], then: Then) -> usize {
        let first_piece = self.pieces.len() as u32;
        self.pieces.extend(pieces(text));
        let pieces = self.pieces.len() as u32 - first_piece;
        self.nodes.push(Node { first_piece, pieces, len: text.len() as u32, then, or: 0, next: 0 });
        self.nodes.len() - 1
    }

    /// The node whose text stands at `at`: the one of this number, or another that may be there instead.
    #[inline(always)]
    fn node_at(&self, number: usize, window: &[u8], at: usize) -> Option<&Node> {
        let mut node = self.nodes.get(number)?;
        while !self.is_at(node, window, at) {
            node = self.nodes.get(node.or as usize).filter(|_| node.or > 0)?;
        }
        Some(node)
    }

    /// Whether the text of `node` stands at `at`, and a number behind it if it should. False also near the end of `window`,
    /// where too little of it is left to look at sixteen bytes at a time.
    #[inline(always)]
    fn is_at(&self, node: &Node, window: &[u8], at: usize) -> bool {
        let mut rest = window.get(at..).unwrap_or_default();
        let is_text = self.pieces(node).iter().all(|piece| {
            let Some((bytes, after)) = rest.split_first_chunk::<16>() else { return false };
            rest = after;
            (u128::from_le_bytes(*bytes) ^ piece.bits) & piece.mask == 0
        });
        let is_number = || window.get(at + node.len as usize).is_some_and(|byte| matches!(byte, b'-' | b'0'..=b'9'));
        is_text && (!matches!(node.then, Then::Number(_)) || is_number())
    }
}

fn pieces(text: &[u8]) -> impl Iterator<Item = Piece> {
    text.chunks(16).map(|bytes| {
        let mut all = [0; 16];
        all[..bytes.len()].copy_from_slice(bytes);
        Piece { bits: u128::from_le_bytes(all), mask: u128::MAX >> (128 - 8 * bytes.len()) }
    })
}

/// The texts of a record, each with what comes after it; None for one that is not worth it.
fn parts<'a>(index: Index<'a>, lesson: &Lesson) -> Option<Vec<(&'a [u8], Then)>> {
    let text = index.text;
    if text.len() > MAX_RECORD_BYTES {
        return None;
    }
    let role = |place| lesson.roles.iter().find(|(of, _)| *of == place).map_or(Role::None, |(_, role)| *role);
    let mut parts = Vec::new();
    let (mut at, mut from) = (0, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                let end = index.next(at + 1)?;
                let next = text[end + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
                if next != Some(&b':') {
                    parts.push((&text[from..=at], Then::String(role(at))));
                    from = end;
                }
                at = end + 1;
            }
            b'-' | b'0'..=b'9' => {
                parts.push((&text[from..at], Then::Number(role(at))));
                at = literal_end(text, at);
                from = at;
            }
            b'a'..=b'z' => at = literal_end(text, at),
            _ => at += 1,
        }
        if parts.len() > MAX_VALUES {
            return None;
        }
    }
    parts.push((&text[from..], Then::End { carried: lesson.carried }));
    Some(parts)
}
