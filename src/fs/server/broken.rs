//! Files whose last download broke off: whether they are still the same is asked before more of them is read.
//!
//! What has arrived of such a file is kept. Others may have replaced it meanwhile, which is a likely reason for a break, and the listing
//! that shows the old version may be as old as the TTL: the rest would be that of another file.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::remote::RemotePath;

/// How many of them are remembered. 1000: more than are read at a time; a server that is gone breaks each of them.
const PATHS_MAX: usize = 1000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct BrokenReads {
    // A leaf.
    paths: Mutex<HashSet<RemotePath>>,
}

impl BrokenReads {
    /// A download of this file broke off.
    pub(crate) fn note(&self, path: &RemotePath) {
        let mut paths = self.lock();
        if paths.len() >= PATHS_MAX
            && let Some(any) = paths.iter().next().cloned()
        {
            paths.remove(&any);
        }
        paths.insert(path.clone());
    }

    /// Whether one did, and it is not known since that the file is the same.
    pub(crate) fn has(&self, path: &RemotePath) -> bool {
        self.lock().contains(path)
    }

    /// Which version the server has of it was asked.
    pub(crate) fn settle(&self, path: &RemotePath) {
        self.lock().remove(path);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<RemotePath>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
