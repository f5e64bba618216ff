//! TLS of a simulated server: `AUTH TLS`, a handshake with a certificate of one's choice, and nothing behind it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig, ServerConnection, Stream,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use serde::Deserialize;

/// Which certificate is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Shown {
    /// One for 127.0.0.1 that is valid.
    Good,
    /// One that was valid until the end of 2015.
    Expired,
    /// One for another host.
    Other,
}

/// What a server needs for TLS.
#[derive(Debug)]
pub(super) struct Protection {
    config: Arc<ServerConfig>,
    /// The certificate, which has signed itself, in PEM.
    pub(super) pem: String,
}

impl Protection {
    pub(super) fn new(shown: Shown) -> Self {
        let name = match shown {
            Shown::Other => "elsewhere.example",
            Shown::Good | Shown::Expired => "127.0.0.1",
        };
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if shown == Shown::Expired {
            (params.not_before, params.not_after) =
                (date_time_ymd(2015, 1, 1), date_time_ymd(2015, 12, 31));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        Self {
            config: Arc::new(config.unwrap()),
            pem: certificate.pem(),
        }
    }

    /// Does the handshake and waits until the client goes.
    pub(super) fn serve(&self, mut socket: &TcpStream) {
        let mut connection = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        let mut stream = Stream::new(&mut connection, &mut socket);
        // The client may hang up whenever it likes.
        if stream.read(&mut [0; 100]).is_ok() {
            let _ = stream.write_all(b"221 Bye.\r\n");
        }
    }
}
