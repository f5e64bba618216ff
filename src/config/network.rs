//! How connections to the server leave this machine.

use std::{net::IpAddr, ops::RangeInclusive};

use super::password::Password;

/// How connections leave this machine, those for commands and those for data alike.
#[derive(Debug, Clone, Default)]
pub struct NetworkConfig {
    /// The proxy that makes them; `None` connects straight.
    pub proxy: Option<ProxyConfig>,
    /// The address of this machine that they come from; `None` leaves it to the system.
    pub bind_address: Option<IpAddr>,
    /// Has the server make the data connections; `None` makes them from here.
    pub active: Option<ActiveConfig>,
    /// Whether data connections go to the address that PASV names, and not to where the commands go.
    pub trusts_pasv_address: bool,
}

/// How the server is to make data connections.
#[derive(Debug, Clone, Default)]
pub struct ActiveConfig {
    /// The ports of this machine that it may connect to; `None` takes any.
    pub ports: Option<RangeInclusive<u16>>,
    /// The address that it gets to know; `None` for the one where the control connection ends.
    pub address: Option<IpAddr>,
}

/// A proxy.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Its name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who we are to it.
    pub login: Option<ProxyLogin>,
}

/// What a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// SOCKS 5 (RFC 1928).
    Socks5,
    /// HTTP's CONNECT (RFC 9110 section 9.3.6).
    Http,
}

/// A user and a password for a proxy.
#[derive(Debug, Clone)]
pub struct ProxyLogin {
    /// The user.
    pub user: String,
    /// The password.
    pub password: Password,
}
