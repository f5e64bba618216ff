//! What the kernel gets when an operation fails.

use std::fmt;

use crate::remote::{InvalidName, RemoteError, RemoteErrorKind, RemotePath};

/// The result of an operation on inodes.
pub type Result<T> = std::result::Result<T, FsError>;

/// An operation's failure: the errno it becomes, the path it was about, and what lies beneath.
#[derive(Debug, Clone)]
pub struct FsError {
    kind: FsErrorKind,
    path: Option<RemotePath>,
    source: Option<RemoteError>,
}

/// Why an operation failed, in the terms of POSIX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FsErrorKind {
    /// Nothing has this name.
    NotFound,
    /// Something has this name already.
    Exists,
    /// A directory was needed.
    NotADirectory,
    /// A directory is not what was needed.
    IsADirectory,
    /// The directory holds entries.
    NotEmpty,
    /// The server does not let us.
    AccessDenied,
    /// FTP has no way to do this, and programs expect EPERM for it.
    NotPermitted,
    /// The mount is read-only.
    ReadOnly,
    /// The name is longer than servers take.
    NameTooLong,
    /// The request makes no sense, or FTP cannot carry the name.
    Invalid,
    /// The server's character set lacks a character of the name.
    Unencodable,
    /// The server's disk, or our own, is full.
    NoSpace,
    /// The user's quota is used up.
    QuotaExceeded,
    /// The file is in use on the server.
    Busy,
    /// The connection broke, the server failed or spoke no FTP.
    Io,
    /// Nothing came within the timeout.
    TimedOut,
    /// This server has no command for it.
    Unsupported,
    /// The handle or inode is unknown.
    Stale,
    /// A symbolic link points out of the mounted directory.
    LeavesMount,
    /// A file would be larger than the kernel can say.
    TooLarge,
    /// A directory is larger than the memory for listings.
    NoMemory,
    /// Others have changed the file on the server since it was opened here.
    Conflict,
    /// The file was sent, and it is not known whether the server has taken it.
    Unconfirmed,
}

impl FsError {
    /// A failure about `path`.
    pub fn new(kind: FsErrorKind, path: &RemotePath) -> Self {
        Self {
            kind,
            path: Some(path.clone()),
            source: None,
        }
    }

    /// A failure about the file at `path`, where it has one still.
    pub(super) fn about(kind: FsErrorKind, path: Option<RemotePath>) -> Self {
        Self {
            kind,
            path,
            source: None,
        }
    }

    /// A handle, or an inode without a name, is not known any more.
    pub(super) fn stale() -> Self {
        Self::about(FsErrorKind::Stale, None)
    }

    /// A server's answer, once the reason for it is known.
    pub fn explained(kind: FsErrorKind, source: RemoteError) -> Self {
        Self {
            kind,
            path: source.path().cloned(),
            source: Some(source),
        }
    }

    /// Why it failed.
    pub fn kind(&self) -> FsErrorKind {
        self.kind
    }

    /// What the server said, where it was asked.
    pub fn remote(&self) -> Option<&RemoteError> {
        self.source.as_ref()
    }

    /// Whether the same request may succeed later without anyone changing anything.
    pub fn is_transient(&self) -> bool {
        // Too many sessions, or a password that was changed: true of every file, and it passes.
        let is_locked_out = self
            .source
            .as_ref()
            .is_some_and(|error| error.kind() == RemoteErrorKind::LoginRefused);
        if is_locked_out {
            return true;
        }
        match self.kind {
            FsErrorKind::NoSpace
            | FsErrorKind::QuotaExceeded
            | FsErrorKind::Busy
            | FsErrorKind::Io
            | FsErrorKind::NoMemory
            | FsErrorKind::TimedOut => true,
            FsErrorKind::NotFound
            | FsErrorKind::Exists
            | FsErrorKind::NotADirectory
            | FsErrorKind::IsADirectory
            | FsErrorKind::NotEmpty
            | FsErrorKind::AccessDenied
            | FsErrorKind::NotPermitted
            | FsErrorKind::ReadOnly
            | FsErrorKind::NameTooLong
            | FsErrorKind::Invalid
            | FsErrorKind::Unencodable
            | FsErrorKind::Unsupported
            | FsErrorKind::Stale
            | FsErrorKind::LeavesMount
            | FsErrorKind::TooLarge
            | FsErrorKind::Conflict
            | FsErrorKind::Unconfirmed => false,
        }
    }

