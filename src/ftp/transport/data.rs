//! The data connection of one session: asked for, announced, on its way, there, and handed to suppaftp.
//!
//! ```text
//! Nothing --EPSV--> Asked --229--> Announced --SYN--> Opened --> suppaftp's
//! ```
//!
//! None of these steps is waited for before something needs the next one: EPSV leaves with the end of the transfer before
//! ([`Transport::ask_at_end`]), connecting begins as soon as the port is known, and a transfer's command leaves right
//! behind the SYN ([`Transport::await_data`]); a server can send data one round trip after TCP's handshake at the earliest. Whether a server takes that is tried once; see [`Shortcut`].

use std::{
    io,
    net::{Shutdown, TcpStream},
    time::Duration,
};

use super::Transport;
use crate::{
    ftp::{
        capabilities::{Learnt, Shortcut},
        control::Control,
        passive::{Announced, DataConnection, Passive},
        reply::{Fault, Reply},
    },
    remote::{Phase, RemoteErrorKind},
};

/// How long a reply may take while a shortcut is tried for the first time. 10 s: a server that falls silent over it is found
/// out, and there is still time for the plain exchange.
const TRIAL_WAIT: Duration = Duration::from_secs(10);

/// How long a server may take to say why it has closed a data connection before all was sent. 2 s: it has said so already,
/// or does not know of it (seen on pyftpdlib), and would wait for the data much longer.
const LAST_WORD_WAIT: Duration = Duration::from_secs(2);

/// The next data connection, as far as it has come.
#[derive(Debug, Default)]
pub(super) enum Ahead {
    /// Not asked for.
    #[default]
    Nothing,
    /// Asked for; the server owes the reply.
    Asked(Passive),
    /// The server listens.
    Announced(Announced),
    /// On its way, or there.
    Opened(DataConnection),
}

/// How little is left to do before a transfer's command can leave: the later, the less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::ftp) enum Readiness {
    /// Everything.
    Cold,
    /// To wait for the port.
    Asked,
    /// To connect, which the command need not wait for.
    Announced,
    /// The rest of connecting.
    Opening,
    /// Nothing.
    Warm,
}

impl Transport {
    /// How far the next data connection is.
    pub(in crate::ftp) fn readiness(&mut self) -> Readiness {
        match &mut self.ahead {
            Ahead::Nothing => Readiness::Cold,
            Ahead::Asked(_) => Readiness::Asked,
            Ahead::Announced(announced) if announced.is_usable() => Readiness::Announced,
            Ahead::Announced(_) => Readiness::Cold,
            Ahead::Opened(connection) => match connection.is_usable() {
                true if connection.is_there() => Readiness::Warm,
                true => Readiness::Opening,
                false => Readiness::Cold,
            },
        }
    }

    /// How long ago the data connection that waits was begun; `None` when there is none.
    pub(in crate::ftp) fn warm_age(&self) -> Option<Duration> {
        match &self.ahead {
            Ahead::Opened(connection) => Some(connection.age()),
            _ => None,
        }
    }

    /// Whether a data connection begun ahead was refused, since this was last asked.
    pub(in crate::ftp) fn take_ahead_refused(&mut self) -> bool {
        let was_refused =
            matches!(&self.ahead, Ahead::Opened(connection) if connection.was_refused());
        std::mem::take(&mut self.is_ahead_refused) || was_refused
    }

    /// Whether the server has refused a data connection for good when it was asked last.
    pub(in crate::ftp) fn is_data_refused(&self) -> bool {
        self.is_data_refused
    }

    /// Closes the data connection begun ahead, if there is one.
    pub(in crate::ftp) fn cool(&mut self) {
        if !matches!(self.ahead, Ahead::Asked(_)) {
            self.ahead = Ahead::Nothing;
        }
    }

    /// Has the next command wait for its data connection.
    pub(in crate::ftp) fn be_patient(&mut self) {
        self.is_patient = true;
    }

    /// Whether the last transfer's command left before its data connection was there.
    pub(in crate::ftp) fn was_early(&self) -> bool {
        self.was_early
    }

    /// Takes down the answer to an EPSV that was sent along with the log-in.
    pub(in crate::ftp) fn announce(&mut self, reply: &Reply) {
        if let Some(announced) = self.announced_in(Passive::Epsv, reply) {
            self.ahead = Ahead::Announced(announced);
        }
    }

