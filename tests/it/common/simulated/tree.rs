//! The files of a simulated server, in memory.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::dialect::Item;

/// A file or directory.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The content of a file; `None` for a directory.
    pub(crate) content: Option<Vec<u8>>,
    /// When it was changed last.
    pub(crate) modified: SystemTime,
    /// Its permission bits.
    pub(crate) mode: u32,
}

/// All nodes by their absolute paths; the root is the empty path.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
    ignores_case: bool,
}

impl Node {
    fn new(content: Option<Vec<u8>>) -> Self {
        let mode = if content.is_some() { 0o644 } else { 0o755 };
        Self {
            content,
            modified: SystemTime::now(),
            mode,
        }
    }

    pub(super) fn is_dir(&self) -> bool {
        self.content.is_none()
    }
}

impl Tree {
    pub(super) fn new(ignores_case: bool) -> Self {
        let nodes = BTreeMap::from([(String::new(), Node::new(None))]);
        Self {
            nodes,
            ignores_case,
        }
    }

    /// The name under which a path is kept, if anything is there.
    fn key(&self, path: &str) -> Option<String> {
        if self.nodes.contains_key(path) {
            return Some(path.to_owned());
        }
        let mut keys = self.nodes.keys().filter(|_| self.ignores_case);
        keys.find(|key| key.eq_ignore_ascii_case(path)).cloned()
    }

    /// What is at a path.
    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(&self.key(path)?)
    }

    pub(super) fn get_mut(&mut self, path: &str) -> Option<&mut Node> {
        let key = self.key(path)?;
        self.nodes.get_mut(&key)
    }

    /// All paths with their nodes, without the root.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Node)> {
        let all = self.nodes.iter().map(|(path, node)| (path.as_str(), node));
        all.filter(|(path, _)| !path.is_empty())
    }

    /// Puts a file there.
    pub(crate) fn put(&mut self, path: &str, content: &[u8]) {
        let path = self.key(path).unwrap_or_else(|| path.to_owned());
        let mode = self.nodes.get(&path).map_or(0o644, |node| node.mode);
        let node = Node::new(Some(content.to_vec()));
        self.nodes.insert(path, Node { mode, ..node });
    }

    /// Puts a file there that was changed so long ago.
    pub(crate) fn put_old(&mut self, path: &str, content: &[u8], age: Duration) {
        self.put(path, content);
        self.get_mut(path).unwrap().modified = SystemTime::now() - age;
    }

    /// Makes a directory there.
    pub(crate) fn make_dir(&mut self, path: &str) {
        self.nodes.insert(path.to_owned(), Node::new(None));
    }

    /// Takes away what is at a path.
    pub(crate) fn take(&mut self, path: &str) {
        if let Some(key) = self.key(path) {
            self.nodes.remove(&key);
        }
    }

    /// Takes away what is at a path, and all below it.
    pub(super) fn take_all(&mut self, path: &str) {
        let below = format!("{path}/");
        self.nodes
            .retain(|key, _| key != path && !key.starts_with(&below));
    }

    /// Moves a node and all below it.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let Some(from) = self.key(from) else { return };
        if let Some(replaced) = self.key(to).filter(|key| *key != from) {
            self.nodes.remove(&replaced);
        }
        let below = format!("{from}/");
        let is_moved = |path: &String| *path == from || path.starts_with(&below);
        let moved: Vec<String> = self
            .nodes
            .keys()
            .filter(|path| is_moved(path))
            .cloned()
            .collect();
        for path in moved {
            let node = self.nodes.remove(&path).unwrap();
            self.nodes
                .insert(format!("{to}{}", &path[from.len()..]), node);
        }
    }

    /// Whether the directory that a path is in is there.
    pub(super) fn has_parent(&self, path: &str) -> bool {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.get(parent).is_some_and(Node::is_dir)
    }

    /// What a directory holds.
    pub(super) fn list(&self, dir: &str) -> Vec<Item> {
        let below = format!("{dir}/");
        let mut items = Vec::new();
        for (path, node) in &self.nodes {
            let Some(name) = path.strip_prefix(&below) else {
                continue;
            };
            if !name.contains('/') {
                items.push(item(name, node));
            }
        }
        items
    }
}

/// A node as it is listed.
pub(super) fn item(name: &str, node: &Node) -> Item {
    Item {
        name: name.to_owned(),
        is_dir: node.is_dir(),
        size: node.content.as_ref().map_or(4096, Vec::len),
        mode: node.mode,
        modified: node.modified,
    }
}
