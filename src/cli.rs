//! What the user typed: the command line and the `-o` options, read into [`Opts`] and checked into a [`Config`].

mod credentials;
mod netrc;
mod options;
mod proxy;
mod surroundings;
mod target;
mod tls;
mod values;

pub use surroundings::Surroundings;
pub use target::Target;

use std::{
    ffi::OsString,
    fmt,
    net::IpAddr,
    ops::RangeInclusive,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};

use crate::config::{
    Access, ActiveConfig, BaseDir, CacheConfig, Charset, Config, DiskConfig, FsConfig, FtpConfig,
    LogConfig, MountConfig, MountFlag, NetworkConfig, ProxyConfig,
};
use options::MountOptions;
use proxy::parse_proxy;
use tls::TlsOpts;
use values::{
    Streams, parse_bytes, parse_charset, parse_ports, parse_seconds, parse_streams, parse_timeout,
};

/// The directory below the state directory that holds a file for each server.
const PROFILES: &str = "servers";

/// The word in front of a URL that asks for an examination and no mount.
const DOCTOR: &str = "doctor";

/// A mistake on the command line: one sentence that names the option and the remedy, and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// Takes the sentence over.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

/// Why the command line leads to no mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// `--help`, `--version`, or mount(8)'s dry run: print this and exit 0.
    Print(String),
    /// A mistake.
    Usage(UsageError),
}

impl From<UsageError> for Stop {
    fn from(error: UsageError) -> Self {
        Self::Usage(error)
    }
}

