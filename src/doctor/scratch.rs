//! Scratch files on the server: what is made is written down, and removed at the end whatever happened.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{
    problem::Problem,
    report::{Rate, Report},
};
use crate::{
    ftp::FtpRemote,
    remote::{
        Attributes, Habits, MadeName, Modified, Precision, Remote, RemoteError, RemoteErrorKind,
        RemotePath, Result, UploadMode, patch_trial,
    },
};

/// How the names begin; without the dot where the server takes none.
pub(super) const PREFIX: &str = ".ftpfs-doctor";

/// How much is sent to measure the bandwidth, more each time as long as it does not take too long. 4 MiB are beyond what buffers
/// hold; 32 KiB take a few seconds on the slowest line.
const TRANSFER_BYTES: [usize; 3] = [32 << 10, 512 << 10, 4 << 20];

/// How long each direction may be expected to take. 5 s: a user waits for the answer.
const TRANSFER_TIME_MAX: Duration = Duration::from_secs(5);

/// What is sent at once.
const CHUNK_BYTES: usize = 32 << 10;

/// A time that no file has by chance: 2020-09-13 12:26:40.
const SET_TIME: u64 = 1_600_000_000;

/// From when on two clocks are said to differ. 1 min: programs that compare times rarely mind less.
const CLOCK_SECONDS_MAX: i64 = 60;

/// The status of a program that a second Ctrl-C ends, as shells have it.
const INTERRUPTED_STATUS: i32 = 130;

/// What came of the work on scratch files.
#[derive(Debug)]
pub(super) struct Work {
    /// What is wrong with the times that are shown.
    pub(super) clock: Option<Problem>,
    /// What could not be removed.
    pub(super) left: Vec<String>,
    /// What kept anything from being written.
    pub(super) outcome: Result<()>,
}

/// Something that is tried on the scratch file: what it is, and how. What is refused is a finding and goes into the report; an error
/// ends the work.
type Trial = (
    &'static str,
    fn(&mut Scratch, &MadeName, &mut Report) -> Result<()>,
);

/// All trials, in their order: the file is read, changed, and then renamed away.
const TRIALS: &[Trial] = &[
    ("read-offset", |scratch, file, report| {
        scratch.try_offset(file, report);
        Ok(())
    }),
    ("size, exact-time", Scratch::try_told),
    ("append", |scratch, file, report| {
        scratch.try_append(file, report);
        Ok(())
    }),
    ("mode, time", Scratch::try_attributes),
    ("rename", Scratch::try_renames),
    ("directories", |scratch, _, report| scratch.try_dirs(report)),
    ("write-inside", |scratch, _, report| {
        scratch.try_patch(report)
    }),
    ("bandwidth", |scratch, _, report| scratch.measure(report)),
];

/// Names of ours on the server.
#[derive(Debug)]
pub(super) struct Scratch {
    remote: Arc<FtpRemote>,
    prefix: &'static str,
    files: Vec<MadeName>,
    dirs: Vec<MadeName>,
    habits: Habits,
    clock: Option<Problem>,
    is_interrupted: Arc<AtomicBool>,
}

