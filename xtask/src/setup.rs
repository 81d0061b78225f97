//! What the machine must have beside a Rust toolchain.

mod debian_root;

use std::path::Path;
use std::process::{Command, Stdio};

use entrabot_keystore::private_keyring::PrivateKeyring;

pub(crate) use debian_root::ensure_kwallets;

use crate::Failure;
use crate::build::{cargo, run, target_dir};

/// Makes sure that a private keyring can be started: installs the Debian packages as root, otherwise names them.
pub(crate) fn ensure_keyring() -> Result<(), Failure> {
    ensure(&PrivateKeyring::missing_packages())?;
    match PrivateKeyring::missing_packages() {
        still if still.is_empty() => Ok(()),
        still => Err(format!("still missing after the installation: {}", still.join(" ")).into()),
    }
}

/// Other people's programs that tests compare ours with. Without one its tests say that they did not run.
/// `long` adds those that the long tests alone need.
pub(crate) fn ensure_peers(long: bool) -> Result<(), Failure> {
    let peers = [
        ("bindfs", "bindfs"),
        ("keepassxc", "keepassxc"),
        ("kwalletd5", "libkf5wallet-bin"),
        ("openssl", "openssl"),
        ("python3", "python3-venv"),
        ("pip3", "python3-pip"),
        ("npm", "npm"),
        ("strace", "strace"),
        ("swtpm", "swtpm"),
        ("systemd-analyze", "systemd"),
    ];
    let long_peers: &[_] =
        if long { &[("chromium", "chromium"), ("pdftotext", "poppler-utils")] } else { &[] };
    let missing: Vec<_> = peers
        .into_iter()
        .chain(long_peers.iter().copied())
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| package)
        .chain((!kwallet_can_encrypt()).then_some("libqca-qt5-2-plugins"))
        .collect();
    if !missing.is_empty() && !may_install() {
        eprintln!("note: some tests need these Debian packages and will not run: {}", missing.join(" "));
        return Ok(());
    }
    ensure(&missing)
}

/// A keyring daemon that no Debian has, for the long tests: compiled once, which takes minutes.
pub(crate) fn ensure_oo7() -> Result<(), Failure> {
    let root = target_dir().join("tmp/oo7");
    if root.join("bin/oo7-daemon").exists() {
        return Ok(());
    }
    eprintln!("compiling: oo7-daemon");
    let mut install = cargo();
    install
        .args(["install", "oo7-daemon", "--version", "0.7.0-beta", "--locked", "--debug", "--root"])
        .arg(root);
    run(&mut install)
}

/// Without this plugin KWallet agrees on no key, and values would travel over the bus as they are.
fn kwallet_can_encrypt() -> bool {
    let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    libraries.into_iter().any(|folder| folder.path().join("qca-qt5/crypto/libqca-ossl.so").exists())
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn may_install() -> bool {
    am_root() && Path::new("/usr/bin/apt-get").exists()
}

fn ensure(packages: &[&str]) -> Result<(), Failure> {
    if packages.is_empty() {
        return Ok(());
    }
    let install: Vec<_> =
        ["install", "-y", "--no-install-recommends"].iter().chain(packages).copied().collect();
    if !may_install() {
        return Err(format!(
            "this needs a D-Bus session bus and gnome-keyring, which are not installed; on Debian or Ubuntu run\n    \
             sudo apt-get update && sudo apt-get {}",
            install.join(" ")
        )
        .into());
    }
    eprintln!("installing: {}", packages.join(" "));
    for arguments in [["update"].as_slice(), &install] {
        let status = Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(format!("`apt-get {}` failed: {status}", arguments.join(" ")).into());
        }
    }
    Ok(())
}

fn am_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
