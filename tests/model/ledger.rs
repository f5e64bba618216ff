//! What must not be lost, and what may legitimately be there: the contents that programs and the other client have asked for.
//!
//! 1. *A content of the other client stays*, under whatever name, until that client changes it or a program asks for its end: it has
//!    opened that very content for writing, empties or removes the file, or renames another over it.
//! 2. *A content that a close or fsync has confirmed stays* in the same way.
//! 3. *A file that is shown holds nothing else* than a whole content that a program or the other client has asked for; or of a new file a beginning; or an old
//!    content with a beginning of what was appended; or, of a large file, old and new bytes each in their places.

mod deeds;
mod shown;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use ftpfs::remote::memory::{Content, Loss, MemoryRemote};

use self::shown::Shown;
use crate::{edits::Made, known};

pub(crate) type Bytes = Arc<Vec<u8>>;

/// How old evidence may be: what others do in that time may be overwritten.
const AGE_MAX: Duration = Duration::from_secs(2);

/// A content that must not be lost.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a reason of its own for which it may end"
)]
struct Kept {
    content: Bytes,
    /// Where it is now.
    path: String,
    /// The last name that was not one of the mount's own.
    name: String,
    made: Instant,
    owner: Owner,
    claim: Claim,
    /// Whether what it replaced had the same size and second, so that nobody could tell.
    is_twin: bool,
    /// Whether ftpfs has listed its directory or asked for it since it is there.
    is_seen: bool,
    /// Whether a step that may replace what has its name has moved it to a hidden one.
    is_aside: bool,
    /// Whether a change that replaces or removes it has timed out: the server may carry that out when it wakes up.
    may_end_late: bool,
}

/// What programs have asked for that ends a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// Nothing.
    No,
    /// One changes it: it may give way to what is made of it, so that something always has its name.
    Changed,
    /// One has removed it, or has put another file in its place, and was told so.
    Ended,
}

