//! The directory to mount on: it exists, it is not a dead mount, and nothing of ours is there already.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    attach::detach,
    dead::{is_dead, says_dead},
    error::MountError,
    table::{FILESYSTEM_TYPE, MountTable},
};

/// The most dead mounts that are taken off one mountpoint; more than one pile up only by hand.
const STALE_MAX: usize = 16;

/// Checks the mountpoint, removes a dead mount of ours, and returns its real path.
///
/// A directory that is not empty, or that something else is mounted on, is covered: so do sshfs and mount(8).
pub(super) fn prepare(mountpoint: &Path) -> Result<PathBuf, MountError> {
    let shown = mountpoint.display();
    for _ in 0..STALE_MAX {
        match fs::metadata(mountpoint) {
            Ok(_) if is_dead(mountpoint) => remove_stale(mountpoint)?,
            Ok(metadata) if metadata.is_dir() => return check_live(mountpoint),
            Ok(_) => {
                return Err(MountError::new(format!(
                    "mountpoint {shown} is not a directory"
                )));
            }
            Err(error) if says_dead(&error) => remove_stale(mountpoint)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(MountError::new(format!(
                    "mountpoint {shown} does not exist; create it with: mkdir -p {shown}"
                )));
            }
            Err(error) => return Err(MountError::new(format!("mountpoint {shown}: {error}"))),
        }
    }
    Err(MountError::new(format!(
        "mountpoint {shown} is covered by {STALE_MAX} dead mounts"
    )))
}

fn check_live(mountpoint: &Path) -> Result<PathBuf, MountError> {
    let shown = mountpoint.display();
    let path = fs::canonicalize(mountpoint)
        .map_err(|error| MountError::new(format!("mountpoint {shown}: {error}")))?;
    let table = read_table()?;
    match table.top_at(&path) {
        Some(entry) if entry.fstype == FILESYSTEM_TYPE => Err(MountError::new(format!(
            "{} is already mounted on {shown}; unmount it first with: fusermount3 -u {shown}",
            entry.source.display()
        ))),
        _ => Ok(path),
    }
}

fn remove_stale(mountpoint: &Path) -> Result<(), MountError> {
    let shown = mountpoint.display();
    let path = real_path(mountpoint)
        .map_err(|error| MountError::new(format!("mountpoint {shown}: {error}")))?;
    let table = read_table()?;
    let entry = table
        .top_at(&path)
        .filter(|entry| entry.fstype == FILESYSTEM_TYPE);
    if entry.is_none() {
        return Err(MountError::new(format!(
            "a dead mount of another program is on {shown}; remove it with: fusermount3 -u {shown}"
        )));
    }
    detach(&path, true).map_err(|error| {
        MountError::new(format!(
            "the dead mount on {shown} could not be removed: {error}"
        ))
    })?;
    log::warn!("replaced a dead mount on {shown}");
    Ok(())
}

/// The real path of a directory that itself cannot be looked at.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if says_dead(&error) => {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            Ok(fs::canonicalize(parent)?.join(name))
        }
        (result, _, _) => result,
    }
}

fn read_table() -> Result<MountTable, MountError> {
    MountTable::read().map_err(|error| MountError::new(format!("/proc/self/mountinfo: {error}")))
}
