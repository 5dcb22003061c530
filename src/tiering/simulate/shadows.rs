//! The experts on a bucket's own history, in the daemon: some of its objects, and where each expert would have brought them, and
//! whoever was followed for them.
//!
//! From one run to the next the shadows are billed for where they are: storage, and what the evidence tells of uses since. Then
//! the safeguard compares the experts, and each moves its shadows as it would have moved the objects. The moves are billed to
//! the time that they are made for, which is the next.
//!
//! The evidence tells on which of the last 64 days an object was read, and what is read of it on a day in the mean; what it
//! only counts is billed to the first day. All experts are billed for the same uses, so what this leaves out, it leaves out
//! of all. Of the guards the shadows know the minimum size and the minimum durations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::account::{Bill, Held, Tariff};
use crate::tiering::adaptive::arrivals::Arrivals;
use crate::tiering::adaptive::experts::Experts;
use crate::tiering::adaptive::safeguard::{Expert, PerExpert, Period, SHADOWED, Safeguard};
use crate::tiering::evidence::Day;
use crate::tiering::policy::adaptive::Known;
use crate::tiering::storage_class::StorageClass;

/// A bucket's shadows, and what the safeguard makes of them. Objects go by a hash of their keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Shadows {
    /// The day up to which all is billed; None before the first run.
    day: Option<u16>,
    safeguard: Safeguard,
    /// By expert, the moves that were made on `day`.
    moved_usd: PerExpert,
    /// The same by whoever is followed.
    #[serde(default)]
    followed_moved_usd: f64,
    /// What of the moves was retrieval.
    #[serde(default)]
    moved_retrievals_usd: PerExpert,
    objects: BTreeMap<u64, Shadow>,
}

/// One object, and where the experts would have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Shadow {
    bytes: u64,
    read_days: u32,
    written_day: Option<Day>,
    /// By expert, and then under whoever is followed. State of old lacks the last.
    at: Vec<At>,
}

/// The experts, and whoever is followed.
const WAYS: usize = Expert::ALL.len() + 1;
const FOLLOWED: usize = Expert::ALL.len();

/// A class, since when, and when it was last used or came there: see [`Held`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct At(StorageClass, u16, u16);

/// A sample of a bucket: the objects that are shadowed already, and those whose hashes are the lowest.
#[derive(Debug)]
pub struct Sample<'a> {
    shadows: &'a Shadows,
    known: BTreeMap<u64, Known>,
    lowest: BTreeMap<u64, Known>,
}

impl<'a> Sample<'a> {
    pub fn new(shadows: &'a Shadows) -> Self {
        Self { shadows, known: BTreeMap::new(), lowest: BTreeMap::new() }
    }

    /// Takes the object if it belongs to the sample.
    pub fn add(&mut self, hash: u64, object: Known) {
        if self.shadows.objects.contains_key(&hash) {
            self.known.insert(hash, object);
            return;
        }
        self.lowest.insert(hash, object);
        if self.lowest.len() > SHADOWED {
            self.lowest.pop_last();
        }
    }

    pub fn finish(mut self) -> BTreeMap<u64, Known> {
        self.known.append(&mut self.lowest);
        self.known
    }
}

/// What happened to an object on a day.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Use {
    Written,
    Read { reads: u32, bytes: u64 },
}

impl Shadows {
    /// Whom to follow for the object of this hash.
    pub fn following(&self, hash: u64) -> Expert {
        self.safeguard.following(hash)
    }

    /// Whose decisions bring the object along a way.
    fn leading(&self, way: usize, hash: u64) -> Expert {
        Expert::ALL.get(way).copied().unwrap_or_else(|| self.safeguard.following(hash))
    }

    /// Whether nothing is left to do on `today`: a second run of a day learns nothing.
    pub fn are_as_of(&self, today: Day) -> bool {
        self.day.is_some_and(|day| day >= short(today))
    }

    /// Goes on to `today`, on which the bucket's sample is `now`: bills, compares, and moves. Objects below
    /// `min_object_bytes` stay. What was shadowed and is no longer there was deleted.
    pub fn go_on(
        &mut self,
        now: &BTreeMap<u64, Known>,
        today: Day,
        tariff: &Tariff<'_>,
        experts: &Experts,
        min_object_bytes: u64,
    ) {
        if self.are_as_of(today) {
            return;
        }
        let day = short(today);
        if let Some(from) = self.day {
            self.compare(now, from, today, tariff, experts, min_object_bytes);
        }
        for (hash, object) in now {
            self.objects.entry(*hash).or_insert_with(|| Shadow::of(object));
        }
        self.objects.retain(|hash, _| now.contains_key(hash));
        while self.objects.len() > SHADOWED {
            self.objects.pop_last();
        }
        let mut bills: [Bill; WAYS] = std::array::from_fn(|_| Bill::since(day));
        let mut objects = std::mem::take(&mut self.objects);
        for (hash, shadow) in objects.iter_mut().filter(|(hash, _)| now[hash].bytes >= min_object_bytes) {
            for (way, bill) in bills.iter_mut().enumerate() {
                let mut held = shadow.held(way, day);
                if let Some(choice) = experts.choose(self.leading(way, *hash), &seen(&now[hash], &held).view(), today) {
                    tariff.change_class(&mut held, day, choice.target, bill);
                }
                shadow.at[way] = At::of(&held);
            }
        }
        self.objects = objects;
        let moved = bills.map(|bill| bill.total());
        self.moved_usd = std::array::from_fn(|expert| moved[expert].total_usd());
        self.followed_moved_usd = moved[FOLLOWED].total_usd();
        self.moved_retrievals_usd = std::array::from_fn(|expert| moved[expert].retrieval_usd);
        self.day = Some(day);
    }

