//! Directories and files of ours on this machine: nobody else may read them, nor put others in their place.

mod key;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustix::process::geteuid;

pub use self::key::HashKey;

/// What lets others read or write.
const OTHERS: u32 = 0o077;

/// What lets everybody write.
const ALL_WRITE: u32 = 0o002;

/// What lets the group write.
const GROUP_WRITES: u32 = 0o020;

/// The sticky bit, by which only its owner takes a name away (as in /tmp).
const STICKY: u32 = 0o1000;

/// Makes a directory, and those above it that are missing, for this user alone. One that is there stays as it is.
///
/// # Errors
///
/// It cannot be made.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The same for a directory of ours, whose place is ours alone. One that is there and that others may read is
/// closed to them.
///
/// # Errors
///
/// It cannot be made, belongs to another user, or others may have written to it.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    make_dir(dir)?;
    let metadata = fs::metadata(dir)?;
    if metadata.uid() != geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if may_be_written(&metadata) {
        return Err(io::Error::other("other users may write to it"));
    }
    if metadata.mode() & OTHERS != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Sees to it that nobody else can put another directory in the place of this one: it and all above it belong to this user or to root, and no
/// others may write to them; to one with the sticky bit they may.
///
/// # Errors
///
/// Which of them is somebody else's, in words; or that it cannot be looked at. One that is not there is no error.
pub fn check_place(dir: &Path) -> io::Result<()> {
    for part in dir.ancestors() {
        // A link counts itself and by where it leads.
        let own = [fs::symlink_metadata(part), fs::metadata(part)];
        for (place, metadata) in own.into_iter().enumerate() {
            let metadata = match metadata {
                Err(error) if matches!(error.kind(), ErrorKind::NotFound) => continue,
                metadata => metadata?,
            };
            let shown = part.display();
            if !is_trusted(metadata.uid()) {
                return Err(io::Error::other(format!("{shown} belongs to another user")));
            }
            let is_open = may_be_written(&metadata) && metadata.mode() & STICKY == 0;
            if place == 1 && metadata.is_dir() && is_open {
                return Err(io::Error::other(format!(
                    "other users may write to {shown}"
                )));
            }
        }
    }
    Ok(())
}

/// Opens a log, to write behind what it holds, made for this user alone if need be. A pipe without a reader is not waited for.
///
/// # Errors
///
/// It cannot be opened, or is another user's, or a link of another user's.
pub fn open_log(path: &Path) -> io::Result<File> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    if is_link && !is_trusted(fs::symlink_metadata(path)?.uid()) {
        return Err(io::Error::other("it is another user's link"));
    }
    let no_link = if is_link { 0 } else { libc::O_NOFOLLOW };
    let opened = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | no_link)
        .open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO) => io::Error::other("it is a pipe that nobody reads"),
        _ => error,
    })?;
    let metadata = file.metadata()?;
    // A terminal or /dev/null is everybody's.
    if !metadata.file_type().is_char_device() && !is_trusted(metadata.uid()) {
        return Err(io::Error::other("it belongs to another user"));
    }
    Ok(file)
}

/// Whether others than its owner may write to it. A group of the owner's number is the owner's alone, as distributions make one for each user, and
/// with it a umask that lets it write.
pub fn may_be_written(metadata: &fs::Metadata) -> bool {
    let is_shared = metadata.gid() != metadata.uid();
    metadata.mode() & ALL_WRITE != 0 || (is_shared && metadata.mode() & GROUP_WRITES != 0)
}

/// Whether what this user owns is as good as our own.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn directories_of_ours_are_closed_to_others_also_those_that_are_there() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("state/ftpfs");
        private_dir(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        set_mode(&dir, 0o755);
        private_dir(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        set_mode(&dir, 0o777);
        assert!(private_dir(&dir).is_err());
    }

    #[test]
    fn a_place_that_others_can_exchange_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let open = home.path().join("open");
        let dir = open.join("dir");
        fs::create_dir_all(&dir).unwrap();
        check_place(&dir).unwrap();
        check_place(&dir.join("not/yet/there")).unwrap();
        for (bits, is_good) in [(0o755, true), (0o777, false), (0o1777, true)] {
            set_mode(&open, bits);
            assert_eq!(check_place(&dir).is_ok(), is_good, "{bits:o}");
        }
        if geteuid().is_root() {
            // The owner's own group, and another.
            for (group, is_good) in [(0, true), (12, false)] {
                chown(&open, None, Some(group)).unwrap();
                set_mode(&open, 0o775);
                assert_eq!(check_place(&dir).is_ok(), is_good, "group {group}");
            }
        }
        set_mode(&open, 0o755);
        let link = home.path().join("link");
        symlink(&dir, &link).unwrap();
        check_place(&link).unwrap();
        set_mode(&dir, 0o777);
        assert!(check_place(&link).is_err());
        set_mode(&dir, 0o755);
        if geteuid().is_root() {
            chown(&open, Some(65_534), None).unwrap();
            assert!(check_place(&dir).is_err());
        }
    }

    #[test]
    fn a_log_follows_no_foreign_link_and_waits_for_no_reader() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        open_log(&at("log")).unwrap();
        assert_eq!(mode(&at("log")), 0o600);
        symlink(at("log"), at("link")).unwrap();
        open_log(&at("link")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(at("pipe"))
            .status();
        assert!(made.unwrap().success());
        assert!(open_log(&at("pipe")).is_err());
        let _reader = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(at("pipe"))
            .unwrap();
        open_log(&at("pipe")).unwrap();
        open_log(Path::new("/dev/null")).unwrap();
        if geteuid().is_root() {
            let nobody = Some(65_534);
            std::os::unix::fs::lchown(at("link"), nobody, nobody).unwrap();
            assert!(open_log(&at("link")).is_err());
            chown(at("log"), nobody, nobody).unwrap();
            assert!(open_log(&at("log")).is_err());
        }
    }
}
