//! Replies of RFC 959 section 4.2: from bytes to code and text, and what a code means to the filesystem.
//!
//! Parsing is total. A reply of several lines ends at the line that repeats its code (a banner may well hold
//! "100 users online"); glFTPd ends some with another code, which is taken only when nothing follows for a while.

use std::{borrow::Cow, fmt};

use super::pace::TooSlow;

use crate::{
    config::Password,
    remote::{RemoteError, RemoteErrorKind, RemotePath},
};

/// The longest reply that is read. 64 KiB: hundreds of times a FEAT or a chatty banner; what is longer is no reply.
pub(super) const REPLY_BYTES_MAX: usize = 64 << 10;

/// One reply, whole.
#[derive(Clone)]
pub(super) struct Reply {
    code: u16,
    raw: Box<[u8]>,
    /// What is left out where it is shown.
    secret: Option<Password>,
}

impl PartialEq for Reply {
    fn eq(&self, other: &Self) -> bool {
        (self.code, &self.raw) == (other.code, &other.raw)
    }
}

impl Eq for Reply {}

/// What [`Reply::parse`] found at the beginning of the bytes read so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A reply, and how many bytes it took.
    Complete(Reply, usize),
    /// More is needed. The reply, if a line with another code were its end, and how many bytes it would take.
    Incomplete(Option<(Reply, usize)>),
    /// No reply.
    Malformed,
}

