//! Deletes messages in batches, and tries those again that SQS could not delete.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{BATCH, Queue, is_stale};

/// How long the first message of a batch waits for company.
const LINGER: Duration = Duration::from_millis(50);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// With the pauses doubled each time, three seconds in all: well within what is left of a usual visibility.
const ATTEMPTS: u32 = 5;

/// Takes receipts of messages that are done.
#[derive(Debug)]
pub(super) struct Deleter {
    receipts: mpsc::Sender<String>,
    working: JoinHandle<()>,
}

impl Deleter {
    pub(super) fn start(queue: Queue) -> Self {
        let (receipts, incoming) = mpsc::channel(BATCH);
        Self { receipts, working: tokio::spawn(delete_all(queue, incoming)) }
    }

    pub(super) fn receipts(&self) -> mpsc::Sender<String> {
        self.receipts.clone()
    }

    /// Waits until everything that was handed in is deleted or given up. All other senders must be gone.
    pub(super) async fn finish(self) {
        drop(self.receipts);
        if let Err(error) = self.working.await {
            tracing::error!(event = "queue.deleter_failed", %error, "deleting broke off; messages come again");
        }
    }
}

async fn delete_all(queue: Queue, mut incoming: mpsc::Receiver<String>) {
    while let Some(first) = incoming.recv().await {
        let mut batch = vec![first];
        let mut linger = std::pin::pin!(tokio::time::sleep(LINGER));
        while batch.len() < BATCH {
            tokio::select! {
                next = incoming.recv() => match next {
                    Some(receipt) => batch.push(receipt),
                    None => break,
                },
                () = &mut linger => break,
            }
        }
        delete(&queue, batch).await;
    }
}

async fn delete(queue: &Queue, mut receipts: Vec<String>) {
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=ATTEMPTS {
        let why = match queue.delete_batch(&receipts).await {
            Ok(failed) => {
                let (stale, again): (Vec<_>, Vec<_>) = failed.into_iter().partition(|(_, error)| is_stale(error));
                for (_, error) in stale {
                    tracing::info!(
                        event = "message.lost_hold",
                        queue = queue.name,
                        %error,
                        "a message that is done was handed to somebody else as well"
                    );
                }
                let Some((_, error)) = again.first() else { return };
                let why = error.to_string();
                receipts = again.into_iter().map(|(receipt, _)| receipt).collect();
                why
            }
            Err(error) => error.to_string(),
        };
        if attempt == ATTEMPTS {
            tracing::warn!(
                event = "message.not_deleted",
                queue = queue.name,
                messages = receipts.len() as u64,
                error = why,
                "messages that are done could not be deleted; they come again, which is harmless"
            );
            return;
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}
