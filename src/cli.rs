//! What the user typed: the command line and the `-o` options, read into a [`Request`] and checked into the settings of
//! [`config`](crate::config).

mod arguments;
mod credentials;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod mount_options;
mod netrc;
mod prompt;
mod proxy;
mod request;
mod settings;
mod surroundings;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod values;

pub use arguments::Opts;
pub use error::{Stop, UsageError};
pub use request::{DoctorRequest, MountRequest, Request};
pub use surroundings::{Confirm, Surroundings};
pub use target::Target;
