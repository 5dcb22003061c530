//! A model of a stream and of a reader that keeps the rules, played against each other in random histories.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const ITEMS: u8 = 6;

/// One shard of the modelled stream.
struct WorldShard {
    parent: Option<usize>,
    items: Vec<u8>,
    records: Vec<u64>,
    open: bool,
    trimmed: bool,
    /// Listings that still show it as open although it is closed.
    open_lag: u8,
    /// Listings that do not show it yet.
    hidden_lag: u8,
}

/// The stream, and what the reader did to it.
#[derive(Default)]
struct World {
    shards: Vec<WorldShard>,
    /// The item of every record; the index is its sequence number.
    items: Vec<u8>,
    seen: BTreeSet<u64>,
    finished: BTreeSet<ShardId>,
    /// Trimmed with records that nobody had read, and no gap said so yet.
    unreported: BTreeSet<usize>,
    gaps: usize,
}

struct Reader {
    lineage: Lineage,
    /// The state table.
    saved: BTreeMap<ShardId, Checkpoint>,
    /// The index of the next record in each shard that is being read.
    cursors: BTreeMap<ShardId, usize>,
}

/// Whether a step's effect reaches the state table before the process dies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Saved,
    Dies,
}

#[derive(Debug, Clone)]
enum Step {
    Write(u8),
    Roll { pick: u8, open_lag: u8, hidden_lag: u8 },
    Split { pick: u8, open_lag: u8 },
    Trim,
    List { page: usize, fate: Fate },
    Children,
    Acknowledge,
    Begin(u8),
    Read { pick: u8, records: usize, fate: Fate },
    Release(u8),
    Forget,
    Die,
}

/// Which shards the stream may trim.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Retention {
    /// Only what the reader has finished: nothing is ever lost.
    Kind,
    /// Any closed shard, the oldest first.
    Cruel,
}

fn id(index: usize) -> ShardId {
    ShardId::new(format!("shardId-{index:06}")).unwrap()
}

fn index(shard: &ShardId) -> usize {
    shard.as_str().strip_prefix("shardId-").unwrap().parse().unwrap()
}

fn sequence(record: u64) -> SequenceNumber {
    SequenceNumber::new(record.to_string()).unwrap()
}

fn pick<T: Clone>(from: &[T], n: u8) -> Option<T> {
    (!from.is_empty()).then(|| from[usize::from(n) % from.len()].clone())
}

impl World {
    fn add(&mut self, parent: Option<usize>, items: Vec<u8>, hidden_lag: u8) {
        let records = Vec::new();
        self.shards.push(WorldShard { parent, items, records, open: true, trimmed: false, open_lag: 0, hidden_lag });
    }

    fn write(&mut self, item: u8) {
        let record = self.items.len() as u64;
        self.items.push(item);
        let shard = self.shards.iter_mut().find(|shard| shard.open && shard.items.contains(&item));
        shard.expect("every item has one open shard").records.push(record);
    }

    fn close(&mut self, n: u8, open_lag: u8) -> Option<usize> {
        let open: Vec<_> = (0..self.shards.len()).filter(|i| self.shards[*i].open).collect();
        let closed = pick(&open, n)?;
        self.shards[closed].open = false;
        self.shards[closed].open_lag = open_lag;
        // A listing lags by seconds and shards live for hours: none is hidden until it has children.
        self.shards[closed].hidden_lag = 0;
        Some(closed)
    }

    fn trim(&mut self, retention: Retention) {
        let oldest = (0..self.shards.len()).find(|i| {
            let shard = &self.shards[*i];
            let parent_gone = shard.parent.is_none_or(|parent| self.shards[parent].trimmed);
            let children_listed = self.shards.iter().all(|child| child.parent != Some(*i) || child.hidden_lag == 0);
            let allowed = retention == Retention::Cruel || self.finished.contains(&id(*i));
            !shard.open && !shard.trimmed && parent_gone && children_listed && allowed
        });
        if let Some(oldest) = oldest {
            self.shards[oldest].trimmed = true;
            if self.shards[oldest].records.iter().any(|record| !self.seen.contains(record)) {
                self.unreported.insert(oldest);
            }
        }
    }

    fn describe(&self, i: usize) -> Shard {
        let shard = &self.shards[i];
        let closed = !shard.open && shard.open_lag == 0;
        let last = shard.records.last().copied().unwrap_or(0);
        Shard { id: id(i), parent: shard.parent.map(id), ending: closed.then(|| sequence(last + 1)) }
    }

