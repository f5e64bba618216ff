//! Listing a directory: `CWD` and a bare listing command in one exchange, in the dialect that the server speaks.
//!
//! Never `LIST path`: a path may look like an option or a pattern, and an empty `LIST` of a missing directory
//! succeeds on two of four servers. The refusal of `CWD` is the error.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    capabilities::Dialect,
    client::FtpRemote,
    command::DataCommand,
    completeness::Verdict,
    host::Host,
    links::Targets,
    listing::{End, Format, Parsed, Reading, Shown},
    pool::Use,
    reply::{Failure, Fault, Reply},
    shortcuts::Technique,
    transfer::Transfer,
    values::mdtm_time,
    whole::read_to_end,
    zone::{Offset, Zone},
};
use crate::remote::{
    Entries, EntryKind, Gathering, Listing, Modified, Precision, RemoteError, RemoteErrorKind,
    RemotePath, Result,
};

/// Numbers of entries at which servers are known to cut listings off (peers: D-Link 2000, others 1000, Pure-FTPd 10000
/// with or without `.` and `..`).
const SUSPICIOUS_COUNTS: [usize; 4] = [1000, 2000, 9998, 10_000];

/// How much longer than the memory for listings the text of one may be. 4 times: MLSD writes three times what is kept of an entry, and what is not
/// kept at all, lines that are not understood, must end too.
const TEXT_RATIO_MAX: usize = 4;

/// How much of a line that is not understood goes to the log: one with a name of average length is whole.
const SAMPLE_BYTES_MAX: usize = 200;

/// A listing that has come.
#[derive(Debug)]
struct Fetched {
    parsed: Parsed,
    /// The reply behind it.
    reply: Reply,
    /// What its end proves.
    verdict: Verdict,
    /// What its times were put right by.
    offset: Option<Offset>,
}

/// What a listing is fetched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Entries,
    /// The targets of symbolic links, and nothing else.
    Targets,
}

/// Lists `dir`.
pub(super) fn list(remote: &FtpRemote, dir: &RemotePath) -> Result<Listing> {
    let capabilities = &remote.pool.host.capabilities;
    loop {
        let (verb, argument, fallback) = match capabilities.learnt().dialect {
            Dialect::Mlsd => ("MLSD", "", Dialect::MlsdDot),
            Dialect::MlsdDot => ("MLSD", ".", Dialect::List(None)),
            Dialect::List(None) => return probe_hidden(remote, dir),
            Dialect::List(Some(is_all)) => {
                let argument = if is_all { "-a" } else { "" };
                let fetched = fetch(remote, dir, "LIST", argument, Purpose::Entries)?;
                return finish(remote, dir, understood(remote, dir, fetched, "MLSD")?);
            }
        };
        match fetch(remote, dir, verb, argument, Purpose::Entries) {
            Ok(fetched) => {
                return finish(remote, dir, understood(remote, dir, fetched, "LIST")?);
            }
            // Offered by FEAT and yet unknown, or unknown without an argument (501).
            Err(error) if error.command() == "MLSD" && is_unknown(&error) => {
                log::info!("the server refuses MLSD {argument:?} ({error})");
                capabilities.learn(|learnt| learnt.dialect = fallback);
            }
            Err(error) => return Err(error),
        }
    }
}

/// The listing, or one by the other command where not a line of it is understood. It is an error where that helps no more: an empty
/// directory it is not.
fn understood(
    remote: &FtpRemote,
    dir: &RemotePath,
    fetched: Fetched,
    other: &'static str,
) -> Result<Fetched> {
    if !fetched.parsed.is_strange {
        return Ok(fetched);
    }
    let line = fetched.parsed.rejected.first();
    let sample = line.get(..SAMPLE_BYTES_MAX).unwrap_or(line).escape_ascii();
    log::warn!("{dir}: nothing of the listing is understood, trying {other}: {sample}");
    match fetch(remote, dir, other, "", Purpose::Entries) {
        Ok(other) if !other.parsed.is_strange && other.parsed.end != End::AtOnce => Ok(other),
        Err(error) if matches!(error.kind(), RemoteErrorKind::TimedOut(_)) => Err(error),
        Ok(_) | Err(_) => {
            let error = RemoteError::new(RemoteErrorKind::Failed, other).with_path(dir);
            Err(error.with_source("nothing of the listing is understood"))
        }
    }
}

