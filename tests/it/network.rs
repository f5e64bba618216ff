//! Ways to a server: through real proxies, and from a chosen address.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::common::{
    Kind, Mount, Security, Server, can_mount, names_in, on_protected, pattern,
    server::{lines_of, ready},
};

/// What a proxy is asked for, and answers to whom.
const LOGIN: &str = "anna:ge%2Fheim";
const LOGIN_DECODED: &str = "anna:ge/heim";

/// A running proxy; it ends with the value.
struct Proxy {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Proxy {
    fn start(name: &str, login: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers");
        let mut command = Command::new(script);
        command.args(["proxy", name, "0"]);
        if !login.is_empty() {
            command.arg(login);
        }
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = lines_of(&mut child);
        let told = ready(&lines, name);
        let (log, address) = (told.log, told.url);
        Self {
            child,
            address,
            log,
        }
    }

    /// How often its log says this.
    fn count(&self, text: &str) -> usize {
        let log = fs::read_to_string(&self.log).unwrap();
        log.lines().filter(|line| line.contains(text)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(state) = self.log.parent() {
            let _ = fs::remove_dir_all(state);
        }
    }
}

/// The everyday actions, seen on the server's disk.
fn work(mount: &Mount, server: &Server) {
    work_in(mount.path(), server.root());
}

fn work_in(dir: &Path, disk: &Path) {
    let large = pattern(7, 3 << 20);
    fs::create_dir(dir.join("d")).unwrap();
    fs::write(dir.join("d/large"), &large).unwrap();
    fs::write(dir.join("small"), b"small").unwrap();
    assert_eq!(fs::read(disk.join("d/large")).unwrap(), large);
    assert_eq!(fs::read(dir.join("d/large")).unwrap(), large);
    fs::rename(dir.join("small"), dir.join("d/renamed")).unwrap();
    let names = [b"large".to_vec(), b"renamed".to_vec()];
    assert_eq!(names_in(&dir.join("d")), names);
    assert_eq!(names_in(&disk.join("d")), names);
    assert_eq!(fs::read(disk.join("d/renamed")).unwrap(), b"small");
    fs::remove_dir_all(dir.join("d")).unwrap();
    assert!(names_in(disk).is_empty());
}

/// Mounts a server by the name that only matters to the proxy, works in it, and looks into the proxy's log.
fn through(kind: Kind, proxy: &str, scheme: &str, login: (&str, &str), said: &str) {
    if !can_mount() {
        return;
    }
    let Some(server) = Server::start(kind) else {
        return;
    };
    let proxy = Proxy::start(proxy, login.1);
    let at = if login.0.is_empty() { "" } else { "@" };
    let option = format!("proxy={scheme}://{}{at}{}", login.0, proxy.address);
    let url = server.url().replace("127.0.0.1", "localhost");
    let mount = Mount::of_url(&url, &[&option]);
    work(&mount, &server);
    // One control connection at least, and one for each listing, download and upload.
    let count = proxy.count(said);
    assert!(count >= 5, "{count} connections through the proxy");
    let log = mount.log_text();
    assert!(!log.contains("heim"), "{log}");
}

// SEMANTICS: S-proxy
#[test]
fn a_real_socks5_proxy_carries_commands_and_data() {
    for kind in [Kind::Vsftpd, Kind::Proftpd] {
        through(
            kind,
            "microsocks",
            "socks5",
            ("", ""),
            "connected to localhost:",
        );
    }
}

// SEMANTICS: S-proxy
#[test]
fn a_real_socks5_proxy_wants_a_login() {
    let login = (LOGIN, LOGIN_DECODED);
    through(
        Kind::PureFtpd,
        "microsocks",
        "socks5",
        login,
        "connected to localhost:",
    );
}

// SEMANTICS: S-proxy
#[test]
fn a_real_http_proxy_carries_commands_and_data() {
    let said = "Established connection to host \"localhost\"";
    for kind in [Kind::Vsftpd, Kind::Pyftpdlib] {
        through(kind, "tinyproxy", "http", ("", ""), said);
    }
}

// SEMANTICS: S-proxy
#[test]
fn a_real_http_proxy_wants_a_login() {
    let said = "Established connection to host \"localhost\"";
    let login = ("anna:geheim", "anna:geheim");
    through(Kind::Proftpd, "tinyproxy", "http", login, said);
}

/// The message that a mount ends with.
fn refusal(url: &str, options: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("mnt")).unwrap();
    let mut command = crate::common::mount::command(home.path());
    command.args(["-f", "--timeout=5"]).args(options);
    let output = command
        .arg(url)
        .arg(home.path().join("mnt"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(!text.contains("heim"), "{text}");
    text
}

// SEMANTICS: S-proxy
#[test]
fn real_proxies_say_why_not_in_one_line() {
    if !can_mount() {
        return;
    }
    // Nobody listens on port 1 of this machine.
    let url = "ftp://anna:x@127.0.0.1:1/";
    for (name, scheme) in [("microsocks", "socks5"), ("tinyproxy", "http")] {
        let proxy = Proxy::start(name, "anna:geheim");
        let by_login = |login: &str| {
            let option = format!("--proxy={scheme}://{login}{}", proxy.address);
            refusal(url, &[&option])
        };
        for login in ["", "anna:falschheim@"] {
            let text = by_login(login);
            assert!(
                text.contains("check user and password in --proxy"),
                "{text}"
            );
        }
        let text = by_login("anna:geheim@");
        let is_told = text.contains("refuses connections on port 1")
            || text.contains("500 Unable to connect");
        assert!(is_told, "{text}");
        // The other kind of proxy.
        let other = if scheme == "http" { "socks5" } else { "http" };
        let option = format!("--proxy={other}://{}", proxy.address);
        let text = refusal(url, &[&option]);
        assert!(text.contains("(--proxy)"), "{text}");
    }
    let text = refusal(url, &["--proxy=socks5://anna:geheim@127.0.0.1:1"]);
    assert!(
        text.contains("through the proxy 127.0.0.1, port 1 (--proxy)"),
        "{text}"
    );
}

// SEMANTICS: S-proxy
#[test]
fn the_proxys_password_is_not_in_the_process_list() {
    if !can_mount() {
        return;
    }
    let Some(server) = Server::start(Kind::Vsftpd) else {
        return;
    };
    let proxy = Proxy::start("microsocks", "anna:geheim");
    let option = format!("ro,proxy=socks5://anna:geheim@{}", proxy.address);
    let mount = Mount::new(&server, &[&option]);
    let cmdline = fs::read(format!("/proc/{}/cmdline", mount.pid())).unwrap();
    let cmdline = String::from_utf8(cmdline).unwrap();
    assert!(cmdline.contains("socks5://anna:******@"), "{cmdline}");
    assert!(!cmdline.contains("sesame"), "{cmdline}");
}

// SEMANTICS: S-proxy-environment
#[test]
fn proxies_of_the_environment_are_not_used() {
    if !can_mount() {
        return;
    }
    let Some(server) = Server::start(Kind::Vsftpd) else {
        return;
    };
    // Nobody listens there, so that a mount that obeyed would fail.
    let names = ["ALL_PROXY", "FTP_PROXY", "HTTPS_PROXY", "SOCKS_PROXY"];
    let names = names
        .into_iter()
        .flat_map(|name| [name.to_owned(), name.to_lowercase()]);
    let environment: Vec<_> = names.map(|name| (name, "socks5://127.0.0.1:1")).collect();
    let mount = Mount::in_environment(&environment, server.url(), &[]);
    work(&mount, &server);
}

// SEMANTICS: S-bind-address
#[test]
fn all_connections_come_from_the_address_that_was_chosen() {
    if !can_mount() {
        return;
    }
    // All of 127/8 is this machine. The servers take a data connection only from where its commands come from.
    for kind in [Kind::Vsftpd, Kind::Proftpd, Kind::PureFtpd, Kind::Pyftpdlib] {
        let Some(server) = Server::start(kind) else {
            return;
        };
        let mount = Mount::new(&server, &["bind-address=127.0.0.2"]);
        work(&mount, &server);
        if kind == Kind::Proftpd {
            let log = server.log_text();
            let opened: Vec<_> = log.lines().filter(|line| line.contains("Login")).collect();
            assert!(!opened.is_empty());
            assert!(
                opened.iter().all(|line| line.contains("127.0.0.2")),
                "{log}"
            );
        }
    }
}

// SEMANTICS: S-bind-address
#[test]
fn an_address_of_another_machine_is_refused() {
    if !can_mount() {
        return;
    }
    let url = "ftp://anna:x@127.0.0.1:1/";
    for address in ["203.0.113.7", "::1"] {
        let text = refusal(url, &[&format!("--bind-address={address}")]);
        let start = format!("cannot connect from {address} (--bind-address)");
        assert!(text.contains(&start), "{text}");
    }
}

const ALL: [Kind; 4] = [Kind::Vsftpd, Kind::Proftpd, Kind::PureFtpd, Kind::Pyftpdlib];

/// Works in a mount of each server, with these options; returns what the filesystems logged.
fn work_on_each(address: &'static str, options: &[&str]) -> Vec<String> {
    if !can_mount() {
        return Vec::new();
    }
    let sites = ALL.into_iter().filter_map(|kind| {
        let server = Server::start_at(kind, address)?;
        let options = [options, &["verbose"]].concat();
        let mount = Mount::new(&server, &options);
        work(&mount, &server);
        Some(mount.log_text())
    });
    sites.collect()
}

// SEMANTICS: S-ipv6
#[test]
fn ipv6_works_with_each_server() {
    for log in work_on_each("::1", &[]) {
        assert!(log.contains("> EPSV") && !log.contains("> PASV"), "{log}");
    }
}

// SEMANTICS: S-active, S-ipv6
#[test]
fn active_mode_works_with_each_server() {
    for log in work_on_each("127.0.0.1", &["active"]) {
        assert!(log.contains("> EPRT |1|127.0.0.1|"), "{log}");
        assert!(!log.contains("> EPSV") && !log.contains("> PASV"), "{log}");
    }
    for log in work_on_each("::1", &["active"]) {
        assert!(log.contains("> EPRT |2|::1|"), "{log}");
    }
}

// SEMANTICS: S-active-address
#[test]
fn active_mode_keeps_to_its_ports() {
    let ports = 32_100..=32_115;
    for log in work_on_each("127.0.0.1", &["active", "active-ports=32100-32115"]) {
        let told = log
            .lines()
            .filter_map(|line| line.split_once("> EPRT |1|127.0.0.1|"));
        let told: Vec<u16> = told
            .map(|(_, rest)| rest.trim_end_matches('|').parse().unwrap())
            .collect();
        assert!(!told.is_empty(), "{log}");
        assert!(told.iter().all(|port| ports.contains(port)), "{told:?}");
    }
}

// SEMANTICS: S-passive-address
#[test]
fn the_address_of_pasv_is_used_where_it_is_trusted() {
    for log in work_on_each("127.0.0.1", &["trust-pasv-address"]) {
        assert!(log.contains("> PASV") && !log.contains("> EPSV"), "{log}");
    }
}

// SEMANTICS: S-active, S-tls-resumption
#[test]
fn active_mode_works_over_tls() {
    for kind in ALL {
        on_protected(kind, Security::Tls, &["active"], |t| {
            work_in(&t.path(""), &t.disk(""));
        });
    }
}

// SEMANTICS: S-proxy
#[test]
fn a_proxy_carries_tls() {
    let proxy = Proxy::start("microsocks", "");
    let option = format!("proxy=socks5://{}", proxy.address);
    on_protected(Kind::Vsftpd, Security::Tls, &[&option], |t| {
        work_in(&t.path(""), &t.disk(""));
    });
    assert!(proxy.count("connected to") >= 5);
}
