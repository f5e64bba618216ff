//! A file exerciser: random writes, reads, truncations, syncs and reopenings of one file, compared with a copy in memory after each, and
//! with the server's disk whenever the server must have all.
//!
//! The sizes lie on both sides of those at which uploads take another way (64 KiB, 1 MiB). `FTPFS_EXERCISE=ROUNDS` runs as many rounds
//! with each size, each with other numbers and a mount of its own; a number that failed is named.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
};

use crate::common::{Kind, Target, for_each_kind, for_each_server, on_site, pattern};

/// How many steps are taken with each size.
const STEPS: u64 = 60;

/// How far behind the end something is written, or the end is moved.
const GAP: usize = 50_000;

/// Seeds and sizes. Files of 256 KiB go up whole, those of 1.5 MB and 8 MiB in parts, and as streams.
const SMALL: (u64, usize) = (1, 256 << 10);
const MEDIUM: (u64, usize) = (2, 1_500_000);
const LARGE: (u64, usize) = (3, 8 << 20);

for_each_server!(&[]; small_files, medium_files, large_files);

fn small_files(t: &Target) {
    exercise(t, SMALL.0, SMALL.1);
}

fn medium_files(t: &Target) {
    exercise(t, MEDIUM.0, MEDIUM.1);
}

fn large_files(t: &Target) {
    exercise(t, LARGE.0, LARGE.1);
}

for_each_kind!(more_rounds);

fn more_rounds(kind: Kind) {
    let rounds = std::env::var("FTPFS_EXERCISE").map_or(0, |rounds| rounds.parse().unwrap());
    for round in 1..=rounds {
        for (seed, len_max) in [SMALL, MEDIUM, LARGE] {
            on_site(kind, &[], |site| {
                exercise(&site.target(), seed + 10 * round, len_max);
                site.assert_same();
            });
        }
    }
}

/// Draws numbers; the same ones for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % sides.max(1)
    }

    /// A place in a file: its start, its end, or anywhere.
    fn place(&mut self, len: usize) -> usize {
        match self.roll(5) {
            0 => 0,
            1 => len,
            _ => self.roll(len + 1),
        }
    }
}

fn exercise(t: &Target, seed: u64, len_max: usize) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let path = t.path("file");
    let mut model = pattern(seed, len_max / 2);
    t.put_on_disk("file", &model);
    let mut file = open(&path);
    for step in 0..STEPS {
        let what = match dice.roll(11) {
            kind @ 0..=4 => {
                let gap = if kind == 4 { dice.roll(GAP) } else { 0 };
                let at = dice.place(model.len()) + gap;
                let most = len_max.saturating_sub(at).min(70_000);
                let bytes = pattern(1000 + step, dice.roll(most + 1));
                file.write_all_at(&bytes, at as u64).unwrap();
                let end = at + bytes.len();
                if !bytes.is_empty() {
                    model.resize(model.len().max(end), 0);
                    model[at..end].copy_from_slice(&bytes);
                }
                format!("write {at}..{end}")
            }
            5 => {
                let bytes = pattern(2000 + step, dice.roll(5_000));
                OpenOptions::new()
                    .append(true)
                    .open(&path)
                    .unwrap()
                    .write_all(&bytes)
                    .unwrap();
                model.extend_from_slice(&bytes);
                format!("append {}", bytes.len())
            }
            kind @ (6 | 7) => {
                let len = match kind {
                    6 => dice.place(model.len()),
                    _ => model.len() + dice.roll(GAP),
                };
                file.set_len(len as u64).unwrap();
                model.resize(len, 0);
                format!("truncate to {len}")
            }
            8 => {
                file.sync_all().unwrap();
                assert!(t.on_disk("file") == model, "seed {seed} step {step}: fsync");
                "fsync".to_owned()
            }
            _ => {
                drop(file);
                file = open(&path);
                assert!(t.on_disk("file") == model, "seed {seed} step {step}: close");
                "reopen".to_owned()
            }
        };
        let at = dice.place(model.len());
        let len = dice.roll(100_000).min(model.len() - at);
        let mut read = vec![0; len];
        file.read_exact_at(&mut read, at as u64).unwrap();
        assert!(
            read == model[at..at + len],
            "seed {seed} step {step}: read {at}..{} after {what}",
            at + len
        );
        assert_eq!(
            file.metadata().unwrap().len(),
            model.len() as u64,
            "seed {seed} step {step}: {what}"
        );
    }
    drop(file);
    assert!(t.on_disk("file") == model, "seed {seed}: at the end");
}

fn open(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}
