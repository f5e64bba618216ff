//! What a dialect file may say: data that [`super::Simulated`] plays. What it leaves out is as in RFC 959 and RFC 3659.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::protection::Shown;

/// One server's way to speak FTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Dialect {
    /// What server this is.
    pub(crate) about: String,
    /// Where each fact was seen.
    pub(crate) sources: Vec<String>,
    /// All commands that it knows; `SITE` and `MDTM` with what follows where that makes a difference (`SITE CHMOD`,
    /// `MDTM time`).
    pub(crate) knows: Vec<String>,
    /// Commands that it takes and never answers.
    pub(crate) silent: Vec<String>,
    /// Its words. A key is `greeting`, `unknown`, or a command, with ` missing`, ` exists`, ` refused`, ` begin` behind it for
    /// other answers than success. `begin` and `end` alone stand for the two replies of all transfers.
    pub(crate) says: BTreeMap<String, String>,
    /// The password that it lets in.
    pub(crate) password: String,
    /// How it lists.
    pub(crate) listing: Style,
    /// What it does to files.
    pub(crate) files: Files,
    /// How many it serves, and for how long.
    pub(crate) sessions: Sessions,
    /// Whether it wants to hear of a transfer (PRET) before it listens for one.
    pub(crate) wants_pret: bool,
    /// Options that a mount of it needs.
    pub(crate) options: Vec<String>,
    /// The address that it listens on for data, where that is another one; with PRET for files only.
    pub(crate) data_address: Option<Ipv4Addr>,
    /// The certificate behind `AUTH TLS`, where it has that; no more than the handshake is played.
    pub(crate) tls: Option<Shown>,
    /// What cannot be done through it: `rename`, `mode`, `time`.
    pub(crate) cannot: Vec<String>,
    /// A word of the message with which it is refused at mount time.
    pub(crate) unsupported: Option<String>,
}

/// How a server lists.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Style {
    /// A line of LIST for a file: `{name}`, `{size}`, `{size:13}` (right-aligned), `{mode}` (`rwxr-xr-x`), `{time}`.
    pub(crate) file: String,
    /// The same for a directory.
    pub(crate) dir: String,
    /// `{time}`, as strftime(3).
    pub(crate) time: String,
    /// `{time}` of what is older than half a year, where that is another.
    pub(crate) old_time: Option<String>,
    /// How far the clock of LIST is ahead of UTC.
    pub(crate) clock_minutes: i64,
    /// The facts of MLSD and MLST, as they are spelled.
    pub(crate) facts: Vec<String>,
    /// Whether the facts' clock is that of LIST, against RFC 3659.
    pub(crate) facts_by_clock: bool,
    /// Whether names with a dot are listed: `always`, `-a`, `never`.
    pub(crate) hidden: Hidden,
    /// What `LIST` makes of an argument that begins with `-`.
    pub(crate) options: Options,
    /// Whether `LIST path` lists the root, whatever the path.
    pub(crate) path_is_root: bool,
    /// Whether `MLSD` needs an argument.
    pub(crate) mlsd_wants_path: bool,
    /// What stands before the facts in the answer to MLST.
    pub(crate) mlst_indent: String,
}

/// When names with a dot are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Hidden {
    #[serde(rename = "always")]
    Always,
    #[serde(rename = "-a")]
    Asked,
    #[serde(rename = "never")]
    Never,
}

/// What LIST makes of options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Options {
    /// They are options.
    Taken,
    /// They are the name of a file that is not there: an empty listing.
    Name,
    /// They are refused.
    Refused,
}

/// What a server does to files.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Files {
    /// A rename over a file.
    pub(crate) rename_over: Over,
    /// STOR over a file.
    pub(crate) store_over: Over,
    /// STOR behind REST.
    pub(crate) rest_store: RestStore,
    /// Whether `A.TXT` is `a.txt`.
    pub(crate) ignores_case: bool,
    /// Whether SITE succeeds and does nothing.
    pub(crate) site_is_noop: bool,
    /// Whether names with a dot at the beginning may not be written.
    pub(crate) forbids_dot_names: bool,
    /// What RMD removes.
    pub(crate) remove_dir: RemoveDir,
}

/// Which directories RMD removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RemoveDir {
    /// Empty ones.
    Empty,
    /// Any, with all that is in it.
    Tree,
}

/// What happens to something over a file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Over {
    Replaces,
    Refused,
    /// Success is reported, and nothing is done.
    Lies,
}

/// What STOR behind REST does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RestStore {
    Patches,
    Truncates,
    Ignored,
}

/// How many a server serves, and for how long.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sessions {
    /// The most at once.
    pub(crate) most: usize,
    /// What happens to one more.
    pub(crate) excess: Excess,
    /// After how many milliseconds without a command a session ends.
    pub(crate) idle_milliseconds: Option<u64>,
    /// Commands that do not count for that.
    pub(crate) idle_deaf: Vec<String>,
    /// How long each answer takes.
    pub(crate) slow_milliseconds: u64,
    /// Whether it takes one command at a time and forgets what comes with it or before its answer.
    pub(crate) one_command: bool,
    /// After how many commands behind the password the first session ends with 421.
    pub(crate) ends_after: Option<usize>,
}

/// What happens to a session too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Excess {
    /// 421 in place of the greeting.
    Greeting,
    /// 530 in place of the log-in, and to all that follows.
    Login,
    /// The same, and the connection is closed.
    LoginClosed,
    /// The connection is closed without a word.
    Closed,
    /// Nobody listens.
    Refused,
}

