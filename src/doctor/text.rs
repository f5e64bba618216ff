//! What was found, for people.

use std::fmt;

use super::{
    problem::Problem,
    report::{DataConnection, Offer, Protection, Rate, Report},
};
use crate::ftp::{Certificate, Fact, Protocol};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.works, self.is_interrupted) {
            (true, _) => "can be mounted",
            (false, false) => "cannot be mounted",
            (false, true) => "interrupted",
        };
        writeln!(f, "{}: {verdict}", self.server)?;
        for line in &self.greeting {
            row(f, "greeting", line)?;
        }
        if !self.system.is_empty() {
            row(f, "system", &self.system)?;
        }
        if !self.features.is_empty() {
            row(f, "features", self.features.join(" | "))?;
        }
        self.write_protection(f)?;
        self.write_measures(f)?;
        for way in &self.ways {
            write_way(f, way)?;
        }
        for fact in &self.facts {
            let Fact {
                name,
                finding,
                source,
                cost,
            } = fact;
            match *cost {
                "" => row(f, name, format_args!("{finding} ({source})"))?,
                cost => row(f, name, format_args!("{finding}; {cost} ({source})"))?,
            }
        }
        for Problem { what, remedy, .. } in &self.problems {
            writeln!(f, "! {what}")?;
            if !remedy.is_empty() {
                writeln!(f, "  try {remedy}")?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn write_protection(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificate = match &self.tls.protection {
            Protection::Used { protocol, .. } => {
                let resumed = match self.tls.resumptions {
                    (0, 0) => "",
                    (_, 0) => "; data connections resume it",
                    (0, _) => {
                        "; data connections do not resume it, which takes each a round trip more"
                    }
                    (_, _) => "; not all data connections resume it",
                };
                let Protocol {
                    version, cipher, ..
                } = protocol;
                let shown = format_args!("{version}, {cipher}{resumed}");
                row(f, "protection", shown)?;
                protocol.certificate.as_ref()
            }
            Protection::Missing(Offer::Good(protocol)) => {
                let Protocol {
                    version, cipher, ..
                } = protocol;
                let shown = format_args!("none; AUTH TLS would give {version}, {cipher}");
                row(f, "protection", shown)?;
                protocol.certificate.as_ref()
            }
            Protection::Missing(Offer::Untrusted(error)) => {
                let shown = format_args!("none; after AUTH TLS, {error}");
                row(f, "protection", shown)?;
                error.certificate()
            }
            Protection::Missing(Offer::Refused(reply)) => {
                row(f, "protection", format_args!("none; AUTH TLS gets {reply}"))?;
                None
            }
            Protection::Missing(Offer::Unknown(why)) => {
                row(f, "protection", format_args!("none; {why}"))?;
                None
            }
            Protection::Rejected(certificate) => Some(certificate),
            Protection::Unknown => None,
        };
        write_certificate(f, certificate)
    }

    fn write_measures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, time) in [("log-in", self.login), ("round trip", self.round_trip)] {
            if let Some(time) = time {
                row(
                    f,
                    name,
                    format_args!("{:.1} ms", time.as_secs_f64() * 1000.0),
                )?;
            }
        }
        for (name, rate) in [("upload", self.upload), ("download", self.download)] {
            if let Some(rate) = rate {
                row(f, name, in_words(rate))?;
            }
        }
        if let Some(taken) = self.sessions {
            let wanted = self.sessions_max;
            row(f, "sessions", format_args!("{taken} at once, of {wanted}"))?;
        }
        if let Some(ahead) = self.clock_seconds.filter(|ahead| ahead.abs() > 1) {
            let word = if ahead > 0 { "ahead" } else { "behind" };
            row(f, "clock", format_args!("{} s {word}", ahead.abs()))?;
        }
        Ok(())
    }
}

fn write_way(f: &mut fmt::Formatter<'_>, way: &DataConnection) -> fmt::Result {
    let elsewhere = match way.address {
        Some(told) => format!("; tells another address, {told}, which is passed over"),
        None => String::new(),
    };
    match &way.error {
        None => row(f, way.way, format_args!("works{elsewhere}")),
        Some(error) => row(f, way.way, format_args!("fails: {error}{elsewhere}")),
    }
}

/// One line: a word of at most 15 letters, and what there is to say.
fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {name:<15}  {value}")
}

fn write_certificate(f: &mut fmt::Formatter<'_>, certificate: Option<&Certificate>) -> fmt::Result {
    let Some(certificate) = certificate else {
        return Ok(());
    };
    let or_none = |text: &str| if text.is_empty() { "nobody" } else { text }.to_owned();
    row(f, "certificate", or_none(&certificate.subject))?;
    if !certificate.names.is_empty() {
        row(f, "  for", certificate.names.join(", "))?;
    }
    row(f, "  signed by", or_none(&certificate.issuer))?;
    if let Some(until) = certificate.not_after {
        row(f, "  until", until.format("%Y-%m-%d"))?;
    }
    row(f, "  pin", certificate.fingerprint)
}

fn in_words(rate: Rate) -> String {
    let rate = rate.bytes_per_second();
    match rate {
        ..0x100_000 => format!("{} KiB/s", rate >> 10),
        0x100_000..0x640_0000 => format!("{}.{} MiB/s", rate >> 20, ((rate & 0xF_FFFF) * 10) >> 20),
        _ => format!("{} MiB/s", rate >> 20),
    }
}
