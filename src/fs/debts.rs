//! What this mount owes the server: files under hidden names that have to go, or to get their own names again.
//!
//! What is hard here, and what answers it:
//! 1. *A mount may be killed at any moment.* A debt is written down before the name is used, in a file of this mount ([`folder`], [`mod@line`]);
//!    the next mount of the same directory of the same server takes over what nobody owns any more ([`Debts::adopt`]).
//! 2. *It must not cost much.* Lines are appended and never synchronised: a killed process loses none, a power cut may.
//! 3. *It must not grow.* The file is written anew when it has grown by lines that are settled.
//! 4. *The file is not needed for the mount to go on.* Where it cannot be written, debts are remembered in memory only.

mod debt;
mod folder;
mod line;

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::Thread,
    time::{Duration, Instant},
};

pub(crate) use self::debt::Debt;
use self::folder::Folder;
use crate::{
    clock::Clock,
    remote::{MadeName, RemoteError, RemotePath, late::Late},
};

/// From which size on the file is written anew. 1 MiB: some ten thousand files that went up under hidden names.
const BYTES_MAX: usize = 1 << 20;

/// How often a refusal is believed to be one of the moment. 3: after that the name stays for this mount.
const REFUSALS_MAX: u32 = 3;

/// For how long a name that nothing has is looked at again, when an upload of it got no answer in time. 120 s: as long as names are held
/// (`server::holds`), for what stands between us and the server may have ended our connection and not its own.
const LATE_MAX: Duration = Duration::from_mins(2);

/// Whether a debt can be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The name is in use.
    InUse,
    /// It is of no more use, and was refused so often.
    Due(u32),
    /// The server does not let it go: it stays for this mount.
    Stuck,
}

#[derive(Debug)]
struct Owed {
    debt: Debt,
    standing: Standing,
    late: Option<Pending>,
}

/// What may still put a file under the name.
#[derive(Debug)]
struct Pending {
    late: Late,
    since: Instant,
}

impl Owed {
    fn new(debt: Debt, standing: Standing) -> Self {
        Self {
            debt,
            standing,
            late: None,
        }
    }

    fn is_due(&self) -> bool {
        matches!(self.standing, Standing::Due(_))
    }

    /// Whether the file may still come.
    fn may_come(&self, now: Instant) -> bool {
        let pending = self.late.as_ref();
        pending.is_some_and(|pending| now.saturating_duration_since(pending.since) < LATE_MAX)
    }
}

/// Where debts are written down.
#[derive(Debug)]
enum Ledger {
    /// Nothing was owed yet.
    Unopened(PathBuf),
    /// In this mount's folder.
    Open(Writer),
    /// Nowhere.
    None,
}

#[derive(Debug)]
struct Writer {
    folder: Folder,
    file: File,
    bytes: usize,
    bytes_max: usize,
    /// Whether the last line may lack its end.
    is_torn: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Debts {
    /// The number of this mount.
    mount: u32,
    // Guarded by itself; a leaf, held while a line is written.
    book: Mutex<Book>,
    /// The thread that pays, once there is one.
    payer: Mutex<Option<Thread>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Book {
    owed: HashMap<MadeName, Owed>,
    /// Names of ours that programs see, as the files under them cannot get their own back.
    shown: HashSet<MadeName>,
    /// Directories that are renamed at this moment.
    moving: Vec<RemotePath>,
    ledger: Ledger,
    server_dir: Option<PathBuf>,
}

/// A directory is being renamed: what its names owe may be elsewhere already.
#[derive(Debug)]
pub(crate) struct Moving<'a> {
    debts: &'a Debts,
    dir: &'a RemotePath,
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        let mut book = self.debts.lock();
        let place = book.moving.iter().position(|dir| dir == self.dir);
        if let Some(place) = place {
            book.moving.swap_remove(place);
        }
    }
}

