//! The two records that are compared and decided upon: a row of the ledger, and an object as a listing shows it.
//!
//! A row is written by two hands. Ingest knows that an object was used (count, last use, batch) and nothing else, since
//! logs name neither ETag nor class. Reconciliation knows what the object is (ETag, class, size) and nothing of its use. So
//! each hand's fields are optional until it has written them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::evidence::ObjectEvidence;
use super::object::{ETag, ObjectId, ObjectKey};
use super::storage_class::StorageClass;

/// What the ledger knows of one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerRow {
    pub id: ObjectId,
    /// The ETag that reconciliation or the last move saw; None until then.
    pub etag: Option<ETag>,
    /// Uses counted in the logs. 0 on a row that was adopted from a listing and never seen in a log.
    pub count: u64,
    /// The latest use, in whole seconds; on an adopted row the object's LastModified.
    pub event_time: Option<DateTime<Utc>>,
    pub class: Option<StorageClass>,
    /// Bytes.
    pub size: Option<u64>,
    /// When the object came into its class, as far as is known: the minimum duration is counted from here.
    pub class_since: Option<DateTime<Utc>>,
    /// The number of the last ingest batch that counted into this row.
    pub last_batch: Option<u64>,
    /// How it was used, as the logs tell.
    #[serde(default)]
    pub evidence: ObjectEvidence,
    #[serde(default)]
    pub waits: Waits,
}

/// How often readers had to wait for the object, because it lay in an archive: the logs do not tell, since a read of an archived
/// object fails. Whoever asks for a restore waits; all who ask on one day wait together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// Days on which somebody did.
    pub days: u32,
    /// The last of them.
    pub last: Option<DateTime<Utc>>,
}

impl LedgerRow {
    /// A row of which only the identity is known.
    pub fn new(id: ObjectId) -> Self {
        Self {
            id,
            etag: None,
            count: 0,
            event_time: None,
            class: None,
            size: None,
            class_since: None,
            last_batch: None,
            evidence: ObjectEvidence::default(),
            waits: Waits::default(),
        }
    }

    /// Whether no log has ever spoken of the object: its `event_time` is then the day it was written, at best.
    pub fn is_only_adopted(&self) -> bool {
        self.count == 0
    }
}

/// An object as ListObjectsV2 shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub key: ObjectKey,
    pub etag: ETag,
    /// Bytes.
    pub size: u64,
    pub class: StorageClass,
    pub last_modified: DateTime<Utc>,
}
