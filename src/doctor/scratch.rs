//! Scratch files on the server: what is made is written down, and removed at the end whatever happened.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    time::{Duration, Instant, SystemTime},
};

use super::report::{Rate, Report};
use crate::{
    ftp::FtpRemote,
    remote::{
        Attributes, Habits, Remote, RemoteError, RemoteErrorKind, RemotePath, Result, UploadMode,
    },
};

/// What is sent at once.
const CHUNK_BYTES: usize = 256 << 10;

/// A time that no file has by chance: 2020-09-13 12:26:40.
const SET_TIME: u64 = 1_600_000_000;

/// Names of ours on the server.
#[derive(Debug)]
pub(super) struct Scratch<'a> {
    remote: &'a FtpRemote,
    prefix: String,
    files: Vec<RemotePath>,
    dirs: Vec<RemotePath>,
}

impl<'a> Scratch<'a> {
    pub(super) fn new(remote: &'a FtpRemote) -> Self {
        // No secret, only unlikely to be taken.
        let random = RandomState::new().build_hasher().finish();
        Self {
            remote,
            prefix: format!(".ftpfs-doctor-{random:016x}"),
            files: Vec::new(),
            dirs: Vec::new(),
        }
    }

    /// A name that will be removed.
    fn file(&mut self, name: &str) -> Result<RemotePath> {
        let path = self.name(name)?;
        self.files.push(path.clone());
        Ok(path)
    }

    fn name(&self, name: &str) -> Result<RemotePath> {
        let name = format!("{}-{name}", self.prefix);
        RemotePath::root()
            .join(name.as_bytes())
            .map_err(|_| RemoteError::new(RemoteErrorKind::InvalidPath, "doctor"))
    }

    /// Tries everything. What is refused is a finding; an error is what keeps anything from being written.
    pub(super) fn try_all(
        &mut self,
        report: &mut Report,
        bytes: usize,
        time_max: Duration,
    ) -> Result<()> {
        let file = self.file("a")?;
        self.remote
            .put(&file, b"0123456789", &Attributes::default())?;
        report.finding("new files", "work", "tried");
        let mut piece = [0; 2];
        let read = self.remote.open_download(&file, 4, Some(2));
        let read = read.and_then(|mut download| download.read(&mut piece));
        let finding = match read {
            Ok(_) if piece == *b"45" => "works".to_owned(),
            Ok(_) => "brings other bytes".to_owned(),
            Err(error) => error.to_string(),
        };
        report.finding("reading at an offset", &finding, "tried");
        let mut habits = Habits::default();
        self.try_append(&file, report, &mut habits);
        self.try_attributes(&file, report, &mut habits);
        self.try_renames(&file, report, &mut habits)?;
        self.remote.can_patch(&RemotePath::root());
        self.try_dirs(report)?;
        self.remote.keep_habits(habits);
        let large = self.file("large")?;
        report.upload = self.measure_upload(&large, bytes, time_max).ok();
        report.download = measure_download(self.remote, &large, time_max).ok();
        Ok(())
    }

    fn try_append(&self, file: &RemotePath, report: &mut Report, habits: &mut Habits) {
        let appended = self
            .remote
            .open_upload(file, UploadMode::Append)
            .and_then(|mut upload| {
                upload.write_all(b"ab")?;
                upload.finish()
            });
        let size = self.remote.settle(file, &Attributes::default());
        let size = size.and_then(|settled| settled.size).ok().flatten();
        habits.no_append = appended.is_err();
        let finding = match (appended, size) {
            (Ok(()), Some(12) | None) => "APPE of what is new".to_owned(),
            (Ok(()), Some(other)) => format!("APPE made {other} bytes of 10 and 2"),
            (Err(error), _) => format!("whole files are sent instead ({error})"),
        };
        report.finding("appending", &finding, "tried");
    }

