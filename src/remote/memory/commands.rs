//! What the server in memory does to its tree when it gets a command.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    super::{
        Attributes, EntryKind, Gathering, Listing, Modified, Precision, RemoteEntry, RemoteError,
        RemoteErrorKind, RemotePath, Report, Settled,
    },
    Behaviour, Operation, RenameOver, State,
    tree::{Answer, Content, NodeId, Place, Stored},
};
use crate::budget::Budget;

pub(super) const REFUSED: RemoteErrorKind = RemoteErrorKind::Refused;

impl State {
    pub(super) fn list(&self, dir: &RemotePath, budget: &Arc<Budget>) -> Answer<Listing> {
        let children = self.tree.children(self.tree.resolve(dir)?)?;
        let shown = self.behaviour.list_entries_max.unwrap_or(usize::MAX);
        let mut entries = Gathering::in_budget(budget);
        for (name, id) in children.iter().take(shown) {
            let entry = self.entry(name, *id, self.behaviour.list_precision)?;
            entries.push(entry.as_borrowed());
        }
        let is_truncated = children.len() > shown && self.behaviour.tells_truncation;
        Ok(Listing {
            entries: entries.finish(),
            is_truncated,
            rejected: self.behaviour.rejected.clone(),
            shows_dot_names: true,
        })
    }

    pub(super) fn entry(
        &self,
        name: &[u8],
        id: NodeId,
        precision: Precision,
    ) -> Answer<RemoteEntry> {
        let node = self.tree.node(id)?;
        let Behaviour {
            tells_mode,
            tells_target,
            ..
        } = self.behaviour;
        let mut entry = RemoteEntry::new(name, EntryKind::File);
        match &node.stored {
            Stored::File(data) => entry.size = Some(data.len() as u64),
            Stored::Directory(_) => entry.kind = EntryKind::Directory,
            Stored::Symlink(target) => {
                entry.kind = EntryKind::Symlink;
                entry.size = Some(target.len() as u64);
                entry.target = tells_target.then(|| target.clone());
            }
        }
        entry.modified = Some(tell(node.modified, precision));
        entry.mode = tells_mode.then_some(node.mode);
        entry.unique = Some(id.to_string().into_bytes().into());
        Ok(entry)
    }

    pub(super) fn settle(
        &mut self,
        path: &RemotePath,
        attributes: &Attributes,
        now: Instant,
    ) -> Settled {
        let error = |kind| RemoteError::new(kind, Operation::Settle.command()).with_path(path);
        let id = self.tree.resolve(path);
        let Behaviour {
            can_set_mode,
            can_set_time,
            ..
        } = self.behaviour;
        let mode = attributes.mode.map_or(Ok(()), |mode| {
            let node = self.tree.node_mut(id?)?;
            node.mode = can_set_mode
                .then_some(mode & 0o7777)
                .ok_or(RemoteErrorKind::Unsupported)?;
            Ok(())
        });
        let modified = attributes.modified.map_or(Ok(()), |time| {
            let node = self.tree.node_mut(id?)?;
            node.modified = can_set_time
                .then(|| whole_seconds(time))
                .ok_or(RemoteErrorKind::Unsupported)?;
            Ok(())
        });
        // SIZE and MDTM of a directory are refused by all servers that were measured.
        let size = id.and_then(|id| Ok(self.tree.file_mut(id)?.len() as u64));
        let seen = id
            .ok()
            .filter(|_| size.is_ok())
            .and_then(|id| self.tree.node(id).ok());
        Settled {
            mode: mode.map_err(error),
            modified: modified.map_err(error),
            report: Report {
                size: size.map(Some).map_err(error),
                modified: seen.map(|node| tell(node.modified, Precision::Second)),
                asked: now,
            },
        }
    }

    pub(super) fn remove_file(
        &mut self,
        path: &RemotePath,
        wall: SystemTime,
        now: Instant,
    ) -> Answer<()> {
        let place = self.tree.place(path)?;
        let id = place.node.ok_or(REFUSED)?;
        if !self.behaviour.may_remove {
            return Err(REFUSED);
        }
        match &self.tree.node(id)?.stored {
            Stored::Directory(_) => return Err(REFUSED),
            Stored::Symlink(_) => {}
            Stored::File(data) => self.losses.note(now, Operation::RemoveFile, path, data),
        }
        self.tree.remove(&place, wall)
    }

    pub(super) fn remove_dir(
        &mut self,
        path: &RemotePath,
        wall: SystemTime,
        now: Instant,
    ) -> Answer<()> {
        let place = self.tree.place(path)?;
        let is_empty = self.tree.children(place.node.ok_or(REFUSED)?)?.is_empty();
        if !is_empty && !self.behaviour.removes_trees {
            return Err(REFUSED);
        }
        for (below, node) in self.tree.snapshot() {
            if let (true, Content::File(data)) = (below.is_within(path), node.content) {
                self.losses.note(now, Operation::RemoveDir, &below, &data);
            }
        }
        self.tree.remove(&place, wall)
    }

    pub(super) fn stat(&self, path: &RemotePath) -> Answer<Option<RemoteEntry>> {
        let Ok(Place { node: Some(id), .. }) = self.tree.place(path) else {
            return Ok(None);
        };
        let name = path.name().unwrap_or(b"/");
        self.entry(name, id, Precision::Second).map(Some)
    }

    pub(super) fn rename(
        &mut self,
        from: &RemotePath,
        to: &RemotePath,
        now: SystemTime,
        at: Instant,
    ) -> Answer<()> {
        if !self.behaviour.can_rename {
            return Err(RemoteErrorKind::Unsupported);
        }
        if !self.behaviour.may_rename {
            return Err(REFUSED);
        }
        let old = self.tree.place(from)?;
        let mut new = self.tree.place(to)?;
        let source = old.node.ok_or(REFUSED)?;
        let Some(target) = new.node else {
            self.check_new_name(to)?;
            return self.tree.rename(&old, &new, now);
        };
        if source == target {
            return self.tree.respell(&old, to.name().ok_or(REFUSED)?);
        }
        let is_dir = matches!(self.tree.node(source)?.stored, Stored::Directory(_));
        let fits = match &self.tree.node(target)?.stored {
            Stored::Directory(children) => is_dir && children.is_empty(),
            Stored::File(_) | Stored::Symlink(_) => !is_dir,
        };
        match self.behaviour.rename_over {
            RenameOver::Lies => Ok(()),
            RenameOver::Replaces if fits => {
                if let Stored::File(data) = &self.tree.node(target)?.stored {
                    self.losses.note(at, Operation::Rename, to, data);
                }
                self.tree.remove(&new, now)?;
                new.node = None;
                self.tree.rename(&old, &new, now)
            }
            RenameOver::Replaces | RenameOver::Refuses => Err(REFUSED),
        }
    }
}

/// A time as a server tells it: cut, never rounded.
pub(super) fn tell(time: SystemTime, precision: Precision) -> Modified {
    let seconds = Modified::from(time).seconds;
    let unit = match precision {
        Precision::Day => 86_400,
        Precision::Minute => 60,
        Precision::Remembered | Precision::Second => 1,
    };
    Modified {
        seconds: seconds - seconds.rem_euclid(unit),
        nanoseconds: 0,
        precision,
    }
}

pub(super) fn whole_seconds(time: SystemTime) -> SystemTime {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => UNIX_EPOCH + Duration::from_secs(since.as_secs()),
        Err(_) => time,
    }
}