/// Finds the target of a symbolic link in a LIST of its directory: MLSD tells no targets on any measured server.
pub(super) fn read_link(remote: &FtpRemote, path: &RemotePath) -> Result<Box<[u8]>> {
    let refused = || RemoteError::new(RemoteErrorKind::Refused, "LIST").with_path(path);
    let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
        return Err(refused());
    };
    let target = find_target(remote, &dir, name)?.ok_or_else(refused)?;
    remote.shown_target(&target).ok_or_else(refused)
}

/// The target as the server wrote it, from a LIST of a moment ago or a new one.
fn find_target(remote: &FtpRemote, dir: &RemotePath, name: &[u8]) -> Result<Option<Box<[u8]>>> {
    let links = &remote.links;
    let target_of = |targets: &Targets| targets.find(name)?.target.map(Box::from);
    let mut targets = Targets::default();
    let mut arguments = &[("", false), ("-a", true)][..];
    if let Some((known, is_all)) = links.find(dir, Instant::now()) {
        let target = target_of(&known);
        if target.is_some() || is_all {
            return Ok(target);
        }
        targets = Entries::clone(&known);
        arguments = &[("-a", true)];
    }
    // Servers leave out names with a dot unless they are asked for. Those that take -a for a name list nothing then, so that
    // what is known already stays.
    for (argument, is_all) in arguments {
        let sample = links.sample();
        let fetched = fetch(remote, dir, "LIST", argument, Purpose::Targets)?;
        let mut all = Gathering::from(targets);
        for link in fetched.parsed.entries.iter() {
            all.push(link);
        }
        targets = all.finish();
        let target = target_of(&targets);
        links.keep(
            dir,
            Arc::new(targets.clone()),
            *is_all,
            sample,
            Instant::now(),
        );
        if target.is_some() {
            return Ok(target);
        }
    }
    Ok(None)
}

fn is_unknown(error: &RemoteError) -> bool {
    matches!(
        error.kind(),
        RemoteErrorKind::Unsupported | RemoteErrorKind::Refused
    )
}

/// Lists with and without `-a`, once: only a server whose `LIST -a` tells at least what its `LIST` tells is asked for
/// hidden files.
fn probe_hidden(remote: &FtpRemote, dir: &RemotePath) -> Result<Listing> {
    let plain = fetch(remote, dir, "LIST", "", Purpose::Entries)?;
    let all = match fetch(remote, dir, "LIST", "-a", Purpose::Entries) {
        Ok(all) => Some(all),
        Err(error) if matches!(error.kind(), RemoteErrorKind::TimedOut(_)) => return Err(error),
        // That says nothing of the server.
        Err(error) if error.kind() == RemoteErrorKind::NoMemory => {
            return finish(remote, dir, understood(remote, dir, plain, "MLSD")?);
        }
        Err(_) => None,
    };
    let all = all.filter(|all| {
        let mut names = plain.parsed.entries.iter().map(|entry| entry.name);
        names.all(|name| all.parsed.entries.find(name).is_some())
    });
    let capabilities = &remote.pool.host.capabilities;
    // Two empty listings prove nothing.
    if all
        .as_ref()
        .is_none_or(|all| !all.parsed.entries.is_empty())
    {
        capabilities.learn(|learnt| learnt.dialect = Dialect::List(Some(all.is_some())));
    }
    let fetched = understood(remote, dir, all.unwrap_or(plain), "MLSD")?;
    finish(remote, dir, fetched)
}

