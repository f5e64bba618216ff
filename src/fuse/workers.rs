//! The threads on which operations wait for the server.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How many operations wait at once. The kernel sends one for each system call that is under way, so this is how many programs a
/// frozen server can hold up before a further one waits for its turn. 64: more than the sessions of any server, and each thread
/// costs memory.
const THREADS_MAX: usize = 64;

/// How long a thread without work stays.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Whether a job is run in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is.
    InTime,
    /// It has waited for a thread for longer than the timeout: it must not wait for the server any more.
    TooLate,
}

struct Job {
    work: Box<dyn FnOnce(Turn) + Send>,
    queued: Instant,
}

/// A bounded pool; a thread is started when a job finds none idle.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// How long a job may be queued. Each job that runs ends within a few of these, and then all that are too late are answered at
    /// once: a frozen server holds up a further program not much longer than the first.
    timeout: Duration,
    queue: Mutex<Queue>,
    has_job: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Bounded by the kernel: it has at most one request under way for each thread of a program, and `max_background` others.
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Workers {
    /// A pool whose jobs are told when they were queued for longer than `timeout`.
    pub(super) fn new(timeout: Duration) -> Self {
        let shared = Shared {
            timeout,
            queue: Mutex::default(),
            has_job: Condvar::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Runs `work` on a worker thread, as soon as one is free; it learns whether that was in time.
    pub(super) fn run(&self, work: impl FnOnce(Turn) + Send + 'static) {
        let mut queue = self.shared.lock();
        queue.jobs.push_back(Job {
            work: Box::new(work),
            queued: Instant::now(),
        });
        if queue.idle >= queue.jobs.len() || queue.threads >= THREADS_MAX {
            drop(queue);
            self.shared.has_job.notify_one();
            return;
        }
        queue.threads += 1;
        drop(queue);
        let shared = self.shared.clone();
        let spawned = std::thread::Builder::new()
            .name("ftpfs-worker".into())
            .spawn(move || shared.work());
        if let Err(error) = spawned {
            log::warn!("no further worker thread: {error}");
            let mut queue = self.shared.lock();
            queue.threads -= 1;
            // With no thread at all the job runs here: late is better than never.
            let job = if queue.threads == 0 {
                queue.jobs.pop_back()
            } else {
                None
            };
            drop(queue);
            if let Some(job) = job {
                self.shared.run(job);
            }
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                self.run(job);
                queue = self.lock();
                continue;
            }
            queue.idle += 1;
            let (woken, waited) = self
                .has_job
                .wait_timeout(queue, IDLE_MAX)
                .unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            if waited.timed_out() && queue.jobs.is_empty() {
                queue.threads -= 1;
                return;
            }
        }
    }

    fn run(&self, job: Job) {
        let is_late = job.queued.elapsed() > self.timeout;
        (job.work)(if is_late { Turn::TooLate } else { Turn::InTime });
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("jobs", &self.jobs.len())
            .field("threads", &self.threads)
            .field("idle", &self.idle)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_that_wait_for_each_other_run_at_the_same_time() {
        let workers = Workers::new(Duration::from_mins(1));
        let (first, wait_first) = mpsc::channel();
        let (done, wait_done) = mpsc::channel();
        workers.run(move |_| {
            wait_first.recv_timeout(Duration::from_secs(10)).unwrap();
            done.send(()).unwrap();
        });
        workers.run(move |_| first.send(()).unwrap());
        wait_done.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn more_jobs_than_threads_all_run() {
        let workers = Workers::new(Duration::from_mins(1));
        let (sender, receiver) = mpsc::channel();
        for number in 0..500 {
            let sender = sender.clone();
            workers.run(move |_| sender.send(number).unwrap());
        }
        let mut seen: Vec<u32> = (0..500)
            .map(|_| receiver.recv_timeout(Duration::from_secs(10)).unwrap())
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        assert!(workers.shared.lock().threads <= THREADS_MAX);
    }

    #[test]
    fn a_job_that_was_queued_for_longer_than_the_timeout_is_told() {
        let workers = Workers::new(Duration::from_millis(50));
        let (thaw, frozen) = mpsc::channel::<()>();
        let frozen = Arc::new(Mutex::new(frozen));
        for _ in 0..THREADS_MAX {
            let frozen = frozen.clone();
            workers.run(move |turn| {
                assert_eq!(turn, Turn::InTime);
                let wait = frozen.lock().unwrap();
                wait.recv_timeout(Duration::from_secs(10)).unwrap();
            });
        }
        let (sender, turns) = mpsc::channel();
        for _ in 0..3 {
            let sender = sender.clone();
            workers.run(move |turn| sender.send(turn).unwrap());
        }
        std::thread::sleep(Duration::from_millis(100));
        assert!(turns.try_recv().is_err(), "all threads wait");
        // One that gets free is enough for all that are late.
        thaw.send(()).unwrap();
        for _ in 0..3 {
            let turn = turns.recv_timeout(Duration::from_secs(10)).unwrap();
            assert_eq!(turn, Turn::TooLate);
        }
        for _ in 1..THREADS_MAX {
            thaw.send(()).unwrap();
        }
    }
}
