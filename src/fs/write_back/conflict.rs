//! Others have changed a file on the server since it was opened here: which one stays, and where the other goes.
//!
//! | `--conflict` | under the name stays | what was written here is |
//! |---|---|---|
//! | `keep-both` | theirs | stored beside it, under a name that says so |
//! | `fail` | theirs | unsent; kept on this machine once no program has the file open |
//! | `ours` | ours | there |
//!
//! A file of which some bytes lie on the server only cannot be made whole any more, for those are another's now: theirs stays, and what
//! was written is kept on this machine.

use chrono::{DateTime, Utc};

use super::{
    kept::keep,
    put::put,
    replace::replace,
    store::PUT_BYTES_MAX,
    upload::{Landed, Upload},
};
use crate::{
    config::OnConflict,
    fs::{
        error::{FsError, FsErrorKind, NAME_BYTES_MAX, Result},
        job::UploadEnd,
        spool::Spool,
    },
    remote::RemotePath,
};

/// The longest end of a name that is taken for an extension, with its dot. 16: longer than any in use, and shorter than what follows a
/// dot in a sentence.
const EXTENSION_BYTES_MAX: usize = 16;

/// How much of what was written is here.
enum Here {
    /// Nothing was written.
    Nothing,
    /// All of the file.
    Whole,
    /// Ranges; the server had the rest.
    Part,
}

/// Does what was chosen for such files; `conflict` is what the program gets, unless its file takes the other's place.
pub(super) fn resolve(
    upload: &mut Upload<'_>,
    policy: OnConflict,
    conflict: FsError,
) -> Result<Landed> {
    // What it has sent was to take the name.
    upload.job.stream = None;
    let is_superseded = !upload.file.lock().changes().is_as_taken(upload.job.len);
    if is_superseded {
        // A program has gone on writing, or has emptied the file: which of the two stays is decided when that is sent.
        return Err(conflict);
    }
    let path = upload.path;
    let stays = format!("{path} was changed on the server since it was opened here: that stays");
    match (policy, here(upload)) {
        (OnConflict::Fail, _) => {
            log::error!("{stays}, and what was written here is kept on this machine");
        }
        (OnConflict::Ours, Here::Whole) => {
            log::warn!(
                "{path} was changed on the server since it was opened here: what was written here replaces that (--conflict ours)"
            );
            return take_place(upload);
        }
        (OnConflict::KeepBoth, Here::Whole) if upload.job.len > 0 => match store_beside(upload) {
            Ok(copy) => {
                log::error!("{stays}, and what was written here is stored as {copy}");
                show_theirs(upload);
            }
            Err(error) => log::error!(
                "{stays}, and what was written here is kept on this machine, for it could not be stored beside it: {error}"
            ),
        },
        (_, Here::Part) => match keep(upload.spool_dir(), upload.file, Some(path)) {
            Ok(kept) => {
                log::error!(
                    "{stays}. What was written here is in {kept}: it is a part of a file of which the server no longer has the rest"
                );
                show_theirs(upload);
            }
            Err(io) => log::error!("{stays}, and what was written here could not be kept: {io}"),
        },
        (_, Here::Nothing | Here::Whole) => {
            log::error!("{stays}, and here nothing was written");
            show_theirs(upload);
        }
    }
    Err(conflict)
}

fn here(upload: &Upload<'_>) -> Here {
    let missing = upload.file.lock().changes().spool().map(Spool::missing);
    match missing {
        None => Here::Nothing,
        Some(missing) if missing.is_empty() => Here::Whole,
        Some(_) => Here::Part,
    }
}

/// Puts the whole file in the place of what is there now, unless that is a directory.
fn take_place(upload: &mut Upload<'_>) -> Result<Landed> {
    let seen = upload.ask()?;
    let versions = upload.server.versions();
    let theirs = seen.version();
    upload.job.base = theirs.map(|theirs| versions.base(theirs, seen.asked(), None));
    let was_emptied = std::mem::replace(&mut upload.job.is_emptied, true);
    upload.job.seen = None;
    replace(upload).inspect_err(|_| upload.job.is_emptied = was_emptied)
}

/// Stores the file under a name of its own in the same directory, which is returned.
fn store_beside(upload: &Upload<'_>) -> Result<RemotePath> {
    let copy = free_path(upload)?;
    let mut beside = upload.beside(&copy);
    let doubt = upload.file.lock().on_server().doubt().cloned();
    let landed = if beside.job.len <= PUT_BYTES_MAX {
        put(&mut beside)
    } else {
        replace(&mut beside)
    };
    // What is not known of the copy says nothing of the file itself.
    upload.file.lock().on_server_mut().set_doubt(doubt);
    drop(beside);
    if let Err(error) = landed {
        log::warn!("{copy}: {error}; a part of what was written here may have that name");
        return Err(error);
    }
    Ok(copy)
}

