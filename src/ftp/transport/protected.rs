//! TLS on the data connections of a protected session, as early as each server lets it.
//!
//! The `ClientHello` leaves as soon as the connection is there, beside the command or ahead of it. Most servers look at it
//! after their 150 and wait for our answer then; a few answer it at once, and some want the handshake over before
//! they say 150. So while the reply is waited for, the handshake goes on ([`Transport::shake_hands`]).

use std::{io, net::TcpStream};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::Transport;
use crate::ftp::data::DataSocket;

impl Transport {
    /// Whether data connections are protected.
    pub(in crate::ftp) fn is_protected(&self) -> bool {
        self.tls.is_some()
    }

    /// Sends the `ClientHello`, once the data connection is there. Whoever reads or writes first hears of a failure.
    pub(super) fn begin_tls(&mut self) {
        let (Some(session), Some(data), None) = (&self.tls, &self.data, &self.channel) else {
            return;
        };
        if data.is_open()
            && let Ok(mut channel) = session.data_channel()
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

    /// Goes on with the handshake until it is over, has failed, or the server says something on the control connection. Once
    /// it is over, a small upload's bytes follow, whatever the server has said.
    pub(super) fn shake_hands(&mut self) {
        let deadline = self.control.deadline();
        let (Some(data), Some(channel)) = (&self.data, &mut self.channel) else {
            return;
        };
        loop {
            match channel.advance(data.socket()) {
                Ok(false) => {}
                Ok(true) => return self.send_protected(),
                // Whoever reads or writes first hears of it.
                Err(_) => return,
            }
            let left = deadline.remaining().map(Timespec::try_from);
            let Some(Ok(left)) = left else { return };
            let control = &**self.control.socket();
            let mut waited = [data.socket(), control].map(|fd| PollFd::new(fd, PollFlags::IN));
            if rustix::event::poll(&mut waited, Some(&left)).is_err() {
                return;
            }
            if !matches!(waited, [_, control] if control.revents().is_empty()) {
                return;
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