    fn list(&mut self, page: usize) -> FullListing {
        let listed: Vec<_> = (0..self.shards.len())
            .filter(|i| !self.shards[*i].trimmed && self.shards[*i].hidden_lag == 0)
            .map(|i| self.describe(i))
            .collect();
        for shard in &mut self.shards {
            shard.open_lag = shard.open_lag.saturating_sub(1);
            shard.hidden_lag = shard.hidden_lag.saturating_sub(1);
        }
        let mut pages = ListingPages::default();
        for (n, chunk) in listed.chunks(page).enumerate() {
            let more = (n + 1) * page < listed.len();
            match pages.add(chunk.to_vec(), more.then(|| chunk.last().unwrap().id.clone())) {
                Paging::More { pages: next, .. } => pages = next,
                Paging::Complete(listing) => return listing,
            }
        }
        unreachable!("a stream always has an open shard, and the last page completes the listing")
    }

    /// One record takes effect; here it is checked that none before it, of the same item, is still to come.
    fn handle(&mut self, record: u64) {
        if !self.seen.insert(record) {
            return;
        }
        let item = self.items[usize::try_from(record).unwrap()];
        for shard in self.shards.iter().filter(|shard| !shard.trimmed) {
            for earlier in shard.records.iter().filter(|earlier| **earlier < record) {
                let same = self.items[usize::try_from(*earlier).unwrap()] == item;
                assert!(!same || self.seen.contains(earlier), "{record} of item {item} overtook {earlier}");
            }
        }
    }

    fn hear(&mut self, gaps: &[Gap]) {
        self.gaps += gaps.len();
        for gap in gaps {
            match gap.cause {
                // The missed ones are unknown by name; the sweep finds whatever they held.
                GapCause::ParentMissed => self.unreported.clear(),
                GapCause::ShardVanished | GapCause::RecordsTrimmed => {
                    self.unreported.remove(&index(&gap.shard));
                }
            }
        }
    }
}

impl Reader {
    fn start(saved: BTreeMap<ShardId, Checkpoint>) -> Self {
        let lineage = Lineage::new(saved.values().cloned());
        Self { lineage, saved, cursors: BTreeMap::new() }
    }

    fn die(&mut self) {
        *self = Self::start(std::mem::take(&mut self.saved));
    }

    fn save(&mut self, checkpoint: Option<Checkpoint>) {
        if let Some(checkpoint) = checkpoint {
            self.saved.insert(checkpoint.shard.clone(), checkpoint);
        }
    }

    fn list(&mut self, world: &mut World, page: usize, fate: Fate) {
        let Discovery { discovered, gaps } = self.lineage.apply_listing(world.list(page));
        world.hear(&gaps);
        // A process can die between any two writes.
        let written = if fate == Fate::Saved { discovered.len() } else { discovered.len() / 2 };
        for checkpoint in discovered.into_iter().take(written) {
            self.save(Some(checkpoint));
        }
        if fate == Fate::Dies {
            self.die();
        }
    }

    fn ask_for_children(&mut self, world: &World) {
        for parent in self.lineage.childless() {
            // A server that ignores the filter: all shards come, and the right ones must be picked.
            let all =
                (0..world.shards.len()).filter(|i| !world.shards[*i].trimmed).map(|i| world.describe(i)).collect();
            for checkpoint in self.lineage.apply_children(&parent, all) {
                self.save(Some(checkpoint));
            }
        }
    }

    fn acknowledge(&mut self) {
        for gap in self.lineage.gaps() {
            for changed in self.lineage.acknowledge(&gap.shard) {
                self.save(Some(changed));
            }
        }
    }

    fn begin(&mut self, world: &World, start: &ShardStart) {
        let shard = &start.shard;
        assert!(!world.finished.contains(shard), "{shard} is finished and was to be read again");
        assert_eq!(self.lineage.begin(shard).as_ref(), Some(start));
        self.save(self.lineage.checkpoint(shard));
        let records = &world.shards[index(shard)].records;
        let cursor = match &start.from {
            StartAt::TrimHorizon => 0,
            StartAt::After(last) => records.iter().take_while(|record| sequence(**record) <= *last).count(),
        };
        self.cursors.insert(shard.clone(), cursor);
    }

    fn read(&mut self, world: &mut World, shard: &ShardId, count: usize, fate: Fate) {
        let cursor = self.cursors[shard];
        let source = &world.shards[index(shard)];
        if source.trimmed {
            self.cursors.remove(shard);
            let gap = self.lineage.trimmed(shard).unwrap();
            return world.hear(&[gap]);
        }
        let page: Vec<_> = source.records.iter().skip(cursor).take(count).copied().collect();
        let at_end = !source.open && cursor + page.len() == source.records.len();
        for record in &page {
            world.handle(*record);
        }
        if fate == Fate::Dies {
            return self.die();
        }
        if let Some(last) = page.last() {
            self.lineage.progress(shard, sequence(*last)).unwrap();
        }
        self.cursors.insert(shard.clone(), cursor + page.len());
        if at_end {
            self.lineage.finish(shard).unwrap();
            self.cursors.remove(shard);
            world.finished.insert(shard.clone());
        }
        self.save(self.lineage.checkpoint(shard));
    }

    fn forget(&mut self) {
        for shard in self.lineage.forgettable() {
            self.saved.remove(&shard);
            self.lineage.forget(&shard);
        }
    }

