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
        failpoint!("queue.message-done");
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

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::operation::delete_message_batch::DeleteMessageBatchOutput;
    use aws_sdk_sqs::types::BatchResultErrorEntry;
    use aws_smithy_mocks::{RuleMode, mock, mock_client};

    use super::*;

    fn failing(ids: &[(&str, &str)]) -> DeleteMessageBatchOutput {
        let failed = ids.iter().map(|(id, code)| {
            BatchResultErrorEntry::builder().id(*id).code(*code).sender_fault(false).build().unwrap()
        });
        DeleteMessageBatchOutput::builder()
            .set_successful(Some(vec![]))
            .set_failed(Some(failed.collect()))
            .build()
            .unwrap()
    }

    fn receipts_of(request: &aws_sdk_sqs::operation::delete_message_batch::DeleteMessageBatchInput) -> Vec<&str> {
        request.entries().iter().map(|entry| entry.receipt_handle()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_entries_that_failed_are_tried_again_and_stale_ones_are_not() {
        let first = mock!(aws_sdk_sqs::Client::delete_message_batch)
            .match_requests(|request| receipts_of(request) == ["a", "b", "c"])
            .then_output(|| failing(&[("1", "InternalError"), ("2", "ReceiptHandleIsInvalid")]));
        let second = mock!(aws_sdk_sqs::Client::delete_message_batch)
            .match_requests(|request| receipts_of(request) == ["b"])
            .then_output(|| failing(&[]));
        let client = mock_client!(aws_sdk_sqs, RuleMode::MatchAny, [&first, &second]);
        let queue = Queue {
            client,
            url: "https://sqs.invalid/queue".to_owned(),
            name: "queue".to_owned(),
            visibility: Duration::from_secs(30),
        };
        let deleter = Deleter::start(queue);
        for receipt in ["a", "b", "c"] {
            deleter.receipts().send(receipt.to_owned()).await.unwrap();
        }
        deleter.finish().await;
        assert_eq!((first.num_calls(), second.num_calls()), (1, 1));
    }
}
