//! Messages of the two queues, each to its end.

use std::collections::BTreeSet;

use anyhow::Result;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{Restorer, is_hopeless};
use crate::aws::AwsError;
use crate::queue::{Handled, Message};
use crate::tiering::restore::parse_requests;
use crate::tiering::s3_event::{BrokenRecord, EventKind, parse_events};

/// The part that takes requests.
pub const REQUESTS: &str = "restore-requests";
/// The part that takes S3's events.
pub const EVENTS: &str = "restore-events";

/// Records of one message that are worked on at once.
const RECORDS_AT_ONCE: usize = 8;

impl Restorer {
    /// Grants what a message of the request queue asks for. Requests that can never be granted are reported and done with.
    pub async fn on_request_message(&self, message: &Message, stop: &CancellationToken) -> Handled {
        let parsed = match parse_requests(&message.body) {
            Ok(parsed) => parsed,
            Err(rejected) => return Handled::Rejected { reason: rejected.to_string() },
        };
        // The same object several times in one body is one request; the first one's days and tier hold.
        let mut seen = BTreeSet::new();
        let mut requests = parsed.requests;
        requests.retain(|request| seen.insert(request.id.clone()));
        let granted = futures::stream::iter(requests)
            .map(|request| async move { self.request_for_reader(&request, stop).await.map(drop) })
            .buffer_unordered(RECORDS_AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        handled(granted, &parsed.broken)
    }

    /// Does what S3's events ask for.
    pub async fn on_event_message(&self, message: &Message, stop: &CancellationToken) -> Handled {
        let parsed = match parse_events(&message.body) {
            Ok(parsed) => parsed,
            Err(rejected) => return Handled::Rejected { reason: rejected.to_string() },
        };
        let objects: BTreeSet<_> = parsed
            .events
            .into_iter()
            .filter(|event| !matches!(event.kind, EventKind::Created(_)))
            .map(|event| event.id)
            .collect();
        let completed = futures::stream::iter(objects)
            .map(|id| async move {
                let completion = self.complete(&id, stop).await?;
                tracing::debug!(event = "restore.event", object = %id, ?completion, "an event was worked on");
                Ok(())
            })
            .buffer_unordered(RECORDS_AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        handled(completed, &parsed.broken)
    }
}

/// What becomes of a message, by what became of its records. Trouble comes before brokenness: the good records are tried
/// again, and the broken ones are found again then.
fn handled(records: Vec<Result<()>>, broken: &[BrokenRecord]) -> Handled {
    let errors: Vec<anyhow::Error> = records.into_iter().filter_map(Result::err).collect();
    if let Some(error) = errors.first() {
        let reason = match errors.len() {
            1 => format!("{error:#}"),
            n => format!("{error:#} (and {} more)", n - 1),
        };
        return if errors.iter().filter_map(|e| e.downcast_ref::<AwsError>()).any(is_hopeless) {
            Handled::Outage { reason }
        } else {
            Handled::Retry { reason }
        };
    }
    if broken.is_empty() {
        return Handled::Done;
    }
    let reasons: Vec<String> = broken.iter().map(|b| format!("record {}: {}", b.index, b.reason)).collect();
    Handled::Rejected { reason: reasons.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_done_only_when_all_its_records_are() {
        let broken = [BrokenRecord { index: 3, reason: "no key".to_owned() }];
        let failed = || Err(AwsError::from_entry("CopyObject", "s3://b/k", Some("SlowDown"), "slower").into());
        let expired = || Err(AwsError::from_entry("HeadObject", "s3://b/k", Some("ExpiredToken"), "expired").into());
        let denied = || Err(AwsError::from_entry("CopyObject", "s3://b/k", Some("AccessDenied"), "no").into());
        assert_eq!(handled(vec![Ok(()), Ok(())], &[]), Handled::Done);
        assert_eq!(handled(vec![], &[]), Handled::Done);
        assert_eq!(handled(vec![Ok(())], &broken), Handled::Rejected { reason: "record 3: no key".to_owned() });
        assert!(matches!(handled(vec![Ok(()), failed()], &broken), Handled::Retry { .. }));
        assert!(matches!(handled(vec![denied()], &[]), Handled::Retry { .. }));
        assert!(matches!(handled(vec![failed(), expired()], &[]), Handled::Outage { .. }));
    }
}
