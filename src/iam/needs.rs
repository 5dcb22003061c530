//! What each part of the daemon does, as statements.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::actions::{
    ASK_FOR_RESTORE, BUCKET_FACTS, BUCKET_SETTINGS, CONSUME, LOOK_AT_OBJECT, LOOK_AT_QUEUE, MOVE, REPLICATION_ACL,
    REPLICATION_DESTINATION, REPLICATION_SOURCE, STATE,
};
use super::{Part, Place, Statement};
use crate::config::{Restore, Settings, VersionedBuckets};
use crate::tiering::bucket_name::BucketNameTemplate;

pub(super) struct Needs<'a> {
    settings: &'a Settings,
    place: &'a Place,
    statements: Vec<Statement>,
    notes: Vec<String>,
}

impl<'a> Needs<'a> {
    pub(super) fn new(settings: &'a Settings, place: &'a Place) -> Self {
        Self { settings, place, statements: Vec::new(), notes: Vec::new() }
    }

    /// The statements, and the notes for whoever attaches them.
    pub(super) fn into_statements(self) -> (Vec<Statement>, Vec<String>) {
        (self.statements, self.notes)
    }

    pub(super) fn add(&mut self, part: Part) {
        match part {
            Part::Provision => self.provision(),
            Part::Ingest => self.ingest(),
            Part::Reconcile => self.reconcile(),
            Part::Transition => self.transition(),
            Part::Restore => self.restore(),
            Part::Replicate => self.replicate(),
            Part::Plan => self.plan(),
            Part::Simulate => self.simulate(),
            Part::Check => self.check(),
            Part::Init => self.init(),
            Part::Import => self.import(),
        }
    }

    fn provision(&mut self) {
        let Settings { users, restore, provision, .. } = self.settings;
        self.state(STATE);
        self.allow(
            "UsersTable",
            &["dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:Scan", "dynamodb:UpdateItem"],
            [self.table(&users.table)],
            None,
        );
        self.allow(
            "UsersStream",
            &["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"],
            // A stream that is switched off and on again has another name.
            [format!("{}/stream/*", self.table(&users.table))],
            None,
        );
        // Not bound to the account: a bucket that is not there yet belongs to none.
        let prefix = BucketNameTemplate::new(&provision.bucket_name)
            .map_or_else(|_| String::new(), |template| template.literal_prefix().to_owned());
        let buckets = [self.s3(format!("{prefix}*"))];
        self.allow("MakeBuckets", &["s3:CreateBucket"], buckets.clone(), None);
        self.allow("UserBuckets", BUCKET_SETTINGS, buckets.clone(), self.own());
        if provision.bucket_policy_file.is_some() {
            self.allow("UserBuckets", &["s3:GetBucketPolicy", "s3:PutBucketPolicy"], buckets, self.own());
        }
        if prefix.is_empty() {
            self.note(
                "provision.bucket_name begins with a placeholder, so the policy covers every bucket of the account; \
                 let the names begin with something of their own",
            );
        }
        if restore.enabled {
            // A bucket's notifications name the queue by its ARN.
            self.allow("EventQueue", LOOK_AT_QUEUE, [self.queue(&restore.event_queue)], None);
        }
    }

    fn ingest(&mut self) {
        let ledger = [self.table(&self.settings.ledger.table)];
        self.state(STATE);
        self.allow("Ledger", &["dynamodb:BatchGetItem", "dynamodb:UpdateItem"], ledger, None);
        self.logs();
    }

    fn logs(&mut self) {
        let Settings { aws, ingest, .. } = self.settings;
        // Not bound to the account, since logs are often kept in another one; they are named to the letter. The listing is
        // not bound to the prefix: S3 would then answer 403, and not 404, for a file that is gone since it was listed.
        let buckets: Vec<String> = ingest.source.iter().map(|source| self.s3(&source.bucket)).collect();
        let files: Vec<String> =
            ingest.source.iter().map(|source| self.s3(format!("{}/{}*", source.bucket, source.prefix))).collect();
        self.allow("LogBuckets", &["s3:ListBucket"], buckets, None);
        self.allow("LogFiles", &["s3:GetObject"], files, None);
        let regions = ingest.source.iter().map(|source| source.region.as_ref().unwrap_or(&aws.region));
        self.keys("KeysOfLogs", &["kms:Decrypt"], regions.cloned().collect());
    }

