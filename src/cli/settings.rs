//! From what was typed to the settings that the program uses: checked, with the password found and the defaults put in.

use std::os::unix::ffi::OsStrExt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use twox_hash::XxHash3_64;

use super::{
    arguments::Opts,
    credentials,
    error::UsageError,
    request::{DoctorRequest, MountRequest},
    surroundings::Surroundings,
    target::Target,
    values::absolute,
};
use crate::config::{
    Access, ActiveConfig, BaseDir, CacheConfig, Config, DiskConfig, FsConfig, FtpConfig, LogConfig,
    MountConfig, NetworkConfig, SandboxConfig,
};

/// Bytes of a folder's name that stand for themselves.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'-')
    .remove(b'_')
    .remove(b'@')
    .remove(b':');

/// The longest part of a folder's name that is there to be read. 200: a name has 255 bytes at most.
const SHOWN_BYTES_MAX: usize = 200;

/// The directory below the state directory that holds a file for each server.
const PROFILES: &str = "servers";

/// The file in it with the key of the inode numbers.
const INODE_KEY: &str = "inode-key";

/// The one that holds a directory for each server, in which its mounts say that they send their last changes.
const PRESENCES: &str = "draining";

impl MountRequest {
    /// Checks everything, finds the password, and makes the settings that a mount uses.
    ///
    /// # Errors
    ///
    /// A [`UsageError`] for what cannot be right.
    pub fn to_config(&self, surroundings: &Surroundings) -> Result<Config, UsageError> {
        let opts = &self.opts;
        let list = &opts.list;
        let target = Target::parse(self.url.as_bytes())?.with_login(list.login.as_ref())?;
        let ftp = opts.to_ftp_config(&target, surroundings)?;
        let cache_dir = match &opts.cache_dir {
            Some(dir) => absolute(dir),
            None => surroundings.cache_dir(),
        };
        // Shown with the user that was found, which may be netrc's.
        let source = Target {
            user: credentials::shown_user(&ftp.user),
            ..target
        }
        .to_source();
        let disk = (opts.cache_disk_size > 0).then(|| DiskConfig {
            dir: cache_dir.join("blocks"),
            server: server_name(&ftp),
            bytes_max: opts.cache_disk_size,
        });
        let presences = surroundings.state_dir().join(PRESENCES);
        let presence_dir = presences.join(ftp.file_name());
        let debts_dir = surroundings.state_dir().join(debts_name(&ftp));
        Ok(Config {
            ftp,
            fs: FsConfig {
                uid: list.uid.unwrap_or(surroundings.uid),
                gid: list.gid.unwrap_or(surroundings.gid),
                // The kernel answers from its caches whoever asks; that the filesystem turns others away does not keep them from that.
                only_user: (list.access == Access::OwnerAndRoot).then_some(surroundings.uid),
                file_mask: list.file_mask.or(list.mask).unwrap_or(0),
                dir_mask: list.dir_mask.or(list.mask).unwrap_or(0),
                is_read_only: list.is_read_only(),
                spool_memory_bytes_max: opts.spool_memory,
                spool_memory_total_max: usize::try_from(opts.spool_memory_total)
                    .unwrap_or(usize::MAX),
                file_bytes_max: opts.max_file_size,
                spool_dir: cache_dir.join("spool"),
                debts_dir: Some(debts_dir),
                inode_key: Some(surroundings.state_dir().join(INODE_KEY)),
                drain_timeout: opts.drain_timeout,
                on_conflict: opts.conflict,
                verifies_uploads: opts.verify,
            },
            cache: CacheConfig {
                dir_ttl: opts.dir_ttl,
                bytes_max: usize::try_from(opts.cache_size).unwrap_or(usize::MAX),
                disk,
                streams: opts.streams.0,
                ..CacheConfig::default()
            },
            mount: MountConfig {
                mountpoint: self.mountpoint.clone(),
                source,
                presence_dir,
                is_foreground: opts.foreground,
                access: list.access,
                // Without it every local user could do on the server what the FTP user can.
                default_permissions: list.default_permissions || list.access != Access::Owner,
                sandbox: (!opts.no_sandbox).then(|| SandboxConfig {
                    readable: surroundings.certificates.clone(),
                }),
                flags: list.flags.clone(),
            },
        })
    }
}

impl DoctorRequest {
    /// Checks what the doctor needs, and finds the password.
    ///
    /// # Errors
    ///
    /// As for a mount.
    pub fn to_config(&self, surroundings: &Surroundings) -> Result<FtpConfig, UsageError> {
        let target = Target::parse(self.url.as_bytes())?;
        let target = target.with_login(self.opts.list.login.as_ref())?;
        self.opts.to_ftp_config(&target, surroundings)
    }

    /// Whether nothing is to be written on the server.
    pub fn is_read_only(&self) -> bool {
        self.opts.list.is_read_only()
    }

    /// Whether JSON is wanted.
    pub fn is_json(&self) -> bool {
        self.json
    }
}

impl Opts {
    /// What is logged, which is wanted before anything else can go wrong.
    pub fn to_log_config(&self, surroundings: &Surroundings) -> LogConfig {
        LogConfig {
            verbosity: self.verbose,
            filter: surroundings.log_filter.clone(),
            file: self.log_file.as_deref().map(absolute),
        }
    }

    pub(super) fn to_network(&self) -> Result<NetworkConfig, UsageError> {
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

    fn to_ftp_config(
        &self,
        target: &Target,
        surroundings: &Surroundings,
    ) -> Result<FtpConfig, UsageError> {
        let (user, password) =
            credentials::find(target, self.password_file.as_deref(), surroundings)?;
        Ok(FtpConfig {
            listing_bytes_max: usize::try_from(self.listing_memory).unwrap_or(usize::MAX),
            host: target.host.clone(),
            port: target.port,
            user,
            password,
            base: target.base.clone(),
            charset: self.charset,
            network: self.to_network()?,
            timeout: self.timeout,
            min_rate: self.min_rate,
            connections_max: usize::from(self.connections),
            tls: self.tls.to_config(target.scheme, surroundings)?,
            profile_dir: (!self.no_profile).then(|| surroundings.state_dir().join(PROFILES)),
        })
    }
}

/// The folder for what mounts owe this server, user and directory: for those who look, and a hash.
fn debts_name(ftp: &FtpConfig) -> String {
    let shown = format!("{}@{}:{}", ftp.user, ftp.host, ftp.port);
    let shown = percent_encode(shown.as_bytes(), PLAIN).to_string();
    let shown = shown.get(..SHOWN_BYTES_MAX).unwrap_or(&shown);
    let hash = XxHash3_64::oneshot(server_name(ftp).as_bytes());
    format!("{shown}-{hash:016x}")
}

/// Whose files are read, in one word that differs by server, user and directory; not how they are reached.
fn server_name(ftp: &FtpConfig) -> String {
    let (root, dir) = match &ftp.base {
        BaseDir::Login(dir) => ("~/", dir),
        BaseDir::Absolute(dir) => ("", dir),
    };
    let host = ftp.host.to_ascii_lowercase();
    let dir = dir.escape_ascii();
    // By it one path can mean two files.
    let charset = ftp
        .charset
        .map_or(String::new(), |charset| format!(";{}", charset.name()));
    format!("{}@{host}:{}{root}{dir}{charset}", ftp.user, ftp.port)
}
