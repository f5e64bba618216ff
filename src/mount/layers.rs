//! Stacks the layers of a mount: sessions, remote, filesystem.

use std::sync::Arc;

use super::error::{Cause, MountError};
use crate::{
    clock::SystemClock,
    config::Config,
    fs::Filesystem,
    ftp::{ConnectError, FtpRemote},
};

/// The layers of a mount that has logged in; dropped, they end in good order.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) filesystem: Arc<Filesystem>,
    remote: Arc<FtpRemote>,
}

impl Layers {
    /// Connects, logs in, and makes a filesystem that can be mounted.
    ///
    /// # Errors
    ///
    /// What the server or the network said, in one sentence.
    pub(super) fn build(config: &Config) -> Result<Self, MountError> {
        let remote = FtpRemote::connect(&config.ftp).map_err(|error| {
            let may_ask = config.ftp.tls.trusted_hosts.is_some();
            let cause = match &error {
                ConnectError::Tls(error) if may_ask && error.trouble().is_some() => {
                    Cause::Untrusted
                }
                _ => Cause::Other,
            };
            MountError::new(error.to_string()).caused_by(cause)
        })?;
        if config.fs.verifies_uploads && remote.offered_hashes().is_empty() {
            log::warn!(
                "this server offers no XCRC, XMD5 or HASH; --verify has no effect beyond the size"
            );
        }
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
        Ok(Self { filesystem, remote })
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        self.filesystem.shutdown();
        self.remote.shutdown();
    }
}
