//! `ftpfs doctor`: what it finds on simulated and real servers, which option it names, and that it leaves nothing behind.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{
    Kind, Security, Server,
    mount::command,
    names_in,
    simulated::{Dialect, Simulated},
    wait_for,
};

/// The examination of a server, with a home of its own.
struct Visit {
    home: TempDir,
    output: Output,
    json: Value,
}

fn visit(url: &str, options: &[&str]) -> Visit {
    visit_with(url, options, &[])
}

fn visit_with(url: &str, options: &[&str], variables: &[(&str, &Path)]) -> Visit {
    let home = tempfile::tempdir().unwrap();
    let mut command = command(home.path());
    command
        .args(["doctor", "--json", "--timeout", "3"])
        .args(options)
        .arg(url)
        .envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    Visit { home, output, json }
}

fn dialect(name: &str) -> Dialect {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialects");
    Dialect::parse(&fs::read_to_string(dir.join(format!("{name}.toml"))).unwrap())
}

/// A server as the RFCs have it but for what `text` says, with a file.
fn simulated(text: &str) -> Simulated {
    let server = Simulated::start(Dialect::parse(text));
    server.tree().put("/file", b"content");
    server
}

/// The line of a dialect that knows these commands and no others.
fn knows(words: &str) -> String {
    let words: Vec<_> = words.split(' ').map(|word| format!("\"{word}\"")).collect();
    format!("knows = [{}]\n", words.join(", "))
}

/// What else than files and directories is on a simulated server.
#[track_caller]
fn assert_clean(server: &Simulated) {
    let tree = server.tree();
    let left: Vec<_> = tree.all().map(|(path, _)| path.to_owned()).collect();
    assert_eq!(left, ["/file"]);
}

impl Visit {
    #[track_caller]
    fn named(&self, list: &str, key: &str, name: &str) -> &Value {
        let all = self.json[list].as_array().unwrap();
        let found = all.iter().find(|one| one[key] == name);
        found.unwrap_or_else(|| panic!("{name}: {:#}", self.json))
    }

    #[track_caller]
    fn finding(&self, name: &str) -> &str {
        let found = self.named("capabilities", "name", name);
        found["finding"].as_str().unwrap()
    }

    #[track_caller]
    fn cost(&self, name: &str) -> &str {
        self.named("capabilities", "name", name)["cost"]
            .as_str()
            .unwrap()
    }

    #[track_caller]
    fn way(&self, way: &str) -> bool {
        self.named("data_connections", "way", way)["works"]
            .as_bool()
            .unwrap()
    }

    /// The remedy of a problem that must be there.
    #[track_caller]
    fn remedy(&self, name: &str) -> &str {
        self.named("problems", "name", name)["remedy"]
            .as_str()
            .unwrap()
    }

    #[track_caller]
    fn what(&self, name: &str) -> &str {
        self.named("problems", "name", name)["what"]
            .as_str()
            .unwrap()
    }

    fn problems(&self) -> Vec<&str> {
        let problems = self.json["problems"].as_array().unwrap().iter();
        problems
            .map(|problem| problem["name"].as_str().unwrap())
            .collect()
    }

    #[track_caller]
    fn assert_works(&self, works: bool) {
        assert_eq!(self.json["works"], works, "{:#}", self.json);
        assert_eq!(self.output.status.code(), Some(i32::from(!works)));
    }
}

