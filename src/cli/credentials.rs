//! Who logs in, and with which password: URL, `--password-file`, `FTPFS_PASSWORD`, `~/.netrc`, the terminal.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use super::{
    error::UsageError,
    netrc::{NetrcEntry, find_entry},
    surroundings::Surroundings,
    target::Target,
};
use crate::{config::Password, local::may_be_written};

/// The user of public servers (RFC 1635).
const ANONYMOUS: &str = "anonymous";

/// What an anonymous user gives as a password. RFC 1635 asks for an address; nobody's is made up here.
const ANONYMOUS_PASSWORD: &str = "anonymous@";

/// The most that is read of a password file or a netrc file. 1 MiB: a mistyped name may be a disk image.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The user and the password to log in with.
pub(super) fn find(
    target: &Target,
    password_file: Option<&Path>,
    surroundings: &Surroundings,
) -> Result<(String, Password), UsageError> {
    let file = password_file.map(read_password_file).transpose()?;
    let given = target.password.clone().or(file);
    if let (Some(user), Some(password)) = (&target.user, &given) {
        return checked(user.clone(), password.clone());
    }
    let netrc = read_netrc(target, surroundings)?;
    let user = target.user.clone().or_else(|| netrc.login.clone());
    let Some(user) = user else {
        if given.is_some() {
            return Err(UsageError::new(
                "--password-file is given, but no user; write ftp://USER@host/",
            ));
        }
        // FTPFS_PASSWORD may be set for other mounts, so it does not disturb an anonymous one.
        return Ok((
            ANONYMOUS.to_owned(),
            Password::new(ANONYMOUS_PASSWORD.to_owned()),
        ));
    };
    let found = given
        .or_else(|| surroundings.password.clone())
        .or_else(|| netrc.password.map(Password::new));
    let password = match found {
        Some(password) => password,
        None if is_anonymous(&user) => Password::new(ANONYMOUS_PASSWORD.to_owned()),
        None => ask(&user, &target.host, surroundings)?,
    };
    checked(user, password)
}

/// The user as /proc/mounts shows it: none for an anonymous login.
pub(super) fn shown_user(user: &str) -> Option<String> {
    (user != ANONYMOUS).then(|| user.to_owned())
}

fn is_anonymous(user: &str) -> bool {
    user == ANONYMOUS || user == "ftp"
}

/// A line break in either would start a new command.
fn checked(user: String, password: Password) -> Result<(String, Password), UsageError> {
    let is_broken = |text: &str| text.contains(['\r', '\n', '\0']);
    if is_broken(&user) || is_broken(password.expose()) {
        return Err(UsageError::new(
            "the user or the password contains a line break or a NUL, which FTP cannot carry",
        ));
    }
    Ok((user, password))
}

fn ask(user: &str, host: &str, surroundings: &Surroundings) -> Result<Password, UsageError> {
    let Some(ask) = surroundings.ask else {
        return Err(UsageError::new(format!(
            "no password for {user}@{host}, and no terminal to ask on; use --password-file, FTPFS_PASSWORD or \
             ~/.netrc"
        )));
    };
    match ask(&format!("Password for {user}@{host}: ")) {
        Ok(text) => Ok(Password::new(text)),
        Err(error) => Err(UsageError::new(format!(
            "the password could not be read from the terminal: {error}"
        ))),
    }
}

fn read_password_file(path: &Path) -> Result<Password, UsageError> {
    let shown = path.display();
    let refuse = |what: String| UsageError::new(format!("--password-file {shown}: {what}"));
    let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
    let metadata = file.metadata().map_err(|error| refuse(error.to_string()))?;
    // As ssh has it for keys: nobody else, the group included. A terminal may be written to by others.
    let others = if metadata.is_file() { 0o066 } else { 0o044 };
    if metadata.permissions().mode() & others != 0 {
        return Err(refuse(format!(
            "other users may read or write it; run: chmod 600 {shown}"
        )));
    }
    let text = read_text(file).map_err(|error| refuse(error.to_string()))?;
    let line = text.split('\n').next().unwrap_or_default();
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(refuse("its first line is empty".to_owned()));
    }
    Ok(Password::new(line.to_owned()))
}

fn read_netrc(target: &Target, surroundings: &Surroundings) -> Result<NetrcEntry, UsageError> {
    let Some(path) = &surroundings.netrc else {
        return Ok(NetrcEntry::default());
    };
    let shown = path.display();
    let failed = |error: std::io::Error| UsageError::new(format!("{shown}: {error}"));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(NetrcEntry::default());
        }
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    let is_ours = [0, surroundings.uid].contains(&metadata.uid());
    if metadata.is_file() && (may_be_written(&metadata) || !is_ours) {
        return Err(UsageError::new(format!(
            "{shown}: other users may write it, and could send the password to a server of theirs; run: chmod go-w {shown}"
        )));
    }
    let text = read_text(file).map_err(failed)?;
    Ok(find_entry(&text, &target.host, target.user.as_deref()).unwrap_or_default())
}

