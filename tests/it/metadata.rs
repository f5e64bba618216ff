//! Attributes: modes, times, sizes, owners, links, and what the filesystem says about itself.

use std::{
    fs::{self, File, FileTimes, OpenOptions},
    io::Write,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown, symlink},
        net::UnixListener,
        process::CommandExt,
    },
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use crate::common::{Kind, Target, errno, for_each_server, wait_for};

for_each_server!(&[];
    chmod,
    mode_survives_a_rewrite,
    touch,
    times_set_while_open,
    copy_with_attributes,
    time_of_a_write,
    size_while_writing,
    directory_times,
    owners,
    read_links,
    links_to_directories,
    make_links,
    statfs,
    extended_attributes,
    no_permission,
);

for_each_server!(&["dir-ttl=1"]; a_server_gives_no_rights);
for_each_server!(&["allow_root"]; others_see_nothing_from_the_kernels_caches);

/// A moment years ago, with seconds, at which no zone changes its clock.
const OLD: i64 = 1_422_887_423;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn mtime(path: &Path) -> i64 {
    fs::metadata(path).unwrap().mtime()
}

// SEMANTICS: S-chmod
pub(crate) fn chmod(t: &Target) {
    t.sh("echo x > f; chmod 600 f");
    assert_eq!((mode(&t.disk("f")), mode(&t.path("f"))), (0o600, 0o600));
    t.sh("chmod 754 f; mkdir d; chmod 700 d; test -x f; stat -c %a f d");
    assert_eq!((mode(&t.disk("f")), mode(&t.disk("d"))), (0o754, 0o700));
    assert_eq!(t.sh("stat -c %a f d"), "754\n700\n");
    t.sh("chmod -R u=rwX,go=rX d; chmod u+w,o-r f");
    assert_eq!((mode(&t.disk("d")), mode(&t.disk("f"))), (0o755, 0o750));
    assert_eq!(
        errno(fs::set_permissions(
            t.path("no"),
            PermissionsExt::from_mode(0o600)
        )),
        libc::ENOENT
    );
}

// SEMANTICS: S-attributes-of-uploads
fn mode_survives_a_rewrite(t: &Target) {
    t.sh("echo x > f; chmod 640 f; echo y > f; echo z >> f; sed -i s/y/yy/ f");
    assert_eq!((mode(&t.disk("f")), mode(&t.path("f"))), (0o640, 0o640));
    t.sh("umask 077; echo secret > s; install -m 755 s prog");
    assert_eq!(t.on_disk("prog"), b"secret\n");
    assert_eq!(mode(&t.disk("prog")), 0o755);
}

// SEMANTICS: S-utimens
pub(crate) fn touch(t: &Target) {
    t.sh(&format!("echo x > f; touch -d @{OLD} f"));
    assert_eq!((mtime(&t.disk("f")), mtime(&t.path("f"))), (OLD, OLD));
    t.sh("touch -d '2031-05-06 07:08:09' f; echo y > g; touch -r f g; test ! f -nt g -a ! f -ot g");
    assert_eq!(mtime(&t.disk("g")), 1_935_817_689);
    let before = SystemTime::now();
    t.sh("touch f");
    let touched = fs::metadata(t.disk("f")).unwrap().modified().unwrap();
    let off = touched
        .duration_since(before)
        .unwrap_or_else(|e| e.duration());
    assert!(
        off < Duration::from_secs(10),
        "touch sets the present moment, not {off:?} away"
    );
    // The access time alone: nothing that the server could keep, and no reason to fail.
    t.sh(&format!("touch -d @{OLD} f; touch -a f"));
    assert_eq!(mtime(&t.disk("f")), OLD);
}

// SEMANTICS: S-attributes-of-uploads
/// As `cp -p`, tar and rsync do it: the time is set through the handle, before the bytes are on the server.
fn times_set_while_open(t: &Target) {
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(OLD).unwrap());
    let mut file = File::create(t.path("f")).unwrap();
    file.write_all(b"content").unwrap();
    file.set_times(FileTimes::new().set_modified(old)).unwrap();
    file.set_permissions(PermissionsExt::from_mode(0o604))
        .unwrap();
    drop(file);
    assert_eq!((mtime(&t.disk("f")), mode(&t.disk("f"))), (OLD, 0o604));
    assert_eq!((mtime(&t.path("f")), mode(&t.path("f"))), (OLD, 0o604));
    // Written again afterwards: the old time must not come back.
    fs::write(t.path("f"), b"newer").unwrap();
    assert!(mtime(&t.disk("f")) > OLD && mtime(&t.path("f")) > OLD);
}

