//! What the configuration needs of AWS: one model for `check`, which looks, for `init`, which makes, and for `run`, which
//! will not start without.
//!
//! [`needed`] says what there must be, from the settings alone. [`Resources::inspect`] looks at one of them and finds it in
//! order, missing or different, with the mend. [`Resources::make`] makes one that is missing. What exists is never changed:
//! somebody may have had a reason, and a table or a queue holds what cannot be made again.
//!
//! Two programs that make the same thing at once both succeed: making what is there by then is no failure, and every
//! setting that is made after the thing itself may be made twice.

mod buckets;
mod permissions;
mod queue_policy;
mod queues;
mod tables;

use std::fmt;

pub use queues::Depth;

use futures::StreamExt;
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::aws::{AwsError, AwsResult, Clients, Kind};
use crate::config::Settings;
use crate::tiering::bucket_name::BucketNameTemplate;
use crate::tiering::object::BucketName;

/// How many resources are looked at side by side.
const CONCURRENCY: usize = 8;

/// Something of AWS that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    Table(Table),
    Queue(Queue),
    Bucket(Bucket),
}

/// A DynamoDB table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    pub role: TableRole,
}

/// What a table is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableRole {
    /// The service's own table, whose stream tells of new users. `key` is its hash key.
    Users {
        key: String,
    },
    Ledger,
    State,
}

/// An SQS queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// A name in the daemon's account and region, or a URL.
    pub address: String,
    pub role: QueueRole,
}

/// What a queue is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueRole {
    /// Takes S3's notifications of the buckets that fit `buckets` (a name, `*` allowed at its end).
    Events { buckets: String, max_receives: u32 },
    /// Takes what people and programs ask for.
    Requests { max_receives: u32 },
    /// Takes what was received from the queue `of` too often.
    DeadLetters { of: String },
}

/// An S3 bucket that is there before the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub name: BucketName,
    pub role: BucketRole,
}

/// What a bucket is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketRole {
    /// Logs are read from it, under `prefix`; `region` where it is not the daemon's.
    Logs {
        region: Option<String>,
        prefix: String,
    },
    ReplicationSource,
    ReplicationDestination,
}

/// Whether `init` makes a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadeBy {
    Init,
    /// The service, or whoever runs it: `init` only reports it.
    Others,
}

/// How a resource stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// In order; what was seen.
    Ok(String),
    Missing,
    /// It was asked for and is not ready yet.
    Pending,
    /// It is there, and not as it is needed: what differs.
    Differs(Vec<String>),
    /// It could not be looked at: why.
    Unknown(String),
}

/// A resource, how it stands, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub resource: Resource,
    pub standing: Standing,
    /// What to do; empty where all is well.
    pub mend: String,
}

/// What the daemon cannot run without and did not find.
#[derive(Debug, Error)]
#[error("the daemon needs what is not there:{}", lines(.0))]
pub struct NotReady(pub Vec<Finding>);

/// What the configuration needs, in the order in which it can be made: a queue after its dead-letter queue.
pub fn needed(settings: &Settings) -> Vec<Resource> {
    let table = |name: &str, role| Resource::Table(Table { name: name.to_owned(), role });
    let bucket = |name: &BucketName, role| Resource::Bucket(Bucket { name: name.clone(), role });
    let max_receives = settings.restore.max_receives;
    let mut all =
        vec![table(&settings.state.table, TableRole::State), table(&settings.ledger.table, TableRole::Ledger)];
    if settings.provision.enabled {
        all.push(table(&settings.users.table, TableRole::Users { key: settings.users.key.clone() }));
    }
    if settings.restore.enabled {
        // Validated with the rest of the settings; a template that cannot be read has no prefix to name.
        let prefix = BucketNameTemplate::new(&settings.provision.bucket_name)
            .map_or(String::new(), |template| template.literal_prefix().to_owned());
        add_queue(
            &mut all,
            &settings.restore.event_queue,
            QueueRole::Events { buckets: format!("{prefix}*"), max_receives },
        );
        add_queue(&mut all, &settings.restore.request_queue, QueueRole::Requests { max_receives });
    }
    for rule in &settings.replicate {
        add_queue(&mut all, &rule.queue, QueueRole::Events { buckets: rule.source_bucket.to_string(), max_receives });
    }
    if settings.ingest.enabled {
        for source in &settings.ingest.source {
            let role = BucketRole::Logs { region: source.region.clone(), prefix: source.prefix.clone() };
            all.push(bucket(&source.bucket, role));
        }
    }
    for rule in &settings.replicate {
        for (name, role) in [
            (&rule.source_bucket, BucketRole::ReplicationSource),
            (&rule.destination_bucket, BucketRole::ReplicationDestination),
        ] {
            let one = bucket(name, role);
            if !all.contains(&one) {
                all.push(one);
            }
        }
    }
    all
}

