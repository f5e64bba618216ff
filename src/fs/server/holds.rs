//! Names on hold: a change of them timed out, and may be carried out when the server wakes up.
//!
//! Whatever is confirmed before that could be destroyed by it. So such a name is busy until the end of that connection is seen, which comes
//! behind everything that was sent on it, or long enough after the server has answered another one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::kernel::Kernel;
use crate::{
    clock::Clock,
    fs::error::{FsError, FsErrorKind, Result},
    remote::{Remote, RemoteError, RemotePath, late::Late},
};

/// How long a name stays on hold after the server has answered another session. 120 s: servers that hang for longer in one of their
/// processes while the others work were not seen.
const AFTER_ANSWER: Duration = Duration::from_mins(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct Holds {
    remote: Arc<dyn Remote>,
    kernel: Arc<Kernel>,
    clock: Arc<dyn Clock>,
    held: Mutex<Vec<Hold>>,
}

#[derive(Debug)]
struct Hold {
    names: Vec<RemotePath>,
    late: Late,
    /// When the server first answered another session after that.
    answered: Option<Instant>,
}

impl Hold {
    /// Whether it is about this name, or a directory above or below it.
    fn concerns(&self, path: &RemotePath) -> bool {
        let mut names = self.names.iter();
        names.any(|name| name == path || path.is_within(name) || name.is_within(path))
    }
}

impl Holds {
    /// None yet.
    pub(super) fn new(remote: Arc<dyn Remote>, kernel: Arc<Kernel>, clock: Arc<dyn Clock>) -> Self {
        Self {
            remote,
            kernel,
            clock,
            held: Mutex::default(),
        }
    }

    /// Puts these names on hold, if what failed may still be carried out.
    pub(crate) fn hold(&self, error: &RemoteError, names: &[&RemotePath]) {
        let Some(late) = error.late() else {
            return;
        };
        let mut held = self.lock();
        if held.iter().any(|hold| hold.late.is_same(late)) {
            return;
        }
        log::warn!("{error}; it may still be carried out, so that its name is busy until then");
        let names = names.iter().map(|name| (*name).clone()).collect();
        held.push(Hold {
            names,
            late: late.clone(),
            answered: None,
        });
    }

    /// Fails while a name is on hold.
    pub(crate) fn check(&self, path: &RemotePath) -> Result<()> {
        let now = self.clock.now();
        let mut is_unanswered = false;
        let mut is_held = false;
        let mut over = Vec::new();
        self.lock().retain_mut(|hold| {
            if !hold.concerns(path) {
                return true;
            }
            let age = hold
                .answered
                .map(|answered| now.saturating_duration_since(answered));
            if hold.late.is_over() || age.is_some_and(|age| age > AFTER_ANSWER) {
                over.append(&mut hold.names);
                return false;
            }
            is_held = true;
            is_unanswered |= hold.answered.is_none();
            true
        });
        for name in over {
            self.kernel.forget_name(&name);
        }
        if !is_held {
            return Ok(());
        }
        // Not under the lock: it waits for the server.
        if is_unanswered && self.remote.report(path).is_ok() {
            let now = self.clock.now();
            for hold in self.lock().iter_mut() {
                hold.answered.get_or_insert(now);
            }
        }
        Err(FsError::new(FsErrorKind::Busy, path))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Hold>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::{
        clock::ManualClock,
        config::CacheConfig,
        fs::{inode::Inodes, server::Server},
        local::HashKey,
        remote::{Phase, RemoteErrorKind, memory::MemoryRemote},
    };

    fn path(name: &str) -> RemotePath {
        RemotePath::root().join(name.as_bytes()).unwrap()
    }

    fn server() -> (Server, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        let cache = CacheConfig {
            dir_ttl: Duration::from_secs(20),
            names_max: 100,
            bytes_max: 1 << 20,
            disk: None,
            streams: None,
        };
        let remote = Arc::new(MemoryRemote::new(clock.clone()));
        remote.write_file(&path("f"), b"old");
        let inodes = Arc::new(Inodes::new(100, HashKey::random()));
        let server = Server::new(remote, inodes, &cache, clock.clone(), None, false);
        (server, clock)
    }

    fn timed_out(is_over: &Arc<AtomicBool>) -> RemoteError {
        let is_over = Arc::clone(is_over);
        let kind = RemoteErrorKind::TimedOut(Phase::Reply);
        let late = Late::new(move || is_over.load(Ordering::SeqCst));
        RemoteError::new(kind, "DELE").with_late(late)
    }

    // SEMANTICS: S-reconnect
    #[test]
    fn a_name_is_busy_until_nothing_can_happen_to_it_any_more() {
        let (server, _) = server();
        let is_over = Arc::new(AtomicBool::new(false));
        server.holds().hold(&timed_out(&is_over), &[&path("f")]);
        let busy = server.remove_file(&path("f")).unwrap_err();
        assert_eq!(busy.kind(), FsErrorKind::Busy);
        assert!(server.holds().check(&path("g")).is_ok());
        is_over.store(true, Ordering::SeqCst);
        server.remove_file(&path("f")).unwrap();
    }

    #[test]
    fn a_connection_that_never_ends_holds_a_name_for_two_minutes() {
        let (server, clock) = server();
        let is_over = Arc::new(AtomicBool::new(false));
        server.holds().hold(&timed_out(&is_over), &[&path("f")]);
        assert!(server.holds().check(&path("f")).is_err());
        clock.advance(AFTER_ANSWER);
        assert!(server.holds().check(&path("f")).is_err());
        clock.advance(Duration::from_secs(1));
        assert!(server.holds().check(&path("f")).is_ok());
    }

    #[test]
    fn a_change_that_was_answered_holds_nothing() {
        let (server, _) = server();
        let refused = RemoteError::new(RemoteErrorKind::Refused, "DELE").answered();
        server.holds().hold(&refused, &[&path("f")]);
        assert!(server.holds().check(&path("f")).is_ok());
    }
}