impl Scratch {
    /// From here on, Ctrl-C and the signals that end a program are waited for until everything is removed; the second one ends it at
    /// once.
    pub(super) fn new(remote: Arc<FtpRemote>) -> Self {
        let is_interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let flag = || Arc::clone(&is_interrupted);
            let registered = signal_hook::flag::register_conditional_shutdown(
                signal,
                INTERRUPTED_STATUS,
                flag(),
            )
            .and_then(|_| signal_hook::flag::register(signal, flag()));
            if let Err(error) = registered {
                log::warn!("signal {signal} leaves scratch files behind: {error}");
            }
        }
        Self {
            remote,
            prefix: PREFIX,
            files: Vec::new(),
            dirs: Vec::new(),
            habits: Habits::default(),
            clock: None,
            is_interrupted,
        }
    }

    /// An error, if a signal has come.
    fn go_on(&self) -> Result<()> {
        if self.is_interrupted() {
            return Err(RemoteError::new(RemoteErrorKind::Disconnected, "signal"));
        }
        Ok(())
    }

    /// Whether a signal has come.
    pub(super) fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed)
    }

    /// A name that will be removed.
    fn file(&mut self) -> Result<MadeName> {
        let made = self.name()?;
        self.files.push(made.clone());
        Ok(made)
    }

    fn name(&self) -> Result<MadeName> {
        MadeName::fresh(&RemotePath::root(), self.prefix)
            .ok_or_else(|| RemoteError::new(RemoteErrorKind::InvalidPath, "doctor"))
    }

    /// An error without the long names.
    fn in_words(&self, error: &RemoteError) -> String {
        let names = self.files.iter().chain(&self.dirs);
        names.fold(error.to_string(), |text, made| {
            text.replace(&format!(" {}", made.path()), "")
        })
    }

    /// Tries everything, and removes what it has made.
    pub(super) fn try_all(mut self, report: &mut Report) -> Work {
        let outcome = self.try_each(report);
        report.is_interrupted = self.is_interrupted();
        Work {
            clock: self.clock.take(),
            left: self.clean_up(),
            outcome,
        }
    }

    fn try_each(&mut self, report: &mut Report) -> Result<()> {
        let file = self.try_file(report)?;
        for (name, run) in TRIALS {
            self.go_on()?;
            log::debug!("trying: {name}");
            run(self, &file, report)?;
        }
        self.habits.removals = self.remote.habits().removals.max(1);
        self.remote.keep_habits(self.habits);
        Ok(())
    }

    /// A file that can be made and removed; if it cannot be removed, nothing else is made.
    pub(super) fn try_file(&mut self, report: &mut Report) -> Result<MadeName> {
        const CONTENT: &[u8] = b"0123456789";
        let mut file = self.file()?;
        if let Err(error) = store(&self.remote, &file, CONTENT) {
            let is_name = matches!(
                error.kind(),
                RemoteErrorKind::Refused | RemoteErrorKind::NameRefused
            );
            if !is_name {
                return Err(error);
            }
            self.prefix = self.prefix.trim_start_matches('.');
            file = self.file()?;
            if store(&self.remote, &file, CONTENT).is_err() {
                return Err(error);
            }
            self.habits.no_dot_names = true;
            let refused = Err(self.in_words(&error));
            let cost = "temporary files of a mount are not hidden";
            report.tried("dot-names", "names with a dot in front", refused, cost);
        }
        self.remote.remove_file(file.permit())?;
        store(&self.remote, &file, CONTENT)?;
        report.tried("new-files", "STOR, DELE", Ok(()), "");
        Ok(file)
    }

    fn try_offset(&self, file: &MadeName, report: &mut Report) {
        let mut piece = [0; 2];
        let read = self.remote.open_download(file.path(), 4, Some(2));
        let read = read.and_then(|mut download| download.read(&mut piece));
        let outcome = match read {
            Ok(_) if piece == *b"45" => Ok(()),
            Ok(_) => Err("brings other bytes".to_owned()),
            Err(error) => Err(self.in_words(&error)),
        };
        let is_rest = self
            .remote
            .facts()
            .iter()
            .any(|fact| fact.name == "read-offset" && fact.cost.is_empty());
        // Without REST it works as well, as the facts say.
        if is_rest || outcome.is_err() {
            report.tried("read-offset", "REST", outcome, "no file can be read");
        }
    }

    /// What the server reports of a file: its size, its time, and by which clock.
    fn try_told(&mut self, file: &MadeName, report: &mut Report) -> Result<()> {
        let file = file.path();
        try_tells(&self.remote, file, "scratch file", report)?;
        let now = Modified::from(SystemTime::now()).seconds;
        let entry = self.remote.stat(file).ok().flatten();
        let exact = entry.and_then(|entry| entry.modified);
        let exact = exact.filter(|time| time.precision == Precision::Second);
        report.clock_seconds = exact.map(|time| time.seconds - now);
        let listing = self.remote.list(&RemotePath::root())?;
        let mut entries = listing.entries.iter();
        let entry = entries.find(|entry| file.name() == Some(entry.name));
        let Some(listed) = entry.and_then(|entry| entry.modified) else {
            return Ok(());
        };
        let slack = match listed.precision {
            Precision::Day => return Ok(()),
            Precision::Minute => 2 * CLOCK_SECONDS_MAX,
            Precision::Second | Precision::Remembered => CLOCK_SECONDS_MAX,
        };
        let ahead = listed.seconds - now;
        if ahead.abs() > slack {
            let late = if ahead > 0 { "late" } else { "early" };
            let why = match exact {
                Some(_) => "the server's clock, or its time zone, is wrong",
                None => {
                    "LIST tells the server's local time, and without MDTM its zone is not known"
                }
            };
            let what = format!(
                "files are shown {} minutes too {late}: {why}; make and rsync -u are misled",
                ahead.abs() / 60
            );
            self.clock = Some(Problem::new("clock", what, ""));
        }
        Ok(())
    }

    fn try_append(&mut self, file: &MadeName, report: &mut Report) {
        let appended = self
            .remote
            .open_upload(file.permit(), UploadMode::Append)
            .and_then(|mut upload| {
                upload.write_all(b"ab")?;
                upload.finish()
            });
        let size = self.remote.report(file.path());
        let size = size.and_then(|report| report.size).ok().flatten();
        // Other refusals may have a reason of their own.
        self.habits.no_append = is_unknown(&appended);
        let outcome = match (appended, size) {
            (Ok(_), Some(12) | None) => Ok(()),
            (Ok(_), Some(other)) => Err(format!("APPE made {other} bytes of 10 and 2")),
            (Err(error), _) => Err(self.in_words(&error)),
        };
        let cost = "a line that is appended sends the whole file";
        report.tried("append", "APPE", outcome, cost);
    }

    fn try_attributes(&mut self, file: &MadeName, report: &mut Report) -> Result<()> {
        let wanted = Attributes {
            mode: Some(0o640),
            modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(SET_TIME)),
        };
        let settled = self.remote.settle(file.permit(), &wanted)?;
        self.habits.no_mode = settled
            .mode
            .as_ref()
            .is_err_and(|error| error.kind() == RemoteErrorKind::Unsupported);
        let in_words = |outcome: Result<()>| outcome.map_err(|error| self.in_words(&error));
        report.tried("mode", "", in_words(settled.mode), "chmod fails");
        let cost = "touch fails, and copies have the time of their upload";
        report.tried("time", "", in_words(settled.modified), cost);
        Ok(())
    }

    fn try_renames(&mut self, file: &MadeName, report: &mut Report) -> Result<()> {
        let (other, third) = (self.file()?, self.file()?);
        let mut renamed = self.remote.rename(file.path(), other.permit());
        if renamed.is_err() {
            // Once more, for a server that has failed once.
            renamed = self.remote.rename(file.path(), other.permit());
        }
        if let Err(error) = renamed {
            let is_unknown =
                error.command() == "RNFR" && error.kind() == RemoteErrorKind::Unsupported;
            self.habits.no_rename = is_unknown;
            let cost = if is_unknown {
                "an upload that breaks off damages the file that it replaces"
            } else {
                "files that exist cannot be overwritten: this account may not rename"
            };
            report.tried("rename", "RNFR", Err(self.in_words(&error)), cost);
            return Ok(());
        }
        report.tried("rename", "RNFR", Ok(()), "");
        store(&self.remote, &third, b"third")?;
        let mut is_broken = false;
        let over = match self.remote.rename(third.path(), other.permit()) {
            Err(error) => {
                is_broken = !error.is_answer();
                Err(self.in_words(&error))
            }
            Ok(_) if self.remote.stat(third.path())?.is_some() => {
                self.habits.pretends_to_rename = true;
                Err("the server says yes and does nothing".to_owned())
            }
            Ok(_) => Ok(()),
        };
        self.habits.no_rename_over = over.is_err() && !is_broken;
        let cost = "a file that is replaced is away for a moment";
        report.tried("rename-over", "RNFR, RNTO over a file", over, cost);
        Ok(())
    }

    fn try_dirs(&mut self, report: &mut Report) -> Result<()> {
        let dir = self.name()?;
        let made = self.remote.make_dir(dir.path());
        self.dirs.push(dir);
        let made = made.map_err(|error| self.in_words(&error));
        report.tried("directories", "MKD, RMD", made, "mkdir fails");
        Ok(())
    }

    fn try_patch(&mut self, report: &mut Report) -> Result<()> {
        let file = self.file()?;
        let works = self.remote.may_patch()
            && patch_trial::keeps_rest(&*self.remote, &file).unwrap_or(false);
        let outcome = works
            .then_some(())
            .ok_or("they do not keep the rest".to_owned());
        let cost = "a change inside a file sends the whole file";
        report.tried("write-inside", "REST and STOR keep the rest", outcome, cost);
        Ok(())
    }

    fn measure(&mut self, report: &mut Report) -> Result<()> {
        let mut largest = None;
        for bytes in TRANSFER_BYTES {
            let is_too_slow = |rate: Rate| rate.time_for(bytes) > TRANSFER_TIME_MAX;
            if self.is_interrupted() || report.upload.is_some_and(is_too_slow) {
                break;
            }
            // Not every server replaces a file.
            let file = self.file()?;
            report.upload = self.measure_upload(&file, bytes)?;
            largest = Some(file);
        }
        if let Some(largest) = largest {
            let is_over = || self.is_interrupted();
            report.download = measure_download(&self.remote, largest.path(), is_over).ok();
        }
        Ok(())
    }

    /// `None` when it is interrupted: then it breaks off.
    fn measure_upload(&self, file: &MadeName, bytes: usize) -> Result<Option<Rate>> {
        // What does not compress.
        let mut chunk = vec![0_u8; CHUNK_BYTES];
        fastrand::fill(&mut chunk);
        let start = Instant::now();
        let begin = || self.remote.open_upload(file.permit(), UploadMode::Whole);
        let mut upload = match begin() {
            Err(error) if error.kind() == RemoteErrorKind::Disconnected => begin()?,
            begun => begun?,
        };
        for _ in 0..bytes / CHUNK_BYTES {
            if self.is_interrupted() {
                return Ok(None);
            }
            upload.write_all(&chunk)?;
        }
        upload.finish()?;
        Ok(Some(Rate::new(bytes, start.elapsed())))
    }

    /// Removes everything; what could not be removed. Once the server does not answer any more, nothing else is asked of it.
    pub(super) fn clean_up(self) -> Vec<String> {
        let remote = &self.remote;
        let mut left = Vec::new();
        let mut is_lost = false;
        let files = self.files.iter().map(|made| (made, true));
        let dirs = self.dirs.iter().map(|made| (made, false));
        for (made, is_file) in files.chain(dirs) {
            let path = made.path();
            if is_lost {
                left.push(path.to_string());
                continue;
            }
            let removed = if is_file {
                remote.remove_file(made.permit())
            } else {
                remote.remove_dir(made.permit())
            };
            let Err(error) = removed else { continue };
            is_lost = matches!(
                error.kind(),
                RemoteErrorKind::TimedOut(_) | RemoteErrorKind::Disconnected
            );
            if is_lost || !matches!(remote.stat(path), Ok(None)) {
                left.push(path.to_string());
            }
        }
        left
    }
}

