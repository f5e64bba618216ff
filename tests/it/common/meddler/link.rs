//! A data connection that leads through the proxy.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::lock;

/// How often a listener looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As if all was said.
    Close,
    /// With an error.
    Reset,
}

/// What happens to a transfer in its middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// The reader sees the end; the writer gets rid of everything.
    Close,
    /// Both sides see it fail.
    Reset,
    /// Nothing moves for so long, then it fails.
    Stall(Duration),
    /// The rest comes so much later.
    Pause(Duration),
}

/// Whether a transfer has stood still on its way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Pause {
    #[default]
    None,
    Now,
    /// Its rest was carried on then.
    Over(Instant),
}

/// What is made of a download.
#[derive(Clone)]
pub(super) struct Edit(Arc<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>);

impl Edit {
    pub(super) fn new(edit: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self(Arc::new(edit))
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edit")
    }
}

/// What happens to the bytes of one transfer.
#[derive(Debug, Clone, Default)]
pub(super) enum Traffic {
    /// They go through.
    #[default]
    Plain,
    /// The client reads something else.
    Download(Edit, End),
    /// The server reads no more than this many.
    Upload(usize),
    /// The server reads another byte at this place.
    Changed(usize),
    /// Something happens after so many bytes.
    Broken(usize, Break),
}

#[derive(Debug, Default)]
enum State {
    /// No transfer was asked for yet.
    #[default]
    Waiting,
    /// One is about to be passed on.
    Asked,
    Running(Traffic),
    Over,
}

/// A data connection from its announcement on.
#[derive(Debug, Default)]
pub(super) struct Link {
    state: Mutex<State>,
    changed: Condvar,
    /// What the transfer has carried.
    carried: AtomicUsize,
    /// What was to happen in its middle has happened.
    is_broken: AtomicBool,
    pause: Mutex<Pause>,
}

impl Link {
    /// A transfer that uses it is about to be passed on.
    pub(super) fn claim(&self) {
        self.set(State::Asked);
    }

    /// That transfer was passed on.
    pub(super) fn begin(&self, traffic: Traffic) {
        self.set(State::Running(traffic));
    }

    /// Nothing will use it any more.
    pub(super) fn give_up(&self) {
        let mut state = lock(&self.state);
        if matches!(*state, State::Waiting) {
            *state = State::Over;
        }
        self.changed.notify_all();
    }

    fn set(&self, state: State) {
        *lock(&self.state) = state;
        self.changed.notify_all();
    }

    /// What the transfer is that runs; waits for one.
    fn traffic(&self) -> Option<Traffic> {
        let state = lock(&self.state);
        let is_waiting = |state: &mut State| matches!(state, State::Waiting | State::Asked);
        match &*self.changed.wait_while(state, is_waiting).unwrap() {
            State::Running(traffic) => Some(traffic.clone()),
            _ => None,
        }
    }

    /// How many bytes the transfer has carried.
    pub(super) fn carried(&self) -> usize {
        self.carried.load(Ordering::SeqCst)
    }

