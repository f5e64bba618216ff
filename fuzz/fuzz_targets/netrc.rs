//! netrc files: no text panics, an entry is of the host and user that were asked for, and comes back as it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str, &str)| {
    let (host, user, password, text) = input;
    ftpfs::cli::fuzzing::netrc(text, host, user, password);
});
