//! What a test tells the memory remote to do wrong, what it wants to see happen in between, and what it counted.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
};

use super::super::{RemoteErrorKind, RemotePath};

/// One for each method of [`Remote`](super::super::Remote) and of the transfers that it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `Remote::list`.
    List,
    /// `Remote::stat`.
    Stat,
    /// `Remote::open_download`.
    OpenDownload,
    /// `Remote::open_upload`.
    OpenUpload,
    /// `Remote::put`; its inner steps do not count as [`Operation::OpenUpload`] and the like.
    Put,
    /// `Remote::settle`.
    Settle,
    /// `Remote::checksum`.
    Checksum,
    /// `Remote::rename`; its path is the old one.
    Rename,
    /// `Remote::remove_file`.
    RemoveFile,
    /// `Remote::make_dir`.
    MakeDir,
    /// `Remote::remove_dir`.
    RemoveDir,
    /// `Remote::make_symlink`.
    MakeSymlink,
    /// `Remote::read_link`.
    ReadLink,
    /// `Remote::space`.
    Space,
    /// `Download::read`.
    Read,
    /// `Upload::write_all`.
    WriteAll,
    /// `Upload::finish`; made to fail, it errs although all bytes have arrived.
    Finish,
}

impl Operation {
    /// The verb that an error names.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::List => "MLSD",
            Self::Stat => "MLST",
            Self::OpenDownload | Self::Read => "RETR",
            Self::OpenUpload | Self::Put | Self::WriteAll | Self::Finish => "STOR",
            Self::Settle => "MFMT",
            Self::Checksum => "XCRC",
            Self::Rename => "RNTO",
            Self::RemoveFile => "DELE",
            Self::MakeDir => "MKD",
            Self::RemoveDir => "RMD",
            Self::MakeSymlink => "SITE SYMLINK",
            Self::ReadLink => "LIST",
            Self::Space => "AVBL",
        }
    }
}

/// A step of the test, which gets the remote that was called.
pub(super) type Hook<R> = Box<dyn FnOnce(&R) + Send>;

/// When a fault or a hook strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before the server has done anything.
    Before,
    /// The same, as the session had died while it was idle.
    Idle,
    /// When the server has done it, and the caller does not know yet.
    After,
}

/// A transfer's own fault: an error in place of the byte after so many.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByteFault {
    pub(super) bytes_left: u64,
    pub(super) kind: RemoteErrorKind,
}

#[derive(Debug)]
struct Fault {
    operation: Operation,
    calls_left: u64,
    kind: RemoteErrorKind,
    moment: Moment,
}

/// What awaits one call.
pub(super) struct Plan<R> {
    pub(super) before: Option<Hook<R>>,
    pub(super) fails: Option<RemoteErrorKind>,
    /// Whether that is because the session had died while it was idle, whatever the server has heard.
    pub(super) is_unheard: bool,
    pub(super) after: Option<Hook<R>>,
    pub(super) reply_lost: Option<RemoteErrorKind>,
}

/// All that a remote `R` is to do wrong, and what it counted.
pub(super) struct Script<R> {
    faults: Vec<Fault>,
    byte_faults: VecDeque<(Operation, ByteFault)>,
    /// After how many bytes the next downloads end.
    cuts: VecDeque<u64>,
    hooks: VecDeque<(Operation, Moment, Hook<R>)>,
    calls: HashMap<Operation, u64>,
    calls_on: HashMap<(Operation, RemotePath), u64>,
    /// Offset and length of each download.
    downloads: Vec<(u64, Option<u64>)>,
    bytes_received: u64,
}

impl<R> Default for Script<R> {
    fn default() -> Self {
        Self {
            faults: Vec::new(),
            byte_faults: VecDeque::new(),
            cuts: VecDeque::new(),
            hooks: VecDeque::new(),
            calls: HashMap::new(),
            calls_on: HashMap::new(),
            downloads: Vec::new(),
            bytes_received: 0,
        }
    }
}

