//! One daemon that gives every user a bucket, counts how its objects are used, and keeps each in the storage class it
//! deserves.

pub mod app;
pub mod aws;
pub mod cli;
pub mod clock;
pub mod config;
pub mod health;
pub mod jobs;
pub mod ledger;
pub mod metrics;
pub mod progress;
pub mod queue;
pub mod replicate;
pub mod restore;
pub mod s3;
pub mod scheduler;
pub mod state;
pub mod supervisor;
pub mod telemetry;
pub mod tiering;
