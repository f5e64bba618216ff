//! The ways to a data connection, each tried by a listing.

use std::net::{IpAddr, Ipv4Addr};

use crate::ftp::{client::FtpRemote, passive::Passive, pool::Use, reply::Reply};
use crate::remote::{Remote, RemotePath};

/// A way to get a data connection from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// EPSV (RFC 2428).
    ExtendedPassive,
    /// PASV (RFC 959).
    Passive,
}

/// What came of a way.
#[derive(Debug, Clone)]
pub struct Tried {
    /// Whether a listing came through, or what the server or the network said.
    pub outcome: Result<(), String>,
    /// Whether the server refused to listen at all.
    pub is_refused: bool,
    /// Where the server says that it listens, if that is not where the commands go.
    pub elsewhere: Option<Ipv4Addr>,
}

impl Way {
    /// All of them, in the order in which a mount tries them.
    pub const ALL: [Self; 2] = [Self::ExtendedPassive, Self::Passive];

    fn command(self) -> Passive {
        match self {
            Self::ExtendedPassive => Passive::Epsv,
            Self::Passive => Passive::Pasv,
        }
    }
}

impl Tried {
    /// A way that was tried as a whole.
    pub fn new(outcome: Result<(), String>) -> Self {
        Self {
            outcome,
            is_refused: false,
            elsewhere: None,
        }
    }
}

impl FtpRemote {
    /// Whether a listing comes through a data connection of this kind, and no other. For a remote with one session, that nobody else uses.
    pub fn try_way(&self, way: Way) -> Tried {
        let (reply, peer) = match self.ask_way(way) {
            Ok(answer) => answer,
            Err(error) => return Tried::new(Err(error)),
        };
        let passive = way.command();
        if passive.port(&reply).is_none() {
            return Tried {
                is_refused: true,
                ..Tried::new(Err(reply.to_string()))
            };
        }
        // Behind a proxy the peer is the proxy.
        let is_straight = self.pool.host.config.network.proxy.is_none();
        let elsewhere = passive
            .address(&reply)
            .filter(|told| is_straight && peer != Some(IpAddr::V4(*told)));
        let capabilities = &self.pool.host.capabilities;
        let before = capabilities.learnt().has_epsv;
        capabilities.learn(|learnt| learnt.has_epsv = way == Way::ExtendedPassive);
        let outcome = self.try_list();
        capabilities.learn(|learnt| learnt.has_epsv = before);
        Tried {
            elsewhere,
            ..Tried::new(outcome)
        }
    }

    /// Whether a listing comes through, the plain way: a shortcut that is tried would take the time that a dead connection takes. To
    /// pyftpdlib, which is not yet known as such, an EPSV during the transfer or our early end of the data connection is its end.
    ///
    /// # Errors
    ///
    /// What the server or the network said.
    pub fn try_list(&self) -> Result<(), String> {
        let capabilities = &self.pool.host.capabilities;
        capabilities.learn(|learnt| learnt.shortcuts.give_up_early());
        let listed = self.list(&RemotePath::root());
        listed.map(drop).map_err(|error| error.to_string())
    }

    /// The server's answer to the command alone, and whom the commands go to. The port is not used.
    fn ask_way(&self, way: Way) -> Result<(Reply, Option<IpAddr>), String> {
        let deadline = self.pool.host.deadline();
        let guard = self.pool.check_out(Use::Listing, deadline);
        let mut guard = guard.map_err(|error| error.to_string())?;
        let peer = guard.control_socket().peer_addr().ok();
        let peer = peer.map(|address| address.ip().to_canonical());
        if way == Way::Passive && peer.is_some_and(|peer| peer.is_ipv6()) {
            return Err("knows IPv4 only".to_owned());
        }
        let capabilities = &self.pool.host.capabilities;
        let knew_pret = capabilities.learnt().needs_pret;
        let mut reply = guard.session().ask_passive(way.command());
        let is_refused = reply.as_ref().is_ok_and(|reply| reply.code() / 100 == 5);
        if way == Way::Passive && is_refused && !knew_pret && capabilities.learn_pret() {
            reply = guard.session().ask_passive(way.command());
        }
        guard.check_in();
        Ok((reply.map_err(|fault| fault.detail)?, peer))
    }
}
