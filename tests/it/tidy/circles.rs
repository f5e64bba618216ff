//! Who imports whom inside a room, and the circles in that: files that can only be understood together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Source, assert_none, bracketed, first_words, sources, words};

/// Rooms that still have circles, and how many of their files stand in one. A number that is not right any more, higher or
/// lower, fails; a room without circles must go from here.
const KNOWN: &[(&str, usize)] = &[
    // The double for tests: what becomes of its calls takes it as an argument.
    ("remote", 4),
];

/// What each module imports from the other modules of its room.
#[derive(Debug, Default)]
struct Imports(BTreeMap<String, BTreeSet<String>>);

/// A file as a module.
struct Module<'a> {
    name: String,
    /// The code without its `use` items.
    body: String,
    uses: Vec<Use>,
    children: Vec<&'a str>,
}

/// One name that a `use` item brings in.
struct Use {
    /// From the crate on: `cache::disk::slot::Slot`.
    path: Vec<String>,
    /// What it is called here.
    name: String,
    is_public: bool,
}

#[test]
fn no_room_has_an_import_circle() {
    let sources = sources(&["src"]);
    let code = sources
        .iter()
        .map(|source: &Source| (source.path.as_str(), source.product.as_str()));
    let imports = Imports::of(code);
    assert_none(
        &judge(&imports, KNOWN),
        "files import each other in a circle",
    );
}

/// The circles of each room where there are more or fewer than known.
fn judge(imports: &Imports, known: &[(&str, usize)]) -> Vec<String> {
    let known: BTreeMap<_, _> = known.iter().copied().collect();
    let knots = imports.knots();
    let with_circles = knots.iter().flat_map(|knot| knot.iter().map(|m| room(m)));
    let rooms: BTreeSet<_> = with_circles.chain(known.keys().copied()).collect();
    let mut found = Vec::new();
    for name in rooms {
        let is_here = |knot: &&BTreeSet<&str>| knot.iter().all(|module| room(module) == name);
        let here: Vec<_> = knots.iter().filter(is_here).collect();
        let count: usize = here.iter().map(|knot| knot.len()).sum();
        let expected = known.get(name).copied();
        if expected == Some(count) && count > 0 {
            continue;
        }
        if let Some(expected) = expected {
            found.push(format!("{name}: {count} files, and KNOWN says {expected}"));
        }
        found.extend(here.iter().map(|knot| {
            let all: Vec<_> = knot.iter().copied().collect();
            let circle = imports.circle(knot).join(" -> ");
            format!("{circle} (of {})", all.join(" "))
        }));
    }
    found
}

impl Imports {
    /// Reads files, each with its path and its code without comments, literals and tests.
    fn of<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let modules: BTreeMap<String, Module<'_>> = files
            .map(|(path, code)| Module::parse(path, code))
            .map(|module| (module.name.clone(), module))
            .collect();
        let mut imports = Self::default();
        for module in modules.values() {
            let mut used = BTreeSet::new();
            let brought = module.uses.iter().filter(|item| {
                !item.is_public || words(&module.body).any(|word| word == item.name)
            });
            for path in brought.map(|item| item.path.clone()).chain(module.paths()) {
                used.extend(defining(&modules, path));
            }
            let room = room(&module.name);
            used.retain(|other| *other != module.name && self::room(other) == room);
            imports.0.insert(module.name.clone(), used);
        }
        imports
    }

    fn of_module(&self, module: &str) -> impl Iterator<Item = &str> {
        self.0.get(module).into_iter().flatten().map(String::as_str)
    }

    /// All that can be come to from a module.
    fn reach(&self, module: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<&str> = self.of_module(module).collect();
        while let Some(next) = waiting.pop() {
            if reached.insert(next) {
                waiting.extend(self.of_module(next));
            }
        }
        reached
    }

    /// The largest sets of modules each of which leads to all others.
    fn knots(&self) -> BTreeSet<BTreeSet<&str>> {
        let reach: BTreeMap<&str, _> = self.0.keys().map(|m| (m.as_str(), self.reach(m))).collect();
        let knot_of = |module: &str| -> BTreeSet<&str> {
            let reached = reach[module].iter().copied();
            reached
                .filter(|other| reach[other].contains(module))
                .collect()
        };
        let knots = self.0.keys().map(|module| knot_of(module));
        knots.filter(|knot| !knot.is_empty()).collect()
    }

    /// A shortest circle within a knot, from its first module back to it.
    fn circle<'a>(&self, knot: &BTreeSet<&'a str>) -> Vec<&'a str> {
        let mut shortest = Vec::new();
        for start in knot {
            let mut waiting = VecDeque::from([vec![*start]]);
            let mut seen = BTreeSet::new();
            'search: while let Some(way) = waiting.pop_front() {
                for next in knot {
                    let leads = self.0[way[way.len() - 1]].contains(*next);
                    if leads && next == start {
                        let way = [way, vec![*start]].concat();
                        if shortest.is_empty() || way.len() < shortest.len() {
                            shortest = way;
                        }
                        break 'search;
                    }
                    if leads && seen.insert(*next) {
                        waiting.push_back([way.as_slice(), &[*next]].concat());
                    }
                }
            }
        }
        shortest
    }
}

