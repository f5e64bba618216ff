//! TLS under the control and the data connections.
//!
//! 1. *A data connection resumes the session of its own control connection*: vsftpd (`require_ssl_reuse`), `ProFTPD` and
//!    `FileZilla` Server refuse others. So each FTP session has one store of its own ([`Client::session`]), used by all
//!    its connections and by no other.
//! 2. *TLS 1.2 first.* What resumes a session there may be used again and again. Tickets of TLS 1.3 are good for one
//!    connection each, and `ProFTPD` sends no new one on uploads. A server that refuses 1.2 gets 1.3.
//! 3. *Whom to trust* is decided in [`verify`], and each way that can go wrong has its own sentence in [`error`].
//! 4. *No way back.* A host that has spoken TLS once is never spoken to without, unless the user says so ([`known`]).

mod broken;
mod certificate;
mod channel;
mod error;
mod fingerprint;
mod handshakes;
mod known;
mod pem;
#[cfg(test)]
mod tests;
mod trusted;
mod verify;

pub(super) use broken::Broken;
pub use certificate::Certificate;
pub(super) use channel::Channel;
pub use channel::Protocol;
pub use error::TlsError;
pub(super) use known::KnownHosts;
pub(super) use trusted::TrustedHosts;

use std::{net::IpAddr, sync::Arc};

use rustls::{
    ClientConfig,
    client::Resumption,
    crypto::CryptoProvider,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};

use self::{
    handshakes::Handshakes,
    pem::{Identity, read_identity},
    verify::Verifier,
};
use crate::config::TlsConfig;

/// How many names one store knows. 1: every connection of a session goes to the same host.
const RESUMPTION_NAMES_MAX: usize = 1;

/// What a control connection says that it speaks (ALPN, RFC 7301, as IANA lists it), so that it cannot be led to a server of another protocol
/// that has the same certificate.
const PROTOCOL: &[u8] = b"ftp";

/// Which version is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// TLS 1.2.
    V12,
    /// TLS 1.3, for servers that refuse 1.2.
    V13,
}

/// How this host's certificates are judged, and what it gets to see of us.
#[derive(Debug)]
pub(super) struct Client {
    v12: ClientConfig,
    v13: ClientConfig,
    name: Option<ServerName<'static>>,
    data: Arc<Handshakes>,
    /// Whether data connections that resume no session are refused.
    must_resume: bool,
}

impl Client {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or a host name that no certificate can hold.
    pub(super) fn new(config: &TlsConfig, host: &str, port: u16) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Arc::new(Verifier::new(config, &provider, (host, port))?);
        let name = ServerName::try_from(host.to_owned()).ok();
        if name.is_none() && verifier.is_by_name() {
            let detail = format!("no certificate can be for {host:?}; use another name in the URL");
            return Err(TlsError::Setup { detail });
        }
        let identity = config.identity.as_ref().map(read_identity).transpose()?;
        let build = |version| build(&provider, version, &verifier, identity.as_ref());
        Ok(Self {
            v12: build(&TLS12)?,
            v13: build(&TLS13)?,
            name,
            data: Arc::default(),
            must_resume: config.requires_resumption,
        })
    }

    /// How many data connections have resumed a session, and how many have not.
    pub(super) fn resumptions(&self) -> (usize, usize) {
        self.data.counts()
    }

    /// What the connections of one session share. Without a name that a certificate could hold, which only matters where
    /// names are not looked at, the address stands in for it.
    pub(super) fn session(&self, version: Version, address: IpAddr) -> Session {
        let mut config = match version {
            Version::V12 => self.v12.clone(),
            Version::V13 => self.v13.clone(),
        };
        config.resumption = Resumption::in_memory_sessions(RESUMPTION_NAMES_MAX);
        let name = self.name.clone();
        // Data connections name no protocol: FileZilla Server knows another one for them.
        let data_config = Arc::new(config.clone());
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Session {
            is_lasting: version == Version::V12,
            config: Arc::new(config),
            data_config,
            data: Arc::clone(&self.data),
            must_resume: self.must_resume,
            name: name.unwrap_or_else(|| ServerName::IpAddress(address.into())),
        }
    }
}

/// What all connections of one FTP session share: above all the TLS session that they resume.
#[derive(Debug, Clone)]
pub(super) struct Session {
    config: Arc<ClientConfig>,
    /// The same for data connections, with the same sessions to resume.
    data_config: Arc<ClientConfig>,
    name: ServerName<'static>,
    data: Arc<Handshakes>,
    must_resume: bool,
    is_lasting: bool,
}

impl Session {
    /// TLS for the control connection. Nothing has been sent yet.
    pub(super) fn channel(&self) -> Result<Channel, Broken> {
        Channel::new(Arc::clone(&self.config), self.name.clone(), None)
    }

    /// Whether what resumes it may be used again and again, be it for connections that are never needed.
    pub(super) fn is_lasting(&self) -> bool {
        self.is_lasting
    }

    /// TLS for a data connection, whose handshake is counted.
    pub(super) fn data_channel(&self) -> Result<Channel, Broken> {
        let data = Some(Arc::clone(&self.data));
        let mut channel = Channel::new(Arc::clone(&self.data_config), self.name.clone(), data)?;
        if self.must_resume {
            channel.require_resumption();
        }
        Ok(channel)
    }
}

fn build(
    provider: &Arc<CryptoProvider>,
    version: &'static rustls::SupportedProtocolVersion,
    verifier: &Arc<Verifier>,
    identity: Option<&Identity>,
) -> Result<ClientConfig, TlsError> {
    let failed = |error: rustls::Error| TlsError::Setup {
        detail: error.to_string(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[version])
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as _);
    match identity {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|error| TlsError::Setup {
                detail: format!("--client-cert and --client-key do not go together: {error}"),
            }),
        None => Ok(builder.with_no_client_auth()),
    }
}
