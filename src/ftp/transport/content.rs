//! A small upload's bytes, written without waiting for the server's go-ahead: right behind the STOR, or behind TLS's handshake.

use std::{
    io::{self, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use super::Transport;
use crate::ftp::{passive, reply::Fault, tls};

impl Transport {
    /// Writes the small upload's bytes behind its STOR, unless TLS has to be there first.
    pub(super) fn send_content(&mut self) -> Result<(), Fault> {
        if self.is_protected() {
            return Ok(());
        }
        let Some(content) = self.batch.content.take() else {
            return Ok(());
        };
        self.finish_data()?;
        let Some(data) = self.data.take() else {
            return Ok(());
        };
        let socket = data.socket();
        let sent = passive::write_all(socket, &content, self.timeout, || ())
            .and_then(|()| socket.shutdown(Shutdown::Write));
        self.keep_content_error(sent);
        Ok(())
    }

    /// Keeps what went wrong with the small upload's bytes for the end: the reply may tell more.
    pub(super) fn keep_content_error(&mut self, sent: io::Result<()>) {
        if let Err(error) = sent {
            let number = self.control.number();
            log::debug!("{number}: writing ahead of the reply: {error}");
            self.content_error = Some(error);
        }
    }

    /// Does the rest of the handshake and writes the small upload's bytes and the end of them. A failure is kept for the end.
    pub(super) fn send_protected(&mut self) {
        let Some(content) = self.batch.content.take() else {
            return;
        };
        let sent = match (&self.data, &mut self.channel) {
            (Some(data), Some(channel)) => send(channel, data.socket(), &content, self.timeout),
            _ => Err(io::ErrorKind::NotConnected.into()),
        };
        self.keep_content_error(sent);
    }
}

/// Writes a whole upload: what remains of the handshake, the bytes, and the end of them.
fn send(
    channel: &mut tls::Channel,
    socket: &TcpStream,
    content: &[u8],
    timeout: Duration,
) -> io::Result<()> {
    passive::write_all(Sealed { channel, socket }, content, timeout, || ())?;
    channel.end(socket, timeout, || ())
}

/// A channel and its socket, to be written to.
struct Sealed<'a> {
    channel: &'a mut tls::Channel,
    socket: &'a TcpStream,
}

impl Write for Sealed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.channel.write(self.socket, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
