//! A proxy before a server's control port that counts round trips: commands that left together, before any reply came.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use super::{POLL_INTERVAL, wait_for};

/// How long nothing may have been said before the sessions count as at rest: many times what the background leaves between
/// two commands.
const QUIET: Duration = Duration::from_millis(150);

/// How long the sessions may take to come to rest.
const QUIET_TIMEOUT: Duration = Duration::from_secs(10);

/// A proxy; it carries control connections only, as the data connections' ports are the server's own.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug)]
struct Heard {
    /// Each with the number of its connection.
    batches: Vec<(usize, String)>,
    /// When anything was last said, by either side.
    last: Instant,
    connections: usize,
}

impl Proxy {
    /// Starts to listen, for connections that go on to `server`.
    pub(crate) fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Heard {
            batches: Vec::new(),
            last: Instant::now(),
            connections: 0,
        }));
        let (server, shared) = (server.to_owned(), Arc::clone(&heard));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                carry(&client, &TcpStream::connect(&server).unwrap(), &shared);
            }
        });
        Self { address, heard }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is sent while `work` is done, one line a round trip, after everything from before has come to rest. An EPSV that
    /// nothing follows on its session is the background's, which opens the next data connection; so is a log-in.
    pub(crate) fn during(&self, work: impl FnOnce()) -> Vec<String> {
        wait_for("sessions at rest", QUIET_TIMEOUT, || {
            self.heard.lock().unwrap().last.elapsed() > QUIET
        });
        self.heard.lock().unwrap().batches.clear();
        work();
        let mut batches = std::mem::take(&mut self.heard.lock().unwrap().batches);
        let mut index = batches.len();
        while index > 0 {
            index -= 1;
            let (connection, batch) = &batches[index];
            let is_last = !batches[index + 1..]
                .iter()
                .any(|(other, _)| other == connection);
            if is_last && (batch == "EPSV" || batch.starts_with("USER ")) {
                batches.remove(index);
            }
        }
        batches.into_iter().map(|(_, batch)| batch).collect()
    }
}

fn carry(client: &TcpStream, server: &TcpStream, heard: &Arc<Mutex<Heard>>) {
    let connection = {
        let mut heard = heard.lock().unwrap();
        heard.connections += 1;
        heard.connections
    };
    for socket in [client, server] {
        socket.set_nodelay(true).unwrap();
    }
    // Whether the server has said anything since the last command.
    let is_answered = Arc::new(Mutex::new(true));
    let (answered, shared) = (Arc::clone(&is_answered), Arc::clone(heard));
    pump(client, server, move |bytes| {
        let text = String::from_utf8_lossy(bytes)
            .trim_end()
            .replace("\r\n", " | ");
        let is_new = std::mem::take(&mut *is_answered.lock().unwrap());
        let mut heard = shared.lock().unwrap();
        heard.last = Instant::now();
        let mut own = heard.batches.iter_mut().rev();
        match own.find(|(number, _)| *number == connection) {
            Some((_, batch)) if !is_new => *batch = format!("{batch} | {text}"),
            _ => heard.batches.push((connection, text)),
        }
    });
    let shared = Arc::clone(heard);
    pump(server, client, move |_| {
        shared.lock().unwrap().last = Instant::now();
        *answered.lock().unwrap() = true;
    });
}

/// Carries bytes one way until either side ends; `note` hears of them before they go on.
fn pump(from: &TcpStream, to: &TcpStream, mut note: impl FnMut(&[u8]) + Send + 'static) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            note(&buffer[..count]);
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

/// Waits for what the kernel tells the filesystem only after close(2) has returned.
pub(crate) fn await_release() {
    thread::sleep(POLL_INTERVAL);
}
