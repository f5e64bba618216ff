//! What the server was seen to refuse for good, for this mount and the next.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use crate::remote::{Habits, Remote};

/// How many removals show for another day that files can be removed.
const REMOVALS: u8 = 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct Learnt {
    remote: Arc<dyn Remote>,
    no_mode: AtomicBool,
    no_append: AtomicBool,
    no_dot_names: AtomicBool,
    no_rename: AtomicBool,
    no_rename_over: AtomicBool,
    pretends_to_rename: AtomicBool,
    /// See [`Habits::removals`].
    removals: AtomicU8,
    /// How often the server has refused to rename over a file and has let it be moved aside.
    renames_refused: AtomicU64,
}

impl Learnt {
    /// What an earlier mount has learnt.
    pub(crate) fn new(remote: Arc<dyn Remote>) -> Self {
        let habits = remote.habits();
        Self {
            remote,
            no_mode: habits.no_mode.into(),
            no_append: habits.no_append.into(),
            no_dot_names: habits.no_dot_names.into(),
            no_rename: habits.no_rename.into(),
            no_rename_over: habits.no_rename_over.into(),
            pretends_to_rename: habits.pretends_to_rename.into(),
            removals: habits.removals.into(),
            renames_refused: AtomicU64::new(0),
        }
    }

    /// Whether modes can be set.
    pub(crate) fn sets_modes(&self) -> bool {
        !self.no_mode.load(Ordering::Relaxed)
    }

    /// It sets no modes.
    pub(crate) fn note_no_mode(&self) {
        self.note(&self.no_mode, true);
    }

    /// Whether files can be appended to.
    pub(crate) fn appends(&self) -> bool {
        !self.no_append.load(Ordering::Relaxed)
    }

    /// It does not append.
    pub(crate) fn note_no_append(&self) {
        self.note(&self.no_append, true);
    }

    /// Whether it takes names that begin with a dot.
    pub(crate) fn takes_dot_names(&self) -> bool {
        !self.no_dot_names.load(Ordering::Relaxed)
    }

    /// It takes names that begin with a dot, or does not.
    pub(crate) fn note_dot_names(&self, are_taken: bool) {
        self.note(&self.no_dot_names, !are_taken);
    }

    /// Whether it renames at all.
    pub(crate) fn renames(&self) -> bool {
        !self.no_rename.load(Ordering::Relaxed)
    }

    /// It does not rename at all.
    pub(crate) fn note_no_rename(&self) {
        self.note(&self.no_rename, true);
    }

    /// Whether it renames over a file.
    pub(crate) fn renames_over(&self) -> bool {
        !self.no_rename_over.load(Ordering::Relaxed)
    }

    /// It did not rename over a file that it then let be moved aside. One refusal may have had a reason of its own.
    pub(crate) fn note_rename_over_refused(&self) {
        if self.renames_refused.fetch_add(1, Ordering::Relaxed) > 0 {
            self.note(&self.no_rename_over, true);
        }
    }

    /// Whether it was seen to say yes to a rename and to do nothing.
    pub(crate) fn pretends_to_rename(&self) -> bool {
        self.pretends_to_rename.load(Ordering::Relaxed)
    }

    /// It has said yes to a rename and done nothing. Once is enough: it costs a look after each rename, and destroys nothing.
    pub(crate) fn note_pretended_rename(&self) {
        self.note(&self.pretends_to_rename, true);
    }

    /// Whether this account was seen to remove files, in two trials: a scratch file would not stay.
    pub(crate) fn removes(&self) -> bool {
        self.removals.load(Ordering::Relaxed) >= REMOVALS
    }

    /// It has removed a file.
    pub(crate) fn note_removal(&self) {
        let add = |removals: u8| (removals < REMOVALS).then(|| removals + 1);
        let order = Ordering::Relaxed;
        if self.removals.fetch_update(order, order, add).is_ok() {
            self.remote.keep_habits(self.to_habits());
        }
    }

    /// It does not remove a file of ours.
    pub(crate) fn note_no_removal(&self) {
        if self.removals.swap(0, Ordering::Relaxed) > 0 {
            self.remote.keep_habits(self.to_habits());
        }
    }

    fn note(&self, what: &AtomicBool, is_refused: bool) {
        if what.swap(is_refused, Ordering::Relaxed) != is_refused {
            self.remote.keep_habits(self.to_habits());
        }
    }

    fn to_habits(&self) -> Habits {
        let is_so = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        Habits {
            no_mode: is_so(&self.no_mode),
            no_append: is_so(&self.no_append),
            no_dot_names: is_so(&self.no_dot_names),
            no_rename: is_so(&self.no_rename),
            no_rename_over: is_so(&self.no_rename_over),
            pretends_to_rename: is_so(&self.pretends_to_rename),
            removals: self.removals.load(Ordering::Relaxed),
        }
    }
}
