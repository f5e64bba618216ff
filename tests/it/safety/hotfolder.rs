//! Folders whose files are taken away as soon as they are complete: each is delivered once.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{OLD, assert_disk, look, store};
use crate::common::{End, Kind, Rig, Server, can_mount, errno, for_each_rig, pattern};

for_each_rig!(crate::safety::OLD;
    a_file_that_is_taken_away_was_delivered,
    a_large_file_that_is_taken_away_was_delivered,
    a_file_that_arrived_in_part_was_not_delivered,
);

/// What was taken away, in order: names and contents.
type Taken = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A hook that takes away all that is in a directory.
fn take(dir: &Path, taken: &Taken) -> impl Fn() + Send + Sync + 'static {
    let (dir, taken) = (dir.to_owned(), Arc::clone(taken));
    move || {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with("keep") {
                continue;
            }
            let content = fs::read(entry.path()).unwrap();
            fs::remove_file(entry.path()).unwrap();
            taken.lock().unwrap().push((name, content));
        }
    }
}

/// What was delivered under this name.
fn delivered(taken: &Taken, name: &str) -> Vec<Vec<u8>> {
    let taken = taken.lock().unwrap();
    let named = taken.iter().filter(|(taken, _)| taken == name);
    named.map(|(_, content)| content.clone()).collect()
}

// SEMANTICS: S-hot-folder
fn a_file_that_is_taken_away_was_delivered(rig: &mut Rig) {
    let t = rig.target();
    t.make_dir_on_disk("hot");
    look(&t, "hot");
    let taken = Taken::default();
    rig.meddler
        .on("STOR ")
        .after(take(&t.disk("hot"), &taken))
        .pass();
    for size in [0, 10, 65_536] {
        let name = format!("f{size}");
        fs::write(t.scratch(&name), pattern(1, size)).unwrap();
        t.sh(&format!("cp $SCRATCH/{name} hot/"));
        assert_eq!(delivered(&taken, &name), [pattern(1, size)], "{name}");
        t.sh(&format!("cp -p $SCRATCH/{name} hot/again-{name}"));
        let name = format!("again-{name}");
        assert_eq!(delivered(&taken, &name), [pattern(1, size)], "{name}");
    }
    assert_eq!(taken.lock().unwrap().len(), 6);
}

fn a_large_file_that_is_taken_away_was_delivered(rig: &mut Rig) {
    let t = rig.target();
    t.make_dir_on_disk("hot");
    t.put_on_disk("f", b"old");
    look(&t, "hot");
    let taken = Taken::default();
    rig.meddler
        .on("STOR ")
        .after(take(&t.disk("hot"), &taken))
        .pass();
    for (number, size) in [3_000_000, 100_000, 3_000_000].into_iter().enumerate() {
        let name = format!("f{number}");
        fs::write(t.scratch(&name), pattern(1, size)).unwrap();
        t.sh(&format!("cp $SCRATCH/{name} hot/"));
        let contents = delivered(&taken, &name);
        assert_eq!(contents.len(), 1, "{name}: how often");
        assert!(contents[0] == pattern(1, size), "{name}");
        let names: Vec<_> = taken
            .lock()
            .unwrap()
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let temporary = names.iter().filter(|name| name.contains("ftpfs-"));
        assert!(temporary.count() <= 1, "{names:?}");
    }
    // Elsewhere, and over what is there, everything is as ever.
    rig.meddler.behave();
    t.put_on_disk("f", b"old");
    store(&t.path("f"), &pattern(2, 2_000_000)).unwrap();
    assert_disk(&t, "f", &pattern(2, 2_000_000), "elsewhere");
}

/// What was cut on its way is not taken for delivered where the size shows it.
fn a_file_that_arrived_in_part_was_not_delivered(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    for size in [1_000, 3_000_000] {
        let name = format!("f{size}");
        rig.meddler.on("STOR ").cut_upload(size / 2);
        let told = store(&t.path(&name), &pattern(1, size));
        rig.meddler.behave();
        let found = fs::read(t.disk(&name)).ok();
        assert!(told.is_err() || found == Some(pattern(1, size)), "{told:?}");
    }
}

/// The reply is lost and the name is absent: nobody knows, so the program gets an error, and nothing is repeated by itself.
fn a_delivery_without_a_reply_is_not_repeated(kind: Kind) {
    if !can_mount() {
        return;
    }
    let Some(server) = Server::start(kind) else {
        return;
    };
    let mut rig = Rig::of(server, OLD);
    rig.site.mount.may_end_badly();
    let t = rig.target();
    t.make_dir_on_disk("hot");
    look(&t, "hot");
    let taken = Taken::default();
    let lost = rig
        .meddler
        .on("STOR ")
        .times(1)
        .after(take(&t.disk("hot"), &taken));
    lost.cut_reply(End::Close);
    rig.meddler
        .on("STOR ")
        .after(take(&t.disk("hot"), &taken))
        .pass();
    let told = store(&t.path("hot/f"), b"an order");
    assert_eq!(errno(told), libc::EIO);
    let until = Instant::now() + Duration::from_secs(15);
    while Instant::now() < until {
        assert_eq!(delivered(&taken, "f").len(), 1, "delivered again");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(rig.site.mount.unmount() || !rig.site.mount.kept().is_empty());
    assert_eq!(delivered(&taken, "f"), [b"an order".to_vec()]);
}

#[test]
fn a_delivery_without_a_reply_is_not_repeated_vsftpd() {
    a_delivery_without_a_reply_is_not_repeated(Kind::Vsftpd);
}

#[test]
fn a_delivery_without_a_reply_is_not_repeated_proftpd() {
    a_delivery_without_a_reply_is_not_repeated(Kind::Proftpd);
}
