//! What the proxy has seen since a test asked it to watch: commands, their replies, and how much data they moved.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::link::{Link, Pause};

/// A command with what came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    /// The line; with `!` in front where the server did not hear of it.
    pub(crate) line: String,
    /// The codes of the replies, in their order.
    pub(crate) codes: Vec<String>,
    /// How many bytes the data connection has carried; `None` for commands without one.
    pub(crate) bytes: Option<usize>,
}

/// Where a command stands in a trace.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    trace: usize,
    number: usize,
}

/// The commands since the start, over all sessions.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// Which trace this is; none was started yet with 0.
    id: usize,
    heard: Vec<Heard>,
    links: Vec<(usize, Arc<Link>)>,
    /// How many commands and replies are kept for later.
    kept: usize,
    last: Option<Instant>,
}

impl Trace {
    pub(super) fn start(&mut self) {
        self.id += 1;
        self.heard.clear();
        self.links.clear();
    }

    pub(super) fn command(&mut self, line: &str) -> Place {
        self.last = Some(Instant::now());
        let number = self.heard.len();
        self.heard.push(Heard {
            line: line.to_owned(),
            ..Heard::default()
        });
        Place {
            trace: self.id,
            number,
        }
    }

    pub(super) fn reply(&mut self, place: Place, reply: &[u8]) {
        self.last = Some(Instant::now());
        if place.trace == self.id
            && let Some(heard) = self.heard.get_mut(place.number)
        {
            let code = reply.get(..3).unwrap_or(reply);
            let code = String::from_utf8_lossy(code).into_owned();
            heard.codes.push(code);
        }
    }

    pub(super) fn carries(&mut self, place: Place, link: &Arc<Link>) {
        if place.trace == self.id {
            self.links.push((place.number, Arc::clone(link)));
        }
    }

    pub(super) fn is_kept(&mut self) {
        self.kept += 1;
    }

    pub(super) fn is_let_go(&mut self) {
        self.kept -= 1;
        self.last = Some(Instant::now());
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        let mut heard = self.heard.clone();
        for (number, link) in &self.links {
            if let Some(heard) = heard.get_mut(*number) {
                heard.bytes = Some(link.carried());
            }
        }
        heard
    }

    pub(super) fn is_quiet_for(&self, time: Duration) -> bool {
        let is_still = |last: Instant| last.elapsed() >= time;
        let is_carried = |(_, link): &(usize, Arc<Link>)| match link.pause() {
            Pause::None => true,
            Pause::Now => false,
            Pause::Over(end) => is_still(end),
        };
        self.kept == 0 && self.last.is_none_or(is_still) && self.links.iter().all(is_carried)
    }
}