    fn try_attributes(&self, file: &RemotePath, report: &mut Report, habits: &mut Habits) {
        let wanted = Attributes {
            mode: Some(0o640),
            modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(SET_TIME)),
        };
        let settled = match self.remote.settle(file, &wanted) {
            Ok(settled) => settled,
            Err(error) => return report.finding("attributes", &error.to_string(), "tried"),
        };
        habits.no_mode = settled
            .mode
            .as_ref()
            .is_err_and(|error| error.kind() == RemoteErrorKind::Unsupported);
        for (name, outcome) in [("modes", settled.mode), ("times", settled.modified)] {
            let finding = outcome
                .err()
                .map_or("are set".to_owned(), |error| error.to_string());
            report.finding(name, &finding, "tried");
        }
    }

    fn try_renames(
        &mut self,
        file: &RemotePath,
        report: &mut Report,
        habits: &mut Habits,
    ) -> Result<()> {
        let (other, third) = (self.file("b")?, self.file("c")?);
        if let Err(error) = self.remote.rename(file, &other) {
            habits.no_rename = error.kind() == RemoteErrorKind::Unsupported;
            report.finding("renaming", &error.to_string(), "tried");
            report.problem(
                "files cannot be renamed: a broken upload damages the file that it replaces",
                "",
            );
            return Ok(());
        }
        self.remote.put(&third, b"third", &Attributes::default())?;
        let over = self.remote.rename(&third, &other);
        let finding = match &over {
            Err(_) => "not over a file; the old one is moved aside",
            Ok(()) if self.remote.stat(&third)?.is_some() => {
                "not over a file, though the server says so; the old one is moved aside"
            }
            Ok(()) => "works, also over a file",
        };
        habits.no_rename_over = finding != "works, also over a file";
        report.finding("renaming", finding, "tried");
        Ok(())
    }

    fn try_dirs(&mut self, report: &mut Report) -> Result<()> {
        let dir = self.name("d")?;
        let made = self.remote.make_dir(&dir);
        let finding = made
            .as_ref()
            .err()
            .map_or("can be made".to_owned(), ToString::to_string);
        if made.is_ok() {
            self.dirs.push(dir);
        }
        report.finding("directories", &finding, "tried");
        Ok(())
    }

    fn measure_upload(&self, path: &RemotePath, bytes: usize, time_max: Duration) -> Result<Rate> {
        // What does not compress.
        let mut chunk = vec![0_u8; CHUNK_BYTES];
        fastrand::fill(&mut chunk);
        let start = Instant::now();
        let mut upload = self.remote.open_upload(path, UploadMode::Replace)?;
        let mut sent = 0;
        while sent < bytes && start.elapsed() < time_max {
            upload.write_all(&chunk)?;
            sent += chunk.len();
        }
        upload.finish()?;
        Ok(Rate::new(sent, start.elapsed()))
    }

    /// Removes everything; what could not be removed.
    pub(super) fn clean_up(self) -> Vec<String> {
        let remote = self.remote;
        let mut left = Vec::new();
        let remove_file = |path: &RemotePath| remote.remove_file(path);
        let remove_dir = |path: &RemotePath| remote.remove_dir(path);
        for path in &self.files {
            if remove_file(path).is_err() && !matches!(remote.stat(path), Ok(None)) {
                left.push(path.to_string());
            }
        }
        for path in &self.dirs {
            if remove_dir(path).is_err() {
                left.push(path.to_string());
            }
        }
        left
    }
}

/// Reads a file from its beginning until the time is over.
pub(super) fn measure_download(
    remote: &FtpRemote,
    path: &RemotePath,
    time_max: Duration,
) -> Result<Rate> {
    let start = Instant::now();
    let mut download = remote.open_download(path, 0, None)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut count = 0;
    while start.elapsed() < time_max {
        match download.read(&mut buffer)? {
            0 => break,
            more => count += more,
        }
    }
    Ok(Rate::new(count, start.elapsed()))
}
