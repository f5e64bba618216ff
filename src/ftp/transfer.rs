//! A running transfer: a session that can do nothing else until its data connection is closed and the last reply read.
//!
//! Dropping one never blocks: the background reads the reply that the server still owes.

use std::{
    io::{self, Read},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    background::Job,
    capabilities::Shortcut,
    command::DataCommand,
    data::DataStream,
    deadline::Deadline,
    pool::{Guard, Pool},
    reply::{Failure, Fault, Reply},
    session::Opened,
    socket::{self, peek, unsent_bytes},
};
use crate::remote::{Phase, RemoteErrorKind};

/// How often the end of an upload looks whether the kernel still gets bytes away. 1 s: nothing waits for it, a reply ends
/// the wait at once.
const DRAIN_CHECK: Duration = Duration::from_secs(1);

/// A session with a transfer open.
#[derive(Debug)]
pub(super) struct Transfer {
    // Both are there until the transfer is consumed.
    parts: Option<(Guard, DataStream)>,
    verb: &'static str,
    /// Whether the server has ended the data.
    has_ended: bool,
    /// How much is still to come of a range that the server has agreed to.
    left: Option<u64>,
    /// The answers to the questions that left before its command.
    told: Vec<Reply>,
    /// What went wrong on its data connection before the go-ahead.
    lost: Option<io::Error>,
}

impl Transfer {
    /// Starts a transfer on this session.
    ///
    /// A data connection that was begun ahead may have gone stale, or the server may want it before the command; it then says
    /// 425 or the like, and the plain exchange is tried.
    pub(super) fn open(mut guard: Guard, wanted: &DataCommand<'_>) -> Result<Self, Failure> {
        let mut is_repeated = false;
        loop {
            let was_warm = guard.session().is_warm();
            let opened = guard.session().open(wanted);
            guard.note_data_refused();
            let was_early = guard.session().was_early();
            match opened {
                Ok(Opened {
                    data,
                    refused,
                    is_bounded,
                    told,
                    lost,
                }) => {
                    if was_warm {
                        guard.note_data_used();
                    }
                    if wanted.range.is_some() {
                        note_range(guard.pool(), is_bounded);
                    }
                    let range = wanted.range.as_ref().filter(|_| is_bounded);
                    let transfer = Self {
                        parts: Some((guard, data)),
                        verb: wanted.verb,
                        has_ended: false,
                        left: range.map(|range| (range.end() - range.start()).saturating_add(1)),
                        told,
                        lost,
                    };
                    let Some(failure) = refused else {
                        return Ok(transfer);
                    };
                    // What runs is not what was wanted. A download may end in the background, an upload makes the file: it is over
                    // before that is removed or written another way.
                    if matches!(wanted.verb, "STOR" | "APPE")
                        && let Some(guard) = transfer.recover()
                    {
                        guard.check_in_warm();
                    }
                    return Err(failure);
                }
                Err(Failure::Refused(_, reply))
                    if (was_warm || was_early)
                        && !is_repeated
                        && matches!(reply.code(), 425 | 426) =>
                {
                    log::debug!("{}: no data connection: {reply}", guard.session().number());
                    is_repeated = true;
                    if was_early {
                        let capabilities = &guard.pool().host.capabilities;
                        capabilities.doubt_early_command();
                    }
                    guard.session().start_over();
                    if wanted.is_once {
                        guard.check_in();
                        return Err(Failure::Refused(wanted.verb, reply));
                    }
                }
                Err(failure) => {
                    guard.check_in_warm();
                    return Err(failure);
                }
            }
        }
    }

