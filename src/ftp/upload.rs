//! An upload: streamed, or in one go; over only when the server's completion reply was read.

use std::{io, sync::Arc};

use super::{
    pool::{Guard, Pool, Use},
    reply::{Failure, Fault, Reply},
    session::DataCommand,
    transfer::Transfer,
};
use crate::remote::{Phase, RemoteError, RemoteErrorKind, RemotePath, Result, Upload, UploadMode};

/// The largest content that is sent behind its STOR without waiting for the go-ahead. 64 KiB: what a listening socket's
/// first window takes, so that a server that refuses the STOR and never reads leaves nobody waiting.
pub(super) const EAGER_BYTES_MAX: usize = 64 << 10;

/// One upload under way.
#[derive(Debug)]
pub(super) struct FileUpload {
    path: RemotePath,
    verb: &'static str,
    /// None once it has failed.
    transfer: Option<Transfer>,
}

impl FileUpload {
    /// Starts to write. The server's go-ahead was read when this returns. No byte has been sent yet, so a dead session is
    /// replaced.
    pub(super) fn open(
        pool: &Arc<Pool>,
        path: &RemotePath,
        full_path: Vec<u8>,
        mode: UploadMode,
    ) -> Result<Self> {
        let (verb, rest) = match mode {
            UploadMode::Replace => ("STOR", None),
            UploadMode::Append => ("APPE", None),
            UploadMode::At(offset) => ("STOR", Some(offset)),
        };
        let wanted = DataCommand {
            rest,
            verb,
            argument: full_path,
            ..DataCommand::default()
        };
        let transfer =
            pool.with_session(Use::Transfer, path, |guard| Transfer::open(guard, &wanted))?;
        Ok(Self {
            path: path.clone(),
            verb,
            transfer: Some(transfer),
        })
    }

    fn over(&self) -> RemoteError {
        RemoteError::new(RemoteErrorKind::Disconnected, self.verb)
            .with_path(&self.path)
            .with_source("the upload has failed before")
    }
}

impl Upload for FileUpload {
    fn write_all(&mut self, data: &[u8]) -> Result<()> {
        let Some(mut transfer) = self.transfer.take() else {
            return Err(self.over());
        };
        match transfer.write_all(data) {
            Ok(()) => {
                self.transfer = Some(transfer);
                Ok(())
            }
            Err(error) => Err(reason(self.verb, transfer, &error).into_error(&self.path)),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let Some(transfer) = self.transfer.take() else {
            return Err(self.over());
        };
        let ended = transfer
            .finish_upload()
            .and_then(|end| complete(self.verb, end));
        ended.map_err(|failure| failure.into_error(&self.path))
    }
}

/// Uploads a whole file, its bytes right behind the STOR when they are few.
pub(super) fn put(
    pool: &Arc<Pool>,
    path: &RemotePath,
    full_path: Vec<u8>,
    data: &[u8],
) -> Result<()> {
    let wanted = DataCommand {
        verb: "STOR",
        argument: full_path,
        ..DataCommand::default()
    };
    // Repeated as a whole when the connection breaks: the second one replaces what came of the first.
    pool.with_session(Use::Transfer, path, |mut guard| {
        // Under TLS the server has to answer first.
        let is_eager = data.len() <= EAGER_BYTES_MAX && !guard.session().is_protected();
        let wanted = DataCommand {
            content: is_eager.then_some(data),
            ..wanted.clone()
        };
        let mut transfer = Transfer::open(guard, &wanted)?;
        if !is_eager && let Err(error) = transfer.write_all(data) {
            return Err(reason("STOR", transfer, &error));
        }
        complete("STOR", transfer.finish_upload()?)
    })
}

/// Why the server has stopped reading: its reply says more than the broken pipe does.
fn reason(verb: &'static str, transfer: Transfer, error: &io::Error) -> Failure {
    let fault = Fault::from_io(error, Phase::Data);
    if matches!(fault.kind, RemoteErrorKind::TimedOut(_)) {
        transfer.discard();
        return Failure::Broken(verb, fault);
    }
    match transfer.finish() {
        Ok((reply, guard)) if reply.is_refusal() => {
            guard.check_in_warm();
            Failure::Refused(verb, reply)
        }
        _ => Failure::Broken(verb, fault),
    }
}

/// Only 2yz is success.
fn complete(
    verb: &'static str,
    (reply, guard): (Reply, Guard),
) -> std::result::Result<(), Failure> {
    guard.check_in_warm();
    if reply.is_done() {
        Ok(())
    } else {
        Err(Failure::Refused(verb, reply))
    }
}
