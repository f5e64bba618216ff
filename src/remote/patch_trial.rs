//! Whether REST + STOR keeps the bytes around the written range, tried on a scratch file.
//!
//! vsftpd keeps them, `ProFTPD` does where two directives allow it, Pure-FTPd cuts the file off, `LightFTP` ignores REST. So it is tried
//! before it is relied on.

use std::num::NonZeroU64;

use super::{MadeName, Remote, RemoteErrorKind, Result, UploadMode};

const BEFORE: &[u8] = b"0123456789abcdef";
const PATCH: &[u8] = b"WXYZ";
const OFFSET: NonZeroU64 = NonZeroU64::new(4).expect("four is not zero");
const AFTER: &[u8] = b"0123WXYZ89abcdef";

/// Tries it on a file of this name, which the caller removes.
///
/// # Errors
///
/// The trial itself failed, so that nothing was learnt; what was sent may still be carried out ([`super::RemoteError::late`]).
pub fn keeps_rest(remote: &dyn Remote, made: &MadeName) -> Result<bool> {
    try_patch(remote, made).or_else(|error| {
        log::debug!("no writing into the middle of files: {error}");
        match error.kind() {
            RemoteErrorKind::Refused | RemoteErrorKind::Unsupported | RemoteErrorKind::Failed => {
                Ok(false)
            }
            _ => Err(error),
        }
    })
}

fn try_patch(remote: &dyn Remote, made: &MadeName) -> Result<bool> {
    // After the go-ahead: pyftpdlib drops a data connection on which bytes come before it has read STOR.
    let mut before = remote.open_upload(made.permit(), UploadMode::Whole)?;
    before.write_all(BEFORE)?;
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
