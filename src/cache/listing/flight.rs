//! One fetch of one directory, and those who wait for it.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use super::snapshot::{CachedListing, Patch};
use crate::remote::{Phase, RemoteError, RemoteErrorKind, RemotePath, Result};

/// The longest wait for a fetch led by another thread. The remote ends every wait without progress by itself, so this
/// is only for the case that it breaks its word; 5 minutes: the largest listing over a slow line takes less.
const WAIT_MAX: Duration = Duration::from_mins(5);

/// What stands for the command in errors of the flight itself: a listing is asked by MLSD or LIST.
pub(super) const COMMAND: &str = "LIST";

/// A fetch that is running or queued; its leader completes it, the others wait.
#[derive(Debug, Default)]
pub(super) struct Flight {
    outcome: Mutex<Option<Result<Arc<CachedListing>>>>,
    landed: Condvar,
}

impl Flight {
    /// What the fetch brought.
    pub(super) fn wait(&self, dir: &RemotePath) -> Result<Arc<CachedListing>> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, _) = self
            .landed
            .wait_timeout_while(outcome, WAIT_MAX, |outcome| outcome.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        outcome.clone().unwrap_or_else(|| {
            let kind = RemoteErrorKind::TimedOut(Phase::Reply);
            Err(RemoteError::new(kind, COMMAND).with_path(dir))
        })
    }

    pub(super) fn complete(&self, outcome: Result<Arc<CachedListing>>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.landed.notify_all();
    }
}

/// The flights of one directory that are not cut off.
pub(super) struct Airborne {
    pub(super) running: Arc<Flight>,
    /// Starts when `running` has landed.
    pub(super) queued: Option<Arc<Flight>>,
    /// Our own changes since `running` started; few, as each cost a round trip.
    pub(super) patches: Vec<Patch>,
}

impl Airborne {
    pub(super) fn new(running: Arc<Flight>) -> Self {
        Self {
            running,
            queued: None,
            patches: Vec::new(),
        }
    }
}

/// Whether an error says that the server does not answer, so that asking it again at once is of no use.
pub(super) fn is_dead(kind: RemoteErrorKind) -> bool {
    matches!(
        kind,
        RemoteErrorKind::TimedOut(_) | RemoteErrorKind::Disconnected
    )
}
