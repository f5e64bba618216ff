//! Stacks the layers of a mount: sessions, remote, filesystem, and the kernel's side.

use std::{sync::Arc, time::Duration};

use super::{Drain, MountError, Names, Progress, Started, Unsent};
use crate::{
    clock::SystemClock,
    config::Config,
    fs::{Filesystem, Ino},
    ftp::FtpRemote,
    fuse::FuseServer,
};

/// Connects, logs in, and makes a filesystem that can be mounted.
///
/// # Errors
///
/// What the server or the network said, in one sentence.
pub fn build(config: &Config) -> Result<Started<FuseServer>, MountError> {
    let remote =
        FtpRemote::connect(&config.ftp).map_err(|error| MountError::new(error.to_string()))?;
    let filesystem = Filesystem::new(
        remote.clone(),
        config.fs.clone(),
        &config.cache,
        config.ftp.connections_max,
        Arc::new(SystemClock),
    );
    filesystem
        .start_retrying()
        .map_err(|error| MountError::new(format!("cannot start a thread: {error}")))?;
    Ok(Started {
        server: FuseServer::new(filesystem.clone(), config.ftp.timeout),
        names: filesystem.clone(),
        uploads: Arc::new(Layers { filesystem, remote }),
    })
}

/// What has to be ended in good order.
#[derive(Debug)]
struct Layers {
    filesystem: Arc<Filesystem>,
    remote: Arc<FtpRemote>,
}

impl Drain for Layers {
    fn drain(&self, limit: Duration) -> bool {
        self.filesystem.drain(limit)
    }

    fn progress(&self) -> Progress {
        let left = self.filesystem.progress();
        Progress {
            files_left: left.files_left,
            bytes_left: left.bytes_left,
            bytes_moved: left.bytes_moved,
        }
    }

    fn keep(&self) -> Vec<Unsent> {
        named(self.filesystem.keep_unsent())
    }
}

impl Names for Filesystem {
    fn forget_surplus(&self, forget: &dyn Fn(Ino, &[u8])) {
        Self::forget_surplus(self, forget);
    }

    fn forget_attributes_by(&self, forget: Box<dyn Fn(Ino) + Send + Sync>) {
        Self::forget_attributes_by(self, forget);
    }
}

/// The files in the words of the mount's last message.
fn named(unsent: Vec<crate::fs::Unsent>) -> Vec<Unsent> {
    let name = |file: crate::fs::Unsent| {
        let (kept_in, ranges_in) = match file.kept {
            Some(kept) => (Some(kept.copy), kept.ranges),
            None => (None, None),
        };
        Unsent {
            path: file.path,
            error: file.error.to_string(),
            kept_in,
            ranges_in,
        }
    };
    unsent.into_iter().map(name).collect()
}

impl Drop for Layers {
    fn drop(&mut self) {
        self.filesystem.shutdown();
        self.remote.shutdown();
    }
}
