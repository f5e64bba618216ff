//! What was found, and its form as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::Problem;
use crate::ftp::{Certificate, Fact, Identity, Protocol, TlsError, Tried};

/// Everything that the doctor found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Host and port.
    pub server: String,
    /// Whether a mount works: the log-in and the listing did.
    pub works: bool,
    /// Whether a signal ended the examination.
    pub is_interrupted: bool,
    /// Who the server says it is.
    pub identity: Identity,
    /// What the server makes of a wish for TLS, where a mount would not use it.
    pub offer: Option<Offer>,
    /// The certificate for which the log-in was given up.
    pub rejected: Option<Certificate>,
    /// How many data connections have resumed the TLS session, and how many have not.
    pub resumptions: (usize, usize),
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
    /// How many sessions there were at once, and how many a mount would open.
    pub sessions: Option<(usize, usize)>,
    /// How far the server's clock is ahead of ours.
    pub clock_seconds: Option<i64>,
    /// The ways to a data connection, and what came of each.
    pub ways: Vec<(&'static str, Tried)>,
    /// What the server can do.
    pub facts: Vec<Fact>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// What a server makes of `AUTH TLS`.
#[derive(Debug, Clone)]
pub enum Offer {
    /// TLS, with a certificate that is trusted.
    Good(Protocol),
    /// TLS, with one that is not.
    Untrusted(TlsError),
    /// The reply that refuses it.
    Refused(String),
    /// Something else happened.
    Unknown(String),
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

    /// How long so many bytes would take.
    pub(super) fn time_for(self, bytes: usize) -> Duration {
        let times = u32::try_from(bytes / self.bytes.max(1)).unwrap_or(u32::MAX);
        self.time.saturating_mul(times)
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

    pub(super) fn problem(
        &mut self,
        name: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.push(Problem::new(name, what, remedy));
    }

    /// Takes down what came of a trial on a scratch file. `finding` is the command, unless the facts know it better.
    pub(super) fn tried(
        &mut self,
        name: &'static str,
        finding: &str,
        outcome: Result<(), String>,
        cost: &'static str,
    ) {
        self.tried_on("scratch file", name, finding, outcome, cost);
    }

    /// The same for another file.
    pub(super) fn tried_on(
        &mut self,
        source: &'static str,
        name: &'static str,
        finding: &str,
        outcome: Result<(), String>,
        cost: &'static str,
    ) {
        let (finding, cost) = match outcome {
            Ok(()) => (finding.to_owned(), ""),
            Err(error) => (format!("does not work: {error}"), cost),
        };
        self.facts.push(Fact {
            name,
            finding,
            source,
            cost,
        });
    }

    /// Adds what was learnt: a trial tells whether it works, what was learnt tells by which command.
    pub(super) fn merge(&mut self, learnt: Vec<Fact>) {
        let tried = std::mem::replace(&mut self.facts, learnt);
        for trial in tried {
            let known = self.facts.iter_mut().find(|fact| fact.name == trial.name);
            match known {
                Some(known) if trial.cost.is_empty() => known.source = trial.source,
                Some(known) => *known = trial,
                None => self.facts.push(trial),
            }
        }
    }

    /// The same as JSON; times in milliseconds, rates in bytes a second. The names are those in the manual.
    pub fn to_json(&self) -> Value {
        let millis = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1000.0);
        let rate = |rate: Option<Rate>| rate.map(Rate::bytes_per_second);
        let facts = self.facts.iter().map(|fact| {
            json!({"name": fact.name, "finding": fact.finding, "source": fact.source, "cost": fact.cost})
        });
        let ways = self.ways.iter().map(|(way, tried)| {
            json!({
                "way": way,
                "works": tried.outcome.is_ok(),
                "refused": tried.is_refused,
                "error": tried.outcome.as_ref().err(),
                "address": tried.elsewhere.map(|address| address.to_string()),
            })
        });
        let problems = self.problems.iter().map(
            |problem| json!({"name": problem.name, "what": problem.what, "remedy": problem.remedy}),
        );
        json!({
            "server": self.server,
            "works": self.works,
            "interrupted": self.is_interrupted,
            "greeting": self.identity.greeting,
            "system": self.identity.system,
            "features": self.identity.features,
            "tls": self.tls_json(),
            "login_ms": millis(self.login),
            "round_trip_ms": millis(self.round_trip),
            "upload_bytes_per_second": rate(self.upload),
            "download_bytes_per_second": rate(self.download),
            "entries": self.entries,
            "sessions": self.sessions.map(|(taken, _)| taken),
            "clock_ahead_s": self.clock_seconds,
            "data_connections": ways.collect::<Vec<_>>(),
            "capabilities": facts.collect::<Vec<_>>(),
            "problems": problems.collect::<Vec<_>>(),
        })
    }

    fn tls_json(&self) -> Value {
        let used = self.identity.protocol.as_ref();
        let (offered, refusal) = match &self.offer {
            Some(Offer::Good(protocol)) => (Some(protocol), None),
            Some(Offer::Refused(why) | Offer::Unknown(why)) => (None, Some(why)),
            Some(Offer::Untrusted(_)) | None => (None, None),
        };
        let protocol = used.or(offered);
        let untrusted = match &self.offer {
            Some(Offer::Untrusted(error)) => error.certificate(),
            _ => self.rejected.as_ref(),
        };
        let trusted = protocol.and_then(|protocol| protocol.certificate.as_ref());
        let is_unverified = self
            .problems
            .iter()
            .any(|problem| problem.name == super::protection::UNVERIFIED);
        let is_offered = protocol.is_some() || untrusted.is_some();
        json!({
            "used": used.is_some(),
            "offered": (self.login.is_some() || is_offered).then_some(is_offered),
            "refusal": refusal,
            "version": protocol.map(|protocol| &protocol.version),
            "cipher": protocol.map(|protocol| &protocol.cipher),
            "certificate": trusted.or(untrusted).map(certificate_json),
            "trusted": is_offered.then_some(untrusted.is_none() && !is_unverified),
            "data_resumed": self.resumptions.0,
            "data_not_resumed": self.resumptions.1,
        })
    }
}

fn certificate_json(certificate: &Certificate) -> Value {
    json!({
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "names": certificate.names,
        "not_before": certificate.not_before.map(|time| time.to_rfc3339()),
        "not_after": certificate.not_after.map(|time| time.to_rfc3339()),
        "pin": certificate.fingerprint.to_string(),
        "key_pin": certificate.key_fingerprint.map(|pin| pin.to_string()),
    })
}
