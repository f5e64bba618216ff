//! TLS: what a session has of it, what the server would give that is not used, and where it waits for TLS that was not spoken.

use std::time::Duration;

use super::{
    problem::Problem,
    report::{Offer, Protection},
    visit::{Visit, patiently},
};
use crate::{
    config::{FtpConfig, TlsMode},
    ftp::{ConnectError, TlsError, probe_tls},
    remote::Phase,
};

/// How long a probe waits. 5 s: a server that waits for something else says nothing, and the user waits meanwhile.
const PROBE_WAIT: Duration = Duration::from_secs(5);

/// The port of TLS from the first byte on (RFC 4217 has none; this is IANA's `ftps`).
const IMPLICIT_PORT: u16 = 990;

/// What is wrong without TLS.
const CLEAR: &str = "password and files go over the network in the clear";

/// Looks at the protection of the session that was opened, and closes it.
pub(super) fn judge(visit: &mut Visit<'_>) -> Result<(), Problem> {
    visit.leave();
    let config = visit.config;
    match &visit.report.tls.protection {
        Protection::Used {
            is_verified: true, ..
        } => return Ok(()),
        Protection::Used { protocol, .. } => {
            let pin = protocol.certificate.as_ref();
            let pin = pin.map(|certificate| format!("--pin {certificate}"));
            return Err(Problem::new(
                "tls-unverified",
                "whoever stands in between can read and change everything: the certificate is not looked at",
                pin.unwrap_or_default(),
            ));
        }
        Protection::Unknown | Protection::Missing(_) | Protection::Rejected(_) => {}
    }
    let offer = explicit_offer(config);
    let (what, remedy) = match &offer {
        Offer::Good(_) => (
            format!("{CLEAR}, though the server offers TLS"),
            "--tls require".to_owned(),
        ),
        Offer::Untrusted(error) => {
            let remedy = Problem::of_connect(&ConnectError::Tls(error.clone()), config).remedy;
            (
                format!(
                    "{CLEAR}, though the server offers TLS, with a certificate that is not trusted here"
                ),
                remedy,
            )
        }
        Offer::Refused(_) if speaks_tls(config, IMPLICIT_PORT) => (
            format!("{CLEAR}; on port {IMPLICIT_PORT} the server begins with TLS"),
            "ftps://".to_owned(),
        ),
        Offer::Refused(_) => (
            format!("{CLEAR}, and the server offers no TLS"),
            String::new(),
        ),
        Offer::Unknown(why) => (
            format!("{CLEAR}; whether the server offers TLS is not known: {why}"),
            String::new(),
        ),
    };
    visit.report.tls.protection = Protection::Missing(offer);
    Err(Problem::new("clear", what, remedy))
}

/// What `AUTH TLS` gets where a mount would not say it, or was refused.
fn explicit_offer(config: &FtpConfig) -> Offer {
    match patiently(|| probe_tls(config, TlsMode::Require, config.port, PROBE_WAIT)) {
        Ok(Some(protocol)) => Offer::Good(protocol),
        Err(ConnectError::Tls(TlsError::Refused { reply, .. })) => Offer::Refused(reply),
        Err(ConnectError::Tls(error)) if error.certificate().is_some() => Offer::Untrusted(error),
        Ok(None) => Offer::Unknown("no TLS after AUTH TLS".to_owned()),
        Err(error) => Offer::Unknown(error.to_string()),
    }
}

/// Whether TLS from the first byte on is answered on a port, with whatever certificate.
fn speaks_tls(config: &FtpConfig, port: u16) -> bool {
    let probed = probe_tls(config, TlsMode::Implicit, port, PROBE_WAIT);
    match probed {
        Ok(protocol) => protocol.is_some(),
        Err(ConnectError::Tls(error)) => error.certificate().is_some(),
        Err(_) => false,
    }
}

/// Why no session could be opened, and whether another kind of TLS would have been the right one.
pub(super) fn diagnose(error: &ConnectError, visit: &mut Visit<'_>) -> Problem {
    let config = visit.config;
    if let ConnectError::Tls(error) = error
        && let Some(certificate) = error.certificate()
    {
        visit.report.tls.protection = Protection::Rejected(certificate.clone());
    }
    let is_implicit = config.tls.mode == TlsMode::Implicit;
    let is_silent = matches!(
        error,
        ConnectError::TimedOut {
            phase: Phase::Login,
            ..
        } | ConnectError::NotFtp { .. }
            | ConnectError::Closed { .. }
    );
    let is_no_tls = matches!(error, ConnectError::Tls(TlsError::Failed { .. }));
    let is_refused = matches!(error, ConnectError::Tls(TlsError::Refused { .. }));
    let candidates = [(is_silent, config.port), (is_refused, IMPLICIT_PORT)];
    let implicit = candidates
        .into_iter()
        .find(|(is_likely, port)| !is_implicit && *is_likely && speaks_tls(config, *port));
    if let Some((_, port)) = implicit {
        let what = format!("the server begins with TLS on port {port}");
        return Problem::new("tls-implicit", what, "ftps://");
    }
    if is_implicit && (is_silent || is_no_tls) {
        let what = "the server does not begin with TLS";
        match explicit_offer(config) {
            Offer::Good(_) | Offer::Untrusted(_) => {
                let what = format!("{what}, and offers it to AUTH TLS");
                return Problem::new("tls-explicit", what, "ftpes://");
            }
            Offer::Refused(reply) => {
                let what = format!("{what}, and refuses AUTH TLS: {reply}");
                return Problem::new("tls-refused", what, "ftp://");
            }
            Offer::Unknown(_) => {}
        }
    }
    Problem::of_connect(error, config)
}
