//! The life of a mount: serve, then finish the uploads, unmount and say what could not be sent.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use fuser::{Filesystem, Session, SessionACL};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{
    Drain, MountError, Names, Progress, Started, Unsent,
    attach::{Attached, can_clone_device},
    daemon::Announcement,
    names,
};
use crate::config::{Access, Config};

/// The threads that read requests from the kernel. 2: none of them ever blocks, so one could do, and the second
/// takes over while the first is in the middle of a large write.
const EVENT_LOOPS: usize = 2;

/// How much longer than `--drain-timeout` uploads that do not move are waited for: the drain itself gives up first, unless it hangs.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// How often it is looked whether the uploads move. Short against all limits.
const PROGRESS_CHECK: Duration = Duration::from_millis(250);

/// How often a line of progress is written.
const PROGRESS_PAUSE: Duration = Duration::from_secs(2);

/// How long the session may take to end after a lazy unmount, while programs still have files open.
const SESSION_PATIENCE: Duration = Duration::from_secs(2);

/// What the main thread waits for.
enum Event {
    /// A signal asks us to end.
    Signal(i32),
    /// The session ended: somebody unmounted, or the connection broke.
    Ended(io::Result<()>),
    /// The uploads are through (then it is true), or cannot be.
    Drained(bool),
}

/// How the wait for the uploads ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drained {
    /// Everything was sent.
    Sent,
    /// Something could not be sent.
    Failed,
    /// Nothing moved any more.
    Stalled,
    /// The user does not want to wait.
    Stopped,
}

/// Mounts, serves until the end, and ends in good order.
///
/// `announcement` is used up when the mount is ready; what is left of it afterwards is for the error.
pub(super) fn serve<S: Filesystem>(
    config: &Config,
    mountpoint: &Path,
    started: Started<S>,
    announcement: &mut Option<Announcement>,
) -> Result<(), MountError> {
    let (server, uploads, names) = (started.server, started.uploads, started.names);
    let (sender, events) = mpsc::channel();
    // From here on a signal ends the mount in good order; before, it just ends the process.
    watch_signals(sender.clone())?;
    let (device, attached) = Attached::new(&config.mount, mountpoint)?;
    let life = Life {
        config,
        attached,
        uploads,
        events,
        sender,
        has_session_ended: false,
        grace: DRAIN_GRACE,
    };
    start_session(server, names, device, config, life.sender.clone())?;
    life.attached.widen_read_ahead();
    if let Some(announcement) = announcement.take() {
        announcement
            .ready()
            .map_err(|error| MountError::new(format!("cannot go to the background: {error}")))?;
    }
    log::info!(
        "mounted {} on {}",
        config.mount.source,
        mountpoint.display()
    );
    life.wait_for_end()
}

/// A mount that is being served.
struct Life<'a> {
    config: &'a Config,
    attached: Attached,
    uploads: Arc<dyn Drain>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    has_session_ended: bool,
    grace: Duration,
}