// SEMANTICS: S-doctor
#[test]
fn it_finds_what_each_dialect_can_do_and_leaves_nothing_behind() {
    for (name, rename_over, epsv) in [
        ("filezilla", "RNFR, RNTO over a file", true),
        (
            "iis",
            "does not work: RNTO: refused by the server: 550",
            true,
        ),
        (
            "swiftp",
            "does not work: the server says yes and does nothing",
            false,
        ),
    ] {
        let server = Simulated::start(dialect(name));
        server.tree().put("/file", b"content");
        let visit = visit(&server.url(), &[]);
        visit.assert_works(true);
        assert_eq!(visit.json["entries"], 1);
        let found = visit.finding("rename-over");
        assert!(found.starts_with(rename_over), "{name}: {found}");
        assert_eq!(visit.finding("read-offset"), "REST", "{name}");
        assert_eq!(
            visit.finding("read-end"),
            "closing the data connection",
            "{name}"
        );
        assert_eq!(visit.finding("append"), "APPE", "{name}");
        let checksum = if name == "swiftp" {
            "HASH"
        } else {
            "no XCRC, XMD5 or HASH: --verify has no effect beyond the size"
        };
        assert_eq!(visit.finding("checksum"), checksum, "{name}");
        assert_eq!(
            (visit.way("EPSV"), visit.way("PASV")),
            (epsv, true),
            "{name}"
        );
        for measured in [
            "login_ms",
            "round_trip_ms",
            "upload_bytes_per_second",
            "download_bytes_per_second",
        ] {
            assert!(
                visit.json[measured].as_f64().unwrap() > 0.0,
                "{name}: {measured}"
            );
        }
        assert_clean(&server);
        let kept = visit.home.path().join(".local/state/ftpfs/servers");
        assert_eq!(names_in(&kept).len(), 1, "{name}");
    }
}

// SEMANTICS: S-doctor
#[test]
fn where_nothing_can_be_written_it_reads() {
    let server = simulated(&knows("USER PASS TYPE CWD EPSV LIST RETR SIZE MDTM"));
    server.tree().put("/file", &vec![7; 2_000_000]);
    let read_only = visit(&server.url(), &[]);
    read_only.assert_works(true);
    assert_eq!(read_only.remedy("read-only"), "-o ro");
    assert!(
        read_only.json["download_bytes_per_second"]
            .as_u64()
            .unwrap()
            > 0
    );
    server.take_heard();
    let quiet = visit(&server.url(), &["-o", "ro"]);
    assert_eq!(quiet.problems(), ["clear"]);
    assert_eq!(quiet.cost("size"), "");
    let heard = server.take_heard();
    let is_change = |line: &String| {
        ["STOR", "MKD", "DELE"]
            .iter()
            .any(|verb| line.starts_with(verb))
    };
    assert!(!heard.iter().any(is_change), "{heard:?}");
}

// SEMANTICS: S-doctor
#[test]
fn what_cannot_be_removed_is_tried_with_one_small_file() {
    let server = simulated(&knows(
        "USER PASS TYPE CWD EPSV LIST STOR RETR SIZE MDTM MKD RMD",
    ));
    let visit = visit(&server.url(), &[]);
    assert_eq!(visit.remedy("no-removal"), "-o ro");
    let tree = server.tree();
    let left: Vec<_> = tree.all().filter(|(path, _)| *path != "/file").collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].1.content.as_ref().unwrap().len(), 10);
    assert!(visit.what("left").contains(left[0].0));
}

