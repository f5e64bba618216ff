//! What each operation promises, over a server in memory and without a mount: fast, in parallel, with faults and a clock.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and its numbers are small"
)]

mod ahead;
mod attributes;
mod conflict;
mod debts;
mod directory;
mod disk;
mod doubt;
mod durability;
mod evidence;
mod gate;
mod lookup;
mod open;
mod private;
mod quirks;
mod race;
mod read;
mod remove;
mod rename;
mod space;
mod streaming;
mod symlink;
mod unknown;
mod unsent;
mod upload;
mod verify;
mod world;
mod write;
