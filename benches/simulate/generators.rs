//! Traces of many kinds, each a function of a seed and of nothing else.
//!
//! Some are there to tune the policy on, the others only to report on: see [`KINDS`].

/// A line of a trace.
#[derive(Debug, Clone)]
pub struct Line {
    pub time: u64,
    pub key: u32,
    pub op: &'static str,
    pub bytes: u64,
    pub size: u64,
}

impl Line {
    /// As a trace has it: `time,bucket,key,op,bytes,size`.
    pub fn to_csv(&self) -> String {
        self.to_csv_of(1)
    }

    /// Of a trace whose objects lie in so many buckets.
    pub fn to_csv_of(&self, buckets: u32) -> String {
        let Self { time, key, op, bytes, size } = self;
        format!("{time},bucket-{},folder/k{key:07},{op},{bytes},{size}", key % buckets)
    }
}

/// What a kind is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Tune,
    HeldOut,
}

pub struct Kind {
    pub name: &'static str,
    pub of_use: Use,
    pub make: fn(&mut Workload),
}

pub const KINDS: [Kind; 20] = [
    Kind { name: "user-files", of_use: Use::Tune, make: user_files },
    Kind { name: "zipf-decay", of_use: Use::Tune, make: zipf_decay },
    Kind { name: "month-end", of_use: Use::Tune, make: month_end },
    Kind { name: "release-bursts", of_use: Use::Tune, make: release_bursts },
    Kind { name: "steady-mix", of_use: Use::Tune, make: steady_mix },
    Kind { name: "write-once-logs", of_use: Use::Tune, make: logs_deleted },
    Kind { name: "reheating", of_use: Use::HeldOut, make: reheating },
    Kind { name: "small-objects", of_use: Use::HeldOut, make: small_objects },
    Kind { name: "yearly", of_use: Use::HeldOut, make: yearly },
    Kind { name: "after-31-days", of_use: Use::HeldOut, make: |w| every(w, 31) },
    Kind { name: "after-65-days", of_use: Use::HeldOut, make: |w| every(w, 65) },
    Kind { name: "after-91-days", of_use: Use::HeldOut, make: |w| every(w, 91) },
    Kind { name: "media", of_use: Use::HeldOut, make: media },
    Kind { name: "crawls", of_use: Use::HeldOut, make: crawls },
    Kind { name: "hot", of_use: Use::HeldOut, make: hot },
    Kind { name: "open-data", of_use: Use::HeldOut, make: open_data },
    Kind { name: "downloads", of_use: Use::HeldOut, make: downloads },
    Kind { name: "never-read", of_use: Use::HeldOut, make: never_read },
    Kind { name: "growing-archive", of_use: Use::HeldOut, make: growing_archive },
    Kind { name: "package-index", of_use: Use::HeldOut, make: package_index },
];

const DAY: u64 = 86_400;
/// 2021-01-01.
const START: u64 = 1_609_459_200;

/// A trace that is being made.
pub struct Workload {
    random: u64,
    pub days: u32,
    pub objects: u32,
    pub lines: Vec<Line>,
    keys: u32,
}

/// An object that was put.
#[derive(Clone, Copy)]
struct Object {
    key: u32,
    day: f64,
    size: u64,
}

impl Workload {
    pub fn new(seed: u64, objects: u32, days: u32) -> Self {
        Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d,
            days,
            objects,
            lines: Vec::new(),
            keys: 0,
        }
    }

    /// Evenly in 0 to 1 (splitmix64).
    fn even(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.even()
    }

    fn chance(&mut self, of: f64) -> bool {
        self.even() < of
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.even()).ln()
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.even()).ln()).sqrt() * (std::f64::consts::TAU * self.even()).cos()
    }

    /// A size around `median`, spread by `sigma` in its logarithm.
    fn size(&mut self, median: f64, sigma: f64) -> u64 {
        (median * (sigma * self.normal()).exp()).clamp(1.0, 4e9) as u64
    }

    /// Gaps heavy in their tail: most short, a few very long.
    fn pareto(&mut self, least: f64, shape: f64) -> f64 {
        least * (1.0 - self.even()).powf(-1.0 / shape)
    }

    fn put(&mut self, day: f64, size: u64) -> Object {
        let key = self.keys;
        self.keys += 1;
        self.push(key, day, "PUT", size, size);
        Object { key, day, size }
    }

    fn get(&mut self, object: Object, day: f64, share: f64) {
        if day >= object.day {
            self.push(object.key, day, "GET", (object.size as f64 * share) as u64, 0);
        }
    }

    fn push(&mut self, key: u32, day: f64, op: &'static str, bytes: u64, size: u64) {
        if day >= 0.0 && day < f64::from(self.days) {
            self.lines.push(Line { time: START + (day * DAY as f64) as u64, key, op, bytes, size });
        }
    }

    fn some_day(&mut self, share: f64) -> f64 {
        self.even() * f64::from(self.days) * share
    }

    fn last(&self) -> f64 {
        f64::from(self.days)
    }
}

