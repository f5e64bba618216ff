//! What the kernel was given of files and that may not be so any more.
//!
//! It keeps attributes and names for as long as it was allowed to. After a change whose outcome is not known, and when a file turns out to be
//! another at its opening, that is too long: a program would read a file to the end that it had before.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use super::tree::Tree;
use crate::{
    fs::{inode::Inodes, number::Ino},
    remote::{EntryKind, RemoteError, RemotePath},
};

/// Makes the kernel forget the attributes of an inode. Called while the kernel waits for an answer about it, so it must not wait for that.
type Forget = Box<dyn Fn(Ino) + Send + Sync>;

/// What it is to ask for again.
pub(crate) struct Kernel {
    tree: Arc<Tree>,
    inodes: Arc<Inodes>,
    /// The way to the kernel, once there is one.
    forget: OnceLock<Forget>,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel")
            .field("is_there", &self.forget.get().is_some())
            .finish_non_exhaustive()
    }
}

impl Kernel {
    /// Not there yet.
    pub(super) fn new(tree: Arc<Tree>, inodes: Arc<Inodes>) -> Self {
        Self {
            tree,
            inodes,
            forget: OnceLock::new(),
        }
    }

    /// Calls `forget` for inodes whose attributes the kernel is to ask for again.
    pub(crate) fn forget_attributes_by(&self, forget: Box<dyn Fn(Ino) + Send + Sync>) {
        // The first one stays: a mount has one kernel.
        drop(self.forget.set(forget));
    }

    /// The kernel asks for the attributes of this inode before it uses them.
    pub(crate) fn forget_attributes(&self, ino: Ino) {
        if let Some(forget) = self.forget.get() {
            forget(ino);
        }
    }

    /// After a change whose outcome is not known, what was known of these names is of no use any more, here and in the kernel.
    pub(crate) fn forget_if_unknown(&self, error: &RemoteError, paths: &[&RemotePath]) {
        if !error.is_reply_lost() {
            return;
        }
        for path in paths {
            self.forget_name(path);
        }
    }

    /// What is at this path is not known any more.
    pub(crate) fn forget_name(&self, path: &RemotePath) {
        let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
            return;
        };
        self.tree.listings().invalidate(&dir);
        let Some(parent) = self.inodes.find(&dir) else {
            return;
        };
        let ino = self.inodes.child(parent, name);
        if let Some(ino) = ino {
            self.forget_attributes(ino);
        }
        // A directory may be the working directory of a program, or have something mounted in it.
        if ino.and_then(|ino| self.inodes.kind(ino)) == Some(EntryKind::Directory) {
            self.tree.listings().forget_tree(path);
        } else {
            self.inodes.doubt(parent, name);
        }
    }
}