/// Mount an FTP server as a local directory
#[derive(Parser)]
#[command(
    name = "ftpfs",
    version,
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true,
    override_usage = "ftpfs [OPTIONS] <URL> <MOUNTPOINT>\n       ftpfs doctor [OPTIONS] [--json] <URL>",
    after_help = "Every long option can also be given as -o NAME=VALUE. The password comes from the URL, \
                  --password-file, $FTPFS_PASSWORD, ~/.netrc, or the terminal, in this order.\n\
                  Unmount with: fusermount3 -u MOUNTPOINT",
    max_term_width = 100
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own, in any combination"
)]
pub struct Opts {
    /// The server and the directory.
    #[arg(
        value_name = "URL",
        help = "ftp://[user[:password]@]host[:port][/dir], or [user@]host:[dir]; /dir is below the login directory, \
                //dir is not; ftpes:// demands TLS, ftps:// begins with it"
    )]
    pub url: OsString,

    /// The directory to mount on
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,

    /// Read the password from the first line of this file
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub password_file: Option<PathBuf>,

    /// Give up an operation after this long without progress
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_timeout, help_heading = "Connection")]
    pub timeout: Duration,

    /// Keep at most this many sessions to the server
    #[arg(long, value_name = "NUMBER", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=128), help_heading = "Connection")]
    pub connections: u16,

    /// The proxy that makes all connections.
    #[arg(
        long,
        value_name = "URL",
        value_parser = parse_proxy,
        help = "Connect through socks5:// or http://[user:password@]host:port",
        help_heading = "Connection"
    )]
    pub proxy: Option<ProxyConfig>,

    /// Connect from this address of this machine
    #[arg(long, value_name = "IP", help_heading = "Connection")]
    pub bind_address: Option<IpAddr>,

    /// Have the server make the data connections (active mode)
    #[arg(long, help_heading = "Connection")]
    pub active: bool,

    /// With --active, listen on these ports only, such as 40000-40100
    #[arg(long, value_name = "PORTS", value_parser = parse_ports, help_heading = "Connection")]
    pub active_ports: Option<RangeInclusive<u16>>,

    /// With --active, tell the server this address of ours
    #[arg(long, value_name = "IP", help_heading = "Connection")]
    pub active_address: Option<IpAddr>,

    /// Connect for data where PASV says, even to another machine
    #[arg(long, help_heading = "Connection")]
    pub trust_pasv_address: bool,

    /// Take names on the server for text in this charset
    #[arg(long, value_name = "NAME", value_parser = parse_charset, help_heading = "Connection")]
    pub charset: Option<Charset>,

    /// Read a large file by this many transfers at once; auto finds out how many pay
    #[arg(long, value_name = "NUMBER", default_value = "auto", value_parser = parse_streams, help_heading = "Connection")]
    pub streams: Streams,

    #[command(flatten)]
    tls: TlsOpts,

    /// Neither use nor keep what mounts have learnt of servers
    #[arg(long, help_heading = "Connection")]
    pub no_profile: bool,

    /// Show listings that are up to this old
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = parse_seconds, help_heading = "Caches")]
    pub dir_ttl: Duration,

    /// Keep at most this much file content in memory
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_bytes, help_heading = "Caches")]
    pub cache_size: u64,

    /// Keep up to this much file content on disk, for the next mount too; 0 for none
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_bytes, help_heading = "Caches")]
    pub cache_disk_size: u64,

    /// Put that content, and files that are being written, here [default: ~/.cache/ftpfs]
    #[arg(long, value_name = "DIR", help_heading = "Caches")]
    pub cache_dir: Option<PathBuf>,

    /// Move a file that is being written from memory to disk beyond this size
    #[arg(long, value_name = "SIZE", default_value = "8M", value_parser = parse_bytes, help_heading = "Caches")]
    pub spool_memory: u64,

    /// The `-o` lists, in their order.
    #[arg(help = "Mount options as in fstab: ro, allow_other, uid=, gid=, umask=, ...",
        short, value_name = "OPT[,OPT...]", action = ArgAction::Append, help_heading = "Mount")]
    pub options: Vec<OsString>,

    /// Stay in the foreground
    #[arg(short, long, help_heading = "Mount")]
    pub foreground: bool,

    /// At the end, wait this long for uploads that make no progress
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds, help_heading = "Mount")]
    pub drain_timeout: Duration,

    /// Log more; twice: also every command and reply
    #[arg(short, long, action = ArgAction::Count, help_heading = "Messages")]
    pub verbose: u8,

    /// Log to this file instead of syslog (or stderr with -f)
    #[arg(long, value_name = "FILE", help_heading = "Messages")]
    pub log_file: Option<PathBuf>,

    /// Print this help
    #[arg(short, long, action = ArgAction::HelpShort, help_heading = "Messages")]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = "Messages")]
    version: Option<bool>,

    /// mount(8) passes -n, -s and -t to its helpers; -s asks to bear with unknown options.
    #[arg(short = 'n', hide = true)]
    no_mtab: bool,
    #[arg(short = 's', hide = true)]
    sloppy: bool,
    #[arg(short = 't', hide = true, value_name = "TYPE")]
    fstype: Option<OsString>,

    #[arg(skip)]
    mount_options: MountOptions,
}

impl fmt::Debug for Opts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the URL, which may hold a password.
        f.debug_struct("Opts")
            .field("mountpoint", &self.mountpoint)
            .finish_non_exhaustive()
    }
}

