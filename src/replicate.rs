//! Replication: new objects of one bucket copied under a prefix of another, often of another account.
//!
//! What asks for a copy, under which key, and whether it may be written now is decided in
//! [`crate::tiering::replication`]; here both heads are read, the copy is made under the conditions that the decision names,
//! and a race that is lost (412) has both looked at again. The marker that orders copies is written with the bytes, in one
//! call, so a crash leaves either the whole copy or none. A message is deleted after all of its copies.
//!
//! The copy's tags and metadata are the source's, and a copy whose source has others since is made again; its encryption is the destination bucket's default, since the source's key
//! is of no use to another account, and its ACL is the rule's.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use chrono::DateTime;
use tokio_util::sync::CancellationToken;

use crate::aws::{AwsError, Kind};
use crate::config;
use crate::queue::{Handled, Message};
use crate::s3::S3;
use crate::s3::copy::{Acl, CopyError, CopyRequest, Expect, Metadata as CopyMetadata, Protection, Tags};
use crate::s3::object::ObjectHead;
use crate::tiering::object::ObjectId;
use crate::tiering::policy::guard::Copies;
use crate::tiering::replication::{
    Decision, DestinationHead, DestinationIs, Metadata, PathRule, Rule, Sequencer, SourceHead, Wanted, decide, wanted,
};
use crate::tiering::restore::Tag;
use crate::tiering::s3_event::parse_events;
use crate::tiering::storage_class::StorageClass;

/// How often a race for the destination is run before the message is left to come again.
const LOOKS: usize = 5;

/// Makes the copies of some rules; cheap to clone.
#[derive(Debug, Clone)]
pub struct Replicator {
    s3: S3,
    rules: Arc<[CopyRule]>,
    copies: Copies,
}

#[derive(Debug)]
struct CopyRule {
    rule: Rule,
    acl: Acl,
}

/// What became of one object under one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicated {
    Copied {
        bytes: u64,
    },
    UpToDate,
    /// A newer event or object was copied already.
    Superseded,
    SourceGone,
    /// Nothing is left of its key to name a copy by.
    Unnamed,
    /// It lies in an archive, where it cannot be read.
    Archived,
}

impl Replicator {
    pub fn new(s3: S3, rules: &[config::Replicate], copies: Copies) -> Self {
        let rules = rules.iter().map(|rule| CopyRule {
            rule: Rule {
                source_bucket: rule.source_bucket.clone(),
                source_prefix: rule.source_prefix.clone(),
                destination_bucket: rule.destination_bucket.clone(),
                destination_prefix: rule.destination_prefix.clone(),
                path: if rule.keep_path { PathRule::AfterPrefix } else { PathRule::BaseName },
            },
            acl: if rule.acl.is_empty() { Acl::Unsent } else { Acl::Canned(rule.acl.clone()) },
        });
        Self { s3, rules: rules.collect(), copies }
    }

    /// Makes the copies that S3's events ask for. `own_user_id` tells the daemon's own in-place copies from users' work.
    pub async fn on_message(&self, message: &Message, own_user_id: &str, stop: &CancellationToken) -> Handled {
        let parsed = match parse_events(&message.body) {
            Ok(parsed) => parsed,
            Err(rejected) => return Handled::Rejected { reason: rejected.to_string() },
        };
        for event in parsed.events.iter().filter(|event| wanted(event, own_user_id) == Wanted::Yes) {
            let sequencer = event.sequencer.as_deref().and_then(Sequencer::new);
            if let Err(error) = self.replicate(&event.id, sequencer.as_ref(), stop).await {
                let reason = format!("{error:#}");
                let outage = error.downcast_ref::<AwsError>().is_some_and(|e| e.kind == Kind::Unreachable);
                return if outage { Handled::Outage { reason } } else { Handled::Retry { reason } };
            }
        }
        if parsed.broken.is_empty() {
            return Handled::Done;
        }
        let reasons: Vec<String> = parsed.broken.iter().map(|b| format!("record {}: {}", b.index, b.reason)).collect();
        Handled::Rejected { reason: reasons.join("; ") }
    }

    /// Whether a rule speaks of objects of this bucket under this prefix, or under a part of it.
    pub fn speaks_of(&self, bucket: &str, prefix: &str) -> bool {
        self.rules.iter().any(|CopyRule { rule, .. }| {
            rule.source_bucket.as_str() == bucket
                && (rule.source_prefix.starts_with(prefix) || prefix.starts_with(&rule.source_prefix))
        })
    }

    /// Makes the copies of one object, one a rule that covers it. `sequencer` is that of the event that asks, none for a walk
    /// over existing objects. Harmless to repeat.
    pub async fn replicate(
        &self,
        source: &ObjectId,
        sequencer: Option<&Sequencer>,
        stop: &CancellationToken,
    ) -> Result<Vec<Replicated>> {
        let mut all = Vec::new();
        for rule in self.rules.iter() {
            let destination = match rule.rule.destination(source) {
                None => continue,
                Some(Ok(destination)) => destination,
                Some(Err(error)) => {
                    tracing::info!(
                        event = "object.not_replicated",
                        bucket = source.bucket.as_str(),
                        key = source.key.as_str(),
                        reason = %error,
                        "an object has no copy"
                    );
                    all.push(Replicated::Unnamed);
                    continue;
                }
            };
            all.push(self.copy(source, &destination, &rule.acl, sequencer, stop).await?);
        }
        Ok(all)
    }