impl<R> fmt::Debug for Script<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("faults", &self.faults)
            .field("byte_faults", &self.byte_faults)
            .field("hooks", &self.hooks.len())
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

impl<R> Script<R> {
    pub(super) fn fail(
        &mut self,
        operation: Operation,
        nth: u64,
        kind: RemoteErrorKind,
        moment: Moment,
    ) {
        assert!(nth > 0, "calls are counted from 1");
        self.faults.push(Fault {
            operation,
            calls_left: nth,
            kind,
            moment,
        });
    }

    pub(super) fn fail_after_bytes(&mut self, operation: Operation, fault: ByteFault) {
        self.byte_faults.push_back((operation, fault));
    }

    pub(super) fn cut_after_bytes(&mut self, bytes: u64) {
        self.cuts.push_back(bytes);
    }

    /// How many bytes the download that begins now brings at most.
    pub(super) fn take_cut(&mut self) -> u64 {
        self.cuts.pop_front().unwrap_or(u64::MAX)
    }

    pub(super) fn hook(&mut self, operation: Operation, moment: Moment, hook: Hook<R>) {
        self.hooks.push_back((operation, moment, hook));
    }

    pub(super) fn calls(&self, operation: Operation) -> u64 {
        self.calls.get(&operation).copied().unwrap_or_default()
    }

    pub(super) fn calls_on(&self, operation: Operation, path: &RemotePath) -> u64 {
        self.calls_on
            .get(&(operation, path.clone()))
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn ask_download(&mut self, offset: u64, len: Option<u64>) {
        self.downloads.push((offset, len));
    }

    pub(super) fn downloads(&self) -> &[(u64, Option<u64>)] {
        &self.downloads
    }

    pub(super) fn forget_calls(&mut self) {
        self.calls.clear();
        self.calls_on.clear();
        self.downloads.clear();
        self.bytes_received = 0;
    }

    pub(super) fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    pub(super) fn receive(&mut self, bytes: usize) {
        self.bytes_received += bytes as u64;
    }

    pub(super) fn forget_faults(&mut self) {
        self.faults.clear();
        self.byte_faults.clear();
        self.cuts.clear();
        self.hooks.clear();
    }

    /// Counts a call and takes out what awaits it.
    pub(super) fn begin(&mut self, operation: Operation, path: &RemotePath) -> Plan<R> {
        *self.calls.entry(operation).or_default() += 1;
        *self.calls_on.entry((operation, path.clone())).or_default() += 1;
        let mut plan = Plan {
            before: self.take_hook(operation, Moment::Before),
            fails: None,
            is_unheard: false,
            after: None,
            reply_lost: None,
        };
        for fault in self
            .faults
            .iter_mut()
            .filter(|fault| fault.operation == operation)
        {
            fault.calls_left -= 1;
            if fault.calls_left == 0 {
                match fault.moment {
                    Moment::Before => plan.fails = Some(fault.kind),
                    Moment::Idle => {
                        plan.fails = Some(fault.kind);
                        plan.is_unheard = true;
                    }
                    Moment::After => plan.reply_lost = Some(fault.kind),
                }
            }
        }
        self.faults.retain(|fault| fault.calls_left > 0);
        if plan.fails.is_none() {
            plan.after = self.take_hook(operation, Moment::After);
        }
        plan
    }

    /// The fault that the transfer begun by `operation` will meet.
    pub(super) fn take_byte_fault(&mut self, operation: Operation) -> Option<ByteFault> {
        let index = self
            .byte_faults
            .iter()
            .position(|(of, _)| *of == operation)?;
        self.byte_faults.remove(index).map(|(_, fault)| fault)
    }

    fn take_hook(&mut self, operation: Operation, moment: Moment) -> Option<Hook<R>> {
        let index = self
            .hooks
            .iter()
            .position(|(of, at, _)| *of == operation && *at == moment)?;
        self.hooks.remove(index).map(|(_, _, hook)| hook)
    }
}
