//! The mount in the kernel: made, recognised again, and taken away only while it is ours.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    mount::{UnmountFlags, mount, unmount},
    process::{geteuid, getgid, getuid},
};

use super::{
    dead::is_dead,
    error::MountError,
    fusermount,
    table::{FILESYSTEM_TYPE, MountEntry, MountTable},
};
use crate::config::{Access, MountConfig, MountFlag};

/// The kernel's side of FUSE.
const DEVICE: &str = "/dev/fuse";

/// How long a busy mount is asked again before it is detached with its open files. 2 s: a file manager or a shell that
/// just looks in is gone by then, and nobody waits longer at shutdown.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);

/// How often it is asked.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// How much the kernel reads ahead, in KiB. 1024: measured 4.5 GB/s with it, 2.4 GB/s with the usual 128.
const READ_AHEAD_KIB: u32 = 1024;

/// A mount that exists; dropped, it is unmounted.
#[derive(Debug)]
pub(super) struct Attached {
    entry: MountEntry,
    is_released: bool,
}

/// What became of the mount since it was made.
enum Standing {
    /// It is there and nothing lies on it.
    Free(MountEntry),
    /// Another mount lies on it, and is none of our business.
    Covered(MountEntry),
    /// It is not there any more.
    Gone,
}

impl Attached {
    /// Mounts on `mountpoint`, a real path, and returns the connection to the kernel.
    pub(super) fn new(
        config: &MountConfig,
        mountpoint: &Path,
    ) -> Result<(OwnedFd, Self), MountError> {
        let device = attach(config, mountpoint)?;
        // The path itself must not be asked yet: nobody answers before the session runs.
        match find_new(mountpoint) {
            Ok(entry) => Ok((
                device,
                Self {
                    entry,
                    is_released: false,
                },
            )),
            Err(error) => {
                // Whatever the table says, the mount was made a moment ago.
                let undone = detach(mountpoint, true).err();
                let rest = undone.map(|error| format!("; {error}")).unwrap_or_default();
                Err(MountError::new(format!(
                    "{}: {error}{rest}",
                    mountpoint.display()
                )))
            }
        }
    }

    /// Its `major:minor`.
    pub(super) fn device(&self) -> &str {
        &self.entry.device
    }

    /// Lets the kernel read ahead further, where that is permitted.
    pub(super) fn widen_read_ahead(&self) {
        let path = format!("/sys/class/bdi/{}/read_ahead_kb", self.entry.device);
        if let Err(error) = fs::write(&path, READ_AHEAD_KIB.to_string()) {
            log::debug!("{path} stays as it is: {error}");
        }
    }

    /// The session ended by itself: the mount is gone, or dead when its connection was aborted.
    pub(super) fn note_end(&mut self) {
        let is_left = matches!(self.standing(), Ok(Standing::Free(entry))
            if is_dead(&entry.mountpoint));
        // Whatever lives at that place now, even under the same number, is another mount.
        self.is_released = !is_left;
    }

    /// Unmounts: at once if nobody uses it, else after some patience together with the files that are open.
    pub(super) fn unmount(&mut self) -> Result<(), MountError> {
        if self.is_released {
            return Ok(());
        }
        self.is_released = true;
        let deadline = Instant::now() + BUSY_PATIENCE;
        loop {
            let entry = match self.standing() {
                Ok(Standing::Free(entry)) => entry,
                Ok(Standing::Gone) => return Ok(()),
                Ok(Standing::Covered(other)) => return Err(self.covered(&other)),
                Err(error) => {
                    return Err(MountError::new(format!("/proc/self/mountinfo: {error}")));
                }
            };
            let is_lazy = Instant::now() >= deadline;
            match detach(&entry.mountpoint, is_lazy) {
                Ok(()) => return Ok(()),
                Err(error) if is_lazy => {
                    return Err(MountError::new(format!(
                        "{} could not be unmounted: {error}",
                        entry.mountpoint.display()
                    )));
                }
                Err(error) => log::debug!("{}: {error}", entry.mountpoint.display()),
            }
            thread::sleep(BUSY_PAUSE);
        }
    }

    fn covered(&self, other: &MountEntry) -> MountError {
        MountError::new(format!(
            "{} stays mounted, because {} is mounted on {}; unmount that first, then: fusermount3 -u {}",
            self.entry.mountpoint.display(),
            other.fstype,
            other.mountpoint.display(),
            self.entry.mountpoint.display(),
        ))
    }

