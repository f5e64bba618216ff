//! What programs do to names that changes nothing which is there: they open, read, list, make and ask.

use ftpfs::{
    fs::{Access, Change, Ino, OpenMode},
    remote::EntryKind,
};

use super::{Handle, Outcome, Simulation};
use crate::{
    files::File,
    ledger::short,
    sequence::Mode,
    world::{List, READ, ROOT, errno, path},
};

impl Simulation {
    /// Walks to a name as the kernel does, and lets it forget what was looked up.
    pub(super) fn walk<T>(
        &self,
        at: &str,
        run: impl FnOnce(Ino, &[u8]) -> Outcome<T>,
    ) -> Outcome<T> {
        let fs = &self.world.fs;
        let (dir, name) = at.rsplit_once('/').unwrap_or(("", at));
        let mut inodes = vec![ROOT];
        let mut walked = Ok(());
        for part in dir.split('/').filter(|part| !part.is_empty()) {
            let found = fs.lookup(inodes[inodes.len() - 1], part.as_bytes());
            walked = match found.map_err(errno) {
                Ok(found) => match found.attr {
                    Some(attr) if attr.kind == EntryKind::Directory => {
                        inodes.push(attr.ino);
                        continue;
                    }
                    Some(attr) => {
                        inodes.push(attr.ino);
                        Err(libc::ENOTDIR)
                    }
                    None => Err(libc::ENOENT),
                },
                Err(error) => Err(error),
            };
            break;
        }
        let outcome = walked.and_then(|()| run(inodes[inodes.len() - 1], name.as_bytes()));
        if self.server.forgets {
            for ino in inodes.into_iter().skip(1).rev() {
                fs.forget(ino, 1);
            }
        }
        outcome
    }

    /// Walks to what has the name.
    pub(super) fn on_inode<T>(
        &self,
        at: &str,
        run: impl FnOnce(Ino, EntryKind) -> Outcome<T>,
    ) -> Outcome<T> {
        let fs = &self.world.fs;
        self.walk(at, |dir, name| {
            let found = fs.lookup(dir, name).map_err(errno)?;
            let attr = found.attr.ok_or(libc::ENOENT)?;
            let done = run(attr.ino, attr.kind);
            if self.server.forgets {
                fs.forget(attr.ino, 1);
            }
            done
        })
    }

    /// Opens a file; the verdict is about what the program was told.
    pub(super) fn open(
        &mut self,
        program: u8,
        at: &str,
        mode: Mode,
    ) -> Result<Outcome<()>, String> {
        let flags = OpenMode {
            access: match mode {
                Mode::Read => Access::Read,
                _ if mode.appends() => Access::Append,
                _ => Access::Write,
            },
            is_truncate: mode.truncates(),
            is_exclusive: mode == Mode::Exclusive,
        };
        let (now, before) = (self.now(), self.on_server(at));
        let was_settled = self.ledger().is_settled_at(at, now);
        if mode.truncates() {
            self.ledger().claim_at(at);
        }
        let fs = self.world.fs.clone();
        let forgets = u64::from(self.server.forgets);
        let opened = self.walk(at, |dir, name| {
            if mode.creates() {
                let (attr, opened) = fs.create(dir, name, 0o644, flags).map_err(errno)?;
                fs.forget(attr.ino, forgets);
                return Ok((attr.ino, opened.handle));
            }
            let found = fs.lookup(dir, name).map_err(errno)?;
            let attr = found.attr.ok_or(libc::ENOENT)?;
            let opened = match attr.kind {
                EntryKind::File => fs.open(attr.ino, flags).map_err(errno),
                _ => Err(libc::EISDIR),
            };
            fs.forget(attr.ino, forgets);
            Ok((attr.ino, opened?.handle))
        });
        let (ino, number) = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let is_touched = self.ledger().is_touched(at);
        if mode == Mode::Exclusive && was_settled && !is_touched {
            return Err("O_EXCL made a file where there was one".into());
        }
        if mode.is_write() {
            self.ledger().claim_seen(at);
        }
        let is_unseen = is_touched || (mode.creates() && self.ledger().is_new_at(at, now));
        let before = if is_unseen { None } else { Some(before) };
        let is_gone = before == Some(None);
        let file = self.files.open(at, Some(ino), mode, before);
        if mode.truncates() && is_gone {
            let since = now.checked_sub(self.stale()).unwrap_or(now);
            let shown = self.ledger().shown_since(&[at.to_owned()], since);
            if shown.iter().any(|shown| !shown.is_empty()) {
                self.files.all[file].empty_old();
            }
        }
        self.handles.push(Handle {
            program,
            number,
            ino,
            file,
            mode,
            opened: now,
        });
        Ok(Ok(()))
    }

