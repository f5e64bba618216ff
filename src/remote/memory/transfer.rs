//! The memory remote's running transfers: they work on the file itself, byte by byte visible to everybody else.

use super::{
    super::{Download, Evidence, RemoteErrorKind, RemotePath, Result, Upload},
    MemoryRemote, Operation, State,
    delivery::Share,
    fault::ByteFault,
    tree::{Answer, NodeId},
};

#[derive(Debug)]
pub(super) struct MemoryDownload {
    pub(super) file: OpenFile,
    /// Bytes still wanted.
    pub(super) bytes_left: u64,
    pub(super) share: Share,
}

impl MemoryDownload {
    fn load(&mut self, remote: &MemoryRemote, buffer: &mut [u8]) -> Answer<usize> {
        let (mut state, allowance) =
            remote.await_turn(self.file.position as u64, &mut self.share)?;
        let most = usize::try_from(allowance.min(self.bytes_left)).unwrap_or(usize::MAX);
        let most = state
            .behaviour
            .read_bytes_max
            .map_or(most, |piece| piece.min(most));
        let content = state.tree.file_mut(self.file.node)?;
        let rest = content.get(self.file.position..).unwrap_or_default();
        let count = self.file.admit(buffer.len().min(rest.len()).min(most))?;
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.file.position += count;
        self.bytes_left -= count as u64;
        state
            .delivery
            .deliver(count as u64, self.file.position as u64, &mut self.share);
        Ok(count)
    }
}

impl Drop for MemoryDownload {
    fn drop(&mut self) {
        self.file.remote.lock().delivery.close(&self.share);
    }
}

#[derive(Debug)]
pub(super) struct MemoryUpload {
    pub(super) file: OpenFile,
}

/// A file held by a transfer, and how far the transfer has come.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) remote: MemoryRemote,
    pub(super) path: RemotePath,
    pub(super) node: NodeId,
    pub(super) position: usize,
    pub(super) fault: Option<ByteFault>,
    /// What every further call meets once the transfer broke.
    pub(super) broken: Option<RemoteErrorKind>,
}

impl OpenFile {
    /// How many of `wanted` bytes pass before the fault; an error when it is due, at the end of the transfer too.
    fn admit(&mut self, wanted: usize) -> Answer<usize> {
        if let Some(kind) = self.broken {
            return Err(kind);
        }
        let Some(fault) = &mut self.fault else {
            return Ok(wanted);
        };
        if fault.bytes_left == 0 {
            self.broken = Some(fault.kind);
            return Err(fault.kind);
        }
        let admitted = wanted.min(usize::try_from(fault.bytes_left).unwrap_or(usize::MAX));
        fault.bytes_left -= admitted as u64;
        Ok(admitted)
    }

    /// Writes at the position. A gap before it is filled with zeros, as vsftpd does.
    pub(super) fn write(&mut self, data: &[u8]) -> Answer<()> {
        let mut rest = data;
        while !rest.is_empty() {
            let admitted = self.admit(rest.len())?;
            let (now, later) = rest.split_at(admitted);
            self.store(now)?;
            rest = later;
        }
        Ok(())
    }

    /// Whether the server confirms the end of an upload.
    pub(super) fn complete(&mut self) -> Answer<()> {
        self.admit(0).map(drop)
    }

    fn store(&mut self, data: &[u8]) -> Answer<()> {
        let wall = self.remote.wall();
        let mut state = self.remote.lock();
        let (data, is_all) = state.fitting(self.node, self.position, data);
        let end = self
            .position
            .checked_add(data.len())
            .ok_or(RemoteErrorKind::Failed)?;
        let file = state.tree.file_mut(self.node)?;
        if file.len() < end {
            file.resize(end, 0);
        }
        if let Some(target) = file.get_mut(self.position..end) {
            target.copy_from_slice(data);
        }
        state.tree.node_mut(self.node)?.modified = wall;
        state.script.receive(data.len());
        self.position = end;
        drop(state);
        if is_all {
            return Ok(());
        }
        self.broken = Some(RemoteErrorKind::NoSpace);
        Err(RemoteErrorKind::NoSpace)
    }
}

impl State {
    /// As much of what is to be written into a file at this place as the disk has room for, and whether that is all.
    fn fitting<'a>(&self, node: NodeId, at: usize, data: &'a [u8]) -> (&'a [u8], bool) {
        let Some(room) = self.behaviour.room else {
            return (data, true);
        };
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let (used, len) = self.tree.used(node);
        let longest = len.saturating_add(room.saturating_sub(used)).max(len);
        let fitting = longest.saturating_sub(at).min(data.len());
        (
            data.get(..fitting).unwrap_or_default(),
            fitting == data.len(),
        )
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.remote.lock().tree.close(self.node);
    }
}

impl Download for MemoryDownload {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let remote = self.file.remote.clone();
        let path = self.file.path.clone();
        remote.ask(Operation::Read, &path, || self.load(&remote, buffer))
    }
}

impl Upload for MemoryUpload {
    fn write_all(&mut self, data: &[u8]) -> Result<()> {
        let remote = self.file.remote.clone();
        let path = self.file.path.clone();
        let result = remote.ask(Operation::WriteAll, &path, || self.file.write(data));
        if let Err(error) = &result {
            self.file.broken = Some(error.kind());
        }
        result
    }

    fn finish(mut self: Box<Self>) -> Result<Evidence> {
        let remote = self.file.remote.clone();
        let path = self.file.path.clone();
        remote.ask(Operation::Finish, &path, || self.file.complete())?;
        Ok(Evidence::confirmed(&path, remote.now()))
    }
}
