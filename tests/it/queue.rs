//! Queues: what becomes of a message, by what its handler says and by when the consumer is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName;
use tierd::health::{Health, Pulse};
use tierd::queue::{Handled, Message, Options, Queue, consume};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::world::{World, eventually};

/// A queue whose messages are kept for `visibility_secs` by whoever received them.
async fn queue(world: &World, what: &str, visibility_secs: u32) -> Queue {
    let name = world.named(what);
    world
        .sqs()
        .create_queue()
        .queue_name(&name)
        .attributes(QueueAttributeName::VisibilityTimeout, visibility_secs.to_string())
        .send()
        .await
        .expect("a queue");
    Queue::open(world.sqs(), &name).await.expect("the queue is found")
}

async fn url(world: &World, queue: &Queue) -> String {
    world.sqs().get_queue_url().queue_name(queue.name()).send().await.unwrap().queue_url.unwrap()
}

async fn send(world: &World, queue: &Queue, bodies: &[&str]) {
    let url = url(world, queue).await;
    for body in bodies {
        world.sqs().send_message().queue_url(&url).message_body(*body).send().await.expect("a message");
    }
}

/// Messages in the queue: (ready, received by somebody).
async fn depth(world: &World, queue: &Queue) -> (u32, u32) {
    let answer = world
        .sqs()
        .get_queue_attributes()
        .queue_url(url(world, queue).await)
        .attribute_names(QueueAttributeName::All)
        .send()
        .await
        .unwrap();
    let attributes = answer.attributes.unwrap();
    let number = |name| attributes.get(&name).map_or(0, |n: &String| n.parse().unwrap());
    (
        number(QueueAttributeName::ApproximateNumberOfMessages),
        number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
    )
}

fn options(world: &World, concurrency: usize) -> (Options, Health) {
    let health = Health::default();
    let pulse: Pulse = health.part("queue", Duration::from_secs(60));
    (Options { concurrency, pulse, metrics: world.app.metrics.clone() }, health)
}

/// Consumes in the background; gives what ends it.
fn start<F>(
    queue: &Queue,
    options: Options,
    handle: impl Fn(Message) -> F + Send + Sync + 'static,
) -> (CancellationToken, tokio::task::JoinHandle<()>)
where
    F: Future<Output = Handled> + Send + 'static,
{
    let (queue, stop) = (queue.clone(), CancellationToken::new());
    let token = stop.clone();
    (stop, tokio::spawn(async move { consume(&queue, &options, &token, handle).await }))
}

#[tokio::test]
async fn a_message_is_deleted_when_it_is_done_and_never_when_it_is_rejected() {
    let world = World::new("qdone", "").await;
    let queue = queue(&world, "q", 2).await;
    send(&world, &queue, &["good", "bad", "good", "good"]).await;
    let rejected = Arc::new(AtomicU32::new(0));
    let seen = rejected.clone();
    let (stop, ended) = start(&queue, options(&world, 4).0, move |message| {
        let seen = seen.clone();
        async move {
            match message.body.as_str() {
                "bad" => {
                    seen.fetch_add(1, Ordering::SeqCst);
                    Handled::Rejected { reason: "it is bad".to_owned() }
                }
                _ => Handled::Done,
            }
        }
    });
    // Once its visibility ends it comes again, and is still there.
    eventually(Duration::from_secs(15), "the rejected message comes again", async || {
        (rejected.load(Ordering::SeqCst) >= 2).then_some(())
    })
    .await;
    stop.cancel();
    ended.await.unwrap();
    let (ready, received) = depth(&world, &queue).await;
    assert_eq!(ready + received, 1, "only the rejected message is left");
    assert!(rejected.load(Ordering::SeqCst) < 10, "a rejected message must not spin");
}

#[tokio::test]
async fn a_message_is_kept_from_others_for_as_long_as_it_is_worked_on() {
    let world = World::new("qhold", "").await;
    let queue = queue(&world, "q", 2).await;
    send(&world, &queue, &["long"]).await;
    let begun = Arc::new(AtomicU32::new(0));
    let consumers: Vec<_> = (0..2)
        .map(|_| {
            let begun = begun.clone();
            start(&queue, options(&world, 2).0, move |_| {
                begun.fetch_add(1, Ordering::SeqCst);
                async {
                    tokio::time::sleep(Duration::from_secs(6)).await;
                    Handled::Done
                }
            })
        })
        .collect();
    eventually(Duration::from_secs(30), "the message is deleted", async || {
        (begun.load(Ordering::SeqCst) > 0 && depth(&world, &queue).await == (0, 0)).then_some(())
    })
    .await;
    for (stop, ended) in consumers {
        stop.cancel();
        ended.await.unwrap();
    }
    assert_eq!(begun.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stop_finishes_what_was_begun_and_leaves_the_rest_to_others() {
    let world = World::new("qstop", "").await;
    let queue = queue(&world, "q", 600).await;
    send(&world, &queue, &["1", "2", "3", "4"]).await;
    let (begun, release) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
    let (count, gate) = (begun.clone(), release.clone());
    let (stop, ended) = start(&queue, options(&world, 1).0, move |_| {
        let gate = gate.clone();
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            gate.acquire().await.unwrap().forget();
            Handled::Done
        }
    });
    eventually(Duration::from_secs(10), "a message is begun", async || {
        (begun.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    stop.cancel();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!ended.is_finished(), "what was begun is not dropped");
    release.add_permits(10);
    ended.await.unwrap();
    assert_eq!(begun.load(Ordering::SeqCst), 1);
    assert_eq!(depth(&world, &queue).await, (3, 0), "the others can be had at once");
}

#[tokio::test]
async fn a_stop_ends_a_long_poll_at_once() {
    let world = World::new("qpoll", "").await;
    let queue = queue(&world, "q", 30).await;
    let (stop, ended) = start(&queue, options(&world, 4).0, |_| async { Handled::Done });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    stop.cancel();
    ended.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_queue_that_vanishes_is_an_illness_and_no_silence() {
    let world = World::new("qgone", "").await;
    let queue = queue(&world, "q", 30).await;
    let url = url(&world, &queue).await;
    world.sqs().delete_queue().queue_url(url).send().await.unwrap();
    let (options, health) = options(&world, 4);
    let (stop, ended) = start(&queue, options, |_| async { Handled::Done });
    let problem = eventually(Duration::from_secs(10), "the part is ill", async || {
        health.problems(tierd::clock::now()).into_iter().next()
    })
    .await;
    assert!(problem.contains("the queue is gone"), "{problem}");
    stop.cancel();
    ended.await.unwrap();
}

#[tokio::test]
async fn a_handler_that_panics_or_fails_has_its_message_come_again() {
    let world = World::new("qretry", "").await;
    let queue = queue(&world, "q", 2).await;
    send(&world, &queue, &["panic", "retry"]).await;
    let (stop, ended) = start(&queue, options(&world, 4).0, |message| async move {
        match (message.receives, message.body.as_str()) {
            (1, "panic") => panic!("a handler's fault"),
            (1, _) => Handled::Retry { reason: "not now".to_owned() },
            _ => Handled::Done,
        }
    });
    eventually(Duration::from_secs(30), "both are done", async || {
        (depth(&world, &queue).await == (0, 0)).then_some(())
    })
    .await;
    stop.cancel();
    ended.await.unwrap();
}
