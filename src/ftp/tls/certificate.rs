//! What a certificate says of itself (X.509, RFC 5280 section 4.1): whose it is, who signed it, for which names, until when.
//!
//! Only to be shown: whom to trust is decided elsewhere. Reading is total: what is not understood stays empty.

use std::{fmt, net::IpAddr};

use chrono::{DateTime, NaiveDateTime, Utc};
use rustls::{pki_types::CertificateDer, server::ParsedCertificate};

use super::fingerprint::{Fingerprint, sha256};

/// The parts of a name that are shown, by the last byte of 2.5.4.x (X.520).
const ATTRIBUTES: [(u8, &str); 4] = [(3, "CN"), (10, "O"), (11, "OU"), (6, "C")];

/// The extension that holds the names of hosts: 2.5.29.17, subjectAltName.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1D, 0x11];

/// A certificate that a server has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is, such as `CN=ftp.example.org, O=Example`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The hosts that it is for.
    pub names: Vec<String>,
    /// From when on it is valid.
    pub not_before: Option<DateTime<Utc>>,
    /// Until when it is valid.
    pub not_after: Option<DateTime<Utc>>,
    /// The digest of it, as `--pin` takes it.
    pub fingerprint: Fingerprint,
    /// The digest of its public key, which `--pin` takes as well and which outlives a renewal with the same key.
    pub key_fingerprint: Option<Fingerprint>,
}

impl Certificate {
    /// Reads one.
    pub(super) fn read(der: &CertificateDer<'_>) -> Self {
        let key = ParsedCertificate::try_from(der).ok();
        let mut certificate = Self {
            subject: String::new(),
            issuer: String::new(),
            names: Vec::new(),
            not_before: None,
            not_after: None,
            fingerprint: Fingerprint(sha256(der)),
            key_fingerprint: key.map(|key| Fingerprint(sha256(&key.subject_public_key_info()))),
        };
        certificate.read_fields(der);
        certificate
    }

    /// Fills in what can be read, up to the first thing that cannot.
    fn read_fields(&mut self, der: &[u8]) -> Option<()> {
        let mut fields = Element::first(Element::first(der)?.content)?.elements();
        let mut field = fields.next()?;
        if field.tag == 0xA0 {
            // The version.
            field = fields.next()?;
        }
        // That was the serial number, and this is the algorithm.
        let _ = (field, fields.next()?);
        self.issuer = name(&fields.next()?);
        let mut validity = fields.next()?.elements();
        self.not_before = time(&validity.next()?);
        self.not_after = time(&validity.next()?);
        self.subject = name(&fields.next()?);
        let extensions = fields.find(|field| field.tag == 0xA3)?;
        for extension in Element::first(extensions.content)?.elements() {
            let is_names = extension
                .elements()
                .next()
                .is_some_and(|id| id.content == SUBJECT_ALT_NAME);
            if is_names && let Some(value) = extension.elements().last() {
                let names = Element::first(value.content)?;
                self.names = names.elements().filter_map(|name| host(&name)).collect();
            }
        }
        Some(())
    }
}

/// Its digest, as `--pin` takes it.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fingerprint.fmt(f)
    }
}

/// One element of DER (X.690 section 8.1): a tag of one byte, a length, the content.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    /// What comes behind it.
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let (&[tag, short], rest) = bytes.split_first_chunk()?;
        let (length, rest) = match short {
            ..=0x7F => (usize::from(short), rest),
            // As many bytes of length follow; three are more than any certificate has.
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(short & 3))?;
                let length = digits
                    .iter()
                    .fold(0, |length, digit| length << 8 | usize::from(*digit));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some(Self { tag, content, rest })
    }

    /// The elements in its content.
    fn elements(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        let mut rest = self.content;
        std::iter::from_fn(move || {
            let element = Element::first(rest)?;
            rest = element.rest;
            Some(element)
        })
    }
}

/// A distinguished name, the parts of it that people know.
fn name(field: &Element<'_>) -> String {
    let sets = field.elements();
    let parts = sets.flat_map(|set| set.elements().collect::<Vec<_>>());
    let shown = parts.filter_map(|part| {
        let mut pair = part.elements();
        let (kind, value) = (pair.next()?, pair.next()?);
        let &[0x55, 0x04, number] = kind.content else {
            return None;
        };
        let (_, label) = ATTRIBUTES.iter().find(|(known, _)| *known == number)?;
        Some(format!("{label}={}", text(&value)))
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// A string, without what a terminal would obey.
fn text(value: &Element<'_>) -> String {
    const BMP_STRING: u8 = 0x1E;
    let text = if value.tag == BMP_STRING {
        let pairs = value.content.chunks_exact(2);
        let units = pairs.filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)));
        char::decode_utf16(units)
            .map(|decoded| decoded.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    } else {
        String::from_utf8_lossy(value.content)
    };
    text.escape_debug().to_string()
}

/// `UTCTime` or `GeneralizedTime` (RFC 5280 section 4.1.2.5).
fn time(field: &Element<'_>) -> Option<DateTime<Utc>> {
    const UTC_TIME: u8 = 0x17;
    let digits = std::str::from_utf8(field.content).ok()?;
    let century = match (field.tag, digits.get(..2)) {
        (UTC_TIME, Some(year)) if year < "50" => "20",
        (UTC_TIME, _) => "19",
        _ => "",
    };
    let whole = format!("{century}{digits}");
    let parsed = NaiveDateTime::parse_from_str(&whole, "%Y%m%d%H%M%SZ").ok()?;
    Some(parsed.and_utc())
}

/// A host in subjectAltName: a name or an address.
fn host(field: &Element<'_>) -> Option<String> {
    match (field.tag, field.content) {
        (0x82, _) => Some(text(field)),
        (0x87, content) => {
            let v4 = <[u8; 4]>::try_from(content).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(content).map(IpAddr::from));
            Some(address.ok()?.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, date_time_ymd};

    use super::*;

    fn made() -> CertificateDer<'static> {
        let names = ["ftp.example.org".to_owned(), "192.0.2.7".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        let subject = &mut params.distinguished_name;
        subject.push(DnType::CommonName, "ftp \u{1b}[2J");
        let organisation = "Beispiel für\u{e4}".try_into().unwrap();
        subject.push(DnType::OrganizationName, DnValue::BmpString(organisation));
        (params.not_before, params.not_after) =
            (date_time_ymd(2020, 2, 29), date_time_ymd(2061, 12, 31));
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_tells_whose_it_is_and_until_when() {
        let certificate = Certificate::read(&made());
        assert_eq!(
            certificate.subject,
            "CN=ftp \\u{1b}[2J, O=Beispiel für\u{e4}"
        );
        assert_eq!(certificate.issuer, certificate.subject);
        assert_eq!(certificate.names, ["ftp.example.org", "192.0.2.7"]);
        let day = |time: Option<DateTime<Utc>>| time.unwrap().format("%F").to_string();
        assert_eq!(day(certificate.not_before), "2020-02-29");
        assert_eq!(day(certificate.not_after), "2061-12-31");
        assert!(certificate.key_fingerprint.is_some());
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_read_as_far_as_it_goes() {
        let der = made();
        for end in 0..der.len() {
            Certificate::read(&CertificateDer::from(&der[..end]));
            let mut damaged = der.to_vec();
            damaged[end] ^= 0xFF;
            Certificate::read(&CertificateDer::from(damaged));
        }
        let cut = Certificate::read(&CertificateDer::from(&b"\x30\x82"[..]));
        assert!(cut.subject.is_empty() && cut.not_after.is_none());
    }
}
