//! When the mode of a file goes ahead of its content ([`crate::fs::server`]'s privacy says how).

use super::upload::Upload;
use crate::{
    fs::{error::Result, server::is_narrower},
    remote::{Attributes, RemotePath, Want},
};

/// Whether a new file goes up under a hidden name first, small as it may be, because its mode keeps others out.
pub(super) fn is_private(upload: &Upload<'_>) -> bool {
    let dir = upload.path.parent().unwrap_or_else(RemotePath::root);
    upload.job.base.is_none()
        && upload.server.learnt().renames()
        && upload.server.account().hides_new_files(&dir)
        && first_mode(upload, &dir).is_some()
}

/// The mode that the file needs before its content, in `dir`.
pub(super) fn first_mode(upload: &Upload<'_>, dir: &RemotePath) -> Option<u32> {
    let mode = upload.attributes_of_new().mode;
    upload.server.first_mode(dir, mode)
}

/// Gives a file that exists its new mode before bytes are added to it, if that keeps out others whom the old one lets in.
pub(super) fn close_first(upload: &Upload<'_>) -> Result<()> {
    let Attributes {
        mode: Some(mode), ..
    } = upload.attributes()
    else {
        return Ok(());
    };
    let old = upload.base_mode();
    if old.is_none_or(|old| !is_narrower(mode, old)) {
        return Ok(());
    }
    let seen = upload.ask()?;
    // What is another file by now is for the change itself to find out.
    if seen.is_absent() || !upload.is_still(seen.version()) {
        return Ok(());
    }
    let wanted = Attributes {
        mode: Some(mode),
        modified: None,
    };
    let closed = upload.server.settle(&seen, Want::AnyFile, None, wanted)?;
    if let Err(error) = closed.mode {
        log::debug!("{}: {error}", upload.path);
    }
    Ok(())
}
