//! Which certificates the user has trusted on the terminal: a line `host:port SHA256` each in a file, so that later mounts trust them too.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{fingerprint::Fingerprint, known::line};
use crate::{config::Pin, local};

/// The file.
#[derive(Debug, Clone)]
pub(in crate::ftp) struct TrustedHosts {
    path: PathBuf,
}

/// What it says of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trusted {
    /// The digest of the certificate.
    pub(super) pin: Pin,
    /// Where that is written: the file, and the number of the line.
    pub(super) place: (PathBuf, usize),
}

impl TrustedHosts {
    /// What this file remembers.
    pub(in crate::ftp) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The certificate that was trusted for this server.
    ///
    /// # Errors
    ///
    /// The file is there and cannot be read, or its line for this server is damaged.
    pub(super) fn find(&self, host: &str, port: u16) -> io::Result<Option<Trusted>> {
        let wanted = line(host, port);
        for (index, entry) in self.read()?.lines().enumerate() {
            let Some((known, digest)) = entry.split_once(' ') else {
                continue;
            };
            if known != wanted {
                continue;
            }
            let pin = parse(digest).ok_or_else(|| {
                let detail = format!("line {} is damaged; remove it", index + 1);
                io::Error::new(io::ErrorKind::InvalidData, detail)
            })?;
            let place = (self.path.clone(), index + 1);
            return Ok(Some(Trusted { pin, place }));
        }
        Ok(None)
    }

    /// Trusts this certificate for this server from now on. The file is exchanged as a whole, for this user alone.
    pub(in crate::ftp) fn remember(
        &self,
        host: &str,
        port: u16,
        digest: Fingerprint,
    ) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        local::check_place(dir)?;
        local::private_dir(dir)?;
        let mut text = self.read()?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        writeln!(file, "{text}{} {digest}", line(host, port))?;
        file.as_file().sync_data()?;
        file.persist(&self.path)?;
        Ok(())
    }

    fn read(&self) -> io::Result<String> {
        match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read,
        }
    }
}

/// A digest as it is shown.
fn parse(digest: &str) -> Option<Pin> {
    let bytes: Option<Vec<u8>> = digest
        .trim_end()
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    Some(Pin(bytes?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_was_trusted_is_found_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/trusted-certificates");
        let hosts = TrustedHosts::new(&path);
        assert_eq!(hosts.find("h", 21).unwrap(), None);
        hosts.remember("h", 990, Fingerprint([1; 32])).unwrap();
        hosts.remember("H", 21, Fingerprint([0xAB; 32])).unwrap();
        let found = hosts.find("h", 21).unwrap().unwrap();
        assert_eq!(found.pin, Pin([0xAB; 32]));
        assert_eq!(found.place, (path.clone(), 2));
        assert_eq!(hosts.find("h", 2121).unwrap(), None);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_line_is_an_error_and_not_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trusted");
        fs::write(&path, "h:21 AB:CD\n").unwrap();
        let hosts = TrustedHosts::new(&path);
        let message = hosts.find("h", 21).unwrap_err().to_string();
        assert!(message.contains("line 1"), "{message}");
        assert_eq!(hosts.find("other", 21).unwrap(), None);
        assert!(TrustedHosts::new(dir.path()).find("h", 21).is_err());
    }
}
