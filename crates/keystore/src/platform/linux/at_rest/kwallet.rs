use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA512;
use blowfish::cipher::consts::U8;
use blowfish::cipher::{Array, BlockCipherDecrypt, KeyInit};
use blowfish::{Blowfish, BlowfishLE};

use super::empty_password::EmptyPassword;
use super::{is_plain_name, read_whole};
use crate::AtRest;

/// How a wallet begins, and then: version 0.1, its cipher and its hash (KWallet's `backend/kwalletbackend.h`).
const MAGIC: &[u8] = b"KWALLET\n\r\0\r\n\0\x01";
/// Blowfish in CBC mode under a key from PBKDF2 with SHA-512. Other ciphers are an older one and GPG, whose key may lie
/// beside it without a passphrase.
const BLOWFISH_CBC_PBKDF2: &[u8] = &[3, 2];
const ITERATIONS: NonZeroU32 = NonZeroU32::new(50_000).unwrap();
const KEY: usize = 56;
const BLOCK: usize = 8;
const HASH: usize = 20;

/// A wallet of KWallet: `NAME.kwl`, and `NAME.salt` beside it.
///
/// A wallet is always encrypted, but its password may be empty. Then KWallet opens it without asking, and so can anybody.
#[derive(Debug)]
pub(in crate::platform::linux) struct Wallet {
    file: PathBuf,
    salt: PathBuf,
    empty_password: EmptyPassword,
}

impl Wallet {
    /// `None` where the name of the collection does not tell that of the file.
    pub(super) fn new(data_home: &Path, collection: &str) -> Option<Self> {
        let file = |extension| data_home.join("kwalletd").join(format!("{collection}.{extension}"));
        is_plain_name(collection).then(|| Self {
            file: file("kwl"),
            salt: file("salt"),
            empty_password: EmptyPassword::new(PBKDF2_HMAC_SHA512, KEY),
        })
    }

    pub(super) fn state(&self) -> AtRest {
        let (Some(wallet), Some(salt)) = (read_whole(&self.file), read_whole(&self.salt)) else {
            return AtRest::Unknown;
        };
        let Some(sealed) = encrypted_part(&wallet) else { return AtRest::Unknown };
        match opens(sealed, &self.empty_password.key(&salt, ITERATIONS)) {
            Some(false) => AtRest::Encrypted,
            Some(true) => AtRest::Cleartext,
            None => AtRest::Unknown,
        }
    }
}

/// What follows the hashes of the folders' and entries' names.
fn encrypted_part(wallet: &[u8]) -> Option<&[u8]> {
    const NAME: usize = 16;
    let (folders, mut rest) =
        wallet.strip_prefix(MAGIC)?.strip_prefix(BLOWFISH_CBC_PBKDF2)?.split_first_chunk()?;
    for _ in 0..u32::from_be_bytes(*folders) {
        let (entries, after) = rest.get(NAME..)?.split_first_chunk()?;
        let names = usize::try_from(u32::from_be_bytes(*entries)).ok()?.checked_mul(NAME)?;
        rest = after.get(names..)?;
    }
    (rest.len() >= 2 * BLOCK + HASH && rest.len() % BLOCK == 0).then_some(rest)
}

/// Whether this key opens it. Encrypted are a random block, the length of the content, the content, one to eight bytes of
/// padding, and a hash. A wrong key gives a length that fits with a chance of 2 to the -29; the hash is an odd one of
/// KWallet's own, and nothing secret needs to be decrypted for it.
fn opens(sealed: &[u8], key: &[u8]) -> Option<bool> {
    // The code of KWallet's cipher depends on the order of bytes that its compiler was told of.
    Some(opens_with::<Blowfish>(sealed, key)? || opens_with::<BlowfishLE>(sealed, key)?)
}

