//! What `ftpfs doctor` asks of a server beyond what a mount needs: who it is, what was learnt, which ways to transfer work, how it
//! is protected, how many sessions it takes.

mod ways;

pub use ways::{Tried, Way};

use std::time::Duration;

use serde::Serialize;

use super::{
    capabilities::{Dialect, Learnt, SetMode, SetTime},
    client::FtpRemote,
    connect_error::ConnectError,
    deadline::Deadline,
    hash,
    host::Host,
    pool::Use,
    range,
    reply::Reply,
    session::Session,
    shortcuts::Technique,
    tls::Protocol,
};
use crate::{
    config::{FtpConfig, NetworkConfig, TlsConfig, TlsMode},
    remote::{Remote, RemotePath},
};

/// How long the good-bye of a probe is waited for. 500 ms: it is only polite.
const QUIT_WAIT: Duration = Duration::from_millis(500);

/// What a server says of itself.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Its greeting, one line after the other.
    pub greeting: Vec<String>,
    /// How the session is protected, if it is.
    pub protocol: Option<Protocol>,
    /// Its reply to SYST.
    pub system: String,
    /// What its FEAT lists, as it is written there; empty when it knows none.
    pub features: Vec<String>,
}

/// One thing that a server can do or cannot, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What it is about: a word that stays the same.
    pub name: &'static str,
    /// What was found.
    pub finding: String,
    /// How it is known.
    pub source: &'static str,
    /// What that costs a mount; empty for nothing.
    pub cost: &'static str,
}

/// What becomes of a wish for TLS, up to the login: no password is sent, and nothing is remembered of it.
///
/// # Errors
///
/// What keeps such a session from being opened: no TLS, or a certificate that the settings do not trust.
pub fn probe_tls(
    config: &FtpConfig,
    mode: TlsMode,
    port: u16,
    wait: Duration,
) -> Result<Option<Protocol>, ConnectError> {
    let host = Host::new(FtpConfig {
        port,
        tls: TlsConfig {
            mode,
            known_hosts: None,
            ..config.tls.clone()
        },
        timeout: config.timeout.min(wait),
        profile_dir: None,
        ..config.clone()
    });
    let mut control = host.reach(host.deadline())?.control;
    let protocol = control.protocol();
    control.set_deadline(Deadline::after(QUIT_WAIT));
    // The server may be gone already.
    let _ = control.send(&["QUIT"]).and_then(|()| control.read_reply());
    Ok(protocol)
}

impl FtpRemote {
    /// Asks the server who it is.
    ///
    /// # Errors
    ///
    /// No session, or no answer. A server that refuses the questions is no error.
    pub fn identity(&self) -> crate::remote::Result<Identity> {
        let ask = |verb: &'static str| -> crate::remote::Result<Option<Reply>> {
            let lines = [verb.as_bytes().to_vec()];
            Ok(self.ask(&RemotePath::root(), verb, &lines)?.pop())
        };
        let system = ask("SYST")?.map(|reply| reply.to_string());
        let features = ask("FEAT")?.filter(Reply::is_done);
        let line = |line: &[u8]| {
            String::from_utf8_lossy(line)
                .trim()
                .escape_debug()
                .to_string()
        };
        let guard = self.pool.check_out(Use::Command, self.pool.host.deadline());
        let protocol = guard.map(|mut guard| {
            let protocol = guard.session().protocol();
            guard.check_in();
            protocol
        })?;
        Ok(Identity {
            protocol,
            greeting: self.pool.host.greeting().to_vec(),
            system: system.unwrap_or_default(),
            features: features
                .map(|reply| reply.inner_lines().map(line).collect())
                .unwrap_or_default(),
        })
    }

    /// How many data connections have resumed the TLS session of their control connection, and how many have not.
    pub fn resumptions(&self) -> (usize, usize) {
        self.pool.host.resumptions()
    }

    /// How many sessions the server takes at once, of those that a mount may open, and what it says to one more if these are
    /// fewer.
    pub fn count_sessions(&self) -> (usize, Option<ConnectError>) {
        let host = &self.pool.host;
        let before = self.pool.count();
        let mut more = Vec::new();
        let mut refusal = None;
        while before + more.len() < host.config.connections_max && refusal.is_none() {
            match host.open(host.deadline()) {
                Ok(session) => more.push(session),
                Err(error) => refusal = Some(error),
            }
        }
        let count = before + more.len();
        more.into_iter().for_each(Session::quit);
        (count, refusal)
    }

    /// Whether the server tells a file's size (SIZE) and time (MDTM).
    ///
    /// # Errors
    ///
    /// No answer.
    pub fn tells(&self, path: &RemotePath) -> crate::remote::Result<(bool, bool)> {
        let report = self.report(path)?;
        let has_size = matches!(report.size, Ok(Some(_)));
        Ok((has_size, report.modified.is_some()))
    }

    /// The commands for checksums that the server says that it has.
    pub fn offered_hashes(&self) -> Vec<&'static str> {
        let features = self.pool.host.capabilities.features();
        features.map(hash::offered).unwrap_or_default()
    }

    /// What was learnt of the server, before and now.
    pub fn facts(&self) -> Vec<Fact> {
        let learnt = self.pool.host.capabilities.learnt();
        let mut facts = vec![
            listing(&learnt),
            set_mode(&learnt),
            set_time(&learnt),
            either(
                "batches",
                self.pool.host.capabilities.may(Technique::Batch),
                "commands that belong together leave in one write",
                ("one command at a time", "a round trip for each"),
                "log-in",
            ),
            data_connection(&learnt, &self.pool.host.config.network),
            either(
                "read-offset",
                learnt.has_rest,
                "REST",
                (
                    "no REST",
                    "a read anywhere fetches the file from its beginning",
                ),
                "assumed",
            ),
            part_end(range::may_bound(&self.pool.host.capabilities)),
        ];
        facts.push(checksum(&self.offered_hashes()));
        if let Some(offset) = learnt.zone_offset {
            facts.push(Fact {
                name: "list-clock",
                finding: format!("{} minutes ahead of UTC", offset.seconds() / 60),
                source: "LIST and MDTM of one file",
                cost: "",
            });
        }
        facts
    }
}

