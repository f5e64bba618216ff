//! TLS on the data connections of a protected session, as early as each server lets it.
//!
//! The `ClientHello` leaves as soon as the connection is there, beside the command or ahead of it. Most servers look at it
//! after their 150 and wait for our answer then; a few answer it at once, and some want the handshake over before
//! they say 150. So while the reply is waited for, the handshake goes on ([`Transport::shake_hands`]); with those that answer at
//! once it is over before the command ([`Transport::shake_hands_ahead`]).

use std::{
    io,
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::{Transport, data::Ahead};
use crate::ftp::{capabilities::Shortcut, data::DataSocket, reply::Fault};

/// How often a handshake that is done ahead looks whether its session is wanted. 5 ms: what one who comes then waits.
const AHEAD_CHECK: Duration = Duration::from_millis(5);

/// How long connecting and the handshake may take ahead of a command. 2 s: three round trips of the slowest links.
const AHEAD_MAX: Duration = Duration::from_secs(2);

/// How long a server may take at the least to answer the first `ClientHello` that is sent ahead of a command. 250 ms: it makes
/// a key, on a busy machine, and where a gateway on the way accepts connections itself, connecting does not tell how far it is;
/// beyond that four round trips.
const ANSWER_MIN: Duration = Duration::from_millis(250);

impl Transport {
    /// Whether data connections are protected.
    pub(in crate::ftp) fn is_protected(&self) -> bool {
        self.tls.is_some()
    }

    /// Sends the `ClientHello`, once the data connection is there. Whoever reads or writes first hears of a failure.
    pub(super) fn begin_tls(&mut self) {
        let (Some(session), Some(data), None) = (&self.tls, &mut self.data, &self.channel) else {
            return;
        };
        if data.is_open()
            && let Ok(mut channel) = data
                .take_channel()
                .map_or_else(|| session.data_channel(), Ok)
        {
            if self.batch.ends_early {
                channel.end_early();
            }
            if let Err(error) = channel.start(data.socket()) {
                log::debug!("{}: the ClientHello: {error}", self.control.number());
            }
            self.channel = Some(channel);
        }
    }

    /// Does the handshake of the data connection begun ahead, where the server does its half of that before any command. Gives
    /// up when the session `is_wanted`: what is left is done then.
    pub(in crate::ftp) fn shake_hands_ahead(&mut self, is_wanted: impl Fn() -> bool) {
        let state = self.capabilities.early_handshake();
        let (Some(session), Ahead::Opened(data)) = (&self.tls, &mut self.ahead) else {
            return;
        };
        if state == Shortcut::Fails || !session.is_lasting() {
            return;
        }
        let mut asked = None;
        while !is_wanted() && data.age() < AHEAD_MAX {
            match data.shake_hands(session, AHEAD_CHECK) {
                Ok(false) => {}
                Ok(true) if state == Shortcut::Works => return,
                Ok(true) => {
                    return self
                        .capabilities
                        .learn(|learnt| learnt.early_handshake = Shortcut::Works);
                }
                // Whoever uses it next sees that.
                Err(_) => return,
            }
            if data.is_open() && state == Shortcut::Untried {
                let (since, connecting) = asked.get_or_insert_with(|| (Instant::now(), data.age()));
                if since.elapsed() > ANSWER_MIN.max(*connecting * 4) {
                    return self
                        .capabilities
                        .learn(|learnt| learnt.early_handshake = Shortcut::Fails);
                }
            }
        }
    }

    /// Goes on with the handshake until it is over, has failed, or the server says something on the control connection. Once
    /// it is over, a small upload's bytes follow, whatever the server has said; not if it was over ahead of the command, which
    /// pyftpdlib may come to read behind them, and closes the connection then.
    pub(super) fn shake_hands(&mut self) -> Result<(), Fault> {
        let deadline = self.control.deadline();
        let (Some(data), Some(channel)) = (&self.data, &mut self.channel) else {
            return Ok(());
        };
        let was_over = channel.is_established();
        loop {
            match channel.advance(data.socket()) {
                Ok(false) => {}
                Ok(true) if was_over => return Ok(()),
                Ok(true) => return self.send_protected(),
                // Whoever reads or writes first hears of it.
                Err(_) => return Ok(()),
            }
            let left = deadline.remaining().map(Timespec::try_from);
            let Some(Ok(left)) = left else { return Ok(()) };
            let control = &**self.control.socket();
            let mut waited = [data.socket(), control].map(|fd| PollFd::new(fd, PollFlags::IN));
            if rustix::event::poll(&mut waited, Some(&left)).is_err() {
                return Ok(());
            }
            if !matches!(waited, [_, control] if control.revents().is_empty()) {
                return Ok(());
            }
        }
    }

    /// Puts TLS on the data connection that suppaftp has taken over, where the session is protected.
    pub(super) fn protect(&mut self, socket: TcpStream) -> io::Result<DataSocket> {
        self.data = None;
        let begun = self.channel.take();
        if let (None, Some(session)) = (&begun, &self.tls) {
            let mut channel = session.data_channel()?;
            channel.start(&socket)?;
            return Ok(DataSocket::new(socket, Some(channel)));
        }
        Ok(DataSocket::new(socket, begun))
    }
}
