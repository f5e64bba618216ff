//! A data command, what leaves ahead of it in the same write, and what the server said to that.

use std::ops::RangeInclusive;

use super::{
    reply::{Failure, Reply},
    shortcuts::Following,
};

/// Stands for any of [`DataCommand::questions`] among the verbs.
const QUESTION: &str = "";

/// A data command, and what has to happen right before it.
#[derive(Debug, Clone, Default)]
pub(super) struct DataCommand<'a> {
    /// A directory to change to first.
    pub(super) cwd: Option<Vec<u8>>,
    /// Questions that leave ahead of it; their answers, refusals too, change nothing about the transfer.
    pub(super) questions: Vec<Vec<u8>>,
    /// An offset to start at.
    pub(super) rest: Option<u64>,
    /// The bytes that are wanted, the last one among them, from the same offset on.
    pub(super) range: Option<RangeInclusive<u64>>,
    /// `RETR`, `STOR`, `APPE`, `MLSD` or `LIST`.
    pub(super) verb: &'static str,
    /// Its argument.
    pub(super) argument: Vec<u8>,
    /// The first bytes of an upload, sent without waiting for the server to say go.
    pub(super) content: Option<&'a [u8]>,
    /// Whether more follows them.
    pub(super) goes_on: bool,
    /// Commands that leave behind it; their replies come after its last one.
    pub(super) followers: Vec<Vec<u8>>,
    /// When they leave.
    pub(super) following: Following,
    /// Whether the next data connection is asked for behind those.
    pub(super) asks_next: bool,
    /// Whether our half of the data connection is closed as soon as it is there: nothing goes that way in a download.
    pub(super) ends_early: bool,
}

impl DataCommand<'_> {
    /// Whether it changes the server, so that it is never sent a second time by itself.
    pub(super) fn is_change(&self) -> bool {
        matches!(self.verb, "STOR" | "APPE")
    }

    /// The command itself.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = self.verb.as_bytes().to_vec();
        if !self.argument.is_empty() {
            line.push(b' ');
            line.extend_from_slice(&self.argument);
        }
        line
    }

    /// The questions, then the commands that say which bytes of the file are wanted. REST goes before RANG: it holds where RANG is
    /// refused.
    pub(super) fn held(&self) -> Vec<Vec<u8>> {
        let rest = self.rest.iter().map(|offset| format!("REST {offset}"));
        let range = self.range.iter();
        let range = range.map(|range| format!("RANG {} {}", range.start(), range.end()));
        let restrictions = rest.chain(range).map(String::into_bytes);
        self.questions.iter().cloned().chain(restrictions).collect()
    }
}

/// What the server said to the commands that left ahead of a data command.
pub(super) struct Answers {
    /// The first refusal that makes the transfer another than the one that was wanted.
    pub(super) refused: Option<Failure>,
    /// Whether the range was agreed to.
    pub(super) is_bounded: bool,
    /// The answers to the questions.
    pub(super) told: Vec<Reply>,
}

impl Answers {
    /// Takes them from the first of the replies; the command itself may have been announced by PRET, which is refused for what is
    /// wrong with that.
    pub(super) fn read(wanted: &DataCommand<'_>, is_announced: bool, replies: &[Reply]) -> Self {
        let cwd = wanted.cwd.iter().map(|_| "CWD");
        let announced = is_announced.then_some(wanted.verb);
        let questions = wanted.questions.iter().map(|_| QUESTION);
        let rest = wanted.rest.iter().map(|_| "REST");
        let range = wanted.range.iter().map(|_| "RANG");
        let verbs = cwd.chain(announced).chain(questions);
        let verbs = verbs.chain(rest).chain(range);
        let mut answers = Self {
            refused: None,
            is_bounded: false,
            told: Vec::new(),
        };
        for (verb, reply) in verbs.zip(replies) {
            let is_good = match verb {
                "RANG" => {
                    answers.is_bounded = reply.is_intermediate();
                    true
                }
                QUESTION => {
                    answers.told.push(reply.clone());
                    true
                }
                "REST" => {
                    let offset = wanted.rest.unwrap_or_default();
                    // A server that counts in 31 bits agrees, and quotes another number.
                    let is_other =
                        i32::try_from(offset).is_err() && reply.quotes(offset) == Some(false);
                    reply.is_intermediate() && !is_other
                }
                _ => reply.is_done(),
            };
            if !is_good && answers.refused.is_none() {
                answers.refused = Some(Failure::Refused(verb, reply.clone()));
            }
        }
        answers
    }
}
