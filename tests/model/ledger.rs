//! What must not be lost, and what may legitimately be there: the contents that programs and the other client have asked for.
//!
//! 1. *A content of the other client stays*, under whatever name, until that client changes it or a program asks for its end: it has
//!    opened that very content for writing, empties or removes the file, or renames another over it.
//! 2. *A content that a close or fsync has confirmed stays* in the same way.
//! 3. *A file that is shown holds nothing else* than a whole content that a program or the other client has asked for; or of a new file a beginning; or an old
//!    content with a beginning of what was appended; or, of a large file, old and new bytes each in their places.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use ftpfs::remote::memory::{Content, Loss, MemoryRemote};

use crate::{
    sequence::{Deed, NAMES},
    world::{path, pattern},
};

pub(crate) type Bytes = Arc<Vec<u8>>;

/// How old evidence may be: what others do in that time may be overwritten.
const AGE_MAX: Duration = Duration::from_secs(2);

/// A content that must not be lost.
#[derive(Debug)]
struct Kept {
    content: Bytes,
    path: String,
    made: Instant,
    owner: Owner,
    /// Whether a program has asked for its end.
    is_claimed: bool,
    /// Whether what it replaced had the same size and second, so that nobody could tell.
    is_twin: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Other,
    Confirmed,
}

/// A content that was under a name.
#[derive(Debug)]
struct Shown {
    path: String,
    content: Bytes,
    /// When it was seen to be gone, and in which step.
    until: Option<(Instant, usize)>,
}

/// A content that a program has made, and from what.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) content: Bytes,
    /// The length of what the server had before.
    pub(crate) old: Option<Bytes>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    kept: Vec<Kept>,
    shown: Vec<Shown>,
    made: Vec<Made>,
    /// Contents that were found right.
    right: HashSet<Bytes>,
    /// Paths of files of which it is not certain what programs have made.
    doubtful: HashSet<String>,
    /// Paths that the other client has changed in this step.
    touched: Vec<String>,
    /// Paths whose content programs replace in this step, whatever it is.
    replaced: Vec<String>,
    /// In which step a content was last confirmed there: what was shown before is not shown again.
    confirmed: HashMap<String, usize>,
    pub(crate) ignores_case: bool,
    deeds: usize,
    step: usize,
}

/// Whether it is one of the mount's own hidden names.
pub(crate) fn is_hidden(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = name.strip_prefix('.').unwrap_or(name);
    name.strip_suffix(".tmp")
        .is_some_and(|name| name.starts_with("ftpfs-"))
}

/// The path itself or what is below it, moved; `None` of another path.
pub(crate) fn moved(path: &str, from: &str, to: &str) -> Option<String> {
    let rest = path.strip_prefix(from)?;
    (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}"))
}

impl Ledger {
    /// The path as the server distinguishes paths.
    pub(crate) fn key(&self, path: &str) -> String {
        if self.ignores_case {
            path.to_lowercase()
        } else {
            path.to_owned()
        }
    }

    pub(crate) fn begin_step(&mut self) {
        self.step += 1;
        self.touched.clear();
        self.replaced.clear();
    }

    /// Whether the other client has changed this path, or one above or below it, in this step.
    pub(crate) fn is_touched(&self, path: &str) -> bool {
        let path = self.key(path);
        self.touched
            .iter()
            .any(|other| moved(other, &path, "").is_some() || moved(&path, other, "").is_some())
    }

    /// Programs replace or remove what is there, whatever it is, for as long as this step lasts.
    pub(crate) fn replace(&mut self, path: &str) {
        let key = self.key(path);
        self.claim_at(&key);
        self.replaced.push(key);
    }

    /// The same, without a claim on what is there after this step.
    pub(crate) fn may_replace(&mut self, path: &str) {
        let key = self.key(path);
        self.replaced.push(key);
    }

