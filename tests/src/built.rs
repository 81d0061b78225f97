//! Programs of this workspace that tests start: the ones beside the test's own, built when they are missing, as when
//! only one package is tested.

use std::path::PathBuf;
use std::process::Command;

/// The product.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn entrabot() -> PathBuf {
    built("entrabot-server", "entrabot", &["--bin", "entrabot", "--features", "tpm2"])
}

/// An example of a package.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn example(package: &str, name: &str) -> PathBuf {
    built(package, &format!("examples/{name}"), &["--example", name])
}

fn built(package: &str, file: &str, what: &[&str]) -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    // target/PROFILE/deps/test, or target/PROFILE/examples/example
    let profile = test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps");
    let program = profile.join(file);
    if !program.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", package]).args(what).arg("--target-dir");
        cargo.arg(profile.parent().expect("a profile lies in the target directory"));
        let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(status.is_ok_and(|status| status.success()), "{package} must build");
    }
    program
}
