//! The state machine; its rules are told in [`super`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::listing::{FullListing, Shard};
use super::sequence::{SequenceNumber, ShardId};
use super::stream::ShardEnd;

/// How far a shard has been read, as the state table keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub shard: ShardId,
    /// Kept because the listing may have lost the shard when the process starts again.
    pub parent: Option<ShardId>,
    pub position: Position,
}

/// How far a shard has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// Nothing of it yet.
    TrimHorizon,
    /// Everything up to and including this record took effect.
    After(SequenceNumber),
    /// Everything.
    Ended,
}

/// Where an iterator begins. There is no LATEST on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartAt {
    /// `TRIM_HORIZON`
    TrimHorizon,
    /// `AFTER_SEQUENCE_NUMBER`
    After(SequenceNumber),
}

/// A shard that may be read now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardStart {
    pub shard: ShardId,
    pub from: StartAt,
    /// As known now; [`Lineage::end`] tells it later.
    pub end: ShardEnd,
}

/// Records that may have been lost: to be recorded, answered with a sweep, and acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub shard: ShardId,
    /// The last record of the shard that took effect; None if none did.
    pub last_sequence: Option<SequenceNumber>,
    pub cause: GapCause,
}

/// How records were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapCause {
    /// The shard has gone from the listing and was not read to its end. Its children are roots once this is acknowledged.
    ShardVanished,
    /// The shard's parent came and went unseen. The shard itself is read from its horizon once this is acknowledged.
    ParentMissed,
    /// The shard is there, but records after the checkpoint have gone. It goes on at its horizon once this is acknowledged.
    RecordsTrimmed,
}

/// What a listing brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovery {
    /// New shards, to be saved at once and in this order.
    pub discovered: Vec<Checkpoint>,
    /// All gaps that are not acknowledged, old ones too.
    pub gaps: Vec<Gap>,
}

/// A reader spoke of a shard that it has not begun, or has ended already: a fault in the caller.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("shard {0} is not being read")]
pub struct NotReading(pub ShardId);

/// All that is known of the stream's shards.
#[derive(Debug, Clone)]
pub struct Lineage {
    shards: BTreeMap<ShardId, Known>,
    past: Past,
    listed: Listed,
}

#[derive(Debug, Clone)]
struct Known {
    parent: Option<ShardId>,
    ending: Option<SequenceNumber>,
    presence: Presence,
    position: Position,
    reader: Reader,
    loss: Loss,
    /// It has a checkpoint, or was given to a reader, which saves one first.
    begun: bool,
}

/// Whether anything was known before the present listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    None,
    Some,
}

/// Whether there was a complete listing yet. Before the first one nothing can be called a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    Never,
    Once,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// In the last complete listing.
    Listed,
    /// Learnt from its parent. The next complete listing may have begun earlier and not know it yet, so it is excused once.
    AsChild,
    Excused,
    /// Known from a checkpoint; no complete listing came yet.
    Remembered,
    /// Not in the last complete listing.
    Missing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Idle,
    Reading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    None,
    Pending(GapCause),
    /// A vanished shard whose gap was acknowledged.
    Accepted,
}

impl Known {
    /// Nothing more is to be expected from it, so its children may begin.
    fn is_passed(&self) -> bool {
        self.position == Position::Ended || self.loss == Loss::Accepted
    }

    fn last_sequence(&self) -> Option<SequenceNumber> {
        match &self.position {
            Position::After(sequence) => Some(sequence.clone()),
            Position::TrimHorizon | Position::Ended => None,
        }
    }
}

impl Lineage {
    /// Begins with what the state table remembers of *this* stream ([`super::compare_stream`]). Nothing is readable before the
    /// first listing.
    pub fn new(checkpoints: impl IntoIterator<Item = Checkpoint>) -> Self {
        let shards: BTreeMap<_, _> = checkpoints
            .into_iter()
            .map(|Checkpoint { shard, parent, position }| {
                let known = Known {
                    parent: parent.filter(|parent| *parent != shard),
                    ending: None,
                    presence: Presence::Remembered,
                    position,
                    reader: Reader::Idle,
                    loss: Loss::None,
                    begun: true,
                };
                (shard, known)
            })
            .collect();
        let past = if shards.is_empty() { Past::None } else { Past::Some };
        Self { shards, past, listed: Listed::Never }
    }

