//! The memory remote's answers: what each operation of the seam does to the tree.

use std::{collections::BTreeMap, sync::Arc};

use crate::budget::{Budget, Demand};

use super::{
    super::{
        Attributes, Checksum, Confirmed, Download, Evidence, Habits, Hasher, Listing, Part, Permit,
        Remote, RemoteEntry, RemoteError, RemoteErrorKind, RemotePath, Report, Result, Settled,
        Upload, UploadMode, gate::Change,
    },
    MemoryRemote, Operation, State,
    commands::REFUSED,
    transfer::{MemoryDownload, MemoryUpload, OpenFile},
    treatment::failure,
    tree::{Answer, NodeId, Stored},
};

impl Remote for MemoryRemote {
    fn ahead(&self, work: &mut dyn FnMut(&dyn Remote)) -> bool {
        work(self);
        true
    }

    fn listing_budget(&self) -> &Arc<Budget> {
        &self.client.budget
    }

    fn list(&self, dir: &RemotePath) -> Result<Listing> {
        let listed = self.ask(Operation::List, dir, || {
            self.lock().list(dir, &self.client.budget)
        });
        if listed.is_ok() && !self.client.budget.has_room(Demand::Program) {
            return Err(failure(Operation::List, RemoteErrorKind::NoMemory).with_path(dir));
        }
        listed
    }

    fn stat(&self, path: &RemotePath) -> Result<Option<RemoteEntry>> {
        self.ask(Operation::Stat, path, || self.lock().stat(path))
    }

    fn open_download(
        &self,
        path: &RemotePath,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Box<dyn Download>> {
        self.lock().script.ask_download(offset, len);
        self.ask(Operation::OpenDownload, path, || {
            let mut state = self.lock();
            let node = state.tree.resolve(path)?;
            state.tree.file_mut(node)?;
            let file = self.hold(&mut state, path, node, Operation::OpenDownload, offset);
            let download = MemoryDownload {
                file,
                bytes_left: state.script.take_cut().min(len.unwrap_or(u64::MAX)),
                share: state.delivery.open(),
            };
            drop(state);
            Ok(Box::new(download) as Box<dyn Download>)
        })
    }

    fn look(&self, path: &RemotePath) -> Result<Evidence> {
        let asked = self.now();
        let entry = self.stat(path)?.map(Arc::new);
        Ok(Evidence::reported(path, entry, asked, asked))
    }

    fn open_upload_with(
        &self,
        permit: Permit,
        mode: UploadMode,
        first: &[u8],
    ) -> Result<Box<dyn Upload>> {
        let path = permit.path().clone();
        let mut upload = self.ask(Operation::OpenUpload, &path, || {
            let path = self.spend(permit, mode.change())?;
            let file = self.start_upload(&path, mode, Operation::OpenUpload)?;
            Ok(Box::new(MemoryUpload { file }) as Box<dyn Upload>)
        })?;
        if !first.is_empty() {
            upload.write_all(first).map_err(RemoteError::begun)?;
        }
        Ok(upload)
    }

    /// Like a server that answers commands out of order: settling is for later.
    fn put(&self, permit: Permit, data: &[u8], _: &Attributes) -> Result<Confirmed> {
        let path = permit.path().clone();
        let data = data.to_vec();
        self.ask_change(
            Operation::Put,
            &path,
            || self.spend(permit, Change::Store),
            move |server, path| {
                let mut file = server.start_upload(path, UploadMode::Whole, Operation::Put)?;
                file.write(&data)?;
                file.complete()?;
                Ok(Confirmed {
                    evidence: Evidence::confirmed(path, server.now()),
                    settled: None,
                })
            },
        )
    }

    fn report(&self, path: &RemotePath) -> Result<Report> {
        self.ask(Operation::Settle, path, || {
            let nothing = Attributes::default();
            let now = self.now();
            Ok(self.lock().settle(path, &nothing, now).report)
        })
    }

    fn settle(&self, permit: Permit, attributes: &Attributes) -> Result<Settled> {
        let path = permit.path().clone();
        self.ask(Operation::Settle, &path, || {
            if !attributes.is_empty() {
                self.spend(permit, Change::SetAttributes)?;
            }
            let now = self.now();
            Ok(self.lock().settle(&path, attributes, now))
        })
    }

    fn checksum(&self, path: &RemotePath, part: &Part) -> Result<Option<Checksum>> {
        self.ask(Operation::Checksum, path, || {
            let mut state = self.lock();
            let (range, is_known) = match part {
                Part::Whole(len) => (0..*len, true),
                Part::Range(range) => (range.clone(), state.behaviour.checks_ranges),
            };
            let Some(algorithm) = state.behaviour.checksum.filter(|_| is_known) else {
                return Ok(None);
            };
            let node = state.tree.resolve(path)?;
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            let content = state.tree.file_mut(node)?;
            let bytes = content.get(place(range.start)..place(range.end));
            let mut hasher = Hasher::new(algorithm);
            hasher.update(bytes.ok_or(REFUSED)?);
            Ok(Some(hasher.finish()))
        })
    }

    fn habits(&self) -> Habits {
        self.lock().behaviour.habits
    }

    fn keep_habits(&self, habits: Habits) {
        self.lock().behaviour.habits = habits;
    }

    fn rename(&self, from: &RemotePath, to: Permit) -> Result<Option<Evidence>> {
        let source = from.clone();
        self.ask_change(
            Operation::Rename,
            from,
            || self.spend(to, Change::Place),
            move |server, to| {
                let (wall, now) = (server.wall(), server.now());
                let mut state = server.lock();
                state.rename(&source, to, wall, now)?;
                let left = state.stat(&source)?.map(Arc::new);
                Ok(Some(Evidence::reported(&source, left, now, now)))
            },
        )
    }

    fn remove_file(&self, permit: Permit) -> Result<()> {
        let path = permit.path().clone();
        self.ask_change(
            Operation::RemoveFile,
            &path,
            || self.spend(permit, Change::Remove),
            |server, path| {
                let (wall, now) = (server.wall(), server.now());
                server.lock().remove_file(path, wall, now)
            },
        )
    }

    fn make_dir(&self, path: &RemotePath) -> Result<()> {
        self.ask_change(
            Operation::MakeDir,
            path,
            || Ok(path.clone()),
            |server, path| {
                let now = server.wall();
                let mut state = server.lock();
                let place = state.tree.place(path)?;
                state
                    .make(path, &place, Stored::Directory(BTreeMap::new()), now)
                    .map(drop)
            },
        )
    }

    fn remove_dir(&self, permit: Permit) -> Result<()> {
        let path = permit.path().clone();
        self.ask_change(
            Operation::RemoveDir,
            &path,
            || self.spend(permit, Change::RemoveDir),
            |server, path| {
                let (wall, now) = (server.wall(), server.now());
                server.lock().remove_dir(path, wall, now)
            },
        )
    }

    fn make_symlink(&self, target: &[u8], path: &RemotePath) -> Result<()> {
        let now = self.wall();
        self.ask(Operation::MakeSymlink, path, || {
            let mut state = self.lock();
            if !state.behaviour.can_symlink {
                return Err(RemoteErrorKind::Unsupported);
            }
            let place = state.tree.place(path)?;
            state
                .make(path, &place, Stored::Symlink(target.into()), now)
                .map(drop)
        })
    }

    fn read_link(&self, path: &RemotePath) -> Result<Box<[u8]>> {
        self.ask(Operation::ReadLink, path, || {
            let state = self.lock();
            let place = state.tree.place(path)?;
            match &state.tree.node(place.node.ok_or(REFUSED)?)?.stored {
                Stored::Symlink(target) => Ok(target.clone()),
                Stored::File(_) | Stored::Directory(_) => Err(REFUSED),
            }
        })
    }

    fn space(&self, dir: &RemotePath) -> Result<Option<u64>> {
        self.ask(Operation::Space, dir, || Ok(self.lock().behaviour.space))
    }

    fn is_contended(&self) -> bool {
        self.lock().behaviour.is_contended
    }
}

impl MemoryRemote {
    fn spend(&self, permit: Permit, change: Change) -> Answer<RemotePath> {
        let spent = permit.spend(change, self.now());
        spent.map_err(|error| error.kind())
    }

