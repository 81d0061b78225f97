//! Azure Arc's proof that the caller may read the agent's files.

use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Where the agent keeps them.
pub(super) const TOKENS: &str = if cfg!(windows) {
    r"C:\ProgramData\AzureConnectedMachineAgent\Tokens"
} else {
    "/var/opt/azcmagent/tokens"
};
const AGENT: &str = if cfg!(windows) {
    r"C:\Program Files\AzureConnectedMachineAgent\himds.exe"
} else {
    "/opt/azcmagent/bin/himds"
};
const LONGEST: u64 = 4096;

pub(super) fn is_installed() -> bool {
    Path::new(AGENT).is_file()
}

/// `Authorization` for the challenge; else a code of ours. The endpoint could name any file, which would then be read and
/// sent to it: only a plain `.key` file of at most 4096 bytes directly in the agent's directory is read.
pub(super) async fn key(challenge: Option<&str>, tokens: PathBuf) -> Result<Zeroizing<String>, &'static str> {
    let realm = challenge.and_then(|text| text.strip_prefix("Basic realm=")).ok_or("no_challenge")?;
    let path = PathBuf::from(realm.trim_matches('"'));
    match crate::spawn_blocking(move || read(&path, &tokens)).await {
        Ok(result) => result,
        Err(_) => Err("key_file_unreadable"),
    }
}

fn read(path: &Path, tokens: &Path) -> Result<Zeroizing<String>, &'static str> {
    // `..` in the text would leave the directory although the text begins with it.
    let is_direct = path.parent() == Some(tokens) && path.file_name().is_some_and(|name| name != "..");
    if !is_direct || path.extension().is_none_or(|extension| extension != "key") {
        return Err("key_file_refused");
    }
    let metadata = std::fs::symlink_metadata(path).map_err(|_| "key_file_unreadable")?;
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err("key_file_refused");
    }
    let file = std::fs::File::open(path).map_err(|_| "key_file_unreadable")?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(8192));
    file.take(LONGEST).read_to_end(&mut bytes).map_err(|_| "key_file_unreadable")?;
    let text = std::str::from_utf8(&bytes).map(str::trim).map_err(|_| "key_file_refused")?;
    Ok(Zeroizing::new(format!("Basic {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_agents_own_key_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = dir.path().join("tokens");
        std::fs::create_dir(&tokens).unwrap();
        let file = |name: &str, bytes: &[u8]| {
            std::fs::write(tokens.join(name), bytes).unwrap();
            tokens.join(name)
        };
        assert_eq!(read(&file("a.key", b" c2VjcmV0\n"), &tokens).unwrap().as_str(), "Basic c2VjcmV0");
        std::fs::write(dir.path().join("outside.key"), "planted").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.path().join("outside.key"), tokens.join("link.key")).unwrap();
        for path in [
            dir.path().join("outside.key"),
            tokens.join("../outside.key"),
            tokens.join("link.key"),
            file("a.txt", b"planted"),
            file("big.key", &[b'x'; 4097]),
            tokens.join("sub").join("a.key"),
            PathBuf::from("/etc/passwd"),
            PathBuf::from("a.key"),
        ] {
            assert_eq!(read(&path, &tokens).unwrap_err(), "key_file_refused", "{}", path.display());
        }
        assert_eq!(read(&tokens.join("gone.key"), &tokens).unwrap_err(), "key_file_unreadable");
    }
}
