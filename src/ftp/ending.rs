//! Whether our half of a download's data connection is closed at its beginning: what is known of that, and what a host has shown.

use super::{
    capabilities::{Server, Shortcut},
    login::Host,
};

impl Host {
    /// Whether it may be, as far as is known. Never through a proxy: microsocks and tinyproxy take the end of one half for the end
    /// of both.
    pub(super) fn early_end(&self) -> Shortcut {
        let learnt = self.capabilities.learnt();
        if self.config.network.proxy.is_some() || !learnt.has_pipelining {
            return Shortcut::Fails;
        }
        if !self.protection.is_on() {
            return learnt.early_end;
        }
        // These read nothing while they send, and then wait for `close_notify`. pyftpdlib reads it while it sends and sends no more;
        // so may others, and a short listing need not show it.
        match self.capabilities.server() {
            Server::Vsftpd | Server::ProFtpd | Server::PureFtpd => learnt.early_notice,
            Server::Pyftpdlib | Server::Other => Shortcut::Fails,
        }
    }

    /// Takes down what came of it.
    pub(super) fn learn_early_end(&self, outcome: Shortcut) {
        let is_on = self.protection.is_on();
        self.capabilities.learn(|learnt| {
            if is_on {
                learnt.early_notice = outcome;
            } else {
                learnt.early_end = outcome;
            }
        });
    }
}
