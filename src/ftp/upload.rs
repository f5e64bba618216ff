//! An upload: streamed, or in one go; over only when the server's completion reply was read.

use std::{cell::Cell, io, net::TcpStream, sync::Arc, time::Instant};

use super::{
    client::FtpRemote,
    command::DataCommand,
    gate,
    pool::{Guard, Use},
    reply::{Failure, Fault, Reply},
    settle::Asking,
    shortcuts::{Following, Technique},
    transfer::Transfer,
};
use crate::remote::{
    Attributes, Confirmed, Evidence, Permit, Phase, RemoteError, RemoteErrorKind, RemotePath,
    Result, Settled, Upload, UploadMode, Want,
};

/// The largest content that is sent behind its STOR, or behind TLS's handshake, without waiting for the go-ahead. 64 KiB: what a listening socket's
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
    /// Starts to write, the `first` bytes of the content before the server's go-ahead as far as they may leave then. That was
    /// read when this returns.
    pub(super) fn open(
        remote: &FtpRemote,
        permit: Permit,
        mode: UploadMode,
        first: &[u8],
    ) -> Result<Self> {
        let path = permit.path().clone();
        let full_path = remote.full_path(&path)?;
        // Only what is stored under a name of ours: nobody waits for the others to begin.
        let eager = match mode {
            UploadMode::Whole if permit.want() == Want::Made => first.len().min(EAGER_BYTES_MAX),
            _ => 0,
        };
        let (eager, later) = first.split_at(eager);
        let wanted = DataCommand {
            argument: full_path,
            content: Some(eager).filter(|eager| !eager.is_empty()),
            goes_on: true,
            ..DataCommand::default()
        };
        let socket = Cell::new(None);
        let open = |guard: Guard| {
            socket.set(Some(guard.control_socket()));
            gate::begin_upload(guard, permit, mode, wanted)
        };
        let opened = remote.pool.once(Use::Transfer, &path, open);
        let transfer = opened.map_err(|error| with_late(error, socket.take()))?;
        let mut upload = Self {
            path,
            verb: mode.change().verb(),
            transfer: Some(transfer),
        };
        if !later.is_empty() {
            upload.write_all(later)?;
        }
        Ok(upload)
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
            Err(error) => {
                let socket = transfer.control_socket();
                let failed = reason(self.verb, transfer, &error).into_error(&self.path);
                Err(gate::with_late(failed.begun(), socket))
            }
        }
    }

    fn finish(mut self: Box<Self>) -> Result<Evidence> {
        let Some(transfer) = self.transfer.take() else {
            return Err(self.over());
        };
        let socket = transfer.control_socket();
        let ended = transfer
            .finish_upload()
            .and_then(|end| complete(self.verb, end));
        ended.map_err(|failure| gate::with_late(failure.into_error(&self.path).begun(), socket))?;
        Ok(Evidence::confirmed(&self.path, Instant::now()))
    }
}

/// Uploads a whole file, its bytes right behind the STOR when they are few. Then what settles the file leaves in one write with
/// the STOR, on a server that works on one command after the other.
pub(super) fn put(
    remote: &FtpRemote,
    permit: Permit,
    data: &[u8],
    attributes: &Attributes,
) -> Result<Confirmed> {
    let path = permit.path().clone();
    let may_settle = matches!(permit.want(), Want::Absent | Want::Made);
    assert!(
        may_settle || attributes.is_empty(),
        "mode and time of {path} could reach another file"
    );
    let wanted = DataCommand {
        argument: remote.full_path(&path)?,
        ..DataCommand::default()
    };
    let capabilities = &remote.pool.host.capabilities;
    let is_eager = data.len() <= EAGER_BYTES_MAX;
    let has_begun = Cell::new(false);
    let begin = |guard, wanted: DataCommand<'_>| {
        let transfer = gate::begin_upload(guard, permit, UploadMode::Whole, wanted)?;
        has_begun.set(true);
        Ok(transfer)
    };
    let socket = Cell::new(None);
    let settled = remote.pool.once(Use::Transfer, &path, |guard| {
        socket.set(Some(guard.control_socket()));
        let wanted = DataCommand {
            content: is_eager.then_some(data),
            ..wanted
        };
        if let Some(following) = capabilities.following().filter(|_| is_eager) {
            let asking = Asking::new(remote, &path, attributes);
            let asking = asking.map_err(|error| {
                Failure::Broken("STOR", Fault::new(error.kind(), error.to_string()))
            })?;
            return put_and_settle(guard, asking, wanted, following, begin);
        }
        let mut transfer = begin(guard, wanted)?;
        if !is_eager && let Err(error) = transfer.write_all(data) {
            return Err(reason("STOR", transfer, &error));
        }
        complete("STOR", transfer.finish_upload()?)?;
        Ok(None)
    });
    let settled = settled.map_err(|error| {
        let error = with_late(error, socket.take());
        if has_begun.get() {
            error.begun()
        } else {
            error
        }
    })?;
    let told = settled
        .as_ref()
        .and_then(|settled| settled.report.size.as_ref().ok().copied().flatten());
    let is_right = told.is_none_or(|told| told == data.len() as u64);
    if !is_right {
        log::info!("{path}: the server tells another size; it is asked once more, alone");
        capabilities.give_up(Technique::Follow);
        capabilities.give_up(Technique::FollowEnd);
    }
    Ok(Confirmed {
        evidence: Evidence::confirmed(&path, Instant::now()),
        settled: settled.filter(|_| is_right),
    })
}

