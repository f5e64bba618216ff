//! What a close or fsync has told a program, and what must be so then.

use ftpfs::config::OnConflict;

use super::{Handle, Outcome, Simulation, Verdict};
use crate::{
    files::File,
    ledger::{Bytes, files, short},
};

impl Simulation {
    /// What fsync or close said of a file; `sent` is how many commands were sent before.
    pub(super) fn told(&mut self, handle: Handle, done: Outcome<()>, sent: usize) -> Verdict {
        if self.trouble.is_dead() {
            return Ok(());
        }
        let file = &self.files.all[handle.file];
        if let Some(at) = file.path() {
            self.ledger().end_replacing(at, done.is_ok());
        }
        if !file.is_dirty {
            return Ok(());
        }
        match done {
            Ok(()) => self.confirmed(handle.file),
            // What has given way before, through another handle: nothing has become of what was written since.
            Err(libc::ESTALE) if self.trouble.sent() == sent => Ok(()),
            Err(libc::ESTALE) => {
                self.set_aside(handle.file);
                Ok(())
            }
            Err(_) => {
                let file = &mut self.files.all[handle.file];
                file.may_have_been_sent();
                if let Some(at) = file.path().map(ToOwned::to_owned) {
                    self.ledger().unsure(&at);
                }
                Ok(())
            }
        }
    }

    /// A file is uploaded: if a program has emptied it, it takes the place of whatever has its name.
    pub(super) fn uploads(&mut self, index: usize) {
        let file = &self.files.all[index];
        if let Some(at) = file.path().filter(|_| file.is_emptied) {
            self.ledger().replace(at);
        }
    }

    /// A program was told that the server has all of a file.
    pub(super) fn confirmed(&mut self, index: usize) -> Verdict {
        let now = self.now();
        let file = &self.files.all[index];
        let Some(at) = file.path().map(ToOwned::to_owned) else {
            return Ok(());
        };
        let there = self.on_server(&at);
        let is_touched = self.ledger().is_touched(&at);
        // What is as it was is not sent.
        let is_same = file.base.is_some() && file.base == file.content;
        self.files.all[index].may_be_sent |= is_same;
        let file = &self.files.all[index];
        // It had arrived when the program was told otherwise, and the other client has changed it since.
        let has_given_way = file.was_tried
            && file
                .content
                .as_ref()
                .is_some_and(|content| self.ledger().has_given_way(&at, content, there.as_ref()));
        if let Some(content) = &file.content
            && !is_touched
            && !has_given_way
            && !file.may_be_sent
            && there.as_ref() != Some(content)
            && !there.as_ref().is_some_and(|there| {
                let made = file.made(content.clone(), self.since(index));
                self.ledger().is_onto(&made, there)
            })
        {
            let there = there.map_or("nothing".into(), |there| short(&there));
            return Err(format!(
                "a program was told that {at} has its {}, and the server has {there}",
                short(content)
            ));
        }
        let is_sure = !is_touched && !file.may_be_sent && !has_given_way;
        let file = &mut self.files.all[index];
        file.sent(there.clone());
        if !is_sure {
            file.forget();
        } else if let Some(content) = there {
            self.ledger().confirm(&at, content, now);
        }
        Ok(())
    }

    /// A program was told that what it has written has lost against a file of others: it must be somewhere.
    pub(super) fn set_aside(&mut self, index: usize) {
        let there = self.all_there();
        let file = &mut self.files.all[index];
        let is_certain = file.content.is_some();
        if self.server.on_conflict == OnConflict::Fail
            || self.trouble.has_struck()
            || (self.is_full && !is_certain)
        {
            // It stays as it is until its last close; theirs may not be shown yet; a copy of it may not have fit.
            file.has_lost();
            return file.blur();
        }
        let file = &self.files.all[index];
        let owed = file.content.clone();
        // What a program has removed is not owed.
        let owed = owed
            .filter(|content| !content.is_empty() && file.has_written() && file.path().is_some());
        // What has arrived after all may be changed by others from now on.
        let has_arrived = |content: &Bytes| there.iter().any(|there| there == &**content);
        let owed = owed.filter(|content| !has_arrived(content));
        if let Some(content) = owed {
            if !there.iter().any(|there| self.is_in(file, &content, there)) {
                // Its copy could not be stored: the file keeps it for as long as ftpfs lives, and programs go on to write there. A new one
                // stays one, of which the server has nothing: it is removed here.
                return;
            }
            self.owed.push((content, file.clone()));
        }
        let file = &mut self.files.all[index];
        file.has_lost();
        file.forget();
        file.is_dirty = false;
    }

    /// Looks what has arrived of that whose upload has failed.
    pub(super) fn note_arrived(&mut self) {
        for index in 0..self.files.all.len() {
            let file = &self.files.all[index];
            let there = file.path().and_then(|at| self.world.on(at));
            let has_arrived = file
                .tried()
                .zip(there)
                .is_some_and(|(made, there)| self.is_in(file, made, &there));
            if has_arrived {
                self.files.all[index].has_arrived();
            }
        }
    }

    /// What the server has, and what is kept on this machine.
    pub(super) fn all_there(&self) -> Vec<Vec<u8>> {
        let unsent = self.world.spool_dir.path().join("unsent");
        let kept = std::fs::read_dir(unsent).into_iter().flatten().flatten();
        let kept = kept.filter_map(|entry| std::fs::read(entry.path()).ok());
        let there = files(&self.world.server).map(|(_, content)| content);
        kept.chain(there).collect()
    }

    /// Whether this holds all that was written of a content, on top of whatever version.
    pub(super) fn is_in(&self, file: &File, content: &Bytes, there: &[u8]) -> bool {
        if file.is_in(content, there) {
            return true;
        }
        let made = file.made(content.clone(), self.world_start());
        self.ledger().is_onto(&made, there)
    }
}
