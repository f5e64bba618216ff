//! Certificates and keys in PEM files, and what to say of a file that is none.

use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::error::TlsError;
use crate::config::TlsIdentity;

/// A certificate with those above it, and its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What the server gets to see of us.
pub(super) fn read_identity(identity: &TlsIdentity) -> Result<Identity, TlsError> {
    let chain = read_certificates("--client-cert", &identity.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&identity.key)
        .map_err(|error| unreadable("--client-key", &identity.key, "unencrypted key", &error))?;
    Ok((chain, key))
}

/// All certificates in a PEM file; at least one.
pub(super) fn read_certificates(
    option: &str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates = read.map_err(|error| unreadable(option, path, "certificate", &error))?;
    if certificates.is_empty() {
        let detail = format!("{option} {}: holds no certificate in PEM", path.display());
        return Err(TlsError::Setup { detail });
    }
    Ok(certificates)
}

fn unreadable(
    option: &str,
    path: &Path,
    what: &str,
    error: &rustls::pki_types::pem::Error,
) -> TlsError {
    use rustls::pki_types::pem::Error;
    let reason = match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => format!("holds no {what} in PEM"),
        other => format!("is no PEM file: {other}"),
    };
    TlsError::Setup {
        detail: format!("{option} {}: {reason}", path.display()),
    }
}