    /// Takes a complete listing: adds what is new, finds what has gone.
    pub fn apply_listing(&mut self, listing: FullListing) -> Discovery {
        let mut new = Vec::new();
        for known in self.shards.values_mut() {
            known.presence = match known.presence {
                Presence::AsChild => Presence::Excused,
                Presence::Remembered => Presence::Remembered,
                Presence::Listed | Presence::Excused | Presence::Missing => Presence::Missing,
            };
        }
        for shard in listing.shards.into_values() {
            let id = shard.id.clone();
            if self.merge(shard, Presence::Listed) == Merged::New {
                new.push(id);
            }
        }
        if self.past == Past::Some {
            // Only now, when all of the listing is in, is a parent that is not known one that nobody ever saw: a
            // finished parent is forgotten only after its children have begun, and then they are not new.
            for id in &new {
                let orphan = self.shards.get(id).and_then(|known| known.parent.as_ref());
                let orphan = orphan.is_some_and(|parent| !self.shards.contains_key(parent));
                if let (true, Some(known)) = (orphan, self.shards.get_mut(id)) {
                    known.loss = Loss::Pending(GapCause::ParentMissed);
                }
            }
        }
        self.settle_remembered();
        for known in self.shards.values_mut() {
            judge(known);
        }
        self.listed = Listed::Once;
        if !self.shards.is_empty() {
            self.past = Past::Some;
        }
        Discovery { discovered: self.to_save(new), gaps: self.gaps() }
    }

    /// Takes the children of one shard (DescribeStream with `CHILD_SHARDS`) and returns those that are new, to be saved at
    /// once and in this order. Shards with another parent are left out: a server that does not know the filter answers with all shards. So are
    /// the children of a shard that is not known; the next listing judges those.
    pub fn apply_children(&mut self, parent: &ShardId, children: Vec<Shard>) -> Vec<Checkpoint> {
        if !self.shards.contains_key(parent) {
            return Vec::new();
        }
        let mut new = Vec::new();
        for child in children.into_iter().filter(|child| child.parent.as_ref() == Some(parent) && child.id != *parent) {
            let id = child.id.clone();
            if self.merge(child, Presence::AsChild) == Merged::New {
                new.push(id);
            }
        }
        self.to_save(new)
    }

    /// The shards to begin now, older ids first: listed, not finished, nobody reads them, everything before them is finished or
    /// gone, and no gap in them waits to be acknowledged. The caller may take as few of them as it likes.
    pub fn readable(&self) -> Vec<ShardStart> {
        if self.listed == Listed::Never {
            return Vec::new();
        }
        let parents = self.parents();
        let readable = self.shards.iter().filter(|(id, known)| self.is_readable(id, known));
        readable.map(|(id, known)| start_of(id, known, &parents)).collect()
    }

    /// Gives a shard to a reader. None if it is not readable (any more). Save [`Lineage::checkpoint`] before reading.
    pub fn begin(&mut self, shard: &ShardId) -> Option<ShardStart> {
        let known = self.shards.get(shard)?;
        if self.listed == Listed::Never || !self.is_readable(shard, known) {
            return None;
        }
        let start = start_of(shard, known, &self.parents());
        let known = self.shards.get_mut(shard)?;
        known.reader = Reader::Reading;
        known.begun = true;
        Some(start)
    }

    /// Everything up to and including `sequence` took effect. A number behind the present one (a page that came twice) changes
    /// nothing.
    pub fn progress(&mut self, shard: &ShardId, sequence: SequenceNumber) -> Result<(), NotReading> {
        let known = self.being_read(shard)?;
        if known.last_sequence().is_none_or(|last| last < sequence) {
            known.position = Position::After(sequence);
        }
        Ok(())
    }

    /// The shard's iterator was null, and the page that came with it took effect.
    pub fn finish(&mut self, shard: &ShardId) -> Result<(), NotReading> {
        let known = self.being_read(shard)?;
        known.reader = Reader::Idle;
        known.position = Position::Ended;
        Ok(())
    }

    /// The reader stopped before the end (shutdown, an error, an iterator that could not be had). The shard is readable
    /// again, unless it has gone meanwhile: then it is a gap, which is returned.
    pub fn release(&mut self, shard: &ShardId) -> Result<Option<Gap>, NotReading> {
        let known = self.being_read(shard)?;
        known.reader = Reader::Idle;
        judge(known);
        Ok(gap_of(shard, known))
    }

