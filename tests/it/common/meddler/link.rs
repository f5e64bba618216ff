//! A data connection that leads through the proxy.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
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
    fn carry_up(&self, mut client: &TcpStream, mut server: &TcpStream) -> io::Result<()> {
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
            let part = match traffic {
                Traffic::Upload(most) => count.min(most - sent),
                _ => count,
            };
            if part > 0 {
                server.write_all(&buffer[..part])?;
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
                _ => client.write_all(&buffer[..count])?,
            }
        }
    }
}

/// Ends a connection, for all who hold it.
pub(super) fn end(socket: &TcpStream, how: End) {
    match how {
        End::Close => drop(socket.shutdown(Shutdown::Both)),
        End::Reset => drop(rustix::net::connect_unspec(socket)),
    }
}
