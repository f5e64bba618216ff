//! What the program finds around it: the environment, the user, the terminal. Nothing else looks there.

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal},
    path::PathBuf,
};

use rustix::process::{getgid, getuid};

use super::prompt;
use crate::{config::Password, printed};

/// Asks a question that has a yes or no for an answer.
pub type Confirm = fn(&str) -> io::Result<bool>;

/// The environment, as far as it matters; a test makes its own.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// `FTPFS_PASSWORD`.
    pub password: Option<Password>,
    /// `FTPFS_LOG`.
    pub log_filter: Option<String>,
    /// `NETRC`, or `~/.netrc`.
    pub netrc: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub cache_home: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR`, where OpenSSL's programs and ours look for authorities.
    pub certificates: Vec<PathBuf>,
    /// Asks on the terminal; `None` without a terminal.
    pub ask: Option<fn(&str) -> io::Result<String>>,
    /// Asks for a yes or no there; `None` unless the question is seen and the answer typed on a terminal.
    pub confirm: Option<Confirm>,
}

impl Surroundings {
    /// The real ones.
    pub fn current() -> Self {
        let path = |name: &str| {
            env::var_os(name)
                .filter(|value: &OsString| !value.is_empty())
                .map(PathBuf::from)
        };
        let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let home = path("HOME");
        Self {
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            password: text("FTPFS_PASSWORD").map(Password::new),
            log_filter: text("FTPFS_LOG"),
            netrc: path("NETRC").or_else(|| home.as_ref().map(|home| home.join(".netrc"))),
            home,
            cache_home: path("XDG_CACHE_HOME").filter(|dir| dir.is_absolute()),
            state_home: path("XDG_STATE_HOME").filter(|dir| dir.is_absolute()),
            certificates: ["SSL_CERT_FILE", "SSL_CERT_DIR"]
                .into_iter()
                .filter_map(path)
                .flat_map(|value| env::split_paths(&value).collect::<Vec<_>>())
                .collect(),
            ask: io::stdin().is_terminal().then_some(prompt::ask),
            confirm: printed::can_ask().then_some(prompt::confirm),
        }
    }

    /// Where the cache directory lies unless the user says otherwise.
    pub fn cache_dir(&self) -> PathBuf {
        match (&self.cache_home, &self.home) {
            (Some(cache), _) => cache.join("ftpfs"),
            (None, Some(home)) => home.join(".cache/ftpfs"),
            // mount(8) at boot: systemd gives no HOME.
            (None, None) => PathBuf::from("/var/cache/ftpfs"),
        }
    }

    /// Where what outlives a mount is remembered.
    pub fn state_dir(&self) -> PathBuf {
        match (&self.state_home, &self.home) {
            (Some(state), _) => state.join("ftpfs"),
            (None, Some(home)) => home.join(".local/state/ftpfs"),
            (None, None) => PathBuf::from("/var/lib/ftpfs"),
        }
    }
}
