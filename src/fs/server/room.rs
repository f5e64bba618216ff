//! The room on the server: what it reports to be free, and whether this mount has made some.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::tree::Tree;
use crate::remote::{Remote, RemotePath};

/// How long the answer counts. 5 s: a program that makes several large files asks once, and others can use up little meanwhile.
const FREE_AGE_MAX: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(crate) struct Room {
    remote: Arc<dyn Remote>,
    tree: Arc<Tree>,
    last: Mutex<Option<Answer>>,
    freed: AtomicU64,
}

/// What a server reports to be free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// Nothing: it does not know, or could not be asked.
    Unknown,
    /// So many bytes.
    Free(u64),
}

/// The last answer.
#[derive(Debug)]
struct Answer {
    dir: RemotePath,
    space: Space,
    asked: Instant,
}

impl Room {
    /// Of the server that is `remote`; nothing is asked of it yet.
    pub(super) fn new(remote: Arc<dyn Remote>, tree: Arc<Tree>) -> Self {
        Self {
            remote,
            tree,
            last: Mutex::new(None),
            freed: AtomicU64::new(0),
        }
    }

    /// What is free below `dir`, as reported a moment ago; `None` when the server must be asked.
    pub(crate) fn recent(&self, dir: &RemotePath) -> Option<Space> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.as_ref().filter(|last| last.dir == *dir)?;
        let age = self.tree.now().saturating_duration_since(last.asked);
        (age < FREE_AGE_MAX).then_some(last.space)
    }

    /// The same; asks.
    pub(crate) fn ask(&self, dir: &RemotePath) -> Space {
        if let Some(space) = self.recent(dir) {
            return space;
        }
        let asked = self.tree.now();
        let space = match self.remote.space(dir) {
            Ok(bytes) => bytes.map_or(Space::Unknown, Space::Free),
            Err(error) => {
                log::debug!("the free space below {dir} is not known: {error}");
                Space::Unknown
            }
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(Answer {
            dir: dir.clone(),
            space,
            asked,
        });
        space
    }

    /// Something was removed or cut off through this mount.
    pub(crate) fn note_freed(&self) {
        self.freed.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that has happened.
    pub(crate) fn freed(&self) -> u64 {
        self.freed.load(Ordering::Relaxed)
    }
}
