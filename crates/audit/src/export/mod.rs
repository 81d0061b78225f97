//! The log in other people's formats.

mod checkpoint;

pub use checkpoint::last_checkpoint;
