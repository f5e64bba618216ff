//! The memory remote does what its knobs say.

use std::{num::NonZeroU64, sync::mpsc, time::Duration};

use super::*;
use crate::{
    clock::ManualClock,
    remote::{
        Attributes, EntryKind, MadeName, Permit, Precision, Remote, UploadMode, Want, patch_trial,
    },
};

fn path(text: &str) -> RemotePath {
    text.split('/')
        .filter(|name| !name.is_empty())
        .fold(RemotePath::root(), |dir, name| {
            dir.join(name.as_bytes()).unwrap()
        })
}

/// The permit for a name of ours.
fn made(path: &RemotePath) -> Permit {
    Permit::granted(path, Want::Made)
}

fn remote() -> MemoryRemote {
    MemoryRemote::new(Arc::new(ManualClock::new()))
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> RemoteErrorKind {
    result.unwrap_err().kind()
}

fn names(remote: &MemoryRemote, dir: &str) -> Vec<String> {
    let listing = remote.list(&path(dir)).unwrap();
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    listing
        .entries
        .iter()
        .map(|entry| text(entry.name))
        .collect()
}

fn read_all(remote: &MemoryRemote, file: &str, offset: u64, len: Option<u64>) -> Result<Vec<u8>> {
    let mut download = remote.open_download(&path(file), offset, len)?;
    let (mut all, mut buffer) = (Vec::new(), [0; 4]);
    loop {
        match download.read(&mut buffer)? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

fn put(remote: &MemoryRemote, name: &str, data: &[u8]) -> Result<()> {
    remote
        .put(made(&path(name)), data, &Attributes::default())
        .map(drop)
}

#[test]
fn what_is_put_is_listed_and_read_back() {
    let remote = remote();
    remote.make_dir(&path("d")).unwrap();
    put(&remote, "d/f", b"hello world").unwrap();
    assert_eq!(names(&remote, "d"), ["f"]);
    assert_eq!(read_all(&remote, "d/f", 0, None).unwrap(), b"hello world");
    assert_eq!(read_all(&remote, "d/f", 6, Some(3)).unwrap(), b"wor");
    assert_eq!(read_all(&remote, "d/f", 99, None).unwrap(), b"");
    let entry = remote.stat(&path("d/f")).unwrap().unwrap();
    assert_eq!(
        (entry.size, entry.mode, entry.kind),
        (Some(11), Some(0o644), EntryKind::File)
    );
    assert_eq!(remote.stat(&path("d/g")).unwrap(), None);
    assert!(remote.stat(&RemotePath::root()).unwrap().unwrap().is_dir());
}

#[test]
fn every_refusal_looks_the_same() {
    let remote = remote();
    remote.write_file(&path("d/f"), b"x");
    let refused = [
        kind(remote.list(&path("none"))),
        kind(remote.list(&path("d/f"))),
        kind(remote.open_download(&path("none"), 0, None)),
        kind(remote.open_download(&path("d"), 0, None)),
        kind(put(&remote, "d", b"")),
        kind(put(&remote, "none/f", b"")),
        kind(put(&remote, "d/f/g", b"")),
        kind(remote.make_dir(&path("d"))),
        kind(remote.make_dir(&RemotePath::root())),
        kind(remote.remove_dir(made(&path("d")))),
        kind(remote.remove_dir(made(&path("d/f")))),
        kind(remote.remove_dir(made(&RemotePath::root()))),
        kind(remote.remove_file(made(&path("d")))),
        kind(remote.remove_file(made(&path("none")))),
        kind(remote.rename(&path("none"), made(&path("x")))),
        kind(remote.rename(&path("d"), made(&path("d/inside")))),
        kind(remote.rename(&path("d"), made(&path("d/f/g")))),
        kind(remote.rename(&RemotePath::root(), made(&path("x")))),
    ];
    assert!(
        refused.iter().all(|kind| *kind == RemoteErrorKind::Refused),
        "{refused:?}"
    );
    assert_eq!(remote.tree().len(), 2);
}

#[test]
fn an_upload_shows_its_bytes_at_once_and_a_dropped_one_leaves_them() {
    let remote = remote();
    remote.write_file(&path("f"), b"old content");
    let mut upload = remote
        .open_upload(made(&path("f")), UploadMode::Whole)
        .unwrap();
    assert_eq!(remote.read_file(&path("f")).unwrap(), b"");
    upload.write_all(b"ne").unwrap();
    assert_eq!(remote.read_file(&path("f")).unwrap(), b"ne");
    drop(upload);
    assert_eq!(remote.read_file(&path("f")).unwrap(), b"ne");
}

#[test]
fn append_and_patch_keep_the_other_bytes() {
    let remote = remote();
    remote.write_file(&path("f"), b"0123456789");
    for (mode, data) in [
        (UploadMode::Append, b"ab"),
        (UploadMode::At(NonZeroU64::new(2).unwrap()), b"XX"),
        (UploadMode::At(NonZeroU64::new(13).unwrap()), b"yz"),
    ] {
        let mut upload = remote.open_upload(made(&path("f")), mode).unwrap();
        upload.write_all(data).unwrap();
        upload.finish().unwrap();
    }
    assert_eq!(remote.read_file(&path("f")).unwrap(), b"01XX456789ab\0yz");
}

#[test]
fn a_transfer_keeps_its_file_through_rename_and_removal() {
    let remote = remote();
    remote.write_file(&path("f"), b"");
    let mut upload = remote
        .open_upload(made(&path("f")), UploadMode::Whole)
        .unwrap();
    remote.rename(&path("f"), made(&path("g"))).unwrap();
    upload.write_all(b"x").unwrap();
    assert_eq!(remote.read_file(&path("g")).unwrap(), b"x");
    remote.remove_file(made(&path("g"))).unwrap();
    upload.write_all(b"y").unwrap();
    upload.finish().unwrap();
    assert!(remote.tree().is_empty());
}

#[test]
fn rename_replaces_what_fits() {
    let remote = remote();
    remote.write_file(&path("a"), b"a");
    remote.write_file(&path("b"), b"b");
    remote.write_dir(&path("d"));
    remote.write_file(&path("full/f"), b"f");
    remote.rename(&path("a"), made(&path("b"))).unwrap();
    assert_eq!(remote.read_file(&path("b")).unwrap(), b"a");
    assert_eq!(
        kind(remote.rename(&path("b"), made(&path("d")))),
        RemoteErrorKind::Refused
    );
    assert_eq!(
        kind(remote.rename(&path("d"), made(&path("full")))),
        RemoteErrorKind::Refused
    );
    remote.rename(&path("full"), made(&path("d"))).unwrap();
    assert_eq!(names(&remote, ""), ["b", "d"]);
    assert_eq!(names(&remote, "d"), ["f"]);
}

#[test]
fn rename_over_may_be_refused_or_lied_about() {
    for (rename_over, answer) in [
        (RenameOver::Refuses, Err(RemoteErrorKind::Refused)),
        (RenameOver::Lies, Ok(())),
    ] {
        let remote = remote();
        remote.set_behaviour(|behaviour| behaviour.rename_over = rename_over);
        remote.write_file(&path("a"), b"a");
        remote.write_file(&path("b"), b"b");
        let before = remote.tree();
        let result = remote.rename(&path("a"), made(&path("b")));
        assert_eq!(result.map(drop).map_err(|error| error.kind()), answer);
        assert_eq!(remote.tree(), before);
        remote.rename(&path("a"), made(&path("c"))).unwrap();
    }
}

#[test]
fn symbolic_links_are_followed_by_the_server() {
    let remote = remote();
    remote.write_file(&path("d/f"), b"x");
    for (link, target) in [
        ("up", "d"),
        ("d/self", "../d/./f"),
        ("d/far", "/up/f"),
        ("d/top", "/"),
        ("loop", "loop"),
    ] {
        remote.make_symlink(target.as_bytes(), &path(link)).unwrap();
    }
    for file in [
        "up/f",
        "d/self",
        "d/far",
        "up/top/d/f",
        "d/top/up/top/up/self",
    ] {
        assert_eq!(
            remote.read_file(&path(file)).as_deref(),
            Some(&b"x"[..]),
            "{file}"
        );
    }
    assert_eq!(
        kind(remote.open_download(&path("loop"), 0, None)),
        RemoteErrorKind::Refused
    );
    let entry = remote.stat(&path("up")).unwrap().unwrap();
    assert_eq!(
        (entry.kind, entry.target.as_deref()),
        (EntryKind::Symlink, Some(&b"d"[..]))
    );
    remote.make_symlink(b"d/new", &path("dangling")).unwrap();
    put(&remote, "dangling", b"n").unwrap();
    assert_eq!(remote.read_file(&path("d/new")).unwrap(), b"n");
    remote.remove_file(made(&path("up"))).unwrap();
    assert_eq!(names(&remote, "d"), ["f", "far", "new", "self", "top"]);
}

#[test]
fn new_names_are_refused_where_the_behaviour_says_so() {
    let remote = remote();
    remote.write_file(&path("closed/f"), b"x");
    remote.set_behaviour(|behaviour| {
        behaviour.closed_dirs.insert(path("closed"));
        behaviour.dot_names_refused = Some(RemoteErrorKind::NameRefused);
    });
    assert_eq!(
        kind(put(&remote, "closed/g", b"")),
        RemoteErrorKind::Refused
    );
    assert_eq!(
        kind(remote.make_dir(&path("closed/g"))),
        RemoteErrorKind::Refused
    );
    assert_eq!(
        kind(remote.rename(&path("closed/f"), made(&path("closed/g")))),
        RemoteErrorKind::Refused
    );
    put(&remote, "closed/f", b"y").unwrap();
    assert_eq!(kind(put(&remote, ".g", b"")), RemoteErrorKind::NameRefused);
    assert_eq!(
        kind(remote.rename(&path("closed/f"), made(&path(".g")))),
        RemoteErrorKind::NameRefused
    );
    assert_eq!(remote.tree().len(), 2);
}

#[test]
fn an_unfriendly_server_does_not_know_the_extras() {
    let remote = remote();
    remote.set_behaviour(|behaviour| {
        behaviour.can_append = false;
        behaviour.can_patch = false;
        behaviour.can_symlink = false;
        behaviour.can_set_mode = false;
        behaviour.can_set_time = false;
        behaviour.can_overwrite = false;
    });
    put(&remote, "f", b"x").unwrap();
    assert_eq!(kind(put(&remote, "f", b"y")), RemoteErrorKind::Refused);
    for mode in [UploadMode::Append, UploadMode::At(NonZeroU64::MIN)] {
        assert_eq!(
            kind(remote.open_upload(made(&path("f")), mode)),
            RemoteErrorKind::Unsupported
        );
    }
    assert_eq!(
        kind(remote.make_symlink(b"f", &path("l"))),
        RemoteErrorKind::Unsupported
    );
    let scratch = MadeName::fresh(&RemotePath::root(), "scratch").unwrap();
    assert!(!patch_trial::keeps_rest(&remote, &scratch).unwrap());
    let wanted = Attributes {
        mode: Some(0o600),
        modified: Some(SystemTime::UNIX_EPOCH),
    };
    let settled = remote.settle(made(&path("f")), &wanted).unwrap();
    assert_eq!(kind(settled.mode), RemoteErrorKind::Unsupported);
    assert_eq!(kind(settled.modified), RemoteErrorKind::Unsupported);
    assert_eq!(settled.report.size.unwrap(), Some(1));
    assert_eq!(remote.node(&path("f")).unwrap().mode, 0o644);
}

#[test]
fn settle_sets_and_reports() {
    let remote = remote();
    remote.write_file(&path("f"), b"xy");
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_059_500);
    let wanted = Attributes {
        mode: Some(0o4755),
        modified: Some(time),
    };
    let settled = remote.settle(made(&path("f")), &wanted).unwrap();
    settled.mode.unwrap();
    settled.modified.unwrap();
    assert_eq!(settled.report.size.unwrap(), Some(2));
    assert_eq!(settled.report.modified.unwrap().seconds, 1_700_000_059);
    assert_eq!(remote.node(&path("f")).unwrap().mode, 0o4755);
    let missing = remote.settle(made(&path("g")), &wanted).unwrap();
    assert_eq!(kind(missing.report.size), RemoteErrorKind::Refused);
}

#[test]
fn a_listing_can_be_poor_and_short() {
    let remote = remote();
    for index in 0..5 {
        remote.write_file(&path(&format!("f{index}")), b"");
    }
    remote.touch(
        &path("f0"),
        SystemTime::UNIX_EPOCH + Duration::from_secs(119),
    );
    remote.set_behaviour(|behaviour| {
        behaviour.tells_mode = false;
        behaviour.list_precision = Precision::Minute;
        behaviour.list_entries_max = Some(3);
    });
    let listing = remote.list(&RemotePath::root()).unwrap();
    assert!(listing.is_truncated);
    assert_eq!(listing.entries.len(), 3);
    let first = listing.entries.get(0).unwrap();
    assert_eq!(first.mode, None);
    let modified = first.modified.unwrap();
    assert_eq!(
        (modified.seconds, modified.precision),
        (60, Precision::Minute)
    );
    remote.set_behaviour(|behaviour| behaviour.tells_truncation = false);
    assert!(!remote.list(&RemotePath::root()).unwrap().is_truncated);
    assert_eq!(
        remote
            .stat(&path("f0"))
            .unwrap()
            .unwrap()
            .modified
            .unwrap()
            .seconds,
        119
    );
}

#[test]
fn the_nth_call_fails_and_every_call_is_counted() {
    let remote = remote();
    remote.fail_next(Operation::List, 2, RemoteErrorKind::Disconnected);
    assert!(remote.list(&RemotePath::root()).is_ok());
    assert_eq!(
        kind(remote.list(&RemotePath::root())),
        RemoteErrorKind::Disconnected
    );
    assert!(remote.list(&RemotePath::root()).is_ok());
    assert!(remote.list(&path("none")).is_err());
    assert_eq!(remote.calls(Operation::List), 4);
    assert_eq!(remote.calls_on(Operation::List, &path("none")), 1);
    assert_eq!(remote.calls(Operation::Stat), 0);
    remote.forget_calls();
    assert_eq!(remote.calls(Operation::List), 0);
}

#[test]
fn a_lost_reply_hides_what_was_done() {
    let remote = remote();
    remote.write_file(&path("a"), b"x");
    remote.lose_reply(Operation::Rename, 1, RemoteErrorKind::Disconnected);
    let result = remote.rename(&path("a"), made(&path("b")));
    assert_eq!(kind(result), RemoteErrorKind::Disconnected);
    assert_eq!(names(&remote, ""), ["b"]);
}

#[test]
fn transfers_break_after_so_many_bytes() {
    let remote = remote();
    remote.write_file(&path("f"), b"0123456789");
    remote.fail_after_bytes(Operation::OpenDownload, 6, RemoteErrorKind::Disconnected);
    let mut download = remote.open_download(&path("f"), 0, None).unwrap();
    let mut buffer = [0; 10];
    assert_eq!(download.read(&mut buffer).unwrap(), 6);
    assert_eq!(
        kind(download.read(&mut buffer)),
        RemoteErrorKind::Disconnected
    );
    assert_eq!(
        kind(download.read(&mut buffer)),
        RemoteErrorKind::Disconnected
    );
    assert_eq!(read_all(&remote, "f", 6, None).unwrap(), b"6789");

    remote.fail_after_bytes(Operation::OpenUpload, 3, RemoteErrorKind::NoSpace);
    let mut upload = remote
        .open_upload(made(&path("f")), UploadMode::Whole)
        .unwrap();
    upload.write_all(b"ab").unwrap();
    assert_eq!(kind(upload.write_all(b"cd")), RemoteErrorKind::NoSpace);
    assert_eq!(kind(upload.finish()), RemoteErrorKind::NoSpace);
    assert_eq!(remote.read_file(&path("f")).unwrap(), b"abc");

    remote.fail_after_bytes(Operation::Put, 1, RemoteErrorKind::NoSpace);
    assert_eq!(kind(put(&remote, "g", b"xy")), RemoteErrorKind::NoSpace);
    assert_eq!(remote.read_file(&path("g")).unwrap(), b"x");

    // All bytes pass, the completion does not come.
    remote.fail_after_bytes(Operation::Put, 2, RemoteErrorKind::Failed);
    assert_eq!(kind(put(&remote, "h", b"xy")), RemoteErrorKind::Failed);
    assert_eq!(remote.read_file(&path("h")).unwrap(), b"xy");
}

#[test]
fn a_finish_may_err_although_the_bytes_arrived() {
    let remote = remote();
    remote.fail_next(Operation::Finish, 1, RemoteErrorKind::QuotaExceeded);
    let mut upload = remote
        .open_upload(made(&path("f")), UploadMode::Whole)
        .unwrap();
    upload.write_all(b"all").unwrap();
    assert_eq!(kind(upload.finish()), RemoteErrorKind::QuotaExceeded);
    assert_eq!(remote.read_file(&path("f")).unwrap(), b"all");
}

#[test]
fn steps_run_before_and_after_an_operation() {
    let remote = remote();
    remote.before(Operation::List, |remote| {
        remote.write_file(&path("early"), b"");
    });
    remote.after(Operation::List, |remote| {
        remote.write_file(&path("late"), b"");
    });
    assert_eq!(names(&remote, ""), ["early"]);
    assert_eq!(names(&remote, ""), ["early", "late"]);
}

#[test]
fn a_step_that_waits_holds_up_nobody_else() {
    let remote = remote();
    let (release, released) = mpsc::channel::<()>();
    remote.before(Operation::Stat, move |_| {
        released
            .recv_timeout(Duration::from_secs(10))
            .expect("released by the test");
    });
    let waiting = std::thread::spawn({
        let remote = remote.clone();
        move || remote.stat(&path("f"))
    });
    while remote.calls(Operation::Stat) == 0 {
        std::thread::yield_now();
    }
    put(&remote, "f", b"x").unwrap();
    release.send(()).unwrap();
    assert!(waiting.join().unwrap().unwrap().is_some());
}

#[test]
fn changes_behind_the_back_are_not_counted() {
    let remote = remote();
    remote.write_file(&path("a/b/f"), b"x");
    remote.write_symlink(&path("a/l"), b"b");
    remote.move_path(&path("a/b"), &path("c"));
    assert_eq!(
        remote.node(&path("c/f")).unwrap().content,
        Content::File(b"x".to_vec())
    );
    assert!(remote.remove(&path("a")));
    assert!(!remote.remove(&path("a")));
    let left: Vec<_> = remote.tree().into_keys().collect();
    assert_eq!(left, [path("c"), path("c/f")]);
    assert_eq!(
        remote.calls(Operation::MakeDir) + remote.calls(Operation::Put),
        0
    );
}
