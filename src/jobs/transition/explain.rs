//! Everything that is known of one object, and what each policy would do with it, and why. Looks and changes nothing.
//!
//! The judgement is that of the plan step and of the executor, by the same functions: [`Bench`] and [`obstacle`].

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Versions;
use super::obstacle::{Expected, obstacle};
use super::planner::Planner;
use crate::aws::AwsError;
use crate::jobs::ahead;
use crate::ledger::Columns;
use crate::policies::BucketPolicy;
use crate::s3::S3;
use crate::s3::bucket_facts::{BucketFacts, Versioning};
use crate::s3::object::{Encryption, ObjectHead};
use crate::tiering::cost::MoveCost;
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::object::ObjectId;
use crate::tiering::policy::frequency::Census;
use crate::tiering::policy::guard::{Bench, Evidence};
use crate::tiering::policy::objection::SkipReason;
use crate::tiering::policy::{Decision, PolicyName};
use crate::tiering::restore::RestoreStatus;
use crate::tiering::storage_class::StorageClass;
use crate::tiering::usage::monthly_usd;

/// What looks at an object as a transition would.
pub struct Explainer {
    pub planner: Planner,
    pub s3: S3,
    pub versions: Versions,
    /// The tag that remembers that a restore was asked for.
    pub tag_key: String,
}

/// All that can be said of an object.
#[derive(Debug)]
pub struct Explanation {
    pub id: ObjectId,
    pub at: DateTime<Utc>,
    /// None: the ledger has no row of it.
    pub row: Option<LedgerRow>,
    pub seen: Seen,
    /// None where it cannot be asked, which `seen` then tells as well.
    pub versioning: Option<Versioning>,
    pub evidence: Evidence,
    /// What storing it costs a month where it is, by what the row says.
    pub monthly_usd: Option<f64>,
    /// The policy that holds for the bucket.
    pub holds: PolicyName,
    /// What each policy would do; empty without a row, since a transition looks at rows only.
    pub verdicts: Vec<Verdict>,
    /// What could not be found out, a line each.
    pub problems: Vec<String>,
}

/// What S3 says.
#[derive(Debug)]
pub enum Seen {
    Object {
        head: Box<ObjectHead>,
        /// The value of the tag that remembers a restore; None: the object does not have it, or tags cannot be read.
        restore_tag: Option<String>,
    },
    /// Encrypted with a key that only the customer has: S3 says nothing else of it.
    CustomerKey,
    Missing,
    NoBucket,
    /// It could not be looked at; the problems say why.
    Unreadable,
}

/// What one policy would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub policy: PolicyName,
    /// None: the policy has nothing to go by.
    pub decision: Option<Decision>,
    /// The move to where the policy wants the object, if it is not there.
    pub cost: Option<MoveCost>,
    /// Everything that is against it, in the order in which it is asked: a run names the first.
    pub against: Vec<Against>,
}

/// Something that is against a move.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Against {
    pub reason: SkipReason,
    pub because: String,
}

impl Verdict {
    /// Whether the object is where the policy wants it.
    pub fn stays(&self) -> bool {
        self.decision.is_some() && self.cost.is_none() && self.against.is_empty()
    }

    /// Whether a run under this policy would move it.
    pub fn moves(&self) -> bool {
        self.cost.is_some() && self.against.is_empty()
    }
}

