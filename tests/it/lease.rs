//! Leases over the real table: who gets one, who keeps it, who is told that it is lost.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use tierd::state::State;
use tierd::state::lease::{Lease, LeaseRecord, Taken};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::proxy::{Fault, Proxy};
use crate::world::World;

const LIFE: Duration = Duration::from_millis(1500);

/// Another daemon on the same state table.
fn daemon(world: &World, name: &str) -> State {
    State::new(world.dynamodb().clone(), &world.settings().state.table, LIFE, name)
}

async fn take(state: &State, name: &str) -> Lease {
    match state.take_lease(name).await.expect("the state table") {
        Taken::Mine(lease) => lease,
        Taken::HeldBy(holder) => panic!("{name} is held by {holder}"),
    }
}

async fn record(state: &State, name: &str) -> LeaseRecord {
    let all = state.leases().await.expect("the state table");
    all.into_iter().find(|lease| lease.name == name).expect("the lease")
}

#[tokio::test]
async fn a_free_lease_is_taken_by_one_of_many_at_once_even_of_one_process() {
    let world = World::new("leaseonce", "").await;
    let one = daemon(&world, "one");
    // The same holder name: two schedules of one daemon may want the same job.
    let takes = (0..6).map(|_| one.take_lease("job"));
    let taken = futures::future::join_all(takes).await;
    let mine: Vec<Lease> = taken
        .into_iter()
        .filter_map(|taken| match taken.expect("the state table") {
            Taken::Mine(lease) => Some(lease),
            Taken::HeldBy(_) => None,
        })
        .collect();
    assert_eq!(mine.len(), 1);
    assert_eq!(mine[0].fence(), 1);
}

#[tokio::test]
async fn a_living_holder_keeps_its_lease_and_is_named() {
    let world = World::new("leasekept", "").await;
    let lease = take(&daemon(&world, "one"), "job").await;
    let before = record(&daemon(&world, "two"), "job").await;
    tokio::time::sleep(LIFE * 2).await;
    let started = Instant::now();
    match daemon(&world, "two").take_lease("job").await.unwrap() {
        Taken::HeldBy(holder) => assert_eq!(holder, "one"),
        Taken::Mine(_) => panic!("taken from a living holder"),
    }
    assert!(started.elapsed() < LIFE, "the first renewal that is seen settles it");
    assert!(!lease.lost().is_cancelled());
    let after = record(&daemon(&world, "two"), "job").await;
    assert_ne!(before, after, "it is renewed");
    assert_eq!(after.fence, lease.fence());
}

#[tokio::test]
async fn a_silent_holder_loses_its_lease_after_one_life_and_the_fence_grows() {
    let world = World::new("leasesilent", "").await;
    let first = take(&daemon(&world, "one"), "job").await;
    let fence = first.fence();
    // As after a crash: nobody renews and nobody gives back.
    drop(first);
    let started = Instant::now();
    let second = take(&daemon(&world, "two"), "job").await;
    assert!(started.elapsed() >= LIFE, "not before it was watched for a life: {:?}", started.elapsed());
    assert!(started.elapsed() < LIFE * 3, "{:?}", started.elapsed());
    assert!(second.fence() > fence);
    assert_eq!(record(&daemon(&world, "two"), "job").await.holder.as_deref(), Some("two"));
}

#[tokio::test]
async fn a_lease_that_is_given_back_goes_to_the_next_at_once() {
    let world = World::new("leaseback", "").await;
    let first = take(&daemon(&world, "one"), "job").await;
    let fence = first.fence();
    first.release().await.unwrap();
    assert_eq!(record(&daemon(&world, "two"), "job").await.holder, None);
    let started = Instant::now();
    let second = take(&daemon(&world, "two"), "job").await;
    assert!(started.elapsed() < LIFE, "{:?}", started.elapsed());
    assert!(second.fence() > fence);
}

#[tokio::test]
async fn a_holder_notices_that_its_lease_was_taken_and_cannot_give_it_back_for_the_new_one() {
    let world = World::new("leaselost", "").await;
    let first = take(&daemon(&world, "one"), "job").await;
    // What a daemon does that took the first one for dead.
    let (pk, sk) = (AttributeValue::S("lease".to_owned()), AttributeValue::S("job".to_owned()));
    world
        .dynamodb()
        .update_item()
        .table_name(&world.settings().state.table)
        .key("pk", pk)
        .key("sk", sk)
        .update_expression("SET fence = fence + :one, holder = :holder")
        .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
        .expression_attribute_values(":holder", AttributeValue::S("two".to_owned()))
        .send()
        .await
        .unwrap();
    tokio::time::timeout(LIFE * 2, first.lost().cancelled()).await.expect("the loss is noticed");
    first.release().await.unwrap();
    assert_eq!(record(&daemon(&world, "two"), "job").await.holder.as_deref(), Some("two"));
}

#[tokio::test]
async fn a_holder_that_cannot_renew_gives_up_within_its_life() {
    let world = World::new("leasecutoff", "").await;
    let lease = take(&daemon(&world, "one"), "job").await;
    world.dynamodb().delete_table().table_name(&world.settings().state.table).send().await.unwrap();
    tokio::time::timeout(LIFE * 2, lease.lost().cancelled()).await.expect("the loss is noticed");
}

#[tokio::test]
async fn who_is_told_to_stop_does_not_wait_for_a_holder() {
    let world = World::new("leasestop", "").await;
    let _silent = take(&daemon(&world, "one"), "job").await;
    let stop = CancellationToken::new();
    stop.cancel();
    let started = Instant::now();
    assert!(daemon(&world, "two").take_lease_unless(&stop, "job").await.unwrap().is_none());
    assert!(started.elapsed() < LIFE, "{:?}", started.elapsed());
}

/// A scheduled run whose lease is lost half-way used to say that all was well, and left out what it had not come to.
#[tokio::test]
async fn a_job_that_loses_its_lease_has_failed_and_says_so() {
    let proxy = Proxy::start(crate::harness::endpoint()).await;
    let mut world = World::at(&proxy.endpoint, "leasejob", "").await;
    let logs = world.bucket("logs").await;
    world.reconfigure(&format!("[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"{logs}\"\n")).await;
    let state = world.app.state.clone();
    let table = world.settings().state.table.clone();
    let dynamodb = World::new("leasethief", "").await.dynamodb().clone();
    // While the logs are listed, somebody else takes the lease.
    let stolen = Arc::new(Notify::new());
    proxy.fault({
        let stolen = stolen.clone();
        move |request| {
            (request.operation() == "LIST").then(|| {
                stolen.notify_one();
                Fault::Delay(Duration::from_secs(4))
            })
        }
    });
    let thief = async {
        stolen.notified().await;
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let taking = dynamodb.update_item().table_name(table).key("pk", text("lease")).key("sk", text("job#ingest"));
        taking
            .update_expression("SET holder = :thief, fence = fence + :one")
            .expression_attribute_values(":thief", text("somebody else"))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .send()
            .await
            .unwrap();
    };
    let ((code, report), ()) = tokio::join!(world.run_json(&["job", "ingest"]), thief);
    assert_eq!((code, report["outcome"].as_str()), (1, Some("failed")), "{report:#}");
    assert!(report["problems"].to_string().contains("lease was lost"), "{report:#}");
    assert_eq!(state.last_ok("ingest").await.unwrap(), None, "it is no evidence that the logs were read");
}
