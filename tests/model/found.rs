//! Sequences in which something was lost once, shortened and kept: a seed means another sequence when what is drawn changes.

use ftpfs::{config::OnConflict, remote::RemoteErrorKind as Kind};

use crate::{
    sequence::{
        Act::{self, Other, Program, Wait, Wakes},
        At::{self, Command},
        Deed::{self, Appends, Halves, Replaces, Stores},
        FRIENDLY,
        Mode::{Append, Create, CreateTruncate, Exclusive, Truncate as Emptying, Write as Writing},
        Op::{Close, Fsync, Open, Rename, Truncate, Unlink, Write},
        Place::{End, Middle, Second, Start},
        Sequence, Server, Step, Trouble,
    },
    sequences,
};

/// Longer than evidence counts.
const LONG: std::time::Duration = std::time::Duration::from_secs(3);

/// Steps without trouble.
fn calm(acts: &[Act]) -> Vec<Step> {
    let steps = acts.iter();
    steps.map(|act| troubled(*act, &[])).collect()
}

fn troubled(act: Act, trouble: &[(At, Trouble)]) -> Step {
    Step {
        act,
        trouble: trouble.to_vec(),
    }
}

fn check(server: Server, steps: Vec<Step>) {
    let verdict = sequences::run(&Sequence { server, steps });
    assert_eq!(verdict, Ok(()));
}

/// Its second opening took what others made meanwhile for something that the program had emptied.
#[test]
fn regression_new_file_that_is_opened_twice_to_be_emptied_replaces_no_other() {
    let steps = calm(&[
        Program(2, Open(0, CreateTruncate)),
        Program(0, Open(0, CreateTruncate)),
        Other(Replaces(0, 5000)),
    ]);
    check(FRIENDLY, steps);
}

/// What the simulator must be able to see: two seconds after others have stored a file, a rename that may not replace one does not.
#[test]
fn a_file_that_others_store_right_before_a_rename_is_not_replaced() {
    let stores: Deed = Stores(1, 100);
    let late = Trouble::Other(stores, std::time::Duration::from_secs(3));
    for nth in 1..5 {
        let mut steps = calm(&[
            Program(0, Open(0, CreateTruncate)),
            Program(0, Write(0, Start, 100)),
            Program(0, Close(0)),
        ]);
        steps.push(troubled(
            Program(0, Rename(0, 1, true)),
            &[(Command(nth), late)],
        ));
        steps.push(troubled(Program(0, Unlink(0)), &[]));
        check(FRIENDLY, steps);
    }
}

/// What the simulator must be able to see: a change that timed out destroys nothing that was confirmed before the server carries it out.
#[test]
fn a_late_change_destroys_nothing_that_was_confirmed_meanwhile() {
    for late in [Rename(1, 0, false), Unlink(0)] {
        for nth in 1..6 {
            let mut steps = calm(&[Other(Stores(0, 100)), Other(Stores(1, 100)), Wait(LONG)]);
            steps.push(troubled(Program(0, late), &[(Command(nth), Trouble::Late)]));
            steps.extend(calm(&[
                Program(1, Open(0, CreateTruncate)),
                Program(1, Write(0, Start, 100)),
                Program(1, Close(0)),
                Wakes,
            ]));
            check(FRIENDLY, steps);
        }
    }
}

/// Its close had failed, and a program that opened the file later, and wrote nothing, replaced what others had stored since.
#[test]
fn regression_emptied_file_whose_close_failed_replaces_no_other() {
    let server = Server {
        dir_ttl: 0,
        on_conflict: OnConflict::Fail,
        ..FRIENDLY
    };
    let mut steps = calm(&[Other(Stores(0, 1_300_000))]);
    steps.push(troubled(
        Program(0, Unlink(0)),
        &[(Command(2), Trouble::Late)],
    ));
    steps.extend(calm(&[
        Program(0, Open(0, CreateTruncate)),
        Program(0, Close(0)),
        Wakes,
        Other(Stores(0, 100)),
        Program(0, Open(0, Writing)),
    ]));
    check(server, steps);
}

/// Others had cut the file before the append, so that it was shorter than believed, and was appended to twice.
#[test]
fn regression_append_behind_a_cut_is_not_doubled() {
    let mut steps = calm(&[
        Other(Stores(0, 5000)),
        Program(0, Open(0, Append)),
        Program(0, Write(0, End, 1)),
        Other(Halves(0)),
    ]);
    let broken = [(Command(3), Trouble::Broken)];
    steps.push(troubled(Program(0, Close(0)), &broken));
    check(FRIENDLY, steps);
}

