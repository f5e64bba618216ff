//! The whole thing from outside: real programs in mounts of real servers, made by the real binary.
//!
//! A test body takes the directory to work in and the place where the result must be seen. It runs on a local
//! directory too, which proves that the body itself is right. Environment: `FTPFS_REQUIRE_FUSE=1` and
//! `FTPFS_REQUIRE_SERVERS=1` turn a skipped test into a failed one, `FTPFS_BIN` names another binary,
//! `FTPFS_FAULTS` chooses the cases of `faults` (`plan.rs`), `FTPFS_EXERCISE` makes the exerciser go on for longer.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test says what is wrong by panicking, and why it was skipped by printing"
)]

mod charset;
mod cli;
mod common;
mod databases;
mod dialects;
mod diskcache;
mod doctor;
mod exerciser;
mod faults;
mod files;
mod hostile;
mod latency;
mod matrix;
mod memory;
mod metadata;
mod mmap;
mod names;
mod namespace;
mod network;
mod outside;
mod parts;
mod programs;
mod quirks;
mod recovery;
mod roundtrips;
mod safety;
mod sandbox;
mod secrets;
mod sequential;
mod streams;
mod tidy;
mod tls;
mod trust;
mod waits;