/// See [`gate::with_late`]; without a session nothing was sent.
fn with_late(error: RemoteError, socket: Option<Arc<TcpStream>>) -> RemoteError {
    match socket {
        Some(socket) => gate::with_late(error, socket),
        None => error,
    }
}

/// STOR and what settles the file, without a wait in between; then all replies. `None` when they prove nothing: pyftpdlib answers
/// SIZE while the data arrives.
fn put_and_settle(
    guard: Guard,
    mut asking: Asking<'_>,
    wanted: DataCommand<'_>,
    following: Following,
    begin: impl FnOnce(Guard, DataCommand<'_>) -> std::result::Result<Transfer, Failure>,
) -> std::result::Result<Option<Settled>, Failure> {
    let pool = Arc::clone(guard.pool());
    let capabilities = &pool.host.capabilities;
    let is_proven = capabilities.is_proven(following.technique());
    let followers = asking.lines();
    let wanted = DataCommand {
        followers: followers.clone(),
        following,
        asks_next: capabilities.may_ask_with_transfer(),
        ..wanted
    };
    let transfer = begin(guard, wanted)?;
    let (last, mut guard) = transfer.finish_upload()?;
    let replies = match guard.session().read_followers() {
        Ok(replies) => replies,
        // The file is there; what is left is asked for on another session.
        Err(_) if last.is_done() && !is_proven => {
            return Ok(None);
        }
        Err(fault) => return Err(Failure::Broken("STOR", fault)),
    };
    if !is_in_order(&last, &followers, &replies) {
        log::debug!("{}: replies overtook an upload", guard.session().number());
        guard.check_in_warm();
        let mut all = replies.iter().chain([&last]);
        if all.clone().any(|reply| reply.code() == 226) {
            capabilities.note_overtaken(following);
            return Ok(None);
        }
        // Its codes do not tell an upload's end from an answer; but when all say yes, that to the upload does.
        capabilities.give_up(following.technique());
        if all.all(Reply::is_done) {
            return Ok(None);
        }
        let fault = Fault::new(RemoteErrorKind::Disconnected, "replies out of order");
        return Err(Failure::Broken("STOR", fault));
    }
    guard.check_in_warm();
    if following == Following::End && !is_proven && last.code() / 100 == 4 {
        log::info!("the server may not take commands while an upload runs: {last}");
        capabilities.give_up(following.technique());
    }
    done_or_refused("STOR", last)?;
    capabilities.prove_following(following);
    // What has to be tried another way is for a settling of its own.
    Ok(asking.judge(replies).ok().flatten())
}

/// Whether the upload was over before the commands behind it were answered, as far as the codes tell.
fn is_in_order(last: &Reply, followers: &[Vec<u8>], replies: &[Reply]) -> bool {
    let ends_upload = matches!(last.code(), 226 | 250) || last.is_refusal();
    let mut answered = followers.iter().zip(replies);
    ends_upload
        && answered.all(|(line, reply)| {
            let tells = [&b"SIZE "[..], b"MDTM /"];
            let is_asking = tells.iter().any(|verb| line.starts_with(verb));
            let is_answer = reply.code() == 213 || !is_asking && reply.is_done();
            reply.code() != 226 && (is_answer || reply.is_refusal())
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

/// Gives the session back as it is: what settles the file asks for the next data connection, in one round trip with it.
fn complete(
    verb: &'static str,
    (reply, guard): (Reply, Guard),
) -> std::result::Result<(), Failure> {
    guard.check_in();
    done_or_refused(verb, reply)
}

/// Only 2yz is success.
fn done_or_refused(verb: &'static str, reply: Reply) -> std::result::Result<(), Failure> {
    if reply.is_done() {
        Ok(())
    } else {
        Err(Failure::Refused(verb, reply))
    }
}
