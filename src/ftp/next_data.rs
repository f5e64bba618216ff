//! The next data connection of one session, prepared before a transfer needs it.
//!
//! ```text
//! Nothing --EPSV--> Asked --229--> Announced --SYN--> Opened --> a transfer's
//! ```
//!
//! None of these steps is waited for before something needs the next one: EPSV leaves with the end of the transfer before
//! ([`NextData::ask_at_end`]), and connecting begins as soon as the port is known.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    active::Listening,
    before::Before,
    capabilities::{Capabilities, Learnt},
    control::Control,
    data::DataConnection,
    dialer::Dialer,
    pace::Patience,
    passive::{Announced, Passive, WARM_AGE_MAX},
    reply::{Fault, Reply},
    shortcuts::Technique,
    tls,
};
use crate::remote::{Phase, RemoteErrorKind};

/// How often a handshake that is done early looks whether its session is wanted. 5 ms: what a request that comes then waits.
const HANDSHAKE_CHECK: Duration = Duration::from_millis(5);

/// How long connecting and the handshake may take before there is a command. 2 s: three round trips of the slowest links.
const HANDSHAKE_MAX: Duration = Duration::from_secs(2);

/// How long a server may take at the least to answer the first `ClientHello` that is sent before a command. 250 ms: it makes
/// a key, on a busy machine, and where a gateway on the way accepts connections itself, connecting does not show how far it is;
/// beyond that four round trips.
const ANSWER_MIN: Duration = Duration::from_millis(250);

/// The next data connection, and what it is made with.
pub(super) struct NextData {
    state: State,
    capabilities: Arc<Capabilities>,
    dialer: Arc<Dialer>,
    /// What is asked of it.
    patience: Patience,
    /// Whether one that was begun was refused.
    was_refused: bool,
    /// Whether the last EPSV and PASV were refused for good.
    is_unavailable: bool,
    /// Whether the next transfer's command waits for it.
    is_patient: bool,
}

/// How far it has come.
#[derive(Debug, Default)]
enum State {
    /// Not asked for.
    #[default]
    Nothing,
    /// Asked for; the server owes the reply.
    Asked(Passive, Asked),
    /// The server listens.
    Announced(Announced),
    /// On its way, or there.
    Opened(DataConnection),
}

/// What it was asked for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The end of a transfer's data: [`Technique::AskAtEnd`].
    AtEnd,
    /// Other commands, in one write.
    Along,
}

/// How little is left to do before a transfer's command can leave: the later, the less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Readiness {
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

impl NextData {
    /// Nothing is prepared yet.
    pub(super) fn new(
        capabilities: &Arc<Capabilities>,
        dialer: &Arc<Dialer>,
        patience: Patience,
    ) -> Self {
        Self {
            state: State::Nothing,
            capabilities: Arc::clone(capabilities),
            dialer: Arc::clone(dialer),
            patience,
            was_refused: false,
            is_unavailable: false,
            is_patient: false,
        }
    }

    /// How far it is.
    pub(super) fn readiness(&mut self) -> Readiness {
        match &mut self.state {
            State::Nothing => Readiness::Cold,
            State::Asked(..) => Readiness::Asked,
            State::Announced(announced) if announced.is_usable() => Readiness::Announced,
            State::Announced(_) => Readiness::Cold,
            State::Opened(connection) => match connection.is_usable() {
                true if connection.is_there() => Readiness::Warm,
                true => Readiness::Opening,
                false => Readiness::Cold,
            },
        }
    }

