//! What `ftpfs doctor` asks of a server beyond what a mount needs: who it is, what was learnt, which ways to transfer work.

use super::{
    FtpRemote,
    capabilities::{Dialect, SetMode, SetTime},
    pool::Use,
    reply::Reply,
};
use crate::remote::{Remote, RemotePath};

/// What a server says of itself.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Its greeting, one line after the other.
    pub greeting: Vec<String>,
    /// Whether the session is protected by TLS.
    pub is_protected: bool,
    /// Its reply to SYST.
    pub system: String,
    /// What its FEAT lists, as it is written there; empty when it knows none.
    pub features: Vec<String>,
}

/// A way to get a data connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// EPSV (RFC 2428).
    ExtendedPassive,
    /// PASV (RFC 959).
    Passive,
}

impl Way {
    /// All of them, in the order in which a mount tries them.
    pub const ALL: [Self; 2] = [Self::ExtendedPassive, Self::Passive];

    /// The command.
    pub fn verb(self) -> &'static str {
        match self {
            Self::ExtendedPassive => "EPSV",
            Self::Passive => "PASV",
        }
    }
}

/// One thing that was learnt by trying, in words.
#[derive(Debug, Clone)]
pub struct Fact {
    /// What it is about.
    pub name: &'static str,
    /// What was found.
    pub finding: String,
    /// How it is known.
    pub source: &'static str,
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
            Ok(self.repeatable(&RemotePath::root(), verb, &lines)?.pop())
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
        let is_protected = guard.map(|mut guard| {
            let is_protected = guard.session().is_protected();
            guard.check_in();
            is_protected
        })?;
        Ok(Identity {
            is_protected,
            greeting: self.pool.host.greeting().to_vec(),
            system: system.unwrap_or_default(),
            features: features
                .map(|reply| reply.inner_lines().map(line).collect())
                .unwrap_or_default(),
        })
    }

    /// Whether a listing comes through a data connection of this kind, and no other.
    ///
    /// # Errors
    ///
    /// What the server or the network said.
    pub fn try_way(&self, way: Way) -> Result<(), String> {
        let capabilities = &self.pool.host.capabilities;
        let before = capabilities.learnt().has_epsv;
        let is_extended = way == Way::ExtendedPassive;
        capabilities.learn(|learnt| learnt.has_epsv = is_extended);
        // Those that are idle have a data connection of either kind already.
        let fresh = self
            .pool
            .check_out_fresh(Use::Listing, self.pool.host.deadline());
        let outcome = match fresh {
            Ok(guard) => {
                guard.check_in();
                self.list(&RemotePath::root()).map(drop)
            }
            Err(error) => Err(error),
        };
        let is_used = capabilities.learnt().has_epsv == is_extended;
        capabilities.learn(|learnt| {
            learnt.has_epsv = if is_extended {
                is_used && outcome.is_ok()
            } else {
                before
            };
        });
        match outcome {
            Ok(()) if is_used => Ok(()),
            Ok(()) => Err("refused by the server".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What was learnt of the server by trying, before and now.
    pub fn facts(&self) -> Vec<Fact> {
        let learnt = self.pool.host.capabilities.learnt();
        let fact = |name, finding: &str, source| Fact {
            name,
            finding: finding.to_owned(),
            source,
        };
        let either =
            |is_so: bool, yes: &'static str, no: &'static str| if is_so { yes } else { no };
        let listing = match learnt.dialect {
            Dialect::Mlsd => ("MLSD", "FEAT"),
            Dialect::MlsdDot => ("MLSD with an argument; it is refused without", "refusal"),
            Dialect::List(Some(true)) => ("LIST -a", "both listings were compared"),
            Dialect::List(_) => ("LIST", "no MLST in FEAT"),
        };
        let mode = match learnt.set_mode {
            SetMode::SiteChmod => "SITE CHMOD",
            SetMode::Mff => "MFF UNIX.mode",
            SetMode::Never => "not at all",
        };
        let time = match learnt.set_time {
            SetTime::Mfmt => "MFMT",
            SetTime::SiteUtime => "SITE UTIME, one time",
            SetTime::SiteUtimeFive => "SITE UTIME, three times",
            SetTime::Mdtm => "MDTM with a time",
            SetTime::Never => "not at all",
        };
        let mut facts = vec![
            fact("directories are listed by", listing.0, listing.1),
            fact("modes are set by", mode, "FEAT and refusals"),
            fact("times are set by", time, "FEAT and refusals"),
            fact(
                "commands leave",
                either(
                    learnt.has_pipelining,
                    "together, one round trip for all",
                    "one by one",
                ),
                "the log-in",
            ),
            fact(
                "data connections are asked for by",
                either(learnt.has_epsv, "EPSV", "PASV"),
                "the log-in",
            ),
            fact(
                "downloads at an offset",
                either(
                    learnt.has_rest,
                    "REST",
                    "from the beginning, the rest thrown away",
                ),
                "refusals",
            ),
        ];
        if let Some(has_patch) = learnt.has_patch {
            let finding = either(has_patch, "change only these", "send the whole file");
            facts.push(fact(
                "writes inside a file",
                finding,
                "tried on a scratch file",
            ));
        }
        if let Some(offset) = learnt.zone_offset {
            facts.push(Fact {
                name: "the clock of LIST is ahead of UTC by",
                finding: format!("{} minutes", offset.seconds() / 60),
                source: "one file's MDTM",
            });
        }
        facts
    }
}
