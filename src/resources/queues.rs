//! Queues: who may send, how long a message is hidden while it is worked on, and where it goes when that fails too often.

use std::collections::HashMap;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};

use super::{Account, Queue, QueueRole, Resources, Standing, queue_policy};
use crate::aws::{AwsError, AwsResult, Kind};

/// A message is hidden for this long from its receipt; work that takes longer extends it.
const VISIBILITY_SECS: u32 = 300;
/// The longest long poll that there is.
const WAIT_SECS: u32 = 20;
/// The longest that SQS keeps a message: a person has to look at dead letters, and people have holidays.
const RETENTION_SECS: u32 = 14 * 24 * 3600;

type Attributes = HashMap<QueueAttributeName, String>;

/// Whether a queue is given by its URL and not by its name.
pub(super) fn is_url(address: &str) -> bool {
    address.contains("://")
}

/// What the dead-letter queue of a queue is called.
pub(super) fn dead_letters_of(queue: &str) -> String {
    format!("{queue}-dlq")
}

pub(super) async fn exists(client: &Client, queue: &Queue) -> AwsResult<()> {
    if is_url(&queue.address) {
        attributes(client, &queue.address).await.map(|_| ())
    } else {
        url(client, &queue.address).await.map(|_| ())
    }
}

pub(super) async fn inspect(resources: &Resources, queue: &Queue) -> AwsResult<Standing> {
    let client = &resources.clients.sqs;
    if let QueueRole::DeadLetters { of } = &queue.role {
        return inspect_dead_letters(client, queue, of).await;
    }
    let found = find(client, &queue.address).await?;
    let mut seen = Vec::new();
    let mut differs = Vec::new();
    let (buckets, max_receives) = match &queue.role {
        QueueRole::Events { buckets, max_receives } => (Some(buckets.as_str()), *max_receives),
        QueueRole::Requests { max_receives } => (None, *max_receives),
        QueueRole::DeadLetters { .. } => (None, 0),
    };
    let policy = found.get(&QueueAttributeName::Policy).map(String::as_str);
    // The account is asked for only where a policy speaks of one.
    if buckets.is_some() || policy.is_some_and(|policy| !policy.is_empty()) {
        differs.extend(queue_policy::problems(policy, resources.account().await?, buckets));
    }
    if let Some(buckets) = buckets {
        seen.push(format!("S3 may send for {buckets}"));
    }
    match redrive(&found) {
        Some((target, receives)) if receives == u64::from(max_receives) => {
            seen.push(format!("{target} after {receives} receives"));
        }
        Some((target, receives)) => {
            differs.push(format!("its messages go to {target} after {receives} receives, needed is {max_receives}"));
        }
        None => differs.push("it has no dead-letter queue, so what fails comes back for days".to_owned()),
    }
    let hidden: u32 = number(&found, &QueueAttributeName::VisibilityTimeout);
    if hidden < VISIBILITY_SECS {
        differs.push(format!("its visibility timeout is {hidden} s, needed are at least {VISIBILITY_SECS} s"));
    } else {
        seen.push(format!("visibility {hidden} s"));
    }
    Ok(if differs.is_empty() { Standing::Ok(seen.join(", ")) } else { Standing::Differs(differs) })
}

/// A dead-letter queue is needed unless its queue sends its dead letters elsewhere.
async fn inspect_dead_letters(client: &Client, queue: &Queue, of: &str) -> AwsResult<Standing> {
    match find(client, &queue.address).await {
        Ok(found) => {
            let kept: u32 = number(&found, &QueueAttributeName::MessageRetentionPeriod);
            Ok(Standing::Ok(format!("dead letters of {of}, kept for {} days", kept / (24 * 3600))))
        }
        Err(missing) if missing.kind == Kind::NotFound => match find(client, of).await.map(|found| redrive(&found)) {
            Ok(Some((target, _))) if target != queue.address => {
                Ok(Standing::Ok(format!("not needed: the dead letters of {of} go to {target}")))
            }
            Ok(_) => Err(missing),
            Err(e) if e.kind == Kind::NotFound => Err(missing),
            Err(e) => Err(e),
        },
        Err(e) => Err(e),
    }
}

/// What a person does about a queue that `init` will not touch.
pub(super) fn mend(standing: &Standing) -> String {
    match standing {
        Standing::Missing => "it is given by its URL; make it, or give a name for `tierd init` to make".to_owned(),
        _ => {
            "`aws sqs set-queue-attributes` changes it; or delete it while it is empty, and `tierd init` makes it anew"
                .to_owned()
        }
    }
}