const MB: f64 = 1024.0 * 1024.0;

fn user_files(w: &mut Workload) {
    for _ in 0..w.objects {
        let day = w.some_day(0.95);
        let size = w.size(3.0 * MB, 1.6);
        let object = w.put(day, size);
        if w.chance(0.35) {
            continue;
        }
        let (mut at, reads) = (day, 1 + w.exponential(3.0) as u32);
        for _ in 0..reads {
            at += w.exponential(5.0);
            w.get(object, at, 1.0);
        }
        if w.chance(0.08) {
            let late = w.between(day, w.last());
            w.get(object, late, 1.0);
        }
    }
}

fn zipf_decay(w: &mut Workload) {
    for rank in 1..=w.objects {
        let day = w.some_day(0.8);
        let size = w.size(12.0 * MB, 1.2);
        let object = w.put(day, size);
        let mut at = day;
        let first_rate = 300.0 / f64::from(rank).powf(0.9) + 0.02;
        loop {
            let age = at - day;
            let rate = first_rate / (1.0 + age / 20.0).powf(1.2);
            at += w.exponential(1.0 / rate.max(1e-4));
            if at >= w.last() {
                break;
            }
            w.get(object, at, 1.0);
        }
    }
}

fn month_end(w: &mut Workload) {
    for _ in 0..w.objects {
        let day = w.some_day(0.95);
        let size = w.size(2.0 * MB, 1.0);
        let object = w.put(day, size);
        let months = if w.chance(0.6) { 3 } else { 14 };
        let first = (day / 30.4).ceil();
        for month in 0..months {
            if w.chance(0.85) {
                let jitter = w.between(-2.0, 1.0);
                w.get(object, (first + f64::from(month)) * 30.4 + jitter, 1.0);
            }
        }
    }
}

fn release_bursts(w: &mut Workload) {
    let files = 12;
    let releases = w.objects / files;
    for release in 0..releases {
        let day = w.last() * 0.97 * f64::from(release) / f64::from(releases);
        let next = w.between(20.0, 60.0);
        let popular = w.pareto(1.0, 1.1).min(200.0);
        for _ in 0..files {
            let size = w.size(20.0 * MB, 1.3);
            let object = w.put(day, size);
            let share = w.pareto(0.2, 1.2).min(5.0);
            let burst = (popular * share * 3.0) as u32;
            for _ in 0..burst {
                let at = day + w.exponential(next / 2.0);
                w.get(object, at, 1.0);
            }
            let mut at = day + next;
            loop {
                let since = at - day;
                at += w.exponential((since / (popular * share * 0.15)).max(0.2));
                if at > w.last() {
                    break;
                }
                w.get(object, at, 1.0);
            }
        }
    }
}

fn steady_mix(w: &mut Workload) {
    for _ in 0..w.objects {
        let day = w.some_day(0.5);
        let size = w.size(4.0 * MB, 2.0);
        let object = w.put(day, size);
        // Rates over four powers of ten.
        let gap = 10_f64.powf(w.between(0.0, 3.5));
        let mut at = day;
        loop {
            at += w.exponential(gap);
            if at >= w.last() {
                break;
            }
            w.get(object, at, 1.0);
        }
    }
}

fn logs_deleted(w: &mut Workload) {
    for _ in 0..w.objects {
        let day = w.some_day(1.0);
        let size = w.size(8.0 * MB, 1.0);
        let object = w.put(day, size);
        if w.chance(0.1) {
            let at = day + w.exponential(10.0);
            w.get(object, at, 1.0);
        }
        let kept = if w.chance(0.7) { 60.0 } else { 400.0 };
        w.push(object.key, day + kept, "DELETE", 0, 0);
    }
}

