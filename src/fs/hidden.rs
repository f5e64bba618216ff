//! Hidden names: the names of this mount's own files on the server, which programs never see.
//!
//! A file has one while it goes up, while another file takes its place, and when it was removed and a program still has it open. Each is
//! written down before it is used ([`Debts`]).

use std::{path::PathBuf, sync::Arc};

use super::{
    account::Account,
    debts::{Debt, Debts},
};
use crate::{
    clock::Clock,
    remote::{self, MadeName, Remote, RemoteError, RemoteErrorKind, RemotePath},
};

/// What has become of a file that is not needed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// It is gone.
    Gone,
    /// The server does not let it go.
    Refused,
    /// It is tried again.
    Later,
}

/// Makes, recognises and removes them.
#[derive(Debug)]
pub(crate) struct HiddenNames {
    remote: Arc<dyn Remote>,
    account: Arc<Account>,
    debts: Debts,
    /// Begins each hidden name of this mount, after a dot if there is one.
    prefix: String,
}

impl HiddenNames {
    /// None yet; they are written down below `debts_dir`, if there is one.
    pub(crate) fn new(
        remote: Arc<dyn Remote>,
        account: Arc<Account>,
        debts_dir: Option<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mount = fastrand::u32(..);
        Self {
            remote,
            account,
            debts: Debts::new(debts_dir, mount, clock),
            prefix: format!("ftpfs-{mount:08x}"),
        }
    }

    /// What is owed for them.
    pub(crate) fn debts(&self) -> &Debts {
        &self.debts
    }

    /// A new one in `dir` for a file that goes up, with a dot in front or without: some servers forbid names that begin with one
    /// (vsftpd's `deny_file`, Pure-FTPd's `ProhibitDotFilesWrite`).
    pub(crate) fn make(&self, dir: &RemotePath, has_dot: bool) -> Option<MadeName> {
        self.make_for(dir, has_dot, Debt::Upload)
    }

    /// The same for another purpose.
    pub(crate) fn make_for(&self, dir: &RemotePath, has_dot: bool, debt: Debt) -> Option<MadeName> {
        let dot = if has_dot { "." } else { "" };
        let name = MadeName::fresh(dir, &format!("{dot}{}", self.prefix))?;
        self.debts.record(&name, debt);
        Some(name)
    }

    /// Whether a name is one of these, so that it is not shown.
    pub(crate) fn is_hidden(&self, name: &[u8]) -> bool {
        let rest = name.strip_prefix(b".").unwrap_or(name);
        rest.starts_with(self.prefix.as_bytes()) && !self.debts.is_shown(name)
    }

    /// Removes a file that is not needed any more; one that the server does not let go teaches that there should be no more of them.
    pub(crate) fn remove(&self, name: &MadeName) -> Removal {
        let Err(error) = self.remove_now(name) else {
            self.debts.settle(name);
            return Removal::Gone;
        };
        log::debug!("temporary file not removed: {error}");
        if !is_name_refusal(&error) {
            self.debts.fall_due(name);
            return Removal::Later;
        }
        match self.remote.stat(name) {
            Ok(None) => {
                self.debts.settle_absent(name);
                Removal::Gone
            }
            Ok(Some(_)) => {
                if self.debts.note_refused(name) {
                    log::warn!("{name} stays on the server: {error}");
                }
                self.account.note_no_removal();
                Removal::Refused
            }
            Err(_) => {
                self.debts.fall_due(name);
                Removal::Later
            }
        }
    }

    /// Removes a directory in which a file has gone up; while the file is still in it, that is tried again.
    pub(crate) fn remove_room(&self, name: &MadeName) -> Removal {
        let Err(error) = self.remote.remove_dir(name.permit()) else {
            self.debts.settle(name);
            return Removal::Gone;
        };
        log::debug!("temporary directory not removed: {error}");
        if error.is_answer() && matches!(self.remote.stat(name), Ok(None)) {
            self.debts.settle_absent(name);
            return Removal::Gone;
        }
        self.debts.fall_due(name);
        if is_name_refusal(&error) {
            if self.debts.note_refused(name) {
                log::warn!("{name} stays on the server: {error}");
            }
            return Removal::Refused;
        }
        Removal::Later
    }

    fn remove_now(&self, name: &MadeName) -> remote::Result<()> {
        let removed = match self.remote.remove_file(name.permit()) {
            // Nobody else has a file of that name: done twice is done once.
            Err(error) if error.is_unheard() => self.remote.remove_file(name.permit()),
            removed => removed,
        };
        if removed.is_ok() {
            self.account.note_removed();
        }
        removed
    }

    /// Removes a file that was kept aside and is of no more use.
    pub(crate) fn release(&self, name: &MadeName) -> Removal {
        self.debts.record(name, Debt::Removed);
        self.remove(name)
    }

    /// The same after a change of it that failed, which may still be carried out.
    pub(crate) fn discard_after(self: &Arc<Self>, name: MadeName, error: &RemoteError) {
        if error.late().is_some() {
            self.debts.fall_due_after(&name, error);
        } else {
            self.discard(name);
        }
    }

    /// The same as [`Self::remove`] without making anyone wait.
    pub(crate) fn discard(self: &Arc<Self>, name: MadeName) {
        let (names, spare) = (self.clone(), name.clone());
        let spawned = std::thread::Builder::new()
            .name("ftpfs-cleanup".into())
            .spawn(move || names.remove(&name));
        if let Err(error) = spawned {
            log::warn!("no thread to remove a temporary file: {error}");
            self.debts.fall_due(&spare);
        }
    }
}

/// Whether the server will not have this name, however often it is asked, and has made nothing of it.
pub(crate) fn is_name_refusal(error: &RemoteError) -> bool {
    let is_refusal = matches!(
        error.kind(),
        RemoteErrorKind::Refused | RemoteErrorKind::NameRefused | RemoteErrorKind::Unsupported
    );
    is_refusal && !error.has_begun()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{clock::ManualClock, remote::memory::MemoryRemote};

    fn names() -> HiddenNames {
        let clock = Arc::new(ManualClock::new());
        let remote = Arc::new(MemoryRemote::new(clock.clone()));
        HiddenNames::new(remote, Arc::default(), None, clock)
    }

    // SEMANTICS: S-names-temporary
    #[test]
    fn each_name_has_128_fresh_bits_and_is_recognised_by_its_beginning() {
        let names = names();
        let root = RemotePath::root();
        let mut bits = HashSet::new();
        for number in 0..1000 {
            let name = names.make(&root, number % 2 == 0).unwrap();
            assert_eq!(MadeName::recorded(name.path().clone()), Some(name.clone()));
            let name = name.name().unwrap();
            assert!(names.is_hidden(name));
            let text = String::from_utf8(name.to_vec()).unwrap();
            let text = text.trim_start_matches('.').trim_end_matches(".tmp");
            let (mount, random) = text.rsplit_once('-').unwrap();
            assert_eq!(mount, names.prefix);
            assert_eq!(random.len(), 32);
            bits.insert(random.to_owned());
        }
        assert_eq!(bits.len(), 1000);
        assert!(!names.is_hidden(b".ftpfs-x"));
    }

    #[test]
    fn a_name_that_is_only_ours_is_shown_when_it_stays() {
        let names = names();
        let made = names.make(&RemotePath::root(), true).unwrap();
        names.debts().show(&made);
        assert!(!names.is_hidden(made.name().unwrap()));
    }
}
