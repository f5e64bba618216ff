//! A scripted FTP server: plain threads and bytes. It answers like a simple real one, and a test's own handler comes
//! first, to answer otherwise, late, in pieces, or not at all.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use socket2::SockRef;

/// What protects a control connection, on the server's side.
pub(in crate::ftp) trait ReadWrite: Read + Write + Send {}

impl<T: Read + Write + Send> ReadWrite for T {}

/// What a test's handler has done with a command.
pub(in crate::ftp) enum Handled {
    /// Nothing: the usual answer is given.
    No,
    /// Answered, or left unanswered on purpose.
    Yes,
    /// The connection is to be closed.
    Close,
}

/// What the server has seen and holds.
#[derive(Default)]
pub(in crate::ftp) struct Seen {
    /// What arrived on control connections, one entry a read: the commands of one write stand together.
    pub(in crate::ftp) batches: Vec<String>,
    /// What was uploaded last.
    pub(in crate::ftp) uploaded: Vec<u8>,
    /// How many connections were accepted.
    pub(in crate::ftp) connections: usize,
    /// All commands, and whether each came in the clear.
    commands: Vec<(String, bool)>,
    /// To be closed when the server is to go away.
    sockets: Vec<TcpStream>,
}

impl Handled {
    /// This when `is_so`, else the usual.
    pub(in crate::ftp) fn when(self, is_so: bool) -> Self {
        if is_so { self } else { Self::No }
    }
}

type Handler = dyn Fn(&mut Client, &str) -> Handled + Send + Sync;