    /// Has the next data connection at least begun, unless it is. What was held back as `early` goes along with what is sent.
    pub(in crate::ftp) fn prepare_data(&mut self) -> Result<(), Fault> {
        if matches!(self.ahead, Ahead::Asked(_)) {
            self.read_answer()?;
        }
        if self.dialer.active().is_some() {
            return Ok(());
        }
        self.is_data_refused = false;
        let place = match std::mem::take(&mut self.ahead) {
            Ahead::Opened(mut connection) => {
                if connection.is_usable() {
                    self.ahead = Ahead::Opened(connection);
                    return Ok(());
                }
                self.is_ahead_refused |= connection.was_refused();
                self.ask_passive()?
            }
            // What was held back waits for the command itself.
            Ahead::Announced(announced) if announced.is_usable() => Some(announced),
            _ => self.ask_passive()?,
        };
        let Some(place) = place else { return Ok(()) };
        let (control, deadline) = (self.control.socket(), self.control.deadline());
        let begun = self
            .dialer
            .begin_data(control, &place, deadline, self.timeout);
        // The control connection is still in step: nothing is pending there.
        let connection = begun.map_err(|error| Fault::from_io(&error, Phase::Connect))?;
        self.ahead = Ahead::Opened(connection);
        Ok(())
    }

    /// Asks where the server listens, by EPSV, or by PASV where that is refused. `None` when what went ahead was refused, and with it
    /// the transfer.
    fn ask_passive(&mut self) -> Result<Option<Announced>, Fault> {
        let mut refusal = None;
        while let Some(passive) = self.passive() {
            let reply = self.send_early_and(passive.command())?;
            if let Some(announced) = self.announced_in(passive, &reply) {
                return Ok(Some(announced));
            }
            if self.replies.iter().any(Reply::is_refusal) {
                return Ok(None);
            }
            let is_over = passive == Passive::Pasv || self.learnt().has_epsv;
            refusal = Some(reply);
            if is_over {
                break;
            }
        }
        self.is_data_refused = refusal
            .as_ref()
            .is_some_and(|reply| reply.code() / 100 == 5);
        if self.is_data_refused {
            self.capabilities.learn_pret();
        }
        let reply = refusal.map(|reply| reply.to_string()).unwrap_or_default();
        Err(Fault::new(
            RemoteErrorKind::Disconnected,
            format!("no data connection: {reply}; --active has the server make them"),
        ))
    }

    /// Whether data connections are made from here.
    pub(in crate::ftp) fn makes_own_data(&self) -> bool {
        self.dialer.active().is_none()
    }

    /// How this server is asked, if it can be.
    pub(super) fn passive(&self) -> Option<Passive> {
        if self.dialer.active().is_some() {
            return None;
        }
        let may_be_ipv4 = self.dialer.may_be_ipv4(self.control.socket());
        // EPSV tells no address.
        let wants_address = self.dialer.trusts_pasv_address() && may_be_ipv4;
        if self.learnt().has_epsv && !wants_address {
            return Some(Passive::Epsv);
        }
        may_be_ipv4.then_some(Passive::Pasv)
    }

    /// Where the reply says that the server listens. An EPSV that is not known is remembered.
    fn announced_in(&self, passive: Passive, reply: &Reply) -> Option<Announced> {
        let port = passive.port(reply);
        if port.is_none() && passive == Passive::Epsv && reply.code() / 100 != 4 {
            log::debug!("EPSV is not to be had ({reply}), using PASV");
            self.capabilities.learn(|learnt| learnt.has_epsv = false);
        }
        let address = passive.address(reply);
        let address = address.filter(|_| self.dialer.trusts_pasv_address());
        Some(Announced::new(port?, address))
    }

    /// Has EPSV sent right behind the end of the data connection that suppaftp is about to close, so that its reply comes with
    /// the transfer's last one. Only where all the data has arrived: pyftpdlib ends a transfer that still runs.
    pub(in crate::ftp) fn ask_at_end(&mut self) {
        self.is_ask_due = self.learnt().early_passive != Shortcut::Fails && self.may_ask();
    }

    /// Whether the next data connection is still to be asked for, and may be behind other commands.
    pub(in crate::ftp) fn may_ask(&self) -> bool {
        let learnt = self.learnt();
        learnt.has_pipelining && learnt.has_warming && matches!(self.ahead, Ahead::Nothing)
    }

