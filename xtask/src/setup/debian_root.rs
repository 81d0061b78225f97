//! Programs of later Debian releases than this machine's, each in a root of its own.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::{ensure, may_install, on_path};
use crate::Failure;
use crate::build::{run, target_dir};

/// KWallet's daemons that Debian 12 has not, for the long tests: the release, the daemon that it has. A root takes half a
/// minute and 450 MB.
const KWALLETS: &[(&str, &str)] = &[("trixie", "kwalletd6"), ("forky", "ksecretd")];
/// The daemon, what it encrypts with, and what its tests call.
const PACKAGES: &str = "--include=kwallet6,libqca-qt6-plugins,dbus-daemon,dbus-bin,util-linux,coreutils";

/// Unpacks each of these roots where there is none yet. Nothing in them is configured, and nothing here is changed.
pub(crate) fn ensure_kwallets() -> Result<(), Failure> {
    let roots = target_dir().join("tmp/kwallet");
    let missing: Vec<_> = KWALLETS
        .iter()
        .filter(|(release, daemon)| !roots.join(release).join("usr/bin").join(daemon).exists())
        .map(|(release, _)| *release)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let archive = if may_install() { archive()? } else { None };
    let Some(archive) = archive else {
        eprintln!(
            "note: the tests of KWallet in {} need root and apt with Debian's archive",
            missing.join(", ")
        );
        return Ok(());
    };
    if !on_path("mmdebstrap") {
        ensure(&["mmdebstrap"])?;
    }
    fs::create_dir_all(&roots)?;
    // A proxy's address may hold a password: nobody else may read it, and it goes with this function.
    let mut settings = tempfile::NamedTempFile::new()?;
    settings.write_all(&apt_config()?)?;
    for release in missing {
        eprintln!("unpacking: KWallet of Debian {release}");
        unpack(release, &archive, settings.path(), &roots)?;
    }
    // The daemons wait for the disk with every wallet that they write, and the tests' deadlines are short.
    run(&mut Command::new("sync"))
}

fn unpack(release: &str, archive: &str, settings: &Path, roots: &Path) -> Result<(), Failure> {
    let unfinished = roots.join(format!("{release}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--variant=extract", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", PACKAGES])
        .arg(format!("--aptopt={}", settings.display()))
        .arg(release)
        .arg(&unfinished)
        .arg(archive);
    run(&mut command)?;
    Ok(fs::rename(&unfinished, roots.join(release))?)
}

/// Where this machine's apt has Debian's packages from; `None` on another distribution.
fn archive() -> Result<Option<String>, Failure> {
    let main = ["Created-By: Packages", "Label: Debian", "Component: main"];
    let output =
        Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]).args(main).output()?;
    Ok(String::from_utf8(output.stdout)?.lines().next().map(str::to_owned))
}

/// How this machine's apt fetches (a proxy, for instance).
fn apt_config() -> Result<Vec<u8>, Failure> {
    Ok(Command::new("apt-config").args(["dump", "--format", "%F \"%v\";%n", "Acquire"]).output()?.stdout)
}
