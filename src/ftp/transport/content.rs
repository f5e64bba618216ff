//! The first bytes of an upload, written without waiting for the server's go-ahead: right behind the STOR, or behind TLS's handshake.

use std::{
    io::{self, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use super::Transport;
use crate::ftp::{capabilities::Following, passive, reply::Fault, tls};

/// How far behind the end of an upload's bytes the commands leave that must not overtake it. 2 ms: the server reads the end in the
/// next round of its event loop, for which pyftpdlib takes less than one.
const END_LEAD: Duration = Duration::from_millis(2);

impl Transport {
    /// Writes the upload's first bytes behind its STOR, unless TLS has to be there first; and the end, if they are all.
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
        let mut sent = passive::write_all(socket, &content, self.timeout, || ());
        if !self.batch.goes_on {
            sent = sent.and_then(|()| socket.shutdown(Shutdown::Write));
        }
        self.end_content(sent)
    }

    /// Keeps what went wrong with those bytes for the end: the reply may tell more. Else sends what waits for their end.
    fn end_content(&mut self, sent: io::Result<()>) -> Result<(), Fault> {
        if let Err(error) = sent {
            let number = self.control.number();
            log::debug!("{number}: writing ahead of the reply: {error}");
            self.content_error = Some(error);
            return Ok(());
        }
        if self.batch.following == Following::End {
            thread::sleep(END_LEAD);
            let followers = std::mem::take(&mut self.batch.followers);
            self.control.send(&followers)?;
            self.followers_sent = followers.len();
        }
        Ok(())
    }

    /// Does the rest of the handshake and writes the upload's first bytes, and the end, if they are all. A failure is kept for the end.
    pub(super) fn send_protected(&mut self) -> Result<(), Fault> {
        let Some(content) = self.batch.content.take() else {
            return Ok(());
        };
        let (timeout, goes_on) = (self.timeout, self.batch.goes_on);
        let sent = match (&self.data, &mut self.channel) {
            (Some(data), Some(channel)) => {
                let socket = data.socket();
                let sent = passive::write_all(Sealed { channel, socket }, &content, timeout, || ());
                sent.and_then(|()| {
                    if goes_on {
                        Ok(())
                    } else {
                        channel.end(socket, timeout, || ())
                    }
                })
            }
            _ => Err(io::ErrorKind::NotConnected.into()),
        };
        self.end_content(sent)
    }
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