    fn reconcile(&mut self) {
        let Settings { ledger, .. } = self.settings;
        self.state(STATE);
        self.allow(
            "Ledger",
            &["dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:Scan", "dynamodb:UpdateItem"],
            [self.table(&ledger.table)],
            None,
        );
        let (buckets, _) = self.tiered();
        self.allow("TieredBuckets", &["s3:ListBucket"], buckets, self.own());
    }

    fn transition(&mut self) {
        let Settings { ledger, transition, .. } = self.settings;
        self.state(STATE);
        self.allow(
            "Ledger",
            &["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan", "dynamodb:UpdateItem"],
            [self.table(&ledger.table)],
            None,
        );
        self.moves();
        let (_, objects) = self.tiered();
        if transition.versioned_buckets == VersionedBuckets::CopyAndDeletePrevious {
            self.allow("TieredObjects", &["s3:DeleteObjectVersion"], objects.clone(), self.own());
        }
        if transition.promote_archived {
            self.allow("TieredObjects", ASK_FOR_RESTORE, objects, self.own());
        }
    }

    fn restore(&mut self) {
        let Settings { users, ledger, provision, restore: Restore { event_queue, request_queue, .. }, .. } =
            self.settings;
        self.state(STATE);
        // The scans are for `job sweep --full`, which must know all buckets.
        let ledger = [self.table(&ledger.table)];
        self.allow("Ledger", &["dynamodb:GetItem", "dynamodb:Scan", "dynamodb:UpdateItem"], ledger, None);
        if provision.enabled {
            self.allow("UsersTable", &["dynamodb:Scan"], [self.table(&users.table)], None);
        }
        self.allow("RestoreQueues", CONSUME, [self.queue(event_queue), self.queue(request_queue)], None);
        self.moves();
        let (_, objects) = self.tiered();
        self.allow("TieredObjects", ASK_FOR_RESTORE, objects, self.own());
    }

    fn replicate(&mut self) {
        let rules = &self.settings.replicate;
        self.state(STATE);
        let queues: Vec<String> = rules.iter().map(|rule| self.queue(&rule.queue)).collect();
        self.allow("ReplicationQueues", CONSUME, queues, None);
        // The destination may be another account's, whose own bucket policy has to allow the same. Neither listing is bound to
        // a prefix, for the same reason as that of the logs.
        let both = rules.iter().flat_map(|rule| [&rule.source_bucket, &rule.destination_bucket]);
        let buckets: Vec<String> = both.map(|bucket| self.s3(bucket)).collect();
        self.allow("ReplicationBuckets", &["s3:ListBucket"], buckets, None);
        let sources: Vec<String> =
            rules.iter().map(|rule| self.s3(format!("{}/{}*", rule.source_bucket, rule.source_prefix))).collect();
        self.allow(
            "ReplicationSources",
            // Either bucket may be another account's, and both are named to the letter.
            REPLICATION_SOURCE,
            sources,
            None,
        );
        let destination = |rule: &crate::config::Replicate| {
            self.s3(format!("{}/{}*", rule.destination_bucket, rule.destination_prefix))
        };
        let all: Vec<String> = rules.iter().map(destination).collect();
        let with_acl: Vec<String> = rules.iter().filter(|rule| !rule.acl.is_empty()).map(destination).collect();
        self.allow("ReplicationDestinations", REPLICATION_DESTINATION, all, None);
        self.allow("DestinationAcls", REPLICATION_ACL, with_acl, None);
        self.keys_of_objects();
    }

    fn plan(&mut self) {
        // The last good ingest, and for `report` the history of runs.
        self.state(&["dynamodb:GetItem", "dynamodb:Query"]);
        let ledger = self.table(&self.settings.ledger.table);
        self.allow("Ledger", &["dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan"], [ledger], None);
        let (buckets, objects) = self.tiered();
        self.allow("TieredBuckets", BUCKET_FACTS, buckets, self.own());
        self.allow("TieredObjects", LOOK_AT_OBJECT, objects, self.own());
    }

