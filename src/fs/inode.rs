//! The inode table: numbers to paths and back, lookup counts, renames, forgets.
//!
//! An inode is a name below a parent, so a rename of a directory moves everything below it at no cost, and a path
//! is put together when it is needed. An inode lives as long as the kernel knows it (its lookup count), a file behind it is open, or
//! it has children.
//!
//! The kernel forgets what was not used for a while, and programs remember numbers: to git a file with another number
//! is a changed file. So a number is made of the name, and is the same when the name is looked up again, also in a later mount; with a key, so
//! that a server cannot choose names for which no number is left.
//!
//! While there is memory the kernel forgets nothing, and this table would grow with every name that was ever looked at. So the kernel is
//! asked to forget what is too much ([`Inodes::surplus`]).

mod crowd;
mod table;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

pub(crate) use self::table::KernelNames;
use self::{crowd::DOUBTFUL_MAX, table::Table};
use super::{
    error::{FsError, Result},
    file::OpenFile,
    number::Ino,
};
use crate::{
    cache::Version,
    local::HashKey,
    remote::{EntryKind, RemotePath},
};

/// The table. Guards itself; no method blocks.
#[derive(Debug)]
pub(crate) struct Inodes {
    table: Mutex<Table>,
    /// There is a crowd, or what is too much is no longer wanted.
    crowded: Condvar,
}

impl Inodes {
    /// The root alone. More than `count_max` inodes are [`Self::surplus`]; their numbers are made with `key`.
    pub(crate) fn new(count_max: usize, key: HashKey) -> Self {
        Self {
            table: Mutex::new(Table::new(count_max, key)),
            crowded: Condvar::new(),
        }
    }

    /// Waits until there are too many inodes, or names in doubt; names that the kernel may forget then, those that it has known longest first, each with its
    /// directory. No directories: one may be a program's working directory. No files that are open. `None` when the mount ends.
    pub(crate) fn surplus(&self) -> Option<Vec<(Ino, Arc<[u8]>)>> {
        let is_calm = |table: &mut Table| {
            !table.is_closed && !table.is_crowded() && table.doubtful.is_empty()
        };
        let table = self.crowded.wait_while(self.lock(), is_calm);
        let mut table = table.unwrap_or_else(PoisonError::into_inner);
        if table.is_closed {
            return None;
        }
        if !table.doubtful.is_empty() {
            return Some(std::mem::take(&mut table.doubtful));
        }
        Some(table.offer())
    }

    /// Makes the kernel look this name up again: what it knows of it may not be so.
    pub(crate) fn doubt(&self, parent: Ino, name: &[u8]) {
        let mut table = self.lock();
        // There may be no kernel to take them.
        if table.doubtful.len() < DOUBTFUL_MAX {
            table.doubtful.push((parent, name.into()));
            self.crowded.notify_one();
        }
    }

    /// The inode that the kernel knows a path by, if it knows it.
    pub(crate) fn find(&self, path: &RemotePath) -> Option<Ino> {
        let table = self.lock();
        path.components()
            .try_fold(Ino::ROOT, |parent, name| table.child(parent, name))
    }

