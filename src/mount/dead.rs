//! Whether the process behind a mount is gone.

use std::{io, path::Path};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

/// Whether the process of the mount at `path` is gone. The kernel would answer an ordinary stat(2) from its cache for as
/// long as the attributes are valid, so it is made to ask.
pub(super) fn is_dead(path: &Path) -> bool {
    let flags = AtFlags::STATX_FORCE_SYNC;
    statx(CWD, path, flags, StatxFlags::BASIC_STATS).is_err_and(|error| says_dead(&error.into()))
}

/// "Transport endpoint is not connected"; a question that was on its way when the process died hears of an abort.
pub(super) fn says_dead(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOTCONN | libc::ECONNABORTED)
    )
}
