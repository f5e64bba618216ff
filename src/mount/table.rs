//! The kernel's table of mounts, /proc/self/mountinfo.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// The type under which our mounts appear.
pub(super) const FILESYSTEM_TYPE: &str = "fuse.ftpfs";

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountEntry {
    /// The mount's number; the kernel gives it again after an unmount.
    pub(super) id: u64,
    /// The number of the mount that this one lies on.
    pub(super) parent: u64,
    /// `major:minor` of the filesystem.
    pub(super) device: String,
    /// Where it is mounted.
    pub(super) mountpoint: PathBuf,
    /// The filesystem's type.
    pub(super) fstype: String,
    /// What is mounted.
    pub(super) source: OsString,
}

/// All mounts of this process's namespace at one moment.
#[derive(Debug)]
pub(super) struct MountTable(Vec<MountEntry>);

impl MountTable {
    /// Reads the table.
    pub(super) fn read() -> io::Result<Self> {
        Ok(Self::parse(&fs::read("/proc/self/mountinfo")?))
    }

    fn parse(text: &[u8]) -> Self {
        Self(
            text.split(|byte| *byte == b'\n')
                .filter_map(parse_line)
                .collect(),
        )
    }

    /// What one sees at `path`: the mount there that no other mount covers.
    pub(super) fn top_at(&self, path: &Path) -> Option<&MountEntry> {
        let here = || self.0.iter().filter(|entry| entry.mountpoint == path);
        here().find(|entry| !here().any(|other| other.parent == entry.id && other.id != entry.id))
    }

    /// The same mount at a later time, wherever it has been moved to.
    pub(super) fn find(&self, wanted: &MountEntry) -> Option<&MountEntry> {
        self.0.iter().find(|entry| {
            entry.id == wanted.id && entry.device == wanted.device && entry.source == wanted.source
        })
    }

    /// Whether a filesystem is mounted anywhere.
    pub(super) fn has_device(&self, device: &str) -> bool {
        self.0.iter().any(|entry| entry.device == device)
    }

    /// A mount that lies on `entry`, over its root or somewhere inside.
    pub(super) fn child_of(&self, entry: &MountEntry) -> Option<&MountEntry> {
        self.0
            .iter()
            .find(|other| other.parent == entry.id && other.id != entry.id)
    }
}

/// proc(5): `36 35 98:0 /root /mountpoint options [optional...] - type source super-options`.
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let id = text(fields.next()?).parse().ok()?;
    let parent = text(fields.next()?).parse().ok()?;
    let device = text(fields.next()?);
    let mountpoint = unescape(fields.nth(1)?);
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let fstype = text(fields.next()?);
    let source = unescape(fields.next()?);
    Some(MountEntry {
        id,
        parent,
        device,
        mountpoint: mountpoint.into(),
        fstype,
        source,
    })
}

/// The kernel writes blank, tab, line break, backslash and hash as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let octal = after
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => bytes.push(*first),
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:50 / /mnt/my\\040ftp rw,nosuid,nodev shared:9 master:3 - fuse.ftpfs ftp://u@h/ rw,user_id=0
41 40 0:51 / /mnt/my\\040ftp rw - tmpfs tmpfs rw
42 22 0:52 / /mnt/other rw - fuse.ftpfs ftp://h/ rw
43 42 0:53 / /mnt/other/sub rw - tmpfs a\\134b rw
torn line
";

    #[test]
    fn lines_are_read_with_their_escapes() {
        let table = MountTable::parse(SAMPLE);
        assert_eq!(table.0.len(), 5);
        let entry = &table.0[1];
        assert_eq!(
            (entry.id, entry.parent, entry.device.as_str()),
            (40, 22, "0:50")
        );
        assert_eq!(entry.mountpoint, Path::new("/mnt/my ftp"));
        assert_eq!(
            (entry.fstype.as_str(), entry.source.to_str()),
            ("fuse.ftpfs", Some("ftp://u@h/"))
        );
        assert_eq!(table.0[4].source, OsString::from("a\\b"));
    }

    #[test]
    fn the_mount_on_top_is_the_one_that_is_seen() {
        let table = MountTable::parse(SAMPLE);
        assert_eq!(
            table.top_at(Path::new("/mnt/my ftp")).unwrap().fstype,
            "tmpfs"
        );
        assert_eq!(table.top_at(Path::new("/mnt/other")).unwrap().id, 42);
        assert_eq!(table.top_at(Path::new("/mnt")), None);
    }

    #[test]
    fn mounts_on_a_mount_are_found() {
        let table = MountTable::parse(SAMPLE);
        assert_eq!(table.child_of(&table.0[1]).unwrap().id, 41);
        assert_eq!(table.child_of(&table.0[3]).unwrap().id, 43);
        assert_eq!(table.child_of(&table.0[2]), None);
    }

    #[test]
    fn a_number_given_again_is_not_taken_for_the_same_mount() {
        let table = MountTable::parse(SAMPLE);
        let ours = table.0[3].clone();
        assert!(table.find(&ours).is_some());
        assert_eq!(
            table.find(&MountEntry {
                device: "0:99".to_owned(),
                ..ours
            }),
            None
        );
    }
}
