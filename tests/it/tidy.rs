//! The rules of the house, checked by reading the sources: who uses what, sizes, reasons, and that the documents are complete.

mod circles;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Which rooms a room may use besides itself; those that are not here are `main` and `lib`.
const MAY_USE: &[(&str, &[&str])] = &[
    ("budget", &[]),
    ("cache", &["budget", "clock", "config", "local", "remote"]),
    ("cli", &["config", "local", "printed"]),
    ("clock", &[]),
    ("config", &[]),
    ("doctor", &["config", "ftp", "remote"]),
    (
        "fs",
        &["budget", "cache", "clock", "config", "local", "remote"],
    ),
    ("ftp", &["budget", "config", "local", "remote"]),
    ("fuse", &["fs", "remote"]),
    ("local", &[]),
    ("logging", &["config", "local", "printed"]),
    (
        "mount",
        &[
            "clock", "config", "fs", "ftp", "fuse", "local", "logging", "printed",
        ],
    ),
    ("printed", &[]),
    ("remote", &["budget", "clock"]),
];

/// Packages that only certain rooms may name.
const PACKAGES: &[(&str, &[&str])] = &[
    ("crc32fast", &["remote"]),
    ("fuser", &["fuse", "mount"]),
    ("landlock", &["mount"]),
    ("lru", &["cache"]),
    ("md5", &["remote"]),
    ("rangemap", &["fs"]),
    ("ring", &["ftp"]),
    ("rustls", &["ftp"]),
    ("sha1", &["remote"]),
    ("sha2", &["remote"]),
    ("siphasher", &["local"]),
    ("suppaftp", &["ftp"]),
    ("twox_hash", &["cache", "cli"]),
];

/// Packages that only one part of their room may name.
const PARTS: &[(&str, &str)] = &[("ring", "src/ftp/tls"), ("rustls", "src/ftp/tls")];

/// The only files that write to a terminal: what passes through the first is escaped, and what the second writes has passed through it.
const TERMINAL: &[&str] = &["src/printed.rs", "src/logging.rs"];

/// The only files that look at the environment.
const ENVIRONMENT: &[&str] = &["src/cli/surroundings.rs", "src/mount/fusermount.rs"];

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 500;

/// Files that are longer, and how long they may be: one callback for each request of the kernel, and one connection's state.
const LONG_FILES: &[(&str, usize)] = &[("src/fuse.rs", 720)];

/// Lines of a function: those beyond the first are listed, those beyond the second fail.
const FUNCTION_LINES: (usize, usize) = (70, 90);

/// Paragraphs of SEMANTICS.md that no test quotes yet. A name that is quoted must go from here.
const AWAITED: &[&str] = &[];

/// Homes that no machine has: samples in tests.
const SAMPLE_HOMES: &[&str] = &["u", "user", "x"];

/// One source file.
struct Source {
    /// From the package's root on.
    path: String,
    text: String,
    /// The text with comments and literals blanked.
    code: String,
    /// The code with the tests blanked too.
    product: String,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let code = without_comments_and_literals(&text);
        let path = path.strip_prefix(root()).unwrap().display().to_string();
        let is_test = path.starts_with("tests/")
            || path.contains("/tests")
            || text.starts_with("#![cfg(test)]")
            || is_test_module(&path);
        let product = if is_test {
            String::new()
        } else {
            without_tests(&code)
        };
        Self {
            path,
            text,
            code,
            product,
        }
    }

    /// The room: `ftp` for `src/ftp.rs` and `src/ftp/listing/dos.rs`.
    fn room(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or_default();
        let first = below.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All files below a directory of the package, those that builds make left out.
fn files(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join(dir)];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !path.is_dir() {
                found.push(path);
            } else if !["target", "corpus", "artifacts"].contains(&name.as_str()) {
                waiting.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources(dirs: &[&str]) -> Vec<Source> {
    let files = dirs.iter().flat_map(|dir| files(dir));
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| Source::read(&path))
        .collect()
}

/// Whether the parent module takes this file in for tests only.
fn is_test_module(path: &str) -> bool {
    let Some((dir, name)) = path.rsplit_once('/') else {
        return false;
    };
    let parent = fs::read_to_string(root().join(format!("{dir}.rs"))).unwrap_or_default();
    let name = name.strip_suffix(".rs").unwrap_or(name);
    parent.contains(&format!("#[cfg(test)]\nmod {name};"))
}

/// Fails with all that was found, one a line.
#[track_caller]
fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn rooms_use_only_what_they_may() {
    let rules: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        let room = source.room();
        let Some(allowed) = rules.get(room) else {
            let is_top = ["main", "lib"].contains(&room);
            assert!(is_top, "{}: a room without a rule", source.path);
            continue;
        };
        for used in rooms_used(&source.product) {
            if used != room && !allowed.contains(&used.as_str()) {
                found.push(format!("{} uses crate::{used}", source.path));
            }
        }
    }
    assert_none(&found, "a room uses what it may not");
}

