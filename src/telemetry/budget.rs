//! How many log lines one place in the code may write: a burst, and from then on so many a second. What is beyond that is
//! held back and counted, and the count is told: while the flood lasts every now and then, and once when it is over.
//!
//! Nothing here asks a clock. Times are durations since any one fixed moment.

use std::time::Duration;

/// A place that has been silent for so long has said what it had to say.
const QUIET_AFTER: Duration = Duration::from_secs(5);
/// How often the count is told while lines go on being held back.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What one place may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Lines at once, after a silence.
    pub burst: u32,
    /// Lines a second in the long run.
    pub per_second: u32,
}

/// Lines that tell what went on: enough for every object of a small run, and for samples of a large one.
pub const TALK: Budget = Budget { burst: 1000, per_second: 10 };
/// Warnings and errors: to lose one of these costs more than to store it.
pub const TROUBLE: Budget = Budget { burst: 2000, per_second: 50 };

/// Whether a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Write,
    HoldBack,
}

/// One place's account.
#[derive(Debug, Clone)]
pub struct Account {
    budget: Budget,
    /// Lines that may be written now; fractions add up.
    tokens: f64,
    /// When a line was last asked for.
    asked_at: Duration,
    /// Lines held back that nobody was told of.
    held_back: u64,
    /// When the count was last told, or the first line of it held back.
    told_at: Duration,
}

impl Account {
    /// A full account.
    pub fn new(budget: Budget, now: Duration) -> Self {
        Self { budget, tokens: f64::from(budget.burst), asked_at: now, held_back: 0, told_at: now }
    }

    /// Asks for one line.
    pub fn ask(&mut self, now: Duration) -> Verdict {
        // A clock that stands still or steps back gives nothing.
        let since = now.saturating_sub(self.asked_at).as_secs_f64();
        self.tokens = (self.tokens + since * f64::from(self.budget.per_second)).min(f64::from(self.budget.burst));
        self.asked_at = self.asked_at.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Verdict::Write;
        }
        if self.held_back == 0 {
            self.told_at = now;
        }
        self.held_back += 1;
        Verdict::HoldBack
    }

    /// The count of lines held back, if it is time to tell it. It then begins anew.
    pub fn due(&mut self, now: Duration) -> Option<u64> {
        let is_quiet = now.saturating_sub(self.asked_at) >= QUIET_AFTER;
        let is_long_ago = now.saturating_sub(self.told_at) >= TELL_EVERY;
        if self.held_back == 0 || !(is_quiet || is_long_ago) {
            return None;
        }
        self.told_at = now;
        Some(std::mem::take(&mut self.held_back))
    }

    /// The count, whether it is time or not: at the end of the process.
    pub fn close(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.held_back)).filter(|held_back| *held_back > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: Budget = Budget { burst: 3, per_second: 2 };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn written(account: &mut Account, asked: u32, now: Duration) -> u32 {
        (0..asked).map(|_| u32::from(account.ask(now) == Verdict::Write)).sum()
    }

    #[test]
    fn a_burst_is_written_then_so_many_a_second_and_a_silence_fills_the_account_again() {
        let mut account = Account::new(SMALL, at(0));
        assert_eq!(written(&mut account, 10, at(0)), 3, "the burst");
        assert_eq!(written(&mut account, 10, at(499)), 0, "half a second makes one line");
        assert_eq!(written(&mut account, 10, at(1000)), 2, "fractions are kept");
        assert_eq!(written(&mut account, 10, at(100_000)), 3, "and never more than the burst");
    }

    #[test]
    fn the_count_is_told_in_a_flood_now_and_then_and_once_when_it_is_over() {
        let mut account = Account::new(SMALL, at(0));
        written(&mut account, 3, at(0));
        assert_eq!(account.due(at(60_000)), None, "nothing was held back");
        let mut account = Account::new(SMALL, at(0));
        let mut told = Vec::new();
        // A hundred lines a second for 25 s.
        for tick in 0..2500 {
            account.ask(at(tick * 10));
            told.extend(account.due(at(tick * 10)));
        }
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(account.due(at(24_990 + 4_999)), None, "not quiet for long enough");
        told.extend(account.due(at(24_990 + 5_000)));
        assert_eq!(account.due(at(100_000)), None, "told once");
        // 3 at once, and 2 a second of 24.99.
        assert_eq!(told.iter().sum::<u64>(), 2500 - 3 - 49, "{told:?}");
    }

    #[test]
    fn what_is_left_is_told_at_the_end() {
        let mut account = Account::new(SMALL, at(0));
        assert_eq!(account.close(), None);
        written(&mut account, 10, at(0));
        assert_eq!(account.close(), Some(7));
        assert_eq!(account.close(), None);
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_away() {
        let mut account = Account::new(SMALL, at(10_000));
        assert_eq!(written(&mut account, 5, at(10_000)), 3);
        assert_eq!(written(&mut account, 5, at(0)), 0);
        assert_eq!(written(&mut account, 5, at(10_000)), 0, "the second between was not lived twice");
    }

    proptest! {
        #[test]
        fn every_line_is_written_or_counted_and_no_stretch_of_time_has_more_than_its_budget(
            steps in proptest::collection::vec((0_u64..2_000, 0_u32..20), 1..60),
        ) {
            let mut account = Account::new(SMALL, at(0));
            let (mut now, mut asked, mut wrote, mut told) = (0, 0_u64, 0_u64, 0_u64);
            for (pause, lines) in steps {
                now += pause;
                asked += u64::from(lines);
                wrote += u64::from(written(&mut account, lines, at(now)));
                told += account.due(at(now)).unwrap_or(0);
                prop_assert!(wrote as f64 <= 3.0 + 2.0 * now as f64 / 1000.0 + 1e-6);
            }
            told += account.close().unwrap_or(0);
            prop_assert_eq!(wrote + told, asked);
        }
    }
}