fn add_queue(all: &mut Vec<Resource>, address: &str, role: QueueRole) {
    // A URL names a queue that somebody has made, with dead letters as they wanted.
    if !queues::is_url(address) {
        all.push(Resource::Queue(Queue {
            address: queues::dead_letters_of(address),
            role: QueueRole::DeadLetters { of: address.to_owned() },
        }));
    }
    all.push(Resource::Queue(Queue { address: address.to_owned(), role }));
}

impl Resource {
    /// Who makes it.
    pub fn made_by(&self) -> MadeBy {
        match self {
            Self::Table(Table { role: TableRole::Users { .. }, .. }) | Self::Bucket(_) => MadeBy::Others,
            Self::Queue(queue) if queues::is_url(&queue.address) => MadeBy::Others,
            Self::Table(_) | Self::Queue(_) => MadeBy::Init,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "table {}", table.name),
            Self::Queue(queue) => write!(f, "queue {}", queue.address),
            Self::Bucket(bucket) => write!(f, "bucket {}", bucket.name),
        }
    }
}

impl fmt::Display for Finding {
    /// One line: `ok      table tierd_state: keys pk/sk, ttl on ttl`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, said) = match &self.standing {
            Standing::Ok(seen) => ("ok", seen.clone()),
            Standing::Missing => ("missing", String::new()),
            Standing::Pending => ("pending", "it is being made".to_owned()),
            Standing::Differs(how) => ("differs", how.join("; ")),
            Standing::Unknown(why) => ("unknown", why.clone()),
        };
        write!(f, "{word:<7} {}: {said}", self.resource)?;
        let between = if said.is_empty() || self.mend.is_empty() { "" } else { "; " };
        write!(f, "{between}{}", self.mend)
    }
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("\n{finding}")).collect()
}

/// The account that the daemon's calls are made in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    partition: String,
    /// Twelve digits.
    id: String,
}

/// Looks at resources and makes them.
#[derive(Debug)]
pub struct Resources {
    clients: Clients,
    account: OnceCell<Account>,
}

impl Resources {
    pub fn new(clients: Clients) -> Self {
        Self { clients, account: OnceCell::new() }
    }

    /// Looks at one resource as closely as can be done without changing anything.
    pub async fn inspect(&self, resource: &Resource) -> Finding {
        let looked = match resource {
            Resource::Table(table) => tables::inspect(&self.clients.dynamodb, table).await,
            Resource::Queue(queue) => queues::inspect(self, queue).await,
            Resource::Bucket(bucket) => buckets::inspect(&self.clients, bucket).await,
        };
        found(resource, looked)
    }

    /// Looks at all of them, side by side. The findings come in the same order.
    pub async fn inspect_all(&self, resources: &[Resource]) -> Vec<Finding> {
        futures::stream::iter(resources).map(|one| self.inspect(one)).buffered(CONCURRENCY).collect().await
    }

    /// Looks at all of them, side by side, and tries what the credentials may do with those that are in order. The findings
    /// come in the same order.
    pub async fn verify_all(&self, resources: &[Resource]) -> Vec<Finding> {
        futures::stream::iter(resources).map(|one| self.verify(one)).buffered(CONCURRENCY).collect().await
    }