impl Reply {
    /// Reads one reply from the beginning of `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Parsed {
        let mut used = 0;
        let mut opening = None;
        let mut start = 0;
        let mut plausible = None;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if line.last() != Some(&b'\n') {
                plausible = None;
                break;
            }
            used += line.len();
            let content = trim_line_end(line);
            let Some(code) = opening else {
                if content.is_empty() {
                    start = used;
                    continue;
                }
                let Some(code) = code_of(content) else {
                    return Parsed::Malformed;
                };
                match content.get(3) {
                    None | Some(b' ') => return Self::complete(code, bytes, start, used),
                    Some(b'-') => opening = Some(code),
                    Some(_) => return Parsed::Malformed,
                }
                continue;
            };
            match (code_of(content), content.get(3)) {
                (Some(closing), None | Some(b' ')) if closing == code => {
                    return Self::complete(code, bytes, start, used);
                }
                // What follows the first one may be further replies.
                (Some(closing), None | Some(b' ')) => {
                    plausible = plausible.or(Some((closing, used)));
                }
                _ => plausible = None,
            }
        }
        if bytes.len() >= REPLY_BYTES_MAX || (opening.is_none() && is_hopeless(bytes, start)) {
            return Parsed::Malformed;
        }
        Parsed::Incomplete(plausible.map(|(code, end)| {
            let raw = bytes.get(start..end).unwrap_or_default();
            (Self::of(code, raw), end)
        }))
    }

    fn complete(code: u16, bytes: &[u8], start: usize, end: usize) -> Parsed {
        if end > REPLY_BYTES_MAX {
            return Parsed::Malformed;
        }
        let raw = bytes.get(start..end).unwrap_or_default();
        Parsed::Complete(Self::of(code, raw), end)
    }

    fn of(code: u16, raw: &[u8]) -> Self {
        Self {
            code,
            raw: raw.into(),
            secret: None,
        }
    }

    /// The same, and this password is left out where it is shown: some servers repeat what was typed.
    pub(super) fn hiding(self, secret: Option<&Password>) -> Self {
        Self {
            secret: secret.cloned(),
            ..self
        }
    }

    /// The three digits.
    pub(super) fn code(&self) -> u16 {
        self.code
    }

    /// Whether it says that more is to come (1yz).
    pub(super) fn is_preliminary(&self) -> bool {
        self.code / 100 == 1
    }

    /// Whether it says that it is done (2yz).
    pub(super) fn is_done(&self) -> bool {
        self.code / 100 == 2
    }

    /// Whether it asks for the next command of a sequence (3yz).
    pub(super) fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// Whether it is a refusal (4yz, 5yz, and what RFC 959 does not know).
    pub(super) fn is_refusal(&self) -> bool {
        self.code >= 400
    }

    /// Whether the server does not know the command (500, 502, 504), or passes it over as superfluous (202). Some say so in
    /// words only: bftpd "550 Unknown command: 'SITE UTIME'.", swiftp "250 SITE is a NOP".
    pub(super) fn is_unknown_command(&self) -> bool {
        match self.code {
            202 | 500 | 502 | 504 => true,
            501 | 550 => self.says(b"unknown command") || self.says(b"not understood"),
            200 | 250 => self.says(b"site is a nop"),
            _ => false,
        }
    }

    /// Whether these words are in its first line, in whatever case.
    fn says(&self, words: &[u8]) -> bool {
        let text = self.first_line().to_ascii_lowercase();
        text.windows(words.len()).any(|window| window == words)
    }

    /// Whether it says in words that the account lacks a right, so that it says nothing about what is there.
    pub(super) fn denies(&self) -> bool {
        let words: [&[u8]; 5] = [
            b"permission",
            b"privilege",
            b"denied",
            b"not allowed",
            b"not permitted",
        ];
        words.iter().any(|words| self.says(words))
    }

    /// Whether one of the numbers that its first line quotes is this one; `None` when it quotes none.
    pub(super) fn quotes(&self, number: u64) -> Option<bool> {
        let number = number.to_string();
        let text = self.first_line().split(|byte| !byte.is_ascii_digit());
        let mut quoted = text.filter(|digits| !digits.is_empty()).peekable();
        quoted.peek()?;
        Some(quoted.any(|digits| digits == number.as_bytes()))
    }

    /// Whether the server is closing the control connection (421).
    pub(super) fn is_closing(&self) -> bool {
        self.code == 421
    }

    /// The text of each line: the code and its separator cut off where a line repeats them.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.raw
            .split(|byte| *byte == b'\n')
            .map(trim_line_end)
            .filter(|line| !line.is_empty())
            .map(|line| match line.get(3) {
                Some(b' ' | b'-') if code_of(line) == Some(self.code) => {
                    line.get(4..).unwrap_or_default()
                }
                None if code_of(line) == Some(self.code) => &[],
                _ => line,
            })
    }

    /// The text of its first line.
    pub(super) fn first_line(&self) -> &[u8] {
        self.lines().next().unwrap_or_default()
    }

    /// The lines between the first and the last, as they came: FEAT's features, MLST's facts.
    pub(super) fn inner_lines(&self) -> impl Iterator<Item = &[u8]> {
        let count = self.lines().count();
        self.lines().take(count.saturating_sub(1)).skip(1)
    }

    /// What this reply is, as the filesystem sees it. For a reply that is no refusal the answer is
    /// [`RemoteErrorKind::Protocol`]: it was not expected where it came.
    pub(super) fn kind(&self) -> RemoteErrorKind {
        match self.code {
            _ if self.is_unknown_command() => RemoteErrorKind::Unsupported,
            // 522 is vsftpd's for a data connection that resumes no TLS session.
            421 | 425 | 426 | 522 => RemoteErrorKind::Disconnected,
            450 => RemoteErrorKind::Busy,
            452 => RemoteErrorKind::NoSpace,
            552 => RemoteErrorKind::QuotaExceeded,
            // DrFTPD's for a file that is replaced; nothing is wrong with the name.
            553 if self.says(b"file exists") => RemoteErrorKind::Refused,
            553 => RemoteErrorKind::NameRefused,
            332 | 530 | 532 => RemoteErrorKind::LoginRefused,
            400..=499 => RemoteErrorKind::Failed,
            500..=699 => RemoteErrorKind::Refused,
            _ => RemoteErrorKind::Protocol,
        }
    }

    /// The error that this reply to `verb` is.
    pub(super) fn to_error(&self, verb: &'static str) -> RemoteError {
        RemoteError::new(self.kind(), verb)
            .with_source(self.to_string())
            .answered()
    }
}

