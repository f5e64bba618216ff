//! Runs cases: a directory for each, one mount and one proxy for several.

use std::{
    fs, io,
    path::PathBuf,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use super::{
    aftermath::{Scene, settle},
    operation::Operation,
    plan::{Case, Queue, Traces, verb},
    report::{Outcome, Report},
    trial::{Found, Trial, check_others},
    wrong::{Wrong, line},
};
use crate::common::{Meddler, Mount, Server, give_to_server, meddler::Heard};

/// `--timeout` of a mount whose server does not answer, and of others.
const TIMEOUTS: [u64; 2] = [8, 2];

/// How old what was listed is when an operation begins.
const AGE: Duration = Duration::from_millis(2_100);

/// How much of the mount's log is shown with a failure.
const LOG_LINES_MAX: usize = 25;

/// How old a mount gets before it is replaced, below the age at which it is killed.
const MOUNT_AGE_MAX: Duration = Duration::from_secs(75);

/// How often a mount may fail before a fault is made: the machine may be busy.
const SETBACKS_MAX: usize = 10;

/// A mount with a proxy and a directory of its own on the server.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    meddler: Meddler,
    url: String,
    server: &'a Server,
    name: String,
    number: usize,
    likes_slow: bool,
    /// How many mounts have failed before a fault was made.
    setbacks: usize,
}

