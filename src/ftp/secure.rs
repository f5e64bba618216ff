//! From a host to a control connection whose greeting was read, protected as the settings demand: by TLS from the first
//! byte on, by `AUTH TLS` (RFC 4217), or not.

use std::{
    sync::{
        Mutex, Once, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    connect_error::{ConnectError, Target},
    control::Control,
    reply::{Fault, Reply},
    stranger::{GREETING_WAIT, Stranger},
    tls::{self, Broken, KnownHosts, TlsError, Version},
};
use crate::config::{FtpConfig, TlsConfig, TlsMode};

/// How long the answer to AUTH may take. 10 s: longer than a slow server needs for a word, and short enough to be waited for at each mount
/// of one that never answers it.
const AUTH_WAIT: Duration = Duration::from_secs(10);

/// How one host's control connections are protected, and what it has shown so far.
#[derive(Debug)]
pub(super) struct Protection {
    config: TlsConfig,
    target: Target,
    known_hosts: KnownHosts,
    clear_hosts: KnownHosts,
    client: OnceLock<tls::Client>,
    /// Whether the host has refused TLS to this mount, which did not insist.
    is_plain: AtomicBool,
    /// Whether it has spoken TLS to this mount.
    is_seen: AtomicBool,
    /// Whether it was looked whether something else is there.
    is_looked_at: AtomicBool,
    /// Whether the log has said of this host that nothing is protected.
    is_clear_said: AtomicBool,
    version: Mutex<Version>,
}

/// A control connection that is ready for the login.
#[derive(Debug)]
pub(super) struct Reached {
    /// The connection.
    pub(super) control: Control,
    /// What the server said first.
    pub(super) greeting: Reply,
    /// What data connections share with it, if it is protected.
    pub(super) tls: Option<tls::Session>,
}

/// Why a control connection could not be had.
enum Unreached {
    /// The server may speak another version of TLS.
    Version(ConnectError),
    /// It has hung up on AUTH or does not answer it; TLS is only preferred, and it has never been seen to speak it.
    Auth(Fault),
    Final(ConnectError),
}

impl<E: Into<ConnectError>> From<E> for Unreached {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

impl Protection {
    /// For this host, of which nothing is known but what an earlier mount has remembered.
    pub(super) fn new(config: &FtpConfig, target: &Target) -> Self {
        Self {
            config: config.tls.clone(),
            target: target.clone(),
            known_hosts: KnownHosts::new(config.tls.known_hosts.clone()),
            clear_hosts: KnownHosts::new(config.tls.clear_hosts.clone()),
            client: OnceLock::new(),
            is_plain: AtomicBool::new(false),
            is_seen: AtomicBool::new(false),
            is_looked_at: AtomicBool::new(false),
            is_clear_said: AtomicBool::new(false),
            version: Mutex::new(Version::V12),
        }
    }

    /// Makes a control connection with `connect`, reads its greeting and protects it; once more for a server that does
    /// not speak the version of TLS that is offered first, or that is at its wits' end with AUTH.
    pub(super) fn reach(
        &self,
        connect: impl Fn() -> Result<Control, ConnectError>,
    ) -> Result<Reached, ConnectError> {
        let version = *self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let first = match self.reach_with(&connect, version) {
            Ok(reached) => return Ok(reached),
            Err(Unreached::Version(first)) if version == Version::V12 => first,
            Err(Unreached::Version(error) | Unreached::Final(error)) => return Err(error),
            Err(Unreached::Auth(fault)) => return self.reach_without(connect()?, &fault),
        };
        match self.reach_with(&connect, Version::V13) {
            Ok(reached) => {
                log::debug!("{} speaks TLS 1.3 only", self.target.host);
                *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Version::V13;
                Ok(reached)
            }
            // The certificate was looked at, so that it was not for the version.
            Err(Unreached::Final(error)) => Err(error),
            Err(Unreached::Version(_) | Unreached::Auth(_)) => Err(first),
        }
    }

    /// Makes another connection to a server that can do nothing with AUTH, and does not send it there. It is believed to have no TLS only
    /// once it has greeted again.
    fn reach_without(&self, mut control: Control, fault: &Fault) -> Result<Reached, ConnectError> {
        let greeting = self.greet(&mut control)?;
        self.is_plain.store(true, Ordering::Relaxed);
        log::warn!(
            "{} cannot do anything with AUTH TLS ({}) and is spoken to without; --tls off does so at once, --tls require not \
             at all",
            self.target.host,
            fault.detail
        );
        Ok(Reached {
            control,
            greeting,
            tls: None,
        })
    }

    fn reach_with(
        &self,
        connect: &impl Fn() -> Result<Control, ConnectError>,
        version: Version,
    ) -> Result<Reached, Unreached> {
        let mut control = connect()?;
        if self.config.mode == TlsMode::Implicit {
            let tls = self.protect(&mut control, version)?;
            let greeting = self.greet(&mut control)?;
            return Ok(Reached {
                control,
                greeting,
                tls: Some(tls),
            });
        }
        let since = Instant::now();
        if self.gives_up_to_look(&mut control)? {
            drop(control);
            control = connect()?;
            // A slow server has as long for this one as it had for the first.
            control.set_deadline(control.deadline().later_by(since.elapsed()));
        }
        let greeting = self.greet(&mut control)?;
        let mut tls = None;
        if self.ask(&mut control)? {
            tls = Some(self.protect(&mut control, version)?);
        }
        Ok(Reached {
            control,
            greeting,
            tls,
        })
    }

    /// Whether sessions with this host are protected, as far as this mount has seen.
    pub(super) fn is_on(&self) -> bool {
        self.is_seen.load(Ordering::Relaxed)
    }

    /// Looks once whether something else than an FTP server is there, if that says nothing for some seconds. The connection is given up for that,
    /// which is so when this returns `true`: a server that takes one connection at a time must have seen its end before there is another.
    fn gives_up_to_look(&self, control: &mut Control) -> Result<bool, ConnectError> {
        if self.is_looked_at.swap(true, Ordering::Relaxed) {
            return Ok(false);
        }
        let wait = control.deadline().capped(GREETING_WAIT).remaining();
        if self.checked(control.wait_readable(wait.unwrap_or_default()))? {
            return Ok(false);
        }
        let Some(left) = control.deadline().remaining() else {
            return Ok(false);
        };
        let hello = self.client().ok().and_then(|client| {
            let address = control.socket().peer_addr().ok()?;
            let session = client.session(Version::V12, address.ip());
            session.channel().ok()?.hello().ok()
        });
        let Some(hello) = hello else {
            return Ok(false);
        };
        match Stranger::by_hello(control.socket(), &hello, left) {
            Some(stranger) => Err(self.stranger(stranger)),
            None => Ok(control.deadline().remaining().is_some()),
        }
    }

    fn stranger(&self, stranger: Stranger) -> ConnectError {
        let Target { host, port } = self.target.clone();
        let detail = stranger.advice().to_owned();
        ConnectError::NotFtp { host, port, detail }
    }

    /// Reads the greeting; 120 says that it takes a while.
    fn greet(&self, control: &mut Control) -> Result<Reply, ConnectError> {
        loop {
            let reply = control.read_reply().map_err(|fault| {
                let words = fault.detail.strip_prefix("received ").unwrap_or("");
                match Stranger::by_words(words.as_bytes()) {
                    Some(stranger) => self.stranger(stranger),
                    None => self.target.error(fault),
                }
            })?;
            match reply.code() {
                120 => {}
                220 => {
                    let stranger = Stranger::by_words(reply.first_line());
                    return stranger.map_or(Ok(reply), |stranger| Err(self.stranger(stranger)));
                }
                _ => {
                    let (host, reply) = (self.target.host.clone(), reply.to_string());
                    return Err(ConnectError::Busy { host, reply });
                }
            }
        }
    }

    /// Asks for TLS where it is wanted; whether the server agrees. Any 2yz is a yes: whoever says 200 to it waits for a handshake.
    fn ask(&self, control: &mut Control) -> Result<bool, Unreached> {
        let is_given_up = self.is_plain.load(Ordering::Relaxed);
        if self.config.mode == TlsMode::Off || is_given_up {
            return Ok(false);
        }
        let deadline = control.deadline();
        control.set_deadline(deadline.capped(AUTH_WAIT));
        let reply = control
            .send(&["AUTH TLS"])
            .and_then(|()| control.read_reply());
        control.set_deadline(deadline);
        let host = self.target.host.clone();
        let reply = match reply {
            Ok(reply) if reply.is_done() => return Ok(true),
            Ok(reply) => reply.to_string(),
            // It takes no session at all.
            Err(fault) if fault.detail.starts_with("421") => {
                return Err(self.target.error(fault).into());
            }
            // It may be for the moment only.
            Err(Fault { kind, detail }) if self.is_known()? => {
                let detail = format!("{detail} (at AUTH TLS; it has spoken TLS before)");
                return Err(self.target.error(Fault { kind, detail }).into());
            }
            Err(fault) if self.config.mode == TlsMode::Prefer => {
                return Err(Unreached::Auth(fault));
            }
            Err(fault) => fault.detail,
        };
        if self.config.mode == TlsMode::Require {
            return Err(TlsError::Refused { host, reply }.into());
        }
        if self.is_known()? {
            let remembered_in = self.known_hosts.path().map(Into::into);
            return Err(TlsError::Downgraded {
                host,
                reply,
                remembered_in,
            }
            .into());
        }
        log::info!("{host} offers no TLS ({reply})");
        self.is_plain.store(true, Ordering::Relaxed);
        Ok(false)
    }

    /// Says, once for each host, that what follows can be read on the way.
    pub(super) fn warn_of_clear(&self) {
        if self.is_clear_said.swap(true, Ordering::Relaxed) {
            return;
        }
        let Target { host, port } = &self.target;
        // A file that cannot be read is no reason to be silent.
        if self.clear_hosts.contains(host, *port).unwrap_or(false) {
            log::info!("{host}: password and files travel in the clear, as before");
            return;
        }
        log::warn!(
            "{host}: password and files travel in the clear; whoever is on the way can read them (said once for each host)"
        );
        if let Err(error) = self.clear_hosts.remember(host, *port) {
            log::info!("cannot remember that this was said of {host}: {error}");
        }
    }

    /// Whether the host has spoken TLS before, to this mount or to another.
    fn is_known(&self) -> Result<bool, TlsError> {
        let Target { host, port } = &self.target;
        if self.is_seen.load(Ordering::Relaxed) {
            return Ok(true);
        }
        self.known_hosts
            .contains(host, *port)
            .map_err(|error| TlsError::Setup {
                detail: format!(
                    "cannot read which hosts have spoken TLS before ({}: {error}); --tls require or --tls off does \
                     without",
                    self.known_hosts.path().unwrap_or("".as_ref()).display(),
                ),
            })
    }

    fn protect(&self, control: &mut Control, version: Version) -> Result<tls::Session, Unreached> {
        let client = self.client()?;
        let address = control.socket().peer_addr().map_err(|error| {
            let fault = Fault::from_io(&error, crate::remote::Phase::Connect);
            self.target.error(fault)
        })?;
        let session = client.session(version, address.ip());
        let outcome = session
            .channel()
            .and_then(|channel| control.protect(channel));
        if let Err(broken) = outcome {
            let is_version = broken.is_version();
            let error = self.failure(broken);
            let wrap = if is_version {
                Unreached::Version
            } else {
                Unreached::Final
            };
            return Err(wrap(error));
        }
        self.remember();
        Ok(session)
    }

    /// The files that the settings name are read when TLS is first needed.
    fn client(&self) -> Result<&tls::Client, TlsError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = tls::Client::new(&self.config, &self.target.host, self.target.port)?;
        Ok(self.client.get_or_init(|| client))
    }

    /// How many data connections have resumed a session, and how many have not.
    pub(super) fn resumptions(&self) -> (usize, usize) {
        let client = self.client.get();
        client.map_or((0, 0), tls::Client::resumptions)
    }

    fn remember(&self) {
        if self.is_seen.swap(true, Ordering::Relaxed) {
            return;
        }
        let Target { host, port } = &self.target;
        if self.config.is_insecure {
            static WARNED: Once = Once::new();
            WARNED.call_once(|| {
                log::warn!(
                    "--tls-insecure: {host} need not show who it is; whoever stands in between can read and change \
                     everything, the password too"
                );
            });
        }
        if let Err(error) = self.known_hosts.remember(host, *port) {
            log::warn!("cannot remember that {host} speaks TLS: {error}");
        }
    }

    fn failure(&self, broken: Broken) -> ConnectError {
        let host = &self.target.host;
        let is_preferred = self.config.mode == TlsMode::Prefer;
        match broken.into_error(host, is_preferred) {
            Ok(TlsError::Failed { host, detail }) if self.config.mode == TlsMode::Implicit => {
                let detail = format!("{detail}; ftpes:// is for servers that want AUTH TLS first");
                TlsError::Failed { host, detail }.into()
            }
            Ok(error) => error.into(),
            Err(error) => self
                .target
                .error(Fault::from_io(&error, crate::remote::Phase::Login)),
        }
    }

    fn checked<T>(&self, outcome: Result<T, Fault>) -> Result<T, ConnectError> {
        outcome.map_err(|fault| self.target.error(fault))
    }
}
