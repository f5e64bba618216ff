//! What must hold whatever a server or a proxy sends, checked for the targets of `fuzz/`.
#![allow(
    clippy::unwrap_used,
    reason = "a check panics where something does not hold"
)]

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::{
    capabilities::Capabilities,
    control::Control,
    conversation::Conversation,
    deadline::Deadline,
    hash::METHODS,
    proxy::{self, ProxyError},
    reply::{Fault, Parsed, REPLY_BYTES_MAX, Reply},
    trace::SessionNumber,
};
use crate::{
    config::{Password, ProxyConfig, ProxyKind, ProxyLogin},
    remote::RemoteErrorKind,
};

/// No check waits for anything, so that a wait is one that would not end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a server is listened to that falls silent.
const SILENCE: Duration = Duration::from_millis(2);

/// The most that a server says: more than the longest reply, and little enough for the buffer of a socket.
const SAID_BYTES_MAX: usize = REPLY_BYTES_MAX + (8 << 10);

/// The most that arrives at once: as much as is read at once.
const PIECE_BYTES_MAX: usize = 4 << 10;

/// How many pieces are cut off before the rest. Each takes room in the socket's buffer.
const CUTS_MAX: usize = 48;

/// How far a reply is cut at every byte.
const EVERY_CUT_MAX: usize = 300;

/// What no server and no proxy says by chance.
const SECRET: &str = "s3cr3t-Gr8Qm2vXk7";

/// A reply takes no more bytes than there are, what follows does not change it, and it is incomplete until its end.
pub fn reply(bytes: &[u8]) {
    let Parsed::Complete(reply, used) = Reply::parse(bytes) else {
        return;
    };
    assert!((1..=bytes.len().min(REPLY_BYTES_MAX)).contains(&used));
    assert!((100..700).contains(&reply.code()));
    assert!(reply.inner_lines().count() <= reply.lines().count().saturating_sub(1));
    for method in METHODS {
        // That a checksum is read, or none.
        let _ = method.parse(&reply, b"/f");
    }
    let shown = format!("{reply} {reply:?} {:?}", reply.kind());
    assert!(!shown.contains(|c: char| c.is_control()));
    let (alone, _) = bytes.split_at(used);
    assert_eq!(Reply::parse(alone), Parsed::Complete(reply, used));
    for cut in (0..used).rev().take(EVERY_CUT_MAX) {
        let (piece, _) = bytes.split_at(cut);
        assert!(matches!(Reply::parse(piece), Parsed::Incomplete(_)));
    }
}

/// The same replies are read however the network cuts them up, and in whichever way they are read: one by one, as they arrive, to
/// commands sent together, or through suppaftp's client. A command leaves as one line or not at all, nothing waits for what
/// cannot come, and a connection that has ended stays unused.
///
/// The server says `said` so often and ends the connection. `cuts` are the lengths of the first pieces; `line` is the command.
pub fn conversation(said: &[u8], often: u8, cuts: &[u8], line: &[u8]) {
    let begun = Instant::now();
    let mut said = said.repeat(1 + usize::from(often));
    said.truncate(SAID_BYTES_MAX);

    let expected = heard(&mut Server::saying(&said, &[]).control(), |control| {
        control.read_reply()
    });
    let in_pieces = heard(&mut Server::saying(&said, cuts).control(), |control| {
        control.read_reply()
    });
    assert_eq!(in_pieces, expected, "read in pieces");
    let arrived = heard(&mut Server::saying(&said, cuts).control(), |control| {
        // All has arrived, the end too.
        control.reply_now().map(Option::unwrap)
    });
    assert_eq!(arrived, expected, "as they arrive");
    commands(&said, cuts, line, &expected);
    together(&said, cuts, &expected);

    let server = Server::saying(&said, cuts);
    let mut control = server.control();
    control.set_logged_in();
    server
        .capabilities
        .learn(|learnt| learnt.has_loose_ends = true);
    heard(&mut control, Control::read_reply);
    silence(&said, cuts, &expected);
    assert!(begun.elapsed() < PATIENCE, "something was waited for");
}

/// The replies up to the end, and how it came.
type Heard = (Vec<Reply>, RemoteErrorKind);

/// All that is heard on a connection, which is not alive after its end.
fn heard(control: &mut Control, next: impl Fn(&mut Control) -> Result<Reply, Fault>) -> Heard {
    let mut replies = Vec::new();
    loop {
        match next(control) {
            Ok(reply) => replies.push(reply),
            Err(fault) => {
                assert!(!control.is_in_step() && !control.is_alive());
                assert!(!control.owes_only_one());
                assert!(control.send(&["NOOP"]).is_err());
                return (replies, fault.kind);
            }
        }
        assert!(replies.len() <= SAID_BYTES_MAX);
    }
}