pub(crate) fn copy_with_attributes(t: &Target) {
    t.sh(&format!("echo content > $SCRATCH/f; chmod 641 $SCRATCH/f; touch -d @{OLD} $SCRATCH/f; cp -p $SCRATCH/f f"));
    assert_eq!((mtime(&t.disk("f")), mode(&t.disk("f"))), (OLD, 0o641));
    t.sh("cp -p f g; cp -p g $SCRATCH/back; test \"$(stat -c '%Y %a' $SCRATCH/back)\" = \"$(stat -c '%Y %a' $SCRATCH/f)\"");
    assert_eq!((mtime(&t.disk("g")), mode(&t.disk("g"))), (OLD, 0o641));
    t.sh("mv g h; mkdir d; mv h d/");
    assert_eq!((mtime(&t.disk("d/h")), mtime(&t.path("d/h"))), (OLD, OLD));
}

fn time_of_a_write(t: &Target) {
    t.sh(&format!("echo x > f; touch -d @{OLD} f"));
    t.sh("echo more >> f; test $(( $(date +%s) - $(stat -c %Y f) )) -lt 10");
    // What we show is what the server keeps, to the second, so that make and rsync are not misled.
    assert_eq!(mtime(&t.path("f")), mtime(&t.disk("f")));
}

// SEMANTICS: S-size-while-open
fn size_while_writing(t: &Target) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(t.path("f"))
        .unwrap();
    for i in 1..=20_u64 {
        file.write_all(&[b'x'; 1000]).unwrap();
        assert_eq!(fs::metadata(t.path("f")).unwrap().len(), i * 1000);
    }
    drop(file);
    assert_eq!(t.sh("stat -c %s f; du -b f | cut -f1"), "20000\n20000\n");
    assert!(
        fs::metadata(t.path("f")).unwrap().blocks() > 0,
        "du counts blocks"
    );
}

// SEMANTICS: S-directory-times, S-tenet-refused
fn directory_times(t: &Target) {
    t.sh("mkdir d");
    let set = t.try_sh(&format!("touch -d @{OLD} d")).status.success();
    if t.kind().sets_directory_times() {
        assert!(set);
        assert_eq!((mtime(&t.disk("d")), mtime(&t.path("d"))), (OLD, OLD));
    }
    // vsftpd and pyftpdlib refuse; `cp -a`, tar and rsync must come through all the same.
    t.sh(&format!("mkdir $SCRATCH/s; echo x > $SCRATCH/s/f; touch -d @{OLD} $SCRATCH/s/f $SCRATCH/s; cp -a $SCRATCH/s ."));
    assert_eq!(mtime(&t.disk("s/f")), OLD);
}

// SEMANTICS: S-owner
fn owners(t: &Target) {
    t.sh("echo x > f; mkdir d; chown $(id -u):$(id -g) f d; chgrp $(id -g) f; test -O f -a -G f");
    if t.kind() != Kind::Local {
        let refused = chown(t.path("f"), Some(12_345), None);
        assert_eq!(errno(refused), libc::EPERM);
    }
    assert_eq!(t.on_disk("f"), b"x\n");
}

// SEMANTICS: S-readlink
fn read_links(t: &Target) {
    t.put_on_disk("f", b"target");
    for (name, target) in [
        ("link", "f"),
        ("dangling", "missing"),
        ("spaced out", "no such -> thing"),
    ] {
        symlink(target, t.disk(name)).unwrap();
    }
    assert_eq!(fs::read(t.path("link")).unwrap(), b"target");
    // The MLSD of ProFTPD and pyftpdlib leaves out dangling links, and that of pyftpdlib follows the others.
    let hides_dangling = [Kind::Proftpd, Kind::Pyftpdlib].contains(&t.kind());
    if hides_dangling {
        for name in ["dangling", "spaced out"] {
            fs::remove_file(t.disk(name)).unwrap();
        }
    }
    if t.kind() == Kind::Pyftpdlib {
        return replace_link_by_file(t, "link");
    }
    assert_eq!(fs::read_link(t.path("link")).unwrap(), Path::new("f"));
    if !hides_dangling {
        assert_eq!(
            fs::read_link(t.path("dangling")).unwrap(),
            Path::new("missing")
        );
        assert!(
            fs::symlink_metadata(t.path("dangling"))
                .unwrap()
                .is_symlink()
        );
        assert_eq!(errno(fs::read(t.path("dangling"))), libc::ENOENT);
    }
    assert_eq!(errno(fs::read_link(t.path("f"))), libc::EINVAL);
    // Written through the link: the link stays, the target changes.
    fs::write(t.path("link"), b"through the link").unwrap();
    assert_eq!(t.on_disk("f"), b"through the link");
    assert!(fs::symlink_metadata(t.disk("link")).unwrap().is_symlink());
    fs::remove_file(t.path("link")).unwrap();
    assert!(t.disk("f").exists() && fs::symlink_metadata(t.disk("link")).is_err());
    // Where the name ends and the target begins is a guess of the listing's reader.
    if !hides_dangling {
        fs::remove_file(t.path("spaced out")).unwrap();
        assert!(fs::symlink_metadata(t.disk("spaced out")).is_err());
    }
}

