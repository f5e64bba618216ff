//! The memory remote's own disk: directories, files and symbolic links by number, so that an open transfer keeps its
//! file through renames and removals as it does on a Unix server.

use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

use super::super::{RemoteErrorKind, RemotePath};

pub(super) type Answer<T> = Result<T, RemoteErrorKind>;
pub(super) type NodeId = u64;

/// How vsftpd says no, whatever the reason.
const REFUSED: RemoteErrorKind = RemoteErrorKind::Refused;

const ROOT: NodeId = 0;

/// Symbolic links followed in one path before it counts as a loop; Linux's own limit.
const LINKS_MAX: usize = 40;

/// What a path holds, for comparisons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is, and a file's bytes or a link's target.
    pub content: Content,
    /// When it was modified.
    pub modified: SystemTime,
    /// Permission bits.
    pub mode: u32,
}

/// What a [`Node`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file and its bytes.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Symlink(Box<[u8]>),
}

#[derive(Debug)]
pub(super) enum Stored {
    File(Vec<u8>),
    Directory(BTreeMap<Box<[u8]>, NodeId>),
    Symlink(Box<[u8]>),
}

#[derive(Debug)]
pub(super) struct Inode {
    pub(super) stored: Stored,
    pub(super) modified: SystemTime,
    pub(super) mode: u32,
    /// Transfers that hold it.
    opens: usize,
    /// Whether a directory still names it.
    is_linked: bool,
}

/// A name in a directory, and what it names at present.
#[derive(Debug)]
pub(super) struct Place {
    /// The directories from the root down to the one that holds the name.
    trail: Vec<NodeId>,
    /// Empty where the path ended in a directory itself: `/`, `.` or `..`.
    pub(super) name: Box<[u8]>,
    pub(super) node: Option<NodeId>,
}

impl Place {
    fn dir(trail: Vec<NodeId>) -> Self {
        Self {
            node: trail.last().copied(),
            name: Box::default(),
            trail,
        }
    }

    /// The directory that holds the name.
    pub(super) fn parent(&self) -> Answer<NodeId> {
        self.trail.last().copied().ok_or(REFUSED)
    }

    /// The directories from the root down to what the name names.
    fn into_trail(mut self) -> Answer<Vec<NodeId>> {
        if !self.name.is_empty() {
            self.trail.push(self.node.ok_or(REFUSED)?);
        }
        Ok(self.trail)
    }
}

#[derive(Debug)]
pub(super) struct Tree {
    nodes: HashMap<NodeId, Inode>,
    next: NodeId,
    /// Whether names that differ in case only are one name.
    pub(super) ignores_case: bool,
}

impl Tree {
    pub(super) fn new(now: SystemTime, mode: u32) -> Self {
        let stored = Stored::Directory(BTreeMap::new());
        let root = Inode {
            stored,
            modified: now,
            mode,
            opens: 0,
            is_linked: true,
        };
        Self {
            nodes: HashMap::from([(ROOT, root)]),
            next: ROOT + 1,
            ignores_case: false,
        }
    }

