//! The login: from a host to an idle [`Session`], in as few round trips as the server allows.

use std::{borrow::Cow, time::Instant};

use zeroize::Zeroizing;

use super::{
    capabilities::{Features, Server},
    connect_error::ConnectError,
    deadline::Deadline,
    host::Host,
    next_data::Readiness,
    pace::Patience,
    profile,
    reply::{Failure, Fault, Reply},
    secure::Reached,
    session::Session,
    shortcuts::Technique,
    tls::TlsError,
};
use crate::{
    config::{BaseDir, Charset, TlsMode},
    remote::RemoteErrorKind,
};

/// What data connections need to be protected like the control connection (RFC 4217 section 9).
const DATA_PROTECTION: [&str; 2] = ["PBSZ 0", "PROT P"];

impl Host {
    /// Logs in for the first time and learns what there is to know; once more with single commands when the server
    /// does not take them together.
    pub(super) fn first_session(&self) -> Result<Session, ConnectError> {
        self.wanted_base()?;
        let first = self.open(self.deadline());
        match first {
            // Found out on the way.
            Err(_) if !self.capabilities.may(Technique::Batch) => self.open(self.deadline()),
            other => other,
        }
    }

    /// The directory to mount, as the server writes it. One that is no UTF-8 was typed as the server's bytes, in the URL.
    fn wanted_base(&self) -> Result<BaseDir, ConnectError> {
        let encode = |dir: &[u8]| {
            if std::str::from_utf8(dir).is_err() {
                return Ok(dir.to_vec());
            }
            let encoded = self.names().encode(dir).map(Cow::into_owned);
            encoded.ok_or_else(|| ConnectError::BaseUnencodable {
                dir: String::from_utf8_lossy(dir).escape_debug().to_string(),
                charset: self.config.charset.map_or("", Charset::name),
            })
        };
        Ok(match &self.config.base {
            BaseDir::Login(dir) => BaseDir::Login(encode(dir)?),
            BaseDir::Absolute(dir) => BaseDir::Absolute(encode(dir)?),
        })
    }

    /// Opens a session.
    pub(super) fn open(&self, deadline: Deadline) -> Result<Session, ConnectError> {
        let Reached {
            control,
            greeting,
            tls,
        } = self.reach(deadline)?;
        if tls.is_none() {
            self.warn_of_clear();
        }
        let mut session = Session::new(
            control,
            &self.capabilities,
            &self.dialer,
            Patience::of(&self.config),
            tls,
        )
        .map_err(|fault| self.target.error(fault))?;
        if self.capabilities.is_told() {
            self.log_in(&mut session, &self.known_followers())?;
        } else {
            let mut followers = ["TYPE I", "FEAT", "SYST", "PWD"].map(Into::into).to_vec();
            if self.begins_with_epsv() {
                followers.push(b"EPSV".to_vec());
            }
            let replies = self.log_in(&mut session, &followers)?;
            self.learn(&greeting, &replies)?;
        }
        session.control().set_logged_in();
        log::debug!("{}: logged in to {}", session.number(), self.config.host);
        Ok(session)
    }

    /// The options that a session is given, whatever the server says to them.
    fn session_options(&self, features: &Features) -> Vec<Vec<u8>> {
        let is_utf8 = self.config.charset.is_none_or(Charset::is_utf8) && features.offers("UTF8");
        let utf8 = is_utf8.then(|| b"OPTS UTF8 ON".to_vec());
        utf8.into_iter().chain(features.mlst_options()).collect()
    }

    /// Whether the login asks for the first data connection.
    fn begins_with_epsv(&self) -> bool {
        let learnt = self.capabilities.learnt();
        let network = &self.config.network;
        let is_usual = network.active.is_none() && !network.trusts_pasv_address;
        is_usual && learnt.has_epsv && self.capabilities.may(Technique::Prepare)
    }

    /// What every session but the first is told right behind the password.
    fn known_followers(&self) -> Vec<Vec<u8>> {
        let options = self
            .capabilities
            .features()
            .map(|features| self.session_options(features))
            .unwrap_or_default();
        let epsv = self.begins_with_epsv().then(|| b"EPSV".to_vec());
        [vec![b"TYPE I".to_vec()], options, Vec::from_iter(epsv)].concat()
    }

