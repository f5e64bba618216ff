//! One direction of the link: packets read from one device leave the other when they have had their time.
//!
//! A packet that arrives at `now` begins to be sent when those before it are out, takes `length / rate` for that, and
//! arrives `delay` later. So the queue needs no list of its own: what waits is what the link is busy with from now on.
//!
//! ```text
//!  read          sending begins      out           written
//!   |--- queue -------|-- length/rate --|--- delay ---|
//!  now             free_at (old)     free_at (new)
//! ```

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

/// More than the devices' MTU of 1500.
const PACKET_BYTES_MAX: usize = 2048;

/// How many packets are read before those that are due are looked at again.
const READS_MAX: usize = 64;

/// How long the thread sleeps while many packets are under way, whatever arrives. 200 microseconds, three packets at
/// 200 Mbit/s: waking for each would take half a core from what is measured. What comes out is as bursty as after an
/// interrupt-moderated network card.
const SLICE: Duration = Duration::from_micros(200);

/// From how many packets on. Below it, each is awaited by itself, so that a lone exchange is timed exactly.
const MANY: usize = 6;

/// What waking up costs, in the kernel and on the way to the program. 100 microseconds: measured as the surplus of a ping.
const WAKING: Duration = Duration::from_micros(100);

/// What a link is like.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// From one end to the other.
    pub delay: Duration,
    /// The rate.
    pub bytes_per_second: f64,
    /// The most that waits to be sent.
    pub queue_bytes_max: f64,
    /// The share of packets that are lost, 0 to 1.
    pub loss: f64,
    /// Where the random losses begin.
    pub seed: u64,
}

/// One direction.
#[derive(Debug)]
pub struct Direction {
    from: Arc<OwnedFd>,
    to: Arc<OwnedFd>,
    link: Link,
    /// When the link has sent all that it was given.
    free_at: Instant,
    /// What is under way, in the order of arrival; all have the same delay.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
    random: u64,
}

impl Direction {
    /// A direction with nothing under way.
    pub fn new(from: Arc<OwnedFd>, to: Arc<OwnedFd>, link: Link) -> Self {
        Self {
            from,
            to,
            link,
            free_at: Instant::now(),
            under_way: VecDeque::new(),
            spare: Vec::new(),
            random: link.seed | 1,
        }
    }

    /// Carries packets until something fails.
    pub fn carry(mut self) -> io::Result<Infallible> {
        be_punctual();
        loop {
            let is_busy = self.under_way.len() > MANY;
            if is_busy {
                std::thread::sleep(SLICE);
                self.accept()?;
            }
            let now = Instant::now();
            // In a slice packets are seen half of it too late, and leave another half too late.
            self.deliver(now + if is_busy { SLICE } else { WAKING })?;
            if self.under_way.len() > MANY {
                continue;
            }
            let wait = self
                .under_way
                .front()
                .map(|(due, _)| due.saturating_duration_since(now + WAKING));
            if wait_readable(&self.from, wait)? {
                self.accept()?;
            }
        }
    }

    /// Takes in what has arrived.
    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..READS_MAX {
            let mut packet = self.spare.pop().unwrap_or_default();
            packet.resize(PACKET_BYTES_MAX, 0);
            // SAFETY: the buffer is `packet`'s, of the length given, and the descriptor is open.
            let count = unsafe {
                libc::read(
                    self.from.as_raw_fd(),
                    packet.as_mut_ptr().cast(),
                    packet.len(),
                )
            };
            let Ok(count) = usize::try_from(count) else {
                self.spare.push(packet);
                return unless_transient(io::Error::last_os_error());
            };
            packet.truncate(count);
            self.schedule(packet, Instant::now());
        }
        Ok(())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "packets are short of 2^52 bytes"
    )]
    fn schedule(&mut self, packet: Vec<u8>, now: Instant) {
        let begin = self.free_at.max(now);
        let waiting = (begin - now).as_secs_f64() * self.link.bytes_per_second;
        let bytes = packet.len() as f64;
        if waiting + bytes > self.link.queue_bytes_max {
            self.spare.push(packet);
            return;
        }
        self.free_at = begin + Duration::from_secs_f64(bytes / self.link.bytes_per_second);
        // Lost on the way: it has taken its time on the link.
        if self.is_lost() {
            self.spare.push(packet);
        } else {
            self.under_way
                .push_back((self.free_at + self.link.delay, packet));
        }
    }

    /// xorshift64.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    fn is_lost(&mut self) -> bool {
        if self.link.loss <= 0.0 {
            return false;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 11) as f64 / (1_u64 << 53) as f64) < self.link.loss
    }

    /// Writes what is due.
    fn deliver(&mut self, now: Instant) -> io::Result<()> {
        while self.under_way.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, packet)) = self.under_way.pop_front() else {
                break;
            };
            // SAFETY: the buffer is `packet`'s, of the length given, and the descriptor is open.
            let count =
                unsafe { libc::write(self.to.as_raw_fd(), packet.as_ptr().cast(), packet.len()) };
            self.spare.push(packet);
            if count < 0 {
                unless_transient(io::Error::last_os_error())?;
            }
        }
        Ok(())
    }
}

/// Passes over what happens while the devices are not set up yet, and to single packets that the kernel does not like.
fn unless_transient(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(
            libc::EAGAIN | libc::EINTR | libc::EIO | libc::EINVAL | libc::ENOBUFS | libc::ENETDOWN,
        ) => Ok(()),
        _ => Err(error),
    }
}

/// Waits for a packet, no longer than `wait`.
fn wait_readable(from: &OwnedFd, wait: Option<Duration>) -> io::Result<bool> {
    let mut polled = libc::pollfd {
        fd: from.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let time = wait.map(|wait| libc::timespec {
        tv_sec: wait.as_secs().cast_signed(),
        tv_nsec: wait.subsec_nanos().into(),
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: one pollfd and, or null, one timespec, both of which live until the call returns; no signal mask.
    let ready = unsafe { libc::ppoll(&raw mut polled, 1, time, std::ptr::null()) };
    if ready < 0 {
        unless_transient(io::Error::last_os_error())?;
    }
    Ok(ready > 0)
}

/// Asks to be woken to the microsecond, and before the programs that are measured. Both are only asked for: without them
/// the link is a little slower on a busy machine.
fn be_punctual() {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: neither call keeps a pointer; the parameters live until the call returns.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
        libc::sched_setscheduler(0, libc::SCHED_RR, &raw const parameters);
    }
}