impl Life<'_> {
    fn wait_for_end(mut self) -> Result<(), MountError> {
        match self.events.recv() {
            Ok(Event::Signal(signal)) => self.end_by_signal(signal),
            Ok(Event::Ended(result)) => self.end_from_outside(result),
            // Nothing is being drained yet, and this struct holds a sender.
            Ok(Event::Drained(_)) | Err(_) => Ok(()),
        }
    }

    fn end_by_signal(&mut self, signal: i32) -> Result<(), MountError> {
        let name = signal_hook::low_level::signal_name(signal).unwrap_or("signal");
        log::info!("{name}: finishing uploads, then unmounting");
        let first = self.drain(self.config.fs.drain_timeout)?;
        let unmounted = self.attached.unmount();
        self.wait_for_session();
        // What programs wrote between the two steps; nothing more can come now.
        let last = match first {
            Drained::Sent => self.drain(self.config.fs.drain_timeout)?,
            // The time for the rest is over; what came since gets its one try.
            Drained::Failed => self.drain(Duration::ZERO)?,
            Drained::Stalled | Drained::Stopped => first,
        };
        log::info!("unmounted {}", self.config.mount.source);
        self.keep_rest(last).and(unmounted)
    }

    fn end_from_outside(&mut self, result: io::Result<()>) -> Result<(), MountError> {
        self.has_session_ended = true;
        self.attached.note_end();
        log::info!("{} was unmounted", self.config.mount.source);
        let drained = self.drain(self.config.fs.drain_timeout)?;
        let kept = self.keep_rest(drained);
        let session = result.map_err(|error| {
            MountError::new(format!("the connection to the kernel broke: {error}"))
        });
        kept.and(self.attached.unmount()).and(session)
    }

    /// Uploads what is unsent, for as long as it moves and `limit` longer; a further signal stops the wait.
    fn drain(&mut self, limit: Duration) -> Result<Drained, MountError> {
        let uploads = Arc::clone(&self.uploads);
        let sender = self.sender.clone();
        spawn("drain", move || {
            let is_all_sent = uploads.drain(limit);
            // First, so that whoever is told is the last to hold them, and what is left to do at their end is done.
            drop(uploads);
            // The receiver is gone when the wait was given up.
            let _ = sender.send(Event::Drained(is_all_sent));
        })?;
        let mut watch = Watch::new(self.uploads.progress());
        loop {
            match self.events.recv_timeout(PROGRESS_CHECK) {
                Ok(Event::Drained(true)) => return Ok(Drained::Sent),
                Ok(Event::Drained(false)) => return Ok(Drained::Failed),
                Ok(Event::Signal(_)) => return Ok(Drained::Stopped),
                Ok(Event::Ended(_)) => {
                    self.has_session_ended = true;
                    self.attached.note_end();
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let still = watch.look(self.uploads.progress());
                    if still > limit + self.grace {
                        return Ok(Drained::Stalled);
                    }
                }
            }
        }
    }

    /// Keeps on this machine what is unsent now, and names it.
    fn keep_rest(&self, drained: Drained) -> Result<(), MountError> {
        let why = match drained {
            Drained::Sent | Drained::Failed => "not everything could be sent",
            Drained::Stalled => "the uploads did not move any more for --drain-timeout",
            Drained::Stopped => "a second signal stopped the uploads",
        };
        let unsent = self.uploads.keep();
        if unsent.is_empty() {
            return Ok(());
        }
        Err(unsent_error(why, &unsent))
    }

    /// Waits for the session's end, so that its last requests are answered.
    fn wait_for_session(&mut self) {
        let deadline = Instant::now() + SESSION_PATIENCE;
        while !self.has_session_ended {
            let patience = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(patience) {
                Ok(Event::Ended(_)) => self.has_session_ended = true,
                Ok(_) => {}
                Err(_) => {
                    log::warn!("programs still have files open; they will see errors from now on");
                    return;
                }
            }
        }
    }
}

fn start_session<S: Filesystem>(
    server: S,
    names: Arc<dyn Names>,
    device: OwnedFd,
    settings: &Config,
    sender: Sender<Event>,
) -> Result<(), MountError> {
    let acl = match settings.mount.access {
        Access::Owner => SessionACL::Owner,
        Access::OwnerAndRoot => SessionACL::RootAndOwner,
        Access::Everyone => SessionACL::All,
    };
    let mut config = fuser::Config::default();
    config.acl = acl;
    config.n_threads = Some(EVENT_LOOPS);
    config.clone_fd = can_clone_device();
    // This answers the kernel's INIT, so the mount is usable as soon as the loops run.
    let session = Session::from_fd(server, device, acl, config)
        .map_err(|error| MountError::new(format!("the kernel refused the mount: {error}")))?;
    names::watch(session.notifier(), names)?;
    spawn("session", move || {
        let result = session.run();
        // The receiver is gone when the program is about to exit.
        let _ = sender.send(Event::Ended(result));
    })
}

