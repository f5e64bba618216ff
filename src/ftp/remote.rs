//! The operations of [`Remote`] on an FTP server: those that are commands only, and the way to the others.

use std::sync::Arc;

use super::{
    capabilities::Server,
    checksum,
    client::FtpRemote,
    directory,
    download::FileDownload,
    gate, settle, small, stat,
    upload::{self, FileUpload},
    values,
};
use crate::{
    budget::Budget,
    remote::{
        Attributes, Checksum, Confirmed, Download, Evidence, Habits, Listing, Part, Permit, Remote,
        RemoteEntry, RemotePath, Report, Result, Settled, Upload, UploadMode,
    },
};

impl Remote for FtpRemote {
    fn listing_budget(&self) -> &Arc<Budget> {
        &self.budget
    }

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

    fn read_small_exact(&self, path: &RemotePath, bytes_max: usize) -> Result<(Report, Vec<u8>)> {
        small::read_small_exact(self, path, bytes_max)
    }

    fn report(&self, path: &RemotePath) -> Result<Report> {
        settle::report(self, path)
    }

    fn examine(&self, path: &RemotePath) -> Result<(Report, Option<u32>)> {
        settle::examine(self, path)
    }

    fn open_upload_with(
        &self,
        permit: Permit,
        mode: UploadMode,
        first: &[u8],
    ) -> Result<Box<dyn Upload>> {
        Ok(Box::new(FileUpload::open(self, permit, mode, first)?))
    }

    fn put(&self, permit: Permit, data: &[u8], attributes: &Attributes) -> Result<Confirmed> {
        upload::put(self, permit, data, attributes)
    }

    fn settle(&self, permit: Permit, attributes: &Attributes) -> Result<Settled> {
        settle::settle(self, permit, attributes)
    }

    fn settle_beside(
        &self,
        permit: Permit,
        attributes: &Attributes,
        other: &RemotePath,
    ) -> Result<(Settled, Result<Evidence>)> {
        settle::settle_beside(self, permit, attributes, other)
    }

    fn checksum(&self, path: &RemotePath, part: &Part) -> Result<Option<Checksum>> {
        checksum::ask(self, path, part)
    }

    fn rename(&self, from: &RemotePath, to: Permit) -> Result<Option<Evidence>> {
        gate::rename(self, from, to)
    }

    fn remove_file(&self, permit: Permit) -> Result<()> {
        gate::remove_file(self, permit)
    }

    fn make_dir(&self, path: &RemotePath) -> Result<()> {
        gate::make_dir(self, path)
    }

    fn remove_dir(&self, permit: Permit) -> Result<()> {
        gate::remove_dir(self, permit)
    }

    fn make_symlink(&self, target: &[u8], path: &RemotePath) -> Result<()> {
        gate::make_symlink(self, target, path)
    }

    fn read_link(&self, path: &RemotePath) -> Result<Box<[u8]>> {
        directory::read_link(self, path)
    }

    fn space(&self, dir: &RemotePath) -> Result<Option<u64>> {
        let capabilities = &self.pool.host.capabilities;
        if !capabilities.learnt().has_avbl {
            return Ok(None);
        }
        let replies = self.ask(dir, "AVBL", &[self.line("AVBL ", dir)?])?;
        let Some(reply) = replies.first() else {
            return Ok(None);
        };
        if reply.is_unknown_command() {
            capabilities.learn(|learnt| learnt.has_avbl = false);
        }
        Ok(values::size_of(reply))
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

    fn may_patch(&self) -> bool {
        // It truncates at the offset, and unlinks the file when the data connection fails.
        self.pool.host.capabilities.server() != Server::PureFtpd
    }
}
