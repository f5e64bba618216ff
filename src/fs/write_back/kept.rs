//! The copy of an unsent file that stays on this machine when its mount ends, or when the server will never take it.

use std::{
    fmt::{self, Write as _},
    fs::File,
    io::{self, Write as _},
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{
    fs::{file::OpenFile, inode::Inodes, ranges::RangeSet, streaming::CHUNK_BYTES},
    local,
    remote::RemotePath,
};

/// The longest part of a file's own name in that of its copy: the rest of the 255 bytes is for what makes it unique.
const NAME_CHARS_MAX: usize = 150;

/// Where the bytes of an unsent file lie now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The file's bytes at their offsets; holes where only the server has them.
    pub copy: PathBuf,
    /// Where there are such holes: the list of what is no hole.
    pub ranges: Option<PathBuf>,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.copy.display())?;
        match &self.ranges {
            Some(ranges) => write!(f, ", as far as {} lists them", ranges.display()),
            None => Ok(()),
        }
    }
}

/// A piece of a file on its way into the copy.
enum Piece {
    Bytes(u64, Vec<u8>),
    OnServer(Range<u64>),
}

/// Writes what is here of a file below the spool directory.
pub(super) fn keep(
    spool_dir: &Path,
    file: &OpenFile,
    path: Option<&RemotePath>,
) -> io::Result<Kept> {
    let dir = spool_dir.join("unsent");
    local::private_dir(&dir)?;
    let copy = dir.join(copy_name(path));
    let target = create(&copy)?;
    let mut local = RangeSet::default();
    let mut at = 0;
    while let Some(piece) = next_piece(file, at)? {
        match piece {
            Piece::Bytes(start, bytes) => {
                // Zeros need no room: a hole reads the same.
                if bytes.iter().any(|byte| *byte != 0) {
                    target.write_all_at(&bytes, start)?;
                }
                at = start + bytes.len() as u64;
                local.insert(start..at);
            }
            Piece::OnServer(range) => at = range.end,
        }
    }
    target.set_len(at)?;
    target.sync_all()?;
    let is_whole = local.covers(0..at);
    let ranges = (!is_whole).then(|| list_ranges(&copy, path, &local));
    Ok(Kept {
        copy,
        ranges: ranges.transpose()?,
    })
}

/// What comes at `at`; `None` at the end. The file's lock is held for one piece only: the kernel's event loops take it too.
fn next_piece(file: &OpenFile, at: u64) -> io::Result<Option<Piece>> {
    let state = file.lock();
    let Some(spool) = state.changes().spool().filter(|spool| at < spool.len()) else {
        return Ok(None);
    };
    let (run, is_local) = spool.run_at(at..spool.len());
    if !is_local {
        return Ok(Some(Piece::OnServer(run)));
    }
    let count = usize::try_from(run.end - run.start).unwrap_or(CHUNK_BYTES);
    let mut bytes = vec![0; count.min(CHUNK_BYTES)];
    spool.read(at, &mut bytes)?;
    Ok(Some(Piece::Bytes(at, bytes)))
}

/// Says beside the copy which of its bytes are real, so that the holes are not put over the server's file.
fn list_ranges(copy: &Path, path: Option<&RemotePath>, local: &RangeSet) -> io::Result<PathBuf> {
    let mut name = copy.as_os_str().to_owned();
    name.push(".ranges");
    let list = PathBuf::from(name);
    let name = Inodes::describe_path(path);
    let mut text = format!(
        "# {name}\n\
         # Only these ranges (offset, length in bytes) were written here; the rest of the copy is holes, and the server has the bytes.\n\
         # To put one into place: dd if=COPY of=FILE iflag=skip_bytes,count_bytes oflag=seek_bytes skip=OFFSET seek=OFFSET \
         count=LENGTH conv=notrunc\n"
    );
    for range in local.iter() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} {}", range.start, range.end - range.start);
    }
    let mut target = create(&list)?;
    target.write_all(text.as_bytes())?;
    target.sync_all()?;
    Ok(list)
}

fn create(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn copy_name(path: Option<&RemotePath>) -> String {
    let name = path.and_then(RemotePath::name).unwrap_or(b"file");
    let name = name.escape_ascii().to_string();
    let name: String = name
        .replace(['/', '\\'], "_")
        .chars()
        .take(NAME_CHARS_MAX)
        .collect();
    format!("{}-{:08x}-{name}", std::process::id(), fastrand::u32(..))
}