fn reheating(w: &mut Workload) {
    for _ in 0..w.objects {
        let day = w.some_day(0.6);
        let size = w.size(6.0 * MB, 1.4);
        let object = w.put(day, size);
        let mut at = day;
        loop {
            let hot_until = at + w.between(5.0, 25.0);
            while at < hot_until {
                at += w.exponential(1.5);
                w.get(object, at, 1.0);
            }
            at += w.between(60.0, 500.0);
            if at > w.last() {
                break;
            }
        }
    }
}

fn small_objects(w: &mut Workload) {
    for _ in 0..w.objects {
        let day = w.some_day(0.9);
        let size = w.size(60.0 * 1024.0, 1.2);
        let object = w.put(day, size);
        let gap = 10_f64.powf(w.between(0.5, 3.0));
        let mut at = day;
        loop {
            at += w.exponential(gap);
            if at >= w.last() {
                break;
            }
            w.get(object, at, 1.0);
        }
    }
}

fn yearly(w: &mut Workload) {
    for _ in 0..w.objects {
        let day = w.some_day(0.9);
        let size = w.size(5.0 * MB, 1.2);
        let object = w.put(day, size);
        let of_year = w.between(0.0, 365.0);
        for year in 0..10 {
            let jitter = w.between(-5.0, 5.0);
            w.get(object, of_year + 365.0 * f64::from(year) + jitter, 1.0);
        }
    }
}

/// Read again and again when it has just been idle for so long that somebody has moved it.
fn every(w: &mut Workload, days: u32) {
    for _ in 0..w.objects {
        let mut at = w.some_day(0.3);
        let size = w.size(8.0 * MB, 1.0);
        let object = w.put(at, size);
        while at < w.last() {
            at += f64::from(days) + w.between(0.0, 3.0);
            w.get(object, at, 1.0);
        }
    }
}

fn media(w: &mut Workload) {
    for _ in 0..w.objects {
        let day = w.some_day(0.9);
        let size = w.size(150.0 * MB, 1.3);
        let object = w.put(day, size);
        let popular = w.pareto(0.3, 0.9).min(500.0);
        let views = (popular * 4.0) as u32;
        for _ in 0..views {
            let at = day + w.pareto(1.0, 0.7) - 1.0;
            let share = w.between(0.05, 1.0);
            w.get(object, at, share);
        }
    }
}

fn crawls(w: &mut Workload) {
    let mut objects = Vec::new();
    for _ in 0..w.objects {
        let day = w.some_day(0.7);
        let size = w.size(10.0 * MB, 1.5);
        objects.push(w.put(day, size));
    }
    let mut at = 50.0;
    while at < w.last() {
        for object in &objects {
            if w.chance(0.9) {
                let jitter = w.between(0.0, 3.0);
                w.get(*object, at + jitter, 1.0);
            }
        }
        at += w.between(90.0, 250.0);
    }
}

fn hot(w: &mut Workload) {
    for _ in 0..w.objects / 4 {
        let day = w.some_day(0.5);
        let size = w.size(1.0 * MB, 1.5);
        let object = w.put(day, size);
        let mut at = day;
        while at < w.last() {
            at += w.exponential(2.0);
            w.get(object, at, 1.0);
        }
    }
}

fn open_data(w: &mut Workload) {
    let groups = w.objects / 40;
    for _ in 0..groups {
        let day = w.some_day(0.95);
        let size = w.size(60.0 * MB, 1.0);
        let objects: Vec<_> = (0..40).map(|i| w.put(day + f64::from(i) * 0.3, size)).collect();
        let campaigns = w.pareto(0.5, 1.0).min(30.0) as u32;
        for _ in 0..campaigns {
            let fresh = w.chance(0.5);
            let at = if fresh { day + w.exponential(20.0) } else { w.between(day, w.last()) };
            let repeat = 1 + w.exponential(1.0) as u32;
            for object in &objects {
                if w.chance(0.7) {
                    for _ in 0..repeat {
                        let later = w.exponential(2.0);
                        w.get(*object, at + 12.0 + later, 1.0);
                    }
                }
            }
        }
    }
}

