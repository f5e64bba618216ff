//! The lines of a debts file: one event each, with paths in which nothing but plain characters stand for themselves.
//!
//! ```text
//! + upload NAME
//! + room NAME
//! + removed NAME
//! + aside NAME OF [SIZE]
//! - NAME
//! ```
//!
//! A line counts when it has its end and is understood as a whole: a last line that was torn is none.

use std::collections::HashMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use super::debt::Debt;
use crate::remote::{MadeName, RemotePath};

/// Bytes of a path that stand for themselves.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'.')
    .remove(b'-')
    .remove(b'_');

/// The line that records a debt.
pub(super) fn owed(name: &MadeName, debt: &Debt) -> String {
    let name = escape(name);
    match debt {
        Debt::Upload => format!("+ upload {name}\n"),
        Debt::Room => format!("+ room {name}\n"),
        Debt::Removed => format!("+ removed {name}\n"),
        Debt::Aside { of, size: None } => format!("+ aside {name} {}\n", escape(of)),
        Debt::Aside {
            of,
            size: Some(size),
        } => format!("+ aside {name} {} {size}\n", escape(of)),
    }
}

/// The line that says that it is settled.
pub(super) fn settled(name: &MadeName) -> String {
    format!("- {}\n", escape(name))
}

/// What is owed after all lines of a file.
pub(super) fn read(text: &[u8]) -> HashMap<MadeName, Debt> {
    let mut owed = HashMap::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n");
        let line = line.and_then(|line| std::str::from_utf8(line).ok());
        match line.and_then(parse) {
            Some((name, Some(debt))) => drop(owed.insert(name, debt)),
            Some((name, None)) => drop(owed.remove(&name)),
            None => log::debug!("a line of a debts file is torn or not understood"),
        }
    }
    owed
}

/// A name, and what is owed for it now.
fn parse(line: &str) -> Option<(MadeName, Option<Debt>)> {
    let mut words = line.split(' ');
    let mut word = || words.next();
    let event = match word()? {
        "-" => (MadeName::recorded(path(word()?)?)?, None),
        "+" => {
            let kind = word()?;
            let name = MadeName::recorded(path(word()?)?)?;
            let debt = match kind {
                "upload" => Debt::Upload,
                "room" => Debt::Room,
                "removed" => Debt::Removed,
                "aside" => Debt::Aside {
                    of: path(word()?)?,
                    size: word().map(str::parse).transpose().ok()?,
                },
                _ => return None,
            };
            (name, Some(debt))
        }
        _ => return None,
    };
    word().is_none().then_some(event)
}

fn escape(path: &RemotePath) -> String {
    percent_encode(path.as_bytes(), PLAIN).to_string()
}

fn path(word: &str) -> Option<RemotePath> {
    let bytes: Vec<u8> = percent_decode(word.as_bytes()).collect();
    let names = bytes.strip_prefix(b"/")?.split(|byte| *byte == b'/');
    names
        .into_iter()
        .try_fold(RemotePath::root(), |dir, name| dir.join(name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> RemotePath {
        path(text).unwrap()
    }

    fn made(dir: &str, digit: char) -> MadeName {
        let bits: String = std::iter::repeat_n(digit, 32).collect();
        MadeName::recorded(at(&format!("{dir}/.ftpfs-0123abcd-{bits}.tmp"))).unwrap()
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let odd = at("/a%20b%0b%ff%25/c%e4");
        let aside = Debt::Aside {
            of: odd.join("new: \u{e9}?".as_bytes()).unwrap(),
            size: Some(7),
        };
        let unsized_aside = Debt::Aside {
            of: at("/f"),
            size: None,
        };
        let all = [
            (made("", '1'), Debt::Upload),
            (made("/a%20b", '2'), Debt::Removed),
            (made("/a%20b", '5'), Debt::Room),
            (made("/d", '3'), aside),
            (made("/d", '4'), unsized_aside),
        ];
        let lines: String = all.iter().map(|(name, debt)| owed(name, debt)).collect();
        assert_eq!(lines.lines().count(), all.len());
        assert!(lines.is_ascii(), "{lines}");
        assert_eq!(read(lines.as_bytes()), HashMap::from(all.clone()));
        let text = lines + &settled(&all[0].0) + &settled(&all[3].0);
        let left = HashMap::from([all[1].clone(), all[2].clone(), all[4].clone()]);
        assert_eq!(read(text.as_bytes()), left);
    }

    #[test]
    fn a_later_line_of_a_name_counts() {
        let name = made("", '1');
        let aside = Debt::Aside {
            of: at("/f"),
            size: Some(1),
        };
        let text = owed(&name, &aside) + &owed(&name, &Debt::Removed);
        assert_eq!(read(text.as_bytes())[&name], Debt::Removed);
    }

    #[test]
    fn a_torn_last_line_is_none_and_what_follows_it_counts() {
        let (first, second) = (made("", '1'), made("", '2'));
        let aside = Debt::Aside {
            of: at("/file"),
            size: Some(1234),
        };
        let line = owed(&second, &aside);
        for end in 0..line.len() {
            let text = owed(&first, &Debt::Upload) + &line[..end];
            assert_eq!(read(text.as_bytes()).len(), 1, "{text}");
            let text = text + "\n" + &settled(&first);
            let left = read(text.as_bytes());
            assert!(!left.contains_key(&first), "{text}");
        }
    }

    #[test]
    fn names_of_others_are_not_read() {
        let bits = "0123456789abcdef0123456789abcdef";
        for name in [
            "/file",
            "/",
            "/.ftpfs-0123abcd-1.tmp",
            &format!("/.ftpfs-0123abcd-{bits}"),
            &format!("/.ftpfs-0123abcd-{bits}.tmp.old"),
            &format!("/.ftpfs-0123ABCD-{bits}.tmp"),
            &format!("/.ftpfs-0123abcd-{bits}0.tmp"),
            &format!("/x.ftpfs-0123abcd-{bits}.tmp"),
            &format!("/.ftpfs-0123abcd-{bits}.tmp/file"),
            &format!("/../.ftpfs-0123abcd-{bits}.tmp"),
        ] {
            let text = format!("+ upload {name}\n+ removed {name}\n+ aside {name} /f 1\n");
            assert!(read(text.as_bytes()).is_empty(), "{name}");
        }
        let good = format!("/d/ftpfs-0123abcd-{bits}.tmp");
        assert_eq!(read(format!("+ upload {good}\n").as_bytes()).len(), 1);
        for line in ["+ aside", "+ upload", "-", "", "+", "* upload x", "+ lent"] {
            assert!(read(format!("{line} {good} 1 2 3\n").as_bytes()).is_empty());
        }
    }
}
