//! What the server has shown under which name, and whether anybody has asked for that.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use ftpfs::remote::memory::{Content, MemoryRemote};

use super::{Bytes, Claim, Ledger, Owner, deeds, is_hidden, moved, short};
use crate::{
    edits::{Made, is_behind, is_made, is_made_of, is_overlaid, replay},
    known,
};

/// A content that was under a name.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) path: String,
    /// Whether the other client has put it there.
    pub(super) is_others: bool,
    pub(super) content: Bytes,
    /// When it was seen to be gone, and in which step.
    pub(super) until: Option<(Instant, usize)>,
}

impl Ledger {
    /// Looks at what the server shows now; the first that is wrong.
    pub(crate) fn look(&mut self, server: &MemoryRemote, now: Instant) -> Option<String> {
        self.look_at(server, now, true)
    }

    /// Keeps in mind what the server shows in the middle of a step; what must not be lost is followed when the step is over.
    pub(super) fn glance(&mut self, server: &MemoryRemote, now: Instant) {
        self.look_at(server, now, false);
    }

    fn look_at(
        &mut self,
        server: &MemoryRemote,
        now: Instant,
        is_followed: bool,
    ) -> Option<String> {
        let mut tree: Vec<_> = server.tree().into_iter().collect();
        // What has a visible name too is there.
        tree.sort_by_key(|(path, _)| !is_hidden(&path.to_string()));
        let step = self.step;
        let mut wrong = None;
        let mut there = HashSet::new();
        let files = tree.iter().filter_map(|(_, node)| match &node.content {
            Content::File(content) => Some(content.clone()),
            _ => None,
        });
        let whole: HashSet<Vec<u8>> = files.collect();
        for (path, node) in tree {
            let second = deeds::second(node.modified);
            let Content::File(content) = node.content else {
                continue;
            };
            let at = path.to_string();
            let key = self.key(&at);
            self.versions.insert((key.clone(), content.len(), second));
            let content = Arc::new(content);
            let is_hidden = is_hidden(&at);
            let mut is_others = content.is_empty() && self.touched.contains(&key);
            let found = self.kept.iter().find(|kept| kept.content == content);
            is_others |= found.is_some_and(|kept| kept.owner == Owner::Other);
            is_others |= self.given.contains(&(key.clone(), content.clone()));
            if is_followed && self.is_original(&at) {
                self.follow(&key, &content, &whole);
            }
            if is_hidden {
                continue;
            }
            there.insert(key.clone());
            let is_doubtful = self.is_doubtful(&key);
            let is_overlaid = if is_doubtful {
                self.touched.contains(&key)
            } else {
                self.is_overlaid(&key, &content)
            };
            if is_overlaid && is_followed {
                self.kept
                    .retain(|kept| kept.name != key || kept.content == content);
            }
            if is_doubtful || is_overlaid {
                self.right.insert(content.clone());
            } else if !self.is_right(&content) {
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
                is_others,
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

    /// Follows what must not be lost to where it is now; `whole` is what all files hold.
    fn follow(&mut self, key: &str, content: &Bytes, whole: &HashSet<Vec<u8>>) {
        let is_hidden = is_hidden(key);
        for kept in &mut self.kept {
            // Something may have been appended to it.
            let is_part = content.starts_with(&kept.content) && !whole.contains(&**kept.content);
            if kept.content != *content && !is_part {
                continue;
            }
            key.clone_into(&mut kept.path);
            // The target of a rename and what is unlinked are moved to a hidden name first, and removed at leisure. What comes back
            // counts again.
            kept.is_aside &= is_hidden;
            if kept.is_aside && self.done.contains(&kept.name) {
                kept.claim = Claim::Ended;
            }
            if !is_hidden {
                key.clone_into(&mut kept.name);
            }
        }
    }

    /// Whether it is not certain what programs have made of this file, or it is the copy of such a one beside another's.
    fn is_doubtful(&self, key: &str) -> bool {
        let mut doubtful = self.doubtful.iter();
        doubtful.any(|doubtful| {
            let rest = key.strip_prefix(doubtful.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(".ftpfs-conflict-"))
        })
    }

    /// Whether these bytes may be what a file holds.
    fn is_right(&mut self, content: &Bytes) -> bool {
        if content.is_empty() || self.right.contains(content) {
            return true;
        }
        let mut made = self.made.iter();
        let is_right = made.any(|made| {
            is_made(made, content)
                || self.is_onto(made, content)
                || (self.writes_in_place && made.content.starts_with(content))
        });
        if is_right {
            self.right.insert(content.clone());
        }
        is_right
    }

    /// Whether others have changed the file in this step, while an append was under way: its bytes lie where the file ended before.
    fn is_overlaid(&self, key: &String, content: &Bytes) -> bool {
        if !self.touched.contains(key) || self.right.contains(content) {
            return false;
        }
        let shown = || self.shown.iter().filter(|shown| shown.path == *key);
        let ends: HashSet<usize> = shown().map(|shown| shown.content.len()).collect();
        let mut bases = shown().filter(|shown| shown.is_others);
        bases.any(|base| {
            let mut made = self.made.iter();
            made.any(|made| {
                let mut ends = ends.iter().filter(|end| **end != base.content.len());
                ends.any(|end| is_overlaid(made, &base.content, *end, content))
            })
        })
    }

    /// Whether a content is what a program has changed, on top of another version that was shown under the file's names since it was
    /// opened: a clean open file takes over what a look shows; a version of this moment is read without being noticed; others append at
    /// the same time. Whether that version may end thereby is for [`Self::judge`] to say.
    pub(crate) fn is_onto(&self, made: &Made, content: &[u8]) -> bool {
        let keys: Vec<String> = made.paths.iter().map(|path| self.key(path)).collect();
        let mut shown = self.shown.iter().filter(|shown| {
            shown.is_others
                && keys.contains(&shown.path)
                && shown.until.is_none_or(|(until, _)| until >= made.since)
        });
        let is_gone = keys.iter().any(|key| self.is_gone(key));
        shown.any(|shown| {
            is_made_of(made, &shown.content, content)
                || known::is_doubled_after_a_cut(made, &shown.content, content)
        })
            // What is appended to a file that others have removed begins a new one.
            || (is_gone && is_behind(made, &[], content))
    }

    /// A file that could not be sent is shown as it was written, on top of whatever version is there, until something is confirmed.
    pub(crate) fn show_unsent(&mut self, at: &str, made: &Made, now: Instant) {
        let key = self.key(at);
        let there = self.shown.iter();
        let there = there.filter(|shown| shown.path == key && shown.until.is_none());
        let mut contents: Vec<Vec<u8>> = there
            .map(|shown| replay(&made.edits, &shown.content))
            .collect();
        contents.push(made.content.to_vec());
        let until = Some((now + Duration::from_hours(10_000), self.step));
        self.shown.extend(contents.into_iter().map(|content| Shown {
            path: key.clone(),
            is_others: false,
            content: Arc::new(content),
            until,
        }));
    }

    /// What was shown under a name is shown under another one from now on.
    pub(crate) fn show_renamed(&mut self, from: &str, to: &str, now: Instant) {
        let (from, to) = (self.key(from), self.key(to));
        let step = self.step;
        let shown = self.shown.iter();
        let renamed: Vec<Shown> = shown
            .filter_map(|shown| {
                let path = moved(&shown.path, &from, &to)?;
                let (content, until) = (shown.content.clone(), shown.until.or(Some((now, step))));
                Some(Shown {
                    path,
                    is_others: shown.is_others,
                    content,
                    until,
                })
            })
            .collect();
        self.shown.extend(renamed);
        let doubtful = self.doubtful.iter();
        let doubtful: Vec<String> = doubtful
            .filter_map(|path| moved(path, &from, &to))
            .collect();
        self.doubtful.extend(doubtful);
        self.moves.push((from, to));
    }

    /// Whether a content was shown under a name, where the other client has put this since, or has removed it.
    pub(crate) fn has_given_way(&self, at: &str, content: &Bytes, there: Option<&Bytes>) -> bool {
        let key = self.key(at);
        let mut shown = self.shown.iter();
        let has_arrived = shown.any(|shown| shown.path == key && shown.content == *content);
        let mut kept = self.kept.iter();
        has_arrived
            && match there {
                None => self.is_gone(&key),
                Some(there) => {
                    kept.any(|kept| kept.owner == Owner::Other && kept.content == *there)
                }
            }
    }

    /// Whether the other client has removed what had this name, or a directory above it.
    fn is_gone(&self, key: &str) -> bool {
        let mut gone = self.gone.iter();
        gone.any(|gone| moved(key, gone, "").is_some())
    }

    /// What was shown under these names since then: to a file that has lost its name, what was confirmed later is nothing.
    pub(crate) fn shown_ever_since(&self, paths: &[String], since: Instant) -> Vec<Bytes> {
        let keys: Vec<String> = paths.iter().map(|path| self.key(path)).collect();
        let shown = self.shown.iter().filter(|shown| {
            keys.contains(&shown.path) && shown.until.is_none_or(|(until, _)| until >= since)
        });
        shown.map(|shown| shown.content.clone()).collect()
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
