//! From a seed to a sequence.

mod scenes;

use std::time::Duration;

use fastrand::Rng;
use ftpfs::{
    config::OnConflict,
    remote::{Phase, RemoteErrorKind as Kind, memory::RenameOver},
};

use crate::sequence::{
    Act, At, Deed, FILES, Mode, NAMES, Name, Op, Place, Sequence, Server, Step, Trouble,
};

/// The most steps of a sequence.
const STEPS_MAX: usize = 24;

/// How many programs do what is drawn for them.
const PROGRAMS: u8 = 3;

/// The sequence of a seed.
pub(crate) fn sequence(seed: u64) -> Sequence {
    let mut draw = Draw {
        rng: Rng::with_seed(seed),
        names: 1,
        is_large: false,
        is_calm: false,
    };
    // Few names make many meetings.
    draw.names = [1, 2, 3, FILES][draw.rng.usize(0..4)];
    draw.is_large = draw.one_in(12);
    draw.is_calm = draw.one_in(6);
    let server = draw.server();
    let count = draw.rng.usize(3..=STEPS_MAX);
    let mut steps = Vec::with_capacity(count);
    for _ in 0..count {
        if !draw.is_calm && draw.one_in(12) {
            scenes::play(&mut draw, &mut steps);
        } else {
            let step = draw.step();
            steps.push(step);
        }
    }
    Sequence { server, steps }
}

struct Draw {
    rng: Rng,
    /// Only the first names are used.
    names: usize,
    /// Whether files are of more than 1 MiB.
    is_large: bool,
    /// Whether nothing goes wrong.
    is_calm: bool,
}

