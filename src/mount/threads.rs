//! The threads of a mount, each with a name.

use std::{sync::Arc, thread};

use super::{error::MountError, sandbox::Sandbox};

/// Starts a thread that ends by itself.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), MountError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| MountError::new(format!("no thread could be started: {error}")))
}

/// The same for one that stays within the sandbox.
pub(super) fn spawn_within(
    sandbox: &Arc<Sandbox>,
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<(), MountError> {
    let sandbox = sandbox.clone();
    spawn(name, move || {
        sandbox.enter();
        work();
    })
}
