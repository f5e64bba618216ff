//! The dialects in `tests/dialects`: each is played by a simulated server, mounted by the real binary, and has to pass the
//! same table of operations.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::common::{
    Mount, can_mount, errno, mount, names_in, pattern,
    simulated::{Dialect, Simulated},
    wait_for,
};

/// Makes each dialect file a test.
macro_rules! dialects {
    ($($test:ident: $file:literal),+ $(,)?) => {
        $( #[test] fn $test() { passes_the_table($file); } )+

        /// Those that are tested.
        const TESTED: &[&str] = &[$($file),+];
    };
}

dialects! {
    bftpd: "bftpd",
    drftpd: "drftpd",
    filezilla: "filezilla",
    filezilla_0_9: "filezilla-0.9",
    fritzbox: "fritzbox",
    glftpd: "glftpd",
    iis: "iis",
    swiftp: "swiftp",
    synology: "synology",
    uftpd: "uftpd",
    vms: "vms",
    zos: "zos",
    zos_unix: "zos-unix",
}

const DAY: Duration = Duration::from_hours(24);

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialects")
}

#[test]
fn every_dialect_is_tested_and_says_where_it_was_seen() {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let dialect = Dialect::parse(&fs::read_to_string(&path).unwrap());
        assert!(!dialect.about.is_empty(), "{name}: about");
        assert!(!dialect.sources.is_empty(), "{name}: sources");
        found.push(name);
    }
    found.sort();
    assert_eq!(found, TESTED, "add it to `dialects!` in {}", file!());
}

// SEMANTICS: S-dialects
/// Mounts a server that speaks the dialect and does what every server has to bear.
fn passes_the_table(name: &str) {
    let text = fs::read_to_string(dir().join(format!("{name}.toml"))).unwrap();
    let dialect = Dialect::parse(&text);
    if let Some(word) = dialect.unsupported.clone() {
        return is_refused(dialect, &word);
    }
    if !can_mount() {
        return;
    }
    let ground = Ground::new(dialect);
    ground.listings();
    ground.reading();
    ground.writing();
    ground.names();
    ground.directories();
    ground.attributes();
    ground.refusals();
    ground.compare();
}

// SEMANTICS: S-foreign-systems
fn is_refused(dialect: Dialect, word: &str) {
    let server = Simulated::start(dialect);
    let home = tempfile::tempdir().unwrap();
    let mountpoint = home.path().join("mnt");
    fs::create_dir(&mountpoint).unwrap();
    let output = mount::command(home.path())
        .arg("-f")
        .arg(server.url())
        .arg(&mountpoint)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    // Behind the warning that nothing is protected.
    assert_eq!(message.lines().count(), 2, "{message}");
    assert!(message.lines().last().unwrap().contains(word), "{message}");
}

/// A mount of a simulated server, and what is on it.
struct Ground {
    mount: Mount,
    server: Simulated,
    dialect: Dialect,
    large: Vec<u8>,
}

