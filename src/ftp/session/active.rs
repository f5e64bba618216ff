//! Active mode: the data connection is the server's to make, when it has read the command, so that its 150 comes first.
//!
//! Nothing can be prepared here. The port is said in the write that carries the command, once the server was seen to take
//! EPRT (or PORT); its reply is then the first, or the one after that to CWD.

use std::net::TcpStream;

use super::opening::Opening;
use crate::{
    ftp::{
        active::Inward,
        data::DataConnection,
        reply::{Fault, Reply},
        shortcuts::Technique,
    },
    remote::{Phase, RemoteErrorKind},
};

impl Opening<'_> {
    /// Listens, and has the server learn where; what waits before the command goes along.
    pub(super) fn listen(&mut self) -> Result<(), Fault> {
        let Some(begun) = self.next.listen(&self.control) else {
            return Ok(());
        };
        let listening =
            begun.map_err(|error| Fault::new(RemoteErrorKind::Failed, error.to_string()))?;
        let learnt = self.capabilities.learnt();
        if self.capabilities.is_proven(Technique::EarlyPort) {
            let told_at = Some(self.before.len());
            self.before.extend([listening.command(learnt.has_eprt)]);
            self.inward = Some(Inward { listening, told_at });
            return Ok(());
        }
        let line = listening.command(learnt.has_eprt);
        let mut reply = self.before.send_with(&mut self.control, &line)?;
        if learnt.has_eprt && reply.code() / 100 == 5 && listening.is_ipv4() {
            log::debug!("EPRT refused ({reply}); using PORT");
            self.capabilities.learn(|learnt| learnt.has_eprt = false);
            let line = listening.command(false);
            reply = self.before.send_with(&mut self.control, &line)?;
        }
        if !reply.is_done() {
            let detail = format!("no data connection (--active): {reply}");
            return Err(Fault::new(RemoteErrorKind::Disconnected, detail));
        }
        self.capabilities.prove(Technique::EarlyPort);
        self.inward = Some(Inward {
            listening,
            told_at: None,
        });
        Ok(())
    }

    /// Whether the reply at this place answers EPRT; then it is judged here.
    pub(super) fn is_port_reply(&mut self, at: usize, reply: &Reply) -> Result<bool, Fault> {
        let told_at = self.inward.as_ref().and_then(|inward| inward.told_at);
        if told_at != Some(at) {
            return Ok(false);
        }
        if reply.is_done() {
            return Ok(true);
        }
        // pyftpdlib connects before it answers EPRT, and meanwhile goes on to the command. Which reply belongs to what cannot be
        // known any more, so nobody insists on this session.
        log::info!("the server does not take EPRT and a command together: {reply}");
        self.capabilities.give_up(Technique::EarlyPort);
        self.control.give_up();
        let detail = format!("EPRT was answered with {reply}");
        Err(Fault::new(RemoteErrorKind::Disconnected, detail))
    }

    /// Accepts the data connection if it comes before the next reply: over TLS there are servers that want the handshake before
    /// they say 150.
    pub(super) fn accept_early(&mut self) -> Result<(), Fault> {
        let (Some(inward), None, false) = (&self.inward, &self.data, self.control.has_inbox())
        else {
            return Ok(());
        };
        let deadline = self.control.deadline();
        match inward.listening.accept(self.control.socket(), deadline) {
            Ok(Some(socket)) => self.take_in(socket),
            // What is wrong shows when it is needed.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// The server has agreed to the transfer: its data connection is accepted. What it says instead is returned.
    pub(super) fn accept(&mut self, agreed: Reply) -> Result<Reply, Fault> {
        let Some(inward) = &self.inward else {
            return Ok(agreed);
        };
        if self.data.is_none() {
            let accepted = if self.control.has_inbox() {
                // What comes after the 150 has come with it: a refusal, or the end of a short transfer.
                inward.listening.accept_now()
            } else {
                let deadline = self.control.deadline();
                inward.listening.accept(self.control.socket(), deadline)
            };
            match accepted {
                Ok(Some(socket)) => self.take_in(socket)?,
                Ok(None) => return self.control.read_reply(),
                Err(error) => {
                    // The server still tries.
                    self.control.give_up();
                    let fault = Fault::from_io(&error, Phase::Connect);
                    return Err(Fault::new(fault.kind, error.to_string()));
                }
            }
        }
        self.inward = None;
        self.send_plain_content()?;
        Ok(agreed)
    }

    fn take_in(&mut self, socket: TcpStream) -> Result<(), Fault> {
        let opened = DataConnection::opened(socket, self.patience);
        self.data = Some(opened.map_err(|error| Fault::from_io(&error, Phase::Connect))?);
        self.begin_stream();
        Ok(())
    }
}
