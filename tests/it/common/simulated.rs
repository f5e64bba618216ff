//! A simulated FTP server: it plays a [`Dialect`] over a tree in memory, on loopback, with real control and data
//! connections. It shows what a server does that cannot be installed here.

mod ailment;
pub(crate) mod dialect;
mod protection;
mod session;
mod tree;

use std::{
    collections::HashMap,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

pub(crate) use self::{
    ailment::{Ailment, Data},
    dialect::Dialect,
    tree::Tree,
};
use self::{dialect::Excess, protection::Protection, session::Session};

/// A server that listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Simulated {
    address: SocketAddr,
    world: Arc<World>,
}

/// What all sessions of one server share.
#[derive(Debug)]
struct World {
    dialect: Dialect,
    protection: Option<Protection>,
    tree: Mutex<Tree>,
    open: AtomicUsize,
    /// What is sent for the listings of certain directories, in whatever dialect they are asked for.
    listings: Mutex<HashMap<String, Arc<Vec<u8>>>>,
    /// Every session there ever was.
    count: AtomicUsize,
    /// Command lines in the order of their arrival, the password left out.
    heard: Mutex<Vec<String>>,
    /// What is wrong with it.
    ailment: Mutex<Option<Ailment>>,
    /// The sockets of sessions, to end them.
    sockets: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

impl Simulated {
    /// Starts a server that speaks this dialect.
    pub(crate) fn start(dialect: Dialect) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(World {
            tree: Mutex::new(Tree::new(dialect.files.ignores_case)),
            protection: dialect.tls.map(Protection::new),
            dialect,
            listings: Mutex::default(),
            open: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            heard: Mutex::default(),
            ailment: Mutex::default(),
            sockets: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let shared = Arc::clone(&world);
        thread::spawn(move || accept(&shared, listener, address));
        Self { address, world }
    }

    /// Its address with user and password.
    pub(crate) fn url(&self) -> String {
        format!("ftp://user:secret@{}/", self.address)
    }

    /// Its certificate, which has signed itself, in PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.world.protection.as_ref().unwrap().pem
    }

    /// Its files.
    pub(crate) fn tree(&self) -> MutexGuard<'_, Tree> {
        lock(&self.world.tree)
    }

    /// Makes a directory whose listing is this text, whatever is in it.
    pub(crate) fn make_listed(&self, path: &str, text: &Arc<Vec<u8>>) {
        self.tree().make_dir(path);
        lock(&self.world.listings).insert(path.to_owned(), Arc::clone(text));
    }

    /// The command lines heard since this was last asked.
    pub(crate) fn take_heard(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.world.heard))
    }

    /// Makes it ill, or well again.
    pub(crate) fn set_ailment(&self, ailment: Option<Ailment>) {
        *lock(&self.world.ailment) = ailment;
    }

    /// How many sessions there have been.
    pub(crate) fn sessions(&self) -> usize {
        self.world.count.load(Ordering::SeqCst)
    }

    /// Closes all control connections without a word.
    pub(crate) fn drop_sessions(&self) {
        for socket in lock(&self.world.sockets).drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.world.is_over.store(true, Ordering::SeqCst);
        self.drop_sessions();
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(world: &Arc<World>, mut listener: TcpListener, address: SocketAddr) {
    let sessions = &world.dialect.sessions;
    loop {
        let Ok((socket, _)) = listener.accept() else {
            return;
        };
        if world.is_over.load(Ordering::SeqCst) {
            return;
        }
        socket.set_nodelay(true).unwrap();
        let number = world.count.fetch_add(1, Ordering::SeqCst) + 1;
        let is_excess = world.open.fetch_add(1, Ordering::SeqCst) >= sessions.most;
        lock(&world.sockets).push(socket.try_clone().unwrap());
        let shared = Arc::clone(world);
        thread::spawn(move || {
            if !(is_excess && shared.dialect.sessions.excess == Excess::Closed) {
                Session::new(&shared, socket.try_clone().unwrap(), number).serve(is_excess);
            }
            // The list of sockets has it too.
            let _ = socket.shutdown(Shutdown::Both);
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
        if sessions.excess == Excess::Refused && world.open.load(Ordering::SeqCst) >= sessions.most
        {
            drop(listener);
            while world.open.load(Ordering::SeqCst) >= sessions.most {
                if world.is_over.load(Ordering::SeqCst) {
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
            listener = TcpListener::bind(address).unwrap();
        }
    }
}
