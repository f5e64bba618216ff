//! Random keys of hashes, kept in a file: who does not know the key cannot choose names that have the same hash.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    hash::Hasher,
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};
use siphasher::{
    sip::SipHasher24,
    sip128::{Hasher128, SipHasher24 as SipHasher128},
};

use super::private_dir;

/// The key of keyed hashes (SipHash-2-4): as good as random numbers to whoever does not know it.
#[derive(Clone, PartialEq, Eq)]
pub struct HashKey([u8; 16]);

/// A key from a file.
#[derive(Debug)]
pub struct Kept {
    /// The key.
    pub key: HashKey,
    /// Whether it was made just now, as none was there, or a damaged one.
    pub is_new: bool,
}

impl HashKey {
    /// A new one.
    ///
    /// # Panics
    ///
    /// If the kernel has no random bits, which it has once it runs.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        #[expect(
            clippy::expect_used,
            reason = "nothing is to be done without random bits, and Linux has them"
        )]
        getrandom::fill(&mut bytes).expect("a running Linux has random bits");
        Self(bytes)
    }

    /// The key that this file holds. If it is missing or damaged it is made, for this user alone; of several programs that do so at
    /// once one makes it, and all get the same.
    ///
    /// # Errors
    ///
    /// It cannot be read, or made.
    pub fn kept_in(path: &Path) -> io::Result<Kept> {
        match fs::read(path) {
            Ok(text) => {
                if let Some(key) = Self::parse(&text) {
                    return Ok(Kept { key, is_new: false });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(dir) = path.parent() {
                    private_dir(dir)?;
                }
            }
            Err(error) => return Err(error),
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        // Let go of when the file is closed.
        flock(&file, FlockOperation::LockExclusive)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        if let Some(key) = Self::parse(&text) {
            return Ok(Kept { key, is_new: false });
        }
        let key = Self::random();
        key.write(&mut file)?;
        Ok(Kept { key, is_new: true })
    }

    /// The hash of two numbers and some bytes.
    pub fn hash_numbered(&self, numbers: [u64; 2], bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        for number in numbers {
            hasher.write(&number.to_le_bytes());
        }
        hasher.write(bytes);
        hasher.finish()
    }

    /// The hash of some pieces, as if they were one.
    pub fn hash_128<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>) -> u128 {
        let mut hasher = SipHasher128::new_with_key(&self.0);
        for piece in pieces {
            hasher.write(piece);
        }
        hasher.finish128().as_u128()
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let digits = str::from_utf8(text).ok()?.strip_suffix('\n')?;
        let is_whole = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(digits, 16).ok().filter(|_| is_whole)?;
        Some(Self(number.to_be_bytes()))
    }

    fn write(&self, file: &mut File) -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{:032x}", u128::from_be_bytes(self.0))?;
        file.sync_data()
    }
}

/// Without the key.
impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, thread};

    use super::*;

    #[test]
    fn a_key_is_made_once_for_this_user_alone_and_found_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state/key");
        let made = HashKey::kept_in(&path).unwrap();
        assert!(made.is_new);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let found = HashKey::kept_in(&path).unwrap();
        assert!(!found.is_new && found.key == made.key);
        assert!(HashKey::random() != made.key);
    }

    #[test]
    fn a_damaged_key_is_made_anew() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        let zeros = "0".repeat(32);
        for damaged in [
            "",
            "12ab\n",
            &zeros,
            &format!("+{}\n", &zeros[1..]),
            "\u{fc}\n",
        ] {
            fs::write(&path, damaged).unwrap();
            let made = HashKey::kept_in(&path).unwrap();
            assert!(made.is_new, "{damaged:?}");
            assert!(HashKey::kept_in(&path).unwrap().key == made.key);
        }
    }

    #[test]
    fn programs_that_make_it_at_once_agree() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        for _ in 0..50 {
            let kept: Vec<Kept> = thread::scope(|scope| {
                let makers = [(); 4].map(|()| scope.spawn(|| HashKey::kept_in(&path).unwrap()));
                makers.map(|maker| maker.join().unwrap()).into()
            });
            assert!(kept.iter().all(|one| one.key == kept[0].key));
            assert_eq!(kept.iter().filter(|one| one.is_new).count(), 1);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_key_that_cannot_be_kept_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        assert!(HashKey::kept_in(home.path()).is_err());
        assert!(HashKey::kept_in(Path::new("/proc/none/key")).is_err());
    }

    #[test]
    fn other_keys_give_other_hashes() {
        let [a, b] = [HashKey([1; 16]), HashKey([2; 16])];
        assert_eq!(a.hash_numbered([1, 0], b"x"), a.hash_numbered([1, 0], b"x"));
        assert_ne!(a.hash_numbered([1, 0], b"x"), b.hash_numbered([1, 0], b"x"));
        assert_eq!(a.hash_128([&b"na"[..], b"me"]), a.hash_128([&b"name"[..]]));
        assert_ne!(a.hash_128([&b"name"[..]]), b.hash_128([&b"name"[..]]));
    }
}