fn fetch(
    remote: &FtpRemote,
    dir: &RemotePath,
    verb: &'static str,
    argument: &'static str,
    purpose: Purpose,
) -> Result<Fetched> {
    let wanted = DataCommand {
        cwd: Some(remote.full_path(dir)?),
        verb,
        argument: argument.into(),
        ..DataCommand::default()
    };
    let read = || {
        read_listing(remote, dir, &wanted, purpose).map_err(|error| {
            match (error.command(), error.kind()) {
                // bftpd says 451 to a directory that is not there.
                ("CWD", RemoteErrorKind::Failed) => error.into_kind(RemoteErrorKind::Refused),
                _ => error,
            }
        })
    };
    // Where even an empty directory is listed with `.` and `..`, nothing at all is no listing.
    let lists_dots = remote.pool.host.capabilities.learnt().lists_dots;
    let never_is_empty = lists_dots && (verb == "MLSD" || argument == "-a");
    let is_nothing = |fetched: &Fetched| never_is_empty && fetched.parsed.end == End::AtOnce;
    let notices = &remote.pool.host.notices;
    let is_unproven = |fetched: &Fetched| fetched.verdict == Verdict::Unproven;
    let fetched = read()?;
    if fetched.parsed.end != End::InLine
        && !is_nothing(&fetched)
        && !(is_unproven(&fetched) && notices.may_come())
    {
        return Ok(fetched);
    }
    drop(fetched);
    log::info!(
        "{dir}: the listing ends in the middle, or without notice; it is asked for once more"
    );
    let fetched = read()?;
    if is_unproven(&fetched) && notices.are_given() {
        let error = RemoteError::new(RemoteErrorKind::Failed, verb).with_path(dir);
        return Err(error.with_source(
            "TLS has ended twice without the server's notice: somebody may cut the listing short",
        ));
    }
    if is_unproven(&fetched) {
        notices.give_up();
    }
    if is_nothing(&fetched) {
        // vsftpd lists nothing of a directory that may not be listed.
        let kind = if verb == "MLSD" {
            RemoteErrorKind::Failed
        } else {
            RemoteErrorKind::Refused
        };
        let error = RemoteError::new(kind, verb).with_path(dir).answered();
        return Err(error.with_source("an empty answer"));
    }
    if fetched.parsed.end != End::InLine {
        return Ok(fetched);
    }
    // A part of a directory is not shown: what is missing would count as absent.
    let error = RemoteError::new(RemoteErrorKind::Failed, verb).with_path(dir);
    Err(error.with_source("the listing ends in the middle of a line"))
}

/// Reads a whole listing. The next data connection is asked for in the same write where the server works on one command after
/// the other: a TYPE behind the first listing, which changes nothing, shows whether it does. pyftpdlib answers before the listing is over.
/// The first listing also shows whether our end may come before its data; where that breaks it, it is fetched again without.
fn read_listing(
    remote: &FtpRemote,
    dir: &RemotePath,
    wanted: &DataCommand<'_>,
    purpose: Purpose,
) -> Result<Fetched> {
    let host = &remote.pool.host;
    let capabilities = &host.capabilities;
    remote.pool.with_session(Use::Listing, dir, |guard| {
        let is_trial = capabilities.is_untried(Technique::Follow);
        let wanted = DataCommand {
            followers: is_trial.then(|| b"TYPE I".to_vec()).into_iter().collect(),
            asks_next: capabilities.may_ask_with_transfer(),
            ends_early: host.may_end_early(),
            ..wanted.clone()
        };
        let tries_end = host.may_end_early() && !host.ends_early();
        let opened = Transfer::open(guard, &wanted);
        let read = opened.and_then(|transfer| parse(remote, transfer, wanted.verb, purpose));
        if tries_end {
            judge_early_end(host, wanted.verb, read)
        } else {
            read
        }
    })
}

/// Parses a listing while it arrives, as long as there is memory for it.
fn parse(
    remote: &FtpRemote,
    transfer: Transfer,
    verb: &'static str,
    purpose: Purpose,
) -> std::result::Result<Fetched, Failure> {
    let (format, offset) = if verb == "MLSD" {
        (Format::Mlsd, None)
    } else {
        let offset = remote.pool.host.capabilities.learnt().zone_offset;
        (Format::list(SystemTime::now()), offset)
    };
    let shown = match purpose {
        Purpose::Entries => {
            let target = |target: &[u8]| remote.shown_target(target);
            Shown::to_programs(remote.names(), offset, target)
        }
        Purpose::Targets => Shown::only_targets(remote.names()),
    };
    let text_bytes_max = remote.budget.bytes_max().saturating_mul(TEXT_RATIO_MAX);
    transfer.expect_listing(text_bytes_max);
    let mut text_bytes = 0;
    let mut reading = Reading::new(format, shown, &remote.budget);
    let ended = read_to_end(transfer, verb, |piece| {
        reading.feed(piece);
        text_bytes += piece.len();
        if text_bytes <= text_bytes_max && remote.has_room_for_listings() {
            return Ok(());
        }
        let detail = format!("after {text_bytes} bytes");
        Err(Fault::new(RemoteErrorKind::NoMemory, detail))
    })?;
    Ok(Fetched {
        parsed: reading.finish(),
        reply: ended.reply,
        verdict: ended.verdict,
        offset,
    })
}

