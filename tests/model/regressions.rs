//! Shrunk failures, kept.

use ftpfs::remote::{RemoteErrorKind as Kind, memory::Operation};

use crate::{
    harness,
    op::{Conditions, Fault, Mode, Op, Scenario, Step, Target},
};

fn run(conditions: Conditions, steps: &[(Op, &[Fault])]) {
    let steps = steps.iter().map(|(op, faults)| Step {
        op: *op,
        faults: faults.to_vec(),
    });
    let steps = steps.collect();
    harness::run(&Scenario { conditions, steps });
}

/// The file was there, nobody knew, and its next upload was taken for one of a new file.
#[test]
fn regression_new_file_whose_settling_was_lost_where_nothing_is_overwritten() {
    let conditions = Conditions {
        can_overwrite: false,
        ..Conditions::default()
    };
    let lost = Fault::ReplyLost(Operation::Settle, 1, Kind::Disconnected);
    let steps: [(Op, &[Fault]); 2] = [
        (Op::Open(Target::Any(0), Mode::Create), &[]),
        (Op::Fsync(0), &[lost]),
    ];
    run(conditions, &steps);
}

/// The same, and then the name is removed.
#[test]
fn regression_new_file_whose_settling_was_lost_is_removed() {
    let lost = Fault::Fails(Operation::Settle, 1, Kind::Disconnected);
    let steps: [(Op, &[Fault]); 3] = [
        (Op::Open(Target::Any(0), Mode::Create), &[]),
        (Op::Fsync(0), &[lost]),
        (Op::Unlink(Target::Any(0)), &[]),
    ];
    run(Conditions::default(), &steps);
}

/// The mode was to go up with bytes that were cut off again.
#[test]
fn regression_mode_set_on_a_file_that_became_what_it_was() {
    let steps: [(Op, &[Fault]); 6] = [
        (Op::Open(Target::Any(0), Mode::Create), &[]),
        (Op::Fsync(0), &[]),
        (Op::TruncateHandle(0, 1), &[]),
        (Op::Chmod(Target::Any(0), 0o600), &[]),
        (Op::TruncateHandle(0, 0), &[]),
        (Op::Close(0), &[]),
    ];
    run(Conditions::default(), &steps);
}

/// The tail had arrived in part, and then the file was cut back to its old length.
#[test]
fn regression_append_that_broke_and_was_taken_back() {
    let broken = Fault::BreaksAfter(Operation::OpenUpload, 50, Kind::Disconnected);
    let steps: [(Op, &[Fault]); 6] = [
        (Op::OtherWrites(Target::Any(0), 100, 1), &[]),
        (Op::Open(Target::Any(0), Mode::Append), &[]),
        (Op::Write(0, 0, 5000, 2), &[]),
        (Op::Fsync(0), &[broken]),
        (Op::TruncateHandle(0, 100), &[]),
        (Op::Close(0), &[]),
    ];
    run(Conditions::default(), &steps);
}

/// The byte had arrived, nobody knew, and then the file was emptied again.
#[test]
fn regression_lost_upload_of_a_file_that_was_empty_and_is_again() {
    let lost = Fault::ReplyLost(Operation::Put, 1, Kind::Disconnected);
    let steps: [(Op, &[Fault]); 6] = [
        (Op::Open(Target::Any(0), Mode::Create), &[]),
        (Op::Fsync(0), &[]),
        (Op::Write(0, 0, 1, 0), &[]),
        (Op::Fsync(0), &[lost]),
        (Op::TruncateHandle(0, 0), &[]),
        (Op::Close(0), &[]),
    ];
    run(Conditions::default(), &steps);
}

/// The tail had arrived whole, only the look at it failed, and then the file was cut back.
#[test]
fn regression_append_that_was_not_confirmed_and_was_taken_back() {
    let lost = Fault::Fails(Operation::Settle, 2, Kind::Disconnected);
    let steps: [(Op, &[Fault]); 6] = [
        (Op::OtherWrites(Target::Any(0), 100, 1), &[]),
        (Op::Open(Target::Any(0), Mode::Append), &[]),
        (Op::Write(0, 0, 5000, 2), &[]),
        (Op::Fsync(0), &[lost]),
        (Op::TruncateHandle(0, 100), &[]),
        (Op::Close(0), &[]),
    ];
    run(Conditions::default(), &steps);
}

/// A private file on a server that stores nothing over a file and takes no names with a dot: the directory that hides it while it goes up
/// had one.
#[test]
fn regression_private_file_where_nothing_is_overwritten_and_no_name_has_a_dot() {
    let conditions = Conditions {
        can_overwrite: false,
        refuses_dots: true,
        ..Conditions::default()
    };
    let steps: [(Op, &[Fault]); 2] = [
        (Op::Open(Target::Any(0), Mode::Create), &[]),
        (Op::Chmod(Target::Any(0), 0o600), &[]),
    ];
    run(conditions, &steps);
}

/// A name that a listing had left out was taken for free when the server refused to make a directory there.
#[test]
fn regression_mkdir_of_a_name_that_a_truncated_listing_leaves_out() {
    let conditions = Conditions {
        is_truncated: true,
        ..Conditions::default()
    };
    let steps: [(Op, &[Fault]); 5] = [
        (Op::Open(Target::Any(1), Mode::Create), &[]),
        (Op::OtherMakesDir(Target::Any(2)), &[]),
        (Op::Open(Target::Any(0), Mode::Create), &[]),
        (Op::Close(5), &[]),
        (Op::Mkdir(Target::Existing(2)), &[]),
    ];
    run(conditions, &steps);
}
