//! Sequences of operations against a reference, over a server in memory: whatever programs, other clients, the clock and broken
//! connections do in which order, each step shows what the reference has, and at the end the server has it too.
//!
//! `FTPFS_MODEL_CASES` says how many sequences are tried; a failure is shrunk, printed, and kept as a test in `regressions`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and its numbers are small"
)]

mod concurrent;
mod draw;
mod edits;
mod files;
mod found;
mod generate;
mod harness;
mod known;
mod ledger;
mod op;
mod reference;
mod regressions;
mod sequence;
mod sequences;
mod simulation;
mod trouble;
#[path = "../semantic/world.rs"]
#[allow(
    dead_code,
    reason = "shared with the semantic tests, which use more of it"
)]
mod world;

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

/// Takes some 10 s in a debug build on two cores.
const CASES: u32 = 500;

fn cases() -> u32 {
    std::env::var("FTPFS_MODEL_CASES")
        .ok()
        .map_or(CASES, |text| {
            text.parse().expect("FTPFS_MODEL_CASES is a number")
        })
}

#[test]
fn every_sequence_of_operations_shows_what_the_reference_has() {
    run(cases(), false);
}

#[test]
fn every_sequence_with_faults_ends_with_all_that_was_written() {
    run(cases(), true);
}

fn run(cases: u32, has_faults: bool) {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2000,
        // Milliseconds.
        max_shrink_time: 30_000,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&generate::scenario(has_faults), |scenario| {
        std::panic::catch_unwind(|| harness::run(&scenario)).map_err(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            TestCaseError::fail(text.unwrap_or_default())
        })
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, scenario)) => panic!("shrunk to {scenario:?}: {reason}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}
