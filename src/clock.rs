//! Time as a dependency, so that no test sleeps.

use std::{
    fmt::Debug,
    sync::Mutex,
    time::{Duration, Instant, SystemTime},
};

/// Tells the time; the caches and the filesystem ask it and never the system.
pub trait Clock: Send + Sync + Debug {
    /// A monotonic instant, for TTLs and deadlines.
    fn now(&self) -> Instant;

    /// The wall clock, for the times of files.
    fn wall(&self) -> SystemTime;
}

/// The machine's own clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct ManualClock {
    started: (Instant, SystemTime),
    elapsed: Mutex<Duration>,
}

impl ManualClock {
    /// A clock that starts at the present moment and stays there.
    pub fn new() -> Self {
        Self {
            started: (Instant::now(), SystemTime::now()),
            elapsed: Mutex::new(Duration::ZERO),
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        *self.lock() += by;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Duration> {
        self.elapsed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.started.0 + *self.lock()
    }

    fn wall(&self) -> SystemTime {
        self.started.1 + *self.lock()
    }
}
