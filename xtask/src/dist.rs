//! `cargo xtask dist`: what an operator installs.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::Failure;
use crate::build::{root, run_cargo, target_dir};

pub(crate) fn run() -> Result<(), Failure> {
    run_cargo(["build", "--release", "--locked", "--package", "entrabot-server"])?;
    refuse_test_features()?;
    let directory = target_dir().join("dist");
    fs::create_dir_all(&directory)?;
    let binary = directory.join("entrabot");
    fs::copy(target_dir().join("release/entrabot"), &binary)?;
    let digest = Sha256::digest(fs::read(&binary)?);
    let hex = digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes any text");
        text
    });
    fs::write(directory.join("SHA256SUMS"), format!("{hex}  entrabot\n"))?;
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(&binary).args(["completions", shell]).output()?;
        if !output.status.success() {
            return Err(format!("`entrabot completions {shell}` failed").into());
        }
        fs::write(directory.join(format!("entrabot.{shell}")), output.stdout)?;
    }
    let manual = Command::new(&binary).args(["man", "--dir"]).arg(directory.join("man1")).status()?;
    if !manual.success() {
        return Err("`entrabot man` failed".into());
    }
    println!("{}  {} bytes", binary.display(), fs::metadata(&binary)?.len());
    println!("sha256 {hex}");
    Ok(())
}

/// The test doubles' feature must not reach the binary.
fn refuse_test_features() -> Result<(), Failure> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", "entrabot-server", "--edges", "normal,features", "--prefix", "none"])
        .current_dir(root())
        .output()?;
    let tree = String::from_utf8(tree.stdout)?;
    match tree.lines().find(|line| line.contains("test-util") && line.contains("entrabot")) {
        Some(line) => Err(format!("a test feature is in the release binary: {line}").into()),
        None => Ok(()),
    }
}
