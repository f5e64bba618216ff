//! What programs do through handles: they write, cut, read and close.

use std::time::Instant;

use ftpfs::fs::Change;

use super::{Handle, Outcome, Simulation, lock};
use crate::{
    ledger::short,
    sequence::{Op, Place},
    world::{errno, pattern},
};

impl Simulation {
    pub(super) fn with_handle(&mut self, index: usize, op: Op) -> Result<Outcome<()>, String> {
        let handle = self.handles[index];
        match op {
            Op::Write(_, place, len) if handle.mode.is_write() => {
                Ok(self.write(handle, place, len))
            }
            Op::Read(_, place, len) => self.read(handle, place, len),
            Op::Truncate(_, place) if handle.mode.is_write() => Ok(self.truncate(handle, place)),
            Op::Fsync(_) => {
                self.uploads(handle.file);
                let sent = self.trouble.sent();
                let done = self.world.fs.fsync(handle.number).map_err(errno);
                self.told(handle, done, sent)?;
                Ok(done)
            }
            Op::Close(_) => self.close(handle),
            _ => Ok(Ok(())),
        }
    }

    pub(super) fn close(&mut self, handle: Handle) -> Result<Outcome<()>, String> {
        self.uploads(handle.file);
        let sent = self.trouble.sent();
        let done = self.world.close(handle.number);
        self.files.all[handle.file].handles -= 1;
        if handle.mode.is_write() {
            self.told(handle, done, sent)?;
        }
        self.handles.retain(|open| open.number != handle.number);
        let file = &mut self.files.all[handle.file];
        if file.handles == 0 {
            file.is_emptied = false;
            if let Some(at) = file.path().filter(|_| !file.is_dirty && done.is_ok()) {
                lock(&self.ledger).release(at);
            }
            if file.is_dirty {
                file.blur();
            }
        }
        Ok(done)
    }

    pub(super) fn write(&mut self, handle: Handle, place: Place, len: usize) -> Outcome<()> {
        let data = self.bytes(len);
        let file = &mut self.files.all[handle.file];
        let size = file.content.as_ref().map_or(0, |content| content.len());
        let at = if handle.mode.appends() {
            size
        } else {
            place.of(size)
        };
        self.claim(handle.file);
        for (index, part) in data.chunks(128 << 10).enumerate() {
            let offset = (at + index * (128 << 10)) as u64;
            if let Err(error) = self.world.fs.write(handle.number, offset, part) {
                if index > 0 {
                    self.files.all[handle.file].forget();
                }
                return Err(error.errno());
            }
        }
        let file = &mut self.files.all[handle.file];
        file.write(at, &data, handle.mode.appends());
        self.made(handle.file);
        Ok(())
    }

    pub(super) fn truncate(&mut self, handle: Handle, place: Place) -> Outcome<()> {
        let file = &self.files.all[handle.file];
        let Some(content) = file.content.clone() else {
            return Ok(());
        };
        self.claim(handle.file);
        let file = &self.files.all[handle.file];
        let len = place.of(content.len());
        let (is_dirty, at) = (file.is_dirty, file.path().map(ToOwned::to_owned));
        if let (true, false, Some(at)) = (content.is_empty() && len == 0, is_dirty, at) {
            // Nothing is sent for a file that is believed to be empty; what it holds by now may be shown from then on.
            self.ledger().claim_at(&at);
            // The attributes that are asked for may show that there is something, which is emptied then.
            self.files.all[handle.file].forget();
            self.files.all[handle.file].is_emptied = true;
            return self.set_len(handle, 0);
        }
        let done = self.set_len(handle, len);
        let file = &mut self.files.all[handle.file];
        match done {
            Ok(()) => file.resize(len),
            Err(_) => file.forget(),
        }
        self.made(handle.file);
        done
    }

    pub(super) fn read(
        &mut self,
        handle: Handle,
        place: Place,
        len: usize,
    ) -> Result<Outcome<()>, String> {
        let file = &self.files.all[handle.file];
        let size = file.content.as_ref().map_or(0, |content| content.len());
        let at = place.of(size);
        let read = match self.world.read(handle.number, at as u64, len) {
            Ok(read) => read,
            Err(error) => return Ok(Err(error)),
        };
        let file = &self.files.all[handle.file];
        let is_touched = file.paths.iter().any(|at| self.ledger().is_touched(at));
        if self.trouble.is_dead() || is_touched {
            return Ok(Ok(()));
        }
        let since = handle
            .opened
            .checked_sub(self.stale())
            .unwrap_or(handle.opened);
        let shown = if file.path().is_some() {
            self.ledger().shown_since(&file.paths, since)
        } else {
            self.ledger().shown_ever_since(&file.paths, since)
        };
        if file.reads(at, len, &read, &shown) {
            Ok(Ok(()))
        } else {
            Err(format!("shows {} at {at} that is not there", short(&read)))
        }
    }

    pub(super) fn set_len(&self, handle: Handle, len: usize) -> Outcome<()> {
        let change = Change {
            size: Some(len as u64),
            ..Change::default()
        };
        let fs = &self.world.fs;
        let done = fs.setattr(handle.ino, &change, Some(handle.number));
        done.map(drop).map_err(errno)
    }

    /// Of what is written in each step, other bytes.
    pub(super) fn bytes(&self, len: usize) -> Vec<u8> {
        pattern(len, 1_000 + self.step as u64)
    }

    /// A program changes a file through a handle.
    pub(super) fn claim(&self, index: usize) {
        let file = &self.files.all[index];
        let mut ledger = self.ledger();
        if let Some(base) = &file.base {
            ledger.claim(base);
        }
        if !file.is_dirty
            && let Some(at) = file.path()
        {
            ledger.claim_seen(at);
        }
    }

    /// Since when the handles of a file may show what was there.
    pub(super) fn since(&self, index: usize) -> Instant {
        let now = self.now();
        let opened = self.handles.iter().filter(|handle| handle.file == index);
        let opened = opened.map(|handle| handle.opened).min().unwrap_or(now);
        opened.checked_sub(self.stale()).unwrap_or(opened)
    }

    /// A program has given a file another content.
    pub(super) fn made(&mut self, file: usize) {
        let since = self.since(file);
        let file = &self.files.all[file];
        match (&file.content, file.path()) {
            (Some(content), _) => self.ledger().make(file.made(content.clone(), since)),
            (None, Some(at)) => self.ledger().doubt(at),
            (None, None) => {}
        }
    }
}
