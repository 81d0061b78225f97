use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256;

use super::empty_password::EmptyPassword;
use super::{is_plain_name, read_whole};
use crate::AtRest;

/// How a keyring of version 1.0 begins. What follows is a GVariant `(uayutua(a{say}ay))`: size of the salt, salt,
/// iterations, time of change, uses, and the items, each with its attributes and a blob (oo7's `file/api/mod.rs`).
const MAGIC: &[u8] = b"GnomeKeyring\n\r\0\n\x01\0";
const KEY: usize = 16;
const BLOCK: usize = 16;
/// HMAC-SHA256.
const MAC: usize = 32;
/// Ten times what oo7 uses: a file must not make us work for minutes.
const MOST_ITERATIONS: u32 = 1_000_000;

/// A keyring of oo7-daemon: `keyrings/v1/NAME.keyring`.
///
/// One without a password holds its items as they are. Nothing at its head says so; each item must be looked at.
#[derive(Debug)]
pub(in crate::platform::linux) struct Keyring {
    file: PathBuf,
    empty_password: EmptyPassword,
}

impl Keyring {
    /// `None` where the name of the collection does not tell that of the file.
    pub(super) fn new(data_home: &Path, collection: &str) -> Option<Self> {
        is_plain_name(collection).then(|| Self {
            file: data_home.join("keyrings/v1").join(format!("{collection}.keyring")),
            empty_password: EmptyPassword::new(PBKDF2_HMAC_SHA256, KEY),
        })
    }

    /// Unknown, too, while it holds no item: an empty keyring looks the same with and without a password.
    pub(super) fn state(&self) -> AtRest {
        let content = read_whole(&self.file);
        content.and_then(|content| self.state_of(content.strip_prefix(MAGIC)?)).unwrap_or(AtRest::Unknown)
    }

    fn state_of(&self, keyring: &[u8]) -> Option<AtRest> {
        let keyring = Contents::parse(keyring)?;
        if keyring.items.is_empty() {
            return None;
        }
        // An encrypted item has the MACs of its attributes, a plain one has the attributes. Each has one at least: the
        // type of its content.
        for item in &keyring.items {
            if item.attributes.is_empty() {
                return None;
            }
            if item.attributes.iter().any(|value| value.len() != MAC) {
                return Some(AtRest::Cleartext);
            }
            if item.blob.len() < 2 * BLOCK + MAC || item.blob.len() % BLOCK != 0 {
                return None;
            }
        }
        let key =
            hmac::Key::new(hmac::HMAC_SHA256, &self.empty_password.key(keyring.salt, keyring.iterations));
        let opens = |item: &Item<'_>| {
            let (sealed, mac) = item.blob.split_at(item.blob.len() - MAC);
            hmac::verify(&key, sealed, mac).is_ok()
        };
        Some(if keyring.items.iter().any(opens) { AtRest::Cleartext } else { AtRest::Encrypted })
    }
}

struct Contents<'a> {
    salt: &'a [u8],
    iterations: NonZeroU32,
    items: Vec<Item<'a>>,
}

struct Item<'a> {
    /// What stands for the attributes' values.
    attributes: Vec<&'a [u8]>,
    blob: &'a [u8],
}

impl<'a> Contents<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let aligned = |position: usize, to: usize| position.next_multiple_of(to);
        let framed = Framed::new(bytes)?;
        let salt_end = framed.offset_from_end(0)?;
        let salt = bytes.get(4..salt_end)?;
        let iterations_at = aligned(salt_end, 4);
        let iterations = u32::from_le_bytes(*bytes.get(iterations_at..)?.first_chunk()?);
        let uses_at = aligned(iterations_at + 4, 8) + 8;
        let items = bytes.get(uses_at + 4..bytes.len() - framed.width)?;
        Some(Self {
            salt,
            iterations: NonZeroU32::new(iterations).filter(|number| number.get() <= MOST_ITERATIONS)?,
            items: elements(items)?.into_iter().map(Item::parse).collect::<Option<_>>()?,
        })
    }
}

impl<'a> Item<'a> {
    /// `(a{say}ay)`
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let framed = Framed::new(bytes)?;
        let attributes_end = framed.offset_from_end(0)?;
        let value = |entry: &'a [u8]| {
            let framed = Framed::new(entry)?;
            entry.get(framed.offset_from_end(0)?..entry.len() - framed.width)
        };
        Some(Self {
            attributes: elements(bytes.get(..attributes_end)?)?
                .into_iter()
                .map(value)
                .collect::<Option<_>>()?,
            blob: bytes.get(attributes_end..bytes.len() - framed.width)?,
        })
    }
}

