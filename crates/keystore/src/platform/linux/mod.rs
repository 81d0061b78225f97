//! The Secret Service of Linux desktops: who provides it, how it lies on the disk, and the calls to it.

mod at_rest;
mod bus;
mod capability;
mod guard;
mod items;
mod provider;
mod session;

pub(crate) use guard::detect;