/// A path for the copy that nothing has now.
fn free_path(upload: &Upload<'_>) -> Result<RemotePath> {
    let path = upload.path;
    let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
        return Err(FsError::new(FsErrorKind::IsADirectory, path));
    };
    let time = DateTime::<Utc>::from(upload.server.tree().wall()).format("%Y%m%d-%H%M%S");
    let mark = format!(".ftpfs-conflict-{time}-{:08x}", fastrand::u32(..));
    let server = upload.server;
    let fits = |name: &[u8]| {
        let len = server.remote().name_len(name).unwrap_or(name.len());
        len <= NAME_BYTES_MAX
    };
    let copy = copy_name(name, mark.as_bytes(), fits)
        .and_then(|name| dir.join(&name).ok())
        .ok_or_else(|| FsError::new(FsErrorKind::NameTooLong, path))?;
    if server.evidence().look(&copy)?.is_absent() {
        Ok(copy)
    } else {
        Err(FsError::new(FsErrorKind::Exists, &copy))
    }
}

/// The name with `mark` before its extension, cut between two characters until it `fits`.
fn copy_name(name: &[u8], mark: &[u8], fits: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let (mut stem, extension) = split_extension(name);
    loop {
        let copy = [stem, mark, extension].concat();
        if fits(&copy) {
            return Some(copy);
        }
        stem = without_last_character(stem)?;
    }
}

/// The extension begins with its dot; a name that begins with its only dot has none.
fn split_extension(name: &[u8]) -> (&[u8], &[u8]) {
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let split = dot.and_then(|dot| name.split_at_checked(dot));
    match split {
        Some((stem, extension))
            if stem.iter().any(|byte| *byte != b'.')
                && (2..=EXTENSION_BYTES_MAX).contains(&extension.len()) =>
        {
            (stem, extension)
        }
        _ => (name, b""),
    }
}

/// Without the last byte, and all of the character that it ends, if the text is UTF-8; `None` of nothing.
fn without_last_character(text: &[u8]) -> Option<&[u8]> {
    let is_continued = |byte: u8| (0x80..0xC0).contains(&byte);
    let continued = text
        .iter()
        .rev()
        .take(3)
        .take_while(|byte| is_continued(**byte));
    let len = text.len().checked_sub(1 + continued.count())?;
    text.get(..len)
}

/// From now on programs see what the server has; if that cannot be found out, what was written stays as unsent too.
fn show_theirs(upload: &mut Upload<'_>) {
    match upload.ask() {
        Ok(seen) => match seen.version() {
            Some(theirs) => {
                let theirs = upload.server.versions().base(theirs, seen.asked(), None);
                upload.end_as(UploadEnd::SetAside(theirs));
            }
            None => log::info!("{}: theirs has gone meanwhile", upload.path),
        },
        Err(error) => log::info!("{}: theirs cannot be shown: {error}", upload.path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = ".ftpfs-conflict-20261128-063000-0a1b2c3d";

    #[test]
    fn a_copy_keeps_its_extension() {
        let table = [
            ("report.txt", "report", ".txt"),
            ("a.tar.gz", "a.tar", ".gz"),
            ("README", "README", ""),
            (".bashrc", ".bashrc", ""),
            (".config.json", ".config", ".json"),
            ("..x", "..x", ""),
            ("end.", "end.", ""),
            ("No. one of all the files", "No. one of all the files", ""),
        ];
        for (name, stem, extension) in table {
            let copy = copy_name(name.as_bytes(), MARK.as_bytes(), |_| true).unwrap();
            assert_eq!(
                copy,
                format!("{stem}{MARK}{extension}").as_bytes(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let short = |name: &[u8]| name.len() <= NAME_BYTES_MAX;
        for character in ["x", "ä", "漢", "🦀"] {
            for lead in ["", "a", "aa", "aaa"] {
                let stem = format!("{lead}{}", character.repeat(250 / character.len()));
                let copy = copy_name(format!("{stem}.txt").as_bytes(), MARK.as_bytes(), short);
                let copy = String::from_utf8(copy.unwrap()).unwrap();
                let left = copy.strip_suffix(&format!("{MARK}.txt")).unwrap();
                assert!(stem.starts_with(left) && copy.len() > 255 - character.len());
            }
        }
        let bytes = [[0x85; 250].as_slice(), b".txt"].concat();
        assert!(copy_name(&bytes, MARK.as_bytes(), short).is_some());
        assert!(copy_name(b"x", MARK.as_bytes(), |_| false).is_none());
    }
}
