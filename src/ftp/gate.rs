//! The gate: every command that changes the server is built and sent here, for a [`Permit`], and once.
//!
//! The permit is spent when the session is there, as the command leaves; what it follows from may be too old by then. Whatever fails, nothing
//! is sent a second time from here: that takes another look, which is the caller's. MKD and SITE SYMLINK destroy nothing and need no permit.

use std::{
    net::TcpStream,
    sync::Arc,
    time::{Instant, SystemTime},
};

use chrono::{DateTime, Datelike, Utc};

use super::{
    capabilities::{SetMode, SetTime},
    client::{FtpRemote, unencodable},
    command::DataCommand,
    order,
    pool::{Guard, Use},
    reply::{Failure, Fault, Reply},
    shortcuts::Technique,
    socket::has_ended,
    stat,
    transfer::Transfer,
};
use crate::remote::{
    Evidence, Permit, Phase, RemoteError, RemoteErrorKind, RemotePath, Result, UploadMode,
    gate::Change, late::Late,
};

/// Begins an upload on this session: STOR, APPE, or REST and then STOR. `wanted` says what leaves with it.
pub(super) fn begin_upload(
    guard: Guard,
    permit: Permit,
    mode: UploadMode,
    wanted: DataCommand<'_>,
) -> std::result::Result<Transfer, Failure> {
    let change = mode.change();
    if let Err(expired) = permit.spend(change, Instant::now()) {
        guard.check_in();
        let fault = Fault::new(expired.kind(), "too old");
        return Err(Failure::Broken(change.verb(), fault));
    }
    let verb = match mode {
        UploadMode::Append => "APPE",
        UploadMode::Whole | UploadMode::InPlace | UploadMode::At(_) => "STOR",
    };
    let rest = match mode {
        UploadMode::At(offset) => Some(offset.get()),
        UploadMode::Whole | UploadMode::InPlace | UploadMode::Append => None,
    };
    Transfer::open(
        guard,
        &DataCommand {
            rest,
            verb,
            ..wanted
        },
    )
}

/// RNFR and RNTO, in one write: the second one is refused with the first. Behind them the question what has the old name then, for a server
/// may say yes and do nothing.
pub(super) fn rename(
    remote: &FtpRemote,
    from: &RemotePath,
    to: Permit,
) -> Result<Option<Evidence>> {
    let mut lines = vec![
        remote.line("RNFR ", from)?,
        remote.line("RNTO ", to.path())?,
    ];
    let count = lines.len();
    if remote.pool.host.capabilities.may(Technique::Batch) {
        lines.extend(stat::questions(remote, from)?);
    }
    let asked = Instant::now();
    let sent = send(remote, from, Some((to, Change::Place)), "RNFR", &lines);
    let renamed = sent.and_then(|mut replies| {
        let is_plausible = order::is_plausible(&lines, &replies);
        let answers = replies.split_off(count.min(replies.len()));
        done(from, ["RNFR", "RNTO"], &replies)?;
        Ok(if is_plausible { answers } else { Vec::new() })
    });
    remote.links.forget();
    let answers = renamed.map_err(|error| match error.kind() {
        // Pure-FTPd says 451 to a rename that it does not allow.
        RemoteErrorKind::Failed => error.into_kind(RemoteErrorKind::Refused),
        _ => error,
    })?;
    // An answer that says neither is none.
    let entry = stat::judge(from, &answers).ok();
    Ok(entry.map(|entry| Evidence::reported(from, entry.map(Arc::new), asked, Instant::now())))
}

/// DELE.
pub(super) fn remove_file(remote: &FtpRemote, permit: Permit) -> Result<()> {
    let path = permit.path().clone();
    let lines = [remote.line("DELE ", &path)?];
    let sent = send(
        remote,
        &path,
        Some((permit, Change::Remove)),
        "DELE",
        &lines,
    );
    remote.links.forget();
    done(&path, ["DELE"; 2], &sent?)
}

/// RMD.
pub(super) fn remove_dir(remote: &FtpRemote, permit: Permit) -> Result<()> {
    let path = permit.path().clone();
    let lines = [remote.line("RMD ", &path)?];
    let sent = send(
        remote,
        &path,
        Some((permit, Change::RemoveDir)),
        "RMD",
        &lines,
    );
    done(&path, ["RMD"; 2], &sent?)
}

/// MKD.
pub(super) fn make_dir(remote: &FtpRemote, path: &RemotePath) -> Result<()> {
    let lines = [remote.line("MKD ", path)?];
    done(path, ["MKD"; 2], &send(remote, path, None, "MKD", &lines)?)
}

/// SITE SYMLINK, of a link at `path` that holds `target`.
pub(super) fn make_symlink(remote: &FtpRemote, target: &[u8], path: &RemotePath) -> Result<()> {
    const VERB: &str = "SITE SYMLINK";
    let capabilities = &remote.pool.host.capabilities;
    let full_path = remote.full_path(path)?;
    // ProFTPD takes a relative target for one in the session's directory, and not in that of the link.
    let target = if target.starts_with(b"/") {
        let encoded = remote.names().encode(target);
        encoded.ok_or_else(|| unencodable(path))?.into_owned()
    } else {
        match resolved(path, target) {
            Some(target) => remote.full_path(&target)?,
            None => Vec::new(),
        }
    };
    // ProFTPD splits its arguments at spaces, without any way to quote one.
    let is_sayable = !target.is_empty() && ![&*target, &full_path].concat().contains(&b' ');
    if !capabilities.learnt().has_symlink || !is_sayable {
        return Err(RemoteError::new(RemoteErrorKind::Unsupported, VERB).with_path(path));
    }
    let line = [&b"SITE SYMLINK "[..], &target, b" ", &full_path].concat();
    let sent = send(remote, path, None, VERB, &[line]);
    let made = sent.and_then(|replies| done(path, [VERB; 2], &replies));
    remote.links.forget();
    if matches!(&made, Err(error) if error.kind() == RemoteErrorKind::Unsupported) {
        capabilities.learn(|learnt| learnt.has_symlink = false);
    }
    made
}

