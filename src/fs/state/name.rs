//! What has become of the name of an open file.

use crate::fs::made::MadeName;

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// It leads to the file.
    Kept,
    /// The file was moved to a hidden name, out of the way of what removes or takes its own.
    Aside(MadeName),
    /// It was removed: nothing goes up any more.
    Removed {
        /// Where the file lives on for its handles.
        hidden: Option<MadeName>,
    },
}

impl Name {
    pub(crate) fn is_removed(&self) -> bool {
        matches!(self, Self::Removed { .. })
    }

    /// Where the file lies instead of under its own name.
    pub(crate) fn hidden(&self) -> Option<&MadeName> {
        match self {
            Self::Aside(path) => Some(path),
            Self::Removed { hidden } => hidden.as_ref(),
            Self::Kept => None,
        }
    }

    /// The file has the hidden name no more.
    pub(crate) fn take_hidden(&mut self) -> Option<MadeName> {
        match self {
            Self::Removed { hidden } => hidden.take(),
            Self::Kept => None,
            Self::Aside(_) => match std::mem::replace(self, Self::Kept) {
                Self::Aside(path) => Some(path),
                Self::Kept | Self::Removed { .. } => None,
            },
        }
    }

    /// The name is gone for good.
    pub(crate) fn remove(&mut self) {
        let hidden = self.take_hidden();
        *self = Self::Removed { hidden };
    }
}
