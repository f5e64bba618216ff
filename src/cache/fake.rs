//! A remote made of closures, for the tests of this room: each test says what one call does, and when it returns.

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::remote::{
    Attributes, Download, Listing, Remote, RemoteEntry, RemoteError, RemoteErrorKind, RemotePath,
    Result, Settled, Upload, UploadMode,
};

type ListFn = dyn Fn(&RemotePath) -> Result<Listing> + Send + Sync;
type DownloadFn = dyn Fn(&RemotePath, u64, Option<u64>) -> Result<Box<dyn Download>> + Send + Sync;

/// A remote that lists and downloads as the test says, and can do nothing else.
pub(super) struct FakeRemote {
    list: Box<ListFn>,
    download: Box<DownloadFn>,
    contended: Box<dyn Fn() -> bool + Send + Sync>,
    size: Box<dyn Fn() -> u64 + Send + Sync>,
    lists: AtomicUsize,
}

impl FakeRemote {
    pub(super) fn listing(
        list: impl Fn(&RemotePath) -> Result<Listing> + Send + Sync + 'static,
    ) -> Self {
        Self {
            list: Box::new(list),
            download: Box::new(|_, _, _| Err(unsupported())),
            contended: Box::new(|| false),
            size: Box::new(|| 0),
            lists: AtomicUsize::new(0),
        }
    }

    pub(super) fn downloading(
        download: impl Fn(&RemotePath, u64, Option<u64>) -> Result<Box<dyn Download>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            list: Box::new(|_| Err(unsupported())),
            download: Box::new(download),
            contended: Box::new(|| false),
            size: Box::new(|| 0),
            lists: AtomicUsize::new(0),
        }
    }

    /// How many listings were asked.
    pub(super) fn lists(&self) -> usize {
        self.lists.load(Ordering::SeqCst)
    }
}

fn unsupported() -> RemoteError {
    RemoteError::new(RemoteErrorKind::Unsupported, "FAKE")
}

impl fmt::Debug for FakeRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeRemote")
    }
}

impl Remote for FakeRemote {
    fn ahead(&self, work: &mut dyn FnMut(&dyn Remote)) -> bool {
        work(self);
        true
    }

    fn list(&self, dir: &RemotePath) -> Result<Listing> {
        self.lists.fetch_add(1, Ordering::SeqCst);
        (self.list)(dir)
    }

    fn open_download(
        &self,
        path: &RemotePath,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Box<dyn Download>> {
        (self.download)(path, offset, len)
    }

    fn stat(&self, _: &RemotePath) -> Result<Option<RemoteEntry>> {
        Err(unsupported())
    }

    fn open_upload(&self, _: &RemotePath, _: UploadMode) -> Result<Box<dyn Upload>> {
        Err(unsupported())
    }

    fn settle(&self, _: &RemotePath, _: &Attributes) -> Result<Settled> {
        Ok(Settled {
            mode: Ok(()),
            modified: Ok(()),
            size: Ok(Some((self.size)())),
            seen_modified: None,
        })
    }

    fn rename(&self, _: &RemotePath, _: &RemotePath) -> Result<()> {
        Err(unsupported())
    }

    fn remove_file(&self, _: &RemotePath) -> Result<()> {
        Err(unsupported())
    }

    fn make_dir(&self, _: &RemotePath) -> Result<()> {
        Err(unsupported())
    }

    fn remove_dir(&self, _: &RemotePath) -> Result<()> {
        Err(unsupported())
    }

    fn make_symlink(&self, _: &[u8], _: &RemotePath) -> Result<()> {
        Err(unsupported())
    }

    fn read_link(&self, path: &RemotePath) -> Result<Box<[u8]>> {
        Err(RemoteError::new(RemoteErrorKind::Unsupported, "LIST").with_path(path))
    }

    fn space(&self, _: &RemotePath) -> Result<Option<u64>> {
        Err(unsupported())
    }

    fn can_patch(&self, _: &RemotePath) -> bool {
        false
    }

    fn is_contended(&self) -> bool {
        (self.contended)()
    }
}

/// Where a fake call waits until the test lets it go on.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// How many may still pass, how many have arrived.
    state: Mutex<(usize, usize)>,
    changed: Condvar,
}

/// No wait of a test is longer: what takes so long hangs.
const PATIENCE: Duration = Duration::from_secs(10);