impl<'a> Module<'a> {
    fn parse(path: &str, code: &'a str) -> Self {
        let below = path.strip_prefix("src/").unwrap_or(path);
        let name = below
            .strip_suffix(".rs")
            .unwrap_or(below)
            .replace('/', "::");
        let mut module = Self {
            name,
            body: String::new(),
            uses: Vec::new(),
            children: Vec::new(),
        };
        let mut rest = code;
        while let Some((at, item)) = next_use(rest) {
            let before = rest[..at].trim_end();
            let is_public = before.ends_with("pub") || before.ends_with(')');
            module.body.push_str(&rest[..at]);
            for (path, name) in tree(item) {
                let path = module.absolute(&path);
                module.uses.push(Use {
                    path,
                    name,
                    is_public,
                });
            }
            rest = &rest[at + "use ".len() + item.len()..];
        }
        module.body.push_str(rest);
        let declared = code.match_indices("mod ");
        let declared = declared.filter(|(at, _)| is_start(code, *at));
        let names = declared.filter_map(|(at, word)| code[at + word.len()..].split_once(';'));
        module.children = names
            .map(|(name, _)| name.trim())
            .filter(|name| words(name).eq([*name]))
            .collect();
        module
    }

    /// A path as it is written here, from the crate on.
    fn absolute(&self, path: &[String]) -> Vec<String> {
        let mut from: Vec<String> = self.name.split("::").map(str::to_owned).collect();
        let mut rest = path;
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => from.clear(),
                "super" => drop(from.pop()),
                "self" => {}
                _ => break,
            }
            rest = others;
        }
        from.extend(rest.iter().cloned());
        from
    }

    /// The paths in the code that begin at another module, or at a child of this one.
    fn paths(&self) -> impl Iterator<Item = Vec<String>> {
        let colons = self.body.match_indices("::");
        let firsts = colons.filter_map(|(at, _)| {
            let head = &self.body[..at];
            let before = head.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
            let (start, first) = (before.len(), &head[before.len()..]);
            let is_first = !head[..start].ends_with("::");
            let is_way = ["crate", "super", "self"].contains(&first);
            (is_first && (is_way || self.children.contains(&first))).then_some(start)
        });
        firsts.map(|start| {
            let whole =
                self.body[start..].split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
            let whole = whole.take(1).flat_map(|whole| whole.split("::"));
            let path: Vec<String> = whole.filter(|s| !s.is_empty()).map(str::to_owned).collect();
            self.absolute(&path)
        })
    }
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// The module in which what a path names is defined: re-exports and imports on the way are followed.
fn defining(modules: &BTreeMap<String, Module<'_>>, path: Vec<String>) -> Option<String> {
    let mut path = path;
    // No chain of re-exports is longer; one that leads back to itself ends here.
    for _ in 0..8 {
        let length = (1..=path.len())
            .rev()
            .find(|length| modules.contains_key(&path[..*length].join("::")))?;
        let module = &modules[&path[..length].join("::")];
        let item = path.get(length);
        let passed_on = item.and_then(|item| module.uses.iter().find(|used| used.name == *item));
        match passed_on {
            Some(used) if used.path != path[..=length] => {
                path = [used.path.as_slice(), &path[length + 1..]].concat();
            }
            _ => return Some(module.name.clone()),
        }
        // What comes from another package leaves the name with the module that passes it on.
        if !modules.contains_key(room(&path.join("::"))) {
            return None;
        }
    }
    None
}

