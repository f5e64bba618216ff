//! Why a connection with TLS on it is no good any more, and what the user is told of it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::error::{Rejected, TlsError};

/// Why a connection is no good any more.
#[derive(Debug)]
pub(in crate::ftp) enum Broken {
    /// The socket failed, or gave nothing within its timeout.
    Io(io::Error),
    /// What came over it is not what TLS wants.
    Tls(Error),
    /// Something was said in the clear where TLS should have begun.
    Injected,
    /// A data connection has not resumed the session of the control connection, as it had to.
    NotResumed,
}

/// The words for that.
const NOT_RESUMED: &str = "the data connection does not resume the TLS session of the control connection, so that somebody else may have \
    answered; if the server cannot do it, leave out --tls-require-resumption";

impl Broken {
    /// Whether another version may help.
    pub(in crate::ftp) fn is_version(&self) -> bool {
        matches!(
            self,
            Self::Tls(
                Error::AlertReceived(
                    AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure
                ) | Error::PeerIncompatible(_)
            )
        )
    }

    /// The error for the user, unless it was the socket's.
    pub(in crate::ftp) fn into_error(
        self,
        host: &str,
        is_preferred: bool,
    ) -> Result<TlsError, io::Error> {
        let host = host.to_owned();
        let error = match self {
            Self::Io(error) => return Err(error),
            Self::Tls(error) => error,
            Self::Injected => {
                let detail = "it goes on in the clear behind its consent to TLS, or somebody in between does".to_owned();
                return Ok(TlsError::Failed { host, detail });
            }
            Self::NotResumed => {
                let detail = NOT_RESUMED.to_owned();
                return Ok(TlsError::Failed { host, detail });
            }
        };
        if let Error::InvalidCertificate(CertificateError::Other(other)) = &error
            && let Some(rejected) = other.0.downcast_ref::<Rejected>()
        {
            return Ok(rejected.clone().into_error(host, is_preferred));
        }
        let detail = match error {
            Error::InvalidMessage(_) => "what it sends is not TLS".to_owned(),
            Error::PeerIncompatible(_)
            | Error::AlertReceived(
                AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion,
            ) => format!(
                "{error}; it may know only what is out of use (TLS 1.0 or 1.1; RSA or DHE key exchange, CBC suites): update the \
                 server, or on a network that you trust use --tls off"
            ),
            other => other.to_string(),
        };
        Ok(TlsError::Failed { host, detail })
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Tls(error)
    }
}

/// For a data connection, where what TLS says is one more way for a connection to break.
impl From<Broken> for io::Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Io(error) => error,
            Broken::Injected => io::ErrorKind::InvalidData.into(),
            Broken::NotResumed => Self::new(io::ErrorKind::ConnectionAborted, NOT_RESUMED),
            Broken::Tls(error) => Self::new(io::ErrorKind::ConnectionAborted, error.to_string()),
        }
    }
}
