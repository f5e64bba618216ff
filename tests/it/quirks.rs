//! Single quirks of servers, each played by a simulated server, through the seam and without a mount.

use std::{
    fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ftpfs::{
    cli::{Request, Surroundings},
    ftp::FtpRemote,
    remote::{
        Attributes, EntryKind, Evidence, Permit, Remote, RemoteEntry, RemoteErrorKind, RemotePath,
        UploadMode, Want,
    },
};

use crate::common::{
    pattern,
    simulated::{Dialect, Simulated},
};

/// A server as the RFCs have it but for what `text` says, with a few files.
fn server(text: &str) -> Simulated {
    let server = Simulated::start(Dialect::parse(text));
    let mut tree = server.tree();
    tree.put("/file", &pattern(1, 100_000));
    tree.make_dir("/dir");
    tree.put("/dir/inner", b"inner");
    drop(tree);
    server
}

/// The permit for a name that is free.
fn free(path: &RemotePath) -> Permit {
    let seen = Evidence::listed(path, None, Instant::now());
    seen.permit(Want::Absent).unwrap()
}

/// The permit to remove a file.
fn file(path: &RemotePath) -> Permit {
    let entry = RemoteEntry::new(path.name().unwrap(), EntryKind::File);
    let seen = Evidence::listed(path, Some(Arc::new(entry)), Instant::now());
    seen.permit(Want::AnyFile).unwrap()
}

fn connect(server: &Simulated) -> Arc<FtpRemote> {
    connect_with(server, None)
}

/// Connects, and remembers below a directory what it learns.
fn connect_with(server: &Simulated, state: Option<&Path>) -> Arc<FtpRemote> {
    let url = server.url();
    let args = ["ftpfs", "--timeout", "5", &url, "/mnt"].map(Into::into);
    let Ok(Request::Mount(request)) = Request::parse(args) else {
        panic!("{url}")
    };
    let mut config = request.to_config(&Surroundings::current()).unwrap();
    config.ftp.profile_dir = state.map(Path::to_owned);
    FtpRemote::connect(&config.ftp).unwrap()
}

fn path(text: &str) -> RemotePath {
    let names = text.split('/').filter(|name| !name.is_empty());
    names.fold(RemotePath::root(), |dir, name| {
        dir.join(name.as_bytes()).unwrap()
    })
}

fn read(remote: &FtpRemote, name: &str, offset: u64, len: Option<u64>) -> Vec<u8> {
    let mut download = remote.open_download(&path(name), offset, len).unwrap();
    let mut content = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match download.read(&mut buffer).unwrap() {
            0 => return content,
            count => content.extend_from_slice(&buffer[..count]),
        }
    }
}

fn names(remote: &FtpRemote, dir: &str) -> Vec<String> {
    let listing = remote.list(&path(dir)).unwrap();
    let entries = listing.entries.iter();
    entries
        .map(|entry| String::from_utf8_lossy(entry.name).into_owned())
        .collect()
}

/// A little of everything; leaves the server as it was.
fn work(remote: &FtpRemote) {
    assert_eq!(names(remote, "/"), ["dir", "file"]);
    assert_eq!(names(remote, "/dir"), ["inner"]);
    assert!(read(remote, "/file", 0, None) == pattern(1, 100_000));
    assert!(read(remote, "/file", 50_000, Some(10)) == pattern(1, 100_000)[50_000..50_010]);
    remote.make_dir(&path("/new")).unwrap();
    remote
        .put(free(&path("/new/small")), b"small", &Attributes::default())
        .unwrap();
    let mut upload = remote
        .open_upload(free(&path("/new/large")), UploadMode::Whole)
        .unwrap();
    upload.write_all(&pattern(2, 300_000)).unwrap();
    upload.finish().unwrap();
    let settled = remote.report(&path("/new/large")).unwrap();
    assert_eq!(settled.size.unwrap(), Some(300_000));
    remote
        .rename(&path("/new/small"), free(&path("/new/renamed")))
        .unwrap();
    assert_eq!(remote.stat(&path("/new/small")).unwrap(), None);
    let entry = remote.stat(&path("/new/renamed")).unwrap().unwrap();
    assert_eq!((entry.kind, entry.size), (EntryKind::File, Some(5)));
    for name in ["/new/renamed", "/new/large"] {
        remote.remove_file(file(&path(name))).unwrap();
    }
    let empty = Evidence::listed_empty(&path("/new"), Instant::now());
    let permit = empty.permit(Want::EmptyDir).unwrap();
    remote.remove_dir(permit).unwrap();
}

