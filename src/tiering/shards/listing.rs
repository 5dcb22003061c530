//! What DescribeStream tells: shards, in pages.

use std::collections::BTreeMap;

use super::sequence::{SequenceNumber, ShardId};

/// One shard as DescribeStream lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    pub id: ShardId,
    /// None for the first shards of a stream. A parent may be named long after it has gone from the listing.
    pub parent: Option<ShardId>,
    /// None while the shard is open, and for a while after it was closed.
    pub ending: Option<SequenceNumber>,
}

/// A listing of *all* shards of a stream, put together from its pages.
///
/// Only of a whole listing can be said that a shard is not in it, so only this type (and never a page) can make a
/// child a root or a shard a loss. It can be had from [`ListingPages::add`] alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FullListing {
    pub(super) shards: BTreeMap<ShardId, Shard>,
}

/// The pages of one listing that have come so far. An error on the way drops it, and the listing begins again.
#[derive(Debug, Clone, Default)]
pub struct ListingPages {
    listing: FullListing,
}

/// What a page makes of a listing.
#[derive(Debug)]
pub enum Paging {
    /// Ask for the next page with this `ExclusiveStartShardId`, and add it to `pages`.
    More { pages: ListingPages, start_after: ShardId },
    /// That was the last page.
    Complete(FullListing),
}

impl ListingPages {
    /// Takes a page and its `LastEvaluatedShardId`.
    pub fn add(mut self, page: Vec<Shard>, last_evaluated: Option<ShardId>) -> Paging {
        for shard in page {
            // A shard can come twice, when it changes between two pages; what is known of it once stays known.
            let known = self.listing.shards.remove(&shard.id);
            let (parent, ending) = known.map_or((None, None), |known| (known.parent, known.ending));
            let shard = Shard { parent: shard.parent.or(parent), ending: shard.ending.or(ending), id: shard.id };
            self.listing.shards.insert(shard.id.clone(), shard);
        }
        match last_evaluated {
            Some(start_after) => Paging::More { pages: self, start_after },
            None => Paging::Complete(self.listing),
        }
    }
}
