//! Where the server listens for a data connection (EPSV of RFC 2428, PASV of RFC 959).

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use super::reply::Reply;

/// How old a data connection that waits to be used may get. 50 s: all four test servers kept one for 65 s, and NAT boxes forget
/// silent connections after a minute at the earliest.
pub(super) const WARM_AGE_MAX: Duration = Duration::from_secs(50);

/// A port that the server listens on for us.
#[derive(Debug)]
pub(super) struct Announced {
    /// The port.
    pub(super) port: u16,
    /// The address, where it is another than that of the control connection and is to be believed.
    pub(super) address: Option<Ipv4Addr>,
    told: Instant,
}

impl Announced {
    /// A port just told.
    pub(super) fn new(port: u16, address: Option<Ipv4Addr>) -> Self {
        Self {
            port,
            address,
            told: Instant::now(),
        }
    }

    /// Whether the server may be believed to listen still. Pure-FTPd gives up first, after some minutes.
    pub(super) fn is_usable(&self) -> bool {
        self.told.elapsed() < WARM_AGE_MAX
    }
}

/// How to ask the server to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passive {
    /// RFC 2428.
    Epsv,
    /// RFC 959, for IPv4 only.
    Pasv,
}

impl Passive {
    /// The command.
    pub(super) fn command(self) -> &'static [u8] {
        match self {
            Self::Epsv => b"EPSV",
            Self::Pasv => b"PASV",
        }
    }

    /// Where the server listens, when `reply` tells.
    pub(super) fn port(self, reply: &Reply) -> Option<u16> {
        match self {
            Self::Epsv => epsv_port(reply),
            Self::Pasv => pasv(reply).map(|(_, port)| port),
        }
    }

    /// The address that `reply` tells; `0.0.0.0` is none.
    pub(super) fn address(self, reply: &Reply) -> Option<Ipv4Addr> {
        match self {
            Self::Epsv => None,
            Self::Pasv => pasv(reply).map(|(address, _)| address),
        }
        .filter(|address| !address.is_unspecified())
    }
}

/// The port in a 229 reply, `(<d><d><d>port<d>)` with any delimiter.
fn epsv_port(reply: &Reply) -> Option<u16> {
    if reply.code() != 229 {
        return None;
    }
    reply.lines().find_map(|line| {
        let open = line.iter().position(|byte| *byte == b'(')?;
        let delimiter = *line.get(open + 1)?;
        let mut parts = line.get(open + 2..)?.split(|byte| *byte == delimiter);
        // The protocol and the address are left out in a reply; the port is the third field.
        let port = parts.nth(2)?;
        parts.next()?;
        number(port).filter(|port| *port != 0)
    })
}

/// Address and port in a 227 reply: six numbers, with or without parentheses. The address is used only where the user says so: a
/// server could make us connect to any host, and behind NAT it is often wrong.
fn pasv(reply: &Reply) -> Option<(Ipv4Addr, u16)> {
    if reply.code() != 227 {
        return None;
    }
    reply.lines().find_map(|line| {
        line.split(|byte| !byte.is_ascii_digit() && *byte != b',')
            .find_map(|run| {
                let fields: Vec<_> = run.split(|byte| *byte == b',').map(number::<u8>).collect();
                let [Some(a), Some(b), Some(c), Some(d), Some(high), Some(low)] =
                    *fields.as_slice()
                else {
                    return None;
                };
                let port = Some(u16::from_be_bytes([high, low])).filter(|port| *port != 0);
                Some((Ipv4Addr::new(a, b, c, d), port?))
            })
    })
}

fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::reply::reply;
    use super::*;

    #[test]
    fn epsv_ports_are_read_with_any_delimiter() {
        for (text, port) in [
            ("229 Entering Extended Passive Mode (|||6446|)", Some(6446)),
            ("229 ok (!!!6446!)", Some(6446)),
            ("229 ok (|1|10.0.0.1|6446|)", Some(6446)),
            ("229 ok (|||70000|)", None),
            ("229 ok (|||0|)", None),
            ("229 ok (|||5", None),
            ("229 ok", None),
            ("227 ok (|||6446|)", None),
        ] {
            assert_eq!(epsv_port(&reply(text)), port, "{text}");
        }
    }

    #[test]
    fn pasv_ports_are_read_with_and_without_parentheses() {
        for (text, port) in [
            ("227 Entering Passive Mode (127,0,0,1,4,5).", Some(1029)),
            ("227 Entering Passive Mode 127,0,0,1,4,5", Some(1029)),
            ("227 =127,0,0,1,255,255", Some(65535)),
            ("227 ok (127,0,0,1,4)", None),
            ("227 ok (127,0,0,1,256,5)", None),
            ("227 ok (127,0,0,1,0,0)", None),
            ("227 ok", None),
        ] {
            assert_eq!(Passive::Pasv.port(&reply(text)), port, "{text}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_not_told() {
        let told = |text| Passive::Pasv.address(&reply(text));
        assert_eq!(
            told("227 (192,0,2,7,4,5)"),
            Some(Ipv4Addr::new(192, 0, 2, 7))
        );
        assert_eq!(told("227 (0,0,0,0,4,5)"), None);
    }
}
