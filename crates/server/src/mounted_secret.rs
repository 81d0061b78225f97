//! A secret that whoever starts this process mounts for it: a file, or `/dev/fd/N`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use entrabot_keystore::SecretBytes;

use crate::failure::Failure;

/// Its first `most` bytes. `named_by` is the setting or option that names the file. Blocks.
///
/// # Errors
/// The file cannot be opened or read.
pub(crate) fn read(named_by: &str, path: &Path, most: usize) -> Result<SecretBytes, Failure> {
    let failed =
        |what: &str, error: &std::io::Error| Failure::io(&format!("{what} the file of {named_by}"), error);
    let file = File::open(path).map_err(|error| failed("open", &error))?;
    // All of it at once: a buffer that grows leaves copies behind that nobody wipes.
    let mut bytes = Vec::with_capacity(most);
    let read = file.take(most as u64).read_to_end(&mut bytes);
    let secret = SecretBytes::new(bytes);
    read.map_err(|error| failed("read", &error))?;
    Ok(secret)
}
