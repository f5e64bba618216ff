//! `ftpfs` mounts an FTP server as a local directory.
//!
//! The rooms, from the command line down to the wire (ARCHITECTURE.md walks through them):
//!
//! - [`cli`] and [`config`]: what the user typed, and what the program uses;
//! - [`logging`]: where the log goes, and what never gets into it;
//! - [`mount`]: builds the layers, mounts, daemonises, unmounts after draining;
//! - [`doctor`]: examines a server, and says what is wrong and which option mends it;
//! - [`fuse`]: unpacks kernel requests and replies to them;
//! - [`fs`]: operations on inodes;
//! - [`cache`]: listings, blocks, read-ahead;
//! - [`remote`]: the seam to the server, and the in-memory double used by tests;
//! - [`ftp`]: the seam's implementation over FTP sessions.

pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod fs;
pub mod ftp;
pub mod fuse;
pub mod logging;
pub mod mount;
pub mod remote;
