//! Files that others may not read: the mode that keeps them out is set before the content is there.
//!
//! 1. *A new file is as open as the server makes it.* So a file with a narrower mode is stored empty first, under a hidden name, gets the mode,
//!    and then its content.
//! 2. *What new files get differs from directory to directory*, and is not reported anywhere: the first such empty file shows it.
//! 3. *Some servers store nothing over a file that exists*, even an empty one. There the content goes into a directory of ours that nobody
//!    else may enter, a *room*, and is renamed out of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{learnt::Learnt, tree::Tree};
use crate::{
    fs::{
        debts::Debt,
        hidden::{HiddenNames, is_name_refusal},
    },
    remote::{
        Attributes, MadeName, Remote, RemoteError, RemoteErrorKind, RemotePath, Result, Upload,
        UploadMode,
    },
};

/// What new files are believed to get where none was seen: what most servers give (umask 022).
const USUAL_MODE: u32 = 0o644;

/// What they are believed to get where that could not be found out: anything.
const WIDEST_MODE: u32 = 0o666;

/// What its owner needs of a file whose content is still to come.
const OWNER_BITS: u32 = 0o600;

/// Nobody but the account itself.
const ROOM_MODE: u32 = 0o700;

/// Of how many directories it is remembered what new files get there. 1000: beyond that all are looked at anew.
const DIRS_MAX: usize = 1000;

/// What a server does with a STOR over an empty file of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SecondStore {
    /// It was not refused yet.
    Taken,
    /// It is refused.
    Refused,
    /// It is, and no room can be made either.
    Hopeless,
}

/// How an upload under a hidden name has begun.
pub(crate) enum Begun {
    /// The content is awaited.
    Sending(Box<dyn Upload>),
    /// The server does not store it over the empty file, which is still there.
    NotTwice,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Privacy {
    remote: Arc<dyn Remote>,
    hidden: Arc<HiddenNames>,
    tree: Arc<Tree>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    new_modes: HashMap<RemotePath, u32>,
    second: SecondStore,
}

impl Privacy {
    /// Nothing was seen yet.
    pub(super) fn new(remote: Arc<dyn Remote>, hidden: Arc<HiddenNames>, tree: Arc<Tree>) -> Self {
        Self {
            remote,
            hidden,
            tree,
            known: Mutex::new(Known {
                new_modes: HashMap::new(),
                second: SecondStore::Taken,
            }),
        }
    }

    /// The mode that a new file of `dir` needs before its content, if it is to have this one in the end; `None` where it keeps nobody out
    /// whom the server lets in, or cannot be set.
    pub(crate) fn first_mode(
        &self,
        dir: &RemotePath,
        learnt: &Learnt,
        mode: Option<u32>,
    ) -> Option<u32> {
        let mode = mode.filter(|_| learnt.sets_modes())?;
        let known = self.lock();
        let given = known.new_modes.get(dir).copied().unwrap_or(USUAL_MODE);
        (is_narrower(mode, given) && known.second != SecondStore::Hopeless)
            .then_some(mode & 0o777 | OWNER_BITS)
    }

    /// Whether files with a first mode can be sent while they are written.
    pub(crate) fn stores_twice(&self) -> bool {
        self.lock().second == SecondStore::Taken
    }

    /// Begins the upload of a file under a hidden name, which gets the first mode before that. `first` is the beginning of its content.
    pub(crate) fn begin(
        &self,
        hidden: &MadeName,
        first_mode: Option<u32>,
        first: &[u8],
    ) -> Result<Begun> {
        let open = || {
            let permit = hidden.permit();
            self.remote
                .open_upload_with(permit, UploadMode::Whole, first)
        };
        let Some(mode) = first_mode else {
            return twice(open).map(Begun::Sending);
        };
        if !self.stores_twice() {
            return Ok(Begun::NotTwice);
        }
        self.store_empty(hidden, mode)?;
        match twice(open) {
            Err(error) if is_name_refusal(&error) => {
                log::info!("{hidden}: no second STOR ({error})");
                self.lock().second = SecondStore::Refused;
                Ok(Begun::NotTwice)
            }
            begun => begun.map(Begun::Sending),
        }
    }

