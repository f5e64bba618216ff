//! What programs do to names that can destroy what has them: they cut, rename and remove.

use ftpfs::fs::{Change, RenameMode};

use super::{Outcome, Simulation};
use crate::{
    sequence::{Mode, Place},
    world::{errno, path},
};

impl Simulation {
    pub(super) fn truncate_name(&mut self, at: &str, place: Place) -> Result<Outcome<()>, String> {
        let known = self.files.named(at).map(|file| &self.files.all[file]);
        let size = match known {
            Some(file) => file.content.as_ref().map_or(0, |content| content.len()),
            None => self.on_server(at).map_or(0, |content| content.len()),
        };
        let (before, now) = (self.on_server(at), self.now());
        let len = place.of(size);
        self.ledger().claim_at(at);
        if len == 0 {
            self.ledger().replace(at);
        }
        let index = self.files.open(at, None, Mode::Write, Some(before));
        self.files.all[index].resize(len);
        if let Some(base) = self.files.all[index].base.clone() {
            self.ledger().claim(&base);
        }
        self.made(index);
        let change = Change {
            size: Some(len as u64),
            ..Change::default()
        };
        let fs = self.world.fs.clone();
        let done = self.on_inode(at, |ino, _| {
            fs.setattr(ino, &change, None).map(drop).map_err(errno)
        });
        self.files.all[index].handles -= 1;
        if self.trouble.is_dead() {
            return Ok(done);
        }
        let is_touched = self.ledger().is_touched(at);
        if is_touched {
            self.ledger().doubt(at);
            self.ledger().claim_seen(at);
        }
        self.ledger().end_replacing(at, done.is_ok());
        match done {
            Ok(()) if !is_touched => {
                self.confirmed(index)?;
            }
            _ => {
                let file = &self.files.all[index];
                if let (Err(_), Some(content)) = (done, &file.content) {
                    let made = file.made(content.clone(), now);
                    self.ledger().show_unsent(at, &made, now);
                }
                self.files.all[index].blur();
            }
        }
        let file = &mut self.files.all[index];
        let is_unsent = done.is_err_and(|errno| errno != libc::ESTALE);
        file.is_dirty &= file.handles > 0 || is_unsent;
        Ok(done)
    }

    pub(super) fn rename(
        &mut self,
        from: &str,
        to: &str,
        is_noreplace: bool,
    ) -> Result<Outcome<()>, String> {
        if crate::ledger::moved(to, from, "").is_some() && from != to {
            return Ok(Err(libc::EINVAL));
        }
        let now = self.now();
        let key = |at| self.ledger().key(at);
        let (from_key, to_key) = (key(from), key(to));
        let is_same = from_key == to_key;
        let was_settled = self.ledger().is_settled_at(to, now);
        if !is_noreplace && !is_same {
            self.ledger().replace(to);
        }
        let was_there = self.world.server.node(&path(from)).is_some();
        for file in self.files.below(from) {
            self.uploads(file);
        }
        let fs = self.world.fs.clone();
        let mode = if is_noreplace {
            RenameMode::NoReplace
        } else {
            RenameMode::Replace
        };
        let done = self.walk(from, |from_dir, from_name| {
            self.walk(to, |to_dir, to_name| {
                fs.rename((from_dir, from_name), (to_dir, to_name), mode)
                    .map_err(errno)
            })
        });
        if self.trouble.is_dead() {
            return Ok(done);
        }
        let is_touched = self.ledger().is_touched(from) || self.ledger().is_touched(to);
        self.ledger().end_replacing(from, done.is_ok());
        self.ledger().end_replacing(to, done.is_ok());
        match done {
            Ok(()) => {
                if is_noreplace && was_settled && !is_touched && !is_same {
                    return Err("RENAME_NOREPLACE has replaced a file".into());
                }
                if !is_same
                    && !is_touched
                    && was_there
                    && self.world.server.node(&path(from)).is_some()
                {
                    return Err(format!("{from} was renamed, and is still there"));
                }
                self.files.renamed(from, to);
                self.ledger().show_renamed(from, to, now);
                // What was written is sent before; then others may change it, and what they make of it is moved.
                for file in self.files.below(to) {
                    if self.files.all[file].is_dirty && is_touched {
                        let file = &mut self.files.all[file];
                        file.sent(None);
                        file.forget();
                    } else if self.files.all[file].is_dirty {
                        self.confirmed(file)?;
                    }
                }
            }
            Err(libc::ESTALE) => {
                for file in self.files.below(from) {
                    if self.files.all[file].is_dirty {
                        self.set_aside(file);
                    }
                }
            }
            Err(_) => {
                let has_struck = self.trouble.has_struck();
                for at in [from, to] {
                    for file in self.files.below(at) {
                        let there = self.files.all[file]
                            .path()
                            .and_then(|at| self.on_server(at));
                        let file = &mut self.files.all[file];
                        if !has_struck && there.is_some() && there == file.content {
                            // It was sent first, and only the rename was refused.
                            file.sent(there);
                            continue;
                        }
                        file.may_have_been_sent();
                        if has_struck {
                            file.blur();
                        }
                    }
                }
            }
        }
        Ok(done)
    }

    pub(super) fn unlink(&mut self, at: &str) -> Result<Outcome<()>, String> {
        let is_own = self.files.named(at).is_some_and(|file| {
            let file = &self.files.all[file];
            file.is_new() || file.content.is_none() || file.may_be_sent || file.was_tried
        });
        // A new file is removed here; others' file of this moment need not be seen.
        let now = self.now();
        let is_own = is_own || self.ledger().is_new_at(at, now);
        self.ledger().replace(at);
        let fs = self.world.fs.clone();
        let done = self.walk(at, |dir, name| fs.unlink(dir, name).map_err(errno));
        if self.trouble.is_dead() {
            return Ok(done);
        }
        self.ledger().end_replacing(at, done.is_ok());
        if done.is_ok() {
            self.files.unlinked(at);
            let is_touched = self.ledger().is_touched(at) || self.server.ignores_case || is_own;
            if !is_touched && self.world.server.node(&path(at)).is_some() {
                return Err(format!("{at} was removed, and is still there"));
            }
        } else if self.trouble.has_struck()
            && let Some(file) = self.files.named(at)
        {
            self.files.all[file].forget();
        }
        Ok(done)
    }
}
