//! What the process behind a mount may still do on this machine, by what the kernel says of its threads.

use std::{collections::BTreeMap, fs};

use crate::common::{
    Mount, can_mount,
    simulated::{Dialect, Simulated},
};

/// What root keeps: `CAP_DAC_READ_SEARCH` and `CAP_NET_BIND_SERVICE` (capability.h).
const KEPT: u64 = 1 << 2 | 1 << 10;

/// What the kernel says of each thread of a process: its name, whether it can gain privileges, and its capabilities.
fn threads(pid: u32) -> Vec<(String, bool, u64)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let statuses = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")));
    let fields = statuses.flatten().map(|status| {
        let lines = status.lines().filter_map(|line| line.split_once(":\t"));
        let fields = lines.map(|(name, value)| (name.to_owned(), value.to_owned()));
        fields.collect::<BTreeMap<_, _>>()
    });
    let threads = fields.map(|fields| {
        let capabilities = u64::from_str_radix(&fields["CapPrm"], 16).unwrap();
        (
            fields["Name"].clone(),
            fields["NoNewPrivs"] == "0",
            capabilities,
        )
    });
    threads.collect()
}

// SEMANTICS: S-sandbox
#[test]
fn the_threads_of_a_mount_have_given_up_what_they_do_not_need() {
    if !can_mount() {
        return;
    }
    let server = Simulated::start(Dialect::parse(""));
    let mount = Mount::of_url(&server.url(), &[]);
    let file = mount.path().join("file");
    fs::write(&file, "content").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"content");
    let threads = threads(mount.pid());
    let (free, within): (Vec<_>, Vec<_>) = threads
        .iter()
        .partition(|(name, ..)| name == "ftpfs" || name == "signals");
    assert_eq!(free.len(), 2, "{threads:?}");
    assert!(within.len() >= 4, "{threads:?}");
    for (name, may_gain, capabilities) in within {
        assert!(!may_gain, "{name} may gain privileges");
        assert_eq!(capabilities & !KEPT, 0, "{name}");
    }
    // Unmounting, which needs rights, works in the end: the mount checks that.
}

// SEMANTICS: S-sandbox
#[test]
fn a_mount_without_a_sandbox_is_as_any_program() {
    if !can_mount() {
        return;
    }
    let server = Simulated::start(Dialect::parse(""));
    let mount = Mount::of_url(&server.url(), &["no-sandbox"]);
    let threads = threads(mount.pid());
    assert!(threads.len() >= 6);
    assert!(
        threads.iter().all(|(_, may_gain, _)| *may_gain),
        "{threads:?}"
    );
    assert_eq!(mount.logged("no sandbox, as --no-sandbox says"), 1);
}