/// Sends commands that set mode and time, and questions after them.
pub(super) fn set_attributes(
    remote: &FtpRemote,
    path: &RemotePath,
    permit: Option<Permit>,
    lines: &[Vec<u8>],
) -> Result<Vec<Reply>> {
    let permit = permit.map(|permit| (permit, Change::SetAttributes));
    send(remote, path, permit, "settle", lines)
}

/// The command that sets the mode of what has this path on the server; `None` where there is none.
pub(super) fn mode_line(path: &[u8], mode: u32, way: SetMode) -> Option<Vec<u8>> {
    match way {
        SetMode::SiteChmod => Some(line(&format!("SITE CHMOD {mode:03o} "), path)),
        SetMode::Mff => Some(line(&format!("MFF UNIX.mode=0{mode:03o}; "), path)),
        SetMode::Never => None,
    }
}

/// The command that sets its time.
pub(super) fn time_line(path: &[u8], time: SystemTime, way: SetTime) -> Option<Vec<u8>> {
    let time = DateTime::<Utc>::from(time);
    // Years that the 14 digits of RFC 3659 cannot hold are beyond what any server can be told.
    if !(1..=9999).contains(&time.year()) {
        return None;
    }
    let digits = time.format("%Y%m%d%H%M%S").to_string();
    match way {
        SetTime::Mfmt => Some(line(&format!("MFMT {digits} "), path)),
        SetTime::SiteUtime => Some(line(&format!("SITE UTIME {digits} "), path)),
        SetTime::SiteUtimeFive => {
            let line = line("SITE UTIME ", path);
            Some(
                [
                    line,
                    format!(" {digits} {digits} {digits} UTC").into_bytes(),
                ]
                .concat(),
            )
        }
        SetTime::Mdtm => Some(line(&format!("MDTM {digits} "), path)),
        SetTime::Never => None,
    }
}

fn line(verb: &str, path: &[u8]) -> Vec<u8> {
    [verb.as_bytes(), path].concat()
}

/// Sends commands in one write, once; all replies.
fn send(
    remote: &FtpRemote,
    path: &RemotePath,
    permit: Option<(Permit, Change)>,
    verb: &'static str,
    lines: &[Vec<u8>],
) -> Result<Vec<Reply>> {
    let pool = &remote.pool;
    let guard = pool.check_out(Use::Command, pool.host.deadline());
    let mut guard = guard.map_err(|error| error.with_path(path))?;
    if let Some((permit, change)) = permit
        && let Err(expired) = permit.spend(change, Instant::now())
    {
        guard.check_in();
        return Err(expired);
    }
    let failure = match guard.session().exchange(verb, lines) {
        Ok(replies) if is_in_order(lines, &replies) => {
            guard.check_in_after_commands();
            return Ok(replies);
        }
        Ok(_) => {
            guard.session().give_up();
            let detail = "a reply to another command";
            Failure::Broken(verb, Fault::new(RemoteErrorKind::Protocol, detail))
        }
        Err(failure) => failure,
    };
    let socket = guard.control_socket();
    let is_unheard =
        failure.is_disconnected() && !guard.is_fresh() && !guard.session().has_answered;
    drop(guard);
    if is_unheard {
        // The others may be as dead.
        drop(pool.take_suspects());
    }
    let error = with_late(failure.into_error(path), socket);
    Err(if is_unheard { error.unheard() } else { error })
}

/// Says of a change that got no answer in time that it may still be carried out, until the server ends this control connection.
pub(super) fn with_late(error: RemoteError, socket: Arc<TcpStream>) -> RemoteError {
    let is_under_way = matches!(
        error.kind(),
        RemoteErrorKind::TimedOut(Phase::Reply | Phase::Data)
    );
    if !is_under_way {
        return error;
    }
    error.with_late(Late::new(move || has_ended(&socket)))
}

/// Whether each reply can be that to its command, so that what it says is of that command.
fn is_in_order(lines: &[Vec<u8>], replies: &[Reply]) -> bool {
    lines.iter().zip(replies).all(|(line, reply)| {
        let is_first_half = line.starts_with(b"RNFR ");
        reply.is_refusal() || reply.is_intermediate() == is_first_half
    })
}

/// The first refusal among the replies to commands of which the last one has a verb of its own.
fn done(path: &RemotePath, [first, last]: [&'static str; 2], replies: &[Reply]) -> Result<()> {
    let Some((end, before)) = replies.split_last() else {
        return Ok(());
    };
    let refused_before = before.iter().find(|reply| reply.is_refusal());
    let refused = match refused_before {
        Some(reply) => Some((first, reply)),
        None => Some((last, end)).filter(|(_, reply)| !reply.is_done()),
    };
    match refused {
        Some((verb, reply)) => Err(Failure::Refused(verb, reply.clone()).into_error(path)),
        None => Ok(()),
    }
}

/// Where a relative target leads from the directory of its link, by names alone; `None` for one that leads out of the mounted directory.
fn resolved(link: &RemotePath, target: &[u8]) -> Option<RemotePath> {
    let mut at = link.parent()?;
    for name in target.split(|byte| *byte == b'/') {
        at = match name {
            b"" | b"." => at,
            b".." => at.parent()?,
            name => at.join(name).ok()?,
        };
    }
    Some(at)
}
