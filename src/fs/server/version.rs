//! Which version of a file the server has: its size and time.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{
    evidence::Observer,
    refusal::{Intent, Refusals},
    tree::Tree,
};
use crate::{
    cache::Version,
    clock::Clock,
    fs::{
        error::{FsError, FsErrorKind, Result},
        on_server::Base,
        streaming::CHUNK_BYTES,
    },
    remote::{
        EntryKind, Evidence, Modified, Remote, RemoteEntry, RemoteErrorKind, RemotePath, Report,
        Reported,
    },
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Versions {
    remote: Arc<dyn Remote>,
    tree: Arc<Tree>,
    evidence: Arc<Observer>,
    refusals: Arc<Refusals>,
    clock: Arc<dyn Clock>,
    /// Counts our own changes of content: the same size and second do not make two contents one version.
    epoch: AtomicU64,
}

impl Versions {
    /// Of the files in `tree`.
    pub(super) fn new(
        remote: Arc<dyn Remote>,
        tree: Arc<Tree>,
        evidence: Arc<Observer>,
        refusals: Arc<Refusals>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            remote,
            tree,
            evidence,
            refusals,
            clock,
            epoch: AtomicU64::new(1),
        }
    }

    /// Asks for a file's size and time, which the evidence holds unless nothing is there.
    pub(crate) fn ask(&self, path: &RemotePath) -> Result<Evidence> {
        let report = self.remote.report(path)?;
        match report.size {
            Ok(Some(size)) => {
                let mut entry = RemoteEntry::new(path.name().unwrap_or(b"/"), EntryKind::File);
                entry.size = Some(size);
                entry.modified = report.modified;
                let entry = Some(Arc::new(entry));
                Ok(Evidence::reported(
                    path,
                    entry,
                    report.asked,
                    self.clock.now(),
                ))
            }
            // Only listings show sizes on this server.
            Ok(None) => self.listed(path, report.modified),
            Err(error) if error.kind() == RemoteErrorKind::Refused => {
                let evidence = self.evidence.look_now(path)?;
                match evidence.entry() {
                    None => Ok(evidence),
                    Some(entry) if entry.kind == EntryKind::Directory => {
                        Err(FsError::explained(FsErrorKind::IsADirectory, error))
                    }
                    Some(_) => Err(self.refusals.explain(error, path, Intent::Content)),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The same in the way in which `base` was found out: times of listings and of MDTM may differ.
    pub(crate) fn ask_as(&self, base: Option<&Base>, path: &RemotePath) -> Result<Evidence> {
        if base.is_none_or(|base| base.asked.is_some()) {
            return self.ask(path);
        }
        self.listed(path, None)
    }

    /// What a listing of this moment shows, with a time that was asked for where that is known.
    fn listed(&self, path: &RemotePath, reported: Option<Modified>) -> Result<Evidence> {
        if let Some(dir) = path.parent() {
            self.tree.relist(&dir)?;
        }
        let evidence = self.evidence.look(path)?;
        let Some(entry) = evidence.entry() else {
            return Ok(evidence);
        };
        if entry.is_dir() {
            return Err(FsError::new(FsErrorKind::IsADirectory, path));
        }
        if entry.size.is_none() {
            return Err(unknown_size(path));
        }
        let entry = RemoteEntry {
            modified: reported.or(entry.modified),
            ..(**entry).clone()
        };
        Ok(Evidence::listed(
            path,
            Some(Arc::new(entry)),
            evidence.asked(),
        ))
    }

    /// The file that the server has reported, when it was asked at that moment.
    pub(crate) fn base(&self, reported: Reported, asked: Instant, mode: Option<u32>) -> Base {
        let version = Version {
            size: reported.size,
            modified: reported.modified,
            epoch: self.next_epoch(),
        };
        Base {
            version,
            mode,
            asked: Some(asked),
            is_mode_asked: false,
        }
    }

    /// What was last seen of a file as evidence, if it was asked for alone.
    pub(crate) fn evidence(&self, path: &RemotePath, base: &Base) -> Option<Evidence> {
        let asked = base.asked?;
        let mut entry = RemoteEntry::new(path.name()?, EntryKind::File);
        entry.size = Some(base.version.size);
        entry.modified = base.version.modified;
        let evidence = Evidence::listed(path, Some(Arc::new(entry)), asked);
        evidence.is_recent(self.clock.now()).then_some(evidence)
    }

    /// The file that a listing's entry shows; `None` when it does not show the size.
    pub(crate) fn base_of(&self, entry: &RemoteEntry) -> Option<Base> {
        let version = Version {
            size: entry.size?,
            modified: entry.modified,
            epoch: self.next_epoch(),
        };
        Some(Base {
            version,
            mode: entry.mode,
            asked: None,
            is_mode_asked: false,
        })
    }

    /// Asks for a file's size and its time to the second.
    pub(crate) fn ask_exact(&self, path: &RemotePath, entry: &RemoteEntry) -> Result<Base> {
        self.ask_exact_of(&*self.remote, path, entry)
    }

    /// The same, asked of a remote that has a session for it.
    pub(crate) fn ask_exact_of(
        &self,
        remote: &dyn Remote,
        path: &RemotePath,
        entry: &RemoteEntry,
    ) -> Result<Base> {
        let (report, mode) = remote.examine(path)?;
        let mut base = self.take_exact(path, entry, report)?;
        base.is_mode_asked = mode.is_some();
        base.mode = mode.or(base.mode);
        Ok(base)
    }

    /// Takes size and time of a file over from what the server says of it.
    pub(crate) fn take_exact(
        &self,
        path: &RemotePath,
        entry: &RemoteEntry,
        report: Report,
    ) -> Result<Base> {
        let size = match report.size {
            Ok(size) => size.or(entry.size),
            Err(error) => return Err(self.refusals.explain(error, path, Intent::Content)),
        };
        let size = size.ok_or_else(|| unknown_size(path))?;
        let modified = report.modified.or(entry.modified);
        self.tree.update(path, move |entry| {
            entry.size = Some(size);
            entry.modified = modified;
        });
        Ok(self.base(Reported { size, modified }, report.asked, entry.mode))
    }

    /// Whether the server's bytes in this range are a beginning of these.
    pub(crate) fn holds(&self, path: &RemotePath, range: Range<u64>, bytes: &[u8]) -> Result<bool> {
        let start = range.start;
        if range.end - start > bytes.len() as u64 {
            return Ok(false);
        }
        let index = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
        self.compare(path, range, |part, theirs| {
            Ok(bytes.get(index(part.start)..index(part.end)) == Some(theirs))
        })
    }

    /// Reads a range of a file on the server, and asks of each piece whether it is the right one.
    pub(crate) fn compare(
        &self,
        path: &RemotePath,
        range: Range<u64>,
        is_right: impl Fn(Range<u64>, &[u8]) -> Result<bool>,
    ) -> Result<bool> {
        if range.is_empty() {
            return Ok(true);
        }
        let explain = |error| self.refusals.explain(error, path, Intent::Content);
        let len = range.end - range.start;
        let mut download = self
            .remote
            .open_download(path, range.start, Some(len))
            .map_err(explain)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut at = range.start;
        while at < range.end {
            let count = download.read(&mut buffer).map_err(explain)?;
            let theirs = buffer.get(..count).unwrap_or_default();
            let end = at + count as u64;
            if count == 0 || end > range.end || !is_right(at..end, theirs)? {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }

    fn next_epoch(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::Relaxed)
    }
}

/// The failure of what needs the size of a file whose size the server does not report.
pub(crate) fn unknown_size(path: &RemotePath) -> FsError {
    log::warn!("{path}: the server does not tell its size, in a listing or by SIZE");
    FsError::new(FsErrorKind::Io, path)
}
