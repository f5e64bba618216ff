//! What is wrong, and the option that fixes it.

use serde::Serialize;

use crate::{
    config::{FtpConfig, TlsMode},
    ftp::{ConnectError, TlsError},
};

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A word for it that stays the same.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub what: String,
    /// The option that fixes it, as it is typed, or a URL; empty where there is none.
    pub remedy: String,
}

impl Problem {
    pub(super) fn new(
        name: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// Why no session can be had.
    pub(super) fn of_connect(error: &ConnectError, config: &FtpConfig) -> Self {
        let (name, remedy) = match error {
            ConnectError::Tls(error) => of_tls(error),
            _ if error.is_for_tls() => ("tls-demanded", "--tls require".to_owned()),
            ConnectError::HostUnknown { .. } => ("host", String::new()),
            ConnectError::Refused { .. } => ("refused", String::new()),
            ConnectError::Closed { .. } => ("closed", String::new()),
            ConnectError::BindFailed { .. } => ("bind-address", "--bind-address".to_owned()),
            ConnectError::ProxyFailed { .. } => ("proxy", "--proxy".to_owned()),
            ConnectError::Unreachable { .. } => ("unreachable", String::new()),
            ConnectError::TimedOut { .. } => ("timed-out", "--timeout".to_owned()),
            ConnectError::NotFtp { .. } => ("no-ftp", String::new()),
            ConnectError::Busy { .. } => ("busy", String::new()),
            ConnectError::LoginRefused { .. } => ("login", "--password-file".to_owned()),
            ConnectError::BaseMissing { .. } => ("directory", String::new()),
            ConnectError::BaseUnencodable { .. } => ("directory", "--charset".to_owned()),
            ConnectError::SystemUnsupported { .. } => ("system", String::new()),
        };
        let is_implicit = config.tls.mode == TlsMode::Implicit;
        let remedy = match error {
            ConnectError::Tls(TlsError::Refused { .. }) if is_implicit => String::new(),
            _ => remedy,
        };
        Self::new(name, error.to_string(), remedy)
    }
}

fn of_tls(error: &TlsError) -> (&'static str, String) {
    let pin = error
        .certificate()
        .map(|certificate| format!("--pin {certificate}"));
    let pin = pin.unwrap_or_default();
    match error {
        TlsError::UnknownIssuer { .. } => {
            ("certificate-issuer", format!("--ca-file FILE, or {pin}"))
        }
        TlsError::IsAuthority { .. } => ("certificate-authority", pin),
        TlsError::WrongName { .. } => ("certificate-name", pin),
        TlsError::OutOfDate { .. } => ("certificate-date", pin),
        TlsError::PinMismatch { .. } => ("certificate-pin", pin),
        TlsError::Changed { .. } => ("certificate-changed", pin),
        TlsError::Unacceptable { .. } => ("certificate", pin),
        TlsError::Refused { .. } => ("tls-refused", "--tls off".to_owned()),
        TlsError::Downgraded { .. } => ("tls-lost", "--tls off".to_owned()),
        TlsError::DataInClear { .. } => ("tls-data", "--tls off".to_owned()),
        TlsError::Failed { .. } => ("tls-failed", String::new()),
        TlsError::Setup { .. } => ("tls-setup", String::new()),
    }
}
