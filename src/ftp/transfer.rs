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
    command::DataCommand,
    completeness::{DataEnd, confirm},
    data::DataStream,
    deadline::Deadline,
    pace::Pace,
    pool::Guard,
    range::{self, Part},
    reply::{Failure, Fault, Reply},
    session::Opened,
    shortcuts::Technique,
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
    end: DataEnd,
    part: Part,
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
            let was_warm = guard.session().next_data().is_warm();
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
                        range::note_kept(&guard.pool().host.capabilities, is_bounded);
                    }
                    let transfer = Self {
                        parts: Some((guard, data)),
                        verb: wanted.verb,
                        end: DataEnd::Open,
                        part: Part::new(wanted, is_bounded),
                        told,
                        lost,
                    };
                    let Some(failure) = refused else {
                        return Ok(transfer);
                    };
                    // What runs is not what was wanted. A download may end in the background, an upload makes the file: it is over
                    // before that is removed or written another way.
                    if wanted.is_change()
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
                        capabilities.doubt(Technique::EarlyCommand);
                    }
                    guard.session().next_data().start_over();
                    if wanted.is_change() {
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

    /// How the data has ended, as far as was read.
    pub(super) fn data_end(&self) -> DataEnd {
        self.end
    }

    /// Reads what has arrived, straight into `buffer`; 0 at the end of the data, whatever that is worth ([`Self::data_end`]).
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (guard, data) = self.parts.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        loop {
            match data.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) => {
                    guard.pool().note_progress();
                    self.part.note(count);
                    let is_at_end = count == 0 && !buffer.is_empty();
                    if is_at_end && data.is_protected() {
                        guard.pool().host.notices.note();
                    }
                    if self.part.is_over() || is_at_end {
                        self.end = DataEnd::Closed;
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.end = DataEnd::Unannounced;
                    return Ok(0);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks of it what is asked of a listing of at most so many bytes.
    pub(super) fn expect_listing(&self, bytes_max: usize) {
        if let Some((_, data)) = &self.parts {
            data.pace().expect_listing(bytes_max);
        }
    }

    /// Writes all of `bytes`. Each part of it that the kernel takes is progress.
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (guard, data) = self.parts.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let pool = guard.pool();
        let timeout = pool.host.config.timeout;
        socket::write_all(data, bytes, timeout, || pool.note_progress())
    }

    /// Closes the data connection and reads the last reply, within the session's own timeout.
    pub(super) fn finish(mut self) -> Result<(Reply, Guard), Failure> {
        let verb = self.verb;
        let has_ended = self.end == DataEnd::Closed;
        let (mut guard, data) = self.take()?;
        let deadline = guard.pool().host.deadline();
        guard.session().set_deadline(deadline);
        drop(data);
        let reply = guard.session().finish(verb, has_ended)?;
        // It broke before anything was read from it, and the kernel reports that once: it looked like an end.
        confirm(verb, &reply, self.lost.take())?;
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
            Ok(socket) => await_reply(&mut guard, socket, data.pace()),
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
        confirm(verb, &reply, self.lost.take().or(broke).or(unsaid))?;
        Ok((reply, guard))
    }

    /// Ends a transfer that is wanted no further: closes the data connection and reads the one reply, whatever it says.
    pub(super) fn recover(mut self) -> Option<Guard> {
        if let Some((guard, data)) = &self.parts {
            match peek(data.socket()) {
                // A reader that takes just as much as there is does not see the end.
                Ok(0) => self.end = DataEnd::Closed,
                // Under TLS that is its own end.
                Ok(_) if self.part.is_over() && !guard.is_protected() => {
                    range::note_kept(&guard.pool().host.capabilities, false);
                    self.end = DataEnd::Open;
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

impl Job for Transfer {
    fn socket(&self) -> Option<Arc<TcpStream>> {
        Some(self.control_socket())
    }

    fn run(self: Box<Self>) {
        if let Some(guard) = self.recover() {
            Box::new(guard).run();
        }
    }

    fn discard(self: Box<Self>) {
        Self::discard(*self);
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if let Some((mut guard, data)) = self.parts.take() {
            guard.enter_background();
            let pool = Arc::clone(guard.pool());
            let parts = Some((guard, data));
            pool.hand_over(Box::new(Self {
                parts,
                verb: self.verb,
                end: self.end,
                part: self.part,
                told: Vec::new(),
                lost: self.lost.take(),
            }));
        }
    }
}

/// Tells the server that this was all. When a plain connection is broken already, the reply tells why.
fn end(guard: &Guard, data: &mut DataStream) -> io::Result<()> {
    let pool = guard.pool();
    let timeout = pool.host.config.timeout;
    let ended = data.end(timeout, || pool.note_progress());
    if data.is_protected() { ended } else { Ok(()) }
}

/// Waits until the reply begins to arrive. The timeout counts from
/// when the kernel last got bytes away: megabytes may be under way on a slow link, at the rate that is asked for.
fn await_reply(guard: &mut Guard, socket: &TcpStream, pace: &Pace) -> Result<(), Fault> {
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
        let waiting = Instant::now();
        if session.control().wait_readable(left.min(DRAIN_CHECK))? {
            return Ok(());
        }
        let now_unsent = unsent_bytes(socket);
        if unsent > 0 {
            let sent = usize::try_from(unsent - now_unsent).unwrap_or(0);
            pace.note(waiting.elapsed(), sent)
                .map_err(|slow| Fault::from_io(&slow.into(), Phase::Data))?;
        }
        if now_unsent < unsent {
            unsent = now_unsent;
            since = Instant::now();
            guard.pool().note_progress();
        }
    }
}
