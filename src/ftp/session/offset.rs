//! Where an upload into a file begins: agreed on with the server before the STOR leaves.

use super::Session;
use crate::{
    ftp::{
        capabilities::Server,
        command::DataCommand,
        next_data::Readiness,
        reply::{Failure, Fault, Reply},
    },
    remote::RemoteErrorKind,
};

impl Session {
    /// Sees to where a transfer begins as far as a write of its own is needed for that; the transfer without what is settled then.
    ///
    /// libunftp takes the offset of one transfer for the next as well, so that it would be read from, or written to, the wrong place.
    pub(super) fn settle_offset<'a>(
        &mut self,
        wanted: &DataCommand<'a>,
    ) -> Result<DataCommand<'a>, Failure> {
        let mut wanted = wanted.clone();
        if !matches!(wanted.verb, "RETR" | "STOR") {
            return Ok(wanted);
        }
        let is_kept = self.has_offset && self.may_keep_offset(wanted.verb);
        wanted.rest = wanted.rest.or(is_kept.then_some(0));
        if wanted.verb == "RETR" {
            self.has_offset =
                wanted.rest.is_some_and(|offset| offset > 0) || wanted.range.is_some();
        } else if let Some(offset) = wanted.rest.take() {
            self.agree_on_offset(offset)?;
        }
        Ok(wanted)
    }

    /// Whether the server may take the offset of an earlier transfer for that of the next. libunftp does; the four servers that are known
    /// do not, and for an upload the question costs a round trip.
    fn may_keep_offset(&self, verb: &str) -> bool {
        verb != "STOR" || self.capabilities.server() == Server::Other
    }

    /// Has the server agree on where the next STOR begins. A STOR never leaves together with this question: behind a `REST` that was
    /// refused it empties the file. The data connection comes first, so that nothing stands between the two.
    fn agree_on_offset(&mut self, offset: u64) -> Result<(), Failure> {
        const VERB: &str = "REST";
        if self.is_announced() {
            // PRET comes between the two, and takes an offset back.
            self.has_offset = false;
            let detail = "no offsets where transfers are announced by PRET";
            let fault = Fault::new(RemoteErrorKind::Unsupported, detail);
            return if offset == 0 {
                Ok(())
            } else {
                Err(Failure::Broken(VERB, fault))
            };
        }
        let prepared = self.prepare_data();
        prepared.map_err(|fault| Failure::Broken(VERB, fault))?;
        let reply = self.command(VERB, format!("REST {offset}").as_bytes())?;
        if !agrees_on(&reply, offset) {
            // What the server would make of the next transfer is not known: a whole file that is read then could begin at that offset.
            self.give_up();
            if offset > 0 {
                return Err(Failure::Refused(VERB, reply));
            }
            // An earlier offset cannot be taken back here; on a fresh session there is none.
            let fault = Fault::new(RemoteErrorKind::Disconnected, reply.to_string());
            return Err(Failure::Broken(VERB, fault));
        }
        self.has_offset = offset > 0;
        if self.next.is_ours() && self.next.readiness() < Readiness::Opening {
            self.give_up();
            let detail = "the data connection was lost after REST";
            let fault = Fault::new(RemoteErrorKind::Disconnected, detail);
            return Err(Failure::Broken(VERB, fault));
        }
        Ok(())
    }
}

/// Whether a reply to REST agrees on this very offset. Servers that count in fewer bits say 350 as well, and quote another number; where
/// none is quoted, offsets that 31 bits hold are believed.
fn agrees_on(reply: &Reply, offset: u64) -> bool {
    let fits = || i32::try_from(offset).is_ok();
    reply.is_intermediate() && reply.quotes(offset).unwrap_or_else(fits)
}
