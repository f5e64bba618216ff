//! Why a host is not spoken to over TLS, or not without it: each in one line that says which option mends it.

use std::{fmt, path::PathBuf};

use chrono::{DateTime, Utc};

use super::certificate::Certificate;

/// Why a protected session could not be had. In each case the password has not been sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// No authority that is trusted here has signed the certificate.
    #[error(
        "the certificate of {host} is signed by nobody that is trusted here; if it is the right one ({certificate}), \
         --ca-file trusts who signed it, and --pin this one alone{}", without(*.is_preferred)
    )]
    UnknownIssuer {
        /// The host as configured.
        host: String,
        /// What the server showed.
        certificate: Box<Certificate>,
        /// Whether TLS was not asked for expressly.
        is_preferred: bool,
    },
    /// A self-signed certificate that says of itself that it is an authority, which no authority's file makes good.
    #[error(
        "{host} shows an authority's own certificate, as many NAS do, which only a pin can trust; if it is the right \
         one, use --pin {certificate}{}", without(*.is_preferred)
    )]
    IsAuthority {
        /// The host as configured.
        host: String,
        /// What the server showed.
        certificate: Box<Certificate>,
        /// Whether TLS was not asked for expressly.
        is_preferred: bool,
    },
    /// The certificate is another host's.
    #[error(
        "the certificate of {host} is for {names}; use that name in the URL, or, if this is the right server, \
         --pin {certificate}"
    )]
    WrongName {
        /// The host as configured.
        host: String,
        /// Whose certificate it is.
        names: String,
        /// What the server showed.
        certificate: Box<Certificate>,
    },
    /// The certificate was good once, or will be.
    #[error(
        "the certificate of {host} {when}; it has to be renewed on the server (or this machine's clock set); until \
         then --pin {certificate} accepts it"
    )]
    OutOfDate {
        /// The host as configured.
        host: String,
        /// `has expired on DATE` or `is not valid before DATE`.
        when: String,
        /// What the server showed.
        certificate: Box<Certificate>,
    },
    /// Another certificate than those that `--pin` names.
    #[error(
        "{host} shows another certificate than --pin says; if it was exchanged on the server, give the new one: \
         --pin {certificate}"
    )]
    PinMismatch {
        /// The host as configured.
        host: String,
        /// What the server showed.
        certificate: Box<Certificate>,
    },
    /// Another certificate than the one that the user has trusted.
    #[error(
        "{host} shows another certificate than the one that was trusted on this machine: somebody may stand in between; if it was \
         exchanged on the server, remove line {line} of {}, and mount on a terminal or with --pin {certificate}", .file.display()
    )]
    Changed {
        /// The host as configured.
        host: String,
        /// What the server showed.
        certificate: Box<Certificate>,
        /// The file that remembers the other one.
        file: PathBuf,
        /// The line in it.
        line: usize,
    },
    /// The certificate is no good for another reason.
    #[error(
        "the certificate of {host} is not accepted: {detail}; if it is the right one, use --pin {certificate}"
    )]
    Unacceptable {
        /// The host as configured.
        host: String,
        /// In the words of the verifier.
        detail: String,
        /// What the server showed.
        certificate: Box<Certificate>,
    },
    /// TLS is demanded, and the server does not have it.
    #[error(
        "{host} refuses AUTH TLS: {reply}; ftps:// if it wants TLS from the start, --tls off to send password and \
         files in the clear"
    )]
    Refused {
        /// The host as configured.
        host: String,
        /// The server's reply.
        reply: String,
    },
    /// A server that had TLS says that it has not.
    #[error(
        "{host} has spoken TLS before and refuses it now ({reply}): somebody may stand in between; if the server \
         has really lost it, --tls off sends password and files in the clear{}", forget(.remembered_in.as_ref())
    )]
    Downgraded {
        /// The host as configured.
        host: String,
        /// The server's reply.
        reply: String,
        /// The file that remembers it.
        remembered_in: Option<PathBuf>,
    },
    /// The control connection is protected, and data connections are not to be.
    #[error(
        "{host} does not protect data connections (PROT P: {reply}); --tls off sends password and files in the clear"
    )]
    DataInClear {
        /// The host as configured.
        host: String,
        /// The server's reply.
        reply: String,
    },
    /// No common ground, or not TLS at all.
    #[error("no TLS with {host}: {detail}")]
    Failed {
        /// The host as configured.
        host: String,
        /// In the words of the TLS library.
        detail: String,
    },
    /// What the options name is no good.
    #[error("{detail}")]
    Setup {
        /// The option, the file, and what is wrong.
        detail: String,
    },
}

