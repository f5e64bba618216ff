//! What a mount has learnt of a server, kept on disk for the next mount: one small file a server and user.
//!
//! 1. *It must not outlive the server.* It carries a fingerprint of what the server says of itself, and ends after a month.
//! 2. *It must not do harm.* It holds how things are done, never what is trusted: no password, no certificate. What is
//!    damaged, of another version or unreadable is as good as not there.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{capabilities::Learnt, reply::Reply};
use crate::{config::FtpConfig, local};

/// The version of the file. To be counted up when a field changes its meaning; new fields need no new version.
const VERSION: u32 = 2;

/// How long it is believed. 30 days: servers are set up anew without saying so, and one probe a month costs nothing.
const AGE_MAX: Duration = Duration::from_hours(30 * 24);

/// The longest file that is read. 64 KiB: a hundred times a real one.
const BYTES_MAX: u64 = 64 << 10;

/// The file as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// Of what the server says of itself.
    fingerprint: u64,
    /// When the first of it was learnt, in seconds since 1970.
    since: u64,
    learnt: Learnt,
}

/// One server's file.
#[derive(Debug)]
pub(super) struct Profile {
    path: PathBuf,
    // Guarded by itself; held while the file is written, which only the background and the end of a mount do.
    stored: Mutex<Option<Stored>>,
}

impl Profile {
    /// The file for a server and user below `dir`, read if it is there and of use.
    pub(super) fn open(dir: &Path, config: &FtpConfig) -> Self {
        let path = dir.join(format!("{}.json", config.file_name()));
        let stored = match read(&path) {
            Ok(stored) => stored.filter(Stored::is_of_use),
            Err(error) => {
                log::warn!("{} is not used: {error}", path.display());
                None
            }
        };
        Self {
            path,
            stored: Mutex::new(stored),
        }
    }

    /// What was learnt before, of a server that may have changed since.
    pub(super) fn believed(&self) -> Option<Learnt> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.as_ref().map(|stored| stored.learnt)
    }

    /// What was learnt before, if this is still the same server. If not, it is forgotten.
    pub(super) fn recall(&self, fingerprint: u64) -> Option<Learnt> {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let known = stored
            .take()
            .filter(|stored| stored.fingerprint == fingerprint);
        let known = known.unwrap_or_else(|| Stored {
            version: VERSION,
            fingerprint,
            since: seconds_now(),
            // Nothing yet, so that whatever is learnt differs from it.
            learnt: Learnt::default(),
        });
        let learnt = (known.learnt != Learnt::default()).then_some(known.learnt);
        *stored = Some(known);
        learnt
    }

    /// Writes down what is known now, if that is news. A failure is logged: the mount does not need the file.
    pub(super) fn save(&self, learnt: Learnt) {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the first login nothing is known of the server.
        let Some(known) = stored.as_mut().filter(|known| known.learnt != learnt) else {
            return;
        };
        known.learnt = learnt;
        if let Err(error) = write(&self.path, known) {
            log::debug!("{} cannot be written: {error}", self.path.display());
        }
    }
}

impl Stored {
    fn is_of_use(&self) -> bool {
        let age = seconds_now().checked_sub(self.since);
        self.version == VERSION && age.is_some_and(|age| age <= AGE_MAX.as_secs())
    }
}

/// A number for what a server says of itself: its greeting without what changes from day to day, its system and its
/// features.
pub(super) fn fingerprint(greeting: &Reply, system: &Reply, features: &Reply) -> u64 {
    let mut hasher = DefaultHasher::new();
    for word in greeting
        .lines()
        .flat_map(words)
        .filter(|word| !is_passing(word))
    {
        word.hash(&mut hasher);
    }
    for reply in [system, features] {
        reply.code().hash(&mut hasher);
        reply.lines().for_each(|line| line.hash(&mut hasher));
    }
    hasher.finish()
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
}

/// Whether a word is a count, a time or a date: nothing but digits, colons, dashes and slashes, with punctuation around it.
fn is_passing(word: &[u8]) -> bool {
    let is_edge = |byte: &u8| matches!(byte, b'.' | b',' | b'(' | b')' | b'[' | b']');
    let start = word
        .iter()
        .position(|byte| !is_edge(byte))
        .unwrap_or(word.len());
    let end = word
        .iter()
        .rposition(|byte| !is_edge(byte))
        .map_or(start, |at| at + 1);
    let inner = word.get(start..end).unwrap_or_default();
    let is_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b':' | b'-' | b'/');
    inner.iter().all(is_number)
}

