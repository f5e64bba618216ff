//! What the program uses: validated settings, one struct a layer, each with its default and the reason for it.

mod charset;
mod flag;
mod network;
mod password;

pub use charset::Charset;
pub use flag::MountFlag;
pub use network::{ActiveConfig, NetworkConfig, ProxyConfig, ProxyKind, ProxyLogin};
pub use password::Password;

use std::{path::PathBuf, time::Duration};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// Bytes of a file's name that stand for themselves.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'-')
    .remove(b'_')
    .remove(b'@')
    .remove(b':');

/// How many bytes a second a server is expected to hash at least. 20 MB: a slow disk, or a small NAS that computes MD5; the wait for a
/// checksum is the timeout and the time that this takes.
pub const HASHED_BYTES_PER_SECOND_MIN: u64 = 20_000_000;

/// The most memory that all listings take together: those that arrive, are kept, or are shown by an open directory. 128 MiB: the largest directory
/// seen, of a million entries, takes some 60 to 90 MiB; what is fetched ahead gets half of it.
pub const LISTING_BYTES_MAX: usize = 128 << 20;

/// Everything a mount needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// How to reach the server.
    pub ftp: FtpConfig,
    /// How the filesystem behaves.
    pub fs: FsConfig,
    /// How much is kept, and for how long.
    pub cache: CacheConfig,
    /// Where and how to mount.
    pub mount: MountConfig,
}

/// How to reach the server, for [`crate::ftp`].
#[derive(Debug, Clone)]
pub struct FtpConfig {
    /// Host name or address, without brackets.
    pub host: String,
    /// The control port.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// The password.
    pub password: Password,
    /// The directory to mount.
    pub base: BaseDir,
    /// The character set of the server's names; `None` leaves them the bytes that they are.
    pub charset: Option<Charset>,
    /// How connections get there.
    pub network: NetworkConfig,
    /// The longest wait without progress, whatever for. 30 s: longer than a busy server's fsync, shorter than a
    /// user's patience.
    pub timeout: Duration,
    /// How many bytes a second a transfer must carry; 0 for any number. It may be behind that by the timeout. 100: less than any line that
    /// files are carried over, and a thousand times what drips.
    pub min_rate: u64,
    /// Where what is learnt of servers is kept for the next mount; `None` for nowhere.
    pub profile_dir: Option<PathBuf>,
    /// The most sessions at once. 8: Pure-FTPd's shipped limit for one address.
    pub connections_max: usize,
    /// The most memory that listings take together. See [`LISTING_BYTES_MAX`].
    pub listing_bytes_max: usize,
    /// Whether and how connections are protected.
    pub tls: TlsConfig,
}

impl FtpConfig {
    /// User, host and port as what a file may be called.
    pub fn file_name(&self) -> String {
        let name = format!("{}@{}:{}", self.user, self.host, self.port);
        percent_encode(name.as_bytes(), PLAIN).to_string()
    }
}

/// Whether and how connections are protected, for [`crate::ftp`].
#[derive(Debug, Clone, Default)]
pub struct TlsConfig {
    /// When TLS is used.
    pub mode: TlsMode,
    /// Whether the server's certificate is not looked at.
    pub is_insecure: bool,
    /// Whether data connections must resume the TLS session of their control connection.
    pub requires_resumption: bool,
    /// Authorities to trust instead of the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// The only certificates to trust; empty for those that an authority vouches for.
    pub pins: Vec<Pin>,
    /// What the server gets to see of us.
    pub identity: Option<TlsIdentity>,
    /// The file that remembers which servers have spoken TLS.
    pub known_hosts: Option<PathBuf>,
    /// The file that remembers which certificates the user has trusted; `None` where an option says whom to trust.
    pub trusted_hosts: Option<PathBuf>,
    /// The file that remembers for which servers it was said that nothing is protected.
    pub clear_hosts: Option<PathBuf>,
}

/// When TLS is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Off,
    /// Where the server offers it to `AUTH TLS` (RFC 4217), and always where it has before.
    #[default]
    Prefer,
    /// `AUTH TLS`, or no login.
    Require,
    /// From the first byte on, on a port of its own.
    Implicit,
}

/// The SHA-256 digest of a certificate, or of the public key in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

/// A client's certificate and its key, both PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// The private key, not encrypted.
    pub key: PathBuf,
}

/// The directory on the server that becomes the mount's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseDir {
    /// Below the directory that the login ends in, no leading slash; empty for that directory itself.
    Login(Vec<u8>),
    /// From the server's root, with a leading slash.
    Absolute(Vec<u8>),
}

