//! A remote in memory, with injectable faults, for tests.
//!
//! [`MemoryRemote`] is a server of its own: a tree behind one lock, which answers like vsftpd (every refusal is a bare
//! [`RemoteErrorKind::Refused`]). A test holds a clone of it and
//! - makes it a less friendly server with [`Behaviour`];
//! - changes files behind the mount's back ([`MemoryRemote::write_file`] and its neighbours: never counted, never failing);
//! - makes calls fail, before or after they took effect, and transfers break or end after so many bytes;
//! - holds downloads at an offset, or gives them a pace ([`MemoryRemote::hold_from`], [`MemoryRemote::set_pace`]);
//! - puts its own steps between the steps of the filesystem ([`MemoryRemote::before`], [`MemoryRemote::after`]);
//! - decides of each call what becomes of it ([`MemoryRemote::treat_calls`]), also late ([`MemoryRemote::wake`]);
//! - cuts a mount off as `kill -9` does ([`MemoryRemote::connect`], [`MemoryRemote::cut_off`]);
//! - counts calls, and sees what downloads were asked for, and what was destroyed ([`MemoryRemote::take_losses`]).

mod behaviour;
mod client;
mod commands;
mod delivery;
mod fault;
mod loss;
mod remote;
mod transfer;
mod treatment;
mod tree;

pub use behaviour::{Behaviour, RenameOver};
pub use delivery::Pace;
pub use fault::Operation;
pub use loss::Loss;
pub use treatment::{Call, Treat, Treatment};
pub use tree::{Content, Node};

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Instant, SystemTime},
};

use self::{
    client::Client,
    delivery::{Delivery, PATIENCE, Share},
    fault::{ByteFault, Moment, Script},
    loss::Losses,
    treatment::{Asleep, Treatments, When, failure},
    tree::{Answer, Place, Stored, Tree},
};
use super::{RemoteErrorKind, RemotePath, Result, late::Late};
use crate::clock::Clock;

/// A server in memory. Clones are the same client of the same server.
#[derive(Debug, Clone)]
pub struct MemoryRemote {
    shared: Arc<Shared>,
    client: Arc<Client>,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Told when the test lets downloads go on.
    let_on: Condvar,
    treatments: Treatments,
}

#[derive(Debug)]
struct State {
    tree: Tree,
    behaviour: Behaviour,
    script: Script<MemoryRemote>,
    delivery: Delivery,
    asleep: Asleep,
    losses: Losses,
}

