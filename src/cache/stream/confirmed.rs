//! A download whose end is believed only where the file was expected to end, or where the server's SIZE agrees.
//!
//! A server, or a box in between, that cuts a data connection off and says 226 all the same would otherwise make a copy
//! succeed that lacks the file's end.

use crate::remote::{Download, Remote, RemoteError, RemoteErrorKind, RemotePath, Reported, Result};

/// A running download, and what it takes to doubt its end.
pub(in crate::cache) struct Confirmed<'a> {
    remote: &'a dyn Remote,
    path: &'a RemotePath,
    download: Box<dyn Download>,
    position: u64,
    /// Where the file, or the range asked for, is expected to end.
    expected: u64,
    /// The version that the file is expected to be.
    version: Reported,
    /// The end of the range asked for.
    limit: Option<u64>,
    /// Where it was cut off last; there again is the end.
    cut_at: Option<u64>,
}

impl<'a> Confirmed<'a> {
    /// Starts to read up to `len` bytes of a file that is expected to be this version.
    pub(in crate::cache) fn open(
        remote: &'a dyn Remote,
        path: &'a RemotePath,
        offset: u64,
        len: Option<u64>,
        version: Reported,
    ) -> Result<Self> {
        let limit = len.map(|len| offset.saturating_add(len));
        Ok(Self {
            remote,
            path,
            download: open(remote, path, offset, limit, version)?,
            position: offset,
            expected: limit.unwrap_or(u64::MAX).min(version.size),
            version,
            limit,
            cut_at: None,
        })
    }

    /// Reads what has arrived; 0 at the end.
    pub(in crate::cache) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let left = self.limit.map(|limit| limit - self.position);
        let left = left.map_or(usize::MAX, |left| {
            usize::try_from(left).unwrap_or(usize::MAX)
        });
        let wanted = buffer.len().min(left);
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
        loop {
            let count = self.download.read(buffer)?.min(buffer.len());
            self.position += count as u64;
            if count > 0 || buffer.is_empty() || self.position >= self.expected {
                return Ok(count);
            }
            let size = match self.remote.report(self.path)?.size {
                Ok(size) => size,
                Err(error) if error.kind() == RemoteErrorKind::Unsupported => None,
                Err(error) => return Err(error),
            };
            // A server that does not tell sizes has to be believed.
            if size.is_none_or(|size| size <= self.position) {
                return Ok(0);
            }
            log::warn!(
                "RETR {}: the server said that it was done at {} of {} bytes",
                self.path,
                self.position,
                size.unwrap_or_default()
            );
            if self.cut_at.replace(self.position) == Some(self.position) {
                let error = RemoteError::new(RemoteErrorKind::Disconnected, "RETR");
                return Err(error
                    .with_path(self.path)
                    .with_source("the server ends the file before its end"));
            }
            let (remote, path) = (self.remote, self.path);
            self.download = open(remote, path, self.position, self.limit, self.version)?;
        }
    }
}

/// Starts a download that ends at `limit`, or with the file where that is expected to end before: a server may refuse a range that
/// goes beyond it.
fn open(
    remote: &dyn Remote,
    path: &RemotePath,
    offset: u64,
    limit: Option<u64>,
    version: Reported,
) -> Result<Box<dyn Download>> {
    let limit = limit.filter(|limit| *limit <= version.size);
    let len = limit.map(|limit| limit.saturating_sub(offset));
    let mut download = remote.open_download(path, offset, len)?;
    download.expect(version);
    Ok(download)
}
