//! The scripted server under TLS, with whatever is wrong about that that a test asks for.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustls::{
    HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};

use super::Identity;
use crate::ftp::tests::server::{Client, Handled, ScriptedServer, content};

/// A connection under TLS, on the server's side.
type Protected = StreamOwned<ServerConnection, TcpStream>;

/// How the server ends the data that it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With `close_notify`.
    Notice,
    /// Likewise, and begins to send only when the client has ended its half.
    Answer,
    /// Without.
    Abrupt,
    /// Without, and before all has been sent.
    Cut,
}

/// What the server says to an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uploads {
    /// 150, and then shakes hands.
    Welcome,
    /// 150, when it has all of it.
    Reticent,
    /// This, and takes nothing.
    Refused(&'static str),
}

/// When the server takes a data connection and shakes hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepts {
    /// In the transfer.
    Late,
    /// As soon as it is made.
    AtOnce,
}

/// What is wrong with its TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// It sends something else where TLS should begin.
    Garbage,
    /// Its first reply comes byte by byte, and never to its end.
    Drips,
}

/// What the server does.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) is_v13: bool,
    pub(super) is_implicit: bool,
    pub(super) trouble: Trouble,
    pub(super) greeting: &'static str,
    pub(super) auth: &'static str,
    pub(super) prot: &'static str,
    /// Who signs the certificates that clients must have.
    pub(super) client_authority: Option<PathBuf>,
    pub(super) ending: Ending,
    /// Which transfers of data to the client end so, counted from 0; all others end with `close_notify`.
    pub(super) ends_so: Range<usize>,
    pub(super) uploads: Uploads,
    pub(super) accepts: Accepts,
    /// Whether data connections know the sessions of control connections.
    pub(super) resumes: bool,
}

impl Script {
    /// A good server with this certificate, which speaks TLS 1.2.
    pub(super) fn new(identity: &Identity) -> Self {
        Self {
            certificate: identity.pem.clone(),
            key: identity.key_pem.clone(),
            is_v13: false,
            is_implicit: false,
            trouble: Trouble::None,
            greeting: "ready",
            auth: "234 go on",
            prot: "200 private",
            client_authority: None,
            ending: Ending::Notice,
            ends_so: 0..usize::MAX,
            uploads: Uploads::Welcome,
            accepts: Accepts::Late,
            resumes: true,
        }
    }

    fn tls(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let version = if self.is_v13 { &TLS13 } else { &TLS12 };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap();
        let builder = match &self.client_authority {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(CertificateDer::from_pem_file(file).unwrap())
                    .unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let config = builder.with_single_cert(chain.map(Result::unwrap).collect(), key);
        Arc::new(config.unwrap())
    }
}

/// What the server has seen of TLS.
#[derive(Default)]
struct Seen {
    control: Vec<HandshakeKind>,
    data: Vec<HandshakeKind>,
    is_notified: bool,
    /// How many transfers to the client there were.
    sent: usize,
    /// Data connections that are taken as soon as they are made, by the number of their control connection.
    accepting: HashMap<usize, thread::JoinHandle<io::Result<Protected>>>,
}

/// A server that listens until the test ends.
pub(super) struct TlsServer {
    server: ScriptedServer,
    seen: Arc<Mutex<Seen>>,
    auth: Arc<Mutex<&'static str>>,
}

impl TlsServer {
    pub(super) fn start(script: Script) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let auth = Arc::new(Mutex::new(script.auth));
        let tls = script.tls();
        let data_tls = if script.resumes {
            Arc::clone(&tls)
        } else {
            script.tls()
        };
        let player = Player {
            tls,
            data_tls,
            script,
            seen: Arc::clone(&seen),
            auth: Arc::clone(&auth),
        };
        // However it ends: the client may hang up whenever it likes.
        let server = ScriptedServer::start(move |client, line| {
            player.answer(client, line).unwrap_or(Handled::Close)
        });
        Self { server, seen, auth }
    }

    pub(super) fn port(&self) -> u16 {
        self.server.port()
    }

    /// All commands, in the clear and not.
    pub(super) fn commands(&self) -> Vec<String> {
        self.server.commands(false)
    }

    pub(super) fn in_clear(&self) -> Vec<String> {
        self.server.commands(true)
    }

    pub(super) fn uploaded(&self) -> Vec<u8> {
        self.server.uploaded()
    }

    /// Whether the last upload ended with `close_notify`.
    pub(super) fn has_been_notified(&self) -> bool {
        self.seen.lock().unwrap().is_notified
    }

    /// How the handshakes of control and of data connections went.
    pub(super) fn handshakes(&self) -> (Vec<HandshakeKind>, Vec<HandshakeKind>) {
        let seen = self.seen.lock().unwrap();
        (seen.control.clone(), seen.data.clone())
    }

    pub(super) fn set_auth(&self, reply: &'static str) {
        *self.auth.lock().unwrap() = reply;
    }

    pub(super) fn forget(&self) {
        self.server.forget();
    }

    pub(super) fn close_sessions(&self) {
        self.server.close_sessions();
    }
}

