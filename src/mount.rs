//! Builds the layers, mounts, goes to the background when ready, and ends a mount in good order.
//!
//! What is hard here, and which part solves it:
//! 1. The user must see every failure, and the prompt must come back only when the mount works: `daemon`.
//! 2. A mount must never be taken away that is not ours, and ours never left behind: `attach`, `table`.
//! 3. Bytes that were written must reach the server before the process ends: `serve`; and before the next mount begins: `draining`.

mod attach;
mod daemon;
mod dead;
mod draining;
mod error;
mod fusermount;
mod layers;
mod mountpoint;
mod names;
mod sandbox;
mod serve;
mod sys;
mod table;
mod threads;

pub use error::MountError;
pub use sys::{forbid_cores, hide_argument, hide_variable};

use std::path::Path;

use crate::{config::Config, local};
use daemon::Side;
use serve::serve;

/// How [`run`] ended, as far as the exit status is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The mount is ready in the background, or it has ended in good order.
    Well,
    /// It failed in the background, and the parent process or the log has said so.
    Reported,
}

/// Logs in, mounts, serves and ends the mount, all as `config` says. What connects is the process that stays.
///
/// In the foreground this returns at the end of the mount. In the background it returns to the process that the user
/// started as soon as the mount is ready, and to the one that stays at the end of the mount.
///
/// # Errors
///
/// Whatever kept the mount from being ready, or from ending well, unless the user has seen it already. Nothing is
/// left mounted then, except what the message names.
pub fn run(config: &Config) -> Result<Ending, MountError> {
    sys::share_heaps();
    let mountpoint = mountpoint::prepare(&config.mount.mountpoint)?;
    prepare_spool_dir(&config.fs.spool_dir, &mountpoint)?;
    let state = &config.mount.presence_dir;
    local::check_place(state).map_err(|error| {
        MountError::new(format!(
            "state directory {}: {error}; set XDG_STATE_HOME to one of your own",
            state.display()
        ))
    })?;
    draining::wait_for_others(config);
    if config.mount.is_foreground {
        return serve(config, &mountpoint, &mut None).map(|()| Ending::Well);
    }
    let side = daemon::split()
        .map_err(|error| MountError::new(format!("cannot go to the background: {error}")))?;
    let announcement = match side {
        Side::Parent(waiting) => return waiting.wait().map(|()| Ending::Well),
        Side::Child(announcement) => announcement,
    };
    let mut announcement = Some(announcement);
    let Err(error) = serve(config, &mountpoint, &mut announcement) else {
        return Ok(Ending::Well);
    };
    match announcement {
        Some(announcement) => announcement.failed(&error),
        None => log::error!("{error}"),
    }
    Ok(Ending::Reported)
}

/// Makes the directory for spool files, for this user alone.
fn prepare_spool_dir(dir: &Path, mountpoint: &Path) -> Result<(), MountError> {
    let shown = dir.display();
    let refuse = |what: &str| {
        MountError::new(format!(
            "cache directory {shown}: {what}; choose another with --cache-dir"
        ))
    };
    if dir.starts_with(mountpoint) {
        return Err(refuse("it lies below the mountpoint"));
    }
    local::check_place(dir)
        .and_then(|()| local::private_dir(dir))
        .map_err(|error| refuse(&error.to_string()))?;
    // A full or read-only disk is better found now than at the first write.
    tempfile::tempfile_in(dir)
        .map(drop)
        .map_err(|error| refuse(&error.to_string()))
}
