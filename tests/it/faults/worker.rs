//! Runs cases: a directory for each, one mount and one proxy for several.

use std::{
    fs,
    path::PathBuf,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use super::{
    aftermath::Scene,
    fault::Fault,
    operation::{Failed, Found, Operation, describe, pattern},
    plan::{Case, Queue, Traces, verb},
    report::{Outcome, Report},
};
use crate::{
    common::{Meddler, Mount, POLL_INTERVAL, Server, give_to_server, meddler::Heard, names_in},
    safety::store,
};

/// `--timeout` of a mount whose server does not answer, and of others.
const TIMEOUTS: [u64; 2] = [8, 2];

/// How old what was listed is when an operation begins.
const AGE: Duration = Duration::from_millis(2_100);

/// How long nothing is said before an operation is over.
const QUIET: Duration = Duration::from_millis(60);

/// How much of the mount's log is shown with a failure.
const LOG_LINES_MAX: usize = 25;

/// How old a mount gets before it is replaced, below the age at which it is killed.
const MOUNT_AGE_MAX: Duration = Duration::from_secs(75);

/// A mount with a proxy and a directory of its own on the server.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    meddler: Meddler,
    url: String,
    server: &'a Server,
    name: String,
    number: usize,
    likes_slow: bool,
}

/// A case that is about to be run.
#[derive(Debug)]
struct Ready {
    case: Case,
    name: String,
}

impl<'a> Worker<'a> {
    pub(super) fn new(server: &'a Server, number: usize) -> Self {
        let name = format!("w{number}");
        let dir = server.root().join(&name);
        fs::create_dir(&dir).unwrap();
        give_to_server(&dir);
        let meddler = Meddler::start(server);
        let url = format!("{}{name}", meddler.url(server));
        Self {
            meddler,
            url,
            server,
            name,
            number: 0,
            likes_slow: number.is_multiple_of(2),
        }
    }

    /// What each operation does without a fault.
    pub(super) fn traces(mut self, operations: &[Operation]) -> Traces {
        let (alone, others): (Vec<Operation>, Vec<Operation>) = operations
            .iter()
            .partition(|operation| operation.is_alone());
        let mut traces = self.traces_of(&others);
        for operation in alone {
            traces.extend(self.traces_of(&[operation]));
        }
        let place = |trace: &(Operation, _)| operations.iter().position(|it| *it == trace.0);
        traces.sort_by_key(place);
        traces
    }

    fn traces_of(&mut self, operations: &[Operation]) -> Traces {
        let names: Vec<String> = operations.iter().map(|&it| self.prepare(it)).collect();
        let mount = self.mount(false, operations);
        for (operation, name) in operations.iter().zip(&names) {
            look(&mount, *operation, name);
        }
        thread::sleep(AGE);
        let trace = |(&operation, name): (&Operation, &String)| {
            self.settle();
            self.meddler.start_trace();
            let told = operation.run(&mount.path().join(name));
            self.settle();
            let heard = self.meddler.traced();
            if let Ok(read) = told {
                operation.check_read(&read).unwrap();
                let found = operation.found(&self.disk(name)).unwrap();
                let is_done = found == Found::New || !operation.changes();
                assert!(is_done, "{operation} without a fault: {found:?}");
            }
            Operation::check_others(&self.disk(name)).unwrap();
            (operation, heard)
        };
        operations.iter().zip(&names).map(trace).collect()
    }

    /// Runs cases until there are no more.
    pub(super) fn work(mut self, traces: &Traces, queue: &Queue, report: &Mutex<Report>) {
        loop {
            let cases = queue.take(self.likes_slow);
            if cases.is_empty() {
                return;
            }
            self.run_batch(traces, cases, queue, report);
        }
    }

