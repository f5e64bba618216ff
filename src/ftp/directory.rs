//! Listing a directory: `CWD` and a bare listing command in one exchange, in the dialect that the server speaks.
//!
//! Never `LIST path`: a path may look like an option or a pattern, and an empty `LIST` of a missing directory
//! succeeds on two of four servers. The refusal of `CWD` is the error.

use std::{
    borrow::Cow,
    collections::HashSet,
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
    listing::{self, Parsed},
    pool::Use,
    reply::{Failure, Fault},
    shortcuts::Technique,
    transfer::Transfer,
    values::mdtm_time,
    whole::{Whole, read_to_end},
    zone::{Offset, Zone},
};
use crate::remote::{
    EntryKind, Listing, Modified, Precision, RemoteEntry, RemoteError, RemoteErrorKind, RemotePath,
    Result,
};

/// Numbers of entries at which servers are known to cut listings off (peers: D-Link 2000, others 1000, Pure-FTPd 10000
/// with or without `.` and `..`).
const SUSPICIOUS_COUNTS: [usize; 4] = [1000, 2000, 9998, 10_000];

/// The longest listing that is read. 128 MiB: three times the largest directory promised, 100,000 entries, were all their names
/// 255 bytes long; what is longer is no listing, or more than memory should hold.
const LISTING_BYTES_MAX: usize = 128 << 20;

/// How much of a line that is not understood goes to the log: one with a name of average length is whole.
const SAMPLE_BYTES_MAX: usize = 200;

