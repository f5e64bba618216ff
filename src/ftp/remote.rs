//! The operations of [`Remote`] on an FTP server: those that are commands only, and the way to the others.

use std::sync::PoisonError;

use super::{
    client::{FtpRemote, unencodable},
    directory,
    download::FileDownload,
    patch, settle, small, stat,
    upload::{self, FileUpload},
};
use crate::remote::{
    Attributes, Download, Habits, Listing, Remote, RemoteEntry, RemoteError, RemoteErrorKind,
    RemotePath, Result, Settled, Upload, UploadMode,
};

impl Remote for FtpRemote {
    fn list(&self, dir: &RemotePath) -> Result<Listing> {
        self.pool.note_listing();
        directory::list(self, dir)
    }

    /// The root's entry is called `/`.
    fn stat(&self, path: &RemotePath) -> Result<Option<RemoteEntry>> {
        stat::stat(self, path)
    }

    fn open_download(
        &self,
        path: &RemotePath,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Box<dyn Download>> {
        let full_path = self.full_path(path)?;
        Ok(Box::new(FileDownload::open(
            &self.pool, path, full_path, offset, len,
        )?))
    }

    fn read_small(&self, path: &RemotePath, bytes_max: usize) -> Result<Vec<u8>> {
        small::read_small(self, path, bytes_max)
    }

    fn read_small_exact(&self, path: &RemotePath, bytes_max: usize) -> Result<(Settled, Vec<u8>)> {
        small::read_small_exact(self, path, bytes_max)
    }

    fn open_upload(&self, path: &RemotePath, mode: UploadMode) -> Result<Box<dyn Upload>> {
        self.open_upload_with(path, mode, &[])
    }

    fn open_upload_with(
        &self,
        path: &RemotePath,
        mode: UploadMode,
        first: &[u8],
    ) -> Result<Box<dyn Upload>> {
        let full_path = self.full_path(path)?;
        let upload = FileUpload::open(&self.pool, path, full_path, mode, first)?;
        Ok(Box::new(upload))
    }

    fn put(
        &self,
        path: &RemotePath,
        data: &[u8],
        attributes: &Attributes,
    ) -> Result<Option<Settled>> {
        upload::put(self, path, data, attributes)
    }

    fn settle(&self, path: &RemotePath, attributes: &Attributes) -> Result<Settled> {
        settle::settle(self, path, attributes)
    }

    fn examine(&self, path: &RemotePath) -> Result<(Settled, Option<u32>)> {
        settle::examine(self, path)
    }

    fn settle_beside(
        &self,
        path: &RemotePath,
        attributes: &Attributes,
        other: &RemotePath,
    ) -> Result<(Settled, Result<Option<RemoteEntry>>)> {
        settle::settle_beside(self, path, attributes, other)
    }

    fn rename(&self, from: &RemotePath, to: &RemotePath) -> Result<()> {
        let lines = [self.line("RNFR ", from)?, self.line("RNTO ", to)?];
        let renamed = self.change_in_steps(from, ["RNFR", "RNTO"], &lines, || {
            Ok(self.stat(from)?.is_none() && self.stat(to)?.is_some())
        });
        self.links.forget();
        renamed.map_err(|error| match error.kind() {
            // Pure-FTPd says 451 to a rename that it does not allow.
            RemoteErrorKind::Failed => error.into_kind(RemoteErrorKind::Refused),
            _ => error,
        })
    }

    fn remove_file(&self, path: &RemotePath) -> Result<()> {
        let is_gone = || Ok(self.stat(path)?.is_none());
        let removed = self.change(path, "DELE", &[self.line("DELE ", path)?], is_gone);
        self.links.forget();
        removed
    }

    fn make_dir(&self, path: &RemotePath) -> Result<()> {
        // Whose directory it is that is there cannot be told.
        self.change(path, "MKD", &[self.line("MKD ", path)?], || Ok(false))
    }

    fn remove_dir(&self, path: &RemotePath) -> Result<()> {
        let is_gone = || Ok(self.stat(path)?.is_none());
        self.change(path, "RMD", &[self.line("RMD ", path)?], is_gone)
    }

    fn make_symlink(&self, target: &[u8], path: &RemotePath) -> Result<()> {
        const VERB: &str = "SITE SYMLINK";
        let capabilities = &self.pool.host.capabilities;
        let full_path = self.full_path(path)?;
        // ProFTPD takes a relative target for one in the session's directory, and not in that of the link.
        let target = if target.starts_with(b"/") {
            let encoded = self.names().encode(target);
            encoded.ok_or_else(|| unencodable(path))?.into_owned()
        } else {
            match resolved(path, target) {
                Some(target) => self.full_path(&target)?,
                None => Vec::new(),
            }
        };
        // ProFTPD splits its arguments at spaces, without any way to quote one.
        let is_sayable = !target.is_empty() && ![&*target, &full_path].concat().contains(&b' ');
        if !capabilities.learnt().has_symlink || !is_sayable {
            return Err(RemoteError::new(RemoteErrorKind::Unsupported, VERB).with_path(path));
        }
        let line = [&b"SITE SYMLINK "[..], &target, b" ", &full_path].concat();
        let made = self.change(path, VERB, &[line], || Ok(false));
        self.links.forget();
        if matches!(&made, Err(error) if error.kind() == RemoteErrorKind::Unsupported) {
            capabilities.learn(|learnt| learnt.has_symlink = false);
        }
        made
    }

    fn read_link(&self, path: &RemotePath) -> Result<Box<[u8]>> {
        directory::read_link(self, path)
    }

    fn space(&self, dir: &RemotePath) -> Result<Option<u64>> {
        let capabilities = &self.pool.host.capabilities;
        if !capabilities.learnt().has_avbl {
            return Ok(None);
        }
        let replies = self.repeatable(dir, "AVBL", &[self.line("AVBL ", dir)?])?;
        let Some(reply) = replies.first() else {
            return Ok(None);
        };
        if reply.is_unknown_command() {
            capabilities.learn(|learnt| learnt.has_avbl = false);
        }
        Ok(stat::size_of(reply))
    }

    fn name_len(&self, name: &[u8]) -> Option<usize> {
        self.names().encode(name).map(|wire| wire.len())
    }

    fn habits(&self) -> Habits {
        self.pool.host.capabilities.learnt().habits
    }

    fn keep_habits(&self, habits: Habits) {
        let capabilities = &self.pool.host.capabilities;
        capabilities.learn(|learnt| learnt.habits = habits);
    }

    fn is_contended(&self) -> bool {
        self.pool.is_contended()
    }

    fn ahead(&self, work: &mut dyn FnMut(&dyn Remote)) -> bool {
        let Some(remote) = self.for_guess() else {
            return false;
        };
        work(&remote);
        true
    }

    fn spare_transfers(&self) -> usize {
        self.pool.spare_transfers()
    }

    fn can_patch(&self, dir: &RemotePath) -> bool {
        let capabilities = &self.pool.host.capabilities;
        let _probing = self.probing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = capabilities.learnt().has_patch {
            return known;
        }
        let found = patch::probe(self, dir);
        if let Some(has_patch) = found {
            log::info!(
                "writing into the middle of files {}",
                if has_patch { "works" } else { "is refused" }
            );
            capabilities.learn(|learnt| learnt.has_patch = Some(has_patch));
        }
        found.unwrap_or(false)
    }
}

/// Where a relative target leads from the directory of its link, by names alone; `None` for one that leads out of the mounted directory.
fn resolved(link: &RemotePath, target: &[u8]) -> Option<RemotePath> {
    let mut at = link.parent()?;
    for name in target.split(|byte| *byte == b'/') {
        at = match name {
            b"" | b"." => at,
            b".." => at.parent()?,
            name => at.join(name).ok()?,
        };
    }
    Some(at)
}