    /// Sends the EPSV that is due; whether one was.
    pub(super) fn ask(&mut self) -> Result<bool, Fault> {
        if std::mem::take(&mut self.is_ask_due)
            && let Some(passive) = self.passive()
        {
            self.control.send(&[passive.command()])?;
            self.ahead = Ahead::Asked(passive);
            return Ok(true);
        }
        Ok(false)
    }

    /// Reads the transfer's last reply, behind which EPSV was sent.
    pub(super) fn read_before_answer(&mut self) -> Result<Reply, Fault> {
        let state = self.learnt().early_passive;
        self.on_trial(state, fail_passive, Control::read_reply)
    }

    /// Reads the reply to a transfer behind which EPSV may have been sent: the two may come in the wrong order.
    pub(in crate::ftp) fn put_in_order(&mut self, reply: Reply) -> Result<Reply, Fault> {
        let Ahead::Asked(passive) = self.ahead else {
            return Ok(reply);
        };
        let is_port = |reply: &Reply| passive.port(reply).is_some();
        if !is_port(&reply) && !reply.is_refusal() {
            return Ok(reply);
        }
        // One of them said no, or the first is not the transfer's.
        let second = self.read_before_answer()?;
        self.ahead = Ahead::Nothing;
        if !is_port(&reply) && (is_port(&second) || second.is_refusal()) {
            if let Some(announced) = self.announced_in(passive, &second) {
                self.ahead = Ahead::Announced(announced);
            }
            return Ok(reply);
        }
        log::info!("the server answers EPSV before the transfer is over; it gets that later");
        self.capabilities.learn(fail_passive);
        Ok(second)
    }

    /// Reads the reply that the server owes to an EPSV.
    pub(super) fn read_answer(&mut self) -> Result<(), Fault> {
        self.is_answer_due = false;
        let Ahead::Asked(passive) = std::mem::take(&mut self.ahead) else {
            return Ok(());
        };
        let state = self.learnt().early_passive;
        let reply = self.on_trial(state, fail_passive, Control::read_reply)?;
        self.take_answer(passive, &reply);
        Ok(())
    }

    fn take_answer(&mut self, passive: Passive, reply: &Reply) {
        let Some(announced) = self.announced_in(passive, reply) else {
            return;
        };
        self.ahead = Ahead::Announced(announced);
        if self.learnt().early_passive == Shortcut::Untried {
            self.capabilities
                .learn(|learnt| learnt.early_passive = Shortcut::Works);
        }
    }