    fn being_read(&self, n: u8) -> Option<ShardId> {
        pick(&self.cursors.keys().cloned().collect::<Vec<_>>(), n)
    }
}

fn step() -> impl Strategy<Value = Step> {
    let fate = || prop_oneof![9 => Just(Fate::Saved), 1 => Just(Fate::Dies)];
    prop_oneof![
        6 => (0..ITEMS).prop_map(Step::Write),
        2 => (any::<u8>(), 0u8..3, 0u8..2).prop_map(|(pick, open_lag, hidden_lag)| Step::Roll { pick, open_lag, hidden_lag }),
        1 => (any::<u8>(), 0u8..3).prop_map(|(pick, open_lag)| Step::Split { pick, open_lag }),
        2 => Just(Step::Trim),
        3 => (1usize..5, fate()).prop_map(|(page, fate)| Step::List { page, fate }),
        1 => Just(Step::Children),
        2 => Just(Step::Acknowledge),
        4 => any::<u8>().prop_map(Step::Begin),
        6 => (any::<u8>(), 0usize..4, fate()).prop_map(|(pick, records, fate)| Step::Read { pick, records, fate }),
        1 => any::<u8>().prop_map(Step::Release),
        1 => Just(Step::Forget),
        1 => Just(Step::Die),
    ]
}

fn take(step: Step, world: &mut World, reader: &mut Reader, retention: Retention) {
    match step {
        Step::Write(item) => world.write(item),
        Step::Roll { pick, open_lag, hidden_lag } => {
            if let Some(parent) = world.close(pick, open_lag) {
                let items = world.shards[parent].items.clone();
                world.add(Some(parent), items, hidden_lag);
            }
        }
        Step::Split { pick, open_lag } => {
            if let Some(parent) = world.close(pick, open_lag) {
                let (left, right) = world.shards[parent].items.iter().partition(|item| **item % 2 == 0);
                world.add(Some(parent), left, 0);
                world.add(Some(parent), right, 0);
            }
        }
        Step::Trim => world.trim(retention),
        Step::List { page, fate } => reader.list(world, page, fate),
        Step::Children => reader.ask_for_children(world),
        Step::Acknowledge => reader.acknowledge(),
        Step::Begin(n) => {
            if let Some(start) = pick(&reader.lineage.readable(), n) {
                reader.begin(world, &start);
            }
        }
        Step::Read { pick, records, fate } => {
            if let Some(shard) = reader.being_read(pick) {
                reader.read(world, &shard, records, fate);
            }
        }
        Step::Release(n) => {
            if let Some(shard) = reader.being_read(n) {
                reader.cursors.remove(&shard);
                if let Some(gap) = reader.lineage.release(&shard).unwrap() {
                    world.hear(&[gap]);
                }
            }
        }
        Step::Forget => reader.forget(),
        Step::Die => reader.die(),
    }
}

/// Plays a history, then lets the reader catch up, and checks what must hold.
fn play(steps: Vec<Step>, retention: Retention) {
    let mut world = World::default();
    world.add(None, (0..ITEMS / 2).collect(), 0);
    world.add(None, (ITEMS / 2..ITEMS).collect(), 0);
    let mut reader = Reader::start(BTreeMap::new());
    // The first start is over: what came and went before it is the sweep's.
    reader.list(&mut world, 100, Fate::Saved);
    for step in steps {
        take(step, &mut world, &mut reader, retention);
    }

    // In every round at least one generation of shards ends.
    for _ in 0..world.shards.len() + 4 {
        reader.list(&mut world, 3, Fate::Saved);
        reader.acknowledge();
        for start in reader.lineage.readable() {
            reader.begin(&world, &start);
        }
        for shard in reader.cursors.keys().cloned().collect::<Vec<_>>() {
            reader.read(&mut world, &shard, usize::MAX, Fate::Saved);
        }
        reader.forget();
    }
    for (i, shard) in world.shards.iter().enumerate().filter(|(_, shard)| !shard.trimmed) {
        let unread = shard.records.iter().find(|record| !world.seen.contains(record));
        assert_eq!(unread, None, "a record of {} was not read", id(i));
        assert!(shard.open || world.finished.contains(&id(i)), "{} was not finished", id(i));
    }
    assert!(world.unreported.is_empty(), "lost without a gap: {:?}", world.unreported);
    for shard in reader.saved.keys() {
        assert!(!world.shards[index(shard)].trimmed, "{shard} is remembered for ever");
    }
    if retention == Retention::Kind {
        assert_eq!(world.gaps, 0, "nothing was lost and yet a gap was reported");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn nothing_is_lost_or_overtaken_or_read_again_while_records_live_long_enough(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        play(steps, Retention::Kind);
    }

    #[test]
    fn every_loss_is_a_gap_and_the_rest_is_read_in_order(steps in prop::collection::vec(step(), 0..120)) {
        play(steps, Retention::Cruel);
    }
}
