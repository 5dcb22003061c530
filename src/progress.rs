//! How far a long piece of work is: counters that the work adds to and that a terminal may show. The work neither knows
//! nor cares whether anybody looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
}

impl Progress {
    /// Begins a phase (`listing`, `counting`, `writing`, `moving`), with its units of work, where they are known.
    pub fn phase(&self, name: impl Into<String>, total: Option<u64>) {
        *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner) = name.into();
        self.0.total.store(total.unwrap_or(0), Ordering::Relaxed);
        self.0.done.store(0, Ordering::Relaxed);
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
        }
    }
}
