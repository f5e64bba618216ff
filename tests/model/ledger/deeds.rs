//! What the other client does.

use std::{collections::HashSet, sync::Arc, time::Instant};

use ftpfs::remote::memory::{Content, MemoryRemote};

use super::{Bytes, Ledger, Owner, files, moved};
use crate::{
    known,
    sequence::{Deed, NAMES},
    world::{path, pattern},
};

impl Ledger {
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
        // What has come of the step until now was shown.
        self.glance(server, now);
        let copies: Vec<(String, Vec<u8>)> = files(server)
            .filter(|(path, _)| path.contains(".ftpfs-conflict-"))
            .collect();
        match deed {
            Deed::Stores(name, len) | Deed::Replaces(name, len) if can_store(at(name)) => {
                let content = pattern(len + number % 40, seed);
                if matches!(deed, Deed::Replaces(..)) {
                    self.end_there(server, at(name));
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
                let whole = Arc::new(content.clone());
                content.truncate(content.len() / 2);
                self.put(server, at(name), content, now);
                // A beginning of what was sent is taken for what has arrived of it.
                let key = self.key(at(name));
                let is_ours = self.made.iter().any(|made| made.content == whole);
                if known::is_taken_for_ours(is_ours, self.unsure.contains(&key)) {
                    let kept = self.kept.iter_mut().filter(|kept| kept.path == key);
                    kept.for_each(|kept| kept.is_twin = true);
                }
            }
            Deed::Removes(name) if server.remove(&path(at(name))) => {
                let key = self.key(at(name));
                let copies = copies.into_iter();
                let ended = copies.filter(|(path, _)| moved(&self.key(path), &key, "").is_some());
                let ended: Vec<Bytes> = ended.map(|(_, content)| Arc::new(content)).collect();
                self.ended.extend(ended);
                self.kept
                    .retain(|kept| moved(&kept.path, &key, "").is_none());
                self.gone.insert(key.clone());
                self.touched.push(key);
            }
            Deed::Renames(from, to_name)
                if self.key(at(from)) != self.key(at(to_name))
                    && file(from).is_some()
                    && can_store(at(to_name)) =>
            {
                self.end_there(server, at(to_name));
                server.move_path(&path(at(from)), &path(at(to_name)));
                let (from, to) = (self.key(at(from)), self.key(at(to_name)));
                for kept in self.kept.iter_mut().filter(|kept| kept.path == from) {
                    kept.path.clone_from(&to);
                    kept.made = now;
                    kept.is_seen = false;
                    // What others do with a file is theirs.
                    kept.owner = Owner::Other;
                }
                let given = server.read_file(&path(at(to_name))).unwrap_or_default();
                self.given.insert((to.clone(), Arc::new(given)));
                self.gone.insert(from.clone());
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

    /// The other client ends what has this name, also what was given it in this step.
    fn end_there(&mut self, server: &MemoryRemote, at: &str) {
        let key = self.key(at);
        let there = server.read_file(&path(at)).unwrap_or_default();
        let elsewhere = files(server).filter(|(path, _)| self.key(path) != key);
        let elsewhere: HashSet<Vec<u8>> = elsewhere.map(|(_, content)| content).collect();
        self.kept.retain(|kept| {
            let is_part = there.starts_with(&kept.content) && !elsewhere.contains(&**kept.content);
            !is_part && !kept.is_called(&key)
        });
    }

    /// The other client writes a file.
    fn put(&mut self, server: &MemoryRemote, at: &str, content: Vec<u8>, now: Instant) {
        self.end_there(server, at);
        server.write_file(&path(at), &content);
        let after = server.node(&path(at)).map(|node| second(node.modified));
        let version = after.map(|second| (self.key(at), content.len(), second));
        let is_twin = version.is_some_and(|version| self.versions.contains(&version));
        let key = self.key(at);
        self.keep(at, Arc::new(content), Owner::Other, is_twin, now);
        self.touched.push(key);
    }
}

/// What listings show of a time.
pub(super) fn second(time: std::time::SystemTime) -> u64 {
    time.duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
