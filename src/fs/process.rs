//! Which program a request comes from.
//!
//! The kernel sends FLUSH for every descriptor that is closed, also for the copies that a child process inherits and closes when it
//! starts another program. Such a close says nothing of the file being complete: the parent still writes it.

use std::{
    collections::HashSet,
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How many programs are remembered for one handle. 1024: more than share a descriptor, and 8 KiB. Where there are more, each one is taken
/// for one of them: an upload too many does no harm, and a close that says nothing does.
const PROGRAMS_MAX: usize = 1024;

/// How many threads are remembered, so that not each write looks up the process of its own.
const THREADS_MAX: usize = 16;

/// The programs that have opened or written a file through one handle.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    programs: Programs,
    /// Threads of theirs, those that came last; one may be gone when its process closes the file.
    threads: Vec<u32>,
}

#[derive(Debug)]
enum Programs {
    /// The processes with these ids; of a thread that was gone before its process was looked up, its own id.
    These(HashSet<u32>),
    /// More than are remembered.
    Any,
}

impl Default for Programs {
    fn default() -> Self {
        Self::These(HashSet::new())
    }
}

impl Programs {
    fn add(&mut self, process: u32) {
        match self {
            Self::These(ids) if ids.len() == PROGRAMS_MAX && !ids.contains(&process) => {
                *self = Self::Any;
            }
            Self::These(ids) => {
                ids.insert(process);
            }
            Self::Any => {}
        }
    }

    /// Whether this is one of them. When nobody is known, it is.
    fn has(&self, process: u32) -> bool {
        match self {
            Self::These(ids) => ids.is_empty() || ids.contains(&process),
            Self::Any => true,
        }
    }
}

impl Writers {
    /// The program of this thread works with the handle. 0 is the kernel itself, writing back a mapping.
    pub(crate) fn add(&self, thread: u32) {
        if thread == 0 || self.lock().threads.contains(&thread) {
            return;
        }
        let process = process_of(thread).unwrap_or(thread);
        let mut seen = self.lock();
        seen.programs.add(process);
        if seen.threads.len() == THREADS_MAX {
            seen.threads.remove(0);
        }
        seen.threads.push(thread);
    }

    /// Whether the thread belongs to one of the programs. When that is not known, it does: an upload too many does no harm.
    pub(crate) fn has(&self, thread: u32) -> bool {
        let seen = self.lock();
        if seen.threads.contains(&thread) || seen.programs.has(thread) {
            return true;
        }
        drop(seen);
        process_of(thread).is_none_or(|process| self.lock().programs.has(process))
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
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

    #[test]
    fn no_program_is_forgotten_however_many_there_are() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        for others in [0, 15, 16, 17, 100, PROGRAMS_MAX - 1, PROGRAMS_MAX, 3000] {
            let writers = Writers::default();
            writers.add(std::process::id());
            // No process has ids like these.
            for number in 1..=u32::try_from(others).unwrap() {
                writers.add(u32::MAX - number);
            }
            assert!(writers.has(std::process::id()), "{others}");
            assert!(writers.has(u32::MAX - 1), "{others}");
            let is_anybody = others >= PROGRAMS_MAX;
            assert_eq!(writers.has(child.id()), is_anybody, "{others}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
