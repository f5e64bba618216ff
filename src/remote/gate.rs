//! The gate: what a server has said of a name, and the permit to change it that follows from that.
//!
//! FTP has no conditional command. So every command that changes the server is sent for a [`Permit`], which is spent as the command
//! leaves, and a permit follows from [`Evidence`] only: a reply about that very name, at most [`AGE_MAX`] old.
//!
//! 1. *A permit is for the name that can be destroyed.* For a rename that is the new name.
//! 2. *It is spent by one command.* What is to be sent once more needs another look ([`Permit`] is not `Clone`).
//! 3. *Its age counts from when the question left*, and is checked when the session is there (`Permit::spend`).
//! 4. *What was made by us needs no look*: [`MadeName`] holds 128 random bits, so that nobody else has made that name.

use std::{
    fmt,
    ops::Deref,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Modified, RemoteEntry, RemoteError, RemoteErrorKind, RemotePath};

/// How old a reply may be by which something is overwritten, counted from when it was asked for. 2 s: one listing serves many
/// creations in a row (cp, tar and mv), and others have little time to make the same name.
pub const AGE_MAX: Duration = Duration::from_secs(2);

/// Size and time of a file, as the server has reported them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported {
    /// Its size in bytes.
    pub size: u64,
    /// When it was modified, where the server reports that.
    pub modified: Option<Modified>,
}

impl Reported {
    /// Whether both can be the same version of a file, as far as their times are known.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let agrees = match (self.modified, other.modified) {
            (Some(one), Some(other)) => one.agrees_with(other),
            _ => true,
        };
        self.size == other.size && agrees
    }
}

/// What was seen under a name.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// This.
    Entry(Arc<RemoteEntry>),
    /// A directory that holds nothing.
    EmptyDir,
    /// What a change of ours has made of it: the server has just confirmed that.
    Ours,
}

/// What the server has said of a name, and when it was asked. That it could not say is an error, and no evidence.
#[derive(Debug, Clone)]
pub struct Evidence {
    path: RemotePath,
    seen: Seen,
    asked: Instant,
    age_max: Duration,
}

/// A name holds something else than what a change is meant for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    path: RemotePath,
}

/// What a name must hold for a change to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Nothing.
    Absent,
    /// A file without a byte.
    Empty,
    /// This version of a file.
    Same(Reported),
    /// A file, a symbolic link or the like, whichever it is; or nothing.
    AnyFile,
    /// A directory, whichever it is.
    AnyDir,
    /// A directory that holds nothing.
    EmptyDir,
    /// What a change of ours has just made of it.
    Ours,
    /// A file or directory whose name this mount has made for itself.
    Made,
}

/// The permission to send one command that changes what has this name.
#[derive(Debug)]
#[must_use = "a permit is spent by the change that it is for"]
pub struct Permit {
    path: RemotePath,
    want: Want,
    /// When the server was asked, and for how long that counts; a name of ours needs no asking.
    asked: Option<(Instant, Duration)>,
}

/// The commands that change a server, by what they can destroy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// STOR of a whole file: what has the name is gone.
    Store,
    /// The same over a file that others may have use for, where nothing can be renamed.
    StoreInPlace,
    /// APPE: destroys nothing, and doubles when it is repeated.
    Append,
    /// REST and STOR: the bytes there, and everything where the server refuses REST.
    Patch,
    /// RNTO: what has the new name.
    Place,
    /// DELE: the file.
    Remove,
    /// RMD: the directory, and on some servers all that is in it.
    RemoveDir,
    /// SITE CHMOD, MFMT and the like: the mode and the time of what has the name.
    SetAttributes,
}

impl Evidence {
    /// What a reply about this very name says: `None` that nothing is there. The question left at `asked`, and the answer came at `now`.
    pub fn reported(
        path: &RemotePath,
        entry: Option<Arc<RemoteEntry>>,
        asked: Instant,
        now: Instant,
    ) -> Self {
        // Where the answer itself takes long, a change could never leave in time.
        let took = now.saturating_duration_since(asked);
        Self {
            path: path.clone(),
            seen: entry.map_or(Seen::Absent, Seen::Entry),
            asked,
            age_max: AGE_MAX.max(took * 2),
        }
    }

