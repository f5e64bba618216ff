//! Which servers have spoken TLS: one line `host:port` each in a file, so that a later mount is not talked out of it.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::local;

/// The file; without one nothing is remembered beyond the mount.
#[derive(Debug)]
pub(in crate::ftp) struct KnownHosts {
    path: Option<PathBuf>,
}

impl KnownHosts {
    /// What this file remembers.
    pub(in crate::ftp) fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    /// Where it is.
    pub(in crate::ftp) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Whether this server has spoken TLS. A file that is there and cannot be read is an error: it may say so.
    pub(in crate::ftp) fn contains(&self, host: &str, port: u16) -> io::Result<bool> {
        let Some(path) = &self.path else {
            return Ok(false);
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let wanted = line(host, port);
        for known in BufReader::new(file).lines() {
            if known? == wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Remembers that this server has spoken TLS.
    pub(in crate::ftp) fn remember(&self, host: &str, port: u16) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        if self.contains(host, port)? {
            return Ok(());
        }
        if let Some(dir) = path.parent() {
            local::private_dir(dir)?;
        }
        // One write, behind whatever other mounts write at the same time.
        let mut file = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(format!("{}\n", line(host, port)).as_bytes())
    }
}

/// Hosts are alike whatever their case.
pub(super) fn line(host: &str, port: u16) -> String {
    format!("{}:{port}", host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_remembered_is_known_under_its_port() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/tls-hosts");
        let hosts = KnownHosts::new(Some(path.clone()));
        assert!(!hosts.contains("h", 21).unwrap());
        hosts.remember("H", 21).unwrap();
        hosts.remember("h", 21).unwrap();
        hosts.remember("other", 2121).unwrap();
        let again = KnownHosts::new(Some(path.clone()));
        assert!(again.contains("h", 21).unwrap() && again.contains("OTHER", 2121).unwrap());
        assert!(!again.contains("h", 2121).unwrap());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "h:21\nother:2121\n");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = KnownHosts::new(Some(dir.path().to_owned()));
        assert!(hosts.contains("h", 21).is_err());
        assert!(!KnownHosts::new(None).contains("h", 21).unwrap());
    }
}