    /// USER and PASS, and `followers` in the same write where the server takes that; the replies to those.
    fn log_in(
        &self,
        session: &mut Session,
        followers: &[Vec<u8>],
    ) -> Result<Vec<Reply>, ConnectError> {
        let names = self.names();
        let line = |verb: &[u8], argument: &str| {
            let argument = Zeroizing::new(names.encode_login(argument));
            Zeroizing::new([verb, argument.as_slice()].concat())
        };
        let user = line(b"USER ", &self.config.user);
        let password = line(b"PASS ", self.config.password.expose());
        let login = [user.as_slice(), password.as_slice()];
        session.control().hide(&self.config.password);
        if !self.capabilities.may(Technique::Batch) {
            // Alone an EPSV would not leave any earlier than it is needed.
            let is_epsv = |line: &Vec<u8>| line == b"EPSV";
            let followers: Vec<_> = followers.iter().filter(|line| !is_epsv(line)).collect();
            return self.log_in_by_steps(session, login, &followers);
        }
        let replies = self.log_in_at_once(session, login, followers)?;
        if followers.last().is_some_and(|line| line == b"EPSV")
            && let Some(reply) = replies.last()
        {
            session.next_data().announce(reply);
            // Connecting goes on beside the rest of the login; through a proxy it would have to be waited for.
            if self.config.network.proxy.is_none()
                && session.next_data().readiness() == Readiness::Announced
                && let Err(fault) = session.prepare_data()
            {
                log::debug!("{}: connecting early: {}", session.number(), fault.detail);
            }
        }
        Ok(replies)
    }

    /// One command after the other.
    fn log_in_by_steps(
        &self,
        session: &mut Session,
        [user, password]: [&[u8]; 2],
        followers: &[&Vec<u8>],
    ) -> Result<Vec<Reply>, ConnectError> {
        if session.is_protected() {
            let replies = self.exchange(session, &DATA_PROTECTION)?;
            self.check_data_protection(&replies)?;
        }
        let mut reply = self.ask_alone(session, user)?;
        // A user without a password is in after USER.
        if reply.as_ref().is_some_and(|reply| reply.code() == 331) {
            reply = self.ask_alone(session, password)?;
        }
        if !reply.as_ref().is_some_and(Reply::is_done) {
            return Err(self.login_refused(reply.as_ref()));
        }
        self.exchange(session, followers)
    }

    /// One command, whose reply shows how slow the server is.
    fn ask_alone(&self, session: &mut Session, line: &[u8]) -> Result<Option<Reply>, ConnectError> {
        let since = Instant::now();
        let reply = self.exchange(session, &[line])?.pop();
        self.capabilities.note_single_reply(since.elapsed());
        Ok(reply)
    }

    /// Everything in one write.
    fn log_in_at_once(
        &self,
        session: &mut Session,
        login: [&[u8]; 2],
        followers: &[Vec<u8>],
    ) -> Result<Vec<Reply>, ConnectError> {
        let protection: &[_] = if session.is_protected() {
            &DATA_PROTECTION
        } else {
            &[]
        };
        let protection = protection.iter().map(|line| line.as_bytes());
        let before: Vec<&[u8]> = protection.chain(login).collect();
        let all = before.iter().copied();
        let all: Vec<&[u8]> = all.chain(followers.iter().map(Vec::as_slice)).collect();
        let mut replies = Vec::new();
        let read = {
            let mut control = session.control();
            let sent = control.send(&all);
            sent.and_then(|()| control.read_replies(0..before.len(), &mut replies))
        };
        if let Err(fault) = read {
            // vsftpd hangs up behind its refusal.
            let refusal = replies.iter().find(|reply| reply.is_refusal());
            return Err(match refusal {
                Some(reply) => self.login_refused(Some(reply)),
                None => self.target.error(fault),
            });
        }
        let login = replies.split_off(before.len() - login.len());
        if session.is_protected() {
            self.check_data_protection(&replies)?;
        }
        // A user without a password is in after USER; what the superfluous PASS got does not matter then.
        let is_in = login.iter().any(|reply| reply.code() == 230)
            || login.last().is_some_and(Reply::is_done);
        if !is_in {
            self.look_for_disorder(session, followers.len());
            // What came behind USER's refusal is for the want of a user.
            let refusal = login.iter().find(|reply| reply.is_refusal());
            return Err(self.login_refused(refusal.or(login.last())));
        }
        let mut replies = Vec::with_capacity(followers.len());
        let read = session
            .control()
            .read_replies(before.len()..all.len(), &mut replies);
        read.map_err(|fault| self.target.error(fault))?;
        self.capabilities.batches.prove();
        Ok(replies)
    }