    /// What a listing shows of this name, which was asked for at that moment.
    pub fn listed(path: &RemotePath, entry: Option<Arc<RemoteEntry>>, asked: Instant) -> Self {
        Self::reported(path, entry, asked, asked)
    }

    /// That a directory holds nothing, by a whole listing that was asked for at that moment.
    pub fn listed_empty(dir: &RemotePath, asked: Instant) -> Self {
        Self {
            path: dir.clone(),
            seen: Seen::EmptyDir,
            asked,
            age_max: AGE_MAX,
        }
    }

    /// That a change of ours was confirmed at that moment.
    pub(crate) fn confirmed(path: &RemotePath, now: Instant) -> Self {
        Self {
            path: path.clone(),
            seen: Seen::Ours,
            asked: now,
            age_max: AGE_MAX,
        }
    }

    /// The name.
    pub fn path(&self) -> &RemotePath {
        &self.path
    }

    /// What was seen.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The entry that was seen.
    pub fn entry(&self) -> Option<&Arc<RemoteEntry>> {
        match &self.seen {
            Seen::Entry(entry) => Some(entry),
            Seen::Absent | Seen::EmptyDir | Seen::Ours => None,
        }
    }

    /// Size and time of the file that was seen; `None` when there was no file, or its size is not known.
    pub fn version(&self) -> Option<Reported> {
        let entry = self.entry().filter(|entry| !entry.is_dir())?;
        Some(Reported {
            size: entry.size?,
            modified: entry.modified,
        })
    }

    /// Whether nothing has the name.
    pub fn is_absent(&self) -> bool {
        matches!(self.seen, Seen::Absent)
    }

    /// When the server was asked.
    pub fn asked(&self) -> Instant {
        self.asked
    }

    /// Whether it may still decide what is overwritten.
    pub fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.asked) <= self.age_max
    }

    /// The permit to change the name, if it holds what is wanted.
    ///
    /// # Errors
    ///
    /// It holds something else.
    pub fn permit(&self, want: Want) -> Result<Permit, Conflict> {
        let entry = self.entry();
        let is_dir = entry.is_some_and(|entry| entry.is_dir());
        let is_file = entry.is_some() && !is_dir;
        let fits = match want {
            Want::Absent => self.is_absent(),
            Want::Empty => is_file && entry.is_some_and(|entry| entry.size == Some(0)),
            Want::Same(version) => {
                let seen = self.version();
                seen.is_some_and(|seen| seen.agrees_with(&version))
            }
            Want::AnyFile => is_file || self.is_absent(),
            Want::AnyDir => is_dir || matches!(self.seen, Seen::EmptyDir),
            Want::EmptyDir => matches!(self.seen, Seen::EmptyDir),
            Want::Ours => matches!(self.seen, Seen::Ours),
            Want::Made => false,
        };
        if !fits {
            return Err(Conflict {
                path: self.path.clone(),
            });
        }
        Ok(Permit {
            path: self.path.clone(),
            want,
            asked: Some((self.asked, self.age_max)),
        })
    }
}

impl Conflict {
    /// The name.
    pub fn path(&self) -> &RemotePath {
        &self.path
    }
}

impl Permit {
    /// The name that may be changed.
    pub fn path(&self) -> &RemotePath {
        &self.path
    }

    /// What the name must hold.
    pub fn want(&self) -> Want {
        self.want
    }

