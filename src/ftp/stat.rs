//! Looking one path up: MLST where there is one, else SIZE, MDTM and CWD in one exchange.

use std::{sync::Arc, time::Duration};

use super::{
    client::{FtpRemote, Patience},
    listing, order,
    pool::{Sessions, Use},
    reply::Reply,
    values::{mdtm_time, size_of},
};
use crate::remote::{
    EntryKind, Phase, RemoteEntry, RemoteError, RemoteErrorKind, RemotePath, Reported, Result,
};

/// The name of an entry that has none: that of the mounted directory itself.
const ROOT_NAME: &[u8] = b"/";

/// How long the first answers to MLST are waited for. 5 s: uftpd 2.13 offers it and never answers; a program should not wait
/// the whole timeout to learn that, and a slow line has answered.
const UNPROVEN_WAIT: Duration = Duration::from_secs(5);

/// Looks `path` up. The entry's name is the path's last component, `/` for the root.
pub(super) fn stat(remote: &FtpRemote, path: &RemotePath) -> Result<Option<RemoteEntry>> {
    // Nothing is there that the server has no name for.
    if remote.names().encode(path.as_bytes()).is_none() {
        return Ok(None);
    }
    let capabilities = &remote.pool.host.capabilities;
    if !capabilities.learnt().has_mlst {
        return by_size(remote, path);
    }
    let is_proven = capabilities.learnt().is_mlst_proven;
    let patience = if is_proven {
        Patience::Usual
    } else {
        Patience::AtMost(UNPROVEN_WAIT)
    };
    let lines = [remote.line("MLST ", path)?];
    let reply = match remote.ask_with(path, "MLST", &lines, patience) {
        Ok(mut replies) => replies.pop(),
        Err(error) => {
            let is_silent = matches!(error.kind(), RemoteErrorKind::TimedOut(Phase::Reply));
            if !is_silent || capabilities.learnt().is_mlst_proven {
                return Err(error);
            }
            log::warn!("MLST is not answered, it is not sent again");
            capabilities.learn(|learnt| learnt.has_mlst = false);
            return by_size(remote, path);
        }
    };
    let Some(reply) = reply else {
        return by_size(remote, path);
    };
    if reply.is_done() {
        let Some(entry) = reply.inner_lines().find_map(listing::parse_facts) else {
            // DrFTPD knows names of the current directory only, and says 250 to all others.
            log::info!("MLST tells nothing, it is not sent again");
            capabilities.learn(|learnt| learnt.has_mlst = false);
            return by_size(remote, path);
        };
        capabilities.learn(|learnt| learnt.is_mlst_proven = true);
        return Ok(Some(RemoteEntry {
            name: name_of(path),
            target: entry.target.and_then(|target| remote.shown_target(&target)),
            ..entry
        }));
    }
    if reply.is_unknown_command() {
        capabilities.learn(|learnt| learnt.has_mlst = false);
        return by_size(remote, path);
    }
    absent_or(&reply, "MLST", path)
}

/// What can be told without MLST: a file by its size and time, a directory by entering it.
fn by_size(remote: &FtpRemote, path: &RemotePath) -> Result<Option<RemoteEntry>> {
    let questions = size_questions(remote, path)?;
    let mut replies = remote.ask(path, "SIZE", &questions)?;
    if !order::is_plausible(&questions, &replies) {
        // The surplus reply has come by now, and ends the session that it came on.
        log::info!("{path}: the replies do not fit the questions, which are asked once more");
        replies = remote.ask(path, "SIZE", &questions)?;
    }
    judge_by_size(path, &replies)
}

/// The commands by which a path is asked for behind other commands, in one write.
pub(super) fn questions(remote: &FtpRemote, path: &RemotePath) -> Result<Vec<Vec<u8>>> {
    let learnt = remote.pool.host.capabilities.learnt();
    if learnt.has_mlst && learnt.is_mlst_proven {
        return Ok(vec![remote.line("MLST ", path)?]);
    }
    Ok(size_questions(remote, path)?.into())
}

/// What the answers to these say.
pub(super) fn judge(path: &RemotePath, replies: &[Reply]) -> Result<Option<RemoteEntry>> {
    let [reply] = replies else {
        return judge_by_size(path, replies);
    };
    match reply.inner_lines().find_map(listing::parse_facts) {
        Some(entry) if reply.is_done() => Ok(Some(RemoteEntry {
            name: name_of(path),
            ..entry
        })),
        _ => absent_or(reply, "MLST", path),
    }
}

