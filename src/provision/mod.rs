//! Provisioning: every new row of the users table gets a bucket, exactly one.
//!
//! - [`poller`] reads the table's stream under the lease `provision`, a [`turn`] a lease, and hands each record to
//! - [`server`], which tries until the user is served or set aside, and does so through
//! - [`saga`], the chain of effects from the row to the URI. [`settings`] and [`owner`] say what is set on a bucket.
//! - [`sweep`] looks over the whole table for what the stream missed, and mends what has drifted.
//!
//! Order: effects first, then the checkpoint. A record is passed only when its user has a bucket, or is gone, or stands in
//! the quarantine with the reason; so a stop or a crash anywhere repeats work and loses none, and repeating changes nothing.

pub mod owner;
pub mod poller;
mod reader;
pub mod saga;
pub mod server;
pub mod settings;
pub mod sweep;
mod turn;