impl MemoryRemote {
    /// A friendly server with an empty root directory.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_behaviour(clock, Behaviour::default())
    }

    /// A server with quirks and an empty root directory.
    pub fn with_behaviour(clock: Arc<dyn Clock>, behaviour: Behaviour) -> Self {
        let mut tree = Tree::new(clock.wall(), behaviour.dir_mode);
        tree.ignores_case = behaviour.ignores_case;
        let client = Arc::new(Client::new(behaviour.listing_bytes_max));
        let state = Mutex::new(State {
            tree,
            behaviour,
            script: Script::default(),
            delivery: Delivery::default(),
            asleep: Asleep::default(),
            losses: Losses::default(),
        });
        let shared = Shared {
            clock,
            state,
            let_on: Condvar::new(),
            treatments: Treatments::default(),
        };
        Self {
            shared: Arc::new(shared),
            client,
        }
    }

    /// Changes the server's quirks from now on.
    pub fn set_behaviour(&self, change: impl FnOnce(&mut Behaviour)) {
        let mut state = self.lock();
        change(&mut state.behaviour);
        state.tree.ignores_case = state.behaviour.ignores_case;
    }

    /// The `nth` call of `operation` from now (1 is the next) fails and does nothing.
    pub fn fail_next(&self, operation: Operation, nth: u64, kind: RemoteErrorKind) {
        self.lock()
            .script
            .fail(operation, nth, kind, Moment::Before);
    }

    /// The next call of `operation` finds a session that has died while it was idle, and does nothing.
    pub fn idle_session_dies(&self, operation: Operation) {
        self.lock()
            .script
            .fail(operation, 1, RemoteErrorKind::Disconnected, Moment::Idle);
    }

    /// The `nth` call of `operation` from now (1 is the next) takes effect, but its reply is lost: the caller gets the error.
    pub fn lose_reply(&self, operation: Operation, nth: u64, kind: RemoteErrorKind) {
        self.lock().script.fail(operation, nth, kind, Moment::After);
    }

    /// The next transfer that `operation` starts ([`Operation::OpenDownload`], [`Operation::OpenUpload`] or
    /// [`Operation::Put`]) breaks after so many bytes. What an upload has sent until then stays on the server.
    pub fn fail_after_bytes(&self, operation: Operation, bytes: u64, kind: RemoteErrorKind) {
        self.lock().script.fail_after_bytes(
            operation,
            ByteFault {
                bytes_left: bytes,
                kind,
            },
        );
    }

    /// The next download ends after so many bytes as if the file ended there. Several wait for one download each.
    pub fn cut_after_bytes(&self, bytes: u64) {
        self.lock().script.cut_after_bytes(bytes);
    }

    /// No download gets past `offset`, nor to the end of a file that ends there, until another offset or `None` is given.
    pub fn hold_from(&self, offset: Option<u64>) {
        self.lock().delivery.hold_from(offset);
        self.shared.let_on.notify_all();
    }

    /// From now on no more arrives in a tick than `pace` allows; with `None` all comes at once. A download keeps to the
    /// [`Pace::each`] that it was opened with.
    pub fn set_pace(&self, pace: Option<Pace>) {
        self.lock().delivery.set_pace(pace);
        self.shared.let_on.notify_all();
    }

    /// A tick passes: as much may arrive again as the pace allows.
    pub fn tick(&self) {
        self.lock().delivery.tick();
        self.shared.let_on.notify_all();
    }

    /// Whether just so many downloads are open, at least one, and nothing more arrives by them before the next tick.
    pub fn is_used_up(&self, downloads: usize) -> bool {
        self.lock().delivery.is_used_up(downloads)
    }

    /// Offset and length of each download that was asked for, also in vain.
    pub fn downloads(&self) -> Vec<(u64, Option<u64>)> {
        self.lock().script.downloads().to_vec()
    }

    /// How many downloads are open.
    pub fn downloads_open(&self) -> usize {
        self.lock().delivery.count_open()
    }

    /// The furthest offset that downloads have come to.
    pub fn delivered_to(&self) -> u64 {
        self.lock().delivery.reached()
    }

    /// Runs `step` once, before the next call of `operation` does anything. Several wait for one call each. The step runs on
    /// the caller's thread, holds no lock, and may block.
    pub fn before(&self, operation: Operation, step: impl FnOnce(&Self) + Send + 'static) {
        self.lock()
            .script
            .hook(operation, Moment::Before, Box::new(step));
    }

    /// Runs `step` once, when the next call of `operation` has taken effect and its caller does not know the answer yet: what
    /// the step changes is not in it.
    pub fn after(&self, operation: Operation, step: impl FnOnce(&Self) + Send + 'static) {
        self.lock()
            .script
            .hook(operation, Moment::After, Box::new(step));
    }

    /// How often `operation` was called, also in vain.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.lock().script.calls(operation)
    }

    /// How often `operation` was called on this path.
    pub fn calls_on(&self, operation: Operation, path: &RemotePath) -> u64 {
        self.lock().script.calls_on(operation, path)
    }

    /// How many bytes of content have arrived, whatever became of them.
    pub fn bytes_received(&self) -> u64 {
        self.lock().script.bytes_received()
    }

    /// Takes back all faults and steps that have not struck yet.
    pub fn forget_faults(&self) {
        self.lock().script.forget_faults();
    }

    /// Starts all counters again from zero.
    pub fn forget_calls(&self) {
        self.lock().script.forget_calls();
    }

    /// Everything that is there, without the root.
    pub fn tree(&self) -> BTreeMap<RemotePath, Node> {
        self.lock().tree.snapshot()
    }

    /// What is at the path itself; a symbolic link is not followed.
    pub fn node(&self, path: &RemotePath) -> Option<Node> {
        let state = self.lock();
        let id = state.tree.place(path).ok()?.node?;
        state.tree.node(id).ok().map(tree::Inode::to_node)
    }

    /// A file's bytes, through symbolic links; `None` when there is no file.
    pub fn read_file(&self, path: &RemotePath) -> Option<Vec<u8>> {
        let mut state = self.lock();
        let id = state.tree.resolve(path).ok()?;
        state.tree.file_mut(id).ok().cloned()
    }

    /// Writes a whole file, and makes the directories above it where they are missing.
    ///
    /// # Panics
    ///
    /// When something else than a file is in the way; so do its neighbours below.
    pub fn write_file(&self, path: &RemotePath, data: &[u8]) {
        self.write(path, Stored::File(data.to_vec()));
    }

    /// Makes a symbolic link, and the directories above it where they are missing.
    pub fn write_symlink(&self, path: &RemotePath, target: &[u8]) {
        self.write(path, Stored::Symlink(target.into()));
    }

    /// Makes a directory, and those above it where they are missing.
    pub fn write_dir(&self, path: &RemotePath) {
        let state = self.lock();
        let is_there = state
            .tree
            .resolve(path)
            .is_ok_and(|id| state.tree.children(id).is_ok());
        drop(state);
        if !is_there {
            self.write(path, Stored::Directory(BTreeMap::new()));
        }
    }

    /// Removes what is at the path with all below it; whether something was there.
    pub fn remove(&self, path: &RemotePath) -> bool {
        let now = self.wall();
        let mut state = self.lock();
        let place = state.tree.place(path);
        place.is_ok_and(|place| state.tree.remove(&place, now).is_ok())
    }

    /// Moves what is at `from` with all below it; what is at `to` goes.
    pub fn move_path(&self, from: &RemotePath, to: &RemotePath) {
        self.remove(to);
        let now = self.wall();
        let mut state = self.lock();
        let places = state
            .tree
            .place(from)
            .and_then(|from| Ok((from, state.tree.place(to)?)));
        let moved = places.and_then(|(from, to)| state.tree.rename(&from, &to, now));
        drop(state);
        assert!(moved.is_ok(), "{from} cannot be moved to {to}");
    }

    /// Sets a file's time, symbolic links followed.
    pub fn touch(&self, path: &RemotePath, modified: SystemTime) {
        self.change(path, |node| node.modified = modified);
    }

    /// Sets a file's mode, symbolic links followed.
    pub fn set_mode(&self, path: &RemotePath, mode: u32) {
        self.change(path, |node| node.mode = mode);
    }

    fn change(&self, path: &RemotePath, change: impl FnOnce(&mut tree::Inode)) {
        let mut state = self.lock();
        let done = state
            .tree
            .resolve(path)
            .and_then(|id| state.tree.node_mut(id).map(change));
        drop(state);
        assert!(done.is_ok(), "{path} is not there");
    }

    fn write(&self, path: &RemotePath, stored: Stored) {
        if let Some(parent) = path.parent() {
            self.write_dir(&parent);
        }
        let now = self.wall();
        let mut state = self.lock();
        let done = state.write(path, stored, now);
        drop(state);
        assert!(done.is_ok(), "{path} cannot be written");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a download that is at `position` may bring something, and tells how much. A download that waits too long
    /// loses its connection.
    fn await_turn(&self, position: u64, share: &mut Share) -> Answer<(MutexGuard<'_, State>, u64)> {
        let mut allowance = 0;
        let is_held = |state: &mut State| {
            allowance = state.delivery.allowance(position, share);
            allowance == 0
        };
        let (state, waited) = self
            .shared
            .let_on
            .wait_timeout_while(self.lock(), PATIENCE, is_held)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(RemoteErrorKind::Disconnected);
        }
        Ok((state, allowance))
    }

    fn now(&self) -> Instant {
        self.shared.clock.now()
    }

    fn wall(&self) -> SystemTime {
        self.shared.clock.wall()
    }

    /// Runs one operation with all that a test has planned for it. `work` takes the lock itself.
    fn ask<T>(
        &self,
        operation: Operation,
        path: &RemotePath,
        work: impl FnOnce() -> Answer<T>,
    ) -> Result<T> {
        self.ask_when(operation, path, |_| work())
    }

    /// The same for a change that may be carried out late: `spend` gives the name that may be changed, which may be too late already.
    fn ask_change<T: 'static>(
        &self,
        operation: Operation,
        path: &RemotePath,
        spend: impl FnOnce() -> Answer<RemotePath>,
        effect: impl FnOnce(&Self, &RemotePath) -> Answer<T> + Send + 'static,
    ) -> Result<T> {
        self.ask_when(operation, path, |when| {
            let path = spend()?;
            let When::Later(kind, is_over) = when else {
                return effect(self, &path);
            };
            let effect = Box::new(move |server: &Self| drop(effect(server, &path)));
            self.lock().asleep.push(effect, is_over);
            Err(kind)
        })
    }

    fn ask_when<T>(
        &self,
        operation: Operation,
        path: &RemotePath,
        work: impl FnOnce(When) -> Answer<T>,
    ) -> Result<T> {
        let error = |kind| failure(operation, kind).with_path(path);
        let Some(_under_way) = self.client.begin() else {
            return Err(error(RemoteErrorKind::Disconnected));
        };
        let treatment = self.treat(operation, path);
        if self.client.is_gone() {
            return Err(error(RemoteErrorKind::Disconnected));
        }
        let mut plan = self.lock().script.begin(operation, path);
        treatment.enter(&mut plan);
        if let Some(step) = plan.before {
            step(self);
        }
        if let Some(kind) = plan.fails {
            let error = error(kind);
            return Err(if plan.is_unheard {
                error.unheard()
            } else {
                error
            });
        }
        if let Treatment::Late(kind) = treatment {
            let is_over = Arc::new(AtomicBool::new(false));
            let outcome = work(When::Later(kind, is_over.clone()));
            let error = error(outcome.err().unwrap_or(kind));
            let late = Late::new(move || is_over.load(Ordering::SeqCst));
            return Err(if error.is_reply_lost() {
                error.with_late(late)
            } else {
                error
            });
        }
        let is_transfer = matches!(
            operation,
            Operation::Put | Operation::WriteAll | Operation::Finish
        );
        let answer = work(When::Now).map_err(|kind| {
            if is_transfer && kind != RemoteErrorKind::NameRefused {
                error(kind).begun()
            } else {
                error(kind)
            }
        });
        if let Some(step) = plan.after {
            step(self);
        }
        plan.reply_lost
            .map_or(answer, |kind| Err(error(kind).begun()))
    }
}

