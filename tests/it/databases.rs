//! Databases above 1 MiB that two programs write at once: sqlite's own locks keep them apart, and every change arrives.

use crate::common::{Target, for_each_server};

for_each_server!(&[];
    two_programs_write_in_turn,
    two_programs_write_at_once,
    a_database_is_opened_again_by_another_program,
);

/// Rows that fill some 1.6 MB.
const FILL: &str = "create table t(id integer primary key, who text, v blob);
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 1500)
    insert into t(who, v) select 'first', randomblob(1000) from n;";

/// Makes the database.
fn fill(t: &Target) {
    t.sh(&format!("sqlite3 db \"{FILL}\""));
    assert!(t.on_disk("db").len() > 1 << 20);
}

/// Asserts that it is sound, in the directory and on the server's disk, and how many rows it has.
#[track_caller]
fn assert_sound(t: &Target, rows: usize) {
    let query = "'pragma integrity_check; select count(*) from t;'";
    let expected = format!("ok\n{rows}\n");
    assert_eq!(t.sh(&format!("sqlite3 db {query}")), expected);
    let disk = t.disk("db");
    let script = format!(
        "cp {} $SCRATCH/copy; sqlite3 $SCRATCH/copy {query}",
        disk.display()
    );
    assert_eq!(t.sh(&script), expected, "on the server's disk");
}

/// Runs a Python program; `wait` and `pass_on` are there for two processes that take turns.
#[track_caller]
fn python(t: &Target, program: &str) -> String {
    std::fs::write(t.scratch("program.py"), program).unwrap();
    t.sh("python3 $SCRATCH/program.py")
}

/// Both keep it open, and each sees what the other one has written last.
fn two_programs_write_in_turn(t: &Target) {
    fill(t);
    python(
        t,
        r"
import os, sqlite3, sys
TURNS = 6
pipes = [os.pipe(), os.pipe()]
child = os.fork()
us = 1 if child == 0 else 0
db = sqlite3.connect('db', isolation_level=None, timeout=60)
for turn in range(TURNS):
    if us == 1 or turn > 0:
        assert os.read(pipes[us][0], 1) == b'.', 'the other one has given up'
    seen = db.execute('select count(*) from t').fetchone()[0]
    assert seen == 1500 + 4 * (2 * turn + us), (us, turn, seen)
    db.execute('begin immediate')
    for row in range(4):
        db.execute('insert into t(who, v) values (?, randomblob(1000))', (us,))
    db.execute('update t set v = randomblob(1000) where id % 300 = ?', (turn,))
    db.execute('commit')
    os.write(pipes[1 - us][1], b'.')
db.close()
if us == 1:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
",
    );
    assert_sound(t, 1500 + 2 * 6 * 4);
}

/// Two that wait for each other's locks.
fn two_programs_write_at_once(t: &Target) {
    fill(t);
    t.sh(r#"
        write() {
            for number in $(seq 5); do
                echo ".timeout 60000
                      begin immediate;
                      insert into t(who, v) values ('$1', randomblob(1000));
                      update t set v = randomblob(1000) where id = $number * 100 + $2;
                      insert into t(who, v) values ('$1', randomblob(1000));
                      commit;" | sqlite3 -bail db
            done
        }
        write one 1 & one=$!
        write two 2 & two=$!
        wait $one; wait $two"#);
    let counts = t.sh("sqlite3 db 'select who, count(*) from t group by who order by who'");
    assert_eq!(counts, "first|1500\none|10\ntwo|10\n");
    assert_sound(t, 1520);
}

/// Opened, changed and closed by one program after the other, with each way of ending a journal.
fn a_database_is_opened_again_by_another_program(t: &Target) {
    fill(t);
    for (number, mode) in ["delete", "truncate", "persist"].into_iter().enumerate() {
        t.sh(&format!(
            "sqlite3 db \"pragma journal_mode={mode};
                          insert into t(who, v) values ('{mode}', randomblob(5000));
                          update t set v = randomblob(1000) where id = {number} * 700 + 1;\" >/dev/null
             python3 -c \"
import sqlite3
db = sqlite3.connect('db', timeout=60)
assert db.execute('select count(*) from t').fetchone()[0] == 1501 + 2 * {number}
db.execute('insert into t(who, v) values (?, randomblob(5000))', ('python',))
db.commit()\""
        ));
        assert_sound(t, 1502 + 2 * number);
    }
}
