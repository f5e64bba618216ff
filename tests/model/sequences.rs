//! Many sequences: each seed is one, and a failing one is made shorter.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use crate::{
    draw,
    sequence::Sequence,
    simulation::{self, Verdict, words},
};

/// How many sequences the test command runs: some 10 s of two processors without optimisation. `scripts/faults simulate` runs more.
const COUNT: u64 = 2_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is a number, and not {text:?}")))
}

#[test]
fn nothing_is_lost_and_no_program_is_told_otherwise() {
    if let Some(seed) = number("FTPFS_SEED") {
        let (story, verdict) = simulation::tell(&draw::sequence(seed));
        println!("{}", story.join("\n"));
        return report(seed, verdict);
    }
    let count = number("FTPFS_SEQUENCES").unwrap_or(COUNT);
    let first = number("FTPFS_FIRST_SEED").unwrap_or(0);
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let has_enough = simulation::lock(&failed).len() >= most();
                    if seed >= first + count || has_enough {
                        return;
                    }
                    if let Err(wrong) = run(&draw::sequence(seed)) {
                        simulation::lock(&failed).push((seed, wrong));
                    }
                }
            });
        }
    });
    let done = next.load(Ordering::Relaxed).min(first + count) - first;
    let rate = u128::from(done) * 1000 / began.elapsed().as_millis().max(1);
    println!("{done} sequences from seed {first} on, {rate} a second");
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    for (seed, wrong) in &failed {
        println!("FTPFS_SEED={seed}: {wrong}");
    }
    if let Some((seed, wrong)) = failed.into_iter().next() {
        report(seed, Err(wrong));
    }
}

/// How many failures end a run.
fn most() -> usize {
    number("FTPFS_FAILURES").map_or(1, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

/// Runs a sequence; a panic is a failure like others.
pub(crate) fn run(sequence: &Sequence) -> Verdict {
    let run = std::panic::AssertUnwindSafe(|| simulation::run(sequence));
    std::panic::catch_unwind(run).unwrap_or_else(|panic| Err(words(&*panic)))
}

/// Fails with the shortest sequence that still fails, and with what happens in it.
fn report(seed: u64, verdict: Verdict) {
    let Err(wrong) = verdict else { return };
    let shortest = shorten(draw::sequence(seed), &wrong);
    let (story, again) = simulation::tell(&shortest);
    let again = again
        .err()
        .unwrap_or_else(|| "this time it went well".into());
    let steps = shortest.steps.iter();
    let steps: Vec<String> = steps.map(|step| format!("    {step:?},\n")).collect();
    panic!(
        "FTPFS_SEED={seed}: {wrong}\n\nshortened:\n{:?}\n{}\n{}\n\n{again}",
        shortest.server,
        steps.concat(),
        story.join("\n")
    );
}

/// The words of a failure, without places and numbers.
fn kind(wrong: &str) -> Vec<&str> {
    let wrong = wrong.split_once(": ").map_or(wrong, |(_, wrong)| wrong);
    let words = wrong.split_whitespace();
    words
        .filter(|word| word.chars().all(char::is_alphabetic))
        .collect()
}

/// Leaves out steps and troubles for as long as it still fails in that way.
fn shorten(sequence: Sequence, wrong: &str) -> Sequence {
    let fails = |sequence: &Sequence| run(sequence).is_err_and(|again| kind(&again) == kind(wrong));
    let mut shortest = sequence;
    loop {
        let before = shortest.clone();
        for index in (0..before.steps.len()).rev() {
            let mut shorter = shortest.clone();
            shorter.steps.remove(index);
            if fails(&shorter) {
                shortest = shorter;
                continue;
            }
            for place in (0..shortest.steps[index].trouble.len()).rev() {
                let mut shorter = shortest.clone();
                shorter.steps[index].trouble.remove(place);
                if fails(&shorter) {
                    shortest = shorter;
                }
            }
        }
        if shortest == before {
            return shortest;
        }
    }
}
