//! Names between suppaftp's strings and the wire, without loss: byte n is character n (Latin-1).

use std::io;

use suppaftp::Encoding;

/// The encoding given to suppaftp. Any byte string survives it both ways, so that a name need not be UTF-8.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transparent;

impl Encoding for Transparent {
    fn decode(&self, bytes: &[u8]) -> String {
        to_text(bytes)
    }

    fn encode(&self, text: &str) -> io::Result<Vec<u8>> {
        text.chars()
            .map(|char| u8::try_from(u32::from(char)))
            .collect::<Result<_, _>>()
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "text that holds no bytes"))
    }
}

/// The text that [`Transparent`] turns into exactly these bytes.
pub(super) fn to_text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_both_ways() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(Transparent.encode(&Transparent.decode(&all)).unwrap(), all);
    }

    #[test]
    fn text_that_is_no_bytes_is_refused() {
        assert!(Transparent.encode("\u{20ac}").is_err());
    }
}
