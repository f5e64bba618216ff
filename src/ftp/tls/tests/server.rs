//! An FTP server that speaks TLS by rustls' other half, with whatever is wrong about it that a test asks for.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use rustls::{
    HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};

use super::Identity;

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

/// What the server does.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) is_v13: bool,
    pub(super) is_implicit: bool,
    /// Whether it sends something else where TLS should begin.
    pub(super) is_garbage: bool,
    pub(super) greeting: &'static str,
    pub(super) auth: &'static str,
    pub(super) prot: &'static str,
    /// Who signs the certificates that clients must have.
    pub(super) client_authority: Option<PathBuf>,
    pub(super) ending: Ending,
    pub(super) uploads: Uploads,
    pub(super) accepts: Accepts,
}

impl Script {
    /// A good server with this certificate, which speaks TLS 1.2.
    pub(super) fn new(identity: &Identity) -> Self {
        Self {
            certificate: identity.pem.clone(),
            key: identity.key_pem.clone(),
            is_v13: false,
            is_implicit: false,
            is_garbage: false,
            greeting: "ready",
            auth: "234 go on",
            prot: "200 private",
            client_authority: None,
            ending: Ending::Notice,
            uploads: Uploads::Welcome,
            accepts: Accepts::Late,
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

/// What the server has seen.
#[derive(Default)]
struct Seen {
    commands: Vec<String>,
    in_clear: Vec<String>,
    control: Vec<HandshakeKind>,
    data: Vec<HandshakeKind>,
    uploaded: Vec<u8>,
    is_notified: bool,
    sockets: Vec<TcpStream>,
}

/// A server that listens until the test ends.
pub(super) struct TlsServer {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    auth: Arc<Mutex<&'static str>>,
}

/// The content of every file.
pub(super) fn content() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

impl TlsServer {
    pub(super) fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let auth = Arc::new(Mutex::new(script.auth));
        let tls = script.tls();
        let (shared, shared_auth) = (Arc::clone(&seen), Arc::clone(&auth));
        thread::spawn(move || {
            for socket in listener.incoming() {
                let socket = socket.unwrap();
                socket.set_nodelay(true).unwrap();
                let mut seen = shared.lock().unwrap();
                seen.sockets.push(socket.try_clone().unwrap());
                drop(seen);
                let mut client = Client {
                    stream: Stream::Plain(socket),
                    script: script.clone(),
                    tls: Arc::clone(&tls),
                    seen: Arc::clone(&shared),
                    auth: Arc::clone(&shared_auth),
                    data: None,
                    accepted: None,
                    rest: 0,
                };
                // However it ends: the client may hang up whenever it likes.
                thread::spawn(move || client.serve());
            }
        });
        Self {
            address,
            seen,
            auth,
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// All commands, in the clear and not.
    pub(super) fn commands(&self) -> Vec<String> {
        self.seen.lock().unwrap().commands.clone()
    }

    pub(super) fn in_clear(&self) -> Vec<String> {
        self.seen.lock().unwrap().in_clear.clone()
    }

    pub(super) fn uploaded(&self) -> Vec<u8> {
        self.seen.lock().unwrap().uploaded.clone()
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
        let mut seen = self.seen.lock().unwrap();
        seen.commands.clear();
        seen.in_clear.clear();
    }

    pub(super) fn close_sessions(&self) {
        for socket in self.seen.lock().unwrap().sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    fn inner(&mut self) -> &mut dyn ReadWrite {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream,
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

type DataStream = StreamOwned<ServerConnection, TcpStream>;

/// One control connection, on the server's side.
struct Client {
    stream: Stream,
    script: Script,
    tls: Arc<ServerConfig>,
    seen: Arc<Mutex<Seen>>,
    auth: Arc<Mutex<&'static str>>,
    data: Option<TcpListener>,
    accepted: Option<thread::JoinHandle<io::Result<DataStream>>>,
    rest: usize,
}

impl Client {
    fn serve(&mut self) -> io::Result<()> {
        if self.script.is_implicit {
            self.protect()?;
        }
        self.say(&format!("220 {}", self.script.greeting))?;
        let mut unread = String::new();
        let mut buffer = [0; 4096];
        loop {
            let count = self.stream.inner().read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            unread.extend(buffer[..count].iter().copied().map(char::from));
            while let Some((line, rest)) = unread.split_once("\r\n") {
                let line = line.to_owned();
                unread = rest.to_owned();
                let mut seen = self.seen.lock().unwrap();
                seen.commands.push(line.clone());
                if matches!(self.stream, Stream::Plain(_)) {
                    seen.in_clear.push(line.clone());
                }
                drop(seen);
                self.answer(&line)?;
            }
        }
    }

    fn protect(&mut self) -> io::Result<()> {
        let Stream::Plain(socket) = &self.stream else {
            return Ok(());
        };
        let stream = shake_hands(Arc::clone(&self.tls), socket.try_clone()?)?;
        let kind = stream.conn.handshake_kind().unwrap();
        self.seen.lock().unwrap().control.push(kind);
        self.stream = Stream::Tls(Box::new(stream));
        Ok(())
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        let stream = self.stream.inner();
        stream.write_all(format!("{text}\r\n").as_bytes())?;
        stream.flush()
    }

    fn accept(&mut self) -> io::Result<DataStream> {
        if let Some(accepting) = self.accepted.take() {
            return accepting.join().unwrap();
        }
        let listener = self.data.take().expect("a data command without EPSV");
        accept(&listener, Arc::clone(&self.tls), &self.seen)
    }

    fn send(&mut self, content: &[u8]) -> io::Result<()> {
        // First the go-ahead, like most servers.
        self.say("150 here it comes")?;
        let mut stream = self.accept()?;
        let ending = self.script.ending;
        if ending == Ending::Answer {
            assert_eq!(stream.read(&mut [0])?, 0, "data in a download");
        }
        let count = match ending {
            Ending::Cut => 10.min(content.len() / 2),
            _ => content.len(),
        };
        let is_stuck = ending == Ending::Cut && self.rest > 0;
        stream.write_all(if is_stuck { &[] } else { &content[..count] })?;
        if matches!(ending, Ending::Notice | Ending::Answer) {
            stream.conn.send_close_notify();
        }
        stream.flush()?;
        drop(stream);
        self.rest = 0;
        self.say("226 done")
    }

    fn receive(&mut self) -> io::Result<()> {
        match self.script.uploads {
            Uploads::Welcome => self.say("150 go on")?,
            Uploads::Reticent => {}
            Uploads::Refused(reply) => return self.say(reply),
        }
        let mut stream = self.accept()?;
        let mut uploaded = Vec::new();
        let end = stream.read_to_end(&mut uploaded);
        if self.script.uploads == Uploads::Reticent {
            self.say("150 that was it")?;
        }
        let mut seen = self.seen.lock().unwrap();
        seen.uploaded = uploaded;
        seen.is_notified = end.is_ok();
        drop(seen);
        drop(stream);
        self.say("226 stored")
    }

    fn answer(&mut self, line: &str) -> io::Result<()> {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "AUTH" => {
                let reply = *self.auth.lock().unwrap();
                self.say(reply)?;
                if self.script.is_garbage {
                    self.stream.inner().read_exact(&mut [0; 20])?;
                    return self.say("what do you want?");
                }
                if reply.starts_with("234") {
                    self.protect()?;
                }
                Ok(())
            }
            "PBSZ" => self.say("200 PBSZ=0"),
            "PROT" => self.say(self.script.prot),
            "USER" => self.say("331 password"),
            "PASS" => self.say("230 in"),
            "TYPE" | "OPTS" => self.say("200 ok"),
            "FEAT" => self.say("211-Features:\r\n MLST type*;size*;modify*;\r\n211 End"),
            "SYST" => self.say("215 UNIX Type: L8"),
            "PWD" => self.say("257 \"/\" is current"),
            "CWD" | "DELE" => self.say("250 ok"),
            "SIZE" => self.say("213 400000"),
            "EPSV" => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let port = listener.local_addr()?.port();
                if self.script.accepts == Accepts::AtOnce {
                    let (tls, seen) = (Arc::clone(&self.tls), Arc::clone(&self.seen));
                    self.accepted = Some(thread::spawn(move || accept(&listener, tls, &seen)));
                } else {
                    self.data = Some(listener);
                }
                self.say(&format!("229 ok (|||{port}|)"))
            }
            "REST" => {
                self.rest = argument.parse().unwrap();
                self.say("350 ok")
            }
            "RETR" => {
                let content = content();
                let rest = self.rest;
                self.send(&content[rest..])
            }
            "MLSD" => self.send(b"type=file;size=5; a\r\ntype=dir; b\r\n"),
            "STOR" => self.receive(),
            "QUIT" => self.say("221 bye"),
            _ => self.say("502 unknown"),
        }
    }
}

/// Takes a data connection and does the handshake.
fn accept(
    listener: &TcpListener,
    tls: Arc<ServerConfig>,
    seen: &Mutex<Seen>,
) -> io::Result<DataStream> {
    let socket = listener.accept()?.0;
    socket.set_nodelay(true)?;
    let stream = shake_hands(tls, socket)?;
    let kind = stream.conn.handshake_kind().unwrap();
    seen.lock().unwrap().data.push(kind);
    Ok(stream)
}

fn shake_hands(tls: Arc<ServerConfig>, mut socket: TcpStream) -> io::Result<DataStream> {
    let mut connection = ServerConnection::new(tls).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}