    fn run_batch(
        &mut self,
        traces: &Traces,
        cases: Vec<Case>,
        queue: &Queue,
        report: &Mutex<Report>,
    ) {
        let is_slow = cases.first().is_some_and(|case| case.fault.is_slow());
        let ready: Vec<Ready> = cases
            .into_iter()
            .map(|case| Ready {
                name: self.prepare(case.operation),
                case,
            })
            .collect();
        let operations: Vec<Operation> = ready.iter().map(|ready| ready.case.operation).collect();
        let mount = self.mount(is_slow, &operations);
        let started = Instant::now();
        for ready in &ready {
            look(&mount, ready.case.operation, &ready.name);
        }
        thread::sleep(AGE);
        let mut ready = ready.into_iter();
        let mut is_fit = true;
        while is_fit && started.elapsed() < MOUNT_AGE_MAX {
            let Some(Ready { case, name }) = ready.next() else {
                break;
            };
            let trace = traces
                .iter()
                .find(|(operation, _)| *operation == case.operation);
            let expected = &trace.unwrap().1;
            is_fit = self.run(&mount, case, &name, expected, queue, report);
            self.meddler.behave();
        }
        let left: Vec<Ready> = ready.collect();
        drop(mount);
        for Ready { case, name } in left.into_iter().rev() {
            let _ = fs::remove_dir_all(self.disk(&name));
            queue.give_back([case]);
        }
    }

    /// Runs one case; whether the mount is as it was.
    fn run(
        &self,
        mount: &Mount,
        case: Case,
        name: &str,
        expected: &[Heard],
        queue: &Queue,
        report: &Mutex<Report>,
    ) -> bool {
        let (dir, disk) = (mount.path().join(name), self.disk(name));
        let operation = case.operation;
        let timeout = Duration::from_secs(TIMEOUTS[usize::from(case.fault.is_slow())]);
        let bound = 4 * timeout + Duration::from_secs(5);
        self.settle();
        let mut failures = Vec::new();
        self.meddler.behave();
        self.meddler.start_trace();
        let hit = case.fault.arm(&self.meddler, &case.place);
        let started = Instant::now();
        let told = operation.run(&dir);
        let time = started.elapsed();
        if time > bound {
            failures.push(format!("took {time:?}"));
        }
        let newer = pattern(11, 6_000);
        let is_again = case.fault == Fault::LateAgain && told.is_err() && operation.has_name();
        let again = is_again.then(|| store(&dir.join("file"), &newer));
        self.settle();
        self.meddler.behave();
        let heard = self.meddler.traced();
        let is_hit = hit.get() > 0;
        let is_shifted = !is_hit || is_shifted(&case, &heard, expected);
        let mut was_hidden = false;
        let mut is_done_anyway = false;
        if matches!(again, Some(Ok(()))) {
            let found = fs::read(disk.join("file")).ok();
            if found.as_ref() != Some(&newer) {
                let found = describe("file", found.as_deref());
                failures.push(format!("a later success is OVERWRITTEN: {found}"));
            }
        } else {
            match (operation.found(&disk), &told) {
                (Err(what), _) if again.is_none() => failures.push(what),
                (Err(_), _) => {}
                (Ok(found), Ok(read)) => {
                    failures.extend(operation.check_read(read).err());
                    if operation.changes() && found != Found::New {
                        failures.push(format!("success, but the disk holds {found:?}"));
                    }
                }
                (Ok(found), Err(_)) => {
                    was_hidden = found == Found::Hidden;
                    is_done_anyway = operation.changes() && found == Found::New;
                }
            }
        }
        failures.extend(Operation::check_others(&disk).err());
        let is_unsent = matches!(told, Err(Failed::Writing(_))) && !is_again;
        let (dir, disk) = (dir.as_path(), disk.as_path());
        let scene = Scene {
            mount,
            operation,
            dir,
            disk,
        };
        scene.check(is_unsent, is_again, &mut failures);
        let outcome = Outcome {
            told: format!(
                "{:?} after {} ms{}",
                told.as_ref().map(Vec::len),
                time.as_millis(),
                again.map_or(String::new(), |it| format!(", again {it:?}"))
            ),
            is_hit,
            was_hidden,
            is_done_anyway,
            failures,
            case: case.clone(),
        };
        if is_shifted && !case.is_again && outcome.failures.is_empty() {
            queue.give_back([Case {
                is_again: true,
                ..case
            }]);
            let _ = fs::remove_dir_all(disk);
            return false;
        }
        let is_good = outcome.failures.is_empty();
        if !is_good {
            self.explain(mount, name, &outcome, &heard);
        }
        report.lock().unwrap().add(outcome);
        if is_good {
            let _ = fs::remove_dir_all(disk);
        }
        is_good && !is_shifted
    }

