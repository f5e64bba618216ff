//! Tests of the room as a whole against a scripted byte server; real servers are for the mount tests.

mod charset;
mod hashes;
mod listings;
mod network;
mod ranges;
mod retries;
mod scripted;
pub(super) mod server;
mod sessions;
mod shortcuts;

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    config::{BaseDir, FtpConfig, LISTING_BYTES_MAX, NetworkConfig, Password, TlsConfig, TlsMode},
    remote::{
        Attributes, Download, Permit, Remote, RemoteErrorKind, RemotePath, Result, Settled,
        UploadMode, Want,
    },
};

/// A configuration for a server on loopback.
pub(super) fn config(port: u16) -> FtpConfig {
    FtpConfig {
        listing_bytes_max: LISTING_BYTES_MAX,
        host: "127.0.0.1".to_owned(),
        port,
        user: "user".to_owned(),
        password: Password::new("secret".to_owned()),
        base: BaseDir::Absolute(b"/".to_vec()),
        charset: None,
        network: NetworkConfig::default(),
        timeout: Duration::from_secs(5),
        min_rate: 100,
        connections_max: 2,
        tls: TlsConfig {
            mode: TlsMode::Off,
            ..TlsConfig::default()
        },
        profile_dir: None,
    }
}

fn path(text: &str) -> RemotePath {
    let names = text.split('/').filter(|name| !name.is_empty());
    names.fold(RemotePath::root(), |dir, name| {
        dir.join(name.as_bytes()).unwrap()
    })
}

/// The permit for a name of ours.
fn made(path: &RemotePath) -> Permit {
    Permit::granted(path, Want::Made)
}

fn read_all(download: &mut dyn Download) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match download.read(&mut buffer)? {
            0 => return Ok(content),
            count => content.extend_from_slice(&buffer[..count]),
        }
    }
}

fn put(remote: &FtpRemote, name: &str, data: &[u8]) -> Result<Option<Settled>> {
    let confirmed = remote.put(made(&path(name)), data, &Attributes::default())?;
    Ok(confirmed.settled)
}
