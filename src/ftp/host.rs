//! One server: how it is reached, what is known of it, and what all its sessions share.

use std::sync::{Arc, OnceLock};

use super::{
    capabilities::{Capabilities, Learnt},
    completeness::Notices,
    connect_error::{ConnectError, Target},
    control::Control,
    deadline::Deadline,
    dialer::Dialer,
    encoding::Names,
    hash::Hashes,
    profile::Profile,
    reply::Reply,
    secure::{Protection, Reached},
    shortcuts::Technique,
    trace::SessionNumber,
};
use crate::config::FtpConfig;

/// Everything that the sessions of one server share.
#[derive(Debug)]
pub(super) struct Host {
    /// How to reach it.
    pub(super) config: FtpConfig,
    /// What it can do.
    pub(super) capabilities: Arc<Capabilities>,
    /// Which checksums it was seen to refuse.
    pub(super) hashes: Hashes,
    pub(super) target: Target,
    /// Whether it announces the end of data.
    pub(super) notices: Notices,
    /// How it is protected.
    pub(super) protection: Protection,
    pub(super) dialer: Arc<Dialer>,
    base: OnceLock<Vec<u8>>,
    profile: Option<Profile>,
    greeting: OnceLock<Vec<String>>,
}

impl Host {
    /// A host of which nothing is known but what an earlier mount has kept.
    pub(super) fn new(config: FtpConfig) -> Self {
        let target = Target {
            host: config.host.clone(),
            port: config.port,
        };
        let dialer = Arc::new(Dialer::new(target.clone(), config.network.clone()));
        let profile = config.profile_dir.as_deref();
        let profile = profile.map(|dir| Profile::open(dir, &config));
        let capabilities = Capabilities::new();
        if let Some(believed) = profile.as_ref().and_then(Profile::believed) {
            // Before it is known to be the same server, only what can do no harm: the slower ways.
            capabilities.learn(|learnt| {
                learnt.shortcuts.take_slower(&believed.shortcuts);
                learnt.has_epsv = believed.has_epsv;
            });
        }
        Self {
            protection: Protection::new(&config, &target),
            config,
            profile,
            capabilities: Arc::new(capabilities),
            hashes: Hashes::new(),
            notices: Notices::default(),
            target,
            dialer,
            base: OnceLock::new(),
            greeting: OnceLock::new(),
        }
    }

    /// The mounted directory on the server: absolute, no trailing slash; empty for the server's root.
    pub(super) fn base(&self) -> &[u8] {
        self.base.get().map_or(&[], Vec::as_slice)
    }

    /// The lines of the first session's greeting, printable.
    pub(super) fn greeting(&self) -> &[String] {
        self.greeting.get().map_or(&[], Vec::as_slice)
    }

    /// How the server writes names.
    pub(super) fn names(&self) -> Names {
        Names::new(self.config.charset)
    }

    /// A new deadline for one request.
    pub(super) fn deadline(&self) -> Deadline {
        Deadline::after(self.config.timeout)
    }

    /// Records what the first session has seen: the greeting, and the directory to mount.
    pub(super) fn set_seen(&self, greeting: &Reply, base: Vec<u8>) {
        let lines = greeting.lines().map(|line| line.escape_ascii().to_string());
        // Only the first session comes here, so neither can be set yet.
        let _ = self.greeting.set(lines.collect());
        let _ = self.base.set(base);
    }

    /// Makes a control connection and protects it; nobody logs in.
    pub(super) fn reach(&self, deadline: Deadline) -> Result<Reached, ConnectError> {
        let connect = || {
            let capabilities = Arc::clone(&self.capabilities);
            let socket = self.dialer.connect(deadline)?;
            Ok(Control::new(
                socket,
                SessionNumber::next(),
                capabilities,
                deadline,
            ))
        };
        self.protection.reach(connect)
    }

    /// Says, once for each host, that what follows can be read on the way.
    pub(super) fn warn_of_clear(&self) {
        self.protection.warn_of_clear();
    }

    /// How many data connections have resumed a TLS session, and how many have not.
    pub(super) fn resumptions(&self) -> (usize, usize) {
        self.protection.resumptions()
    }

    /// The technique by which our half of a download's data connection ends at its beginning; it differs under TLS.
    fn early_end(&self) -> Technique {
        if self.protection.is_on() {
            Technique::EarlyNotice
        } else {
            Technique::EarlyEnd
        }
    }

    /// Whether that may be used, be it to try it. Never through a proxy: microsocks and tinyproxy take the end of one half for the end of
    /// both.
    pub(super) fn may_end_early(&self) -> bool {
        self.config.network.proxy.is_none() && self.capabilities.may(self.early_end())
    }

    /// Whether that is known to work.
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

    /// Takes over what an earlier mount has learnt of the same server.
    pub(super) fn recall(&self, fingerprint: u64) {
        let Some(profile) = &self.profile else { return };
        let Some(believed) = profile.believed() else {
            profile.recall(fingerprint);
            return;
        };
        let known = profile.recall(fingerprint);
        self.capabilities.learn(|learnt| {
            let now = learnt.shortcuts;
            if let Some(known) = known {
                *learnt = known;
            } else {
                log::info!("the server has changed: what was learnt of it is forgotten");
                let usual = Learnt::default();
                learnt.shortcuts = usual.shortcuts;
                learnt.has_epsv = usual.has_epsv;
            }
            learnt.shortcuts.keep_failed(&now, &believed.shortcuts);
        });
    }

    /// Keeps what was learnt for the next mount.
    pub(super) fn save_profile(&self) {
        if let Some(profile) = &self.profile {
            profile.save(self.capabilities.learnt());
        }
    }
}
