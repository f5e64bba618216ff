//! How far and how fast a test lets the memory remote's downloads come, and how far they came.

use std::time::Duration;

/// No download waits longer to be let on: what takes so long hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How many bytes arrive at most in a [tick](super::MemoryRemote::tick).
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// By one download.
    pub each: u64,
    /// By all of them together.
    pub all: u64,
}

/// What a test allows to all downloads, and what it may ask about them.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    open: usize,
    /// How many of the open ones have brought all they may in this tick.
    spent: usize,
    /// The end of what has been delivered.
    reached: u64,
    held_from: Option<u64>,
    pace: Option<Pace>,
    ticks: u64,
    /// What all together may still bring in this tick.
    left: u64,
}

/// One download's share of what a tick brings.
#[derive(Debug)]
pub(super) struct Share {
    /// What it may bring in a tick where there is a pace: the pace when it was opened stays its own.
    each: u64,
    /// The last tick in which it was asked for something, and what it brought in it.
    tick: u64,
    used: u64,
    is_spent: bool,
}

impl Delivery {
    pub(super) fn open(&mut self) -> Share {
        self.open += 1;
        Share {
            each: self.pace.map_or(u64::MAX, |pace| pace.each),
            tick: self.ticks,
            used: 0,
            is_spent: false,
        }
    }

    pub(super) fn close(&mut self, share: &Share) {
        self.open -= 1;
        self.spent -= usize::from(share.is_spent && share.tick == self.ticks);
    }

    pub(super) fn count_open(&self) -> usize {
        self.open
    }

    pub(super) fn reached(&self) -> u64 {
        self.reached
    }

    pub(super) fn hold_from(&mut self, offset: Option<u64>) {
        self.held_from = offset;
    }

    pub(super) fn set_pace(&mut self, pace: Option<Pace>) {
        self.pace = pace;
        self.renew();
    }

    pub(super) fn tick(&mut self) {
        self.ticks += 1;
        self.spent = 0;
        self.renew();
    }

    fn renew(&mut self) {
        self.left = self.pace.map_or(0, |pace| pace.all);
    }

    pub(super) fn is_used_up(&self, downloads: usize) -> bool {
        downloads > 0 && self.open == downloads && self.spent == downloads
    }

    /// How many bytes a download that is at `position` may bring now.
    pub(super) fn allowance(&mut self, position: u64, share: &mut Share) -> u64 {
        let until_held = self
            .held_from
            .map_or(u64::MAX, |held_from| held_from.saturating_sub(position));
        if self.pace.is_none() {
            return until_held;
        }
        if share.tick != self.ticks {
            share.tick = self.ticks;
            share.used = 0;
            share.is_spent = false;
        }
        let in_tick = share.each.saturating_sub(share.used).min(self.left);
        if in_tick == 0 && !share.is_spent {
            share.is_spent = true;
            self.spent += 1;
        }
        in_tick.min(until_held)
    }

    /// Bytes of a download have arrived, up to `end`.
    pub(super) fn deliver(&mut self, count: u64, end: u64, share: &mut Share) {
        share.used += count;
        self.left = self.left.saturating_sub(count);
        self.reached = self.reached.max(end);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread, time::Duration};

    use super::Pace;
    use crate::{
        clock::ManualClock,
        remote::{Download, Remote, RemotePath, memory::MemoryRemote},
    };

    fn server() -> (MemoryRemote, RemotePath) {
        let remote = MemoryRemote::new(Arc::new(ManualClock::new()));
        let path = RemotePath::root().join(b"file").unwrap();
        remote.write_file(&path, b"0123456789");
        (remote, path)
    }

    fn read(download: &mut dyn Download) -> usize {
        download.read(&mut [0; 64]).unwrap()
    }

    #[test]
    fn what_is_held_comes_when_it_is_let_on() {
        let (remote, path) = server();
        remote.hold_from(Some(4));
        let mut download = remote.open_download(&path, 1, None).unwrap();
        assert_eq!(read(&mut *download), 3);
        assert_eq!(remote.delivered_to(), 4);
        thread::scope(|scope| {
            let rest = scope.spawn(|| read(&mut *download));
            thread::sleep(Duration::from_millis(5));
            assert!(!rest.is_finished());
            remote.hold_from(None);
            assert_eq!(rest.join().unwrap(), 6);
        });
        assert_eq!(remote.downloads(), [(1, None)]);
        assert_eq!(remote.downloads_open(), 1);
        drop(download);
        assert_eq!(remote.downloads_open(), 0);
    }

    #[test]
    fn a_tick_brings_each_download_its_share_and_no_more_than_all() {
        let (remote, path) = server();
        remote.set_pace(Some(Pace { each: 3, all: 5 }));
        let open = || remote.open_download(&path, 0, None).unwrap();
        let (mut one, mut other) = (open(), open());
        assert_eq!((read(&mut *one), read(&mut *other)), (3, 2));
        thread::scope(|scope| {
            let next = [&mut one, &mut other].map(|it| scope.spawn(|| read(&mut **it)));
            while !remote.is_used_up(2) {
                thread::yield_now();
            }
            remote.tick();
            let brought: usize = next.map(|next| next.join().unwrap()).iter().sum();
            assert_eq!(brought, 5);
        });
        remote.set_pace(None);
        assert_eq!(read(&mut *one) + read(&mut *other), 10);
    }

    #[test]
    fn a_cut_looks_like_the_end_of_the_file() {
        let (remote, path) = server();
        remote.cut_after_bytes(4);
        let mut cut = remote.open_download(&path, 2, None).unwrap();
        assert_eq!((read(&mut *cut), read(&mut *cut)), (4, 0));
        let mut whole = remote.open_download(&path, 6, None).unwrap();
        assert_eq!(read(&mut *whole), 4);
    }
}