    /// Spends it as the command leaves, at `now`; the name that may be changed.
    ///
    /// # Errors
    ///
    /// [`RemoteErrorKind::Expired`] when what it follows from is too old by now: nothing was sent, and the name is to be looked at anew.
    ///
    /// # Panics
    ///
    /// It is not for such a change: a fault of this program.
    pub(crate) fn spend(self, change: Change, now: Instant) -> Result<RemotePath, RemoteError> {
        assert!(
            change.suits(self.want),
            "{change:?} of {} is not for what was seen there ({:?})",
            self.path,
            self.want
        );
        match self.asked {
            Some((asked, age_max)) if now.saturating_duration_since(asked) > age_max => {
                Err(RemoteError::new(RemoteErrorKind::Expired, change.verb()).with_path(&self.path))
            }
            _ => Ok(self.path),
        }
    }
}

impl Change {
    /// Whether a name that holds this may be changed so. The rows of ARCHITECTURE.md's table.
    fn suits(self, want: Want) -> bool {
        match self {
            Self::Store => matches!(want, Want::Absent | Want::Empty | Want::Made),
            Self::StoreInPlace => matches!(want, Want::AnyFile | Want::Same(_)),
            Self::Append => matches!(want, Want::Absent | Want::Same(_) | Want::Made),
            Self::Patch => matches!(want, Want::Same(_) | Want::Ours | Want::Made),
            Self::Place => matches!(
                want,
                Want::Absent | Want::Same(_) | Want::AnyFile | Want::EmptyDir | Want::Made
            ),
            Self::Remove => matches!(want, Want::AnyFile | Want::Made),
            Self::RemoveDir => matches!(want, Want::EmptyDir | Want::Made),
            Self::SetAttributes => {
                matches!(want, Want::AnyFile | Want::AnyDir | Want::Ours | Want::Made)
            }
        }
    }

    /// The verb that an error names.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Store | Self::StoreInPlace | Self::Patch => "STOR",
            Self::Append => "APPE",
            Self::Place => "RNTO",
            Self::Remove => "DELE",
            Self::RemoveDir => "RMD",
            Self::SetAttributes => "settle",
        }
    }
}

/// A name that this mount has made for itself: nobody else can have made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MadeName(RemotePath);

impl MadeName {
    /// A new one in `dir`: `prefix`, 128 random bits in hexadecimal digits, and `.tmp`. `None` where no name has room.
    pub fn fresh(dir: &RemotePath, prefix: &str) -> Option<Self> {
        let name = format!("{prefix}-{}.tmp", random_digits());
        dir.join(name.as_bytes()).ok().map(Self)
    }

    /// What was written down when a mount made it; `None` for what no mount has made.
    pub fn recorded(path: RemotePath) -> Option<Self> {
        let name = path.name()?;
        let name = name.strip_prefix(b".").unwrap_or(name);
        let rest = name.strip_prefix(b"ftpfs-")?.strip_suffix(b".tmp")?;
        let (mount, bits) = rest.split_at_checked(8)?;
        let bits = bits.strip_prefix(b"-")?;
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_made = bits.len() == 32 && mount.iter().chain(bits).all(is_hex);
        is_made.then_some(Self(path))
    }

    /// Its path.
    pub fn path(&self) -> &RemotePath {
        &self.0
    }

    /// The permit to change it.
    pub fn permit(&self) -> Permit {
        Permit {
            path: self.0.clone(),
            want: Want::Made,
            asked: None,
        }
    }
}

impl Deref for MadeName {
    type Target = RemotePath;

    fn deref(&self) -> &RemotePath {
        &self.0
    }
}

impl fmt::Display for MadeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 128 bits of the operating system's randomness as 32 hexadecimal digits.
fn random_digits() -> String {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("a running Linux has random bits");
    format!("{:032x}", u128::from_be_bytes(bits))
}

