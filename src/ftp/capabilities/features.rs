//! What a server says of itself: its make, by the greeting, and its features.

use crate::ftp::reply::Reply;

/// The server's make, where the greeting tells; used only for what no reply tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ftp) enum Server {
    /// vsftpd.
    Vsftpd,
    /// `ProFTPD`.
    ProFtpd,
    /// Pure-FTPd.
    PureFtpd,
    /// pyftpdlib.
    Pyftpdlib,
    /// Any other, or one that hides.
    Other,
}

impl Server {
    /// Reads the greeting.
    pub(in crate::ftp) fn from_greeting(greeting: &Reply) -> Self {
        let text = greeting
            .lines()
            .collect::<Vec<_>>()
            .join(&b' ')
            .to_ascii_lowercase();
        let says = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
        match () {
            () if says(b"vsftpd") => Self::Vsftpd,
            () if says(b"proftpd") => Self::ProFtpd,
            () if says(b"pure-ftpd") => Self::PureFtpd,
            () if says(b"pyftpdlib") => Self::Pyftpdlib,
            () => Self::Other,
        }
    }

    /// Whether the byte 0xFF is doubled in commands (Telnet, RFC 854). Measured: `ProFTPD` wants it, vsftpd and
    /// Pure-FTPd take it literally; RFC 959 section 3.1 has the others.
    pub(super) fn doubles_iac(self) -> bool {
        matches!(self, Self::ProFtpd | Self::Other)
    }
}

/// The reply to FEAT (RFC 2389 section 3.2): names in upper case, values as they came.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::ftp) struct Features(Vec<(String, String)>);

impl Features {
    /// Reads the reply; one that is a refusal or a single line ("211 no features") offers nothing.
    pub(in crate::ftp) fn from_reply(reply: &Reply) -> Self {
        if !reply.is_done() {
            return Self::default();
        }
        let lines = reply.inner_lines().filter_map(|line| {
            let line = String::from_utf8_lossy(line);
            let (name, value) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            (!name.is_empty()).then(|| (name.to_ascii_uppercase(), value.trim().to_owned()))
        });
        Self(lines.collect())
    }

    /// Whether the feature is offered, with whatever value.
    pub(in crate::ftp) fn offers(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// What stands behind the feature's name; `None` where it is not offered.
    pub(in crate::ftp) fn value(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter();
        all.find(|(known, _)| known == name)
            .map(|(_, value)| &**value)
    }

    /// The `OPTS MLST` that asks for every useful fact, when some of them are offered and not sent of themselves (their
    /// names bear no `*`, RFC 3659 section 7.8): pyftpdlib's modes and owners.
    pub(in crate::ftp) fn mlst_options(&self) -> Option<Vec<u8>> {
        const USEFUL: [&str; 8] = [
            "TYPE",
            "SIZE",
            "MODIFY",
            "PERM",
            "UNIQUE",
            "UNIX.MODE",
            "UNIX.UID",
            "UNIX.GID",
        ];
        let (_, facts) = self.0.iter().find(|(name, _)| name == "MLST")?;
        let useful = facts.split(';').filter(|fact| {
            let name = fact.trim_end_matches('*').to_ascii_uppercase();
            USEFUL.contains(&name.as_str()) || fact.ends_with('*')
        });
        let is_all_sent = useful.clone().all(|fact| fact.ends_with('*'));
        let line = useful.fold("OPTS MLST ".to_owned(), |line, fact| {
            line + fact.trim_end_matches('*') + ";"
        });
        (!is_all_sent).then(|| line.into_bytes())
    }

    /// Whether the feature is offered with this word in its value: `SITE` with `SYMLINK`, `MFF` with `UNIX.MODE`.
    pub(in crate::ftp) fn offers_word(&self, name: &str, word: &str) -> bool {
        self.0
            .iter()
            .filter(|(known, _)| known == name)
            .any(|(_, value)| {
                value
                    .split([';', ' ', '*', ','])
                    .any(|part| part.eq_ignore_ascii_case(word))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::reply::Parsed;

    fn reply(bytes: &[u8]) -> Reply {
        match Reply::parse(bytes) {
            Parsed::Complete(reply, _) => reply,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn features_are_found_by_name_and_word() {
        let features = Features::from_reply(&reply(
            b"211-Features:\r\n mlst type*;size*;\r\n MFF modify;UNIX.group;UNIX.mode;\r\n211-REST STREAM\r\n SITE SYMLINK\r\n SITE UTIME\r\n211 End\r\n",
        ));
        assert!(features.offers("MLST"));
        assert!(features.offers("REST"));
        assert!(features.offers_word("MFF", "unix.mode"));
        assert!(features.offers_word("SITE", "SYMLINK"));
        assert!(features.offers_word("SITE", "UTIME"));
        assert!(!features.offers("MDTM"));
    }

    #[test]
    fn facts_that_are_not_sent_of_themselves_are_asked_for() {
        let features = |facts: &str| {
            Features::from_reply(&reply(
                format!("211-F\r\n MLST {facts}\r\n211 End\r\n").as_bytes(),
            ))
        };
        let some = features("type*;size*;create;x*;unix.mode;unix.uid;");
        let options = some.mlst_options().unwrap();
        assert_eq!(options, b"OPTS MLST type;size;x;unix.mode;unix.uid;");
        assert_eq!(features("type*;size*;lang;").mlst_options(), None);
        assert_eq!(Features::default().mlst_options(), None);
    }

    #[test]
    fn no_features_in_one_line_or_a_refusal_are_none() {
        assert_eq!(
            Features::from_reply(&reply(b"211 no features\r\n")),
            Features::default()
        );
        assert_eq!(
            Features::from_reply(&reply(b"500 what?\r\n")),
            Features::default()
        );
    }

    #[test]
    fn the_make_is_read_from_any_line_of_the_greeting() {
        let pure =
            b"220---------- Welcome to Pure-FTPd ----------\r\n220 disconnected after 15\r\n";
        assert_eq!(Server::from_greeting(&reply(pure)), Server::PureFtpd);
        assert_eq!(
            Server::from_greeting(&reply(b"220 (vsFTPd 3.0.3)\r\n")),
            Server::Vsftpd
        );
        assert_eq!(
            Server::from_greeting(&reply(b"220 hello\r\n")),
            Server::Other
        );
    }
}
