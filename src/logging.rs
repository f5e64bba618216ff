//! Where the log goes (stderr, syslog or a file), and what never gets into it.

use std::{
    fmt,
    io::{self, Write},
    os::unix::net::UnixDatagram,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{Local, SecondsFormat, Utc};
use log::{Level, Log, Metadata, Record};

use crate::{
    config::LogConfig,
    local,
    printed::{self, Printable},
};

/// What is logged unless the user says otherwise: warnings, and the few lines on the mount's life.
const FILTER_DEFAULT: &str = "warn,ftpfs::mount=info";

/// This package logs every command line, PASS among them, so nothing of it is ever let through.
const SILENCED: &str = "suppaftp";

/// The socket of the system's log (glibc's `_PATH_LOG`).
const SYSLOG_SOCKET: &str = "/dev/log";

/// The facility of daemons (RFC 5424 section 6.2.1), shifted to its place.
const FACILITY_DAEMON: u8 = 3 << 3;

static DESTINATION: Mutex<Destination> = Mutex::new(Destination::Stderr);

/// Where the next line goes.
#[derive(Debug)]
enum Destination {
    Stderr,
    /// `None` while nobody listens: at boot, mounts may come before the log.
    Syslog(Option<UnixDatagram>),
    File(std::fs::File),
}

/// Starts to log, to the file of `config` or to the standard error output.
///
/// # Errors
///
/// The file cannot be opened, or the filter is not understood; the message names the option.
pub fn init(config: &LogConfig) -> Result<(), String> {
    let mut builder = env_logger::Builder::new();
    let filter = match (&config.filter, config.verbosity) {
        (Some(filter), _) => filter.as_str(),
        (None, 0) => FILTER_DEFAULT,
        (None, 1) => "warn,ftpfs=debug",
        // fuser's trace repeats its debug lines with raw bytes.
        (None, _) => "debug,ftpfs=trace",
    };
    builder
        .parse_filters(filter)
        .format(write_line)
        .target(env_logger::Target::Pipe(Box::new(Sink)));
    if let Some(path) = &config.file {
        let file = local::open_log(path);
        let file = file.map_err(|error| format!("--log-file {}: {error}", path.display()))?;
        *destination() = Destination::File(file);
    }
    let logger = Guarded(builder.build());
    let level = logger.0.filter();
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
    // A panic's message would go to a standard error output that the background does not have.
    std::panic::set_hook(Box::new(move |panic| {
        let has_terminal = matches!(*destination(), Destination::Stderr);
        if has_terminal {
            printed::complain(panic);
        } else {
            log::error!("panic: {panic}");
        }
    }));
    Ok(())
}

/// Turns from the terminal, which is about to be left, to syslog; a log file stays.
pub fn leave_terminal() {
    let mut destination = destination();
    if matches!(*destination, Destination::Stderr) {
        *destination = Destination::Syslog(open_syslog().ok());
    }
}

fn open_syslog() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SYSLOG_SOCKET)?;
    // A log that is stuck must not hold up the filesystem.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn destination() -> MutexGuard<'static, Destination> {
    DESTINATION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `env_logger`'s logger, without the records that may hold a password.
struct Guarded(env_logger::Logger);

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("level", &self.0.filter())
            .finish()
    }
}

impl Log for Guarded {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !is_silenced(metadata.target()) && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let is_hidden =
            is_silenced(record.target()) || record.module_path().is_some_and(is_silenced);
        if !is_hidden {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

fn is_silenced(target: &str) -> bool {
    target
        .strip_prefix(SILENCED)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// One record in the form of its destination.
fn write_line(out: &mut env_logger::fmt::Formatter, record: &Record<'_>) -> io::Result<()> {
    let (level, target, message) = (record.level(), record.target(), OneLine(record.args()));
    let is_syslog = matches!(*destination(), Destination::Syslog(_));
    if is_syslog {
        let priority = FACILITY_DAEMON | severity(level);
        let time = Local::now().format("%b %e %T");
        let pid = std::process::id();
        return write!(
            out,
            "<{priority}>{time} ftpfs[{pid}]: {level} {target}: {message}"
        );
    }
    let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    writeln!(out, "{time} {level:5} {target}: {message}")
}

/// The severities of RFC 5424 section 6.2.1.
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Hands each line to the destination of the moment. `env_logger` writes one whole record at once.
struct Sink;

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut *destination() {
            Destination::Stderr => io::stderr().write_all(line)?,
            Destination::Syslog(socket) => send(socket, line),
            Destination::File(file) => file.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends a line to syslog; connects again when the log was started anew. A line that it has no room for is lost.
fn send(socket: &mut Option<UnixDatagram>, line: &[u8]) {
    let is_sent = match socket.as_ref().map(|socket| socket.send(line)) {
        Some(Ok(_)) => true,
        Some(Err(error)) => error.kind() == io::ErrorKind::WouldBlock,
        None => false,
    };
    if !is_sent {
        *socket = open_syslog().ok();
        if let Some(socket) = socket {
            let _ = socket.send(line);
        }
    }
}

/// A message on one line: what a server says must not look like a line of ours.
struct OneLine<'a>(&'a fmt::Arguments<'a>);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let mut parts = text
            .split(['\n', '\r'])
            .map(str::trim)
            .filter(|part| !part.is_empty());
        if let Some(first) = parts.next() {
            Printable(first).fmt(f)?;
        }
        parts.try_for_each(|part| write!(f, " {}", Printable(part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_that_logs_passwords_is_silent_whatever_the_filter_says() {
        let mut builder = env_logger::Builder::new();
        let logger = Guarded(builder.parse_filters("trace,suppaftp=trace").build());
        let is_enabled = |target: &str| {
            logger.enabled(
                &Metadata::builder()
                    .level(Level::Error)
                    .target(target)
                    .build(),
            )
        };
        assert!(!is_enabled("suppaftp"));
        assert!(!is_enabled("suppaftp::sync_ftp"));
        assert!(is_enabled("suppaftpfs"));
        assert!(is_enabled("ftpfs::ftp"));
    }

    #[test]
    fn severities_are_those_of_syslog() {
        assert_eq!(FACILITY_DAEMON | severity(Level::Error), 27);
        assert_eq!(FACILITY_DAEMON | severity(Level::Info), 30);
    }

    #[test]
    fn a_message_cannot_look_like_two() {
        let args = format_args!("530 no\r\n{} ERROR forged\n", 2026).to_string();
        assert_eq!(
            OneLine(&format_args!("{args}")).to_string(),
            "530 no 2026 ERROR forged"
        );
        let escape = OneLine(&format_args!("{}", "\x1b]0;forged\x07")).to_string();
        assert_eq!(escape, r"\u001b]0;forged\u0007");
    }
}