    /// Bills every expert from `from` to `today`, and has the safeguard compare them.
    fn compare(
        &mut self,
        now: &BTreeMap<u64, Known>,
        from: u16,
        today: Day,
        tariff: &Tariff<'_>,
        experts: &Experts,
        min_object_bytes: u64,
    ) {
        let to = short(today);
        let mut bills: [Bill; WAYS] = std::array::from_fn(|_| Bill::since(from));
        let mut period = Period { days: to - from, ..Period::default() };
        let mut objects = std::mem::take(&mut self.objects);
        for (hash, shadow) in &mut objects {
            let object = now.get(hash);
            let uses = object.map(|object| shadow.uses(object, from, to)).unwrap_or_default();
            if shadow.at.len() < WAYS {
                let followed = shadow.at[self.safeguard.following(*hash) as usize];
                shadow.at.resize(WAYS, followed);
            }
            for (way, bill) in bills.iter_mut().enumerate() {
                let mut held = shadow.held(way, from);
                for (day, used) in &uses {
                    let bytes = object.map_or(held.bytes, |object| object.bytes);
                    happen(*used, *day, bytes, &mut held, tariff, bill);
                }
                match object {
                    None => tariff.end(&mut held, to, bill),
                    Some(_) => tariff.store(&mut held, to, bill),
                }
                let expert = Expert::ALL.get(way).copied();
                if let Some((object, expert)) = object.filter(|object| object.bytes >= min_object_bytes).zip(expert) {
                    period.ahead_usd[way] += experts.future_usd(expert, &seen(object, &held).view(), today);
                    period.at_stake_usd[way] += tariff.one_read_usd(&held);
                }
                shadow.at[way] = At::of(&held);
            }
            if let Some(object) = object {
                shadow.know(object);
            }
        }
        self.objects = objects;
        let costs = bills.map(|bill| bill.total());
        period.costs_usd = std::array::from_fn(|expert| costs[expert].total_usd() + self.moved_usd[expert]);
        period.followed_usd = costs[FOLLOWED].total_usd() + self.followed_moved_usd;
        period.retrieval_usd =
            std::array::from_fn(|expert| costs[expert].retrieval_usd + self.moved_retrievals_usd[expert]);
        let mut arrivals = Arrivals::new(today);
        now.values().for_each(|object| arrivals.add(object.evidence.written_day));
        period.clump = arrivals.clump();
        self.safeguard.learn(&period);
    }
}

impl Shadow {
    /// As the object itself is.
    fn of(object: &Known) -> Self {
        let since = short(object.class_since);
        let active = object.evidence.idle_since().map_or(since, |day| short(day).max(since));
        let at = vec![At(object.class, since, active); WAYS];
        let mut shadow = Self { bytes: 0, read_days: 0, written_day: None, at };
        shadow.know(object);
        shadow
    }

    fn know(&mut self, object: &Known) {
        self.bytes = object.bytes;
        self.read_days = object.evidence.read_days;
        self.written_day = object.evidence.written_day;
    }

    fn held(&self, way: usize, day: u16) -> Held {
        let At(class, since, active) = self.at[way];
        Held { class, bytes: self.bytes, since, active, billed_to: day }
    }

    /// What has happened since `from`, by what is known at `to`, in order.
    fn uses(&self, object: &Known, from: u16, to: u16) -> Vec<(u16, Use)> {
        let evidence = &object.evidence;
        let within = |day: Day| short(day).clamp(from, to);
        let mut uses = Vec::new();
        if let Some(written) = evidence.written_day.filter(|day| self.written_day != Some(*day)) {
            uses.push((within(written), Use::Written));
        }
        let mut new_days = evidence.read_days.saturating_sub(self.read_days);
        let reads = (evidence.reads_per_day().round() as u32).max(1);
        let one = Use::Read { reads, bytes: evidence.bytes_per_day() as u64 };
        for back in 0..64_u8 {
            let Some(last) = evidence.last_read_day.filter(|_| new_days > 0) else { break };
            let day = last - i32::from(back);
            if evidence.recent_days >> back & 1 == 1 && short(day) > from {
                uses.push((within(day), one));
                new_days -= 1;
            }
        }
        // Days that are known by their number alone.
        uses.extend((0..new_days).map(|_| (from, one)));
        uses.sort_by_key(|(day, used)| (*day, *used != Use::Written));
        uses
    }
}

impl At {
    fn of(held: &Held) -> Self {
        Self(held.class, held.since, held.active)
    }
}

fn happen(used: Use, day: u16, bytes: u64, held: &mut Held, tariff: &Tariff<'_>, bill: &mut Bill) {
    match used {
        Use::Written => {
            tariff.end(held, day, bill);
            *held = tariff.put(day, bytes, bill);
        }
        Use::Read { reads, bytes } => tariff.read(held, day, reads, bytes, bill),
    }
}

/// The object where an expert has it.
fn seen(object: &Known, held: &Held) -> Known {
    Known { class: held.class, class_since: Day::from(held.since), ..*object }
}

fn short(day: Day) -> u16 {
    u16::try_from(day.max(0)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