/// How the filesystem behaves, for [`crate::fs`].
#[derive(Debug, Clone)]
pub struct FsConfig {
    /// The user that owns all that is shown.
    pub uid: u32,
    /// The group that owns all that is shown.
    pub gid: u32,
    /// The only user who may enter the mounted directory, besides root; `None` for whoever its permission bits let in.
    pub only_user: Option<u32>,
    /// Permission bits taken away from files.
    pub file_mask: u32,
    /// Permission bits taken away from directories.
    pub dir_mask: u32,
    /// Whether every change is refused with EROFS.
    pub is_read_only: bool,
    /// The most memory that one file's unsent bytes take before they move to a file. 8 MiB: nearly all files fit.
    pub spool_memory_bytes_max: u64,
    /// The most memory that the unsent bytes of all files take. 64 MiB: as much as content that is read; what does not fit becomes a file at once.
    pub spool_memory_total_max: usize,
    /// The most bytes that a file may grow to. 1 TiB: more than any file that goes over FTP in a day, and less than a slip of a program
    /// (an offset of 2^62) needs to fill every disk.
    pub file_bytes_max: u64,
    /// Where spool files live, and where bytes that could not be sent are left at unmount.
    pub spool_dir: PathBuf,
    /// Where this server's temporary files are written down for the next mount of the same directory; `None` for nowhere.
    pub debts_dir: Option<PathBuf>,
    /// The file that holds the key with which inode numbers are made, so that the next mount makes the same; `None` for a key of this mount
    /// alone.
    pub inode_key: Option<PathBuf>,
    /// How long the end of a mount waits for uploads that still make progress.
    pub drain_timeout: Duration,
    /// Which file stays when others have changed one that was changed here. Both: neither side loses a byte.
    pub on_conflict: OnConflict,
    /// Whether the server is asked for a checksum of what was uploaded, where it computes any. No: each upload costs a round trip more,
    /// and the server reads the file once more.
    pub verifies_uploads: bool,
}

/// Which file stays when others have changed one that was changed here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Theirs; ours is stored beside it.
    #[default]
    KeepBoth,
    /// Theirs; ours is kept on this machine.
    Fail,
    /// Ours takes its place.
    Ours,
}

/// How much is kept, and for how long, for [`crate::cache`].
#[derive(Debug, Clone)]
pub struct CacheConfig {
    /// How old a listing may be that is shown. 20 s: a change made elsewhere is noticed while one still looks for it.
    pub dir_ttl: Duration,
    /// The most names that the kernel should know. 200 000: twice the largest directory promised; each takes some 250 bytes here, and more in the kernel.
    pub names_max: usize,
    /// The most memory for blocks of file content, read ahead or kept. 64 MiB.
    pub bytes_max: usize,
    /// How many streams read one file that is read on; found out by measuring if not given.
    pub streams: Option<usize>,
    /// What is kept on disk for the next mount. Nothing: programs that need it are few, and it takes room that others may want.
    pub disk: Option<DiskConfig>,
}

/// The blocks of file content on disk.
#[derive(Debug, Clone)]
pub struct DiskConfig {
    /// The directory in which each server has one.
    pub dir: PathBuf,
    /// Whose files they are: user, host, port and directory.
    pub server: String,
    /// The most bytes on disk for this server.
    pub bytes_max: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            dir_ttl: Duration::from_secs(20),
            names_max: 200_000,
            bytes_max: 64 << 20,
            disk: None,
            streams: None,
        }
    }
}

/// Where and how to mount, for [`crate::mount`].
#[derive(Debug, Clone)]
pub struct MountConfig {
    /// The directory to mount on.
    pub mountpoint: PathBuf,
    /// What /proc/mounts shows as the source: `ftp://user@host/dir`, never a password.
    pub source: String,
    /// Where the mounts of this server by this user say that they send their last changes.
    pub presence_dir: PathBuf,
    /// Whether to stay in the foreground.
    pub is_foreground: bool,
    /// Who may look in.
    pub access: Access,
    /// Whether the kernel checks permission bits.
    pub default_permissions: bool,
    /// What the threads of the mount may not do on this machine; `None` for nothing.
    pub sandbox: Option<SandboxConfig>,
    /// The kernel's own mount options, in the order given; a later one overrides an earlier one.
    pub flags: Vec<MountFlag>,
}

/// What the threads of a mount may reach on this machine, besides what every mount needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SandboxConfig {
    /// Files and directories that may be read: where the environment says that certificates are.
    pub readable: Vec<PathBuf>,
}

/// Which local users may look into the mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    /// The user who mounted it: FUSE's own default.
    #[default]
    Owner,
    /// That user and root (`allow_root`).
    OwnerAndRoot,
    /// Everyone (`allow_other`).
    Everyone,
}

/// What is logged, and where to, for [`crate::logging`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// How often `-v` was given.
    pub verbosity: u8,
    /// A filter as in `FTPFS_LOG`; overrides the verbosity.
    pub filter: Option<String>,
    /// The file to log to; otherwise the standard error output in the foreground, syslog in the background.
    pub file: Option<PathBuf>,
}
