//! A link that takes its time: control and data connections to a server, each byte half a round trip late.
//!
//! What costs round trips inside a connection, as TLS does, shows in the time that things take and nowhere else. TCP's own
//! handshake is with this end of the link, and costs nothing here. What was sent first arrives first, on whatever connection:
//! pyftpdlib closes a data connection on which anything comes before its command.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    ops::RangeInclusive,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::SockRef;

/// Where the link listens, so that the server can have the same ports.
const NEAR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Where the server listens.
const FAR: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// How many ports for data there are. 32: what a dozen transfers leave behind in TCP's `TIME_WAIT` is not in the way.
const PORTS: u16 = 32;

/// The data ports' range: below the ephemeral ones, above those that servers get for control connections.
const PORTS_MIN: u16 = 30_300;
const PORTS_MAX: u16 = 32_700;

/// How long something may lie here after its time. 1 ms: a hundredth of a round trip.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// How much a slow link takes in beyond what it carries at the moment: what it carries in 2 ms, as it may be looked after so late.
const QUEUE: Duration = Duration::from_millis(2);

/// This end of a link.
#[derive(Debug)]
pub(crate) struct Link {
    data: Vec<TcpListener>,
    rtt: Duration,
    /// Bytes a second, by each connection and each way.
    rate: u64,
}

impl Link {
    /// Takes ports that nobody else has.
    pub(crate) fn new(rtt: Duration) -> Self {
        let mut starts = (PORTS_MIN..PORTS_MAX - PORTS).step_by(usize::from(PORTS));
        let data = starts.find_map(|start| {
            let listeners = (start..start + PORTS).map(|port| TcpListener::bind((NEAR, port)));
            listeners.collect::<io::Result<Vec<_>>>().ok()
        });
        Self {
            data: data.expect("free ports"),
            rtt,
            rate: u64::MAX,
        }
    }

    /// Each connection carries at most so many bytes a second.
    pub(crate) fn with_rate(self, rate: u64) -> Self {
        Self { rate, ..self }
    }

    /// The ports that the server is to use for data.
    pub(crate) fn ports(&self) -> RangeInclusive<u16> {
        port(&self.data[0])..=port(&self.data[self.data.len() - 1])
    }

    /// Carries connections, from now on, to the server whose control port this is; where it takes them.
    pub(crate) fn open(self, control_port: u16) -> SocketAddr {
        let control = TcpListener::bind((NEAR, 0)).unwrap();
        let address = control.local_addr().unwrap();
        let data = self.data.into_iter().map(|data| (port(&data), data));
        let listeners: Vec<_> = [(control_port, control)].into_iter().chain(data).collect();
        for (_, listener) in &listeners {
            listener.set_nonblocking(true).unwrap();
        }
        thread::spawn(move || carry(&listeners, self.rtt / 2, self.rate));
        address
    }
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

/// Carries whatever comes, connections that were made first before others, until the test's process ends.
fn carry(listeners: &[(u16, TcpListener)], delay: Duration, rate: u64) {
    let mut pipes: Vec<Pipe> = Vec::new();
    loop {
        let now = Instant::now();
        let sources = pipes
            .iter()
            .filter(|pipe| !pipe.is_over && !pipe.is_busy(now));
        let sockets: Vec<BorrowedFd<'_>> = listeners
            .iter()
            .map(|(_, listener)| listener.as_fd())
            .chain(sources.map(|pipe| pipe.from.as_fd()))
            .collect();
        let mut waited: Vec<_> = sockets
            .iter()
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        let is_carrying = pipes.iter().any(|pipe| !pipe.parcels.is_empty());
        // Interrupted is as good as over.
        let _ = rustix::event::poll(&mut waited, is_carrying.then_some(&TICK));
        for (port, listener) in listeners {
            // Where nobody listens any more the client sees the end.
            while let Ok((client, _)) = listener.accept() {
                if let Ok(server) = TcpStream::connect((FAR, *port)) {
                    pipes.extend(Pipe::both_ways(client, server));
                }
            }
        }
        let now = Instant::now();
        for pipe in &mut pipes {
            pipe.take(now, delay, rate);
        }
        for pipe in &mut pipes {
            pipe.deliver();
        }
        pipes.retain(|pipe| !pipe.is_over || !pipe.parcels.is_empty());
    }
}

/// What is carried.
enum Parcel {
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// One direction of a connection.
struct Pipe {
    from: Rc<TcpStream>,
    to: Rc<TcpStream>,
    /// Each with the time when it is there.
    parcels: VecDeque<(Instant, Parcel)>,
    /// When all that was taken in has left this end.
    busy_until: Instant,
    /// Whether nothing more will come.
    is_over: bool,
}

impl Pipe {
    fn both_ways(client: TcpStream, server: TcpStream) -> [Self; 2] {
        for socket in [&client, &server] {
            socket.set_nodelay(true).unwrap();
            socket.set_nonblocking(true).unwrap();
        }
        let (client, server) = (Rc::new(client), Rc::new(server));
        [(&client, &server), (&server, &client)].map(|(from, to)| Self {
            from: Rc::clone(from),
            to: Rc::clone(to),
            parcels: VecDeque::new(),
            busy_until: Instant::now(),
            is_over: false,
        })
    }

    /// Whether it takes in no more for now.
    fn is_busy(&self, now: Instant) -> bool {
        self.busy_until > now + QUEUE
    }

    /// Takes in what has been sent, as fast as it is carried.
    fn take(&mut self, now: Instant, delay: Duration, rate: u64) {
        let mut buffer = [0; 16 << 10];
        while !self.is_over {
            if self.is_busy(now) {
                return;
            }
            let parcel = match (&*self.from).read(&mut buffer) {
                Ok(0) => Parcel::End,
                Ok(count) => Parcel::Bytes(buffer[..count].to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => Parcel::Reset,
            };
            if let Parcel::Bytes(bytes) = &parcel {
                let nanoseconds = bytes.len() as u64 * 1_000_000_000 / rate;
                self.busy_until = self.busy_until.max(now) + Duration::from_nanos(nanoseconds);
            }
            self.is_over = !matches!(parcel, Parcel::Bytes(_));
            let due = self.busy_until.max(now) + delay;
            self.parcels.push_back((due, parcel));
        }
    }

    /// Hands over what has arrived, as far as it is taken.
    fn deliver(&mut self) {
        while let Some((due, parcel)) = self.parcels.front_mut()
            && *due <= Instant::now()
        {
            let delivered = match parcel {
                Parcel::Bytes(bytes) => (&*self.to).write(bytes).map(|count| {
                    bytes.drain(..count);
                    bytes.is_empty()
                }),
                Parcel::End => self.to.shutdown(Shutdown::Write).map(|()| true),
                // The other direction ends with it, and whoever closes the socket last resets it.
                Parcel::Reset => SockRef::from(&*self.to)
                    .set_linger(Some(Duration::ZERO))
                    .and_then(|()| self.to.shutdown(Shutdown::Both))
                    .map(|()| true),
            };
            match delivered {
                Ok(false) => {}
                Ok(true) => drop(self.parcels.pop_front()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    // Nobody is there to take it.
                    self.parcels.clear();
                    self.is_over = true;
                }
            }
        }
    }
}
