//! Makes the kernel forget names when it knows too many, which by itself it does only when memory runs short, and the attributes of
//! files that may have changed.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, sync::Arc};

use fuser::{INodeNo, Notifier};

use super::{error::MountError, sandbox::Sandbox, threads::spawn_within};
use crate::fs::Filesystem;

/// Starts the thread that passes on which names are to be forgotten. Its own, because the kernel takes the directory's lock for each of
/// them, which an operation on the directory may hold.
pub(super) fn watch(
    notifier: Notifier,
    filesystem: Arc<Filesystem>,
    sandbox: &Arc<Sandbox>,
) -> Result<(), MountError> {
    let attributes = notifier.clone();
    filesystem.forget_attributes_by(Box::new(move |ino| {
        // A negative offset leaves its pages alone, which a request that is under way may hold.
        if let Err(error) = attributes.inval_inode(INodeNo(ino.0), -1, 0) {
            log::debug!("the attributes of inode {ino} stay known: {error}");
        }
    }));
    spawn_within(sandbox, "forget", move || {
        filesystem.forget_surplus(&|dir, name| {
            if let Err(error) = notifier.inval_entry(INodeNo(dir.0), OsStr::from_bytes(name)) {
                log::debug!("a name of inode {dir} stays known: {error}");
            }
        });
    })
}
