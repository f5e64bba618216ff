//! Whether our half of a download's data connection is closed at its beginning: what is known of that, and what a host has shown.

use super::{login::Host, shortcuts::Technique};

impl Host {
    /// The technique that this is; it differs under TLS.
    fn early_end(&self) -> Technique {
        if self.protection.is_on() {
            Technique::EarlyNotice
        } else {
            Technique::EarlyEnd
        }
    }

    /// Whether it may be, be it to try it. Never through a proxy: microsocks and tinyproxy take the end of one half for the end of
    /// both.
    pub(super) fn may_end_early(&self) -> bool {
        self.config.network.proxy.is_none() && self.capabilities.may(self.early_end())
    }

    /// Whether it is known to work.
    pub(super) fn ends_early(&self) -> bool {
        self.may_end_early() && self.capabilities.is_proven(self.early_end())
    }

    /// Records what came of trying it.
    pub(super) fn learn_early_end(&self, is_good: bool) {
        if is_good {
            self.capabilities.prove(self.early_end());
        } else {
            self.capabilities.give_up(self.early_end());
        }
    }
}