impl Debts {
    /// None yet, of the mount of this number; they are written down below `server_dir`, the folder for the server and the mounted
    /// directory, if there is one.
    pub(crate) fn new(server_dir: Option<PathBuf>, mount: u32, clock: Arc<dyn Clock>) -> Self {
        Self {
            mount,
            book: Mutex::new(Book {
                owed: HashMap::new(),
                shown: HashSet::new(),
                moving: Vec::new(),
                ledger: server_dir.clone().map_or(Ledger::None, Ledger::Unopened),
                server_dir,
            }),
            payer: Mutex::new(None),
            clock,
        }
    }

    /// Writes down what is owed for a name that is about to be used, or what that is from now on.
    pub(crate) fn record(&self, name: &MadeName, debt: Debt) {
        let mut book = self.lock();
        book.note(self.mount, &line::owed(name, &debt));
        let standing = Standing::InUse;
        book.owed.insert(name.clone(), Owed::new(debt, standing));
    }

    /// A directory is about to be renamed, until what this returns is dropped.
    pub(crate) fn moving<'a>(&'a self, dir: &'a RemotePath) -> Moving<'a> {
        self.lock().moving.push(dir.clone());
        Moving { debts: self, dir }
    }

    /// A directory was renamed: what is owed for names in it is owed for those that they have now.
    pub(crate) fn follow(&self, from: &RemotePath, to: &RemotePath) {
        let mut book = self.lock();
        let moved = |path: &RemotePath| path.moved(from, to);
        let within = book.owed.keys().filter_map(|name| {
            let now = MadeName::recorded(moved(name)?)?;
            Some((name.clone(), now))
        });
        for (name, now) in within.collect::<Vec<_>>() {
            let Some(mut owed) = book.owed.remove(&name) else {
                continue;
            };
            if let Debt::Aside { of, .. } = &mut owed.debt
                && let Some(now) = moved(of)
            {
                *of = now;
            }
            // No upload goes on while its directory is renamed, and who removes what one has left knows the old name.
            if matches!(owed.debt, Debt::Upload) && owed.standing == Standing::InUse {
                owed.standing = Standing::Due(0);
            }
            book.note(self.mount, &line::owed(&now, &owed.debt));
            book.note(self.mount, &line::settled(&name));
            book.owed.insert(now, owed);
        }
    }

    /// A file that its program has emptied lies under this name: what was moved aside from there, and is still to get that name back,
    /// was to be replaced by it.
    pub(crate) fn note_replaced(&self, path: &RemotePath, len: u64) {
        let mut book = self.lock();
        let asides = book.owed.iter_mut().filter(|(_, owed)| owed.is_due());
        let mut lines = Vec::new();
        for (name, owed) in asides {
            if let Debt::Aside { of, size } = &mut owed.debt
                && of == path
            {
                *size = Some(len);
                lines.push(line::owed(name, &owed.debt));
            }
        }
        for line in lines {
            book.note(self.mount, &line);
        }
    }

    /// Nothing has the name: nothing is owed for it any more, unless a file may still come, or has moved with its directory.
    pub(crate) fn settle_absent(&self, name: &MadeName) {
        let now = self.clock.now();
        let mut book = self.lock();
        let may_be_elsewhere = book.moving.iter().any(|dir| name.path().is_within(dir));
        let Some(owed) = book.owed.get_mut(name) else {
            return;
        };
        if may_be_elsewhere {
            // It is looked for under the name that it has then.
            owed.standing = Standing::Due(0);
        } else if !owed.may_come(now) {
            drop(book);
            self.settle(name);
        }
    }

    /// Nothing is owed for the name any more.
    pub(crate) fn settle(&self, name: &MadeName) {
        let mut book = self.lock();
        if book.owed.remove(name).is_some() {
            book.note(self.mount, &line::settled(name));
        }
    }

    /// The name is of no more use: what is owed for it is paid in the background.
    pub(crate) fn fall_due(&self, name: &MadeName) {
        if let Some(owed) = self.lock().owed.get_mut(name)
            && owed.standing == Standing::InUse
        {
            owed.standing = Standing::Due(0);
        }
        self.wake();
    }

