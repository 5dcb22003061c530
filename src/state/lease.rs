//! Leases: who may work on a part or a job now.
//!
//! A lease is one item: its holder, a *fence* that grows by one with every change of holder, and a *beat* that grows with
//! every renewal. Nobody compares clocks: a daemon that wants a lease watches fence and beat, and takes it over once it
//! has seen both unchanged for the lease's life on its own monotonic clock. The fence goes into the writes that must not
//! come from a former holder (checkpoints). All else is idempotent, so a lease saves work; it does not carry correctness.
//!
//! A holder renews at a third of the life and gives the lease back when it stops, so that its successor need not wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::item::{Item, n, s};
use super::{State, Written};
use crate::aws::{AwsError, AwsResult};

const PK: &str = "lease";

/// A lease as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    pub name: String,
    /// None once it was given back.
    pub holder: Option<String>,
    pub fence: u64,
    beat: u64,
}

/// A lease that is held. Dropping it stops the renewal but does not give the lease back: the next holder then waits for
/// its life to pass, as after a crash. [`Lease::release`] gives it back.
#[derive(Debug)]
pub struct Lease {
    state: State,
    name: String,
    fence: u64,
    lost: CancellationToken,
    renewal: AbortOnDropHandle<()>,
}

/// What an attempt to take a lease came to.
#[derive(Debug)]
pub enum Taken {
    Mine(Lease),
    /// Somebody else holds it and is alive.
    HeldBy(String),
}

impl State {
    /// Takes the lease `name`, if need be after watching its holder for one life: a holder that renews meanwhile is
    /// alive and keeps it.
    pub async fn take_lease(&self, name: &str) -> AwsResult<Taken> {
        let never = CancellationToken::new();
        loop {
            if let Some(taken) = self.take_lease_unless(&never, name).await? {
                return Ok(taken);
            }
        }
    }

    /// The same, but gives up (None) when `stop` is cancelled while a holder is being watched.
    pub async fn take_lease_unless(&self, stop: &CancellationToken, name: &str) -> AwsResult<Option<Taken>> {
        let pause = (self.lease_life / 20).clamp(Duration::from_millis(20), Duration::from_millis(500));
        let mut watched: Option<(LeaseRecord, Instant)> = None;
        loop {
            let record = self.lease(name).await?;
            let held = record.as_ref().and_then(|r| r.holder.clone());
            match (record, held) {
                (record, None) => {
                    if let Some(lease) = self.claim(name, record.as_ref()).await? {
                        return Ok(Some(Taken::Mine(lease)));
                    }
                    // Somebody was faster; look again who it is.
                }
                (None, Some(_)) => unreachable!("a holder comes from a record"),
                (Some(record), Some(holder)) => match &watched {
                    Some((first, _)) if *first != record => return Ok(Some(Taken::HeldBy(holder))),
                    Some((_, since)) if since.elapsed() >= self.lease_life => {
                        if let Some(lease) = self.claim(name, Some(&record)).await? {
                            return Ok(Some(Taken::Mine(lease)));
                        }
                        watched = None;
                    }
                    Some(_) => {}
                    None => watched = Some((record, Instant::now())),
                },
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return Ok(None),
            }
        }
    }

    /// All leases as they stand.
    pub async fn leases(&self) -> AwsResult<Vec<LeaseRecord>> {
        let items = self.query(PK, "").await?;
        Ok(items.iter().filter_map(record).collect())
    }

    async fn lease(&self, name: &str) -> AwsResult<Option<LeaseRecord>> {
        Ok(self.get(PK, name).await?.as_ref().and_then(record))
    }

