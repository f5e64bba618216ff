//! Why a server has said no: the reason is found in a fresh listing of the directory.

use std::sync::Arc;

use super::{kernel::Kernel, tree::Tree};
use crate::{
    fs::error::{FsError, FsErrorKind, NAME_BYTES_MAX},
    remote::{EntryKind, Remote, RemoteError, RemoteErrorKind, RemotePath},
};

/// What the caller wanted of a path that the server refused, for finding the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// To read or replace a file's content.
    Content,
    /// To upload a file that may not be there yet.
    Upload,
    /// To remove a file.
    RemoveFile,
    /// To remove a directory.
    RemoveDir,
    /// To give another name.
    Rename,
    /// To make something new.
    Make,
    /// To set mode or time.
    Attributes,
    /// To list a directory.
    List,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Refusals {
    remote: Arc<dyn Remote>,
    tree: Arc<Tree>,
    kernel: Arc<Kernel>,
}

impl Refusals {
    /// Of the server that shows `tree`.
    pub(super) fn new(remote: Arc<dyn Remote>, tree: Arc<Tree>, kernel: Arc<Kernel>) -> Self {
        Self {
            remote,
            tree,
            kernel,
        }
    }

    /// Finds the reason of a server's refusal in a fresh listing of the directory.
    pub(crate) fn explain(&self, error: RemoteError, path: &RemotePath, intent: Intent) -> FsError {
        // bftpd says 451 and swiftp 450 of what is not there, bftpd 553 to a download of it. Their words stand where the
        // listing shows nothing better.
        let has_reason = match error.kind() {
            RemoteErrorKind::Refused => false,
            RemoteErrorKind::Failed | RemoteErrorKind::Busy | RemoteErrorKind::NameRefused => true,
            _ => {
                if !matches!(intent, Intent::Content | Intent::List) {
                    self.kernel.forget_if_unknown(&error, &[path]);
                }
                return error.into();
            }
        };
        let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
            return error.into();
        };
        let kind = match self.tree.relist(&dir) {
            Ok(listing) => {
                let is_new = matches!(intent, Intent::Make | Intent::Upload);
                let found = match listing.find(name) {
                    Some(entry) => Some(entry.kind),
                    None if listing.lacks(name) => None,
                    // It may have been left out, so it is asked for by name.
                    None => match self.remote.stat(path) {
                        Ok(found) => found.map(|entry| entry.kind),
                        Err(_) if is_new => None,
                        Err(_) => return error.into(),
                    },
                };
                match found {
                    Some(kind) => self.reason(kind, path, intent),
                    None if is_new => FsErrorKind::AccessDenied,
                    None => FsErrorKind::NotFound,
                }
            }
            Err(refused) if refused.kind() == RemoteErrorKind::Refused => {
                match self.remote.stat(&dir) {
                    Ok(None) => FsErrorKind::NotFound,
                    Ok(Some(_)) | Err(_) => FsErrorKind::AccessDenied,
                }
            }
            Err(other) => return other.into(),
        };
        if has_reason && kind == FsErrorKind::AccessDenied {
            return error.into();
        }
        // A name that is too long for the server gets the same 550.
        if kind == FsErrorKind::AccessDenied && name.len() > NAME_BYTES_MAX {
            return FsError::explained(FsErrorKind::NameTooLong, error);
        }
        FsError::explained(kind, error)
    }

    /// Why the server may have refused something about an entry that is there.
    fn reason(&self, kind: EntryKind, path: &RemotePath, intent: Intent) -> FsErrorKind {
        let is_dir = kind == EntryKind::Directory;
        match intent {
            Intent::Content | Intent::Upload | Intent::RemoveFile if is_dir => {
                FsErrorKind::IsADirectory
            }
            Intent::Content | Intent::Upload | Intent::RemoveFile => FsErrorKind::AccessDenied,
            Intent::RemoveDir | Intent::List if !is_dir => FsErrorKind::NotADirectory,
            Intent::RemoveDir => match self.tree.relist(path) {
                Ok(listing) if !listing.entries().is_empty() || !listing.is_whole() => {
                    FsErrorKind::NotEmpty
                }
                _ => FsErrorKind::AccessDenied,
            },
            Intent::List | Intent::Rename => FsErrorKind::AccessDenied,
            Intent::Make => FsErrorKind::Exists,
            // What chmod(2) and utimensat(2) say to those who do not own the file.
            Intent::Attributes => FsErrorKind::NotPermitted,
        }
    }
}
