//! The disk cache on real mounts: what a second mount reads without asking the server for a byte.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tempfile::TempDir;

use crate::common::{Kind, Mount, Server, can_mount, give_to_server, pattern, proxy::Proxy};

/// Several blocks, and a piece.
const LEN: usize = (3 << 20) + 5;

/// A server behind the proxy, with a file, and a cache directory for its mounts.
struct Ground {
    server: Server,
    proxy: Proxy,
    url: String,
    cache_dir: TempDir,
}

impl Ground {
    fn new(kind: Kind) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let server = Server::start(kind)?;
        let (login, address) = server.url().rsplit_once('@').unwrap();
        let proxy = Proxy::start(address.trim_end_matches('/'));
        let ground = Self {
            url: format!("{login}@{}/", proxy.address()),
            cache_dir: tempfile::tempdir().unwrap(),
            server,
            proxy,
        };
        ground.put(&pattern(1, LEN), Duration::from_secs(1000));
        Some(ground)
    }

    /// Puts the file on the server's disk, changed so long ago.
    fn put(&self, content: &[u8], age: Duration) {
        let path = self.server.root().join("file");
        fs::write(&path, content).unwrap();
        give_to_server(&path);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    /// Mounts, lets the body work, unmounts; returns how many downloads that cost.
    fn downloads(&self, size: &str, body: impl FnOnce(&Path)) -> usize {
        let dir = format!("cache-dir={}", self.cache_dir.path().display());
        let size = format!("cache-disk-size={size}");
        let sent = self.proxy.during(|| {
            let mut mount = Mount::of_url(&self.url, &[&dir, &size]);
            body(mount.path());
            assert!(mount.unmount(), "{}", mount.log_text());
        });
        sent.iter()
            .flat_map(|batch| batch.split(" | "))
            .filter(|command| command.starts_with("RETR "))
            .count()
    }

    /// Mounts and reads the file, which must be this; returns how many downloads that cost.
    #[track_caller]
    fn read(&self, content: &[u8]) -> usize {
        self.downloads("1G", |dir| {
            assert!(fs::read(dir.join("file")).unwrap() == content);
        })
    }

    /// The file with the key by which paths are found.
    fn key(&self) -> PathBuf {
        let servers = fs::read_dir(self.cache_dir.path().join("blocks")).unwrap();
        let dirs: Vec<_> = servers.map(|dir| dir.unwrap().path()).collect();
        assert_eq!(dirs.len(), 1);
        dirs[0].join("key")
    }

    /// What the files that hold blocks are called.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.key().parent().unwrap()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".v2")).collect()
    }

    /// The files that hold blocks.
    fn parts(&self) -> Vec<File> {
        let servers = fs::read_dir(self.cache_dir.path().join("blocks")).unwrap();
        let entries = servers.flat_map(|dir| fs::read_dir(dir.unwrap().path()).unwrap());
        let paths = entries.map(|entry| entry.unwrap().path());
        let parts = paths.filter(|path| path.extension().is_some_and(|format| format == "v2"));
        let open = |path| OpenOptions::new().read(true).write(true).open(path);
        parts.map(|path| open(path).unwrap()).collect()
    }
}

// SEMANTICS: S-disk-cache
#[test]
fn a_second_mount_fetches_nothing() {
    for kind in [Kind::Proftpd, Kind::Vsftpd] {
        let Some(ground) = Ground::new(kind) else {
            return;
        };
        assert_ne!(ground.read(&pattern(1, LEN)), 0);
        assert_eq!(ground.read(&pattern(1, LEN)), 0, "{kind:?}");
    }
}

#[test]
fn without_the_option_nothing_is_kept() {
    let Some(ground) = Ground::new(Kind::Proftpd) else {
        return;
    };
    let read = |dir: &Path| assert_eq!(fs::read(dir.join("file")).unwrap().len(), LEN);
    assert_ne!(ground.downloads("0", read), 0);
    assert!(!ground.cache_dir.path().join("blocks").exists());
}

// SEMANTICS: S-disk-damage
#[test]
fn a_damaged_byte_is_fetched_again() {
    let Some(ground) = Ground::new(Kind::Proftpd) else {
        return;
    };
    assert_ne!(ground.read(&pattern(1, LEN)), 0);
    let parts = ground.parts();
    let part = parts.first().unwrap();
    let (at, mut byte) = (part.metadata().unwrap().len() / 2, [0]);
    part.read_exact_at(&mut byte, at).unwrap();
    part.write_all_at(&[!byte[0]], at).unwrap();
    assert_ne!(ground.read(&pattern(1, LEN)), 0);
    assert_eq!(ground.read(&pattern(1, LEN)), 0);
}

