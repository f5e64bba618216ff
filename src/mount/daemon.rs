//! Going to the background: the parent waits until the child says that the mount is ready, or why it is not.

use std::{
    env,
    fs::OpenOptions,
    io::{self, PipeReader, PipeWriter, Read, Write},
};

use rustix::{
    process::{Pid, WaitOptions, setsid, waitpid},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use super::{
    error::{Cause, MountError},
    sys,
};
use crate::logging;

/// The first byte of the child's message: the mount is ready.
const READY: u8 = b'+';

/// The first byte of the child's message: it failed, and a sentence follows.
const FAILED: u8 = b'-';

/// Likewise, for a certificate that the user may trust.
const UNTRUSTED: u8 = b'?';

/// Which of the two processes this is.
#[derive(Debug)]
pub(super) enum Side {
    /// The one that the user started.
    Parent(Waiting),
    /// The one that stays.
    Child(Announcement),
}

/// The parent's end.
#[derive(Debug)]
pub(super) struct Waiting {
    child: Pid,
    pipe: PipeReader,
}

/// The child's end; dropped without a word, it shows the parent that the child is gone.
#[derive(Debug)]
pub(super) struct Announcement {
    pipe: PipeWriter,
}

/// Splits the process. There must be no second thread yet.
pub(super) fn split() -> io::Result<Side> {
    let (reader, writer) = io::pipe()?;
    Ok(match sys::fork()? {
        Some(child) => Side::Parent(Waiting {
            child,
            pipe: reader,
        }),
        None => Side::Child(Announcement { pipe: writer }),
    })
}

impl Waiting {
    /// Waits for the child's word.
    pub(super) fn wait(mut self) -> Result<(), MountError> {
        let mut message = Vec::new();
        let read = self.pipe.read_to_end(&mut message);
        match message.split_first() {
            Some((&READY, _)) => return Ok(()),
            Some((&mark @ (FAILED | UNTRUSTED), sentence)) => {
                self.reap();
                let cause = if mark == UNTRUSTED {
                    Cause::Untrusted
                } else {
                    Cause::Other
                };
                let error = MountError::new(String::from_utf8_lossy(sentence));
                return Err(error.caused_by(cause));
            }
            _ => {}
        }
        let how = match read {
            Ok(_) => self.reap(),
            Err(error) => error.to_string(),
        };
        Err(MountError::new(format!(
            "the background process ended before the mount was ready ({how}); try again with -f -v"
        )))
    }

    fn reap(&self) -> String {
        match waitpid(Some(self.child), WaitOptions::empty()) {
            Ok(Some((_, status))) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (_, Some(signal)) => format!("signal {signal}"),
                _ => "unknown cause".to_owned(),
            },
            Ok(None) => "unknown cause".to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

impl Announcement {
    /// Leaves the terminal and lets the parent exit with success.
    pub(super) fn ready(mut self) -> io::Result<()> {
        setsid()?;
        env::set_current_dir("/")?;
        logging::leave_terminal();
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        // Fails if the parent is gone: then nobody wants this mount.
        self.pipe.write_all(&[READY])
    }

    /// Lets the parent print why there is no mount, and exit.
    pub(super) fn failed(mut self, error: &MountError) {
        let mark = match error.cause() {
            Cause::Untrusted => UNTRUSTED,
            Cause::Other => FAILED,
        };
        let message = [&[mark], error.to_string().as_bytes()].concat();
        if let Err(error) = self.pipe.write_all(&message) {
            log::error!("the parent process is gone: {error}");
        }
    }
}
