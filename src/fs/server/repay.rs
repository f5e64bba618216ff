//! Paying debts: what is left under hidden names is removed, or gets its own name again.
//!
//! An old file that was moved aside is never moved over another one, and never removed unless the one that was to take its place is
//! there, whole, or it holds nothing and its name is taken.

use std::{
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{Server, change::has_left};
use crate::{
    fs::{
        debts::Debt,
        error::{FsError, FsErrorKind, Result},
        file::OpenFile,
        hidden::{Removal, is_name_refusal},
        inode::Inodes,
    },
    remote::{EntryKind, Evidence, MadeName, RemotePath, Reported, Want},
};

/// How soon a debt that could not be paid is tried again. 1 s: a server that was restarted is clean before the user looks.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest time between two tries. 1 min: a server that is down for hours is not asked all the time, and any success of this mount
/// ends the wait.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// How often it is looked whether the mount has ended while nothing is due.
const IDLE: Duration = Duration::from_secs(10);

/// What has become of a file that was moved aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Returned {
    /// It has its name again, or never lost it.
    Back,
    /// The file that was to take its place is there, whole, or it is empty and another file has its name: it is of no more use but to
    /// those who have it open.
    Superseded,
    /// Another file has its name, and it holds something: it stays where it is, and is shown.
    Shown,
    /// That could not be found out, or the server does not let it: it is tried again.
    Later,
}

/// Gives a file that was moved aside its name again, if nothing has taken it.
pub(crate) fn bring_back(server: &Server, name: &MadeName) -> Returned {
    let debts = server.hidden().debts();
    let Some(Debt::Aside { of, size }) = debts.of(name) else {
        return Returned::Superseded;
    };
    let returned = match try_to_bring_back(server, name, &of, size) {
        Ok(returned) => returned,
        Err(error) => {
            log::debug!("{of} is still called {name}: {error}");
            if let Some(error) = error.remote() {
                server.holds().hold(error, &[name, &of]);
            }
            debts.fall_due(name);
            if error.remote().is_some_and(is_name_refusal) && debts.note_refused(name) {
                debts.show(name);
                log::error!(
                    "{of} is called {name} on the server, and cannot be moved back: {error}"
                );
            }
            Returned::Later
        }
    };
    match returned {
        Returned::Back => {
            debts.settle(name);
            server.kernel().forget_name(&of);
        }
        Returned::Shown => {
            log::error!(
                "the old content of {of} stays on the server as {name}: there is another {of} now, which this mount has not put there"
            );
            debts.show(name);
            debts.settle(name);
            server.kernel().forget_name(name);
        }
        Returned::Superseded | Returned::Later => {}
    }
    returned
}

fn try_to_bring_back(
    server: &Server,
    name: &MadeName,
    of: &RemotePath,
    size: Option<u64>,
) -> Result<Returned> {
    let evidence = server.evidence();
    let seen = evidence.look_now(of)?;
    let Some(there) = seen.entry() else {
        let free = seen.permit(Want::Absent);
        let free = free.map_err(|_| FsError::new(FsErrorKind::Exists, of))?;
        // When its reply is lost, it is looked at again.
        return match server.remote().rename(name, free) {
            Ok(seen) if has_left(server, name, of, false, seen.as_ref())? => Ok(Returned::Back),
            Ok(_) => Err(FsError::new(FsErrorKind::Exists, of)),
            Err(error) if error.is_answer() && evidence.look_now(name)?.is_absent() => {
                // It was never moved, and others have removed it.
                Ok(Returned::Back)
            }
            Err(error) => Err(error.into()),
        };
    };
    if is_regular(&seen) && size.is_some() && there.size == size {
        return Ok(Returned::Superseded);
    }
    let aside = evidence.look_now(name)?;
    let is_empty = |version: Reported| version.size == 0;
    Ok(if aside.is_absent() {
        Returned::Back
    } else if is_regular(&aside) && aside.version().is_some_and(is_empty) {
        Returned::Superseded
    } else {
        Returned::Shown
    })
}

