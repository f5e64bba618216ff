//! The threads of a mount, each with a name.

use std::thread;

use super::error::MountError;

/// Starts a thread that ends by itself.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), MountError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| MountError::new(format!("no thread could be started: {error}")))
}