    /// The same after a change of the name that failed: one that may still be carried out is waited for.
    pub(crate) fn fall_due_after(&self, name: &MadeName, error: &RemoteError) {
        if let (Some(owed), Some(late)) = (self.lock().owed.get_mut(name), error.late()) {
            owed.late = Some(Pending {
                late: late.clone(),
                since: self.clock.now(),
            });
        }
        self.fall_due(name);
    }

    /// The server does not let the name go: it is asked some times more, and then no more by this mount. Whether it was the last time.
    pub(crate) fn note_refused(&self, name: &MadeName) -> bool {
        let mut book = self.lock();
        let Some(owed) = book.owed.get_mut(name) else {
            return false;
        };
        let refused = match owed.standing {
            Standing::InUse => 1,
            Standing::Due(refused) => refused + 1,
            Standing::Stuck => return false,
        };
        owed.standing = if refused < REFUSALS_MAX {
            Standing::Due(refused)
        } else {
            Standing::Stuck
        };
        owed.standing == Standing::Stuck
    }

    /// What is owed for a name.
    pub(crate) fn of(&self, name: &MadeName) -> Option<Debt> {
        self.lock().owed.get(name).map(|owed| owed.debt.clone())
    }

    /// The made name at a path, if it may be removed at any time: it holds no only copy, and no program reads it.
    pub(crate) fn removable(&self, path: &RemotePath) -> Option<MadeName> {
        let name = MadeName::recorded(path.clone())?;
        let book = self.lock();
        let owed = book.owed.get(&name)?;
        match (&owed.debt, owed.standing) {
            (Debt::Upload, _) | (Debt::Removed, Standing::Due(_)) => Some(name),
            _ => None,
        }
    }

    /// A file that is only under this name is shown from now on.
    pub(crate) fn show(&self, name: &MadeName) {
        self.lock().shown.insert(name.clone());
    }

    /// Whether a name, without its directory, is one of those that are shown.
    pub(crate) fn is_shown(&self, name: &[u8]) -> bool {
        let book = self.lock();
        book.shown.iter().any(|shown| shown.name() == Some(name))
    }

    /// What can be paid now.
    pub(crate) fn due(&self) -> Vec<(MadeName, Debt)> {
        let book = self.lock();
        let now = self.clock.now();
        let is_over = |owed: &Owed| match &owed.late {
            Some(pending) => pending.late.is_over() || !owed.may_come(now),
            None => true,
        };
        let mut owed = book.owed.iter();
        let due = owed
            .by_ref()
            .filter(|(_, owed)| owed.is_due() && is_over(owed));
        let mut due: Vec<_> = due
            .map(|(name, owed)| (name.clone(), owed.debt.clone()))
            .collect();
        // A room goes after what is in it.
        due.sort_by_key(|(_, debt)| *debt == Debt::Room);
        due
    }

    /// Whether something is due, now or when what may still come has come.
    pub(crate) fn is_any_due(&self) -> bool {
        self.lock().owed.values().any(Owed::is_due)
    }

    /// Something has succeeded on the server: what is due is tried now.
    pub(crate) fn note_success(&self) {
        if self.is_any_due() {
            self.wake();
        }
    }

    /// Takes over what mounts have left that have ended; how many debts that are.
    pub(crate) fn adopt(&self) -> usize {
        let server_dir = self.lock().server_dir.clone();
        let Some(server_dir) = server_dir else {
            return 0;
        };
        let mut count = 0;
        for folder in Folder::abandoned(&server_dir) {
            let debts = match folder.read() {
                Ok(text) => line::read(&text),
                Err(error) => {
                    log::warn!("an earlier mount's debts cannot be read: {error}");
                    continue;
                }
            };
            let mut book = self.lock();
            let mut is_written = true;
            count += debts.len();
            for (name, debt) in debts {
                is_written &= book.note(self.mount, &line::owed(&name, &debt));
                let standing = Standing::Due(0);
                book.owed.insert(name, Owed::new(debt, standing));
            }
            drop(book);
            // Only now: a process that is killed in between leaves it in both.
            if is_written {
                folder.remove();
            }
        }
        count
    }