fn is_regular(seen: &Evidence) -> bool {
    seen.entry()
        .is_some_and(|entry| entry.kind == EntryKind::File)
}

/// What came of a round of payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payments {
    /// Nothing is due any more.
    Done,
    /// Something is.
    Left,
}

/// Pays in the background what falls due.
#[derive(Debug)]
pub(crate) struct Payer {
    server: Arc<Server>,
    inodes: Arc<Inodes>,
}

impl Payer {
    /// Of what is owed to `server`.
    pub(crate) fn new(server: Arc<Server>, inodes: Arc<Inodes>) -> Self {
        Self { server, inodes }
    }

    /// Starts the thread that takes over the debts of earlier mounts, and pays these and ours; it ends with the filesystem.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        let payer = Arc::downgrade(self);
        let run = move || {
            let mut pause = PAUSE;
            let mut is_first = true;
            while let Some(payer) = Weak::upgrade(&payer) {
                if std::mem::take(&mut is_first) {
                    payer.adopt();
                }
                let payments = payer.pay();
                drop(payer);
                match payments {
                    Payments::Done => {
                        pause = PAUSE;
                        std::thread::park_timeout(IDLE);
                    }
                    Payments::Left => {
                        std::thread::park_timeout(pause);
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("ftpfs-debts".into())
            .spawn(run)?;
        let debts = self.server.hidden().debts();
        debts.wake_by(thread.thread().clone());
        // What fell due before there was someone to wake.
        thread.thread().unpark();
        Ok(())
    }

    /// Takes over what earlier mounts have left.
    pub(crate) fn adopt(&self) {
        let count = self.server.hidden().debts().adopt();
        if count > 0 {
            log::info!("cleaning up after an earlier mount: {count} temporary files");
        }
    }

    /// Pays what is due; stops at a failure that the rest would meet too.
    pub(crate) fn pay(&self) -> Payments {
        let debts = self.server.hidden().debts();
        for (name, debt) in debts.due() {
            let is_reached = match debt {
                Debt::Upload | Debt::Removed => self.remove(&name),
                Debt::Room => self.server.hidden().remove_room(&name) != Removal::Later,
                Debt::Aside { of, .. } => self.bring_back(&name, &of),
            };
            if !is_reached {
                break;
            }
        }
        if debts.is_any_due() {
            Payments::Left
        } else {
            Payments::Done
        }
    }

    /// Whether it is worth trying the next one.
    fn remove(&self, name: &MadeName) -> bool {
        match self.server.hidden().remove(name) {
            Removal::Gone => {
                // The name of an earlier mount is shown.
                self.server.kernel().forget_name(name);
                true
            }
            Removal::Refused => true,
            Removal::Later => false,
        }
    }

    /// Whether it is worth trying the next one.
    fn bring_back(&self, name: &MadeName, of: &RemotePath) -> bool {
        match bring_back(&self.server, name) {
            Returned::Back => {
                if let Some(file) = self.file_aside(name) {
                    file.lock().get_back_name(of);
                }
                true
            }
            Returned::Superseded => {
                let Some(file) = self.file_aside(name).filter(|file| file.lock().is_open()) else {
                    return self.server.hidden().release(name) != Removal::Later;
                };
                // Its last close removes it.
                self.server.hidden().debts().record(name, Debt::Removed);
                file.lock().name.remove();
                self.unlink(of, &file);
                true
            }
            Returned::Shown => true,
            Returned::Later => false,
        }
    }

    /// Another file has the name of this one now.
    fn unlink(&self, of: &RemotePath, file: &OpenFile) {
        if let (Some(dir), Some(name)) = (of.parent(), of.name())
            && let Some(parent) = self.inodes.find(&dir)
            && self.inodes.child(parent, name) == Some(file.ino)
        {
            self.inodes.unlink(parent, name);
        }
        self.server.kernel().forget_name(of);
    }

    /// The open file that was moved aside under this name.
    fn file_aside(&self, name: &MadeName) -> Option<Arc<OpenFile>> {
        let mut files = self.inodes.files().into_iter();
        files.find(|file| file.lock().name.hidden() == Some(name))
    }
}