    pub(super) fn cat(&mut self, at: &str) -> Result<Outcome<()>, String> {
        let fs = self.world.fs.clone();
        let read = self.on_inode(at, |ino, kind| {
            if kind != EntryKind::File {
                return Err(libc::EISDIR);
            }
            let handle = fs.open(ino, READ).map_err(errno)?.handle;
            let read = self.world.read_handle(handle);
            fs.release(handle);
            read
        });
        let read = match read {
            Ok(read) => read,
            Err(error) => return Ok(Err(error)),
        };
        if self.trouble.is_dead() || self.ledger().is_touched(at) {
            return Ok(Ok(()));
        }
        if let Some(file) = self.files.named(at) {
            let file = &self.files.all[file];
            if file.is_dirty {
                let (paths, since) = (file.paths.clone(), self.world_start());
                let shown = self.ledger().shown_since(&paths, since);
                let is_right = file.reads(0, usize::MAX, &read, &shown);
                return if is_right {
                    Ok(Ok(()))
                } else {
                    Err(format!("{at} reads as {}", short(&read)))
                };
            }
        }
        let now = self.now();
        let since = now.checked_sub(self.stale()).unwrap_or(now);
        let shown = self.ledger().shown_since(&[at.to_owned()], since);
        // What is open may have been read before.
        let is_open = self.files.named(at).is_some();
        if is_open || shown.iter().any(|shown| **shown == read) {
            return Ok(Ok(()));
        }
        Err(format!("{at} reads as {}", short(&read)))
    }

    pub(super) fn stat(&mut self, at: &str) -> Result<Outcome<()>, String> {
        let fs = self.world.fs.clone();
        let attr = self.on_inode(at, |ino, _| fs.getattr(ino).map_err(errno));
        let attr = match attr {
            Ok((attr, _)) => attr,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(file) = self.files.named(at)
            && let File {
                is_dirty: true,
                may_be_sent: false,
                was_tried: false,
                is_blurred: false,
                content: Some(content),
                ..
            } = &self.files.all[file]
            && !self.trouble.is_dead()
            && !self.ledger().is_touched(at)
            && attr.size != content.len() as u64
        {
            return Err(format!("{at} is shown with {} bytes", attr.size));
        }
        Ok(Ok(()))
    }

    pub(super) fn list(&self, at: &str) -> Outcome<Vec<String>> {
        let fs = self.world.fs.clone();
        let read = |ino| {
            let handle = fs.opendir(ino).map_err(errno)?;
            let mut list = List::default();
            let read = fs.readdir(ino, handle, 0, &mut list).map_err(errno);
            fs.releasedir(handle);
            read?;
            let mut names = list.names();
            names.retain(|name| name != "." && name != "..");
            Ok(names)
        };
        if at.is_empty() {
            return read(ROOT);
        }
        self.on_inode(at, |ino, _| read(ino))
    }

    pub(super) fn mkdir(&mut self, at: &str) -> Result<Outcome<()>, String> {
        let fs = self.world.fs.clone();
        let forgets = u64::from(self.server.forgets);
        let done = self.walk(at, |dir, name| {
            let attr = fs.mkdir(dir, name, 0o755).map_err(errno)?;
            fs.forget(attr.ino, forgets);
            Ok(())
        });
        let is_there = || self.world.is_dir_on_server(at);
        if done.is_ok() && !self.trouble.is_dead() && !self.ledger().is_touched(at) && !is_there() {
            return Err(format!("{at} was made, and is not there"));
        }
        Ok(done)
    }

    pub(super) fn rmdir(&mut self, at: &str) -> Result<Outcome<()>, String> {
        let fs = self.world.fs.clone();
        let done = self.walk(at, |dir, name| fs.rmdir(dir, name).map_err(errno));
        let is_there = || self.world.server.node(&path(at)).is_some();
        if done.is_ok() && !self.trouble.is_dead() && !self.ledger().is_touched(at) && is_there() {
            return Err(format!("{at} was removed, and is still there"));
        }
        Ok(done)
    }

    pub(super) fn setattr(&mut self, at: &str, change: &Change) -> Outcome<()> {
        let fs = self.world.fs.clone();
        self.on_inode(at, |ino, _| {
            fs.setattr(ino, change, None).map(drop).map_err(errno)
        })
    }

    /// Links are made under a name of their own.
    pub(super) fn symlink(&mut self, to: &str) -> Outcome<()> {
        let fs = self.world.fs.clone();
        let forgets = u64::from(self.server.forgets);
        let attr = fs.symlink(ROOT, b"l", to.trim_start_matches('/').as_bytes());
        let attr = attr.map_err(errno)?;
        fs.forget(attr.ino, forgets);
        Ok(())
    }
}