    /// Wakes this thread when something is to be paid.
    pub(crate) fn wake_by(&self, payer: Thread) {
        *self.payer.lock().unwrap_or_else(PoisonError::into_inner) = Some(payer);
    }

    fn wake(&self) {
        let payer = self.payer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(payer) = &*payer {
            payer.unpark();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Debts {
    /// A mount that owes nothing leaves nothing.
    fn drop(&mut self) {
        let book = self.book.get_mut().unwrap_or_else(PoisonError::into_inner);
        if book.owed.is_empty()
            && let Ledger::Open(writer) = std::mem::replace(&mut book.ledger, Ledger::None)
        {
            writer.folder.remove();
        }
    }
}

impl Book {
    /// Writes a line; whether it is written.
    fn note(&mut self, mount: u32, line: &str) -> bool {
        if let Ledger::Unopened(server_dir) = &self.ledger {
            self.ledger = match Writer::open(server_dir, mount) {
                Ok(writer) => Ledger::Open(writer),
                Err(error) => {
                    log::warn!(
                        "{}: temporary files are not written down, and a killed mount leaves them on the server: {error}",
                        server_dir.display()
                    );
                    Ledger::None
                }
            };
        }
        let Ledger::Open(writer) = &mut self.ledger else {
            return false;
        };
        let owed = &self.owed;
        let all = || owed.iter().map(|(name, owed)| line::owed(name, &owed.debt));
        let written = writer.write(line, all);
        if let Err(error) = &written {
            log::warn!("a temporary file is not written down: {error}");
        }
        written.is_ok()
    }
}

impl Writer {
    fn open(server_dir: &std::path::Path, mount: u32) -> io::Result<Self> {
        let folder = Folder::make(server_dir, mount)?;
        Ok(Self {
            file: folder.open()?,
            folder,
            bytes: 0,
            bytes_max: BYTES_MAX,
            is_torn: false,
        })
    }

    /// Appends a line, and before that puts all that is owed in the place of a file that has grown.
    fn write<I: Iterator<Item = String>>(
        &mut self,
        line: &str,
        all: impl Fn() -> I,
    ) -> io::Result<()> {
        if self.bytes > self.bytes_max {
            let text: String = all().collect();
            self.file = self.folder.rewrite(text.as_bytes())?;
            self.bytes = text.len();
            // Not at every line where so much is owed.
            self.bytes_max = BYTES_MAX.max(2 * text.len());
            self.is_torn = false;
        }
        let start = if self.is_torn { "\n" } else { "" };
        let whole = format!("{start}{line}");
        // Counted also if it fails: a part may be there.
        self.bytes += whole.len();
        self.is_torn = true;
        self.file.write_all(whole.as_bytes())?;
        self.is_torn = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::Path,
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::{
        clock::ManualClock,
        remote::{Phase, RemoteErrorKind},
    };

    fn made(number: u32) -> MadeName {
        let name = format!(".ftpfs-0123abcd-{number:032x}.tmp");
        MadeName::recorded(RemotePath::root().join(name.as_bytes()).unwrap()).unwrap()
    }

    fn debts(dir: &Path, mount: u32) -> Debts {
        Debts::new(
            Some(dir.join("server")),
            mount,
            Arc::new(ManualClock::new()),
        )
    }

    fn names(debts: &Debts) -> Vec<MadeName> {
        let mut names: Vec<MadeName> = debts.due().into_iter().map(|(name, _)| name).collect();
        names.sort_by_key(ToString::to_string);
        names
    }

    /// What a mount of that number has written.
    fn file(dir: &Path, mount: u32) -> Vec<u8> {
        fs::read(dir.join(format!("server/{mount:08x}/debts"))).unwrap()
    }

    /// Ends a mount as `kill -9` does: its lock goes, its file stays.
    fn kill(debts: Debts) {
        debts
            .lock()
            .owed
            .insert(made(u32::MAX), Owed::new(Debt::Upload, Standing::InUse));
        drop(debts);
    }

    #[test]
    fn a_mount_without_debts_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let first = debts(dir.path(), 1);
        assert!(!dir.path().join("server").exists(), "none were made");
        first.record(&made(1), Debt::Upload);
        assert!(!file(dir.path(), 1).is_empty(), "written before it is used");
        first.settle(&made(1));
        drop(first);
        assert!(!dir.path().join("server").exists());
    }

    #[test]
    fn what_a_killed_mount_has_left_is_adopted_once_and_only_when_nobody_owns_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = debts(dir.path(), 1);
        first.record(&made(1), Debt::Upload);
        first.record(&made(2), Debt::Removed);
        first.record(&made(3), Debt::Upload);
        first.settle(&made(1));
        let second = debts(dir.path(), 2);
        assert_eq!(second.adopt(), 0, "the first mount lives");
        kill(first);
        // Of another server or directory.
        let other = Debts::new(
            Some(dir.path().join("other")),
            3,
            Arc::new(ManualClock::new()),
        );
        assert_eq!(other.adopt(), 0);
        assert_eq!(second.adopt(), 2);
        assert_eq!(names(&second), [made(2), made(3)]);
        assert!(!dir.path().join("server/00000001").exists());
        let third = debts(dir.path(), 4);
        assert_eq!(third.adopt(), 0);
        // And again, if the second is killed before it has paid.
        second.settle(&made(2));
        kill(second);
        assert_eq!(third.adopt(), 1);
        assert_eq!(names(&third), [made(3)]);
    }

    #[test]
    fn a_torn_line_costs_no_other_one() {
        let dir = tempfile::tempdir().unwrap();
        let first = debts(dir.path(), 1);
        first.record(&made(1), Debt::Upload);
        if let Ledger::Open(writer) = &mut first.lock().ledger {
            writer.file.write_all(b"+ upload /.ftpfs-01").unwrap();
            writer.is_torn = true;
        }
        first.record(&made(2), Debt::Upload);
        kill(first);
        let second = debts(dir.path(), 2);
        assert_eq!(second.adopt(), 2);
    }

    #[test]
    fn the_file_does_not_grow_by_what_is_settled() {
        let dir = tempfile::tempdir().unwrap();
        let first = debts(dir.path(), 1);
        first.record(&made(1), Debt::Removed);
        let mut longest = 0;
        for number in 2..30_000 {
            first.record(&made(number), Debt::Upload);
            first.settle(&made(number));
            if number % 1000 == 0 {
                longest = longest.max(file(dir.path(), 1).len());
            }
        }
        assert!(longest > BYTES_MAX / 2, "{longest}");
        assert!(longest < BYTES_MAX + 1000, "{longest}");
        kill(first);
        let second = debts(dir.path(), 2);
        assert_eq!(second.adopt(), 1);
        assert_eq!(names(&second), [made(1)]);
    }

    #[test]
    fn many_debts_are_not_written_anew_at_each_line() {
        let dir = tempfile::tempdir().unwrap();
        let first = debts(dir.path(), 1);
        for number in 0..25_000 {
            first.record(&made(number), Debt::Upload);
        }
        let Ledger::Open(writer) = &first.lock().ledger else {
            panic!("no file");
        };
        assert!(writer.bytes_max > BYTES_MAX);
        assert!(writer.bytes < writer.bytes_max);
    }

    #[test]
    fn a_state_directory_that_cannot_be_written_ends_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("server"), b"a file").unwrap();
        let first = debts(dir.path(), 1);
        first.record(&made(1), Debt::Upload);
        first.fall_due(&made(1));
        assert_eq!(names(&first), [made(1)], "remembered in memory");
        assert_eq!(first.adopt(), 0);
        first.settle(&made(1));
        assert!(names(&first).is_empty());
    }

