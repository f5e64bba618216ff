//! What is to be mounted: `ftp://user:password@host:port/dir` or `user@host:dir`, read as bytes.

use std::{fmt, ops::Range};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use super::error::UsageError;
use crate::config::{BaseDir, Password};

/// How the URL begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scheme {
    /// `ftp`: with TLS or without.
    #[default]
    Ftp,
    /// `ftpes`: with TLS after `AUTH TLS`.
    Ftpes,
    /// `ftps`: TLS from the first byte on.
    Ftps,
}

impl Scheme {
    /// The control port: RFC 959 section 8, and what IANA lists for ftps.
    fn default_port(self) -> u16 {
        match self {
            Self::Ftp | Self::Ftpes => 21,
            Self::Ftps => 990,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ftp => "ftp",
            Self::Ftpes => "ftpes",
            Self::Ftps => "ftps",
        })
    }
}

/// What stays as it is in the source that /proc/mounts shows. The comma is encoded because it ends an option of
/// fusermount3, the backslash because it escapes one.
const SHOWN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The same for the directory, where slashes stay too.
const SHOWN_DIR: &AsciiSet = &SHOWN.remove(b'/').remove(b'+').remove(b'@').remove(b'=');

/// A server, a login and a directory, as they were typed.
#[derive(Debug, Clone)]
pub struct Target {
    /// How the URL begins.
    pub scheme: Scheme,
    /// The user, if one was named.
    pub user: Option<String>,
    /// The password, if the URL held one.
    pub password: Option<Password>,
    /// Host name or address, without brackets.
    pub host: String,
    /// The control port.
    pub port: u16,
    /// The directory to mount.
    pub base: BaseDir,
}

impl Target {
    /// Reads the first argument of the command line.
    ///
    /// # Errors
    ///
    /// A sentence that names the part which is wrong, and never shows a password.
    pub fn parse(text: &[u8]) -> Result<Self, UsageError> {
        match split_once(text, b"://") {
            Some((scheme, rest)) => Self::parse_url(parse_scheme(scheme)?, rest),
            None => Self::parse_short(text),
        }
    }

    /// `[user[:password]@]host[:port][/dir]`, RFC 1738 section 3.2.
    fn parse_url(scheme: Scheme, rest: &[u8]) -> Result<Self, UsageError> {
        let slash = rest
            .iter()
            .position(|byte| *byte == b'/')
            .unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(slash).unwrap_or((rest, b""));
        // The last @, so that a password with an unencoded @ still works.
        let (login, host_port) = match rsplit_once(authority, b'@') {
            Some((login, host_port)) => (Some(login), host_port),
            None => (None, authority),
        };
        let (user, password) = login.map(parse_login).transpose()?.unwrap_or_default();
        // What looks like the host may be a piece of the password, which nobody may be asked about.
        if password.is_some() && path.contains(&b'@') {
            return Err(UsageError::new(
                "there is an '@' behind the first '/' of the URL; in a password '/' is written %2F, in a directory '@' is \
                 written %40",
            ));
        }
        let (host, port) = split_port(host_port)?;
        let host = check_host(decode("host", host)?)?;
        let port = port
            .map(parse_port)
            .transpose()?
            .flatten()
            .unwrap_or(scheme.default_port());
        // RFC 1738 section 3.2.2: the slash after the host belongs to no name, so `/dir` is below the login
        // directory; `//dir` and `/%2Fdir` start at the server's root.
        let dir = decode("directory", path.strip_prefix(b"/").unwrap_or(path))?;
        Ok(Self {
            scheme,
            user,
            password,
            host,
            port,
            base: base_dir(&dir),
        })
    }

