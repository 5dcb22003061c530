//! The loop around a queue.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::delete::Deleter;
use super::hold::Hold;
use super::{BATCH, Message, Queue, is_stale};
use crate::aws::{AwsError, Kind};
use crate::health::Pulse;
use crate::metrics::{About, Metrics, Unit};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long nothing new is begun after a message that failed for a reason that all messages share.
const OUTAGE_PAUSE: Duration = Duration::from_secs(15);
/// How often a loop whose places are all taken says that it is alive. Work cannot hang: each of its calls has a time-out.
const BUSY_BEAT: Duration = Duration::from_secs(10);

/// What a handler says of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled {
    /// All that it asks for is durable: delete it.
    Done,
    /// It may do later: let it come again, the later the oftener it came.
    Retry { reason: String },
    /// The same, and what is wrong would befall every message: the part is ill, and polls less until it is over.
    Outage { reason: String },
    /// It, or a part of it, cannot be understood: say why, and leave it to the redrive policy.
    Rejected { reason: String },
}

/// How a queue is to be consumed.
#[derive(Debug, Clone)]
pub struct Options {
    /// Messages worked on at once; at least one is.
    pub concurrency: usize,
    pub pulse: Pulse,
    pub metrics: Metrics,
}

/// Works on the queue's messages with `handle` until `stop` is cancelled and what was begun then is finished.
///
/// A handler is called again for a message that it has seen, and at the same time as for others: what it does must be
/// harmless to repeat. One that panics has its message come again.
pub async fn consume<H, F>(queue: &Queue, options: &Options, stop: &CancellationToken, handle: H)
where
    H: Fn(Message) -> F + Send + Sync + 'static,
    F: Future<Output = Handled> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(options.concurrency.max(1)));
    let deleter = Deleter::start(queue.clone());
    let shared =
        Arc::new(Shared { queue: queue.clone(), metrics: options.metrics.clone(), handle, outage: Mutex::new(None) });
    let mut trouble = Trouble::new(queue, &options.pulse);
    let mut work = JoinSet::new();
    loop {
        while work.try_join_next().is_some() {}
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = a_place(&places, &options.pulse) => {}
        }
        if let Some(reason) = shared.take_outage()
            && trouble.wait(OUTAGE_PAUSE, &reason, stop).await == Paused::Stopped
        {
            break;
        }
        let free = places.available_permits();
        // The receive comes first: what it brings at the moment of the stop is to be given back.
        let received = tokio::select! {
            biased;
            received = queue.receive(free.min(BATCH)) => received,
            () = stop.cancelled() => break,
        };
        match received {
            Ok(messages) if stop.is_cancelled() => {
                queue.give_back(&messages).await;
                break;
            }
            Ok(messages) => {
                trouble.over();
                for message in messages {
                    let place = places.clone().acquire_owned().await.expect("nobody closes the places");
                    let (shared, done) = (shared.clone(), deleter.receipts());
                    work.spawn(async move {
                        shared.work_on(message, done).await;
                        drop(place);
                    });
                }
            }
            Err(error) => {
                if trouble.unreadable(&unreadable(&error), stop).await == Paused::Stopped {
                    break;
                }
            }
        }
    }
    while work.join_next().await.is_some() {}
    deleter.finish().await;
}

/// Waits for a place without taking it: only the loop takes places, so that it stays free.
async fn a_place(places: &Semaphore, pulse: &Pulse) {
    while tokio::time::timeout(BUSY_BEAT, places.acquire()).await.is_err() {
        pulse.beat();
    }
}

struct Shared<H> {
    queue: Queue,
    metrics: Metrics,
    handle: H,
    outage: Mutex<Option<String>>,
}

impl<H, F> Shared<H>
where
    H: Fn(Message) -> F + Send + Sync + 'static,
    F: Future<Output = Handled> + Send + 'static,
{
    async fn work_on(&self, message: Message, done: mpsc::Sender<String>) {
        let hold = Hold::start(self.queue.clone(), message.receipt.clone());
        let (id, receipt, receives) = (message.id.clone(), message.receipt.clone(), message.receives);
        let handled = match AssertUnwindSafe(async { (self.handle)(message).await }).catch_unwind().await {
            Ok(handled) => handled,
            Err(_panic) => Handled::Retry { reason: "its handler panicked".to_owned() },
        };
        // Before anything is said to SQS about the message: see the module's text.
        hold.stop().await;
        match handled {
            Handled::Done => {
                if done.send(receipt).await.is_err() {
                    tracing::warn!(event = "message.not_deleted", queue = self.queue.name, "the deleter is gone");
                }
            }
            Handled::Rejected { reason } => {
                tracing::warn!(
                    event = "message.rejected",
                    queue = self.queue.name,
                    message_id = id,
                    receives,
                    reason,
                    "a message cannot be understood and is left to the redrive policy"
                );
                self.metrics.emit(About::Queue(&self.queue.name), &[("MessagesRejected", Unit::Count, 1.0)]);
            }
            Handled::Retry { reason } => self.retry(&id, &receipt, receives, &reason).await,
            Handled::Outage { reason } => {
                *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.clone());
                self.retry(&id, &receipt, receives, &reason).await;
            }
        }
    }

    async fn retry(&self, id: &str, receipt: &str, receives: u32, reason: &str) {
        let delay = retry_delay(receives);
        tracing::warn!(
            event = "message.retried",
            queue = self.queue.name,
            message_id = id,
            receives,
            again_in_ms = delay.as_millis() as u64,
            reason,
            "a message could not be worked on and comes again"
        );
        match self.queue.set_visibility(receipt, delay).await {
            Err(error) if !is_stale(&error) => tracing::info!(
                event = "message.not_renewed",
                queue = self.queue.name,
                %error,
                "the message comes again when its visibility ends"
            ),
            _ => {}
        }
    }

    fn take_outage(&self) -> Option<String> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How long a message that could not be worked on is left alone: soon at first, as most trouble passes at once, then so