/// A link that a server hides is not compared: the mount cannot know that it is one.
fn replace_link_by_file(t: &Target, name: &str) {
    let content = t.on_disk(name);
    fs::remove_file(t.disk(name)).unwrap();
    t.put_on_disk(name, &content);
}

fn links_to_directories(t: &Target) {
    t.make_dir_on_disk("d");
    t.put_on_disk("d/f", b"inside");
    symlink("d", t.disk("link")).unwrap();
    assert_eq!(
        t.sh("cat link/f; ls link; cd link && cat f"),
        "insidef\ninside"
    );
    t.sh("echo new > link/g; rm link/f");
    assert_eq!(t.on_disk("d/g"), b"new\n");
    assert!(!t.disk("d/f").exists());
    if t.kind() == Kind::Pyftpdlib {
        fs::remove_file(t.disk("link")).unwrap();
        fs::create_dir(t.disk("link")).unwrap();
        fs::copy(t.disk("d/g"), t.disk("link/g")).unwrap();
    }
}

// SEMANTICS: S-symlink, S-tenet-refused
fn make_links(t: &Target) {
    t.sh("echo x > f");
    let linked = symlink("f", t.path("link"));
    if t.kind().makes_symlinks() {
        linked.unwrap();
        assert!(fs::symlink_metadata(t.disk("link")).unwrap().is_symlink());
        assert_eq!(fs::read(t.path("link")).unwrap(), b"x\n");
        // ProFTPD makes every target a path from its own root.
        let stored = if t.kind() == Kind::Local { "f" } else { "/f" };
        assert_eq!(fs::read_link(t.disk("link")).unwrap(), Path::new(stored));
        // The mount shows a target that leads to the same file, and the disk alone cannot be compared with it.
        fs::remove_file(t.path("link")).unwrap();
        assert!(fs::symlink_metadata(t.disk("link")).is_err() && t.disk("f").exists());
    } else {
        let refused = errno(linked);
        assert!(
            [libc::EPERM, libc::EOPNOTSUPP, libc::ENOSYS].contains(&refused),
            "{refused}"
        );
        assert_eq!(fs::read_dir(t.disk("")).unwrap().count(), 1);
    }
    if t.kind() != Kind::Local {
        assert_eq!(
            errno(fs::hard_link(t.path("f"), t.path("hard"))),
            libc::EPERM
        );
        assert!(!t.try_sh("mknod node c 1 3").status.success());
        assert!(!t.try_sh("mkfifo pipe").status.success());
    }
}

// SEMANTICS: S-statfs
fn statfs(t: &Target) {
    t.sh("df -P . | tail -1; df -i . >/dev/null; stat -f . >/dev/null");
    // Room enough to convince installers, a name length that is true, and a file system that says what it is.
    assert_eq!(
        t.sh("test $(stat -f -c %a .) -gt 0; stat -f -c %l ."),
        "255\n"
    );
    if t.kind() != Kind::Local {
        assert!(t.sh("findmnt -no FSTYPE -T .").starts_with("fuse"));
    }
}