// SEMANTICS: S-disk-version
#[test]
fn a_file_that_has_changed_is_fetched() {
    let Some(ground) = Ground::new(Kind::Proftpd) else {
        return;
    };
    assert_ne!(ground.read(&pattern(1, LEN)), 0);
    ground.put(&pattern(2, LEN), Duration::from_secs(500));
    assert_ne!(ground.read(&pattern(2, LEN)), 0);
    // Through the mount, with size and time as they were: rsync -t and cp -p can do that.
    ground.downloads("1G", |dir| {
        let modified = fs::metadata(dir.join("file")).unwrap().modified().unwrap();
        let mut file = File::create(dir.join("file")).unwrap();
        file.write_all(&pattern(3, LEN)).unwrap();
        file.set_modified(modified).unwrap();
    });
    assert_ne!(ground.read(&pattern(3, LEN)), 0);
    assert_eq!(ground.read(&pattern(3, LEN)), 0);
}

// SEMANTICS: S-disk-cache
#[test]
fn a_server_cannot_know_where_a_path_is_kept() {
    let Some(ground) = Ground::new(Kind::Proftpd) else {
        return;
    };
    assert_ne!(ground.read(&pattern(1, LEN)), 0);
    let first = ground.names();
    let key = ground.key();
    assert_eq!(fs::metadata(&key).unwrap().mode() & 0o7777, 0o600);
    for damaged in ["", "0123"] {
        fs::write(&key, damaged).unwrap();
        assert_ne!(ground.read(&pattern(1, LEN)), 0, "{damaged:?}");
        assert_eq!(ground.read(&pattern(1, LEN)), 0, "{damaged:?}");
    }
    assert_eq!(ground.names().len(), first.len());
    assert!(ground.names().iter().all(|name| !first.contains(name)));
    // One that can be neither read nor made.
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    assert_ne!(ground.read(&pattern(1, LEN)), 0);
}

// SEMANTICS: S-inodes
#[test]
fn inode_numbers_are_the_same_in_the_next_mount_and_others_elsewhere() {
    let Some(ground) = Ground::new(Kind::Proftpd) else {
        return;
    };
    let number = |mount: &Mount| fs::metadata(mount.path().join("file")).unwrap().ino();
    let mut mount = Mount::of_url(&ground.url, &[]);
    let first = number(&mount);
    mount.again(&ground.url, &[]);
    assert_eq!(number(&mount), first);
    let elsewhere = Mount::of_url(&ground.url, &[]);
    assert_ne!(number(&elsewhere), first);
}

// SEMANTICS: S-disk-full
#[test]
fn programs_notice_nothing_of_a_full_disk() {
    let Some(ground) = Ground::new(Kind::Proftpd) else {
        return;
    };
    let disk = ground.cache_dir.path().join("blocks");
    fs::create_dir(&disk).unwrap();
    let _disk = crate::common::server::SmallDisk::mount(&disk, 1 << 20);
    let (dir, size) = (
        format!("cache-dir={}", ground.cache_dir.path().display()),
        "cache-disk-size=1G",
    );
    let mut mount = Mount::of_url(&ground.url, &[&dir, size]);
    assert!(fs::read(mount.path().join("file")).unwrap() == pattern(1, LEN));
    assert!(mount.unmount());
    let warnings = mount
        .log_text()
        .matches("is off until the next mount")
        .count();
    assert_eq!(warnings, 1, "{}", mount.log_text());
}

// SEMANTICS: S-disk-shared
#[test]
fn a_second_process_goes_without() {
    let Some(ground) = Ground::new(Kind::Proftpd) else {
        return;
    };
    let dir = format!("cache-dir={}", ground.cache_dir.path().display());
    let options = [&*dir, "cache-disk-size=1G"];
    let _first = Mount::of_url(&ground.url, &options);
    let second = Mount::of_url(&ground.url, &options);
    assert!(fs::read(second.path().join("file")).unwrap() == pattern(1, LEN));
    assert!(second.log_text().contains("another ftpfs uses it"));
}
