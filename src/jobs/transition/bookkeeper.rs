//! What moves did, written into the ledger: rows that come at about the same time go in one request.
//!
//! A row waits at most [`LINGER`] for others. A crash meanwhile loses no more than a crash right behind the copy does: the
//! rows say too little, which the next run or reconcile sets right.

use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{mpsc, oneshot};

use crate::aws::{AwsError, AwsResult};
use crate::ledger::{Change, Ledger, Placing, ROWS_AT_ONCE};

/// How long a row waits for others.
const LINGER: Duration = Duration::from_millis(100);

/// Takes rows until its last clone is gone.
#[derive(Debug, Clone)]
pub(super) struct Bookkeeper(mpsc::Sender<Entry>);

#[derive(Debug)]
struct Entry {
    row: Placing,
    answer: oneshot::Sender<AwsResult<Change>>,
}

impl Bookkeeper {
    pub fn start(ledger: Ledger) -> Self {
        let (sender, entries) = mpsc::channel(ROWS_AT_ONCE);
        tokio::spawn(gather(ledger, entries));
        Self(sender)
    }

    /// As [`Ledger::place`] does, together with others.
    pub async fn place(&self, row: Placing) -> AwsResult<Change> {
        let (answer, written) = oneshot::channel();
        let broken_off = |row: &dyn std::fmt::Display| {
            AwsError::from_entry("UpdateItem", row, None, "the writing of the ledger broke off")
        };
        let id = row.id.clone();
        if self.0.send(Entry { row, answer }).await.is_err() {
            return Err(broken_off(&id));
        }
        written.await.unwrap_or_else(|_| Err(broken_off(&id)))
    }
}

async fn gather(ledger: Ledger, mut entries: mpsc::Receiver<Entry>) {
    while let Some(first) = entries.recv().await {
        let deadline = tokio::time::Instant::now() + LINGER;
        let mut group = vec![first];
        while group.len() < ROWS_AT_ONCE {
            match tokio::time::timeout_at(deadline, entries.recv()).await {
                Ok(Some(entry)) => group.push(entry),
                // Nobody else comes, or nobody else has come in time.
                Ok(None) | Err(_) => break,
            }
        }
        tokio::spawn(write(ledger.clone(), group));
    }
}

async fn write(ledger: Ledger, group: Vec<Entry>) {
    let (rows, answers): (Vec<_>, Vec<_>) = group.into_iter().map(|entry| (entry.row, entry.answer)).unzip();
    let together = if rows.len() > 1 { Some(ledger.place_all(&rows).await) } else { None };
    let changes = match together {
        Some(Ok(())) => rows.iter().map(|_| Ok(Change::Made)).collect(),
        refused => {
            if let Some(Err(error)) = refused {
                // One of the rows has changed, or is being changed; each for itself, the others can be written.
                tracing::debug!(event = "transition.rows_one_by_one", %error, "rows could not be written together");
            }
            join_all(rows.iter().map(|row| ledger.place(&row.id, Some(&row.expected), &row.now_at))).await
        }
    };
    for (answer, change) in answers.into_iter().zip(changes) {
        // A move that broke off asks no more.
        let _gone = answer.send(change);
    }
}
