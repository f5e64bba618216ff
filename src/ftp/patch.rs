//! Whether REST + STOR keeps the bytes around the written range: three different things on three servers.
//!
//! vsftpd patches, `ProFTPD` does where two directives allow it, Pure-FTPd truncates, `LightFTP` ignores REST. So it is
//! tried once, on a scratch file of ours.

use std::num::NonZeroU64;

use super::{client::FtpRemote, download::FileDownload, upload};
use crate::remote::{
    Download, Remote, RemoteErrorKind, RemotePath, Result, Upload, UploadMode, fresh_bits,
};

const BEFORE: &[u8] = b"0123456789abcdef";
const PATCH: &[u8] = b"WXYZ";
const OFFSET: NonZeroU64 = NonZeroU64::new(4).expect("four is not zero");
const AFTER: &[u8] = b"0123WXYZ89abcdef";

/// Tries it in `dir`. `None` when the trial itself could not be made, so that nothing was learnt.
pub(super) fn probe(remote: &FtpRemote, dir: &RemotePath) -> Option<bool> {
    let name = format!(".ftpfs-probe-{}", fresh_bits()?);
    let path = dir.join(name.as_bytes()).ok()?;
    let outcome = try_patch(remote, &path);
    if let Err(error) = remote.remove_file(&path) {
        log::warn!("the scratch file {path} could not be removed: {error}");
    }
    match outcome {
        Ok(keeps) => Some(keeps),
        Err(error) => {
            log::debug!("no patches: {error}");
            let says_no = matches!(
                error.kind(),
                RemoteErrorKind::Refused | RemoteErrorKind::Unsupported | RemoteErrorKind::Failed
            );
            says_no.then_some(false)
        }
    }
}

fn try_patch(remote: &FtpRemote, path: &RemotePath) -> Result<bool> {
    let full_path = remote.full_path(path)?;
    let before = upload::FileUpload::open(
        &remote.pool,
        path,
        full_path.clone(),
        UploadMode::Replace,
        BEFORE,
    )?;
    Box::new(before).finish()?;
    let mode = UploadMode::At(OFFSET);
    let mut patch = upload::FileUpload::open(&remote.pool, path, full_path.clone(), mode, &[])?;
    patch.write_all(PATCH)?;
    Box::new(patch).finish()?;
    let mut download =
        FileDownload::open(&remote.pool, path, full_path, 0, Some(AFTER.len() as u64))?;
    // What does not keep the rest is shorter or begins otherwise, so the end need not be seen.
    let mut content = Vec::new();
    let mut buffer = [0; 64];
    loop {
        match download.read(&mut buffer)? {
            0 => return Ok(content == AFTER),
            count => content.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
}