    fn start_upload(
        &self,
        path: &RemotePath,
        mode: UploadMode,
        operation: Operation,
    ) -> Answer<OpenFile> {
        let now = self.wall();
        let mut state = self.lock();
        let is_whole = matches!(mode, UploadMode::Whole | UploadMode::InPlace);
        let is_known = match mode {
            UploadMode::Whole | UploadMode::InPlace => true,
            UploadMode::Append => state.behaviour.can_append,
            UploadMode::At(_) => state.behaviour.can_patch,
        };
        if !is_known {
            return Err(RemoteErrorKind::Unsupported);
        }
        let place = state.tree.place_followed(path)?;
        let node = match place.node {
            Some(_) if is_whole && !state.behaviour.can_overwrite => {
                return Err(REFUSED);
            }
            Some(node) => node,
            None => state.make(path, &place, Stored::File(Vec::new()), now)?,
        };
        let State { tree, losses, .. } = &mut *state;
        let file = tree.file_mut(node)?;
        if mode != UploadMode::Append {
            losses.note(self.now(), operation, path, file);
        }
        let position = match mode {
            UploadMode::Whole | UploadMode::InPlace => {
                file.clear();
                0
            }
            UploadMode::Append => file.len() as u64,
            UploadMode::At(offset) => offset.get(),
        };
        if is_whole {
            state.tree.node_mut(node)?.modified = now;
        }
        Ok(self.hold(&mut state, path, node, operation, position))
    }

    fn hold(
        &self,
        state: &mut State,
        path: &RemotePath,
        node: NodeId,
        operation: Operation,
        position: u64,
    ) -> OpenFile {
        state.tree.open(node);
        OpenFile {
            remote: self.clone(),
            path: path.clone(),
            node,
            position: usize::try_from(position).unwrap_or(usize::MAX),
            fault: state.script.take_byte_fault(operation),
            broken: None,
        }
    }
}