    #[test]
    fn what_is_in_use_is_not_due_and_what_is_refused_is_not_asked_for_ever() {
        let first = Debts::new(None, 1, Arc::new(ManualClock::new()));
        first.record(&made(1), Debt::Upload);
        assert!(names(&first).is_empty());
        first.fall_due(&made(1));
        for is_last in [false, false, true] {
            assert_eq!(names(&first), [made(1)]);
            assert_eq!(first.note_refused(&made(1)), is_last);
        }
        assert!(names(&first).is_empty());
        first.fall_due(&made(1));
        assert!(names(&first).is_empty());
        assert!(!first.note_refused(&made(1)));
    }

    // SEMANTICS: S-names-temporary
    #[test]
    fn a_name_whose_upload_may_still_come_is_paid_when_it_has() {
        let clock = Arc::new(ManualClock::new());
        let debts = Debts::new(None, 1, clock.clone());
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = is_over.clone();
        let late = Late::new(move || flag.load(Ordering::Relaxed));
        let kind = RemoteErrorKind::TimedOut(Phase::Reply);
        let error = RemoteError::new(kind, "STOR").with_late(late);
        debts.record(&made(1), Debt::Upload);
        debts.fall_due_after(&made(1), &error);
        assert!(names(&debts).is_empty());
        assert!(debts.is_any_due(), "it is looked at again");
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(names(&debts), [made(1)]);
        // Something between us and the server may have ended our connection only.
        debts.settle_absent(&made(1));
        assert_eq!(names(&debts), [made(1)]);
        clock.advance(LATE_MAX);
        debts.settle_absent(&made(1));
        assert!(!debts.is_any_due());
    }

