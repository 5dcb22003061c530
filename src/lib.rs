//! One daemon that gives every user a bucket, counts how its objects are used, and keeps each in the storage class it
//! deserves.
//!
//! # Bird's-eye view
//!
//! A functional core and an imperative shell. The core, [`tiering`], holds every decision: what a log line means, what a
//! bucket is called, which class an object deserves, which rows are stale, what a message says, when a schedule is due,
//! what a move costs. It is synchronous, takes `now` as an argument, and knows no AWS, no clock and no configuration file;
//! Clippy holds it to that (`clippy.toml`). The shell does I/O around it and nothing else.
//!
//! ```text
//! main → cli → app → { provision, restore, replicate, jobs } → { ledger, state, users, s3, queue } → tiering
//!                └→ scheduler, supervisor                        aws, config, telemetry, metrics, health: leaves
//! ```
//!
//! Nothing points back along an arrow. Each part exposes a `run_once` (or a step of its own name) that does a bounded
//! piece of work and reports; loops, timers and shutdown live around it, in [`scheduler`], [`supervisor`] and [`app`].
//! Tests and the command line call the same functions as the daemon. AWS clients are the SDK's own; there is no trait for
//! them and no fake.
//!
//! # Where to look
//!
//! | to learn | read |
//! |---|---|
//! | how a command is run | [`cli`], one file a command |
//! | what the daemon is made of, how it starts and drains | [`app`] |
//! | how a user gets a bucket, and only one | [`provision`] |
//! | how the stream's shards are followed | [`tiering::shards`] (the rules), [`provision`] (the reading) |
//! | how accesses are counted exactly once | [`jobs::ingest`]; [`tiering::access_log`] for the formats |
//! | how the ledger is kept true | [`jobs::reconcile`]; [`tiering::reconcile`] for the merge-join |
//! | how an old table is carried over | [`jobs::import`]; [`tiering::import`] for which row is whose |
//! | why an object moves or stays | [`tiering::policy`]; [`tiering::cost`] for the money; [`policies`] for the settings |
//! | what the adaptive policy has learned, and whom it follows | [`tiering::adaptive`]; [`jobs::learning`] for where it is kept |
//! | what may be archived so that few readers wait | [`tiering::adaptive::archives`]; [`tiering::policy::archiving`] for the rows |
//! | what a plan is, how it becomes moves | [`tiering::plan`] (the file), [`jobs::transition`] (planner and executor) |
//! | how an object is moved without losing anything | [`s3::copy`] |
//! | how an archived object comes back | [`restore`], [`queue`]; [`tiering::restore`] for the decisions |
//! | what outlives a process | [`state`], which lists every item of the state table |
//! | when something runs | [`scheduler`]; [`tiering::schedule`] for the expressions |
//! | what is stored and what it costs | [`tiering::usage`] (the sums), [`report`] (the page) |
//! | which settings there are | `config/default.toml`, [`config`] |
//! | what the daemon may do in AWS, and no more | [`iam`] |
//!
//! # Invariants
//!
//! 1. Every new user row gets exactly one bucket, or a quarantine record that says why not. No user ever gets another
//!    user's bucket.
//! 2. Every access in a delivered log is counted once, whatever crashes, repeats or arrives late.
//! 3. No object's bytes, metadata, tags, encryption, ACL, lock or newer version is lost by a move.
//! 4. No ledger row is dropped on the word of a failed or partial listing.
//! 5. Every restore that was asked for ends as copied back or as a reported failure.
//! 6. A message or stream record is acknowledged only after its effect is durable.
//! 7. A start after a crash needs no human.
//! 8. No credential, and no object content, is ever logged.
//!
//! # What is deliberately absent
//!
//! No call to AWS for each log record, and no HEAD for each object of the ledger: what a listing tells is taken from the
//! listing. No message is trusted: it is a hint to look. No job is run by the cron library: it only wakes the scheduler.
//! No ETag identifies an object: equal contents share one, and a copy may change it.

#[macro_use]
mod failpoint;

pub mod app;
pub mod aws;
pub mod cli;
pub mod clock;
pub mod config;
pub mod health;
pub mod iam;
pub mod jobs;
pub mod ledger;
pub mod metrics;
pub mod policies;
pub mod prices;
pub mod progress;
pub mod provision;
pub mod queue;
pub mod replicate;
pub mod report;
pub mod resources;
pub mod restore;
pub mod s3;
pub mod scheduler;
pub mod state;
pub mod supervisor;
pub mod telemetry;
pub mod tiering;
pub mod users;