impl Ground {
    fn new(dialect: Dialect) -> Self {
        let server = Simulated::start(dialect.clone());
        let large = pattern(1, 700_000);
        {
            let mut tree = server.tree();
            tree.put_old("/recent", b"changed three days ago\n", 3 * DAY);
            tree.put_old("/large", &large, 40 * DAY);
            tree.make_dir("/dir");
            tree.make_dir("/dir/with space");
            tree.put_old("/dir/with space/inner", b"inner\n", 2 * DAY);
            tree.put_old("/dir/.hidden", b"hidden\n", 2 * DAY);
        }
        // What is not answered costs this once.
        let options = dialect.options.iter().map(String::as_str);
        let options: Vec<_> = options.chain(["timeout=3"]).collect();
        let mount = Mount::of_url(&server.url(), &options);
        Self {
            mount,
            server,
            dialect,
            large,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mount.path().join(name)
    }

    /// What the server holds.
    #[track_caller]
    fn stored(&self, path: &str) -> Vec<u8> {
        let tree = self.server.tree();
        let node = tree
            .get(path)
            .unwrap_or_else(|| panic!("{path} is not on the server"));
        node.content.clone().unwrap()
    }

    fn can(&self, what: &str) -> bool {
        !self.dialect.cannot.iter().any(|cannot| cannot == what)
    }

    fn listings(&self) {
        let names = |dir: &str| names_in(&self.path(dir));
        assert_eq!(names(""), [&b"dir"[..], b"large", b"recent"]);
        assert_eq!(names("dir"), [&b".hidden"[..], b"with space"]);
        assert_eq!(names("dir/with space"), [b"inner"]);
        let metadata = fs::metadata(self.path("recent")).unwrap();
        assert_eq!(metadata.len(), 23);
        assert!(metadata.is_file());
        assert!(fs::metadata(self.path("dir")).unwrap().is_dir());
        let stored = self.server.tree().get("/recent").unwrap().modified;
        let apart = distance(metadata.modified().unwrap(), stored);
        assert!(apart < Duration::from_mins(1), "the time is {apart:?} off");
    }

    fn reading(&self) {
        assert_eq!(
            fs::read(self.path("recent")).unwrap(),
            b"changed three days ago\n"
        );
        assert_eq!(fs::read(self.path("dir/.hidden")).unwrap(), b"hidden\n");
        let file = fs::File::open(self.path("large")).unwrap();
        let mut piece = vec![0; 5000];
        for offset in [600_000, 1000, 300_000] {
            file.read_exact_at(&mut piece, offset).unwrap();
            let offset = usize::try_from(offset).unwrap();
            assert!(piece == self.large[offset..][..5000], "at {offset}");
        }
        drop(file);
        assert!(fs::read(self.path("large")).unwrap() == self.large);
    }

    fn writing(&self) {
        fs::write(self.path("new"), b"new\n").unwrap();
        assert_eq!(self.stored("/new"), b"new\n");
        let content = pattern(2, 3 << 20);
        fs::write(self.path("dir/new large"), &content).unwrap();
        assert!(self.stored("/dir/new large") == content);
        fs::write(self.path("recent"), b"replaced\n").unwrap();
        assert_eq!(self.stored("/recent"), b"replaced\n");
        let mut log = fs::File::options()
            .append(true)
            .open(self.path("large"))
            .unwrap();
        log.write_all(b"one line more\n").unwrap();
        drop(log);
        let appended = [&self.large[..], b"one line more\n"].concat();
        assert!(self.stored("/large") == appended);
        let file = fs::File::options()
            .write(true)
            .open(self.path("new"))
            .unwrap();
        file.write_all_at(b"NEW", 0).unwrap();
        drop(file);
        assert_eq!(self.stored("/new"), b"NEW\n");
        assert_eq!(fs::read(self.path("new")).unwrap(), b"NEW\n");
    }

    fn names(&self) {
        fs::write(self.path("one"), b"one").unwrap();
        fs::write(self.path("two"), b"two").unwrap();
        if !self.can("rename") {
            let refused = fs::rename(self.path("one"), self.path("three"));
            assert_eq!(errno(refused), libc::EOPNOTSUPP);
            assert_eq!(self.stored("/one"), b"one");
            return;
        }
        fs::rename(self.path("one"), self.path("dir/three")).unwrap();
        assert_eq!(self.stored("/dir/three"), b"one");
        fs::rename(self.path("dir/three"), self.path("two")).unwrap();
        assert_eq!(self.stored("/two"), b"one");
        assert!(!self.path("dir/three").exists());
        fs::rename(self.path("dir/with space"), self.path("moved")).unwrap();
        assert_eq!(self.stored("/moved/inner"), b"inner\n");
    }

    fn directories(&self) {
        fs::create_dir(self.path("made")).unwrap();
        assert_eq!(errno(fs::create_dir(self.path("made"))), libc::EEXIST);
        assert_eq!(errno(fs::create_dir(self.path("no/where"))), libc::ENOENT);
        fs::write(self.path("made/file"), b"file").unwrap();
        assert_eq!(errno(fs::remove_dir(self.path("made"))), libc::ENOTEMPTY);
        fs::remove_file(self.path("made/file")).unwrap();
        fs::remove_dir(self.path("made")).unwrap();
        assert!(self.server.tree().get("/made").is_none());
    }

    fn attributes(&self) {
        let path = self.path("new");
        let wanted = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        let file = fs::File::options().write(true).open(&path).unwrap();
        let set = file.set_modified(wanted);
        drop(file);
        if self.can("time") {
            set.unwrap();
            assert_eq!(self.server.tree().get("/new").unwrap().modified, wanted);
            assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), wanted);
        } else {
            assert_eq!(errno(set), libc::EOPNOTSUPP);
        }
        let set = fs::set_permissions(&path, fs::Permissions::from_mode(0o600));
        if self.can("mode") {
            set.unwrap();
            assert_eq!(self.server.tree().get("/new").unwrap().mode, 0o600);
        } else {
            assert_eq!(errno(set), libc::EOPNOTSUPP);
        }
    }

    /// What others have done meanwhile is told by the right number.
    fn refusals(&self) {
        assert_eq!(errno(fs::read(self.path("missing"))), libc::ENOENT);
        assert_eq!(errno(fs::remove_file(self.path("missing"))), libc::ENOENT);
        for name in ["gone", "dir/gone"] {
            fs::write(self.path(name), b"gone").unwrap();
            self.server.tree().take(&format!("/{name}"));
        }
        assert_eq!(errno(fs::remove_file(self.path("gone"))), libc::ENOENT);
        assert_eq!(errno(fs::read(self.path("dir/gone"))), libc::ENOENT);
        fs::read_dir(self.path("dir")).unwrap();
        self.server.tree().make_dir("/theirs");
        assert_eq!(errno(fs::create_dir(self.path("theirs"))), libc::EEXIST);
    }

    /// The mount shows what the server holds, and nothing of ours is left there.
    fn compare(&self) {
        wait_for("temporary files to go", Duration::from_secs(5), || {
            let tree = self.server.tree();
            tree.all().all(|(path, _)| !path.contains("ftpfs-"))
        });
        let mut shown = BTreeMap::new();
        let mut waiting = vec![self.path("")];
        while let Some(dir) = waiting.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.mount.path()).unwrap();
                let name = format!("/{}", name.to_str().unwrap());
                if path.is_dir() {
                    waiting.push(path);
                    shown.insert(name, None);
                } else {
                    shown.insert(name, Some(fs::read(path).unwrap()));
                }
            }
        }
        let tree = self.server.tree();
        let stored: BTreeMap<_, _> = tree
            .all()
            .map(|(path, node)| (path.to_owned(), node.content.clone()))
            .collect();
        assert_eq!(
            shown.keys().collect::<Vec<_>>(),
            stored.keys().collect::<Vec<_>>()
        );
        assert!(shown == stored, "the content of some file differs");
    }
}

fn distance(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other)
        .unwrap_or_else(|error| error.duration())
}

// SEMANTICS: S-list-strange
#[test]
fn a_size_that_a_listing_does_not_tell_is_asked_for() {
    if !can_mount() {
        return;
    }
    let server = Simulated::start(Dialect::parse(""));
    server.tree().make_dir("/d");
    server.tree().put("/d/told", b"1234567");
    server.tree().put("/d/vague", b"12345");
    let lines =
        b"-rw-r--r-- 1 u g 7 Jan  1  2020 told\r\n-rw-r--r-- 1 u g 2KB Jan  1  2020 vague\r\n";
    server.make_listed("/d", &std::sync::Arc::new(lines.to_vec()));
    let mount = Mount::of_url(&server.url(), &[]);
    let dir = mount.path().join("d");
    // As ls -l and tar do: the names, and each one's attributes without opening it.
    let entries = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap());
    let sizes: BTreeMap<_, _> = entries
        .map(|entry| (entry.file_name(), entry.metadata().unwrap().len()))
        .collect();
    let expected = [("told", 7), ("vague", 5)].map(|(name, size)| (name.into(), size));
    assert_eq!(sizes, BTreeMap::from(expected));
}
