//! The upload that runs while the program still writes.
//!
//! A thread sends the spool's bytes from the start on, as they become contiguous, to a hidden name. Closing the file then waits
//! for the rest and the server's reply only. The spool keeps every byte, so a stream can be given up at any time: when the
//! program changes what was sent, when the server refuses, or when others need the session.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use super::hidden::HiddenNames;
use crate::remote::{MadeName, Remote, RemoteError, RemoteErrorKind, Result, Upload};

/// How much is handed to the session at once: large enough for the socket, small enough to hold the file's lock briefly.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// How long a stream waits for the program before it looks whether others want its session.
const IDLE_CHECK: Duration = Duration::from_millis(200);

/// Copies the file's bytes from an offset on into the buffer, as far as they are contiguous; 0 when there are none yet. Calls
/// `claim` with the end of what was copied before another write can change it.
pub(crate) type ReadChunk =
    dyn Fn(u64, &mut [u8], &mut dyn FnMut(u64)) -> std::io::Result<usize> + Send;

/// Begins the upload under a hidden name of a file that begins with these bytes.
pub(crate) type Begin = dyn Fn(&MadeName, &[u8]) -> Result<Box<dyn Upload>> + Send;

/// A running upload to a hidden name. Dropped, it is given up and what it has made is removed.
pub(crate) struct UploadStream {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
    names: Arc<HiddenNames>,
    hidden: MadeName,
}

#[derive(Debug, Default)]
struct Shared {
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    /// Bytes below this are sent or being sent.
    claimed: u64,
    /// The length of the whole file, once it is known.
    end: Option<u64>,
    is_cancelled: bool,
}

impl UploadStream {
    /// Starts sending to `hidden` what `read_chunk` yields. `None` when no thread can be had.
    pub(crate) fn start(
        remote: Arc<dyn Remote>,
        names: Arc<HiddenNames>,
        hidden: MadeName,
        begin: Box<Begin>,
        read_chunk: Box<ReadChunk>,
    ) -> Option<Self> {
        let shared = Arc::new(Shared::default());
        let sender = Sender {
            shared: shared.clone(),
            remote,
            hidden: hidden.clone(),
            begin,
            read_chunk,
        };
        let thread = std::thread::Builder::new()
            .name("ftpfs-upload".into())
            .spawn(move || sender.run())
            .inspect_err(|error| {
                log::warn!("no thread to stream {hidden}: {error}");
                names.debts().settle(&hidden);
            })
            .ok()?;
        Some(Self {
            shared,
            thread: Some(thread),
            names,
            hidden,
        })
    }

    /// Bytes below this may no longer change.
    pub(crate) fn claimed(&self) -> u64 {
        self.shared.lock().claimed
    }

    /// More bytes are there.
    pub(crate) fn wake(&self) {
        self.shared.changed.notify_all();
    }

    /// Waits until all `len` bytes are on the server under the hidden name, which is returned.
    ///
    /// # Errors
    ///
    /// The stream broke or was given up; nothing is left under the hidden name.
    pub(crate) fn finish(mut self, len: u64) -> Result<MadeName> {
        self.shared.lock().end = Some(len);
        self.shared.changed.notify_all();
        let Some(thread) = self.thread.take() else {
            return Err(given_up());
        };
        match thread.join() {
            Ok(Ok(())) => Ok(self.hidden.clone()),
            Ok(Err(error)) => {
                // A server that did not answer the upload would let us wait for this too.
                match error.kind() {
                    RemoteErrorKind::TimedOut(_) => {
                        self.names.discard_after(self.hidden.clone(), &error);
                    }
                    _ => drop(self.names.remove(&self.hidden)),
                }
                Err(error)
            }
            Err(_) => {
                self.names.remove(&self.hidden);
                Err(RemoteError::new(RemoteErrorKind::Protocol, "STOR")
                    .with_source("the upload thread panicked"))
            }
        }
    }
}

impl Drop for UploadStream {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        self.shared.lock().is_cancelled = true;
        self.shared.changed.notify_all();
        let (names, hidden) = (self.names.clone(), self.hidden.clone());
        // Not here: the file's lock is held, and both the join and the removal wait for the network.
        let cleanup = std::thread::Builder::new()
            .name("ftpfs-cleanup".into())
            .spawn(move || match thread.join() {
                Ok(Err(error)) if error.late().is_some() => {
                    names.debts().fall_due_after(&hidden, &error);
                }
                _ => drop(names.remove(&hidden)),
            });
        if let Err(error) = cleanup {
            log::warn!("no thread to remove {}: {error}", self.hidden.path());
        }
    }
}

impl fmt::Debug for UploadStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadStream")
            .field("hidden", &self.hidden)
            .finish_non_exhaustive()
    }
}

struct Sender {
    shared: Arc<Shared>,
    remote: Arc<dyn Remote>,
    hidden: MadeName,
    begin: Box<Begin>,
    read_chunk: Box<ReadChunk>,
}

impl Sender {
    fn run(self) -> Result<()> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let first = self.next(0, &mut buffer)?;
        let first_len = first.len() as u64;
        let mut upload = (self.begin)(&self.hidden, first)?;
        let sent = self.send(&mut *upload, first_len, &mut buffer);
        // Also when it was given up: the file can be removed only once the server has done with it.
        let finished = upload.finish();
        sent.and(finished.map(drop))
    }

    /// Sends all after the `sent` bytes.
    fn send(&self, upload: &mut dyn Upload, sent: u64, buffer: &mut [u8]) -> Result<()> {
        let mut sent = sent;
        loop {
            let chunk = self.next(sent, buffer)?;
            if chunk.is_empty() {
                // Either that is all, or the file was cut off meanwhile.
                let is_all = self.shared.lock().end == Some(sent);
                return if is_all { Ok(()) } else { Err(given_up()) };
            }
            upload.write_all(chunk)?;
            sent += chunk.len() as u64;
        }
    }

    /// Waits for the bytes after the `sent` ones; none when nothing more will come.
    fn next<'a>(&self, sent: u64, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
        loop {
            let end = self.shared.lock().end;
            let rest = end.map_or(u64::MAX, |end| end.saturating_sub(sent));
            let wanted = usize::try_from(rest).unwrap_or(usize::MAX);
            let wanted = wanted.min(buffer.len());
            let mut claim = |end| self.shared.lock().claimed = end;
            let space = buffer.get_mut(..wanted).unwrap_or_default();
            let count = (self.read_chunk)(sent, space, &mut claim).map_err(|error| {
                RemoteError::new(RemoteErrorKind::NoSpace, "STOR").with_source(error)
            })?;
            if self.is_wanted_no_more(count) {
                return Err(given_up());
            }
            if count > 0 || end.is_some() {
                return Ok(buffer.get(..count).unwrap_or_default());
            }
            self.wait_for_more();
        }
    }

    fn wait_for_more(&self) {
        let progress = self.shared.lock();
        if progress.end.is_none() && !progress.is_cancelled {
            drop(
                self.shared
                    .changed
                    .wait_timeout(progress, IDLE_CHECK)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }

    /// Whether the stream was cancelled, or waits for the program while others wait for its session.
    fn is_wanted_no_more(&self, count: usize) -> bool {
        let progress = self.shared.lock();
        let (is_cancelled, is_ending) = (progress.is_cancelled, progress.end.is_some());
        drop(progress);
        is_cancelled || (count == 0 && !is_ending && self.remote.is_contended())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stream's end without a fault of the server: the bytes go up another way.
pub(crate) fn given_up() -> RemoteError {
    RemoteError::new(RemoteErrorKind::Busy, "STOR").with_source("streaming was given up")
}
