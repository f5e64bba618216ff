//! What a server said, in filesystem terms.

use std::{error::Error, fmt, sync::Arc};

use super::{RemotePath, late::Late};

/// An error of the remote: what happened, while doing what, to which path. Cheap to clone, because
/// several readers may wait for one fetch.
#[derive(Debug, Clone)]
pub struct RemoteError {
    kind: RemoteErrorKind,
    command: &'static str,
    path: Option<RemotePath>,
    is_answer: bool,
    has_begun: bool,
    is_unheard: bool,
    late: Option<Late>,
    /// Twice behind a pointer, which keeps an error small.
    source: Option<Arc<Box<dyn Error + Send + Sync>>>,
}

/// What happened. The FTP reply code that leads to each kind stands in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemoteErrorKind {
    /// The server refuses this on this path and the code does not tell why (550, 521, 501, other 5xx).
    Refused,
    /// The file is in use (450).
    Busy,
    /// The server failed at it (451, other 4xx).
    Failed,
    /// The server's disk is full (452).
    NoSpace,
    /// The user's quota is used up (552).
    QuotaExceeded,
    /// The server does not take this name (553).
    NameRefused,
    /// The user may not log in, or lost the right to (530, 532).
    LoginRefused,
    /// The server does not know the command or parameter (500, 502, 504, 202).
    Unsupported,
    /// The connection broke (421, 425, 426, EOF, reset), also after the retries that were safe.
    Disconnected,
    /// No progress within the timeout, in this phase.
    TimedOut(Phase),
    /// What came is no FTP; the session was thrown away.
    Protocol,
    /// What was seen before a change was too old when it could have left; nothing was sent.
    Expired,
    /// A path that cannot stand in a command line (CR, LF, NUL); nothing was sent.
    InvalidPath,
    /// A name that the server's character set (`--charset`) cannot hold; nothing was sent.
    Unencodable,
    /// A listing takes more memory than there is for listings; what had come of it was thrown away.
    NoMemory,
}

/// What was waited for when time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// A free session.
    Session,
    /// The TCP connection.
    Connect,
    /// The greeting and the login.
    Login,
    /// The reply to a command.
    Reply,
    /// Bytes on a data connection.
    Data,
}

impl RemoteError {
    /// An error while `command` (an FTP verb, or what stands for it) ran.
    pub fn new(kind: RemoteErrorKind, command: &'static str) -> Self {
        Self {
            kind,
            command,
            path: None,
            is_answer: false,
            has_begun: false,
            is_unheard: false,
            late: None,
            source: None,
        }
    }

    /// Says that this was the server's own answer.
    #[must_use]
    pub fn answered(mut self) -> Self {
        self.is_answer = true;
        self
    }

    /// Says that the server had begun to do what was asked.
    #[must_use]
    pub fn begun(mut self) -> Self {
        self.has_begun = true;
        self
    }

    /// Says that the session had died while it was idle, so that the server can hardly have read what was asked.
    #[must_use]
    pub fn unheard(mut self) -> Self {
        self.is_unheard = true;
        self
    }

    /// Says that what was asked may still be done, and when no more.
    #[must_use]
    pub fn with_late(mut self, late: Late) -> Self {
        self.late = Some(late);
        self
    }

    /// Names the path that the command was about.
    #[must_use]
    pub fn with_path(mut self, path: &RemotePath) -> Self {
        self.path = Some(path.clone());
        self
    }

    /// Adds what lies beneath: a reply's text, an I/O error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::new(source.into()));
        self
    }

    /// The same, taken for another kind by who knows the server better.
    #[must_use]
    pub fn into_kind(self, kind: RemoteErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// What happened.
    pub fn kind(&self) -> RemoteErrorKind {
        self.kind
    }

    /// The FTP verb, or what stands for it.
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// Whether the server's answer was no, so that it did nothing of what was asked, or did not finish it. Else nobody knows.
    pub fn is_answer(&self) -> bool {
        self.is_answer
    }

    /// Whether the server had begun to do what was asked.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// What may still be done of what was asked.
    pub fn late(&self) -> Option<&Late> {
        self.late.as_ref()
    }

    /// Whether the session had died while it was idle.
    pub fn is_unheard(&self) -> bool {
        self.is_unheard
    }

    /// Whether the server may have done all that it was asked: no answer came.
    pub fn is_reply_lost(&self) -> bool {
        let is_lost = matches!(
            self.kind,
            RemoteErrorKind::Disconnected
                | RemoteErrorKind::TimedOut(_)
                | RemoteErrorKind::Protocol
        );
        is_lost && !self.is_answer
    }

    /// The path that the command was about.
    pub fn path(&self) -> Option<&RemotePath> {
        self.path.as_ref()
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.command)?;
        if let Some(path) = &self.path {
            write!(f, " {path}")?;
        }
        write!(f, ": {}", self.kind)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl Error for RemoteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().and_then(|source| source.source())
    }
}

impl fmt::Display for RemoteErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused by the server",
            Self::Busy => "the file is busy on the server",
            Self::Failed => "the server failed",
            Self::NoSpace => "no space left on the server",
            Self::QuotaExceeded => "quota exceeded on the server",
            Self::NameRefused => "the server does not take this name",
            Self::LoginRefused => "the server refused the login",
            Self::Unsupported => "not supported by the server",
            Self::Disconnected => "the connection to the server broke",
            Self::TimedOut(phase) => return write!(f, "timed out waiting for {phase}"),
            Self::Protocol => "the server sent something that is no FTP",
            Self::Expired => {
                "there was no session for it soon enough after the look at what is there"
            }
            Self::InvalidPath => "FTP cannot carry this name",
            Self::Unencodable => {
                "the charset of the server's names (--charset) cannot hold this name"
            }
            Self::NoMemory => {
                "the listing is too long for the memory of listings (--listing-memory)"
            }
        })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session => "a free session",
            Self::Connect => "the connection",
            Self::Login => "the login",
            Self::Reply => "the reply",
            Self::Data => "data",
        })
    }
}