    fn standing(&self) -> io::Result<Standing> {
        let table = MountTable::read()?;
        Ok(match table.find(&self.entry) {
            None => Standing::Gone,
            Some(entry) => match table.child_of(entry) {
                Some(child) => Standing::Covered(child.clone()),
                None => Standing::Free(entry.clone()),
            },
        })
    }
}

#[cfg(test)]
impl Attached {
    /// A mount that is not there any more.
    pub(super) fn released() -> Self {
        let entry = MountEntry {
            id: 0,
            parent: 0,
            device: String::new(),
            mountpoint: "/nowhere".into(),
            fstype: FILESYSTEM_TYPE.to_owned(),
            source: "ftp://h/".into(),
        };
        Self {
            entry,
            is_released: true,
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            log::error!("{error}");
        }
    }
}

/// The table's entry of the mount that was just made.
fn find_new(mountpoint: &Path) -> io::Result<MountEntry> {
    let table = MountTable::read()?;
    let entry = table
        .top_at(mountpoint)
        .filter(|entry| entry.fstype == FILESYSTEM_TYPE);
    entry
        .cloned()
        .ok_or_else(|| io::Error::other("the new mount is not in /proc/self/mountinfo"))
}

/// Unmounts what is on top of `mountpoint`; `is_lazy` takes it out of sight even while files are open.
pub(super) fn detach(mountpoint: &Path, is_lazy: bool) -> io::Result<()> {
    if geteuid().is_root() {
        let lazy = if is_lazy {
            UnmountFlags::DETACH
        } else {
            UnmountFlags::empty()
        };
        match unmount(mountpoint, UnmountFlags::NOFOLLOW | lazy) {
            // Root of a container that may not mount by itself.
            Err(Errno::PERM) => {}
            result => return result.map_err(io::Error::from),
        }
    }
    fusermount::unmount(mountpoint, is_lazy)
}

/// mount(2) as root, fusermount3 for everybody else.
fn attach(config: &MountConfig, mountpoint: &Path) -> Result<OwnedFd, MountError> {
    if !geteuid().is_root() {
        return fusermount::mount(mountpoint, &helper_options(config));
    }
    let device = open_device()?;
    let options = kernel_options(config, &device);
    let failed = |error: &dyn std::fmt::Display| {
        MountError::new(format!("cannot mount on {}: {error}", mountpoint.display()))
    };
    let options = CString::new(options).map_err(|error| failed(&error))?;
    let flags = MountFlag::combine(&config.flags);
    match mount(
        config.source.as_str(),
        mountpoint,
        FILESYSTEM_TYPE,
        flags,
        options.as_c_str(),
    ) {
        Ok(()) => Ok(device.into()),
        // Root of a container that may not mount by itself.
        Err(Errno::PERM) => fusermount::mount(mountpoint, &helper_options(config)),
        Err(error) => Err(failed(&io::Error::from(error))),
    }
}

fn open_device() -> Result<File, MountError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::NotFound => "; load the kernel's module with: modprobe fuse",
                _ => "",
            };
            MountError::new(format!("{DEVICE}: {error}{remedy}"))
        })
}

/// Whether a second connection to the kernel can be opened for the second thread; a user who mounts by fusermount3 may
/// have no right to.
pub(super) fn can_clone_device() -> bool {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(DEVICE)
        .is_ok()
}

fn common_options(config: &MountConfig) -> Vec<&'static str> {
    let mut options = Vec::new();
    if config.default_permissions {
        options.push("default_permissions");
    }
    // The kernel knows no allow_root: fuser turns the others away.
    if config.access != Access::Owner {
        options.push("allow_other");
    }
    options
}

fn kernel_options(config: &MountConfig, device: &File) -> String {
    let mut options = vec![
        format!("fd={}", device.as_raw_fd()),
        format!("rootmode={:o}", libc::S_IFDIR),
        format!("user_id={}", getuid().as_raw()),
        format!("group_id={}", getgid().as_raw()),
    ];
    options.extend(common_options(config).into_iter().map(str::to_owned));
    options.join(",")
}

/// The source holds neither comma nor backslash: both are percent-encoded.
fn helper_options(config: &MountConfig) -> String {
    let subtype = FILESYSTEM_TYPE
        .strip_prefix("fuse.")
        .unwrap_or(FILESYSTEM_TYPE);
    let mut options = vec![
        format!("fsname={}", config.source),
        format!("subtype={subtype}"),
    ];
    options.extend(common_options(config).into_iter().map(str::to_owned));
    options.extend(config.flags.iter().map(|flag| flag.name.to_owned()));
    options.join(",")
}