/// A server that listens until the test ends.
pub(in crate::ftp) struct ScriptedServer {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// One control connection, on the server's side.
pub(in crate::ftp) struct Client {
    socket: TcpStream,
    tls: Option<Box<dyn ReadWrite>>,
    /// Which connection this is, from 1 on.
    pub(in crate::ftp) number: usize,
    data: Option<TcpListener>,
    /// What stands in the way of the client's data connection.
    filler: Option<TcpStream>,
    /// How many commands are still passed over.
    passed_over: usize,
    /// The offset of the last REST.
    pub(in crate::ftp) rest: usize,
    /// Behind the last byte of a RANG.
    pub(in crate::ftp) range_end: Option<usize>,
    seen: Arc<Mutex<Seen>>,
}

/// The content of every file.
pub(in crate::ftp) fn content() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

impl ScriptedServer {
    /// Starts a server that greets as usual.
    pub(in crate::ftp) fn start(
        handler: impl Fn(&mut Client, &str) -> Handled + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let handler: Arc<Handler> = Arc::new(handler);
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let socket = socket.unwrap();
                socket.set_nodelay(true).unwrap();
                let number = {
                    let mut seen = shared.lock().unwrap();
                    seen.connections += 1;
                    seen.sockets.push(socket.try_clone().unwrap());
                    seen.connections
                };
                let seen = Arc::clone(&shared);
                let mut client = Client {
                    socket,
                    tls: None,
                    number,
                    data: None,
                    filler: None,
                    passed_over: 0,
                    rest: 0,
                    range_end: None,
                    seen,
                };
                let handler = Arc::clone(&handler);
                thread::spawn(move || client.serve(&*handler));
            }
        });
        Self { address, seen }
    }

    pub(in crate::ftp) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What arrived since this was last asked.
    pub(in crate::ftp) fn take_batches(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap().batches)
    }

    pub(in crate::ftp) fn uploaded(&self) -> Vec<u8> {
        self.seen.lock().unwrap().uploaded.clone()
    }

    pub(in crate::ftp) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// All commands that came, or only those that came in the clear.
    pub(in crate::ftp) fn commands(&self, only_in_clear: bool) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let commands = seen.commands.iter();
        let wanted = commands.filter(|(_, is_in_clear)| *is_in_clear || !only_in_clear);
        wanted.map(|(line, _)| line.clone()).collect()
    }

    /// Forgets which commands came.
    pub(in crate::ftp) fn forget(&self) {
        self.seen.lock().unwrap().commands.clear();
    }

    /// Closes all control connections.
    pub(in crate::ftp) fn close_sessions(&self) {
        for socket in self.seen.lock().unwrap().sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Client {
    fn serve(&mut self, handler: &Handler) {
        match handler(self, "connected") {
            Handled::No => self.say("220 ready"),
            Handled::Yes => {}
            Handled::Close => return,
        }
        let mut unread = String::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = self.read(&mut buffer);
            if count == 0 {
                return;
            }
            let batch: String = buffer[..count].iter().copied().map(char::from).collect();
            unread.push_str(&batch);
            self.seen
                .lock()
                .unwrap()
                .batches
                .push(batch.trim_end().replace("\r\n", " | "));
            while let Some((line, rest)) = unread.split_once("\r\n") {
                let line = line.to_owned();
                unread = rest.to_owned();
                let is_in_clear = self.tls.is_none();
                let mut seen = self.seen.lock().unwrap();
                seen.commands.push((line.clone(), is_in_clear));
                drop(seen);
                if self.passed_over > 0 {
                    self.passed_over -= 1;
                    continue;
                }
                match handler(self, &line) {
                    Handled::No => self.answer(&line),
                    Handled::Yes => {}
                    Handled::Close => {
                        let _ = self.socket.shutdown(Shutdown::Both);
                        return;
                    }
                }
            }
        }
    }

    /// Reads what has arrived.
    pub(in crate::ftp) fn read(&mut self, buffer: &mut [u8]) -> usize {
        match &mut self.tls {
            Some(tls) => tls.read(buffer),
            None => self.socket.read(buffer),
        }
        .unwrap_or(0)
    }

    /// Sends one line of a reply.
    pub(in crate::ftp) fn say(&mut self, line: &str) {
        self.send(format!("{line}\r\n").as_bytes());
    }

    /// Sends bytes.
    pub(in crate::ftp) fn send(&mut self, bytes: &[u8]) {
        // The client may be gone.
        let _ = match &mut self.tls {
            Some(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
            None => self.socket.write_all(bytes),
        };
    }

    /// Speaks through this on the control connection from here on.
    pub(in crate::ftp) fn protect(&mut self, stream: impl ReadWrite + 'static) {
        self.tls = Some(Box::new(stream));
    }

    /// Takes out where it listens for the data connection.
    pub(in crate::ftp) fn take_listener(&mut self) -> TcpListener {
        self.data.take().expect("a data command without EPSV")
    }

    /// Listens for a data connection and says on which port.
    pub(in crate::ftp) fn listen(&mut self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        self.data = Some(listener);
        self.filler = None;
        port
    }

    /// Listens for a data connection that does not come about before [`Client::open_up`]: the queue is full, SYNs are dropped.
    pub(in crate::ftp) fn listen_late(&mut self) -> u16 {
        let port = self.listen();
        let listener = self.data.as_ref().expect("listening since a moment ago");
        SockRef::from(listener).listen(0).unwrap();
        self.filler = Some(TcpStream::connect(("127.0.0.1", port)).unwrap());
        port
    }

    /// Whether something stands in the way of the client's data connection.
    pub(in crate::ftp) fn is_late(&self) -> bool {
        self.filler.is_some()
    }

    /// Lets the data connection come about, which takes until the SYN is sent again. Whether none was there before.
    pub(in crate::ftp) fn open_up(&mut self) -> bool {
        let listener = self.data.as_ref().expect("a data command without EPSV");
        let filler = listener.accept().unwrap().0;
        self.filler = None;
        drop(filler);
        listener.set_nonblocking(true).unwrap();
        let is_early = listener.accept().is_err();
        listener.set_nonblocking(false).unwrap();
        is_early
    }

    /// Takes the data connection.
    pub(in crate::ftp) fn accept(&mut self) -> TcpStream {
        self.take_listener().accept().unwrap().0
    }

    /// A second handle to the control connection.
    pub(in crate::ftp) fn control(&self) -> TcpStream {
        self.socket.try_clone().unwrap()
    }

    /// How many bytes were uploaded last.
    pub(in crate::ftp) fn kept(&self) -> usize {
        self.seen.lock().unwrap().uploaded.len()
    }

    /// Whether more commands came in the same write.
    pub(in crate::ftp) fn has_more(&self) -> bool {
        self.seen
            .lock()
            .unwrap()
            .batches
            .last()
            .is_some_and(|batch| batch.contains(" | "))
    }

    /// Whether a command came in the same write right behind this one.
    pub(in crate::ftp) fn has_more_behind(&self, line: &str) -> bool {
        let seen = self.seen.lock().unwrap();
        let last = seen.batches.last();
        last.is_some_and(|batch| batch.contains(&format!("{line} | ")))
    }

    /// Leaves the next commands unanswered: they were, before their time.
    pub(in crate::ftp) fn pass_over(&mut self, count: usize) {
        self.passed_over = count;
    }

    /// Keeps what was uploaded.
    pub(in crate::ftp) fn keep(&mut self, uploaded: Vec<u8>) {
        self.seen.lock().unwrap().uploaded = uploaded;
    }

    /// Reads an upload to its end.
    pub(in crate::ftp) fn receive(&mut self) {
        let mut uploaded = Vec::new();
        self.accept().read_to_end(&mut uploaded).unwrap();
        self.keep(uploaded);
    }

    /// The answer of a simple server that knows MLSD.
    pub(in crate::ftp) fn answer(&mut self, line: &str) {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "USER" => self.say("331 password"),
            "PASS" => self.say("230 in"),
            "TYPE" | "OPTS" | "NOOP" => self.say("200 ok"),
            "FEAT" => self.say("211-Features:\r\n MLST type*;size*;modify*;\r\n211 End"),
            "SYST" => self.say("215 UNIX Type: L8"),
            "PWD" => self.say("257 \"/\" is current"),
            "CWD" if argument.ends_with("missing") => self.say("550 no such directory"),
            "CWD" | "DELE" | "RMD" | "RNTO" => self.say("250 ok"),
            "MKD" => self.say("257 made"),
            "RNFR" => self.say("350 to?"),
            "SIZE" => self.say("213 400000"),
            "MDTM" => self.say("213 20260102030405"),
            "EPSV" => {
                let port = self.listen();
                self.say(&format!("229 ok (|||{port}|)"));
            }
            "REST" => {
                self.rest = argument.parse().unwrap();
                self.say("350 ok");
            }
            "RANG" => {
                let (first, last) = argument.split_once(' ').unwrap();
                self.rest = first.parse().unwrap();
                self.range_end = Some(last.parse::<usize>().unwrap() + 1);
                self.say("350 ok");
            }
            "RETR" => {
                self.say("150 here it comes");
                let mut data = self.accept();
                let start = std::mem::take(&mut self.rest);
                let end = self.range_end.take().unwrap_or(content().len());
                let sent = data.write_all(&content()[start..end]);
                drop(data);
                self.say(if sent.is_ok() {
                    "226 done"
                } else {
                    "426 you closed it"
                });
            }
            "MLSD" => {
                self.say("150 here it comes");
                self.accept()
                    .write_all(b"type=file;size=5; a\r\ntype=dir; b\r\n")
                    .unwrap();
                self.say("226 done");
            }
            "STOR" | "APPE" => {
                self.say("150 go on");
                self.receive();
                self.say("226 stored");
            }
            "QUIT" => self.say("221 bye"),
            _ => self.say("502 unknown"),
        }
    }
}

/// Waits until `is_so`, at most two seconds.
pub(in crate::ftp) fn eventually(is_so: impl Fn() -> bool) {
    for _ in 0..200 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not happen within two seconds");
}