/// Sends a command for each reply, through suppaftp's client.
fn commands(said: &[u8], cuts: &[u8], line: &[u8], (replies, end): &Heard) {
    let mut server = Server::saying(said, cuts);
    let mut conversation = Conversation::new(server.control()).unwrap();
    if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        assert!(conversation.command(line).is_err());
        assert_eq!(server.heard(), b"");
        return;
    }
    let mut wire = Vec::new();
    for byte in line {
        wire.extend(std::iter::repeat_n(
            *byte,
            if *byte == 0xFF { 2 } else { 1 },
        ));
    }
    wire.extend(b"\r\n");
    for expected in replies {
        let reply = conversation.command(line).unwrap();
        assert_eq!(reply, *expected, "through the client");
        assert_eq!(server.heard(), wire);
    }
    assert_eq!(conversation.command(line).unwrap_err().kind, *end);
    assert!(!conversation.control().is_in_step());
    let fault = conversation.command(line).unwrap_err();
    assert_eq!(fault.kind, RemoteErrorKind::Disconnected);
}

/// Sends as many commands as there are replies, and one more, in one write.
fn together(said: &[u8], cuts: &[u8], (replies, end): &Heard) {
    let mut server = Server::saying(said, cuts);
    let mut control = server.control();
    // No more than fit into the socket's buffer.
    let count = (replies.len() + 1).min(64);
    let mut read = Vec::new();
    let outcome = control.exchange(&vec!["NOOP"; count], &mut read);
    assert_eq!(server.heard(), b"NOOP\r\n".repeat(count));
    assert!(read.iter().eq(replies.iter().take(count)), "together");
    match outcome {
        Ok(()) => assert_eq!(read.len(), count),
        Err(fault) => assert_eq!((read.len(), fault.kind), (replies.len(), *end)),
    }
}

/// Listens to a server that leaves the connection open.
fn silence(said: &[u8], cuts: &[u8], (replies, end): &Heard) {
    let server = Server::open(said, cuts);
    let mut control = server.control();
    control.set_deadline(Deadline::after(SILENCE));
    let (read, kind) = heard(&mut control, Control::read_reply);
    let is_loose_end = read.len() == replies.len() + 1;
    assert!(is_loose_end || read.iter().eq(replies.iter().take(read.len())));
    let is_over = matches!(kind, RemoteErrorKind::TimedOut(_));
    assert!(is_over || (kind == *end && read.len() >= replies.len()));
}

/// A server on the other end of a pair of sockets that keep pieces apart.
struct Server {
    ours: TcpStream,
    theirs: Socket,
    capabilities: Arc<Capabilities>,
}

impl Server {
    /// One that says all this in pieces, and leaves.
    fn saying(said: &[u8], cuts: &[u8]) -> Self {
        let server = Self::open(said, cuts);
        server.theirs.shutdown(Shutdown::Write).unwrap();
        server
    }

    /// One that says all this in pieces.
    fn open(said: &[u8], cuts: &[u8]) -> Self {
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        for socket in [&ours, &theirs] {
            socket.set_send_buffer_size(1 << 20).unwrap();
        }
        // A buffer that is full is a mistake here, and not to be waited for.
        theirs.set_nonblocking(true).unwrap();
        let mut rest = said;
        for cut in cuts.iter().take(CUTS_MAX) {
            let (piece, others) = rest.split_at(usize::from(*cut).min(rest.len()));
            rest = others;
            // An empty one would be the end.
            if !piece.is_empty() {
                theirs.send(piece).unwrap();
            }
        }
        for piece in rest.chunks(PIECE_BYTES_MAX) {
            theirs.send(piece).unwrap();
        }
        Self {
            ours: ours.into(),
            theirs,
            capabilities: Arc::new(Capabilities::new()),
        }
    }

    fn control(&self) -> Control {
        Control::new(
            self.ours.try_clone().unwrap(),
            SessionNumber::next(),
            Arc::clone(&self.capabilities),
            Deadline::after(PATIENCE * 2),
        )
    }

