//! Has the kernel forget names when it knows too many: by itself it does so only when the machine's memory runs short.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, sync::Arc};

use fuser::{INodeNo, Notifier};

use super::{MountError, Names, serve::spawn};

/// Starts the thread that passes on which names are to be forgotten. Its own, because the kernel takes the directory's lock for each of
/// them, which an operation on the directory may hold.
pub(super) fn watch(notifier: Notifier, names: Arc<dyn Names>) -> Result<(), MountError> {
    spawn("forget", move || {
        names.forget_surplus(&|dir, name| {
            if let Err(error) = notifier.inval_entry(INodeNo(dir), OsStr::from_bytes(name)) {
                log::debug!("a name of inode {dir} stays known: {error}");
            }
        });
    })
}
