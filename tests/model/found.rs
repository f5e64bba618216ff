//! Sequences in which something was lost once, shortened and kept: a seed means another sequence when what is drawn changes.

use crate::{
    sequence::{
        Act::{self, Other, Program},
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
