//! A proxy in front of a real server that meddles as a test wants: with commands, replies and data connections.
//!
//! 1. *Commands arrive several in one write.* Each line gets a place in a queue, and what the proxy says by itself waits there
//!    for its turn, so that every reply stays with its command.
//! 2. *Data must come by here too.* The reply to EPSV and PASV is rewritten; [`link`] carries the bytes.
//! 3. *A test changes its mind.* Rules may be added and dropped at any time; the first that matches a command counts.

mod link;
mod rule;
mod trace;

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

pub(crate) use self::{
    link::{Break, End},
    rule::{Count, Deed, Draft},
    trace::Heard,
};
use self::{
    link::{Link, Traffic},
    rule::{Chosen, Rule},
    trace::Trace,
};
use super::{POLL_INTERVAL, Server};

/// How long a server may take to reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// A proxy that listens until the test process ends.
#[derive(Debug)]
pub(crate) struct Meddler {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The server's port, on loopback.
    port: u16,
    rules: Mutex<Vec<Rule>>,
    heard: Mutex<Vec<String>>,
    trace: Mutex<Trace>,
}

/// Who is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Hearing {
    /// The client reads this text.
    #[default]
    Open,
    /// It reads nothing any more.
    Mute,
    /// The server gets what it gets, whether the client is there or not.
    Alone,
}

/// One control connection.
#[derive(Debug)]
struct Session {
    shared: Arc<Shared>,
    client: TcpStream,
    server: TcpStream,
    // Guarded by itself; held while something is said to the client, so that replies do not mix.
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// What is still to be said, in the order of the commands.
    waiting: VecDeque<Waiting>,
    /// The data connection that the next transfer uses.
    link: Option<Arc<Link>>,
    is_over: bool,
    hearing: Hearing,
    /// The server has an offset for the next transfer.
    has_offset: bool,
}

/// Commands that leave together, and the data connections that they use.
#[derive(Debug, Default)]
struct Batch {
    lines: Vec<u8>,
    links: Vec<(Arc<Link>, Traffic)>,
}

/// A command without its last reply.
#[derive(Debug)]
enum Waiting {
    /// The proxy answers it.
    Ours(String),
    /// The server does.
    Theirs(Passed),
}

/// A command that was passed on.
#[derive(Debug, Clone)]
struct Passed {
    verb: String,
    chosen: Chosen,
    /// Its place in the trace.
    place: trace::Place,
    /// Where a reply that names a port leads.
    link: Option<Arc<Link>>,
    /// What carries its data.
    used: Option<Arc<Link>>,
    /// Whether a preliminary reply has come.
    is_announced: bool,
}

impl Meddler {
    /// Starts to listen, for connections that go on to `server`.
    pub(crate) fn start(server: &Server) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            port: server.port(),
            rules: Mutex::default(),
            heard: Mutex::default(),
            trace: Mutex::default(),
        });
        let of_all = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                Session::start(&of_all, client);
            }
        });
        Self { address, shared }
    }

    /// Its address with user and password.
    pub(crate) fn url(&self, server: &Server) -> String {
        let (login, _) = server.url().rsplit_once('@').unwrap();
        format!("{login}@{}/", self.address)
    }

    /// A rule for commands that begin with `start`; it counts once its draft says what is done.
    pub(crate) fn on(&self, start: &str) -> Draft<'_> {
        Draft::new(&self.shared.rules, start)
    }

    /// Drops all rules.
    pub(crate) fn behave(&self) {
        lock(&self.shared.rules).clear();
    }

    /// Forgets what was seen until now.
    pub(crate) fn start_trace(&self) {
        lock(&self.shared.trace).start();
    }

    /// The commands since the trace was started, with their replies and data.
    pub(crate) fn traced(&self) -> Vec<Heard> {
        lock(&self.shared.trace).heard()
    }

    /// Whether nothing has been said for so long, and nothing is kept for later.
    pub(crate) fn is_quiet_for(&self, time: Duration) -> bool {
        lock(&self.shared.trace).is_quiet_for(time)
    }

    /// The commands since this was last asked, those that the proxy answered marked with `!`.
    pub(crate) fn take_heard(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.shared.heard))
    }

    /// How many commands of that beginning there were since then.
    pub(crate) fn heard(&self, start: &str) -> usize {
        let heard = lock(&self.shared.heard);
        let lines = heard.iter().map(|line| line.trim_start_matches('!'));
        lines.filter(|line| line.starts_with(start)).count()
    }
}

