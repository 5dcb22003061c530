//! What stands between an event and its line: no library speaks below `info`, and no place in the code floods the output.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tracing::callsite::Identifier;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::budget::{Account, Budget, TALK, TROUBLE, Verdict};
use super::fields::Fields;

/// Keeps the libraries from saying more than `info`, whatever `telemetry.level` asks for. Below that the SDK and what it is
/// made of print whole requests and answers, with signatures, session tokens and object content in them.
#[derive(Debug)]
pub(super) struct OnlyOwnDetails;

fn may_speak(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_own = target.strip_prefix("tierd").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    is_own || *metadata.level() <= Level::INFO
}

impl<S: Subscriber> Layer<S> for OnlyOwnDetails {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if may_speak(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        may_speak(metadata)
    }
}

/// Holds back what one place in the code writes beyond its budget; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Limit(Arc<Accounts>);

#[derive(Debug)]
struct Accounts {
    began: Instant,
    places: Mutex<HashMap<Identifier, Place>>,
}

#[derive(Debug)]
struct Place {
    account: Account,
    level: Level,
    /// The name of the event that was held back last, once one was.
    held_back: Option<String>,
}

/// Lines of one event that were held back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HeldBack {
    pub(super) level: Level,
    pub(super) event: String,
    pub(super) count: u64,
}

impl Limit {
    pub(super) fn new() -> Self {
        Self(Arc::new(Accounts { began: Instant::now(), places: Mutex::default() }))
    }

    /// What is due to be told of lines that were held back.
    pub(super) fn due(&self) -> Vec<HeldBack> {
        let now = self.0.began.elapsed();
        self.collect(|account| account.due(now))
    }

    /// All that was held back and not told of, at the end of the process.
    pub(super) fn close(&self) -> Vec<HeldBack> {
        self.collect(Account::close)
    }

    fn collect(&self, mut take: impl FnMut(&mut Account) -> Option<u64>) -> Vec<HeldBack> {
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        let due = places.values_mut().filter_map(|place| {
            let count = take(&mut place.account);
            place.told(count)
        });
        due.collect()
    }

    /// Whether an event is written, and what is due to be told of earlier ones of its place.
    fn judge(&self, event: &Event<'_>) -> (Verdict, Option<HeldBack>) {
        let metadata = event.metadata();
        let now = self.0.began.elapsed();
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(metadata.callsite()).or_insert_with(|| Place {
            account: Account::new(budget(*metadata.level()), now),
            level: *metadata.level(),
            held_back: None,
        });
        let verdict = place.account.ask(now);
        if verdict == Verdict::HoldBack && place.held_back.is_none() {
            place.held_back = Some(Fields::of(event).name(metadata));
        }
        let due = place.account.due(now);
        (verdict, place.told(due))
    }
}

impl Place {
    fn told(&self, count: Option<u64>) -> Option<HeldBack> {
        Some(HeldBack { level: self.level, event: self.held_back.clone()?, count: count? })
    }
}

fn budget(level: Level) -> Budget {
    if level <= Level::WARN { TROUBLE } else { TALK }
}

impl HeldBack {
    /// The line's own fields.
    pub(super) fn fields(&self) -> Vec<(String, Value)> {
        vec![("of".to_owned(), self.event.as_str().into()), ("held_back".to_owned(), self.count.into())]
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    // Asked only of what the levels let through, so that a line that nobody wants costs its place nothing.
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let (verdict, due) = self.judge(event);
        if let Some(held_back) = due {
            super::tell(&held_back);
        }
        verdict == Verdict::Write
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn one_place(limit: &Limit, lines: u32) {
        let subscriber = tracing_subscriber::registry().with(OnlyOwnDetails).with(limit.clone());
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..lines {
                tracing::info!(event = "object.moved", n, "moved");
            }
            tracing::info!(event = "job.finished", "another place");
            tracing::trace!(target: "aws_smithy_runtime::client", "a whole request");
        });
    }

    #[test]
    fn each_place_has_its_own_account_and_the_count_names_the_event() {
        let limit = Limit::new();
        one_place(&limit, TALK.burst + 500);
        let held_back = limit.close();
        assert_eq!(held_back.len(), 1, "{held_back:?}");
        assert_eq!((held_back[0].event.as_str(), held_back[0].level), ("object.moved", Level::INFO));
        // Some tokens came back while the lines were asked for.
        assert!((1..=500).contains(&held_back[0].count), "{held_back:?}");
        assert_eq!(limit.close(), []);
        let places = limit.0.places.lock().unwrap();
        assert_eq!(places.len(), 2, "what a library whispers does not come so far");
    }

    #[test]
    fn trouble_has_the_wider_budget() {
        assert_eq!((budget(Level::ERROR), budget(Level::WARN)), (TROUBLE, TROUBLE));
        assert_eq!((budget(Level::INFO), budget(Level::TRACE)), (TALK, TALK));
    }
}