impl Kept {
    /// Whether it has this name, or only a copy of it is left that was on its way there.
    fn is_called(&self, key: &str) -> bool {
        self.path == key || (self.name == key && !self.is_aside)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Other,
    Confirmed,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    kept: Vec<Kept>,
    shown: Vec<Shown>,
    made: Vec<Made>,
    /// The last parts of hidden names under which files went up: what they hold is not what was moved out of the way.
    uploads: HashSet<String>,
    /// What the other client has given a name by a rename, and that name.
    given: HashSet<(String, Bytes)>,
    /// Copies beside other versions that the other client has removed with their directory.
    ended: Vec<Bytes>,
    /// Contents that were found right.
    right: HashSet<Bytes>,
    /// Paths of files of which it is not certain what programs have made.
    doubtful: HashSet<String>,
    /// Paths from which the other client has removed or renamed a file.
    gone: HashSet<String>,
    /// Paths of which a program was told that it is not known what has arrived.
    unsure: HashSet<String>,
    /// Paths that the other client has changed in this step.
    touched: Vec<String>,
    /// Paths whose content programs replace in this step, whatever it is.
    replaced: Vec<String>,
    /// What programs have renamed in this step.
    moves: Vec<(String, String)>,
    /// Those of them of which a program was told in this step that it is done.
    done: Vec<String>,
    /// Paths whose content no program changes any more after this step.
    released: Vec<String>,
    /// Lengths and seconds of what had a path: nobody can tell apart what has the same.
    versions: HashSet<(String, usize, u64)>,
    /// In which step a content was last confirmed there: what was shown before is not shown again.
    confirmed: HashMap<String, usize>,
    pub(crate) ignores_case: bool,
    /// Whether files are written in place, as the server knows no renaming.
    pub(crate) writes_in_place: bool,
    deeds: usize,
    step: usize,
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Whether it is one of the mount's own hidden names.
pub(crate) fn is_hidden(path: &str) -> bool {
    let name = last(path);
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
        self.done.clear();
        self.moves.clear();
        for key in std::mem::take(&mut self.released) {
            for kept in self.kept.iter_mut().filter(|kept| kept.path == key) {
                kept.claim = Claim::No;
            }
        }
    }

    /// Whether the other client has changed this path, or one above or below it, in this step.
    pub(crate) fn is_touched(&self, path: &str) -> bool {
        let path = self.key(path);
        self.touched
            .iter()
            .any(|other| moved(other, &path, "").is_some() || moved(&path, other, "").is_some())
    }

    /// A program replaces or removes what is there, whatever it is, for as long as this step lasts.
    pub(crate) fn replace(&mut self, path: &str) {
        let key = self.key(path);
        for kept in self.kept.iter_mut().filter(|kept| kept.is_called(&key)) {
            kept.is_aside = true;
        }
        self.replaced.push(key);
    }

    /// A program was told how that went; what has failed may happen late, all the same.
    pub(crate) fn end_replacing(&mut self, path: &str, is_done: bool) {
        let key = self.key(path);
        if !self.replaced.contains(&key) {
            return;
        }
        // What others have put there in this step is concerned as well.
        for kept in self.kept.iter_mut().filter(|kept| kept.is_called(&key)) {
            kept.is_aside = true;
            kept.may_end_late |= !is_done;
        }
        if is_done {
            self.done.push(key);
        }
    }

    /// A program may change what is there now.
    pub(crate) fn claim_at(&mut self, path: &str) {
        let key = self.key(path);
        for kept in self.kept.iter_mut().filter(|kept| kept.path == key) {
            kept.claim = kept.claim.max(Claim::Changed);
        }
    }

    /// A program may change this content.
    pub(crate) fn claim(&mut self, content: &Bytes) {
        for kept in self.kept.iter_mut().filter(|kept| kept.content == *content) {
            kept.claim = kept.claim.max(Claim::Changed);
        }
    }

    /// After this step, no program changes what is there any more.
    pub(crate) fn release(&mut self, path: &str) {
        let key = self.key(path);
        self.released.push(key);
    }

    /// After this step, no program changes anything any more.
    pub(crate) fn release_all(&mut self) {
        let visible = self.kept.iter().filter(|kept| !is_hidden(&kept.path));
        let visible: Vec<String> = visible.map(|kept| kept.path.clone()).collect();
        self.released.extend(visible);
    }

    /// ftpfs begins to store a file.
    pub(crate) fn upload(&mut self, path: &str) {
        if is_hidden(path) {
            self.uploads.insert(last(path).to_owned());
        }
    }

    /// Whether a file may be one that was there before: it has a visible name, or was moved to a hidden one.
    fn is_original(&self, path: &str) -> bool {
        !is_hidden(path) || !self.uploads.contains(last(path))
    }

    /// Copies beside other versions that the other client has removed.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &Bytes> {
        self.ended.iter()
    }

    /// Whether nobody can tell this content from what had its name before.
    pub(crate) fn is_twin(&self, content: &[u8]) -> bool {
        let mut kept = self.kept.iter();
        kept.any(|kept| kept.is_twin && **kept.content == *content)
    }

    /// ftpfs lists a directory, or asks for a file.
    pub(crate) fn see(&mut self, path: &str, is_list: bool) {
        let key = self.key(path);
        for kept in &mut self.kept {
            let dir = kept.path.rsplit_once('/').map_or("", |(dir, _)| dir);
            kept.is_seen |= if is_list {
                dir == key.trim_end_matches('/')
            } else {
                kept.path == key
            };
        }
    }

    /// A clean open file takes over the version that a look has shown: what a program writes from then on goes into that.
    pub(crate) fn claim_seen(&mut self, path: &str) {
        let key = self.key(path);
        let kept = self.kept.iter_mut();
        for kept in kept.filter(|kept| kept.path == key && kept.is_seen) {
            kept.claim = kept.claim.max(Claim::Changed);
        }
    }