    /// Ends the wait in [`Self::surplus`].
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.crowded.notify_all();
    }

    /// The path that leads to an inode now; `None` when none does or the number is unknown.
    pub(crate) fn path(&self, ino: Ino) -> Option<RemotePath> {
        self.lock().path(ino)
    }

    /// The same, or the failure that says that none does.
    pub(crate) fn path_of(&self, ino: Ino) -> Result<RemotePath> {
        self.path(ino).ok_or_else(FsError::stale)
    }

    /// Where a file lies on the server now.
    pub(crate) fn location(&self, file: &OpenFile) -> Option<RemotePath> {
        let hidden = file.lock().name.hidden().map(|name| name.path().clone());
        hidden.or_else(|| self.path(file.ino))
    }

    /// What a path is called in messages.
    pub(crate) fn describe_path(path: Option<&RemotePath>) -> String {
        path.map_or_else(|| "a removed file".into(), RemotePath::to_string)
    }

    /// The directory that holds an inode.
    pub(crate) fn parent(&self, ino: Ino) -> Option<Ino> {
        self.lock().nodes.get(&ino).map(|node| node.parent)
    }

    pub(crate) fn kind(&self, ino: Ino) -> Option<EntryKind> {
        self.lock().nodes.get(&ino).map(|node| node.kind)
    }

    /// The inode of a name, if it has one.
    pub(crate) fn child(&self, parent: Ino, name: &[u8]) -> Option<Ino> {
        self.lock().child(parent, name)
    }

    /// The number that a name has, or would get if it were looked up now.
    pub(crate) fn number(&self, parent: Ino, name: &[u8]) -> Ino {
        self.lock().number(parent, name)
    }

    /// The same for each of many names of a directory.
    pub(crate) fn numbers<'a>(
        &self,
        parent: Ino,
        names: impl Iterator<Item = &'a [u8]>,
    ) -> Vec<Ino> {
        let table = self.lock();
        names.map(|name| table.number(parent, name)).collect()
    }

    /// The file that is open, or not yet uploaded, behind a name.
    pub(crate) fn file_named(&self, parent: Ino, name: &[u8]) -> Option<Arc<OpenFile>> {
        let table = self.lock();
        table.nodes.get(&table.child(parent, name)?)?.file.clone()
    }

    /// The file that is open, or not yet uploaded, behind an inode.
    pub(crate) fn file(&self, ino: Ino) -> Option<Arc<OpenFile>> {
        self.lock().nodes.get(&ino)?.file.clone()
    }

    /// All names in a directory behind which files are open or not yet uploaded.
    pub(crate) fn files_in(&self, dir: Ino) -> Vec<(Arc<[u8]>, Arc<OpenFile>)> {
        let table = self.lock();
        let Some(children) = table
            .nodes
            .get(&dir)
            .and_then(|node| node.children.as_ref())
        else {
            return Vec::new();
        };
        let by_name = children.by_name.iter();
        by_name
            .filter_map(|(name, ino)| Some((name.clone(), table.nodes.get(ino)?.file.clone()?)))
            .collect()
    }

    /// All files that are open or not yet uploaded.
    pub(crate) fn files(&self) -> Vec<Arc<OpenFile>> {
        self.lock()
            .nodes
            .values()
            .filter_map(|node| node.file.clone())
            .collect()
    }

    /// All such files at or below a path.
    pub(crate) fn files_within(&self, dir: &RemotePath) -> Vec<Arc<OpenFile>> {
        let table = self.lock();
        let open = table.nodes.iter().filter(|(_, node)| node.file.is_some());
        open.filter(|(ino, _)| table.path(**ino).is_some_and(|path| path.is_within(dir)))
            .filter_map(|(_, node)| node.file.clone())
            .collect()
    }

    /// The number under which the kernel gets to know an entry, its lookup count one higher. When the name belonged to something of
    /// another kind, that loses the name.
    pub(crate) fn look_up(&self, parent: Ino, name: &[u8], kind: EntryKind) -> Ino {
        let mut table = self.lock();
        let ino = table.look_up(parent, name, kind);
        if table.is_crowded() {
            self.crowded.notify_one();
        }
        ino
    }

    /// The same for each of many entries of a directory, and the file that is open behind it.
    pub(crate) fn look_up_with_file(
        &self,
        parent: Ino,
        name: &[u8],
        kind: EntryKind,
    ) -> (Ino, Option<Arc<OpenFile>>) {
        let mut table = self.lock();
        let ino = table.look_up(parent, name, kind);
        if table.is_crowded() {
            self.crowded.notify_one();
        }
        (
            ino,
            table.nodes.get(&ino).and_then(|node| node.file.clone()),
        )
    }

    /// The kernel forgets `count` look-ups.
    pub(crate) fn forget(&self, ino: Ino, count: u64) {
        let mut table = self.lock();
        if let Some(node) = table.nodes.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(count);
            table.sweep(ino);
        }
    }

    /// The file behind an inode, made by `make` when none is open; `pin` runs on it before the table is unlocked, so that it cannot
    /// be let go in between.
    pub(crate) fn open_file(
        &self,
        ino: Ino,
        make: impl FnOnce() -> OpenFile,
        pin: impl FnOnce(&OpenFile),
    ) -> Option<Arc<OpenFile>> {
        let mut table = self.lock();
        let node = table.nodes.get_mut(&ino)?;
        let file = node.file.get_or_insert_with(|| Arc::new(make())).clone();
        pin(&file);
        Some(file)
    }

    /// Lets an open file go when nothing needs it any more.
    pub(crate) fn release_if_done(&self, file: &OpenFile) {
        let mut table = self.lock();
        let Some(node) = table.nodes.get_mut(&file.ino) else {
            return;
        };
        let is_done = |file: &mut Arc<OpenFile>| {
            let state = file.lock();
            !state.is_open() && (state.name.is_removed() || !state.is_ahead())
        };
        let Some(file) = node.file.take_if(is_done) else {
            return;
        };
        let state = file.lock();
        let base = state.on_server().base();
        node.last_version = base.map(|base| Box::new(base.version));
        drop(state);
        table.sweep(file.ino);
    }

    pub(crate) fn set_kernel_names(&self, dir: Ino, names: KernelNames) {
        let mut table = self.lock();
        if let Some(children) = table.children_mut(dir) {
            children.names = names;
        }
    }

    /// What is in the kernel's pages of a directory with `count` entries; unknown when it has forgotten one of these since.
    pub(crate) fn kernel_names(&self, dir: Ino, count: usize) -> KernelNames {
        match self.lock().children_mut(dir) {
            Some(children) => match children.names {
                KernelNames::Of(_) if children.by_name.len() < count => KernelNames::Unknown,
                names => names,
            },
            None => KernelNames::Unknown,
        }
    }

    /// The content that a file had when it was last closed.
    pub(crate) fn last_version(&self, ino: Ino) -> Option<Version> {
        self.lock()
            .nodes
            .get(&ino)?
            .last_version
            .as_deref()
            .copied()
    }

    /// The name leads nowhere any more; the inode lives on while it is open or known.
    pub(crate) fn unlink(&self, parent: Ino, name: &[u8]) {
        self.lock().unlink(parent, name);
    }

    /// What was called `from` is now called `to`; what was called so loses its name.
    pub(crate) fn rename(&self, from: (Ino, &[u8]), to: (Ino, &[u8])) {
        let mut table = self.lock();
        let Some(ino) = table.child(from.0, from.1) else {
            table.unlink(to.0, to.1);
            return;
        };
        if table.child(to.0, to.1) == Some(ino) {
            return;
        }
        table.unlink(to.0, to.1);
        let name: Arc<[u8]> = Arc::from(to.1);
        table.remove_child(from.0, from.1);
        if let Some(node) = table.nodes.get_mut(&ino) {
            node.parent = to.0;
            node.name = name.clone();
        }
        table.add_child(to.0, name, ino);
        table.sweep(from.0);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