/// much longer that an outage of a quarter of an hour does not use up the five receives after which a queue usually gives
/// a message up.
fn retry_delay(receives: u32) -> Duration {
    Duration::from_secs(match receives {
        0 | 1 => 5,
        2 => 30,
        3 => 2 * 60,
        4 => 10 * 60,
        _ => 15 * 60,
    })
}

fn unreadable(error: &AwsError) -> String {
    match error.kind {
        Kind::NotFound => format!("the queue is gone: {error}"),
        Kind::Denied => format!("the queue may not be read with these credentials: {error}"),
        _ => format!("the queue cannot be read: {error}"),
    }
}

/// Trouble that befalls the whole queue.
struct Trouble<'a> {
    queue: &'a Queue,
    pulse: &'a Pulse,
    pause: Duration,
    troubled: bool,
}

#[derive(PartialEq)]
enum Paused {
    Over,
    Stopped,
}

impl<'a> Trouble<'a> {
    fn new(queue: &'a Queue, pulse: &'a Pulse) -> Self {
        Self { queue, pulse, pause: FIRST_PAUSE, troubled: false }
    }

    /// The queue could not be read: waits, longer each time.
    async fn unreadable(&mut self, reason: &str, stop: &CancellationToken) -> Paused {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        self.wait(pause, reason, stop).await
    }

    /// Says what ails the part, and waits.
    async fn wait(&mut self, pause: Duration, reason: &str, stop: &CancellationToken) -> Paused {
        self.pulse.ill(reason);
        self.troubled = true;
        tracing::error!(
            event = "queue.unavailable",
            queue = self.queue.name,
            reason,
            again_in_ms = pause.as_millis() as u64,
            "the queue cannot be worked on"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => Paused::Over,
            () = stop.cancelled() => Paused::Stopped,
        }
    }

    /// The queue was read.
    fn over(&mut self) {
        self.pulse.beat();
        self.pause = FIRST_PAUSE;
        if std::mem::take(&mut self.troubled) {
            tracing::info!(event = "queue.available", queue = self.queue.name, "the queue can be read again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_receives_last_longer_than_a_quarter_of_an_hour_lasts() {
        let until_given_up: Duration = (1..=5).map(retry_delay).sum();
        assert!(until_given_up > Duration::from_secs(15 * 60), "{until_given_up:?}");
        assert!((1..6).all(|n| retry_delay(n) <= retry_delay(n + 1)));
    }

    #[tokio::test]
    async fn messages_that_arrive_with_the_stop_are_given_back_at_once_and_not_begun() {
        use aws_sdk_sqs::operation::change_message_visibility_batch::ChangeMessageVisibilityBatchOutput;
        use aws_sdk_sqs::operation::receive_message::ReceiveMessageOutput;
        use aws_smithy_mocks::{RuleMode, mock, mock_client};

        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let receive = mock!(aws_sdk_sqs::Client::receive_message).then_output(move || {
            stopping.cancel();
            let message = |n: u32| aws_sdk_sqs::types::Message::builder().receipt_handle(format!("r{n}")).build();
            ReceiveMessageOutput::builder().messages(message(1)).messages(message(2)).build()
        });
        let give_back = mock!(aws_sdk_sqs::Client::change_message_visibility_batch)
            .match_requests(|request| {
                let all: Vec<_> = request
                    .entries()
                    .iter()
                    .map(|entry| (entry.receipt_handle(), entry.visibility_timeout()))
                    .collect();
                all == [("r1", Some(0)), ("r2", Some(0))]
            })
            .then_output(|| {
                ChangeMessageVisibilityBatchOutput::builder()
                    .set_successful(Some(vec![]))
                    .set_failed(Some(vec![]))
                    .build()
                    .expect("both lists are given")
            });
        let queue = Queue {
            client: mock_client!(aws_sdk_sqs, RuleMode::MatchAny, [&receive, &give_back]),
            url: "https://sqs.invalid/queue".to_owned(),
            name: "queue".to_owned(),
            visibility: Duration::from_secs(30),
        };
        let pulse = crate::health::Health::default().part("queue", Duration::from_secs(60));
        let options = Options { concurrency: 4, pulse, metrics: Metrics::new("test") };
        consume(&queue, &options, &stop, |_| async { panic!("nothing is begun after the stop") }).await;
        assert_eq!((receive.num_calls(), give_back.num_calls()), (1, 1));
    }
}
