//! How fast the read engine hands out a file that a server in memory delivers as fast as it is asked.
//!
//! `cargo bench --bench reader [-- READ_KIB [GIB]]`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{env, sync::Arc, time::Instant};

use ftpfs::{
    budget::Budget,
    cache::{Cursor, FileId, ReadEngine, Reader, Version},
    clock::SystemClock,
    config::CacheConfig,
    remote::{
        Attributes, Confirmed, Download, Evidence, Listing, Permit, Remote, RemoteEntry,
        RemoteError, RemoteErrorKind, RemotePath, Report, Result, Settled, Upload, UploadMode,
    },
};

/// A server with one file of this length, and no listings.
#[derive(Debug)]
struct Endless(u64, Arc<Budget>);

/// What is left of a download; each read copies out of a buffer, as a socket would.
#[derive(Debug)]
struct Copying(u64, Arc<Vec<u8>>);

impl Download for Copying {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = buffer
            .len()
            .min(self.1.len())
            .min(usize::try_from(self.0).unwrap_or(usize::MAX));
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), self.1.get(..count)) {
            to.copy_from_slice(from);
        }
        self.0 -= count as u64;
        Ok(count)
    }
}

fn unsupported<T>() -> Result<T> {
    Err(RemoteError::new(RemoteErrorKind::Unsupported, "BENCH"))
}

impl Remote for Endless {
    fn listing_budget(&self) -> &Arc<Budget> {
        &self.1
    }

    fn ahead(&self, work: &mut dyn FnMut(&dyn Remote)) -> bool {
        work(self);
        true
    }

    fn open_download(
        &self,
        _: &RemotePath,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Box<dyn Download>> {
        let rest = self.0.saturating_sub(offset);
        Ok(Box::new(Copying(
            len.map_or(rest, |len| len.min(rest)),
            Arc::new(vec![1; 256 << 10]),
        )))
    }

    fn list(&self, _: &RemotePath) -> Result<Listing> {
        unsupported()
    }

    fn stat(&self, _: &RemotePath) -> Result<Option<RemoteEntry>> {
        unsupported()
    }

    fn report(&self, _: &RemotePath) -> Result<Report> {
        unsupported()
    }

    fn open_upload_with(&self, _: Permit, _: UploadMode, _: &[u8]) -> Result<Box<dyn Upload>> {
        unsupported()
    }

    fn put(&self, _: Permit, _: &[u8], _: &Attributes) -> Result<Confirmed> {
        unsupported()
    }

    fn settle(&self, _: Permit, _: &Attributes) -> Result<Settled> {
        unsupported()
    }

    fn rename(&self, _: &RemotePath, _: Permit) -> Result<Option<Evidence>> {
        unsupported()
    }

    fn remove_file(&self, _: Permit) -> Result<()> {
        unsupported()
    }

    fn make_dir(&self, _: &RemotePath) -> Result<()> {
        unsupported()
    }

    fn remove_dir(&self, _: Permit) -> Result<()> {
        unsupported()
    }

    fn make_symlink(&self, _: &[u8], _: &RemotePath) -> Result<()> {
        unsupported()
    }

    fn read_link(&self, path: &RemotePath) -> Result<Box<[u8]>> {
        Err(RemoteError::new(RemoteErrorKind::Unsupported, "LIST").with_path(path))
    }

    fn space(&self, _: &RemotePath) -> Result<Option<u64>> {
        unsupported()
    }
}

fn run(cache_mib: usize, read_kib: usize, bytes: u64) {
    let config = CacheConfig {
        bytes_max: cache_mib << 20,
        ..CacheConfig::default()
    };
    let engine = Arc::new(ReadEngine::new(
        Arc::new(Endless(bytes, Budget::new(0))),
        &config,
        7,
        Arc::new(SystemClock),
    ));
    let version = Version {
        size: bytes,
        modified: None,
        epoch: 0,
    };
    let reader = Reader::new(&engine, FileId(1), RemotePath::root(), version);
    let cursor = Cursor::new(&engine);
    let started = Instant::now();
    let (mut offset, mut waits) = (0, 0_u64);
    while offset < bytes {
        let len = read_kib << 10;
        let got = reader.read_cached(&cursor, offset, len).or_else(|| {
            waits += 1;
            reader.read(&cursor, offset, len).ok()
        });
        offset += got.map_or(bytes, |got| got.len() as u64);
    }
    let seconds = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure for the eye")]
    let rate = bytes as f64 / seconds / 1e9;
    println!(
        "cache {cache_mib:>4} MiB, reads of {read_kib:>4} KiB: {rate:>6.2} GB/s, {waits} waits"
    );
    engine.shutdown();
}

/// What a file costs that is opened, read whole by one read, and closed.
fn run_small(files: u64) {
    let size = 4 << 10;
    let remote = Arc::new(Endless(size, Budget::new(0)));
    let config = CacheConfig::default();
    let engine = Arc::new(ReadEngine::new(remote, &config, 7, Arc::new(SystemClock)));
    let version = Version {
        size,
        modified: None,
        epoch: 0,
    };
    let started = Instant::now();
    let mut bytes = 0;
    for file in 0..files {
        let reader = Reader::new(&engine, FileId(file), RemotePath::root(), version);
        bytes += reader
            .read(&Cursor::new(&engine), 0, 4 << 10)
            .map_or(0, |got| got.len());
        reader.close();
    }
    let each = started.elapsed() / u32::try_from(files).unwrap_or(1);
    println!("{files} files of 4 KiB: {each:?} each, {bytes} bytes");
    engine.shutdown();
}

fn main() {
    run_small(20_000);
    let mut arguments = env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok());
    let only = arguments.next();
    let bytes = arguments
        .next()
        .map_or(4 << 30, |gib: usize| (gib as u64) << 30);
    for read_kib in only.map_or_else(|| vec![4, 64, 128, 256, 1024], |kib| vec![kib]) {
        for cache_mib in [4, 16, 64] {
            run(cache_mib, read_kib, bytes);
        }
    }
}
