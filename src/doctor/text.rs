//! What was found, for people.

use std::fmt;

use super::{
    Problem, Report,
    report::{Offer, Rate},
};
use crate::ftp::{Certificate, Fact, Protocol, Tried};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.works, self.is_interrupted) {
            (true, _) => "can be mounted",
            (false, false) => "cannot be mounted",
            (false, true) => "interrupted",
        };
        writeln!(f, "{}: {verdict}", self.server)?;
        for line in &self.identity.greeting {
            row(f, "greeting", line)?;
        }
        if !self.identity.system.is_empty() {
            row(f, "system", &self.identity.system)?;
        }
        if !self.identity.features.is_empty() {
            row(f, "features", self.identity.features.join(" | "))?;
        }
        self.write_protection(f)?;
        self.write_measures(f)?;
        for (name, way) in &self.ways {
            write_way(f, name, way)?;
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
        if let Some(protocol) = &self.identity.protocol {
            let resumed = match self.resumptions {
                (0, 0) => "",
                (_, 0) => "; data connections resume it",
                (0, _) => "; data connections do not resume it, which takes each a round trip more",
                (_, _) => "; not all data connections resume it",
            };
            let Protocol {
                version, cipher, ..
            } = protocol;
            row(
                f,
                "protection",
                format_args!("{version}, {cipher}{resumed}"),
            )?;
            return write_certificate(f, protocol.certificate.as_ref());
        }
        match &self.offer {
            Some(Offer::Good(protocol)) => {
                let Protocol {
                    version, cipher, ..
                } = protocol;
                let offer = format_args!("none; AUTH TLS would give {version}, {cipher}");
                row(f, "protection", offer)?;
                return write_certificate(f, protocol.certificate.as_ref());
            }
            Some(Offer::Untrusted(error)) => {
                row(
                    f,
                    "protection",
                    format_args!("none; after AUTH TLS, {error}"),
                )?;
                return write_certificate(f, error.certificate());
            }
            Some(Offer::Refused(reply)) => {
                row(f, "protection", format_args!("none; AUTH TLS gets {reply}"))?;
            }
            Some(Offer::Unknown(why)) => row(f, "protection", format_args!("none; {why}"))?,
            None => {}
        }
        write_certificate(f, self.rejected.as_ref())
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
        if let Some((taken, wanted)) = self.sessions {
            row(f, "sessions", format_args!("{taken} at once, of {wanted}"))?;
        }
        if let Some(ahead) = self.clock_seconds.filter(|ahead| ahead.abs() > 1) {
            let word = if ahead > 0 { "ahead" } else { "behind" };
            row(f, "clock", format_args!("{} s {word}", ahead.abs()))?;
        }
        Ok(())
    }
}

fn write_way(f: &mut fmt::Formatter<'_>, name: &str, way: &Tried) -> fmt::Result {
    let elsewhere = match way.elsewhere {
        Some(told) => format!("; tells another address, {told}, which is passed over"),
        None => String::new(),
    };
    match &way.outcome {
        Ok(()) => row(f, name, format_args!("works{elsewhere}")),
        Err(error) => row(f, name, format_args!("fails: {error}{elsewhere}")),
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
