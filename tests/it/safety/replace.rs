//! Replacing a file: a refused temporary name or rename is no reason to write over the only good copy.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use super::{
    assert_agrees, assert_disk, change, changed, close, open, refuse_temporary, store,
    stored_in_place,
};
use crate::common::{
    Kind, Mount, Rig, Server, Site, can_mount, for_each_kind, for_each_rig, pattern,
};

for_each_rig!(crate::safety::OLD;
    a_refused_temporary_name_keeps_the_old_file,
    a_rename_that_failed_once_is_no_reason_to_write_in_place,
    files_can_be_replaced_where_a_rename_over_them_is_refused,
);

/// Refusals that can mean space, quota or rights.
const REFUSALS: [&str; 5] = [
    "553 Could not create file.",
    "550 No.",
    "452 No space.",
    "552 Quota.",
    "450 Busy.",
];

fn a_refused_temporary_name_keeps_the_old_file(rig: &mut Rig) {
    let t = rig.target();
    let sizes = [10, 100_000, 3_000_000];
    for number in 0..REFUSALS.len() {
        for size in sizes {
            t.put_on_disk(format!("f{number}-{size}"), &pattern(1, size));
        }
    }
    for (number, reply) in REFUSALS.into_iter().enumerate() {
        for size in sizes {
            let name = format!("f{number}-{size}");
            let (old, new) = (pattern(1, size), pattern(2, size));
            rig.meddler.take_heard();
            refuse_temporary(&rig.meddler, reply);
            let mut file = File::create(t.path(&name)).unwrap();
            file.write_all(&new).unwrap();
            let told = file.sync_all();
            assert_disk(&t, &name, &old, reply);
            assert!(told.is_err(), "{reply}");
            let told = file.sync_all();
            assert_disk(&t, &name, &old, &format!("again {reply}"));
            assert!(told.is_err(), "again {reply}");
            let heard = rig.meddler.take_heard();
            assert_eq!(stored_in_place(&heard, &name), 0, "{heard:?}");
            rig.meddler.behave();
            // The bytes are still here.
            close(file).unwrap();
            assert_disk(&t, &name, &new, "afterwards");
        }
    }
}

/// A disk that takes no further file, or no further byte.
fn a_full_server_keeps_the_old_file(server: Option<Server>, fill: fn(&Path)) {
    let Some(server) = server else { return };
    // pyftpdlib does not answer when the last bytes find no room.
    let options = ["dir-ttl=600", "timeout=2", "drain-timeout=1"];
    let mount = Mount::new(&server, &options);
    let site = Site { mount, server };
    let t = site.target();
    let old = pattern(1, 100_000);
    let cases = [("f", 100_000), ("tiny", 1), ("large", 3_000_000)];
    for (name, _) in cases {
        t.put_on_disk(name, &old);
    }
    for (name, size) in cases {
        let new = pattern(2, size);
        fill(site.server.root());
        let mut file = open(&t.path(name));
        file.set_len(0).unwrap();
        file.write_all(&new).unwrap();
        for _ in 0..2 {
            let told = file.sync_all();
            assert_disk(&t, name, &old, "full");
            assert!(told.is_err(), "{name}: success");
        }
        make_room(site.server.root());
        let told = close(file);
        assert!(told.is_ok(), "{name}: {told:?}");
        assert_disk(&t, name, &new, "room again");
    }
}

fn fill_with_files(root: &Path) {
    for number in 0.. {
        let path = root.join(format!("filler-{number}"));
        if fs::write(path, b"").is_err() {
            return;
        }
    }
}