    /// A refusal may not have been for the password: libunftp works on all commands of one write at the same time, and answers in
    /// any order. Then the login succeeds all the same, behind the refusal of what came too early.
    fn look_for_disorder(&self, session: &Session, count: usize) {
        let mut control = session.control();
        let has_logged_in = (0..count)
            .map_while(|_| control.read_reply().ok())
            .any(|reply| reply.code() == 230);
        if has_logged_in {
            log::info!("the server answers commands out of order; sending one by one");
            self.capabilities.give_up(Technique::Batch);
            // libunftp lists the directory that was the current one when the data connection was opened, not the one that CWD
            // has named since.
            self.capabilities.give_up(Technique::Prepare);
        }
    }

    /// PROT P must be agreed to; where TLS began with the connection, a server may not know it and mean it all the same.
    fn check_data_protection(&self, replies: &[Reply]) -> Result<(), ConnectError> {
        let is_implied = self.config.tls.mode == TlsMode::Implicit;
        match replies.last() {
            Some(reply) if reply.is_done() => Ok(()),
            Some(reply) if is_implied && reply.is_unknown_command() => Ok(()),
            reply => Err(TlsError::DataInClear {
                host: self.config.host.clone(),
                reply: reply.map(Reply::to_string).unwrap_or_default(),
            }
            .into()),
        }
    }

    fn exchange<L: AsRef<[u8]>>(
        &self,
        session: &mut Session,
        lines: &[L],
    ) -> Result<Vec<Reply>, ConnectError> {
        session
            .exchange("login", lines)
            .map_err(|failure| match failure {
                Failure::Broken(_, fault) => self.target.error(fault),
                Failure::Refused(_, reply) => self.login_refused(Some(&reply)),
            })
    }

    /// What the first session's replies say: TYPE I, FEAT, SYST, PWD, EPSV.
    fn learn(&self, greeting: &Reply, replies: &[Reply]) -> Result<(), ConnectError> {
        let [_, feat, syst, pwd, ..] = replies else {
            let fault = Fault::new(RemoteErrorKind::Protocol, "replies are missing");
            return Err(self.target.error(fault));
        };
        if let Some(system) = foreign_system(syst) {
            let host = self.config.host.clone();
            return Err(ConnectError::SystemUnsupported { host, system });
        }
        let features = Features::from_reply(feat);
        self.capabilities
            .tell(Server::from_greeting(greeting), features);
        self.recall(profile::fingerprint(greeting, syst, feat));
        self.set_seen(greeting, base_of(&self.wanted_base()?, pwd));
        Ok(())
    }

    /// Sees to it that the directory to mount is there; the first session gets its options along with that.
    pub(super) fn enter_base(&self, session: &mut Session) -> Result<(), ConnectError> {
        let features = self.capabilities.features();
        let options = features.map(|features| self.session_options(features));
        let mut lines = options.unwrap_or_default();
        let dir = match self.base() {
            [] => &b"/"[..],
            base => base,
        };
        lines.push([b"CWD ", dir].concat());
        let replies = self.exchange(session, &lines)?;
        match replies.last() {
            Some(reply) if reply.is_done() => Ok(()),
            reply => Err(ConnectError::BaseMissing {
                host: self.config.host.clone(),
                dir: dir.escape_ascii().to_string(),
                reply: reply.map(Reply::to_string).unwrap_or_default(),
            }),
        }
    }

