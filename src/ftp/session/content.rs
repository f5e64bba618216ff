//! The first bytes of an upload, written without waiting for the server's go-ahead: right behind the STOR, or behind TLS's handshake.

use std::{
    io::{self, Write},
    net::Shutdown,
    thread,
    time::Duration,
};

use super::opening::Opening;
use crate::ftp::{
    data::DataConnection, pace::Paced, reply::Fault, shortcuts::Following, socket, tls,
};

/// How long after the end of an upload's bytes the commands leave that must not overtake it. 2 ms: the server reads the end in the
/// next round of its event loop, for which pyftpdlib takes less than one.
const END_LEAD: Duration = Duration::from_millis(2);

impl Opening<'_> {
    /// Writes an upload's first bytes behind its STOR, unless TLS has to be there first; and the end, if they are all.
    pub(super) fn send_plain_content(&mut self) -> Result<(), Fault> {
        if self.tls.is_some() || self.content.is_none() {
            return Ok(());
        }
        self.finish_connecting()?;
        let content = self.content.take().unwrap_or_default();
        let Some(data) = self.data.as_mut().filter(|_| self.lost.is_none()) else {
            return Ok(());
        };
        let (socket, _) = data.parts();
        let mut sent = socket::write_all(socket, content, self.patience.timeout, || ());
        if !self.wanted.goes_on {
            sent = sent.and_then(|()| socket.socket().shutdown(Shutdown::Write));
        }
        self.end_content(sent)
    }

    /// Does the rest of TLS's handshake and writes an upload's first bytes, and the end, if they are all.
    pub(super) fn send_protected_content(&mut self) -> Result<(), Fault> {
        let Some(content) = self.content.take() else {
            return Ok(());
        };
        let (timeout, goes_on) = (self.patience.timeout, self.wanted.goes_on);
        let sent = match self.data.as_mut().map(DataConnection::parts) {
            Some((socket, Some(channel))) => {
                let sealed = Sealed { channel, socket };
                let sent = socket::write_all(sealed, content, timeout, || ());
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

    /// Keeps what went wrong with those bytes for the end: the reply may say more. Else sends what waits for their end.
    fn end_content(&mut self, sent: io::Result<()>) -> Result<(), Fault> {
        if let Err(error) = sent {
            let number = self.control.number();
            log::debug!("{number}: writing before the reply: {error}");
            self.lost = Some(error);
            return Ok(());
        }
        let wanted = self.wanted;
        if wanted.following == Following::End {
            thread::sleep(END_LEAD);
            self.control.send(&wanted.followers)?;
            self.note_followers(wanted.followers.len());
        }
        Ok(())
    }
}

/// A channel and its socket, to be written to.
struct Sealed<'a> {
    channel: &'a mut tls::Channel,
    socket: Paced<'a>,
}

impl Write for Sealed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.channel.write(self.socket, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