    /// Stores an empty file that has this mode, or a narrower one.
    fn store_empty(&self, hidden: &MadeName, mode: u32) -> Result<()> {
        let dir = hidden.parent().unwrap_or_else(RemotePath::root);
        let is_known = self.lock().new_modes.contains_key(&dir);
        let along = if is_known {
            mode_alone(mode)
        } else {
            Attributes::default()
        };
        let confirmed = twice(|| self.remote.put(hidden.permit(), b"", &along))?;
        let settled = confirmed.settled.filter(|_| is_known);
        if !is_known && !is_narrower(mode, self.learn(hidden, dir)) {
            return Ok(());
        }
        let set = match settled {
            Some(settled) => settled.mode,
            None => self.set_mode(hidden, mode),
        };
        match set {
            Err(error) if !is_no(&error) => Err(error),
            // It goes up as the server makes it, and is given its mode in the end, if the server lets it.
            Err(error) => {
                log::info!("{hidden}: mode not set before the content: {error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn set_mode(&self, name: &MadeName, mode: u32) -> Result<()> {
        let wanted = mode_alone(mode);
        twice(|| self.remote.settle(name.permit(), &wanted))?.mode
    }

    /// Finds out what new files of a directory get, by one that has just been made there.
    fn learn(&self, hidden: &MadeName, dir: RemotePath) -> u32 {
        let mode = self.mode_of(hidden, &dir).unwrap_or(WIDEST_MODE);
        log::debug!("new files in {dir} have mode {mode:03o}");
        let mut known = self.lock();
        if known.new_modes.len() >= DIRS_MAX {
            known.new_modes.clear();
        }
        known.new_modes.insert(dir, mode);
        mode
    }

    fn mode_of(&self, hidden: &MadeName, dir: &RemotePath) -> Option<u32> {
        let asked = self.remote.stat(hidden).ok().flatten();
        if let Some(mode) = asked.and_then(|entry| entry.mode) {
            return Some(mode);
        }
        // Only listings show modes there.
        let listing = self.tree.relist(dir).ok()?;
        listing.find(hidden.name()?)?.mode
    }

    /// A room in `dir` for one file; `None` where none can be made, after which files get their modes when they are there.
    pub(crate) fn make_room(&self, dir: &RemotePath, learnt: &Learnt) -> Option<MadeName> {
        let names = &self.hidden;
        let room = names.make_for(dir, learnt.takes_dot_names(), Debt::Room)?;
        let made = twice(|| self.remote.make_dir(&room));
        let made = made.and_then(|()| self.set_mode(&room, ROOM_MODE));
        let Err(error) = made else {
            return Some(room);
        };
        match error.late() {
            Some(_) => names.debts().fall_due_after(&room, &error),
            None => self.leave(&room),
        }
        if is_no(&error) {
            log::warn!(
                "files that others may not read can be read by them while they go up: the server neither stores over a file nor lets a private directory be made ({error})"
            );
            self.lock().second = SecondStore::Hopeless;
        }
        None
    }

    /// A room is of no more use.
    pub(crate) fn leave(&self, room: &MadeName) {
        self.hidden.remove_room(room);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the server, or what is known of it, says no.
fn is_no(error: &RemoteError) -> bool {
    error.is_answer() || is_name_refusal(error)
}

fn mode_alone(mode: u32) -> Attributes {
    Attributes {
        mode: Some(mode),
        modified: None,
    }
}

/// Whether `mode` keeps out others whom `given` lets in.
pub(crate) fn is_narrower(mode: u32, given: u32) -> bool {
    given & !mode & 0o077 != 0
}

/// Once more where the session may have died while it was idle: nobody else has a file of that name, so that done twice is done once.
fn twice<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    match attempt() {
        Err(error) if error.kind() == RemoteErrorKind::Disconnected => attempt(),
        outcome => outcome,
    }
}
