//! Programs that read a file from its beginning to its end: each way costs one download.
//!
//! The link is slower than the programs, as links are: what the kernel has asked for ahead is then still to come when it
//! asks for more.

use std::{
    fs,
    process::{Child, Command},
    time::Duration,
};

use crate::common::{
    Kind, Mount, Security, Server, Target, can_mount, give_to_server, link::Link, pattern,
};

const LEN: usize = 12 << 20;

/// The round trip time of the link.
const RTT: Duration = Duration::from_millis(4);

/// The bytes that it carries in a second: a file in 0.4 s.
const RATE: u64 = 30 << 20;

/// Each reads the file whose name is put in the place of `%`, and fails where that is not the one at `$SCRATCH/wanted`.
const PROGRAMS: [&str; 16] = [
    "cp % $SCRATCH/copy; cmp $SCRATCH/copy $SCRATCH/wanted",
    "cat % >$SCRATCH/copy; cmp $SCRATCH/copy $SCRATCH/wanted",
    "cat % | cmp - $SCRATCH/wanted",
    "cp % $SCRATCH/copy",
    "cat % >/dev/null",
    "cp % /dev/null",
    "cat % >/dev/null",
    "dd bs=4k if=% status=none | cmp - $SCRATCH/wanted",
    "dd bs=128k if=% status=none | cmp - $SCRATCH/wanted",
    "dd bs=1M if=% status=none | cmp - $SCRATCH/wanted",
    "dd bs=8M if=% status=none | cmp - $SCRATCH/wanted",
    "test \"$(md5sum <%)\" = \"$(md5sum <$SCRATCH/wanted)\"",
    "! grep -q 'a line that is nowhere in it' %",
    "python3 -c \"assert open('%', 'rb').read() == open('$SCRATCH/wanted', 'rb').read()\"",
    "python3 -c \"
import os
with open('%', 'rb') as file, open('$SCRATCH/copy', 'wb') as copy:
    while os.sendfile(copy.fileno(), file.fileno(), None, 1 << 20): pass
\"; cmp $SCRATCH/copy $SCRATCH/wanted",
    "python3 -c \"
import mmap
with open('%', 'rb') as file, open('$SCRATCH/wanted', 'rb') as wanted:
    map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # All of it at once is copied from its end, where the C library finds that faster.
    while piece := wanted.read(1 << 16):
        assert map.read(1 << 16) == piece
\"",
];

/// Programs that do nothing but keep the processors busy.
struct Load(Vec<Child>);

impl Load {
    fn new(count: usize) -> Self {
        let spin = || {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .spawn()
        };
        Self((0..count).map(|_| spin().unwrap()).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// A mount over the link of a server that holds `count` files, `f0` and on, and what each of them is.
fn on_link(kind: Kind, count: usize) -> Option<(Mount, Server, Vec<u8>)> {
    if !can_mount() {
        return None;
    }
    let link = Link::new(RTT).with_rate(RATE);
    let server = Server::start_between(kind, Security::Plain, link.ports())?;
    let content = pattern(11, LEN);
    let first = server.root().join("f0");
    fs::write(&first, &content).unwrap();
    give_to_server(&first);
    for other in 1..count {
        fs::hard_link(&first, server.root().join(format!("f{other}"))).unwrap();
    }
    let address = link.open(server.port());
    let (login, _) = server.url().rsplit_once('@').unwrap();
    let mount = Mount::of_url(&format!("{login}@{address}/"), &["verbose"]);
    Some((mount, server, content))
}

/// How often a file was downloaded, or a part of it.
fn downloads(mount: &Mount, name: &str) -> usize {
    let log = mount.log_whole();
    log.lines()
        .filter(|line| line.ends_with(&format!("> RETR /{name}")))
        .count()
}

fn each_program_costs_one_download(kind: Kind, load: usize) {
    let Some((mount, server, content)) = on_link(kind, PROGRAMS.len()) else {
        return;
    };
    let target = Target::new(kind, mount.path(), server.root());
    fs::write(target.scratch("wanted"), &content).unwrap();
    let load = Load::new(load);
    for (index, program) in PROGRAMS.iter().enumerate() {
        target.sh(&program.replace('%', &format!("f{index}")));
    }
    drop(load);
    let counted: Vec<_> = (0..PROGRAMS.len())
        .map(|index| (downloads(&mount, &format!("f{index}")), PROGRAMS[index]))
        .filter(|(count, _)| *count != 1)
        .collect();
    assert!(counted.is_empty(), "{counted:#?}");
}

// SEMANTICS: S-read
#[test]
fn every_program_that_reads_on_costs_vsftpd_one_download() {
    each_program_costs_one_download(Kind::Vsftpd, 0);
}

#[test]
fn every_program_that_reads_on_costs_proftpd_one_download() {
    each_program_costs_one_download(Kind::Proftpd, 0);
}

#[test]
fn every_program_that_reads_on_costs_vsftpd_one_download_also_on_a_busy_machine() {
    each_program_costs_one_download(Kind::Vsftpd, 2);
}

#[test]
fn every_program_that_reads_on_costs_proftpd_one_download_also_on_a_busy_machine() {
    each_program_costs_one_download(Kind::Proftpd, 2);
}

// SEMANTICS: S-read
#[test]
fn programs_that_read_one_file_at_once_share_its_download() {
    let Some((mount, server, content)) = on_link(Kind::Proftpd, 1) else {
        return;
    };
    let target = Target::new(Kind::Proftpd, mount.path(), server.root());
    fs::write(target.scratch("wanted"), &content).unwrap();
    target.sh(
        "for reader in 1 2 3; do cat f0 | cmp - $SCRATCH/wanted & pids+=($!); sleep 0.05; done
        for pid in ${pids[@]}; do wait $pid; done",
    );
    assert_eq!(downloads(&mount, "f0"), 1);
}

#[test]
fn the_end_of_a_file_is_not_its_beginning() {
    let Some((mount, server, content)) = on_link(Kind::Proftpd, 2) else {
        return;
    };
    let target = Target::new(Kind::Proftpd, mount.path(), server.root());
    fs::write(target.scratch("wanted"), &content).unwrap();
    target.sh("tail -c 1000 f0 | cmp - <(tail -c 1000 $SCRATCH/wanted)");
    target.sh("head -c 1000 f1 | cmp - <(head -c 1000 $SCRATCH/wanted)");
    assert_eq!(downloads(&mount, "f0"), 1);
    assert_eq!(downloads(&mount, "f1"), 1);
}
