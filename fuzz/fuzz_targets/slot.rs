//! The cache's directory: damage on disk is never taken for content, and what is damaged can be written anew.
#![no_main]

use ftpfs::cache::fuzzing::{any_slot, damaged_slot, part_name};
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};

#[derive(Debug, Arbitrary)]
enum Found<'a> {
    Damaged {
        index: u64,
        start: u32,
        content: Vec<u8>,
        at: u16,
        damage: &'a [u8],
    },
    Any {
        index: u64,
        start: u32,
        seals: Option<u32>,
        bytes: &'a [u8],
    },
    Name(&'a str),
}

fuzz_target!(|found: Found| match found {
    Found::Damaged {
        index,
        start,
        content,
        at,
        damage,
    } => damaged_slot(index, start, &content, at, damage),
    Found::Any {
        index,
        start,
        seals,
        bytes,
    } => any_slot(index, start, seals, bytes),
    Found::Name(name) => part_name(name),
});
