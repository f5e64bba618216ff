//! What was found. As JSON it is these structures themselves, under the names in the manual; [`text`](super::text) is for people.

use std::{net::Ipv4Addr, time::Duration};

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::problem::Problem;
use crate::{
    config::FtpConfig,
    ftp::{Certificate, Fact, Protocol, TlsError, Tried},
};

/// Everything that the doctor found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Host and port.
    pub server: String,
    /// Whether a mount works: the login and the listing did.
    pub works: bool,
    /// Whether a signal ended the examination.
    #[serde(rename = "interrupted")]
    pub is_interrupted: bool,
    /// The server's greeting, one line after the other.
    pub greeting: Vec<String>,
    /// Its reply to SYST.
    pub system: String,
    /// What its FEAT lists.
    pub features: Vec<String>,
    /// How connections are protected.
    pub tls: Tls,
    /// How long connecting and logging in took.
    #[serde(rename = "login_ms", serialize_with = "millis")]
    pub login: Option<Duration>,
    /// One round trip, the middle one of several.
    #[serde(rename = "round_trip_ms", serialize_with = "millis")]
    pub round_trip: Option<Duration>,
    /// What an upload reached.
    #[serde(rename = "upload_bytes_per_second")]
    pub upload: Option<Rate>,
    /// What a download reached.
    #[serde(rename = "download_bytes_per_second")]
    pub download: Option<Rate>,
    /// How many entries the directory holds.
    pub entries: Option<usize>,
    /// How many sessions there were at once.
    pub sessions: Option<usize>,
    /// How many a mount would open.
    #[serde(skip)]
    pub sessions_max: usize,
    /// How far the server's clock is ahead of ours.
    #[serde(rename = "clock_ahead_s")]
    pub clock_seconds: Option<i64>,
    /// The ways to a data connection, and what came of each.
    #[serde(rename = "data_connections")]
    pub ways: Vec<DataConnection>,
    /// What the server can do.
    #[serde(rename = "capabilities")]
    pub facts: Vec<Fact>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// How connections are protected, and what that costs.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// How the session was.
    pub protection: Protection,
    /// How many data connections have resumed the TLS session, and how many have not.
    pub resumptions: (usize, usize),
}

/// How a session is protected, or why there is none.
#[derive(Debug, Clone, Default)]
pub enum Protection {
    /// There was no session, for another reason.
    #[default]
    Unknown,
    /// By TLS.
    Used {
        /// What was agreed on.
        protocol: Protocol,
        /// Whether the certificate was looked at.
        is_verified: bool,
    },
    /// Not at all, and this is what the server makes of a wish for it.
    Missing(Offer),
    /// The login was given up for this certificate.
    Rejected(Certificate),
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

/// A way to a data connection, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct DataConnection {
    /// `EPSV`, `PASV`, `PASV-address` or `active`.
    pub way: &'static str,
    /// Whether a listing came through.
    pub works: bool,
    /// Whether the server refused to listen at all.
    pub refused: bool,
    /// What the server or the network said, if it does not work.
    pub error: Option<String>,
    /// Where the server says that it listens, if that is not where the commands go.
    pub address: Option<Ipv4Addr>,
}

impl DataConnection {
    pub(super) fn new(way: &'static str, tried: Tried) -> Self {
        Self {
            way,
            works: tried.outcome.is_ok(),
            refused: tried.is_refused,
            error: tried.outcome.err(),
            address: tried.elsewhere,
        }
    }
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
    pub(super) fn new(config: &FtpConfig) -> Self {
        Self {
            server: format!("{}:{}", config.host, config.port),
            sessions_max: config.connections_max,
            ..Self::default()
        }
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

    /// Adds what was learnt: a trial shows whether it works, what was learnt by which command.
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

    /// The same as JSON; times in milliseconds, rates in bytes a second.
    ///
    /// # Errors
    ///
    /// None that can happen: all names are strings, and all numbers are finite.
    pub fn to_json(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.bytes_per_second().serialize(serializer)
    }
}

#[expect(clippy::ref_option, reason = "serde hands over a field by reference")]
fn millis<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64() * 1000.0)
        .serialize(serializer)
}

/// [`Tls`] in JSON: what is not known is null.
#[derive(Default, Serialize)]
struct TlsForm<'a> {
    used: bool,
    offered: Option<bool>,
    refusal: Option<&'a str>,
    version: Option<&'a str>,
    cipher: Option<&'a str>,
    certificate: Option<CertificateForm<'a>>,
    trusted: Option<bool>,
    data_resumed: usize,
    data_not_resumed: usize,
}

#[derive(Serialize)]
struct CertificateForm<'a> {
    subject: &'a str,
    issuer: &'a str,
    names: &'a [String],
    not_before: Option<String>,
    not_after: Option<String>,
    pin: String,
    key_pin: Option<String>,
}

impl Report {
    /// Whether the server shows a certificate that is not trusted.
    pub fn rejects_certificate(&self) -> bool {
        matches!(self.tls.protection, Protection::Rejected(_))
    }
}

impl Serialize for Tls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let spoken = |protocol, is_used, is_trusted| TlsForm {
            used: is_used,
            trusted: Some(is_trusted),
            ..TlsForm::of_protocol(protocol)
        };
        let form = match &self.protection {
            Protection::Unknown => TlsForm::default(),
            Protection::Used {
                protocol,
                is_verified,
            } => spoken(protocol, true, *is_verified),
            Protection::Missing(Offer::Good(protocol)) => spoken(protocol, false, true),
            Protection::Missing(Offer::Untrusted(error)) => {
                TlsForm::of_untrusted(error.certificate())
            }
            Protection::Missing(Offer::Refused(why) | Offer::Unknown(why)) => TlsForm {
                offered: Some(false),
                refusal: Some(why),
                ..TlsForm::default()
            },
            Protection::Rejected(certificate) => TlsForm::of_untrusted(Some(certificate)),
        };
        let (data_resumed, data_not_resumed) = self.resumptions;
        TlsForm {
            data_resumed,
            data_not_resumed,
            ..form
        }
        .serialize(serializer)
    }
}

impl<'a> TlsForm<'a> {
    fn of_protocol(protocol: &'a Protocol) -> Self {
        Self {
            offered: Some(true),
            version: Some(&protocol.version),
            cipher: Some(&protocol.cipher),
            certificate: protocol.certificate.as_ref().map(CertificateForm::from),
            ..Self::default()
        }
    }

    fn of_untrusted(certificate: Option<&'a Certificate>) -> Self {
        Self {
            offered: Some(true),
            certificate: certificate.map(CertificateForm::from),
            trusted: Some(false),
            ..Self::default()
        }
    }
}

impl<'a> From<&'a Certificate> for CertificateForm<'a> {
    fn from(certificate: &'a Certificate) -> Self {
        Self {
            subject: &certificate.subject,
            issuer: &certificate.issuer,
            names: &certificate.names,
            not_before: certificate.not_before.map(|time| time.to_rfc3339()),
            not_after: certificate.not_after.map(|time| time.to_rfc3339()),
            pin: certificate.fingerprint.to_string(),
            key_pin: certificate.key_fingerprint.map(|pin| pin.to_string()),
        }
    }
}
