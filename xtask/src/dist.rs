//! `cargo xtask dist`: what an operator installs, and what lets anybody check it.
//!
//! The binary depends on the sources, the lock file and the compiler alone. Where the sources, the registry and the build
//! directory lie is mapped away, in what rustc compiles and in what the C compiler does for it, and nothing takes the
//! time. `--verify` shows it: a clone of the same commit, built elsewhere and with another number of jobs, must give the
//! same bytes.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Failure;
use crate::build::{self, cargo, has_subcommand, root, target_dir};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Build the same commit a second time, somewhere else, and compare
    #[arg(long)]
    verify: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    if !has_subcommand("cyclonedx") {
        return Err("cargo-cyclonedx is not installed: cargo install cargo-cyclonedx --locked".into());
    }
    if options.verify {
        refuse_uncommitted_changes()?;
    }
    refuse_test_features()?;
    let directory = target_dir().join("dist");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;

    let binary = directory.join("entrabot");
    let built = release(root(), &target_dir().join("dist-build"), None)?;
    fs::copy(built, &binary)?;
    generated_by(&binary, &directory)?;
    bill_of_materials(&directory.join("entrabot.cdx.json"))?;
    write_sums(&directory)?;
    if options.verify {
        compare_with_another_build(&binary)?;
    }
    println!("{}  {} bytes", binary.display(), fs::metadata(&binary)?.len());
    println!("sha256 {}", sha256(&binary)?);
    Ok(())
}

/// The release binary of the sources in `sources`, built below `build`.
fn release(sources: &Path, build: &Path, jobs: Option<u32>) -> Result<PathBuf, Failure> {
    // Of two prefixes that fit, the compilers take the one that is named last.
    let places = [(sources, "/entrabot"), (&cargo_home()?, "/cargo"), (build, "/build")];
    let mapped = |flag: &str| places.map(|(from, to)| format!("{flag}={}={to}", from.display()));
    let mut command = cargo();
    command
        .current_dir(sources)
        .args(["build", "--release", "--locked", "--package", "entrabot-server"])
        .args(jobs.map(|jobs| format!("--jobs={jobs}")))
        .env("CARGO_TARGET_DIR", build)
        .env("CARGO_ENCODED_RUSTFLAGS", mapped("--remap-path-prefix").join("\u{1f}"))
        .env("CFLAGS", mapped("-ffile-prefix-map").join(" "))
        .env("SOURCE_DATE_EPOCH", "0")
        .env_remove("RUSTFLAGS");
    build::run(&mut command)?;
    Ok(build.join("release/entrabot"))
}

fn cargo_home() -> Result<PathBuf, Failure> {
    let named = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let usual = || std::env::home_dir().map(|home| home.join(".cargo"));
    named.or_else(usual).ok_or_else(|| "neither CARGO_HOME nor a home directory is known".into())
}

/// What the binary tells of itself: completions and manual pages.
fn generated_by(binary: &Path, directory: &Path) -> Result<(), Failure> {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(binary).args(["completions", shell]).output()?;
        if !output.status.success() {
            return Err(format!("`entrabot completions {shell}` failed").into());
        }
        fs::write(directory.join(format!("entrabot.{shell}")), output.stdout)?;
    }
    build::run(Command::new(binary).args(["man", "--dir"]).arg(directory.join("man1")))
}

/// Every crate in the binary with version, licence, source and checksum, as CycloneDX 1.5.
fn bill_of_materials(to: &Path) -> Result<(), Failure> {
    let mut command = cargo();
    command.args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5"]);
    command.args(["--describe", "binaries", "--no-build-deps", "--target", &host_target()?]);
    command.args(["--manifest-path", "crates/server/Cargo.toml"]);
    // Without it the bill carries the time and a random serial number.
    command.env("SOURCE_DATE_EPOCH", "0");
    build::run(&mut command)?;
    // It writes one beside the manifest of every package of the workspace that has a binary.
    let mut ours = None;
    for directory in workspace_packages()? {
        for written in files_below(&directory)? {
            if written.to_string_lossy().ends_with(".cdx.json") {
                if written.ends_with("crates/server/entrabot_bin.cdx.json") {
                    ours = Some(fs::read_to_string(&written)?);
                }
                fs::remove_file(written)?;
            }
        }
    }
    let ours = ours.ok_or("cargo-cyclonedx wrote no bill for the binary")?;
    // Where this clone lies is nobody's business, and would make each bill another.
    fs::write(to, ours.replace(&root().display().to_string(), "/entrabot"))?;
    Ok(())
}

/// The directory of each package of the workspace.
fn workspace_packages() -> Result<Vec<PathBuf>, Failure> {
    let output = cargo().args(["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let manifests = metadata["packages"].as_array().into_iter().flatten();
    let directories = manifests.filter_map(|package| Path::new(package["manifest_path"].as_str()?).parent());
    Ok(directories.map(Path::to_owned).collect())
}

fn host_target() -> Result<String, Failure> {
    let output = Command::new("rustc").arg("-vV").current_dir(root()).output()?;
    let told = String::from_utf8(output.stdout)?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not name its host".into())
}

/// `SHA256SUMS` over every file, for `sha256sum --check`.
fn write_sums(directory: &Path) -> Result<(), Failure> {
    let mut files = files_below(directory)?;
    files.sort();
    let mut sums = String::new();
    for file in files {
        writeln!(sums, "{}  {}", sha256(&file)?, file.strip_prefix(directory)?.display())?;
    }
    fs::write(directory.join("SHA256SUMS"), sums)?;
    Ok(())
}

fn files_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.append(&mut files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn sha256(file: &Path) -> io::Result<String> {
    let digest = Sha256::digest(fs::read(file)?);
    Ok(digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes any text");
        text
    }))
}

fn refuse_uncommitted_changes() -> Result<(), Failure> {
    let status = Command::new("git").args(["status", "--porcelain"]).current_dir(root()).output()?;
    if status.status.success() && status.stdout.is_empty() {
        return Ok(());
    }
    Err("--verify builds a clone of the last commit: commit your changes first".into())
}

/// Builds the same commit in another directory, one job at a time.
fn compare_with_another_build(binary: &Path) -> Result<(), Failure> {
    let elsewhere = target_dir().join("dist-verify");
    if elsewhere.exists() {
        fs::remove_dir_all(&elsewhere)?;
    }
    let clone = elsewhere.join("another/place");
    build::run(Command::new("git").args(["clone", "--quiet"]).arg(root()).arg(&clone))?;
    let other = release(&clone, &elsewhere.join("build"), Some(1))?;
    let (ours, theirs) = (fs::read(binary)?, fs::read(&other)?);
    if ours != theirs {
        let at = ours.iter().zip(&theirs).position(|(a, b)| a != b).unwrap_or(ours.len().min(theirs.len()));
        let (one, two) = (binary.display(), other.display());
        return Err(format!("{one} and {two} differ, first at byte {at}").into());
    }
    fs::remove_dir_all(&elsewhere)?;
    println!("reproduced: two builds in two places gave the same {} bytes", ours.len());
    Ok(())
}

/// The test doubles' feature must not reach the binary.
fn refuse_test_features() -> Result<(), Failure> {
    let tree = cargo()
        .args(["tree", "--package", "entrabot-server", "--edges", "normal,features", "--prefix", "none"])
        .output()?;
    let tree = String::from_utf8(tree.stdout)?;
    match tree.lines().find(|line| line.contains("test-util") && line.contains("entrabot")) {
        Some(line) => Err(format!("a test feature is in the release binary: {line}").into()),
        None => Ok(()),
    }
}
