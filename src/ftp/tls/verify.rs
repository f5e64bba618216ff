//! Whom to trust: an authority's word for the host's name, a pinned certificate, or, if the user insists, anybody.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::{
    certificate::Certificate,
    error::{Reason, Rejected, TlsError},
    fingerprint::sha256,
    pem::read_certificates,
    trusted::{Trusted, TrustedHosts},
};
use crate::config::{Pin, TlsConfig};

/// Judges what a server shows.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Trust {
    /// Anybody.
    Blind,
    /// These and nothing else: no authority, name or date counts.
    Pinned(Vec<Pin>),
    /// Whom an authority vouches for, by name.
    Vouched(Arc<WebPkiServerVerifier>),
    /// This one, which the user has trusted; or likewise, where there are authorities.
    Trusted(Trusted, Option<Arc<WebPkiServerVerifier>>),
}

impl Verifier {
    /// As the settings say, for this host and port.
    pub(super) fn new(
        config: &TlsConfig,
        provider: &Arc<CryptoProvider>,
        (host, port): (&str, u16),
    ) -> Result<Self, TlsError> {
        let trust = if config.is_insecure {
            Trust::Blind
        } else if !config.pins.is_empty() {
            Trust::Pinned(config.pins.clone())
        } else {
            let roots = match &config.ca_file {
                Some(path) => roots_of(read_certificates("--ca-file", path)?),
                None => system_roots(),
            };
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                    .build();
            match (find_trusted(config, host, port)?, built) {
                (Some(trusted), built) => Trust::Trusted(trusted, built.ok()),
                (None, Ok(authorities)) => Trust::Vouched(authorities),
                (None, Err(_)) => {
                    let detail = "no certificate of an authority was found: install ca-certificates, or use --ca-file or --pin";
                    return Err(TlsError::Setup {
                        detail: detail.to_owned(),
                    });
                }
            }
        };
        Ok(Self {
            trust,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// Whether the host's name matters.
    pub(super) fn is_by_name(&self) -> bool {
        matches!(self.trust, Trust::Vouched(_))
    }
}

/// The certificate that the user has trusted for this server.
fn find_trusted(config: &TlsConfig, host: &str, port: u16) -> Result<Option<Trusted>, TlsError> {
    let Some(path) = &config.trusted_hosts else {
        return Ok(None);
    };
    TrustedHosts::new(path)
        .find(host, port)
        .map_err(|error| TlsError::Setup {
            detail: format!(
                "cannot read which certificates are trusted ({}: {error}); --pin does without",
                path.display()
            ),
        })
}

fn roots_of(certificates: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let (_, unusable) = roots.add_parsable_certificates(certificates);
    if unusable > 0 {
        log::debug!("{unusable} certificates of authorities cannot be used");
    }
    roots
}

/// What the system trusts, where most systems keep it.
fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        log::debug!("looking for the authorities that the system trusts: {error}");
    }
    roots_of(found.certs)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let vouch = |authorities: &WebPkiServerVerifier| {
            authorities
                .verify_server_cert(certificate, intermediates, name, ocsp_response, now)
                .map_err(|error| match error {
                    Error::InvalidCertificate(error) => reason_of(error),
                    other => Reason::Other(other.to_string()),
                })
        };
        let reason = match &self.trust {
            Trust::Blind => return Ok(ServerCertVerified::assertion()),
            Trust::Pinned(pins) if is_pinned(certificate, pins) => {
                return Ok(ServerCertVerified::assertion());
            }
            Trust::Pinned(_) => Reason::NotPinned,
            Trust::Vouched(authorities) => match vouch(authorities) {
                Ok(verified) => return Ok(verified),
                Err(reason) => reason,
            },
            Trust::Trusted(trusted, _) if is_pinned(certificate, &[trusted.pin]) => {
                return Ok(ServerCertVerified::assertion());
            }
            Trust::Trusted(trusted, authorities) => match authorities.as_deref().map(vouch) {
                Some(Ok(verified)) => return Ok(verified),
                _ => Reason::Changed(trusted.place.clone()),
            },
        };
        let rejected = Rejected {
            reason,
            certificate: Box::new(Certificate::read(certificate)),
        };
        Err(CertificateError::Other(OtherError(Arc::new(rejected))).into())
    }

    /// Whatever is trusted: that the server has the certificate's key must be shown.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a pin is the digest of the certificate itself or of its public key (RFC 7469 section 2.4).
fn is_pinned(certificate: &CertificateDer<'_>, pins: &[Pin]) -> bool {
    let whole = sha256(certificate);
    let key = ParsedCertificate::try_from(certificate)
        .ok()
        .map(|parsed| sha256(&parsed.subject_public_key_info()));
    pins.iter().any(|pin| pin.0 == whole || Some(pin.0) == key)
}

fn reason_of(error: CertificateError) -> Reason {
    match error {
        // An authority of that name is trusted, and it is another one: a NAS that has made itself a new one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Reason::UnknownIssuer,
        CertificateError::Expired => Reason::Expired(None),
        CertificateError::ExpiredContext { not_after, .. } => {
            Reason::Expired(Some(not_after.as_secs()))
        }
        CertificateError::NotValidYet => Reason::NotYet(None),
        CertificateError::NotValidYetContext { not_before, .. } => {
            Reason::NotYet(Some(not_before.as_secs()))
        }
        CertificateError::NotValidForName => Reason::WrongName(Vec::new()),
        CertificateError::NotValidForNameContext { presented, .. } => Reason::WrongName(presented),
        // webpki's word for a certificate with CA:TRUE; rustls has none of its own.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => Reason::IsAuthority,
        other => Reason::Other(other.to_string()),
    }
}
