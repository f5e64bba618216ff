//! The part of `~/.netrc` that matters here: machine, default, login, password, macdef.

/// A login found in a netrc file.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct NetrcEntry {
    /// The user.
    pub(super) login: Option<String>,
    /// The password.
    pub(super) password: Option<String>,
}

/// Finds the first entry for `host`, and for `user` where one is given; `default` matches every host.
///
/// The rules are those of ftp(1) and curl: tokens stand between white space, a token in double quotes may hold
/// spaces and backslash escapes, `#` where a keyword may stand starts a comment, a `macdef` ends at an empty line. What is
/// not understood is passed over.
pub(super) fn find_entry(text: &str, host: &str, user: Option<&str>) -> Option<NetrcEntry> {
    let mut tokens = Tokens { rest: text };
    let mut current: Option<NetrcEntry> = None;
    let is_wanted = |entry: &NetrcEntry| match (user, &entry.login) {
        (Some(user), Some(login)) => user == login,
        _ => true,
    };
    while let Some(keyword) = tokens.keyword() {
        match keyword.as_str() {
            "machine" | "default" => {
                if current.as_ref().is_some_and(is_wanted) {
                    return current;
                }
                let is_match = keyword == "default"
                    || tokens
                        .value()
                        .is_some_and(|name| name.eq_ignore_ascii_case(host));
                current = is_match.then(NetrcEntry::default);
            }
            "macdef" => tokens.skip_macro(),
            "login" | "user" => {
                let value = tokens.value();
                if let Some(entry) = &mut current {
                    entry.login = value;
                }
            }
            "password" | "passwd" => {
                let value = tokens.value();
                if let Some(entry) = &mut current {
                    entry.password = value;
                }
            }
            "account" | "port" | "protocol" => drop(tokens.value()),
            _ => {}
        }
    }
    current.filter(is_wanted)
}

impl std::fmt::Debug for NetrcEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetrcEntry")
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

/// The words of a netrc file.
struct Tokens<'a> {
    rest: &'a str,
}

impl Tokens<'_> {
    /// The next word where a keyword may stand: comments are passed over.
    fn keyword(&mut self) -> Option<String> {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return self.value();
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, next)| next);
        }
    }

    /// The next word; a value may start with `#`.
    fn value(&mut self) -> Option<String> {
        self.rest = self.rest.trim_start();
        if let Some(quoted) = self.rest.strip_prefix('"') {
            return Some(self.quoted(quoted));
        }
        let end = self
            .rest
            .find(char::is_whitespace)
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    /// What follows an opening quote, up to the closing one or the end of the line.
    fn quoted(&mut self, text: &str) -> String {
        let mut word = String::new();
        let mut chars = text.chars();
        loop {
            match chars.next() {
                None | Some('"' | '\n') => break,
                Some('\\') => match chars.next() {
                    Some('n') => word.push('\n'),
                    Some('r') => word.push('\r'),
                    Some('t') => word.push('\t'),
                    Some(other) => word.push(other),
                    None => break,
                },
                Some(other) => word.push(other),
            }
        }
        let used = self.rest.len() - chars.as_str().len();
        self.rest = self.rest.get(used..).unwrap_or_default();
        word
    }

    /// Passes over a macro's name and its lines, up to an empty line.
    fn skip_macro(&mut self) {
        let mut offset = 0;
        for (index, line) in self.rest.split_inclusive('\n').enumerate() {
            offset += line.len();
            if index > 0 && line.trim_end_matches(['\r', '\n']).is_empty() {
                break;
            }
        }
        self.rest = self.rest.get(offset..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
# machine commented login no password no
machine one login anna password #1secret
machine two.example
\tlogin \"be no\"
\taccount acct
\tpassword \"a \\\"b\\\\ c\"
macdef init
machine hidden login in password macro
cd /

machine one login carl password second
machine bare
default login anonymous password me@here
machine late login never password reached
";

    fn found(host: &str, user: Option<&str>) -> (Option<String>, Option<String>) {
        find_entry(SAMPLE, host, user)
            .map(|entry| (entry.login, entry.password))
            .unwrap_or_default()
    }

    fn pair(login: &str, password: &str) -> (Option<String>, Option<String>) {
        (Some(login.to_owned()), Some(password.to_owned()))
    }

    #[test]
    fn the_entry_of_the_host_and_user_is_found() {
        assert_eq!(found("one", None), pair("anna", "#1secret"));
        assert_eq!(found("ONE", Some("carl")), pair("carl", "second"));
        assert_eq!(found("two.example", None), pair("be no", "a \"b\\ c"));
        assert_eq!(found("bare", None), (None, None));
        assert_eq!(
            found("hidden", None),
            pair("anonymous", "me@here"),
            "a macro is no entry"
        );
        assert_eq!(found("commented", None), pair("anonymous", "me@here"));
    }

    #[test]
    fn another_users_entry_is_not_taken() {
        assert_eq!(found("one", Some("dora")), (None, None));
        assert_eq!(found("two.example", Some("anna")), (None, None));
    }

    #[test]
    fn torn_files_do_no_harm() {
        for text in [
            "",
            "machine",
            "machine x login",
            "machine x password \"open",
            "macdef",
            "\"",
            "machine x login \"a\\",
        ] {
            let _ = find_entry(text, "x", None);
        }
        let entry = find_entry("machine x password \"open\nlogin u", "x", None).unwrap();
        assert_eq!(
            (entry.login.as_deref(), entry.password.as_deref()),
            (Some("u"), Some("open"))
        );
    }
}