    /// Says all that is known of a case that has failed.
    fn explain(&self, mount: &Mount, name: &str, outcome: &Outcome, heard: &[Heard]) {
        let kind = self.server.kind();
        let failures = outcome.failures.join("; ");
        eprintln!("--- {kind:?} {} {failures}", outcome.case);
        for Heard { line, codes, bytes } in heard {
            eprintln!("    {line} {} {bytes:?}", codes.join("+"));
        }
        let log = mount.log_whole();
        let is_meant = |line: &&str| {
            [name, "WARN", "ERROR"]
                .iter()
                .any(|part| line.contains(part))
        };
        let lines: Vec<&str> = log.lines().filter(is_meant).collect();
        for line in &lines[lines.len().saturating_sub(LOG_LINES_MAX)..] {
            eprintln!("    | {line}");
        }
    }

    /// A mount that has learnt how the server does what the operations need.
    fn mount(&mut self, is_slow: bool, operations: &[Operation]) -> Mount {
        let is_alone = operations.iter().any(|operation| operation.is_alone());
        let mut first = vec![Operation::Append, Operation::New];
        first.extend(
            operations
                .contains(&Operation::Patch)
                .then_some(Operation::Patch),
        );
        let names: Vec<String> = first.iter().map(|&it| self.prepare(it)).collect();
        let timeout = format!("timeout={}", TIMEOUTS[usize::from(is_slow)]);
        let options = ["dir-ttl=600", timeout.as_str(), "drain-timeout=1"];
        let mut mount = Mount::of_url(&self.url, &options);
        mount.may_end_badly();
        for (operation, name) in first.iter().zip(&names) {
            if !is_alone {
                operation.run(&mount.path().join(name)).unwrap();
            }
            let _ = fs::remove_dir_all(self.disk(name));
        }
        mount
    }

    /// Makes a directory for an operation.
    fn prepare(&mut self, operation: Operation) -> String {
        self.number += 1;
        let name = format!("{operation}{}", self.number);
        operation.prepare(&self.disk(&name));
        name
    }

    fn disk(&self, name: &str) -> PathBuf {
        self.server.root().join(&self.name).join(name)
    }

    /// Waits until nothing is said any more.
    fn settle(&self) {
        let started = Instant::now();
        while !self.meddler.is_quiet_for(QUIET) && started.elapsed() < Duration::from_secs(15) {
            thread::sleep(POLL_INTERVAL / 2);
        }
    }
}

/// Whether other commands came than without the fault, so that another one was hit: the mount had learnt something.
fn is_shifted(case: &Case, heard: &[Heard], expected: &[Heard]) -> bool {
    let at = case.place.command();
    let verb = |heard: &[Heard], at| heard.get(at).map(|heard: &Heard| verb(&heard.line));
    let is_same = (0..at).all(|at| verb(heard, at) == verb(expected, at));
    !is_same || verb(heard, at).as_ref() != Some(&case.verb)
}

/// Lets the mount know what is in a directory.
fn look(mount: &Mount, operation: Operation, name: &str) {
    if operation.looks_first() {
        names_in(&mount.path().join(name));
    }
}
