//! A projected service account token (AKS workload identity). kubelet renews it at 80 % of its life by swapping a link.

use std::borrow::Cow;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::{FederatedError, end_of};
use crate::Config;
use crate::tokens::Assertion;

const LONGEST: u64 = 64 * 1024;
/// A token that ends sooner is not sent.
const LEFT: u64 = 60;
/// How long a link may be missing while it is swapped.
const SWAP: Duration = Duration::from_millis(200);

/// The file, read anew for each hop 1.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    pub(super) fn from_config(config: &Config) -> Result<Self, FederatedError> {
        let named = ["AZURE_FEDERATED_TOKEN_FILE", "AZURE_ACCESS_TOKEN_FILE"]
            .iter()
            .find_map(|name| config.host_variable(name));
        match named {
            Some(path) => Ok(Self { path: PathBuf::from(path) }),
            None => Err(FederatedError::NotConfigured { missing: vec!["AZURE_FEDERATED_TOKEN_FILE"] }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The text as it is in the file. A file that is not there is looked for once more.
    pub(super) async fn read(&self) -> Result<Assertion, FederatedError> {
        match self.read_once().await {
            Err(Failed::NotThere) => {
                tokio::time::sleep(SWAP).await;
                self.read_once().await
            }
            other => other,
        }
        .map_err(|failed| FederatedError::TokenFile {
            path: self.path.clone(),
            reason: match failed {
                Failed::NotThere => "there is no such file".into(),
                Failed::Because(reason) => reason,
            },
        })
    }

    async fn read_once(&self) -> Result<Assertion, Failed> {
        let path = self.path.clone();
        match crate::spawn_blocking(move || read(&path, SystemTime::now())).await {
            Ok(result) => result,
            Err(_) => Err(Failed::Because("reading it was cut short".into())),
        }
    }
}

#[derive(Debug)]
enum Failed {
    NotThere,
    Because(Cow<'static, str>),
}

fn read(path: &Path, now: SystemTime) -> Result<Assertion, Failed> {
    let refused = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Failed::NotThere,
        kind => Failed::Because(kind.to_string().into()),
    };
    let file = std::fs::File::open(path).map_err(refused)?;
    if !file.metadata().map_err(refused)?.is_file() {
        return Err(Failed::Because("it is no plain file".into()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() as u64 > LONGEST {
        return Err(Failed::Because("it is longer than 64 KiB".into()));
    }
    let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
    let no_jwt = || Failed::Because("it holds no JWT".into());
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(no_jwt());
    }
    let end = end_of(text).ok_or_else(no_jwt)?;
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if end <= now + LEFT {
        return Err(Failed::Because("its token has ended, and no newer one took its place".into()));
    }
    Ok(Assertion::issued(Zeroizing::new(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn jwt(exp: &str) -> String {
        format!("e30.{}.planted", URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{exp}}}")))
    }

    #[test]
    fn a_token_is_sent_as_it_stands_in_the_file_and_not_when_it_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        assert!(matches!(read(&path, now), Err(Failed::NotThere)));
        std::fs::write(&path, format!("  {}\n", jwt("1061"))).unwrap();
        assert_eq!(read(&path, now).unwrap().expose(), jwt("1061"));
        std::fs::write(&path, jwt("1061.5")).unwrap();
        assert_eq!(read(&path, now).unwrap().expose(), jwt("1061.5"), "a time may have a fraction");
        for text in [
            jwt("1060"),
            jwt("\"9999\""),
            jwt("-1"),
            String::new(),
            "planted".into(),
            "a.b.c".into(),
            format!("{}.x", jwt("9999")),
            format!("{} planted", jwt("9999")),
            "x".repeat(70_000),
        ] {
            std::fs::write(&path, &text).unwrap();
            let error = read(&path, now).unwrap_err();
            assert!(!format!("{error:?}").contains("planted"), "{error:?}");
        }
        assert!(read(dir.path(), now).is_err(), "a directory");
    }
}
