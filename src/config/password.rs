//! A password that stays out of logs and does not linger in memory.

use std::sync::Arc;

use zeroize::Zeroizing;

/// A password that no `Debug` shows, that lies in memory once however often it is cloned, and that is wiped when the last
/// clone is dropped.
#[derive(Clone)]
pub struct Password(Arc<Zeroizing<String>>);

impl Password {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// The text, for the login alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(***)")
    }
}
