//! The ways to a data connection: which of them work, and which option chooses one that does.
//!
//! Each is tried with a login of its own and one session, once the other sessions are closed: the server may take one only.

use std::time::Duration;

use super::{
    problem::Problem,
    report::DataConnection,
    visit::{Visit, connect},
};
use crate::{
    config::{FtpConfig, NetworkConfig},
    ftp::{Tried, Way},
};

/// How long each is waited for. 5 s: through most firewalls nothing will ever come.
const WAIT: Duration = Duration::from_secs(5);

/// What came of them.
#[derive(Debug)]
struct Ways {
    epsv: Tried,
    pasv: Tried,
    /// `None` where it cannot be: through a proxy.
    active: Option<Tried>,
    /// PASV at the address that it names; `None` where that makes no difference.
    trusting: Option<Tried>,
}

/// Tries them all. What is wrong is that a mount with these settings gets no data connection.
pub(super) fn examine(visit: &mut Visit<'_>) -> Result<(), Problem> {
    visit.leave();
    let ways = Ways::try_all(visit.config);
    let judged = ways.judge(&visit.config.network);
    visit.report.ways = ways.found();
    judged
}

impl Ways {
    fn try_all(config: &FtpConfig) -> Self {
        let network = &config.network;
        let with = |change: fn(&mut NetworkConfig)| {
            let mut config = config.clone();
            config.timeout = config.timeout.min(WAIT);
            config.connections_max = 1;
            config.profile_dir = None;
            change(&mut config.network);
            config
        };
        let passive = with(|network| {
            network.active = None;
            network.trusts_pasv_address = false;
        });
        let [epsv, pasv] = match connect(&passive) {
            Ok(remote) => {
                let tried = Way::ALL.map(|way| remote.try_way(way));
                remote.shutdown();
                tried
            }
            Err(error) => [(); 2].map(|()| Tried::new(Err(error.to_string()))),
        };
        let active = network.proxy.is_none().then(|| {
            list(&with(|network| {
                network.active.get_or_insert_default();
            }))
        });
        let is_epsv_dead = epsv.outcome.is_err() && !epsv.is_refused;
        let is_other = pasv.elsewhere.is_some() || (is_epsv_dead && pasv.outcome.is_ok());
        let trusting = (is_other || network.trusts_pasv_address).then(|| {
            list(&with(|network| {
                network.active = None;
                network.trusts_pasv_address = true;
            }))
        });
        Self {
            epsv,
            pasv,
            active,
            trusting,
        }
    }

    /// What a mount with these settings would use.
    fn used(&self, network: &NetworkConfig) -> &Tried {
        let passive = if self.epsv.is_refused {
            &self.pasv
        } else {
            &self.epsv
        };
        if network.active.is_some() {
            self.active.as_ref().unwrap_or(passive)
        } else if network.trusts_pasv_address {
            self.trusting.as_ref().unwrap_or(passive)
        } else {
            passive
        }
    }

    /// Whether a mount gets its data connections, and what else would bring them.
    fn judge(&self, network: &NetworkConfig) -> Result<(), Problem> {
        let outcome = &self.used(network).outcome;
        outcome.as_ref().copied().map_err(|error| {
            let (what, remedy) = self.remedy(network, error);
            Problem::new("data-connection", what, remedy)
        })
    }

    /// Those that were tried, by their names.
    fn found(self) -> Vec<DataConnection> {
        let ways = [
            ("EPSV", Some(self.epsv)),
            ("PASV", Some(self.pasv)),
            ("PASV-address", self.trusting),
            ("active", self.active),
        ];
        let tried = ways.into_iter();
        tried
            .filter_map(|(name, way)| Some(DataConnection::new(name, way?)))
            .collect()
    }

    /// What is wrong with the way that is used, and the options that were seen to fix it.
    fn remedy(&self, network: &NetworkConfig, error: &str) -> (String, String) {
        let works = |way: &Option<Tried>| way.as_ref().is_some_and(|way| way.outcome.is_ok());
        let passive = if self.epsv.is_refused {
            &self.pasv
        } else {
            &self.epsv
        };
        if network.active.is_some() {
            let what = format!("the server makes no data connection to this machine: {error}");
            let remedy = if passive.outcome.is_ok() {
                "none of --active; else --active-address and --active-ports, for a router that maps them"
            } else {
                "--active-address and --active-ports, for a router that maps them"
            };
            return (what, remedy.to_owned());
        }
        if network.trusts_pasv_address && passive.outcome.is_ok() {
            let what = format!("no data connection to where PASV tells: {error}");
            return (what, "none of --trust-pasv-address".to_owned());
        }
        let mut options = Vec::new();
        let mut what = format!("no data connection to the server: {error}");
        if works(&self.trusting) {
            match self.pasv.elsewhere {
                Some(told) => what = format!("{what}; PASV tells another address, {told}"),
                None => what = format!("{what}; PASV works, EPSV does not"),
            }
            options.push("--trust-pasv-address");
        }
        if works(&self.active) {
            options.push("--active");
        }
        if is_about_resumption(error) {
            what = format!(
                "{what}; its operator can do without the resumption of TLS sessions (require_ssl_reuse=NO in vsftpd, \
                 TLSOptions NoSessionReuseRequired in ProFTPD)"
            );
        } else if options.is_empty() && network.proxy.is_none() {
            what = format!(
                "{what}; a firewall may be in the way, and active mode does not work either"
            );
            options.push("--proxy, where one is that reaches the server's data ports");
        } else if options.is_empty() {
            what = format!("{what}; the proxy has to allow the server's data ports");
        }
        (what, options.join(", or "))
    }
}

/// Whether a refusal is for a data connection that resumes no TLS session: vsftpd, `ProFTPD`, `FileZilla` Server.
fn is_about_resumption(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    error.contains("reuse") || error.contains("resumption")
}

fn list(config: &FtpConfig) -> Tried {
    let connected = connect(config).map_err(|error| error.to_string());
    Tried::new(connected.and_then(|remote| {
        let listed = remote.try_list();
        remote.shutdown();
        listed
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(error: &str) -> Tried {
        Tried::new(Err(error.to_owned()))
    }

    fn remedy(ways: &Ways) -> (String, String) {
        let network = NetworkConfig::default();
        let error = ways.used(&network).outcome.clone().unwrap_err();
        ways.remedy(&network, &error)
    }

    // SEMANTICS: S-doctor-remedies
    #[test]
    fn only_what_was_seen_to_work_is_offered() {
        let mut ways = Ways {
            epsv: bad("refused"),
            pasv: bad("refused"),
            active: Some(bad("nobody came")),
            trusting: None,
        };
        assert!(remedy(&ways).1.starts_with("--proxy"));
        ways.active = Some(Tried::new(Ok(())));
        assert_eq!(remedy(&ways).1, "--active");
        ways.trusting = Some(Tried::new(Ok(())));
        assert_eq!(remedy(&ways).1, "--trust-pasv-address, or --active");
    }

    // SEMANTICS: S-doctor-remedies
    #[test]
    fn a_server_that_wants_tls_sessions_resumed_is_told_from_a_firewall() {
        let error = "LIST /: the connection to the server broke: 522 SSL connection failed; session reuse required: see \
                     require_ssl_reuse option in vsftpd.conf man page";
        let ways = Ways {
            epsv: bad(error),
            pasv: bad(error),
            active: Some(bad(error)),
            trusting: None,
        };
        let (what, remedy) = remedy(&ways);
        assert!(what.contains("NoSessionReuseRequired"), "{what}");
        assert!(!what.contains("firewall") && remedy.is_empty());
    }
}