#[test]
fn packages_stay_in_their_rooms() {
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        for (package, rooms) in PACKAGES {
            let is_named = words(&source.code).any(|word| word == *package);
            if is_named && !rooms.contains(&source.room()) {
                found.push(format!("{} names {package}", source.path));
            }
        }
        for (package, part) in PARTS {
            let is_named = words(&source.code).any(|word| word == *package);
            if is_named && !source.path.starts_with(part) {
                found.push(format!("{} names {package}", source.path));
            }
        }
        let asks = source.product.contains("env::var");
        if asks && !ENVIRONMENT.contains(&source.path.as_str()) {
            found.push(format!("{} looks at the environment", source.path));
        }
    }
    assert_none(&found, "a package or the environment is used elsewhere");
}

#[test]
fn files_say_what_they_are_for_and_are_not_long() {
    let limits: BTreeMap<_, _> = LONG_FILES.iter().copied().collect();
    let mut found = Vec::new();
    for source in sources(&["src", "tests", "benches", "examples", "fuzz"]) {
        if !source.text.starts_with("//! ") {
            found.push(format!("{} does not begin with //!", source.path));
        }
        let last = source.product.trim_end().lines().count();
        let limit = limits.get(source.path.as_str()).unwrap_or(&FILE_LINES_MAX);
        if last > *limit {
            found.push(format!("{} has {last} lines of {limit}", source.path));
        }
    }
    assert_none(&found, "files");
}

#[test]
fn functions_fit_a_screen() {
    let (listed, limit) = FUNCTION_LINES;
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        for (name, lines) in functions(&source.product) {
            let message = format!("{} fn {name}: {lines} lines", source.path);
            if lines > limit {
                found.push(message);
            } else if lines > listed {
                println!("long: {message}");
            }
        }
    }
    assert_none(&found, "functions are too long");
}

/// What a command line that changes the server begins with.
const CHANGES: &[&str] = &[
    "STOR", "STOU", "APPE", "RNFR", "RNTO", "DELE", "RMD", "XRMD", "MKD", "XMKD", "SITE", "MFMT",
    "MFF", "MFCT", "MDTM {",
];

/// Where evidence is made of replies, and where names of ours are made.
const EVIDENCE: &[(&str, &[&str])] = &[
    (
        "Evidence::reported(",
        &[
            "src/ftp/gate.rs",
            "src/remote.rs",
            "src/remote/gate.rs",
            "src/remote/memory/remote.rs",
            "src/ftp/settle.rs",
            "src/fs/server/version.rs",
        ],
    ),
    (
        "Evidence::listed(",
        &[
            "src/fs/server.rs",
            "src/fs/server/evidence.rs",
            "src/fs/server/version.rs",
        ],
    ),
    ("Evidence::listed_empty(", &["src/fs/server/evidence.rs"]),
    (
        "Evidence::confirmed(",
        &[
            "src/ftp/upload.rs",
            "src/remote/memory/remote.rs",
            "src/remote/memory/transfer.rs",
            "src/fs/operations/namespace.rs",
        ],
    ),
    (
        "MadeName::fresh(",
        &[
            "src/fs/hidden.rs",
            "src/ftp/patch.rs",
            "src/doctor/scratch.rs",
        ],
    ),
    ("MadeName::recognised(", &["src/fs/hidden.rs"]),
];

#[test]
fn the_tests_that_the_security_table_names_are_there() {
    let table = document("docs/SECURITY.md");
    let named = table.split('`').skip(1).step_by(2);
    let named = named.filter_map(|path| path.rsplit_once("::"));
    let named: BTreeSet<&str> = named.map(|(_, name)| name).collect();
    let all: String = sources(&["src", "tests"])
        .into_iter()
        .map(|source| source.text)
        .collect();
    let missing: Vec<String> = named
        .into_iter()
        .filter(|name| {
            !all.contains(&format!("fn {name}(")) && !all.contains(&format!("mod {name}"))
        })
        .map(str::to_owned)
        .collect();
    assert_none(&missing, "docs/SECURITY.md names tests that are not there");
}