fn read_text(file: File) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::{fs, io, path::PathBuf};

    use super::*;

    /// A home of its own, with a netrc and a password file.
    struct Home {
        dir: tempfile::TempDir,
        surroundings: Surroundings,
    }

    impl Home {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let surroundings = Surroundings {
                uid: rustix::process::getuid().as_raw(),
                gid: 1000,
                password: None,
                log_filter: None,
                netrc: Some(dir.path().join(".netrc")),
                home: Some(dir.path().to_owned()),
                cache_home: None,
                state_home: None,
                certificates: Vec::new(),
                ask: None,
                confirm: None,
            };
            Self { dir, surroundings }
        }

        fn netrc(self, text: &str) -> Self {
            fs::write(self.dir.path().join(".netrc"), text).unwrap();
            self
        }

        fn environment(mut self, password: &str) -> Self {
            self.surroundings.password = Some(Password::new(password.to_owned()));
            self
        }

        fn terminal(mut self) -> Self {
            self.surroundings.ask = Some(|_| Ok("typed".to_owned()));
            self
        }

        fn file(&self, text: &str, mode: u32) -> PathBuf {
            let path = self.dir.path().join("password");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }

        fn find(&self, url: &str, file: Option<&Path>) -> Result<(String, String), String> {
            find(
                &Target::parse(url.as_bytes()).unwrap(),
                file,
                &self.surroundings,
            )
            .map(|(user, password)| (user, password.expose().to_owned()))
            .map_err(|error| error.to_string())
        }
    }

    fn pair(user: &str, password: &str) -> (String, String) {
        (user.to_owned(), password.to_owned())
    }

    #[test]
    fn each_source_gives_way_to_the_one_before_it() {
        let netrc = "machine h login u password netrc";
        let home = Home::new()
            .netrc(netrc)
            .environment("environment")
            .terminal();
        let file = home.file("file\nsecond line\n", 0o600);
        assert_eq!(
            home.find("ftp://u:url@h", Some(&file)),
            Ok(pair("u", "url"))
        );
        assert_eq!(home.find("ftp://u@h", Some(&file)), Ok(pair("u", "file")));
        assert_eq!(home.find("ftp://u@h", None), Ok(pair("u", "environment")));
        let home = Home::new().netrc(netrc).terminal();
        assert_eq!(home.find("ftp://u@h", None), Ok(pair("u", "netrc")));
        assert_eq!(home.find("ftp://v@h", None), Ok(pair("v", "typed")));
    }

    #[test]
    fn without_a_user_netrc_names_one_or_the_login_is_anonymous() {
        let home = Home::new()
            .netrc("machine h login u password p")
            .environment("environment");
        assert_eq!(home.find("ftp://h", None), Ok(pair("u", "environment")));
        assert_eq!(
            home.find("ftp://other", None),
            Ok(pair("anonymous", "anonymous@"))
        );
        assert_eq!(
            Home::new().find("ftp://ftp@h", None),
            Ok(pair("ftp", "anonymous@"))
        );
        let file = home.file("p", 0o600);
        assert!(
            home.find("ftp://other", Some(&file))
                .unwrap_err()
                .contains("no user")
        );
    }

    #[test]
    fn without_a_terminal_the_other_ways_are_named() {
        let message = Home::new().find("ftp://u@h", None).unwrap_err();
        for hint in ["u@h", "--password-file", "FTPFS_PASSWORD", "netrc"] {
            assert!(message.contains(hint), "{message}");
        }
    }

    #[test]
    fn a_terminal_that_is_gone_is_an_error() {
        let mut home = Home::new();
        home.surroundings.ask = Some(|_| Err(io::Error::other("hung up")));
        assert!(
            home.find("ftp://u@h", None)
                .unwrap_err()
                .contains("hung up")
        );
    }

    #[test]
    fn a_password_file_that_others_may_read_is_refused_with_the_remedy() {
        let home = Home::new();
        for mode in [0o640, 0o604, 0o644, 0o620, 0o602] {
            let file = home.file("secret", mode);
            let message = home.find("ftp://u@h", Some(&file)).unwrap_err();
            assert!(
                message.contains("chmod 600") && !message.contains("secret"),
                "{message}"
            );
        }
        let file = home.file("crlf\r\n", 0o400);
        assert_eq!(home.find("ftp://u@h", Some(&file)), Ok(pair("u", "crlf")));
        let file = home.dir.path().join("missing");
        assert!(
            home.find("ftp://u@h", Some(&file))
                .unwrap_err()
                .contains("missing")
        );
    }

    #[test]
    fn empty_and_broken_passwords_do_not_reach_the_server() {
        let home = Home::new();
        let file = home.file("\n", 0o600);
        assert!(
            home.find("ftp://u@h", Some(&file))
                .unwrap_err()
                .contains("empty")
        );
        let home = Home::new().environment("a\r\nDELE b");
        let message = home.find("ftp://u@h", None).unwrap_err();
        assert!(
            message.contains("line break") && !message.contains("DELE"),
            "{message}"
        );
    }
}
