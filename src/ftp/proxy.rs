//! Connections through a proxy: SOCKS 5 (RFC 1928, with the passwords of RFC 1929) and HTTP CONNECT (RFC 9110 section
//! 9.3.6).
//!
//! What comes back is a socket like any other: not a byte beyond the proxy's answer has been read from it, for the server's
//! greeting may follow right behind.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{IpAddr, TcpStream},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::{deadline::Deadline, socket::is_timeout};
use crate::config::{ProxyConfig, ProxyKind, ProxyLogin};

/// The longest answer to CONNECT. 16 KiB: more than any proxy's headers, little enough to read byte by byte.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Room for a request, so that a password in it is not left behind when it grows: names of hosts have up to 255 bytes.
const REQUEST_BYTES: usize = 4 << 10;

/// Why a proxy makes no connection.
#[derive(Debug)]
pub(super) enum ProxyError {
    /// It does not answer, or breaks off.
    Io(io::Error),
    /// What answers is no proxy of this kind.
    NotAProxy(String),
    /// It wants another user or password, or none at all is not enough.
    LoginRefused(String),
    /// The server does not take the connection.
    TargetRefused,
    /// It does not connect to there.
    Refused(String),
}

impl From<io::Error> for ProxyError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if is_timeout(error) => f.write_str("it does not answer in time"),
            Self::Io(error) => write!(f, "{error}"),
            Self::NotAProxy(what) => write!(f, "it does not speak as --proxy says: {what}"),
            Self::LoginRefused(why) => {
                write!(f, "{why}; check user and password in --proxy")
            }
            Self::TargetRefused => f.write_str("the server refuses the connection"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

type Result<T> = std::result::Result<T, ProxyError>;

/// Has the proxy at the other end of `socket` connect to `host`, which it looks up itself, and `port`.
pub(super) fn connect(
    proxy: &ProxyConfig,
    socket: TcpStream,
    host: &str,
    port: u16,
    deadline: Deadline,
) -> Result<TcpStream> {
    let mut talk = Talk { socket, deadline };
    match proxy.kind {
        ProxyKind::Socks5 => socks5(&mut talk, proxy.login.as_ref(), host, port)?,
        ProxyKind::Http => http(&mut talk, proxy.login.as_ref(), host, port)?,
    }
    Ok(talk.socket)
}

/// A conversation that has a deadline.
struct Talk {
    socket: TcpStream,
    deadline: Deadline,
}

impl Talk {
    fn say(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        Ok(self.socket.write_all(bytes)?)
    }

    fn hear<const COUNT: usize>(&mut self) -> Result<[u8; COUNT]> {
        let mut bytes = [0; COUNT];
        self.hear_into(&mut bytes)?;
        Ok(bytes)
    }

    fn hear_into(&mut self, mut bytes: &mut [u8]) -> Result<()> {
        while !bytes.is_empty() {
            self.socket.set_read_timeout(Some(self.left()?))?;
            match self.socket.read(bytes) {
                Ok(0) => {
                    let detail = "it closed the connection";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, detail).into());
                }
                Ok(count) => bytes = bytes.get_mut(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn left(&self) -> io::Result<std::time::Duration> {
        let left = self.deadline.remaining();
        left.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

/// ```text
/// 5 n methods...                    -> 5 method            (0: none, 2: user and password, 255: no)
/// 1 len user len password           -> 1 status            (0: good)
/// 5 1 0 type address port           -> 5 status 0 type address port
/// ```
fn socks5(talk: &mut Talk, login: Option<&ProxyLogin>, host: &str, port: u16) -> Result<()> {
    const NONE: u8 = 0;
    const PASSWORD: u8 = 2;
    match login {
        Some(_) => talk.say(&[5, 2, NONE, PASSWORD])?,
        None => talk.say(&[5, 1, NONE])?,
    }
    match (talk.hear()?, login) {
        ([5, NONE], _) => {}
        ([5, PASSWORD], Some(login)) => socks5_login(talk, login)?,
        ([5, _], Some(_)) => {
            let why = "it wants another kind of login than user and password";
            return Err(ProxyError::LoginRefused(why.to_owned()));
        }
        ([5, _], None) => {
            let why = "it wants a user and a password";
            return Err(ProxyError::LoginRefused(why.to_owned()));
        }
        (other, _) => return Err(ProxyError::NotAProxy(shown(&other))),
    }
    let mut request = vec![5, 1, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(1);
            request.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(4);
            request.extend(address.octets());
        }
        Err(_) => {
            let len = u8::try_from(host.len());
            let len = len.map_err(|_| ProxyError::Refused("the host's name is too long".into()))?;
            request.extend([3, len]);
            request.extend(host.as_bytes());
        }
    }
    request.extend(port.to_be_bytes());
    talk.say(&request)?;
    let [version, status, _, kind] = talk.hear()?;
    if version != 5 {
        return Err(ProxyError::NotAProxy(shown(&[version, status])));
    }
    if status != 0 {
        return Err(socks5_refusal(status));
    }
    // The address that the proxy connects from, which nobody needs.
    let len = match kind {
        1 => 4,
        4 => 16,
        3 => {
            let [len] = talk.hear()?;
            usize::from(len)
        }
        _ => return Err(ProxyError::NotAProxy(shown(&[version, status, 0, kind]))),
    };
    talk.hear_into(&mut vec![0; len + 2])
}

fn socks5_login(talk: &mut Talk, login: &ProxyLogin) -> Result<()> {
    let (user, password) = (login.user.as_bytes(), login.password.expose().as_bytes());
    let len = |what: &[u8]| {
        let len = u8::try_from(what.len()).ok();
        len.ok_or_else(|| ProxyError::LoginRefused("user or password is too long".to_owned()))
    };
    let line = Zeroizing::new([&[1, len(user)?], user, &[len(password)?], password].concat());
    talk.say(&line)?;
    match talk.hear()? {
        [_, 0] => Ok(()),
        [_, _] => Err(ProxyError::LoginRefused(
            "it refuses user and password".to_owned(),
        )),
    }
}

/// RFC 1928 section 6.
fn socks5_refusal(status: u8) -> ProxyError {
    let why = match status {
        1 => "it failed",
        2 => "its rules forbid the connection",
        3 => "it cannot reach the network",
        4 => "it cannot reach or find the host",
        5 => return ProxyError::TargetRefused,
        6 => "the server did not answer it in time",
        7 | 8 => "it does not know this kind of connection",
        _ => return ProxyError::Refused(format!("it says no (status {status})")),
    };
    ProxyError::Refused(why.to_owned())
}

fn http(talk: &mut Talk, login: Option<&ProxyLogin>, host: &str, port: u16) -> Result<()> {
    let target = match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{host}:{port}"),
    };
    let mut request = Zeroizing::new(String::with_capacity(REQUEST_BYTES));
    for part in ["CONNECT ", &target, " HTTP/1.1\r\nHost: ", &target, "\r\n"] {
        request.push_str(part);
    }
    if let Some(login) = login {
        let pair = Zeroizing::new(format!("{}:{}", login.user, login.password.expose()));
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()));
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(&encoded);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    talk.say(request.as_bytes())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") && !answer.ends_with(b"\n\n") {
        if answer.len() >= ANSWER_BYTES_MAX {
            return Err(ProxyError::NotAProxy("its answer has no end".to_owned()));
        }
        let [byte] = talk.hear()?;
        answer.push(byte);
        if answer.len() == 5 && !answer.eq_ignore_ascii_case(b"HTTP/") {
            return Err(ProxyError::NotAProxy(shown(&answer)));
        }
    }
    let line = answer
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    // The reason may be left out, with the space before it.
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let status = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    match status {
        [b'2', _, _] => Ok(()),
        // tinyproxy 1.11.1 says 401 to a wrong password.
        b"401" | b"407" => Err(ProxyError::LoginRefused(shown(line))),
        [b'0'..=b'9', _, _] => Err(ProxyError::Refused(format!("it says {}", shown(line)))),
        _ => Err(ProxyError::NotAProxy(shown(line))),
    }
}

/// The first of what a proxy said, printable.
fn shown(bytes: &[u8]) -> String {
    let bytes = bytes.trim_ascii_end();
    bytes.get(..80).unwrap_or(bytes).escape_ascii().to_string()
}

#[cfg(test)]
mod tests;
