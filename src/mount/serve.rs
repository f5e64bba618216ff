//! The life of a mount: serve, then finish the uploads, unmount and say what could not be sent.

use std::{
    fs, io, mem,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use fuser::{Session, SessionACL};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{
    attach::{Attached, can_clone_device},
    daemon::Announcement,
    draining::{DRAIN_GRACE, Presence},
    error::MountError,
    layers::Layers,
    names,
    sandbox::Sandbox,
    threads::{spawn, spawn_within},
};
use crate::{
    config::{Access, Config},
    fs::{Filesystem, Progress, Unsent},
    fuse::FuseServer,
};

/// The threads that read requests from the kernel. 2: none of them ever blocks, so one could do, and the second
/// takes over while the first is in the middle of a large write.
const EVENT_LOOPS: usize = 2;

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
    /// The session ended: it was unmounted, or the connection broke.
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

/// Logs in, mounts, serves until the end, and ends in good order.
///
/// `announcement` is used up when the mount is ready; what is left of it afterwards is for the error.
pub(super) fn serve(
    config: &Config,
    mountpoint: &Path,
    announcement: &mut Option<Announcement>,
) -> Result<(), MountError> {
    let sandbox = Arc::new(Sandbox::new(config));
    let layers = sandbox.run(|| Layers::build(config))??;
    let (sender, events) = mpsc::channel();
    // From here on a signal ends the mount in good order; before, it just ends the process.
    watch_signals(sender.clone())?;
    let (device, attached) = Attached::new(&config.mount, mountpoint)?;
    let presence = Presence::new(config, mountpoint, attached.device());
    let mut life = Life {
        config,
        attached,
        presence,
        filesystem: layers.filesystem.clone(),
        sandbox: sandbox.clone(),
        events,
        sender,
        has_session_ended: false,
        is_drain_left: false,
        grace: DRAIN_GRACE,
    };
    start_session(
        &life.filesystem,
        device,
        config,
        &sandbox,
        life.sender.clone(),
    )?;
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
    let ended = life.wait_for_end();
    let Life {
        attached,
        presence,
        is_drain_left,
        ..
    } = life;
    drop(attached);
    if is_drain_left {
        // What hangs would be waited for, and the user waits no longer. Until the process has ended it may send.
        mem::forget((layers, presence));
    } else {
        drop(layers);
        drop(presence);
    }
    ended
}

/// A mount that is being served.
struct Life<'a> {
    config: &'a Config,
    attached: Attached,
    presence: Presence,
    filesystem: Arc<Filesystem>,
    sandbox: Arc<Sandbox>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    has_session_ended: bool,
    /// Whether uploads still run that were given up.
    is_drain_left: bool,
    grace: Duration,
}