fn watch_signals(sender: Sender<Event>) -> Result<(), MountError> {
    let mut wanted = vec![SIGTERM, SIGINT];
    // nohup(1) asks us to outlive the terminal.
    if !is_ignored(SIGHUP) {
        wanted.push(SIGHUP);
    }
    let mut signals = Signals::new(wanted)
        .map_err(|error| MountError::new(format!("signals cannot be watched: {error}")))?;
    spawn("signals", move || {
        for signal in &mut signals {
            if sender.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })
}

/// Whether the signal was set to be ignored by whoever started us (the `SigIgn` mask of proc(5)).
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}

pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), MountError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| MountError::new(format!("no thread could be started: {error}")))
}

/// Sees whether the uploads move, and says how they go on.
#[derive(Debug)]
struct Watch {
    last: Progress,
    moved: Instant,
    reported: Option<Instant>,
}

impl Watch {
    fn new(progress: Progress) -> Self {
        Self {
            last: progress,
            moved: Instant::now(),
            reported: None,
        }
    }

    /// For how long nothing has moved.
    fn look(&mut self, progress: Progress) -> Duration {
        if progress != self.last {
            self.moved = Instant::now();
            self.last = progress;
        }
        let is_due = self
            .reported
            .is_none_or(|last| last.elapsed() >= PROGRESS_PAUSE);
        if progress.files_left > 0 && is_due {
            self.reported = Some(Instant::now());
            log::info!(
                "sending: {} files, {} KiB left",
                progress.files_left,
                progress.bytes_left.div_ceil(1024)
            );
        }
        self.moved.elapsed()
    }
}