    /// Whether the server has neither closed the session nor said anything that was not asked for. Takes down what it has
    /// answered meanwhile; never waits.
    pub(in crate::ftp) fn is_alive(&mut self) -> bool {
        if let Ahead::Asked(passive) = self.ahead {
            match self.control.reply_now() {
                Ok(Some(reply)) => {
                    self.ahead = Ahead::Nothing;
                    self.take_answer(passive, &reply);
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        self.control.is_alive()
    }

    /// What `work` reads, within a time that leaves enough for the plain exchange while a shortcut is untried. Silence and a
    /// closed connection teach that it fails, and count as a broken session, on which nobody insists.
    pub(super) fn on_trial<T>(
        &mut self,
        state: Shortcut,
        fail: fn(&mut Learnt),
        work: impl FnOnce(&mut Control) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if state != Shortcut::Untried {
            return work(&mut self.control);
        }
        let deadline = self.control.deadline();
        self.control.set_deadline(deadline.capped(TRIAL_WAIT));
        let outcome = work(&mut self.control);
        self.control.set_deadline(deadline);
        outcome.map_err(|fault| {
            let is_broken = matches!(
                fault.kind,
                RemoteErrorKind::TimedOut(Phase::Reply) | RemoteErrorKind::Disconnected
            );
            if !is_broken {
                return fault;
            }
            log::info!(
                "the server may not take what saves a round trip ({}): it gets the plain exchange",
                fault.detail
            );
            self.capabilities.learn(fail);
            Fault::new(RemoteErrorKind::Disconnected, fault.detail)
        })
    }

    /// Readies the data connection for suppaftp; waits for it unless the command may leave before.
    pub(super) fn ready_data(&mut self) -> Result<(), Fault> {
        let Ahead::Opened(connection) = std::mem::take(&mut self.ahead) else {
            return Ok(());
        };
        let learnt = self.learnt();
        let is_patient = std::mem::take(&mut self.is_patient)
            || !learnt.has_pipelining
            || learnt.early_command == Shortcut::Fails;
        self.data = Some(connection);
        if is_patient {
            self.finish_data()?;
        }
        Ok(())
    }

    /// Hands the data connection to suppaftp; keeps a second handle where it is still needed here.
    pub(super) fn hand_over_data(&mut self) -> io::Result<TcpStream> {
        if let Some(inward) = &self.inward {
            return inward.listening.stand_in();
        }
        let data = self.data.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let socket = data.socket().try_clone()?;
        self.was_early = !data.is_open();
        self.end_early();
        if self.is_protected() {
            self.begin_tls();
        } else if self.batch.content.is_none() && data.is_open() {
            self.data = None;
        }
        Ok(socket)
    }

    /// Waits until the data connection is there, or the server has something to say.
    pub(super) fn await_data(&mut self) -> Result<(), Fault> {
        self.accept_early()?;
        let deadline = self.control.deadline();
        let has_inbox = self.control.has_inbox();
        let Some(data) = &mut self.data else {
            return Ok(());
        };
        if has_inbox {
            return Ok(());
        }
        let outcome = data.finish_unless(self.control.socket(), deadline);
        self.judge_connecting(outcome)?;
        self.end_early();
        self.begin_tls();
        self.shake_hands()
    }

    /// Closes our half of a download's data connection once that is there: ProFTPD sends its last reply only when it has seen the
    /// end from us, which then is there already. Under TLS that half is needed for the handshake, and closed behind it.
    fn end_early(&self) {
        if let Some(data) = &self.data
            && self.batch.ends_early
            && data.is_open()
            && !self.is_protected()
            && let Err(error) = data.socket().shutdown(Shutdown::Write)
        {
            log::debug!("{}: ending early: {error}", self.control.number());
        }
    }

    /// Waits until the data connection is there.
    pub(super) fn finish_data(&mut self) -> Result<(), Fault> {
        let deadline = self.control.deadline();
        let outcome = match &mut self.data {
            Some(data) => data.finish(deadline),
            None => Ok(()),
        };
        self.judge_connecting(outcome)?;
        self.begin_tls();
        Ok(())
    }

    fn judge_connecting(&mut self, outcome: io::Result<()>) -> Result<(), Fault> {
        if let Err(error) = outcome {
            self.data = None;
            let was_there = error.kind() == io::ErrorKind::ConnectionReset;
            if self.was_early && was_there && self.control.wait_readable(LAST_WORD_WAIT)? {
                // Closed by a server that has refused the command: its reply says why. If not, this is told at the end.
                self.content_error = Some(error);
                return Ok(());
            }
            if self.was_early {
                // The command is out, and waits at the server for a connection that does not come.
                self.control.give_up();
            }
            return Err(Fault::from_io(&error, Phase::Connect));
        }
        Ok(())
    }

    /// Reads the reply to a transfer's command that left before its data connection was there.
    pub(super) fn read_early(&mut self, before: usize) -> Result<Reply, Fault> {
        self.await_data()?;
        let state = self.learnt().early_command;
        if !self.was_early || state != Shortcut::Untried {
            return self.read_behind(before);
        }
        self.on_trial(
            state,
            |learnt| learnt.early_command = Shortcut::Fails,
            Control::read_reply,
        )
    }

    /// The transfer is on: what remains of making its data connection is waited for.
    pub(super) fn begin_data(&mut self) -> Result<(), Fault> {
        self.finish_data()?;
        self.send_protected()?;
        if let Some(error) = &self.content_error
            && !self.control.wait_readable(LAST_WORD_WAIT)?
        {
            // The server waits for what could not be sent.
            let fault = Fault::from_io(error, Phase::Data);
            self.control.give_up();
            return Err(fault);
        }
        if self.was_early && self.learnt().early_command == Shortcut::Untried {
            self.capabilities
                .learn(|learnt| learnt.early_command = Shortcut::Works);
        }
        self.data = None;
        Ok(())
    }

    /// Lets go of what is kept of suppaftp's data connection.
    pub(in crate::ftp) fn drop_data(&mut self) {
        self.data = None;
        self.channel = None;
        self.inward = None;
        self.accepted = None;
    }
}

fn fail_passive(learnt: &mut Learnt) {
    learnt.early_passive = Shortcut::Fails;
}