    fn simulate(&mut self) {
        self.logs();
        let (buckets, _) = self.tiered();
        self.allow("TieredBuckets", &["s3:ListBucket"], buckets, self.own());
    }

    fn check(&mut self) {
        self.state(&["dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:GetItem", "dynamodb:Query"]);
        let Settings { users, ledger, provision, ingest, replicate, .. } = self.settings;
        self.allow("Ledger", &["dynamodb:DescribeTable"], [self.table(&ledger.table)], None);
        if provision.enabled {
            self.allow("UsersTable", &["dynamodb:DescribeTable"], [self.table(&users.table)], None);
            let stream = format!("{}/stream/*", self.table(&users.table));
            self.allow("UsersStream", &["dynamodb:DescribeStream"], [stream], None);
        }
        let queues = self.queues_with_dead_letters();
        self.allow("Queues", LOOK_AT_QUEUE, queues, None);
        let logs = ingest.source.iter().filter(|_| ingest.enabled).map(|source| &source.bucket);
        let replicated = replicate.iter().flat_map(|rule| [&rule.source_bucket, &rule.destination_bucket]);
        let buckets: Vec<String> = logs.chain(replicated).map(|bucket| self.s3(bucket)).collect();
        self.allow("OtherBuckets", &["s3:ListBucket"], buckets, None);
    }

    fn init(&mut self) {
        self.check();
        self.state(&["dynamodb:CreateTable", "dynamodb:UpdateTimeToLive"]);
        self.allow(
            "Ledger",
            &["dynamodb:CreateTable", "dynamodb:UpdateContinuousBackups"],
            [self.table(&self.settings.ledger.table)],
            None,
        );
        let queues = self.queues_with_dead_letters();
        self.allow("Queues", &["sqs:CreateQueue"], queues, None);
    }

    fn import(&mut self) {
        let Settings { users, ledger, .. } = self.settings;
        // Its lease.
        self.state(&["dynamodb:GetItem", "dynamodb:UpdateItem"]);
        self.allow(
            "Ledger",
            // GetItem for a dry run.
            &["dynamodb:GetItem", "dynamodb:Scan", "dynamodb:UpdateItem"],
            [self.table(&ledger.table)],
            None,
        );
        self.allow("UsersTable", &["dynamodb:Scan"], [self.table(&users.table)], None);
        match &self.place.old_table {
            Some(old) => {
                self.allow("OldTable", &["dynamodb:DescribeTable", "dynamodb:Scan"], [self.table(old)], None);
            }
            None => self.note("the policy does not cover the table that is imported; --table names it"),
        }
        let (buckets, _) = self.tiered();
        self.allow("TieredBuckets", &["s3:ListBucket"], buckets, self.own());
    }

    /// Copies of users' objects onto themselves.
    fn moves(&mut self) {
        let (buckets, objects) = self.tiered();
        self.allow("TieredBuckets", BUCKET_FACTS, buckets, self.own());
        self.allow("TieredObjects", MOVE, objects, self.own());
        self.keys_of_objects();
    }

    fn keys_of_objects(&mut self) {
        let region = self.settings.aws.region.clone();
        self.keys("KeysOfObjects", &["kms:Decrypt", "kms:GenerateDataKey"], BTreeSet::from([region]));
    }

