//! Ordinary programs that bring their own habits: editors, git, sqlite, rsync, archivers.

use std::{
    fs::{self, File, FileTimes},
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::common::{Target, for_each_server, pattern};

for_each_server!(&[];
    sed,
    vim,
    git,
    git_clone,
    sqlite,
    rsync,
    tar,
    unzip,
    zip,
    copy_trees,
    move_across,
    find_and_grep,
    remove_trees,
);

pub(crate) fn sed(t: &Target) {
    t.sh("seq 1000 > f; sed -i s/^500$/five-hundred/ f; sed -i.bak 1d f");
    let expected: String = (2..=1000)
        .map(|i| {
            if i == 500 {
                "five-hundred\n".to_owned()
            } else {
                format!("{i}\n")
            }
        })
        .collect();
    assert_eq!(String::from_utf8(t.on_disk("f")).unwrap(), expected);
    assert!(t.on_disk("f.bak").starts_with(b"1\n2\n"));
}

pub(crate) fn vim(t: &Target) {
    t.sh("seq 3 > f; chmod 640 f");
    // As in an interactive session: a backup while writing, a swap file, and a check that the directory is writable.
    let edit = "vim -u NONE -es -c 'set nocompatible writebackup directory=. swapfile' \
                -c '%s/2/two/' -c 'normal Goappended' -c 'wq' f </dev/null";
    t.sh(edit);
    assert_eq!(
        String::from_utf8(t.on_disk("f")).unwrap(),
        "1\ntwo\n3\nappended\n"
    );
    let mode = fs::metadata(t.path("f")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o640, "vim keeps the mode");
    t.sh("vim -u NONE -es -c 'set backupcopy=yes' -c '%s/two/2/' -c 'wq' f </dev/null");
    t.sh("vim -u NONE -es -c 'set backupcopy=no' -c '%s/3/three/' -c 'wq' f </dev/null");
    assert_eq!(
        String::from_utf8(t.on_disk("f")).unwrap(),
        "1\n2\nthree\nappended\n"
    );
    t.sh("test \"$(ls -A)\" = f");
}

pub(crate) fn git(t: &Target) {
    t.sh("git init -q -b main repo
          cd repo
          mkdir -p src/deep
          for i in $(seq 20); do echo \"file $i\" > src/deep/$i.txt; done
          head -c 300000 /dev/urandom > blob
          git add . && git commit -qm first
          echo changed > src/deep/7.txt
          git commit -qam second
          git checkout -q -b side HEAD~1 && echo side > side && git add side && git commit -qm side
          git checkout -q main && git merge -q -m merge side
          git mv side moved && git commit -qm move
          git gc -q
          git fsck --full --strict");
    assert_eq!(
        t.sh("cd repo; git status --porcelain; git log --format=%s | sort"),
        "first\nmerge\nmove\nsecond\nside\n"
    );
    // The server's disk alone is a sound repository with the same content.
    let disk = t.disk("repo");
    let disk = disk.display();
    t.sh(&format!(
        "git -c safe.directory='*' -C {disk} fsck --full --strict 2>&1"
    ));
    t.sh(&format!("test \"$(git -c safe.directory='*' -C {disk} rev-parse HEAD)\" = \"$(git -C repo rev-parse HEAD)\""));
}

fn git_clone(t: &Target) {
    t.sh("git init -q -b main $SCRATCH/source
          cd $SCRATCH/source
          for i in $(seq 30); do echo $i > $i; git add $i; git commit -qm $i; done");
    t.sh("git clone -q $SCRATCH/source clone
          git clone -q clone second
          git clone -q --bare second bare.git
          git -C second fsck --full --strict
          git -C bare.git fsck --full --strict
          echo pushed > second/pushed
          git -C second add pushed
          git -C second commit -qm pushed
          git -C second push -q ../bare.git main
          git clone -q bare.git $SCRATCH/back");
    assert_eq!(
        t.sh("cat $SCRATCH/back/pushed $SCRATCH/back/30; git -C second status --porcelain"),
        "pushed\n30\n"
    );
}

pub(crate) fn sqlite(t: &Target) {
    t.sh("sqlite3 db 'create table t(id integer primary key, v text);
                      begin;
                      insert into t(v) select hex(randomblob(50)) from generate_series(1, 2000);
                      commit;' || exit 9");
    t.sh("sqlite3 db \"update t set v = 'changed' where id % 3 = 0; delete from t where id % 7 = 0; insert into t(v) values ('last');\"");
    // A transaction that is rolled back leaves nothing behind, not even its journal.
    t.sh("sqlite3 db \"begin; delete from t; rollback;\"; test ! -e db-journal");
    t.sh("sqlite3 db 'pragma journal_mode=truncate; insert into t(v) values (1);' >/dev/null");
    assert_eq!(
        t.sh("sqlite3 db 'pragma integrity_check; select count(*) from t;'"),
        "ok\n1717\n"
    );
    let disk = t.disk("db");
    let query = format!(
        "cp {} $SCRATCH/db; sqlite3 $SCRATCH/db 'pragma integrity_check; select count(*) from t;'",
        disk.display()
    );
    assert_eq!(t.sh(&query), "ok\n1717\n");
    t.sh("sqlite3 db vacuum; sqlite3 db 'pragma integrity_check' | grep -qx ok");
}

pub(crate) fn rsync(t: &Target) {
    make_old_tree(&t.scratch("src"));
    let copy = "rsync -a --out-format='%i %n' $SCRATCH/src/ dst/";
    let first = t.sh(copy);
    assert!(first.contains(" deep/er/file"), "{first}");
    // The second run finds nothing to do; a directory's time alone may differ where it cannot be set.
    let second = t.sh(copy);
    let changed: Vec<&str> = second
        .lines()
        .filter(|line| t.kind().sets_directory_times() || !line.starts_with(".d..t"))
        .collect();
    assert!(changed.is_empty(), "transferred again: {changed:?}");
    for name in ["a", "deep/b", "deep/er/file", "big"] {
        let times = [
            t.scratch("src").join(name),
            t.disk("dst").join(name),
            t.path("dst").join(name),
        ]
        .map(|path| fs::metadata(path).unwrap().mtime());
        assert_eq!((times[0], times[0]), (times[1], times[2]), "time of {name}");
    }
    t.sh("echo more >> $SCRATCH/src/a");
    let third = t.sh(copy);
    let files: Vec<&str> = third
        .lines()
        .filter(|line| line.starts_with(">f"))
        .collect();
    assert!(files.len() == 1 && files[0].ends_with(" a"), "{third}");
    t.sh("rm $SCRATCH/src/deep/b; rsync -a --delete $SCRATCH/src/ dst/; test ! -e dst/deep/b; diff -r $SCRATCH/src dst");
    // Out again, and with the delta algorithm inside of the file.
    t.sh("rsync -a dst/ $SCRATCH/out/ && diff -r $SCRATCH/src $SCRATCH/out");
    t.sh("printf patched | dd of=$SCRATCH/src/big bs=1 seek=5000 conv=notrunc status=none
          rsync -a --inplace --no-whole-file --ignore-times $SCRATCH/src/big dst/big; cmp $SCRATCH/src/big dst/big");
}

pub(crate) fn tar(t: &Target) {
    make_old_tree(&t.scratch("src"));
    t.sh("tar -C $SCRATCH -cf $SCRATCH/a.tar src");
    // As root, tar restores owners as well; what is shown here belongs to whom it belongs.
    t.sh("tar --no-same-owner -xf $SCRATCH/a.tar; diff -r $SCRATCH/src src");
    for name in ["a", "deep/b", "deep/er/file", "big"] {
        let time = |path: &Path| fs::metadata(path.join(name)).unwrap().mtime();
        let expected = time(&t.scratch("src"));
        assert_eq!(time(&t.disk("src")), expected, "time of {name} on the disk");
        assert_eq!(time(&t.path("src")), expected, "time of {name}");
    }
    t.sh("tar -cf out.tar src; tar -tf out.tar > list; grep -q src/deep/er/file list; rm list; tar -xOf out.tar src/big | cmp - src/big");
    t.sh("tar -czf out.tgz src; gzip -t out.tgz; tar -df out.tar");
}

fn unzip(t: &Target) {
    make_old_tree(&t.scratch("src"));
    t.sh("cd $SCRATCH; zip -qr a.zip src");
    t.sh("unzip -q $SCRATCH/a.zip; diff -r $SCRATCH/src src; cp $SCRATCH/a.zip .; unzip -tq a.zip >/dev/null");
    let time = |path: &Path| fs::metadata(path.join("deep/b")).unwrap().mtime();
    assert_eq!(time(&t.disk("src")), time(&t.scratch("src")));
}

fn zip(t: &Target) {
    make_old_tree(&t.scratch("src"));
    // Zip writes to a temporary name, seeks back to patch headers, and renames.
    t.sh("cp -r $SCRATCH/src .; zip -qr a.zip src; zip -q a.zip -d src/a; unzip -q a.zip -d out; diff -r src/deep out/src/deep");
}

pub(crate) fn copy_trees(t: &Target) {
    make_old_tree(&t.scratch("src"));
    t.sh("cp -r $SCRATCH/src in; diff -r $SCRATCH/src in; cp -r in again; diff -r in again; cp -r again $SCRATCH/out; diff -r $SCRATCH/src $SCRATCH/out");
}

fn move_across(t: &Target) {
    make_old_tree(&t.scratch("src"));
    t.sh("cp -r $SCRATCH/src $SCRATCH/kept
          mv $SCRATCH/src/big .
          cmp big $SCRATCH/kept/big
          mv $SCRATCH/src/deep . && diff -r deep $SCRATCH/kept/deep
          mv deep renamed && diff -r renamed $SCRATCH/kept/deep
          mkdir into && mv renamed into && mv into/renamed/er/file into
          mv big into/ && mv into $SCRATCH/back
          cmp $SCRATCH/back/big $SCRATCH/kept/big");
    assert_eq!(
        fs::read_dir(t.disk("")).unwrap().count(),
        0,
        "all has been moved out"
    );
}

fn find_and_grep(t: &Target) {
    make_old_tree(&t.disk("src"));
    t.sh("grep -rl 'content of b' src | grep -qx src/deep/b");
    t.sh("find src -type f | wc -l | grep -qx 4; find src -size +100k | grep -qx src/big");
    t.sh("find src -name 'f*' -exec cat {} + | grep -c 'content of file' >/dev/null; du -sk src | cut -f1 | grep -q '[0-9]'");
    t.sh("wc -c < src/big | grep -qx 200000; md5sum src/big > sums; md5sum -c --quiet sums; head -c 10 src/big | wc -c | grep -qx 10");
}

pub(crate) fn remove_trees(t: &Target) {
    t.sh("for d in a b c; do mkdir -p tree/$d/x/y; for i in $(seq 30); do echo $i > tree/$d/x/$i; done; touch tree/$d/x/y/.hidden; done");
    t.sh("rm -r tree/a/x; test -z \"$(ls -A tree/a)\"; rm -rf tree; test -z \"$(ls -A)\"");
    assert_eq!(fs::read_dir(t.disk("")).unwrap().count(), 0);
}

/// A small tree whose files were last changed years ago.
fn make_old_tree(root: &Path) {
    fs::create_dir_all(root.join("deep/er")).unwrap();
    let files = [
        ("a", b"content of a\n".to_vec()),
        ("deep/b", b"content of b\n".to_vec()),
        ("deep/er/file", b"content of file\n".to_vec()),
        ("big", pattern(10, 200_000)),
    ];
    for (i, (name, content)) in files.iter().enumerate() {
        let path = root.join(name);
        fs::write(&path, content).unwrap();
        let age = Duration::from_secs(1_400_000_000 + 86_461 * i as u64);
        let file = File::options().write(true).open(path).unwrap();
        file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + age))
            .unwrap();
    }
}