/// Whether a word starts here and not in the middle of another.
fn is_start(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The next `use` item: where it starts, and what it names.
fn next_use(code: &str) -> Option<(usize, &str)> {
    let mut found = code
        .match_indices("use ")
        .filter(|(at, _)| is_start(code, *at));
    let (at, word) = found.next()?;
    let rest = &code[at + word.len()..];
    Some((at, &rest[..rest.find(';').unwrap_or(rest.len())]))
}

/// All paths of a `use` tree, each with the name that it brings in.
fn tree(text: &str) -> Vec<(Vec<String>, String)> {
    let text = text.trim();
    let (path, inner) = match text.find('{') {
        Some(at) => (&text[..at], Some(bracketed(&text[at..]))),
        None => (text, None),
    };
    let (path, alias) = path.split_once(" as ").unwrap_or((path, ""));
    let mut path: Vec<String> = words(path).map(str::to_owned).collect();
    let Some(inner) = inner else {
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        let name = match alias.trim() {
            "" => path.last().cloned().unwrap_or_default(),
            alias => alias.to_owned(),
        };
        return vec![(path, name)];
    };
    let mut found = Vec::new();
    for part in separated(inner) {
        for (below, name) in tree(part) {
            let is_own = below == ["self"];
            let below = if is_own { Vec::new() } else { below };
            let whole = [path.as_slice(), &below].concat();
            let last = whole.last().cloned().unwrap_or_else(|| first_words(text));
            found.push((whole, if is_own && name == "self" { last } else { name }));
        }
    }
    found
}

/// What stands between the commas that are in no brackets.
fn separated(text: &str) -> Vec<&str> {
    let (mut depth, mut start) = (0, 0);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// The circles of made-up files.
fn circles(files: &[(&str, &str)]) -> Vec<String> {
    judge(&Imports::of(files.iter().copied()), &[])
}

#[test]
fn circles_of_two_and_three_are_found() {
    let two = [
        ("src/a.rs", "mod b; mod c;"),
        ("src/a/b.rs", "use super::c::{D, e::F};"),
        ("src/a/c.rs", "fn f() { super::b::g() }"),
    ];
    assert_eq!(circles(&two), ["a::b -> a::c -> a::b (of a::b a::c)"]);
    let three = [
        ("src/a/b.rs", "use crate::{a::c, other::W};"),
        ("src/a/c.rs", "use std::fmt; use super::d::{self, Y as Z};"),
        ("src/a/d.rs", "fn f(x: &crate::a::b::X) {}"),
        ("src/a/e.rs", "use super::b; use super::d;"),
    ];
    assert_eq!(
        circles(&three),
        ["a::b -> a::c -> a::d -> a::b (of a::b a::c a::d)"]
    );
}

#[test]
fn a_parent_and_its_child_are_a_circle_where_each_names_the_other() {
    let parent = "mod b; struct A; fn f() { b::g() }";
    let child = ("src/a/b.rs", "use super::A;");
    assert_eq!(
        circles(&[("src/a.rs", parent), child]),
        ["a -> a::b -> a (of a a::b)"]
    );
    let alone = "mod b; pub use b::C; struct A;";
    assert!(circles(&[("src/a.rs", alone), child]).is_empty());
    let used = "mod b; pub(super) use b::C; struct A(C);";
    assert_eq!(circles(&[("src/a.rs", used), child]).len(), 1);
}

#[test]
fn what_a_parent_passes_on_is_imported_from_where_it_is_defined() {
    let parent = (
        "src/a.rs",
        "mod b; mod c; pub(crate) use b::{B, B as Bee}; pub use c::f;",
    );
    let other = ("src/a/c.rs", "use super::B; fn f() {}");
    let b = |code| ("src/a/b.rs", code);
    assert!(circles(&[parent, other, b("struct B;")]).is_empty());
    let circle = ["a::b -> a::c -> a::b (of a::b a::c)"];
    assert_eq!(circles(&[parent, other, b("use crate::a::f;")]), circle);
    let renamed = ("src/a/c.rs", "fn f(b: super::Bee) {}");
    assert_eq!(circles(&[parent, renamed, b("use super::f;")]), circle);
}

#[test]
fn rooms_may_be_named_both_ways_and_known_circles_are_passed() {
    let rooms = [
        ("src/a.rs", "use crate::b::B;"),
        ("src/b.rs", "use crate::a::A;"),
    ];
    assert!(circles(&rooms).is_empty());
    let files = [
        ("src/a/b.rs", "use super::c;"),
        ("src/a/c.rs", "use super::b;"),
    ];
    let imports = Imports::of(files.into_iter());
    assert!(judge(&imports, &[("a", 2)]).is_empty());
    for known in [3, 1] {
        let found = judge(&imports, &[("a", known)]);
        assert_eq!(found[0], format!("a: 2 files, and KNOWN says {known}"));
        assert_eq!(found[1], "a::b -> a::c -> a::b (of a::b a::c)");
    }
    let unneeded = judge(&imports, &[("a", 2), ("b", 2)]);
    assert_eq!(unneeded, ["b: 0 files, and KNOWN says 2"]);
}
