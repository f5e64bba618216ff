//! What the kernel asks for: each operation is a sequence of calls on the parts of the filesystem.
//!
//! Operations come in two kinds: those named `..._cached` answer from memory and never block, so that the kernel's event loops may call
//! them; all others may wait for the server and run on worker threads.

pub(super) mod attr;
pub(super) mod io;
mod link;
mod lookup;
mod namespace;
pub(super) mod open;
pub(super) mod readdir;
mod removed;
pub(super) mod rename;
pub(super) mod setattr;
mod view;

use std::{fmt, sync::Arc, time::Duration};

use self::view::View;
use super::{
    error::{FsError, FsErrorKind, Result},
    guesses::Guesses,
    handle::Handles,
    inode::Inodes,
    number::Ino,
    server::{Payer, Payments, Server},
    write_back::{Progress, Round, Unsent, WriteBack},
};
use crate::{
    cache::ReadEngine,
    clock::Clock,
    config::{CacheConfig, FsConfig},
    local::HashKey,
    remote::{Remote, RemotePath},
};

/// The mounted tree.
pub struct Filesystem {
    server: Arc<Server>,
    payer: Arc<Payer>,
    write_back: WriteBack,
    guesses: Arc<Guesses>,
    inodes: Arc<Inodes>,
    handles: Handles,
    view: View,
    engine: Arc<ReadEngine>,
    config: FsConfig,
    clock: Arc<dyn Clock>,
}

/// What is known and open; the parts share the server and would show it again and again.
impl fmt::Debug for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filesystem")
            .field("inodes", &self.inodes)
            .field("handles", &self.handles)
            .finish_non_exhaustive()
    }
}

impl Filesystem {
    /// A tree over `remote`; nothing is asked of it yet. `sessions_max` is how many sessions the remote may use at once.
    pub fn new(
        remote: Arc<dyn Remote>,
        config: FsConfig,
        cache: &CacheConfig,
        sessions_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let readers_max = sessions_max.saturating_sub(1).max(1);
        // One session for the program itself; with two, the other is for what it asks of other directories and files.
        let guessers_max = if sessions_max > 2 {
            sessions_max - 1
        } else {
            0
        };
        let engine = ReadEngine::new(remote.clone(), cache, readers_max, clock.clone());
        let engine = Arc::new(engine);
        let inodes = Arc::new(Inodes::new(cache.names_max, inode_key(&config)));
        let server = Server::new(
            remote,
            inodes.clone(),
            cache,
            clock.clone(),
            config.debts_dir.clone(),
            config.verifies_uploads,
        );
        let server = Arc::new(server);
        Arc::new(Self {
            write_back: WriteBack::new(
                server.clone(),
                inodes.clone(),
                engine.clone(),
                &config,
                sessions_max / 2,
                clock.clone(),
            ),
            guesses: Arc::new(Guesses::new(
                server.clone(),
                inodes.clone(),
                engine.clone(),
                guessers_max,
                cache,
                clock.clone(),
            )),
            payer: Arc::new(Payer::new(server.clone(), inodes.clone())),
            handles: Handles::default(),
            view: View::new(server.clone(), inodes.clone(), &config, clock.wall()),
            server,
            inodes,
            engine,
            config,
            clock,
        })
    }

    /// Calls `forget` for names of a directory (its inode) that the kernel is to forget because there are too many, for as long as the
    /// mount lasts. It forgets by way of [`Self::forget`].
    pub fn forget_surplus(&self, forget: &dyn Fn(Ino, &[u8])) {
        while let Some(names) = self.inodes.surplus() {
            for (dir, name) in names {
                forget(dir, &name);
            }
        }
    }

    /// Calls `forget` for inodes whose attributes the kernel is to ask for again.
    pub fn forget_attributes_by(&self, forget: Box<dyn Fn(Ino) + Send + Sync>) {
        self.server.kernel().forget_attributes_by(forget);
    }

    /// Starts the threads that try closed files again, and clean up what they and earlier mounts leave; they end with the filesystem.
    pub fn start_retrying(&self) -> std::io::Result<()> {
        if !self.config.is_read_only {
            self.payer.start()?;
        }
        self.write_back.backlog().start_retrying()
    }

    /// Takes over the temporary files that earlier mounts have left.
    pub fn adopt_debts(&self) {
        self.payer.adopt();
    }

    /// Tries once to remove what temporary files are of no more use, and to bring back what was moved aside; whether none is left.
    pub fn pay_debts(&self) -> bool {
        self.payer.pay() == Payments::Done
    }

    /// Tries once more what was closed and is not on the server; stops at a failure that the others would meet too.
    pub fn retry(&self) -> Round {
        self.write_back.backlog().retry()
    }

    /// Brings to the server what it lacks at this moment, for the end of the mount; whether that was all done. Goes on as long as
    /// files get done, and gives up when a failure has lasted for `limit`. [`Self::progress`] shows how it goes on.
    pub fn drain(&self, limit: Duration) -> bool {
        let is_all_sent = self.write_back.backlog().drain(limit);
        if is_all_sent {
            // What is left is for the next mount.
            self.payer.pay();
        }
        is_all_sent
    }

    /// What the server lacks now.
    pub fn progress(&self) -> Progress {
        self.write_back.backlog().progress()
    }

    /// Keeps on this machine what the server lacks, without asking the server any more; for the end of a mount that waits no
    /// longer. What is on its way at this moment is kept too.
    pub fn keep_unsent(&self) -> Vec<Unsent> {
        self.write_back.backlog().keep_unsent()
    }

    /// Stops the threads that read ahead and that forget. Uploads are ended by [`Self::drain`].
    pub fn shutdown(&self) {
        self.engine.shutdown();
        self.inodes.close();
    }

    /// The failure of a request that was never begun, because all before it wait for the server.
    pub fn timed_out(&self, ino: Ino) -> FsError {
        FsError::about(FsErrorKind::TimedOut, self.inodes.path(ino))
    }

    /// What an inode is called in messages.
    pub fn describe(&self, ino: Ino) -> String {
        Inodes::describe_path(self.inodes.path(ino).as_ref())
    }

    /// The path of a name in a directory.
    fn child_path(&self, parent: Ino, name: &[u8]) -> Result<RemotePath> {
        self.server.child_path(&self.inodes.path_of(parent)?, name)
    }

    /// Fails unless a file may be changed; one that has lost its name has no path.
    fn check_writable(&self, path: Option<&RemotePath>) -> Result<()> {
        if self.config.is_read_only {
            return Err(FsError::about(FsErrorKind::ReadOnly, path.cloned()));
        }
        // Now, while the program can still choose another name, and not with the first upload.
        path.map_or(Ok(()), |path| self.server.check_encodable(path))
    }
}

/// The key of the inode numbers, which are other ones in the next mount where it cannot be kept.
fn inode_key(config: &FsConfig) -> HashKey {
    let Some(path) = &config.inode_key else {
        return HashKey::random();
    };
    match HashKey::kept_in(path) {
        Ok(kept) => kept.key,
        Err(error) => {
            log::warn!(
                "files have other inode numbers in the next mount, as their key cannot be kept in {}: {error}",
                path.display()
            );
            HashKey::random()
        }
    }
}