// SEMANTICS: S-statfs
fn extended_attributes(t: &Target) {
    if t.kind() == Kind::Local {
        return;
    }
    t.sh("echo x > f");
    let script = "python3 -c 'import os, errno
for call in (lambda: os.setxattr(\"f\", \"user.a\", b\"b\"), lambda: os.getxattr(\"f\", \"user.a\")):
    try:
        call()
    except OSError as e:
        print(errno.errorcode[e.errno])
'";
    let said = t.sh(script);
    assert!(
        said.lines()
            .all(|line| ["EOPNOTSUPP", "ENOTSUP"].contains(&line))
            && said.lines().count() == 2,
        "{said}"
    );
    t.sh("ls -l f; cp --preserve=all f g; cat g");
}

// SEMANTICS: S-access
fn others_see_nothing_from_the_kernels_caches(t: &Target) {
    if t.kind() == Kind::Local {
        return; // Others may read it.
    }
    t.sh("echo content > f; mkdir d; touch d/g");
    let read = |command: &str, uid: u32| {
        let command = format!("cd / && {command} '{}'", t.path("").display());
        let mut shell = Command::new("sh");
        let output = shell.args(["-c", &command]).uid(uid).gid(uid).output();
        let output = output.unwrap();
        (output.status.success(), output.stdout.is_empty())
    };
    for command in [
        "ls -la",
        "r() { ls -l $1/d; }; r",
        "r() { cat $1/f; }; r",
        "r() { stat $1/f; }; r",
        "r() { stat $1/d/g; }; r",
        "r() { cd $1/d && ls; }; r",
    ] {
        // What root has just read, the kernel has.
        assert_eq!(read(command, 0), (true, false), "{command}");
        assert_eq!(read(command, 65_534), (false, true), "{command}");
    }
}

// SEMANTICS: S-no-rights
fn a_server_gives_no_rights(t: &Target) {
    if t.kind() == Kind::Local {
        return; // A local directory gives them.
    }
    let owner = fs::metadata(t.disk("")).unwrap();
    fs::write(t.disk("tool"), b"#!/bin/sh\n").unwrap();
    fs::create_dir(t.disk("shared")).unwrap();
    chown(t.disk("shared"), Some(owner.uid()), Some(owner.gid())).unwrap();
    for (name, mode) in [("tool", 0o6755), ("shared", 0o3777)] {
        fs::set_permissions(t.disk(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    // A pipe, socket or device of the server's would be this machine's own when it is opened.
    let _socket = UnixListener::bind(t.disk("socket")).unwrap();
    let made = Command::new("sh")
        .args([
            "-c",
            "mkfifo pipe && mknod -m 666 null c 1 3 && mknod -m 666 disk b 7 200",
        ])
        .current_dir(t.disk(""))
        .status();
    assert!(made.unwrap().success());
    let mode = |name: &str| fs::symlink_metadata(t.path(name)).unwrap().mode();
    assert_eq!(mode("tool"), libc::S_IFREG | 0o755);
    assert_eq!(mode("shared"), libc::S_IFDIR | 0o777);
    // What is not shown was not meant. vsftpd sets no more than nine bits, and pyftpdlib tells no more.
    t.sh("chmod 775 shared");
    let shared = fs::metadata(t.disk("shared")).unwrap().mode() & 0o7777;
    let has_all = [Kind::Proftpd, Kind::PureFtpd].contains(&t.kind());
    assert_eq!(shared, if has_all { 0o3775 } else { 0o775 });
    // Only in a listing as ls(1) has it are they told apart.
    let specials = ["pipe", "null", "disk", "socket"];
    let are_told = t.kind() == Kind::Vsftpd;
    for name in specials.into_iter().filter(|_| are_told) {
        assert_eq!(mode(name), libc::S_IFREG, "{name}");
        assert_eq!(fs::metadata(t.path(name)).unwrap().len(), 0, "{name}");
        for options in [
            File::options().read(true),
            File::options().write(true),
            File::options().append(true),
            File::options().write(true).create(true).truncate(true),
        ] {
            assert_eq!(errno(options.open(t.path(name))), libc::EACCES, "{name}");
        }
    }
    // What compares the mount with the server's disk in the end would wait for a writer of the pipe.
    fs::remove_dir(t.path("shared")).unwrap();
    t.sh("rm -f tool");
    for name in specials {
        fs::remove_file(t.disk(name)).unwrap();
        wait_for("the file's end", Duration::from_secs(4), || {
            fs::symlink_metadata(t.path(name)).is_err()
        });
    }
}

// SEMANTICS: S-refused, S-mkdir
fn no_permission(t: &Target) {
    // A directory and a file of root's on the disk, which the server's user may read and not change.
    fs::create_dir(t.disk("theirs")).unwrap();
    fs::write(t.disk("theirs/f"), b"theirs").unwrap();
    assert_eq!(fs::read(t.path("theirs/f")).unwrap(), b"theirs");
    if t.kind() == Kind::Local {
        return; // The tests run as root.
    }
    let refusals = [
        errno(File::create(t.path("theirs/new")).and_then(|file| file.sync_all())),
        errno(fs::remove_file(t.path("theirs/f"))),
        errno(fs::create_dir(t.path("theirs/d"))),
        errno(fs::rename(t.path("theirs/f"), t.path("theirs/g"))),
        errno(
            fs::write(t.path("theirs/f"), b"ours")
                .and_then(|()| File::open(t.path("theirs/f"))?.sync_all()),
        ),
    ];
    assert!(
        refusals
            .iter()
            .all(|e| [libc::EACCES, libc::EPERM].contains(e)),
        "{refusals:?}"
    );
    assert_eq!(t.on_disk("theirs/f"), b"theirs");
    assert_eq!(fs::read_dir(t.disk("theirs")).unwrap().count(), 1);
    // What the server never takes leaves the mount when the last close is worked off, which close(2) does not wait for.
    wait_for(
        "the server's file is shown again",
        Duration::from_secs(10),
        || fs::metadata(t.path("theirs/f")).is_ok_and(|metadata| metadata.len() == 6),
    );
}