    /// The number that the program gets.
    pub fn errno(&self) -> i32 {
        match self.kind {
            FsErrorKind::NotFound => libc::ENOENT,
            FsErrorKind::Exists => libc::EEXIST,
            FsErrorKind::NotADirectory => libc::ENOTDIR,
            FsErrorKind::IsADirectory => libc::EISDIR,
            FsErrorKind::NotEmpty => libc::ENOTEMPTY,
            FsErrorKind::AccessDenied => libc::EACCES,
            FsErrorKind::NotPermitted => libc::EPERM,
            FsErrorKind::ReadOnly => libc::EROFS,
            FsErrorKind::NameTooLong => libc::ENAMETOOLONG,
            FsErrorKind::Invalid => libc::EINVAL,
            FsErrorKind::Unencodable => libc::EILSEQ,
            FsErrorKind::NoSpace => libc::ENOSPC,
            FsErrorKind::QuotaExceeded => libc::EDQUOT,
            FsErrorKind::Busy => libc::EBUSY,
            FsErrorKind::Io => libc::EIO,
            FsErrorKind::TimedOut => libc::ETIMEDOUT,
            // Never ENOSYS: the kernel would not ask again, for any file, as long as the mount lives.
            FsErrorKind::Unsupported => libc::EOPNOTSUPP,
            FsErrorKind::Stale => libc::ESTALE,
            // What a path that the caller may not follow gives elsewhere too.
            FsErrorKind::LeavesMount => libc::EPERM,
            FsErrorKind::TooLarge => libc::EFBIG,
            // What opendir(3) says of a directory that does not fit into memory.
            FsErrorKind::NoMemory => libc::ENOMEM,
            // What NFS says of a file that is not the one that was opened.
            FsErrorKind::Conflict => libc::ESTALE,
            FsErrorKind::Unconfirmed => libc::EIO,
        }
    }
}

/// The failure that needs no look at the directory: everything but a bare refusal, which is taken as
/// [`FsErrorKind::AccessDenied`].
impl From<RemoteError> for FsError {
    fn from(error: RemoteError) -> Self {
        let kind = match error.kind() {
            RemoteErrorKind::Refused => FsErrorKind::AccessDenied,
            RemoteErrorKind::Busy => FsErrorKind::Busy,
            RemoteErrorKind::Failed => FsErrorKind::Io,
            RemoteErrorKind::NoSpace => FsErrorKind::NoSpace,
            RemoteErrorKind::QuotaExceeded => FsErrorKind::QuotaExceeded,
            RemoteErrorKind::NameRefused if has_long_name(&error) => FsErrorKind::NameTooLong,
            RemoteErrorKind::NameRefused if has_odd_name(&error) => FsErrorKind::Invalid,
            // vsftpd and Pure-FTPd say 553 when the directory may not be written to.
            RemoteErrorKind::NameRefused => FsErrorKind::AccessDenied,
            RemoteErrorKind::LoginRefused => FsErrorKind::AccessDenied,
            RemoteErrorKind::Unsupported => FsErrorKind::Unsupported,
            RemoteErrorKind::Disconnected => FsErrorKind::Io,
            RemoteErrorKind::TimedOut(_) | RemoteErrorKind::Expired => FsErrorKind::TimedOut,
            RemoteErrorKind::Protocol => FsErrorKind::Io,
            RemoteErrorKind::InvalidPath => FsErrorKind::Invalid,
            RemoteErrorKind::Unencodable => FsErrorKind::Unencodable,
            RemoteErrorKind::NoMemory => FsErrorKind::NoMemory,
        };
        Self::explained(kind, error)
    }
}

/// The longest name that the file systems beneath all known servers take.
pub(crate) const NAME_BYTES_MAX: usize = 255;

fn has_long_name(error: &RemoteError) -> bool {
    let name = error.path().and_then(RemotePath::name);
    name.is_some_and(|name| name.len() >= NAME_BYTES_MAX)
}