/// Learns from the first listing whether our end may come before its data. One that it may have cut short counts as broken.
fn judge_early_end(
    host: &Host,
    verb: &'static str,
    read: std::result::Result<Fetched, Failure>,
) -> std::result::Result<Fetched, Failure> {
    match read {
        Ok(fetched) if fetched.verdict == Verdict::Whole => {
            host.learn_early_end(true);
            Ok(fetched)
        }
        // A server may take our `close_notify` for the end of all, as TLS 1.2 has it.
        Ok(_) => {
            host.learn_early_end(false);
            let detail = "the listing ended without notice";
            let fault = Fault::new(RemoteErrorKind::Disconnected, detail);
            Err(Failure::Broken(verb, fault))
        }
        // The data connection broke, or was refused: perhaps because the server took our end for the end of all.
        Err(failure) if failure.is_disconnected() => {
            host.learn_early_end(false);
            Err(failure)
        }
        Err(failure) => Err(failure),
    }
}

fn finish(remote: &FtpRemote, dir: &RemotePath, fetched: Fetched) -> Result<Listing> {
    let Parsed {
        mut entries,
        count,
        rejected,
        has_dot_names,
        has_dots,
        zone,
        ..
    } = fetched.parsed;
    if has_dots {
        let capabilities = &remote.pool.host.capabilities;
        capabilities.learn(|learnt| learnt.lists_dots = true);
    }
    if rejected.count() > 0 {
        let line = rejected.first();
        let sample = line.get(..SAMPLE_BYTES_MAX).unwrap_or(line);
        log::warn!(
            "{dir}: {} lines of the listing are not understood and not shown: {}",
            rejected.count(),
            sample.escape_ascii()
        );
    }
    if zone == Zone::Server
        && fetched.offset.is_none()
        && let Some(offset) = find_offset(remote, dir, &entries)?
        && offset != Offset::default()
    {
        entries = entries.map(|entry| {
            entry.modified = entry.modified.map(|listed| offset.apply(listed));
        });
    }
    let says_truncated = fetched.reply.lines().any(|line| {
        line.to_ascii_lowercase()
            .windows(9)
            .any(|word| word == b"truncated")
    });
    let lines = count + rejected.count();
    Ok(Listing {
        entries,
        is_truncated: says_truncated
            || fetched.verdict == Verdict::Unproven
            || SUSPICIOUS_COUNTS.contains(&lines),
        rejected,
        // RFC 3659 section 7 has MLSD show all names.
        shows_dot_names: zone == Zone::Utc || has_dot_names,
    })
}

/// By what the times of a LIST are put right; the first time it takes one MDTM to learn how the server's clock is set.
fn find_offset(remote: &FtpRemote, dir: &RemotePath, entries: &Entries) -> Result<Option<Offset>> {
    match remote.pool.host.capabilities.learnt().zone_offset {
        None => learn_offset(remote, dir, entries),
        known => Ok(known),
    }
}

/// Compares one entry's time with its MDTM. `None` when this directory holds nothing to learn from.
fn learn_offset(remote: &FtpRemote, dir: &RemotePath, entries: &Entries) -> Result<Option<Offset>> {
    let recent = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::File)
        .filter_map(|entry| {
            let modified = entry
                .modified
                .filter(|modified| modified.precision != Precision::Day)?;
            // What is being written now has another time in a moment.
            let age = SystemTime::now()
                .duration_since(modified.to_system_time())
                .ok();
            let is_settled = age.is_none_or(|age| age > Duration::from_mins(2));
            Some((is_settled, entry, modified))
        });
    let Some((_, entry, listed)) = recent.max_by_key(|(is_settled, ..)| *is_settled) else {
        return Ok(None);
    };
    let Ok(path) = dir.join(entry.name) else {
        return Ok(None);
    };
    let line = remote.line("MDTM ", &path)?;
    let reply = remote.ask(&path, "MDTM", &[line])?.pop();
    let exact: Option<Modified> = reply.as_ref().and_then(mdtm_time);
    let offset = match exact {
        Some(exact) => Offset::from_pair(listed, exact),
        // A server without MDTM will never tell: its times are shown as they come.
        None if reply.is_some_and(|reply| reply.is_unknown_command()) => Some(Offset::default()),
        None => None,
    };
    if let Some(offset) = offset {
        log::debug!("the times of LIST are {} s ahead of UTC", offset.seconds());
        remote
            .pool
            .host
            .capabilities
            .learn(|learnt| learnt.zone_offset = Some(offset));
    }
    Ok(offset)
}
