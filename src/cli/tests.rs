//! Tests of the command line as a whole: arguments in, settings or one line out.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::CommandFactory;

use super::{arguments::Opts, request::DoctorRequest, *};
use crate::config::{
    Access, BaseDir, CacheConfig, Config, LISTING_BYTES_MAX, LogConfig, MountFlag, OnConflict,
    Password, TlsMode,
};

fn surroundings() -> Surroundings {
    Surroundings {
        certificates: Vec::new(),
        uid: 1000,
        gid: 100,
        password: None,
        log_filter: None,
        netrc: None,
        home: Some(PathBuf::from("/home/u")),
        cache_home: None,
        state_home: None,
        ask: None,
        confirm: None,
    }
}

fn request(args: &[&str]) -> Result<Request, Stop> {
    let args = std::iter::once("ftpfs")
        .chain(args.iter().copied())
        .map(OsString::from);
    Request::parse(args)
}

fn parse(args: &[&str]) -> Result<MountRequest, Stop> {
    match request(args)? {
        Request::Mount(request) => Ok(request),
        Request::Doctor(request) => panic!("{args:?}: {request:?}"),
    }
}

fn options(args: &[&str]) -> Opts {
    parse(args).unwrap().opts
}

fn config(args: &[&str]) -> Config {
    let args = [&["ftp://u:p@h/d", "/mnt"], args].concat();
    parse(&args).unwrap().to_config(&surroundings()).unwrap()
}

fn refusal(args: &[&str]) -> String {
    match parse(args) {
        Err(Stop::Usage(error)) => error.to_string(),
        other => panic!("{args:?}: {other:?}"),
    }
}

#[test]
fn the_defaults_are_those_that_the_manual_names() {
    let config = config(&[]);
    assert_eq!(config.ftp.timeout, Duration::from_secs(30));
    assert_eq!(config.ftp.min_rate, 100);
    assert_eq!(config.ftp.connections_max, 8);
    assert_eq!(
        (config.ftp.user.as_str(), config.ftp.password.expose()),
        ("u", "p")
    );
    assert_eq!(config.ftp.base, BaseDir::Login(b"d".to_vec()));
    assert_eq!(config.cache.dir_ttl, CacheConfig::default().dir_ttl);
    assert_eq!(config.cache.bytes_max, CacheConfig::default().bytes_max);
    assert_eq!((config.fs.uid, config.fs.gid), (1000, 100));
    assert_eq!((config.fs.file_mask, config.fs.dir_mask), (0, 0));
    assert_eq!(config.fs.spool_memory_bytes_max, 8 << 20);
    assert_eq!(config.fs.spool_memory_total_max, 64 << 20);
    assert_eq!(config.ftp.listing_bytes_max, LISTING_BYTES_MAX);
    assert_eq!(config.fs.file_bytes_max, 1 << 40);
    assert_eq!(
        config.fs.spool_dir,
        PathBuf::from("/home/u/.cache/ftpfs/spool")
    );
    assert_eq!(config.fs.drain_timeout, Duration::from_mins(1));
    assert_eq!(config.fs.on_conflict, OnConflict::KeepBoth);
    assert!(!config.fs.is_read_only && !config.mount.is_foreground);
    assert!(!config.mount.default_permissions);
    assert_eq!(config.mount.source, "ftp://u@h/d");
    let log = options(&["ftp://h/", "/mnt"]).to_log_config(&surroundings());
    assert_eq!(log, LogConfig::default());
}

#[test]
fn the_cache_directory_follows_xdg_and_works_without_a_home() {
    let mut around = surroundings();
    around.cache_home = Some(PathBuf::from("/xdg"));
    assert_eq!(around.cache_dir(), PathBuf::from("/xdg/ftpfs"));
    around.cache_home = None;
    around.home = None;
    assert_eq!(around.cache_dir(), PathBuf::from("/var/cache/ftpfs"));
}