impl Life<'_> {
    fn wait_for_end(&mut self) -> Result<(), MountError> {
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
        self.presence
            .note_draining(self.filesystem.progress().files_left);
        let filesystem = self.filesystem.clone();
        let sender = self.sender.clone();
        spawn_within(&self.sandbox, "drain", move || {
            let is_all_sent = filesystem.drain(limit);
            // The receiver is gone when the wait was given up.
            let _ = sender.send(Event::Drained(is_all_sent));
        })?;
        let mut watch = Watch::new(self.filesystem.progress());
        loop {
            match self.events.recv_timeout(PROGRESS_CHECK) {
                Ok(Event::Drained(true)) => return Ok(Drained::Sent),
                Ok(Event::Drained(false)) => return Ok(Drained::Failed),
                Ok(Event::Signal(_)) => {
                    self.is_drain_left = true;
                    return Ok(Drained::Stopped);
                }
                Ok(Event::Ended(_)) => {
                    self.has_session_ended = true;
                    self.attached.note_end();
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let still = watch.look(self.filesystem.progress());
                    if still > limit + self.grace {
                        self.is_drain_left = true;
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
        let unsent = self.filesystem.keep_unsent();
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

fn start_session(
    filesystem: &Arc<Filesystem>,
    device: OwnedFd,
    settings: &Config,
    sandbox: &Arc<Sandbox>,
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
    let server = FuseServer::new(filesystem.clone(), settings.ftp.timeout);
    // This answers the kernel's INIT, so the mount is usable as soon as the loops run.
    let session = Session::from_fd(server, device, acl, config)
        .map_err(|error| MountError::new(format!("the kernel refused the mount: {error}")))?;
    names::watch(session.notifier(), filesystem.clone(), sandbox)?;
    spawn_within(sandbox, "session", move || {
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

/// Whether the signal was set to be ignored by the program that started us (the `SigIgn` mask of proc(5)).
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
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
    use std::thread;

    use tempfile::TempDir;

    use super::*;
    use crate::{
        cli::{Request, Surroundings},
        clock::SystemClock,
        fs::{Access, Ino, OpenMode},
        remote::{
            RemoteErrorKind, RemotePath,
            memory::{MemoryRemote, Operation},
        },
    };

    /// How long a server may do nothing, beyond the limit.
    const GRACE: Duration = Duration::from_millis(400);

    /// A filesystem over a server in memory, and no kernel.
    struct Bench {
        home: TempDir,
        config: Config,
        remote: MemoryRemote,
        filesystem: Arc<Filesystem>,
    }

    impl Bench {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let cache_dir = format!("--cache-dir={}", home.path().display());
            let args = ["ftpfs", "--drain-timeout=0.2", &cache_dir, "u@h:", "/mnt"];
            let Ok(Request::Mount(request)) = Request::parse(args.map(Into::into)) else {
                panic!("no mount");
            };
            let mut surroundings = Surroundings::current();
            surroundings.ask = Some(|_| Ok("secret".to_owned()));
            let config = request.to_config(&surroundings).unwrap();
            let clock = Arc::new(SystemClock);
            let remote = MemoryRemote::new(clock.clone());
            // Files are known to be removable, so that changes inside are tried.
            remote.set_behaviour(|server| server.habits.removals = 2);
            let filesystem = Filesystem::new(
                Arc::new(remote.clone()),
                config.fs.clone(),
                &config.cache,
                config.ftp.connections_max,
                clock,
            );
            Self {
                home,
                config,
                remote,
                filesystem,
            }
        }

        /// Writes into a file that stays open, so that its bytes are unsent.
        fn write(&self, name: &str, offset: u64) {
            write(&self.filesystem, name, offset);
        }

        fn content(&self, name: &str) -> Option<Vec<u8>> {
            self.remote.read_file(&path(name))
        }

        /// Makes uploads fail from now on.
        fn refuse(&self, kind: RemoteErrorKind) {
            for nth in 1..=9 {
                for operation in [Operation::Put, Operation::OpenUpload] {
                    self.remote.fail_next(operation, nth, kind);
                }
            }
        }

        fn life(&self) -> Life<'_> {
            let (sender, events) = mpsc::channel();
            Life {
                config: &self.config,
                attached: Attached::released(),
                presence: Presence::none(),
                filesystem: self.filesystem.clone(),
                sandbox: Arc::new(Sandbox::none()),
                events,
                sender,
                has_session_ended: true,
                is_drain_left: false,
                grace: GRACE,
            }
        }
    }

    fn path(name: &str) -> RemotePath {
        RemotePath::root().join(name.as_bytes()).unwrap()
    }

    fn write(filesystem: &Filesystem, name: &str, offset: u64) {
        let mode = OpenMode {
            access: Access::Write,
            ..OpenMode::default()
        };
        let created = filesystem.create(Ino::ROOT, name.as_bytes(), 0o644, mode);
        let handle = created.unwrap().1.handle;
        filesystem.write(handle, offset, b"data").unwrap();
    }

    #[test]
    fn a_signal_ends_well_when_everything_was_sent_also_what_came_meanwhile() {
        let bench = Bench::new();
        let filesystem = bench.filesystem.clone();
        let late = move |_: &MemoryRemote| write(&filesystem, "late", 0);
        bench.remote.after(Operation::Put, late);
        bench.write("a b", 0);
        bench.life().end_by_signal(SIGTERM).unwrap();
        for name in ["a b", "late"] {
            assert_eq!(bench.content(name).as_deref(), Some(&b"data"[..]), "{name}");
        }
    }

    // SEMANTICS: S-drain
    #[test]
    fn after_the_unmount_what_came_since_is_sent_or_kept_also_when_the_first_uploads_failed() {
        let bench = Bench::new();
        let busy = RemoteErrorKind::Busy;
        bench.remote.fail_next(Operation::Put, 1, busy);
        bench.write("a b", 0);
        bench.life().end_by_signal(SIGTERM).unwrap();
        assert_eq!(bench.content("a b").as_deref(), Some(&b"data"[..]));

        // Before the unmount until the time is over, which is two tries; after it once.
        let bench = Bench::new();
        bench.refuse(RemoteErrorKind::Busy);
        bench.write("a b", 0);
        bench.life().end_by_signal(SIGTERM).unwrap_err();
        assert_eq!(bench.remote.calls(Operation::Put), 3);
    }

    #[test]
    fn what_could_not_be_sent_is_named_with_the_place_of_its_bytes() {
        for is_signal in [true, false] {
            let bench = Bench::new();
            // Large enough that only the change would be sent.
            bench.remote.write_file(&path("a b"), &vec![0; 4 << 20]);
            bench.write("a b", 2 << 20);
            assert!(bench.filesystem.drain(Duration::ZERO));
            bench.refuse(RemoteErrorKind::QuotaExceeded);
            bench.write("a b", 3 << 20);
            bench.write("new", 0);
            let mut life = bench.life();
            let result = if is_signal {
                life.end_by_signal(SIGTERM)
            } else {
                life.end_from_outside(Ok(()))
            };
            let message = result.unwrap_err().to_string();
            let dir = bench.home.path().join("spool/unsent");
            for hint in [
                "not everything could be sent",
                "/a b",
                "/new",
                "quota exceeded",
                &format!("(its bytes are kept in {}", dir.display()),
                &format!("(the bytes written here are kept in {}", dir.display()),
                ".ranges lists them)",
            ] {
                assert!(message.contains(hint), "{hint}: {message}");
            }
        }
    }

    #[test]
    fn a_second_signal_stops_the_wait() {
        let mut bench = Bench::new();
        bench.config.fs.drain_timeout = Duration::from_mins(1);
        let (release, hold) = mpsc::channel::<()>();
        let hang = move |_: &MemoryRemote| assert!(hold.recv().is_err());
        bench.remote.before(Operation::Put, hang);
        bench.write("a b", 0);
        let mut life = bench.life();
        life.sender.send(Event::Signal(SIGTERM)).unwrap();
        let started = Instant::now();
        let message = life.end_by_signal(SIGINT).unwrap_err().to_string();
        assert!(
            message.contains("second signal") && message.contains("its bytes are kept in"),
            "{message}"
        );
        assert!(life.is_drain_left);
        assert!(started.elapsed() < bench.config.fs.drain_timeout / 2);
        drop(release);
    }

    // SEMANTICS: S-drain
    #[test]
    fn uploads_are_waited_for_while_they_move_and_no_longer() {
        // Each step is shorter than the grace, all of them together are longer.
        let steps = [GRACE / 4; 12];
        for (pauses, expected) in [
            (&steps[..], Drained::Sent),
            (&[GRACE * 4], Drained::Stalled),
        ] {
            let bench = Bench::new();
            for (index, pause) in pauses.iter().copied().enumerate() {
                let step = move |_: &MemoryRemote| thread::sleep(pause);
                bench.remote.before(Operation::Put, step);
                bench.write(&index.to_string(), 0);
            }
            let mut life = bench.life();
            assert_eq!(life.drain(Duration::ZERO).unwrap(), expected);
            assert_eq!(life.is_drain_left, expected == Drained::Stalled);
        }
    }

    #[test]
    fn a_session_that_breaks_is_told() {
        let error = io::Error::other("event loop thread panicked");
        let ended = Bench::new().life().end_from_outside(Err(error));
        let message = ended.unwrap_err().to_string();
        assert!(message.contains("event loop thread panicked"), "{message}");
    }
}