    pub(super) fn node(&self, id: NodeId) -> Answer<&Inode> {
        self.nodes.get(&id).ok_or(REFUSED)
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> Answer<&mut Inode> {
        self.nodes.get_mut(&id).ok_or(REFUSED)
    }

    pub(super) fn children(&self, dir: NodeId) -> Answer<&BTreeMap<Box<[u8]>, NodeId>> {
        match &self.node(dir)?.stored {
            Stored::Directory(children) => Ok(children),
            Stored::File(_) | Stored::Symlink(_) => Err(REFUSED),
        }
    }

    fn children_mut(&mut self, dir: NodeId) -> Answer<&mut BTreeMap<Box<[u8]>, NodeId>> {
        match &mut self.node_mut(dir)?.stored {
            Stored::Directory(children) => Ok(children),
            Stored::File(_) | Stored::Symlink(_) => Err(REFUSED),
        }
    }

    /// The bytes of a file.
    pub(super) fn file_mut(&mut self, id: NodeId) -> Answer<&mut Vec<u8>> {
        match &mut self.node_mut(id)?.stored {
            Stored::File(data) => Ok(data),
            Stored::Directory(_) | Stored::Symlink(_) => Err(REFUSED),
        }
    }

    /// What the path names, all symbolic links followed.
    pub(super) fn resolve(&self, path: &RemotePath) -> Answer<NodeId> {
        self.place_followed(path)?.node.ok_or(REFUSED)
    }

    /// The name that the path ends in; a symbolic link at the end is not followed.
    pub(super) fn place(&self, path: &RemotePath) -> Answer<Place> {
        self.walk(vec![ROOT], path.as_bytes(), 0)
    }

    /// The name that an upload to the path would write: through symbolic links, also dangling ones.
    pub(super) fn place_followed(&self, path: &RemotePath) -> Answer<Place> {
        self.follow(self.place(path)?, 0)
    }

    fn walk(&self, from: Vec<NodeId>, path: &[u8], links: usize) -> Answer<Place> {
        let mut place = Place::dir(if path.first() == Some(&b'/') {
            vec![ROOT]
        } else {
            from
        });
        for name in path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
        {
            let mut trail = self.follow(place, links)?.into_trail()?;
            place = match name {
                b"." => Place::dir(trail),
                b".." => {
                    // Nothing lies above the root: FTP users are locked into it.
                    trail.truncate(trail.len().saturating_sub(1).max(1));
                    Place::dir(trail)
                }
                _ => {
                    let (name, node) = self.find(*trail.last().ok_or(REFUSED)?, name)?;
                    Place { trail, name, node }
                }
            };
        }
        Ok(place)
    }

    /// The name as it is stored, and what it names.
    fn find(&self, dir: NodeId, name: &[u8]) -> Answer<(Box<[u8]>, Option<NodeId>)> {
        let children = self.children(dir)?;
        let mut stored = name;
        if self.ignores_case && !children.contains_key(name) {
            let mut names = children.keys();
            let other = names.find(|other| other.eq_ignore_ascii_case(name));
            stored = other.map_or(name, |other| &**other);
        }
        Ok((stored.into(), children.get(stored).copied()))
    }

    /// Spells a name otherwise.
    pub(super) fn respell(&mut self, place: &Place, name: &[u8]) -> Answer<()> {
        let id = place.node.ok_or(REFUSED)?;
        let children = self.children_mut(place.parent()?)?;
        children.remove(&place.name);
        children.insert(name.into(), id);
        Ok(())
    }

    fn follow(&self, place: Place, links: usize) -> Answer<Place> {
        let Some(node) = place.node else {
            return Ok(place);
        };
        let Stored::Symlink(target) = &self.node(node)?.stored else {
            return Ok(place);
        };
        if links >= LINKS_MAX {
            return Err(REFUSED);
        }
        let next = self.walk(place.trail, target, links + 1)?;
        self.follow(next, links + 1)
    }

    /// Puts something new at a free name.
    pub(super) fn add(
        &mut self,
        place: &Place,
        stored: Stored,
        mode: u32,
        now: SystemTime,
    ) -> Answer<NodeId> {
        if place.node.is_some() || RemotePath::check_name(&place.name).is_err() {
            return Err(REFUSED);
        }
        let id = self.next;
        self.children_mut(place.parent()?)?
            .insert(place.name.clone(), id);
        self.next += 1;
        self.nodes.insert(
            id,
            Inode {
                stored,
                modified: now,
                mode,
                opens: 0,
                is_linked: true,
            },
        );
        self.node_mut(place.parent()?)?.modified = now;
        Ok(id)
    }

    /// Takes a name and all below it away.
    pub(super) fn remove(&mut self, place: &Place, now: SystemTime) -> Answer<()> {
        let id = place.node.ok_or(REFUSED)?;
        if place.name.is_empty() {
            return Err(REFUSED);
        }
        self.children_mut(place.parent()?)?.remove(&place.name);
        self.node_mut(place.parent()?)?.modified = now;
        self.unlink(id);
        Ok(())
    }

    fn unlink(&mut self, id: NodeId) {
        let below: Vec<_> = self
            .children(id)
            .map(|all| all.values().copied().collect())
            .unwrap_or_default();
        for child in below {
            self.unlink(child);
        }
        if let Ok(node) = self.node_mut(id) {
            node.is_linked = false;
        }
        self.drop_unused(id);
    }

    /// Moves a name; the target must be free.
    pub(super) fn rename(&mut self, from: &Place, to: &Place, now: SystemTime) -> Answer<()> {
        let id = from.node.ok_or(REFUSED)?;
        if from.name.is_empty() || to.node.is_some() || to.trail.contains(&id) {
            return Err(REFUSED);
        }
        self.children_mut(to.parent()?)?.insert(to.name.clone(), id);
        self.children_mut(from.parent()?)?.remove(&from.name);
        self.node_mut(from.parent()?)?.modified = now;
        self.node_mut(to.parent()?)?.modified = now;
        Ok(())
    }

    /// A transfer takes hold of a file.
    pub(super) fn open(&mut self, id: NodeId) {
        if let Ok(node) = self.node_mut(id) {
            node.opens += 1;
        }
    }

    /// A transfer lets go of a file.
    pub(super) fn close(&mut self, id: NodeId) {
        if let Ok(node) = self.node_mut(id) {
            node.opens = node.opens.saturating_sub(1);
        }
        self.drop_unused(id);
    }

    fn drop_unused(&mut self, id: NodeId) {
        if self
            .nodes
            .get(&id)
            .is_some_and(|node| !node.is_linked && node.opens == 0)
        {
            self.nodes.remove(&id);
        }
    }

    /// The bytes of all files, and those of one of them.
    pub(super) fn used(&self, of: NodeId) -> (usize, usize) {
        let len = |node: &Inode| match &node.stored {
            Stored::File(data) => data.len(),
            Stored::Directory(_) | Stored::Symlink(_) => 0,
        };
        let all = self.nodes.values().map(len).sum();
        (all, self.nodes.get(&of).map_or(0, len))
    }

    /// All that is there, the root left out.
    pub(super) fn snapshot(&self) -> BTreeMap<RemotePath, Node> {
        let mut all = BTreeMap::new();
        let mut todo = vec![(RemotePath::root(), ROOT)];
        while let Some((path, dir)) = todo.pop() {
            for (name, id) in self.children(dir).into_iter().flatten() {
                let (Ok(path), Ok(node)) = (path.join(name), self.node(*id)) else {
                    continue;
                };
                if matches!(node.stored, Stored::Directory(_)) {
                    todo.push((path.clone(), *id));
                }
                all.insert(path, node.to_node());
            }
        }
        all
    }
}

impl Inode {
    pub(super) fn to_node(&self) -> Node {
        let content = match &self.stored {
            Stored::File(data) => Content::File(data.clone()),
            Stored::Directory(_) => Content::Directory,
            Stored::Symlink(target) => Content::Symlink(target.clone()),
        };
        Node {
            content,
            modified: self.modified,
            mode: self.mode,
        }
    }
}