    /// `[user@]host:[dir]`, as sshfs has it; nothing is percent-encoded here.
    fn parse_short(text: &[u8]) -> Result<Self, UsageError> {
        let (before, dir) = split_outside_brackets(text).ok_or_else(|| {
            UsageError::new(format!(
                "'{}' names no server; write ftp://[user@]host[/dir] or [user@]host:[dir]",
                shown(text)
            ))
        })?;
        let (user, host) = match rsplit_once(&before, b'@') {
            Some((user, host)) => (Some(user), host),
            None => (None, before.as_slice()),
        };
        // `user:password@host:dir` would be the host `user`, and the password would go to the wrong server.
        let first = dir.split(|byte| *byte == b'/').next().unwrap_or_default();
        if user.is_none() && rsplit_once(first, b'@').is_some_and(|(_, rest)| rest.contains(&b':'))
        {
            return Err(UsageError::new(
                "user:password@host:dir is not understood; write ftp://user:password@host/dir, or use \
                 --password-file"
                    .to_owned(),
            ));
        }
        let user = user
            .map(|user| check_login("user", user.to_vec()))
            .transpose()?;
        if user.as_ref().is_some_and(String::is_empty) {
            return Err(UsageError::new(
                "there is an '@' but no user before it".to_owned(),
            ));
        }
        let host = check_host(host.to_vec())?;
        check_bytes("directory", dir)?;
        Ok(Self {
            scheme: Scheme::Ftp,
            user,
            password: None,
            host,
            port: Scheme::Ftp.default_port(),
            base: base_dir(dir),
        })
    }

    /// What /proc/mounts shows: `ftp://user@host/dir`, never a password.
    pub fn to_source(&self) -> String {
        let mut source = format!("{}://", self.scheme);
        if let Some(user) = &self.user {
            source.extend(percent_encode(user.as_bytes(), SHOWN));
            source.push('@');
        }
        // The zone of an IPv6 address follows a '%' (RFC 6874).
        let host = self.host.replace('%', "%25");
        if host.contains(':') {
            source.push('[');
            source.push_str(&host);
            source.push(']');
        } else {
            source.push_str(&host);
        }
        if self.port != self.scheme.default_port() {
            source.push(':');
            source.push_str(&self.port.to_string());
        }
        source.push('/');
        let (BaseDir::Login(dir) | BaseDir::Absolute(dir)) = &self.base;
        source.extend(percent_encode(dir, SHOWN_DIR));
        source
    }

    /// The same with this login, where the URL has no user; its password also where the URL has that user and no password.
    ///
    /// # Errors
    ///
    /// It comes with a password, and the URL has another user or a password too.
    pub(super) fn with_login(self, login: Option<&Login>) -> Result<Self, UsageError> {
        let Some(login) = login else {
            return Ok(self);
        };
        let is_same = self.user.as_ref().is_none_or(|user| *user == login.user);
        if login.password.is_some() && (!is_same || self.password.is_some()) {
            return Err(UsageError::new(
                "the URL and -o user= name a login each; leave one of them out",
            ));
        }
        if !is_same {
            // mount(8) may say so who has asked for the mount.
            return Ok(self);
        }
        Ok(Self {
            user: Some(login.user.clone()),
            password: self.password.or_else(|| login.password.clone()),
            ..self
        })
    }

    /// Where in an argument passwords stand, to be wiped from the process list: in URLs, the server's or a proxy's, and behind `user=`.
    pub fn password_ranges(text: &[u8]) -> Vec<Range<usize>> {
        let starts = |word: &'static [u8]| {
            let windows = text.windows(word.len()).enumerate();
            windows.filter_map(move |(at, window)| (window == word).then_some(at))
        };
        let in_urls = starts(b"://").filter_map(|at| password_in_url(text, at));
        let in_options = starts(OPTION).filter_map(|at| password_in_option(text, at));
        in_urls.chain(in_options).collect()
    }
}

/// Of mount's option list: a user, and perhaps a password.
#[derive(Debug, Clone)]
pub(super) struct Login {
    user: String,
    password: Option<Password>,
}

impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        let text = |login: &Self| login.password.as_ref().map(|text| text.expose().to_owned());
        self.user == other.user && text(self) == text(other)
    }
}

impl Eq for Login {}

/// How the option with a login begins.
const OPTION: &[u8] = b"user=";

impl Login {
    /// Reads `NAME[:PASSWORD]`, where nothing is encoded, as curlftpfs has it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, UsageError> {
        let (user, password) = match split_once(text, b":") {
            Some((user, password)) => (user, Some(password)),
            None => (text, None),
        };
        let user = check_login("user", user.to_vec())?;
        if user.is_empty() {
            return Err(UsageError::new("option 'user' needs a name: user=NAME"));
        }
        let password = password.map(|text| check_login("password", text.to_vec()));
        Ok(Self {
            user,
            password: password.transpose()?.map(Password::new),
        })
    }
}