    /// A program may change what is there now.
    pub(crate) fn claim_at(&mut self, path: &str) {
        let key = self.key(path);
        for kept in self.kept.iter_mut().filter(|kept| kept.path == key) {
            kept.is_claimed = true;
        }
    }

    /// A program may change this content.
    pub(crate) fn claim(&mut self, content: &Bytes) {
        for kept in &mut self.kept {
            kept.is_claimed |= kept.content == *content;
        }
    }

    /// Whether the other client's file there is older than evidence may be.
    pub(crate) fn is_settled_at(&self, path: &str, now: Instant) -> bool {
        let key = self.key(path);
        let mut kept = self.kept.iter();
        kept.any(|kept| {
            kept.path == key
                && !kept.is_claimed
                && now.saturating_duration_since(kept.made) > AGE_MAX
        })
    }

    /// Whether the other client has made a file there that evidence need not show yet.
    pub(crate) fn is_new_at(&self, path: &str, now: Instant) -> bool {
        let key = self.key(path);
        let mut kept = self.kept.iter();
        kept.any(|kept| kept.path == key && now.saturating_duration_since(kept.made) <= AGE_MAX)
    }

    /// A program has made this.
    pub(crate) fn make(&mut self, made: Made) {
        self.made.push(made);
    }

    /// A program has made something that is not certain.
    pub(crate) fn doubt(&mut self, path: &str) {
        let key = self.key(path);
        self.doubtful.insert(key);
    }

    /// A program was told that this is on the server.
    pub(crate) fn confirm(&mut self, path: &str, content: Bytes, now: Instant) {
        self.keep(path, content, Owner::Confirmed, false, now);
        self.confirmed.insert(self.key(path), self.step);
    }

    fn keep(&mut self, path: &str, content: Bytes, owner: Owner, is_twin: bool, now: Instant) {
        let key = self.key(path);
        self.kept
            .retain(|kept| kept.path != key || kept.owner == Owner::Other);
        self.kept.retain(|kept| kept.content != content);
        self.right.insert(content.clone());
        if !content.is_empty() {
            self.kept.push(Kept {
                content,
                path: key,
                made: now,
                owner,
                is_claimed: false,
                is_twin,
            });
        }
    }

    /// The other client does something; what, in words, or nothing when it cannot.
    pub(crate) fn deed(&mut self, server: &MemoryRemote, deed: Deed, now: Instant) -> String {
        self.deeds += 1;
        let number = self.deeds;
        let seed = 0xBEEF_0000 + number as u64;
        let at = |name: usize| NAMES[name];
        let file = |name: usize| server.read_file(&path(at(name)));
        let is_dir = |text: &str| {
            let node = server.node(&path(text));
            text.is_empty() || node.is_some_and(|node| node.content == Content::Directory)
        };
        let parent = |text: &str| text.rsplit_once('/').map_or("", |(dir, _)| dir).to_owned();
        let can_store = |text: &str| is_dir(&parent(text)) && !is_dir(text);
        match deed {
            Deed::Stores(name, len) | Deed::Replaces(name, len) if can_store(at(name)) => {
                let content = pattern(len + number % 40, seed);
                if matches!(deed, Deed::Replaces(..)) {
                    server.remove(&path(at(name)));
                }
                self.put(server, at(name), content, now);
            }
            Deed::Appends(name, len) if file(name).is_some() => {
                let mut content = file(name).unwrap_or_default();
                content.extend(pattern(len + number % 40, seed));
                self.put(server, at(name), content, now);
            }
            Deed::Halves(name) if file(name).is_some() => {
                let mut content = file(name).unwrap_or_default();
                content.truncate(content.len() / 2);
                self.put(server, at(name), content, now);
            }
            Deed::Removes(name) if server.remove(&path(at(name))) => {
                let key = self.key(at(name));
                self.kept
                    .retain(|kept| moved(&kept.path, &key, "").is_none());
                self.touched.push(key);
            }
            Deed::Renames(from, to)
                if self.key(at(from)) != self.key(at(to))
                    && file(from).is_some()
                    && can_store(at(to)) =>
            {
                server.move_path(&path(at(from)), &path(at(to)));
                let (from, to) = (self.key(at(from)), self.key(at(to)));
                self.kept.retain(|kept| kept.path != to);
                for kept in self.kept.iter_mut().filter(|kept| kept.path == from) {
                    kept.path.clone_from(&to);
                    kept.made = now;
                }
                self.touched.extend([from, to]);
            }
            Deed::Chmods(name, mode) if file(name).is_some() => {
                server.set_mode(&path(at(name)), mode);
            }
            Deed::MakesDir(name)
                if is_dir(&parent(at(name))) && server.node(&path(at(name))).is_none() =>
            {
                server.write_dir(&path(at(name)));
                let key = self.key(at(name));
                self.touched.push(key);
            }
            _ => return format!("the other client cannot do {deed:?}"),
        }
        self.look(server, now);
        format!("the other client: {deed:?}")
    }