#[test]
fn text_reaches_a_terminal_by_one_way() {
    let ways = [
        "io::stderr",
        "io::stdout",
        "println!",
        "eprint!",
        "print!(",
        "dbg!",
    ];
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        if TERMINAL.contains(&source.path.as_str()) {
            continue;
        }
        for (number, line) in source.product.lines().enumerate() {
            if ways.iter().any(|way| line.contains(way)) {
                found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert_none(&found, "text is printed by src/printed.rs");
}

/// Every command that changes the server is written in `ftp/gate.rs`, for a permit; and permits follow from evidence that is made in few
/// places only.
#[test]
fn every_change_leaves_through_the_gate() {
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        if source.product.trim().is_empty() {
            continue;
        }
        let lines = source.text.lines().zip(source.product.lines());
        for (number, (line, product)) in lines.enumerate() {
            let place = || format!("{}:{}: {}", source.path, number + 1, line.trim());
            for (made, homes) in EVIDENCE {
                if product.contains(made) && !homes.contains(&source.path.as_str()) {
                    found.push(place());
                }
            }
            if source.path != "src/ftp/gate.rs" && !product.trim().is_empty() && is_change(line) {
                found.push(place());
            }
        }
    }
    assert_none(&found, "changes of the server stand in src/ftp/gate.rs");
    assert!(is_change(r#"    let line = [b"DELE ", path].concat();"#));
    assert!(is_change(r#"    format!("SITE CHMOD {mode:03o} ")"#));
    assert!(is_change(r#"        verb: "STOR","#));
    assert!(!is_change(r#"    RemoteError::new(kind, "STOR")"#));
}

/// Whether a line of source writes a command that changes the server: a literal that begins with its verb and waits for a path, or a transfer's verb.
fn is_change(line: &str) -> bool {
    let is_verb = |text: &str| {
        let mut verbs = CHANGES.iter();
        verbs.any(|verb| {
            text.strip_prefix(verb)
                .is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
        })
    };
    let mut literals = line.split('"').skip(1).step_by(2);
    let is_transfer = ["STOR", "APPE"]
        .iter()
        .any(|verb| line.contains(&format!("verb: \"{verb}\"")));
    is_transfer || literals.any(|text| is_verb(text) && text.ends_with(' '))
}

#[test]
fn nothing_is_left_unfinished() {
    let mut found = Vec::new();
    for source in sources(&["src", "tests", "benches", "examples", "fuzz"]) {
        for (number, line) in source.code.lines().enumerate() {
            let is_unfinished = ["todo!", "unimplemented!", "dbg!"]
                .iter()
                .any(|name| line.contains(name));
            let is_ignored = line.contains("#[ignore");
            if is_unfinished || is_ignored {
                found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert_none(&found, "unfinished or ignored");
}

#[test]
fn lints_are_allowed_with_a_reason() {
    let mut found = Vec::new();
    for source in sources(&["src", "tests", "benches", "examples", "fuzz"]) {
        for start in ["[allow(", "[expect("] {
            for (at, _) in source.code.match_indices(start) {
                let inside = bracketed(&source.code[at + start.len() - 1..]);
                if !words(inside).any(|word| word == "reason") {
                    let line = source.code[..at].lines().count();
                    found.push(format!("{}:{line}", source.path));
                }
            }
        }
    }
    assert_none(&found, "an allow or expect without a reason");
}

#[test]
fn the_changelog_has_the_current_version() {
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(document("CHANGELOG.md").contains(&heading), "{heading}");
}

#[test]
fn readme_and_manual_hold_every_option() {
    let (readme, manual) = (document("README.md"), document("docs/ftpfs.1"));
    let rows: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("| `") || line.starts_with("| -"))
        .collect();
    let items: Vec<&str> = manual
        .lines()
        .filter(|line| line.starts_with(".It "))
        .collect();
    let has = |lines: &[&str], name: &str| {
        let is_part = |part: &str| part == name || part.split('=').next() == Some(name);
        lines
            .iter()
            .any(|line| line.split([' ', '`', ',']).any(is_part))
    };
    let mut found = Vec::new();
    let long = long_options();
    assert!(long.len() > 10, "{long:?}");
    for name in long {
        if !has(&rows, &format!("--{name}")) {
            found.push(format!("README.md: --{name}"));
        }
        if !has(&items, &format!("-{name}")) {
            found.push(format!("docs/ftpfs.1: --{name}"));
        }
    }
    for name in mount_options() {
        for (file, lines) in [("README.md", &rows), ("docs/ftpfs.1", &items)] {
            if !has(lines, &name) {
                found.push(format!("{file}: -o {name}"));
            }
        }
    }
    assert_none(&found, "an option is not described");
}

#[test]
fn the_code_map_is_complete_and_short() {
    let map = document("ARCHITECTURE.md");
    assert!(map.lines().count() <= 250, "{}", map.lines().count());
    let known: BTreeSet<&str> = words(&map).collect();
    let missing = sources(&["src"])
        .into_iter()
        .filter(|source| !source.product.is_empty())
        .filter(|source| !source.path.starts_with("src/remote/memory/"))
        .filter(|source| {
            let name = Path::new(&source.path).file_stem().unwrap();
            !known.contains(name.to_string_lossy().as_ref())
        });
    let missing: Vec<_> = missing.map(|source| source.path).collect();
    assert_none(&missing, "ARCHITECTURE.md leaves out");
}

#[test]
fn every_paragraph_of_the_semantics_is_quoted_by_a_test() {
    let semantics = document("docs/SEMANTICS.md");
    let mut named = BTreeSet::new();
    let mut found = Vec::new();
    for paragraph in semantics.split("\n\n").skip(2) {
        if paragraph.starts_with(['#', '|']) {
            continue;
        }
        let name = paragraph
            .trim_end()
            .strip_suffix(']')
            .and_then(|text| text.rsplit_once('['));
        match name {
            Some((_, name)) if name.starts_with("S-") => {
                if !named.insert(name.to_owned()) {
                    found.push(format!("{name} stands twice"));
                }
            }
            _ => found.push(format!("without a name: {}", first_words(paragraph))),
        }
    }
    let mut quoted = BTreeSet::new();
    for source in sources(&["src", "tests"]) {
        for line in source.text.lines() {
            if let Some(names) = line.trim_start().strip_prefix("// SEMANTICS: ") {
                quoted.extend(names.split(", ").map(str::to_owned));
            }
        }
    }
    let awaited: BTreeSet<String> = AWAITED.iter().map(ToString::to_string).collect();
    for name in quoted.difference(&named) {
        found.push(format!("{name} is quoted and not in SEMANTICS.md"));
    }
    for name in named.difference(&quoted).filter(|n| !awaited.contains(*n)) {
        found.push(format!("{name} is quoted by no test"));
    }
    for name in awaited
        .iter()
        .filter(|n| quoted.contains(*n) || !named.contains(*n))
    {
        found.push(format!("{name} need not be in AWAITED any more"));
    }
    assert_none(&found, "docs/SEMANTICS.md");
}

#[test]
fn no_path_of_somebodys_home_is_left() {
    let mut all: Vec<PathBuf> = ["src", "tests", "docs", "scripts", "benches", "examples"]
        .iter()
        .flat_map(|dir| files(dir))
        .collect();
    all.extend(["fuzz", ".ci", ".config"].iter().flat_map(|dir| files(dir)));
    let top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap());
    let is_text = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "md" || extension == "toml")
    };
    all.extend(top.map(|entry| entry.path()).filter(is_text));
    let mut found = Vec::new();
    for path in all.iter().filter(|path| !path.ends_with("tidy.rs")) {
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            let mut homes = ["/home/", "/Users/"].iter().flat_map(|parent| {
                line.split(parent)
                    .skip(1)
                    .map(|rest| words(rest).next().unwrap_or_default())
            });
            let has_home = homes.any(|name| !SAMPLE_HOMES.contains(&name));
            if has_home || line.contains("/root/") {
                found.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert_none(&found, "paths of one machine");
}

#[test]
fn the_reader_of_sources_sees_code_only() {
    let text = "fn a<'x>() { /* { */ let c = '{'; let s = \"fuser::\\\"}\"; } // lru::\nlet r = r#\"}\"#;\n\
                #[cfg(test)]\nmod tests { fn b() { dbg!(1) } }\nfn c() {\n}\n";
    let code = without_comments_and_literals(text);
    assert_eq!(code.lines().count(), text.lines().count());
    for hidden in ["fuser", "lru", "/*"] {
        assert!(!code.contains(hidden), "{code}");
    }
    let product = without_tests(&code);
    assert!(code.contains("dbg!") && !product.contains("dbg!"));
    assert_eq!(
        functions(&product),
        [("a".to_owned(), 1), ("c".to_owned(), 2)]
    );
    assert_eq!(
        rooms_used("use crate::{cache::{A, B}, fs::C}; crate::ftp::x()"),
        ["cache", "fs", "ftp"]
    );
}

/// The names of the options with two dashes, from the fields of the command line.
fn long_options() -> Vec<String> {
    let parts = ["arguments", "request", "tls"];
    let code: String = parts
        .iter()
        .map(|part| Source::read(&root().join(format!("src/cli/{part}.rs"))).code)
        .collect();
    let mut names = Vec::new();
    for (at, start) in code.match_indices("#[arg(") {
        let inside = bracketed(&code[at + start.len() - 1..]);
        if words(inside).any(|word| word == "long") {
            let field = &code[at + start.len() + inside.len()..];
            let name = words(field)
                .find(|word| !["pub", "super"].contains(word))
                .unwrap();
            names.push(name.replace('_', "-"));
        }
    }
    names
}

/// The names of the options that only `-o` has, from the tables.
fn mount_options() -> Vec<String> {
    let own = document("src/cli/mount_options.rs");
    let own = own
        .split_once("OWN_NAMES: &[&str] = &[")
        .and_then(|(_, rest)| rest.split_once("];"));
    let flags = document("src/config/flag.rs");
    let flags = flags
        .split_once("const FLAGS")
        .and_then(|(_, rest)| rest.split_once("];"));
    let tables = [own.unwrap().0, flags.unwrap().0];
    let names: Vec<String> = tables
        .iter()
        .flat_map(|table| table.split('"').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

/// Runs of letters, digits and underscores.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

fn first_words(paragraph: &str) -> String {
    paragraph.chars().take(60).collect()
}

/// The rooms behind each `crate::`, also in a list in braces.
fn rooms_used(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        if !rest.starts_with('{') {
            rooms.extend(words(rest).next().map(str::to_owned));
            continue;
        }
        let mut depth = 0;
        let mut is_start = true;
        for (index, c) in rest.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => is_start = true,
                _ if is_start && depth == 1 && !c.is_whitespace() => {
                    rooms.extend(words(&rest[index..]).next().map(str::to_owned));
                    is_start = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    rooms
}

/// What stands between the bracket that the text begins with and the one that closes it.
fn bracketed(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[1..at];
        }
    }
    panic!("a bracket is not closed: {}", first_words(text));
}

/// Each function with a body, and how many lines it has.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let is_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &code[at..];
        let name = words(&rest[3..]).next().unwrap_or_default();
        let body = rest.find(['{', ';']);
        let Some(body) = body.filter(|body| is_word && rest[*body..].starts_with('{')) else {
            continue;
        };
        let end = body + bracketed(&rest[body..]).len() + 2;
        found.push((name.to_owned(), rest[..end].lines().count()));
    }
    found
}

/// Blanks every item that is there for tests only.
fn without_tests(code: &str) -> String {
    let mut rest = code;
    let mut kept = String::new();
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = item.find(['{', ';']).unwrap_or(item.len() - 1);
        let end = if item[end..].starts_with('{') {
            end + bracketed(&item[end..]).len() + 2
        } else {
            end + 1
        };
        kept.extend(item[..end].chars().map(blank));
        rest = &item[end..];
    }
    kept + rest
}

fn blank(c: char) -> char {
    if c == '\n' { '\n' } else { ' ' }
}

/// Blanks comments, strings and characters; lines stay lines.
fn without_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = literal_or_comment(rest, code.chars().next_back());
        if length == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(blank));
            rest = &rest[length..];
        }
    }
    code
}

/// The length of the comment or literal that the text begins with; 0 if it begins with neither.
fn literal_or_comment(text: &str, before: Option<char>) -> usize {
    let to = |end: Option<usize>, len: usize| end.map_or(text.len(), |at| at + len);
    if text.starts_with("//") {
        return to(text.find('\n'), 0);
    }
    if text.starts_with("/*") {
        return to(text.find("*/"), 2);
    }
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    let is_in_word = before.is_some_and(|c| c.is_alphanumeric() && c != 'b' || c == '_');
    if let Some(raw) = text.strip_prefix('r').filter(|_| !is_in_word) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let start = hashes + 2;
            return to(text[start..].find(&close).map(|at| start + at), close.len());
        }
    }
    let mut chars = text.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\''), Some('\\'), _) => quoted(text, '\''),
        (Some('\''), Some(c), Some('\'')) => c.len_utf8() + 2,
        // A lifetime.
        _ => 0,
    }
}

/// The length of a literal between quotes, escapes in it honoured.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}
