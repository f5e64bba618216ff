//! Which files go up while they are written.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    fs::{
        file::OpenFile,
        inode::Inodes,
        server::{Begun, Server},
        streaming::{UploadStream, given_up},
    },
    remote::MadeName,
};

/// Starts streams, as long as there are sessions for them.
#[derive(Debug)]
pub(super) struct Streams {
    server: Arc<Server>,
    inodes: Arc<Inodes>,
    /// How many run at the moment.
    taken: Arc<AtomicUsize>,
    taken_max: usize,
}

impl Streams {
    /// At most `taken_max` at once.
    pub(super) fn new(server: Arc<Server>, inodes: Arc<Inodes>, taken_max: usize) -> Self {
        Self {
            server,
            inodes,
            taken: Arc::default(),
            taken_max,
        }
    }

    /// Lets a file that is written in order go up while it is written.
    pub(super) fn start(&self, file: &Arc<OpenFile>) {
        let Some(permit) = Permit::take(&self.taken, self.taken_max) else {
            return;
        };
        let Some(dir) = self.inodes.path(file.ino).and_then(|path| path.parent()) else {
            return;
        };
        // A file under a hidden name that cannot be renamed is of no use.
        if !self.server.learnt().renames() || !self.server.account().hides_new_files(&dir) {
            return;
        }
        let names = self.server.hidden();
        let state = file.lock();
        let old = state.on_server().base().and_then(|base| base.mode);
        let first_mode = self
            .server
            .first_mode(&dir, state.changes().wanted().mode.or(old));
        drop(state);
        let privacy = self.server.privacy().clone();
        if first_mode.is_some() && !privacy.stores_twice() {
            return;
        }
        let begin = Box::new(move |hidden: &MadeName, first: &[u8]| {
            match privacy.begin(hidden, first_mode, first)? {
                Begun::Sending(sending) => Ok(sending),
                Begun::NotTwice => Err(given_up()),
            }
        });
        let source = file.clone();
        let read_chunk = Box::new(
            move |offset: u64, out: &mut [u8], claim: &mut dyn FnMut(u64)| {
                let _permit = &permit;
                let mut state = source.lock();
                let Some(spool) = state.changes().spool() else {
                    return Ok(0);
                };
                let ready = spool.local_prefix().saturating_sub(offset);
                let count = usize::try_from(ready).unwrap_or(out.len()).min(out.len());
                spool.read(offset, out.get_mut(..count).unwrap_or_default())?;
                claim(offset + count as u64);
                state.traffic.note_sent(count as u64);
                Ok(count)
            },
        );
        let start = || {
            let hidden = names.make(&dir, self.server.learnt().takes_dot_names())?;
            let remote = self.server.remote().clone();
            UploadStream::start(remote, names.clone(), hidden, begin, read_chunk)
        };
        file.lock().start_stream(start);
    }
}

/// One of the sessions that streams may take; given back when the stream's thread ends.
struct Permit(Arc<AtomicUsize>);

impl Permit {
    fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let permit = Self(taken.clone());
        (taken.fetch_add(1, Ordering::Relaxed) < most).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
