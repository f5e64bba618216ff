//! Symbolic links, kept inside the mounted directory.

use super::{Filesystem, attr::Attr};
use crate::{
    fs::{
        error::{FsError, FsErrorKind, Result},
        number::Ino,
        server::Intent,
    },
    remote::{EntryKind, RemoteEntry, RemoteErrorKind, RemotePath},
};

impl Filesystem {
    /// Where a symbolic link points, relative to its own directory and never out of the mount: a server must not make programs
    /// open files of this machine.
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        let path = self.inodes.path_of(ino)?;
        let entry = self
            .server
            .tree()
            .entry(&path)?
            .ok_or_else(|| FsError::new(FsErrorKind::NotFound, &path))?;
        if entry.kind != EntryKind::Symlink {
            return Err(FsError::new(FsErrorKind::Invalid, &path));
        }
        let target = match &entry.target {
            Some(target) => target.clone(),
            None => match self.server.remote().read_link(&path) {
                Ok(target) => target,
                Err(error) if error.kind() == RemoteErrorKind::Refused => {
                    return Err(FsError::explained(FsErrorKind::LeavesMount, error));
                }
                Err(error) => return Err(error.into()),
            },
        };
        contain(&path, &target).ok_or_else(|| FsError::new(FsErrorKind::LeavesMount, &path))
    }

    /// Makes a symbolic link, where the server can, and looks it up.
    pub fn symlink(&self, parent: Ino, name: &[u8], target: &[u8]) -> Result<Attr> {
        let path = self.child_path(parent, name)?;
        self.check_writable(Some(&path))?;
        self.server.holds().check(&path)?;
        self.server
            .remote()
            .make_symlink(target, &path)
            .map_err(|error| match error.kind() {
                // What symlink(2) says of a filesystem without links.
                RemoteErrorKind::Unsupported => {
                    FsError::explained(FsErrorKind::NotPermitted, error)
                }
                _ => self.server.explain(error, &path, Intent::Make),
            })?;
        let mut entry = RemoteEntry::new(name, EntryKind::Symlink);
        // The server takes an absolute one for a path of its own, and is asked what that is here.
        entry.target = (!target.starts_with(b"/")).then(|| Box::from(target));
        entry.modified = Some(self.clock.wall().into());
        self.server.tree().enter(&path, entry.clone());
        let ino = self.inodes.look_up(parent, name, EntryKind::Symlink);
        Ok(self.view.attr(ino, entry.as_borrowed()))
    }
}

/// The target as a relative path without detours, or `None` when it leads out of the mounted directory. Resolved by name: a
/// `..` behind a name undoes that name, so that no link on the way can carry it elsewhere.
fn contain(link: &RemotePath, target: &[u8]) -> Option<Vec<u8>> {
    let is_absolute = target.starts_with(b"/");
    let depth = link.components().count().saturating_sub(1);
    let mut ups = if is_absolute { depth } else { 0 };
    let mut names: Vec<&[u8]> = Vec::new();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if names.pop().is_some() => {}
            b".." => ups += 1,
            name => names.push(name),
        }
    }
    if ups > depth {
        return None;
    }
    let ups = std::iter::repeat_n(&b".."[..], ups);
    let joined = ups.chain(names).collect::<Vec<_>>().join(&b'/');
    Some(if joined.is_empty() {
        b".".to_vec()
    } else {
        joined
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // SEMANTICS: S-readlink
    #[test]
    fn links_stay_inside_the_mount() {
        let dir = RemotePath::root().join(b"a").unwrap().join(b"b").unwrap();
        let link = dir.join(b"link").unwrap();
        let table: &[(&[u8], Option<&[u8]>)] = &[
            (b"file", Some(b"file")),
            (b"../x", Some(b"../x")),
            (b"../../x", Some(b"../../x")),
            (b"../../../x", None),
            (b"/x/y", Some(b"../../x/y")),
            (b"/../x", None),
            (b"x/../../../..", None),
            (b"x/../y", Some(b"y")),
            (b"./", Some(b".")),
            (b"/", Some(b"../..")),
        ];
        for (target, expected) in table {
            assert_eq!(
                contain(&link, target).as_deref(),
                *expected,
                "{}",
                target.escape_ascii()
            );
        }
    }
}