impl Opts {
    /// Reads the command line, the program's name first.
    ///
    /// # Errors
    ///
    /// [`Stop`] says what to print and whether that is a failure.
    pub fn parse_from_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let mut args: Vec<OsString> = args.into_iter().collect();
        if is_mount_helper(&args) && args.iter().any(|arg| arg == "-f") {
            // mount.TYPE -f is mount(8)'s dry run, and not our foreground.
            return Err(Stop::Print(String::new()));
        }
        let first = Self::try_from_args(&args)?;
        let long_names = Self::long_names();
        let mut mount_options = MountOptions::parse(&first.options, &long_names, first.sloppy)?;
        // The -o form of a long option is the long option: same check, same default, same message. The command line
        // itself comes last, so that it overrides what fstab says.
        let behind_program = args.len().min(1);
        args.splice(behind_program..behind_program, mount_options.take_long());
        let mut opts = Self::try_from_args(&args)?;
        opts.mount_options = mount_options;
        Ok(opts)
    }

    /// Reads the command line of `ftpfs doctor`: the same options and a URL, no mountpoint; and whether JSON is wanted.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn parse_for_doctor(
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<(Self, bool), Stop> {
        let mut args: Vec<OsString> = args.into_iter().collect();
        args.retain(|arg| arg != DOCTOR);
        let count = args.len();
        args.retain(|arg| arg != "--json");
        let is_json = args.len() < count;
        if args.len() < 2 {
            return Err(UsageError::new("the URL is missing; write: ftpfs doctor URL").into());
        }
        // Where nothing is mounted, any directory will do.
        args.push("/".into());
        Ok((Self::parse_from_args(args)?, is_json))
    }

    /// Whether the command line asks for the doctor.
    pub fn is_for_doctor(args: &[OsString]) -> bool {
        args.get(1).is_some_and(|arg| arg == DOCTOR)
    }

    /// The long options that `-o` takes by name, and whether each needs a value.
    fn long_names() -> Vec<(String, bool)> {
        Self::command()
            .get_arguments()
            .filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
            .filter_map(|argument| {
                let name = argument.get_long()?.to_owned();
                Some((name, argument.get_action().takes_values()))
            })
            .collect()
    }

    fn try_from_args(args: &[OsString]) -> Result<Self, Stop> {
        let matches = Self::command()
            .try_get_matches_from(args)
            .map_err(|error| stop(&error))?;
        Self::from_arg_matches(&matches).map_err(|error| stop(&error))
    }

    /// What is logged, which is wanted before anything else can go wrong.
    pub fn to_log_config(&self, surroundings: &Surroundings) -> LogConfig {
        LogConfig {
            verbosity: self.verbose,
            filter: surroundings.log_filter.clone(),
            file: self.log_file.as_deref().map(absolute),
        }
    }

    fn to_network(&self) -> Result<NetworkConfig, UsageError> {
        let active = self.active.then(|| ActiveConfig {
            ports: self.active_ports.clone(),
            address: self.active_address,
        });
        if self.active && self.proxy.is_some() {
            return Err(UsageError::new(
                "--active does not work with --proxy: the server could not connect to this machine; leave one of them out",
            ));
        }
        if !self.active && (self.active_ports.is_some() || self.active_address.is_some()) {
            return Err(UsageError::new(
                "--active-ports and --active-address need --active",
            ));
        }
        Ok(NetworkConfig {
            proxy: self.proxy.clone(),
            bind_address: self.bind_address,
            active,
            trusts_pasv_address: self.trust_pasv_address,
        })
    }

    /// Checks everything, finds the password, and makes the settings that the program uses.
    ///
    /// # Errors
    ///
    /// A [`UsageError`] for what cannot be right.
    pub fn to_config(&self, surroundings: &Surroundings) -> Result<Config, UsageError> {
        let target = Target::parse(self.url.as_bytes())?;
        let cache_dir = match &self.cache_dir {
            Some(dir) => absolute(dir),
            None => surroundings.cache_dir(),
        };
        let options = &self.mount_options;
        let (user, password) =
            credentials::find(&target, self.password_file.as_deref(), surroundings)?;
        // Shown with the user that was found, which may be netrc's.
        let source = Target {
            user: credentials::shown_user(&user),
            ..target.clone()
        }
        .to_source();
        let disk = (self.cache_disk_size > 0).then(|| DiskConfig {
            dir: cache_dir.join("blocks"),
            server: server_name(&user, &target, self.charset),
            bytes_max: self.cache_disk_size,
        });
        Ok(Config {
            ftp: FtpConfig {
                host: target.host,
                port: target.port,
                user,
                password,
                base: target.base,
                charset: self.charset,
                network: self.to_network()?,
                timeout: self.timeout,
                connections_max: usize::from(self.connections),
                tls: self.tls.to_config(target.scheme, surroundings)?,
                profile_dir: (!self.no_profile).then(|| surroundings.state_dir().join(PROFILES)),
            },
            fs: FsConfig {
                uid: options.uid.unwrap_or(surroundings.uid),
                gid: options.gid.unwrap_or(surroundings.gid),
                file_mask: options.file_mask.or(options.mask).unwrap_or(0),
                dir_mask: options.dir_mask.or(options.mask).unwrap_or(0),
                is_read_only: options.is_read_only(),
                spool_memory_bytes_max: self.spool_memory,
                spool_dir: cache_dir.join("spool"),
                drain_timeout: self.drain_timeout,
            },
            cache: CacheConfig {
                dir_ttl: self.dir_ttl,
                bytes_max: usize::try_from(self.cache_size).unwrap_or(usize::MAX),
                disk,
                streams: self.streams.0,
                ..CacheConfig::default()
            },
            mount: MountConfig {
                mountpoint: self.mountpoint.clone(),
                source,
                is_foreground: self.foreground,
                access: options.access,
                // Without it every local user could do on the server what the FTP user can.
                default_permissions: options.default_permissions || options.access != Access::Owner,
                flags: options.flags.clone(),
            },
            log: self.to_log_config(surroundings),
        })
    }
}

