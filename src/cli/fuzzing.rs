//! What must hold whatever is in a netrc file, checked for the target `netrc` of `fuzz/`.

use super::netrc::{NetrcEntry, find_entry};

/// Any file is read: an entry is of the user that was asked for, a host that is not named has none, and an entry comes back as it was
/// written, whatever follows it.
pub fn netrc(text: &str, host: &str, user: &str, password: &str) {
    for asked in [None, Some(user)] {
        let found = find_entry(text, host, asked);
        let login = found.as_ref().and_then(|entry| entry.login.as_deref());
        assert!(asked.is_none() || login.is_none() || login == asked);
        let is_named = ["default", "\\", &host.to_ascii_lowercase()]
            .iter()
            .any(|word| text.to_ascii_lowercase().contains(word));
        assert!(is_named || found.is_none());
    }

    let written = NetrcEntry {
        login: Some(user.to_owned()),
        password: Some(password.to_owned()),
    };
    let [host_word, user_word, password_word] = [host, user, password].map(quoted);
    let entry =
        format!("machine {host_word}\n# login no\n login {user_word}\tpassword {password_word} ");
    for follows in ["machine", "default", "\n\nmachine \"other\" login"] {
        let file = format!("{entry}{follows} {text}");
        for asked in [None, Some(user)] {
            let found = find_entry(&file, &host.to_ascii_uppercase(), asked);
            assert_eq!(found.as_ref(), Some(&written));
            assert!(found.is_some_and(|found| found.password == written.password));
        }
    }
    // Of two users of a host, each has an own entry; no other has one.
    let other = format!("{user}+");
    let file = format!("machine {host_word} login {}\n{entry}", quoted(&other));
    assert_eq!(find_entry(&file, host, Some(user)), Some(written));
    let third = format!("{user}-");
    assert_eq!(find_entry(&file, host, Some(&third)), None);
}

/// A word in double quotes, with the escapes of ftp(1).
fn quoted(word: &str) -> String {
    let mut quoted = String::from("\"");
    for c in word.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '"' | '\\' => quoted.extend(['\\', c]),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checks_hold_for_odd_files() {
        for text in [
            "",
            "machine a login b password c",
            "macdef x\n\n",
            "\"\\",
            "default",
        ] {
            netrc(text, "ftp.example", "anna", "geheim");
            netrc(text, "", "\"\\\n", " # ");
        }
    }
}