/// The reply as one line of printable text: code and first line.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.first_line();
        let text = without(text, self.secret.as_ref());
        let shown = text.get(..200).unwrap_or(&text);
        write!(f, "{:03} {}", self.code, shown.escape_ascii())
    }
}

/// The text with stars where it has the password. A short one counts only as a word of its own: stars within words would give it away.
pub(super) fn without<'a>(text: &'a [u8], secret: Option<&Password>) -> Cow<'a, [u8]> {
    const WORD_BYTES_MAX: usize = 4;
    let secret = secret.map_or("", Password::expose).as_bytes();
    let is_letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_meant = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        let is_word = !is_letter(before) && !is_letter(text.get(at + secret.len()));
        is_word || secret.len() > WORD_BYTES_MAX
    };
    let mut shown = Vec::new();
    let mut from = 0;
    while let Some(rest) = text.get(from..).filter(|_| !secret.is_empty()) {
        let windows = rest.windows(secret.len()).enumerate();
        let mut found = windows.filter(|(at, window)| *window == secret && is_meant(from + at));
        let Some((at, _)) = found.next() else { break };
        shown.extend_from_slice(rest.get(..at).unwrap_or_default());
        shown.extend_from_slice(b"***");
        from += at + secret.len();
    }
    if from == 0 {
        return Cow::Borrowed(text);
    }
    shown.extend_from_slice(text.get(from..).unwrap_or_default());
    Cow::Owned(shown)
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({self})")
    }
}

/// Why an exchange with the server came to nothing.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// The server answered, and the answer to this verb was no. The session is in step.
    Refused(&'static str, Reply),
    /// No complete answer. The session is lost.
    Broken(&'static str, Fault),
}

/// What happened to a connection.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// In the filesystem's terms.
    pub(super) kind: RemoteErrorKind,
    /// In words.
    pub(super) detail: String,
}

impl Fault {
    /// A fault of this kind.
    pub(super) fn new(kind: RemoteErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// The fault behind an I/O error while waiting in `phase`.
    pub(super) fn from_io(error: &std::io::Error, phase: crate::remote::Phase) -> Self {
        use std::io::ErrorKind as Io;
        if let Some(slow) = TooSlow::behind(error) {
            return Self::new(RemoteErrorKind::TimedOut(phase), slow.to_string());
        }
        let kind = match error.kind() {
            Io::WouldBlock | Io::TimedOut => RemoteErrorKind::TimedOut(phase),
            Io::InvalidData => RemoteErrorKind::Protocol,
            Io::InvalidInput => RemoteErrorKind::InvalidPath,
            _ => RemoteErrorKind::Disconnected,
        };
        // The kernel's words for an elapsed SO_RCVTIMEO say the opposite of what happened.
        let detail = match kind {
            RemoteErrorKind::TimedOut(_) => "no progress within the time-out".to_owned(),
            _ => error.to_string(),
        };
        Self { kind, detail }
    }
}

impl Failure {
    /// What happened, in the filesystem's terms.
    pub(super) fn kind(&self) -> RemoteErrorKind {
        match self {
            Self::Refused(_, reply) => reply.kind(),
            Self::Broken(_, fault) => fault.kind,
        }
    }

    /// Whether it may work on another session.
    pub(super) fn is_disconnected(&self) -> bool {
        self.kind() == RemoteErrorKind::Disconnected
    }

    /// Whether the session is of no use any more, as others may be. What is missing after a 425 or 426 is a data connection.
    pub(super) fn is_session_dead(&self) -> bool {
        let is_data_only =
            matches!(self, Self::Refused(_, reply) if matches!(reply.code(), 425 | 426));
        self.is_disconnected() && !is_data_only
    }