fn opens_with<C: KeyInit + BlockCipherDecrypt<BlockSize = U8>>(sealed: &[u8], key: &[u8]) -> Option<bool> {
    let (random, rest) = sealed.split_first_chunk::<BLOCK>()?;
    let mut block = Array::from(*rest.first_chunk::<BLOCK>()?);
    C::new_from_slice(key).ok()?.decrypt_block(&mut block);
    let mut plain: [u8; BLOCK] = block.into();
    plain.iter_mut().zip(random).for_each(|(byte, before)| *byte ^= before);
    let length = usize::try_from(u32::from_be_bytes(*plain.first_chunk()?)).ok()?;
    let padding = sealed.len().checked_sub(BLOCK + 4 + HASH)?.checked_sub(length);
    Some(padding.is_some_and(|padding| (1..=BLOCK).contains(&padding)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use aws_lc_rs::pbkdf2;
    use proptest::prelude::*;

    use super::*;

    /// What kwalletd5 5.103 wrote: a wallet without a folder under the password `pw`, and its salt.
    const WALLET: &[u8] = include_bytes!("../../../../tests/data/kdewallet.kwl");
    const SALT: &[u8] = include_bytes!("../../../../tests/data/kdewallet.salt");

    fn state(wallet: &[u8], salt: Option<&[u8]>) -> AtRest {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("kwalletd");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("kdewallet.kwl"), wallet).unwrap();
        if let Some(salt) = salt {
            fs::write(directory.join("kdewallet.salt"), salt).unwrap();
        }
        Wallet::new(home.path(), "kdewallet").unwrap().state()
    }

    #[test]
    fn the_key_decides_and_nothing_else() {
        let sealed = encrypted_part(WALLET).unwrap();
        let mut key = [0; KEY];
        for (password, right) in [("pw", true), ("", false), ("pW", false)] {
            pbkdf2::derive(PBKDF2_HMAC_SHA512, ITERATIONS, SALT, password.as_bytes(), &mut key);
            assert_eq!(opens(sealed, &key), Some(right), "{password}");
        }
        assert_eq!(state(WALLET, Some(SALT)), AtRest::Encrypted);
    }

    #[test]
    fn what_is_not_a_wallet_of_the_kind_that_is_understood_says_nothing() {
        assert_eq!(state(WALLET, None), AtRest::Unknown);
        for length in 0..WALLET.len() {
            assert_eq!(encrypted_part(&WALLET[..length]), None, "{length}");
        }
        // Magic, version, cipher (GPG, the older Blowfish), hash (SHA-1), and a number of folders that are not there.
        for (position, value) in [(0, b'k'), (12, 1), (14, 2), (14, 0), (15, 0), (16, 0xff), (19, 1)] {
            let mut other = WALLET.to_vec();
            other[position] = value;
            assert_eq!(state(&other, Some(SALT)), AtRest::Unknown, "{position}");
        }
        assert!(Wallet::new(Path::new("/nonexistent"), "../kdewallet").is_none());
    }

    #[test]
    fn folders_and_entries_come_before_what_is_encrypted() {
        let (head, sealed) = WALLET.split_at(MAGIC.len() + 2 + 4);
        let mut folders = head[..MAGIC.len() + 2].to_vec();
        folders.extend(2_u32.to_be_bytes());
        for entries in [0, 3] {
            folders.extend([0xa5; 16]);
            folders.extend([0, 0, 0, entries]);
            folders.extend([0x5a; 16].repeat(entries.into()));
        }
        let longer = [folders.as_slice(), sealed].concat();
        assert_eq!(encrypted_part(&longer), Some(sealed));
    }

    proptest! {
        #[test]
        fn no_content_is_too_strange(position in 0..60_usize, value in any::<u8>(), tail in 0..60_usize) {
            let mut content = WALLET.to_vec();
            content[position] = value;
            content.truncate(60 - tail);
            if let Some(sealed) = encrypted_part(&content) {
                prop_assert!(opens(sealed, &[1; KEY]).is_some());
            }
        }
    }
}
