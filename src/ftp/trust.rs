//! Whether the user trusts a certificate that nothing vouches for: what is shown of it, and that it is remembered.

use std::{fmt, io, time::Duration};

use chrono::{DateTime, Utc};

use super::{
    connect_error::ConnectError,
    examine::probe_tls,
    tls::{Certificate, TrustedHosts},
};
use crate::config::FtpConfig;

/// How long the server may take to show it once more.
const PROBE_WAIT: Duration = Duration::from_secs(10);

/// A certificate that the user may trust, and what is wrong with it.
#[derive(Debug)]
pub struct Untrusted<'a> {
    config: &'a FtpConfig,
    certificate: Certificate,
    trouble: String,
}

impl<'a> Untrusted<'a> {
    /// Looks at what the server shows. `None` if that is trusted, or if it is not for the user to say: an option says whom to trust, or
    /// another certificate was trusted before.
    pub fn find(config: &'a FtpConfig) -> Option<Self> {
        config.tls.trusted_hosts.as_ref()?;
        let ConnectError::Tls(error) =
            probe_tls(config, config.tls.mode, config.port, PROBE_WAIT).err()?
        else {
            return None;
        };
        Some(Self {
            config,
            certificate: error.certificate()?.clone(),
            trouble: error.trouble()?,
        })
    }

    /// Trusts it from now on.
    ///
    /// # Errors
    ///
    /// That cannot be written down; the error names the file.
    pub fn trust(&self) -> io::Result<()> {
        let Some(path) = &self.config.tls.trusted_hosts else {
            return Ok(());
        };
        TrustedHosts::new(path)
            .remember(
                &self.config.host,
                self.config.port,
                self.certificate.fingerprint,
            )
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }
}

/// All that there is to judge it by, and the question.
impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FtpConfig { host, port, .. } = self.config;
        let certificate = &self.certificate;
        let day = |time: Option<DateTime<Utc>>| {
            time.map_or("?".to_owned(), |time| time.format("%F").to_string())
        };
        let (from, to) = (day(certificate.not_before), day(certificate.not_after));
        writeln!(
            f,
            "The certificate of {host}:{port} cannot be verified: {}.",
            self.trouble
        )?;
        writeln!(f, "  subject  {}", certificate.subject)?;
        writeln!(f, "  issuer   {}", certificate.issuer)?;
        writeln!(f, "  valid    from {from} to {to}")?;
        writeln!(f, "  SHA-256  {}", certificate.fingerprint)?;
        write!(
            f,
            "Trust this certificate for {host}:{port} from now on? [y/N] "
        )
    }
}
