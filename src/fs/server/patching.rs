//! In which directories a range inside a file can be written without the rest of it.
//!
//! Another directory may be another disk or have other rules, so it is tried in each, on a scratch file. A scratch file that cannot be
//! removed would stay, so none is made before it is known that files can be removed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::learnt::Learnt;
use crate::{
    fs::{
        account::Account,
        hidden::{HiddenNames, Removal},
    },
    remote::{Permissions, Remote, RemotePath, patch_trial},
};

/// Of how many directories the outcome is remembered. 1000: programs change few directories at a time; beyond that all are tried anew.
const DIRS_MAX: usize = 1000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Patching {
    remote: Arc<dyn Remote>,
    hidden: Arc<HiddenNames>,
    account: Arc<Account>,
    // Guarded by itself; held during a trial, so that each directory has one.
    tried: Mutex<HashMap<RemotePath, bool>>,
}

impl Patching {
    /// Nothing was tried yet.
    pub(super) fn new(
        remote: Arc<dyn Remote>,
        hidden: Arc<HiddenNames>,
        account: Arc<Account>,
    ) -> Self {
        Self {
            remote,
            hidden,
            account,
            tried: Mutex::default(),
        }
    }

    /// Whether files in `dir` can be written inside. `permissions` are what the server reports that we may do with a file there.
    pub(crate) fn works_in(
        &self,
        dir: &RemotePath,
        learnt: &Learnt,
        permissions: Option<Permissions>,
    ) -> bool {
        if !self.remote.may_patch() {
            return false;
        }
        let mut tried = self.lock();
        if let Some(works) = tried.get(dir) {
            return *works;
        }
        let may_remove = self.account.may_remove()
            || learnt.removes()
            || permissions.is_some_and(|permissions| permissions.allows(b'd'));
        if !may_remove || !self.account.hides_new_files(dir) {
            log::debug!("{dir}: no scratch file: nothing was removed yet");
            return false;
        }
        let Some(works) = self.try_in(dir, learnt) else {
            return false;
        };
        let does = if works { "works" } else { "is refused" };
        log::info!("writing into the middle of files {does} in {dir}");
        if tried.len() >= DIRS_MAX {
            tried.clear();
        }
        tried.insert(dir.clone(), works);
        works
    }

    fn try_in(&self, dir: &RemotePath, learnt: &Learnt) -> Option<bool> {
        let scratch = self.hidden.make(dir, learnt.takes_dot_names())?;
        let works = patch_trial::keeps_rest(&*self.remote, &scratch);
        if let Err(error) = &works
            && error.late().is_some()
        {
            // It may be stored after it was removed.
            self.hidden.debts().fall_due_after(&scratch, error);
            return None;
        }
        match self.hidden.remove(&scratch) {
            Removal::Gone => learnt.note_removal(),
            Removal::Refused => learnt.note_no_removal(),
            Removal::Later => {}
        }
        works.ok()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RemotePath, bool>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
