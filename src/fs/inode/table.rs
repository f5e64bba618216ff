//! The nodes of the inode table: which name leads to which, and what each needs to be known for.

use std::sync::Arc;

use hashbrown::HashMap;

use super::crowd::Crowd;
use crate::{
    cache::{ListingId, Version},
    fs::{file::OpenFile, number::Ino},
    local::HashKey,
    remote::{EntryKind, RemotePath},
};

/// Numbers have so many bits. 53: what a double holds exactly, in which JavaScript keeps them.
const NUMBER_BITS: u32 = 53;

#[derive(Debug)]
pub(super) struct Table {
    pub(super) nodes: HashMap<Ino, Node>,
    pub(super) crowd: Crowd,
    /// Names that the kernel is to look up again.
    pub(super) doubtful: Vec<(Ino, Arc<[u8]>)>,
    pub(super) is_closed: bool,
    /// Without it nobody can choose names that get the same number.
    key: HashKey,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: Ino,
    pub(super) name: Arc<[u8]>,
    pub(super) kind: EntryKind,
    pub(super) lookups: u64,
    /// Whether the name still leads here; false after unlink, rmdir, or another file took the name.
    pub(super) is_linked: bool,
    pub(super) file: Option<Arc<OpenFile>>,
    /// The content that the kernel's pages are of, from the last time the file was open; boxed because few files are opened.
    pub(super) last_version: Option<Box<Version>>,
    /// Only directories have any; boxed because most inodes are files, which should not carry an empty map.
    pub(super) children: Option<Box<Children>>,
}

/// What the kernel's pages of a directory's names are good for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KernelNames {
    /// What is in them is not known.
    #[default]
    Unknown,
    /// The directory was read last without attributes. Such pages are of no use, and to fill them costs as much as to read again.
    Bare,
    /// They are of this listing, which the kernel was given whole, with attributes.
    Of(ListingId),
}

#[derive(Debug, Default)]
pub(super) struct Children {
    pub(super) by_name: HashMap<Arc<[u8]>, Ino>,
    pub(super) names: KernelNames,
}

impl Node {
    /// A name that was looked up once.
    fn new(parent: Ino, name: Arc<[u8]>, kind: EntryKind) -> Self {
        Self {
            parent,
            name,
            kind,
            lookups: 1,
            is_linked: true,
            file: None,
            last_version: None,
            children: None,
        }
    }
}

impl Table {
    /// The root alone. More than `count_max` nodes are a crowd; numbers are made with `key`.
    pub(super) fn new(count_max: usize, key: HashKey) -> Self {
        let root = Node::new(Ino::ROOT, Arc::from(&b""[..]), EntryKind::Directory);
        Self {
            nodes: HashMap::from_iter([(Ino::ROOT, root)]),
            crowd: Crowd::new(count_max),
            doubtful: Vec::new(),
            is_closed: false,
            key,
        }
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.crowd.is_beyond(self.nodes.len())
    }

    pub(super) fn offer(&mut self) -> Vec<(Ino, Arc<[u8]>)> {
        let nodes = &self.nodes;
        let offered = self.crowd.next(nodes.len(), |ino| nodes.contains_key(&ino));
        let known = offered.iter().filter_map(|ino| nodes.get(ino));
        let files = known.filter(|node| {
            node.is_linked && node.file.is_none() && node.kind != EntryKind::Directory
        });
        files.map(|node| (node.parent, node.name.clone())).collect()
    }

    pub(super) fn look_up(&mut self, parent: Ino, name: &[u8], kind: EntryKind) -> Ino {
        if let Some(ino) = self.child(parent, name) {
            match self.nodes.get_mut(&ino) {
                Some(node) if node.kind == kind => {
                    node.lookups += 1;
                    return ino;
                }
                _ => self.unlink(parent, name),
            }
        }
        self.insert(parent, name, kind)
    }

    pub(super) fn child(&self, parent: Ino, name: &[u8]) -> Option<Ino> {
        self.nodes
            .get(&parent)?
            .children
            .as_ref()?
            .by_name
            .get(name)
            .copied()
    }

    pub(super) fn number(&self, parent: Ino, name: &[u8]) -> Ino {
        let known = self.child(parent, name);
        known.unwrap_or_else(|| self.free_number(parent, name))
    }

    pub(super) fn children_mut(&mut self, dir: Ino) -> Option<&mut Children> {
        self.nodes.get_mut(&dir)?.children.as_deref_mut()
    }

    pub(super) fn path(&self, ino: Ino) -> Option<RemotePath> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != Ino::ROOT {
            let node = self.nodes.get(&at).filter(|node| node.is_linked)?;
            names.push(&node.name);
            at = node.parent;
        }
        names
            .iter()
            .rev()
            .try_fold(RemotePath::root(), |dir, name| dir.join(name).ok())
    }

    pub(super) fn insert(&mut self, parent: Ino, name: &[u8], kind: EntryKind) -> Ino {
        let ino = self.free_number(parent, name);
        let name: Arc<[u8]> = Arc::from(name);
        let node = Node::new(parent, name.clone(), kind);
        self.nodes.insert(ino, node);
        let nodes = &self.nodes;
        self.crowd.enter(ino, |ino| nodes.contains_key(&ino));
        self.add_child(parent, name, ino);
        ino
    }

    /// The number of a name, or another one while something that had the name before is still known by it.
    pub(super) fn free_number(&self, parent: Ino, name: &[u8]) -> Ino {
        (0..u64::MAX)
            .map(|attempt| {
                let hash = self.key.hash_numbered([parent.0, attempt], name);
                Ino(hash >> (u64::BITS - NUMBER_BITS))
            })
            .find(|ino| *ino > Ino::ROOT && !self.nodes.contains_key(ino))
            .expect("there are more numbers than inodes")
    }

    pub(super) fn add_child(&mut self, parent: Ino, name: Arc<[u8]>, ino: Ino) {
        if let Some(node) = self.nodes.get_mut(&parent) {
            let children = node.children.get_or_insert_default();
            children.by_name.insert(name, ino);
        }
    }

    pub(super) fn remove_child(&mut self, parent: Ino, name: &[u8]) {
        let Some(node) = self.nodes.get_mut(&parent) else {
            return;
        };
        let Some(children) = node.children.as_mut() else {
            return;
        };
        children.by_name.remove(name);
        if children.by_name.is_empty() {
            node.children = None;
        }
    }

    pub(super) fn unlink(&mut self, parent: Ino, name: &[u8]) {
        let Some(ino) = self.child(parent, name) else {
            return;
        };
        self.remove_child(parent, name);
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.is_linked = false;
        }
        self.sweep(ino);
        self.sweep(parent);
    }

    /// Drops an inode that nothing needs any more, and then its parents.
    pub(super) fn sweep(&mut self, ino: Ino) {
        let mut at = ino;
        while at != Ino::ROOT {
            let Some(node) = self.nodes.get(&at) else {
                return;
            };
            if node.lookups > 0 || node.file.is_some() || node.children.is_some() {
                return;
            }
            let (parent, name, is_linked) = (node.parent, node.name.clone(), node.is_linked);
            self.nodes.remove(&at);
            if is_linked {
                self.remove_child(parent, &name);
            }
            at = parent;
        }
    }
}