    /// The reader was told that the records after its checkpoint have gone (`TrimmedDataAccessException`). It stops; the shard
    /// goes on at its horizon after [`Lineage::acknowledge`].
    pub fn trimmed(&mut self, shard: &ShardId) -> Result<Gap, NotReading> {
        let known = self.being_read(shard)?;
        known.reader = Reader::Idle;
        known.loss = Loss::Pending(GapCause::RecordsTrimmed);
        judge(known);
        Ok(Gap {
            shard: shard.clone(),
            last_sequence: known.last_sequence(),
            cause: match known.loss {
                Loss::Pending(cause) => cause,
                Loss::None | Loss::Accepted => GapCause::RecordsTrimmed,
            },
        })
    }

    /// The gaps that were not acknowledged yet.
    pub fn gaps(&self) -> Vec<Gap> {
        self.shards.iter().filter_map(|(id, known)| gap_of(id, known)).collect()
    }

    /// The gap in this shard has been recorded durably and the users table was swept. Returns the checkpoints to save, in this
    /// order. Does nothing where there is no gap.
    pub fn acknowledge(&mut self, shard: &ShardId) -> Vec<Checkpoint> {
        let Some(known) = self.shards.get_mut(shard) else { return Vec::new() };
        let Loss::Pending(cause) = known.loss else { return Vec::new() };
        match cause {
            GapCause::ShardVanished => {
                known.loss = Loss::Accepted;
                self.to_save(self.descendants(shard))
            }
            GapCause::RecordsTrimmed => {
                known.loss = Loss::None;
                known.position = Position::TrimHorizon;
                self.checkpoint(shard).into_iter().collect()
            }
            GapCause::ParentMissed => {
                known.loss = Loss::None;
                let mut line = self.descendants(shard);
                line.push(shard.clone());
                self.to_save(line)
            }
        }
    }

    /// What to save of a shard now; None if it is not known.
    pub fn checkpoint(&self, shard: &ShardId) -> Option<Checkpoint> {
        let known = self.shards.get(shard)?;
        Some(Checkpoint { shard: shard.clone(), parent: known.parent.clone(), position: known.position.clone() })
    }

    /// Whether more can come into a shard. A shard that is listed as open but has children is closed; one that is not
    /// known is closed too.
    pub fn end(&self, shard: &ShardId) -> ShardEnd {
        self.shards.get(shard).map_or(ShardEnd::Closed, |known| end_of(shard, known, &self.parents()))
    }

