//! What is right: a tree in memory with the semantics of POSIX, as far as FTP can have them.

use std::collections::BTreeMap;

pub(crate) type Id = usize;
pub(crate) type Outcome<T> = Result<T, i32>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    File(File),
    Dir(BTreeMap<String, Id>),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct File {
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
    /// The time that a program has set, until the next change of content.
    pub(crate) time: Option<u64>,
}

/// The tree; nodes are never dropped, so that handles of removed files go on.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    nodes: Vec<Node>,
}

const ROOT: Id = 0;

impl Reference {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::Dir(BTreeMap::new())],
        }
    }

    pub(crate) fn find(&self, path: &str) -> Option<Id> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Node::Dir(children) = &self.nodes[at] else {
                return None;
            };
            at = *children.get(name)?;
        }
        Some(at)
    }

    pub(crate) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    pub(crate) fn is_dir(&self, path: &str) -> bool {
        self.find(path)
            .is_some_and(|id| matches!(self.nodes[id], Node::Dir(_)))
    }

    pub(crate) fn file(&self, id: Id) -> &File {
        match &self.nodes[id] {
            Node::File(file) => file,
            Node::Dir(_) => panic!("a directory is no file"),
        }
    }

    pub(crate) fn file_mut(&mut self, id: Id) -> &mut File {
        match &mut self.nodes[id] {
            Node::File(file) => file,
            Node::Dir(_) => panic!("a directory is no file"),
        }
    }

    /// All paths and what they lead to, parents first.
    pub(crate) fn all(&self) -> Vec<(String, Id)> {
        let mut all = Vec::new();
        let mut todo = vec![(String::new(), ROOT)];
        while let Some((path, id)) = todo.pop() {
            if let Node::Dir(children) = &self.nodes[id] {
                for (name, child) in children {
                    let path = format!("{path}/{name}");
                    all.push((path.clone(), *child));
                    todo.push((path, *child));
                }
            }
        }
        all
    }

    /// Opens or creates; returns the file.
    pub(crate) fn open(
        &mut self,
        path: &str,
        creates: bool,
        is_exclusive: bool,
        is_truncate: bool,
    ) -> Outcome<Id> {
        let id = match self.find(path) {
            Some(_) if is_exclusive => return Err(libc::EEXIST),
            Some(id) if matches!(self.nodes[id], Node::Dir(_)) => return Err(libc::EISDIR),
            Some(id) => id,
            None if creates => self.add(
                path,
                Node::File(File {
                    mode: 0o644,
                    ..File::default()
                }),
            ),
            None => return Err(libc::ENOENT),
        };
        if is_truncate {
            self.resize(id, 0);
        }
        Ok(id)
    }

    pub(crate) fn write(&mut self, id: Id, at: usize, data: &[u8]) {
        let file = self.file_mut(id);
        file.time = None;
        if file.data.len() < at {
            file.data.resize(at, 0);
        }
        let overlap = data.len().min(file.data.len() - at);
        file.data[at..at + overlap].copy_from_slice(&data[..overlap]);
        file.data.extend_from_slice(&data[overlap..]);
    }

    pub(crate) fn resize(&mut self, id: Id, len: usize) {
        let file = self.file_mut(id);
        file.time = None;
        file.data.resize(len, 0);
    }

    pub(crate) fn mkdir(&mut self, path: &str) -> Outcome<()> {
        if self.find(path).is_some() {
            return Err(libc::EEXIST);
        }
        self.add(path, Node::Dir(BTreeMap::new()));
        Ok(())
    }

    pub(crate) fn unlink(&mut self, path: &str) -> Outcome<()> {
        if self.is_dir(path) {
            return Err(libc::EISDIR);
        }
        self.detach(path).map(drop).ok_or(libc::ENOENT)
    }

    pub(crate) fn rmdir(&mut self, path: &str) -> Outcome<()> {
        let id = self.find(path).ok_or(libc::ENOENT)?;
        match &self.nodes[id] {
            Node::File(_) => return Err(libc::ENOTDIR),
            Node::Dir(children) if !children.is_empty() => return Err(libc::ENOTEMPTY),
            Node::Dir(_) => {}
        }
        self.detach(path);
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str, is_noreplace: bool) -> Outcome<()> {
        let source = self.find(from).ok_or(libc::ENOENT)?;
        if let Some(target) = self.find(to) {
            if is_noreplace {
                return Err(libc::EEXIST);
            }
            match (&self.nodes[source], &self.nodes[target]) {
                _ if source == target => return Ok(()),
                (Node::Dir(_), Node::File(_)) => return Err(libc::ENOTDIR),
                (Node::File(_), Node::Dir(_)) => return Err(libc::EISDIR),
                (Node::Dir(_), Node::Dir(children)) if !children.is_empty() => {
                    return Err(libc::ENOTEMPTY);
                }
                _ => {}
            }
        }
        self.detach(from);
        self.attach(to, source);
        Ok(())
    }

    /// Takes a name away with all below it.
    pub(crate) fn detach(&mut self, path: &str) -> Option<Id> {
        let id = self.find(path)?;
        let (dir, name) = split(path);
        self.children_mut(dir).remove(name);
        Some(id)
    }

    fn add(&mut self, path: &str, node: Node) -> Id {
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        self.attach(path, id);
        id
    }

    fn attach(&mut self, path: &str, id: Id) {
        let (dir, name) = split(path);
        self.children_mut(dir).insert(name.to_owned(), id);
    }

    fn children_mut(&mut self, dir: &str) -> &mut BTreeMap<String, Id> {
        let id = self.find(dir).expect("the directory is there");
        match &mut self.nodes[id] {
            Node::Dir(children) => children,
            Node::File(_) => panic!("{dir} is no directory"),
        }
    }
}

/// Directory and name of a path.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