    /// The answers to the questions that left before its command, in order.
    pub(super) fn take_told(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.told)
    }

    /// Reads what has arrived, straight into `buffer`; 0 at the end of the data.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (guard, data) = self.parts.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        loop {
            match data.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) => {
                    guard.pool().note_progress();
                    let counted = u64::try_from(count).unwrap_or(u64::MAX);
                    self.left = self.left.map(|left| left.saturating_sub(counted));
                    self.has_ended = self.left == Some(0) || (count == 0 && !buffer.is_empty());
                    return Ok(count);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes all of `bytes`. Each part of it that the kernel takes is progress.
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (guard, data) = self.parts.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let pool = guard.pool();
        let timeout = pool.host.config.timeout;
        socket::write_all(data, bytes, timeout, || pool.note_progress())
    }

    /// Closes the data connection and reads the last reply, within the session's own time-out.
    pub(super) fn finish(mut self) -> Result<(Reply, Guard), Failure> {
        let verb = self.verb;
        let has_ended = self.has_ended;
        let (mut guard, data) = self.take()?;
        let deadline = guard.pool().host.deadline();
        guard.session().set_deadline(deadline);
        drop(data);
        let reply = guard.session().finish(verb, has_ended)?;
        if reply.is_done()
            && let Some(error) = self.lost.take()
        {
            // The connection broke before anything was read from it, and the kernel reports that once: it looked like an end.
            return Err(Failure::Broken(verb, Fault::from_io(&error, Phase::Data)));
        }
        Ok((reply, guard))
    }

    /// Ends an upload: tells the server that this was all, and waits for its reply while bytes still get away.
    pub(super) fn finish_upload(mut self) -> Result<(Reply, Guard), Failure> {
        let verb = self.verb;
        let (mut guard, mut data) = self.take()?;
        let unsaid = end(&guard, &mut data).err();
        // Kept open, so that it can be asked at the end whether it broke.
        let socket = data.socket().try_clone();
        let waited = match &socket {
            Ok(socket) => await_reply(&mut guard, socket),
            Err(error) => Err(Fault::from_io(error, Phase::Data)),
        };
        if let Err(fault) = waited {
            guard.session().give_up();
            return Err(Failure::Broken(verb, fault));
        }
        drop(data);
        let reply = guard.session().finish(verb, false)?;
        let broke = socket
            .and_then(|socket| socket.take_error())
            .unwrap_or_else(Some);
        if reply.is_done()
            && let Some(error) = self.lost.take().or(broke).or(unsaid)
        {
            // A server takes a connection that broke for the end of the file.
            return Err(Failure::Broken(verb, Fault::from_io(&error, Phase::Data)));
        }
        Ok((reply, guard))
    }

    /// Ends a transfer that is wanted no further: closes the data connection and reads the one reply, whatever it says.
    pub(super) fn recover(mut self) -> Option<Guard> {
        if let Some((guard, data)) = &self.parts {
            match peek(data.socket()) {
                // Who reads just as much as there is does not see the end.
                Ok(0) => self.has_ended = true,
                // Under TLS that is its own end.
                Ok(_) if self.left == Some(0) && !guard.is_protected() => {
                    note_range(guard.pool(), false);
                    self.has_ended = false;
                }
                _ => {}
            }
        }
        let ended = self.finish().and_then(|(_, mut guard)| {
            let read = guard.session().read_followers();
            read.map_err(|fault| Failure::Broken("TYPE", fault))?;
            Ok(guard)
        });
        ended
            .inspect_err(|failure| log::debug!("ending a transfer early: {}", failure.kind()))
            .ok()
    }

    /// Throws transfer and session away without a wait.
    pub(super) fn discard(mut self) {
        if let Ok((mut guard, _)) = self.take() {
            guard.session().give_up();
        }
    }

    /// The session's control connection.
    pub(super) fn control_socket(&self) -> Arc<TcpStream> {
        let (guard, _) = self
            .parts
            .as_ref()
            .expect("a transfer is whole until it is consumed");
        guard.control_socket()
    }

    fn take(&mut self) -> Result<(Guard, DataStream), Failure> {
        self.parts.take().ok_or_else(|| {
            Failure::Broken(
                self.verb,
                Fault::new(RemoteErrorKind::Disconnected, "already over"),
            )
        })
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if let Some((mut guard, data)) = self.parts.take() {
            guard.enter_background();
            let pool = Arc::clone(guard.pool());
            let parts = Some((guard, data));
            pool.hand_over(Job::Recover(Self {
                parts,
                verb: self.verb,
                has_ended: self.has_ended,
                left: self.left,
                told: Vec::new(),
                lost: self.lost.take(),
            }));
        }
    }
}

/// Takes down whether the server keeps to a range.
fn note_range(pool: &Pool, is_kept: bool) {
    let capabilities = &pool.host.capabilities;
    match capabilities.learnt().range {
        Shortcut::Untried if is_kept => capabilities.learn(|learnt| learnt.range = Shortcut::Works),
        Shortcut::Untried | Shortcut::Works if !is_kept => {
            log::info!("the server does not keep to RANG: parts of files are read without it");
            capabilities.learn(|learnt| learnt.range = Shortcut::Fails);
        }
        _ => {}
    }
}

/// Tells the server that this was all. When a plain connection is broken already, the reply tells why.
fn end(guard: &Guard, data: &mut DataStream) -> io::Result<()> {
    let pool = guard.pool();
    let timeout = pool.host.config.timeout;
    let ended = data.end(timeout, || pool.note_progress());
    if data.is_protected() { ended } else { Ok(()) }
}

/// Waits until the reply begins to arrive. The time-out counts from
/// when the kernel last got bytes away: megabytes may be under way on a slow link.
fn await_reply(guard: &mut Guard, socket: &TcpStream) -> Result<(), Fault> {
    let timeout = guard.pool().host.config.timeout;
    let mut unsent = unsent_bytes(socket);
    let mut since = Instant::now();
    loop {
        let deadline = Deadline::after(timeout.saturating_sub(since.elapsed()));
        let Some(left) = deadline.remaining() else {
            return Err(Fault::from_io(
                &io::ErrorKind::TimedOut.into(),
                Phase::Reply,
            ));
        };
        let session = guard.session();
        session.set_deadline(deadline);
        if session.control().wait_readable(left.min(DRAIN_CHECK))? {
            return Ok(());
        }
        let now_unsent = unsent_bytes(socket);
        if now_unsent < unsent {
            unsent = now_unsent;
            since = Instant::now();
            guard.pool().note_progress();
        }
    }
}