pub(super) async fn make(resources: &Resources, queue: &Queue) -> AwsResult<()> {
    if is_url(&queue.address) {
        return Err(AwsError::from_entry(
            "CreateQueue",
            &queue.address,
            None,
            "a queue is made by its name, not its URL",
        ));
    }
    let account = resources.account().await?;
    let arn = |name: &str| queue_arn(account, &resources.clients.region, name);
    let attributes = wanted(queue, account, &arn(&queue.address), arn);
    let mut request = resources.clients.sqs.create_queue().queue_name(&queue.address);
    for (name, value) in attributes {
        request = request.attributes(name, value);
    }
    // The same queue made twice is one queue, as long as its attributes are the same.
    request.send().await.map(|_| ()).map_err(|e| AwsError::new("CreateQueue", &queue.address, e))
}

fn wanted(queue: &Queue, account: &Account, own_arn: &str, arn: impl Fn(&str) -> String) -> Attributes {
    let mut attributes = Attributes::from([(QueueAttributeName::MessageRetentionPeriod, RETENTION_SECS.to_string())]);
    let max_receives = match &queue.role {
        QueueRole::DeadLetters { .. } => return attributes,
        QueueRole::Requests { max_receives } => max_receives,
        QueueRole::Events { buckets, max_receives } => {
            attributes.insert(QueueAttributeName::Policy, queue_policy::for_s3(account, own_arn, buckets));
            max_receives
        }
    };
    let redrive = json!({
        "deadLetterTargetArn": arn(&dead_letters_of(&queue.address)),
        "maxReceiveCount": max_receives,
    });
    attributes.insert(QueueAttributeName::RedrivePolicy, redrive.to_string());
    attributes.insert(QueueAttributeName::VisibilityTimeout, VISIBILITY_SECS.to_string());
    attributes.insert(QueueAttributeName::ReceiveMessageWaitTimeSeconds, WAIT_SECS.to_string());
    attributes
}

fn queue_arn(account: &Account, region: &str, name: &str) -> String {
    format!("arn:{}:sqs:{region}:{}:{name}", account.partition, account.id)
}

/// How many messages a queue holds, as far as SQS knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Depth {
    /// Waiting to be received.
    pub waiting: u64,
    /// Received and not yet deleted.
    pub in_flight: u64,
    /// Set aside by SQS in the dead-letter queue; None where there is none, or it cannot be seen.
    pub dead_letters: Option<u64>,
}

impl Resources {
    /// How many messages a queue and its dead-letter queue hold.
    pub async fn depth(&self, queue: &Queue) -> AwsResult<Depth> {
        let client = &self.clients.sqs;
        let found = find(client, &queue.address).await?;
        let dead_letters = match redrive(&found) {
            Some((name, _)) => find(client, &name)
                .await
                .ok()
                .map(|dead| number(&dead, &QueueAttributeName::ApproximateNumberOfMessages)),
            None => None,
        };
        Ok(Depth {
            waiting: number(&found, &QueueAttributeName::ApproximateNumberOfMessages),
            in_flight: number(&found, &QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
            dead_letters,
        })
    }
}

async fn url(client: &Client, name: &str) -> AwsResult<String> {
    let answer =
        client.get_queue_url().queue_name(name).send().await.map_err(|e| AwsError::new("GetQueueUrl", name, e))?;
    answer.queue_url.ok_or_else(|| AwsError::from_entry("GetQueueUrl", name, None, "the answer has no URL"))
}

async fn find(client: &Client, address: &str) -> AwsResult<Attributes> {
    if is_url(address) {
        attributes(client, address).await
    } else {
        attributes(client, &url(client, address).await?).await
    }
}

async fn attributes(client: &Client, url: &str) -> AwsResult<Attributes> {
    let answer = client
        .get_queue_attributes()
        .queue_url(url)
        .attribute_names(QueueAttributeName::All)
        .send()
        .await
        .map_err(|e| AwsError::new("GetQueueAttributes", url, e))?;
    Ok(answer.attributes.unwrap_or_default())
}

/// The name of the queue that dead letters go to, and after how many receives.
fn redrive(attributes: &Attributes) -> Option<(String, u64)> {
    let policy: Value = serde_json::from_str(attributes.get(&QueueAttributeName::RedrivePolicy)?).ok()?;
    let name = policy["deadLetterTargetArn"].as_str()?.rsplit(':').next()?.to_owned();
    // A number, or one in quotes, as it was set.
    let receives = match &policy["maxReceiveCount"] {
        Value::String(text) => text.parse().ok()?,
        other => other.as_u64()?,
    };
    Some((name, receives))
}

fn number<T: std::str::FromStr + Default>(attributes: &Attributes, name: &QueueAttributeName) -> T {
    attributes.get(name).and_then(|value| value.parse().ok()).unwrap_or_default()
}
