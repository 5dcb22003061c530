//! Queues: messages from SQS, each worked on until all that it asks for is durable, and only then deleted.
//!
//! [`consume`] is all that the parts use: they hand it a queue and a handler, and what the handler says of a message
//! ([`Handled`]) decides what becomes of it. Behind that stand the things that every consumer of SQS must get right:
//!
//! - The poll is long (20 s), for up to ten messages, and only for as many as there are places to work on them: a message
//!   that nobody works on yet is better left to another daemon.
//! - While a message is worked on, a [`hold::Hold`] renews its visibility at half its length. It is stopped, and its last
//!   call awaited, *before* the message is deleted or let go: a renewal that overtook either would undo it.
//! - Deletes go in batches; an entry that SQS could not delete is tried again ([`delete`]). A message that is not deleted in
//!   the end comes once more, and every handler is harmless to repeat.
//! - A receipt handle goes stale when SQS gave the message to somebody else meanwhile. That is noted and no error.
//! - What cannot be understood is never deleted. Its visibility is left to run out, so that it comes again slowly until the
//!   redrive policy takes it, and does not spin where there is none.
//! - A queue that cannot be read (gone, or credentials expired) makes its part ill, and is asked again ever more seldom.
//!
//! When told to stop, the poll is given up at once, what was received and not begun goes back (visibility 0), and what was
//! begun is finished. A message that SQS hands out in the very moment in which a poll is given up comes again when its
//! visibility ends.

mod consumer;
mod delete;
mod hold;

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageSystemAttributeName,
    QueueAttributeName,
};

use crate::aws::{AwsError, AwsResult};

pub use consumer::{Handled, Options, consume};

/// SQS's own limit on messages a call.
const BATCH: usize = 10;
/// SQS's longest poll.
const POLL: Duration = Duration::from_secs(20);
/// A queue may give its messages no time at all; less than this cannot be renewed in time.
const SHORTEST_VISIBILITY: Duration = Duration::from_secs(2);
/// A message is held for this long at a time, however long the queue would let it be held, and renewed while it is worked
/// on: what a daemon held that was killed, or what went out on a connection that died, comes again soon.
const LONGEST_HOLD: Duration = Duration::from_secs(30);
/// SQS's longest visibility.
const LONGEST_VISIBILITY: Duration = Duration::from_secs(12 * 60 * 60);

/// A queue that exists; cheap to clone.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
    name: String,
    visibility: Duration,
}

/// A message as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub id: String,
    pub body: String,
    /// How often SQS has handed it out, this time included.
    pub receives: u32,
    receipt: String,
}

impl Queue {
    /// Finds a queue by its name or its URL, once. Fails with [`crate::aws::Kind::NotFound`] if there is none.
    pub async fn open(client: &Client, name_or_url: &str) -> AwsResult<Self> {
        let url = if is_url(name_or_url) {
            name_or_url.to_owned()
        } else {
            let answer = client
                .get_queue_url()
                .queue_name(name_or_url)
                .send()
                .await
                .map_err(|e| AwsError::new("GetQueueUrl", name_or_url, e))?;
            answer
                .queue_url
                .ok_or_else(|| AwsError::from_entry("GetQueueUrl", name_or_url, None, "the answer has no URL"))?
        };
        let name = url.trim_end_matches('/').rsplit('/').next().unwrap_or(&url).to_owned();
        let attributes = client
            .get_queue_attributes()
            .queue_url(&url)
            .attribute_names(QueueAttributeName::VisibilityTimeout)
            .send()
            .await
            .map_err(|e| AwsError::new("GetQueueAttributes", &name, e))?;
        let secs = attributes
            .attributes
            .as_ref()
            .and_then(|all| all.get(&QueueAttributeName::VisibilityTimeout))
            .and_then(|secs| secs.parse().ok())
            .unwrap_or(30);
        let visibility = Duration::from_secs(secs).clamp(SHORTEST_VISIBILITY, LONGEST_HOLD);
        Ok(Self { client: client.clone(), url, name, visibility })
    }

    /// Its name: what log lines and metrics call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For how long a message that was received is kept from others, unless it is renewed.
    pub fn visibility(&self) -> Duration {
        self.visibility
    }

