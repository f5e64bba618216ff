//! What was found: for people and as JSON.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use crate::ftp::{Fact, Identity};

/// Everything that the doctor found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Host and port.
    pub server: String,
    /// Whether a mount works: the log-in and the listing did.
    pub works: bool,
    /// Who the server says it is.
    pub identity: Identity,
    /// How long connecting and logging in took.
    pub login: Option<Duration>,
    /// One round trip, the middle one of several.
    pub round_trip: Option<Duration>,
    /// What an upload reached.
    pub upload: Option<Rate>,
    /// What a download reached.
    pub download: Option<Rate>,
    /// How many entries the directory holds.
    pub entries: Option<usize>,
    /// The ways to a data connection, and what came of each.
    pub ways: Vec<(&'static str, Result<(), String>)>,
    /// What was learnt.
    pub facts: Vec<Fact>,
    /// What was tried on scratch files.
    pub tried: Vec<Fact>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub what: String,
    /// The option that mends it; empty where there is none.
    pub remedy: String,
}

/// Bytes in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    bytes: usize,
    time: Duration,
}

impl Rate {
    pub(super) fn new(bytes: usize, time: Duration) -> Self {
        Self { bytes, time }
    }

    /// Bytes a second.
    pub fn bytes_per_second(self) -> u64 {
        let micros = self.time.as_micros().max(1);
        let bytes = u128::try_from(self.bytes).unwrap_or(u128::MAX);
        u64::try_from(bytes.saturating_mul(1_000_000) / micros).unwrap_or(u64::MAX)
    }
}

impl Report {
    pub(super) fn new(server: String) -> Self {
        Self {
            server,
            ..Self::default()
        }
    }

    pub(super) fn problem(&mut self, what: impl Into<String>, remedy: &str) {
        self.problems.push(Problem {
            what: what.into(),
            remedy: remedy.to_owned(),
        });
    }

    pub(super) fn finding(&mut self, name: &'static str, finding: &str, source: &'static str) {
        self.tried.push(Fact {
            name,
            finding: finding.to_owned(),
            source,
        });
    }

    /// The same as JSON; times in milliseconds, rates in bytes a second.
    pub fn to_json(&self) -> Value {
        let millis = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1000.0);
        let rate = |rate: Option<Rate>| rate.map(Rate::bytes_per_second);
        let facts = |facts: &[Fact]| -> Vec<Value> {
            let fact = |fact: &Fact| json!({"name": fact.name, "finding": fact.finding, "source": fact.source});
            facts.iter().map(fact).collect()
        };
        let ways = self.ways.iter().map(|(way, outcome)| {
            json!({"way": way, "works": outcome.is_ok(), "error": outcome.as_ref().err()})
        });
        let problems = self
            .problems
            .iter()
            .map(|problem| json!({"what": problem.what, "remedy": problem.remedy}));
        json!({
            "server": self.server,
            "works": self.works,
            "greeting": self.identity.greeting,
            "system": self.identity.system,
            "tls": self.identity.is_protected,
            "features": self.identity.features,
            "login_ms": millis(self.login),
            "round_trip_ms": millis(self.round_trip),
            "upload_bytes_per_second": rate(self.upload),
            "download_bytes_per_second": rate(self.download),
            "entries": self.entries,
            "data_connections": ways.collect::<Vec<_>>(),
            "learnt": facts(&self.facts),
            "tried": facts(&self.tried),
            "problems": problems.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.works {
            "can be mounted"
        } else {
            "cannot be mounted"
        };
        writeln!(f, "{}: {verdict}", self.server)?;
        for line in &self.identity.greeting {
            writeln!(f, "  greeting     {line}")?;
        }
        if !self.identity.system.is_empty() {
            writeln!(f, "  system       {}", self.identity.system)?;
        }
        if self.login.is_some() {
            let protection = if self.identity.is_protected {
                "TLS"
            } else {
                "none"
            };
            writeln!(f, "  protection   {protection}")?;
        }
        if !self.identity.features.is_empty() {
            writeln!(f, "  features     {}", self.identity.features.join(" | "))?;
        }
        let times = [("log-in", self.login), ("round trip", self.round_trip)];
        for (name, time) in times
            .into_iter()
            .filter_map(|(name, time)| Some((name, time?)))
        {
            writeln!(f, "  {name:<12} {:.1} ms", time.as_secs_f64() * 1000.0)?;
        }
        for (name, rate) in [("upload", self.upload), ("download", self.download)] {
            if let Some(rate) = rate {
                writeln!(f, "  {name:<12} {} KiB/s", rate.bytes_per_second() >> 10)?;
            }
        }
        for (way, outcome) in &self.ways {
            match outcome {
                Ok(()) => writeln!(f, "  {way:<12} works")?,
                Err(error) => writeln!(f, "  {way:<12} fails: {error}")?,
            }
        }
        for fact in self.facts.iter().chain(&self.tried) {
            writeln!(f, "  {}: {} ({})", fact.name, fact.finding, fact.source)?;
        }
        for Problem { what, remedy } in &self.problems {
            match remedy.as_str() {
                "" => writeln!(f, "! {what}")?,
                remedy => writeln!(f, "! {what}; see {remedy}")?,
            }
        }
        Ok(())
    }
}
