//! The last reply to a download that was left early, which does not come from every server.
//!
//! Pure-FTPd 1.0.50 says nothing when its first write fails (`doretr` in its `src/ftpd.c`: no reply where nothing was sent, only a rate where
//! something was), which on a slow link is every short read in a large file. It then waits for the next command, and the reply to a NOOP shows
//! that.

use std::time::Duration;

use super::{Transport, data::Ahead};
use crate::{
    ftp::reply::{Fault, Reply},
    remote::RemoteErrorKind,
};

/// How long the last reply may take before the server is asked whether it comes, where it always has come. 500 ms: longer than
/// a round trip, and the session is of no use meanwhile.
const SILENCE_MAX: Duration = Duration::from_millis(500);

impl Transport {
    /// Has the server asked whether the reply comes, to a transfer whose data connection is closed early. Where other
    /// commands have left with the transfer's, the answers to those show that.
    pub(in crate::ftp) fn expect_silence(&mut self) {
        let is_followed = self.has_followers() || matches!(self.ahead, Ahead::Asked(_));
        self.is_silence_expected = !is_followed;
    }

    /// Reads the last reply to a transfer that was left early, or the one that shows that there is none. A server that was silent once is
    /// asked at once.
    pub(super) fn read_after_silence(&mut self) -> Result<Reply, Fault> {
        let may_be_silent = self.learnt().may_be_silent;
        if !may_be_silent && self.control.wait_readable(SILENCE_MAX)? {
            return self.control.read_reply();
        }
        self.control.send(&["NOOP"])?;
        let reply = self.control.read_reply()?;
        match reply.code() {
            200 => {
                self.capabilities
                    .learn(|learnt| learnt.may_be_silent = true);
                self.control.forgo_reply();
            }
            // Not known, or not now: Pure-FTPd says so while it still sends. Whether another one follows cannot be told.
            500..=502 => {
                self.control.give_up();
                let detail = "a transfer that was left goes on";
                return Err(Fault::new(RemoteErrorKind::Disconnected, detail));
            }
            // It was late only; the other is the answer to NOOP.
            _ => drop(self.control.read_reply()?),
        }
        Ok(reply)
    }
}