// SEMANTICS: S-doctor
#[test]
fn a_signal_waits_until_everything_is_removed() {
    // MKD comes after the files, and is never answered.
    let server = simulated("silent = [\"MKD\"]");
    let home = tempfile::tempdir().unwrap();
    let child = command(home.path())
        .args(["doctor", "--timeout", "2", &server.url()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("MKD", Duration::from_secs(20), || {
        server
            .take_heard()
            .iter()
            .any(|line| line.starts_with("MKD"))
    });
    assert!(server.tree().all().count() > 1);
    // SAFETY: kill has no preconditions; the child has not been waited for.
    unsafe { libc::kill(libc::pid_t::try_from(child.id()).unwrap(), libc::SIGINT) };
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("interrupted"), "{text}");
    assert_clean(&server);
}

// SEMANTICS: S-doctor
#[test]
fn what_a_killed_one_has_left_is_named() {
    let server = simulated("");
    server.tree().put("/.ftpfs-doctor-0123-a", b"left");
    let visit = visit(&server.url(), &[]);
    assert!(visit.what("left-over").contains(".ftpfs-doctor-0123-a"));
}

// SEMANTICS: S-doctor-remedies
#[test]
fn a_server_that_listens_at_its_own_address_gets_the_option_that_goes_there() {
    let server = simulated("data_address = \"127.0.0.2\"");
    let found = visit(&server.url(), &[]);
    found.assert_works(false);
    assert_eq!(found.remedy("data-connection"), "--trust-pasv-address");
    assert_eq!((found.way("EPSV"), found.way("PASV")), (false, false));
    let told = found.named("data_connections", "way", "PASV");
    assert_eq!(told["address"], "127.0.0.2");
    visit(&server.url(), &["--trust-pasv-address"]).assert_works(true);
    assert_clean(&server);

    // Behind NAT it only says so, which is passed over.
    let told = simulated("[says]\nPASV = \"227 Listening (127,0,0,2,{ports})\"");
    let found = visit(&told.url(), &[]);
    found.assert_works(true);
    assert_eq!(found.problems(), ["clear"]);
    assert_eq!((found.way("EPSV"), found.way("PASV")), (true, true));
    assert!(!found.way("PASV-address"));
    let found = visit(&told.url(), &["--trust-pasv-address"]);
    found.assert_works(false);
    assert_eq!(
        found.remedy("data-connection"),
        "none of --trust-pasv-address"
    );
}

// SEMANTICS: S-doctor-remedies, S-pret
#[test]
fn a_server_with_files_on_other_machines_gets_the_option_that_goes_there() {
    let server = Simulated::start(dialect("drftpd"));
    server.tree().put("/file", b"content");
    let found = visit(&server.url(), &[]);
    found.assert_works(false);
    assert!(found.way("PASV"));
    assert_eq!(found.remedy("data-connection"), "--trust-pasv-address");
    assert_clean(&server);
    let found = visit(&server.url(), &["--trust-pasv-address"]);
    found.assert_works(true);
    assert_eq!(found.problems(), ["clear"]);
    assert_eq!(found.finding("data-connection"), "PRET, PASV");
    assert_ne!(found.cost("append"), "");
    assert_clean(&server);
}

// SEMANTICS: S-doctor-remedies
#[test]
fn an_epsv_that_leads_nowhere_gets_the_option_that_asks_pasv_first() {
    let server = simulated("[says]\nEPSV = \"229 Listening (|||1|)\"");
    let found = visit(&server.url(), &[]);
    found.assert_works(false);
    assert_eq!((found.way("EPSV"), found.way("PASV")), (false, true));
    assert_eq!(found.remedy("data-connection"), "--trust-pasv-address");
    visit(&server.url(), &["--trust-pasv-address"]).assert_works(true);
}

// SEMANTICS: S-doctor-remedies
#[test]
fn a_server_that_only_connects_itself_gets_active_mode() {
    let words = "USER PASS TYPE CWD EPRT LIST RETR STOR DELE SIZE MDTM";
    let server = simulated(&knows(words));
    let found = visit(&server.url(), &[]);
    found.assert_works(false);
    assert_eq!(found.remedy("data-connection"), "--active");
    let refused = found.named("data_connections", "way", "EPSV");
    assert_eq!(refused["error"], "500 Unknown command.");
    visit(&server.url(), &["--active"]).assert_works(true);
    assert_clean(&server);

    let deaf = simulated(&knows("USER PASS TYPE CWD LIST RETR SIZE MDTM"));
    let found = visit(&deaf.url(), &[]);
    found.assert_works(false);
    assert!(found.remedy("data-connection").starts_with("--proxy"));

    let passive = simulated("");
    let found = visit(&passive.url(), &["--active"]);
    found.assert_works(false);
    let remedy = found.remedy("data-connection");
    assert!(remedy.starts_with("none of --active;"), "{remedy}");
    assert!(remedy.contains("--active-address"), "{remedy}");
}

// SEMANTICS: S-doctor-remedies
#[test]
fn a_server_of_few_sessions_says_how_many() {
    for excess in ["greeting", "login", "login-closed", "closed", "refused"] {
        for most in [1, 3] {
            let text = format!("[sessions]\nmost = {most}\nexcess = \"{excess}\"");
            let server = simulated(&text);
            let found = visit(&server.url(), &[]);
            found.assert_works(true);
            assert_eq!(found.json["sessions"], most, "{excess}");
            assert_eq!(
                found.remedy("sessions"),
                format!("--connections {most}"),
                "{excess}"
            );
            assert_clean(&server);
            // Another one: this one may still count the sessions of a moment ago.
            let server = simulated(&text);
            let fitting = visit(&server.url(), &["--connections", &most.to_string()]);
            assert_eq!(fitting.problems(), ["clear"], "{excess}");
            assert_clean(&server);
        }
    }
}

// SEMANTICS: S-doctor-remedies
#[test]
fn what_a_server_lacks_has_its_cost() {
    let rich = simulated("");
    let found = visit(&rich.url(), &[]);
    for name in [
        "read-offset",
        "append",
        "size",
        "exact-time",
        "rename",
        "rename-over",
        "directories",
    ] {
        assert_eq!(found.cost(name), "", "{name}");
    }
    let poor = simulated(&knows("USER PASS TYPE CWD EPSV LIST STOR RETR DELE"));
    let found = visit(&poor.url(), &[]);
    found.assert_works(true);
    for name in [
        "listing",
        "mode",
        "time",
        "read-offset",
        "write-inside",
        "append",
        "size",
        "exact-time",
        "rename",
        "directories",
    ] {
        assert_ne!(found.cost(name), "", "{name}");
    }
    assert_clean(&poor);
    let undotted = simulated("[files]\nforbids_dot_names = true");
    let found = visit(&undotted.url(), &[]);
    found.assert_works(true);
    assert_ne!(found.cost("dot-names"), "");
    assert_eq!(found.cost("append"), "");
    assert_clean(&undotted);
}

// SEMANTICS: S-doctor-remedies
#[test]
fn a_clock_that_is_wrong_is_told_from_one_whose_zone_is_not_known() {
    let words = knows("USER PASS TYPE CWD EPSV LIST STOR RETR DELE SIZE RNFR RNTO");
    let clock = "[listing]\nclock_minutes = 120\n";
    let unknown = simulated(&format!("{words}{clock}"));
    let found = visit(&unknown.url(), &[]);
    let what = found.what("clock");
    assert!(what.contains("MDTM") && what.contains("late"), "{what}");
    // With MDTM the zone is found out.
    let words = knows("USER PASS TYPE CWD EPSV LIST STOR RETR DELE SIZE MDTM RNFR RNTO");
    let known = simulated(&format!("{words}{clock}"));
    let found = visit(&known.url(), &[]);
    assert_eq!(found.problems(), ["clear"]);
    assert_eq!(found.finding("list-clock"), "120 minutes ahead of UTC");
    // MLSD that tells local time.
    let local = simulated(&format!(
        "{clock}facts_by_clock = true\n[says]\nFEAT = \"\"\"211-\n MLST type;size;modify;\n211 End\"\"\"\n"
    ));
    let found = visit(&local.url(), &[]);
    assert!(found.what("clock").contains("clock, or its time zone"));
    assert!((7190..=7210).contains(&found.json["clock_ahead_s"].as_i64().unwrap()));
}

// SEMANTICS: S-doctor-remedies
#[test]
fn a_log_in_that_fails_says_why() {
    let server = simulated("");
    let wrong = server.url().replace("secret", "wrong");
    let found = visit(&wrong, &[]);
    found.assert_works(false);
    assert_eq!(found.remedy("login"), "--password-file");
    let found = visit(&server.url().replace("127.0.0.1", "nowhere.invalid"), &[]);
    assert_eq!(found.problems(), ["host"]);
    let found = visit(&format!("{}none", server.url()), &[]);
    assert_eq!(found.problems(), ["directory"]);
    let url = server.url();
    drop(server);
    assert_eq!(visit(&url, &[]).problems(), ["refused"]);
    let foreign = Simulated::start(dialect("vms"));
    let found = visit(&foreign.url(), &[]);
    found.assert_works(false);
    assert!(found.what("system").contains("VMS"));
}

// SEMANTICS: S-doctor-tls
#[test]
fn tls_that_is_not_used_is_looked_at() {
    let none = simulated("");
    let found = visit(&none.url(), &["--tls", "off"]);
    assert_eq!(found.json["tls"]["offered"], false);
    assert_eq!(found.json["tls"]["refusal"], "500 Unknown command.");
    assert_eq!(found.remedy("clear"), "");

    let server = simulated("tls = \"good\"");
    let found = visit(&server.url(), &["--tls", "off"]);
    found.assert_works(true);
    let tls = &found.json["tls"];
    assert_eq!(
        (&tls["used"], &tls["offered"], &tls["trusted"]),
        (&false.into(), &true.into(), &false.into())
    );
    let pin = tls["certificate"]["pin"].as_str().unwrap();
    assert_eq!(
        found.remedy("clear"),
        format!("--ca-file FILE, or --pin {pin}")
    );
    // Where the system trusts it.
    let trusted = found.home.path().join("trusted.pem");
    fs::write(&trusted, server.certificate()).unwrap();
    let found = visit_with(
        &server.url(),
        &["--tls", "off"],
        &[("SSL_CERT_FILE", &trusted)],
    );
    assert_eq!(found.remedy("clear"), "--tls require");
    assert_eq!(found.json["tls"]["trusted"], true);
    assert!(
        found.json["tls"]["version"]
            .as_str()
            .unwrap()
            .starts_with("TLSv1.")
    );
    assert_clean(&server);
}

// SEMANTICS: S-doctor-tls
#[test]
fn each_bad_certificate_is_shown_with_what_accepts_it() {
    for (shown, name) in [
        ("expired", "certificate-date"),
        ("other", "certificate-name"),
        ("good", "certificate-issuer"),
    ] {
        let server = simulated(&format!("tls = \"{shown}\""));
        let dir = tempfile::tempdir().unwrap();
        let trusted = dir.path().join("trusted.pem");
        fs::write(&trusted, server.certificate()).unwrap();
        let variables = [("SSL_CERT_FILE", trusted.as_path())];
        let variables = if shown == "good" { &[] } else { &variables[..] };
        let found = visit_with(&server.url(), &[], variables);
        found.assert_works(false);
        let certificate = &found.json["tls"]["certificate"];
        let pin = certificate["pin"].as_str().unwrap();
        let remedy = found.remedy(name);
        assert!(remedy.ends_with(&format!("--pin {pin}")), "{remedy}");
        if shown == "expired" {
            assert_eq!(certificate["not_after"], "2015-12-31T00:00:00+00:00");
        }
    }
}

// SEMANTICS: S-doctor-tls
#[test]
fn the_protection_of_a_session_is_shown() {
    let Some(server) = Server::start_with(Kind::Vsftpd, Security::Tls) else {
        return;
    };
    let authority = server.authority().unwrap().to_str().unwrap();
    let found = visit(server.url(), &["--ca-file", authority]);
    found.assert_works(true);
    assert_eq!(found.problems(), [""; 0]);
    let tls = &found.json["tls"];
    assert_eq!(tls["version"], "TLSv1.2");
    assert!(tls["cipher"].as_str().unwrap().starts_with("TLS_ECDHE_"));
    assert_eq!(tls["certificate"]["subject"], "CN=localhost");
    assert_eq!(tls["certificate"]["issuer"], "CN=ftpfs test authority");
    assert!(tls["data_resumed"].as_u64().unwrap() > 5);
    assert_eq!(tls["data_not_resumed"], 0);
    assert_eq!(tls["trusted"], true);
    for pin in ["pin", "key_pin"] {
        let pin = tls["certificate"][pin].as_str().unwrap();
        visit(server.url(), &["--pin", pin, "-o", "ro"]).assert_works(true);
    }
    let found = visit(server.url(), &["--tls-insecure"]);
    assert_eq!(found.json["tls"]["trusted"], false);
    let pin = found.json["tls"]["certificate"]["pin"].as_str().unwrap();
    assert_eq!(found.remedy("tls-unverified"), format!("--pin {pin}"));
    assert_eq!(names_in(server.root()), Vec::<Vec<u8>>::new());
}

// SEMANTICS: S-doctor
#[test]
fn proftpd_is_told_where_a_part_of_a_file_ends() {
    let Some(server) = Server::start(Kind::Proftpd) else {
        return;
    };
    let found = visit(server.url(), &[]);
    found.assert_works(true);
    assert_eq!(found.finding("read-end"), "RANG");
    assert_eq!(found.cost("read-end"), "");
}

// SEMANTICS: S-doctor
#[test]
fn a_server_that_answers_during_transfers_gets_no_command_meanwhile() {
    let Some(server) = Server::start(Kind::Pyftpdlib) else {
        return;
    };
    // Most of the time once would show it.
    for _ in 0..3 {
        let found = visit(server.url(), &[]);
        found.assert_works(true);
        assert!(found.way("EPSV") && found.way("PASV"), "{:#}", found.json);
    }
}

// SEMANTICS: S-doctor-tls
#[test]
fn the_wrong_kind_of_tls_is_told_from_the_right_one() {
    for kind in [Kind::Vsftpd, Kind::Proftpd, Kind::PureFtpd, Kind::Pyftpdlib] {
        let Some(server) = Server::start_with(kind, Security::Tls) else {
            return;
        };
        let found = visit(server.url(), &["--tls", "off"]);
        assert_eq!(found.remedy("tls-demanded"), "--tls require", "{kind:?}");
        let found = visit(&server.url().replace("ftp://", "ftps://"), &[]);
        assert_eq!(found.remedy("tls-explicit"), "ftpes://", "{kind:?}");
    }
    let Some(server) = Server::start_with(Kind::Vsftpd, Security::Implicit) else {
        return;
    };
    let found = visit(&server.url().replace("ftps://", "ftp://"), &[]);
    assert_eq!(found.remedy("tls-implicit"), "ftps://");
    let plain = simulated("");
    let found = visit(&plain.url(), &["--tls", "require"]);
    assert_eq!(found.remedy("tls-refused"), "--tls off");
    let found = visit(&plain.url().replace("ftp://", "ftps://"), &[]);
    assert_eq!(found.remedy("tls-refused"), "ftp://");
}

// SEMANTICS: S-doctor, S-doctor-remedies
#[test]
fn it_speaks_to_people_and_to_real_servers() {
    let Some(server) = Server::start(Kind::Vsftpd) else {
        return;
    };
    let latin1 = OsStr::from_bytes(b"caf\xe9");
    fs::write(server.root().join(latin1), b"").unwrap();
    let home = tempfile::tempdir().unwrap();
    let output = command(home.path())
        .args(["doctor", server.url()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for part in [
        "can be mounted",
        "vsFTPd",
        "round trip ",
        "EPSV             works",
        "PASV             works",
        "active           works",
        "MDTM with a time",
        "AUTH TLS gets 530",
        "sessions         8 at once, of 8",
        "! some names are not UTF-8\n  try --charset",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("sesame"), "{text}");
    assert_eq!(names_in(server.root()), [latin1.as_bytes()]);
    let output = command(home.path()).arg("doctor").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("ftpfs doctor URL"));
    // Options on either side, one with the word itself as its value.
    fs::write(home.path().join("doctor"), "sesame\n").unwrap();
    fs::set_permissions(home.path().join("doctor"), Permissions::from_mode(0o600)).unwrap();
    let url = server.url().replace(":sesame@", "@");
    let output = command(home.path())
        .current_dir(home.path())
        .args(["-v", "--timeout", "9", "doctor", "-o", "ro"])
        .args(["--password-file", "doctor", &url, "--connections=2"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("2 at once, of 2"), "{text}");
}