// SEMANTICS: S-dialects
#[test]
fn replies_count_by_their_first_digit() {
    for code in ["200", "226", "250", "257"] {
        let says: String = ["CWD", "DELE", "RMD", "MKD", "RNTO", "TYPE", "end"]
            .map(|verb| format!("{verb} = \"{code} Fine.\"\n"))
            .concat();
        work(&connect(&server(&format!("[says]\n{says}"))));
    }
    work(&connect(&server(
        "[says]\nbegin = \"125 Open already.\"\nUSER = \"332 Hm?\"",
    )));
}

// SEMANTICS: S-dialects
#[test]
fn replies_may_have_many_lines() {
    let lines = |code: &str| {
        format!(
            "\"\"\"\n{code}-First\n100 users online\n {code} not the end\n{code}-still not\n\n{code} Last\n\"\"\"\n"
        )
    };
    let says: String = [
        ("greeting", "220"),
        ("USER", "331"),
        ("PASS", "230"),
        ("TYPE", "200"),
        ("CWD", "250"),
        ("MKD", "257"),
        ("DELE", "250"),
        ("RNFR", "350"),
        ("REST", "350"),
        ("RNTO", "250"),
        ("begin", "150"),
        ("end", "226"),
    ]
    .map(|(key, code)| format!("{key} = {}", lines(code)))
    .concat();
    work(&connect(&server(&format!("[says]\n{says}"))));
}

// SEMANTICS: S-dialects
#[test]
fn replies_may_end_with_another_code() {
    let server = server(
        "[says]\n\"STOR begin\" = \"553-\\n553- Not here (precheck).\\n150 Opening.\"\nRMD = \"500-Hm.\\n250 Removed.\"\n",
    );
    let remote = connect(&server);
    for _ in 0..3 {
        work(&remote);
    }
}

// SEMANTICS: S-names
#[test]
fn what_a_server_says_to_utf8_does_not_matter() {
    for reply in [
        "202 Always on.",
        "504 What?",
        "501 No options.",
        "550 Never.",
    ] {
        let features = "\"\"\"\n211-Features\n UTF8\n211 End\n\"\"\"";
        let server = server(&format!("[says]\nFEAT = {features}\nOPTS = \"{reply}\"\n"));
        server.tree().put("/dir/grün", b"green");
        let remote = connect(&server);
        assert_eq!(names(&remote, "/dir"), ["grün", "inner"]);
        assert!(server.take_heard().contains(&"OPTS UTF8 ON".to_owned()));
        assert_eq!(read(&remote, "/dir/grün", 0, None), b"green");
    }
}

// SEMANTICS: S-dialects
#[test]
fn mlst_that_never_answers_is_given_up_and_the_server_is_not() {
    let server = server(
        "silent = [\"MLST\"]\n[says]\nFEAT = \"211-Features\\n MLST type*;size*;modify*;\\n211 End\"\n",
    );
    let remote = connect(&server);
    let entry = remote.stat(&path("/file")).unwrap().unwrap();
    assert_eq!(entry.size, Some(100_000));
    server.take_heard();
    work(&remote);
    let heard = server.take_heard().join(" ");
    assert!(heard.contains("MLSD") && !heard.contains("MLST"), "{heard}");
}

// SEMANTICS: S-dialects
#[test]
fn without_rest_a_file_is_read_from_its_beginning() {
    let server = server(
        "knows = [\"USER\", \"PASS\", \"QUIT\", \"TYPE\", \"PWD\", \"CWD\", \"EPSV\", \"LIST\", \"RETR\", \"STOR\", \"SIZE\", \"DELE\"]",
    );
    let remote = connect(&server);
    let content = pattern(1, 100_000);
    for offset in [99_000, 1, 70_000] {
        let at = usize::try_from(offset).unwrap();
        assert!(
            read(&remote, "/file", offset, None) == content[at..],
            "{offset}"
        );
        assert!(
            read(&remote, "/file", offset, Some(5)) == content[at..at + 5],
            "{offset}"
        );
    }
    assert!(read(&remote, "/file", 0, None) == content);
    assert_eq!(read(&remote, "/file", 200_000, None), b"");
    remote
        .put(free(&path("/file")), b"new", &Attributes::default())
        .unwrap();
    assert_eq!(read(&remote, "/file", 0, None), b"new");
    let heard = server.take_heard();
    let rests = heard.iter().filter(|line| line.starts_with("REST")).count();
    assert_eq!(rests, 1, "{heard:?}");
}