/// A case that is about to be run.
#[derive(Debug)]
struct Ready {
    case: Case,
    /// Of its directory.
    name: String,
    trial: Trial,
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
            setbacks: 0,
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
        let prepared: Vec<(String, Trial)> =
            operations.iter().map(|&it| self.prepare(it)).collect();
        let mount = self.mount(false, operations).unwrap();
        for (name, trial) in &prepared {
            look(&mount, trial.operation, name).unwrap();
        }
        thread::sleep(AGE);
        let trace = |(name, trial): &(String, Trial)| {
            let operation = trial.operation;
            settle(&self.meddler);
            self.meddler.start_trace();
            let told = trial.run(&mount.path().join(name));
            settle(&self.meddler);
            let heard = self.meddler.traced();
            // Without a fault it succeeds, or its cases would show nothing.
            let read =
                told.unwrap_or_else(|error| panic!("{operation} without a fault: {error:?}"));
            let disk = self.disk(name);
            let seen = [trial.check_read(&read), check_others(&disk)];
            let wrong: Vec<_> = seen.into_iter().filter_map(Result::err).collect();
            assert!(
                wrong.is_empty(),
                "{operation} without a fault: {}",
                line(&wrong)
            );
            let found = trial.found(&disk);
            let is_done = !operation.changes() || matches!(found, Ok(Found::New));
            assert!(is_done, "{operation} without a fault: {found:?}");
            (operation, heard)
        };
        prepared.iter().map(trace).collect()
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
            .map(|case| {
                let (name, trial) = self.prepare(case.operation);
                Ready { case, name, trial }
            })
            .collect();
        let operations: Vec<Operation> = ready.iter().map(|ready| ready.case.operation).collect();
        let begun = self.mount(is_slow, &operations).and_then(|mount| {
            let mut ready = ready.iter();
            ready.try_for_each(|ready| look(&mount, ready.case.operation, &ready.name))?;
            Ok(mount)
        });
        let mount = match begun {
            Ok(mount) => mount,
            Err(error) => {
                self.setbacks += 1;
                eprintln!("a mount has failed without a fault: {error}");
                assert!(self.setbacks < SETBACKS_MAX, "{error}");
                for Ready { case, name, .. } in ready {
                    let _ = fs::remove_dir_all(self.disk(&name));
                    queue.give_back([case]);
                }
                return;
            }
        };
        let started = Instant::now();
        thread::sleep(AGE);
        let mut ready = ready.into_iter();
        let mut is_fit = true;
        while is_fit && started.elapsed() < MOUNT_AGE_MAX {
            let Some(ready) = ready.next() else {
                break;
            };
            let is_its = |(operation, _): &&(Operation, _)| *operation == ready.case.operation;
            let expected = &traces.iter().find(is_its).unwrap().1;
            is_fit = self.run(&mount, ready, expected, queue, report);
            self.meddler.behave();
        }
        let left: Vec<Ready> = ready.collect();
        drop(mount);
        for Ready { case, name, .. } in left.into_iter().rev() {
            let _ = fs::remove_dir_all(self.disk(&name));
            queue.give_back([case]);
        }
    }

    /// Runs one case; whether the mount is as it was.
    fn run(
        &self,
        mount: &Mount,
        ready: Ready,
        expected: &[Heard],
        queue: &Queue,
        report: &Mutex<Report>,
    ) -> bool {
        let Ready { case, name, trial } = ready;
        let (dir, disk) = (mount.path().join(&name), self.disk(&name));
        let scene = Scene {
            mount,
            meddler: &self.meddler,
            trial: &trial,
            dir: &dir,
            disk: &disk,
        };
        let timeout = Duration::from_secs(TIMEOUTS[usize::from(case.fault.is_slow())]);
        let bound = 4 * timeout + Duration::from_secs(5);
        settle(&self.meddler);
        let mut failures = Vec::new();
        self.meddler.behave();
        self.meddler.start_trace();
        let hit = case.fault.arm(&self.meddler, &case.place);
        let started = Instant::now();
        let told = trial.run(&dir);
        let time = started.elapsed();
        if time > bound {
            failures.push(Wrong::Slow.with(format!("{time:?}")));
        }
        let claim = scene.go_on(case.fault, &told);
        settle(&self.meddler);
        self.meddler.behave();
        let heard = self.meddler.traced();
        let is_hit = hit.get() > 0;
        let is_shifted = !is_hit || is_shifted(&case, &heard, expected);
        let found = scene.check_disk(claim);
        failures.extend(found.as_ref().err().cloned());
        if let Ok(read) = &told {
            failures.extend(trial.check_read(read).err());
        }
        scene.check(claim, &mut failures);
        if is_shifted && !case.is_again && failures.is_empty() {
            queue.give_back([Case {
                is_again: true,
                ..case
            }]);
            let _ = fs::remove_dir_all(disk);
            return false;
        }
        let is_failed = told.is_err();
        let told = told.as_ref().map(Vec::len);
        let outcome = Outcome {
            told: format!("{told:?} after {} ms, {claim:?}", time.as_millis()),
            is_hit,
            was_hidden: is_failed && matches!(found, Ok(Found::Hidden)),
            is_done_anyway: is_failed && matches!(found, Ok(Found::New)),
            failures,
            case,
        };
        let is_good = outcome.failures.is_empty();
        if is_good {
            let _ = fs::remove_dir_all(disk);
        } else {
            self.explain(mount, &name, &outcome, &heard);
        }
        report.lock().unwrap().add(outcome);
        is_good && !is_shifted
    }

    /// Says all that is known of a case that has failed.
    fn explain(&self, mount: &Mount, name: &str, outcome: &Outcome, heard: &[Heard]) {
        let kind = self.server.kind();
        let failures = line(&outcome.failures);
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
    fn mount(&mut self, is_slow: bool, operations: &[Operation]) -> io::Result<Mount> {
        let is_alone = operations.iter().any(|operation| operation.is_alone());
        // After a file was removed, a scratch file may be made.
        let mut first = vec![Operation::Append, Operation::New, Operation::Unlink];
        first.extend(
            operations
                .contains(&Operation::Patch)
                .then_some(Operation::Patch),
        );
        let prepared: Vec<(String, Trial)> = first.iter().map(|&it| self.prepare(it)).collect();
        let timeout = format!("timeout={}", TIMEOUTS[usize::from(is_slow)]);
        let options = ["dir-ttl=600", timeout.as_str(), "drain-timeout=1"];
        let mut mount = Mount::of_url(&self.url, &options);
        mount.may_end_badly();
        for (name, trial) in &prepared {
            if !is_alone {
                trial.run(&mount.path().join(name))?;
            }
            let _ = fs::remove_dir_all(self.disk(name));
        }
        Ok(mount)
    }

    /// Makes a directory for an operation, with bytes of its own.
    fn prepare(&mut self, operation: Operation) -> (String, Trial) {
        self.number += 1;
        let name = format!("{operation}{}", self.number);
        operation.prepare(&self.disk(&name));
        (name, Trial::new(operation, self.number))
    }

    fn disk(&self, name: &str) -> PathBuf {
        self.server.root().join(&self.name).join(name)
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
fn look(mount: &Mount, operation: Operation, name: &str) -> io::Result<()> {
    if operation.looks_first() {
        fs::read_dir(mount.path().join(name))?.try_for_each(|entry| entry.map(drop))?;
    }
    Ok(())
}