fn read(path: &Path) -> io::Result<Option<Stored>> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let limited = io::Read::take(file, BYTES_MAX);
    serde_json::from_reader(io::BufReader::new(limited))
        .map(Some)
        .map_err(io::Error::other)
}

/// Puts the file in place as a whole, for this user alone.
fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    local::private_dir(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    serde_json::to_writer_pretty(&mut file, stored).map_err(io::Error::other)?;
    file.write_all(b"\n")?;
    file.persist(path)?;
    Ok(())
}

fn seconds_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{
        super::{capabilities::SetTime, reply::reply, tests::config},
        *,
    };

    fn learnt() -> Learnt {
        Learnt {
            has_epsv: false,
            set_time: SetTime::Mdtm,
            has_rest: false,
            ..Learnt::default()
        }
    }

    // SEMANTICS: S-profile
    #[test]
    fn what_was_learnt_is_known_to_the_next_mount_of_the_same_server() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("ftpfs/servers");
        let first = Profile::open(&below, &config(2121));
        assert_eq!(first.recall(7), None);
        first.save(learnt());
        let again = Profile::open(&below, &config(2121));
        assert_eq!(again.believed(), Some(learnt()));
        assert_eq!(again.recall(7), Some(learnt()));
        assert_eq!(Profile::open(&below, &config(2122)).believed(), None);
        assert_eq!(again.recall(8), None, "another server answers there");
        again.save(Learnt {
            has_rest: false,
            ..Learnt::default()
        });
        assert_eq!(Profile::open(&below, &config(2121)).recall(7), None);
        let path = below.join("user@127.0.0.1:2121.json");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&below)), (0o600, 0o700));
        assert!(!fs::read_to_string(path).unwrap().contains("secret"));
    }

    // SEMANTICS: S-profile
    #[test]
    fn what_is_old_or_damaged_or_of_another_version_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let profile = Profile::open(dir.path(), &config(2121));
        profile.recall(7);
        profile.save(learnt());
        let path = profile.path.clone();
        let good = fs::read_to_string(&path).unwrap();
        let is_used = |text: &str| {
            fs::write(&path, text).unwrap();
            Profile::open(dir.path(), &config(2121))
                .believed()
                .is_some()
        };
        assert!(is_used(&good));
        let since = format!(
            "\"since\": {}",
            profile.stored.lock().unwrap().as_ref().unwrap().since
        );
        let month_ago = format!("\"since\": {}", seconds_now() - AGE_MAX.as_secs() - 10);
        let tomorrow = format!("\"since\": {}", seconds_now() + 86_400);
        assert!(!is_used(&good.replace(&since, &month_ago)));
        assert!(!is_used(&good.replace(&since, &tomorrow)));
        assert!(!is_used(&good.replace("\"version\": 2", "\"version\": 1")));
        assert!(
            is_used(&good.replace("\"has_rest\": true,", "")),
            "of an older program"
        );
        assert!(is_used(
            &good.replace("\"has_rest\"", "\"has_wings\": 1, \"has_rest\"")
        ));
        for end in [0, 1, good.len() / 2, good.len() - 3] {
            assert!(!is_used(&good[..end]), "{end}");
        }
    }

    #[test]
    fn a_greeting_may_tell_the_time_and_count_its_users() {
        let features = reply("211 no features");
        let system = reply("215 UNIX");
        let of = |greeting: &str| fingerprint(&reply(greeting), &system, &features);
        let monday = "220-You are user number 1 of 50 allowed.\r\n220-Local time is now 02:47. Server port: 21.\r\n220 Bye";
        let tuesday = "220-You are user number 12 of 50 allowed.\r\n220-Local time is now 15:50. Server port: 21.\r\n220 Bye";
        assert_eq!(of(monday), of(tuesday));
        assert_eq!(
            of("220 FTP at X, 17:41:19 on 2021-02-11."),
            of("220 FTP at X, 16:01:48 on 2020-04-09.")
        );
        assert_ne!(of("220 (vsFTPd 3.0.3)"), of("220 (vsFTPd 3.0.5)"));
        let other = fingerprint(&reply("220 a"), &system, &reply("500 what?"));
        assert_ne!(of("220 a"), other);
    }
}
