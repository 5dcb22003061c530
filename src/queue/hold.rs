//! Keeps a message that is worked on from being handed out to others.

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Queue, is_stale};

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
    loop {
        tokio::select! {
            () = tokio::time::sleep(queue.visibility / 2) => {}
            () = until.cancelled() => return,
        }
        match queue.set_visibility(&receipt, queue.visibility).await {
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
