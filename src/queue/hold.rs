//! Keeps a message that is worked on from being handed out to others.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{LONGEST_VISIBILITY, Queue, is_stale};

/// How much sooner than SQS we end, whose clock began to run before ours.
const MARGIN: Duration = Duration::from_secs(10);

/// Renews the visibility of one message at half its length, until it is stopped or dropped.
#[derive(Debug)]
pub(super) struct Hold {
    renewing: JoinHandle<()>,
    until: DropGuard,
}

impl Hold {
    /// `receipt` was received just now.
    pub(super) fn start(queue: Queue, receipt: String) -> Self {
        let token = CancellationToken::new();
        let until = token.clone().drop_guard();
        Self { renewing: tokio::spawn(renew(queue, receipt, token)), until }
    }

    /// Ends the renewal. When this returns no call of it is under way.
    pub(super) async fn stop(self) {
        drop(self.until);
        if let Err(error) = self.renewing.await {
            tracing::error!(event = "message.hold_failed", %error, "the renewal of a message's visibility broke off");
        }
    }
}

async fn renew(queue: Queue, receipt: String, until: CancellationToken) {
    // SQS counts from the receipt and refuses what would go beyond.
    let longest = Instant::now() + LONGEST_VISIBILITY - MARGIN;
    loop {
        tokio::select! {
            () = tokio::time::sleep(queue.visibility / 2) => {}
            () = until.cancelled() => return,
        }
        let visibility = queue.visibility.min(longest.saturating_duration_since(Instant::now()));
        if visibility < Duration::from_secs(1) {
            tracing::warn!(
                event = "message.held_for_longest",
                queue = queue.name,
                "a message has been worked on for twelve hours, the longest that SQS keeps it for; it may come a second time"
            );
            return;
        }
        match queue.set_visibility(&receipt, visibility).await {
            Ok(()) => {}
            Err(error) if is_stale(&error) => {
                tracing::info!(
                    event = "message.lost_hold",
                    queue = queue.name,
                    %error,
                    "SQS has handed a message to somebody else as well; what it asks for is harmless to repeat"
                );
                return;
            }
            Err(error) => tracing::warn!(
                event = "message.not_renewed",
                queue = queue.name,
                %error,
                "a message's visibility could not be renewed; it may come a second time"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use aws_sdk_sqs::operation::change_message_visibility::ChangeMessageVisibilityError;
    use aws_sdk_sqs::operation::change_message_visibility::ChangeMessageVisibilityOutput;
    use aws_sdk_sqs::types::error::ReceiptHandleIsInvalid;
    use aws_smithy_mocks::{RuleMode, mock, mock_client};

    use super::*;

    fn queue(client: aws_sdk_sqs::Client) -> Queue {
        Queue {
            client,
            url: "https://sqs.invalid/queue".to_owned(),
            name: "queue".to_owned(),
            visibility: Duration::from_secs(30),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_renewal_reaches_beyond_the_twelve_hours_that_sqs_allows() {
        let (began, furthest) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let reached = furthest.clone();
        let renewal = mock!(aws_sdk_sqs::Client::change_message_visibility)
            .match_requests(move |request| {
                let end = began.elapsed().as_secs() + request.visibility_timeout().unwrap_or(0).unsigned_abs() as u64;
                reached.fetch_max(end, Ordering::SeqCst);
                true
            })
            .then_output(|| ChangeMessageVisibilityOutput::builder().build());
        let hold = Hold::start(queue(mock_client!(aws_sdk_sqs, RuleMode::MatchAny, [&renewal])), "receipt".to_owned());
        tokio::time::sleep(Duration::from_secs(13 * 60 * 60)).await;
        let furthest = furthest.load(Ordering::SeqCst);
        assert!((12 * 60 * 60 - 15..12 * 60 * 60).contains(&furthest), "{furthest}");
        assert!(renewal.num_calls() > 2 * 12 * 60 * 60 / 30 - 10, "{}", renewal.num_calls());
        assert!(hold.renewing.is_finished(), "it does not go on for ever");
        hold.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_receipt_that_went_stale_ends_the_renewals_and_nothing_else() {
        let stale = mock!(aws_sdk_sqs::Client::change_message_visibility).then_error(|| {
            ChangeMessageVisibilityError::ReceiptHandleIsInvalid(
                ReceiptHandleIsInvalid::builder()
                    .meta(aws_sdk_sqs::error::ErrorMetadata::builder().code("ReceiptHandleIsInvalid").build())
                    .build(),
            )
        });
        let hold = Hold::start(queue(mock_client!(aws_sdk_sqs, RuleMode::MatchAny, [&stale])), "receipt".to_owned());
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(stale.num_calls(), 1);
        hold.stop().await;
    }
}
