//! The last reply to a transfer, once its data connection is closed, and those to what was sent after it.
//!
//! A download that was left early gets no last reply from every server: Pure-FTPd 1.0.50 says nothing when its first write fails
//! (`doretr` in its `src/ftpd.c`: no reply where nothing was sent, only a rate where something was), which on a slow link is every
//! short read in a large file. It then waits for the next command, and the reply to a NOOP shows that.

use std::time::Duration;

use super::{Followers, Session};
use crate::{
    ftp::{
        capabilities::Capabilities,
        control::Control,
        next_data::NextData,
        reply::{Failure, Fault, Reply},
        shortcuts::Technique,
    },
    remote::RemoteErrorKind,
};

/// How long the last reply may take before the server is asked whether it comes, where it always has come. 500 ms: longer than
/// a round trip, and the session is of no use meanwhile.
const SILENCE_MAX: Duration = Duration::from_millis(500);

impl Session {
    /// Reads the last reply to a transfer whose data connection is closed. When all the data `has_arrived`, the next data
    /// connection is asked for in the same moment.
    pub(in crate::ftp) fn finish(
        &mut self,
        verb: &'static str,
        has_arrived: bool,
    ) -> Result<Reply, Failure> {
        let read = self.read_last(verb, has_arrived);
        read.map_err(|fault| Failure::Broken(verb, fault))
    }

    fn read_last(&mut self, verb: &'static str, has_arrived: bool) -> Result<Reply, Fault> {
        let control = &mut *self.talk.control();
        // The replies to commands after the transfer come before that to an EPSV.
        let asks = has_arrived && self.followers.count == 0;
        // Where other commands have left with the transfer's, the replies to those show whether its own comes.
        let may_be_silent = !has_arrived
            && !matches!(verb, "STOR" | "APPE")
            && self.followers.count == 0
            && !self.next.is_asked();
        let reply = if asks && self.next.ask_at_end(control)? {
            NextData::read_before_answer(control)?
        } else if may_be_silent {
            read_or_ask(control, &self.capabilities)?
        } else {
            control.read_reply()?
        };
        let reply = control.last_word(reply)?;
        if asks {
            return self.next.put_in_order(control, reply);
        }
        Ok(reply)
    }

    /// Reads the replies to the commands that left after the transfer's own.
    pub(in crate::ftp) fn read_followers(&mut self) -> Result<Vec<Reply>, Fault> {
        let Followers { count, following } = std::mem::take(&mut self.followers);
        let technique = following.technique();
        let read = self.talk.control().on_trial(technique, |control| {
            (0..count).map(|_| control.read_reply()).collect()
        });
        if read.is_err() && !self.capabilities.may(technique) {
            // A server that is lost over one way is spared the other.
            self.capabilities.give_up(Technique::Follow);
            self.capabilities.give_up(Technique::FollowEnd);
        }
        read
    }

    /// The same after a transfer that was refused. When one of them is the transfer's own after all, what was taken for its
    /// refusal was another's, and the session is given up.
    pub(super) fn read_refused_followers(&mut self, verb: &'static str) -> Result<(), Failure> {
        let broken = |fault| Failure::Broken(verb, fault);
        let replies = self.read_followers().map_err(broken)?;
        let is_own = |reply: &Reply| reply.is_preliminary() || reply.code() == 226;
        if replies.iter().any(is_own) {
            self.capabilities.give_up(Technique::Follow);
            self.give_up();
            let detail = "replies out of order";
            return Err(broken(Fault::new(RemoteErrorKind::Disconnected, detail)));
        }
        Ok(())
    }
}

/// Reads the last reply to a transfer that was left early, or the one that shows that there is none. A server that was silent once is
/// asked at once.
fn read_or_ask(control: &mut Control, capabilities: &Capabilities) -> Result<Reply, Fault> {
    let may_be_silent = capabilities.learnt().may_be_silent;
    if !may_be_silent && control.wait_readable(SILENCE_MAX)? {
        return control.read_reply();
    }
    control.send(&["NOOP"])?;
    let reply = control.read_reply()?;
    match reply.code() {
        200 => {
            capabilities.learn(|learnt| learnt.may_be_silent = true);
            control.forgo_reply();
        }
        // Not known, or not now: Pure-FTPd says so while it still sends. Whether another one follows cannot be known.
        500..=502 => {
            control.give_up();
            let detail = "a transfer that was left goes on";
            return Err(Fault::new(RemoteErrorKind::Disconnected, detail));
        }
        // It was late only; the other is the answer to NOOP.
        _ => drop(control.read_reply()?),
    }
    Ok(reply)
}
