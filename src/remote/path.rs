//! Validated paths below the mounted directory.

use std::{fmt, sync::Arc};

/// A path below the mounted directory: bytes, absolute (`/` is the mounted directory itself), normalised (no
/// empty, `.` or `..` component, no trailing slash), and free of CR, LF and NUL, so that it can stand in a command
/// line of RFC 959. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemotePath(Arc<[u8]>);

/// A name that cannot be an entry on an FTP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing at all.
    #[error("the name is empty")]
    Empty,
    /// `.` or `..`.
    #[error("the name is . or ..")]
    Dots,
    /// A byte that ends a command line or a path component.
    #[error("the name contains a slash, a NUL or a line break, which FTP cannot carry")]
    Separator,
}

impl RemotePath {
    /// The mounted directory itself.
    pub fn root() -> Self {
        Self(Arc::from(&b"/"[..]))
    }

    /// The path of `name` in this directory.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] when no server can hold such a name.
    pub fn join(&self, name: &[u8]) -> Result<Self, InvalidName> {
        Self::check_name(name)?;
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        if !self.is_root() {
            bytes.extend_from_slice(&self.0);
        }
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Ok(Self(bytes.into()))
    }

    /// Whether `name` can be an entry's name.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] says why not.
    pub fn check_name(name: &[u8]) -> Result<(), InvalidName> {
        match name {
            b"" => Err(InvalidName::Empty),
            b"." | b".." => Err(InvalidName::Dots),
            _ if name
                .iter()
                .any(|byte| matches!(byte, b'/' | 0 | b'\r' | b'\n')) =>
            {
                Err(InvalidName::Separator)
            }
            _ => Ok(()),
        }
    }

    /// The directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let slash = self.last_slash()?;
        Some(match slash {
            0 => Self::root(),
            _ => Self(Arc::from(self.0.get(..slash)?)),
        })
    }

    /// The last component; `None` for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.0.get(self.last_slash()? + 1..)
    }

    /// The components from the root down; none for the root itself.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
    }

    /// Whether this is the mounted directory itself.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Whether this path is `dir` or lies below it.
    pub fn is_within(&self, dir: &Self) -> bool {
        dir.is_root()
            || self
                .0
                .strip_prefix(&*dir.0)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }

    /// What this path is after `from`, which is it or a directory above it, was renamed to `to`; `None` where it lies elsewhere.
    pub fn moved(&self, from: &Self, to: &Self) -> Option<Self> {
        if !self.is_within(from) {
            return None;
        }
        let mut components = self.components().skip(from.components().count());
        components.try_fold(to.clone(), |dir, name| dir.join(name).ok())
    }

    /// The path, starting with a slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn last_slash(&self) -> Option<usize> {
        if self.is_root() {
            return None;
        }
        self.0.iter().rposition(|byte| *byte == b'/')
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(names: &[&[u8]]) -> RemotePath {
        names
            .iter()
            .fold(RemotePath::root(), |dir, name| dir.join(name).unwrap())
    }

    #[test]
    fn join_and_parent_are_inverse() {
        let dir = path(&[b"a", b"b c"]);
        assert_eq!(dir.as_bytes(), b"/a/b c");
        assert_eq!(dir.parent(), Some(path(&[b"a"])));
        assert_eq!(dir.name(), Some(&b"b c"[..]));
        assert_eq!(path(&[b"a"]).parent(), Some(RemotePath::root()));
        assert_eq!(RemotePath::root().parent(), None);
        assert_eq!(RemotePath::root().name(), None);
    }

    #[test]
    fn names_that_ftp_cannot_carry_are_refused() {
        let root = RemotePath::root();
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0", b"a\rb", b"\n"] {
            assert!(root.join(name).is_err(), "{name:?}");
        }
        for name in [&b" "[..], b"...", b"-x", b"\xff\xfe", b"a\\b", b"*?[]"] {
            assert_eq!(root.join(name).unwrap().name(), Some(name));
        }
    }

    #[test]
    fn a_sibling_with_the_same_prefix_is_not_within() {
        assert!(path(&[b"a", b"b"]).is_within(&path(&[b"a"])));
        assert!(path(&[b"a"]).is_within(&path(&[b"a"])));
        assert!(!path(&[b"ab"]).is_within(&path(&[b"a"])));
        assert!(path(&[b"ab"]).is_within(&RemotePath::root()));
    }
}