impl State {
    fn write(&mut self, path: &RemotePath, stored: Stored, now: SystemTime) -> Answer<()> {
        let place = self.tree.place_followed(path)?;
        let Some(id) = place.node else {
            let mode = self.mode_of(&stored);
            return self.tree.add(&place, stored, mode, now).map(drop);
        };
        let Stored::File(data) = stored else {
            return Err(RemoteErrorKind::Refused);
        };
        *self.tree.file_mut(id)? = data;
        self.tree.node_mut(id)?.modified = now;
        Ok(())
    }

    fn mode_of(&self, stored: &Stored) -> u32 {
        match stored {
            Stored::File(_) => self.behaviour.file_mode,
            Stored::Directory(_) => self.behaviour.dir_mode,
            Stored::Symlink(_) => 0o777,
        }
    }

    /// Makes something at a free name, where the server allows new names.
    fn make(
        &mut self,
        path: &RemotePath,
        place: &Place,
        stored: Stored,
        now: SystemTime,
    ) -> Answer<tree::NodeId> {
        self.check_new_name(path)?;
        let mode = self.mode_of(&stored);
        self.tree.add(place, stored, mode, now)
    }

    fn check_new_name(&self, path: &RemotePath) -> Answer<()> {
        if path
            .parent()
            .is_some_and(|dir| self.behaviour.closed_dirs.contains(&dir))
        {
            return Err(RemoteErrorKind::Refused);
        }
        let is_dot_name = path.name().is_some_and(|name| name.starts_with(b"."));
        self.behaviour
            .dot_names_refused
            .filter(|_| is_dot_name)
            .map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;