/// The password in the URL whose scheme ends at `scheme_end`. One that ends an argument may have its slashes and at signs not encoded.
fn password_in_url(text: &[u8], scheme_end: usize) -> Option<Range<usize>> {
    let start = scheme_end + 3;
    let rest = text.get(start..)?;
    let slash = rest.iter().position(|byte| *byte == b'/');
    let authority = rest.get(..slash.unwrap_or(rest.len()))?;
    let is_alone = text.get(..scheme_end)?.iter().all(u8::is_ascii_alphabetic);
    let last = match rsplit_once(authority, b'@') {
        Some((login, _)) if !login.contains(&b':') => return None,
        Some(_) if is_alone => rsplit_once(rest, b'@'),
        Some((login, host)) => Some((login, host)),
        None => {
            let (_, port) = split_once(authority, b":")?;
            let is_port = port.iter().all(u8::is_ascii_digit);
            rsplit_once(rest, b'@').filter(|_| is_alone && !is_port)
        }
    };
    let (login, _) = last?;
    let colon = login.iter().position(|byte| *byte == b':')?;
    Some(start + colon + 1..start + login.len())
}

/// The password in the option that begins at `start`, if one does.
fn password_in_option(text: &[u8], start: usize) -> Option<Range<usize>> {
    let before = start.checked_sub(1).and_then(|at| text.get(at));
    let is_option = before.is_none_or(|byte| matches!(byte, b',' | b'o' | b'='));
    let value = start + OPTION.len();
    let mut is_escaped = false;
    let end = text.get(value..)?.iter().position(|byte| {
        let is_end = *byte == b',' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    });
    let end = end.map_or(text.len(), |end| value + end);
    let colon = text.get(value..end)?.iter().position(|byte| *byte == b':');
    colon.filter(|_| is_option).map(|at| value + at + 1..end)
}

fn parse_scheme(scheme: &[u8]) -> Result<Scheme, UsageError> {
    match scheme.to_ascii_lowercase().as_slice() {
        b"ftp" => Ok(Scheme::Ftp),
        b"ftpes" => Ok(Scheme::Ftpes),
        b"ftps" => Ok(Scheme::Ftps),
        // GNOME's word for what others call ftps, which there means AUTH TLS.
        b"ftpis" => Err(UsageError::new(
            "ftpis:// is written ftps:// here: TLS from the first byte on; ftpes:// is TLS after AUTH TLS",
        )),
        b"sftp" | b"ssh" => Err(UsageError::new(
            "this is no FTP: use sshfs for sftp://".to_owned(),
        )),
        _ if scheme.iter().all(u8::is_ascii_alphanumeric) => Err(UsageError::new(format!(
            "'{}://' is not a scheme that can be mounted; use ftp://, ftpes:// or ftps://",
            shown(scheme)
        ))),
        // It may be a piece of a password.
        _ => Err(UsageError::new(
            "what stands before '://' is not a scheme that can be mounted; use ftp://, ftpes:// or ftps://",
        )),
    }
}

pub(super) fn parse_login(login: &[u8]) -> Result<(Option<String>, Option<Password>), UsageError> {
    let (user, password) = match split_once(login, b":") {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    let user = check_login("user", decode("user", user)?)?;
    let password = match password {
        Some(password) => Some(Password::new(check_login(
            "password",
            decode("password", password)?,
        )?)),
        None => None,
    };
    if user.is_empty() {
        return Err(UsageError::new(
            "the URL has an '@' but no user before it".to_owned(),
        ));
    }
    Ok((Some(user), password))
}

/// A user or password must be text, and must not end the command line that carries it.
fn check_login(what: &str, bytes: Vec<u8>) -> Result<String, UsageError> {
    check_bytes(what, &bytes)?;
    String::from_utf8(bytes).map_err(|_| UsageError::new(format!("the {what} is not UTF-8 text")))
}

fn check_bytes(what: &str, bytes: &[u8]) -> Result<(), UsageError> {
    if bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(UsageError::new(format!(
            "the {what} contains a line break or a NUL, which FTP cannot carry"
        )));
    }
    Ok(())
}

