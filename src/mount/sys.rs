//! The calls that need `unsafe`: splitting the process in two, wiping secrets from what /proc shows of us, and how many heaps
//! there are.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    ops::Range,
    os::unix::ffi::OsStrExt,
    ptr, slice, thread,
    time::{Duration, Instant},
};

use rustix::process::Pid;

/// How long a thread that has ended may still be counted. 2 s: it is microseconds, unless the machine is very busy.
const END_MAX: Duration = Duration::from_secs(2);

/// Splits the process; `None` in the child.
///
/// # Errors
///
/// There is more than one thread already, or the system has no room for a process.
pub(super) fn fork() -> io::Result<Option<Pid>> {
    let started = Instant::now();
    loop {
        let threads = fs::read_dir("/proc/self/task")?.count();
        if threads == 1 {
            break;
        }
        // One that has just ended, as that of the prompt, is there for another moment.
        if started.elapsed() > END_MAX {
            return Err(io::Error::other(format!("{threads} threads run already")));
        }
        thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: this is the only thread, as has just been seen, so no lock is held and no state is half-changed in the
    // child, which may therefore go on like any process.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Overwrites the `ranges` of every argument of this process that equals `argument`, so that /proc/PID/cmdline and ps(1)
/// show stars instead. To be called while there is one thread.
///
/// # Errors
///
/// The kernel does not say where the arguments lie, or they are not there.
pub fn hide_argument(argument: &OsStr, ranges: &[Range<usize>]) -> io::Result<()> {
    let arguments: Vec<_> = env::args_os().collect();
    let mut area = area_at(ARGUMENTS_FIELD)?;
    for candidate in arguments {
        let start = area.start;
        area.start += candidate.len() + 1;
        if area.start > area.end {
            return Err(io::Error::other(
                "the arguments are not where the kernel says",
            ));
        }
        if candidate != argument {
            continue;
        }
        // SAFETY: the kernel copied the arguments into [arg_start, arg_end) of this process at exec; that part of
        // the stack is mapped, writable and never freed, and `start + len` lies inside it. Nobody else reads or
        // writes it meanwhile: only `env::args_os` does, and this is the only thread.
        let bytes = unsafe {
            slice::from_raw_parts_mut(
                ptr::with_exposed_provenance_mut::<u8>(start),
                candidate.len(),
            )
        };
        if bytes != argument.as_bytes() {
            return Err(io::Error::other(
                "the arguments are not where the kernel says",
            ));
        }
        for range in ranges {
            if let Some(secret) = bytes.get_mut(range.clone()) {
                secret.fill(b'*');
            }
        }
    }
    Ok(())
}

/// Overwrites the value of a variable in the environment that this process was started with, so that /proc/PID/environ and
/// the processes that we start see stars instead. To be called while there is one thread.
///
/// # Errors
///
/// The kernel does not say where the environment lies.
pub fn hide_variable(name: &str) -> io::Result<()> {
    let area = area_at(ENVIRONMENT_FIELD)?;
    // SAFETY: the kernel copied the environment into [env_start, env_end) of this process at exec; that part of the stack
    // is mapped, writable and never freed. Only getenv(3) reads it, and this is the only thread.
    let bytes = unsafe {
        slice::from_raw_parts_mut(
            ptr::with_exposed_provenance_mut::<u8>(area.start),
            area.len(),
        )
    };
    for entry in bytes.split_mut(|byte| *byte == 0) {
        let (before, value) = entry.split_at_mut((name.len() + 1).min(entry.len()));
        if before.strip_suffix(b"=") == Some(name.as_bytes()) {
            value.fill(b'*');
        }
    }
    Ok(())
}

/// Lets no core of this process be written, and no other process of the user look into its memory: it holds the password. A handler of
/// cores (`core_pattern` with a pipe) is not held back by the limit.
///
/// # Errors
///
/// The system refuses, which it has no reason to.
pub fn forbid_cores() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(rustix::process::setrlimit(
        rustix::process::Resource::Core,
        none,
    )?)
}

/// The first of the two fields of proc(5)'s stat that say where the arguments lie: `arg_start` and `arg_end`.
const ARGUMENTS_FIELD: usize = 48;

/// The same for the environment: `env_start` and `env_end`.
const ENVIRONMENT_FIELD: usize = 50;

fn area_at(field: usize) -> io::Result<Range<usize>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field is the program's name in brackets and may hold spaces; field 3 follows the last bracket.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut numbers = fields
        .split_ascii_whitespace()
        .skip(field - 3)
        .map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(start)), Some(Ok(end))) if start != 0 && start < end => Ok(start..end),
        _ => Err(io::Error::other(
            "/proc/self/stat does not tell where they lie",
        )),
    }
}

/// How many heaps glibc keeps for threads. 2: it would start one for each of many short-lived threads, and each keeps the largest that it ever
/// was. Over 500,000 names walked the process grew by 62 MB with glibc's own number and by 10 MB with one.
#[cfg(target_env = "gnu")]
const HEAPS_MAX: libc::c_int = 2;

/// Has all threads share the heaps that there are. To be called before there are any.
#[cfg(target_env = "gnu")]
pub(super) fn share_heaps() {
    // SAFETY: mallopt(3) takes two numbers and touches nothing of ours. It is not safe beside other threads that allocate for the first
    // time; there are none yet.
    let is_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, HEAPS_MAX) } == 1;
    if !is_set {
        log::debug!("glibc keeps its own number of heaps");
    }
}

/// Other allocators have no such heaps.
#[cfg(not(target_env = "gnu"))]
pub(super) fn share_heaps() {}
