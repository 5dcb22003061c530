//! How much of a bucket came together.
//!
//! What was written within the same days is of one kind: a data set, a release, somebody's holiday. It is also read together, or
//! not at all. So where objects come in clumps, what was learned of a thousand objects may have been learned of twenty clumps,
//! and tells little of the next one. This is seen before any of it is read, and it needs no names: from the days of writing
//! alone.

use crate::tiering::evidence::{Day, days_between};

/// Objects that were written within so many days of each other may be of one clump.
const WINDOW_DAYS: u32 = 10;

/// Over so many windows, which is half a year. How what came before is read is known by now.
const WINDOWS: usize = 18;

/// Counts of the objects that were written, by how long ago that was.
#[derive(Debug, Clone)]
pub struct Arrivals {
    today: Day,
    written: [f64; WINDOWS],
    objects: f64,
}

impl Arrivals {
    pub fn new(today: Day) -> Self {
        Self { today, written: [0.0; WINDOWS], objects: 0.0 }
    }

    /// An object that is there, and when it was written, if that is known.
    pub fn add(&mut self, written: Option<Day>) {
        self.objects += 1.0;
        let window = written.map(|day| (days_between(day, self.today) / WINDOW_DAYS) as usize);
        if let Some(count) = window.and_then(|window| self.written.get_mut(window)) {
            *count += 1.0;
        }
    }

    /// How large a share of the bucket a clump is, beyond what comes together by chance: 0 where objects come one by one.
    ///
    /// If they do, counts of windows that follow each other differ by the root of their sum (Poisson), however their number
    /// grows or falls over the year. By how much more the squares of the differences are is how many come at a time.
    pub fn clump(&self) -> f64 {
        let used = self.written.iter().rposition(|count| *count > 0.0).map_or(0, |last| last + 1);
        let (mut squares, mut sums) = (0.0, 0.0);
        for pair in self.written[..used].windows(2) {
            squares += (pair[0] - pair[1]).powi(2);
            sums += pair[0] + pair[1];
        }
        if sums > 0.0 { ((squares / sums - 1.0) / self.objects).clamp(0.0, 1.0) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clump(objects: u32, written: impl Fn(u32) -> Day) -> f64 {
        let mut arrivals = Arrivals::new(1000);
        (0..objects).for_each(|object| arrivals.add(Some(written(object))));
        arrivals.clump()
    }

    #[test]
    fn what_comes_one_by_one_is_no_clump_however_fast_it_grows() {
        let even = clump(700, |object| 300 + object as Day);
        let growing = clump(700, |object| 300 + (700.0 * (f64::from(object) / 700.0).sqrt()) as Day);
        assert!(even < 0.001 && growing < 0.001, "{even} {growing}");
    }

    #[test]
    fn a_clump_is_as_large_a_share_as_comes_at_a_time() {
        let tenth = clump(700, |object| 650 + 35 * (object as Day / 70));
        let hundredth = clump(7000, |object| 650 + 35 * (object as Day / 700));
        assert!((0.05..0.2).contains(&tenth) && (0.05..0.2).contains(&hundredth), "{tenth} {hundredth}");
        assert!(clump(700, |object| 650 + 7 * (object as Day / 14)) < 0.02);
    }

    #[test]
    fn of_what_is_old_or_of_unknown_age_nothing_is_said() {
        assert_eq!(clump(700, |object| object as Day / 100), 0.0);
        let mut arrivals = Arrivals::new(1000);
        (0..100).for_each(|_| arrivals.add(None));
        assert_eq!(arrivals.clump(), 0.0);
        assert_eq!(Arrivals::new(1000).clump(), 0.0);
    }
}
