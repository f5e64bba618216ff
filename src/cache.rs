//! What is kept of the server: listings, blocks of files in memory and on disk, and what is read ahead.

mod block;
mod block_cache;
mod cursor;
mod disk;
mod engine;
mod file_streams;
mod listing;
mod reader;
mod stream;
mod stream_count;
mod under_way;

#[cfg(test)]
mod testing;

pub use block::{BLOCK_BYTES, Block, FileId, Version};
pub use block_cache::BlockCache;
pub use cursor::Cursor;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use disk::fuzzing;
pub use engine::ReadEngine;
pub use listing::{CachedListing, ListingCache, ListingId};
pub use reader::Reader;