fn fill_with_bytes(root: &Path) {
    let mut file = File::create(root.join("filler")).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

fn make_room(root: &Path) {
    for entry in fs::read_dir(root).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("filler") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

fn a_server_without_inodes_keeps_the_old_file(kind: Kind) {
    if can_mount() {
        a_full_server_keeps_the_old_file(Server::start_few(kind, 12), fill_with_files);
    }
}

fn a_server_without_space_keeps_the_old_file(kind: Kind) {
    if can_mount() {
        a_full_server_keeps_the_old_file(Server::start_small(kind, 8 << 20), fill_with_bytes);
    }
}

for_each_kind!(
    a_server_without_inodes_keeps_the_old_file,
    a_server_without_space_keeps_the_old_file,
);

fn a_rename_that_failed_once_is_no_reason_to_write_in_place(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    let refusals = [
        "500 OOPS: child died",
        "550 No.",
        "553 No.",
        "450 Busy.",
        "502 What?",
    ];
    for number in 0..refusals.len() {
        t.put_on_disk(format!("f{number}"), &pattern(1, 100_000));
    }
    for (number, reply) in refusals.into_iter().enumerate() {
        let name = format!("f{number}");
        let (old, new) = (pattern(1, 100_000), pattern(2, 90_000));
        rig.meddler.take_heard();
        rig.meddler.on("RNTO ").times(1).answer(reply);
        let told = store(&t.path(&name), &new);
        assert_agrees(&t, &name, &told, &old, &new, reply);
        rig.meddler.behave();
        // Now and later.
        for round in 0..2 {
            let latest = t.on_disk(&name);
            store(&t.path(&name), &pattern(10 + round, 80_000)).unwrap();
            assert_disk(&t, &name, &pattern(10 + round, 80_000), "afterwards");
            assert!(!latest.is_empty());
            let heard = rig.meddler.take_heard();
            assert_eq!(stored_in_place(&heard, &name), 0, "{reply}: {heard:?}");
            rig.mount_again();
        }
    }
    // Any later one as well.
    rig.meddler.on("RNTO ").skip(1).times(1).answer("500 No.");
    for number in 0..2 {
        let old = t.on_disk("f0");
        let new = pattern(20 + number, 70_000);
        let told = store(&t.path("f0"), &new);
        assert_agrees(&t, "f0", &told, &old, &new, "the second");
    }
    rig.meddler.behave();
    t.wait_until_settled();
}

fn files_can_be_replaced_where_a_rename_over_them_is_refused(rig: &mut Rig) {
    let t = rig.target();
    let refusals = [
        "550 No.", "553 No.", "450 No.", "552 No.", "500 No.", "501 No.", "451 No.",
    ];
    for (number, reply) in refusals.into_iter().enumerate() {
        let root = rig.site.server.root().to_owned();
        let exists = move |line: &str| {
            let target = line.trim_start_matches("RNTO ").trim_start_matches('/');
            root.join(target).exists()
        };
        rig.meddler.on("RNTO ").when(exists).answer(reply);
        let sizes = [2, 100_000, 3_000_000];
        for size in sizes {
            t.put_on_disk(format!("f{number}-{size}"), &pattern(1, size));
        }
        t.put_on_disk("text", b"old\n");
        for size in sizes {
            let name = format!("f{number}-{size}");
            let told = store(&t.path(&name), &pattern(2, size + 1));
            assert!(told.is_ok(), "{reply}, {size} bytes: {told:?}");
            assert_disk(&t, &name, &pattern(2, size + 1), reply);
            change(&t.path(&name), 0, b"P").unwrap();
            let new = changed(&pattern(2, size + 1), 0, b"P");
            assert_disk(&t, &name, &new, reply);
        }
        t.sh("echo new > text");
        t.sh("vim -u NONE -es -c 'set nobackup' -c '%s/new/newer/' -c 'wq' text </dev/null");
        assert_disk(&t, "text", b"newer\n", reply);
        t.sh("echo newest > other; mv other text");
        assert_disk(&t, "text", b"newest\n", reply);
        rig.meddler.behave();
        fs::remove_file(t.path("text")).unwrap();
        rig.mount_again();
    }
    rig.site.assert_same();
}