    /// Whether the other client's file there is older than evidence may be.
    pub(crate) fn is_settled_at(&self, path: &str, now: Instant) -> bool {
        let key = self.key(path);
        let mut kept = self.kept.iter();
        kept.any(|kept| {
            kept.path == key
                && kept.claim == Claim::No
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

    /// A program was told that it is not known what has arrived there.
    pub(crate) fn unsure(&mut self, path: &str) {
        let key = self.key(path);
        self.unsure.insert(key);
    }

    /// A program was told that this is on the server.
    pub(crate) fn confirm(&mut self, path: &str, content: Bytes, now: Instant) {
        let key = self.key(path);
        self.doubtful.remove(&key);
        self.keep(path, content, Owner::Confirmed, false, now);
        self.confirmed.insert(self.key(path), self.step);
    }

    fn keep(&mut self, path: &str, content: Bytes, owner: Owner, is_twin: bool, now: Instant) {
        let key = self.key(path);
        // What a program has changed has given way to this, or is a part of it.
        self.kept.retain(|kept| {
            let stays = kept.owner == Owner::Other && kept.claim == Claim::No;
            (stays || owner == Owner::Other || kept.name != key) && kept.content != content
        });
        self.right.insert(content.clone());
        if !content.is_empty() {
            self.kept.push(Kept {
                content,
                name: key.clone(),
                path: key,
                made: now,
                owner,
                claim: Claim::No,
                is_twin,
                is_seen: owner == Owner::Confirmed,
                is_aside: false,
                may_end_late: false,
            });
        }
    }

    /// What was lost in this step and should not have been.
    pub(crate) fn judge(&mut self, losses: Vec<Loss>, server: &MemoryRemote) -> Option<String> {
        if losses.is_empty() {
            return None;
        }
        let files: Vec<(String, Vec<u8>)> = files(server)
            .filter(|(path, _)| self.is_original(path))
            .map(|(path, content)| (self.key(&path), content))
            .collect();
        let is_there = |content: &Bytes| files.iter().any(|(_, file)| file.starts_with(content));
        let others = self.kept.iter().filter(|kept| kept.owner == Owner::Other);
        let others: HashSet<Bytes> = others.map(|kept| kept.content.clone()).collect();
        // Whether a name holds a file that is not the other client's.
        let holds_ours = |path: &String| {
            let mut files = files.iter();
            files.any(|(at, file)| at == path && !others.contains(file))
        };
        let (touched, moves) = (&self.touched, &self.moves);
        // What programs have put in the place of something by a rename may be the other client's too.
        let renamed_over: HashSet<String> = moves
            .iter()
            .filter(|(from, to)| {
                let mut others = self
                    .kept
                    .iter()
                    .filter(|kept| kept.name == *from || kept.name == *to);
                others.any(|kept| {
                    files
                        .iter()
                        .any(|(at, file)| at == to && *file == **kept.content)
                })
            })
            .map(|(_, to)| to.clone())
            .collect();
        for loss in losses {
            let at = self.key(&loss.path.to_string());
            let mut wrong = None;
            let replaced = &self.replaced;
            self.kept.retain(|kept| {
                if !loss.content.starts_with(&kept.content) || is_there(&kept.content) {
                    return true;
                }
                let age = loss.at.saturating_duration_since(kept.made);
                let has_given_way = || {
                    let renamed = moves.iter().filter_map(|(from, to)| moved(&kept.name, from, to));
                    holds_ours(&kept.name)
                        || touched.contains(&kept.name)
                        || renamed_over.contains(&kept.name)
                        || renamed.into_iter().any(|name| holds_ours(&name))
                };
                let is_wanted = match kept.claim {
                    Claim::Ended => true,
                    Claim::Changed => has_given_way(),
                    Claim::No => kept.is_aside && has_given_way(),
                };
                let is_wanted = is_wanted
                    || known::is_written_in_place_again(self.writes_in_place, &self.unsure, &loss, &at)
                    || (kept.may_end_late && loss.is_late)
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
            kept.claim == Claim::No
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

    /// Whether a file that is shown has held this.
    pub(crate) fn was_right(&self, content: &[u8]) -> bool {
        self.right.iter().any(|right| right.as_slice() == content)
    }

    /// Whether this content must not be lost.
    pub(crate) fn is_kept(&self, content: &[u8]) -> bool {
        self.kept.iter().any(|kept| **kept.content == *content)
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
