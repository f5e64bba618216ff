//! Setting a file's mode and time, and reading back size and time, in one exchange.
//!
//! Which command sets what is learnt once: the first that FEAT or the server's make suggests, and the next one whenever a
//! server does not know it.

use std::{sync::Arc, time::Instant};

use super::{
    capabilities::{Learnt, Server, SetMode, SetTime},
    client::FtpRemote,
    gate, listing, order,
    reply::Reply,
    shortcuts::Technique,
    stat,
    values::{mdtm_time, size_of},
};
use crate::remote::{
    Attributes, Evidence, Modified, Permit, RemoteError, RemoteErrorKind, RemotePath, Report,
    Result, Settled,
};

/// Asks for a file's size and time.
pub(super) fn report(remote: &FtpRemote, path: &RemotePath) -> Result<Report> {
    let nothing = Attributes::default();
    let mut asking = Asking::new(remote, path, &nothing)?;
    let replies = remote.ask(path, "SIZE", &asking.lines())?;
    Ok(asking
        .judge(replies)?
        .ok_or_else(|| no_answer(path))?
        .report)
}

/// The same, and the mode where MLST is known to report it.
pub(super) fn examine(remote: &FtpRemote, path: &RemotePath) -> Result<(Report, Option<u32>)> {
    let nothing = Attributes::default();
    let capabilities = &remote.pool.host.capabilities;
    let learnt = capabilities.learnt();
    // Others may offer it and never answer.
    let is_proven = learnt.is_mlst_proven || capabilities.server() != Server::Other;
    if !(learnt.has_mlst && is_proven && capabilities.may(Technique::Batch)) {
        return Ok((report(remote, path)?, None));
    }
    let mut asking = Asking::new(remote, path, &nothing)?;
    let mut lines = asking.lines();
    lines.push(remote.line("MLST ", path)?);
    let mut replies = remote.ask(path, "SIZE", &lines)?;
    let facts = replies.pop();
    let entry = facts.and_then(|reply| reply.inner_lines().find_map(listing::parse_facts));
    let settled = asking.judge(replies)?.ok_or_else(|| no_answer(path))?;
    Ok((settled.report, entry.and_then(|entry| entry.mode)))
}

/// Sets what is wanted of a file and reports what the server sees afterwards.
pub(super) fn settle(
    remote: &FtpRemote,
    permit: Permit,
    attributes: &Attributes,
) -> Result<Settled> {
    let path = permit.path().clone();
    let mut asking = Asking::new(remote, &path, attributes)?;
    let mut permit = Some(permit).filter(|_| !attributes.is_empty());
    loop {
        let lines = asking.lines();
        let replies = gate::set_attributes(remote, &path, permit.take(), &lines)?;
        if let Some(settled) = asking.judge(replies)? {
            return Ok(settled);
        }
    }
}

/// Likewise, and asks in the same exchange what is at another path.
pub(super) fn settle_beside(
    remote: &FtpRemote,
    permit: Permit,
    attributes: &Attributes,
    other: &RemotePath,
) -> Result<(Settled, Result<Evidence>)> {
    let path = permit.path().clone();
    let mut asking = Asking::new(remote, &path, attributes)?;
    let mut lines = asking.lines();
    let count = lines.len();
    lines.extend(stat::size_questions(remote, other)?);
    let permit = Some(permit).filter(|_| !attributes.is_empty());
    let asked = Instant::now();
    let mut replies = gate::set_attributes(remote, &path, permit, &lines)?;
    let beside = if order::is_plausible(&lines, &replies) {
        stat::judge_by_size(other, &replies.split_off(count))
    } else {
        log::info!("{other}: the replies do not fit the questions");
        replies.truncate(count);
        Err(no_answer(other))
    };
    let beside =
        beside.map(|entry| Evidence::reported(other, entry.map(Arc::new), asked, Instant::now()));
    loop {
        if let Some(settled) = asking.judge(replies)? {
            return Ok((settled, beside));
        }
        replies = gate::set_attributes(remote, &path, None, &asking.lines())?;
    }
}

fn no_answer(path: &RemotePath) -> RemoteError {
    RemoteError::new(RemoteErrorKind::Protocol, "SIZE").with_path(path)
}