    /// The other client writes a file.
    fn put(&mut self, server: &MemoryRemote, at: &str, content: Vec<u8>, now: Instant) {
        let before = server.node(&path(at));
        server.write_file(&path(at), &content);
        let after = server.node(&path(at));
        let second = |time: std::time::SystemTime| {
            time.duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs())
        };
        let is_twin = match (before, after) {
            (Some(before), Some(after)) => {
                let len = |content: &Content| match content {
                    Content::File(data) => Some(data.len()),
                    _ => None,
                };
                len(&before.content) == len(&after.content)
                    && second(before.modified) == second(after.modified)
            }
            _ => false,
        };
        let key = self.key(at);
        self.kept.retain(|kept| kept.path != key);
        self.keep(at, Arc::new(content), Owner::Other, is_twin, now);
        self.touched.push(key);
    }

    /// Looks at what the server shows now; the first that is wrong.
    pub(crate) fn look(&mut self, server: &MemoryRemote, now: Instant) -> Option<String> {
        let tree = server.tree();
        let step = self.step;
        let mut wrong = None;
        let mut there = HashSet::new();
        for (path, node) in tree {
            let Content::File(content) = node.content else {
                continue;
            };
            let at = path.to_string();
            let key = self.key(&at);
            let content = Arc::new(content);
            if let Some(kept) = self.kept.iter_mut().find(|kept| kept.content == content) {
                kept.path.clone_from(&key);
            }
            if is_hidden(&at) {
                continue;
            }
            there.insert(key.clone());
            if !self.is_right(&content) && self.doubtful.is_empty() {
                wrong.get_or_insert_with(|| {
                    format!("{at} holds {} that nobody has asked for", short(&content))
                });
            }
            let last = self.shown.iter_mut().filter(|shown| shown.until.is_none());
            let mut last = last.filter(|shown| shown.path == key);
            match last.next() {
                Some(shown) if shown.content == content => continue,
                Some(shown) => shown.until = Some((now, step)),
                None => {}
            }
            self.shown.push(Shown {
                path: key,
                content,
                until: None,
            });
        }
        for shown in self.shown.iter_mut().filter(|shown| shown.until.is_none()) {
            if !there.contains(&shown.path) {
                shown.until = Some((now, step));
            }
        }
        wrong
    }

    /// Whether these bytes may be what a file holds.
    fn is_right(&mut self, content: &Bytes) -> bool {
        if content.is_empty() || self.right.contains(content) {
            return true;
        }
        let is_right = self.made.iter().any(|made| is_made(made, content))
            || self.made.iter().any(|made| {
                let old = made.old.as_ref().map_or(0, |old| old.len());
                let tail = made.content.get(old..).unwrap_or_default();
                self.right.iter().any(|right| {
                    let rest = content.strip_prefix(right.as_slice());
                    rest.is_some_and(|rest| tail.starts_with(rest))
                })
            });
        if is_right {
            self.right.insert(content.clone());
        }
        is_right
    }

    /// What was lost in this step and should not have been.
    pub(crate) fn judge(&mut self, losses: Vec<Loss>, server: &MemoryRemote) -> Option<String> {
        if losses.is_empty() {
            return None;
        }
        let files: Vec<Vec<u8>> = files(server).map(|(_, content)| content).collect();
        let is_there = |content: &Bytes| files.iter().any(|file| file.starts_with(content));
        for loss in losses {
            let at = self.key(&loss.path.to_string());
            let mut wrong = None;
            let replaced = &self.replaced;
            self.kept.retain(|kept| {
                if !loss.content.starts_with(&kept.content) || is_there(&kept.content) {
                    return true;
                }
                let age = loss.at.saturating_duration_since(kept.made);
                let is_wanted = kept.is_claimed
                    || replaced.contains(&kept.path)
                    || replaced.contains(&at);
                let is_unseen = kept.owner == Owner::Other
                    && (kept.is_twin || age <= AGE_MAX || loss.is_late);
                if !is_wanted && !is_unseen {
                    wrong = Some(format!(
                        "{:?} of {} has destroyed {}, {:?} {age:?} before, and nobody has asked for that",
                        loss.operation,
                        loss.path,
                        short(&kept.content),
                        kept.owner
                    ));
                }
                false
            });
            if wrong.is_some() {
                return wrong;
            }
        }
        None
    }

    /// What should be on the server and is not, in the end.
    pub(crate) fn missing(&self, server: &MemoryRemote) -> Option<String> {
        let files: Vec<_> = files(server).collect();
        let missing = self.kept.iter().find(|kept| {
            !kept.is_claimed
                && !files
                    .iter()
                    .any(|(_, file)| file.starts_with(&kept.content))
        })?;
        Some(format!(
            "{} of {:?}, once {}, is nowhere",
            short(&missing.content),
            missing.owner,
            missing.path
        ))
    }

    /// Whether this content must not be lost.
    pub(crate) fn is_kept(&self, content: &[u8]) -> bool {
        self.kept.iter().any(|kept| **kept.content == *content)
    }

    /// What was shown under these names since then, and was not replaced by what was confirmed later.
    pub(crate) fn shown_since(&self, paths: &[String], since: Instant) -> Vec<Bytes> {
        let keys: Vec<String> = paths.iter().map(|path| self.key(path)).collect();
        let may_be_shown = |shown: &&Shown| {
            let confirmed = self.confirmed.get(&shown.path).copied().unwrap_or(0);
            let is_recent = |(until, step)| until >= since && step > confirmed;
            keys.contains(&shown.path) && shown.until.is_none_or(is_recent)
        };
        let shown = self.shown.iter().filter(may_be_shown);
        shown.map(|shown| shown.content.clone()).collect()
    }
}

/// Whether a content is what a program has made, or a state on the way to it.
fn is_made(made: &Made, content: &Bytes) -> bool {
    if made.content == *content {
        return true;
    }
    match &made.old {
        None => made.content.starts_with(content),
        Some(old) if old.is_empty() => made.content.starts_with(content),
        // Ranges of a large file.
        Some(old) => {
            old.len() >= 1 << 20
                && (old.len()..=made.content.len()).contains(&content.len())
                && content.iter().enumerate().all(|(at, byte)| {
                    old.get(at) == Some(byte) || made.content.get(at) == Some(byte)
                })
        }
    }
}

/// All files of the server.
pub(crate) fn files(server: &MemoryRemote) -> impl Iterator<Item = (String, Vec<u8>)> {
    let tree = server.tree().into_iter();
    tree.filter_map(|(path, node)| match node.content {
        Content::File(content) => Some((path.to_string(), content)),
        _ => None,
    })
}

/// A content in a few words.
pub(crate) fn short(content: &[u8]) -> String {
    let first = content.iter().take(4).map(|byte| format!("{byte:02x}"));
    format!("{} bytes ({}..)", content.len(), first.collect::<String>())
}
