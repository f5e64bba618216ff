//! `ftpfs` mounts an FTP server as a local directory.
//!
//! This library is the program, taken apart so that it can be tested: `main.rs` calls it and does little else. **It is not a stable
//! API.** Any part of it may change with any version; what is promised is the command line, in the manual page `ftpfs(1)`, and the
//! behaviour of a mount, in `docs/SEMANTICS.md`.
//!
//! # Where to start reading
//!
//! From the command line down to the wire, each room calls the next and knows nothing of those before it:
//!
//! ```text
//! main -> cli -> config
//!    \-> mount ------------------------------+
//!           fuse -> fs -> cache -> remote <- ftp
//! ```
//!
//! | the question | where it is answered |
//! |---|---|
//! | What does an option mean, and what is refused? | [`cli`]: [`cli::Request`] is what was typed |
//! | Which settings are there, with which defaults, and why? | [`config`]: [`config::Config`] is all that a mount knows |
//! | Who starts and ends it all? | [`mount`]: [`mount::run`] logs in, mounts, serves, drains, unmounts |
//! | What does a system call become? | [`fuse`]: one method for each request of the kernel, which unpacks and replies |
//! | What does an operation do, and which errno comes of it? | [`fs`]: [`fs::Filesystem`] thinks in inodes, handles and unsent bytes |
//! | What is answered without the server? | [`cache`]: listings, blocks of files, streams that read ahead |
//! | What may be asked of a server? | [`remote`]: [`remote::Remote`], the seam; [`remote::memory`] is the double for tests |
//! | What goes over the wire? | [`ftp`]: [`ftp::FtpRemote`] keeps sessions, speaks FTP and TLS, parses listings and replies |
//!
//! Beside them: [`doctor`] examines a server and names the option that helps; [`logging`] says where the log goes, and what never
//! gets into it; [`printed`] is the way out for all text that people read; [`local`] makes the
//! directories and files that are ours on this machine; [`clock`] is time as the caches see it, so that no test sleeps.
//! [`budget`] counts memory that has a limit.
//!
//! To follow one read, start at `read` in `fuse.rs` and go down: [`fs::Filesystem::read`], then `Reader::read` in `cache/reader.rs`, then
//! [`remote::Remote::open_download`] as `ftp/download.rs` implements it. For one write: `write` in `fuse.rs`, [`fs::Filesystem::write`],
//! and at the close [`fs::Filesystem::flush`], from which `fs/upload.rs` chooses the way to the server. `ARCHITECTURE.md` describes
//! both in full, and lists every file.

pub mod budget;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod fs;
pub mod ftp;
pub mod fuse;
pub mod local;
pub mod logging;
pub mod mount;
pub mod printed;
pub mod remote;
