//! The same work over TLS, on servers that take nothing without it and, vsftpd and `ProFTPD`, no data connection that does not
//! resume the control connection's session.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    process::Output,
};

use crate::{
    common::{
        Kind, Security, Server, Site, Target, can_mount,
        mount::{command, is_mounted},
        on_protected, pattern,
    },
    files, metadata, mmap, names, namespace, programs,
};

/// How many files go up and come down in a row.
const MANY: usize = 200;

/// How many pieces of a large file are read.
const READS: usize = 24;

/// Makes one module for each server, with every body in it.
macro_rules! protected {
    ($($server:ident: $kind:ident, $security:ident, $options:expr);+ $(;)? => $bodies:tt) => {
        $( mod $server { protected!(@bodies $kind, $security, $options, $bodies); } )+
    };
    (@bodies $kind:ident, $security:ident, $options:expr, { $($room:ident::$body:ident),+ $(,)? }) => { $(
        #[test]
        fn $body() {
            super::on_protected(super::Kind::$kind, super::Security::$security, $options, super::$room::$body);
        }
    )+ };
}

protected! {
    vsftpd: Vsftpd, Tls, &["connections=4"];
    proftpd: Proftpd, Tls, &["connections=4"];
    pure_ftpd: PureFtpd, Tls, &["connections=4"];
    pyftpdlib: Pyftpdlib, Tls, &["connections=4"];
    => {
        files::copy_in_and_out,
        files::rewrite,
        files::append,
        files::patch_in_place,
        files::read_anywhere,
        metadata::copy_with_attributes,
        mmap::write_mapped,
        names::as_files,
        namespace::rename_over_a_file,
        programs::copy_trees,
        programs::rsync,
        programs::sqlite,
    }
}

protected! {
    vsftpd_from_the_first_byte_on: Vsftpd, Implicit, &["connections=2"];
    vsftpd_that_connects_to_us: Vsftpd, Tls, &["active", "connections=2"];
    proftpd_without_caches: Proftpd, Tls, &["dir-ttl=0", "cache-size=0", "connections=1"];
    => {
        files::copy_in_and_out,
        files::read_anywhere,
        programs::copy_trees,
    }
}

/// Each transfer over a data connection of its own, none of which may fail, be repeated, or do more than resume.
fn many_transfers(kind: Kind) {
    let options = [
        "connections=2",
        "cache-size=0",
        "dir-ttl=600",
        "verbose",
        "tls-require-resumption",
    ];
    let Some(site) = Site::start_with(kind, Security::Tls, &options) else {
        return;
    };
    let target: Target = site.target();
    for index in 0..MANY {
        let content = pattern(index as u64, index * 100);
        fs::write(target.path(format!("f{index}")), &content).unwrap();
    }
    for index in 0..MANY {
        let content = fs::read(target.path(format!("f{index}"))).unwrap();
        assert!(content == pattern(index as u64, index * 100), "f{index}");
        assert!(content == target.on_disk(format!("f{index}")));
    }
    // Those without content are not read.
    assert!(site.mount.logged(", resumed") >= 2 * MANY - 1);
    assert_eq!(site.mount.logged("data connection: TLSv1_2, full"), 0);
    for bad in ["once more", "thrown away", "going on"] {
        assert_eq!(site.mount.logged(bad), 0, "{bad}");
    }
}

// SEMANTICS: S-tls-resumption
#[test]
fn many_transfers_on_vsftpd() {
    many_transfers(Kind::Vsftpd);
}

#[test]
fn many_transfers_on_proftpd() {
    many_transfers(Kind::Proftpd);
}

#[test]
fn many_transfers_on_pure_ftpd() {
    many_transfers(Kind::PureFtpd);
}

#[test]
fn many_transfers_on_pyftpdlib() {
    many_transfers(Kind::Pyftpdlib);
}

/// Reads here and there, each of which ends a download long before its end; no session may be lost over it.
fn reads_here_and_there(kind: Kind) {
    let options = ["connections=2", "cache-size=0", "dir-ttl=600", "verbose"];
    let Some(site) = Site::start_with(kind, Security::Tls, &options) else {
        return;
    };
    let target = site.target();
    let content = pattern(1, 16 << 20);
    target.put_on_disk("large", &content);
    let file = File::open(target.path("large")).unwrap();
    for index in 0..READS {
        // Far apart, and never where the one before ended.
        let at = (index * 7 % READS) * (content.len() / READS);
        let mut piece = [0; 4096];
        file.read_exact_at(&mut piece, at as u64).unwrap();
        assert!(piece == content[at..at + piece.len()], "{at}");
    }
    drop(file);
    assert_eq!(site.mount.logged("ending a transfer early:"), 0);
}

#[test]
fn reads_here_and_there_on_vsftpd() {
    reads_here_and_there(Kind::Vsftpd);
}

#[test]
fn reads_here_and_there_on_proftpd() {
    reads_here_and_there(Kind::Proftpd);
}

#[test]
fn reads_here_and_there_on_pure_ftpd() {
    reads_here_and_there(Kind::PureFtpd);
}

#[test]
fn reads_here_and_there_on_pyftpdlib() {
    reads_here_and_there(Kind::Pyftpdlib);
}

/// A mount that must not come about; what it said.
#[track_caller]
fn refusal(server: &Server, options: &[&str]) -> Option<String> {
    if !can_mount() {
        return None;
    }
    let (home, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut command = command(home.path());
    command.args(options).arg(server.url()).arg(dir.path());
    let Output { status, stderr, .. } = command.output().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(!is_mounted(dir.path()));
    let message = String::from_utf8(stderr).unwrap();
    // Behind the warning that nothing is protected, where it came to that.
    let is_meant = |line: &&str| !line.contains("in the clear; whoever");
    let lines: Vec<&str> = message.lines().filter(is_meant).collect();
    assert_eq!(lines.len(), 1, "{message}");
    Some(lines[0].to_owned())
}

/// Also where TLS is only preferred, which is the default.
#[test]
fn a_certificate_that_nobody_vouches_for_ends_the_mount() {
    let Some(server) = Server::start_with(Kind::Vsftpd, Security::Tls) else {
        return;
    };
    let Some(message) = refusal(&server, &[]) else {
        return;
    };
    for remedy in ["--ca-file", "--pin", "--tls off"] {
        assert!(message.contains(remedy), "{message}");
    }
}

#[test]
fn a_server_that_demands_tls_says_which_option_is_missing() {
    for kind in [Kind::Vsftpd, Kind::Proftpd, Kind::PureFtpd, Kind::Pyftpdlib] {
        let Some(server) = Server::start_with(kind, Security::Tls) else {
            return;
        };
        let Some(message) = refusal(&server, &["--tls", "off"]) else {
            return;
        };
        assert!(message.contains("--tls require"), "{kind:?}: {message}");
    }
}