pub(super) fn check_host(host: Vec<u8>) -> Result<String, UsageError> {
    let host = check_login("host", host)?;
    if host.is_empty() {
        return Err(UsageError::new(
            "no host is named; write ftp://host/".to_owned(),
        ));
    }
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "/@[]\\?#,<>\"'".contains(c);
    if host.contains(is_odd) {
        // It is not repeated: it may be a piece of a password.
        return Err(UsageError::new(
            "what stands as the host is not a host name; in a password '@' is written %40, '/' %2F and \
             '#' %23",
        ));
    }
    Ok(host)
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(super) fn split_port(host_port: &[u8]) -> Result<(&[u8], Option<&[u8]>), UsageError> {
    let Some(inner) = host_port.strip_prefix(b"[") else {
        if split_once(host_port, b":").is_some_and(|(_, rest)| rest.contains(&b':')) {
            return Err(UsageError::new(
                "an IPv6 address stands in brackets: ftp://[2001:db8::1]:2121/".to_owned(),
            ));
        }
        return Ok(split_once(host_port, b":").map_or((host_port, None), |(h, p)| (h, Some(p))));
    };
    let (address, rest) = split_once(inner, b"]").ok_or_else(|| {
        UsageError::new("the bracket of the IPv6 address is not closed".to_owned())
    })?;
    match rest {
        b"" => Ok((address, None)),
        [b':', port @ ..] => Ok((address, Some(port))),
        _ => Err(UsageError::new(
            "only a :port may follow the bracket of an IPv6 address".to_owned(),
        )),
    }
}

/// The value is not repeated: it is a piece of the password when that holds an unencoded slash.
pub(super) fn parse_port(port: &[u8]) -> Result<Option<u16>, UsageError> {
    if port.is_empty() {
        return Ok(None);
    }
    let number = std::str::from_utf8(port)
        .ok()
        .and_then(|port| port.parse().ok());
    number.filter(|port| *port != 0).map(Some).ok_or_else(|| {
        UsageError::new(
            "the port is not a number from 1 to 65535 (a '/' in the password is written %2F)"
                .to_owned(),
        )
    })
}

fn base_dir(dir: &[u8]) -> BaseDir {
    let end = dir
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(0, |last| last + 1);
    let trimmed = dir.get(..end).unwrap_or_default();
    match dir.first() {
        Some(b'/') if trimmed.is_empty() => BaseDir::Absolute(b"/".to_vec()),
        Some(b'/') => BaseDir::Absolute(trimmed.to_vec()),
        _ => BaseDir::Login(trimmed.to_vec()),
    }
}

pub(super) fn decode(what: &str, text: &[u8]) -> Result<Vec<u8>, UsageError> {
    let mut rest = text;
    while let Some((_, after)) = split_once(rest, b"%") {
        if !matches!(after, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
        {
            return Err(UsageError::new(format!(
                "the {what} in the URL has a '%' that no two hexadecimal digits follow; write %25 for '%'"
            )));
        }
        rest = after;
    }
    let bytes: Vec<u8> = percent_decode(text).collect();
    check_bytes(what, &bytes)?;
    Ok(bytes)
}

/// The first colon that is not inside the brackets of an IPv6 address; the brackets are taken off.
fn split_outside_brackets(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let open = text.iter().position(|byte| *byte == b'[');
    let colon = text.iter().position(|byte| *byte == b':')?;
    match open.filter(|open| *open < colon) {
        Some(open) => {
            let close = open + text.get(open..)?.iter().position(|byte| *byte == b']')?;
            let dir = text.get(close + 1..)?.strip_prefix(b":")?;
            let mut before = text.get(..open)?.to_vec();
            before.extend_from_slice(text.get(open + 1..close)?);
            Some((before, dir))
        }
        None => Some((text.get(..colon)?.to_vec(), text.get(colon + 1..)?)),
    }
}

pub(super) fn split_once<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text
        .windows(separator.len())
        .position(|window| window == separator)?;
    Some((text.get(..at)?, text.get(at + separator.len()..)?))
}

pub(super) fn rsplit_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().rposition(|byte| *byte == separator)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Target {
        Target::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refusal(text: &str) -> String {
        Target::parse(text.as_bytes()).unwrap_err().to_string()
    }

    fn login(dir: &[u8]) -> BaseDir {
        BaseDir::Login(dir.to_vec())
    }

    #[test]
    fn what_is_shown_of_a_zone_can_be_mounted() {
        let target = parse("ftp://[fe80::1%25eth0]/d");
        assert_eq!(target.host, "fe80::1%eth0");
        assert_eq!(target.to_source(), "ftp://[fe80::1%25eth0]/d");
        assert_eq!(parse(&target.to_source()).host, target.host);
    }

    #[test]
    fn an_at_sign_without_a_user_is_refused_in_both_forms() {
        for text in ["ftp://@h/d", "@h:d"] {
            assert!(refusal(text).contains("no user before it"), "{text}");
        }
    }

    /// Text, user, password, host, port, directory (L: below the login directory, A: absolute), and what /proc/mounts
    /// shows; `-` is none, `''` is empty.
    const READ: &str = r"
        ftp://h                     -              -     h            21   L:             ftp://h/
        ftp://h/                    -              -     h            21   L:             ftp://h/
        FTP://h:/                   -              -     h            21   L:             ftp://h/
        ftp://u@h/d                 u              -     h            21   L:d            ftp://u@h/d
        ftp://u:p@h:2121/d/e/       u              p     h            2121 L:d/e          ftp://u@h:2121/d/e
        ftp://u:@h                  u              ''    h            21   L:             ftp://u@h/
        ftp://u:a@b:c@h/            u              a@b:c h            21   L:             ftp://u@h/
        ftp://me%40x:p%2Fw@h        me@x           p/w   h            21   L:             ftp://me%40x@h/
        ftp://h//srv/ftp            -              -     h            21   A:/srv/ftp     ftp://h//srv/ftp
        ftp://h/%2Fsrv              -              -     h            21   A:/srv         ftp://h//srv
        ftp://h//                   -              -     h            21   A:/            ftp://h//
        ftp://h/a%FF,b%20c          -              -     h            21   L:a\xff,b\x20c ftp://h/a%FF%2Cb%20c
        ftp://h/a#b?c;type=i        -              -     h            21   L:a#b?c;type=i ftp://h/a%23b%3Fc%3Btype=i
        ftp://[::1]/                -              -     ::1          21   L:             ftp://[::1]/
        ftp://u@[fe80::1%25eth0]:99 u              -     fe80::1%eth0 99   L:             ftp://u@[fe80::1%25eth0]:99/
        h:                          -              -     h            21   L:             ftp://h/
        u@h:dir                     u              -     h            21   L:dir          ftp://u@h/dir
        u@h:/dir/                   u              -     h            21   A:/dir         ftp://u@h//dir
        me@example.org@h:           me@example.org -     h            21   L:             ftp://me%40example.org@h/
        u@[::1]:d%20                u              -     ::1          21   L:d%20         ftp://u@[::1]/d%2520
        h:a@b                       -              -     h            21   L:a@b          ftp://h/a@b
        h:a/b@c:d                   -              -     h            21   L:a/b@c:d      ftp://h/a/b@c%3Ad
    ";

    #[test]
    fn urls_are_taken_apart() {
        for row in READ.lines().filter(|line| !line.trim().is_empty()) {
            let columns: Vec<&str> = row.split_whitespace().collect();
            let [text, user, password, host, port, base, source] = columns[..] else {
                panic!("{row}");
            };
            let given = |value: &'static str| match value {
                "-" => None,
                "''" => Some(""),
                _ => Some(value),
            };
            let target = parse(text);
            assert_eq!(target.user.as_deref(), given(user), "{text}");
            assert_eq!(
                target.password.as_ref().map(Password::expose),
                given(password),
                "{text}"
            );
            assert_eq!(target.host, host, "{text}");
            assert_eq!(target.port.to_string(), port, "{text}");
            let seen = match &target.base {
                BaseDir::Login(dir) => format!("L:{}", dir.escape_ascii()),
                BaseDir::Absolute(dir) => format!("A:{}", dir.escape_ascii()),
            };
            assert_eq!(seen.replace(' ', r"\x20"), base, "{text}");
            assert_eq!(target.to_source(), source, "{text}");
        }
    }

    #[test]
    fn the_scheme_sets_the_port_and_is_shown() {
        for (text, scheme, port, source) in [
            ("ftp://h/", Scheme::Ftp, 21, "ftp://h/"),
            ("FTPES://h/", Scheme::Ftpes, 21, "ftpes://h/"),
            ("ftps://h/d", Scheme::Ftps, 990, "ftps://h/d"),
            ("ftps://h:21/", Scheme::Ftps, 21, "ftps://h:21/"),
            ("h:d", Scheme::Ftp, 21, "ftp://h/d"),
        ] {
            let target = Target::parse(text.as_bytes()).unwrap();
            assert_eq!((target.scheme, target.port), (scheme, port), "{text}");
            assert_eq!(target.to_source(), source, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_kept() {
        assert_eq!(
            Target::parse(b"ftp://h/\xff%fe").unwrap().base,
            login(b"\xff\xfe")
        );
        assert_eq!(Target::parse(b"h:\xff").unwrap().base, login(b"\xff"));
    }

    #[test]
    fn what_cannot_be_mounted_is_refused_with_the_remedy() {
        for (text, hint) in [
            ("ftpis://h/", "ftps://"),
            ("sftp://h/", "sshfs"),
            ("http://h/", "use ftp://"),
            ("/mnt", "ftp://[user@]host"),
            ("host", "ftp://[user@]host"),
            ("", "ftp://[user@]host"),
            ("ftp:///dir", "no host"),
            ("ftp://u@/dir", "no host"),
            (":dir", "no host"),
            ("ftp://@h/", "no user"),
            ("ftp://h:0/", "port"),
            ("ftp://h:65536/", "port"),
            ("ftp://h:ftp/", "port"),
            ("ftp://::1/", "brackets"),
            ("ftp://[::1/", "not closed"),
            ("ftp://[::1]2121/", "bracket"),
            ("ftp://h/a%0Ab", "line break"),
            ("ftp://h/a%0d", "line break"),
            ("ftp://h/%00", "NUL"),
            ("ftp://u%0aDELE x@h/", "line break"),
            ("ftp://u:p%0d@h/", "line break"),
            ("h:a\nb", "line break"),
            ("ftp://h/100%", "%25"),
            ("ftp://h/%zz", "%25"),
            ("ftp://u%FF@h/", "UTF-8"),
            ("ftp://a b/", "not a host name"),
        ] {
            let message = refusal(text);
            assert!(message.contains(hint), "{text:?}: {message}");
            assert!(!message.contains('\n'), "{text:?}: {message}");
        }
    }

    #[test]
    fn no_refusal_shows_a_password() {
        for text in [
            "ftp://u:se/cret@h/",
            "ftp://u:secret@/",
            "ftp://u:secret%zz@h/",
            "ftp://u:secret%0a@h/",
            "ftp://u:secret@h:0/",
            "ftpis://u:secret@h/",
            "u:secret@h:dir",
            "u:sec@ret@h:dir",
            "ftp://u:p@cret#s/w@h/",
            "ftp://u:ge@cret/2024@h/d",
            "ftp://u:ge/cret@h/d",
            "ftp://u:x@[cret/y@h/d",
            "u:cret://x@h:dir",
        ] {
            let message = refusal(text);
            assert!(!message.contains("cret"), "{text}: {message}");
        }
    }

    #[test]
    fn the_password_is_found_where_it_stands() {
        let found = |text: &'static str| -> Vec<&str> {
            let ranges = Target::password_ranges(text.as_bytes());
            ranges.into_iter().map(|range| &text[range]).collect()
        };
        assert_eq!(found("ftp://u:secret@h/d"), ["secret"]);
        assert_eq!(found("ftp://u:a:b@c@h"), ["a:b@c"]);
        assert!(found("ftp://u@h:21/x:y@z").is_empty());
        assert!(found("ftp://h:21/x:y@z").is_empty());
        assert_eq!(found("ftp://u:p@s#s/w@h/d"), ["p@s#s/w"]);
        assert_eq!(found("ftp://u:p/w@h/d"), ["p/w"]);
        assert_eq!(found(r"ro,user=u:a\,b:c,dir-ttl=1"), [r"a\,b:c"]);
        assert_eq!(found("-ouser=u:secret"), ["secret"]);
        assert!(found("ro,user=u,x-user=a:b").is_empty());
        assert!(found("u@h:dir").is_empty());
        assert_eq!(found("--proxy=socks5://u:secret@h:1"), ["secret"]);
        assert_eq!(
            found("ro,proxy=http://u:one@h:1,proxy=http://u:two@h:1"),
            ["one", "two"]
        );
    }
}