    // SEMANTICS: S-names-temporary
    #[test]
    fn what_is_owed_in_a_directory_moves_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = debts(dir.path(), 1);
        let at = |path: &str| {
            let names = path.split('/').filter(|name| !name.is_empty());
            names.fold(RemotePath::root(), |dir, name| {
                dir.join(name.as_bytes()).unwrap()
            })
        };
        let in_dir = |dir: &str, number: u32| {
            let name = made(number).name().unwrap().to_vec();
            MadeName::recorded(at(dir).join(&name).unwrap()).unwrap()
        };
        let aside = |of: &str| Debt::Aside {
            of: at(of),
            size: None,
        };
        first.record(&in_dir("/a/b", 1), aside("/a/b/file"));
        first.record(&in_dir("/a", 2), Debt::Upload);
        first.record(&in_dir("/ab", 3), Debt::Upload);
        first.follow(&at("/a"), &at("/c/d"));
        assert_eq!(first.of(&in_dir("/c/d/b", 1)), Some(aside("/c/d/b/file")));
        kill(first);
        let second = debts(dir.path(), 2);
        second.adopt();
        let left = [in_dir("/ab", 3), in_dir("/c/d", 2), in_dir("/c/d/b", 1)];
        assert_eq!(names(&second), left);
    }

    #[test]
    fn the_only_copy_of_a_file_is_not_removable() {
        let first = Debts::new(None, 1, Arc::new(ManualClock::new()));
        let aside = Debt::Aside {
            of: RemotePath::root(),
            size: None,
        };
        first.record(&made(1), aside);
        first.record(&made(2), Debt::Removed);
        first.record(&made(3), Debt::Upload);
        let removable = |number| first.removable(made(number).path()).is_some();
        assert_eq!([1, 2, 3, 4].map(removable), [false, false, true, false]);
        first.fall_due(&made(1));
        first.fall_due(&made(2));
        assert_eq!([1, 2].map(removable), [false, true]);
    }
}
