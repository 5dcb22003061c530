//! The invariants of the design, 1 to 7, each as a look at the world once nothing moves any more. Each gives what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::types::{GlacierJobParameters, RestoreRequest, Tier};
use tierd::app::App;
use tierd::tiering::object::{BucketName, ObjectId, UserId};

use super::model::{Model, Object, User};
use super::witness::Witness;
use crate::logs;

/// The row of a user: None if there is none, else its URI if it has one.
pub async fn user_row(app: &App, user: &UserId) -> Option<Option<String>> {
    let answer = app
        .clients
        .dynamodb
        .get_item()
        .table_name(&app.settings.users.table)
        .key("userId", AttributeValue::S(user.as_str().to_owned()))
        .consistent_read(true)
        .send()
        .await
        .expect("the users table");
    answer.item.map(|row| row.get("s3_bucket_uri").and_then(|uri| uri.as_s().ok()).cloned())
}

/// 1: every user who is there has one bucket, their own, with all its settings; nobody's row comes back.
pub async fn users_have_one_bucket_each(app: &App, model: &Model) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    let orphans: BTreeSet<String> =
        app.state.orphans().await.expect("the orphans").into_iter().map(|orphan| orphan.bucket.to_string()).collect();
    for user in model.users.values() {
        let row = user_row(app, &UserId::new(user.id.as_str()).expect("a user id")).await;
        match (row, user.left) {
            (None, true) => {}
            (None, false) => wrong.push(format!("user {:?}: the row is gone", user.id)),
            (Some(_), true) => wrong.push(format!("user {:?} left, and the row came back", user.id)),
            (Some(None), false) => wrong.push(format!("user {:?} has no bucket", user.id)),
            (Some(Some(uri)), false) => {
                let bucket = uri.trim_start_matches("s3://").to_owned();
                if user.bucket.as_ref().is_some_and(|first| *first != bucket) {
                    wrong.push(format!("user {:?} had {:?} and now has {bucket}", user.id, user.bucket));
                }
                wrong.extend(bucket_is_whole(app, user, &bucket).await);
                if let Some(other) = owners.insert(bucket.clone(), &user.id) {
                    wrong.push(format!("{bucket} is {other:?}'s and {:?}'s", user.id));
                }
            }
        }
    }
    wrong.extend(buckets_are_known(app, model, &orphans).await);
    wrong
}

async fn bucket_is_whole(app: &App, user: &User, bucket: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let s3 = &app.clients.s3;
    let name = BucketName::new(bucket).expect("a bucket's name");
    let Ok(tags) = app.s3.bucket_tags(&name).await else { return vec![format!("{bucket} is not there")] };
    if !tags.iter().any(|(key, value)| key == "tierd:user-id" && *value == user.id) {
        wrong.push(format!("{bucket} of user {:?} has the tags {tags:?}", user.id));
    }
    if s3.get_bucket_cors().bucket(bucket).send().await.is_err() {
        wrong.push(format!("{bucket} has no CORS rule"));
    }
    if s3.get_public_access_block().bucket(bucket).send().await.is_err() {
        wrong.push(format!("{bucket} has no public access block"));
    }
    let told = s3.get_bucket_notification_configuration().bucket(bucket).send().await;
    if told.map_or(true, |told| told.queue_configurations().is_empty()) {
        wrong.push(format!("{bucket} tells nobody of its restores"));
    }
    wrong
}

/// Every bucket that was made is a user's, or on record as one that nobody has.
async fn buckets_are_known(app: &App, model: &Model, orphans: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let all = app.clients.s3.list_buckets().send().await.expect("the buckets");
    let names: Vec<String> = all.buckets.unwrap_or_default().into_iter().filter_map(|bucket| bucket.name).collect();
    for user in model.users.values() {
        let own = format!("siuu{}-", user.id);
        let made: Vec<&String> = names.iter().filter(|name| name.starts_with(&own)).collect();
        let (orphaned, kept): (Vec<&String>, Vec<&String>) = made.iter().partition(|name| orphans.contains(**name));
        if kept.len() > 1 || (!user.left && !orphaned.is_empty()) {
            wrong.push(format!("for user {:?} were made {made:?}, of which nobody has {orphaned:?}", user.id));
        }
    }
    wrong
}

/// 2 and 4: the ledger has each access in a delivered log once, and a row for each object that such a log tells of.
pub async fn accesses_are_counted_once(app: &App, model: &Model) -> Vec<String> {
    let mut wrong = Vec::new();
    let rows = ledger(app).await;
    for ((bucket, key), (count, latest)) in &model.told {
        let id: ObjectId = format!("s3://{bucket}/{key}").parse().expect("an object");
        let deleted = model.objects.get(&id).is_none_or(|object| object.deleted);
        match rows.get(&id) {
            None if deleted => {}
            Some(_) if deleted => wrong.push(format!("{id} is deleted, and its row is still there")),
            None => wrong.push(format!("{id} has no row, and was never deleted (invariant 4)")),
            Some(row) => {
                let has = (row["count"].as_n().expect("a count").clone(), row["event_time"].as_s().expect("a time"));
                if has.0 != count.to_string() || logs::time(has.1) != *latest {
                    wrong.push(format!("{id} was used {count} times, last {latest}; its row says {has:?}"));
                }
            }
        }
    }
    for id in rows.keys().filter(|id| !model.told.contains_key(&(id.bucket.to_string(), id.key.to_string()))) {
        wrong.push(format!("{id} has a row, and no log tells of it"));
    }
    wrong
}

