//! What came of the cases: a table, and one line for each failure.

use std::{collections::BTreeMap, time::Duration};

use super::{
    known,
    plan::{Case, Traces},
};
use crate::common::Kind;

/// What came of one case.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) case: Case,
    /// What was wrong.
    pub(super) failures: Vec<String>,
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
    /// What was known to fail, and did not.
    passed: Vec<String>,
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
            passed: Vec::new(),
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
        let known = known::find(self.kind, &case, &failures);
        if failures.is_empty() && known::must_fail(self.kind, &case) {
            self.passed.push(case.to_string());
        }
        if !failures.is_empty() {
            let told = outcome.told;
            let line = format!(
                "{:?} {case} ({}): {told}: {}",
                self.kind,
                case.verb,
                failures.join("; ")
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
    }

    pub(super) fn assert_as_known(&self) {
        let new = self.failures.iter().filter(|(_, known)| known.is_none());
        let new: Vec<&str> = new.map(|(line, _)| line.as_str()).collect();
        assert!(new.is_empty(), "failed:\n{}", new.join("\n"));
        let passed = self.passed.join("\n");
        assert!(
            passed.is_empty(),
            "these pass, so KNOWN is out of date:\n{passed}"
        );
    }
}
