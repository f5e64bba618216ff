//! What leaves before a transfer's own command, in the same write where that can be: CWD, PRET, questions, REST and RANG.

use super::{
    control::Control,
    reply::{Fault, Reply},
};

/// Commands that are still to be sent, and the replies to those that were.
#[derive(Debug, Default)]
pub(super) struct Before {
    lines: Vec<Vec<u8>>,
    replies: Vec<Reply>,
}

impl Before {
    /// These commands; none was sent.
    pub(super) fn new(lines: Vec<Vec<u8>>) -> Self {
        Self {
            lines,
            replies: Vec::new(),
        }
    }

    /// How many are still to be sent.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Sends these too, after the others.
    pub(super) fn extend(&mut self, lines: impl IntoIterator<Item = Vec<u8>>) {
        self.lines.extend(lines);
    }

    /// What is still to be sent; it counts as sent from now on.
    pub(super) fn take(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.lines)
    }

    /// Records a reply.
    pub(super) fn push(&mut self, reply: Reply) {
        self.replies.push(reply);
    }

    /// The replies so far, in order.
    pub(super) fn replies(&self) -> &[Reply] {
        &self.replies
    }

    /// The first refusal.
    pub(super) fn refusal(&self) -> Option<&Reply> {
        self.replies.iter().find(|reply| reply.is_refusal())
    }

    /// Sends what is still to be sent and one command more; the reply to that one.
    pub(super) fn send_with(
        &mut self,
        control: &mut Control,
        command: &[u8],
    ) -> Result<Reply, Fault> {
        let mut lines = self.take();
        lines.push(command.to_vec());
        let mut replies = Vec::with_capacity(lines.len());
        let outcome = control.exchange(&lines, &mut replies);
        let last = if outcome.is_ok() { replies.pop() } else { None };
        self.replies.append(&mut replies);
        outcome?;
        last.ok_or_else(|| Fault::new(crate::remote::RemoteErrorKind::Protocol, "no reply"))
    }
}