    async fn verify(&self, resource: &Resource) -> Finding {
        let finding = self.inspect(resource).await;
        if !matches!(finding.standing, Standing::Ok(_)) {
            return finding;
        }
        let denied = permissions::denied(self, resource).await;
        if denied.is_empty() {
            return finding;
        }
        let how = format!("these credentials may not {}", denied.join(", "));
        let mend = "allow it in the policy of the role that the daemon runs under".to_owned();
        Finding { standing: Standing::Differs(vec![how]), mend, ..finding }
    }

    /// Makes a resource that is missing and waits until it can be used. Gives what could not be had besides, if anything.
    ///
    /// Must not be called for what [`MadeBy::Others`] make: it fails then.
    pub async fn make(&self, resource: &Resource) -> AwsResult<Option<String>> {
        match resource {
            Resource::Table(table) => tables::make(&self.clients.dynamodb, table).await,
            Resource::Queue(queue) => queues::make(self, queue).await.map(|()| None),
            Resource::Bucket(bucket) => {
                let why = "this bucket is not tierd's to make";
                Err(AwsError::from_entry("CreateBucket", &bucket.name, None, why))
            }
        }
    }

    /// Fails with [`NotReady`] unless every table and queue that the daemon works on is there. Cheap: it asks for no more
    /// than their being there, for all of them at once.
    pub async fn require(&self, settings: &Settings) -> Result<(), NotReady> {
        let all: Vec<Resource> = needed(settings).into_iter().filter(is_worked_on).collect();
        let looked: Vec<Finding> = futures::stream::iter(&all)
            .map(|resource| async move {
                let there = match resource {
                    Resource::Table(table) => tables::exists(&self.clients.dynamodb, table).await,
                    Resource::Queue(queue) => queues::exists(&self.clients.sqs, queue).await,
                    Resource::Bucket(_) => Ok(()),
                };
                found(resource, there.map(|()| Standing::Ok(String::new())))
            })
            .buffered(all.len().max(1))
            .collect()
            .await;
        let bad: Vec<Finding> = looked.into_iter().filter(|f| !matches!(f.standing, Standing::Ok(_))).collect();
        if bad.is_empty() { Ok(()) } else { Err(NotReady(bad)) }
    }

    async fn account(&self) -> AwsResult<&Account> {
        self.account
            .get_or_try_init(|| async {
                let identity = self
                    .clients
                    .sts
                    .get_caller_identity()
                    .send()
                    .await
                    .map_err(|e| AwsError::new("GetCallerIdentity", "sts", e))?;
                let partition =
                    identity.arn.as_deref().and_then(|arn| arn.split(':').nth(1)).unwrap_or("aws").to_owned();
                let id = identity.account.ok_or_else(|| {
                    AwsError::from_entry("GetCallerIdentity", "sts", None, "the answer names no account")
                })?;
                Ok(Account { partition, id })
            })
            .await
    }
}

/// A table or queue that the daemon itself reads or writes.
fn is_worked_on(resource: &Resource) -> bool {
    match resource {
        Resource::Table(_) => true,
        Resource::Queue(queue) => !matches!(queue.role, QueueRole::DeadLetters { .. }),
        Resource::Bucket(_) => false,
    }
}

fn found(resource: &Resource, looked: AwsResult<Standing>) -> Finding {
    let (standing, mend) = match looked {
        Ok(standing) => {
            let mend = mend(resource, &standing);
            (standing, mend)
        }
        Err(error) if error.kind == Kind::NotFound => (Standing::Missing, mend(resource, &Standing::Missing)),
        Err(error) => {
            let mend = mend_of(&error);
            (Standing::Unknown(error.to_string()), mend)
        }
    };
    Finding { resource: resource.clone(), standing, mend }
}

