//! The proxy: `socks5://[user:password@]host:port` or `http://[user:password@]host:port`.

use super::{
    error::UsageError,
    target::{check_host, decode, parse_login, parse_port, rsplit_once, split_once, split_port},
};
use crate::config::{Password, ProxyConfig, ProxyKind, ProxyLogin};

const FORM: &str =
    "a proxy is socks5://[user:password@]host:port or http://[user:password@]host:port";

/// Reads the value of `--proxy`.
///
/// # Errors
///
/// What is wrong with it, without the password.
pub(super) fn parse_proxy(text: &str) -> Result<ProxyConfig, String> {
    parse(text).map_err(|error| error.to_string())
}

fn parse(text: &str) -> Result<ProxyConfig, UsageError> {
    let form = || UsageError::new(FORM);
    let (scheme, rest) = split_once(text.as_bytes(), b"://").ok_or_else(form)?;
    let kind = match scheme.to_ascii_lowercase().as_slice() {
        // The h is for "the host's name is looked up by the proxy", which is what always happens here.
        b"socks5" | b"socks5h" => ProxyKind::Socks5,
        b"http" => ProxyKind::Http,
        b"https" => {
            return Err(UsageError::new(
                "a proxy that is itself spoken to by TLS is not supported; write http://",
            ));
        }
        _ => return Err(form()),
    };
    let authority = rest.strip_suffix(b"/").unwrap_or(rest);
    let (login, host_port) = match rsplit_once(authority, b'@') {
        Some((login, host_port)) => (Some(login), host_port),
        None => (None, authority),
    };
    let login = login
        .map(parse_login)
        .transpose()?
        .and_then(|(user, password)| {
            Some(ProxyLogin {
                user: user?,
                password: password.unwrap_or_else(|| Password::new(String::new())),
            })
        });
    let (host, port) = split_port(host_port)?;
    if host.is_empty() {
        return Err(form());
    }
    let port = port.map(parse_port).transpose()?.flatten();
    Ok(ProxyConfig {
        kind,
        host: check_host(decode("proxy's host", host)?)?,
        port: port.ok_or_else(form)?,
        login,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_has_a_kind_a_host_a_port_and_perhaps_a_login() {
        let proxy = parse_proxy("socks5://anna:ge%40heim@proxy.example:1080").unwrap();
        assert_eq!(proxy.kind, ProxyKind::Socks5);
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 1080));
        let login = proxy.login.unwrap();
        assert_eq!(
            (login.user.as_str(), login.password.expose()),
            ("anna", "ge@heim")
        );
        let proxy = parse_proxy("HTTP://[::1]:8888/").unwrap();
        assert_eq!(proxy.kind, ProxyKind::Http);
        assert_eq!((proxy.host.as_str(), proxy.port), ("::1", 8888));
        assert!(proxy.login.is_none());
        assert_eq!(
            parse_proxy("socks5h://h:1").unwrap().kind,
            ProxyKind::Socks5
        );
    }

    #[test]
    fn mistakes_are_told_without_the_password() {
        for text in [
            "proxy.example:1080",
            "socks4://h:1",
            "https://h:1",
            "socks5://h",
            "socks5://:1",
            "socks5://u:geheim@h:0",
            "socks5://u:ge/heim@h:1x",
            "http://h:1/path",
        ] {
            let error = parse_proxy(text).unwrap_err();
            assert!(!error.contains("heim"), "{error}");
        }
    }
}