// SEMANTICS: S-dialects
#[test]
fn a_server_may_know_the_least_that_files_need() {
    let server = server(
        "knows = [\"USER\", \"PASS\", \"TYPE\", \"CWD\", \"PASV\", \"LIST\", \"RETR\", \"STOR\", \"DELE\", \"MKD\", \"RMD\"]",
    );
    server.tree().put("/dir/.dot", b"dot");
    let remote = connect(&server);
    assert_eq!(names(&remote, "/dir"), [".dot", "inner"]);
    remote
        .put(free(&path("/dir/new")), b"new", &Attributes::default())
        .unwrap();
    let settled = remote.report(&path("/dir/new")).unwrap();
    assert_eq!(settled.size.unwrap(), None);
    assert_eq!(read(&remote, "/dir/new", 1, None), b"ew");
    let error = remote
        .rename(&path("/dir/new"), free(&path("/x")))
        .unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::Unsupported);
    let error = remote
        .open_upload(free(&path("/dir/new")), UploadMode::Append)
        .unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::Unsupported);
    remote.remove_file(file(&path("/dir/new"))).unwrap();
}

// SEMANTICS: S-reconnect
#[test]
fn sessions_that_idle_out_are_replaced_and_nobody_sends_noop() {
    let server = server("[sessions]\nidle_milliseconds = 200\nidle_deaf = [\"NOOP\", \"CWD\"]\n");
    let remote = connect(&server);
    for _ in 0..3 {
        work(&remote);
        thread::sleep(Duration::from_millis(400));
    }
    assert!(server.sessions() > 2);
    assert!(!server.take_heard().contains(&"NOOP".to_owned()));
}

// SEMANTICS: S-reconnect
#[test]
fn a_421_in_the_middle_is_not_noticed() {
    let content = pattern(1, 100_000);
    // The first log-in takes six.
    for commands in 7..30 {
        let server = server(&format!("[sessions]\nends_after = {commands}\n"));
        let remote = connect(&server);
        for _ in 0..4 {
            assert_eq!(names(&remote, "/dir"), ["inner"]);
            assert!(read(&remote, "/file", 7, None) == content[7..]);
            assert!(remote.stat(&path("/file")).unwrap().is_some());
            // What has become of a new file is the caller's to look for before it is sent again.
            let put = || remote.put(free(&path("/dir/new")), b"new", &Attributes::default());
            put().or_else(|_| put()).unwrap();
            let remove = || remote.remove_file(file(&path("/dir/new")));
            remove().or_else(|_| remove()).unwrap();
        }
        assert!(server.sessions() > 1, "{commands}");
    }
}

// SEMANTICS: S-session-limit
#[test]
fn any_limit_of_sessions_is_kept_however_it_is_told() {
    for excess in ["greeting", "login", "login-closed", "closed", "refused"] {
        for most in 1..=3 {
            let server = server(&format!(
                "[sessions]\nmost = {most}\nexcess = \"{excess}\"\n"
            ));
            let remote = connect(&server);
            let content = pattern(1, 100_000);
            thread::scope(|scope| {
                for number in 0..6 {
                    let (remote, content) = (&remote, &content);
                    scope.spawn(move || {
                        let at = usize::try_from(number).unwrap();
                        assert!(read(remote, "/file", number, None) == content[at..]);
                        assert_eq!(names(remote, "/dir"), ["inner"]);
                        assert!(remote.stat(&path("/file")).unwrap().is_some());
                    });
                }
            });
            work(&remote);
        }
    }
}

// SEMANTICS: S-errno
#[test]
fn a_reply_without_a_code_costs_the_session_and_no_more() {
    let server = server(
        "knows = [\"USER\", \"PASS\", \"TYPE\", \"CWD\", \"EPSV\", \"LIST\", \"SIZE\", \"MDTM\", \"SITE CHMOD\", \"RETR\"]\n\
         [says]\n\"SITE CHMOD missing\" = \"Error: No such file or directory.\"\n",
    );
    let remote = connect(&server);
    let attributes = Attributes {
        mode: Some(0o600),
        ..Attributes::default()
    };
    let error = remote
        .settle(file(&path("/missing")), &attributes)
        .unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::Protocol);
    remote
        .settle(file(&path("/file")), &attributes)
        .unwrap()
        .mode
        .unwrap();
    assert_eq!(server.tree().get("/file").unwrap().mode, 0o600);
}