    /// Takes the lease over from `seen`, if it still stands as it was seen.
    async fn claim(&self, name: &str, seen: Option<&LeaseRecord>) -> AwsResult<Option<Lease>> {
        // Unlike that of every other attempt, also of another task in this process.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mark = format!("{}/{}", self.holder, NEXT.fetch_add(1, Ordering::Relaxed));
        let fence = seen.map_or(0, |r| r.fence) + 1;
        // Its life counts from before it was written: others count from when they first see it, which is later.
        let asked = Instant::now();
        let update = self
            .update(PK, name)
            .update_expression("SET holder = :holder, mark = :mark, fence = :fence, beat = :zero")
            .expression_attribute_values(":mark", s(&mark))
            .expression_attribute_values(":holder", s(&self.holder))
            .expression_attribute_values(":fence", n(fence))
            .expression_attribute_values(":zero", n(0));
        let update = match seen {
            None => update.condition_expression("attribute_not_exists(pk)"),
            // The fence changes with every holder and the beat with every renewal, so equal values mean that nothing
            // has happened since.
            Some(seen) => update
                .condition_expression(if seen.holder.is_some() {
                    "fence = :seen AND beat = :beat AND attribute_exists(holder)"
                } else {
                    "fence = :seen AND beat = :beat AND attribute_not_exists(holder)"
                })
                .expression_attribute_values(":seen", n(seen.fence))
                .expression_attribute_values(":beat", n(seen.beat)),
        };
        match self.send_update(&format!("lease/{name}"), update).await {
            Ok(Written::Yes) => Ok(Some(self.held(name, fence, asked))),
            Ok(Written::Refused) => {
                // The SDK repeats a write whose answer was lost, and then meets its own effect.
                let now = self.get(PK, name).await?;
                let mine = now.is_some_and(|item| item.opt_str("mark") == Some(&mark));
                Ok(mine.then(|| self.held(name, fence, asked)))
            }
            Err(e) => Err(e),
        }
    }

    fn held(&self, name: &str, fence: u64, asked: Instant) -> Lease {
        let lost = CancellationToken::new();
        let renewal = tokio::spawn(renew(self.clone(), name.to_owned(), fence, asked, lost.clone()));
        Lease { state: self.clone(), name: name.to_owned(), fence, lost, renewal: AbortOnDropHandle::new(renewal) }
    }
}

impl Lease {
    /// Grows with every change of holder. A write that carries it as a condition is refused to former holders.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Cancelled when the lease was lost: another daemon has taken it, or it could not be renewed for its whole life.
    /// Work stops at its next safe point.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Gives the lease back, so that a successor starts at once.
    pub async fn release(self) -> Result<(), AwsError> {
        // Stopped first: a renewal that comes after would be refused and reported as a loss.
        self.renewal.abort();
        let update = self
            .state
            .update(PK, &self.name)
            .update_expression("REMOVE holder, mark")
            .condition_expression("fence = :fence")
            .expression_attribute_values(":fence", n(self.fence));
        // Refused means that somebody else has it by now, which is as good.
        self.state.send_update(&format!("lease/{}", self.name), update).await.map(|_: Written| ())
    }
}

async fn renew(state: State, name: String, fence: u64, taken: Instant, lost: CancellationToken) {
    let mut last_success = taken;
    let period = state.lease_life / 3;
    let mut interval = tokio::time::interval_at(taken + period, period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let update = state
            .update(PK, &name)
            .update_expression("SET beat = beat + :one")
            .condition_expression("fence = :fence AND attribute_exists(holder)")
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":fence", n(fence));
        let asked = Instant::now();
        // A renewal that takes longer than is left of the life comes too late, whatever it answers.
        // And one that hangs must leave time for another.
        let left = state.lease_life.saturating_sub(last_success.elapsed()).min(period);
        match tokio::time::timeout(left, state.send_update(&format!("lease/{name}"), update)).await {
            Ok(Ok(Written::Yes)) => last_success = asked,
            Ok(Ok(Written::Refused)) => {
                tracing::warn!(event = "lease.lost", lease = name, fence, "another daemon has taken the lease");
                lost.cancel();
                return;
            }
            Ok(Err(error)) => {
                tracing::warn!(event = "lease.renewal_failed", lease = name, fence, %error, "the lease could not be renewed");
            }
            Err(_elapsed) => {}
        }
        if last_success.elapsed() >= state.lease_life {
            tracing::warn!(
                event = "lease.lost",
                lease = name,
                fence,
                "the lease could not be renewed for its whole life"
            );
            lost.cancel();
            return;
        }
    }
}

fn record(item: &Item) -> Option<LeaseRecord> {
    Some(LeaseRecord {
        name: item.str("sk").ok()?.to_owned(),
        holder: item.opt_str("holder").map(str::to_owned),
        fence: item.num("fence").ok()?,
        beat: item.num("beat").ok()?,
    })
}
