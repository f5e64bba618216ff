//! What can go wrong until the mount is ready, each in one line for the user.

use std::net::IpAddr;

use super::{reply::Fault, tls::TlsError};
use crate::remote::{Phase, RemoteError, RemoteErrorKind};

/// Why no session could be opened. Each message is one line that names the host and what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("cannot find the host {host}: {detail}; check its name in the URL")]
    HostUnknown {
        /// The host as configured.
        host: String,
        /// What the resolver said.
        detail: String,
    },
    /// Nobody listens there.
    #[error(
        "{host} refuses connections on port {port}; check host and port in the URL, and that the server runs"
    )]
    Refused {
        /// The host as configured.
        host: String,
        /// The port as configured.
        port: u16,
    },
    /// The connection broke before the login was over: a server that takes no more sessions, or a firewall.
    #[error("{host}, port {port}, closed the connection before the log-in was over: {detail}")]
    Closed {
        /// The host as configured.
        host: String,
        /// The port as configured.
        port: u16,
        /// What the system said.
        detail: String,
    },
    /// `--bind-address` is no address to connect from.
    #[error(
        "cannot connect from {address} (--bind-address): {detail}; give an address of this machine, of the server's kind (IPv4 or IPv6)"
    )]
    BindFailed {
        /// The address as configured.
        address: IpAddr,
        /// What the system said.
        detail: String,
    },
    /// The proxy makes no connection.
    #[error("no connection through the proxy {proxy}, port {port} (--proxy): {detail}")]
    ProxyFailed {
        /// The proxy's host as configured.
        proxy: String,
        /// The proxy's port as configured.
        port: u16,
        /// What happened, in the filesystem's terms.
        kind: RemoteErrorKind,
        /// What happened, in words.
        detail: String,
    },
    /// No way there.
    #[error("cannot connect to {host}, port {port}: {detail}")]
    Unreachable {
        /// The host as configured.
        host: String,
        /// The port as configured.
        port: u16,
        /// What the system said.
        detail: String,
    },
    /// Nothing came within the timeout.
    #[error(
        "{host}, port {port}, did not answer in time (waiting for {phase}); --timeout sets how long to wait"
    )]
    TimedOut {
        /// The host as configured.
        host: String,
        /// The port as configured.
        port: u16,
        /// What was waited for.
        phase: Phase,
    },
    /// Something else than an FTP server answers there.
    #[error("{host}, port {port}, is no FTP server: {detail}")]
    NotFtp {
        /// The host as configured.
        host: String,
        /// The port as configured.
        port: u16,
        /// What it said.
        detail: String,
    },
    /// The server takes no more sessions at the moment, or none from here.
    #[error("{host} takes no session: {reply}{}", advice_if_plain(.reply))]
    Busy {
        /// The host as configured.
        host: String,
        /// The server's reply.
        reply: String,
    },
    /// No protection, or none that can be trusted.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// User or password are not accepted.
    #[error("{host} refuses the login of {user:?}: {reply}; {}", advice(.reply))]
    LoginRefused {
        /// The host as configured.
        host: String,
        /// The user as configured.
        user: String,
        /// The server's reply.
        reply: String,
    },
    /// The directory to mount is not there, or may not be entered.
    #[error("cannot enter the directory {dir} on {host}: {reply}; check the directory in the URL")]
    BaseMissing {
        /// The host as configured.
        host: String,
        /// The directory, its unprintable bytes escaped.
        dir: String,
        /// The server's reply.
        reply: String,
    },
    /// The directory to mount has characters that the server's charset lacks.
    #[error(
        "{charset} (--charset) cannot hold the directory {dir}; check the directory in the URL, or the charset"
    )]
    BaseUnencodable {
        /// The directory, its unprintable characters escaped.
        dir: String,
        /// The charset as configured.
        charset: &'static str,
    },
    /// The server's files are not a Unix-like tree.
    #[error(
        "{host} runs {system}, whose file names ftpfs does not know; only logins that show Unix-like paths can be mounted"
    )]
    SystemUnsupported {
        /// The host as configured.
        host: String,
        /// As the reply to SYST calls it.
        system: &'static str,
    },
}

impl ConnectError {
    /// What happened, in the filesystem's terms.
    pub(super) fn kind(&self) -> RemoteErrorKind {
        match self {
            Self::HostUnknown { .. }
            | Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::Closed { .. }
            | Self::BindFailed { .. }
            | Self::Busy { .. } => RemoteErrorKind::Disconnected,
            Self::ProxyFailed { kind, .. } => *kind,
            Self::TimedOut { phase, .. } => RemoteErrorKind::TimedOut(*phase),
            Self::NotFtp { .. } => RemoteErrorKind::Protocol,
            Self::LoginRefused { .. } | Self::Tls(_) => RemoteErrorKind::LoginRefused,
            Self::BaseMissing { .. } => RemoteErrorKind::Refused,
            Self::BaseUnencodable { .. } => RemoteErrorKind::Unencodable,
            Self::SystemUnsupported { .. } => RemoteErrorKind::Unsupported,
        }
    }

    /// Whether the server refuses for want of TLS.
    pub fn is_for_tls(&self) -> bool {
        match self {
            Self::LoginRefused { reply, .. } | Self::Busy { reply, .. } => is_for_tls(reply),
            _ => false,
        }
    }

    /// Whether the reason may be that the server has enough sessions already. Some say 530 for it, some nothing at all.
    pub fn is_limit(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::Refused { .. }
                | Self::Closed { .. }
                | Self::LoginRefused { .. }
        )
    }
}

impl From<ConnectError> for RemoteError {
    fn from(error: ConnectError) -> Self {
        Self::new(error.kind(), "connect").with_source(error)
    }
}

/// Where a server is, for connecting and for messages.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The host as configured.
    pub(super) host: String,
    /// The control port.
    pub(super) port: u16,
}

impl Target {
    /// The error that a fault before the end of the login is.
    pub(super) fn error(&self, fault: Fault) -> ConnectError {
        let Self { host, port } = self.clone();
        match fault.kind {
            RemoteErrorKind::TimedOut(phase) => ConnectError::TimedOut { host, port, phase },
            RemoteErrorKind::Protocol => ConnectError::NotFtp {
                host,
                port,
                detail: fault.detail,
            },
            _ if fault.detail.starts_with("421") => ConnectError::Busy {
                host,
                reply: fault.detail,
            },
            _ => ConnectError::Closed {
                host,
                port,
                detail: fault.detail,
            },
        }
    }
}

/// What to do about a server that refuses a login.
fn advice(reply: &str) -> &'static str {
    if is_for_tls(reply) {
        "the server demands TLS: use --tls require"
    } else {
        "check user and password"
    }
}

/// What to do about a server that takes no session, where that is known.
fn advice_if_plain(reply: &str) -> &'static str {
    if is_for_tls(reply) {
        "; the server demands TLS: use --tls require"
    } else {
        ""
    }
}

/// Whether a refusal is for want of TLS, in the words of the servers that were measured.
fn is_for_tls(reply: &str) -> bool {
    let reply = reply.to_ascii_lowercase();
    ["tls", "ssl", "encrypt", "cleartext"]
        .iter()
        .any(|word| reply.contains(word))
}