#[cfg(test)]
impl Permit {
    /// For tests of what is sent: as if that had just been seen.
    pub(crate) fn granted(path: &RemotePath, want: Want) -> Self {
        Self {
            path: path.clone(),
            want,
            asked: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::EntryKind;

    fn path() -> RemotePath {
        RemotePath::root().join(b"f").unwrap()
    }

    fn file(size: Option<u64>) -> Arc<RemoteEntry> {
        let mut entry = RemoteEntry::new(&b"f"[..], EntryKind::File);
        entry.size = size;
        entry.modified = Some(Modified::from_seconds(1_000));
        Arc::new(entry)
    }

    fn of(entry: Option<Arc<RemoteEntry>>) -> Evidence {
        Evidence::listed(&path(), entry, Instant::now())
    }

    #[test]
    fn a_permit_is_given_for_what_was_seen_and_for_nothing_else() {
        let dir = || {
            let entry = RemoteEntry::new(&b"f"[..], EntryKind::Directory);
            of(Some(Arc::new(entry)))
        };
        let version = Reported {
            size: 3,
            modified: Some(Modified::from_seconds(1_000)),
        };
        let other = Reported {
            modified: Some(Modified::from_seconds(2_000)),
            ..version
        };
        let table = [
            (of(None), Want::Absent, true),
            (of(None), Want::AnyFile, true),
            (of(None), Want::Empty, false),
            (of(None), Want::Same(version), false),
            (of(Some(file(Some(3)))), Want::Absent, false),
            (of(Some(file(Some(3)))), Want::Same(version), true),
            (of(Some(file(Some(3)))), Want::Same(other), false),
            (of(Some(file(Some(4)))), Want::Same(version), false),
            (of(Some(file(None))), Want::Same(version), false),
            (of(Some(file(None))), Want::Empty, false),
            (of(Some(file(Some(0)))), Want::Empty, true),
            (of(Some(file(Some(3)))), Want::Empty, false),
            (of(Some(file(None))), Want::AnyFile, true),
            (dir(), Want::AnyFile, false),
            (dir(), Want::EmptyDir, false),
            (dir(), Want::AnyDir, true),
            (
                Evidence::listed_empty(&path(), Instant::now()),
                Want::EmptyDir,
                true,
            ),
            (of(Some(file(Some(3)))), Want::Made, false),
            (of(Some(file(Some(3)))), Want::Ours, false),
        ];
        for (evidence, want, is_given) in table {
            assert_eq!(
                evidence.permit(want).is_ok(),
                is_given,
                "{evidence:?} {want:?}"
            );
        }
    }

    #[test]
    fn a_permit_expires_two_seconds_after_the_question_left() {
        let now = Instant::now();
        let permit = || {
            Evidence::listed(&path(), None, now)
                .permit(Want::Absent)
                .unwrap()
        };
        assert!(permit().spend(Change::Store, now + AGE_MAX).is_ok());
        let late = now + AGE_MAX + Duration::from_millis(1);
        let error = permit().spend(Change::Store, late).unwrap_err();
        assert_eq!(error.kind(), RemoteErrorKind::Expired);
    }

    #[test]
    fn where_the_answer_takes_long_there_is_as_much_time_again() {
        let asked = Instant::now();
        let answered = asked + 2 * AGE_MAX;
        let evidence = Evidence::reported(&path(), None, asked, answered);
        let permit = || evidence.permit(Want::Absent).unwrap();
        assert!(permit().spend(Change::Store, answered + AGE_MAX).is_ok());
        assert!(
            permit()
                .spend(Change::Store, answered + 3 * AGE_MAX)
                .is_err()
        );
    }

    #[test]
    #[should_panic(expected = "is not for what was seen there")]
    fn a_file_with_content_is_never_stored_over() {
        let permit = of(Some(file(Some(3)))).permit(Want::AnyFile).unwrap();
        drop(permit.spend(Change::Store, Instant::now()));
    }

    #[test]
    fn names_of_ours_differ_in_128_bits() {
        let make = || MadeName::fresh(&RemotePath::root(), ".ftpfs-12345678").unwrap();
        let (one, other) = (make(), make());
        assert_ne!(one, other);
        let name = one.path().name().unwrap();
        assert_eq!(name.len(), ".ftpfs-12345678-.tmp".len() + 32);
    }
}