fn downloads(w: &mut Workload) {
    for _ in 0..w.objects {
        let day = w.some_day(0.95);
        let size = w.size(1.5 * MB, 1.8);
        let object = w.put(day, size);
        let popular = w.pareto(0.5, 0.8).min(2000.0);
        let lifetime = w.between(30.0, 600.0);
        let mut at = day;
        loop {
            let age = at - day;
            let rate = popular * 0.05 * (-age / lifetime).exp() + popular * 0.002;
            at += w.exponential(1.0 / rate);
            if at >= w.last() {
                break;
            }
            w.get(object, at, 1.0);
        }
    }
}

fn never_read(w: &mut Workload) {
    for _ in 0..w.objects {
        let day = w.some_day(0.9);
        let size = w.size(20.0 * MB, 1.5);
        let object = w.put(day, size);
        if w.chance(0.02) {
            let at = w.between(day, w.last());
            w.get(object, at, 1.0);
        }
    }
}

/// Data sets that grow by the day. What is new is often looked at; now and then somebody reads a stretch of a set within days, and
/// some sets are read whole, years later, to be worked out anew.
fn growing_archive(w: &mut Workload) {
    const OF_A_SET: u32 = 60;
    for _ in 0..w.objects / OF_A_SET {
        let (begin, median) = (w.some_day(0.5), w.size(40.0 * MB, 1.0) as f64);
        let step = w.between(0.2, (w.last() - begin) / f64::from(OF_A_SET));
        let objects: Vec<_> = (0..OF_A_SET)
            .map(|i| {
                let size = w.size(median, 0.3);
                w.put(begin + f64::from(i) * step, size)
            })
            .collect();
        for object in &objects {
            if w.chance(0.4) {
                let soon = w.exponential(2.0);
                w.get(*object, object.day + soon, 1.0);
            }
        }
        let readers = w.pareto(0.7, 1.0).min(20.0) as u32;
        for _ in 0..readers {
            let (at, first) = (w.between(begin, w.last()), w.between(0.0, 50.0) as usize);
            let stretch = w.exponential(15.0) as usize + 1;
            for object in objects.iter().skip(first).take(stretch) {
                let later = w.between(0.0, 4.0);
                w.get(*object, at + later, 1.0);
            }
        }
        if w.chance(0.3) {
            let at = w.between(begin, w.last());
            for object in &objects {
                let later = w.between(0.0, 15.0);
                w.get(*object, at + later, 1.0);
            }
        }
    }
}

/// Files of releases: downloads burst when a release is out, decay by a power law, and fall when the next one is. Some old
/// releases are asked for again for a time, because somebody has pinned them.
fn package_index(w: &mut Workload) {
    const RELEASES: u32 = 8;
    for _ in 0..w.objects / RELEASES {
        let (popular, median) = (w.pareto(0.4, 0.7).min(400.0), w.size(2.0 * MB, 1.5) as f64);
        let (mut day, every) = (w.some_day(0.7), w.between(15.0, 120.0));
        for _ in 0..RELEASES {
            let size = w.size(median, 0.2);
            let (object, next) = (w.put(day, size), every * w.between(0.5, 1.5));
            let (pinned_from, pinned_for) =
                if w.chance(0.06) { (day + w.between(next, 900.0), w.between(20.0, 200.0)) } else { (f64::MAX, 0.0) };
            let mut at = day;
            while at < w.last() {
                let fresh = popular * (1.0 + (at - day)).powf(-1.1);
                let old = if at > day + next { 0.3 } else { 1.0 };
                let pinned = if (pinned_from..pinned_from + pinned_for).contains(&at) { 0.5 } else { 0.0 };
                // A pin may come before the next download that is foreseen.
                at += w.exponential(1.0 / (fresh * old + pinned).max(1e-4)).min((pinned_from - at).max(30.0));
                if w.chance(fresh * old * 30.0 + pinned) {
                    w.get(object, at, 1.0);
                }
            }
            day += next;
        }
    }
}

/// For speed: every object with ten reads, over four powers of ten of time.
pub fn ten_accesses(w: &mut Workload) {
    for _ in 0..w.objects {
        let day = w.some_day(0.5);
        let size = w.size(4.0 * MB, 2.0);
        let object = w.put(day, size);
        let spread = 10_f64.powf(w.between(0.0, 2.2));
        for _ in 0..10 {
            let at = (day + w.exponential(spread)).min(w.last() - 0.01);
            w.get(object, at, 1.0);
        }
    }
}
