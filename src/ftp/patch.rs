//! Whether REST + STOR keeps the bytes around the written range: three different things on three servers.
//!
//! vsftpd patches, `ProFTPD` does where two directives allow it, Pure-FTPd truncates, `LightFTP` ignores REST. So it is
//! tried once, on a scratch file of ours.

use std::num::NonZeroU64;

use super::client::FtpRemote;
use crate::remote::{MadeName, Remote, RemoteErrorKind, RemotePath, Result, UploadMode};

/// How the names of scratch files begin.
const PREFIX: &str = ".ftpfs-probe";
const BEFORE: &[u8] = b"0123456789abcdef";
const PATCH: &[u8] = b"WXYZ";
const OFFSET: NonZeroU64 = NonZeroU64::new(4).expect("four is not zero");
const AFTER: &[u8] = b"0123WXYZ89abcdef";

/// Tries it in `dir`. `None` when the trial itself could not be made, so that nothing was learnt.
pub(super) fn probe(remote: &FtpRemote, dir: &RemotePath) -> Option<bool> {
    let made = MadeName::fresh(dir, PREFIX)?;
    let outcome = try_patch(remote, &made);
    if let Err(error) = remote.remove_file(made.permit()) {
        let path = made.path();
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

fn try_patch(remote: &FtpRemote, made: &MadeName) -> Result<bool> {
    let before = remote.open_upload_with(made.permit(), UploadMode::Whole, BEFORE)?;
    before.finish()?;
    let mut patch = remote.open_upload(made.permit(), UploadMode::At(OFFSET))?;
    patch.write_all(PATCH)?;
    patch.finish()?;
    let mut download = remote.open_download(made.path(), 0, Some(AFTER.len() as u64))?;
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