impl Gate {
    /// Arrives and waits to be let through.
    pub(super) fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        self.changed.notify_all();
        let (mut state, timeout) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.0 == 0)
            .unwrap();
        assert!(!timeout.timed_out(), "the gate was never opened");
        state.0 -= 1;
    }

    /// Lets `count` more through.
    pub(super) fn open(&self, count: usize) {
        self.state.lock().unwrap().0 += count;
        self.changed.notify_all();
    }

    /// Waits until `count` in all have arrived.
    pub(super) fn await_arrivals(&self, count: usize) {
        let state = self.state.lock().unwrap();
        let (_state, timeout) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.1 < count)
            .unwrap();
        assert!(!timeout.timed_out(), "nobody arrived at the gate");
    }
}

/// Waits until something holds that other threads bring about.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A server of one file, which it delivers as the test allows; it notes what it was asked.
#[derive(Debug)]
pub(super) struct FileServer {
    state: Mutex<FileState>,
    changed: Condvar,
}

#[derive(Debug)]
struct FileState {
    content: Vec<u8>,
    /// The most bytes that one read brings.
    piece: usize,
    /// No byte from here on is delivered yet.
    held_from: u64,
    /// A download fails, or panics, when it comes here.
    fails_at: Option<(u64, bool)>,
    opened: Vec<(RemotePath, u64, Option<u64>)>,
    running: usize,
    /// How many have brought all they may in this tick.
    spent: usize,
    delivered_to: u64,
    is_contended: bool,
    /// What each download, and what all together, may bring in a tick; and how many ticks have passed.
    pace: Option<(u64, u64)>,
    /// The download, counted from 0, that brings but a tenth of that.
    slow: Option<usize>,
    ticks: u64,
    /// What all together may still bring in this tick.
    left: u64,
    /// How many more downloads from an offset are refused.
    refusals: usize,
    /// Where the server says that it is done although it is not, and how many more times.
    cut: Option<(u64, usize)>,
}

