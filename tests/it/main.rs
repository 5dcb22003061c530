//! Integration tests: the real program and the real parts against a real AWS emulator, over HTTP.
//!
//! [`harness`] brings the emulator up, once for all tests of a run; each test has tables, queues and buckets of its own
//! names ([`world::World`]), so that all run side by side. A file a part.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod chaos;
mod cli;
mod corpus;
mod daemon;
mod emf;
mod failpoints;
mod gate;
mod harness;
mod iam;
mod import;
mod ingest;
mod lease;
mod logs;
mod plan;
mod provision;
mod proxy;
mod queue;
mod reconcile;
mod replicate;
mod report;
mod resources;
mod restore;
mod restore_faults;
mod restore_trouble;
mod scheduler;
mod simulate;
mod streams_model;
mod telemetry;
mod transition;
mod world;
