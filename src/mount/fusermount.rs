//! fusermount3, the setuid helper by which ordinary users mount and unmount.

use std::{
    env, io,
    io::{IoSliceMut, Read},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::error::MountError;

/// The names of the helper: of fuse 3, and of fuse 2 which older systems have.
const PROGRAMS: [&str; 2] = ["fusermount3", "fusermount"];

/// Where it lies when PATH does not say, as under systemd.
const DIRS: [&str; 3] = ["/usr/bin", "/bin", "/usr/local/bin"];

/// Mounts, and returns the connection to the kernel.
pub(super) fn mount(mountpoint: &Path, options: &str) -> Result<OwnedFd, MountError> {
    let (ours, theirs) =
        UnixStream::pair().map_err(|error| MountError::new(format!("socketpair: {error}")))?;
    let mut child = command()?
        .args(["-o", options, "--"])
        .arg(mountpoint)
        // The helper sends the open /dev/fuse over the socket of this number: its standard input.
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| MountError::new(format!("fusermount3 could not be started: {error}")))?;
    let device = receive_device(&ours);
    drop(ours);
    let (status, complaint) = finish(&mut child);
    match device {
        Ok(Some(device)) if status => Ok(device),
        Ok(_) => Err(MountError::new(format!(
            "cannot mount on {}: {complaint}",
            mountpoint.display()
        ))),
        Err(error) => Err(MountError::new(format!(
            "fusermount3 sent no connection: {error}; {complaint}"
        ))),
    }
}

/// Unmounts; `is_lazy` takes the mount out of sight even while files are open.
pub(super) fn unmount(mountpoint: &Path, is_lazy: bool) -> io::Result<()> {
    let mut command = command().map_err(io::Error::other)?;
    command.arg("-u");
    if is_lazy {
        command.arg("-z");
    }
    let mut child = command
        .arg("--")
        .arg(mountpoint)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    match finish(&mut child) {
        (true, _) => Ok(()),
        (false, complaint) => Err(io::Error::other(complaint)),
    }
}

fn command() -> Result<Command, MountError> {
    let program = find_program().ok_or_else(|| {
        MountError::new(
            "fusermount3 is not installed; install the package fuse3 (or mount as root)",
        )
    })?;
    let mut command = Command::new(program);
    // A setuid program has no business with our password.
    command.env_remove("FTPFS_PASSWORD");
    Ok(command)
}

fn find_program() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<_> = env::split_paths(&path)
        .chain(DIRS.iter().map(PathBuf::from))
        .collect();
    PROGRAMS
        .iter()
        .flat_map(|program| dirs.iter().map(move |dir| dir.join(program)))
        .find(|candidate| candidate.is_absolute() && candidate.is_file())
}

/// Waits for the helper; whether it succeeded, and its complaint on one line.
fn finish(child: &mut Child) -> (bool, String) {
    let mut complaint = String::new();
    if let Some(stderr) = &mut child.stderr {
        // What is not UTF-8 is no complaint that could be shown.
        let _ = stderr.read_to_string(&mut complaint);
    }
    let is_success = child.wait().is_ok_and(|status| status.success());
    let complaint = complaint.split_whitespace().collect::<Vec<_>>().join(" ");
    match complaint.as_str() {
        "" => (
            is_success,
            "fusermount3 failed without saying why".to_owned(),
        ),
        _ => (is_success, complaint),
    }
}

/// One byte, with the descriptor as ancillary data; `None` when the helper hung up without it.
fn receive_device(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    loop {
        match recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            flags,
        ) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let device = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(device)
}