    /// What has been sent to it.
    fn heard(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        let mut message = vec![0; 64 << 10];
        loop {
            match self.theirs.read(&mut message) {
                Ok(0) => return heard,
                Ok(count) => heard.extend(message.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return heard,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// A proxy connects where its answer says so and nowhere else, not a byte behind the answer is lost, an answer that is cut off is an
/// error, and no error shows the password.
pub fn proxy(is_http: bool, has_login: bool, cut: u16, answer: &[u8]) {
    let begun = Instant::now();
    let behind = if is_http {
        behind_connect(answer)
    } else {
        behind_socks5(answer, has_login)
    };
    match (through(is_http, has_login, answer), behind) {
        (Ok(found), Some(behind)) => {
            assert_eq!(found, behind);
            let used = answer.len() - behind.len();
            let (piece, _) = answer.split_at(usize::from(cut) % used);
            let error = through(is_http, has_login, piece).unwrap_err();
            assert!(
                matches!(&error, ProxyError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof)
            );
        }
        (Err(error), None) => {
            let shown = format!("{error} {error:?}");
            let is_said = answer
                .windows(SECRET.len())
                .any(|window| window == SECRET.as_bytes());
            assert!(is_said || !shown.contains(SECRET), "{shown}");
            assert!(!error.to_string().contains(|c: char| c.is_control()));
        }
        (found, behind) => panic!("{found:?}, and what follows is {behind:?}"),
    }
    assert!(begun.elapsed() < PATIENCE, "something was waited for");
}

/// What follows the consent of a SOCKS proxy, if it consents.
fn behind_socks5(answer: &[u8], has_login: bool) -> Option<&[u8]> {
    let rest = match answer {
        [5, 0, rest @ ..] => rest,
        [5, 2, _, 0, rest @ ..] if has_login => rest,
        _ => return None,
    };
    let [5, 0, _, kind, rest @ ..] = rest else {
        return None;
    };
    let address_len = match (kind, rest) {
        (1, _) => 4,
        (4, _) => 16,
        (3, [len, ..]) => 1 + usize::from(*len),
        _ => return None,
    };
    rest.get(address_len + 2..)
}

/// What follows the consent of an HTTP proxy, if it consents.
fn behind_connect(answer: &[u8]) -> Option<&[u8]> {
    let ends = (0..=answer.len()).find(|end| {
        let (head, _) = answer.split_at(*end);
        head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n")
    })?;
    let (head, behind) = answer.split_at(ends);
    let line = head.split(|byte| *byte == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|byte| *byte == b' ');
    let is_http = words.next()?.to_ascii_uppercase().starts_with(b"HTTP/");
    let is_consent = matches!(words.next()?, [b'2', _, _]);
    (is_http && is_consent).then_some(behind)
}

/// Connects through a proxy that says this and ends the connection: what comes behind its answer.
fn through(is_http: bool, has_login: bool, answer: &[u8]) -> Result<Vec<u8>, ProxyError> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(answer).unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    let proxy = ProxyConfig {
        kind: if is_http {
            ProxyKind::Http
        } else {
            ProxyKind::Socks5
        },
        host: String::new(),
        port: 0,
        login: has_login.then(|| ProxyLogin {
            user: "anna".to_owned(),
            password: Password::new(SECRET.to_owned()),
        }),
    };
    let socket = TcpStream::from(OwnedFd::from(ours));
    let deadline = Deadline::after(PATIENCE * 2);
    let mut socket = proxy::connect(&proxy, socket, "ftp.example", 2121, deadline)?;
    let mut behind = Vec::new();
    socket.read_to_end(&mut behind)?;
    Ok(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checks_hold_for_what_servers_say() {
        let long = [b"220-", &[b'x'; 200][..], b"\r\n"].concat();
        for said in [
            &b""[..],
            b"220 hello\r\n331 go on\r\n230-Welcome\r\n100 users\r\n230 done\r\n",
            b"220 hello\r\nHTTP/1.1 200 OK\r\n",
            b"220-a\r\n226 b\r\n",
            b"150 begun\r\n421 bye\r\n226 done\r\n",
            b"\r\n\r\n22",
            &long,
        ] {
            reply(said);
            for often in [0, 2, 255] {
                conversation(said, often, &[1, 2, 0, 3, 1, 9, 30], b"CWD a\xff");
                conversation(said, often, &[4; 60], b"CWD a\rb");
            }
        }
    }

    #[test]
    fn the_checks_hold_for_what_proxies_say() {
        for answer in [
            &b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34220 hello\r\n"[..],
            b"\x05\x02\x01\x00\x05\x00\x00\x03\x03abc\x12\x34220",
            b"\x05\x00\x05\x05\x00\x01",
            b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n220 hello\r\n",
            b"HTTP/1.1 407 No\r\n\r\n",
            b"HTTP/1.1 200",
        ] {
            for (is_http, has_login) in [(false, false), (false, true), (true, false), (true, true)]
            {
                proxy(is_http, has_login, 7, answer);
            }
        }
    }
}
