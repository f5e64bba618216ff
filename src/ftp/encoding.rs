//! Names on their way to the wire and back: between suppaftp's strings and bytes, and between a server's character set
//! and UTF-8.

use std::{borrow::Cow, io};

use encoding_rs::UTF_8;
use suppaftp::Encoding;

use crate::config::Charset;

/// Where a byte of a name stands that is no character of the charset: byte n, from 0x80 on, is the character
/// `RAW_BASE + n`. U+EF80 to U+EFFF lie in the private use area, where no charset but UTF-8 and GB 18030 has
/// characters; those are taken apart into bytes themselves, so that every name has one form and no two names share one.
const RAW_BASE: u32 = 0xEF00;

/// The longest form of one character in any charset: UTF-8's and GB 18030's.
const CHAR_BYTES_MAX: usize = 4;

/// The encoding given to suppaftp. Any byte string survives it both ways, so that a name need not be UTF-8: byte n is
/// character n (Latin-1).
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

/// How a server writes names. Without a charset they are the same bytes there and here.
///
/// [`Names::decode`] gives every name of the server one of ours, no two the same; [`Names::encode`] takes that back, and
/// refuses what would come back from the server as another name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names(Option<Charset>);

impl Names {
    /// Names in this charset.
    pub(super) fn new(charset: Option<Charset>) -> Self {
        Self(charset)
    }

    /// A name or path of the server's, as it is shown here.
    pub(super) fn decode(self, wire: &[u8]) -> Cow<'_, [u8]> {
        match self.0 {
            Some(charset) if !wire.is_ascii() => {
                let text = decode_whole(charset, wire)
                    .unwrap_or_else(|| decode_by_character(charset, wire));
                Cow::Owned(text.into_bytes())
            }
            _ => Cow::Borrowed(wire),
        }
    }

    /// A user or password in the charset, or as it was typed if that lacks a character.
    pub(super) fn encode_login(self, text: &str) -> Vec<u8> {
        let encoded = self.0.map(|charset| charset.encoding().encode(text));
        match encoded {
            Some((bytes, _, false)) => bytes.into_owned(),
            _ => text.as_bytes().to_vec(),
        }
    }

    /// A name or path of ours, as the server has it; `None` when its charset lacks a character, or the name is not UTF-8.
    pub(super) fn encode(self, name: &[u8]) -> Option<Cow<'_, [u8]>> {
        let Some(charset) = self.0.filter(|_| !name.is_ascii()) else {
            return Some(Cow::Borrowed(name));
        };
        let mut wire = Vec::with_capacity(name.len());
        for piece in std::str::from_utf8(name).ok()?.split_inclusive(is_raw) {
            let (text, raw) = match piece.char_indices().next_back() {
                Some((at, last)) if is_raw(last) => (piece.get(..at)?, raw_byte(last)),
                _ => (piece, None),
            };
            let (bytes, _, lacks_characters) = charset.encoding().encode(text);
            if lacks_characters {
                return None;
            }
            wire.extend_from_slice(&bytes);
            wire.extend(raw);
        }
        // Charsets have characters that they write but read as others (Shift_JIS writes the yen sign as a backslash), and raw
        // bytes may form a character.
        (*self.decode(&wire) == *name).then_some(Cow::Owned(wire))
    }
}

/// The usual case: all of it is text that would be written in just this way.
fn decode_whole(charset: Charset, wire: &[u8]) -> Option<String> {
    let encoding = charset.encoding();
    let text = encoding.decode_without_bom_handling_and_without_replacement(wire)?;
    let (back, _, lacks_characters) = encoding.encode(&text);
    (!lacks_characters && *back == *wire && !text.contains(is_raw)).then(|| text.into_owned())
}

fn decode_by_character(charset: Charset, wire: &[u8]) -> String {
    let mut shown = String::with_capacity(wire.len() * 2);
    let mut rest = wire;
    while !rest.is_empty() {
        let (used, text) = next_character(charset, rest);
        let (bytes, behind) = rest.split_at_checked(used).unwrap_or((rest, b""));
        match text {
            Some(text) => shown.push_str(&text),
            None => shown.extend(bytes.iter().copied().map(raw_char)),
        }
        rest = behind;
    }
    shown
}

/// The number of bytes of the first character, and the character if it would be written in just this way.
fn next_character(charset: Charset, wire: &[u8]) -> (usize, Option<String>) {
    // A character's bytes are the shortest that can be read: no form is the beginning of another.
    let found = (1..=wire.len().min(CHAR_BYTES_MAX)).find_map(|len| {
        let bytes = wire.get(..len)?;
        let text = charset
            .encoding()
            .decode_without_bom_handling_and_without_replacement(bytes)?;
        Some((
            len,
            decode_whole(charset, bytes).filter(|_| !text.is_empty()),
        ))
    });
    found.unwrap_or((1, None))
}

fn is_raw(char: char) -> bool {
    raw_byte(char).is_some()
}

fn raw_byte(char: char) -> Option<u8> {
    let byte = u32::from(char).checked_sub(RAW_BASE)?;
    u8::try_from(byte).ok().filter(|byte| !byte.is_ascii())
}

/// An ASCII byte stands for itself also as the second half of what is no character.
fn raw_char(byte: u8) -> char {
    match byte {
        0..=0x7F => char::from(byte),
        _ => char::from_u32(RAW_BASE + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

impl Charset {
    /// Whether names in it are what `OPTS UTF8 ON` asks for.
    pub(super) fn is_utf8(self) -> bool {
        self.encoding() == UTF_8
    }
}

#[cfg(test)]
mod tests;