    fn login_refused(&self, reply: Option<&Reply>) -> ConnectError {
        ConnectError::LoginRefused {
            host: self.config.host.clone(),
            user: self.config.user.clone(),
            reply: reply.map(Reply::to_string).unwrap_or_default(),
        }
    }
}

/// The system that SYST names, when its names are no Unix-like paths: VMS, z/OS, OS/400, `NonStop`.
fn foreign_system(syst: &Reply) -> Option<&'static str> {
    const SYSTEMS: [&str; 7] = ["VMS", "MVS", "OS/400", "NONSTOP", "TANDEM", "VM", "Z/VM"];
    let text = String::from_utf8_lossy(syst.first_line()).to_ascii_uppercase();
    let first = text.split_whitespace().next().unwrap_or_default();
    let named = SYSTEMS.into_iter().find(|system| first == *system);
    let foreign = named.or_else(|| text.contains("OPENVMS").then_some("OPENVMS"));
    foreign.filter(|_| syst.is_done())
}

/// The absolute directory to mount, without a trailing slash.
fn base_of(wanted: &BaseDir, pwd: &Reply) -> Vec<u8> {
    let mut base = match wanted {
        BaseDir::Absolute(dir) => dir.clone(),
        BaseDir::Login(dir) => {
            // A server that does not tell is taken to have put us at its root.
            let home = quoted_path(pwd).unwrap_or_else(|| b"/".to_vec());
            [home.as_slice(), b"/", dir].concat()
        }
    };
    base.dedup_by(|next, before| *next == b'/' && *before == b'/');
    if base.last() == Some(&b'/') {
        base.pop();
    }
    if !base.is_empty() && base.first() != Some(&b'/') {
        base.insert(0, b'/');
    }
    base
}

/// The path in a 257 reply: in quotes, a quote in it doubled (RFC 959, appendix II).
fn quoted_path(reply: &Reply) -> Option<Vec<u8>> {
    if reply.code() != 257 {
        return None;
    }
    let line = reply.first_line();
    let open = line.iter().position(|byte| *byte == b'"')?;
    let mut path = Vec::new();
    let mut bytes = line.get(open + 1..)?.iter().peekable();
    while let Some(byte) = bytes.next() {
        if *byte == b'"' && bytes.next_if(|next| **next == b'"').is_none() {
            return Some(path);
        }
        path.push(*byte);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::reply::reply;
    use super::*;

    #[test]
    fn the_login_directory_is_unquoted() {
        for (text, path) in [
            (r#"257 "/home/user" is current"#, Some(&b"/home/user"[..])),
            (r#"257 "/a ""b"" c" is current"#, Some(br#"/a "b" c"#)),
            (r#"257 "/""#, Some(b"/")),
            (r#"257 "/open"#, None),
            ("257 /home", None),
            (r#"550 "/home""#, None),
        ] {
            assert_eq!(quoted_path(&reply(text)).as_deref(), path, "{text}");
        }
    }

    #[test]
    fn the_base_is_absolute_and_has_no_trailing_slash() {
        let pwd = reply(r#"257 "/home/user""#);
        for (wanted, base) in [
            (BaseDir::Login(b"".to_vec()), &b"/home/user"[..]),
            (BaseDir::Login(b"pub/x/".to_vec()), b"/home/user/pub/x"),
            (BaseDir::Absolute(b"/".to_vec()), b""),
            (BaseDir::Absolute(b"/srv//ftp/".to_vec()), b"/srv/ftp"),
        ] {
            assert_eq!(base_of(&wanted, &pwd), base, "{wanted:?}");
        }
        assert_eq!(
            base_of(&BaseDir::Login(b"x".to_vec()), &reply("502 no")),
            b"/x"
        );
    }

    #[test]
    fn systems_without_unix_paths_are_told() {
        for text in [
            "215 VMS V8.4",
            "215 MVS is the operating system",
            "215 OS/400 is here",
        ] {
            assert!(foreign_system(&reply(text)).is_some(), "{text}");
        }
        for text in ["215 UNIX Type: L8", "215 Windows_NT", "500 what?"] {
            assert!(foreign_system(&reply(text)).is_none(), "{text}");
        }
    }
}