fn either(
    name: &'static str,
    is_so: bool,
    yes: &str,
    (no, cost): (&str, &'static str),
    source: &'static str,
) -> Fact {
    Fact {
        name,
        finding: if is_so { yes } else { no }.to_owned(),
        source: if is_so { source } else { "refusal" },
        cost: if is_so { "" } else { cost },
    }
}

fn data_connection(learnt: &Learnt, network: &NetworkConfig) -> Fact {
    const PRET_COST: &str = "none is made ahead, so that each transfer waits for its own";
    let (verb, source) = match (&network.active, network.trusts_pasv_address) {
        (Some(_), _) if learnt.has_eprt => ("EPRT", "option"),
        (Some(_), _) => ("PORT", "refusal"),
        (None, true) => ("PASV", "option"),
        (None, false) if learnt.has_epsv => ("EPSV", "log-in"),
        (None, false) => ("PASV", "refusal"),
    };
    let is_announced = learnt.needs_pret && network.active.is_none();
    Fact {
        name: "data-connection",
        finding: if is_announced {
            format!("PRET, {verb}")
        } else {
            verb.to_owned()
        },
        source: if is_announced { "refusal" } else { source },
        cost: if is_announced { PRET_COST } else { "" },
    }
}

/// How a part of a file is ended. Costs nothing either way: few servers are told, and a read takes as long.
fn part_end(is_told: bool) -> Fact {
    let (finding, source) = if is_told {
        ("RANG", "FEAT")
    } else {
        ("closing the data connection", "assumed")
    };
    Fact {
        name: "read-end",
        finding: finding.to_owned(),
        source,
        cost: "",
    }
}

/// By which commands the server computes checksums. Costs nothing without `--verify`.
fn checksum(offered: &[&'static str]) -> Fact {
    Fact {
        name: "checksum",
        finding: if offered.is_empty() {
            "no XCRC, XMD5 or HASH: --verify has no effect beyond the size".to_owned()
        } else {
            offered.join(", ")
        },
        source: "FEAT",
        cost: "",
    }
}

fn listing(learnt: &Learnt) -> Fact {
    const LIST_COST: &str = "times to the minute or the day";
    let (finding, source, cost) = match learnt.dialect {
        Dialect::Mlsd => ("MLSD", "FEAT", ""),
        Dialect::MlsdDot => ("MLSD with an argument", "refusal", ""),
        Dialect::List(Some(true)) => ("LIST -a", "comparison", LIST_COST),
        Dialect::List(_) => ("LIST", "no MLST in FEAT", LIST_COST),
    };
    Fact {
        name: "listing",
        finding: finding.to_owned(),
        source,
        cost,
    }
}

fn set_mode(learnt: &Learnt) -> Fact {
    let (finding, source, cost) = match learnt.set_mode {
        SetMode::SiteChmod => ("SITE CHMOD", "assumed", ""),
        SetMode::Mff => ("MFF UNIX.mode", "FEAT", ""),
        SetMode::Never => ("no way", "refusal", "chmod fails"),
    };
    Fact {
        name: "mode",
        finding: finding.to_owned(),
        source,
        cost,
    }
}

fn set_time(learnt: &Learnt) -> Fact {
    let (finding, source, cost) = match learnt.set_time {
        SetTime::Mfmt => ("MFMT", "FEAT, or assumed", ""),
        SetTime::SiteUtime => ("SITE UTIME, one time", "FEAT", ""),
        SetTime::SiteUtimeFive => ("SITE UTIME, three times", "refusal", ""),
        SetTime::Mdtm => ("MDTM with a time", "make, or refusal", ""),
        SetTime::Never => (
            "no way",
            "refusal",
            "touch fails, and copies have the time of their upload",
        ),
    };
    Fact {
        name: "time",
        finding: finding.to_owned(),
        source,
        cost,
    }
}