impl TlsError {
    /// The certificate that is not accepted, if that is what is wrong.
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::UnknownIssuer { certificate, .. }
            | Self::IsAuthority { certificate, .. }
            | Self::WrongName { certificate, .. }
            | Self::OutOfDate { certificate, .. }
            | Self::PinMismatch { certificate, .. }
            | Self::Changed { certificate, .. }
            | Self::Unacceptable { certificate, .. } => Some(certificate),
            Self::Refused { .. }
            | Self::Downgraded { .. }
            | Self::DataInClear { .. }
            | Self::Failed { .. }
            | Self::Setup { .. } => None,
        }
    }
}

impl TlsError {
    /// What is wrong with a certificate that the user may trust all the same, in half a sentence.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::UnknownIssuer { .. } => {
                Some("it is signed by nobody that is trusted here".to_owned())
            }
            Self::IsAuthority { .. } => {
                Some("it is an authority's own, as many NAS make for themselves".to_owned())
            }
            Self::WrongName { names, .. } => Some(format!("it is for {names}")),
            Self::OutOfDate { when, .. } => Some(format!("it {when}")),
            Self::Unacceptable { detail, .. } => Some(detail.clone()),
            Self::PinMismatch { .. }
            | Self::Changed { .. }
            | Self::Refused { .. }
            | Self::Downgraded { .. }
            | Self::DataInClear { .. }
            | Self::Failed { .. }
            | Self::Setup { .. } => None,
        }
    }
}

fn without(is_preferred: bool) -> &'static str {
    if is_preferred {
        "; --tls off sends password and files in the clear"
    } else {
        ""
    }
}

fn forget(file: Option<&PathBuf>) -> String {
    file.map(|file| format!(", or take its line out of {}", file.display()))
        .unwrap_or_default()
}

/// Why a certificate was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    NotPinned,
    /// The one that the user has trusted is in this file and line.
    Changed((PathBuf, usize)),
    UnknownIssuer,
    IsAuthority,
    WrongName(Vec<String>),
    Expired(Option<u64>),
    NotYet(Option<u64>),
    Other(String),
}

/// A certificate that was rejected; travels through rustls to whoever connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) reason: Reason,
    pub(super) certificate: Box<Certificate>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "certificate {} rejected: {:?}",
            self.certificate, self.reason
        )
    }
}

impl std::error::Error for Rejected {}

impl Rejected {
    /// The error for the user.
    pub(super) fn into_error(self, host: String, is_preferred: bool) -> TlsError {
        let certificate = self.certificate;
        match self.reason {
            Reason::NotPinned => TlsError::PinMismatch { host, certificate },
            Reason::Changed((file, line)) => TlsError::Changed {
                host,
                certificate,
                file,
                line,
            },
            Reason::UnknownIssuer => TlsError::UnknownIssuer {
                host,
                certificate,
                is_preferred,
            },
            Reason::IsAuthority => TlsError::IsAuthority {
                host,
                certificate,
                is_preferred,
            },
            Reason::WrongName(names) => TlsError::WrongName {
                host,
                names: listed(&names),
                certificate,
            },
            Reason::Expired(at) => TlsError::OutOfDate {
                host,
                when: format!("has expired{}", day("on", at)),
                certificate,
            },
            Reason::NotYet(at) => TlsError::OutOfDate {
                host,
                when: format!("is not valid yet{}", day("before", at)),
                certificate,
            },
            Reason::Other(detail) => TlsError::Unacceptable {
                host,
                detail,
                certificate,
            },
        }
    }
}

/// The names in a certificate, of which it may have hundreds, without what a terminal would obey.
fn listed(names: &[String]) -> String {
    const SHOWN_MAX: usize = 5;
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN_MAX)
        .map(|name| name.escape_default().to_string())
        .collect();
    match names.len() {
        0 => "no name at all".to_owned(),
        count if count > SHOWN_MAX => {
            format!("{} and {} more", shown.join(", "), count - SHOWN_MAX)
        }
        _ => shown.join(", "),
    }
}

fn day(word: &str, seconds: Option<u64>) -> String {
    let time = seconds
        .and_then(|seconds| i64::try_from(seconds).ok())
        .and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0));
    time.map(|time| format!(" {word} {}", time.format("%Y-%m-%d")))
        .unwrap_or_default()
}