impl Explainer {
    /// Looks at the object in the ledger and in S3 and asks each of `policies` what it would do. Under the frequency policy
    /// and the adaptive one the rows of the whole bucket are read, and none is kept.
    ///
    /// Fails where the ledger cannot be read, or S3 cannot be reached at all.
    pub async fn explain(&self, id: &ObjectId, policies: &[BucketPolicy]) -> Result<Explanation> {
        let Planner { ledger, guards, evidence, prices, now, .. } = &self.planner;
        let row = ledger.row(id).await?;
        let mut problems = Vec::new();
        let seen = self.look(id, &mut problems).await?;
        let versioning = match seen {
            Seen::NoBucket => None,
            _ => {
                noted(self.s3.bucket_facts(&id.bucket).await, &mut problems)?.map(|facts: BucketFacts| facts.versioning)
            }
        };
        let bench = Bench { now: *now, guards, evidence: *evidence, prices };
        let mut verdicts = Vec::new();
        if let Some(row) = &row {
            for policy in policies {
                let decision = self.decide(policy, row).await?;
                verdicts.push(self.verdict(&bench, policy.name(), row, decision, &seen, versioning));
            }
        }
        Ok(Explanation {
            id: id.clone(),
            at: *now,
            monthly_usd: row.as_ref().and_then(|row| monthly_usd(row, prices, *now)),
            row,
            seen,
            versioning,
            evidence: *evidence,
            holds: self.planner.policies.of_bucket(&id.bucket).name(),
            verdicts,
            problems,
        })
    }

    async fn look(&self, id: &ObjectId, problems: &mut Vec<String>) -> Result<Seen> {
        let head = match self.s3.head(id).await {
            Ok(Some(head)) => head,
            // A HEAD's 404 does not tell a missing bucket from a missing object.
            Ok(None) => {
                let bucket = noted(self.s3.bucket_exists(&id.bucket).await, problems)?;
                return Ok(if bucket == Some(false) { Seen::NoBucket } else { Seen::Missing });
            }
            Err(error) if error.status == Some(400) && self.s3.has_customer_key(id).await.unwrap_or(false) => {
                return Ok(Seen::CustomerKey);
            }
            Err(error) => {
                noted::<()>(Err(error), problems)?;
                return Ok(Seen::Unreadable);
            }
        };
        // S3 tells the number of tags where there are some and they may be read.
        let tags = match self.s3.tags(id).await {
            // Not S3 itself, but servers that are like it do not show the tags of what is archived.
            Err(error) if error.is("InvalidObjectState") => Vec::new(),
            answer => noted(answer, problems)?.unwrap_or_default(),
        };
        let restore_tag = tags.into_iter().find_map(|(key, value)| (key == self.tag_key).then_some(value));
        Ok(Seen::Object { head: Box::new(head), restore_tag })
    }

    /// What a policy wants of the row: as the plan step asks it, but for one row.
    async fn decide(&self, policy: &BucketPolicy, row: &LedgerRow) -> Result<Option<Decision>> {
        match policy {
            BucketPolicy::Recency(recency) => Ok(recency.decide(row, self.planner.now)),
            BucketPolicy::Frequency(frequency) => {
                let (ledger, bucket) = (&self.planner.ledger, &row.id.bucket);
                let mut census = Census::default();
                let mut rows = ahead::rows(ledger, bucket, Columns::All);
                while let Some(next) = rows.next().await? {
                    if let Ok(next) = next {
                        census.count(&next);
                    }
                }
                // The cut decides rows in their order: where it goes through a tie, those before this one count.
                let mut cut = census.cut(frequency);
                let mut rows = ahead::rows(ledger, bucket, Columns::All);
                while let Some(next) = rows.next().await? {
                    match next {
                        Ok(next) if next.id.key >= row.id.key => break,
                        Ok(next) => {
                            cut.decide(&next);
                        }
                        Err(_) => {}
                    }
                }
                Ok(Some(cut.decide(row)))
            }
            BucketPolicy::Adaptive { max_delayed_reads } => {
                let (learning, stop) = (&self.planner.learning, CancellationToken::new());
                let learned = learning.of_bucket(&row.id.bucket, *max_delayed_reads, &stop).await?;
                Ok(learned.and_then(|learned| learned.decide(row)))
            }
        }
    }