    async fn copy(
        &self,
        source: &ObjectId,
        destination: &ObjectId,
        acl: &Acl,
        sequencer: Option<&Sequencer>,
        stop: &CancellationToken,
    ) -> Result<Replicated> {
        for _ in 0..LOOKS {
            let head = self.s3.head(source).await?;
            let there = self.s3.head(destination).await?;
            let tags = match &head {
                Some(head) => self.tags(source, head).await?,
                None => Tagged::NotShown,
            };
            let source_head = head.as_ref().map(|head| source_head(head, &tags));
            let there = there.as_ref().map(destination_head);
            let (destination_is, metadata) = match decide(source, source_head.as_ref(), there.as_ref(), sequencer) {
                Decision::Copy { destination_is, metadata, .. } => (destination_is, metadata),
                Decision::UpToDate => return Ok(Replicated::UpToDate),
                Decision::Superseded => return Ok(Replicated::Superseded),
                Decision::SourceGone => return Ok(Replicated::SourceGone),
            };
            let Some(head) = &head else { return Ok(Replicated::SourceGone) };
            let request = CopyRequest {
                source,
                head,
                destination,
                class: class_of_copy(head.class),
                expect: match destination_is {
                    DestinationIs::Absent => Expect::Absent,
                    DestinationIs::Unchanged(etag) => Expect::Same(etag),
                },
                acl: acl.clone(),
                metadata: CopyMetadata::Replace(user_metadata(metadata)),
                tags: match tags {
                    // What the marker says and what is sent are the same, whatever happens meanwhile.
                    Tagged::With(tags) => Tags::Replace(tags),
                    Tagged::NotShown => Tags::Keep,
                },
                protection: Protection::DestinationDefault,
                copies: self.copies,
            };
            match self.s3.copy(&request, stop).await {
                Ok(_) => {
                    failpoint!("replicate.copied");
                    tracing::info!(
                        event = "object.replicated",
                        bucket = source.bucket.as_str(),
                        key = source.key.as_str(),
                        destination = %destination,
                        bytes = head.size,
                        "an object was copied to its destination"
                    );
                    return Ok(Replicated::Copied { bytes: head.size });
                }
                Err(CopyError::Changed | CopyError::Conflict | CopyError::Gone) => {}
                Err(error @ (CopyError::Archived | CopyError::Uncarriable(_))) => return Ok(cannot(source, &error)),
                Err(CopyError::Aws(e)) if e.is("ObjectNotInActiveTierError") => {
                    return Ok(cannot(source, &CopyError::Archived));
                }
                Err(CopyError::Aws(error)) => return Err(error.into()),
                Err(error) => return Err(error).with_context(|| format!("copying {source} to {destination}")),
            }
        }
        bail!("{source} or {destination} changes all the time, or the destination's bucket is gone")
    }

    /// A call only for an object whose head says that it has tags.
    async fn tags(&self, source: &ObjectId, head: &ObjectHead) -> Result<Tagged> {
        if head.tag_count.is_none_or(|count| count == 0) {
            return Ok(Tagged::NotShown);
        }
        match self.s3.tags(source).await {
            Ok(tags) => Ok(Tagged::With(tags)),
            // Gone since: the copy finds out.
            Err(error) if error.kind == Kind::NotFound => Ok(Tagged::NotShown),
            Err(error) => Err(error.into()),
        }
    }
}

/// A source's tags.
enum Tagged {
    With(Vec<Tag>),
    /// It has none, or we may not see them: then S3 refuses a copy that keeps them.
    NotShown,
}

/// An object that S3 does not let be copied stays without a copy: coming back to it changes nothing.
fn cannot(source: &ObjectId, error: &CopyError) -> Replicated {
    tracing::warn!(
        event = "object.not_replicated",
        bucket = source.bucket.as_str(),
        key = source.key.as_str(),
        reason = %error,
        "an object cannot be copied"
    );
    Replicated::Archived
}

/// The source's class, unless the copy could not be read in it.
fn class_of_copy(source: StorageClass) -> StorageClass {
    if source.is_destination() && !source.is_archive() { source } else { StorageClass::Standard }
}

fn source_head(head: &ObjectHead, tags: &Tagged) -> SourceHead {
    SourceHead {
        etag: head.etag.clone(),
        size_bytes: head.size,
        modified: head.last_modified.unwrap_or(DateTime::UNIX_EPOCH),
        metadata: metadata(head),
        tags: match tags {
            Tagged::With(tags) => tags.clone(),
            Tagged::NotShown => Vec::new(),
        },
    }
}

fn destination_head(head: &ObjectHead) -> DestinationHead {
    let is_tagged = head.tag_count.is_some_and(|count| count > 0);
    DestinationHead { etag: head.etag.clone(), size_bytes: head.size, metadata: metadata(head), is_tagged }
}

/// User metadata by their names, which S3 keeps in lower case, and system headers by theirs, with capitals: so that the two
/// never meet.
fn metadata(head: &ObjectHead) -> Metadata {
    let headers = &head.headers;
    let system = [
        ("Content-Type", &headers.content_type),
        ("Cache-Control", &headers.cache_control),
        ("Content-Disposition", &headers.content_disposition),
        ("Content-Encoding", &headers.content_encoding),
        ("Content-Language", &headers.content_language),
        ("Expires", &headers.expires),
    ];
    let system = system.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
    head.user_metadata.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).chain(system).collect()
}

/// Without the system headers, which the copy takes from the source's head.
fn user_metadata(metadata: Metadata) -> HashMap<String, String> {
    metadata.into_iter().filter(|(name, _)| !name.starts_with(|c: char| c.is_ascii_uppercase())).collect()
}