// SEMANTICS: S-profile
#[test]
fn what_a_mount_has_learnt_is_not_asked_again() {
    let text = "knows = [\"USER\", \"PASS\", \"TYPE\", \"CWD\", \"PASV\", \"LIST\", \"RETR\", \"STOR\", \"SIZE\", \"MDTM\"]";
    let state = tempfile::tempdir().unwrap();
    let server = server(text);
    let age = Duration::from_hours(48);
    server.tree().put_old("/dir/inner", b"inner", age);
    let asked =
        |verb: &str, heard: &[String]| heard.iter().filter(|line| line.starts_with(verb)).count();
    let visit = |state: Option<&Path>| {
        server.take_heard();
        let remote = connect_with(&server, state);
        assert_eq!(names(&remote, "/dir"), ["inner"]);
        remote.shutdown();
        server.take_heard()
    };
    let probes = ["EPSV", "LIST", "MDTM"];
    for (state, counts) in [
        (Some(state.path()), [1, 2, 1]),
        (Some(state.path()), [0, 1, 0]),
        (None, [1, 2, 1]),
    ] {
        let heard = visit(state);
        assert_eq!(probes.map(|verb| asked(verb, &heard)), counts, "{heard:?}");
    }
    let files: Vec<_> = fs::read_dir(state.path()).unwrap().flatten().collect();
    assert_eq!(files.len(), 1);
    fs::write(files[0].path(), "{\"version\": 1, \"learnt\"").unwrap();
    let heard = visit(Some(state.path()));
    assert_eq!(asked("LIST", &heard), 2, "a damaged file is not used");
    assert_eq!(
        asked("LIST", &visit(Some(state.path()))),
        1,
        "and is replaced"
    );
}

/// A server that offers PRET; `text` says whether it wants it.
fn offering_pret(text: &str) -> Simulated {
    let knows = "knows = [\"USER\", \"PASS\", \"FEAT\", \"TYPE\", \"PWD\", \"CWD\", \"PRET\", \"PASV\", \"LIST\", \"RETR\", \"STOR\", \
                 \"APPE\", \"REST\", \"SIZE\", \"MDTM\", \"DELE\", \"MKD\", \"RMD\", \"RNFR\", \"RNTO\"]";
    server(&format!(
        "{knows}\n{text}\n[says]\nFEAT = \"\"\"\n211-Features\n PRET\n211 End\n\"\"\"\n"
    ))
}

// SEMANTICS: S-pret
#[test]
fn a_server_that_wants_to_hear_of_transfers_first_does() {
    let server = offering_pret("wants_pret = true");
    let state = tempfile::tempdir().unwrap();
    let remote = connect_with(&server, Some(state.path()));
    work(&remote);
    let missing = remote.open_download(&path("/none"), 0, None).unwrap_err();
    assert_eq!(
        (missing.kind(), missing.command()),
        (RemoteErrorKind::Refused, "RETR")
    );
    let append = remote.open_upload(free(&path("/file")), UploadMode::Append);
    assert_eq!(append.unwrap_err().kind(), RemoteErrorKind::Unsupported);
    let sessions = server.sessions();
    work(&remote);
    assert_eq!(server.sessions(), sessions, "a session was thrown away");
    drop(remote);
    // The next mount knows.
    server.take_heard();
    work(&connect_with(&server, Some(state.path())));
    let heard = server.take_heard();
    let asked = |verb: &str| heard.iter().filter(|line| line.starts_with(verb)).count();
    assert_eq!(asked("PASV"), asked("PRET"), "{heard:?}");
    assert_eq!(asked("EPSV"), 0);
}

// SEMANTICS: S-pret
#[test]
fn one_that_only_offers_it_keeps_its_data_connections_ahead() {
    let server = offering_pret("");
    work(&connect(&server));
    let heard = server.take_heard();
    assert!(
        !heard.iter().any(|line| line.starts_with("PRET")),
        "{heard:?}"
    );
}
