//! The names that mounts make for their own files on the server.

use std::{fmt, ops::Deref};

use crate::remote::{RemotePath, fresh_bits};

/// A path whose name was made by this mount, or by one whose debts it has taken over: nobody else's file has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MadeName(RemotePath);

impl MadeName {
    /// A new one in `dir`, whose name begins with this, after a dot if it has one.
    pub(super) fn fresh(dir: &RemotePath, has_dot: bool, prefix: &str) -> Option<Self> {
        let dot = if has_dot { "." } else { "" };
        let name = format!("{dot}{prefix}-{}.tmp", fresh_bits()?);
        dir.join(name.as_bytes()).ok().map(Self)
    }

    /// What a debts file names; `None` for what no mount has made.
    pub(super) fn recorded(path: RemotePath) -> Option<Self> {
        let name = path.name()?;
        let name = name.strip_prefix(b".").unwrap_or(name);
        let rest = name.strip_prefix(b"ftpfs-")?.strip_suffix(b".tmp")?;
        let (mount, bits) = rest.split_at_checked(8)?;
        let bits = bits.strip_prefix(b"-")?;
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_made = bits.len() == 32 && mount.iter().chain(bits).all(is_hex);
        is_made.then_some(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &RemotePath {
        &self.0
    }
}

impl Deref for MadeName {
    type Target = RemotePath;

    fn deref(&self) -> &RemotePath {
        &self.0
    }
}

impl fmt::Display for MadeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