impl Draw {
    fn one_in(&mut self, count: u32) -> bool {
        self.rng.u32(0..count) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.rng.usize(0..all.len())]
    }

    fn server(&mut self) -> Server {
        use RenameOver::{Lies, Refuses, Replaces};
        Server {
            rename_over: self.of(&[Replaces, Replaces, Refuses, Lies]),
            can_rename: !self.one_in(12),
            may_rename: !self.one_in(12),
            may_remove: !self.one_in(8),
            ignores_case: self.one_in(8),
            removes_trees: self.one_in(3),
            can_append: !self.one_in(8),
            can_patch: !self.one_in(4),
            can_set: !self.one_in(6),
            has_coarse_times: self.one_in(6),
            refuses_dots: self.one_in(8),
            spool_memory: self.of(&[8 << 20, 8 << 20, 8 << 20, 0]),
            dir_ttl: self.of(&[20, 20, 0, 1_000_000]),
            sessions: self.of(&[2, 2, 1, 8]),
            forgets: self.one_in(4),
            on_conflict: if self.one_in(4) {
                OnConflict::Fail
            } else {
                OnConflict::KeepBoth
            },
        }
    }

    fn step(&mut self) -> Step {
        let act = match self.rng.u32(0..100) {
            0..66 => {
                let program = self.rng.u8(0..PROGRAMS);
                Act::Program(program, self.op())
            }
            66..78 => Act::Other(self.deed()),
            78..90 => Act::Wait(self.time()),
            90..92 => Act::Wakes,
            92..94 => Act::Retries,
            94..96 => Act::Pays,
            96..98 => Act::Dies,
            _ => Act::Full(self.rng.bool()),
        };
        let is_troubled = !self.is_calm
            && self.one_in(3)
            && matches!(act, Act::Program(..) | Act::Retries | Act::Pays);
        let count = if is_troubled { self.rng.u8(1..=2) } else { 0 };
        let trouble = (0..count).map(|_| self.trouble()).collect();
        Step { act, trouble }
    }

    fn trouble(&mut self) -> (At, Trouble) {
        let nth = self.of(&[1, 1, 2, 2, 3, 3, 4, 5, 6, 8]);
        let at = if self.one_in(6) {
            At::Stream(nth)
        } else {
            At::Command(nth)
        };
        let lost = [
            Kind::Disconnected,
            Kind::Disconnected,
            Kind::TimedOut(Phase::Reply),
            Kind::Protocol,
        ];
        let trouble = match self.rng.u32(0..20) {
            0..4 => Trouble::Refused(self.of(&[
                Kind::Refused,
                Kind::Refused,
                Kind::Busy,
                Kind::Failed,
                Kind::NoSpace,
                Kind::QuotaExceeded,
                Kind::NameRefused,
                Kind::Unsupported,
            ])),
            4..6 => Trouble::Broken,
            6 => Trouble::Unheard,
            7..10 => Trouble::ReplyLost(self.of(&lost)),
            10..12 => Trouble::Late,
            12..14 => Trouble::CutAfter(self.of(&[0, 1, 50, 4000, 66_000])),
            14..19 => Trouble::Other(self.deed(), self.time()),
            _ => Trouble::Dies,
        };
        (at, trouble)
    }

    /// Times around the 2 s for which evidence counts, and the TTL.
    fn time(&mut self) -> Duration {
        Duration::from_millis(self.of(&[0, 900, 1_900, 2_100, 2_100, 3_000, 3_000, 19_000, 21_000]))
    }

    fn file(&mut self) -> Name {
        self.rng.usize(0..self.names)
    }

    fn dir(&mut self) -> Name {
        self.rng.usize(FILES..NAMES.len())
    }

    fn any(&mut self) -> Name {
        if self.names > 2 && self.one_in(4) {
            self.dir()
        } else {
            self.file()
        }
    }

    fn len(&mut self) -> usize {
        if self.is_large && self.one_in(3) {
            return self.of(&[1 << 20, 1_100_000, 1_300_000]);
        }
        self.of(&[1, 3, 100, 100, 5_000, 5_000, 66_000])
    }

    fn place(&mut self) -> Place {
        let by = self.of(&[1, 3, 5_000]);
        self.of(&[
            Place::Start,
            Place::Start,
            Place::Second,
            Place::Middle,
            Place::End,
            Place::End,
            Place::Beyond(by),
        ])
    }

    fn mode(&mut self) -> Mode {
        self.of(&[
            Mode::Read,
            Mode::Write,
            Mode::Write,
            Mode::Truncate,
            Mode::Append,
            Mode::Create,
            Mode::Create,
            Mode::CreateTruncate,
            Mode::CreateTruncate,
            Mode::CreateAppend,
            Mode::Exclusive,
        ])
    }

    fn op(&mut self) -> Op {
        let handle = self.rng.u8(0..4);
        match self.rng.u32(0..100) {
            0..24 => Op::Open(self.file(), self.mode()),
            24..46 => Op::Write(handle, self.place(), self.len()),
            46..50 => Op::Read(handle, self.place(), self.len()),
            50..53 => Op::Truncate(handle, self.place()),
            53..58 => Op::Fsync(handle),
            58..70 => Op::Close(handle),
            70..74 => Op::Cat(self.file()),
            74..76 => Op::TruncateName(self.file(), self.place()),
            76..84 => Op::Rename(self.any(), self.any(), self.one_in(3)),
            84..89 => Op::Unlink(self.file()),
            89..91 => Op::Mkdir(self.dir()),
            91..93 => Op::Rmdir(self.dir()),
            93..95 => Op::Chmod(self.file(), self.of(&[0o600, 0o644, 0o755])),
            95..96 => Op::Utimens(self.file(), self.of(&[0, 1_000_000_000])),
            96..97 => Op::Symlink(self.file(), self.file()),
            97..98 => Op::Stat(self.any()),
            _ => Op::List(self.dir()),
        }
    }

    fn deed(&mut self) -> Deed {
        match self.rng.u32(0..20) {
            0..6 => Deed::Stores(self.file(), self.len()),
            6..10 => Deed::Replaces(self.file(), self.len()),
            10..13 => Deed::Appends(self.file(), self.len()),
            13 => Deed::Halves(self.file()),
            14..16 => Deed::Removes(self.any()),
            16..18 => Deed::Renames(self.file(), self.file()),
            18 => Deed::Chmods(self.file(), self.of(&[0o600, 0o644])),
            _ => Deed::MakesDir(self.dir()),
        }
    }
}
