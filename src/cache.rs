//! What is kept in memory of the server: listings, blocks of files, and what is read ahead.

mod block;
mod engine;
mod listing;
mod reader;
mod stream;

#[cfg(test)]
mod fake;

pub use block::{BLOCK_BYTES, Block, BlockCache, FileId, Version};
pub use engine::ReadEngine;
pub use listing::{CachedListing, ListingCache};
pub use reader::{Cursor, Reader};
