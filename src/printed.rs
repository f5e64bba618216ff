//! The one way out for text that people read: whoever wrote it, no control character reaches a terminal or a log.

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal as _, Write as _},
};

/// Text as it may be shown: control characters, and those that turn the direction of writing, are escaped as JSON escapes them
/// (`\u001b`). Line ends stay.
#[derive(Debug, Clone, Copy)]
pub struct Printable<T>(pub T);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Escapes what is written to it.
struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_dangerous) {
            let (plain, behind) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut chars = behind.chars();
            if let Some(dangerous) = chars.next() {
                // All of them have four digits at most.
                write!(self.0, "\\u{:04x}", u32::from(dangerous))?;
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Whether a terminal may obey it instead of showing it (ECMA-48's C0 and C1 sets), or it makes text look like another (Unicode's marks of
/// direction, line and paragraph).
fn is_dangerous(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Tells the user what is wrong or what is waited for, in one line on the standard error output.
pub fn complain(message: impl fmt::Display) {
    // When even that is gone, the exit status has to do.
    let _ = writeln!(io::stderr(), "ftpfs: {}", Printable(message));
}

/// Whether a question is seen and its answer typed on a terminal.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks the user, on the standard error output; the answer follows in the same line.
pub fn prompt(question: impl fmt::Display) {
    let _ = write!(io::stderr(), "{}", Printable(question));
}

/// Prints what the user has asked for.
pub fn print(text: impl fmt::Display) {
    // The reader may have gone, as `head` does.
    let _ = write!(io::stdout(), "{}", Printable(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_terminal_obeys_what_is_shown() {
        for (text, shown) in [
            ("220 welcome, \u{fc}ber", "220 welcome, \u{fc}ber"),
            ("\x1b[2J\x07\r\n", "\\u001b[2J\\u0007\\u000d\n"),
            ("\u{9b}31m\u{7f}", "\\u009b31m\\u007f"),
            ("gpj.\u{202e}exe", "gpj.\\u202eexe"),
            ("a\0b\tc", "a\\u0000b\\u0009c"),
        ] {
            assert_eq!(Printable(text).to_string(), shown);
        }
    }

    #[test]
    fn json_stays_json() {
        let json = serde_json::json!({ "reply": "\u{9b}\u{202e}\x1b" });
        let shown = Printable(json.to_string()).to_string();
        assert!(!shown.contains(is_dangerous));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            json
        );
    }
}
