//! Setting a file's mode and time, and reading back size and time, in one exchange.
//!
//! Which command sets what is learnt once: the first that FEAT or the server's make suggests, and the next one whenever a
//! server does not know it.

use std::time::SystemTime;

use chrono::{DateTime, Datelike, Utc};

use super::{
    FtpRemote,
    capabilities::{Learnt, SetMode, SetTime},
    reply::Reply,
    stat::{mdtm_time, size_of},
};
use crate::remote::{
    Attributes, Modified, RemoteError, RemoteErrorKind, RemotePath, Result, Settled,
};

/// Sets what is wanted of `path` and reports what the server sees afterwards.
pub(super) fn settle(
    remote: &FtpRemote,
    path: &RemotePath,
    attributes: &Attributes,
) -> Result<Settled> {
    let mut mode = Step::of(attributes.mode.is_some());
    let mut time = Step::of(attributes.modified.is_some());
    let full_path = remote.full_path(path)?;
    loop {
        let learnt = remote.pool.host.capabilities.learnt();
        let mode_line = attributes
            .mode
            .filter(|_| mode.is_open())
            .and_then(|bits| mode_line(&full_path, bits, learnt.set_mode));
        let time_line = attributes
            .modified
            .filter(|_| time.is_open())
            .and_then(|at| time_line(&full_path, at, learnt.set_time));
        if mode.is_open() && mode_line.is_none() {
            mode = Step::Over(Err(unsupported("SITE CHMOD", path)));
        }
        if time.is_open() && time_line.is_none() {
            time = Step::Over(Err(unsupported("MFMT", path)));
        }
        let lines: Vec<_> = mode_line
            .iter()
            .chain(&time_line)
            .cloned()
            .chain(["SIZE ", "MDTM "].map(|verb| line(verb, &full_path)))
            .collect();
        let mut replies = remote.repeatable(path, "settle", &lines)?.into_iter();
        let mode_reply = mode_line.and_then(|_| replies.next());
        let time_reply = time_line.and_then(|_| replies.next());
        let (Some(size_reply), Some(mdtm_reply)) = (replies.next(), replies.next()) else {
            return Err(RemoteError::new(RemoteErrorKind::Protocol, "settle").with_path(path));
        };
        let seen_modified = mdtm_time(&mdtm_reply);
        if let Some(reply) = mode_reply {
            mode = judge_mode(remote, path, &reply, learnt);
        }
        if let (Some(reply), Some(wanted)) = (time_reply, attributes.modified) {
            time = judge_time(remote, path, &reply, learnt, wanted.into(), seen_modified);
        }
        if let (Step::Over(mode), Step::Over(modified)) = (&mode, &time) {
            return Ok(Settled {
                mode: mode.clone(),
                modified: modified.clone(),
                size: told_size(&size_reply, path),
                seen_modified,
            });
        }
    }
}

/// Where setting one attribute stands.
enum Step {
    /// Still to be tried, by the way that is now believed in.
    Open,
    /// Done or failed for good.
    Over(Result<()>),
}

impl Step {
    fn of(is_wanted: bool) -> Self {
        if is_wanted {
            Self::Open
        } else {
            Self::Over(Ok(()))
        }
    }

    fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }
}

fn line(verb: &str, path: &[u8]) -> Vec<u8> {
    [verb.as_bytes(), path].concat()
}

fn mode_line(path: &[u8], mode: u32, way: SetMode) -> Option<Vec<u8>> {
    match way {
        SetMode::SiteChmod => Some(line(&format!("SITE CHMOD {mode:03o} "), path)),
        SetMode::Mff => Some(line(&format!("MFF UNIX.mode=0{mode:03o}; "), path)),
        SetMode::Never => None,
    }
}

fn time_line(path: &[u8], time: SystemTime, way: SetTime) -> Option<Vec<u8>> {
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

fn judge_mode(remote: &FtpRemote, path: &RemotePath, reply: &Reply, used: Learnt) -> Step {
    let verb = if used.set_mode == SetMode::Mff {
        "MFF"
    } else {
        "SITE CHMOD"
    };
    if reply.is_unknown_command() {
        let capabilities = &remote.pool.host.capabilities;
        let offers_mff = capabilities
            .features()
            .is_some_and(|told| told.offers_word("MFF", "UNIX.mode"));
        let next = match used.set_mode {
            SetMode::SiteChmod if offers_mff => SetMode::Mff,
            _ => SetMode::Never,
        };
        log::info!("the server does not know {verb} ({reply})");
        capabilities.learn(|learnt| learnt.set_mode = next);
        return Step::Open;
    }
    Step::Over(done_or(reply, verb, path))
}

fn judge_time(
    remote: &FtpRemote,
    path: &RemotePath,
    reply: &Reply,
    used: Learnt,
    wanted: Modified,
    seen: Option<Modified>,
) -> Step {
    let (verb, next) = match used.set_time {
        SetTime::Mfmt => ("MFMT", SetTime::SiteUtime),
        SetTime::SiteUtime => ("SITE UTIME", SetTime::SiteUtimeFive),
        SetTime::SiteUtimeFive => ("SITE UTIME", SetTime::Mdtm),
        SetTime::Mdtm | SetTime::Never => ("MDTM", SetTime::Never),
    };
    let capabilities = &remote.pool.host.capabilities;
    // "MDTM time path" asks a server that cannot set times for the time of a file called "time path".
    let is_taken = reply.is_done()
        && (used.set_time != SetTime::Mdtm || seen.is_none_or(|it| it.seconds == wanted.seconds));
    if is_taken {
        capabilities.learn(|learnt| learnt.is_set_time_proven = true);
        return Step::Over(Ok(()));
    }
    // 501 comes from servers that know the command in another form.
    let is_unknown = reply.is_unknown_command() || reply.code() == 501;
    let is_misunderstood = used.set_time == SetTime::Mdtm && seen.is_some();
    if !used.is_set_time_proven && (is_unknown || is_misunderstood) {
        log::debug!("the server does not know this {verb} ({reply})");
        capabilities.learn(|learnt| learnt.set_time = next);
        return Step::Open;
    }
    // Done, and yet the time is another one.
    let is_lie = reply.is_done();
    Step::Over(if is_lie {
        Err(unsupported(verb, path))
    } else {
        done_or(reply, verb, path)
    })
}

fn done_or(reply: &Reply, verb: &'static str, path: &RemotePath) -> Result<()> {
    if reply.is_done() {
        Ok(())
    } else {
        Err(reply.to_error(verb).with_path(path))
    }
}

/// The size, if the server knows SIZE at all. A refusal is an error: nothing is there, or a directory.
fn told_size(reply: &Reply, path: &RemotePath) -> Result<Option<u64>> {
    match reply.kind() {
        _ if reply.is_done() => Ok(size_of(reply)),
        RemoteErrorKind::Unsupported => Ok(None),
        _ => Err(reply.to_error("SIZE").with_path(path)),
    }
}

fn unsupported(verb: &'static str, path: &RemotePath) -> RemoteError {
    RemoteError::new(RemoteErrorKind::Unsupported, verb).with_path(path)
}