/// Answers as the script says, and as a simple server where it says nothing.
struct Player {
    script: Script,
    tls: Arc<ServerConfig>,
    data_tls: Arc<ServerConfig>,
    seen: Arc<Mutex<Seen>>,
    auth: Arc<Mutex<&'static str>>,
}

impl Player {
    fn answer(&self, client: &mut Client, line: &str) -> io::Result<Handled> {
        match line.split_once(' ').map_or(line, |(verb, _)| verb) {
            "connected" => {
                if self.script.is_implicit {
                    self.protect(client)?;
                }
                client.say(&format!("220 {}", self.script.greeting));
            }
            "AUTH" => {
                let reply = *self.auth.lock().unwrap();
                client.say(reply);
                if self.script.trouble == Trouble::Garbage {
                    client.control().read_exact(&mut [0; 20])?;
                    client.say("what do you want?");
                } else if reply.starts_with("234") {
                    self.protect(client)?;
                }
            }
            "PBSZ" if self.script.trouble == Trouble::Drips => {
                // The largest record there is, of which each byte resets a time-out of the socket.
                let mut control = client.control();
                control.write_all(&[0x17, 3, 3, 0x40, 0])?;
                loop {
                    thread::sleep(Duration::from_millis(50));
                    control.write_all(&[0])?;
                }
            }
            "PBSZ" => client.say("200 PBSZ=0"),
            "PROT" => client.say(self.script.prot),
            "EPSV" if self.script.accepts == Accepts::AtOnce => {
                let port = client.listen();
                let listener = client.take_listener();
                let (tls, seen) = (Arc::clone(&self.data_tls), Arc::clone(&self.seen));
                let accepting = thread::spawn(move || accept(&listener, tls, &seen));
                let mut seen = self.seen.lock().unwrap();
                seen.accepting.insert(client.number, accepting);
                drop(seen);
                client.say(&format!("229 ok (|||{port}|)"));
            }
            "RETR" => {
                let rest = client.rest;
                self.send(client, &content()[rest..])?;
            }
            "MLSD" => self.send(client, b"type=file;size=5; a\r\ntype=dir; b\r\n")?,
            "STOR" => self.receive(client)?,
            _ => return Ok(Handled::No),
        }
        Ok(Handled::Yes)
    }

    fn protect(&self, client: &mut Client) -> io::Result<()> {
        let stream = shake_hands(Arc::clone(&self.tls), client.control())?;
        let kind = stream.conn.handshake_kind().unwrap();
        client.protect(stream);
        self.seen.lock().unwrap().control.push(kind);
        Ok(())
    }

    fn accept(&self, client: &mut Client) -> io::Result<Protected> {
        let accepting = self.seen.lock().unwrap().accepting.remove(&client.number);
        match accepting {
            Some(accepting) => accepting.join().unwrap(),
            None => accept(
                &client.take_listener(),
                Arc::clone(&self.data_tls),
                &self.seen,
            ),
        }
    }

    fn send(&self, client: &mut Client, content: &[u8]) -> io::Result<()> {
        // First the go-ahead, like most servers.
        client.say("150 here it comes");
        let mut stream = self.accept(client)?;
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.sent += 1;
            seen.sent - 1
        };
        let ending = if self.script.ends_so.contains(&number) {
            self.script.ending
        } else {
            Ending::Notice
        };
        if ending == Ending::Answer {
            assert_eq!(stream.read(&mut [0])?, 0, "data in a download");
        }
        let count = match ending {
            Ending::Cut => 10.min(content.len() / 2),
            _ => content.len(),
        };
        let is_stuck = ending == Ending::Cut && client.rest > 0;
        stream.write_all(if is_stuck { &[] } else { &content[..count] })?;
        if matches!(ending, Ending::Notice | Ending::Answer) {
            stream.conn.send_close_notify();
        }
        stream.flush()?;
        drop(stream);
        client.rest = 0;
        client.say("226 done");
        Ok(())
    }

    fn receive(&self, client: &mut Client) -> io::Result<()> {
        match self.script.uploads {
            Uploads::Welcome => client.say("150 go on"),
            Uploads::Reticent => {}
            Uploads::Refused(reply) => {
                client.say(reply);
                return Ok(());
            }
        }
        let mut stream = self.accept(client)?;
        let mut uploaded = Vec::new();
        let end = stream.read_to_end(&mut uploaded);
        if self.script.uploads == Uploads::Reticent {
            client.say("150 that was it");
        }
        client.keep(uploaded);
        self.seen.lock().unwrap().is_notified = end.is_ok();
        drop(stream);
        client.say("226 stored");
        Ok(())
    }
}

/// Takes a data connection and does the handshake.
fn accept(
    listener: &TcpListener,
    tls: Arc<ServerConfig>,
    seen: &Mutex<Seen>,
) -> io::Result<Protected> {
    let socket = listener.accept()?.0;
    socket.set_nodelay(true)?;
    let stream = shake_hands(tls, socket)?;
    let kind = stream.conn.handshake_kind().unwrap();
    seen.lock().unwrap().data.push(kind);
    Ok(stream)
}

/// Does the server's half of TLS's handshake.
fn shake_hands(config: Arc<ServerConfig>, mut socket: TcpStream) -> io::Result<Protected> {
    let mut connection = ServerConnection::new(config).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}