/// Whose files are read, in one word that tells servers, users and directories apart; not how they are reached.
fn server_name(user: &str, target: &Target, charset: Option<Charset>) -> String {
    let (root, dir) = match &target.base {
        BaseDir::Login(dir) => ("~/", dir),
        BaseDir::Absolute(dir) => ("", dir),
    };
    let host = target.host.to_ascii_lowercase();
    let dir = dir.escape_ascii();
    // By it one path can mean two files.
    let charset = charset.map_or(String::new(), |charset| format!(";{}", charset.name()));
    format!("{user}@{host}:{}{root}{dir}{charset}", target.port)
}

/// Whether mount(8) calls us as `mount.TYPE`.
fn is_mount_helper(args: &[OsString]) -> bool {
    let name = args
        .first()
        .and_then(|program| Path::new(program).file_name());
    name.is_some_and(|name| name.as_bytes().starts_with(b"mount."))
}

/// The daemon works in `/`, so that it keeps no directory busy.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Makes one line of clap's several, and takes passwords out of it.
fn stop(error: &clap::Error) -> Stop {
    let text = error.render().to_string();
    if !error.use_stderr() {
        return Stop::Print(text);
    }
    let mut parts: Vec<String> = Vec::new();
    for paragraph in text.split("\n\n") {
        let paragraph = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        if paragraph.starts_with("Usage:") || paragraph.starts_with("For more information") {
            continue;
        }
        let paragraph = paragraph.strip_prefix("error: ").unwrap_or(&paragraph);
        parts.push(
            paragraph
                .strip_prefix("tip: ")
                .unwrap_or(paragraph)
                .to_owned(),
        );
    }
    if parts.len() < 2 && error.kind() != clap::error::ErrorKind::ValueValidation {
        parts.push("see 'ftpfs --help'".to_owned());
    }
    Stop::Usage(UsageError(redact(&parts.join("; "))))
}

/// Hides what stands between `://user:` and the last `@` of the same word.
fn redact(text: &str) -> String {
    let hide = |word: &str| {
        let range = Target::password_ranges(word.as_bytes());
        let rest = range
            .into_iter()
            .next()
            .map(|range| (range.start, range.end.max(word.rfind('@').unwrap_or(0))));
        match rest.and_then(|(start, end)| Some((word.get(..start)?, word.get(end..)?))) {
            Some((before, after)) => format!("{before}***{after}"),
            None => word.to_owned(),
        }
    };
    text.split(' ').map(hide).collect::<Vec<_>>().join(" ")
}

/// The names of the kernel's options and of ours, for the suggestion.
fn known_names<'a>(long_names: &'a [(String, bool)]) -> impl Iterator<Item = &'a str> {
    let own = options::OWN_NAMES.iter().copied().chain(MountFlag::names());
    let own: Vec<&'a str> = own.collect();
    long_names.iter().map(|(name, _)| name.as_str()).chain(own)
}

#[cfg(test)]
mod tests;