    /// The finished shards that are still listed and whose children are not known yet: those to ask `CHILD_SHARDS` for.
    pub fn childless(&self) -> Vec<ShardId> {
        let parents = self.parents();
        self.shards
            .iter()
            .filter(|(id, known)| {
                known.position == Position::Ended && known.presence != Presence::Missing && !parents.contains(id)
            })
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// The checkpoints that may be deleted now. Delete one, then [`Lineage::forget`] it; its children's turn comes later.
    ///
    /// A shard can be forgotten when it is finished (or its loss acknowledged), has gone from a complete listing, its
    /// own parent is forgotten, and all its children have begun (or are accepted losses). One without children goes too (they came and went; the line
    /// goes on at an orphan), but only while a listed shard is remembered: no checkpoint at all would look like a first start.
    pub fn forgettable(&self) -> Vec<ShardId> {
        if self.listed == Listed::Never {
            return Vec::new();
        }
        let waiting: BTreeSet<_> = self
            .shards
            .values()
            .filter(|known| !known.begun && !known.is_passed())
            .filter_map(|known| known.parent.as_ref())
            .collect();
        let parents = self.parents();
        let anchored = self.shards.values().any(|known| known.begun && known.presence == Presence::Listed);
        self.shards
            .iter()
            .filter(|(id, known)| {
                let done = known.is_passed() && known.presence == Presence::Missing && known.reader == Reader::Idle;
                let first = known.parent.as_ref().is_none_or(|parent| !self.shards.contains_key(parent));
                done && first && !waiting.contains(id) && (parents.contains(id) || anchored)
            })
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Forgets a shard whose checkpoint was deleted. Does nothing if it is not (any more) forgettable.
    pub fn forget(&mut self, shard: &ShardId) {
        if self.forgettable().contains(shard) {
            self.shards.remove(shard);
        }
    }

    /// Says of what came from checkpoints and is not in the first listing that it has gone. But a stream is trimmed oldest
    /// first: a shard whose parent is listed has only not come yet (it was learnt from its parent before the process
    /// stopped), and is excused once.
    fn settle_remembered(&mut self) {
        let listed: BTreeSet<_> = self
            .shards
            .iter()
            .filter(|(_, known)| known.presence == Presence::Listed)
            .map(|(id, _)| id.clone())
            .collect();
        for known in self.shards.values_mut().filter(|known| known.presence == Presence::Remembered) {
            let parent_listed = known.parent.as_ref().is_some_and(|parent| listed.contains(parent));
            known.presence = if parent_listed { Presence::Excused } else { Presence::Missing };
        }
    }

    fn merge(&mut self, shard: Shard, presence: Presence) -> Merged {
        // A shard that calls itself its parent would wait for itself.
        let parent = shard.parent.filter(|parent| *parent != shard.id);
        if let Some(known) = self.shards.get_mut(&shard.id) {
            known.parent = parent.or(known.parent.take());
            known.ending = shard.ending.or(known.ending.take());
            // Being in a listing is more than being a child; it is not taken back by an answer that says less.
            if presence == Presence::Listed || known.presence != Presence::Listed {
                known.presence = presence;
            }
            // It was thought to have gone and is there: reading it late is better than not at all. A gap in a shard without a
            // checkpoint stays, because it may stand for a parent that was missed; once accepted, it is read like others.
            let vanished = known.loss == Loss::Pending(GapCause::ShardVanished);
            if known.loss == Loss::Accepted || vanished && known.begun {
                known.loss = Loss::None;
            }
            return Merged::Old;
        }
        let known = Known {
            parent,
            ending: shard.ending,
            presence,
            position: Position::TrimHorizon,
            reader: Reader::Idle,
            loss: Loss::None,
            begun: false,
        };
        self.shards.insert(shard.id, known);
        Merged::New
    }

    /// Checkpoints of new shards, parents first: were a child saved and not its parent, the parent could go unmissed. For the
    /// same reason those in or under a shard with a gap are left out until the gap is acknowledged.
    fn to_save(&self, new: Vec<ShardId>) -> Vec<Checkpoint> {
        let mut by_depth = Vec::new();
        for id in new {
            let Some(known) = self.shards.get(&id) else { continue };
            let ancestors = self.ancestors(&id, known);
            let missed = |known: &Known| matches!(known.loss, Loss::Pending(_)) && !known.begun;
            if !missed(known) && !ancestors.line.iter().any(|(_, known)| missed(known)) {
                by_depth.push((ancestors.line.len(), id));
            }
        }
        by_depth.sort();
        by_depth.iter().filter_map(|(_, id)| self.checkpoint(id)).collect()
    }

    fn is_readable(&self, id: &ShardId, known: &Known) -> bool {
        known.presence != Presence::Missing
            && known.position != Position::Ended
            && known.reader == Reader::Idle
            && known.loss == Loss::None
            && self.is_root_or_after_its_parents(id, known)
    }

    fn is_root_or_after_its_parents(&self, id: &ShardId, known: &Known) -> bool {
        let ancestors = self.ancestors(id, known);
        // No stream has a shard that is its own ancestor. Waiting for oneself would be for ever, so don't.
        ancestors.end == LineEnd::Itself || ancestors.line.iter().all(|(_, ancestor)| ancestor.is_passed())
    }

    /// The known shards before one, the nearest first.
    fn ancestors<'a>(&'a self, id: &ShardId, known: &'a Known) -> Ancestors<'a> {
        let mut line = Vec::new();
        let mut visited = BTreeSet::new();
        let mut parent = known.parent.as_ref();
        while let Some((parent_id, ancestor)) = parent.and_then(|parent| self.shards.get_key_value(parent)) {
            if parent_id == id {
                return Ancestors { line, end: LineEnd::Itself };
            }
            if !visited.insert(parent_id) {
                break;
            }
            line.push((parent_id, ancestor));
            parent = ancestor.parent.as_ref();
        }
        Ancestors { line, end: LineEnd::Root }
    }

    fn descendants(&self, shard: &ShardId) -> Vec<ShardId> {
        let below = |id: &ShardId, known| self.ancestors(id, known).line.iter().any(|(ancestor, _)| *ancestor == shard);
        self.shards.iter().filter(|(id, known)| below(id, known)).map(|(id, _)| id.clone()).collect()
    }

    fn parents(&self) -> BTreeSet<&ShardId> {
        self.shards.values().filter_map(|known| known.parent.as_ref()).collect()
    }

    fn being_read(&mut self, shard: &ShardId) -> Result<&mut Known, NotReading> {
        self.shards
            .get_mut(shard)
            .filter(|known| known.reader == Reader::Reading)
            .ok_or_else(|| NotReading(shard.clone()))
    }
}

struct Ancestors<'a> {
    line: Vec<(&'a ShardId, &'a Known)>,
    end: LineEnd,
}

/// Where the way up from a shard ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Root,
    Itself,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Merged {
    New,
    Old,
}

/// Decides what became of a shard that is not listed. One that is being read is not judged: its reader finds out how much
/// it still gets, and [`Lineage::release`] judges then.
fn judge(known: &mut Known) {
    let judged = known.presence == Presence::Missing && known.reader == Reader::Idle && !known.is_passed();
    if !judged {
        return;
    }
    let read_to_end = known.last_sequence().zip(known.ending.as_ref()).is_some_and(|(last, ending)| last >= *ending);
    if read_to_end && known.loss == Loss::None {
        // Only its null iterator was not seen.
        known.position = Position::Ended;
    } else {
        known.loss = Loss::Pending(GapCause::ShardVanished);
    }
}

fn gap_of(id: &ShardId, known: &Known) -> Option<Gap> {
    match known.loss {
        Loss::Pending(cause) => Some(Gap { shard: id.clone(), last_sequence: known.last_sequence(), cause }),
        Loss::None | Loss::Accepted => None,
    }
}

fn start_of(id: &ShardId, known: &Known, parents: &BTreeSet<&ShardId>) -> ShardStart {
    let from = match &known.position {
        Position::After(sequence) => StartAt::After(sequence.clone()),
        Position::TrimHorizon | Position::Ended => StartAt::TrimHorizon,
    };
    ShardStart { shard: id.clone(), from, end: end_of(id, known, parents) }
}

fn end_of(id: &ShardId, known: &Known, parents: &BTreeSet<&ShardId>) -> ShardEnd {
    if known.ending.is_some() || parents.contains(id) { ShardEnd::Closed } else { ShardEnd::Open }
}

#[cfg(test)]
mod tests {
    use super::super::listing::{ListingPages, Paging};
    use super::*;

