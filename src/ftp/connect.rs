//! From a host name to a greeting: resolve, connect, read the first reply; and what can go wrong until the mount
//! is ready, each in one line for the user.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    sync::mpsc,
    thread,
};

use super::{deadline::Deadline, passive, reply::Fault};
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
    /// The connection broke before the log-in was over: a server that takes no more sessions, or a firewall.
    #[error("{host}, port {port}, closed the connection before the log-in was over: {detail}")]
    Closed {
        /// The host as configured.
        host: String,
        /// The port as configured.
        port: u16,
        /// What the system said.
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
    /// Nothing came within the time-out.
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
    #[error("{host} takes no session: {reply}")]
    Busy {
        /// The host as configured.
        host: String,
        /// The server's reply.
        reply: String,
    },
    /// User or password are not accepted.
    #[error("{host} refuses the login of {user:?}: {reply}; check user and password")]
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
        /// The reply to SYST.
        system: String,
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
            | Self::Busy { .. } => RemoteErrorKind::Disconnected,
            Self::TimedOut { phase, .. } => RemoteErrorKind::TimedOut(*phase),
            Self::NotFtp { .. } => RemoteErrorKind::Protocol,
            Self::LoginRefused { .. } => RemoteErrorKind::LoginRefused,
            Self::BaseMissing { .. } => RemoteErrorKind::Refused,
            Self::BaseUnencodable { .. } => RemoteErrorKind::Unencodable,
            Self::SystemUnsupported { .. } => RemoteErrorKind::Unsupported,
        }
    }

    /// Whether the reason may be that the server has enough sessions already. Some say 530 for it, some nothing at all.
    pub(super) fn is_limit(&self) -> bool {
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
    /// The error that a fault before the end of the log-in is.
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

    /// All addresses of the host. The system's resolver knows no time-out, so it runs on a thread that is left behind
    /// when the deadline passes.
    pub(super) fn resolve(&self, deadline: Deadline) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let (host, port) = (self.host.clone(), self.port);
        let resolver = thread::Builder::new()
            .name("ftp-resolve".to_owned())
            .spawn(move || {
                let found = (host.as_str(), port).to_socket_addrs().map(Vec::from_iter);
                // Nobody waits any more once the deadline has passed.
                let _ = sender.send(found);
            });
        let left = deadline.remaining().unwrap_or_default();
        let found = resolver
            .map_err(|error| error.to_string())
            .and_then(|_| {
                receiver
                    .recv_timeout(left)
                    .map_err(|_| "no answer in time".to_owned())
            })
            .and_then(|found| found.map_err(|error| error.to_string()))
            .and_then(|found| {
                if found.is_empty() {
                    Err("it has no address".to_owned())
                } else {
                    Ok(found)
                }
            });
        found.map_err(|detail| ConnectError::HostUnknown {
            host: self.host.clone(),
            detail,
        })
    }

    /// Connects to the first address that answers; each gets its share of what time is left.
    pub(super) fn connect(
        &self,
        addresses: &[SocketAddr],
        deadline: Deadline,
    ) -> Result<TcpStream, ConnectError> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for (index, address) in addresses.iter().enumerate() {
            let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let share = deadline.remaining().unwrap_or_default() / others;
            match passive::connect(*address, deadline.capped(share)) {
                Ok(socket) => return Ok(socket),
                Err(error) => {
                    log::debug!("connecting to {address}: {error}");
                    last = error;
                }
            }
        }
        let Self { host, port } = self.clone();
        Err(match last.kind() {
            io::ErrorKind::ConnectionRefused => ConnectError::Refused { host, port },
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ConnectError::TimedOut {
                host,
                port,
                phase: Phase::Connect,
            },
            _ => ConnectError::Unreachable {
                host,
                port,
                detail: last.to_string(),
            },
        })
    }
}