impl FileServer {
    pub(super) fn new(content: Vec<u8>) -> Arc<Self> {
        let state = FileState {
            content,
            piece: usize::MAX,
            held_from: u64::MAX,
            fails_at: None,
            opened: Vec::new(),
            running: 0,
            spent: 0,
            delivered_to: 0,
            is_contended: false,
            pace: None,
            slow: None,
            ticks: 0,
            left: 0,
            refusals: 0,
            cut: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    pub(super) fn remote(self: &Arc<Self>) -> FakeRemote {
        let server = Arc::clone(self);
        let mut remote = FakeRemote::downloading(move |path, offset, len| {
            let mut state = server.state.lock().unwrap();
            state.opened.push((path.clone(), offset, len));
            if offset > 0 && state.refusals > 0 {
                state.refusals -= 1;
                return Err(RemoteError::new(RemoteErrorKind::Refused, "RETR"));
            }
            state.running += 1;
            let end = len.map_or(u64::MAX, |len| offset + len);
            Ok(Box::new(FileDownload {
                server: Arc::clone(&server),
                is_slow: state.slow == Some(state.opened.len() - 1),
                position: offset,
                end,
                tick: u64::MAX,
                used: 0,
                is_spent: false,
            }))
        });
        let server = Arc::clone(self);
        remote.contended = Box::new(move || server.state.lock().unwrap().is_contended);
        let server = Arc::clone(self);
        remote.size = Box::new(move || server.state.lock().unwrap().content.len() as u64);
        remote
    }

    /// Whether others want a session.
    pub(super) fn set_contended(&self, is_contended: bool) {
        self.state.lock().unwrap().is_contended = is_contended;
    }

    /// From now on each download brings at most `each` bytes in a tick, and all together `all`.
    pub(super) fn set_pace(&self, each: u64, all: u64) {
        let mut state = self.state.lock().unwrap();
        state.pace = Some((each, all));
        state.left = all;
        self.changed.notify_all();
    }

    /// The download that is opened as this one, counted from 0, brings but a tenth of what the others do.
    pub(super) fn slow_down(&self, download: usize) {
        self.state.lock().unwrap().slow = Some(download);
    }

    /// A tick passes.
    pub(super) fn tick(&self) {
        let mut state = self.state.lock().unwrap();
        state.ticks += 1;
        state.spent = 0;
        state.left = state.pace.map_or(0, |(_, all)| all);
        self.changed.notify_all();
    }

    /// Whether `downloads` are open and nothing more arrives by them before the next tick.
    pub(super) fn is_used_up(&self, downloads: usize) -> bool {
        let state = self.state.lock().unwrap();
        downloads > 0 && state.running == downloads && state.spent == downloads
    }

    /// The next `times` downloads that do not begin at the file's start are refused.
    pub(super) fn refuse_offsets(&self, times: usize) {
        self.state.lock().unwrap().refusals = times;
    }

    pub(super) fn set_piece(&self, piece: usize) {
        self.state.lock().unwrap().piece = piece;
    }

    pub(super) fn hold_from(&self, offset: u64) {
        self.state.lock().unwrap().held_from = offset;
        self.changed.notify_all();
    }

    pub(super) fn fail_at(&self, at: Option<u64>, panics: bool) {
        self.state.lock().unwrap().fails_at = at.map(|at| (at, panics));
    }

    /// The next `times` downloads that come to `at` end there as if it were the file's end.
    pub(super) fn cut_at(&self, at: u64, times: usize) {
        self.state.lock().unwrap().cut = Some((at, times));
    }

    /// Offset and length of each download that was opened.
    pub(super) fn opened(&self) -> Vec<(u64, Option<u64>)> {
        self.state
            .lock()
            .unwrap()
            .opened
            .iter()
            .map(|(_, offset, len)| (*offset, *len))
            .collect()
    }

    pub(super) fn last_path(&self) -> RemotePath {
        self.state.lock().unwrap().opened.last().unwrap().0.clone()
    }

    /// How many downloads are open.
    pub(super) fn running(&self) -> usize {
        self.state.lock().unwrap().running
    }

    /// The furthest offset that was delivered.
    pub(super) fn delivered_to(&self) -> u64 {
        self.state.lock().unwrap().delivered_to
    }
}

#[derive(Debug)]
struct FileDownload {
    server: Arc<FileServer>,
    is_slow: bool,
    position: u64,
    end: u64,
    /// The last tick in which it brought something, and what.
    tick: u64,
    used: u64,
    is_spent: bool,
}

impl FileDownload {
    /// What it may bring in this tick.
    fn allowance(&mut self, state: &mut FileState) -> u64 {
        let Some((each, _)) = state.pace else {
            return u64::MAX;
        };
        if self.tick != state.ticks {
            self.tick = state.ticks;
            self.used = 0;
            self.is_spent = false;
        }
        let each = if self.is_slow { each / 10 } else { each };
        let allowance = each.saturating_sub(self.used).min(state.left);
        if allowance == 0 && !self.is_spent {
            self.is_spent = true;
            state.spent += 1;
        }
        allowance
    }
}

impl Download for FileDownload {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let server = Arc::clone(&self.server);
        let state = server.state.lock().unwrap();
        let (mut state, _) = server
            .changed
            .wait_timeout_while(state, PATIENCE, |state| {
                self.position >= state.held_from || self.allowance(state) == 0
            })
            .unwrap();
        let allowance = self.allowance(&mut state);
        if let Some((at, panics)) = state.fails_at
            && self.position >= at
        {
            drop(state);
            assert!(!panics, "on purpose");
            return Err(RemoteError::new(RemoteErrorKind::Disconnected, "RETR"));
        }
        let fails_at = state.fails_at.map_or(u64::MAX, |(at, _)| at);
        let cut_at = match &mut state.cut {
            Some((at, times)) if *times > 0 => {
                *times -= usize::from(self.position == *at);
                *at
            }
            _ => u64::MAX,
        };
        let size = state.content.len() as u64;
        let end = self
            .end
            .min(size)
            .min(state.held_from)
            .min(fails_at)
            .min(cut_at)
            .max(self.position);
        let rest = usize::try_from(end - self.position).unwrap();
        let count = buffer.len().min(rest).min(state.piece);
        let count = count.min(usize::try_from(allowance).unwrap_or(usize::MAX));
        self.used += count as u64;
        state.left = state.left.saturating_sub(count as u64);
        let from = usize::try_from(self.position)
            .unwrap()
            .min(state.content.len());
        buffer[..count].copy_from_slice(&state.content[from..from + count]);
        self.position += count as u64;
        state.delivered_to = state.delivered_to.max(self.position);
        Ok(count)
    }
}

impl Drop for FileDownload {
    fn drop(&mut self) {
        // Not to be poisoned by the panic of a download that panics on purpose.
        let mut state = self.server.state.lock().unwrap();
        state.running -= 1;
        state.spent -= usize::from(self.is_spent && self.tick == state.ticks);
    }
}