fn unsent_error(why: &str, unsent: &[Unsent]) -> MountError {
    for file in unsent {
        log::error!("{file}");
    }
    let files: Vec<_> = unsent.iter().map(ToString::to_string).collect();
    MountError::new(format!("{why}: {}", files.join("; ")))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{
            Mutex,
            atomic::{AtomicU64, Ordering},
        },
    };

    use super::*;
    use crate::cli::{Request, Surroundings};

    /// Uploads that end one after the other as told.
    #[derive(Debug, Default)]
    struct Uploads {
        /// How long each drain takes, and whether it sends everything.
        drains: Mutex<VecDeque<(Duration, bool)>>,
        limits: Mutex<Vec<Duration>>,
        /// Whether bytes move while a drain runs.
        moves: bool,
        moved: AtomicU64,
        left: Vec<Unsent>,
    }

    impl Uploads {
        fn ending(drains: &[(Duration, bool)], left: Vec<Unsent>) -> Self {
            Self {
                drains: Mutex::new(drains.iter().copied().collect()),
                left,
                ..Self::default()
            }
        }
    }

    impl Drain for Uploads {
        fn drain(&self, limit: Duration) -> bool {
            self.limits.lock().unwrap().push(limit);
            let (time, is_sent) = self.drains.lock().unwrap().pop_front().unwrap();
            thread::sleep(time);
            is_sent
        }

        fn progress(&self) -> Progress {
            let step = u64::from(self.moves);
            Progress {
                files_left: 1,
                bytes_left: 4096,
                bytes_moved: self.moved.fetch_add(step, Ordering::Relaxed),
            }
        }

        fn keep(&self) -> Vec<Unsent> {
            self.left.clone()
        }
    }

    const AT_ONCE: Duration = Duration::ZERO;

    fn config() -> Config {
        let args = ["ftpfs", "ftp://u:p@h/", "/nowhere", "--cache-dir=/cache"];
        let Ok(Request::Mount(request)) = Request::parse(args.map(Into::into)) else {
            panic!("no mount");
        };
        request.to_config(&Surroundings::current()).unwrap()
    }

    fn life(config: &Config, uploads: Arc<Uploads>) -> Life<'_> {
        let (sender, events) = mpsc::channel();
        Life {
            config,
            attached: Attached::released(),
            uploads,
            events,
            sender,
            has_session_ended: true,
            grace: Duration::from_millis(400),
        }
    }

    fn one_file() -> Vec<Unsent> {
        vec![Unsent {
            path: "/a b".to_owned(),
            error: "quota exceeded on the server".to_owned(),
            kept_in: Some("/cache/spool/x".into()),
            ranges_in: Some("/cache/spool/x.ranges".into()),
        }]
    }

    #[test]
    fn a_signal_ends_well_when_everything_was_sent() {
        let config = config();
        let uploads = Arc::new(Uploads::ending(&[(AT_ONCE, true); 2], Vec::new()));
        life(&config, uploads.clone())
            .end_by_signal(SIGTERM)
            .unwrap();
        let limit = config.fs.drain_timeout;
        assert_eq!(*uploads.limits.lock().unwrap(), [limit, limit]);
    }

    // SEMANTICS: S-drain
    #[test]
    fn after_the_unmount_what_came_since_is_sent_or_kept_also_when_the_first_uploads_failed() {
        let config = config();
        for (is_sent, left) in [(true, Vec::new()), (false, one_file())] {
            let has_left = !left.is_empty();
            let drains = [(AT_ONCE, false), (AT_ONCE, is_sent)];
            let uploads = Arc::new(Uploads::ending(&drains, left));
            let result = life(&config, uploads.clone()).end_by_signal(SIGTERM);
            assert_eq!(result.is_err(), has_left);
            let limits = uploads.limits.lock().unwrap().clone();
            assert_eq!(limits, [config.fs.drain_timeout, Duration::ZERO]);
        }
    }

    #[test]
    fn what_could_not_be_sent_is_named_with_the_place_of_its_bytes() {
        let config = config();
        for is_signal in [true, false] {
            let uploads = Uploads::ending(&[(AT_ONCE, false); 2], one_file());
            let mut life = life(&config, Arc::new(uploads));
            let result = if is_signal {
                life.end_by_signal(SIGTERM)
            } else {
                life.end_from_outside(Ok(()))
            };
            let message = result.unwrap_err().to_string();
            for hint in ["/a b", "quota exceeded", "/cache/spool/x", "x.ranges"] {
                assert!(message.contains(hint), "{message}");
            }
        }
    }

    #[test]
    fn a_second_signal_stops_the_wait() {
        let config = config();
        let drain = (config.fs.drain_timeout, true);
        let mut life = life(&config, Arc::new(Uploads::ending(&[drain], one_file())));
        life.sender.send(Event::Signal(SIGTERM)).unwrap();
        let started = Instant::now();
        let message = life.end_by_signal(SIGINT).unwrap_err().to_string();
        assert!(
            message.contains("second signal") && message.contains("/cache/spool/x"),
            "{message}"
        );
        assert!(started.elapsed() < config.fs.drain_timeout / 2);
    }

    // SEMANTICS: S-drain
    #[test]
    fn uploads_are_waited_for_while_they_move_and_no_longer() {
        let mut config = config();
        config.fs.drain_timeout = Duration::ZERO;
        let time = Duration::from_millis(1500);
        for moves in [true, false] {
            let uploads = Uploads {
                moves,
                ..Uploads::ending(&[(time, true)], one_file())
            };
            let mut life = life(&config, Arc::new(uploads));
            let drained = life.drain(config.fs.drain_timeout).unwrap();
            let expected = if moves {
                Drained::Sent
            } else {
                Drained::Stalled
            };
            assert_eq!(drained, expected);
        }
    }

    #[test]
    fn a_session_that_breaks_is_told() {
        let config = config();
        let uploads = Uploads::ending(&[(AT_ONCE, true)], Vec::new());
        let mut life = life(&config, Arc::new(uploads));
        let error = io::Error::other("event loop thread panicked");
        let message = life.end_from_outside(Err(error)).unwrap_err().to_string();
        assert!(message.contains("event loop thread panicked"), "{message}");
    }
}
