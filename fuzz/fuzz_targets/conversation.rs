//! Control connections: the same replies are read however the network cuts them up and whichever way they are read.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, [u8; 12], Vec<u8>, &[u8])| {
    let (often, cuts, line, said) = input;
    ftpfs::ftp::fuzzing::conversation(said, often, &cuts, &line);
});
