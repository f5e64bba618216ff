//! The character set of a server's names.

use encoding_rs::Encoding;

/// A character set in which ASCII is ASCII, so that a slash in a path is always a slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

impl Charset {
    /// The charset of this name, as web pages call them (<https://encoding.spec.whatwg.org/#names-and-labels>); upper and lower
    /// case are alike. What they call latin1 is windows-1252, which has more characters.
    ///
    /// # Errors
    ///
    /// Which names there are.
    pub fn for_label(label: &str) -> Result<Self, String> {
        let encoding = Encoding::for_label(label.as_bytes())
            .ok_or("no such charset; some are latin1, windows-1251, koi8-r, gbk, big5, shift_jis, euc-kr, utf-8")?;
        // UTF-16 needs NULs, and ISO-2022-JP writes slashes as parts of characters.
        if !encoding.is_ascii_compatible() {
            return Err(format!("{} cannot stand in FTP's paths", encoding.name()));
        }
        Ok(Self(encoding))
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// How to read and write it.
    pub fn encoding(self) -> &'static Encoding {
        self.0
    }
}
