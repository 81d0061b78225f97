//! What the machine must have beside a Rust toolchain.

use std::path::Path;
use std::process::{Command, Stdio};

use entrabot_keystore::private_keyring::PrivateKeyring;

use crate::Failure;

/// Makes sure that a private keyring can be started: installs the Debian packages as root, otherwise names them.
pub(crate) fn ensure_keyring() -> Result<(), Failure> {
    ensure(&PrivateKeyring::missing_packages())?;
    match PrivateKeyring::missing_packages() {
        still if still.is_empty() => Ok(()),
        still => Err(format!("still missing after the installation: {}", still.join(" ")).into()),
    }
}

fn ensure(packages: &[&str]) -> Result<(), Failure> {
    if packages.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if !(am_root() && Path::new("/usr/bin/apt-get").exists()) {
        return Err(format!(
            "this needs a D-Bus session bus and gnome-keyring, which are not installed; on Debian or Ubuntu run\n    \
             sudo apt-get update && sudo {command}"
        )
        .into());
    }
    eprintln!("installing: {}", packages.join(" "));
    for arguments in ["update", command.strip_prefix("apt-get ").unwrap_or_default()] {
        let status = Command::new("apt-get")
            .args(arguments.split(' '))
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(format!("`apt-get {arguments}` failed: {status}").into());
        }
    }
    Ok(())
}

fn am_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
