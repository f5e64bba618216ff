//! Steps that belong together: what goes wrong only when several things meet is drawn one by one too seldom.
//!
//! | the scene | what it is for |
//! |---|---|
//! | a change times out, a file is confirmed under its name, and the server wakes up | late effects |
//! | an upload breaks, and is tried again, maybe after others have had the name | retries |
//! | a file is opened, others change it, and it is written | versions |
//! | others put something into a directory that is removed | directories |

use super::{Draw, PROGRAMS};
use crate::sequence::{Act, At, Deed, Mode, Name, Op, Place, Step, Trouble};

/// Of a program of its own, which has no other handles as a rule.
const PROGRAM: u8 = PROGRAMS;

/// Adds the steps of one.
pub(super) fn play(draw: &mut Draw, steps: &mut Vec<Step>) {
    match draw.rng.u32(0..8) {
        0..3 => late_change(draw, steps),
        3..5 => retry(draw, steps),
        5..7 => new_version(draw, steps),
        _ => removed_dir(draw, steps),
    }
}

fn step(act: Act) -> Step {
    Step {
        act,
        trouble: Vec::new(),
    }
}

fn program(op: Op) -> Step {
    step(Act::Program(PROGRAM, op))
}

/// A file of others that is old enough to be seen.
fn old_file(draw: &mut Draw, name: Name) -> [Step; 2] {
    let stores = Deed::Stores(name, draw.len());
    let time = draw.time();
    [step(Act::Other(stores)), step(Act::Wait(time))]
}

fn late_change(draw: &mut Draw, steps: &mut Vec<Step>) {
    let (name, other) = (draw.file(), draw.file());
    steps.extend(old_file(draw, name));
    let op = match draw.rng.u32(0..4) {
        0 => Op::Rename(other, name, false),
        1 => Op::Rename(name, other, false),
        2 => Op::Unlink(name),
        _ => {
            let mode = draw.of(&[Mode::Write, Mode::Truncate, Mode::Append]);
            steps.push(program(Op::Open(name, mode)));
            let place = draw.place();
            steps.push(program(Op::Write(0, place, draw.len())));
            Op::Close(0)
        }
    };
    steps.push(Step {
        act: Act::Program(PROGRAM, op),
        trouble: vec![(At::Command(draw.rng.u8(1..=8)), Trouble::Late)],
    });
    let mode = draw.of(&[Mode::CreateTruncate, Mode::Create]);
    steps.push(program(Op::Open(name, mode)));
    steps.push(program(Op::Write(0, Place::Start, draw.len())));
    steps.push(program(Op::Close(0)));
    steps.push(step(Act::Wakes));
}

fn retry(draw: &mut Draw, steps: &mut Vec<Step>) {
    let name = draw.file();
    if draw.rng.bool() {
        steps.extend(old_file(draw, name));
    }
    let mode = draw.of(&[
        Mode::CreateAppend,
        Mode::Append,
        Mode::Create,
        Mode::CreateTruncate,
    ]);
    steps.push(program(Op::Open(name, mode)));
    steps.push(program(Op::Write(0, draw.place(), draw.len())));
    let cut = Trouble::CutAfter(draw.of(&[0, 1, 50, 4000]));
    let lost = super::Kind::Disconnected;
    let trouble = draw.of(&[
        cut,
        cut,
        Trouble::ReplyLost(lost),
        Trouble::ReplyLost(super::Kind::TimedOut(super::Phase::Reply)),
        Trouble::Refused(super::Kind::Refused),
        Trouble::Refused(super::Kind::NoSpace),
    ]);
    let end = draw.of(&[Op::Fsync(0), Op::Close(0)]);
    // What looks at the outcome may fail too.
    let first = draw.rng.u8(1..=6);
    let second = (At::Command(first + draw.rng.u8(1..=2)), Trouble::Broken);
    let mut troubles = vec![(At::Command(first), trouble)];
    troubles.extend(draw.rng.bool().then_some(second));
    steps.push(Step {
        act: Act::Program(PROGRAM, end),
        trouble: troubles,
    });
    if draw.one_in(3) {
        let deed = draw.of(&[Deed::Stores(name, 100), Deed::Replaces(name, 5_000)]);
        steps.push(step(Act::Other(deed)));
    }
    if draw.one_in(3) {
        let time = draw.time();
        steps.push(step(Act::Wait(time)));
    }
    steps.push(match end {
        Op::Fsync(_) => program(Op::Close(0)),
        _ => step(Act::Retries),
    });
}

fn new_version(draw: &mut Draw, steps: &mut Vec<Step>) {
    let name = draw.file();
    steps.extend(old_file(draw, name));
    let mode = draw.of(&[Mode::Write, Mode::Append, Mode::Create]);
    steps.push(program(Op::Open(name, mode)));
    steps.push(program(Op::Write(0, draw.place(), draw.len())));
    let deed = draw.of(&[
        Deed::Stores(name, 5_000),
        Deed::Replaces(name, 5_000),
        Deed::Appends(name, 100),
        Deed::Halves(name),
    ]);
    steps.push(step(Act::Other(deed)));
    let time = draw.time();
    steps.push(step(Act::Wait(time)));
    let trouble = if draw.rng.bool() {
        vec![draw.trouble()]
    } else {
        Vec::new()
    };
    steps.push(Step {
        act: Act::Program(PROGRAM, Op::Close(0)),
        trouble,
    });
}

/// The name of a directory is followed by those of what is in it.
fn removed_dir(draw: &mut Draw, steps: &mut Vec<Step>) {
    const IN_DIRS: [(Name, Name); 3] = [(2, 6), (4, 6), (5, 7)];
    let (name, dir) = draw.of(&IN_DIRS);
    steps.push(program(Op::List(dir)));
    steps.extend(old_file(draw, name));
    let op = draw.of(&[Op::Rmdir(dir), Op::Rename(8, dir, false)]);
    steps.push(program(op));
}
