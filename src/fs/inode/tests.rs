//! The promises of the inode table.

use super::*;

fn some(count_max: usize) -> Inodes {
    Inodes::new(count_max, HashKey::random())
}

fn path_of(inodes: &Inodes, ino: Ino) -> Option<String> {
    inodes.path(ino).map(|path| path.to_string())
}

#[test]
fn a_renamed_directory_takes_its_children_along() {
    let inodes = some(100);
    let dir = inodes.look_up(Ino::ROOT, b"a", EntryKind::Directory);
    let file = inodes.look_up(dir, b"f", EntryKind::File);
    inodes.rename((Ino::ROOT, b"a"), (Ino::ROOT, b"b"));
    assert_eq!(path_of(&inodes, file).as_deref(), Some("/b/f"));
    assert_eq!(inodes.child(Ino::ROOT, b"a"), None);
}

// SEMANTICS: S-inodes
#[test]
fn an_inode_goes_when_the_kernel_forgets_it_and_its_name_keeps_the_number() {
    let key = HashKey::random();
    let inodes = Inodes::new(100, key.clone());
    let first = inodes.look_up(Ino::ROOT, b"a", EntryKind::File);
    assert_eq!(inodes.look_up(Ino::ROOT, b"a", EntryKind::File), first);
    inodes.forget(first, 1);
    assert!(inodes.path(first).is_some());
    inodes.forget(first, 1);
    assert_eq!(inodes.path(first), None);
    assert_eq!(inodes.look_up(Ino::ROOT, b"a", EntryKind::File), first);
    let later = Inodes::new(100, key);
    assert_ne!(later.look_up(Ino::ROOT, b"b", EntryKind::File), first);
    assert_eq!(later.look_up(Ino::ROOT, b"a", EntryKind::File), first);
}

#[test]
fn nobody_without_the_key_knows_which_number_a_name_gets() {
    let numbers = [(); 2].map(|()| some(100).look_up(Ino::ROOT, b"a", EntryKind::File));
    assert_ne!(numbers[0], numbers[1]);
}

// SEMANTICS: S-inodes
#[test]
fn a_number_is_not_used_twice_at_a_time() {
    let inodes = some(100);
    let old = inodes.look_up(Ino::ROOT, b"a", EntryKind::File);
    inodes.rename((Ino::ROOT, b"a"), (Ino::ROOT, b"b"));
    let new = inodes.look_up(Ino::ROOT, b"a", EntryKind::File);
    assert_ne!(new, old);
    assert_eq!(inodes.look_up(Ino::ROOT, b"b", EntryKind::File), old);
}

#[test]
fn a_directory_outlives_its_own_forget_while_children_are_known() {
    let inodes = some(100);
    let dir = inodes.look_up(Ino::ROOT, b"d", EntryKind::Directory);
    let file = inodes.look_up(dir, b"f", EntryKind::File);
    inodes.forget(dir, 1);
    assert_eq!(path_of(&inodes, file).as_deref(), Some("/d/f"));
    inodes.forget(file, 1);
    assert_eq!(inodes.kind(dir), None);
}

#[test]
fn an_unlinked_inode_has_no_path_and_its_name_is_free() {
    let inodes = some(100);
    let old = inodes.look_up(Ino::ROOT, b"f", EntryKind::File);
    inodes.unlink(Ino::ROOT, b"f");
    assert_eq!(inodes.path(old), None);
    let new = inodes.look_up(Ino::ROOT, b"f", EntryKind::File);
    assert_ne!(old, new);
    inodes.forget(old, 1);
    assert_eq!(path_of(&inodes, new).as_deref(), Some("/f"));
}

#[test]
fn a_name_that_changed_its_kind_gets_a_new_number() {
    let inodes = some(100);
    let file = inodes.look_up(Ino::ROOT, b"x", EntryKind::File);
    let dir = inodes.look_up(Ino::ROOT, b"x", EntryKind::Directory);
    assert_ne!(file, dir);
    assert_eq!(inodes.path(file), None);
}

// SEMANTICS: S-inodes-max
#[test]
fn the_oldest_files_that_are_not_open_are_offered_to_be_forgotten() {
    let inodes = some(3);
    let dir = inodes.look_up(Ino::ROOT, b"dir", EntryKind::Directory);
    let open = inodes.look_up(dir, b"open", EntryKind::File);
    inodes.open_file(
        open,
        || OpenFile::new(open, std::time::SystemTime::UNIX_EPOCH),
        |_| {},
    );
    let old = inodes.look_up(dir, b"old", EntryKind::File);
    inodes.look_up(dir, b"new", EntryKind::File);
    let names = inodes.surplus().unwrap();
    let names: Vec<_> = names.iter().map(|(dir, name)| (*dir, &**name)).collect();
    assert_eq!(names, [(dir, &b"old"[..]), (dir, b"new")]);
    inodes.forget(old, 1);
    assert_eq!(inodes.path(old), None);
    // What cannot be forgotten is not offered again and again.
    std::thread::scope(|scope| {
        let offered = scope.spawn(|| inodes.surplus());
        inodes.close();
        assert!(offered.join().unwrap().is_none());
    });
}

#[test]
fn a_rename_over_a_known_name_takes_it() {
    let inodes = some(100);
    let from = inodes.look_up(Ino::ROOT, b"a", EntryKind::File);
    let to = inodes.look_up(Ino::ROOT, b"b", EntryKind::File);
    inodes.rename((Ino::ROOT, b"a"), (Ino::ROOT, b"b"));
    assert_eq!(path_of(&inodes, from).as_deref(), Some("/b"));
    assert_eq!(inodes.path(to), None);
}
