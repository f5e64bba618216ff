//! Opens TCP connections, for commands and for data alike: straight, from a chosen address of ours, or through a proxy.
//!
//! Nothing else in the room connects to anything. Addresses are looked up once and again when none of them answers.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use super::{
    connect_error::{ConnectError, Target},
    data::DataConnection,
    deadline::Deadline,
    pace::Patience,
    passive::Announced,
    proxy::{self, ProxyError},
    socket,
};
use crate::{
    config::{ActiveConfig, NetworkConfig, ProxyConfig},
    remote::{Phase, RemoteErrorKind},
};

/// The way to one server.
#[derive(Debug)]
pub(super) struct Dialer {
    target: Target,
    network: NetworkConfig,
    /// Of the server, or of the proxy if there is one.
    addresses: Mutex<Vec<SocketAddr>>,
}

impl Dialer {
    /// The way to this server.
    pub(super) fn new(target: Target, network: NetworkConfig) -> Self {
        Self {
            target,
            network,
            addresses: Mutex::default(),
        }
    }

    /// Opens a control connection.
    pub(super) fn connect(&self, deadline: Deadline) -> Result<TcpStream, ConnectError> {
        let Some(proxy) = &self.network.proxy else {
            return self
                .dial(&self.target.host, self.target.port, deadline)
                .map_err(|error| self.failed(&error));
        };
        self.dial_through(proxy, &self.target.host, self.target.port, deadline)
            .map_err(|error| self.failed_at(proxy, error))
    }

    /// How the server is to make data connections, if it is.
    pub(super) fn active(&self) -> Option<&ActiveConfig> {
        self.network.active.as_ref()
    }

    /// Whether data connections go to the address that PASV tells.
    pub(super) fn trusts_pasv_address(&self) -> bool {
        self.network.trusts_pasv_address
    }

    /// Begins a data connection to a port of the server that `control` leads to, or to the address told with it. Through a proxy it is there when this returns,
    /// at the latest at the deadline. For `patience` see [`DataConnection::begin`].
    pub(super) fn begin_data(
        &self,
        control: &TcpStream,
        place: &Announced,
        deadline: Deadline,
        patience: Patience,
    ) -> io::Result<DataConnection> {
        let Some(proxy) = &self.network.proxy else {
            let mut address = control.peer_addr()?;
            address.set_port(place.port);
            if let Some(told) = place.address {
                address.set_ip(told.into());
            }
            return DataConnection::begin(address, self.network.bind_address, patience);
        };
        // What the control connection leads to is the proxy.
        let host = match place.address {
            Some(told) => told.to_string(),
            None => self.target.host.clone(),
        };
        let socket = self.dial_through(proxy, &host, place.port, deadline);
        DataConnection::opened(socket.map_err(|error| in_words(proxy, &error))?, patience)
    }

    /// Whether PASV makes sense, which knows only IPv4 (RFC 959).
    pub(super) fn may_be_ipv4(&self, control: &TcpStream) -> bool {
        // Behind a proxy nobody knows.
        self.network.proxy.is_some() || control.peer_addr().is_ok_and(|address| address.is_ipv4())
    }

    fn dial_through(
        &self,
        proxy: &ProxyConfig,
        target: &str,
        port: u16,
        deadline: Deadline,
    ) -> Result<TcpStream, ProxyError> {
        let socket = self.dial(&proxy.host, proxy.port, deadline)?;
        proxy::connect(proxy, socket, target, port, deadline)
    }

    /// Connects to a host: what it was known as, or what its name stands for now.
    fn dial(&self, host: &str, port: u16, deadline: Deadline) -> io::Result<TcpStream> {
        let known = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if !known.is_empty()
            && let Ok(socket) = self.connect_any(&known, deadline)
        {
            return Ok(socket);
        }
        // Never resolved, or what was resolved is no longer right.
        let found = resolve(host, port, deadline)?;
        let socket = self.connect_any(&found, deadline)?;
        *self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = found;
        Ok(socket)
    }

