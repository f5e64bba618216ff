//! What came of the cases: a table, and one line for each failure.

use std::{collections::BTreeMap, time::Duration};

use super::{
    known,
    plan::{Case, Traces},
    wrong::{Failure, line},
};
use crate::common::Kind;

/// What came of one case.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) case: Case,
    /// What was wrong.
    pub(super) failures: Vec<Failure>,
    /// What the program was told.
    pub(super) told: String,
    /// Whether the fault happened.
    pub(super) is_hit: bool,
    /// The old file was under a hidden name for a while.
    pub(super) was_hidden: bool,
    /// The program got an error, and the server had done it.
    pub(super) is_done_anyway: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    cases: usize,
    failed: usize,
}

/// The outcomes on one server.
#[derive(Debug)]
pub(super) struct Report {
    kind: Kind,
    traces: Vec<String>,
    counts: BTreeMap<(usize, String), BTreeMap<String, Count>>,
    order: Vec<String>,
    failures: Vec<(String, Option<usize>)>,
    hit: usize,
    hidden: usize,
    done_anyway: usize,
}

impl Report {
    pub(super) fn new(kind: Kind, traces: &Traces) -> Self {
        let line = |(operation, heard): &(_, Vec<crate::common::meddler::Heard>)| {
            let commands = heard.iter().map(|heard| {
                let bytes = heard.bytes.map(|bytes| format!("[{bytes}]"));
                let codes = heard.codes.join("+");
                format!(
                    "{} {codes}{}",
                    super::plan::verb(&heard.line),
                    bytes.unwrap_or_default()
                )
            });
            let commands: Vec<String> = commands.collect();
            format!("{operation}: {}", commands.join(", "))
        };
        Self {
            kind,
            traces: traces.iter().map(line).collect(),
            counts: BTreeMap::new(),
            order: traces
                .iter()
                .map(|(operation, _)| operation.to_string())
                .collect(),
            failures: Vec::new(),
            hit: 0,
            hidden: 0,
            done_anyway: 0,
        }
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        let Outcome { case, failures, .. } = outcome;
        let operation = case.operation.to_string();
        let row = self.order.iter().position(|name| *name == operation);
        let row = self
            .counts
            .entry((row.unwrap_or(0), operation))
            .or_default();
        let count = row.entry(case.fault.to_string()).or_default();
        count.cases += 1;
        count.failed += usize::from(!failures.is_empty());
        self.hit += usize::from(outcome.is_hit);
        self.hidden += usize::from(outcome.was_hidden);
        self.done_anyway += usize::from(outcome.is_done_anyway);
        let known = known::find(self.kind, &case, &failures).filter(|_| !failures.is_empty());
        if !failures.is_empty() {
            let told = outcome.told;
            let line = format!(
                "{:?} {case} ({}): {told}: {}",
                self.kind,
                case.verb,
                line(&failures)
            );
            eprintln!("FAULT {line}");
            self.failures.push((line, known));
        }
    }

    /// The table.
    pub(super) fn print(&self, time: Duration) {
        println!("{:?}: what the operations do without a fault", self.kind);
        for line in &self.traces {
            println!("  {line}");
        }
        let faults: Vec<String> = super::fault::Fault::ALL
            .iter()
            .map(ToString::to_string)
            .collect();
        print!("{:14}", format!("{:?}", self.kind));
        for fault in &faults {
            print!("{fault:>11}");
        }
        println!();
        let mut sum = Count::default();
        for ((_, operation), row) in &self.counts {
            print!("{operation:14}");
            for fault in &faults {
                let count = row.get(fault).copied().unwrap_or_default();
                sum.cases += count.cases;
                sum.failed += count.failed;
                let failed = if count.failed > 0 {
                    format!("!{}", count.failed)
                } else {
                    String::new()
                };
                print!("{:>11}", format!("{}{failed}", count.cases));
            }
            println!();
        }
        println!(
            "{:?}: {} cases, {} failed; the fault happened in {}; hidden for a while {}, done in spite of an error {}; {} s",
            self.kind,
            sum.cases,
            sum.failed,
            self.hit,
            self.hidden,
            self.done_anyway,
            time.as_secs()
        );
        for (line, known) in &self.failures {
            let reason = known.map(|at| known::KNOWN[at].reason);
            let known = reason.map_or("FAILED".to_owned(), |reason| format!("known ({reason})"));
            println!("{known} {line}");
        }
        for (at, entry) in known::KNOWN.iter().enumerate() {
            let count = self.failures.iter().filter(|(_, known)| *known == Some(at));
            println!("{:?}: {} cases: {}", self.kind, count.count(), entry.reason);
        }
    }

    /// All the `planned` cases were run, and none has failed but those of which that is known.
    pub(super) fn assert_as_known(&self, planned: usize) {
        let rows = self.counts.values().flat_map(BTreeMap::values);
        let run: usize = rows.map(|count| count.cases).sum();
        let new = self.failures.iter().filter(|(_, known)| known.is_none());
        let new: Vec<&str> = new.map(|(line, _)| line.as_str()).collect();
        assert!(new.is_empty(), "failed:\n{}", new.join("\n"));
        assert_eq!(run, planned, "cases that were run");
    }
}
