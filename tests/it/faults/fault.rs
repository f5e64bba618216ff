//! The faults, and how the proxy makes them.

use std::{fmt, time::Duration};

use crate::common::meddler::{Break, Count, Deed, End, Meddler};

/// How long a command or a byte is late: longer than the mount waits.
const LATE: Duration = Duration::from_millis(3_500);

/// How long data stands still before the connection is given up.
const STALL: Duration = Duration::from_secs(6);

/// How much later data comes than the reply that said it had come.
const EARLY: Duration = Duration::from_millis(300);

/// The reply of a server that says that a transfer has ended.
const END: &str = "226 Transfer complete.";

/// What no server says.
const GARBAGE: &str = "\u{1}%#\u{7f} 2x0 garbage";

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Close,
    Reset,
    Stall,
    Refuse(u16),
    Garbage,
    Duplicate,
    /// The end of a transfer is said before its data has come.
    Early,
    /// The server gets the command after the mount has given up.
    Late,
    /// The same, and the program does something else meanwhile.
    LateAgain,
}

/// Where it goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// At a reply of a command: the only one, the preliminary or the last of two.
    Reply {
        /// Its number among all replies.
        number: usize,
        command: usize,
        is_second: bool,
    },
    /// At a byte of a command's data.
    Data { command: usize, at: usize },
}

impl Fault {
    pub(super) const ALL: [Self; 16] = [
        Self::Close,
        Self::Reset,
        Self::Stall,
        Self::Refuse(421),
        Self::Refuse(450),
        Self::Refuse(451),
        Self::Refuse(452),
        Self::Refuse(500),
        Self::Refuse(501),
        Self::Refuse(550),
        Self::Refuse(553),
        Self::Garbage,
        Self::Duplicate,
        Self::Early,
        Self::Late,
        Self::LateAgain,
    ];

    /// Whether the mount waits in vain.
    pub(super) fn is_slow(self) -> bool {
        matches!(self, Self::Stall | Self::Late | Self::LateAgain)
    }

    /// Whether its outcome is the same each time.
    pub(super) fn is_steady(self) -> bool {
        !self.is_slow() && !matches!(self, Self::Duplicate | Self::Early)
    }

    /// Lets the proxy do it, once.
    pub(super) fn arm(self, meddler: &Meddler, place: &Place) -> Count {
        let draft = |command| meddler.on("").skip(command).times(1);
        match *place {
            Place::Reply {
                command, is_second, ..
            } => {
                let draft = draft(command);
                match self {
                    Self::Refuse(_) | Self::Late | Self::LateAgain if is_second => {
                        draft.apply(self.at_last_reply())
                    }
                    Self::Refuse(421) => draft.apply(Deed::Farewell(refusal(421))),
                    Self::Refuse(code) => draft.answer(&refusal(code)),
                    Self::Late | Self::LateAgain => draft.apply(Deed::Hold(LATE)),
                    _ if is_second => draft.apply(self.at_last_reply()),
                    _ => draft.at_first().apply(self.at_last_reply()),
                }
            }
            Place::Data { command, at } => {
                let draft = draft(command);
                match self {
                    Self::Reset => draft.break_data(at, Break::Reset).pass(),
                    Self::Stall => draft.break_data(at, Break::Stall(STALL)).pass(),
                    Self::Late | Self::LateAgain => draft.break_data(at, Break::Pause(LATE)).pass(),
                    Self::Early => {
                        let draft = draft.break_data(at, Break::Pause(EARLY)).at_first();
                        draft.apply(Deed::Early(END.to_owned()))
                    }
                    Self::Close => draft.break_data(at, Break::Close).pass(),
                    _ => {
                        let draft = draft.break_data(at, Break::Close);
                        draft.apply(self.at_last_reply())
                    }
                }
            }
        }
    }

    /// What it makes of a reply that the server has given.
    fn at_last_reply(self) -> Deed {
        match self {
            Self::Close => Deed::CutReply(End::Close),
            Self::Reset => Deed::CutReply(End::Reset),
            Self::Stall => Deed::Mute,
            Self::Refuse(421) => Deed::LastWords(refusal(421)),
            Self::Refuse(code) => Deed::Replace(refusal(code)),
            Self::Garbage => Deed::Replace(GARBAGE.to_owned()),
            Self::Duplicate => Deed::Repeat,
            Self::Early => Deed::Precede(END.to_owned()),
            Self::Late | Self::LateAgain => Deed::Delay(LATE),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Close => f.write_str("close"),
            Self::Reset => f.write_str("reset"),
            Self::Stall => f.write_str("stall"),
            Self::Refuse(code) => write!(f, "{code}"),
            Self::Garbage => f.write_str("garbage"),
            Self::Duplicate => f.write_str("duplicate"),
            Self::Early => f.write_str("early"),
            Self::Late => f.write_str("late"),
            Self::LateAgain => f.write_str("late-again"),
        }
    }
}

impl Place {
    /// The command that it hits.
    pub(super) fn command(&self) -> usize {
        match *self {
            Self::Reply { command, .. } | Self::Data { command, .. } => command,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply { number, .. } => write!(f, "r{number}"),
            Self::Data { command, at } => write!(f, "c{command}b{at}"),
        }
    }
}

fn refusal(code: u16) -> String {
    let text = match code {
        421 => "Service not available, closing control connection.",
        450 => "File busy.",
        451 => "Local error in processing.",
        452 => "Insufficient storage space.",
        500 => "OOPS: child died",
        501 => "Syntax error in parameters.",
        550 => "Permission denied.",
        _ => "File name not allowed.",
    };
    format!("{code} {text}")
}