impl Session {
    fn start(shared: &Arc<Shared>, client: TcpStream) {
        // A server that is down: the client sees its connection end.
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.port)) else {
            return;
        };
        for socket in [&client, &server] {
            socket.set_nodelay(true).unwrap();
        }
        let session = Arc::new(Self {
            shared: Arc::clone(shared),
            client,
            server,
            queue: Mutex::default(),
        });
        session.expect("greeting", trace::Place::default(), Chosen::default());
        let other = Arc::clone(&session);
        thread::spawn(move || {
            other.carry_commands();
            other.end_commands();
        });
        thread::spawn(move || {
            session.carry_replies();
            session.end();
        });
    }

    /// Ends both sides, and what waits for a transfer.
    fn end(&self) {
        for socket in [&self.client, &self.server] {
            let _ = socket.shutdown(Shutdown::Both);
        }
        lock(&self.queue).is_over = true;
        self.give_up_link();
    }

    /// The client says no more: the server sees that, and the client sees when the server has ended what it was at.
    fn end_commands(&self) {
        let _ = self.server.shutdown(Shutdown::Write);
        self.give_up_link();
    }

    fn give_up_link(&self) {
        let link = lock(&self.queue).link.take();
        if let Some(link) = link {
            link.give_up();
        }
    }

    /// Passes commands on as they come: what arrived in one write leaves in one. Pure-FTPd throws away what arrives once an upload
    /// has begun.
    fn carry_commands(&self) {
        let mut lines = BufReader::new(&self.client);
        let (mut line, mut batch) = (Vec::new(), Batch::default());
        while let Ok(1..) = lines.read_until(b'\n', &mut line) {
            if !self.command(&line, &mut batch) {
                return;
            }
            if !lines.buffer().contains(&b'\n') {
                self.send(&mut batch);
            }
            line.clear();
        }
    }

    /// Sends what is to be passed on. The data for it goes on afterwards: pyftpdlib forgets a connection that ends before its
    /// command.
    fn send(&self, batch: &mut Batch) {
        // If that fails, the server has ended the session, and who reads its replies sees that too.
        let _ = (&self.server).write_all(&batch.lines);
        for (link, traffic) in batch.links.drain(..) {
            link.begin(traffic);
        }
        batch.lines.clear();
    }

    /// Does with one command what the rules say; whether the session goes on.
    fn command(&self, line: &[u8], batch: &mut Batch) -> bool {
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        let mut rule = rule::decide(&mut lock(&self.shared.rules), &text);
        let is_ours = matches!(&rule.deed, Deed::Answer(_) | Deed::Farewell(_));
        let shown = if is_ours {
            format!("!{text}")
        } else {
            text.clone()
        };
        let place = lock(&self.shared.trace).command(&shown);
        lock(&self.shared.heard).push(shown);
        if let Some(before) = &rule.before {
            self.send(batch);
            before();
        }
        let mut line = line;
        match &rule.deed {
            // ProFTPD takes nothing but RNTO after RNFR, and REST counts until the next transfer: the server hears of one that fails.
            Deed::Answer(reply) if self.is_second_half(&text) => {
                rule.deed = Deed::Replace(reply.clone());
                line = match text.get(..4) {
                    Some("RNTO") => b"RNTO /no-such-directory/name\r\n",
                    _ => b"RETR /no-such-directory/name\r\n",
                };
            }
            Deed::Answer(reply) => {
                let mut queue = lock(&self.queue);
                queue.waiting.push_back(Waiting::Ours(reply.clone()));
                self.say_ours(&mut queue);
                return true;
            }
            Deed::Farewell(reply) => {
                self.send(batch);
                self.await_replies();
                self.say(&lock(&self.queue), format!("{reply}\r\n").as_bytes());
                link::end(&self.client, End::Close);
                return false;
            }
            Deed::Cut(end) => {
                self.send(batch);
                link::end(&self.client, *end);
                return false;
            }
            Deed::Hold(time) => {
                self.send(batch);
                self.hold(*time);
            }
            _ => {}
        }
        let verb = text.split(' ').next().unwrap_or_default();
        let verb = verb.to_ascii_uppercase();
        let (traffic, is_followed) = (rule.traffic.clone(), rule.after.is_some());
        let is_held = matches!(rule.deed, Deed::Hold(_));
        let used = self.expect(&verb, place, rule);
        batch.lines.extend_from_slice(line);
        batch.links.extend(used.map(|link| (link, traffic)));
        if is_followed || is_held {
            self.send(batch);
            self.await_replies();
        }
        if is_held {
            lock(&self.shared.trace).is_let_go();
        }
        true
    }

    /// Whether a command ends what the one before it has begun.
    fn is_second_half(&self, text: &str) -> bool {
        let is_transfer = ["RETR ", "STOR ", "APPE "]
            .iter()
            .any(|verb| text.starts_with(verb));
        text.starts_with("RNTO ") || is_transfer && lock(&self.queue).has_offset
    }

    /// Keeps a command. From now on the client's end is not the server's.
    fn hold(&self, time: Duration) {
        lock(&self.queue).hearing = Hearing::Alone;
        lock(&self.shared.trace).is_kept();
        thread::sleep(time);
    }

    /// Waits until all commands are answered, so that none overtakes what the test does after a reply.
    fn await_replies(&self) {
        let started = Instant::now();
        loop {
            let queue = lock(&self.queue);
            if queue.is_over || queue.waiting.is_empty() || started.elapsed() > REPLY_TIMEOUT {
                return;
            }
            drop(queue);
            thread::sleep(POLL_INTERVAL / 10);
        }
    }

    /// Expects the server's reply to a command that is about to be passed on. Returns the data connection that the command uses.
    fn expect(&self, verb: &str, place: trace::Place, chosen: Chosen) -> Option<Arc<Link>> {
        let mut queue = lock(&self.queue);
        let link = matches!(verb, "EPSV" | "PASV").then(Arc::<Link>::default);
        let is_transfer = matches!(verb, "RETR" | "STOR" | "APPE" | "LIST" | "MLSD" | "NLST");
        let used = queue.link.clone().filter(|_| is_transfer);
        if let Some(link) = &used {
            link.claim();
            lock(&self.shared.trace).carries(place, link);
        }
        if let Some(link) = &link
            && let Some(old) = queue.link.replace(Arc::clone(link))
        {
            old.give_up();
        }
        if is_transfer || verb == "REST" {
            queue.has_offset = verb == "REST";
        }
        let verb = verb.to_owned();
        queue.waiting.push_back(Waiting::Theirs(Passed {
            verb,
            chosen,
            place,
            link,
            used: used.clone(),
            is_announced: false,
        }));
        used
    }

    /// Says what the proxy answers by itself and whose turn it is.
    fn say_ours(&self, queue: &mut Queue) {
        while let Some(Waiting::Ours(reply)) = queue.waiting.front() {
            self.say(queue, format!("{reply}\r\n").as_bytes());
            queue.waiting.pop_front();
        }
    }

    /// Says something to the client, if it is still listening; whether the session goes on.
    fn say(&self, queue: &Queue, text: &[u8]) -> bool {
        match queue.hearing {
            Hearing::Open => (&self.client).write_all(text).is_ok(),
            Hearing::Mute => true,
            Hearing::Alone => {
                let _ = (&self.client).write_all(text);
                true
            }
        }
    }

    fn carry_replies(self: &Arc<Self>) {
        let mut lines = BufReader::new(&self.server);
        while let Some(reply) = read_reply(&mut lines) {
            if !self.reply(&reply) {
                return;
            }
        }
    }

    /// Does with one reply what the rule of its command says; whether the session goes on.
    fn reply(self: &Arc<Self>, reply: &[u8]) -> bool {
        let queue = lock(&self.queue);
        let at = position(&queue.waiting, reply);
        let is_last = !reply.starts_with(b"1");
        let passed = match queue.waiting.get(at) {
            Some(Waiting::Theirs(passed)) => passed.clone(),
            _ => return self.say(&queue, reply),
        };
        lock(&self.shared.trace).reply(passed.place, reply);
        if !is_last && !passed.chosen.is_at_first {
            return self.say(&queue, reply);
        }
        drop(queue);
        if let Some(after) = &passed.chosen.after {
            after();
        }
        let mut said = match &passed.link {
            Some(link) => link.redirect(reply),
            None => reply.to_vec(),
        };
        let is_meant = !passed.chosen.is_at_first || !passed.is_announced;
        match &passed.chosen.deed {
            Deed::Early(_) if passed.is_announced => said.clear(),
            _ if !is_meant => {}
            Deed::Early(text) => self.say_early(text.clone(), passed.used.clone()),
            Deed::Replace(text) => said = format!("{text}\r\n").into_bytes(),
            Deed::Swallow => said.clear(),
            Deed::Delay(time) => {
                lock(&self.shared.trace).is_kept();
                thread::sleep(*time);
                lock(&self.shared.trace).is_let_go();
            }
            Deed::Mute => lock(&self.queue).hearing = Hearing::Mute,
            Deed::Repeat => said.extend_from_within(..),
            Deed::Precede(text) => said = [text.as_bytes(), b"\r\n", &said].concat(),
            Deed::LastWords(text) => {
                self.say(&lock(&self.queue), format!("{text}\r\n").as_bytes());
                link::end(&self.client, End::Close);
                return false;
            }
            Deed::CutReply(end) => {
                link::end(&self.client, *end);
                return false;
            }
            _ => {}
        }
        let mut queue = lock(&self.queue);
        let goes_on = self.say(&queue, &said);
        if is_last {
            queue.waiting.remove(at);
            self.say_ours(&mut queue);
        } else if let Some(Waiting::Theirs(passed)) = queue.waiting.get_mut(at) {
            passed.is_announced = true;
        }
        goes_on
    }

    /// Says that a transfer has ended once its connection has broken.
    fn say_early(self: &Arc<Self>, text: String, link: Option<Arc<Link>>) {
        let session = Arc::clone(self);
        thread::spawn(move || {
            let started = Instant::now();
            while link.as_ref().is_some_and(|link| !link.is_broken())
                && started.elapsed() < REPLY_TIMEOUT
            {
                thread::sleep(POLL_INTERVAL / 10);
            }
            session.say(&lock(&session.queue), format!("{text}\r\n").as_bytes());
        });
    }
}

/// Which command a reply is for. pyftpdlib answers questions while a transfer runs, so that these replies come too early.
fn position(waiting: &VecDeque<Waiting>, reply: &[u8]) -> usize {
    let verbs = match reply.get(..3) {
        Some(b"200") => ["SITE", "NOOP"],
        Some(b"213") => ["SIZE", "MDTM"],
        Some(b"227" | b"229") => ["EPSV", "PASV"],
        _ => return 0,
    };
    let is_answered = |waiting: &Waiting| matches!(waiting, Waiting::Theirs(passed) if verbs.contains(&passed.verb.as_str()));
    waiting.iter().position(is_answered).unwrap_or(0)
}

/// One reply, with all its lines.
fn read_reply(lines: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut reply = Vec::new();
    let mut start = 0;
    loop {
        let Ok(1..) = lines.read_until(b'\n', &mut reply) else {
            return None;
        };
        let (first, last) = (&reply[..reply.len().min(3)], &reply[start..]);
        let ends = last.starts_with(first) && last.get(3) != Some(&b'-');
        if ends {
            return Some(reply);
        }
        start = reply.len();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
