//! Work that nobody waits for: reading the last reply of a transfer, opening the next data connection, and tending idle
//! sessions.
//!
//! As many threads as there may be sessions, started when there is work: each job waits for one session's server, and
//! random reads live on many sessions becoming warm again at the same time.

use std::{
    collections::VecDeque,
    fmt,
    net::TcpStream,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often idle sessions are looked after. 15 s: well below the age that a warm data connection may reach.
const TEND_INTERVAL: Duration = Duration::from_secs(15);

/// How long after a session came back cold its data connection is opened. 50 ms: a program that sends one command after another has sent
/// the next one by then, and finds the session free.
const WARM_DELAY: Duration = Duration::from_millis(50);

/// One piece of work. Dropped, it is not done, and what it holds is thrown away.
pub(super) trait Job: Send {
    /// The control connection of its session, so that the end need not wait for a silent server.
    fn socket(&self) -> Option<Arc<TcpStream>>;

    /// Does it.
    fn run(self: Box<Self>);

    /// Throws it away without a wait.
    fn discard(self: Box<Self>) {}
}

/// What is to be looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tend {
    /// Idle sessions whose next data connection is not begun; whether some are left.
    Cold,
    /// All idle sessions.
    All,
}

/// The threads and what they have to do.
pub(super) struct Background {
    shared: Arc<Shared>,
    threads_max: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// For the thread that looks after idle sessions.
    stopped: Condvar,
}

#[derive(Default)]
struct State {
    // At most one job a session.
    jobs: VecDeque<Box<dyn Job>>,
    /// The control connections of the jobs being done, so that the end need not wait for a silent server.
    running: Vec<Arc<TcpStream>>,
    idle_threads: usize,
    /// Whether an idle session is cold.
    is_cold: bool,
    is_stopped: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for so long, or until everything is stopped, or `is_over`.
    fn wait_unless<'a>(
        &self,
        state: MutexGuard<'a, State>,
        longest: Duration,
        is_over: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let is_waiting = |state: &mut State| !state.is_stopped && !is_over(state);
        self.stopped
            .wait_timeout_while(state, longest, is_waiting)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

impl Background {
    /// No thread is started yet.
    pub(super) fn new(threads_max: usize) -> Self {
        Self {
            shared: Arc::default(),
            threads_max,
            threads: Mutex::default(),
        }
    }

    /// Has idle sessions looked after by `tend`, for as long as it returns something: whether there is more to do.
    pub(super) fn keep(&self, tend: impl Fn(Tend) -> Option<bool> + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        self.spawn("ftp-keep", move || keep(&shared, tend));
    }

    /// Has a job done. When everything is stopped, or no thread can be had, the session is thrown away.
    pub(super) fn submit(&self, job: Box<dyn Job>) {
        let mut state = self.shared.lock();
        if state.is_stopped {
            drop(state);
            return job.discard();
        }
        let needs_thread = state.jobs.len() >= state.idle_threads;
        state.jobs.push_back(job);
        drop(state);
        self.shared.changed.notify_all();
        let count = self
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        if needs_thread && count <= self.threads_max {
            let shared = Arc::clone(&self.shared);
            self.spawn("ftp-warm", move || work(&shared));
        }
    }

    /// Has idle sessions warmed in a moment.
    pub(super) fn warm_soon(&self) {
        let mut state = self.shared.lock();
        if !std::mem::replace(&mut state.is_cold, true) {
            drop(state);
            self.shared.stopped.notify_all();
        }
    }

    /// Ends the threads, throwing away what is not done yet.
    pub(super) fn stop(&self) {
        let jobs = {
            let mut state = self.shared.lock();
            state.is_stopped = true;
            for socket in &state.running {
                // Whoever waits for a reply there sees the end of the connection.
                let _ = socket.shutdown(std::net::Shutdown::Both);
            }
            std::mem::take(&mut state.jobs)
        };
        self.shared.changed.notify_all();
        self.shared.stopped.notify_all();
        jobs.into_iter().for_each(Job::discard);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // The last handle to the pool may be let go by one of its own threads.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                log::error!("a background thread of the pool has panicked");
            }
        }
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) {
        match thread::Builder::new().name(name.to_owned()).spawn(body) {
            Ok(thread) => self
                .threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(thread),
            Err(error) => log::warn!("no background thread for sessions: {error}"),
        }
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background")
            .field("threads_max", &self.threads_max)
            .finish_non_exhaustive()
    }
}

fn work(shared: &Shared) {
    let mut state = shared.lock();
    while !state.is_stopped {
        if let Some(job) = state.jobs.pop_front() {
            let socket = job.socket();
            state.running.extend(socket.clone());
            drop(state);
            job.run();
            state = shared.lock();
            if let Some(socket) = socket {
                state.running.retain(|other| !Arc::ptr_eq(other, &socket));
            }
            continue;
        }
        state.idle_threads += 1;
        state = shared
            .changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
        state.idle_threads -= 1;
    }
}

fn keep(shared: &Shared, tend: impl Fn(Tend) -> Option<bool>) {
    let mut tended = Instant::now();
    loop {
        let is_cold = {
            let state = shared.lock();
            let left = TEND_INTERVAL.saturating_sub(tended.elapsed());
            let state = shared.wait_unless(state, left, |state| state.is_cold);
            let mut state = shared.wait_unless(state, WARM_DELAY, |state| !state.is_cold);
            if state.is_stopped {
                return;
            }
            std::mem::take(&mut state.is_cold)
        };
        if is_cold {
            let Some(is_left) = tend(Tend::Cold) else {
                return;
            };
            shared.lock().is_cold |= is_left;
        }
        if tended.elapsed() >= TEND_INTERVAL {
            if tend(Tend::All).is_none() {
                return;
            }
            tended = Instant::now();
        }
    }
}