#[test]
fn the_disk_cache_is_off_by_default_and_is_for_one_login_and_directory() {
    let disk = |args: &[&str]| {
        let opts = parse(args).unwrap();
        opts.to_config(&surroundings()).unwrap().cache.disk
    };
    assert!(disk(&["ftp://u:p@h/d", "/mnt"]).is_none());
    let on = |url: &str| {
        let disk = disk(&[url, "/mnt", "--cache-disk-size=2G", "--cache-dir=/c"]).unwrap();
        assert_eq!(disk.bytes_max, 2 << 30);
        assert_eq!(disk.dir, PathBuf::from("/c/blocks"));
        disk.server
    };
    assert_eq!(on("ftp://u:p@H/d"), "u@h:21~/d");
    let others = ["u:p@h//d", "u:p@h/D", "u:p@h:22/d", "v:p@h/d", "u:p@g/d"];
    for other in others {
        assert_ne!(on(&format!("ftp://{other}")), "u@h:21~/d");
    }
}

fn seen_network(opts: &Opts) -> String {
    let outward = (opts.proxy.is_some(), opts.bind_address);
    let inward = (opts.active, opts.active_ports.clone(), opts.active_address);
    format!("{:?}", (outward, inward, opts.trust_pasv_address))
}

#[test]
fn active_mode_is_asked_for_by_name_and_not_with_a_proxy() {
    let all = ["ftp://h/", "/mnt", "--active", "--active-ports=7-9"];
    let network = options(&all).to_network().unwrap();
    assert_eq!(network.active.unwrap().ports, Some(7..=9));
    assert!(network.proxy.is_none() && !network.trusts_pasv_address);
    for (further, named) in [
        (&["--active", "--proxy=http://h:1"][..], "--proxy"),
        (&["--active-ports=7"], "need --active"),
        (&["--active-address=::1"], "need --active"),
    ] {
        let args = [&["ftp://h/", "/mnt"], further].concat();
        let error = options(&args).to_network().unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn what_is_learnt_of_servers_is_kept_in_the_state_directory_or_nowhere() {
    let kept = |args: &[&str]| config(args).ftp.profile_dir;
    let dir = PathBuf::from("/home/u/.local/state/ftpfs/servers");
    assert_eq!(kept(&[]), Some(dir));
    assert_eq!(kept(&["--no-profile"]), None);
    assert_eq!(
        config(&["--no-profile"]).mount.presence_dir,
        PathBuf::from("/home/u/.local/state/ftpfs/draining/u@h:21")
    );
}

#[test]
fn what_becomes_of_a_conflict_is_one_of_three_words() {
    let chosen = |word: &str| config(&["-o", &format!("conflict={word}")]).fs.on_conflict;
    assert_eq!(chosen("keep-both"), OnConflict::KeepBoth);
    assert_eq!(chosen("fail"), OnConflict::Fail);
    assert_eq!(chosen("ours"), OnConflict::Ours);
    let refusal = refusal(&["ftp://h/", "/mnt", "--conflict=theirs"]);
    assert!(refusal.contains("keep-both, fail or ours"), "{refusal}");
}

#[test]
fn what_is_owed_to_a_server_is_written_down_by_user_server_and_directory() {
    let dir = |args: &[&str]| config(args).fs.debts_dir.unwrap();
    let first = dir(&[]);
    let parent = PathBuf::from("/home/u/.local/state/ftpfs");
    assert_eq!(first.parent(), Some(&*parent));
    assert_eq!(first, dir(&["--no-profile", "--dir-ttl=1"]));
    assert_ne!(first, dir(&["--charset=gbk"]), "a path means another file");
}

#[test]
fn every_long_option_is_also_a_mount_option() {
    for (name, needs_value) in Opts::long_names() {
        let value = match name.as_str() {
            "password-file" | "cache-dir" | "log-file" => "/dev/null",
            "charset" => "gbk",
            "proxy" => "http://h:1",
            "bind-address" | "active-address" => "::1",
            "ca-file" | "client-cert" | "client-key" => "/dev/null",
            "pin" => "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "tls" => "off",
            "conflict" => "ours",
            _ => "3",
        };
        let (item, long) = if needs_value {
            (format!("{name}={value}"), format!("--{name}={value}"))
        } else {
            (name.clone(), format!("--{name}"))
        };
        let by_item = options(&["ftp://h/", "/mnt", "-o", &item.replace('-', "_")]);
        let by_long = options(&["ftp://h/", "/mnt", &long]);
        let seen = |opts: &Opts| {
            let times = (
                (opts.timeout, opts.min_rate),
                opts.dir_ttl,
                opts.drain_timeout,
                opts.conflict,
            );
            let sizes = (
                opts.connections,
                opts.streams,
                opts.cache_size,
                opts.cache_disk_size,
                (opts.spool_memory, opts.spool_memory_total),
                (opts.max_file_size, opts.listing_memory),
                opts.verbose,
            );
            let files = (
                opts.password_file.clone(),
                opts.cache_dir.clone(),
                opts.log_file.clone(),
            );
            let tls = format!("{:?}", opts.tls);
            (
                times,
                sizes,
                files,
                opts.charset,
                seen_network(opts),
                (opts.foreground, opts.no_profile, opts.verify, tls),
                opts.no_sandbox,
            )
        };
        assert_eq!(seen(&by_item), seen(&by_long), "{name}");
        assert_ne!(
            seen(&by_item),
            seen(&options(&["ftp://h/", "/mnt"])),
            "{name}"
        );
    }
}

#[test]
fn mount_helpers_may_put_options_last_and_the_command_line_wins_over_fstab() {
    let args = [
        "-o",
        "ro,dir-ttl=5,allow_other",
        "-n",
        "--dir-ttl",
        "0.5",
        "-vv",
    ];
    let config = config(&args);
    assert_eq!(config.cache.dir_ttl, Duration::from_millis(500));
    assert!(config.fs.is_read_only && config.mount.default_permissions);
    assert_eq!(config.mount.access, Access::Everyone);
    let opts = options(&[&["ftp://h/", "/mnt"], &args[..]].concat());
    assert_eq!(opts.to_log_config(&surroundings()).verbosity, 2);
}

#[test]
fn a_dry_run_of_mount_does_nothing() {
    let args = ["/sbin/mount.ftpfs", "ftp://h/", "/mnt", "-f", "-o", "rw"].map(OsString::from);
    assert_eq!(
        Request::parse(args).unwrap_err(),
        Stop::Print(String::new())
    );
}

/// What the doctor is asked, for the URL that is given.
#[track_caller]
fn doctor(args: &[&str]) -> DoctorRequest {
    match request(args) {
        Ok(Request::Doctor(request)) => request,
        other => panic!("{args:?}: {other:?}"),
    }
}

#[test]
fn the_doctor_is_the_first_word_that_is_no_option_and_no_value_of_one() {
    let url = "ftp://u:p@h/";
    for args in [
        &["doctor", url][..],
        &["doctor", "--password-file", "doctor", url],
        &["doctor", url, "--password-file=doctor"],
        &["--password-file", "doctor", "doctor", url],
        &["-v", "doctor", url],
        &["-vo", "ro", "doctor", url],
        &["--tls", "off", "doctor", url],
        &["--json", "doctor", url],
        &["doctor", "--", url],
        &[
            "-o",
            "log-file=doctor",
            "doctor",
            "-o",
            "cache_dir=doctor",
            url,
        ],
    ] {
        assert_eq!(doctor(args).url, url, "{args:?}");
    }
    // Neither a mountpoint of that name nor the value of an option.
    for args in [
        &[url, "doctor"][..],
        &["-f", url, "doctor"],
        &[url, "-o", "ro", "doctor"],
        &["-o", "ro", url, "-v", "doctor", "-o", "allow_other"],
        &[url, "doctor", "--cache-dir", "doctor"],
    ] {
        assert_eq!(parse(args).unwrap().mountpoint, PathBuf::from("doctor"));
    }
    for path in ["./doctor", "doctor/"] {
        assert_eq!(parse(&[url, path]).unwrap().mountpoint, PathBuf::from(path));
    }
    assert_eq!(doctor(&["doctor", "doctor"]).url, "doctor");
    assert_eq!(parse(&["doctor:", "doctor"]).unwrap().url, "doctor:");
    assert!(refusal(&["--tls", "doctor", url]).contains("--tls"));
    // mount(8) asks for no examination, whatever the source is called.
    let helped = ["/sbin/mount.ftpfs", "doctor", "/mnt", "-o", "rw"].map(OsString::from);
    assert!(matches!(Request::parse(helped), Ok(Request::Mount(_))));
}

#[test]
fn the_doctor_takes_the_options_of_a_mount_on_either_side_and_by_lists() {
    let url = "ftp://u:p@h/";
    let args = [
        "-v",
        "-o",
        "ro,timeout=7",
        "--connections=3",
        "doctor",
        "--json",
        "-v",
        "-o",
        "dir_ttl=5,allow_other,tls=off",
        url,
        "--connections=2",
    ];
    let request = doctor(&args);
    assert!(request.is_json() && request.is_read_only());
    assert_eq!(request.opts.to_log_config(&surroundings()).verbosity, 2);
    let config = request.to_config(&surroundings()).unwrap();
    assert_eq!(config.timeout, Duration::from_secs(7));
    assert_eq!(config.connections_max, 2);
    assert_eq!(config.tls.mode, TlsMode::Off);
    let plain = doctor(&["doctor", url]);
    assert!(!plain.is_json() && !plain.is_read_only());
    for name in ["--dir-ttl=3", "--foreground", "--drain-timeout=3"] {
        doctor(&["doctor", name, url]);
    }
    assert!(!format!("{:?}", doctor(&["doctor", "ftp://u:secret@h/"])).contains("secret"));
}

#[test]
fn the_doctor_has_a_help_and_messages_of_its_own() {
    let Err(Stop::Print(help)) = request(&["doctor", "--help"]) else {
        panic!("no help")
    };
    for part in [
        "Usage: ftpfs doctor [OPTIONS] <URL>\n",
        "Connection:",
        "TLS:",
        "--json",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
    for unlisted in ["MOUNTPOINT", "Caches:", "--foreground", "--dir-ttl"] {
        assert!(!help.contains(unlisted), "{unlisted}: {help}");
    }
    let version = Stop::Print(format!("ftpfs {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(request(&["doctor", "--version"]).unwrap_err(), version);
    let refused = |args: &[&str]| match request(args) {
        Err(Stop::Usage(error)) => error.to_string(),
        other => panic!("{args:?}: {other:?}"),
    };
    assert_eq!(
        refused(&["doctor"]),
        "the URL is missing; write: ftpfs doctor URL"
    );
    assert_eq!(
        refused(&["doctor", "ftp://h/", "/mnt"]),
        "unexpected argument '/mnt' found; see 'ftpfs doctor --help'"
    );
    assert_eq!(
        refused(&["doctor", "-o", "dir-tll=3", "ftp://h/"]),
        "unknown option 'dir-tll'; did you mean 'dir-ttl'?"
    );
    assert!(refused(&["--json", "ftp://h/", "/mnt"]).contains("'--json'"));
    for word in ["ftp://u:secret@h/", "ftp://u:se@secret@h/"] {
        let message = refused(&["doctor", "ftp://h/", word]);
        assert!(!message.contains("secret"), "{message}");
    }
}

#[test]
fn mistakes_are_told_in_one_line_with_the_remedy() {
    for (args, hints) in [
        (&["ftp://h/"][..], &["<MOUNTPOINT>", "--help"][..]),
        (&[], &["<URL>", "--help"]),
        (
            &["ftp://h/", "/m", "--dir-tll=3"],
            &["'--dir-tll'", "'--dir-ttl'"],
        ),
        (
            &["ftp://h/", "/m", "-o", "dir-tll=3"],
            &["unknown option 'dir-tll'; did you mean 'dir-ttl'?"],
        ),
        (
            &["ftp://h/", "/m", "--timeout", "soon"],
            &["--timeout", "'soon'", "seconds"],
        ),
        (
            &["ftp://h/", "/m", "-o", "timeout=soon"],
            &["--timeout", "'soon'", "seconds"],
        ),
        (
            &["ftp://h/", "/m", "--connections", "0"],
            &["--connections", "1..=128"],
        ),
        (
            &["ftp://h/", "/m", "--cache-size", "big"],
            &["--cache-size", "64M"],
        ),
        (&["ftp://h/", "/m", "/n"], &["'/n'"]),
    ] {
        let message = refusal(args);
        assert!(
            !message.contains('\n') && !message.starts_with("error"),
            "{message}"
        );
        for hint in hints {
            assert!(message.contains(hint), "{args:?}: {message}");
        }
    }
}

#[test]
fn a_password_in_a_misplaced_url_is_not_repeated() {
    for word in [
        "ftp://u:secret@h/",
        "ftp://u:se@secret@h/",
        "ftp://u:x@y/secret@h",
    ] {
        let message = refusal(&["/mnt", "x", word]);
        assert!(!message.contains("secret"), "{message}");
    }
    let opts = parse(&["ftp://u:secret@h/", "/mnt"]).unwrap();
    assert!(!format!("{opts:?}").contains("secret"));
    let config = opts.to_config(&surroundings()).unwrap();
    assert!(!format!("{config:?}").contains("secret"));
    assert_eq!(Password::new("secret".to_owned()).expose(), "secret");
}

// SEMANTICS: S-password
#[test]
fn no_debug_form_holds_the_password() {
    let url = "ftp://u:hunter2@h/dir";
    let opts = parse(&[url, "/mnt"]).unwrap();
    let found = Surroundings {
        password: Some(Password::new("hunter2".to_owned())),
        ..surroundings()
    };
    let config = opts.to_config(&found).unwrap();
    let target = Target::parse(url.as_bytes()).unwrap();
    assert_eq!(config.ftp.password.expose(), "hunter2");
    for shown in [
        format!("{opts:?}"),
        format!("{found:?}"),
        format!("{target:?}"),
        format!("{config:#?}"),
    ] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn help_fits_a_screen_and_names_the_groups() {
    let Err(Stop::Print(help)) = parse(&["--help"]) else {
        panic!("no help")
    };
    assert!(help.lines().count() <= 62, "{} lines", help.lines().count());
    for group in [
        "Connection:",
        "Caches:",
        "Mount:",
        "Messages:",
        "Usage: ftpfs",
    ] {
        assert!(help.contains(group), "{help}");
    }
    let Err(Stop::Print(version)) = parse(&["--version"]) else {
        panic!("no version")
    };
    assert_eq!(version, format!("ftpfs {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_manual_describes_every_option() {
    let manual = include_str!("../../docs/ftpfs.1");
    let items: Vec<&str> = manual
        .lines()
        .filter(|line| line.starts_with(".It "))
        .collect();
    let has_item = |word: &str| {
        items
            .iter()
            .any(|item| item.split(' ').any(|part| part == word))
    };
    let commands = [MountRequest::command(), DoctorRequest::command()];
    for argument in commands
        .iter()
        .flat_map(clap::Command::get_arguments)
        .filter(|argument| !argument.is_hide_set())
    {
        // mdoc's Fl puts the first dash there.
        if let Some(long) = argument.get_long() {
            assert!(has_item(&format!("-{long}")), "--{long}");
        }
        if let Some(short) = argument.get_short() {
            assert!(has_item(&short.to_string()), "-{short}");
        }
    }
    let own = mount_options::OWN_NAMES.iter().copied();
    for name in own
        .chain(MountFlag::names())
        .chain(["FTPFS_LOG", "FTPFS_PASSWORD", "NETRC"])
    {
        assert!(has_item(name), "{name}");
    }
}

#[test]
fn tls_is_preferred_unless_the_url_or_an_option_says_more() {
    assert_eq!(TlsMode::default(), TlsMode::Prefer);
    let pin = "00".repeat(32);
    let mode = |url: &str, args: &[&str]| {
        let opts = parse(&[&[url, "/mnt"], args].concat()).map_err(|stop| match stop {
            Stop::Usage(error) => error.to_string(),
            Stop::Print(text) => text,
        })?;
        let config = opts.to_config(&surroundings());
        config
            .map(|config| config.ftp.tls.mode)
            .map_err(|error| error.to_string())
    };
    let (ftp, ftpes, ftps) = ("ftp://u:p@h/", "ftpes://u:p@h/", "ftps://u:p@h/");
    for (url, args, expected) in [
        (ftp, &[][..], TlsMode::Prefer),
        (ftp, &["--tls", "off"], TlsMode::Off),
        (ftp, &["-o", "tls=require"], TlsMode::Require),
        (ftp, &["--pin", &pin], TlsMode::Require),
        (ftp, &["--ca-file", "ca.pem"], TlsMode::Require),
        (ftp, &["--tls-insecure"], TlsMode::Require),
        (ftp, &["--tls-require-resumption"], TlsMode::Require),
        (
            ftp,
            &["-o", "tls_insecure", "--tls=prefer"],
            TlsMode::Prefer,
        ),
        (ftpes, &[], TlsMode::Require),
        (ftps, &[], TlsMode::Implicit),
        (ftps, &["--tls=require"], TlsMode::Implicit),
    ] {
        assert_eq!(mode(url, args), Ok(expected), "{url} {args:?}");
    }
    for (url, args, hint) in [
        (ftps, &["--tls", "off"][..], "ftp://"),
        (ftpes, &["--tls", "prefer"], "ftp://"),
        (ftp, &["--tls", "off", "--pin", &pin], "--pin"),
        (
            ftp,
            &["--tls=off", "--tls-require-resumption"],
            "resumption",
        ),
        (ftp, &["--tls-insecure", "--pin", &pin], "--pin"),
        (ftp, &["--client-cert", "c.pem"], "--client-key"),
        (ftp, &["--pin", "abc"], "SHA-256"),
        (ftp, &["--tls", "maybe"], "require"),
    ] {
        let message = mode(url, args).unwrap_err();
        assert!(message.contains(hint), "{args:?}: {message}");
    }
}

#[test]
fn what_tls_is_told_reaches_it() {
    let pins = ["11".repeat(32), "22".repeat(32)];
    let config = config(&[
        "--pin",
        &pins[0],
        "-o",
        &format!("pin={}", pins[1]),
        "--client-cert=/c",
        "--client-key=/k",
    ]);
    let tls = config.ftp.tls;
    let mut first: Vec<u8> = tls.pins.iter().map(|pin| pin.0[0]).collect();
    first.sort_unstable();
    assert_eq!(first, [0x11, 0x22]);
    let identity = tls.identity.unwrap();
    assert_eq!(
        (identity.certificate, identity.key),
        (PathBuf::from("/c"), PathBuf::from("/k"))
    );
    assert_eq!(
        tls.known_hosts,
        Some(PathBuf::from("/home/u/.local/state/ftpfs/tls-hosts"))
    );
    assert!(!tls.is_insecure && tls.ca_file.is_none());
}
