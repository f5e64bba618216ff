//! Fresh random bits for the names of our own files on the server.

use std::{fs::File, io::Read};

/// 128 bits of the system's randomness, as 32 hexadecimal digits: a name with them is nobody else's. `None` when the system has none
/// to give.
pub(crate) fn fresh_bits() -> Option<String> {
    let mut bits = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bits));
    if let Err(error) = read {
        log::error!("/dev/urandom, for names of temporary files: {error}");
        return None;
    }
    Some(format!("{:032x}", u128::from_be_bytes(bits)))
}
