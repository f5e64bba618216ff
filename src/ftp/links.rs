//! The targets of symbolic links that a LIST told, kept for a moment: `ls -l` asks for all links of a directory one by one.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::remote::{Entries, RemotePath};

/// How long the targets of one LIST are believed. 1 s: one `ls -l` asks for thousands in that time, and it adds little to
/// the TTL of the listing that showed the links.
const LIFE: Duration = Duration::from_secs(1);

/// How many directories are remembered. 4: programs go through one at a time, a few programs may run.
const DIRECTORIES_MAX: usize = 4;

/// The links of one directory, their targets as the server wrote them.
pub(super) type Targets = Entries;

/// The targets of the last directories that were asked for.
#[derive(Debug, Default)]
pub(super) struct Links {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The oldest first.
    known: Vec<Known>,
    /// Counts our own changes.
    changes: u64,
}

#[derive(Debug)]
struct Known {
    dir: RemotePath,
    since: Instant,
    /// Whether names with a dot were asked for too.
    is_all: bool,
    targets: Arc<Targets>,
}

/// What our own changes had come to before a LIST was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample(u64);

impl Links {
    /// What is known of a directory at `now`, and whether that is all there is.
    pub(super) fn find(&self, dir: &RemotePath, now: Instant) -> Option<(Arc<Targets>, bool)> {
        let state = self.lock();
        let known = state.known.iter().find(|known| known.dir == *dir)?;
        let is_fresh = now.saturating_duration_since(known.since) < LIFE;
        is_fresh.then(|| (Arc::clone(&known.targets), known.is_all))
    }

    /// To be taken before a LIST is sent.
    pub(super) fn sample(&self) -> Sample {
        Sample(self.lock().changes)
    }

    /// Keeps what a LIST told, unless we have changed something since.
    pub(super) fn keep(
        &self,
        dir: &RemotePath,
        targets: Arc<Targets>,
        is_all: bool,
        sample: Sample,
        now: Instant,
    ) {
        let mut state = self.lock();
        if state.changes != sample.0 {
            return;
        }
        state.known.retain(|known| known.dir != *dir);
        if state.known.len() >= DIRECTORIES_MAX {
            state.known.remove(0);
        }
        state.known.push(Known {
            dir: dir.clone(),
            since: now,
            is_all,
            targets,
        });
    }

    /// We have made, renamed or removed something: what we wrote ourselves is never shown older.
    pub(super) fn forget(&self) {
        let mut state = self.lock();
        state.changes += 1;
        state.known.clear();
    }

    /// Lets go of what is not believed any more.
    pub(super) fn expire(&self, now: Instant) {
        let is_fresh = |known: &mut Known| now.saturating_duration_since(known.since) < LIFE;
        self.lock().known.retain_mut(is_fresh);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_kept_for_a_moment_and_not_over_our_own_changes() {
        let links = Links::default();
        let start = Instant::now();
        let dirs: Vec<_> = (0..=DIRECTORIES_MAX)
            .map(|index| {
                RemotePath::root()
                    .join(index.to_string().as_bytes())
                    .unwrap()
            })
            .collect();
        for dir in &dirs {
            links.keep(dir, Arc::default(), true, links.sample(), start);
        }
        assert!(links.find(&dirs[0], start).is_none(), "too many");
        assert!(links.find(&dirs[1], start).is_some());
        assert!(links.find(&dirs[1], start + LIFE).is_none());
        let before = links.sample();
        links.forget();
        assert!(links.find(&dirs[1], start).is_none());
        links.keep(&dirs[1], Arc::default(), true, before, start);
        assert!(
            links.find(&dirs[1], start).is_none(),
            "of before the change"
        );
    }
}