/// One file being settled: commands out, replies in, until both attributes are done or have failed for good.
pub(super) struct Asking<'a> {
    remote: &'a FtpRemote,
    path: &'a RemotePath,
    full_path: Vec<u8>,
    attributes: &'a Attributes,
    mode: Step,
    time: Step,
    /// What was believed when the commands were made up.
    used: Learnt,
    /// When that was.
    asked: Instant,
}

impl<'a> Asking<'a> {
    /// Nothing was sent yet.
    pub(super) fn new(
        remote: &'a FtpRemote,
        path: &'a RemotePath,
        attributes: &'a Attributes,
    ) -> Result<Self> {
        Ok(Self {
            remote,
            path,
            full_path: remote.full_path(path)?,
            attributes,
            mode: Step::of(attributes.mode.is_some()),
            time: Step::of(attributes.modified.is_some()),
            used: remote.pool.host.capabilities.learnt(),
            asked: Instant::now(),
        })
    }

    /// The next commands: what sets mode and time, as far as that is open, then SIZE and MDTM.
    pub(super) fn lines(&mut self) -> Vec<Vec<u8>> {
        let path = self.path;
        self.used = self.remote.pool.host.capabilities.learnt();
        self.asked = Instant::now();
        let mut lines = Vec::with_capacity(4);
        if self.mode.is_open() {
            let bits = self.attributes.mode.unwrap_or_default();
            match gate::mode_line(&self.full_path, bits, self.used.set_mode) {
                Some(line) => lines.push(line),
                None => self.mode = Step::Over(Err(unsupported("SITE CHMOD", path))),
            }
        }
        if self.time.is_open() {
            let wanted = self.attributes.modified;
            match wanted.and_then(|at| gate::time_line(&self.full_path, at, self.used.set_time)) {
                Some(line) => lines.push(line),
                None => self.time = Step::Over(Err(unsupported("MFMT", path))),
            }
        }
        lines.extend(["SIZE ", "MDTM "].map(|verb| [verb.as_bytes(), &self.full_path].concat()));
        lines
    }

    /// What came of them; `None` when something has to be tried another way.
    pub(super) fn judge(&mut self, replies: Vec<Reply>) -> Result<Option<Settled>> {
        let (remote, path) = (self.remote, self.path);
        let mut replies = replies.into_iter();
        let mode_reply = self.mode.is_open().then(|| replies.next()).flatten();
        let time_reply = self.time.is_open().then(|| replies.next()).flatten();
        let (Some(size_reply), Some(mdtm_reply)) = (replies.next(), replies.next()) else {
            return Err(RemoteError::new(RemoteErrorKind::Protocol, "settle").with_path(path));
        };
        let seen_modified = mdtm_time(&mdtm_reply);
        if let Some(reply) = mode_reply {
            self.mode = judge_mode(remote, path, &reply, self.used);
        }
        if let (Some(reply), Some(wanted)) = (time_reply, self.attributes.modified) {
            let wanted = wanted.into();
            self.time = judge_time(remote, path, &reply, self.used, wanted, seen_modified);
        }
        let (Step::Over(mode), Step::Over(modified)) = (&self.mode, &self.time) else {
            return Ok(None);
        };
        Ok(Some(Settled {
            mode: mode.clone(),
            modified: modified.clone(),
            report: Report {
                size: told_size(&size_reply, path),
                modified: seen_modified,
                asked: self.asked,
            },
        }))
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

/// The size, if the server knows SIZE at all. A refusal is an error: nothing is there, or a directory. So is an answer that is no
/// number: the server knows sizes, and this one cannot be read.
fn told_size(reply: &Reply, path: &RemotePath) -> Result<Option<u64>> {
    match reply.kind() {
        RemoteErrorKind::Unsupported => Ok(None),
        // The account may not ask.
        RemoteErrorKind::Refused if reply.denies() => Ok(None),
        _ if reply.is_done() => match size_of(reply) {
            Some(size) => Ok(Some(size)),
            None => Err(RemoteError::new(RemoteErrorKind::Failed, "SIZE")
                .with_path(path)
                .with_source(format!("no size: {reply}"))),
        },
        _ => Err(reply.to_error("SIZE").with_path(path)),
    }
}

fn unsupported(verb: &'static str, path: &RemotePath) -> RemoteError {
    RemoteError::new(RemoteErrorKind::Unsupported, verb).with_path(path)
}
