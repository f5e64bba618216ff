//! Hidden names: the names of this mount's own files on the server, which programs never see.
//!
//! A file has one while it goes up, while another file takes its place, and when it was removed and a program still has it open.

use std::sync::Arc;

use super::account::Account;
use crate::remote::{self, MadeName, Remote, RemoteError, RemoteErrorKind, RemotePath};

/// Makes, recognises and removes them.
#[derive(Debug)]
pub(crate) struct HiddenNames {
    remote: Arc<dyn Remote>,
    account: Arc<Account>,
    /// Begins each hidden name of this mount, after a dot if there is one.
    prefix: String,
}

impl HiddenNames {
    /// None yet.
    pub(crate) fn new(remote: Arc<dyn Remote>, account: Arc<Account>) -> Self {
        Self {
            remote,
            account,
            prefix: format!("ftpfs-{:08x}", fastrand::u32(..)),
        }
    }

    /// A new one in `dir`, with a dot in front or without: some servers forbid names that begin with one (vsftpd's `deny_file`,
    /// Pure-FTPd's `ProhibitDotFilesWrite`).
    pub(crate) fn make(&self, dir: &RemotePath, has_dot: bool) -> Option<MadeName> {
        let dot = if has_dot { "." } else { "" };
        MadeName::fresh(dir, &format!("{dot}{}", self.prefix))
    }

    /// Whether a name is one of these, so that it is not shown.
    pub(crate) fn is_hidden(&self, name: &[u8]) -> bool {
        let name = name.strip_prefix(b".").unwrap_or(name);
        name.starts_with(self.prefix.as_bytes())
    }

    /// The name in `dir`, if it is one of these.
    pub(crate) fn recognise(&self, dir: &RemotePath, name: &[u8]) -> Option<MadeName> {
        let is_ours = self.is_hidden(name);
        MadeName::recognised(dir, name).filter(|_| is_ours)
    }

    /// Removes a file that is not needed any more; one that the server does not let go teaches that there should be no more of them.
    pub(crate) fn remove(&self, made: &MadeName) {
        let path = made.path();
        let Err(error) = self.remove_now(made) else {
            return;
        };
        log::debug!("temporary file not removed: {error}");
        if is_name_refusal(&error) && matches!(self.remote.stat(path), Ok(Some(_))) {
            log::warn!("{path} stays on the server: {error}");
            self.account.note_no_removal();
        }
    }

    /// Removes a file; says so when that fails.
    pub(crate) fn remove_now(&self, made: &MadeName) -> remote::Result<()> {
        match self.remote.remove_file(made.permit()) {
            // Nobody else has a file of that name: done twice is done once.
            Err(error) if error.is_unheard() => self.remote.remove_file(made.permit()),
            removed => removed,
        }
    }

    /// [`Self::remove`] without making anyone wait.
    pub(crate) fn discard(self: &Arc<Self>, made: MadeName) {
        let names = self.clone();
        let spawned = std::thread::Builder::new()
            .name("ftpfs-cleanup".into())
            .spawn(move || names.remove(&made));
        if let Err(error) = spawned {
            log::warn!("no thread to remove a temporary file: {error}");
        }
    }
}

/// Whether the server will not have this name, however often it is asked.
pub(crate) fn is_name_refusal(error: &RemoteError) -> bool {
    matches!(
        error.kind(),
        RemoteErrorKind::Refused | RemoteErrorKind::NameRefused | RemoteErrorKind::Unsupported
    )
}