    /// Whether it has come to the place where it breaks.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::SeqCst)
    }

    /// Whether its rest is late.
    pub(super) fn pause(&self) -> Pause {
        *lock(&self.pause)
    }

    /// Carries on what was read from one side, and breaks the transfer where that is its time; whether it goes on.
    fn pass(
        &self,
        part: &[u8],
        mut to: &TcpStream,
        mut from: &TcpStream,
        traffic: &Traffic,
    ) -> io::Result<bool> {
        let sent = self.carried();
        let Traffic::Broken(at, how) = *traffic else {
            to.write_all(part)?;
            self.carried.fetch_add(part.len(), Ordering::SeqCst);
            return Ok(true);
        };
        let reached = sent + part.len();
        let is_here = !self.is_broken() && reached >= at;
        let (before, after) = part.split_at(if is_here { at - sent } else { part.len() });
        to.write_all(before)?;
        self.carried.fetch_add(before.len(), Ordering::SeqCst);
        if !is_here {
            return Ok(true);
        }
        self.is_broken.store(true, Ordering::SeqCst);
        match how {
            Break::Close => {
                end(to, End::Close);
                while from.read(&mut [0; 4096])? > 0 {}
            }
            Break::Reset => both(to, from, End::Reset),
            Break::Stall(time) => {
                thread::sleep(time);
                both(to, from, End::Reset);
            }
            Break::Pause(time) => {
                *lock(&self.pause) = Pause::Now;
                thread::sleep(time);
                let written = to.write_all(after);
                *lock(&self.pause) = Pause::Over(Instant::now());
                written?;
                self.carried.fetch_add(after.len(), Ordering::SeqCst);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A reply to EPSV or PASV, with a port of ours in place of the server's.
    pub(super) fn redirect(self: &Arc<Self>, reply: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(reply);
        let redirected = match text.get(..3) {
            Some("229") => self.redirect_extended(&text),
            Some("227") => self.redirect_plain(&text),
            _ => None,
        };
        redirected.map_or_else(|| reply.to_vec(), String::into_bytes)
    }

    fn redirect_extended(self: &Arc<Self>, text: &str) -> Option<String> {
        let (before, behind) = text.split_once("|||")?;
        let (port, after) = behind.split_once('|')?;
        let ours = self.listen(port.parse().ok()?);
        Some(format!("{before}|||{ours}|{after}"))
    }

    fn redirect_plain(self: &Arc<Self>, text: &str) -> Option<String> {
        let (before, behind) = text.split_once('(')?;
        let (numbers, after) = behind.split_once(')')?;
        let numbers: Vec<u16> = numbers.split(',').filter_map(|n| n.parse().ok()).collect();
        let [.., high, low] = numbers[..] else {
            return None;
        };
        let ours = self.listen(high << 8 | low);
        let (high, low) = (ours >> 8, ours & 0xff);
        Some(format!("{before}(127,0,0,1,{high},{low}){after}"))
    }

    /// Listens for one connection that leads on to the server's port. The server's side is there before the client hears of it:
    /// pyftpdlib gives a transfer that finds no connection to the one that is opened next.
    fn listen(self: &Arc<Self>, port: u16) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
            return ours;
        };
        let link = Arc::clone(self);
        thread::spawn(move || {
            let client = loop {
                match listener.accept() {
                    Ok((client, _)) => break client,
                    Err(_) if matches!(*lock(&link.state), State::Over) => return,
                    Err(_) => thread::sleep(LOOK_EVERY),
                }
            };
            client.set_nonblocking(false).unwrap();
            link.carry(client, server);
        });
        ours
    }

    fn carry(self: Arc<Self>, client: TcpStream, server: TcpStream) {
        let (client, server) = (Arc::new(client), Arc::new(server));
        let (link, from, to) = (Arc::clone(&self), Arc::clone(&client), Arc::clone(&server));
        thread::spawn(move || {
            let _ = link
                .carry_up(&from, &to)
                .inspect_err(|_| end(&to, End::Reset));
        });
        let _ = self
            .carry_down(&server, &client)
            .inspect_err(|_| end(&client, End::Reset));
    }

    /// From the client to the server. What comes before the command for it waits, an end as well: pyftpdlib forgets a
    /// connection that ends before it was asked for anything.
    fn carry_up(&self, mut client: &TcpStream, server: &TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let mut sent = 0;
        let mut is_cut = false;
        loop {
            let count = client.read(&mut buffer)?;
            let traffic = self.traffic();
            if count == 0 {
                let _ = server.shutdown(Shutdown::Write);
                return Ok(());
            }
            let Some(traffic) = traffic else {
                end(client, End::Reset);
                end(server, End::Reset);
                return Ok(());
            };
            if let Traffic::Changed(at) = traffic
                && (sent..sent + count).contains(&at)
            {
                buffer[at - sent] ^= 1;
            }
            let part = match traffic {
                Traffic::Upload(most) => count.min(most - sent),
                _ => count,
            };
            if part > 0 && !self.pass(&buffer[..part], server, client, &traffic)? {
                return Ok(());
            }
            sent += part;
            if part < count && !is_cut {
                is_cut = true;
                server.shutdown(Shutdown::Write)?;
            }
        }
    }

    /// From the server to the client.
    fn carry_down(&self, mut server: &TcpStream, mut client: &TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let mut whole = Vec::new();
        loop {
            let count = server.read(&mut buffer)?;
            let is_idle = count == 0 && matches!(*lock(&self.state), State::Waiting);
            let traffic = if is_idle { None } else { self.traffic() };
            let traffic = traffic.unwrap_or_default();
            match (traffic, count) {
                (Traffic::Download(edit, how), 0) => {
                    client.write_all(&edit.0(whole))?;
                    end(client, how);
                    return Ok(());
                }
                (Traffic::Download(..), _) => whole.extend_from_slice(&buffer[..count]),
                (Traffic::Upload(_), 0) => return Ok(()),
                (_, 0) => {
                    let _ = client.shutdown(Shutdown::Write);
                    return Ok(());
                }
                // The client may want no more.
                (traffic, _) => {
                    if !self.pass(&buffer[..count], client, server, &traffic)? {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Ends both connections.
fn both(one: &TcpStream, other: &TcpStream, how: End) {
    end(one, how);
    end(other, how);
}

/// Ends a connection, for all who hold it.
pub(super) fn end(socket: &TcpStream, how: End) {
    match how {
        End::Close => drop(socket.shutdown(Shutdown::Both)),
        End::Reset => drop(rustix::net::connect_unspec(socket)),
    }
}
