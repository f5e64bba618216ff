//! What is kept of the server: listings, blocks of files in memory and on disk, and what is read ahead.

mod block;
mod crew;
mod disk;
mod engine;
mod listing;
mod reader;
mod stream;
mod under_way;

#[cfg(test)]
mod fake;

pub use block::{BLOCK_BYTES, Block, BlockCache, FileId, Version};
pub use engine::ReadEngine;
pub use listing::{CachedListing, ListingCache, ListingId};
pub use reader::{Cursor, Reader};
