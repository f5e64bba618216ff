//! What the clients' calls have destroyed: for tests that ask of each byte whether anybody wanted that.

use std::time::Instant;

use super::{super::RemotePath, MemoryRemote, Operation};

/// The content of a file that a call has destroyed, or written into.
#[derive(Debug, Clone)]
pub struct Loss {
    /// When.
    pub at: Instant,
    /// By what.
    pub operation: Operation,
    /// Under which name.
    pub path: RemotePath,
    /// What was there.
    pub content: Vec<u8>,
    /// Whether the server did it [late](super::Treatment::Late).
    pub is_late: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Losses {
    is_kept: bool,
    pub(super) is_late: bool,
    all: Vec<Loss>,
}

impl Losses {
    /// Notes what a call is about to destroy.
    pub(super) fn note(
        &mut self,
        at: Instant,
        operation: Operation,
        path: &RemotePath,
        content: &[u8],
    ) {
        if self.is_kept && !content.is_empty() {
            self.all.push(Loss {
                at,
                operation,
                path: path.clone(),
                content: content.to_vec(),
                is_late: self.is_late,
            });
        }
    }
}

impl MemoryRemote {
    /// From now on keeps what calls destroy, for [`Self::take_losses`].
    pub fn keep_losses(&self) {
        self.lock().losses.is_kept = true;
    }

    /// What calls have destroyed since the last time, in order. An empty file holds nothing to be lost.
    pub fn take_losses(&self) -> Vec<Loss> {
        std::mem::take(&mut self.lock().losses.all)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        clock::ManualClock,
        remote::{Evidence, Remote, RemoteErrorKind, UploadMode, Want},
    };

    fn server() -> (MemoryRemote, RemotePath, RemotePath) {
        let server = MemoryRemote::new(Arc::new(ManualClock::new()));
        let path = |name: &[u8]| RemotePath::root().join(name).unwrap();
        server.write_file(&path(b"a"), b"one");
        server.write_file(&path(b"b"), b"two");
        server.keep_losses();
        (server, path(b"a"), path(b"b"))
    }

    fn any(server: &MemoryRemote, path: &RemotePath) -> crate::remote::Permit {
        server.look(path).unwrap().permit(Want::AnyFile).unwrap()
    }

    #[test]
    fn what_a_rename_a_removal_and_a_stor_destroy_is_kept() {
        let (server, a, b) = server();
        server.rename(&a, any(&server, &b)).unwrap();
        let place = UploadMode::InPlace;
        drop(server.open_upload(any(&server, &b), place).unwrap());
        server.write_file(&b, b"three");
        server.remove_file(any(&server, &b)).unwrap();
        let lost = server.take_losses().into_iter();
        let lost: Vec<_> = lost.map(|loss| (loss.operation, loss.content)).collect();
        assert_eq!(
            lost,
            [
                (Operation::Rename, b"two".to_vec()),
                (Operation::OpenUpload, b"one".to_vec()),
                (Operation::RemoveFile, b"three".to_vec()),
            ]
        );
    }

    #[test]
    fn a_server_that_removes_trees_loses_all_that_is_in_them() {
        let (server, ..) = server();
        server.set_behaviour(|behaviour| behaviour.removes_trees = true);
        let dir = RemotePath::root().join(b"d").unwrap();
        server.write_file(&dir.join(b"f").unwrap(), b"inside");
        let empty = Evidence::listed_empty(&dir, server.now());
        server
            .remove_dir(empty.permit(Want::EmptyDir).unwrap())
            .unwrap();
        assert_eq!(server.take_losses()[0].content, b"inside");
    }

    #[test]
    fn a_client_that_is_cut_off_changes_nothing_and_others_go_on() {
        let (server, a, b) = server();
        let client = server.connect();
        let permit = any(&client, &a);
        client.cut_off();
        let error = client.remove_file(permit).unwrap_err();
        assert_eq!(error.kind(), RemoteErrorKind::Disconnected);
        server.remove_file(any(&server, &b)).unwrap();
        assert!(server.read_file(&a).is_some() && server.read_file(&b).is_none());
    }

    #[test]
    fn a_full_disk_takes_no_more_than_fits() {
        let (server, a, _) = server();
        server.set_behaviour(|behaviour| behaviour.room = Some(8));
        let mut upload = server
            .open_upload(any_same(&server, &a), UploadMode::Append)
            .unwrap();
        let error = upload.write_all(b"much").unwrap_err();
        assert_eq!(error.kind(), RemoteErrorKind::NoSpace);
        assert_eq!(server.read_file(&a).unwrap(), b"onemu");
    }

    fn any_same(server: &MemoryRemote, path: &RemotePath) -> crate::remote::Permit {
        let seen = server.look(path).unwrap();
        let version = seen.version().unwrap();
        seen.permit(Want::Same(version)).unwrap()
    }
}
