//! How the values of a collection lie on the disk.

mod empty_password;
mod gnome_keyring;
mod kwallet;
mod oo7;

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

pub(super) use gnome_keyring::{Description, directory_of};

use crate::AtRest;

/// Where a provider keeps the collection, so that its state can be looked at again before and after each act.
#[derive(Debug)]
pub(super) enum Store {
    GnomeKeyring(gnome_keyring::Keyring),
    /// A KDBX file, which is encrypted by its format.
    Kdbx,
    KWallet(kwallet::Wallet),
    Oo7(oo7::Keyring),
    /// It cannot be told.
    Unknown,
}

impl Store {
    /// `directory` is the one that gnome-keyring keeps its files in, `collection` the last element of its object path.
    pub(super) fn of_gnome_keyring(directory: &Path, collection: &str) -> Self {
        Self::GnomeKeyring(gnome_keyring::Keyring::new(directory, collection))
    }

    pub(super) fn of_kwallet(data_home: &Path, collection: &str) -> Self {
        kwallet::Wallet::new(data_home, collection).map_or(Self::Unknown, Self::KWallet)
    }

    pub(super) fn of_oo7(data_home: &Path, collection: &str) -> Self {
        oo7::Keyring::new(data_home, collection).map_or(Self::Unknown, Self::Oo7)
    }

    /// Looked at anew each time: nothing about a file but its content tells that the content is the same.
    pub(super) fn state(&self) -> AtRest {
        match self {
            Self::GnomeKeyring(keyring) => keyring.state(),
            Self::Kdbx => AtRest::Encrypted,
            Self::KWallet(wallet) => wallet.state(),
            Self::Oo7(keyring) => keyring.state(),
            Self::Unknown => AtRest::Unknown,
        }
    }
}

/// A name that is a plain file name whatever a provider does with it.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The beginning of a regular file, at most `limit` bytes. `None` when it cannot be read.
fn read_head(file: &Path, limit: usize) -> Option<Vec<u8>> {
    // A FIFO in the place of the file must not make us wait.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).ok()?;
    let file = File::options().read(true).custom_flags(flags).open(file).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut head = Vec::new();
    file.take(u64::try_from(limit).ok()?).read_to_end(&mut head).ok()?;
    Some(head)
}

/// A whole file that is no larger than a keyring may be.
fn read_whole(file: &Path) -> Option<Vec<u8>> {
    const LARGEST: usize = 16 << 20;
    read_head(file, LARGEST + 1).filter(|content| content.len() <= LARGEST)
}
