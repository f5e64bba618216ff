//! One control connection of a simulated server.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::MutexGuard,
    thread,
    time::{Duration, Instant, SystemTime},
};

use chrono::{DateTime, NaiveDateTime, Utc};

use super::{
    World,
    ailment::{Ailment, Data, listen_full},
    dialect::{Excess, Hidden, Options, Over, RemoveDir, RestStore, is_transfer},
    lock,
    tree::{Tree, item},
};

/// How long the client may take to open a data connection.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// A session, from the greeting to the end.
pub(super) struct Session<'a> {
    world: &'a World,
    control: TcpStream,
    /// Which session this is, from 1 on.
    number: usize,
    dir: String,
    data: Option<TcpListener>,
    /// What keeps others from connecting to it.
    taken: Option<TcpStream>,
    /// The command that was announced.
    announced: Option<String>,
    /// Where the client listens, in active mode.
    client: Option<SocketAddr>,
    rest: usize,
    rename_from: Option<String>,
    is_binary: bool,
    is_logged_in: bool,
}

/// Whether the session goes on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Go,
    End,
}

impl<'a> Session<'a> {
    pub(super) fn new(world: &'a World, control: TcpStream, number: usize) -> Self {
        Self {
            world,
            control,
            number,
            dir: String::new(),
            data: None,
            taken: None,
            announced: None,
            client: None,
            rest: 0,
            rename_from: None,
            is_binary: false,
            is_logged_in: false,
        }
    }

    /// Serves until either side has had enough.
    pub(super) fn serve(mut self, is_excess: bool) {
        let sessions = &self.world.dialect.sessions;
        if is_excess && sessions.excess == Excess::Greeting {
            return self.say(&["excess"], "421 Too many connections.", "");
        }
        self.say(&["greeting"], "220 ready", "");
        let mut lines = BufReader::new(self.control.try_clone().unwrap());
        let mut since = Instant::now();
        let mut left = sessions.ends_after.filter(|_| self.number == 1);
        loop {
            let idle = sessions.idle_milliseconds.map(Duration::from_millis);
            let wait = idle.map(|idle| {
                idle.saturating_sub(since.elapsed())
                    .max(Duration::from_millis(1))
            });
            self.control.set_read_timeout(wait).unwrap();
            let mut line = Vec::new();
            match lines.read_until(b'\n', &mut line) {
                Ok(1..) => {}
                Err(error) if wait.is_some() && error.kind() == std::io::ErrorKind::WouldBlock => {
                    return self.say(&["idle"], "421 Idle for too long.", "");
                }
                _ => return,
            }
            let line = String::from_utf8_lossy(&line)
                .trim_end_matches(['\r', '\n'])
                .to_owned();
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            let verb = verb.to_ascii_uppercase();
            if !sessions.idle_deaf.contains(&verb) {
                since = Instant::now();
            }
            let shown = if verb == "PASS" {
                "PASS"
            } else {
                line.as_str()
            };
            lock(&self.world.heard).push(shown.to_owned());
            if self.is_logged_in
                && let Some(left) = &mut left
            {
                if *left == 0 {
                    return self.say(&["idle"], "421 Enough for now.", "");
                }
                *left -= 1;
            }
            thread::sleep(Duration::from_millis(sessions.slow_milliseconds));
            if sessions.one_command {
                let with_it = lines.buffer().len();
                lines.consume(with_it);
            }
            self.world.wait_while(Ailment::Mute);
            if verb == "PASS" {
                self.world.wait_while(Ailment::Login);
            }
            if self.answer(&verb, argument, is_excess) == Next::End {
                return;
            }
        }
    }