fn mend(resource: &Resource, standing: &Standing) -> String {
    match (standing, resource) {
        (Standing::Ok(_), _) => String::new(),
        (Standing::Pending, _) => "try again in a minute".to_owned(),
        (Standing::Missing, _) if resource.made_by() == MadeBy::Init => "`tierd init` makes it".to_owned(),
        (_, Resource::Table(table)) => tables::mend(table, standing),
        (_, Resource::Queue(_)) => queues::mend(standing),
        (_, Resource::Bucket(bucket)) => buckets::mend(bucket, standing),
    }
}

/// What helps against a call that failed.
fn mend_of(error: &AwsError) -> String {
    match error.kind {
        Kind::Denied => match (error.status, iam_action(error.operation)) {
            (Some(_), Some(action)) => format!("check the credentials, and that they allow {action}"),
            _ => "check the credentials".to_owned(),
        },
        Kind::Unreachable => "check aws.region, aws.endpoint_url and the network".to_owned(),
        Kind::Throttled | Kind::Transient => "try again later".to_owned(),
        _ => "see the AWS documentation of this error".to_owned(),
    }
}

fn iam_action(operation: &str) -> Option<String> {
    let service = match operation {
        "DescribeTable" | "DescribeTimeToLive" | "CreateTable" | "UpdateTimeToLive" => "dynamodb",
        "GetQueueUrl" | "GetQueueAttributes" | "CreateQueue" => "sqs",
        // Both calls are the same permission.
        "ListObjectsV2" | "HeadBucket" => return Some("s3:ListBucket".to_owned()),
        _ => return None,
    };
    Some(format!("{service}:{operation}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(toml: &str) -> Vec<String> {
        let settings = Settings::from_toml(toml).unwrap_or_else(|e| panic!("{e}"));
        needed(&settings).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_needed_follows_from_the_enabled_parts() {
        let source = "[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"trail\"\n";
        assert_eq!(
            names(source),
            [
                "table tierd_state",
                "table file_access",
                "table user",
                "queue tierd-restore-events-dlq",
                "queue tierd-restore-events",
                "queue tierd-restore-requests-dlq",
                "queue tierd-restore-requests",
                "bucket trail",
            ]
        );
        let off = "provision.enabled = false\nrestore.enabled = false\ningest.enabled = false\n";
        assert_eq!(names(off), ["table tierd_state", "table file_access"]);
    }

    #[test]
    fn a_queue_given_as_a_url_is_nobodys_to_make() {
        let toml =
            "ingest.enabled = false\nrestore.event_queue = \"https://sqs.eu-west-1.amazonaws.com/123456789012/q\"\n";
        let settings = Settings::from_toml(toml).unwrap();
        let queues: Vec<Resource> = needed(&settings).into_iter().filter(|r| matches!(r, Resource::Queue(_))).collect();
        let made: Vec<(String, MadeBy)> = queues.iter().map(|q| (q.to_string(), q.made_by())).collect();
        assert_eq!(made.len(), 3, "{made:?}");
        assert_eq!(made[0], ("queue https://sqs.eu-west-1.amazonaws.com/123456789012/q".to_owned(), MadeBy::Others));
    }

    #[test]
    fn rules_that_share_a_bucket_need_it_once() {
        let rule = |queue: &str| {
            format!(
                "[[replicate]]\nqueue = \"{queue}\"\nsource_bucket = \"from\"\ndestination_bucket = \"to-{queue}\"\n"
            )
        };
        let toml = format!("ingest.enabled = false\n{}{}", rule("one"), rule("two"));
        let buckets: Vec<String> = names(&toml).into_iter().filter(|n| n.starts_with("bucket")).collect();
        assert_eq!(buckets, ["bucket from", "bucket to-one", "bucket to-two"]);
    }

    #[test]
    fn a_finding_is_one_line_with_its_mend() {
        let resource = Resource::Table(Table { name: "t".to_owned(), role: TableRole::State });
        let missing = found(&resource, Ok(Standing::Missing));
        assert_eq!(missing.to_string(), "missing table t: `tierd init` makes it");
        let ok = found(&resource, Ok(Standing::Ok("keys pk/sk".to_owned())));
        assert_eq!(ok.to_string(), "ok      table t: keys pk/sk");
    }
}
