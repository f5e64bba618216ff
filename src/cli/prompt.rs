//! Asks for the password, or for a yes, on the terminal, and leaves that as it was, also when a signal ends the program there.

use std::{fs::File, io, os::fd::AsFd, thread};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, raise},
        signalfd::{SfdFlags, SignalFd},
        termios::{SetArg, Termios, tcgetattr, tcsetattr},
    },
};

use crate::printed;

/// What ends a program that is waited for, by its terminal or by others.
const SIGNALS: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// Asks, without showing what is typed.
///
/// # Errors
///
/// There is no terminal, or nothing was typed.
pub(super) fn ask(question: &str) -> io::Result<String> {
    guarded(|| rpassword::prompt_password(question))
}

/// Asks for a yes; anything else is a no.
///
/// # Errors
///
/// There is no terminal.
pub(super) fn confirm(question: &str) -> io::Result<bool> {
    let answer = guarded(|| {
        printed::prompt(question);
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(answer)
    })?;
    let answer = answer.trim();
    Ok(["y", "yes"]
        .iter()
        .any(|yes| answer.eq_ignore_ascii_case(yes)))
}

/// Does `work`, during which a signal leaves the terminal as it was.
fn guarded<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let terminal = File::open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let signals: SigSet = SIGNALS.into_iter().collect();
    signals.thread_block()?;
    let outcome = guard(&terminal, before, signals, work);
    signals.thread_unblock()?;
    outcome
}

/// Does `work` while another thread waits for the signals, which are blocked. It is over when this returns: who forks must be alone.
fn guard<T>(
    terminal: &File,
    before: Termios,
    signals: SigSet,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let arrived = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;
    let (end, ending) = io::pipe()?;
    thread::scope(|scope| {
        let (arrived, end) = (&arrived, &end);
        scope.spawn(move || {
            let mut waited = [
                PollFd::new(arrived.as_fd(), PollFlags::POLLIN),
                PollFd::new(end.as_fd(), PollFlags::POLLIN),
            ];
            while poll(&mut waited, PollTimeout::NONE) == Err(nix::Error::EINTR) {}
            let [signal, _] = waited;
            if signal.any() == Some(true)
                && let Ok(Some(signal)) = arrived.read_signal()
            {
                end_by(signal.ssi_signo, terminal, &before, signals);
            }
        });
        let outcome = work();
        drop(ending);
        outcome
    })
}

/// Restores the terminal, and ends the process as the signal would have without us.
fn end_by(number: u32, terminal: &File, before: &Termios, signals: SigSet) {
    let restored = tcsetattr(terminal, SetArg::TCSANOW, before);
    if let Err(error) = restored {
        log::debug!("the terminal stays as it is: {error}");
    }
    let number = i32::try_from(number).unwrap_or_default();
    if signals.thread_unblock().is_ok()
        && let Ok(signal) = Signal::try_from(number)
    {
        // Returns where the signal is ignored, as by nohup(1).
        let _ = raise(signal);
    }
}