/// How many commands [`size_questions`] are.
pub(super) const SIZE_QUESTIONS: usize = 3;

/// The commands by which a path is asked for without MLST.
pub(super) fn size_questions(
    remote: &FtpRemote,
    path: &RemotePath,
) -> Result<[Vec<u8>; SIZE_QUESTIONS]> {
    let full_path = remote.full_path(path)?;
    Ok(["SIZE ", "MDTM ", "CWD "].map(|verb| [verb.as_bytes(), &full_path].concat()))
}

/// What the answers to these say.
pub(super) fn judge_by_size(path: &RemotePath, replies: &[Reply]) -> Result<Option<RemoteEntry>> {
    let [size_reply, mdtm_reply, cwd_reply] = replies else {
        return Err(RemoteError::new(RemoteErrorKind::Protocol, "SIZE").with_path(path));
    };
    let modified = mdtm_time(mdtm_reply);
    if cwd_reply.is_done() {
        let entry = RemoteEntry::new(name_of(path), EntryKind::Directory);
        return Ok(Some(RemoteEntry { modified, ..entry }));
    }
    if size_reply.is_done() || mdtm_reply.is_done() {
        let entry = RemoteEntry::new(name_of(path), EntryKind::File);
        return Ok(Some(RemoteEntry {
            size: size_of(size_reply),
            modified,
            ..entry
        }));
    }
    // Two answers about a file and one about a directory; a command that is not known answers nothing.
    let questions = [("SIZE", size_reply), ("MDTM", mdtm_reply)];
    let mut answered = questions
        .iter()
        .filter(|(_, reply)| !reply.is_unknown_command())
        .peekable();
    if answered.peek().is_none() {
        return Err(size_reply.to_error("SIZE").with_path(path));
    }
    for (verb, reply) in answered.chain([&("CWD", cwd_reply)]) {
        absent_or(reply, verb, path)?;
    }
    Ok(None)
}

/// `None` for the refusal by which "nothing there" is said (550); all others have other reasons, and are errors.
fn absent_or(reply: &Reply, verb: &'static str, path: &RemotePath) -> Result<Option<RemoteEntry>> {
    match reply.kind() {
        RemoteErrorKind::Refused if reply.code() == 550 && !reply.denies() => Ok(None),
        _ => Err(reply.to_error(verb).with_path(path)),
    }
}

fn name_of(path: &RemotePath) -> Box<[u8]> {
    path.name().unwrap_or(ROOT_NAME).into()
}

/// The versions that the server may mean when it is asked about a file in each way that it knows, for its MDTM and its listings may count
/// by different clocks; none where it reports no size. `full_path` as the server writes it.
pub(super) fn ask_versions(
    pool: &Arc<Sessions>,
    path: &RemotePath,
    full_path: &[u8],
) -> Result<Vec<Reported>> {
    let learnt = pool.host.capabilities.learnt();
    let has_mlst = learnt.has_mlst && learnt.is_mlst_proven;
    let verbs = ["SIZE ", "MDTM "]
        .into_iter()
        .chain(has_mlst.then_some("MLST "));
    let lines: Vec<_> = verbs
        .map(|verb| [verb.as_bytes(), full_path].concat())
        .collect();
    let replies = pool.with_session(Use::Command, path, |mut guard| {
        let replies = guard.session().exchange("SIZE", &lines)?;
        guard.check_in_after_commands();
        Ok(replies)
    })?;
    let by_size = replies.first().and_then(size_of).map(|size| Reported {
        size,
        modified: replies.get(1).and_then(mdtm_time),
    });
    let by_facts = replies
        .get(2)
        .filter(|reply| reply.is_done())
        .and_then(|reply| {
            let entry = reply.inner_lines().find_map(listing::parse_facts)?;
            Some(Reported {
                size: entry.size?,
                modified: entry.modified,
            })
        });
    Ok(by_size.into_iter().chain(by_facts).collect())
}

/// A file's size now, where the server has that; `full_path` as the server writes it.
pub(super) fn ask_size(pool: &Arc<Sessions>, path: &RemotePath, full_path: &[u8]) -> Option<u64> {
    let line = [b"SIZE ", full_path].concat();
    let asked = pool.with_session(Use::Command, path, |mut guard| {
        let replies = guard.session().exchange("SIZE", &[&line])?;
        guard.check_in_after_commands();
        Ok(replies)
    });
    asked.ok()?.first().and_then(size_of)
}