/// Whether a command opens a data connection.
pub(super) fn is_transfer(verb: &str) -> bool {
    matches!(verb, "RETR" | "STOR" | "APPE" | "LIST" | "MLSD" | "NLST")
}

impl Default for Dialect {
    /// A server as the RFCs have it.
    fn default() -> Self {
        let known = "USER PASS QUIT FEAT SYST TYPE OPTS PWD CWD EPSV PASV LIST MLST MLSD RETR STOR APPE REST SIZE MDTM DELE \
                     MKD RMD RNFR RNTO NOOP";
        Self {
            about: String::new(),
            sources: Vec::new(),
            knows: known.split(' ').map(str::to_owned).collect(),
            silent: Vec::new(),
            says: BTreeMap::new(),
            password: "secret".to_owned(),
            listing: Style::default(),
            files: Files::default(),
            sessions: Sessions::default(),
            wants_pret: false,
            options: Vec::new(),
            data_address: None,
            tls: None,
            cannot: Vec::new(),
            unsupported: None,
        }
    }
}

impl Default for Style {
    fn default() -> Self {
        Self {
            file: "-{mode} 1 owner group {size:12} {time} {name}".to_owned(),
            dir: "d{mode} 1 owner group {size:12} {time} {name}".to_owned(),
            time: "%b %d %H:%M".to_owned(),
            old_time: Some("%b %d  %Y".to_owned()),
            clock_minutes: 0,
            facts: ["type", "size", "modify"].map(str::to_owned).to_vec(),
            facts_by_clock: false,
            hidden: Hidden::Always,
            options: Options::Taken,
            path_is_root: false,
            mlsd_wants_path: false,
            mlst_indent: " ".to_owned(),
        }
    }
}

impl Default for Files {
    fn default() -> Self {
        Self {
            rename_over: Over::Replaces,
            store_over: Over::Replaces,
            rest_store: RestStore::Patches,
            ignores_case: false,
            site_is_noop: false,
            forbids_dot_names: false,
            remove_dir: RemoveDir::Empty,
        }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            most: 50,
            excess: Excess::Greeting,
            idle_milliseconds: None,
            idle_deaf: Vec::new(),
            slow_milliseconds: 0,
            one_command: false,
            ends_after: None,
        }
    }
}

impl Dialect {
    /// Reads a dialect file.
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        toml::from_str(text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Whether it knows a command.
    pub(super) fn knows(&self, command: &str) -> bool {
        self.knows.iter().any(|known| known == command)
    }

    /// Its words under the first of the keys that it has, else `usual`.
    pub(super) fn says(&self, keys: &[&str], usual: &str) -> String {
        let found = keys.iter().find_map(|key| self.says.get(*key));
        let text = found.map_or(usual, String::as_str);
        text.trim_end_matches('\n').replace('\n', "\r\n")
    }
}

/// What is listed.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) is_dir: bool,
    pub(super) size: usize,
    pub(super) mode: u32,
    pub(super) modified: SystemTime,
}

impl Style {
    /// One line of LIST.
    pub(super) fn line(&self, item: &Item) -> String {
        let template = if item.is_dir { &self.dir } else { &self.file };
        let age = SystemTime::now()
            .duration_since(item.modified)
            .unwrap_or_default();
        let is_old = age > Duration::from_hours(24 * 180);
        let format = self
            .old_time
            .as_ref()
            .filter(|_| is_old)
            .unwrap_or(&self.time);
        let time = self.local(item.modified).format(format).to_string();
        let mode: String = (0..9)
            .map(|bit| match item.mode & (0o400 >> bit) {
                0 => '-',
                _ => char::from(b"rwx"[bit % 3]),
            })
            .collect();
        let mut line = String::new();
        let mut rest = template.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            let (field, after) = behind.split_once('}').expect("a field ends with }");
            let (field, width) = field.split_once(':').unwrap_or((field, "0"));
            let width: usize = width.parse().unwrap();
            let value = match field {
                "name" => item.name.clone(),
                "size" => item.size.to_string(),
                "mode" => mode.clone(),
                "time" => time.clone(),
                other => panic!("no field is called {other}"),
            };
            let _ = write!(line, "{before}{value:>width$}");
            rest = after;
        }
        line + rest
    }

    /// The facts of MLSD and MLST, and the name.
    pub(super) fn facts(&self, item: &Item) -> String {
        let modified = if self.facts_by_clock {
            self.local(item.modified)
        } else {
            item.modified.into()
        };
        let mut line = String::new();
        for fact in &self.facts {
            let value = match fact.to_ascii_lowercase().as_str() {
                "type" if item.is_dir => "dir".to_owned(),
                "type" => "file".to_owned(),
                "size" if item.is_dir => continue,
                "size" => item.size.to_string(),
                "modify" => modified.format("%Y%m%d%H%M%S").to_string(),
                "perm" if item.is_dir => "cdelmp".to_owned(),
                "perm" => "adfrw".to_owned(),
                "unix.mode" => format!("0{:03o}", item.mode),
                other => panic!("no fact is called {other}"),
            };
            let _ = write!(line, "{fact}={value};");
        }
        line + " " + &item.name
    }

    fn local(&self, time: SystemTime) -> DateTime<Utc> {
        DateTime::<Utc>::from(time) + chrono::Duration::minutes(self.clock_minutes)
    }
}