    /// One long poll.
    async fn receive(&self, most: usize) -> AwsResult<Vec<Message>> {
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(most.clamp(1, BATCH) as i32)
            .wait_time_seconds(POLL.as_secs() as i32)
            .visibility_timeout(whole_secs(self.visibility))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .send()
            .await
            .map_err(|e| AwsError::new("ReceiveMessage", &self.name, e))?;
        let received = answer.messages.unwrap_or_default().into_iter().filter_map(|message| {
            let receives = message
                .attributes
                .as_ref()
                .and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount))
                .and_then(|count| count.parse().ok())
                .unwrap_or(1);
            // Without a receipt nothing can be done with a message, not even let go of.
            Some(Message {
                id: message.message_id.unwrap_or_default(),
                body: message.body.unwrap_or_default(),
                receives,
                receipt: message.receipt_handle?,
            })
        });
        Ok(received.collect())
    }

    async fn set_visibility(&self, receipt: &str, visibility: Duration) -> AwsResult<()> {
        self.client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(receipt)
            .visibility_timeout(whole_secs(visibility))
            .send()
            .await
            .map_err(|e| AwsError::new("ChangeMessageVisibility", &self.name, e))?;
        Ok(())
    }

    /// Lets others have these messages at once. What cannot be given back comes when its visibility ends.
    async fn give_back(&self, messages: &[Message]) {
        for batch in messages.chunks(BATCH) {
            let entries = batch.iter().enumerate().map(|(i, message)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(i.to_string())
                    .receipt_handle(&message.receipt)
                    .visibility_timeout(0)
                    .build()
                    .expect("id and receipt are given")
            });
            let sent = self
                .client
                .change_message_visibility_batch()
                .queue_url(&self.url)
                .set_entries(Some(entries.collect()))
                .send()
                .await
                .map_err(|e| AwsError::new("ChangeMessageVisibilityBatch", &self.name, e));
            let kept = match &sent {
                Ok(answer) => answer.failed.len(),
                Err(_) => batch.len(),
            };
            if kept > 0 {
                tracing::warn!(
                    event = "message.not_given_back",
                    queue = self.name,
                    messages = kept as u64,
                    error = sent.err().map(|e| e.to_string()),
                    "messages could not be given back; they come again when their visibility ends"
                );
            }
        }
    }

    /// Deletes up to ten messages and gives back the receipts that SQS could not delete, with the reason.
    async fn delete_batch(&self, receipts: &[String]) -> AwsResult<Vec<(String, AwsError)>> {
        let entries = receipts.iter().enumerate().map(|(i, receipt)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(i.to_string())
                .receipt_handle(receipt)
                .build()
                .expect("id and receipt are given")
        });
        let answer = self
            .client
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .map_err(|e| AwsError::new("DeleteMessageBatch", &self.name, e))?;
        let failed = answer.failed.into_iter().filter_map(|failed| {
            let receipt = receipts.get(failed.id.parse::<usize>().ok()?)?;
            let why = failed.message.unwrap_or_default();
            let error = AwsError::from_entry("DeleteMessageBatch", &self.name, Some(&failed.code), why);
            Some((receipt.clone(), error))
        });
        Ok(failed.collect())
    }
}

fn is_url(name_or_url: &str) -> bool {
    name_or_url.starts_with("https://") || name_or_url.starts_with("http://")
}

fn whole_secs(duration: Duration) -> i32 {
    i32::try_from(duration.min(LONGEST_VISIBILITY).as_secs()).expect("twelve hours fit")
}

/// Whether SQS refuses a receipt because the message is no longer ours: it was handed out again, or deleted.
fn is_stale(error: &AwsError) -> bool {
    error.code.as_deref().is_some_and(|code| {
        matches!(
            code.rsplit('.').next().unwrap_or(code),
            "ReceiptHandleIsInvalid" | "MessageNotInflight" | "InvalidParameterValue"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_that_is_no_longer_ours_is_told_from_other_refusals() {
        let refused = |code| is_stale(&AwsError::from_entry("DeleteMessageBatch", "queue", Some(code), "refused"));
        assert!(refused("ReceiptHandleIsInvalid"));
        assert!(refused("AWS.SimpleQueueService.MessageNotInflight"));
        assert!(refused("InvalidParameterValue"));
        assert!(!refused("InternalError"));
        assert!(!refused("AccessDenied"));
    }
}
