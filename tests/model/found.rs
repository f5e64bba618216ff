//! Sequences in which something was lost once, shortened and kept: a seed means another sequence when what is drawn changes.

use crate::{
    sequence::{
        Act::{self, Other, Program, Wait, Wakes},
        At::{self, Command},
        Deed::{self, Replaces, Stores},
        FRIENDLY,
        Mode::CreateTruncate,
        Op::{Close, Open, Rename, Unlink, Write},
        Place::Start,
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