    fn tree(&self) -> MutexGuard<'a, Tree> {
        lock(&self.world.tree)
    }

    /// Says the dialect's words under the first key it has, else `usual`; `path` stands for `{path}`.
    fn say(&mut self, keys: &[&str], usual: &str, path: &str) {
        let text = self.world.dialect.says(keys, usual).replace("{path}", path);
        self.drop_early();
        // The client may be gone.
        let _ = self.control.write_all(format!("{text}\r\n").as_bytes());
    }

    /// Forgets what has come before the answer, where that is this server's way.
    fn drop_early(&mut self) {
        if !self.world.dialect.sessions.one_command {
            return;
        }
        let mut early = [0; 4096];
        self.control.set_nonblocking(true).unwrap();
        while self.control.read(&mut early).is_ok_and(|count| count > 0) {}
        self.control.set_nonblocking(false).unwrap();
    }

    /// The reply to a command that was done (`outcome` empty) or not.
    fn reply(&mut self, verb: &str, outcome: &str, usual: &str, path: &str) {
        let key = format!("{verb} {outcome}");
        self.say(&[key.trim_end()], usual, path);
    }

    fn answer(&mut self, verb: &str, argument: &str, is_excess: bool) -> Next {
        let dialect = &self.world.dialect;
        if dialect.silent.iter().any(|silent| silent == verb) {
            return Next::Go;
        }
        let word = argument
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let is_known = match verb {
            "SITE" => dialect.files.site_is_noop || dialect.knows(&format!("SITE {word}")),
            "AUTH" => dialect.tls.is_some(),
            _ => dialect.knows(verb),
        };
        if !is_known {
            let text = dialect.says(&["unknown"], "500 Unknown command.");
            self.say(
                &[&format!("{verb} unknown")],
                &text.replace("{verb}", verb),
                "",
            );
            return Next::Go;
        }
        match verb {
            "AUTH" => {
                self.say(&[], "234 Go on.", "");
                let protection = self.world.protection.as_ref();
                protection.unwrap().serve(&self.control);
                return Next::End;
            }
            "USER" => self.reply(verb, "", "331 Password, please.", ""),
            "PASS" if is_excess => {
                self.reply(verb, "refused", "530 Too many users logged in.", "");
                if dialect.sessions.excess == Excess::LoginClosed {
                    return Next::End;
                }
            }
            "PASS" if argument == dialect.password => {
                self.is_logged_in = true;
                self.reply(verb, "", "230 Logged in.", "");
            }
            "PASS" => self.reply(verb, "refused", "530 Login incorrect.", ""),
            "QUIT" => {
                self.reply(verb, "", "221 Bye.", "");
                return Next::End;
            }
            _ if !self.is_logged_in => self.say(&[], "530 Log in first.", ""),
            "FEAT" => self.reply(verb, "", "211 No features.", ""),
            "SYST" => self.reply(verb, "", "215 UNIX Type: L8", ""),
            "NOOP" | "OPTS" => self.reply(verb, "", "200 Okay.", ""),
            "TYPE" => {
                self.is_binary = argument.eq_ignore_ascii_case("I");
                self.reply(verb, "", "200 Type set.", "");
            }
            "PWD" => {
                let dir = format!("{}/", self.dir);
                let dir = if self.dir.is_empty() {
                    dir
                } else {
                    self.dir.clone()
                };
                self.reply(verb, "", "257 \"{path}\" is the current directory.", &dir);
            }
            "PRET" => self.announce(argument),
            "EPSV" | "PASV" if dialect.wants_pret && self.announced.is_none() => {
                self.reply(verb, "refused", "500 PRET first.", "");
            }
            "EPSV" | "PASV" => self.listen(verb),
            "EPRT" => {
                let mut fields = argument.split('|').skip(2);
                let mut field = || fields.next().unwrap();
                self.client = Some(format!("{}:{}", field(), field()).parse().unwrap());
                self.reply(verb, "", "200 Okay.", "");
            }
            "REST" => {
                self.rest = argument.parse().unwrap_or(0);
                self.reply(verb, "", "350 Go on.", "");
            }
            "SITE" if !dialect.knows(&format!("SITE {word}")) => {
                self.reply(verb, "", "200 Okay.", "");
            }
            "SITE" => self.site(&word, argument.split_once(' ').unwrap_or_default().1),
            _ if is_transfer(verb) => self.transfer(verb, argument),
            _ => self.on_path(verb, argument),
        }
        Next::Go
    }

    /// The absolute path that an argument names; the root is empty.
    fn path(&self, argument: &str) -> String {
        let full = match argument.strip_prefix('/') {
            Some(rest) => rest.to_owned(),
            None => format!("{}/{argument}", self.dir),
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in full.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        parts.iter().flat_map(|part| ["/", part]).collect()
    }

    /// Takes down what is to be transferred, as `DrFTPD` does: it forgets an offset, and refuses what the transfer would be refused.
    fn announce(&mut self, command: &str) {
        (self.rest, self.data, self.announced) = (0, None, None);
        let (verb, name) = command.split_once(' ').unwrap_or((command, ""));
        let path = self.path(name);
        let node = self.tree().get(&path).cloned();
        match (verb, node) {
            ("LIST" | "NLST" | "MLSD", _) => {}
            ("RETR", Some(node)) if !node.is_dir() => {}
            ("RETR", _) => return self.reply("PRET", "missing", "550 No such file.", &path),
            ("STOR", _) if !self.may_store(verb, &path) => return,
            ("STOR", _) => {}
            _ => return self.reply("PRET", "unknown", "504 Not for that.", &path),
        }
        self.announced = Some(command.to_owned());
        self.reply("PRET", "", "200 OK, planning for it.", &path);
    }

    fn listen(&mut self, verb: &str) {
        let is_of_master = self
            .announced
            .as_ref()
            .is_some_and(|command| !command.contains(' '));
        let address = self.world.dialect.data_address.filter(|_| !is_of_master);
        let address = address.unwrap_or(Ipv4Addr::LOCALHOST);
        let is_full = *lock(&self.world.ailment) == Some(Ailment::Ports);
        let listener = if is_full {
            let (listener, taken) = listen_full(address);
            self.taken = Some(taken);
            listener
        } else {
            TcpListener::bind((address, 0)).unwrap()
        };
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        self.data = Some(listener);
        let [a, b, c, d] = address.octets();
        let ports = format!("{},{}", port >> 8, port & 0xFF);
        let numbers = format!("{a},{b},{c},{d},{ports}");
        let usual = match verb {
            "EPSV" => format!("229 Listening (|||{port}|)"),
            _ => format!("227 Listening ({numbers})"),
        };
        let text = self.world.dialect.says(&[verb], &usual);
        self.drop_early();
        let text = text
            .replace("{port}", &port.to_string())
            .replace("{ports}", &ports)
            .replace("{numbers}", &numbers);
        let _ = self.control.write_all(format!("{text}\r\n").as_bytes());
    }

    fn accept(&mut self) -> Option<TcpStream> {
        if let Some(client) = self.client.take() {
            return TcpStream::connect(client).ok();
        }
        let listener = self.data.take()?;
        let started = Instant::now();
        while started.elapsed() < ACCEPT_TIMEOUT {
            if let Ok((socket, _)) = listener.accept() {
                socket.set_nonblocking(false).unwrap();
                return Some(socket);
            }
            thread::sleep(Duration::from_millis(1));
        }
        None
    }

    /// Commands that are about one path.
    fn on_path(&mut self, verb: &str, argument: &str) {
        let path = self.path(argument);
        let node = self.tree().get(&path).cloned();
        let missing = "550 No such file or directory.";
        let files = &self.world.dialect.files;
        match (verb, node) {
            ("MKD", Some(_)) => self.reply(verb, "exists", "550 It exists.", &path),
            ("MKD", None) if !self.tree().has_parent(&path) => {
                self.reply(verb, "missing", missing, &path);
            }
            ("MKD", None) => {
                self.tree().make_dir(&path);
                self.reply(verb, "", "257 \"{path}\" created.", &path);
            }
            ("RNTO", target) => self.rename_to(&path, target.is_some()),
            ("MDTM", _) if self.world.dialect.knows("MDTM time") && is_timed(argument) => {
                let (time, name) = argument.split_once(' ').unwrap_or_default();
                self.set_time(verb, time, name);
            }
            ("MFMT", _) => {
                let (time, name) = argument.split_once(' ').unwrap_or_default();
                self.set_time(verb, time, name);
            }
            (_, None) => self.reply(verb, "missing", missing, &path),
            ("CWD", Some(node)) if node.is_dir() => {
                self.dir.clone_from(&path);
                self.reply(verb, "", "250 Okay.", &path);
            }
            ("SIZE", Some(_)) if !self.is_binary => {
                self.reply(verb, "ascii", "550 SIZE not allowed in ASCII mode.", &path);
            }
            ("SIZE" | "MDTM" | "DELE", Some(node)) if node.is_dir() => {
                self.reply(verb, "refused", "550 Not a file.", &path);
            }
            ("SIZE", Some(node)) => {
                let size = node.content.map_or(0, |content| content.len());
                self.reply(verb, "", &format!("213 {size}"), &path);
            }
            ("MDTM", Some(node)) => {
                let time = DateTime::<Utc>::from(node.modified).format("213 %Y%m%d%H%M%S");
                self.reply(verb, "", &time.to_string(), &path);
            }
            ("MLST", Some(node)) => {
                let style = &self.world.dialect.listing;
                let facts = style.facts(&item(&path, &node));
                let indent = &style.mlst_indent;
                let usual = format!("250-Listing\r\n{indent}{facts}\r\n250 End");
                self.reply(verb, "", &usual, &path);
            }
            ("DELE", Some(_)) => {
                self.tree().take(&path);
                self.reply(verb, "", "250 Deleted.", &path);
            }
            ("RMD", Some(node)) if node.is_dir() && files.remove_dir == RemoveDir::Tree => {
                self.tree().take_all(&path);
                self.reply(verb, "", "250 Removed.", &path);
            }
            ("RMD", Some(node)) if !node.is_dir() || !self.tree().list(&path).is_empty() => {
                self.reply(verb, "refused", "550 Not an empty directory.", &path);
            }
            ("RMD", Some(_)) => {
                self.tree().take(&path);
                self.reply(verb, "", "250 Removed.", &path);
            }
            ("RNFR", Some(_)) => {
                self.rename_from = Some(path.clone());
                self.reply(verb, "", "350 To what?", &path);
            }
            _ => self.reply(verb, "refused", "550 Refused.", &path),
        }
    }

    fn rename_to(&mut self, path: &str, exists: bool) {
        let Some(from) = self.rename_from.take() else {
            return self.say(&[], "503 RNFR first.", path);
        };
        match self.world.dialect.files.rename_over {
            Over::Refused if exists => return self.reply("RNTO", "exists", "550 It exists.", path),
            Over::Lies if exists => {}
            _ if !self.tree().has_parent(path) => {
                return self.reply("RNTO", "missing", "550 No such directory.", path);
            }
            _ => self.tree().rename(&from, path),
        }
        self.reply("RNTO", "", "250 Renamed.", path);
    }

    fn set_time(&mut self, verb: &str, time: &str, name: &str) {
        let path = self.path(name);
        let time = NaiveDateTime::parse_from_str(time, "%Y%m%d%H%M%S")
            .unwrap()
            .and_utc();
        let mut tree = self.tree();
        let node = tree.get_mut(&path);
        let is_there = node.is_some();
        if let Some(node) = node {
            node.modified = SystemTime::from(time);
        }
        drop(tree);
        if is_there {
            let usual = format!("213 {}", time.format("%Y%m%d%H%M%S"));
            self.reply(verb, "set", &usual, &path);
        } else {
            self.reply(verb, "missing", "550 No such file.", &path);
        }
    }

    fn site(&mut self, word: &str, argument: &str) {
        assert_eq!(word, "CHMOD", "the only SITE command there is");
        let (mode, name) = argument.split_once(' ').unwrap_or_default();
        let path = self.path(name);
        let mut tree = self.tree();
        let node = tree.get_mut(&path);
        let is_there = node.is_some();
        if let Some(node) = node {
            node.mode = u32::from_str_radix(mode, 8).unwrap();
        }
        drop(tree);
        let usual = if is_there {
            "200 Done."
        } else {
            "550 No such file."
        };
        self.reply(
            "SITE CHMOD",
            if is_there { "" } else { "missing" },
            usual,
            &path,
        );
    }

    fn transfer(&mut self, verb: &str, argument: &str) {
        let offset = std::mem::take(&mut self.rest);
        let announced = self.announced.take();
        if self.world.dialect.wants_pret {
            let command = format!("{verb} {argument}");
            assert_eq!(announced.as_deref(), Some(command.trim_end()));
        }
        let path = match verb {
            "LIST" | "NLST" if argument.starts_with('-') => self.dir.clone(),
            "LIST" if self.world.dialect.listing.path_is_root && !argument.is_empty() => {
                String::new()
            }
            _ => self.path(argument),
        };
        let sent = match verb {
            "STOR" | "APPE" => None,
            "RETR" => {
                let content = self.tree().get(&path).and_then(|node| node.content.clone());
                match content {
                    None => return self.reply(verb, "missing", "550 No such file.", &path),
                    Some(content) => Some(content.get(offset..).unwrap_or_default().to_vec()),
                }
            }
            _ => match self.listed(verb, argument, &path) {
                Some(text) => Some(text.into_bytes()),
                None => return,
            },
        };
        let planned = lock(&self.world.listings).get(&path).cloned();
        let planned = planned.filter(|_| matches!(verb, "LIST" | "MLSD"));
        if sent.is_none() && !self.may_store(verb, &path) {
            return;
        }
        self.say(
            &[&format!("{verb} begin"), "begin"],
            "150 Here it comes.",
            &path,
        );
        let Some(mut data) = self.accept() else {
            return self.say(&[], "425 No data connection.", "");
        };
        let is_done = match sent {
            Some(bytes) => {
                let bytes = planned.as_deref().unwrap_or(&bytes);
                self.world.send(Data::of(verb), &mut data, bytes).is_ok()
            }
            None => self.store(verb, &path, offset, &mut data),
        };
        drop(data);
        if is_done {
            self.say(&[verb, "end"], "226 Done.", &path);
        } else {
            self.say(&["broken"], "426 You closed it.", &path);
        }
    }

    /// What a listing holds; `None` after a refusal.
    fn listed(&mut self, verb: &str, argument: &str, path: &str) -> Option<String> {
        let style = &self.world.dialect.listing;
        if verb == "MLSD" && argument.is_empty() && style.mlsd_wants_path {
            self.reply(verb, "bare", "501 MLSD what?", path);
            return None;
        }
        let is_option = argument.starts_with('-');
        if is_option && style.options == Options::Refused {
            self.reply(verb, "refused", "550 No such file or directory.", path);
            return None;
        }
        if !self.tree().get(path).is_some_and(super::tree::Node::is_dir) {
            self.reply(verb, "missing", "550 No such directory.", path);
            return None;
        }
        let mut items = self.tree().list(path);
        if is_option && style.options == Options::Name {
            items.clear();
        }
        let shows_hidden = match style.hidden {
            Hidden::Always => true,
            Hidden::Asked => verb == "MLSD" || is_option,
            Hidden::Never => false,
        };
        items.retain(|item| shows_hidden || !item.name.starts_with('.'));
        let lines = items.iter().map(|item| match verb {
            "MLSD" => style.facts(item),
            _ => style.line(item),
        });
        Some(lines.map(|line| line + "\r\n").collect())
    }

    /// Whether a file may be stored there; the refusal has been said if not.
    fn may_store(&mut self, verb: &str, path: &str) -> bool {
        let files = &self.world.dialect.files;
        let node = self.tree().get(path).cloned();
        let name = path.rsplit('/').next().unwrap_or_default();
        let outcome = match node {
            Some(node) if node.is_dir() => "refused",
            Some(_) if verb == "STOR" && files.store_over == Over::Refused => "exists",
            None if !self.tree().has_parent(path) => "missing",
            _ if files.forbids_dot_names && name.starts_with('.') => "forbidden",
            _ => return true,
        };
        let usual = if outcome == "forbidden" {
            "553 No."
        } else {
            "550 Refused."
        };
        self.reply(verb, outcome, usual, path);
        false
    }

    fn store(&mut self, verb: &str, path: &str, offset: usize, data: &mut TcpStream) -> bool {
        let old = self.tree().get(path).and_then(|node| node.content.clone());
        let mut content = old.unwrap_or_default();
        let offset = match (verb, self.world.dialect.files.rest_store) {
            ("APPE", _) => content.len(),
            (_, RestStore::Ignored) => 0,
            _ => offset,
        };
        let rest = content.split_off(offset.min(content.len()));
        self.tree().put(path, &content);
        let taken = self.world.take(data);
        let is_done = taken.is_ok();
        let arrived = taken.unwrap_or_default();
        content.resize(offset, 0);
        content.extend_from_slice(&arrived);
        let is_patch = offset > 0 && self.world.dialect.files.rest_store == RestStore::Patches;
        if is_patch && verb == "STOR" {
            content.extend_from_slice(rest.get(arrived.len()..).unwrap_or_default());
        }
        let mut tree = self.tree();
        // It may have been removed meanwhile, with its name only.
        if tree.get(path).is_some() {
            tree.put(path, &content);
        }
        drop(tree);
        is_done
    }
}

/// Whether an argument of MDTM begins with a time to set.
fn is_timed(argument: &str) -> bool {
    let (time, name) = argument.split_once(' ').unwrap_or_default();
    time.len() == 14 && time.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty()
}
