//! Serving one user to an end: a bucket, or a quarantine record that says why not.
//!
//! Trouble that passes (throttling, time-outs, `OperationAborted`) is waited for and never counted: it says nothing of the
//! user. Trouble that every user would meet (missing permissions, `TooManyBuckets`) ends the part, so that nobody is
//! set aside for it. What is left is counted, and after `max_attempts` the user is set aside and the others go on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::saga::{Origin, ProvisionError, Remedy, Saga, Served};
use crate::clock;
use crate::metrics::{About, Unit};
use crate::state::quarantine::{QuarantineKind, Quarantined};
use crate::tiering::object::UserId;

/// How long to wait, and how often to try.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub max_attempts: u32,
    /// The first pause between two attempts; each is twice the one before.
    pub first_pause: Duration,
    pub longest_pause: Duration,
}

/// Serves users; cheap to clone. At most so many at once as the configuration allows, whoever asks.
#[derive(Debug, Clone)]
pub struct Server {
    saga: Saga,
    patience: Patience,
    concurrency: usize,
    places: Arc<Semaphore>,
    /// Attempts that failed, of users who are not served yet: a restart of the part does not begin anew with them.
    attempts: Arc<Mutex<HashMap<UserId, u32>>>,
}

/// How it ended.
#[derive(Debug)]
pub enum Ending {
    Served(Served),
    /// Set aside, with this reason.
    Quarantined(String),
    /// Told to stop before the end; whoever comes next begins anew.
    Interrupted,
}

impl Server {
    pub fn new(saga: Saga, patience: Patience, concurrency: usize) -> Self {
        let concurrency = concurrency.max(1);
        Self { saga, patience, concurrency, places: Arc::new(Semaphore::new(concurrency)), attempts: Arc::default() }
    }

    pub fn saga(&self) -> &Saga {
        &self.saga
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// How many users are served at once.
    pub(super) fn concurrency(&self) -> usize {
        self.concurrency
    }

    pub(super) fn places(&self) -> &Arc<Semaphore> {
        &self.places
    }

    /// Serves one user. Fails only with what would fail for everybody.
    pub async fn serve(
        &self,
        user: &UserId,
        created: DateTime<Utc>,
        origin: Origin,
        stop: &CancellationToken,
    ) -> Result<Ending, ProvisionError> {
        let mut pause = Pause::new(self.patience);
        loop {
            let tried = {
                let _place = tokio::select! {
                    place = self.places.acquire() => place.expect("the semaphore is never closed"),
                    () = stop.cancelled() => return Ok(Ending::Interrupted),
                };
                if stop.is_cancelled() {
                    return Ok(Ending::Interrupted);
                }
                self.saga.provision(user, created, origin).await
            };
            let error = match tried {
                Ok(served) => {
                    self.forget(user);
                    return Ok(Ending::Served(served));
                }
                Err(error) => error,
            };
            match error.remedy() {
                Remedy::StopThePart => return Err(error),
                Remedy::Wait => {
                    tracing::warn!(
                        event = "user.delayed",
                        user_id = user.as_str(),
                        %error,
                        "a user's bucket is delayed by trouble that passes"
                    );
                }
                Remedy::Count => {
                    let attempt = self.count(user);
                    if attempt >= self.patience.max_attempts {
                        let reason = error.to_string();
                        return self.quarantine(user, created, reason, stop).await;
                    }
                    tracing::warn!(
                        event = "user.failed",
                        user_id = user.as_str(),
                        attempt,
                        max_attempts = self.patience.max_attempts,
                        %error,
                        "a user's bucket could not be made; it is tried again"
                    );
                }
            }
            if pause.wait(stop).await == Waited::Stopped {
                return Ok(Ending::Interrupted);
            }
        }
    }

    async fn quarantine(
        &self,
        user: &UserId,
        created: DateTime<Utc>,
        reason: String,
        stop: &CancellationToken,
    ) -> Result<Ending, ProvisionError> {
        if self.set_aside(user.as_str(), &reason, json!({ "created": created }), stop).await? == Waited::Stopped {
            return Ok(Ending::Interrupted);
        }
        tracing::error!(
            event = "user.quarantined",
            user_id = user.as_str(),
            reason,
            "a user was set aside without a bucket; `tierd quarantine retry` puts it back to work"
        );
        self.forget(user);
        Ok(Ending::Quarantined(reason))
    }

    /// Sets a record aside that names no user; trying it again changes nothing. Gives whether that was done before `stop`.
    pub(super) async fn set_aside_record(
        &self,
        sequence: &str,
        reason: &str,
        stop: &CancellationToken,
    ) -> Result<Waited, ProvisionError> {
        let id = format!("record {sequence}");
        let done = self.set_aside(&id, reason, json!({ "record": sequence }), stop).await?;
        if done == Waited::Over {
            tracing::error!(
                event = "record.quarantined",
                id,
                reason,
                "a record of the users table's stream can never be acted on and was set aside"
            );
        }
        Ok(done)
    }

    async fn set_aside(
        &self,
        id: &str,
        reason: &str,
        payload: serde_json::Value,
        stop: &CancellationToken,
    ) -> Result<Waited, ProvisionError> {
        let entry = Quarantined {
            kind: QuarantineKind::User,
            id: id.to_owned(),
            reason: reason.to_owned(),
            at: clock::now_secs(),
            retry: false,
            payload: payload.to_string(),
        };
        let mut pause = Pause::new(self.patience);
        loop {
            match self.saga.state().quarantine(&entry).await.map_err(ProvisionError::from) {
                Ok(()) => break,
                Err(error) if error.remedy() == Remedy::Wait => {
                    if pause.wait(stop).await == Waited::Stopped {
                        return Ok(Waited::Stopped);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.saga.metrics().emit(About::Service, &[("Quarantined", Unit::Count, 1.0)]);
        Ok(Waited::Over)
    }

    fn count(&self, user: &UserId) -> u32 {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(user.clone()).or_insert(0);
        *attempt += 1;
        *attempt
    }

    fn forget(&self, user: &UserId) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).remove(user);
    }
}

/// Pauses that grow.
#[derive(Debug)]
pub(super) struct Pause {
    patience: Patience,
    next: Duration,
}

/// How a pause ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    Over,
    Stopped,
}

impl Pause {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, next: patience.first_pause }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.patience.first_pause;
    }

    pub(super) async fn wait(&mut self, stop: &CancellationToken) -> Waited {
        let pause = self.next;
        self.next = (pause * 2).min(self.patience.longest_pause.max(self.patience.first_pause));
        wait(pause, stop).await
    }
}

pub(super) async fn wait(pause: Duration, stop: &CancellationToken) -> Waited {
    tokio::select! {
        () = tokio::time::sleep(pause) => Waited::Over,
        () = stop.cancelled() => Waited::Stopped,
    }
}
