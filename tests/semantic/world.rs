//! A filesystem over a server in memory, driven as the kernel drives it: by inode, with a clock that the test moves.

use std::{fs, sync::Arc, time::Duration};

use ftpfs::{
    clock::ManualClock,
    config::{CacheConfig, FsConfig, OnConflict},
    fs::{
        Access, Attr, DirItem, DirSink, Filesystem, FsError, HandleId, Ino, OpenMode, Opened,
        RenameMode,
    },
    remote::{
        EntryKind, RemotePath,
        memory::{Behaviour, Content, MemoryRemote, Operation},
    },
};

pub(crate) const ROOT: Ino = Ino::ROOT;

/// What a test may choose before the filesystem is made.
pub(crate) struct Setup {
    pub(crate) behaviour: Behaviour,
    pub(crate) fs: FsConfig,
    pub(crate) cache: CacheConfig,
    pub(crate) sessions_max: usize,
}

/// Server, clock and filesystem of one test.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) server: MemoryRemote,
    /// The same server, as this mount asks it.
    pub(crate) client: MemoryRemote,
    pub(crate) fs: Arc<Filesystem>,
    pub(crate) spool_dir: tempfile::TempDir,
    /// Where its mounts write down what they owe.
    state_dir: tempfile::TempDir,
    pub(crate) dir_ttl: Duration,
    /// Makes the same filesystem anew.
    make: Box<dyn Fn(MemoryRemote) -> Arc<Filesystem> + Send + Sync>,
}

/// How a test opens files.
pub(crate) const READ: OpenMode = OpenMode {
    access: Access::Read,
    is_truncate: false,
    is_exclusive: false,
};
pub(crate) const WRITE: OpenMode = OpenMode {
    access: Access::Write,
    ..READ
};
pub(crate) const TRUNCATE: OpenMode = OpenMode {
    is_truncate: true,
    ..WRITE
};
pub(crate) const APPEND: OpenMode = OpenMode {
    access: Access::Append,
    ..WRITE
};
pub(crate) const EXCLUSIVE: OpenMode = OpenMode {
    is_exclusive: true,
    ..WRITE
};

pub(crate) type Outcome<T> = Result<T, i32>;

/// The number that a program would get.
#[allow(
    clippy::needless_pass_by_value,
    reason = "it is handed to `map_err` by name"
)]
pub(crate) fn errno(error: FsError) -> i32 {
    error.errno()
}

pub(crate) fn path(text: &str) -> RemotePath {
    text.split('/')
        .filter(|name| !name.is_empty())
        .fold(RemotePath::root(), |dir, name| {
            dir.join(name.as_bytes()).unwrap()
        })
}

