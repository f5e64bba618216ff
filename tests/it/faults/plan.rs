//! Which cases there are, and which of them are run.

use std::{collections::VecDeque, fmt, sync::Mutex};

use super::{
    fault::{Fault, Place},
    operation::Operation,
};
use crate::common::meddler::Heard;

/// How many cases a sample has. Those that wait, and those in which it is a matter of moments what is read first, are for `scripts/faults`.
const SAMPLE: usize = 90;

/// How many cases share a mount that has looked at their directories.
const BATCH: usize = 12;

/// What an operation does on the wire without a fault.
pub(super) type Traces = Vec<(Operation, Vec<Heard>)>;

/// One fault at one place of one operation.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) operation: Operation,
    pub(super) fault: Fault,
    pub(super) place: Place,
    /// The command that is hit, without what varies.
    pub(super) verb: String,
    /// It was run by a mount that had learnt something before, and is run once more.
    pub(super) is_again: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.operation, self.fault, self.place)
    }
}

/// Which cases are wanted.
#[derive(Debug)]
pub(super) enum Choice {
    Sample,
    Named {
        operation: String,
        /// One of them, or all `quick` or `slow` ones.
        fault: String,
        place: String,
        /// Of those, one in so many, spread evenly.
        one_in: u64,
    },
}

impl Choice {
    /// What `FTPFS_FAULTS` says: nothing, or `OPERATION/FAULT/PLACE/N` with `*` for any; `all` is short for all of them.
    pub(super) fn of_environment() -> Self {
        let text = std::env::var("FTPFS_FAULTS").unwrap_or_default();
        if text.is_empty() {
            return Self::Sample;
        }
        let mut parts = text.split('/').map(|part| match part {
            "" | "all" => "*".to_owned(),
            part => part.to_owned(),
        });
        let mut part = || parts.next().unwrap_or_else(|| "*".to_owned());
        Self::Named {
            operation: part(),
            fault: part(),
            place: part(),
            one_in: match &*part() {
                "*" => 1,
                number => number
                    .parse()
                    .expect("FTPFS_FAULTS: the last part is a number"),
            },
        }
    }

    pub(super) fn has_operation(&self, wanted: Operation) -> bool {
        match self {
            Self::Sample => true,
            Self::Named { operation, .. } => is_meant(operation, &wanted.to_string()),
        }
    }
}

fn is_meant(wanted: &str, name: &str) -> bool {
    wanted == "*" || wanted == name
}

/// The cases to run, in an order that mixes them. What is named must be there.
pub(super) fn cases(traces: &Traces, choice: &Choice) -> Vec<Case> {
    let mut all: Vec<(u64, Case)> = Vec::new();
    for (operation, heard) in traces {
        for place in places(heard) {
            for fault in Fault::ALL {
                let case = Case {
                    operation: *operation,
                    fault,
                    verb: verb(&heard[place.command()].line),
                    place: place.clone(),
                    is_again: false,
                };
                all.push((mix(&case), case));
            }
        }
    }
    all.sort_by_key(|(mixed, _)| *mixed);
    let all = all.into_iter().map(|(_, case)| case);
    let Choice::Named {
        fault,
        place,
        one_in,
        ..
    } = choice
    else {
        return all
            .filter(|case| case.fault.is_steady())
            .take(SAMPLE)
            .collect();
    };
    let is_named = |case: &Case| {
        let speed = if case.fault.is_slow() {
            "slow"
        } else {
            "quick"
        };
        (fault == speed || is_meant(fault, &case.fault.to_string()))
            && is_meant(place, &case.place.to_string())
    };
    let named = all.filter(is_named).zip(0..);
    let named = named.filter(|(_, number)| number % one_in == 0);
    let named: Vec<Case> = named.map(|(case, _)| case).collect();
    assert!(!named.is_empty(), "there is no such case: {choice:?}");
    named
}

/// A number that is the same in all builds (FNV-1a), so that the sample is.
fn mix(case: &Case) -> u64 {
    let bytes = case.to_string().into_bytes();
    bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |mixed, byte| {
            (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// A command without its arguments.
pub(super) fn verb(line: &str) -> String {
    let line = line.trim_start_matches('!');
    let mut words = line.split(' ');
    match (words.next(), words.next()) {
        (Some("SITE"), Some(which)) => format!("SITE {which}"),
        (first, _) => first.unwrap_or_default().to_owned(),
    }
}

/// Each reply, and bytes of each transfer.
fn places(heard: &[Heard]) -> Vec<Place> {
    let mut places = Vec::new();
    let mut number = 0;
    for (command, heard) in heard.iter().enumerate() {
        for at in 0..heard.codes.len() {
            places.push(Place::Reply {
                number,
                command,
                is_second: at > 0,
            });
            number += 1;
        }
        let Some(bytes) = heard.bytes.filter(|bytes| *bytes > 0) else {
            continue;
        };
        let mut spread = vec![0, 1, bytes / 4, bytes / 2, bytes * 3 / 4, bytes - 1, bytes];
        spread.sort_unstable();
        spread.dedup();
        places.extend(spread.into_iter().map(|at| Place::Data { command, at }));
    }
    places
}

/// The cases that no worker has taken yet.
#[derive(Debug)]
pub(super) struct Queue {
    quick: Mutex<VecDeque<Case>>,
    slow: Mutex<VecDeque<Case>>,
}

impl Queue {
    pub(super) fn new(cases: Vec<Case>) -> Self {
        let (slow, quick): (Vec<_>, Vec<_>) =
            cases.into_iter().partition(|case| case.fault.is_slow());
        Self {
            quick: Mutex::new(quick.into()),
            slow: Mutex::new(slow.into()),
        }
    }

    /// Cases that are all slow or all quick; which of them are taken first is the worker's to say.
    pub(super) fn take(&self, likes_slow: bool) -> Vec<Case> {
        let mut queues = [&self.quick, &self.slow];
        if likes_slow {
            queues.reverse();
        }
        for cases in queues {
            let mut cases = cases.lock().unwrap();
            let is_alone = |case: &Case| case.operation.is_alone();
            let count = match cases.iter().position(is_alone) {
                Some(0) => 1,
                Some(at) => at.min(BATCH),
                None => cases.len().min(BATCH),
            };
            if count > 0 {
                return cases.drain(..count).collect();
            }
        }
        Vec::new()
    }

    /// Gives cases back that were not run, or that are to be run again.
    pub(super) fn give_back(&self, cases: impl IntoIterator<Item = Case>) {
        for case in cases {
            let is_slow = case.fault.is_slow();
            let queue = if is_slow { &self.slow } else { &self.quick };
            queue.lock().unwrap().push_front(case);
        }
    }
}