/// Whether the server reports a file's size and time.
pub(super) fn try_tells(
    remote: &FtpRemote,
    file: &RemotePath,
    source: &'static str,
    report: &mut Report,
) -> Result<()> {
    let (has_size, has_time) = remote.tells(file)?;
    let either = |is_told: bool| is_told.then_some(()).ok_or("refused".to_owned());
    let cost = "whether all of an upload has arrived is not checked";
    report.tried_on(source, "size", "SIZE", either(has_size), cost);
    let cost = "times are as the listing tells them";
    report.tried_on(source, "exact-time", "MDTM", either(has_time), cost);
    Ok(())
}

/// Reads a file from its beginning until the time is over, or `is_over`.
pub(super) fn measure_download(
    remote: &FtpRemote,
    path: &RemotePath,
    is_over: impl Fn() -> bool,
) -> Result<Rate> {
    let start = Instant::now();
    let mut download = remote.open_download(path, 0, None)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut count = 0;
    while start.elapsed() < TRANSFER_TIME_MAX && !is_over() {
        match download.read(&mut buffer)? {
            0 => break,
            more => count += more,
        }
    }
    Ok(Rate::new(count, start.elapsed()))
}

/// Whether the server does not know the command.
fn is_unknown<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(error) if error.kind() == RemoteErrorKind::Unsupported)
}

/// Writes a file of ours, which may be begun twice.
fn store(remote: &FtpRemote, file: &MadeName, content: &[u8]) -> Result<()> {
    let once = || {
        let upload = remote.open_upload_with(file.permit(), UploadMode::Whole, content)?;
        upload.finish().map(drop)
    };
    match once() {
        // What the first one has taught (PRET, PASV) helps the second.
        Err(error) if error.kind() == RemoteErrorKind::Disconnected => once(),
        stored => stored,
    }
}