    /// Connects to the first address that answers; each gets its share of what time is left.
    fn connect_any(&self, addresses: &[SocketAddr], deadline: Deadline) -> io::Result<TcpStream> {
        let from = self.network.bind_address;
        let fits =
            |address: &&SocketAddr| from.is_none_or(|from| from.is_ipv4() == address.is_ipv4());
        let addresses: Vec<_> = addresses.iter().filter(fits).collect();
        let mut last = io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "the other side has no address of this kind",
        );
        for (index, address) in addresses.iter().enumerate() {
            let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let share = deadline.remaining().unwrap_or_default() / others;
            match socket::connect(**address, from, deadline.capped(share)) {
                Ok(socket) => return Ok(socket),
                Err(error) => {
                    log::debug!("connecting to {address}: {error}");
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// Why there is no straight connection.
    fn failed(&self, error: &io::Error) -> ConnectError {
        let Target { host, port } = self.target.clone();
        match (error.kind(), self.network.bind_address) {
            (io::ErrorKind::AddrNotAvailable, Some(address)) => ConnectError::BindFailed {
                address,
                detail: error.to_string(),
            },
            (io::ErrorKind::NotFound, _) => ConnectError::HostUnknown {
                host,
                detail: error.to_string(),
            },
            (io::ErrorKind::ConnectionRefused, _) => ConnectError::Refused { host, port },
            (io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock, _) => ConnectError::TimedOut {
                host,
                port,
                phase: Phase::Connect,
            },
            _ => ConnectError::Unreachable {
                host,
                port,
                detail: error.to_string(),
            },
        }
    }

    /// Why there is no connection through the proxy.
    fn failed_at(&self, proxy: &ProxyConfig, error: ProxyError) -> ConnectError {
        match error {
            ProxyError::TargetRefused => {
                let Target { host, port } = self.target.clone();
                ConnectError::Refused { host, port }
            }
            ProxyError::Io(error)
                if error.kind() == io::ErrorKind::AddrNotAvailable
                    && self.network.bind_address.is_some() =>
            {
                self.failed(&error)
            }
            error => ConnectError::ProxyFailed {
                proxy: proxy.host.clone(),
                port: proxy.port,
                kind: kind_of(&error),
                detail: error.to_string(),
            },
        }
    }
}

/// The same for a data connection.
fn in_words(proxy: &ProxyConfig, error: &ProxyError) -> io::Error {
    let kind = match (error, kind_of(error)) {
        (_, RemoteErrorKind::TimedOut(_)) => io::ErrorKind::TimedOut,
        (ProxyError::TargetRefused, _) => io::ErrorKind::ConnectionRefused,
        _ => io::ErrorKind::Other,
    };
    let ProxyConfig { host, port, .. } = proxy;
    io::Error::new(kind, format!("the proxy {host}, port {port}: {error}"))
}

fn kind_of(error: &ProxyError) -> RemoteErrorKind {
    match error {
        ProxyError::Io(error) if socket::is_timeout(error) => {
            RemoteErrorKind::TimedOut(Phase::Connect)
        }
        _ => RemoteErrorKind::Disconnected,
    }
}

/// All addresses of a host. The system's resolver knows no timeout, so it runs on a thread that is left behind when the
/// deadline passes. An error is of the kind `NotFound`.
fn resolve(host: &str, port: u16, deadline: Deadline) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let name = host.to_owned();
    let resolver = thread::Builder::new()
        .name("ftp-resolve".to_owned())
        .spawn(move || {
            let found = (name.as_str(), port).to_socket_addrs().map(Vec::from_iter);
            // Nobody waits any more once the deadline has passed.
            let _ = sender.send(found);
        });
    let left = deadline.remaining().unwrap_or_default();
    let found = resolver
        .map_err(|error| error.to_string())
        .and_then(|_| {
            let answer = receiver.recv_timeout(left);
            answer.map_err(|_| "no answer in time".to_owned())
        })
        .and_then(|found| found.map_err(|error| error.to_string()));
    match found {
        Ok(addresses) if !addresses.is_empty() => Ok(addresses),
        Ok(_) => Err("it has no address".to_owned()),
        Err(detail) => Err(detail),
    }
    .map_err(|detail| io::Error::new(io::ErrorKind::NotFound, detail))
}
