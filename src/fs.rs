//! The filesystem: inodes, handles, and what programs have written, over a server and its caches.
//!
//! Nothing here knows the kernel's protocol or FTP. It is made of parts, and calls go one way, downwards:
//!
//! ```text
//! operations        what the kernel asks for (`Filesystem`)
//!   guesses         what it will ask for next
//!   write_back      what programs have changed, on its way to the server
//!     server        what the server shows, refuses and means
//!       inode       numbers, paths, and the open file behind each
//!         file      one open file: `state`, `on_server`, `changes`, `spool`
//! ```
//!
//! # Locks
//!
//! A partial order, outermost first; nothing else is held while the network is waited for:
//!
//! 1. the order in which files are opened (`guesses`);
//! 2. the inode table (`inode`), held for look-ups only;
//! 3. one file's state (`state`), held for copies into and out of its spool;
//! 4. a stream's progress (`streaming`), the debts, the listing cache, the read engine: leaves.
//!
//! Two states, no locks, last over the network: a file that is being uploaded, and one whose name is held (`file::Held`). What changes a
//! name waits for uploads of the files below it; an upload waits for no name.

mod account;
mod changes;
mod debts;
mod dir_handle;
mod error;
mod file;
mod guesses;
mod handle;
mod hidden;
mod inode;
mod job;
mod number;
mod on_server;
mod operations;
mod process;
mod ranges;
mod server;
mod spool;
mod state;
mod streaming;
mod write_back;

pub use dir_handle::DirPages;
pub use error::{FsError, FsErrorKind, Result};
pub use handle::Access;
pub use number::{HandleId, Ino};
pub use operations::{
    Filesystem,
    attr::{Attr, Found, SpaceInfo},
    io::PreallocateMode,
    open::{OpenMode, Opened},
    readdir::{DirItem, DirSink},
    rename::RenameMode,
    setattr::{Change, NewTime},
};
pub use write_back::{Kept, Progress, Round, Unsent};