    /// Keys of objects are not in the configuration. Without their ARNs it is all of the account's, but only for what S3 does.
    fn keys(&mut self, sid: &'static str, actions: &[&'static str], regions: BTreeSet<String>) {
        let Place { partition, account, kms_keys, .. } = self.place;
        if regions.is_empty() {
            return;
        }
        let keys: Vec<String> = if kms_keys.is_empty() {
            self.note(
                "the policy covers every KMS key of the account as S3 uses it; --kms-key names those that are meant",
            );
            regions.iter().map(|region| format!("arn:{partition}:kms:{region}:{account}:key/*")).collect()
        } else {
            kms_keys.clone()
        };
        let domain = if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let services: Vec<String> = regions.iter().map(|region| format!("s3.{region}.{domain}")).collect();
        self.allow(sid, actions, keys, Some(json!({ "StringEquals": { "kms:ViaService": services } })));
    }

    fn state(&mut self, actions: &[&'static str]) {
        self.allow("State", actions, [self.table(&self.settings.state.table)], None);
    }

    /// The buckets whose objects are watched, and those objects: users' buckets, and those that the logs count for.
    fn tiered(&mut self) -> (Vec<String>, Vec<String>) {
        let Settings { provision, ingest, .. } = self.settings;
        let template = BucketNameTemplate::new(&provision.bucket_name)
            .map_or_else(|_| String::new(), |template| template.literal_prefix().to_owned());
        let mut prefixes: BTreeSet<String> =
            ingest.source.iter().filter(|_| ingest.enabled).map(|source| source.bucket_prefix.clone()).collect();
        if provision.enabled || prefixes.is_empty() {
            prefixes.insert(template);
        }
        if prefixes.contains("") {
            self.note(
                "the policy covers the objects of every bucket of the account, because ingest counts for all of them; \
                 set bucket_prefix in every [[ingest.source]], and let provision.bucket_name begin with it",
            );
        }
        let narrowest = |prefix: &&String| !prefixes.iter().any(|other| other != *prefix && prefix.starts_with(other));
        let prefixes: Vec<&String> = prefixes.iter().filter(narrowest).collect();
        let buckets = prefixes.iter().map(|prefix| self.s3(format!("{prefix}*"))).collect();
        let objects = prefixes.iter().map(|prefix| self.s3(format!("{prefix}*/*"))).collect();
        (buckets, objects)
    }

    /// Every queue, and beside those that `init` makes their dead-letter queues.
    fn queues_with_dead_letters(&self) -> Vec<String> {
        let Settings { restore, replicate, .. } = self.settings;
        let restores = restore.enabled.then_some([&restore.event_queue, &restore.request_queue]);
        let addresses = restores.into_iter().flatten().chain(replicate.iter().map(|rule| &rule.queue));
        let with_dead_letters = |address: &String| {
            let arn = self.queue(address);
            let dead = (!address.contains("://")).then(|| format!("{arn}-dlq"));
            [Some(arn), dead].into_iter().flatten()
        };
        addresses.flat_map(with_dead_letters).collect()
    }

    fn s3(&self, path: impl std::fmt::Display) -> String {
        format!("arn:{}:s3:::{path}", self.place.partition)
    }

    fn table(&self, name: &str) -> String {
        let Place { partition, account, .. } = self.place;
        format!("arn:{partition}:dynamodb:{}:{account}:table/{name}", self.settings.aws.region)
    }

    /// A queue given by its name or by `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`.
    fn queue(&self, address: &str) -> String {
        let Place { partition, account, .. } = self.place;
        let mut region = self.settings.aws.region.as_str();
        let mut owner = account.as_str();
        let mut name = address;
        if let Some((_, rest)) = address.split_once("://") {
            let mut parts = rest.trim_end_matches('/').split('/');
            let host = parts.next().unwrap_or_default();
            region = host.strip_prefix("sqs.").and_then(|host| host.split('.').next()).unwrap_or(region);
            name = parts.next_back().unwrap_or_default();
            owner = parts.next_back().unwrap_or(owner);
        }
        format!("arn:{partition}:sqs:{region}:{owner}:{name}")
    }

    /// Bucket names are the whole world's: only what is this account's.
    fn own(&self) -> Option<Value> {
        Some(json!({ "StringEquals": { "aws:ResourceAccount": self.place.account } }))
    }

    /// Adds a statement, or its actions to the one that speaks of the same.
    fn allow(
        &mut self,
        sid: &'static str,
        actions: &[&'static str],
        resources: impl IntoIterator<Item = String>,
        condition: Option<Value>,
    ) {
        let resource: BTreeSet<String> = resources.into_iter().collect();
        if resource.is_empty() {
            return;
        }
        match self.statements.iter_mut().find(|s| s.resource == resource && s.condition == condition) {
            Some(same) => same.action.extend(actions),
            None => {
                let action = actions.iter().copied().collect();
                self.statements.push(Statement { sid, effect: "Allow", action, resource, condition });
            }
        }
    }

    fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|said| said == note) {
            self.notes.push(note.to_owned());
        }
    }
}
