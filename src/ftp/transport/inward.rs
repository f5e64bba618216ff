//! Data connections that the server makes (active mode): told where to, and accepted behind the 150.
//!
//! Nothing can be opened ahead here. The port is told in the write that carries the command, once the server was seen to take
//! EPRT (or PORT); its reply is then the first, or the one behind that to CWD.

use std::net::TcpStream;

use super::Transport;
use crate::{
    ftp::{
        active::Listening,
        capabilities::Shortcut,
        passive::DataConnection,
        reply::{Fault, Reply},
    },
    remote::{Phase, RemoteErrorKind},
};

/// The data connection that the server is to make.
#[derive(Debug)]
pub(super) struct Inward {
    pub(super) listening: Listening,
    /// Which of the replies to come answers EPRT.
    told_at: Option<usize>,
}

impl Transport {
    /// Listens, and tells the server where; what was held back as `early` goes along.
    pub(super) fn listen(&mut self) -> Result<(), Fault> {
        let Some(config) = self.dialer.active() else {
            return Ok(());
        };
        let begun = Listening::begin(self.control.socket(), config);
        let listening =
            begun.map_err(|error| Fault::new(RemoteErrorKind::Failed, error.to_string()))?;
        let learnt = self.learnt();
        if learnt.has_pipelining && learnt.early_port == Shortcut::Works {
            self.batch
                .held
                .insert(0, listening.command(learnt.has_eprt));
            self.inward = Some(Inward {
                told_at: Some(self.batch.early.len()),
                listening,
            });
            return Ok(());
        }
        let mut reply = self.send_early_and(&listening.command(learnt.has_eprt))?;
        if learnt.has_eprt && reply.code() / 100 == 5 && listening.is_ipv4() {
            log::debug!("EPRT is not to be had ({reply}), using PORT");
            self.capabilities.learn(|learnt| learnt.has_eprt = false);
            reply = self.send_early_and(&listening.command(false))?;
        }
        if !reply.is_done() {
            let detail = format!("no data connection (--active): {reply}");
            return Err(Fault::new(RemoteErrorKind::Disconnected, detail));
        }
        if learnt.early_port == Shortcut::Untried {
            self.capabilities
                .learn(|learnt| learnt.early_port = Shortcut::Works);
        }
        self.inward = Some(Inward {
            listening,
            told_at: None,
        });
        Ok(())
    }

    /// Reads the reply at this place of a batch, unless it is the one to EPRT, which is judged here.
    pub(super) fn read_at(&mut self, index: usize) -> Result<Option<Reply>, Fault> {
        let reply = self.read_early(index)?;
        let told_at = self.inward.as_ref().and_then(|inward| inward.told_at);
        if told_at != Some(index) {
            return Ok(Some(reply));
        }
        if reply.is_done() {
            return Ok(None);
        }
        // pyftpdlib connects before it answers EPRT, and meanwhile goes on to the command. Which reply belongs to what cannot be
        // told any more, so nobody insists on this session.
        log::info!("the server does not take EPRT and a command together: {reply}");
        self.capabilities
            .learn(|learnt| learnt.early_port = Shortcut::Fails);
        self.control.give_up();
        let detail = format!("EPRT was answered with {reply}");
        Err(Fault::new(RemoteErrorKind::Disconnected, detail))
    }

    /// Accepts the data connection if it comes before the next reply: over TLS there are servers that want the handshake before
    /// they say 150.
    pub(super) fn accept_early(&mut self) -> Result<(), Fault> {
        let (Some(inward), None, false) = (&self.inward, &self.accepted, self.control.has_inbox())
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
        if self.accepted.is_none() {
            let accepted = if self.control.has_inbox() {
                // What comes behind the 150 has come with it: a refusal, or the end of a short transfer.
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
        self.send_content()?;
        Ok(agreed)
    }

    fn take_in(&mut self, socket: TcpStream) -> Result<(), Fault> {
        let second = socket.try_clone();
        let opened = second.and_then(|second| DataConnection::opened(second, self.timeout));
        self.data = Some(opened.map_err(|error| Fault::from_io(&error, Phase::Connect))?);
        self.accepted = Some(socket);
        self.begin_tls();
        Ok(())
    }
}
