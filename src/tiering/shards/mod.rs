//! Which shards of a DynamoDB stream may be read now, and when records were lost.
//!
//! A stream is cut into *shards*. A shard takes records for about four hours, then it is closed and goes on in one child
//! (a roll) or two (a split, when the table's partition splits). The records of one row lie in one line of shards, from
//! parent to child, and in order. Records live 24 hours; then their shard goes from the listing, oldest first. A
//! reader that wants every record, and each row's records in order, keeps these rules (they are those of the Kinesis Client
//! Library, made stricter where it loses records):
//!
//! 1. **A child is read after its parent's end, and from TRIM_HORIZON.** Never from LATEST, which skips what came between the
//!    listing and the first read. With a checkpoint a shard goes on AFTER_SEQUENCE_NUMBER.
//! 2. **The end of a shard is the null iterator**, and the page that came with it is handled first. That is when a reader
//!    calls [`Lineage::finish`]. A parent may be listed as open for a while although it has children: it is closed.
//! 3. **A child whose parent is unknown is a root**, but only on the word of a [`FullListing`]: on a single page the
//!    parent may just not have come yet. [`Lineage::apply_children`] (the `CHILD_SHARDS` filter) therefore only adds
//!    children of shards that are known.
//! 4. **A finished shard stays remembered until it has gone from the listing and its children have begun.** Were it forgotten
//!    while listed, it would be read again from its horizon. Were it forgotten before its children have begun, and were the
//!    process to stop for a day, nothing would be left to show that the children came and went. Parents are forgotten
//!    before their children, so a crash between two deletions leaves no hole in a line. See [`Lineage::forgettable`].
//! 5. **Every shard that is found is remembered at once** (a checkpoint at TRIM_HORIZON), so that it is missed if it goes.
//! 6. **No silent jump.** A loss is a [`Gap`]. What hangs on it waits until the caller has recorded it durably, swept the
//!    users table, and called [`Lineage::acknowledge`]. A crash before that reports the gap again. The losses are:
//!    a shard that was not read to its end has gone ([`GapCause::ShardVanished`]); a shard turns up whose parent nobody
//!    ever saw, though this is not the first start ([`GapCause::ParentMissed`]: both came, and the parent went, while
//!    nobody looked); a reader was told `TrimmedDataAccessException` ([`GapCause::RecordsTrimmed`]).
//!    An alarm too many costs a sweep, one too few costs a user: in doubt it is a gap.
//! 7. **Two losses do not show in a listing.** A first start (no checkpoints) looks like one after which everything was
//!    lost, so sweep then as well. And a shard that is read from TRIM_HORIZON does not say that its first records have
//!    gone: [`continuity`] decides that from the clock. A stream that was replaced is [`compare_stream`]'s.
//!
//! # How it is driven
//!
//! ```text
//! lineage = Lineage::new(checkpoints from the state table)
//! loop:  listing  → apply_listing    → save `discovered`; for each gap: record, sweep, acknowledge, save what it gives
//!        readable → begin, save checkpoint → a reader: page, effects, progress, save checkpoint … finish, save checkpoint
//!        childless → CHILD_SHARDS    → apply_children → save
//!        forgettable → delete the checkpoint → forget
//! ```
//!
//! The order "effect, then checkpoint" makes delivery at least once; effects are idempotent. A listing is due at start, when
//! a finished shard has no known child and `CHILD_SHARDS` is not supported, and every few minutes for the gaps and the
//! forgetting. A shard for which the service knows nothing any more (`ResourceNotFoundException`) is released; the next
//! listing judges it.
//!
//! # Rejected
//!
//! - *Reading children as soon as they are listed* (many hand-written readers do): a row's MODIFY may overtake its INSERT.
//! - *Jumping to the horizon when records were trimmed* (the Kinesis adapter does): it loses users without a word.
//! - *Deleting a checkpoint when its shard ends*: see rule 4.

mod lineage;
mod listing;
mod sequence;
mod stream;

#[cfg(test)]
mod model;

pub use lineage::{Checkpoint, Discovery, Gap, GapCause, Lineage, NotReading, Position, ShardStart, StartAt};
pub use listing::{FullListing, ListingPages, Paging, Shard};
pub use sequence::{SequenceNumber, ShardId, StreamNameError};
pub use stream::{Continuity, IdleBackoff, RETENTION, ShardEnd, StreamChange, compare_stream, continuity};
