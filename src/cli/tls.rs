//! The options of TLS, and what they and the URL's scheme come to.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::{
    error::UsageError,
    surroundings::Surroundings,
    target::Scheme,
    values::{absolute, parse_pin},
};
use crate::config::{Pin, TlsConfig, TlsIdentity, TlsMode};

/// The file below the state directory that remembers which hosts have spoken TLS.
const KNOWN_HOSTS: &str = "tls-hosts";

/// The one that remembers which certificates the user has trusted.
const TRUSTED_HOSTS: &str = "trusted-certificates";

/// The one that remembers of which hosts the user has been told that nothing is protected.
const CLEAR_HOSTS: &str = "clear-hosts";

/// When TLS is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum When {
    Require,
    Prefer,
    Off,
}

/// The options of TLS.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsOpts {
    /// Use TLS: require, prefer (where offered), or off [default: prefer]
    #[arg(long, value_name = "WHEN", value_enum, hide_possible_values = true)]
    tls: Option<When>,

    /// Trust the authorities in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Trust only the certificate or key of this digest; may be repeated
    #[arg(long, value_name = "SHA256", value_parser = parse_pin, action = ArgAction::Append)]
    pin: Vec<Pin>,

    /// Show the server this certificate, a PEM file
    #[arg(long, value_name = "FILE")]
    client_cert: Option<PathBuf>,

    /// Its private key, a PEM file
    #[arg(long, value_name = "FILE")]
    client_key: Option<PathBuf>,

    /// Trust whoever answers, also somebody who stands in between
    #[arg(long, conflicts_with_all = ["ca_file", "pin"])]
    tls_insecure: bool,

    /// Refuse data connections that do not resume the TLS session
    #[arg(long)]
    tls_require_resumption: bool,
}

impl TlsOpts {
    /// What the options come to for a URL of this scheme.
    pub(super) fn to_config(
        &self,
        scheme: Scheme,
        surroundings: &Surroundings,
    ) -> Result<TlsConfig, UsageError> {
        if self.client_cert.is_some() != self.client_key.is_some() {
            return Err(UsageError::new(
                "--client-cert and --client-key go together: a certificate and its key",
            ));
        }
        let identity = self.client_cert.as_ref().zip(self.client_key.as_ref());
        Ok(TlsConfig {
            mode: self.mode(scheme)?,
            is_insecure: self.tls_insecure,
            requires_resumption: self.tls_require_resumption,
            ca_file: self.ca_file.as_deref().map(absolute),
            pins: self.pin.clone(),
            identity: identity.map(|(certificate, key)| TlsIdentity {
                certificate: absolute(certificate),
                key: absolute(key),
            }),
            known_hosts: Some(surroundings.state_dir().join(KNOWN_HOSTS)),
            trusted_hosts: (!self.says_whom_to_trust())
                .then(|| surroundings.state_dir().join(TRUSTED_HOSTS)),
            clear_hosts: Some(surroundings.state_dir().join(CLEAR_HOSTS)),
        })
    }

    fn mode(&self, scheme: Scheme) -> Result<TlsMode, UsageError> {
        match (scheme, self.tls) {
            (Scheme::Ftps, None | Some(When::Require)) => Ok(TlsMode::Implicit),
            (Scheme::Ftpes, None) | (Scheme::Ftpes | Scheme::Ftp, Some(When::Require)) => {
                Ok(TlsMode::Require)
            }
            (Scheme::Ftps | Scheme::Ftpes, Some(_)) => Err(UsageError::new(format!(
                "{scheme}:// always uses TLS; --tls prefer and --tls off go with ftp://"
            ))),
            (Scheme::Ftp, Some(When::Off)) if self.is_about_tls() => Err(UsageError::new(
                "--tls off does not go with --ca-file, --pin, --client-cert, --tls-insecure or --tls-require-resumption",
            )),
            (Scheme::Ftp, Some(When::Off)) => Ok(TlsMode::Off),
            (Scheme::Ftp, Some(When::Prefer)) => Ok(TlsMode::Prefer),
            // Who says whom to trust does not want to go without.
            (Scheme::Ftp, None) if self.is_about_tls() => Ok(TlsMode::Require),
            (Scheme::Ftp, None) => Ok(TlsMode::default()),
        }
    }

    fn says_whom_to_trust(&self) -> bool {
        self.tls_insecure || self.ca_file.is_some() || !self.pin.is_empty()
    }

    fn is_about_tls(&self) -> bool {
        self.says_whom_to_trust() || self.tls_require_resumption || self.client_cert.is_some()
    }
}
