//! One session: a logged-in control connection that is idle, ready for the next command.
//!
//! suppaftp's client owns login, commands and transfers; the transport lies under it. A session is good only while every
//! reply has been read ([`Session::is_usable`]); after anything else it is thrown away.

mod offset;

use std::{
    fmt,
    io::Write as _,
    net::TcpStream,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use suppaftp::{FtpError, FtpResult, ImplFtpStream, Mode, Status, TransferStream};

use super::{
    capabilities::Capabilities,
    command::{Answers, DataCommand},
    control::Control,
    deadline::Deadline,
    dialer::Dialer,
    encoding::{Transparent, to_text},
    passive::{Passive, WARM_AGE_MAX},
    reply::{Failure, Fault, Reply},
    tls,
    transport::{self, Batch, Connector, Readiness, Shared, Transport, Wire},
};
use crate::remote::RemoteErrorKind;

/// An idle session.
pub(super) struct Session {
    client: ImplFtpStream<Wire>,
    transport: Shared,
    number: u32,
    /// When the last request on it ended.
    pub(super) used: Instant,
    /// Whether it has answered anything since it was checked out.
    pub(super) has_answered: bool,
    /// Whether the last transfer began at an offset.
    has_offset: bool,
}

impl Session {
    /// Puts suppaftp's client on top of a control connection whose greeting was read.
    ///
    /// suppaftp makes a TLS stream of its control connection only after its own connect (without any deadline) or after
    /// `AUTH TLS` on a socket that it reads itself. So it is handed one end of a socket pair with a greeting
    /// and the consent to `AUTH` in it, and puts our [`Wire`] in its place: no connection, no wait, and TLS
    /// remains ours to start or not.
    pub(super) fn new(
        control: Control,
        capabilities: &Arc<Capabilities>,
        dialer: &Arc<Dialer>,
        timeout: Duration,
        tls: Option<tls::Session>,
    ) -> Result<Self, Fault> {
        let number = control.number();
        let transport = Transport::new(
            control,
            Arc::clone(capabilities),
            Arc::clone(dialer),
            timeout,
            tls,
        );
        let client = Self::client(&transport)
            .map_err(|error| Fault::new(RemoteErrorKind::Failed, error.to_string()))?;
        Ok(Self {
            client,
            transport,
            number,
            used: Instant::now(),
            has_answered: false,
            has_offset: false,
        })
    }

    fn client(transport: &Shared) -> FtpResult<ImplFtpStream<Wire>> {
        let (client_end, mut our_end) = UnixStream::pair().map_err(FtpError::ConnectionError)?;
        our_end
            .write_all(b"220 -\r\n234 -\r\n")
            .map_err(FtpError::ConnectionError)?;
        let stand_in = TcpStream::from(OwnedFd::from(client_end));
        let client = ImplFtpStream::<Wire>::connect_with_stream(stand_in)?;
        transport::lock(transport).expect_tls_setup();
        let mut client = client
            .into_secure(Connector::new(transport), "-")?
            .passive_stream_builder(transport::data_source(transport));
        client.set_mode(Mode::ExtendedPassive);
        client.set_encoding(Transparent);
        Ok(client)
    }

    /// The next number for a session, to tell them apart in the trace.
    pub(super) fn next_number() -> u32 {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        NUMBER.fetch_add(1, Ordering::Relaxed)
    }

    /// The number in the trace.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The client, for the log-in.
    pub(super) fn client_mut(&mut self) -> &mut ImplFtpStream<Wire> {
        &mut self.client
    }

    /// The transport, for the log-in and for the wait at the end of an upload.
    pub(super) fn transport(&self) -> &Shared {
        &self.transport
    }

    /// The control connection's socket.
    pub(super) fn control_socket(&self) -> Arc<TcpStream> {
        Arc::clone(transport::lock(&self.transport).control().socket())
    }

    /// Gives the session up: no command is sent on it any more, and nothing waits for it.
    pub(super) fn give_up(&mut self) {
        transport::lock(&self.transport).control().give_up();
    }

    /// Gives what follows on this session this deadline.
    pub(super) fn set_deadline(&mut self, deadline: Deadline) {
        transport::lock(&self.transport)
            .control()
            .set_deadline(deadline);
    }

    /// Whether it is in step: nothing is left unread, the next command gets its own reply.
    pub(super) fn is_usable(&self) -> bool {
        transport::lock(&self.transport).is_usable()
    }

    /// Whether the server has neither closed it nor said anything since the last reply.
    pub(super) fn is_alive(&self) -> bool {
        transport::lock(&self.transport).is_alive()
    }

    /// Whether a data connection was begun ahead and is still good.
    pub(super) fn is_warm(&self) -> bool {
        self.readiness() >= Readiness::Opening
    }

    /// How far its next data connection is.
    pub(super) fn readiness(&self) -> Readiness {
        transport::lock(&self.transport).readiness()
    }

    /// Whether the warm data connection is so old that a refresh is due.
    pub(super) fn is_lukewarm(&self) -> bool {
        let age = transport::lock(&self.transport).warm_age();
        age.is_none_or(|age| age > WARM_AGE_MAX / 2)
    }

    /// What its protection is, if it has one.
    pub(super) fn protocol(&self) -> Option<tls::Protocol> {
        transport::lock(&self.transport).control().protocol()
    }

    /// Whether its connections are protected.
    pub(super) fn is_protected(&self) -> bool {
        transport::lock(&self.transport).is_protected()
    }

    /// Whether a data connection begun ahead was refused, since this was last asked.
    pub(super) fn take_ahead_refused(&mut self) -> bool {
        transport::lock(&self.transport).take_ahead_refused()
    }

    /// Begins a data connection ahead.
    pub(super) fn warm_up(&mut self) -> Result<(), Fault> {
        let mut transport = transport::lock(&self.transport);
        if transport
            .warm_age()
            .is_some_and(|age| age > WARM_AGE_MAX / 2)
        {
            transport.cool();
        }
        transport.prepare_data()
    }

    /// Does TLS's handshake on it, where it can be done ahead and until the session `is_wanted`.
    pub(super) fn shake_hands_ahead(&mut self, is_wanted: impl Fn() -> bool) {
        transport::lock(&self.transport).shake_hands_ahead(is_wanted);
    }

    /// Whether the server has refused a data connection for good (5yz to EPSV and PASV) when it was asked last.
    pub(super) fn is_data_refused(&self) -> bool {
        transport::lock(&self.transport).is_data_refused()
    }

    /// The server's own answer when it is asked to listen in this way; its port is not used.
    pub(super) fn ask_passive(&mut self, passive: Passive) -> Result<Reply, Fault> {
        transport::lock(&self.transport).ask_only(passive)
    }

    /// Has the next transfer make its data connection anew, and wait for it before its command leaves.
    pub(super) fn start_over(&mut self) {
        let mut transport = transport::lock(&self.transport);
        transport.cool();
        transport.be_patient();
    }

    /// Whether the last transfer's command left before its data connection was there.
    pub(super) fn was_early(&self) -> bool {
        transport::lock(&self.transport).was_early()
    }

    /// Sends commands in one write where the server takes that, and reads all their replies. When there is no data connection
    /// for the next transfer yet, it is asked for behind them; the answer to that is left for later.
    pub(super) fn exchange(
        &mut self,
        verb: &'static str,
        commands: Vec<Vec<u8>>,
        capabilities: &Capabilities,
    ) -> Result<Vec<Reply>, Failure> {
        let mut commands = commands;
        if !capabilities.learnt().has_pipelining {
            let mut replies = Vec::with_capacity(commands.len());
            for command in commands {
                replies.append(&mut self.batch(verb, Vec::new(), &command, false)?);
            }
            return Ok(replies);
        }
        let last = commands.pop().unwrap_or_default();
        let asks_next = transport::lock(&self.transport).may_ask();
        self.batch(verb, commands, &last, asks_next)
    }

    /// Sends one command and reads its reply.
    pub(super) fn command(&mut self, verb: &'static str, line: &[u8]) -> Result<Reply, Failure> {
        let reply = self.batch(verb, Vec::new(), line, false)?.pop();
        reply
            .ok_or_else(|| Failure::Broken(verb, Fault::new(RemoteErrorKind::Protocol, "no reply")))
    }

    fn batch(
        &mut self,
        verb: &'static str,
        held: Vec<Vec<u8>>,
        last: &[u8],
        asks_next: bool,
    ) -> Result<Vec<Reply>, Failure> {
        let count = held.len() + 1;
        transport::lock(&self.transport).set_batch(Batch {
            held,
            asks_next,
            ..Batch::default()
        });
        // With nothing expected, suppaftp returns every complete reply as an error, and we read our own.
        let outcome = self.client.custom_command(to_text(last), &[]);
        let mut transport = transport::lock(&self.transport);
        let replies = transport.take_replies();
        self.has_answered |= !replies.is_empty();
        match (outcome, transport.take_fault()) {
            (Err(FtpError::UnexpectedResponse(_)), None) if replies.len() == count => Ok(replies),
            (_, Some(fault)) => Err(Failure::Broken(verb, fault)),
            (Err(error), None) => {
                transport.control().give_up();
                Err(Failure::Broken(verb, client_fault(&error)))
            }
            (Ok(_), None) => {
                transport.control().give_up();
                Err(Failure::Broken(
                    verb,
                    Fault::new(RemoteErrorKind::Protocol, "out of step"),
                ))
            }
        }
    }

    /// Starts a transfer. After an `Err` the session is idle again, if it is usable at all.
    ///
    /// # Errors
    ///
    /// A refusal of the directory, the offset or the command itself.
    pub(super) fn open(&mut self, wanted: &DataCommand<'_>) -> Result<OpenStream, Failure> {
        // libunftp takes the offset of one transfer for the next as well, so that it would be read from, or written to, the wrong place.
        let is_batched = transport::lock(&self.transport).is_batched();
        if let (false, Some(dir)) = (is_batched, &wanted.cwd) {
            // Before EPSV even: libunftp gives a data connection the directory that was current when it was opened.
            let reply = self.command("CWD", &[b"CWD ", dir.as_slice()].concat())?;
            if !reply.is_done() {
                return Err(Failure::Refused("CWD", reply));
            }
            return self.open(&DataCommand {
                cwd: None,
                ..wanted.clone()
            });
        }
        let moves_file = matches!(wanted.verb, "RETR" | "STOR");
        let is_kept = self.has_offset && moves_file && self.may_keep_offset(wanted.verb);
        let mut wanted = DataCommand {
            rest: wanted.rest.or(is_kept.then_some(0)),
            ..wanted.clone()
        };
        if wanted.verb == "STOR"
            && let Some(offset) = wanted.rest.take()
        {
            self.agree_on_offset(offset)?;
        }
        let wanted = &wanted;
        if moves_file {
            self.has_offset = match wanted.verb {
                // Agreed on before.
                "STOR" => self.has_offset,
                _ => wanted.rest.is_some_and(|offset| offset > 0) || wanted.range.is_some(),
            };
        }
        let mut line = wanted.verb.as_bytes().to_vec();
        if !wanted.argument.is_empty() {
            line.push(b' ');
            line.extend_from_slice(&wanted.argument);
        }
        let announcement = transport::lock(&self.transport).announcement(&line);
        let is_announced = announcement.is_some();
        let cwd = wanted.cwd.iter();
        let cwd = cwd.map(|dir| [b"CWD ", dir.as_slice()].concat());
        transport::lock(&self.transport).set_batch(Batch {
            early: cwd.chain(announcement).collect(),
            held: wanted.held(),
            followers: wanted.followers.clone(),
            following: wanted.following,
            asks_next: wanted.asks_next,
            ends_early: wanted.ends_early,
            content: wanted.content.map(<[u8]>::to_vec),
            goes_on: wanted.goes_on,
            ..Batch::default()
        });
        let outcome = self
            .client
            .custom_data_command(to_text(&line), &[Status::AboutToSend, Status::AlreadyOpen]);
        let (replies, fault) = {
            let mut transport = transport::lock(&self.transport);
            transport.drop_data();
            (transport.take_replies(), transport.take_fault())
        };
        self.has_answered |= !replies.is_empty();
        if outcome.is_err() && fault.is_none() && !wanted.followers.is_empty() {
            self.read_refused_followers(wanted.verb)?;
        }
        let answers = Answers::read(wanted, is_announced, &replies);
        let (before, is_bounded) = (answers.count, answers.is_bounded);
        let told = answers.told;
        let refused = answers.refused;
        if matches!(refused, Some(Failure::Refused("REST", _))) {
            self.has_offset = false;
        }
        match outcome {
            Ok((_, stream)) => Ok(OpenStream {
                stream,
                refused,
                is_bounded,
                told,
            }),
            Err(error) => Err(match (fault, refused) {
                (Some(fault), _) => Failure::Broken(wanted.verb, fault),
                (None, Some(failure)) => failure,
                (None, None) => match replies.into_iter().nth(before) {
                    Some(reply) => Failure::Refused(wanted.verb, reply),
                    None => Failure::Broken(wanted.verb, client_fault(&error)),
                },
            }),
        }
    }

    /// Reads the replies of the commands that left behind a transfer's own.
    pub(super) fn read_followers(&mut self) -> Result<Vec<Reply>, Fault> {
        transport::lock(&self.transport).read_followers()
    }

    /// Reads the replies to what left behind a transfer that was refused. When one of them is the transfer's own after all, what
    /// was taken for its refusal was another's, and the session is given up.
    fn read_refused_followers(&mut self, verb: &'static str) -> Result<(), Failure> {
        let broken = |fault| Failure::Broken(verb, fault);
        let mut transport = transport::lock(&self.transport);
        let read = transport.read_followers();
        let replies = read.map_err(broken)?;
        if replies
            .iter()
            .any(|reply| reply.is_preliminary() || reply.code() == 226)
        {
            transport.fail_followers();
            let detail = "replies out of order";
            return Err(broken(Fault::new(RemoteErrorKind::Disconnected, detail)));
        }
        Ok(())
    }

    /// Closes a transfer's data connection and reads its last reply. When all the data `has_arrived`, the next data connection
    /// is asked for in the same moment.
    pub(super) fn finish(
        &mut self,
        verb: &'static str,
        stream: TransferStream<Wire>,
        has_arrived: bool,
    ) -> Result<Reply, Failure> {
        let asks = {
            let mut transport = transport::lock(&self.transport);
            // The replies to commands behind the transfer come before that to an EPSV.
            let asks = has_arrived && !transport.has_followers();
            if asks {
                transport.ask_at_end();
            } else if !has_arrived && !matches!(verb, "STOR" | "APPE") {
                transport.expect_silence();
            }
            asks
        };
        // Any complete reply will do for suppaftp's part; what it means is for the caller to say.
        let _ = stream.finish();
        let mut transport = transport::lock(&self.transport);
        let reply = transport.take_replies().pop();
        match (reply, transport.take_fault()) {
            (Some(reply), None) => transport
                .control()
                .last_word(reply)
                .and_then(|reply| {
                    if asks {
                        transport.put_in_order(reply)
                    } else {
                        Ok(reply)
                    }
                })
                .map_err(|fault| Failure::Broken(verb, fault)),
            (_, Some(fault)) => Err(Failure::Broken(verb, fault)),
            (None, None) => {
                transport.control().give_up();
                Err(Failure::Broken(
                    verb,
                    Fault::new(RemoteErrorKind::Protocol, "no reply"),
                ))
            }
        }
    }

    /// Says good-bye and does not wait for long.
    pub(super) fn quit(mut self) {
        self.set_deadline(Deadline::after(Duration::from_millis(500)));
        if self.is_alive() {
            let _ = self.command("QUIT", b"QUIT");
        }
    }
}

/// A transfer that the server has agreed to.
#[derive(Debug)]
pub(super) struct OpenStream {
    /// suppaftp's half. It reads the final reply when it is dropped: that is never left to chance.
    pub(super) stream: TransferStream<Wire>,
    /// What was refused before it: the transfer runs, but in the wrong directory or from the wrong offset.
    pub(super) refused: Option<Failure>,
    /// Whether the server has agreed to the range; else it sends all up to the file's end.
    pub(super) is_bounded: bool,
    /// The answers to the questions that left ahead of it.
    pub(super) told: Vec<Reply>,
}

fn client_fault(error: &FtpError) -> Fault {
    let kind = match error {
        FtpError::ConnectionError(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            RemoteErrorKind::InvalidPath
        }
        FtpError::ConnectionError(_) => RemoteErrorKind::Disconnected,
        _ => RemoteErrorKind::Protocol,
    };
    Fault::new(kind, error.to_string())
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
