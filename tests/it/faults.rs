//! Each operation with each fault at each reply and in each transfer, on real servers.
//!
//! An operation runs once without a fault, so that its commands, replies and data are known; then once for each case. After each
//! case the server's disk is compared with what the program was told. `scripts/faults` runs all cases; the ordinary run takes a
//! sample of them that is always the same.

mod aftermath;
mod fault;
mod known;
mod operation;
mod plan;
mod report;
mod worker;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use self::{
    operation::Operation,
    plan::{Choice, Queue},
    report::Report,
    worker::Worker,
};
use crate::common::{Kind, Server, can_mount, for_each_kind};

for_each_kind!(nothing_is_lost);

/// How many mounts work at a time: they wait most of the time.
const WORKERS: usize = 8;

fn nothing_is_lost(kind: Kind) {
    if !can_mount() {
        return;
    }
    let Some(server) = Server::start(kind) else {
        return;
    };
    let choice = Choice::of_environment();
    let started = Instant::now();
    let traces = Worker::new(&server, WORKERS).traces(&Operation::all(kind, &choice));
    let cases = plan::cases(kind, &traces, &choice);
    println!("{kind:?}: {} cases", cases.len());
    let report = Mutex::new(Report::new(kind, &traces));
    let queue = Queue::new(cases);
    let is_whole = AtomicBool::new(true);
    thread::scope(|scope| {
        for number in 0..WORKERS {
            let (server, traces, queue, report) = (&server, &traces, &queue, &report);
            let worker = move || Worker::new(server, number).work(traces, queue, report);
            let is_whole = &is_whole;
            scope.spawn(move || {
                let is_done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(worker));
                is_whole.fetch_and(is_done.is_ok(), Ordering::SeqCst);
            });
        }
    });
    let report = report.into_inner().unwrap();
    report.print(started.elapsed());
    assert!(is_whole.into_inner(), "a worker has given up");
    report.assert_as_known();
}