/// A GVariant container, which ends with the offsets of where its members end (GVariant specification, 3.2).
struct Framed<'a> {
    bytes: &'a [u8],
    /// Of one offset, in bytes.
    width: usize,
}

impl<'a> Framed<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let width = match bytes.len() {
            0 => return None,
            1..=0xff => 1,
            0x100..=0xffff => 2,
            _ => 4,
        };
        (bytes.len() >= width).then_some(Self { bytes, width })
    }

    /// The offset at this place, counted from the end of the container.
    fn offset_from_end(&self, place: usize) -> Option<usize> {
        let end = self.bytes.len().checked_sub(place.checked_mul(self.width)?)?;
        let bytes = self.bytes.get(end.checked_sub(self.width)?..end)?;
        bytes
            .iter()
            .rev()
            .try_fold(0_usize, |number, byte| number.checked_mul(256)?.checked_add(usize::from(*byte)))
    }
}

/// The elements of an array of containers that need no alignment.
fn elements(array: &[u8]) -> Option<Vec<&[u8]>> {
    let Some(framed) = Framed::new(array) else { return Some(Vec::new()) };
    let content_end = framed.offset_from_end(0)?;
    let offsets = array.len().checked_sub(content_end)?;
    if offsets == 0 || offsets % framed.width != 0 {
        return None;
    }
    let mut start = 0;
    (0..offsets / framed.width)
        .rev()
        .map(|place| {
            let end = framed.offset_from_end(place)?;
            let element = array.get(start..end)?;
            start = end;
            Some(element)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    /// What oo7 0.7.0-beta wrote: two items with three attributes each, without a password and with one.
    const PLAIN: &[u8] = include_bytes!("../../../../tests/data/oo7-plain.keyring");
    const ENCRYPTED: &[u8] = include_bytes!("../../../../tests/data/oo7-encrypted.keyring");

    fn state(content: &[u8]) -> AtRest {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("keyrings/v1")).unwrap();
        fs::write(home.path().join("keyrings/v1/login.keyring"), content).unwrap();
        Keyring::new(home.path(), "login").unwrap().state()
    }

    #[test]
    fn items_in_clear_are_told_from_encrypted_ones() {
        assert_eq!(state(PLAIN), AtRest::Cleartext);
        assert_eq!(state(ENCRYPTED), AtRest::Encrypted);
        let contents = Contents::parse(&ENCRYPTED[MAGIC.len()..]).unwrap();
        assert_eq!((contents.salt.len(), contents.iterations.get(), contents.items.len()), (32, 100_000, 2));
        assert!(contents.items.iter().all(|item| item.attributes.len() == 3));
    }

    #[test]
    fn what_an_empty_password_opens_is_as_good_as_in_clear() {
        let contents = Contents::parse(&ENCRYPTED[MAGIC.len()..]).unwrap();
        let empty = EmptyPassword::new(PBKDF2_HMAC_SHA256, KEY).key(contents.salt, contents.iterations);
        let blob = contents.items[1].blob;
        let (sealed, mac) = blob.split_at(blob.len() - MAC);
        let under_empty = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &empty), sealed);
        let mut content = ENCRYPTED.to_vec();
        let at = content.windows(MAC).position(|window| window == mac).unwrap();
        content[at..at + MAC].copy_from_slice(under_empty.as_ref());
        assert_eq!(state(&content), AtRest::Cleartext);
    }

    #[test]
    fn a_keyring_without_items_or_of_another_kind_says_nothing() {
        // The members that come before the items, and the offset of the salt's end.
        let empty = [&ENCRYPTED[..MAGIC.len() + 0x3c - 8], &[0x24]].concat();
        assert!(Contents::parse(&empty[MAGIC.len()..]).is_some_and(|contents| contents.items.is_empty()));
        assert_eq!(state(&empty), AtRest::Unknown);
        for length in 0..ENCRYPTED.len() {
            assert_ne!(state(&ENCRYPTED[..length]), AtRest::Encrypted, "{length}");
        }
        let mut older = ENCRYPTED.to_vec();
        older[MAGIC.len() - 2] = 0;
        assert_eq!(state(&older), AtRest::Unknown);
        let mut endless = ENCRYPTED.to_vec();
        endless[MAGIC.len() + 0x24..][..4].fill(0xff);
        assert_eq!(state(&endless), AtRest::Unknown);
    }

    proptest! {
        #[test]
        fn no_content_is_too_strange(position in 0..600_usize, value in any::<u8>(), tail in 0..40_usize) {
            let mut content = ENCRYPTED.to_vec();
            let length = content.len();
            content[position.min(length - 1)] = value;
            content.truncate(length - tail);
            drop(Contents::parse(&content[MAGIC.len().min(content.len())..]));
            drop(Contents::parse(&content[position.min(content.len())..]));
        }
    }
}
