//! Proxies that follow a script.

use std::{net::TcpListener, thread, time::Duration};

use super::*;
use crate::config::Password;

/// What one side says, after it has heard this.
type Script = &'static [(&'static [u8], &'static [u8])];

fn login() -> ProxyLogin {
    ProxyLogin {
        user: "anna".to_owned(),
        password: Password::new("geheim".to_owned()),
    }
}

/// Connects to `host`, port 2121, through a proxy that follows the script; what comes behind it is returned.
fn through(
    kind: ProxyKind,
    login: Option<ProxyLogin>,
    host: &str,
    script: Script,
) -> Result<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        for (expected, answer) in script {
            let mut heard = vec![0; expected.len()];
            socket.read_exact(&mut heard).unwrap();
            assert_eq!(
                heard.escape_ascii().to_string(),
                expected.escape_ascii().to_string()
            );
            socket.write_all(answer).unwrap();
        }
    });
    let proxy = ProxyConfig {
        kind,
        host: address.ip().to_string(),
        port: address.port(),
        login,
    };
    let socket = TcpStream::connect(address).unwrap();
    let connected = connect(
        &proxy,
        socket,
        host,
        2121,
        Deadline::after(Duration::from_secs(5)),
    );
    server.join().unwrap();
    connected.map(|mut socket| {
        let mut behind = Vec::new();
        socket.read_to_end(&mut behind).unwrap();
        behind
    })
}

// SEMANTICS: S-proxy
#[test]
fn socks5_gets_the_name_of_the_host_and_nothing_behind_the_answer_is_lost() {
    let script: Script = &[
        (b"\x05\x01\x00", b"\x05\x00"),
        (
            b"\x05\x01\x00\x03\x0bftp.example\x08\x49",
            b"\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34220 hello\r\n",
        ),
    ];
    let behind = through(ProxyKind::Socks5, None, "ftp.example", script).unwrap();
    assert_eq!(behind, b"220 hello\r\n");
    let script: Script = &[
        (b"\x05\x01\x00", b"\x05\x00"),
        (
            b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x08\x49",
            b"\x05\x00\x00\x03\x03abc\x12\x34220",
        ),
    ];
    assert_eq!(
        through(ProxyKind::Socks5, None, "::1", script).unwrap(),
        b"220"
    );
}

// SEMANTICS: S-proxy
#[test]
fn socks5_logs_in_where_it_is_asked_to() {
    let script: Script = &[
        (b"\x05\x02\x00\x02", b"\x05\x02"),
        (b"\x01\x04anna\x06geheim", b"\x01\x00"),
        (
            b"\x05\x01\x00\x01\x7f\x00\x00\x01\x08\x49",
            b"\x05\x00\x00\x01\0\0\0\0\0\0",
        ),
    ];
    through(ProxyKind::Socks5, Some(login()), "127.0.0.1", script).unwrap();
}

// SEMANTICS: S-proxy
#[test]
fn refusals_of_socks5_are_told_apart_and_hold_no_password() {
    let refused: Script = &[
        (b"\x05\x02\x00\x02", b"\x05\x02"),
        (b"\x01\x04anna\x06geheim", b"\x01\x01"),
    ];
    let error = through(ProxyKind::Socks5, Some(login()), "h", refused).unwrap_err();
    assert!(matches!(error, ProxyError::LoginRefused(_)));
    assert!(!format!("{error} {error:?}").contains("geheim"));
    let wanted: Script = &[(b"\x05\x01\x00", b"\x05\xff")];
    let error = through(ProxyKind::Socks5, None, "h", wanted).unwrap_err();
    assert!(error.to_string().contains("--proxy"), "{error}");
    for (status, is_expected) in [
        (&b"\x05\x05\x00\x01"[..], "the server refuses"),
        (b"\x05\x02\x00\x01", "rules"),
        (b"\x05\x63\x00\x01", "status 99"),
        (b"HTTP", "does not speak"),
    ] {
        let script = Box::leak(Box::new([
            (&b"\x05\x01\x00"[..], &b"\x05\x00"[..]),
            (b"\x05\x01\x00\x03\x01h\x08\x49", status),
        ]));
        let error = through(ProxyKind::Socks5, None, "h", script).unwrap_err();
        assert!(error.to_string().contains(is_expected), "{error}");
    }
    let http: Script = &[(b"\x05\x01\x00", b"HTTP/1.1 400 Bad Request\r\n")];
    let error = through(ProxyKind::Socks5, None, "h", http).unwrap_err();
    assert!(matches!(error, ProxyError::NotAProxy(_)), "{error}");
}

// SEMANTICS: S-proxy
#[test]
fn connect_is_asked_with_the_login_and_nothing_behind_the_headers_is_lost() {
    let script: Script = &[(
        b"CONNECT ftp.example:2121 HTTP/1.1\r\nHost: ftp.example:2121\r\n\
          Proxy-Authorization: Basic YW5uYTpnZWhlaW0=\r\n\r\n",
        b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n220 hello\r\n",
    )];
    let behind = through(ProxyKind::Http, Some(login()), "ftp.example", script).unwrap();
    assert_eq!(behind, b"220 hello\r\n");
    let script: Script = &[(
        b"CONNECT [::1]:2121 HTTP/1.1\r\nHost: [::1]:2121\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    )];
    through(ProxyKind::Http, None, "::1", script).unwrap();
}

#[test]
fn a_consent_to_connect_needs_no_reason() {
    let script: Script = &[(
        b"CONNECT h:2121 HTTP/1.1\r\nHost: h:2121\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
    )];
    through(ProxyKind::Http, None, "h", script).unwrap();
}

// SEMANTICS: S-proxy
#[test]
fn refusals_of_connect_are_told_apart() {
    const REQUEST: &[u8] = b"CONNECT h:2121 HTTP/1.1\r\nHost: h:2121\r\n\r\n";
    let long = [b"HTTP/1.1 200 ", &[b'x'; ANSWER_BYTES_MAX][..]].concat();
    let long: &'static [u8] = long.leak();
    for (answer, expected) in [
        (
            &b"HTTP/1.1 407 Authentication Required\r\n\r\n"[..],
            "user and password in --proxy",
        ),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden"),
        (b"220 ftp ready\r\n", "does not speak"),
        (b"HTTP/1.1 huh\r\n\r\n", "does not speak"),
        (b"HTTP/1.1 200 OK\r\n", "closed"),
        (long, "does not speak"),
    ] {
        let script = Box::leak(Box::new([(REQUEST, answer)]));
        let error = through(ProxyKind::Http, None, "h", script).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

// SEMANTICS: S-proxy, S-tenet-deadline
#[test]
fn a_silent_proxy_is_not_waited_for_without_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for kind in [ProxyKind::Socks5, ProxyKind::Http] {
        let proxy = ProxyConfig {
            kind,
            host: String::new(),
            port: 1,
            login: None,
        };
        let socket = TcpStream::connect(address).unwrap();
        let deadline = Deadline::after(Duration::from_millis(50));
        let error = connect(&proxy, socket, "h", 1, deadline).unwrap_err();
        assert!(error.to_string().contains("in time"), "{error}");
    }
}