/// Whether the name has bytes that some file system forbids: control characters, and what Windows does not take.
fn has_odd_name(error: &RemoteError) -> bool {
    let name = error.path().and_then(RemotePath::name).unwrap_or_default();
    name.iter()
        .any(|byte| byte.is_ascii_control() || b"\\:*?\"<>|".contains(byte))
}

impl From<InvalidName> for FsErrorKind {
    fn from(_: InvalidName) -> Self {
        Self::Invalid
    }
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.kind {
            FsErrorKind::NotFound => "no such file or directory",
            FsErrorKind::Exists => "exists already",
            FsErrorKind::NotADirectory => "not a directory",
            FsErrorKind::IsADirectory => "is a directory",
            FsErrorKind::NotEmpty => "directory not empty",
            FsErrorKind::AccessDenied => "permission denied",
            FsErrorKind::NotPermitted => "FTP cannot do this",
            FsErrorKind::ReadOnly => "the mount is read-only",
            FsErrorKind::NameTooLong => "the name is too long",
            FsErrorKind::Invalid => "invalid argument",
            FsErrorKind::Unencodable => {
                "the charset of the server's names (--charset) cannot hold this name"
            }
            FsErrorKind::NoSpace => "no space left",
            FsErrorKind::QuotaExceeded => "quota exceeded",
            FsErrorKind::Busy => "busy",
            FsErrorKind::Io => "input/output error",
            FsErrorKind::TimedOut => "timed out",
            FsErrorKind::Unsupported => "not supported by this server",
            FsErrorKind::Stale => "no longer known",
            FsErrorKind::LeavesMount => "points out of the mounted directory",
            FsErrorKind::TooLarge => "too large",
            FsErrorKind::NoMemory => "too large for memory",
            FsErrorKind::Conflict => "changed on the server since it was opened",
            FsErrorKind::Unconfirmed => "sent, and not confirmed",
        };
        match (&self.path, &self.source) {
            (_, Some(source)) => write!(f, "{reason} ({source})"),
            (Some(path), None) => write!(f, "{path}: {reason}"),
            (None, None) => f.write_str(reason),
        }
    }
}

impl std::error::Error for FsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Phase;

    // SEMANTICS: S-errno
    #[test]
    fn each_server_answer_has_its_errno() {
        let table = [
            (RemoteErrorKind::Refused, libc::EACCES),
            (RemoteErrorKind::Busy, libc::EBUSY),
            (RemoteErrorKind::Failed, libc::EIO),
            (RemoteErrorKind::NoSpace, libc::ENOSPC),
            (RemoteErrorKind::QuotaExceeded, libc::EDQUOT),
            (RemoteErrorKind::NameRefused, libc::EACCES),
            (RemoteErrorKind::LoginRefused, libc::EACCES),
            (RemoteErrorKind::Unsupported, libc::EOPNOTSUPP),
            (RemoteErrorKind::Disconnected, libc::EIO),
            (RemoteErrorKind::TimedOut(Phase::Reply), libc::ETIMEDOUT),
            (RemoteErrorKind::Protocol, libc::EIO),
            (RemoteErrorKind::InvalidPath, libc::EINVAL),
            (RemoteErrorKind::Unencodable, libc::EILSEQ),
            (RemoteErrorKind::NoMemory, libc::ENOMEM),
        ];
        for (kind, errno) in table {
            assert_eq!(
                FsError::from(RemoteError::new(kind, "STOR")).errno(),
                errno,
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_name_that_no_windows_takes_is_invalid() {
        let path = RemotePath::root().join(b"a:b").unwrap();
        let error = RemoteError::new(RemoteErrorKind::NameRefused, "STOR").with_path(&path);
        assert_eq!(FsError::from(error).errno(), libc::EINVAL);
    }

    #[test]
    fn a_long_name_that_is_refused_is_too_long() {
        let path = RemotePath::root().join(&[b'x'; NAME_BYTES_MAX]).unwrap();
        let error = RemoteError::new(RemoteErrorKind::NameRefused, "STOR").with_path(&path);
        assert_eq!(FsError::from(error).errno(), libc::ENAMETOOLONG);
    }
}