    /// The error for the caller, who asked about `path`.
    pub(super) fn into_error(self, path: &RemotePath) -> RemoteError {
        match self {
            Self::Refused(verb, reply) => reply.to_error(verb),
            Self::Broken(verb, fault) => {
                RemoteError::new(fault.kind, verb).with_source(fault.detail)
            }
        }
        .with_path(path)
    }
}

fn code_of(line: &[u8]) -> Option<u16> {
    let digits = line.get(..3)?;
    let is_code = digits.iter().all(u8::is_ascii_digit) && (b'1'..=b'6').contains(digits.first()?);
    is_code.then(|| {
        digits
            .iter()
            .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
    })
}

fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether the unfinished first line cannot become a reply's: said early, so that a server that speaks something
/// else and waits is not waited for.
fn is_hopeless(bytes: &[u8], start: usize) -> bool {
    let line = bytes.get(start..).unwrap_or_default();
    let head = line.get(..3).unwrap_or(line);
    !head
        .iter()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'\r' | b'\n'))
}

/// A reply of this text, for tests.
#[cfg(test)]
pub(super) fn reply(text: &str) -> Reply {
    match Reply::parse(format!("{text}\r\n").as_bytes()) {
        Parsed::Complete(reply, _) => reply,
        other => panic!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Reply {
        match Reply::parse(bytes) {
            Parsed::Complete(reply, used) => {
                assert_eq!(used, bytes.len());
                reply
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_single_line_is_a_reply_with_and_without_text() {
        for (bytes, code, text) in [
            (&b"220 ready\r\n"[..], 220, &b"ready"[..]),
            (b"200\r\n", 200, b""),
            (b"200 \r\n", 200, b""),
            (b"226 done\n", 226, b"done"),
            (b"\r\n331 password\r\n", 331, b"password"),
            (b"522 TLS\r\n", 522, b"TLS"),
        ] {
            let reply = whole(bytes);
            assert_eq!((reply.code(), reply.first_line()), (code, text));
        }
    }

    #[test]
    fn a_password_that_is_repeated_is_not_shown() {
        for (secret, text, shown) in [
            (
                "geheim",
                "530 no geheim, geheime user",
                "530 no ***, ***e user",
            ),
            ("in", "530 Login in incorrect", "530 Login *** incorrect"),
            ("530", "530 530", "530 ***"),
            ("", "530 no", "530 no"),
            ("aaaaa", "530 aaaaaaaaaaa", "530 ******a"),
        ] {
            let secret = Password::new(secret.to_owned());
            let reply = reply(text).hiding(Some(&secret));
            assert_eq!(reply.to_string(), shown);
            assert_eq!(format!("{reply:?}"), format!("Reply({shown})"));
        }
    }

    #[test]
    fn a_banner_with_digits_ends_at_its_own_code() {
        let reply = whole(b"220-Welcome\r\n100 users online\r\n220-more\r\n220 ready\r\n");
        assert_eq!(reply.code(), 220);
        let inner: Vec<_> = reply.inner_lines().collect();
        assert_eq!(inner, [&b"100 users online"[..], b"more"]);
    }

    #[test]
    fn a_reply_that_came_in_pieces_is_incomplete_until_its_end() {
        let bytes = b"211-Features:\r\n MLST type*;size*;\r\n211 End\r\n";
        for end in 0..bytes.len() {
            assert!(
                matches!(Reply::parse(&bytes[..end]), Parsed::Incomplete(_)),
                "{end}"
            );
        }
        assert_eq!(
            whole(bytes).inner_lines().collect::<Vec<_>>(),
            [b" MLST type*;size*;"]
        );
    }

    #[test]
    fn two_replies_are_read_one_by_one() {
        let Parsed::Complete(reply, used) = Reply::parse(b"350 ok\r\n250 done\r\n") else {
            panic!()
        };
        assert_eq!((reply.code(), used), (350, 8));
    }

    #[test]
    fn another_closing_code_is_only_plausible() {
        let Parsed::Incomplete(Some((reply, used))) = Reply::parse(b"250-a\r\n226 b\r\n") else {
            panic!()
        };
        assert_eq!((reply.code(), used), (226, 14));
        // glFTPd: a refusal of a script, the real answer, and the reply to the transfer.
        let Parsed::Incomplete(Some((reply, used))) =
            Reply::parse(b"553-\r\n553- Excluded.\r\n150 Opening\r\n226 Done\r\n")
        else {
            panic!()
        };
        assert_eq!((reply.code(), used), (150, 35));
        assert_eq!(
            Reply::parse(b"250-a\r\n226 b\r\n c"),
            Parsed::Incomplete(None)
        );
    }

    #[test]
    fn what_is_no_ftp_is_told_at_once() {
        for bytes in [
            &b"SSH-2.0-x\r\n"[..],
            b"HT",
            b"220x\r\n",
            b"999 x\r\n",
            b"\x00",
        ] {
            assert_eq!(Reply::parse(bytes), Parsed::Malformed, "{bytes:?}");
        }
        let mut endless = b"220-".to_vec();
        endless.resize(REPLY_BYTES_MAX, b'x');
        assert_eq!(Reply::parse(&endless), Parsed::Malformed);
    }

    #[test]
    fn a_reply_that_is_too_long_in_pieces_is_too_long_at_once() {
        let of_len = |len: usize| [b"220-", &vec![b'x'; len - 11][..], b"\n220 x\n"].concat();
        let longest = of_len(REPLY_BYTES_MAX);
        assert!(matches!(Reply::parse(&longest), Parsed::Complete(..)));
        let longer = of_len(REPLY_BYTES_MAX + 1);
        let piece = &longer[..REPLY_BYTES_MAX];
        assert_eq!(Reply::parse(piece), Parsed::Malformed);
        assert_eq!(Reply::parse(&longer), Parsed::Malformed);
    }

    #[test]
    fn codes_have_the_meaning_that_the_seam_promises() {
        use RemoteErrorKind as Kind;
        for (code, kind) in [
            (550, Kind::Refused),
            (501, Kind::Refused),
            (450, Kind::Busy),
            (451, Kind::Failed),
            (452, Kind::NoSpace),
            (552, Kind::QuotaExceeded),
            (553, Kind::NameRefused),
            (530, Kind::LoginRefused),
            (502, Kind::Unsupported),
            (421, Kind::Disconnected),
            (426, Kind::Disconnected),
            (226, Kind::Protocol),
        ] {
            assert_eq!(
                whole(format!("{code} x\r\n").as_bytes()).kind(),
                kind,
                "{code}"
            );
        }
    }

    #[test]
    fn some_say_in_words_that_they_do_not_know_a_command() {
        for (text, is_unknown) in [
            ("500 what?", true),
            ("550 Unknown command: 'SITE UTIME'.", true),
            ("501 'MLSD': command not understood.", true),
            ("250 SITE is a NOP", true),
            ("250 Deleted.", false),
            ("550 No such file.", false),
            ("501 Bad time.", false),
        ] {
            let reply = whole(format!("{text}\r\n").as_bytes());
            assert_eq!(reply.is_unknown_command(), is_unknown, "{text}");
            let is_unsupported = reply.kind() == RemoteErrorKind::Unsupported;
            assert_eq!(is_unsupported, is_unknown, "{text}");
        }
    }

    #[test]
    fn a_name_that_is_taken_is_no_name_that_is_refused() {
        let kind = |text: &str| whole(format!("553 {text}\r\n").as_bytes()).kind();
        let taken = "Requested action not taken. File exists.";
        assert_eq!(kind(taken), RemoteErrorKind::Refused);
        assert_eq!(kind("File name not allowed"), RemoteErrorKind::NameRefused);
    }

    #[test]
    fn a_reply_shows_no_control_characters() {
        assert_eq!(whole(b"550 a\x1b[2Jb\r\n").to_string(), "550 a\\x1b[2Jb");
    }
}
