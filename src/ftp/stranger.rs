//! What answers where an FTP server was expected: found out by its first words, or by what it says to the first words of TLS.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// How long a greeting may take before it is looked whether something else is there. 4 s: most servers need a tenth; one that is slower is
/// connected to once more, and has the whole timeout for that.
pub(super) const GREETING_WAIT: Duration = Duration::from_secs(4);

/// How long the answer to that may take.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// How much of the answer is looked at.
const ANSWER_BYTES_MAX: usize = 512;

/// Something that is no FTP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stranger {
    Tls,
    Http,
    Ssh,
    Mail,
}

impl Stranger {
    /// By what it says first.
    pub(super) fn by_words(words: &[u8]) -> Option<Self> {
        let text = words.to_ascii_uppercase();
        let has = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
        // A TLS record (RFC 8446 section 5.1): alert or handshake, version 3.x.
        if matches!(words, [0x15 | 0x16, 0x03, ..]) {
            Some(Self::Tls)
        } else if text.starts_with(b"HTTP/") || has(b"<HTML") {
            Some(Self::Http)
        } else if text.starts_with(b"SSH-") {
            Some(Self::Ssh)
        } else if has(b"SMTP") && !has(b"FTP")
            || text.starts_with(b"+OK")
            || text.starts_with(b"* OK")
        {
            Some(Self::Mail)
        } else {
            None
        }
    }

    /// By what it answers to `hello`, the first words of TLS, which HTTP servers refuse in words.
    pub(super) fn by_hello(mut socket: &TcpStream, hello: &[u8], left: Duration) -> Option<Self> {
        let timeout = Some(ANSWER_WAIT.min(left));
        socket.set_read_timeout(timeout).ok()?;
        socket.set_write_timeout(timeout).ok()?;
        socket.write_all(hello).ok()?;
        let mut answer = [0; ANSWER_BYTES_MAX];
        let count = socket.read(&mut answer).ok()?;
        Self::by_words(answer.get(..count)?)
    }

    /// What it is, and what to do about it.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Tls => "it speaks TLS from the first byte on; use ftps:// with this port",
            Self::Http => "it is a web server (HTTP); check the port in the URL",
            Self::Ssh => "it is an SSH server; use sshfs, or the port of the FTP server",
            Self::Mail => "it is a mail server; check the port in the URL",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_known_by_their_first_words() {
        for (words, stranger) in [
            (
                &b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"[..],
                Some(Stranger::Ssh),
            ),
            (b"HTTP/1.1 400 Bad Request\r\n", Some(Stranger::Http)),
            (b"<html><body>400", Some(Stranger::Http)),
            (
                b"220 mail.example.org ESMTP Postfix\r\n",
                Some(Stranger::Mail),
            ),
            (b"* OK [CAPABILITY IMAP4rev1]", Some(Stranger::Mail)),
            (b"+OK POP3 ready", Some(Stranger::Mail)),
            (b"\x15\x03\x01\x00\x02\x02\x28", Some(Stranger::Tls)),
            (b"\x16\x03\x03\x00\x7a", Some(Stranger::Tls)),
            (b"220 (vsFTPd 3.0.3)\r\n", None),
            (b"220 FTP of the host that is SMTP too\r\n", None),
            (b"220-Welcome to https://ftp.example.org\r\n", None),
            (b"", None),
        ] {
            assert_eq!(
                Stranger::by_words(words),
                stranger,
                "{}",
                words.escape_ascii()
            );
        }
    }
}
