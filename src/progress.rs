//! How far a long piece of work is: counters that the work adds to and that a terminal may show. The work neither knows
//! nor cares whether anybody looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Shared counters; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    phase: Mutex<String>,
    total: AtomicU64,
    done: AtomicU64,
    bytes: AtomicU64,
    records: AtomicU64,
    pieces: AtomicU64,
    after: AtomicU64,
}

/// A reading of the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub phase: String,
    /// Units of work known of; 0 while unknown.
    pub total: u64,
    pub done: u64,
    pub bytes: u64,
    pub records: u64,
    /// How many pieces have begun; each is a round of the same phases.
    pub pieces: u64,
    /// The work that comes after this piece, in thousandths of this piece.
    pub after: u64,
}

impl Reading {
    /// How much time is left for everything, if `phase_left` is left for this phase and its piece began `since` ago: later
    /// pieces take as long as this one.
    pub fn time_left(&self, phase_left: Duration, since: Duration) -> Duration {
        phase_left + (since + phase_left).mul_f64(self.after as f64 / 1000.0)
    }
}

impl Progress {
    /// Begins a phase (`listing`, `counting`, `writing`, `moving`), with its units of work, where they are known.
    pub fn phase(&self, name: impl Into<String>, total: Option<u64>) {
        *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner) = name.into();
        self.0.total.store(total.unwrap_or(0), Ordering::Relaxed);
        self.0.done.store(0, Ordering::Relaxed);
    }

    /// Begins a piece of the work: a round of phases, after which others like it follow. `this` and `after` say how large it
    /// is, and how large all that follow are together, in whatever unit.
    pub fn piece(&self, this: u64, after: u64) {
        self.0.after.store(after.saturating_mul(1000) / this.max(1), Ordering::Relaxed);
        self.0.pieces.fetch_add(1, Ordering::Relaxed);
    }

    /// Goes back to a phase that another one has interrupted, as far as it was.
    pub fn resume(&self, before: &Reading) {
        *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner) = before.phase.clone();
        self.0.total.store(before.total, Ordering::Relaxed);
        self.0.done.store(before.done, Ordering::Relaxed);
    }

    pub fn add_total(&self, units: u64) {
        self.0.total.fetch_add(units, Ordering::Relaxed);
    }

    pub fn add_done(&self, units: u64) {
        self.0.done.fetch_add(units, Ordering::Relaxed);
    }

    pub fn add_bytes(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn add_records(&self, records: u64) {
        self.0.records.fetch_add(records, Ordering::Relaxed);
    }

    pub fn read(&self) -> Reading {
        Reading {
            phase: self.0.phase.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            total: self.0.total.load(Ordering::Relaxed),
            done: self.0.done.load(Ordering::Relaxed),
            bytes: self.0.bytes.load(Ordering::Relaxed),
            records: self.0.records.load(Ordering::Relaxed),
            pieces: self.0.pieces.load(Ordering::Relaxed),
            after: self.0.after.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_phase_goes_on_from_where_it_was() {
        let progress = Progress::default();
        progress.phase("counting", Some(40));
        progress.add_done(20);
        let counting = progress.read();
        progress.phase("writing", Some(2000));
        progress.add_done(7);
        progress.add_bytes(5);
        progress.resume(&counting);
        let now = progress.read();
        assert_eq!((now.phase.as_str(), now.done, now.total, now.bytes), ("counting", 20, 40, 5));
    }

    #[test]
    fn the_time_left_is_that_of_the_phase_and_of_the_pieces_after_it() {
        let secs = Duration::from_secs;
        let progress = Progress::default();
        progress.piece(10, 30);
        assert_eq!(progress.read().time_left(secs(4), secs(6)), secs(4 + 3 * 10));
        progress.piece(10, 0);
        assert_eq!(progress.read().time_left(secs(4), secs(6)), secs(4));
        // An empty piece divides nothing by zero.
        progress.piece(0, 0);
        assert_eq!(progress.read().time_left(secs(4), secs(6)), secs(4));
    }
}