type Row = std::collections::HashMap<String, AttributeValue>;

async fn ledger(app: &App) -> BTreeMap<ObjectId, Row> {
    let mut rows = BTreeMap::new();
    let scan = app.clients.dynamodb.scan().table_name(&app.settings.ledger.table).consistent_read(true);
    let mut items = scan.into_paginator().items().send();
    while let Some(item) = items.next().await {
        let item = item.expect("the ledger");
        let text = |name: &str| item[name].as_s().expect("text").clone();
        let id = format!("s3://{}/{}", text("bucket_name"), text("object_key")).parse().expect("an object");
        rows.insert(id, item);
    }
    rows
}

/// 3: every object is what its user wrote last, wherever it lies, and what was deleted stays so; the ledger knows where.
pub async fn objects_are_whole(app: &App, model: &Model, witness: &Witness) -> Vec<String> {
    let mut wrong = Vec::new();
    let rows = ledger(app).await;
    for (id, object) in &model.objects {
        let head = app.s3.head(id).await.expect("a head");
        match head {
            None if object.deleted => {}
            Some(_) if object.deleted => wrong.push(format!("{id} was deleted and is back")),
            None => wrong.push(format!("{id} is gone, and nobody deleted it")),
            Some(head) => {
                if let Some(row) = rows.get(id) {
                    let class = row.get("storage_class").and_then(|class| class.as_s().ok()).map(String::as_str);
                    let etag = row.get("entity_tag_value").and_then(|etag| etag.as_s().ok()).map(String::as_str);
                    if class != Some(head.class.as_str()) || etag != Some(head.etag.as_str()) {
                        let is = (head.class.as_str(), head.etag.as_str());
                        wrong.push(format!("{id} is {is:?}, and the ledger has {:?}", (class, etag)));
                    }
                }
                if !witness.lost_a_tag_race(id) {
                    let tags: BTreeMap<String, String> = app.s3.tags(id).await.expect("the tags").into_iter().collect();
                    if tags != object.tags {
                        wrong.push(format!("{id} had the tags {:?} and has {tags:?}", object.tags));
                    }
                }
                wrong.extend(carries_all(app, id, object, head.class.is_archive()).await);
            }
        }
    }
    wrong
}

async fn carries_all(app: &App, id: &ObjectId, object: &Object, archived: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let s3 = &app.clients.s3;
    if archived {
        let job = GlacierJobParameters::builder().tier(Tier::Standard).build().expect("a job");
        let request = RestoreRequest::builder().days(1).glacier_job_parameters(job).build();
        let asked = s3.restore_object().bucket(id.bucket.as_str()).key(id.key.as_str()).restore_request(request);
        asked.send().await.expect("a restore");
    }
    let got = s3.get_object().bucket(id.bucket.as_str()).key(id.key.as_str()).send().await.expect("an object");
    if got.metadata.clone().unwrap_or_default() != object.metadata {
        wrong.push(format!("{id} had the metadata {:?} and has {:?}", object.metadata, got.metadata));
    }
    if got.content_type.as_deref() != Some(object.content_type.as_str()) {
        wrong.push(format!("{id} was {} and is {:?}", object.content_type, got.content_type));
    }
    let body = got.body.collect().await.expect("a body").to_vec();
    if body != object.body {
        let start = |body: &[u8]| String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let (had, has) = (start(&object.body), start(&body));
        wrong.push(format!("{id}: its bytes are not those that were written last: {has:?}, not {had:?}"));
    }
    wrong
}

/// 5: every restore that was asked for has ended, and nothing of it is left behind. `words` are the objects that the daemons
/// said an end of.
pub async fn restores_ended(app: &App, model: &Model, witness: &Witness, words: &BTreeSet<ObjectId>) -> Vec<String> {
    let mut wrong = Vec::new();
    for asked in &model.asked {
        let deleted = model.objects.get(&asked.id).is_none_or(|object| object.deleted);
        if !deleted && !words.contains(&asked.id) && !witness.returned_since(&asked.id, asked.at) {
            wrong.push(format!("{} was asked for, and neither came back nor was refused", asked.id));
        }
    }
    let mut pages = app.state.restores();
    while let Some(page) = pages.next_page().await.expect("the index") {
        for row in page {
            wrong.push(format!("a restore is still in flight: {row:?}"));
        }
    }
    wrong
}

/// 6: nothing was acknowledged before its effect was durable, and 7: nothing waits for a person.
pub async fn nothing_is_left_to_people(app: &App, witness: &Witness) -> Vec<String> {
    let mut wrong = witness.violations();
    for entry in app.state.quarantined(None).await.expect("the quarantine") {
        wrong.push(format!("set aside, though all was trouble that passes: {entry:?}"));
    }
    for reservation in app.state.reservations().await.expect("the reservations") {
        wrong.push(format!("a name is still reserved: {reservation:?}"));
    }
    wrong
}
