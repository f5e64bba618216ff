//! Which program a request comes from.
//!
//! The kernel sends FLUSH for every descriptor that is closed, also for the copies that a child process inherits and closes when it
//! starts another program. Such a close says nothing of the file being complete: the parent still writes it.

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How many threads and processes are remembered for one handle; more than these share one only by inheritance.
const REMEMBERED_MAX: usize = 16;

/// The programs that have opened or written a file through one handle.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    /// Ids of threads and of their processes, which is one kind of number: a thread may be gone when its process closes the file.
    seen: Mutex<Vec<u32>>,
}

impl Writers {
    /// The program of this thread works with the handle. 0 is the kernel itself, writing back a mapping.
    pub(crate) fn add(&self, thread: u32) {
        if thread == 0 || self.lock().contains(&thread) {
            return;
        }
        let process = process_of(thread);
        let mut seen = self.lock();
        for id in [Some(thread), process].into_iter().flatten() {
            if !seen.contains(&id) {
                seen.push(id);
            }
        }
        let excess = seen.len().saturating_sub(REMEMBERED_MAX);
        seen.drain(..excess);
    }

    /// Whether the thread belongs to one of the programs. When that is not known, it does: an upload too many does no harm.
    pub(crate) fn has(&self, thread: u32) -> bool {
        let seen = self.lock().clone();
        seen.is_empty()
            || seen.contains(&thread)
            || process_of(thread).is_none_or(|process| seen.contains(&process))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u32>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The process that a thread belongs to.
fn process_of(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_one_process_are_one_program_and_a_child_is_another() {
        let writers = Writers::default();
        // SAFETY: gettid(2) has no preconditions.
        let own_thread = || unsafe { libc::gettid() }.unsigned_abs();
        std::thread::scope(|scope| {
            scope.spawn(|| writers.add(own_thread())).join().unwrap();
            scope
                .spawn(|| assert!(writers.has(own_thread())))
                .join()
                .unwrap();
        });
        assert!(
            writers.has(std::process::id()),
            "its writing thread has ended"
        );
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        assert!(!writers.has(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