    fn id(name: &str) -> ShardId {
        ShardId::new(name).unwrap()
    }

    fn shard(name: &str, parent: &str) -> Shard {
        Shard { id: id(name), parent: (!parent.is_empty()).then(|| id(parent)), ending: None }
    }

    fn listing(shards: &[(&str, &str)]) -> FullListing {
        let page = shards.iter().map(|(name, parent)| shard(name, parent)).collect();
        match ListingPages::default().add(page, None) {
            Paging::Complete(listing) => listing,
            Paging::More { .. } => unreachable!("it has one page"),
        }
    }

    fn listed(shards: &[(&str, &str)]) -> Lineage {
        let mut lineage = Lineage::new([]);
        assert_eq!(lineage.apply_listing(listing(shards)).gaps, []);
        lineage
    }

    fn readable(lineage: &Lineage) -> Vec<String> {
        lineage.readable().into_iter().map(|start| start.shard.into()).collect()
    }

    fn seq(n: u32) -> SequenceNumber {
        SequenceNumber::new(n.to_string()).unwrap()
    }

    fn saved(name: &str, parent: &str, position: Position) -> Checkpoint {
        Checkpoint { shard: id(name), parent: (!parent.is_empty()).then(|| id(parent)), position }
    }

    #[test]
    fn the_shards_to_begin_with_are_those_without_a_parent_in_the_listing() {
        for (shards, expected) in [
            (&[("a", ""), ("b", "a")][..], &["a"][..]),
            (&[("b", "gone"), ("c", "b")], &["b"]),
            (&[("b", "a"), ("c", "a")], &["b", "c"]),
            (&[("a", "a")], &["a"]),
            (&[("a", "b"), ("b", "a"), ("c", "b")], &["a", "b"]),
        ] {
            assert_eq!(readable(&listed(shards)), expected, "{shards:?}");
        }
        assert_eq!(readable(&Lineage::new([saved("a", "", Position::TrimHorizon)])), [""; 0], "nothing was listed yet");
    }

