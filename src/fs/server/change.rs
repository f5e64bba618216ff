//! Changes of names and attributes: look, get the permit, send, and look again before anything is sent once more.
//!
//! A change is sent again where nothing can have come of it: the permit had expired when a session was there, or the session had died
//! while it was idle. Everything else that fails is the caller's.

use super::{Server, refusal::Intent, spelling::is_same_spelled_otherwise};
use crate::{
    fs::error::{FsError, FsErrorKind, Result},
    remote::{self, Attributes, Evidence, RemoteErrorKind, RemotePath, Settled, Want},
};

/// How often a change is sent, each time after another look. 3: one session that has died while it was idle, and one more when the server is slow.
const TRIES_MAX: usize = 3;

/// Why a change is looked at once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It is the first time.
    No,
    /// What was seen had become too old; nothing was sent.
    Expired,
    /// The session had died while it was idle: the server may have heard it all the same.
    Unheard,
}

/// Sends a change of these names for the permit that `look` gives, at most [`TRIES_MAX`] times. `None` from `look` says that it is done.
///
/// # Errors
///
/// What `look` says; inside, what the server says.
pub(crate) fn carry_out<P, T>(
    server: &Server,
    names: &[&RemotePath],
    mut look: impl FnMut(Again) -> Result<Option<P>>,
    mut send: impl FnMut(P) -> remote::Result<T>,
) -> Result<Option<remote::Result<T>>> {
    for name in names {
        server.holds().check(name)?;
    }
    let mut again = Again::No;
    let mut tries = 1;
    loop {
        let Some(permit) = look(again)? else {
            return Ok(None);
        };
        match send(permit) {
            Err(error) if tries < TRIES_MAX && error.kind() == RemoteErrorKind::Expired => {
                again = Again::Expired;
            }
            Err(error) if tries < TRIES_MAX && error.is_unheard() => {
                // Should even the look fail, nothing old is shown.
                server.kernel().forget_if_unknown(&error, names);
                again = Again::Unheard;
            }
            outcome => {
                if let Err(error) = &outcome {
                    server.holds().hold(error, names);
                }
                return Ok(Some(outcome));
            }
        }
        tries += 1;
    }
}

/// Whether what the server has agreed to rename has left its old name, by what was seen of that with the rename: it may be that others have
/// made the new name in this moment, and the server says yes and does nothing. Where nothing was seen, it is looked at if something was to
/// be replaced, or the server has done so before.
pub(crate) fn has_left(
    server: &Server,
    source: &RemotePath,
    path: &RemotePath,
    is_replacing: bool,
    seen: Option<&Evidence>,
) -> Result<bool> {
    // A name that only gets another spelling may still be answered for.
    if !is_replacing && is_respelled(source, path) {
        return Ok(true);
    }
    let has_left = match seen {
        Some(seen) => seen.is_absent(),
        None if is_replacing || server.learnt().pretends_to_rename() => {
            server.evidence().look_now(source)?.is_absent()
        }
        None => return Ok(true),
    };
    if !has_left {
        log::info!("this server only pretends to rename over {path}");
        server.learnt().note_pretended_rename();
    }
    Ok(has_left)
}

/// Whether a name only gets another spelling, by a server to which both may be the same.
pub(crate) fn is_respelled(source: &RemotePath, target: &RemotePath) -> bool {
    let (Some(one), Some(other)) = (source.name(), target.name()) else {
        return false;
    };
    source.parent() == target.parent() && is_same_spelled_otherwise(one, other)
}

impl Server {
    /// Removes the file of that name for a program.
    pub(crate) fn remove_file(&self, path: &RemotePath) -> Result<()> {
        let look = |again| {
            let evidence = match again {
                Again::No => self.evidence().look(path)?,
                Again::Expired | Again::Unheard => self.evidence().look_now(path)?,
            };
            match evidence.permit(Want::AnyFile) {
                Ok(_) if evidence.is_absent() && again == Again::Unheard => Ok(None),
                Ok(_) if evidence.is_absent() => Err(FsError::new(FsErrorKind::NotFound, path)),
                Ok(permit) => Ok(Some(permit)),
                Err(_) => Err(FsError::new(FsErrorKind::IsADirectory, path)),
            }
        };
        let sent = carry_out(self, &[path], look, |permit| {
            self.remote().remove_file(permit)
        })?;
        if let Some(Err(error)) = sent {
            return Err(self.explain(error, path, Intent::RemoveFile));
        }
        if sent.is_some() {
            self.account().note_removed();
            self.learnt().note_removal();
        }
        self.room().note_freed();
        Ok(())
    }

    /// Removes a directory, by a listing that shows that it holds nothing.
    pub(crate) fn remove_dir(&self, path: &RemotePath) -> Result<()> {
        let not_empty = || FsError::new(FsErrorKind::NotEmpty, path);
        let look = |again| {
            if again == Again::Unheard && self.evidence().look_now(path)?.is_absent() {
                return Ok(None);
            }
            let evidence = self.evidence().look_empty(path);
            let evidence =
                evidence.map_err(|error| self.explain(error, path, Intent::RemoveDir))?;
            let permit = evidence.and_then(|evidence| evidence.permit(Want::EmptyDir).ok());
            permit.ok_or_else(not_empty).map(Some)
        };
        match carry_out(self, &[path], look, |permit| {
            self.remote().remove_dir(permit)
        })? {
            Some(Err(error)) => Err(self.explain(error, path, Intent::RemoveDir)),
            None | Some(Ok(())) => Ok(()),
        }
    }

    /// Makes a directory; `EEXIST` when one was made by an attempt of which that was not known.
    pub(crate) fn make_dir(&self, path: &RemotePath) -> remote::Result<()> {
        match self.remote().make_dir(path) {
            // Done or not, a second MKD destroys nothing.
            Err(error) if error.is_unheard() => self.remote().make_dir(path),
            made => made,
        }
    }

    /// Sets mode and time for what `evidence` shows, and reads back what the server has. `len` is the length that the file must have to be the
    /// one that is meant, when it has to be looked at once more.
    pub(crate) fn settle(
        &self,
        evidence: &Evidence,
        want: Want,
        len: Option<u64>,
        attributes: Attributes,
    ) -> Result<Settled> {
        let path = evidence.path();
        if attributes.is_empty() {
            let settled = Settled {
                mode: Ok(()),
                modified: Ok(()),
                report: self.remote().report(path)?,
            };
            return Ok(self.note_settled(path, settled));
        }
        let look = |again| {
            if again == Again::No {
                return Ok(evidence.permit(want).ok());
            }
            let now = self.evidence().look_now(path)?;
            let is_meant = |len| now.version().is_none_or(|version| version.size == len);
            let want = if want == Want::AnyDir {
                want
            } else {
                Want::AnyFile
            };
            let permit = now.permit(want).ok();
            Ok(permit.filter(|_| len.is_none_or(is_meant)))
        };
        match carry_out(self, &[path], look, |permit| {
            self.remote().settle(permit, &attributes)
        })? {
            Some(Ok(settled)) => Ok(self.note_settled(path, settled)),
            Some(Err(error)) => Err(error.into()),
            None => Err(self.conflict(path)),
        }
    }
}