    fn verdict(
        &self,
        bench: &Bench<'_>,
        policy: PolicyName,
        row: &LedgerRow,
        decision: Option<Decision>,
        seen: &Seen,
        versioning: Option<Versioning>,
    ) -> Verdict {
        let objections = bench.objections(row, decision.as_ref());
        let mut against: Vec<Against> = objections
            .into_iter()
            .map(|objection| Against { reason: objection.reason(), because: objection.to_string() })
            .collect();
        let cost = decision.as_ref().and_then(|decision| bench.cost(row, decision.target));
        if let Some(decision) = decision.as_ref().filter(|_| cost.is_some()) {
            let found = self.obstacles(row, decision.target, seen, versioning, bench.now);
            against.extend(found.into_iter().map(|(reason, because)| Against { reason, because: because.to_owned() }));
        }
        Verdict { policy, decision, cost, against }
    }

    /// What the executor would find at the object.
    fn obstacles(
        &self,
        row: &LedgerRow,
        to: StorageClass,
        seen: &Seen,
        versioning: Option<Versioning>,
        now: DateTime<Utc>,
    ) -> Vec<(SkipReason, &'static str)> {
        let mut found: Vec<SkipReason> = versioning.and_then(|it| self.versions.obstacle(it)).into_iter().collect();
        match seen {
            Seen::Object { head, .. } => {
                let (Some(etag), Some(from), Some(bytes)) = (&row.etag, row.class, row.size) else {
                    return Vec::new();
                };
                found.extend(obstacle(&Expected { etag, bytes, from, to }, head, self.versions, now));
            }
            Seen::CustomerKey => found.push(SkipReason::CustomerKey),
            Seen::Missing | Seen::NoBucket => found.push(SkipReason::Gone),
            Seen::Unreadable => {}
        }
        found.into_iter().map(|reason| (reason, at_the_object(reason))).collect()
    }
}

impl Explanation {
    /// The verdict of the policy that holds.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.policy == self.holds)
    }

    /// How a restore of it stands, where one may be under way.
    pub fn restore(&self) -> Option<RestoreStatus> {
        match &self.seen {
            Seen::Object { head, .. } => RestoreStatus::from_header(head.restore.as_deref()).ok(),
            _ => None,
        }
    }

    /// How the ledger's row differs from the object, if it does: a reconcile sets it right.
    pub fn drift(&self) -> Option<String> {
        let (Some(row), Seen::Object { head, .. }) = (&self.row, &self.seen) else { return None };
        let mut differs = Vec::new();
        if row.etag.as_ref() != Some(&head.etag) {
            differs.push("its ETag".to_owned());
        }
        if row.class != Some(head.class) {
            differs.push(format!("its class, which is {}", head.class));
        }
        if row.size != Some(head.size) {
            differs.push(format!("its size, which is {} bytes", head.size));
        }
        (!differs.is_empty()).then(|| differs.join(" and "))
    }
}

/// The encryption as S3 names it; None for none.
pub fn encryption_of(head: &ObjectHead) -> Option<&str> {
    match &head.encryption {
        Encryption::None => None,
        Encryption::Managed { algorithm, .. } => Some(algorithm.as_str()),
        Encryption::CustomerKey => Some("SSE-C"),
    }
}

/// What is missing is noted, but where AWS cannot be reached there is nothing to tell.
fn noted<T>(answer: Result<T, AwsError>, problems: &mut Vec<String>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_outage() => Err(error.into()),
        Err(error) => {
            problems.push(error.to_string());
            Ok(None)
        }
    }
}

fn at_the_object(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Versioned => "its bucket keeps versions, and transition.versioned_buckets is \"skip\"",
        SkipReason::AlreadyThere => "it is there already, and the ledger does not know yet",
        SkipReason::Changed => "it is no longer what the ledger says; the next reconcile sets the row right",
        SkipReason::CustomerKey => "it is encrypted with a key that only the customer has (SSE-C)",
        SkipReason::Archived => "it lies in an archive tier of Intelligent-Tiering",
        SkipReason::Locked => "its version is locked and could not be deleted after the move",
        SkipReason::Gone => "there is no such object in S3; the next reconcile drops the row",
        _ => "the object itself forbids it",
    }
}
