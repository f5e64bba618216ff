//! Requests: what the kernel's flags mean for the filesystem.

use fuser::TimeOrNow;

use crate::fs::{Access, NewTime, OpenMode, PreallocateMode};

/// How open(2) and creat(2) open a file.
pub(super) fn open_mode(flags: i32) -> OpenMode {
    OpenMode {
        access: match flags & libc::O_ACCMODE {
            libc::O_RDONLY => Access::Read,
            _ if flags & libc::O_APPEND != 0 => Access::Append,
            _ => Access::Write,
        },
        is_truncate: flags & libc::O_TRUNC != 0,
        is_exclusive: flags & libc::O_EXCL != 0,
    }
}

/// The time of utimensat(2).
pub(super) fn new_time(time: TimeOrNow) -> NewTime {
    match time {
        TimeOrNow::SpecificTime(time) => NewTime::At(time),
        TimeOrNow::Now => NewTime::Now,
    }
}

/// What fallocate(2) is asked for; `None` when a file on a server cannot have it.
pub(super) fn preallocate_mode(mode: i32) -> Option<PreallocateMode> {
    const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
    const ZERO_KEEP: i32 = libc::FALLOC_FL_ZERO_RANGE | KEEP;
    const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | KEEP;
    match mode {
        0 => Some(PreallocateMode::Grow),
        KEEP => Some(PreallocateMode::Reserve),
        ZERO_KEEP | PUNCH => Some(PreallocateMode::Zero),
        _ => None,
    }
}
