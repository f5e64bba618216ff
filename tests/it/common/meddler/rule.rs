//! What the proxy does with which command.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    link::{Break, Edit, End, Traffic},
    lock,
};

/// Something that the test does between two commands.
#[derive(Clone)]
pub(super) struct Hook(Arc<dyn Fn() + Send + Sync>);

impl std::ops::Deref for Hook {
    type Target = dyn Fn() + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// What is done with one command and its last reply.
#[derive(Debug, Clone, Default)]
pub(crate) enum Deed {
    /// Nothing.
    #[default]
    Pass,
    /// The server does not hear of it.
    Answer(String),
    /// The control connection ends before it is passed on.
    Cut(End),
    /// The client reads this in place of the reply.
    Replace(String),
    /// The client never reads the reply.
    Swallow,
    /// The client reads the reply later.
    Delay(Duration),
    /// The control connection ends in place of the reply.
    CutReply(End),
    /// The server does not hear of it, and the control connection ends behind the answer.
    Farewell(String),
    /// The same in place of the reply.
    LastWords(String),
    /// The client reads nothing any more on this connection.
    Mute,
    /// The client reads the reply twice.
    Repeat,
    /// The client reads this in one piece with the reply, before it.
    Precede(String),
    /// The client reads this once so many bytes of the transfer have passed, and nothing in place of the reply.
    Early(String),
    /// It is passed on later, whether the client is still there or not.
    Hold(Duration),
}

/// How often a rule was applied.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    /// So often.
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    start: String,
    part: String,
    condition: Option<Condition>,
    to_skip: usize,
    left: usize,
    chosen: Chosen,
    count: Count,
}

/// Whether a command is meant.
struct Condition(Box<dyn Fn(&str) -> bool + Send>);

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condition")
    }
}

/// What the rules make of one command.
#[derive(Debug, Clone, Default)]
pub(super) struct Chosen {
    pub(super) before: Option<Hook>,
    pub(super) after: Option<Hook>,
    pub(super) deed: Deed,
    /// Whether a reply that announces another one is meant already.
    pub(super) is_at_first: bool,
    /// What happens on its data connection.
    pub(super) traffic: Traffic,
}

/// What is done with a command line. The first rule that matches counts it, and is used up or passes it to no other one.
pub(super) fn decide(rules: &mut [Rule], line: &str) -> Chosen {
    for rule in rules {
        let is_meant = rule.left > 0
            && line.starts_with(&rule.start)
            && line.contains(&rule.part)
            && rule.condition.as_ref().is_none_or(|is| is.0(line));
        if !is_meant {
            continue;
        }
        if rule.to_skip > 0 {
            rule.to_skip -= 1;
            continue;
        }
        rule.left -= 1;
        rule.count.0.fetch_add(1, Ordering::SeqCst);
        return rule.chosen.clone();
    }
    Chosen::default()
}

/// A rule that is being written.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    rules: &'a Mutex<Vec<Rule>>,
    rule: Rule,
}

impl<'a> Draft<'a> {
    pub(super) fn new(rules: &'a Mutex<Vec<Rule>>, start: &str) -> Self {
        let rule = Rule {
            start: start.to_owned(),
            part: String::new(),
            condition: None,
            to_skip: 0,
            left: usize::MAX,
            chosen: Chosen::default(),
            count: Count::default(),
        };
        Self { rules, rule }
    }

    /// Only commands that hold this too.
    pub(crate) fn holding(mut self, part: &str) -> Self {
        part.clone_into(&mut self.rule.part);
        self
    }

    /// Only commands of which this is true.
    pub(crate) fn when(mut self, condition: impl Fn(&str) -> bool + Send + 'static) -> Self {
        self.rule.condition = Some(Condition(Box::new(condition)));
        self
    }

    /// Not the first so many.
    pub(crate) fn skip(mut self, count: usize) -> Self {
        self.rule.to_skip = count;
        self
    }

    /// No more than so many.
    pub(crate) fn times(mut self, count: usize) -> Self {
        self.rule.left = count;
        self
    }

    /// Does this before the command is passed on or answered.
    pub(crate) fn before(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.rule.chosen.before = Some(Hook(Arc::new(hook)));
        self
    }

    /// Does this when the server has replied, before the client hears of it.
    pub(crate) fn after(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.rule.chosen.after = Some(Hook(Arc::new(hook)));
        self
    }

    /// Passes the command and its reply on.
    pub(crate) fn pass(self) -> Count {
        self.apply(Deed::Pass)
    }

    /// Answers in the server's place.
    pub(crate) fn answer(self, reply: &str) -> Count {
        self.apply(Deed::Answer(reply.to_owned()))
    }

    /// Ends the control connection before the command is passed on.
    pub(crate) fn cut(self, end: End) -> Count {
        self.apply(Deed::Cut(end))
    }

    /// Says this in place of the server's reply.
    pub(crate) fn replace(self, reply: &str) -> Count {
        self.apply(Deed::Replace(reply.to_owned()))
    }

    /// Keeps the reply from the client.
    pub(crate) fn swallow(self) -> Count {
        self.apply(Deed::Swallow)
    }

    /// Keeps the reply for so long.
    pub(crate) fn delay(self, time: Duration) -> Count {
        self.apply(Deed::Delay(time))
    }

    /// Ends the control connection in place of the reply.
    pub(crate) fn cut_reply(self, end: End) -> Count {
        self.apply(Deed::CutReply(end))
    }

    /// Makes something else of what the server sends, all at once, and ends the data connection like this.
    pub(crate) fn download(
        self,
        end: End,
        edit: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
    ) -> Count {
        self.traffic(Traffic::Download(Edit::new(edit), end)).pass()
    }

    /// Ends an upload after so many bytes, cleanly, and takes the rest without a word.
    pub(crate) fn cut_upload(self, bytes: usize) -> Count {
        self.traffic(Traffic::Upload(bytes)).pass()
    }

    /// Changes one bit of the byte at this place of an upload.
    pub(crate) fn change_upload(self, at: usize) -> Count {
        self.traffic(Traffic::Changed(at)).pass()
    }

    /// Breaks the transfer after so many bytes.
    pub(crate) fn break_data(self, at: usize, how: Break) -> Self {
        self.traffic(Traffic::Broken(at, how))
    }

    /// What is done with the reply is done with a preliminary one, if there is one.
    pub(crate) fn at_first(mut self) -> Self {
        self.rule.chosen.is_at_first = true;
        self
    }

    /// Does this with the command and its reply.
    pub(crate) fn apply(mut self, deed: Deed) -> Count {
        self.rule.chosen.deed = deed;
        let count = self.rule.count.clone();
        lock(self.rules).push(self.rule);
        count
    }

    fn traffic(mut self, traffic: Traffic) -> Self {
        self.rule.chosen.traffic = traffic;
        self
    }
}