/// Bytes that are different at every place.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn on_server(behaviour: impl FnOnce(&mut Behaviour)) -> Self {
        Self::with(|setup| behaviour(&mut setup.behaviour))
    }

    pub(crate) fn with(choose: impl FnOnce(&mut Setup)) -> Self {
        let (spool_dir, state_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // Inode numbers are the same each time, and with them the order in which a program opens files.
        let inode_key = state_dir.path().join("inode-key");
        fs::write(&inode_key, format!("{:032x}\n", 1)).unwrap();
        let mut behaviour = Behaviour::default();
        // As after earlier mounts, so that patches are tried.
        behaviour.habits.removals = 2;
        let mut setup = Setup {
            behaviour,
            fs: FsConfig {
                only_user: None,
                uid: 1000,
                gid: 1000,
                file_mask: 0,
                dir_mask: 0,
                is_read_only: false,
                spool_memory_bytes_max: 8 << 20,
                spool_memory_total_max: 64 << 20,
                file_bytes_max: 1 << 40,
                spool_dir: spool_dir.path().to_path_buf(),
                debts_dir: Some(state_dir.path().join("server")),
                inode_key: Some(inode_key),
                drain_timeout: Duration::from_secs(1),
                on_conflict: OnConflict::default(),
                verifies_uploads: false,
            },
            cache: CacheConfig::default(),
            sessions_max: 8,
        };
        choose(&mut setup);
        let clock = Arc::new(ManualClock::new());
        let server = MemoryRemote::with_behaviour(clock.clone(), setup.behaviour);
        let dir_ttl = setup.cache.dir_ttl;
        let its_clock = clock.clone();
        let make = move |client: MemoryRemote| {
            Filesystem::new(
                Arc::new(client),
                setup.fs.clone(),
                &setup.cache,
                setup.sessions_max,
                its_clock.clone(),
            )
        };
        let client = server.connect();
        Self {
            clock,
            server,
            fs: make(client.clone()),
            client,
            spool_dir,
            state_dir,
            dir_ttl,
            make: Box::new(make),
        }
    }

    /// Ends this mount and begins another of the same server.
    pub(crate) fn restart(&mut self) {
        self.drain();
        self.begin_anew();
    }

    /// Ends this mount as `kill -9` does, without a last word to the server, and begins another.
    pub(crate) fn kill(&mut self) {
        self.client.cut_off();
        self.client.await_calls();
        self.copy_debts();
        self.begin_anew();
    }

    /// Leaves what this mount owes to the next one: its own threads may hold it until later, which those of a killed process do not.
    fn copy_debts(&self) {
        let dirs = fs::read_dir(self.state_dir.path().join("server"));
        for dir in dirs.into_iter().flatten().flatten() {
            let (debts, mut copy) = (dir.path().join("debts"), dir.path().into_os_string());
            copy.push("-killed");
            if debts.exists() && fs::create_dir(&copy).is_ok() {
                fs::copy(debts, std::path::Path::new(&copy).join("debts")).unwrap();
            }
        }
    }

    fn begin_anew(&mut self) {
        self.fs.shutdown();
        self.client = self.server.connect();
        self.fs = (self.make)(self.client.clone());
    }

    /// So much time passes.
    pub(crate) fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Lets all that is cached of directories become too old.
    pub(crate) fn expire(&self) {
        self.advance(self.dir_ttl + Duration::from_secs(1));
    }

    /// Has the mount find out whether files in the root can be written inside, which takes a scratch file once.
    pub(crate) fn try_patch(&self) {
        self.put("/tried", &pattern(2 << 20, 99));
        let handle = self.open("/tried", WRITE).unwrap();
        self.write(handle, 70_000, b"tried");
        self.close(handle).unwrap();
        self.unlink("/tried").unwrap();
        self.expire();
    }

    /// Directory inode and name of a path.
    pub(crate) fn place<'a>(&self, at: &'a str) -> (Ino, &'a [u8]) {
        let at = at.trim_matches('/');
        match at.rsplit_once('/') {
            Some((dir, name)) => (self.ino(dir), name.as_bytes()),
            None => (ROOT, at.as_bytes()),
        }
    }

    /// What a path walk finds; looks every component up, as the kernel does.
    pub(crate) fn find(&self, at: &str) -> Outcome<Option<Attr>> {
        let mut ino = ROOT;
        let mut attr = None;
        for name in at.split('/').filter(|name| !name.is_empty()) {
            match self.fs.lookup(ino, name.as_bytes()).map_err(errno)?.attr {
                Some(found) => (ino, attr) = (found.ino, Some(found)),
                None => return Ok(None),
            }
        }
        match attr {
            None => self.fs.getattr(ROOT).map_err(errno).map(|(a, _)| Some(a)),
            found => Ok(found),
        }
    }

    pub(crate) fn exists(&self, at: &str) -> bool {
        self.find(at).unwrap().is_some()
    }

    pub(crate) fn ino(&self, at: &str) -> Ino {
        self.find(at)
            .unwrap()
            .unwrap_or_else(|| panic!("{at} is not there"))
            .ino
    }

    pub(crate) fn attr(&self, at: &str) -> Attr {
        self.fs.getattr(self.ino(at)).unwrap().0
    }

    pub(crate) fn size(&self, at: &str) -> u64 {
        self.attr(at).size
    }

    pub(crate) fn open(&self, at: &str, mode: OpenMode) -> Outcome<HandleId> {
        let found = self.find(at)?.ok_or(libc::ENOENT)?;
        self.fs
            .open(found.ino, mode)
            .map_err(errno)
            .map(|opened| opened.handle)
    }

    pub(crate) fn create(&self, at: &str, mode: OpenMode) -> Outcome<HandleId> {
        self.create_with(at, 0o644, mode)
            .map(|(_, opened)| opened.handle)
    }

    pub(crate) fn create_with(
        &self,
        at: &str,
        bits: u32,
        mode: OpenMode,
    ) -> Outcome<(Attr, Opened)> {
        let (dir, name) = self.place(at);
        self.fs.create(dir, name, bits, mode).map_err(errno)
    }

    pub(crate) fn write(&self, handle: HandleId, offset: u64, data: &[u8]) {
        self.fs.write(handle, offset, data).unwrap();
    }

    /// close(2): the flush whose outcome the program sees, then the release.
    pub(crate) fn close(&self, handle: HandleId) -> Outcome<()> {
        let flushed = match self.fs.flush_cached(handle) {
            Some(done) => done,
            None => self.fs.flush(handle),
        };
        self.fs.release(handle);
        flushed.map_err(errno)
    }

    pub(crate) fn read(&self, handle: HandleId, offset: u64, len: usize) -> Outcome<Vec<u8>> {
        let read = match self.fs.read_cached(handle, offset, len) {
            Some(read) => read,
            None => self.fs.read(handle, offset, len),
        };
        read.map(|bytes| bytes.to_vec()).map_err(errno)
    }

    /// All that a handle shows, read as `cat` reads.
    pub(crate) fn read_handle(&self, handle: HandleId) -> Outcome<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let bytes = self.read(handle, all.len() as u64, 128 << 10)?;
            if bytes.is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(&bytes);
        }
    }

    pub(crate) fn cat(&self, at: &str) -> Outcome<Vec<u8>> {
        let handle = self.open(at, READ)?;
        let all = self.read_handle(handle);
        self.fs.release(handle);
        all
    }

    /// Writes a whole file as `cp` does.
    pub(crate) fn save(&self, at: &str, data: &[u8]) -> Outcome<()> {
        let handle = self.create(at, TRUNCATE)?;
        for (index, part) in data.chunks(128 << 10).enumerate() {
            self.write(handle, index as u64 * (128 << 10), part);
        }
        self.close(handle)
    }

    pub(crate) fn mkdir(&self, at: &str) -> Outcome<()> {
        let (dir, name) = self.place(at);
        self.fs.mkdir(dir, name, 0o755).map(drop).map_err(errno)
    }

    pub(crate) fn rmdir(&self, at: &str) -> Outcome<()> {
        let (dir, name) = self.place(at);
        self.fs.rmdir(dir, name).map_err(errno)
    }

    pub(crate) fn unlink(&self, at: &str) -> Outcome<()> {
        let (dir, name) = self.place(at);
        self.fs.unlink(dir, name).map_err(errno)
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Outcome<()> {
        self.rename_as(from, to, RenameMode::Replace)
    }

    pub(crate) fn rename_as(&self, from: &str, to: &str, mode: RenameMode) -> Outcome<()> {
        self.fs
            .rename(self.place(from), self.place(to), mode)
            .map_err(errno)
    }

    pub(crate) fn setattr(&self, at: &str, change: &ftpfs::fs::Change) -> Outcome<Attr> {
        self.fs.setattr(self.ino(at), change, None).map_err(errno)
    }

    pub(crate) fn truncate(&self, at: &str, len: u64) -> Outcome<()> {
        let change = ftpfs::fs::Change {
            size: Some(len),
            ..Default::default()
        };
        self.setattr(at, &change).map(drop)
    }

    /// The names in a directory, without the dots.
    pub(crate) fn names(&self, at: &str) -> Outcome<Vec<String>> {
        let dir = self.ino(at);
        let handle = self.fs.opendir(dir).map_err(errno)?;
        let mut list = List::default();
        self.fs.readdir(dir, handle, 0, &mut list).map_err(errno)?;
        self.fs.releasedir(handle);
        let mut names = list.names();
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    /// What the server has under this name.
    pub(crate) fn on(&self, at: &str) -> Option<Vec<u8>> {
        self.server.read_file(&path(at))
    }

    pub(crate) fn put(&self, at: &str, data: &[u8]) {
        self.server.write_file(&path(at), data);
    }

    pub(crate) fn calls(&self, operation: Operation) -> u64 {
        self.server.calls(operation)
    }

    /// All calls that cost a round trip.
    pub(crate) fn requests(&self) -> u64 {
        use Operation as O;
        [
            O::List,
            O::Stat,
            O::OpenDownload,
            O::OpenUpload,
            O::Put,
            O::Settle,
            O::Rename,
            O::RemoveFile,
            O::MakeDir,
            O::RemoveDir,
            O::MakeSymlink,
            O::ReadLink,
            O::Space,
        ]
        .into_iter()
        .map(|operation| self.calls(operation))
        .sum()
    }

    /// The names of files that the server has and the mount hides.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let tree = self.server.tree();
        let hidden = tree
            .keys()
            .filter(|path| path.name().is_some_and(|name| name.ends_with(b".tmp")));
        hidden.map(ToString::to_string).collect()
    }

    /// Waits, with a deadline, for what happens on another thread.
    pub(crate) fn eventually(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        assert!(self.eventually_ok(is_so), "never so: {what}");
    }

    /// The same, and says whether it came.
    pub(crate) fn eventually_ok(&self, is_so: impl Fn(&Self) -> bool) -> bool {
        (0..1000).any(|_| {
            let is_now = is_so(self);
            if !is_now {
                std::thread::sleep(Duration::from_millis(5));
            }
            is_now
        })
    }

    pub(crate) fn drain(&self) {
        assert!(self.fs.drain(Duration::ZERO), "{:?}", self.fs.keep_unsent());
    }

    pub(crate) fn is_dir_on_server(&self, at: &str) -> bool {
        let node = self.server.node(&path(at));
        node.is_some_and(|node| node.content == Content::Directory)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.fs.shutdown();
    }
}

/// Takes directory entries, at most `room` of them.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) items: Vec<(String, EntryKind, Ino, u64)>,
    pub(crate) attrs: Vec<Attr>,
    pub(crate) room: usize,
}

impl Default for List {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            attrs: Vec::new(),
            room: usize::MAX,
        }
    }
}

impl List {
    pub(crate) fn names(&self) -> Vec<String> {
        self.items.iter().map(|item| item.0.clone()).collect()
    }
}

impl DirSink for List {
    fn add(&mut self, item: &DirItem<'_>) -> bool {
        if self.items.len() == self.room {
            return false;
        }
        let name = String::from_utf8_lossy(item.name).into_owned();
        self.items
            .push((name, item.kind, item.ino, item.next_offset));
        true
    }

    fn add_with_attr(&mut self, item: &DirItem<'_>, attr: &Attr, _: Duration) -> bool {
        let has_room = self.add(item);
        if has_room {
            self.attrs.push(*attr);
        }
        has_room
    }
}