    #[test]
    fn children_follow_their_parents_end_and_close_it() {
        let mut lineage = listed(&[("a", "")]);
        assert_eq!(lineage.begin(&id("a")).unwrap().end, ShardEnd::Open);
        assert_eq!(lineage.begin(&id("a")), None, "one reader a shard");
        lineage.finish(&id("a")).unwrap();
        assert_eq!(lineage.childless(), [id("a")]);
        // The filter is unknown to this server: it sends a shard of another line too.
        let new = lineage.apply_children(&id("a"), vec![shard("b", "a"), shard("y", "x"), shard("a", "")]);
        assert_eq!(new, [saved("b", "a", Position::TrimHorizon)]);
        assert_eq!((lineage.end(&id("a")), lineage.end(&id("b"))), (ShardEnd::Closed, ShardEnd::Open));
        assert_eq!(readable(&lineage), ["b"]);
        assert_eq!(lineage.finish(&id("a")), Err(NotReading(id("a"))));
        // The next listing began before the child was there; the one after it did not.
        assert_eq!(lineage.apply_listing(listing(&[("a", "")])).gaps, []);
        assert_eq!(lineage.apply_listing(listing(&[("a", "")])).gaps.len(), 1);
    }

    #[test]
    fn an_unfinished_shard_that_has_gone_is_a_gap_and_its_children_wait_for_it() {
        let mut lineage = Lineage::new([saved("a", "", Position::After(seq(7)))]);
        let gap = Gap { shard: id("a"), last_sequence: Some(seq(7)), cause: GapCause::ShardVanished };
        assert_eq!(lineage.apply_listing(listing(&[("b", "a")])).gaps, [gap]);
        assert_eq!(readable(&lineage), [""; 0]);
        assert_eq!(lineage.acknowledge(&id("a")), [saved("b", "a", Position::TrimHorizon)]);
        assert_eq!((lineage.gaps(), readable(&lineage)), (vec![], vec!["b".to_owned()]));
        assert_eq!(lineage.forgettable(), [], "its child has not begun");
        lineage.begin(&id("b")).unwrap();
        assert_eq!(lineage.forgettable(), [id("a")]);
    }

    #[test]
    fn a_new_shard_under_a_parent_that_nobody_saw_is_a_gap_except_at_the_first_start() {
        assert_eq!(readable(&listed(&[("c", "b"), ("d", "c")])), ["c"]);
        let mut lineage = Lineage::new([saved("a", "", Position::Ended)]);
        let Discovery { discovered, gaps } = lineage.apply_listing(listing(&[("c", "b"), ("d", "c")]));
        assert_eq!(gaps, [Gap { shard: id("c"), last_sequence: None, cause: GapCause::ParentMissed }]);
        assert_eq!(discovered, [], "saved now, they would hide the gap from the next start");
        let to_save = [saved("c", "b", Position::TrimHorizon), saved("d", "c", Position::TrimHorizon)];
        assert_eq!(lineage.acknowledge(&id("c")), to_save);
        assert_eq!(readable(&lineage), ["c"]);
    }

    #[test]
    fn a_trimmed_shard_goes_on_at_its_horizon_once_the_gap_is_acknowledged() {
        let mut lineage = listed(&[("a", "")]);
        lineage.begin(&id("a")).unwrap();
        lineage.progress(&id("a"), seq(10)).unwrap();
        lineage.progress(&id("a"), seq(9)).unwrap();
        let gap = Gap { shard: id("a"), last_sequence: Some(seq(10)), cause: GapCause::RecordsTrimmed };
        assert_eq!(lineage.trimmed(&id("a")), Ok(gap));
        assert_eq!(readable(&lineage), [""; 0]);
        assert_eq!(lineage.acknowledge(&id("a")), [saved("a", "", Position::TrimHorizon)]);
        assert_eq!(lineage.begin(&id("a")).unwrap().from, StartAt::TrimHorizon);
    }

    #[test]
    fn a_finished_shard_is_remembered_while_it_is_listed() {
        let mut lineage = Lineage::new([saved("a", "", Position::Ended), saved("b", "a", Position::TrimHorizon)]);
        lineage.apply_listing(listing(&[("a", ""), ("b", "a")]));
        assert_eq!((readable(&lineage), lineage.forgettable()), (vec!["b".to_owned()], vec![]));
        assert_eq!(lineage.apply_listing(listing(&[("b", "a")])).gaps, []);
        assert_eq!(lineage.forgettable(), [id("a")]);
    }
}
