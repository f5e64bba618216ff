//! The options that both commands take, each once; the derived parser checks their values.

use std::{ffi::OsString, net::IpAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Command};

use super::{
    mount_options::MountOptions,
    proxy::parse_proxy,
    tls::TlsOpts,
    values::{
        Streams, parse_bytes, parse_charset, parse_conflict, parse_ports, parse_seconds,
        parse_streams, parse_timeout,
    },
};
use crate::config::{Charset, OnConflict, ProxyConfig};

/// The heading of the options of the caches.
pub(super) const CACHES: &str = "Caches";

/// The options. What only a mount has use for is accepted by the doctor too, so that the options of a mount can be copied as they are.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own, in any combination"
)]
pub struct Opts {
    /// Read the password from the first line of this file
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub(super) password_file: Option<PathBuf>,

    /// Give up an operation after this long without progress
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_timeout, help_heading = "Connection")]
    pub(super) timeout: Duration,

    /// Give up a transfer slower than this for that long
    #[arg(long, value_name = "BYTES/S", default_value = "100", value_parser = parse_bytes, help_heading = "Connection")]
    pub(super) min_rate: u64,

    /// Keep at most this many sessions to the server
    #[arg(long, value_name = "NUMBER", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=128), help_heading = "Connection")]
    pub(super) connections: u16,

    /// The proxy that makes all connections.
    #[arg(
        long,
        value_name = "URL",
        value_parser = parse_proxy,
        help = "Connect through socks5:// or http://[user:password@]host:port",
        help_heading = "Connection"
    )]
    pub(super) proxy: Option<ProxyConfig>,

    /// Connect from this address of this machine
    #[arg(long, value_name = "IP", help_heading = "Connection")]
    pub(super) bind_address: Option<IpAddr>,

    /// Have the server make the data connections (active mode)
    #[arg(long, help_heading = "Connection")]
    pub(super) active: bool,

    /// With --active, listen on these ports only, such as 40000-40100
    #[arg(long, value_name = "PORTS", value_parser = parse_ports, help_heading = "Connection")]
    pub(super) active_ports: Option<RangeInclusive<u16>>,

    /// With --active, tell the server this address of ours
    #[arg(long, value_name = "IP", help_heading = "Connection")]
    pub(super) active_address: Option<IpAddr>,

    /// Connect for data where PASV says, even to another machine
    #[arg(long, help_heading = "Connection")]
    pub(super) trust_pasv_address: bool,

    /// Take names on the server for text in this charset
    #[arg(long, value_name = "NAME", value_parser = parse_charset, help_heading = "Connection")]
    pub(super) charset: Option<Charset>,

    /// Read a large file by this many transfers at once
    #[arg(long, value_name = "NUMBER", default_value = "auto", value_parser = parse_streams, help_heading = "Connection")]
    pub(super) streams: Streams,

    #[command(flatten)]
    pub(super) tls: TlsOpts,

    /// Neither use nor keep what mounts have learnt of servers
    #[arg(long, help_heading = "Connection")]
    pub(super) no_profile: bool,

    /// Show listings that are up to this old
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = parse_seconds, help_heading = CACHES)]
    pub(super) dir_ttl: Duration,

    /// Let all listings take at most this much memory
    #[arg(long, value_name = "SIZE", default_value = "128M", value_parser = parse_bytes, help_heading = CACHES)]
    pub(super) listing_memory: u64,

    /// Keep at most this much file content in memory
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_bytes, help_heading = CACHES)]
    pub(super) cache_size: u64,

    /// Keep this much content on disk, for later mounts
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_bytes, help_heading = CACHES)]
    pub(super) cache_disk_size: u64,

    /// Put that and unsent files here [default: ~/.cache/ftpfs]
    #[arg(long, value_name = "DIR", help_heading = CACHES)]
    pub(super) cache_dir: Option<PathBuf>,

    /// Keep a larger unsent file on disk, not in memory
    #[arg(long, value_name = "SIZE", default_value = "8M", value_parser = parse_bytes, help_heading = CACHES)]
    pub(super) spool_memory: u64,

    /// Let all unsent files take this much memory
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_bytes, help_heading = CACHES)]
    pub(super) spool_memory_total: u64,

    /// Let no file grow beyond this size
    #[arg(long, value_name = "SIZE", default_value = "1T", value_parser = parse_bytes, help_heading = CACHES)]
    pub(super) max_file_size: u64,

    /// The `-o` lists, in their order.
    #[arg(help = "Mount options as in fstab: ro, allow_other, uid=, gid=, umask=, ...",
        short, value_name = "OPT[,OPT...]", action = ArgAction::Append, help_heading = "Mount")]
    pub(super) options: Vec<OsString>,

    /// Stay in the foreground
    #[arg(short, long, help_heading = "Mount")]
    pub(super) foreground: bool,

    /// Where others have changed a file meanwhile: keep-both, fail (keep theirs), or ours
    #[arg(long, value_name = "WHAT", default_value = "keep-both", value_parser = parse_conflict, help_heading = "Mount")]
    pub(super) conflict: OnConflict,

    /// Compare the server's checksum of each upload with ours
    #[arg(long, help_heading = "Mount")]
    pub(super) verify: bool,

    /// At the end, wait this long for uploads that make no progress
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds, help_heading = "Mount")]
    pub(super) drain_timeout: Duration,

    /// Let the threads of the mount do on this machine whatever the user may.
    #[arg(long, hide = true, help_heading = "Mount")]
    pub(super) no_sandbox: bool,

    /// Log more; twice: also every command and reply
    #[arg(short, long, action = ArgAction::Count, help_heading = "Messages")]
    pub(super) verbose: u8,

    /// Log to this file instead of syslog (or stderr with -f)
    #[arg(long, value_name = "FILE", help_heading = "Messages")]
    pub(super) log_file: Option<PathBuf>,

    /// Print this help
    #[arg(short, long, action = ArgAction::HelpShort, help_heading = "Messages")]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = "Messages")]
    version: Option<bool>,

    /// mount(8) passes -n, -s and -t to its helpers; -s asks to tolerate unknown options.
    #[arg(short = 'n', hide = true)]
    no_mtab: bool,
    #[arg(short = 's', hide = true)]
    pub(super) sloppy: bool,
    #[arg(short = 't', hide = true, value_name = "TYPE")]
    fstype: Option<OsString>,

    /// What the `-o` lists say, once they are read.
    #[arg(skip)]
    pub(super) list: MountOptions,
}

impl Opts {
    /// The long options that `-o` takes by name, and whether each needs a value.
    pub(super) fn long_names() -> Vec<(String, bool)> {
        Self::augment_args(Command::new("ftpfs"))
            .get_arguments()
            .filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
            .filter_map(|argument| {
                let name = argument.get_long()?.to_owned();
                Some((name, argument.get_action().takes_values()))
            })
            .collect()
    }
}
