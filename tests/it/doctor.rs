//! `ftpfs doctor`: what it finds on simulated and real servers, and that it leaves nothing behind.

use std::{fs, path::Path, process::Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{
    Kind, Server,
    mount::command,
    names_in,
    simulated::{Dialect, Simulated},
};

/// The examination of a server, with a home of its own.
struct Visit {
    home: TempDir,
    output: Output,
    json: Value,
}

fn visit(url: &str, options: &[&str]) -> Visit {
    let home = tempfile::tempdir().unwrap();
    let mut command = command(home.path());
    command
        .args(["doctor", "--json", "--timeout", "3"])
        .args(options)
        .arg(url);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    Visit { home, output, json }
}

fn dialect(name: &str) -> Dialect {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialects");
    Dialect::parse(&fs::read_to_string(dir.join(format!("{name}.toml"))).unwrap())
}

impl Visit {
    fn finding(&self, name: &str) -> String {
        let all = ["learnt", "tried"].map(|list| self.json[list].as_array().unwrap().clone());
        let all = all.concat();
        let found = all.iter().find(|fact| fact["name"] == name);
        found.unwrap_or_else(|| panic!("{name}: {}", self.json))["finding"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn way(&self, way: &str) -> bool {
        let ways = self.json["data_connections"].as_array().unwrap();
        let found = ways.iter().find(|found| found["way"] == way).unwrap();
        found["works"].as_bool().unwrap()
    }

    fn remedies(&self) -> Vec<&str> {
        let problems = self.json["problems"].as_array().unwrap().iter();
        problems
            .map(|problem| problem["remedy"].as_str().unwrap())
            .collect()
    }
}

// SEMANTICS: S-doctor
#[test]
fn it_finds_what_each_dialect_can_do_and_leaves_nothing_behind() {
    for (name, renaming, epsv) in [
        ("filezilla", "works, also over a file", true),
        ("iis", "not over a file; the old one is moved aside", true),
        (
            "swiftp",
            "not over a file, though the server says so; the old one is moved aside",
            false,
        ),
    ] {
        let server = Simulated::start(dialect(name));
        server.tree().put("/file", b"content");
        let visit = visit(&server.url(), &[]);
        assert_eq!(
            visit.output.status.code(),
            Some(0),
            "{name}: {:?}",
            visit.output
        );
        assert_eq!(visit.json["works"], true);
        assert_eq!(visit.json["entries"], 1);
        assert_eq!(visit.finding("renaming"), renaming, "{name}");
        assert_eq!(visit.finding("reading at an offset"), "works", "{name}");
        assert_eq!(visit.finding("appending"), "APPE of what is new", "{name}");
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
        let left: Vec<_> = server
            .tree()
            .all()
            .map(|(path, _)| path.to_owned())
            .collect();
        assert_eq!(left, ["/file"], "{name}");
        let kept = visit.home.path().join(".local/state/ftpfs/servers");
        assert_eq!(names_in(&kept).len(), 1, "{name}");
    }
}

// SEMANTICS: S-doctor
#[test]
fn it_names_what_is_wrong_and_the_option_that_mends_it() {
    let knows = |words: &str| {
        let words: Vec<_> = words.split(' ').map(|word| format!("\"{word}\"")).collect();
        Simulated::start(Dialect::parse(&format!("knows = [{}]", words.join(", "))))
    };
    let server = knows("USER PASS TYPE CWD EPSV LIST RETR SIZE MDTM");
    server.tree().put("/file", &vec![7; 100_000]);
    let read_only = visit(&server.url(), &[]);
    assert_eq!(read_only.output.status.code(), Some(0));
    assert_eq!(read_only.remedies(), ["--tls", "-o ro"]);
    assert!(
        read_only.json["download_bytes_per_second"]
            .as_u64()
            .unwrap()
            > 0
    );
    server.take_heard();
    let quiet = visit(&server.url(), &["-o", "ro"]);
    assert_eq!(quiet.remedies(), ["--tls"]);
    let heard = server.take_heard();
    assert!(
        !heard.iter().any(|line| line.starts_with("STOR")),
        "{heard:?}"
    );

    let deaf = knows("USER PASS TYPE CWD LIST RETR SIZE MDTM");
    let visited = visit(&deaf.url(), &[]);
    assert_eq!(visited.output.status.code(), Some(1));
    assert_eq!((visited.way("EPSV"), visited.way("PASV")), (false, false));

    let foreign = Simulated::start(dialect("vms"));
    let visited = visit(&foreign.url(), &[]);
    assert_eq!(visited.output.status.code(), Some(1));
    assert!(
        visited.json["problems"][0]["what"]
            .as_str()
            .unwrap()
            .contains("VMS")
    );
}

// SEMANTICS: S-doctor
#[test]
fn it_speaks_to_people_and_to_real_servers() {
    let Some(server) = Server::start(Kind::Vsftpd) else {
        return;
    };
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
        "round trip",
        "EPSV         works",
        "PASV         works",
        "active       works",
        "MDTM with a time",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("sesame"), "{text}");
    assert_eq!(names_in(server.root()), Vec::<Vec<u8>>::new());
    let output = command(home.path()).arg("doctor").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("ftpfs doctor URL"));
}
