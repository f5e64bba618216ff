//! The remote over FTP: [`FtpRemote`], the implementation of [`Remote`](crate::remote::Remote) for real servers.
//!
//! What makes it hard, and who answers it:
//!
//! 1. a transfer costs four round trips where each step waits for the one before: `session/opening` is one sequence that waits late;
//! 2. a reply read at the wrong place makes every later one wrong: `session` and `transfer` are different types, and a
//!    session is thrown away after anything but a complete reply;
//! 3. sessions die unseen, and servers take only so many: `pool`;
//! 4. servers differ in what they can do: `capabilities` remembers what they say and refuse, `shortcuts` which round trips that saves;
//! 5. making a data connection takes two round trips: `next_data` hides them behind others, `background` does it early.

mod active;
mod background;
mod before;
mod capabilities;
mod checksum;
mod client;
mod command;
mod completeness;
mod connect_error;
mod control;
mod conversation;
mod data;
mod deadline;
mod dialer;
mod directory;
mod download;
mod encoding;
mod examine;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod hash;
mod host;
mod links;
pub mod listing;
mod login;
mod next_data;
mod order;
mod pace;
mod passive;
mod pool;
mod profile;
mod proxy;
mod range;
mod remote;
mod reply;
mod secure;
mod session;
mod settle;
mod shortcuts;
mod small;
mod socket;
mod stat;
mod stranger;
#[cfg(test)]
mod tests;
mod tls;
mod trace;
mod transfer;
mod trust;
mod upload;
mod values;
mod whole;
pub mod zone;

pub use client::FtpRemote;
pub use connect_error::ConnectError;
pub use examine::{Fact, Identity, Tried, Way, probe_tls};
pub use tls::{Certificate, Protocol, TlsError};
pub use trust::Untrusted;
