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
mod trial;
mod worker;
mod wrong;

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
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
    let operations = Operation::all(kind, &choice);
    if operations.is_empty() {
        println!("{kind:?} cannot do that");
        return;
    }
    let traces = Worker::new(&server, WORKERS).traces(&operations);
    let cases = plan::cases(&traces, &choice);
    println!("{kind:?}: {} cases", cases.len());
    let planned = cases.len();
    let report = Mutex::new(Report::new(kind, &traces));
    let queue = Queue::new(cases);
    let given_up = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..WORKERS {
            let (server, traces, queue, report) = (&server, &traces, &queue, &report);
            let given_up = &given_up;
            // Another one takes the place of one that has panicked.
            scope.spawn(move || {
                let mut names = (number..).step_by(2 * WORKERS);
                let mut work = || {
                    let worker = Worker::new(server, names.next().unwrap());
                    worker.work(traces, queue, report);
                };
                while panic::catch_unwind(AssertUnwindSafe(&mut work)).is_err() {
                    given_up.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    let report = report.into_inner().unwrap();
    report.print(started.elapsed());
    let given_up = given_up.into_inner();
    assert_eq!(given_up, 0, "workers that have given up");
    report.assert_as_known(planned);
}