    /// Whether the server owes the reply to an EPSV.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.state, State::Asked(..))
    }

    /// Whether it was begun and is still good.
    pub(super) fn is_warm(&mut self) -> bool {
        self.readiness() >= Readiness::Opening
    }

    /// Whether it was begun so long ago that a refresh is due.
    pub(super) fn is_old(&self) -> bool {
        matches!(&self.state, State::Opened(connection) if connection.age() > WARM_AGE_MAX / 2)
    }

    /// Whether it was not begun, or so long ago.
    pub(super) fn is_lukewarm(&self) -> bool {
        !matches!(&self.state, State::Opened(_)) || self.is_old()
    }

    /// Whether one that was begun was refused, since this was last asked.
    pub(super) fn take_refused(&mut self) -> bool {
        let is_refused =
            matches!(&self.state, State::Opened(connection) if connection.was_refused());
        std::mem::take(&mut self.was_refused) || is_refused
    }

    /// Whether the server has refused to listen for good (5yz to EPSV and PASV) when it was asked last.
    pub(super) fn is_unavailable(&self) -> bool {
        self.is_unavailable
    }

    /// Closes it, if it was begun.
    pub(super) fn close(&mut self) {
        if !self.is_asked() {
            self.state = State::Nothing;
        }
    }

    /// Closes it; the next transfer makes its own, and waits for that before its command leaves.
    pub(super) fn start_over(&mut self) {
        self.close();
        self.is_patient = true;
    }

    /// Records the reply to an EPSV that was sent along with the login.
    pub(super) fn announce(&mut self, reply: &Reply) {
        if let Some(announced) = self.announced_in(Passive::Epsv, reply) {
            self.state = State::Announced(announced);
        }
    }

    /// Has it at least begun, unless it is. What waits in `before` leaves with what is sent.
    pub(super) fn begin(
        &mut self,
        control: &mut Control,
        before: &mut Before,
    ) -> Result<(), Fault> {
        self.read_answer(control)?;
        if !self.is_ours() {
            return Ok(());
        }
        self.is_unavailable = false;
        let place = match std::mem::take(&mut self.state) {
            State::Opened(mut connection) => {
                if connection.is_usable() {
                    self.state = State::Opened(connection);
                    return Ok(());
                }
                self.was_refused |= connection.was_refused();
                self.ask(control, before)?
            }
            // What waits leaves with the transfer's command.
            State::Announced(announced) if announced.is_usable() => Some(announced),
            _ => self.ask(control, before)?,
        };
        let Some(place) = place else { return Ok(()) };
        let (socket, deadline) = (control.socket(), control.deadline());
        let begun = self
            .dialer
            .begin_data(socket, &place, deadline, self.patience);
        // The control connection is still in step: nothing is pending there.
        let connection = begun.map_err(|error| Fault::from_io(&error, Phase::Connect))?;
        self.state = State::Opened(connection);
        Ok(())
    }

    /// Takes it for a transfer, and whether the transfer's command waits for it. `None` when the server makes it.
    pub(super) fn take(&mut self) -> Option<(DataConnection, bool)> {
        match std::mem::take(&mut self.state) {
            State::Opened(connection) => {
                let is_patient = std::mem::take(&mut self.is_patient)
                    || !self.capabilities.may(Technique::EarlyCommand);
                Some((connection, is_patient))
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Asks where the server listens, by EPSV, or by PASV where that is refused. `None` when what left before was refused, and
    /// with it the transfer.
    fn ask(
        &mut self,
        control: &mut Control,
        before: &mut Before,
    ) -> Result<Option<Announced>, Fault> {
        let mut refusal = None;
        while let Some(passive) = self.passive(control) {
            let reply = before.send_with(control, passive.command())?;
            if let Some(announced) = self.announced_in(passive, &reply) {
                return Ok(Some(announced));
            }
            if before.refusal().is_some() {
                return Ok(None);
            }
            let is_over = passive == Passive::Pasv || self.learnt().has_epsv;
            refusal = Some(reply);
            if is_over {
                break;
            }
        }
        self.is_unavailable = refusal
            .as_ref()
            .is_some_and(|reply| reply.code() / 100 == 5);
        if self.is_unavailable {
            self.capabilities.learn_pret();
        }
        let reply = refusal.map(|reply| reply.to_string()).unwrap_or_default();
        Err(Fault::new(
            RemoteErrorKind::Disconnected,
            format!("no data connection: {reply}; --active has the server make them"),
        ))
    }

    /// The server's own reply when it is asked to listen in this way. Its port is not used: the next transfer asks again.
    pub(super) fn ask_only(
        &mut self,
        control: &mut Control,
        before: &mut Before,
        passive: Passive,
    ) -> Result<Reply, Fault> {
        self.read_answer(control)?;
        self.close();
        before.send_with(control, passive.command())
    }

    /// Whether data connections are made from here.
    pub(super) fn is_ours(&self) -> bool {
        self.dialer.active().is_none()
    }

    /// Listens for the one that the server is to make, in active mode.
    pub(super) fn listen(&self, control: &Control) -> Option<io::Result<Listening>> {
        let config = self.dialer.active()?;
        Some(Listening::begin(control.socket(), config))
    }

    /// How this server is asked, if it can be.
    fn passive(&self, control: &Control) -> Option<Passive> {
        if !self.is_ours() {
            return None;
        }
        let may_be_ipv4 = self.dialer.may_be_ipv4(control.socket());
        // EPSV has no address in its reply.
        let wants_address = self.dialer.trusts_pasv_address() && may_be_ipv4;
        if self.learnt().has_epsv && !wants_address {
            return Some(Passive::Epsv);
        }
        may_be_ipv4.then_some(Passive::Pasv)
    }

    /// Where the reply says that the server listens. An EPSV that is not known is remembered.
    fn announced_in(&self, passive: Passive, reply: &Reply) -> Option<Announced> {
        let port = passive.port(reply);
        // A reply to another command says nothing of this one.
        let is_anothers = matches!(reply.code(), 213 | 226 | 250 | 350);
        let is_passing = is_anothers || reply.code() / 100 == 4;
        if port.is_none() && passive == Passive::Epsv && !is_passing {
            log::debug!("EPSV refused ({reply}); using PASV");
            self.capabilities.learn(|learnt| learnt.has_epsv = false);
        }
        let address = passive.address(reply);
        let address = address.filter(|_| self.dialer.trusts_pasv_address());
        Some(Announced::new(port?, address))
    }

    /// How it may be asked for in one write with other commands; `None` when it was, or may not be.
    pub(super) fn may_ask(&self, control: &Control) -> Option<Passive> {
        let may_ask = [Technique::Batch, Technique::Prepare]
            .iter()
            .all(|technique| self.capabilities.may(*technique));
        let is_open = may_ask && matches!(self.state, State::Nothing);
        is_open.then(|| self.passive(control)).flatten()
    }

    /// It has been asked for.
    pub(super) fn set_asked(&mut self, passive: Passive) {
        self.state = State::Asked(passive, Asked::Along);
    }

    /// Sends EPSV right after a transfer's data connection was closed, so that its reply comes with the transfer's last one;
    /// whether it did. Only where all the data has arrived: pyftpdlib ends a transfer that still runs.
    pub(super) fn ask_at_end(&mut self, control: &mut Control) -> Result<bool, Fault> {
        if !self.capabilities.may(Technique::AskAtEnd) {
            return Ok(false);
        }
        let Some(passive) = self.may_ask(control) else {
            return Ok(false);
        };
        control.send(&[passive.command()])?;
        self.state = State::Asked(passive, Asked::AtEnd);
        Ok(true)
    }

    /// Reads the last reply of a transfer after which EPSV was sent.
    pub(super) fn read_before_answer(control: &mut Control) -> Result<Reply, Fault> {
        control.on_trial(Technique::AskAtEnd, Control::read_reply)
    }

    /// Reads the reply to a transfer after which EPSV may have been sent: the two may come in the wrong order.
    pub(super) fn put_in_order(
        &mut self,
        control: &mut Control,
        reply: Reply,
    ) -> Result<Reply, Fault> {
        let State::Asked(passive, _) = self.state else {
            return Ok(reply);
        };
        let is_port = |reply: &Reply| passive.port(reply).is_some();
        if !is_port(&reply) && !reply.is_refusal() {
            return Ok(reply);
        }
        // One of them said no, or the first is not the transfer's.
        let second = Self::read_before_answer(control)?;
        self.state = State::Nothing;
        if !is_port(&reply) && (is_port(&second) || second.is_refusal()) {
            if let Some(announced) = self.announced_in(passive, &second) {
                self.state = State::Announced(announced);
            }
            return Ok(reply);
        }
        log::info!("the server answers EPSV before the transfer is over; it gets that later");
        self.capabilities.give_up(Technique::AskAtEnd);
        Ok(second)
    }

    /// Reads the reply to an EPSV, if the server owes one.
    pub(super) fn read_answer(&mut self, control: &mut Control) -> Result<(), Fault> {
        let State::Asked(passive, asked) = self.state else {
            return Ok(());
        };
        self.state = State::Nothing;
        let reply = Self::read_before_answer(control)?;
        self.take_answer(passive, asked, &reply);
        Ok(())
    }

    /// The same, if that reply has arrived. Never waits; whether the connection is still good.
    pub(super) fn read_arrived_answer(&mut self, control: &mut Control) -> bool {
        let State::Asked(passive, asked) = self.state else {
            return control.is_alive();
        };
        match control.reply_now() {
            Ok(Some(reply)) => {
                self.state = State::Nothing;
                self.take_answer(passive, asked, &reply);
                control.is_alive()
            }
            Ok(None) => true,
            Err(_) => false,
        }
    }

    fn take_answer(&mut self, passive: Passive, asked: Asked, reply: &Reply) {
        let Some(announced) = self.announced_in(passive, reply) else {
            return;
        };
        self.state = State::Announced(announced);
        if asked == Asked::AtEnd {
            self.capabilities.prove(Technique::AskAtEnd);
        }
    }

    /// Does TLS's handshake on it, where the server does its half of that before any command. Gives up when the session
    /// `is_wanted`: what is left is done then.
    pub(super) fn shake_hands(&mut self, session: &tls::Session, is_wanted: impl Fn() -> bool) {
        const TECHNIQUE: Technique = Technique::EarlyHandshake;
        let State::Opened(data) = &mut self.state else {
            return;
        };
        if !self.capabilities.may(TECHNIQUE) || !session.is_lasting() {
            return;
        }
        let mut asked = None;
        while !is_wanted() && data.age() < HANDSHAKE_MAX {
            match data.shake_hands(session, HANDSHAKE_CHECK) {
                Ok(false) => {}
                Ok(true) => return self.capabilities.prove(TECHNIQUE),
                // Its next user sees that.
                Err(_) => return,
            }
            if data.is_open() && self.capabilities.is_untried(TECHNIQUE) {
                let (since, connecting) = asked.get_or_insert_with(|| (Instant::now(), data.age()));
                if since.elapsed() > ANSWER_MIN.max(*connecting * 4) {
                    return self.capabilities.give_up(TECHNIQUE);
                }
            }
        }
    }

    fn learnt(&self) -> Learnt {
        self.capabilities.learnt()
    }
}
