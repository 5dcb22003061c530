//! What the workload did, and nothing else: the model that the world is compared with.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use tierd::tiering::object::ObjectId;

use crate::logs::{Counts, Event};

/// A user who signed up.
#[derive(Debug, Clone)]
pub struct User {
    pub id: String,
    pub left: bool,
    /// As the row said when it was first looked at with a bucket.
    pub bucket: Option<String>,
}

/// An object as it was last written.
#[derive(Debug, Clone)]
pub struct Object {
    pub body: Vec<u8>,
    pub metadata: HashMap<String, String>,
    pub tags: BTreeMap<String, String>,
    pub content_type: String,
    pub deleted: bool,
}

/// A restore that was asked for, and that nobody may forget.
#[derive(Debug, Clone)]
pub struct Asked {
    pub id: ObjectId,
    pub at: Instant,
}

#[derive(Debug, Default)]
pub struct Model {
    pub users: BTreeMap<u8, User>,
    pub objects: BTreeMap<ObjectId, Object>,
    /// What was done and no log file says yet.
    pub untold: Vec<Event>,
    /// Key and content of the log files.
    pub files: Vec<(String, Vec<u8>)>,
    /// What the log files say, each access once.
    pub told: Counts,
    pub asked: Vec<Asked>,
}