/// Lists `dir`.
pub(super) fn list(remote: &FtpRemote, dir: &RemotePath) -> Result<Listing> {
    let capabilities = &remote.pool.host.capabilities;
    loop {
        let (verb, argument, fallback) = match capabilities.learnt().dialect {
            Dialect::Mlsd => ("MLSD", "", Dialect::MlsdDot),
            Dialect::MlsdDot => ("MLSD", ".", Dialect::List(None)),
            Dialect::List(None) => return probe_hidden(remote, dir),
            Dialect::List(Some(is_all)) => {
                let whole = fetch(remote, dir, "LIST", if is_all { "-a" } else { "" })?;
                return finish(remote, dir, parse_list(remote, &whole), &whole);
            }
        };
        match fetch(remote, dir, verb, argument) {
            Ok(whole) => return finish(remote, dir, parse_mlsd(remote, &whole), &whole),
            // Offered by FEAT and yet unknown, or unknown without an argument (501).
            Err(error) if error.command() == "MLSD" && is_unknown(&error) => {
                log::info!("the server refuses MLSD {argument:?} ({error})");
                capabilities.learn(|learnt| learnt.dialect = fallback);
            }
            Err(error) => return Err(error),
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
    let mut targets = Targets::default();
    let mut arguments = &[("", false), ("-a", true)][..];
    if let Some((known, is_all)) = links.find(dir, Instant::now()) {
        let target = known.get(name).cloned();
        if target.is_some() || is_all {
            return Ok(target);
        }
        targets.clone_from(&known);
        arguments = &[("-a", true)];
    }
    // Servers leave out names with a dot unless they are asked for. Those that take -a for a name list nothing then, so that
    // what is known already stays.
    for (argument, is_all) in arguments {
        let sample = links.sample();
        let parsed = parse_list(remote, &fetch(remote, dir, "LIST", argument)?);
        let named = parsed.entries.into_iter().filter_map(|entry| {
            let target = entry.target?;
            Some((entry.name, target))
        });
        targets.extend(named);
        let target = targets.get(name).cloned();
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
    let plain = fetch(remote, dir, "LIST", "")?;
    let plain_parsed = parse_list(remote, &plain);
    let all = match fetch(remote, dir, "LIST", "-a") {
        Ok(all) => Some((parse_list(remote, &all), all)),
        Err(error) if matches!(error.kind(), RemoteErrorKind::TimedOut(_)) => return Err(error),
        Err(_) => None,
    };
    let names = |parsed: &Parsed| -> HashSet<Box<[u8]>> {
        parsed
            .entries
            .iter()
            .map(|entry| entry.name.clone())
            .collect()
    };
    let all = all.filter(|(parsed, _)| names(parsed).is_superset(&names(&plain_parsed)));
    let capabilities = &remote.pool.host.capabilities;
    // Two empty listings prove nothing.
    if all
        .as_ref()
        .is_none_or(|(parsed, _)| !parsed.entries.is_empty())
    {
        capabilities.learn(|learnt| learnt.dialect = Dialect::List(Some(all.is_some())));
    }
    let (parsed, whole) = all.unwrap_or((plain_parsed, plain));
    finish(remote, dir, parsed, &whole)
}

fn parse_mlsd(remote: &FtpRemote, whole: &Whole) -> Parsed {
    decoded(remote, listing::parse_mlsd(&whole.bytes))
}

fn parse_list(remote: &FtpRemote, whole: &Whole) -> Parsed {
    decoded(remote, listing::parse_list(&whole.bytes, SystemTime::now()))
}

/// The same with names as they are shown; targets are decoded once it is known where they lead.
fn decoded(remote: &FtpRemote, mut parsed: Parsed) -> Parsed {
    let names = remote.names();
    for entry in &mut parsed.entries {
        if let Cow::Owned(name) = names.decode(&entry.name) {
            entry.name = name.into();
        }
    }
    // Names are looked for in them as they are shown.
    parsed.rejected = parsed.rejected.map(|line| names.decode(line).into());
    parsed
}

fn fetch(
    remote: &FtpRemote,
    dir: &RemotePath,
    verb: &'static str,
    argument: &'static str,
) -> Result<Whole> {
    let wanted = DataCommand {
        cwd: Some(remote.full_path(dir)?),
        verb,
        argument: argument.into(),
        ..DataCommand::default()
    };
    let read = || {
        read_listing(remote, dir, &wanted).map_err(|error| match (error.command(), error.kind()) {
            // bftpd says 451 to a directory that is not there.
            ("CWD", RemoteErrorKind::Failed) => error.into_kind(RemoteErrorKind::Refused),
            _ => error,
        })
    };
    // Where even an empty directory is listed with `.` and `..`, nothing at all is no listing.
    let lists_dots = remote.pool.host.capabilities.learnt().lists_dots;
    let never_is_empty = lists_dots && (verb == "MLSD" || argument == "-a");
    let is_nothing = |whole: &Whole| never_is_empty && whole.bytes.is_empty();
    let whole = read()?;
    if whole.ends_a_line() && !is_nothing(&whole) {
        return Ok(whole);
    }
    log::info!("{dir}: the listing ends in the middle; it is asked for once more");
    let whole = read()?;
    if is_nothing(&whole) {
        // vsftpd lists nothing of a directory that may not be listed.
        let kind = if verb == "MLSD" {
            RemoteErrorKind::Failed
        } else {
            RemoteErrorKind::Refused
        };
        let error = RemoteError::new(kind, verb).with_path(dir).answered();
        return Err(error.with_source("an empty answer"));
    }
    if whole.ends_a_line() {
        return Ok(whole);
    }
    // A part of a directory is not shown: what is missing would count as absent.
    let error = RemoteError::new(RemoteErrorKind::Failed, verb).with_path(dir);
    Err(error.with_source("the listing ends in the middle of a line"))
}

/// Reads a whole listing. The next data connection is asked for in the same write where the server works on one command after
/// the other: a TYPE behind the first listing, which changes nothing, shows whether it does. pyftpdlib answers before the listing is over.
/// The first listing also shows whether our end may come before its data; where that breaks it, it is fetched again without.
fn read_listing(remote: &FtpRemote, dir: &RemotePath, wanted: &DataCommand<'_>) -> Result<Whole> {
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
        let read =
            opened.and_then(|transfer| read_to_end(transfer, wanted.verb, LISTING_BYTES_MAX));
        if tries_end {
            judge_early_end(host, wanted.verb, read)
        } else {
            read
        }
    })
}

/// Learns from the first listing whether our end may come before its data. One that it may have cut short counts as broken.
fn judge_early_end(
    host: &Host,
    verb: &'static str,
    read: std::result::Result<Whole, Failure>,
) -> std::result::Result<Whole, Failure> {
    match read {
        Ok(whole) if whole.verdict == Verdict::Whole => {
            host.learn_early_end(true);
            Ok(whole)
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

fn finish(remote: &FtpRemote, dir: &RemotePath, parsed: Parsed, whole: &Whole) -> Result<Listing> {
    let Parsed {
        mut entries,
        rejected,
        has_dot_names,
        has_dots,
        zone,
    } = parsed;
    if has_dots {
        let capabilities = &remote.pool.host.capabilities;
        capabilities.learn(|learnt| learnt.lists_dots = true);
    }
    if let Some(line) = rejected.first() {
        let sample = line.get(..SAMPLE_BYTES_MAX).unwrap_or(line);
        log::warn!(
            "{dir}: {} lines of the listing are not understood and not shown: {}",
            rejected.count(),
            sample.escape_ascii()
        );
    }
    if zone == Zone::Server {
        correct_times(remote, dir, &mut entries)?;
    }
    for entry in &mut entries {
        // One that leads elsewhere is as good as not told: asked for by itself, it is refused.
        let target = entry.target.take();
        entry.target = target.and_then(|target| remote.shown_target(&target));
    }
    let says_truncated = whole.reply.lines().any(|line| {
        line.to_ascii_lowercase()
            .windows(9)
            .any(|word| word == b"truncated")
    });
    let count = entries.len() + rejected.count();
    Ok(Listing {
        entries: entries.into_iter().map(Arc::new).collect(),
        is_truncated: says_truncated
            || whole.verdict == Verdict::Unproven
            || SUSPICIOUS_COUNTS.contains(&count),
        rejected,
        // RFC 3659 section 7 has MLSD show all names.
        shows_dot_names: zone == Zone::Utc || has_dot_names,
    })
}

/// Puts the times of a LIST right; the first time it takes one MDTM to learn how the server's clock is set.
fn correct_times(remote: &FtpRemote, dir: &RemotePath, entries: &mut [RemoteEntry]) -> Result<()> {
    let capabilities = &remote.pool.host.capabilities;
    let offset = match capabilities.learnt().zone_offset {
        Some(offset) => offset,
        None => match learn_offset(remote, dir, entries)? {
            Some(offset) => offset,
            None => return Ok(()),
        },
    };
    for modified in entries
        .iter_mut()
        .filter_map(|entry| entry.modified.as_mut())
    {
        *modified = offset.apply(*modified);
    }
    Ok(())
}

/// Compares one entry's time with its MDTM. `None` when this directory holds nothing to learn from.
fn learn_offset(
    remote: &FtpRemote,
    dir: &RemotePath,
    entries: &[RemoteEntry],
) -> Result<Option<Offset>> {
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
    let Ok(path) = dir.join(&entry.name) else {
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