/// Where nothing can be renamed, the retry of an upload in place took away what others had appended since.
#[test]
fn regression_upload_in_place_is_not_repeated_over_others() {
    let server = Server {
        can_rename: false,
        dir_ttl: 1_000_000,
        ..FRIENDLY
    };
    let mut steps = calm(&[
        Other(Stores(1, 100)),
        Program(0, Open(1, Create)),
        Program(0, Write(0, Start, 3)),
        Program(0, Close(0)),
        Program(0, Open(1, Emptying)),
    ]);
    steps.push(troubled(
        Program(0, Close(0)),
        &[(Command(4), Trouble::Late)],
    ));
    steps.extend(calm(&[Other(Appends(1, 100))]));
    check(server, steps);
}

/// The upload had failed for another reason, and the copy beside the other's file was a mixture of both.
#[test]
fn regression_copy_beside_another_version_is_no_mixture() {
    let server = Server {
        dir_ttl: 1_000_000,
        ..FRIENDLY
    };
    for nth in 3..11 {
        let mut steps = calm(&[
            Other(Stores(0, 5000)),
            Wait(LONG * 7),
            Program(0, Open(0, Create)),
            Program(0, Write(0, Second, 5000)),
            Other(Stores(0, 5000)),
        ]);
        let busy = [(Command(nth), Trouble::Refused(Kind::Busy))];
        steps.push(troubled(Program(0, Close(0)), &busy));
        check(server, steps);
    }
}

/// The old file, moved aside for a rename that failed, was brought back by a rename that timed out, over what was confirmed meanwhile.
#[test]
fn regression_old_file_that_is_brought_back_late_replaces_nothing() {
    let server = Server {
        dir_ttl: 1_000_000,
        ..FRIENDLY
    };
    for nth in 1..10 {
        let mut steps = calm(&[
            Program(0, Open(2, CreateTruncate)),
            Program(0, Close(0)),
            Other(Deed::Renames(2, 1)),
            Other(Stores(0, 5000)),
            Wait(LONG),
        ]);
        steps.push(troubled(
            Program(0, Rename(2, 0, false)),
            &[(Command(nth), Trouble::Late)],
        ));
        steps.extend(calm(&[
            Program(0, Open(0, CreateTruncate)),
            Program(0, Write(0, Start, 100)),
            Program(0, Close(0)),
            Wakes,
        ]));
        check(server, steps);
    }
}

/// What was written after the server had confirmed a new file, and before it had told that file's size, was taken for sent when others had
/// removed the file.
#[test]
fn regression_new_file_that_is_gone_is_sent_with_what_was_written_since() {
    for len in [100, 66_000] {
        let mut steps = calm(&[
            Program(0, Open(0, Exclusive)),
            Program(0, Write(0, Start, len)),
        ]);
        let busy = [(Command(3), Trouble::Refused(Kind::Busy))];
        steps.push(troubled(Program(0, Fsync(0)), &busy));
        steps.extend(calm(&[
            Program(0, Write(0, End, 3)),
            Other(Deed::Removes(0)),
            Program(0, Close(0)),
        ]));
        check(FRIENDLY, steps);
    }
}

/// Others had replaced the file by one of the same size while an append to it was broken, and what was written inside went over that.
#[test]
fn regression_change_after_a_broken_append_is_not_made_to_another_file_of_the_same_size() {
    let mut steps = calm(&[
        Other(Stores(0, 3)),
        Wait(LONG * 7),
        Program(0, Open(0, Append)),
        Program(0, Write(0, End, 3)),
    ]);
    let late = [(Command(2), Trouble::Late)];
    steps.push(troubled(Program(0, Close(0)), &late));
    steps.extend(calm(&[
        Program(0, Open(0, Create)),
        Program(0, Write(0, Start, 100)),
        Other(Stores(0, 100)),
        Other(Stores(0, 1)),
    ]));
    check(FRIENDLY, steps);
}

/// Bytes of others' new version were fetched, which was gone when the file took the name.
#[test]
fn regression_file_is_no_mixture_with_another_version_that_is_gone() {
    let gone = Trouble::Other(Deed::Renames(0, 1), LONG * 7);
    for nth in 1..13 {
        let mut steps = calm(&[
            Other(Stores(0, 5000)),
            Wait(LONG),
            Program(0, Open(0, Create)),
            Program(0, Write(0, Second, 1)),
            Other(Replaces(0, 5000)),
        ]);
        steps.push(troubled(Program(0, Close(0)), &[(Command(nth), gone)]));
        check(FRIENDLY, steps);
    }
}

/// That nothing had the name was seen before the late rename gave it something.
#[test]
fn regression_name_that_a_late_rename_may_take_is_no_new_file() {
    for mode in [Create, Exclusive] {
        let mut steps = calm(&[Other(Stores(2, 5000)), Wait(LONG)]);
        let late = [(Command(3), Trouble::Late)];
        steps.push(troubled(Program(0, Rename(2, 0, false)), &late));
        steps.extend(calm(&[
            Program(0, Open(2, Create)),
            Wakes,
            Program(1, Open(0, mode)),
            Program(1, Truncate(0, Middle)),
        ]));
        check(FRIENDLY, steps);
    }
}
